/* Reading a conflicted document's graph from its lead, in as many parts as it takes. */
#ifndef PARLEY_GATEWAY_GRAPH_READ_H
#define PARLEY_GATEWAY_GRAPH_READ_H

#include "common/doc/graph_parts.h"
#include "gateway/call.h"

/* The beginning of what r->op points to. */
struct graph_read {
	struct msg_conflict_read message; /* shard and id by the caller */
	call_done *done;
	int64_t *silent_ms; /* moved on with each part; may be NULL */
	struct graph_parts parts;
};

/* done is called with the whole graph, which it may use within its step; with OVERLOADED, if it
 * comes in parts and another request reads one so. False: no call could be opened. */
bool graph_read(struct turn *t, struct request *r, call_done *done) MUST_CHECK;
/* Lets others read in parts. What was read lies in the request's arena. */
void graph_read_end(struct gateway *gw, const struct request *r);

#endif
