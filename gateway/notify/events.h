/* Server-Sent Events: of changes (events.c), and of conflicts. */
#ifndef PARLEY_GATEWAY_NOTIFY_EVENTS_H
#define PARLEY_GATEWAY_NOTIFY_EVENTS_H

#include "gateway/notify/internal.h"

/* A request for a stream of events, of the subscriptions that `take` makes of it. */
typedef bool events_take(struct turn *t, struct request *r, struct subscriber *sub,
			 struct problem *p);
void events_listen(struct turn *t, struct request *r, enum subscriber_kind kind, events_take *take);
/* Subscribes to the pattern, once. False with *p. */
bool events_take_path(struct turn *t, struct subscriber *sub, struct slice text,
		      struct problem *p) MUST_CHECK;
/* Its feeds are open: the stream begins. */
void events_begin(struct turn *t, struct subscriber *sub);
/* Opaque position of what the subscriber follows; empty if that is too much. */
void events_position(struct turn *t, const struct subscriber *sub, uint32_t shards_max,
		     struct buf *out);
void events_tick(struct turn *t);

/* ---- conflicts: conflicts.c ---- */

/* KIND:/collection/id, which patterns of conflicts match. */
void conflict_path(const struct feed_event *event, struct slice collection, struct buf *out);
/* The data of an event, without its id. */
void conflict_event_print(const struct feed_event *event, struct slice collection, struct buf *out);

#endif
