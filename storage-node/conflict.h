/* Conflicts as a lead shows them. Resolving one is in conflict.c, taking a resolution apart in
 * reopen.c, what is remembered of resolutions in history.c, their cleanup in cleanup.c. */
#ifndef PARLEY_STORAGE_CONFLICT_H
#define PARLEY_STORAGE_CONFLICT_H

#include "storage-node/internal.h"

/* OK if this node may answer for the shard as its lead; sends the newer placement along with a
 * refusal. c may be NULL. */
enum status conflict_must_lead(struct storage *s, struct shard_copy *c, const struct event *e,
			       struct effects *fx);
/* The record of a resolution that waits for its cleanup; false: there is none. *out in the arena.
 */
bool conflict_load_resolved(struct storage *s, struct shard_copy *c, struct slice id,
			    struct slice resolution_id, struct conflict *out) MUST_CHECK;

#endif
