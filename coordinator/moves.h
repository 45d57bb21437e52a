/* Replicas move to other nodes: because a node is to be emptied (drain; all to one node: replace),
 * because one has been away for too long (evict), or because some have more than others
 * (rebalance).
 *
 * A move, one step per epoch; which quorums hold in between, and why each step is safe, is said in
 * common/quorum.h:
 *
 *   JOIN    a node more learns the shard         when its lead serves
 *   ADMIT   it votes; both sets decide           when it is in sync; the lead leaves the old node
 *   SWAP    the old node is listed no more       when a lead serves that needs both sets, the new
 *                                                node is alive, and no branch waits at the old one
 *                                                (or that one is away: then it tells when it is
 *                                                back)
 *   STAY    all is as before                     at any time: the new node is lost
 *
 * At most MOVES_AT_ONCE at a time, and each node takes part in one. All is in the placement: a
 * coordinator that starts anew goes on where it was. */
#ifndef PARLEY_COORDINATOR_MOVES_H
#define PARLEY_COORDINATOR_MOVES_H

#include "coordinator/internal.h"

enum {
	MOVES_AT_ONCE = 4,
	MOVE_PATIENCE_MS = 10000,   /* a new node silent for so long is given up */
	MOVE_FULL_PAUSE_MS = 30000, /* a new node that ran full gets nothing for so long */
	REBALANCE_PAUSE_MS = 1000,  /* between two moves */
	REBALANCE_AFTER_START_MS = 10000
};

/* The next step of this shard's move, if one is due. */
bool moves_step(struct coordinator *c, struct shard_row *row, struct effects *fx);
/* Begins new ones. */
void moves_plan(struct coordinator *c, struct effects *fx);
/* Nothing is rebalanced for a while. */
void moves_pause(struct coordinator *c);
/* Replicas that a node which is to be emptied still has. */
uint64_t moves_left(const struct coordinator *c, const struct member_row *m);
void moves_on_update(struct coordinator *c, const struct event *e, struct effects *fx);

#endif
