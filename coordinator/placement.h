/* Where replicas go and who leads: pure functions of what they are given.
 *
 * A placement lives as a list of replicas in order of preference for lead. It changes by moves
 * only, each of which raises the epoch by exactly one:
 *
 *   move      from                           to
 *   LEAD      any                            lead = a voting replica
 *   RENEW     a replica with incarnation I   the same node with incarnation J, learning; if it led:
 *                                            another lead, or 0
 *   PROMOTE   a learning replica             the same node and incarnation, voting
 *   JOIN      none joining                   a node more, joining and learning; another one leaving
 *   ADMIT     joining, learning              joining, voting: two sets decide (common/quorum.h); a
 *                                            lead that leaves gives way to a voting replica
 *   SWAP      joining, voting                it has the place of the one that leaves, which is gone
 *   STAY      joining                        it is gone, nobody leaves; if it led: another lead
 *
 * and always holds: 2W > N, W <= N, where N counts all but the joining; nodes distinct; a lead that
 * is 0 or a voting replica; at most one joins, for one that leaves (placement_problem). */
#ifndef PARLEY_COORDINATOR_PLACEMENT_H
#define PARLEY_COORDINATOR_PLACEMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/check.h"
#include "proto/schema.h"

/* No epoch, version or token gets here by counting: one that has is damage. */
#define COUNTER_END (UINT64_MAX / 2)
/* What is adopted from others leaves room for the next ones. */
#define COUNTER_MAX (COUNTER_END / 2)

/* A shard that owns its list. Not to be copied by assignment: use placement_copy. */
struct placement {
	struct shard shard; /* shard.replicas is `replicas` below */
	struct replica replicas[LIMIT_REPLICAS];
};

enum placement_move_kind {
	PLACEMENT_LEAD,
	PLACEMENT_RENEW,
	PLACEMENT_PROMOTE,
	PLACEMENT_JOIN,
	PLACEMENT_ADMIT,
	PLACEMENT_SWAP,
	PLACEMENT_STAY,
	PLACEMENT_MOVES
};

struct placement_move {
	enum placement_move_kind kind;
	uint64_t node; /* RENEW, PROMOTE: whose replica; JOIN: who joins */
	uint64_t
	    incarnation;  /* RENEW: the new one; PROMOTE, ADMIT: the one that is in sync; JOIN */
	uint64_t leaving; /* JOIN */
	uint64_t lead;    /* LEAD: the successor; RENEW, STAY: successor if `node` or the one that
			     joins leads, 0 if there is none; ADMIT: the lead from now on */
};

/* What the coordinator knows of a replica when it looks for a successor; one per listed replica,
 * same order. */
struct placement_candidate {
	bool alive;    /* heard of, with the incarnation that is listed */
	bool excluded; /* it failed a moment ago */
	bool vouching;
	bool disk_full;
	bool damaged;
	struct position last; /* end of its stream */
};

/* `from` must not list more than LIMIT_REPLICAS replicas. */
void placement_copy(struct placement *to, const struct shard *from);

/* NULL, or which invariant the placement breaks. */
const char *placement_problem(const struct shard *shard);

/* False, with nothing usable in *out, if the move does not fit the placement. */
bool placement_apply(const struct shard *from, const struct placement_move *move,
		     struct placement *out) MUST_CHECK;

/* Sorts nodes by their rendezvous weight for this key, the heaviest first. The same nodes in any
 * order give the same result; a node that comes or goes leaves the order of the others alone. */
void placement_rank(uint64_t key, uint64_t *nodes, uint32_t count);

/* Rotates nodes so that the one with the fewest leads comes first, among equals the earliest.
 * leads[i] belongs to nodes[i] before the rotation. */
void placement_balance(uint64_t *nodes, const uint64_t *leads, uint32_t count);

/* Range `index` of `count` equal ranges that together hold all 64-bit hashes. */
void placement_range(uint32_t index, uint32_t count, uint64_t *first, uint64_t *last);

/* The voting, alive, not excluded replica that vouches, has room, and has the most advanced stream,
 * by epoch and then number; among equals one that is not damaged, and the first in the list.
 * 0: none. */
uint64_t placement_successor(const struct shard *shard,
			     const struct placement_candidate *candidates);

/* The first voting replica in the list that is `ready` to lead (one per replica); 0: none, or it
 * leads. */
uint64_t placement_preferred(const struct shard *shard, const bool *ready);

/* Voting replicas. */
uint32_t placement_voting(const struct shard *shard);

/* Are those of `here` (one per replica) enough for a take-over, the successor included? Only
 * voting ones count. */
bool placement_can_elect(const struct shard *shard, const bool *here);

/* Index of the node in the list; replicas_count if it is not there. */
uint32_t placement_index(const struct shard *shard, uint64_t node);
/* Index of the replica that joins or leaves; replicas_count: none. */
uint32_t placement_joining(const struct shard *shard);
uint32_t placement_leaving(const struct shard *shard);

bool placement_equal(const struct shard *a, const struct shard *b);

#endif
