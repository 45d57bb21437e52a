/* Which epoch an entry of a shard's stream is of, also when it is no longer kept: a replica that
 * comes back after long may ask to have an entry ordered that was settled while it was away. Alike
 * on every replica. */
#ifndef PARLEY_STORAGE_EPOCHS_H
#define PARLEY_STORAGE_EPOCHS_H

#include "storage-node/internal.h"

/* The first entry of an epoch is being applied. */
void epochs_apply(struct storage *s, struct shard_copy *c, uint64_t number);
/* Is this very entry applied here? False if it is not known any more, which takes
 * LIMIT_EPOCH_STARTS changes of the lead. */
bool epochs_applied(struct storage *s, struct shard_copy *c,
		    const struct position *entry) MUST_CHECK;

#endif
