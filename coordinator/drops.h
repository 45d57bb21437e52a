/* Dropped collections. The ids of a collection and of its shards stay on disk for ever as dropped,
 * as a member that was away may come with them at any time: it is told, and what it says of them
 * counts for nothing. */
#ifndef PARLEY_COORDINATOR_DROPS_H
#define PARLEY_COORDINATOR_DROPS_H

#include "coordinator/internal.h"

/* Durable; the next map says it. */
void drops_add(struct coordinator *c, const struct collection *collection, uint64_t operation,
	       struct effects *fx);
/* A member knows of this one: likewise, whether it is known here or not. */
void drops_adopt(struct coordinator *c, uint64_t collection, struct effects *fx);
/* A shard of a dropped collection that was not known when that was dropped. Durable. */
void drops_add_shard(struct coordinator *c, uint64_t id, uint64_t collection, struct effects *fx);
/* From the disk: id of a shard or a collection, and of the collection that it was. */
void drops_load(struct coordinator *c, uint64_t id, uint64_t collection);
/* Of a shard or a collection. */
bool drops_has(const struct coordinator *c, uint64_t id);
/* What a map push says: the last ones, after a start as many of all: a node that keeps nothing but
 * a collection's settings says so only when it joins, and the answer may be lost. */
void drops_fill(struct coordinator *c, struct msg_map_push *push);
/* Tells a storage node of the shards and collections that it still has. */
void drops_tell(struct coordinator *c, const struct event *e, const uint64_t *ids, uint32_t count,
		struct effects *fx);
void drops_close(struct coordinator *c);

#endif
