/* Space of ranges that were removed. A removed range is a mark in the newest files; what it covers
 * lies in older ones until compaction meets both, which on a quiet store is never. So a thread of
 * its own compacts what was removed, some seconds after the commit. Values in blob files go with
 * their file, once nothing in it lives; where less than half of all such files lives, what does is
 * copied into new ones.
 *
 * Nothing is remembered across a restart: what was not given back by then waits for compaction. */
#ifndef PARLEY_STORE_STORE_ROCKS_RECLAIM_H
#define PARLEY_STORE_STORE_ROCKS_RECLAIM_H

#include "common/store/store_rocks_private.h"

enum { RECLAIM_DELAY_MS = 5000 };

struct reclaim; /* opaque */

/* Of an open store. */
struct reclaim *reclaim_new(struct rocks *r);
/* Before the families are closed; all background work has been cancelled, so it takes no time. */
void reclaim_free(struct reclaim *reclaim);
/* The pending ranges were committed. */
void reclaim_note(struct reclaim *reclaim, const struct pending *p);
/* Passes that have ended. */
uint64_t reclaim_passes(struct reclaim *reclaim);

#endif
