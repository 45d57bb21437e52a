/* What the arbiter has seen, for its metrics. */
#ifndef PARLEY_ARBITER_COUNTS_H
#define PARLEY_ARBITER_COUNTS_H

#include <stdint.h>

#include "proto/enums.h"

/* What one pass over a shard's queue saw. */
struct queue_counts {
	uint64_t open[CONFLICT_KIND_MAX + 1];
	uint64_t oldest_ms; /* wall time of the oldest open one; 0: none */
	uint64_t resolved;  /* their losers are kept, or not cleaned up yet */
};

#endif
