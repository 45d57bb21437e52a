/* How far clients that sync have come in a shard, as they registered it with their collection. What
 * one of them has not seen deleted is not purged, unless it has been silent for so long that it
 * counts as lost. Set in the stream, so every replica has them. */
#ifndef PARLEY_STORAGE_CHECKPOINT_H
#define PARLEY_STORAGE_CHECKPOINT_H

#include "storage-node/internal.h"

/* The lead: all who count have seen the stream up to here; UINT64_MAX: there is none. behind: room
 * for the name of the one that is least far, with an end; or NULL. */
uint64_t checkpoint_seen(struct storage *s, struct shard_copy *c,
			 char behind[LIMIT_NAME_BYTES + 1]);
void checkpoint_apply(struct storage *s, struct shard_copy *c, const struct change *change);
void checkpoint_on_set(struct storage *s, const struct event *e, struct effects *fx);
void checkpoint_on_list(struct storage *s, const struct event *e, struct effects *fx);

#endif
