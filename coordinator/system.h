/* What people see of the coordinator: rows of system.nodes, metrics, readiness. */
#ifndef PARLEY_COORDINATOR_SYSTEM_H
#define PARLEY_COORDINATOR_SYSTEM_H

#include "coordinator/internal.h"

/* Rows of system.nodes are maps {id (name), member, role, health, incarnation (hexadecimal text,
 * empty: never joined), boot, shards, leads, lastSeenMs (wall; 0: not since the coordinator's
 * start), diskFull}, one per member of the list, joined or not. Other names: NOT_FOUND. */
void system_on_list(struct coordinator *c, const struct event *e, struct effects *fx);

/* A list that is being made. */
struct system_list {
	struct msg_system_list_ack ack;
	size_t bytes;
};
/* Copies the row. What does not fit a message is left out, and the list says so. */
void system_list_add(struct coordinator *c, struct system_list *list, struct slice row);

void system_metrics(const void *core, struct buf *out);
bool system_ready(const void *core, int64_t now_ms, struct buf *out);

#endif
