/* The trail of a data directory: a random number drawn every few seconds and at each start, kept in
 * the store. The coordinator remembers the newest it heard of, and a directory that comes back
 * without it is a copy from before: it has forgotten what it promised and acknowledged since.
 *
 * The next step is drawn once the last one is known to be remembered. So what a copy can lack
 * unnoticed is what came after that: TRAIL_STEP_MS, or as long as the coordinator is away. */
#ifndef PARLEY_STORAGE_TRAIL_H
#define PARLEY_STORAGE_TRAIL_H

#include "common/core.h"

struct storage;

struct trail_kept {
	uint64_t number; /* of the newest step */
	uint64_t told;   /* the newest that the coordinator remembers, as far as is known */
	uint64_t ids[LIMIT_TRAIL]; /* newest first */
	uint32_t count;
	int64_t next_ms;
};

/* False: it can't be read. */
bool trail_load(struct storage *s) MUST_CHECK;
/* Take a step if one is due; what tells of it must be sent WHEN_DURABLE. */
void trail_start(struct storage *s, struct effects *fx);
void trail_tick(struct storage *s, struct effects *fx);
/* The coordinator says what it remembers. */
void trail_heard(struct storage *s, uint64_t number);
/* Valid for this step. */
struct trail trail_of(struct storage *s);

#endif
