/* Entries that were cut from a stream and became no branches, kept aside for people (STREAM 'z').
 * Nobody was told that they are safe. Of each shard the newest stay: so many, and so many bytes of
 * them, and all of the last cut. */
#ifndef PARLEY_STORAGE_DISCARDED_H
#define PARLEY_STORAGE_DISCARDED_H

#include "storage-node/internal.h"

enum { DISCARDED_MAX = 10000, DISCARDED_BYTES_MAX = 64 * 1024 * 1024 };

void discarded_keep(struct storage *s, const struct shard_copy *c, uint64_t number,
		    const struct pending *p);
/* Before a cut brings more. */
void discarded_trim(struct storage *s, const struct shard_copy *c);

#endif
