/* What the placement makes of this node: which replicas decide with it, and what becomes of a copy
 * that the placement lists no more. */
#ifndef PARLEY_STORAGE_PLACED_H
#define PARLEY_STORAGE_PLACED_H

#include "storage-node/internal.h"

/* Does this follower count? For placed_quorum; of those that vote. */
typedef bool placed_counts(const struct storage *s, const struct follower *f);

/* At a lead or a successor: do at least `needed` voting replicas of each set that decides count,
 * this node included? (common/quorum.h) */
bool placed_quorum(const struct storage *s, const struct shard_copy *c, placed_counts *counts,
		   uint32_t needed);

/* May this replica take branches? Not while another is about to get its place: it could not see
 * them through. */
bool placed_takes_branches(const struct storage *s, const struct shard_copy *c);

/* A copy that the placement lists no more. It goes as soon as no branch of it waits for the lead;
 * what was decided by then is settled elsewhere, or the coordinator would not have made such a
 * placement. The placement and the promise stay for ever: without them a late message of an older
 * epoch would find a node that takes itself for an empty voting replica. */
void placed_tick(struct storage *s, struct shard_copy *c, struct effects *fx);

/* The lead has answered a push of a branch: it is settled. Only who has not its stream needs that.
 */
void placed_on_push_ack(struct storage *s, const struct event *e, struct effects *fx);

#endif
