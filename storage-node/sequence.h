/* Documents in order of their latest change. Each has one key, under the number of the entry that
 * changed it last: equal on all replicas, as it is written with the record. Deleted documents are
 * there until they are purged.
 *
 * A scan shows the last commit: all that was applied up to copy->committed, and nothing later. Who
 * goes on after the greatest number that it has seen, or after `committed` once the scan has ended,
 * misses no change; what changed meanwhile comes again, with a greater number. */
#ifndef PARLEY_STORAGE_SEQUENCE_H
#define PARLEY_STORAGE_SEQUENCE_H

#include "storage-node/internal.h"

/* The document's change moves from entry `before` (0: it is new) to `after` (0: it is purged). */
void sequence_move(struct storage *s, struct shard_copy *c, struct slice id, uint64_t before,
		   uint64_t after);

struct sequence_scan {
	struct store *store;
	struct store_iterator *it;
	struct arena *arena;
	uint64_t shard;
	uint64_t after;
	uint64_t until;
	bool descending;
	bool started;
	bool broken;     /* the store can't be read: nothing is known of what would follow */
	uint64_t passed; /* number of the last key passed; 0: none yet */
	struct buf key;  /* scratch */
};

struct sequence_row {
	uint64_t number;
	struct slice id; /* in the arena */
};

/* Changes of numbers after < n <= until, rising or falling. until: at most copy->committed is shown
 * whatever it is. */
void sequence_open(struct sequence_scan *scan, struct storage *s, const struct shard_copy *c,
		   uint64_t after, uint64_t until, bool descending);
/* False: there are no more, or the store is broken. */
bool sequence_next(struct sequence_scan *scan, struct sequence_row *row) MUST_CHECK;
/* Passes one without reading it. */
bool sequence_skip(struct sequence_scan *scan) MUST_CHECK;
/* The greatest number that it shows; 0: none. */
uint64_t sequence_last(struct storage *s, const struct shard_copy *c);
void sequence_close(struct sequence_scan *scan);

#endif
