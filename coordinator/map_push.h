/* The cluster map as members get it. Always WHEN_DURABLE: nobody may know more than this
 * coordinator's disk. */
#ifndef PARLEY_COORDINATOR_MAP_PUSH_H
#define PARLEY_COORDINATOR_MAP_PUSH_H

#include "coordinator/internal.h"

/* To every connection of every member that is alive. */
void map_push_all(struct coordinator *c, struct effects *fx);
/* To one whose map is old, unless it got one less than MAP_PUSH_MS ago. */
void map_push_if_old(struct coordinator *c, struct member_row *m, struct member_route *route,
		     struct effects *fx);
void map_push_on_request(struct coordinator *c, const struct event *e, struct effects *fx);

#endif
