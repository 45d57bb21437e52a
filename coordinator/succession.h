/* Who leads: looks at every shard and makes the moves of coordinator/placement.h that are due, at
 * most one per shard and turn. In this order:
 *
 *   new epoch    the recovered placement is in doubt
 *   RENEW        a listed node has come back with other data
 *   LEAD         fail-over: the lead is offline; says in our epoch that it is but a replica
 *                (it was restarted), or that it is stuck; or does not serve TAKEOVER_MS after
 *                it could, twice as long after each lead that was replaced for that
 *   PROMOTE      the serving lead says that a learning replica is in sync
 *   LEAD         back to the first voting replica in the list, after MOVE_BACK_MS in sync; away
 *                from a lead that has known for MOVE_BACK_MS that its data are damaged
 *   JOIN ..      a replica moves to another node (moves.h)
 *
 * Without a live voting replica a shard is left as it is. */
#ifndef PARLEY_COORDINATOR_SUCCESSION_H
#define PARLEY_COORDINATOR_SUCCESSION_H

#include "coordinator/internal.h"

void succession_review(struct coordinator *c, struct effects *fx);

/* For moves.c. Makes a move that fits, durable, and tells why. */
void succession_move(struct coordinator *c, struct shard_row *row, const struct placement_move *m,
		     const char *why, struct effects *fx);
/* One per listed replica. */
void succession_candidates(const struct coordinator *c, const struct shard_row *row,
			   struct placement_candidate *out);

#endif
