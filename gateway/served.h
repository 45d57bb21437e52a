/* Before a client is told that its collection was made: each shard has a lead that serves it, under
 * a lease of its replicas. From then on the collection does without the coordinator. */
#ifndef PARLEY_GATEWAY_SERVED_H
#define PARLEY_GATEWAY_SERVED_H

#include "gateway/internal.h"

/* served: all are; else the time was over first. The map may have changed meanwhile. */
typedef void served_step(struct turn *t, struct request *r, bool served);

/* Calls done within so much time, and not after the request's. One wait of a request at a time. */
void served_await(struct turn *t, struct request *r, const struct map_collection *c,
		  int64_t within_ms, served_step *done);

#endif
