#include "coordinator/succession.h"

#include "common/quorum.h"
#include "coordinator/membership.h"
#include "coordinator/moves.h"
#include "coordinator/state.h"

enum { SLOW_DOUBLINGS = 5 };

static const char too_slow[] = "slow";

void succession_candidates(const struct coordinator *c, const struct shard_row *row,
			   struct placement_candidate *out)
{
	const struct shard *s = &row->placement.shard;
	for (uint32_t i = 0; i < s->replicas_count; i++) {
		const struct member_row *m = coordinator_member_row(c, s->replicas[i].node);
		const struct replica_view *view = &row->views[i];
		out[i] = (struct placement_candidate){
		    .alive = membership_replica_alive(c, &s->replicas[i]),
		    .excluded =
			view->failed_ms != NO_TIME && c->now_ms - view->failed_ms < TAKEOVER_MS,
		    /* a shard that the node has not heard of yet is empty there, and it can vouch
		       for that */
		    .vouching = !view->known || view->vouching,
		    .disk_full = m && m->disk_full,
		    .damaged = view->damaged,
		    .last = view->last,
		};
	}
}

/* Makes the move durable and tells why. */
void succession_move(struct coordinator *c, struct shard_row *row, const struct placement_move *m,
		     const char *why, struct effects *fx)
{
	struct placement next;
	CHECK(placement_apply(&row->placement.shard, m, &next));
	fx_log(fx, LOG_LEVEL_INFO, "placement shard=%016llx epoch=%llu lead=%llu why=%s",
	       (unsigned long long)next.shard.id, (unsigned long long)next.shard.epoch,
	       (unsigned long long)next.shard.lead, why);
	state_put_shard(c, &next.shard, fx);
}

static void name_lead(struct coordinator *c, struct shard_row *row, uint64_t lead, const char *why,
		      struct effects *fx)
{
	struct placement_move m = {.kind = PLACEMENT_LEAD, .lead = lead};
	succession_move(c, row, &m, why, fx);
}

/* Promises above the adopted epoch bind their replicas: the new epoch must pass them. */
static bool raise_in_doubt(struct coordinator *c, struct shard_row *row, struct effects *fx)
{
	if (!row->raise)
		return false;
	struct placement_candidate candidates[LIMIT_REPLICAS];
	succession_candidates(c, row, candidates);
	uint64_t lead = placement_successor(&row->placement.shard, candidates);
	if (lead == 0)
		return false;
	row->raise = false;
	if (row->promised_max > row->placement.shard.epoch)
		row->placement.shard.epoch = row->promised_max;
	name_lead(c, row, lead, "recovered", fx);
	return true;
}

static bool renew(struct coordinator *c, struct shard_row *row, struct effects *fx)
{
	const struct shard *s = &row->placement.shard;
	for (uint32_t i = 0; i < s->replicas_count; i++) {
		const struct member_row *m = coordinator_member_row(c, s->replicas[i].node);
		if (!m || !m->joined || m->incarnation == s->replicas[i].incarnation)
			continue;
		struct placement_candidate candidates[LIMIT_REPLICAS];
		succession_candidates(c, row, candidates);
		struct placement_move change = {.kind = PLACEMENT_RENEW,
						.node = m->id,
						.incarnation = m->incarnation,
						.lead = placement_successor(s, candidates)};
		c->failovers += s->lead == m->id;
		succession_move(c, row, &change, "new_incarnation", fx);
		return true;
	}
	return false;
}

static bool can_elect(const struct shard *s, const struct placement_candidate *candidates)
{
	bool alive[LIMIT_REPLICAS];
	for (uint32_t i = 0; i < s->replicas_count; i++)
		alive[i] = candidates[i].alive;
	return placement_can_elect(s, alive);
}

/* A take-over that has to copy a shard first takes its time: each lead that is replaced for it,
 * with what it has copied thrown away, gives the next one twice as long. */
static int64_t takeover_ms(const struct shard_row *row)
{
	return (int64_t)TAKEOVER_MS << (row->slow < SLOW_DOUBLINGS ? row->slow : SLOW_DOUBLINGS);
}

/* Why the lead has to go, or NULL. *again: it may be the successor itself. */
static const char *lead_lost(struct coordinator *c, struct shard_row *row,
			     const struct placement_candidate *candidates, bool *again)
{
	const struct shard *s = &row->placement.shard;
	*again = true;
	if (s->lead == 0)
		return "no_lead";
	uint32_t i = placement_index(s, s->lead);
	const struct member_row *m = coordinator_member_row(c, s->lead);
	const struct replica_view *view = &row->views[i];
	/* one that has not joined yet since our start may only need a moment */
	if (!candidates[i].alive && (!m || m->joined || c->now_ms - m->seen_ms >= OFFLINE_MS))
		return "offline";
	bool current = view->known && view->epoch == s->epoch;
	if (current && view->state == SHARD_REPLICA)
		return "restarted";
	*again = false;
	if (current && view->state == SHARD_STUCK)
		return "stuck";
	int64_t since = row->waiting_since_ms > row->quorum_since_ms ? row->waiting_since_ms
								     : row->quorum_since_ms;
	return !row->serving && c->now_ms - since >= takeover_ms(row) ? too_slow : NULL;
}

/* Who can only lead after having been copied to is not quicker than one that is at it. */
static void exclude_unvouching(const struct shard *s, struct placement_candidate *candidates)
{
	for (uint32_t i = 0; i < s->replicas_count; i++)
		candidates[i].excluded |= !candidates[i].vouching;
}

static bool fail_over(struct coordinator *c, struct shard_row *row, struct effects *fx)
{
	const struct shard *s = &row->placement.shard;
	struct placement_candidate candidates[LIMIT_REPLICAS];
	succession_candidates(c, row, candidates);
	/* a take-over is slow only if it could have been quick */
	if (!can_elect(s, candidates))
		row->quorum_since_ms = c->now_ms;
	bool again;
	const char *why = lead_lost(c, row, candidates, &again);
	if (!why)
		return false;
	uint32_t i = placement_index(s, s->lead);
	if (!again)
		candidates[i].excluded = true;
	bool slow = why == too_slow;
	if (slow)
		exclude_unvouching(s, candidates);
	uint64_t lead = placement_successor(s, candidates);
	if (lead == 0)
		return false;
	if (!again) {
		REACHED(successor_too_slow);
		row->views[i].failed_ms = c->now_ms;
	}
	row->slow += slow;
	c->failovers++;
	name_lead(c, row, lead, why, fx);
	return true;
}

static bool promote(struct coordinator *c, struct shard_row *row, struct effects *fx)
{
	const struct shard *s = &row->placement.shard;
	for (uint32_t i = 0; row->serving && i < s->replicas_count; i++) {
		if (!s->replicas[i].learning || s->replicas[i].joining || !row->views[i].in_sync)
			continue;
		struct placement_move change = {.kind = PLACEMENT_PROMOTE,
						.node = s->replicas[i].node,
						.incarnation = s->replicas[i].incarnation};
		succession_move(c, row, &change, "in_sync", fx);
		return true;
	}
	return false;
}

/* Long enough to count on. */
static bool lasts(const struct coordinator *c, int64_t since_ms)
{
	return c->now_ms - since_ms >= MOVE_BACK_MS;
}

static bool ready_to_lead(const struct coordinator *c, const struct shard_row *row, uint32_t i)
{
	const struct replica *r = &row->placement.shard.replicas[i];
	const struct replica_view *view = &row->views[i];
	const struct member_row *m = coordinator_member_row(c, r->node);
	bool failed = view->failed_ms != NO_TIME && c->now_ms - view->failed_ms < AVOID_MS;
	return m && !m->disk_full && !failed && membership_replica_alive(c, r) && view->in_sync &&
	       lasts(c, view->in_sync_since_ms) && !view->damaged && lasts(c, view->damaged_ms);
}

/* To the replica that the list prefers; from a lead that knows its copy to be damaged to any that
 * does not: it may take long until that node can be spared and starts anew. While a new node only
 * learns, the one that leaves may be the last that has all whole, and leads until it has given it.
 */
static bool move_back(struct coordinator *c, struct shard_row *row, struct effects *fx)
{
	const struct shard *s = &row->placement.shard;
	if (!row->serving || !lasts(c, row->named_ms))
		return false;
	const struct replica_view *now = &row->views[placement_index(s, s->lead)];
	bool damaged = now->damaged && lasts(c, now->damaged_ms);
	bool leaving_too = damaged && !quorum_joint(s);
	bool ready[LIMIT_REPLICAS];
	for (uint32_t i = 0; i < s->replicas_count; i++)
		ready[i] =
		    s->replicas[i].node == s->lead
			? !damaged
			: ready_to_lead(c, row, i) && (!s->replicas[i].leaving || leaving_too);
	uint64_t lead = placement_preferred(s, ready);
	if (lead == 0)
		return false;
	if (damaged)
		REACHED(damaged_lead_replaced);
	else
		REACHED(lead_moved_back);
	name_lead(c, row, lead, damaged ? "damaged" : "move_back", fx);
	return true;
}

void succession_review(struct coordinator *c, struct effects *fx)
{
	if (c->recovery != RECOVERY_DONE)
		return;
	uint32_t moved_back = 0;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->shards, &at));) {
		struct shard_row *row = e->value;
		if (row->placement.shard.dropped || !row->heard)
			continue;
		if (raise_in_doubt(c, row, fx) || renew(c, row, fx) || fail_over(c, row, fx) ||
		    promote(c, row, fx) || moves_step(c, row, fx))
			continue;
		/* each is a short pause of a shard that works: not of all at once */
		if (moved_back < MOVES_BACK_PER_TICK)
			moved_back += move_back(c, row, fx);
	}
	moves_plan(c, fx);
}
