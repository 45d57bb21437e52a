/* Where replicas go and who leads: pure functions of what they are given.
 *
 * A placement lives as a list of replicas in order of preference for lead. It changes by moves
 * only, each of which raises the epoch by exactly one:
 *
 *   move      from                           to
 *   LEAD      any                            lead = a voting replica
 *   RENEW     a replica with incarnation I   the same node with incarnation J, learning; if it led:
 * another lead, or 0 PROMOTE   a learning replica             the same node and incarnation, voting
 *
 * and always holds: 2W > N, W <= N, nodes distinct, a lead that is 0 or a voting replica
 * (placement_problem). */
#ifndef PARLEY_COORDINATOR_PLACEMENT_H
#define PARLEY_COORDINATOR_PLACEMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/check.h"
#include "proto/schema.h"

/* A shard that owns its list. Not to be copied by assignment: use placement_copy. */
struct placement {
	struct shard shard; /* shard.replicas is `replicas` below */
	struct replica replicas[LIMIT_REPLICAS];
};

enum placement_move_kind { PLACEMENT_LEAD, PLACEMENT_RENEW, PLACEMENT_PROMOTE, PLACEMENT_MOVES };

struct placement_move {
	enum placement_move_kind kind;
	uint64_t node;        /* RENEW, PROMOTE: whose replica */
	uint64_t incarnation; /* RENEW: the new one; PROMOTE: the one that is in sync */
	uint64_t
	    lead; /* LEAD: the successor; RENEW: successor if `node` leads, 0 if there is none */
};

/* What the coordinator knows of a replica when it looks for a successor; one per listed replica,
 * same order. */
struct placement_candidate {
	bool alive;    /* heard of, with the incarnation that is listed */
	bool excluded; /* it failed a moment ago */
	bool vouching;
	bool disk_full;
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
 * by epoch and then number; the first in the list among equals. 0: none. */
uint64_t placement_successor(const struct shard *shard,
			     const struct placement_candidate *candidates);

/* The first voting replica in the list that is `ready` (one per replica) and stands before the
 * lead; 0: none. */
uint64_t placement_preferred(const struct shard *shard, const bool *ready);

/* Voting replicas. */
uint32_t placement_voting(const struct shard *shard);

/* How many voting replicas, the successor included, a take-over needs: N - W + 1. */
uint32_t placement_takeover_quorum(const struct shard *shard);

/* Index of the node in the list; replicas_count if it is not there. */
uint32_t placement_index(const struct shard *shard, uint64_t node);

bool placement_equal(const struct shard *a, const struct shard *b);

#endif
