/* Refusals under clients' keys on the disk (META 'r'): the newest RECENT_REFUSALS of a shard that
 * were applied, as long as recent.h remembers them, so that a replica that is restarted or copied
 * to remembers them, too. Each replica forgets them by itself: they are no part of its digest. */
#ifndef PARLEY_STORAGE_REFUSALS_H
#define PARLEY_STORAGE_REFUSALS_H

#include "proto/schema.h"

struct storage;
struct shard_copy;

/* The entry is applied. One that is not remembered any more, as so many came behind it, is not kept
 * either: nobody would forget it. */
void refusal_keep(struct storage *s, struct shard_copy *c, uint64_t number,
		  const struct change *change, struct slice encoded);
void refusal_forget(struct storage *s, struct shard_copy *c, uint64_t number);
/* From the disk into memory. */
void refusals_load(struct storage *s, struct shard_copy *c);
/* For a copy of the shard: the newest, at most max. */
uint32_t refusals_pairs(struct storage *s, const struct shard_copy *c, struct arena *arena,
			struct key_value *out, uint32_t max);
/* False: the pair is none of these. */
bool refusals_take_pair(struct storage *s, struct shard_copy *c, const struct key_value *pair);

#endif
