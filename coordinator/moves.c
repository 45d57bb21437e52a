#include "coordinator/moves.h"

#include "common/probe.h"
#include "common/quorum.h"
#include "coordinator/asked.h"
#include "coordinator/membership.h"
#include "coordinator/state.h"
#include "coordinator/succession.h"

/* ---- the steps of one move ---- */

static bool evictable(const struct coordinator *c, const struct member_row *m)
{
	uint64_t away_ms = c->now_ms > m->seen_ms ? (uint64_t)(c->now_ms - m->seen_ms) : 0;
	return c->options.evict_after_ms > 0 && !membership_alive(c, m) &&
	       away_ms >= c->options.evict_after_ms;
}

/* It ran full while it took one over, which may have been all that filled it. */
static bool ran_full(const struct coordinator *c, const struct member_row *m)
{
	return m->ran_full_ms != 0 && c->now_ms - m->ran_full_ms < MOVE_FULL_PAUSE_MS;
}

/* May it get a replica now? */
static bool has_room(const struct coordinator *c, const struct member_row *m)
{
	return m && m->listed && m->role == ROLE_STORAGE && m->incarnation != 0 && !m->fatal &&
	       !m->disk_full && !ran_full(c, m) && !m->draining && membership_alive(c, m);
}

/* The new node is no good any more. One that only learns goes as soon as it could not be chosen
 * again; once it votes, a moment of silence is no reason. */
static bool target_lost(const struct coordinator *c, const struct shard *s)
{
	const struct replica *r = &s->replicas[placement_joining(s)];
	struct member_row *m = coordinator_member_row(c, r->node);
	if (!m || !m->listed || c->now_ms - m->seen_ms >= MOVE_PATIENCE_MS)
		return true;
	if (m->disk_full)
		m->ran_full_ms = c->now_ms;
	return m->disk_full || (r->learning && m->draining);
}

static bool stay(struct coordinator *c, struct shard_row *row, struct effects *fx)
{
	const struct shard *s = &row->placement.shard;
	struct placement_candidate candidates[LIMIT_REPLICAS];
	succession_candidates(c, row, candidates);
	candidates[placement_joining(s)].alive = false;
	struct placement_move move = {.kind = PLACEMENT_STAY,
				      .lead = placement_successor(s, candidates)};
	REACHED(move_called_off);
	succession_move(c, row, &move, "move_called_off", fx);
	return true;
}

/* Who leads when the node that leaves must not: the first in the list that is in sync, of those
 * that know of no damage if there are any; the one that joins is the last. 0: none. */
static uint64_t other_lead(const struct coordinator *c, const struct shard_row *row)
{
	const struct shard *s = &row->placement.shard;
	uint64_t damaged = 0;
	for (uint32_t i = 0; i < s->replicas_count; i++) {
		const struct replica *r = &s->replicas[i];
		const struct member_row *m = coordinator_member_row(c, r->node);
		if (r->leaving || (r->learning && !r->joining) || !row->views[i].in_sync || !m ||
		    m->disk_full || !membership_replica_alive(c, r))
			continue;
		if (!row->views[i].damaged)
			return r->node;
		if (damaged == 0)
			damaged = r->node;
	}
	return damaged;
}

static bool lead_leaves(const struct shard *s)
{
	return s->lead != 0 && s->replicas[placement_leaving(s)].node == s->lead;
}

static bool admit(struct coordinator *c, struct shard_row *row, struct effects *fx)
{
	const struct shard *s = &row->placement.shard;
	uint32_t i = placement_joining(s);
	const struct replica *r = &s->replicas[i];
	struct placement_move move = {
	    .kind = PLACEMENT_ADMIT, .incarnation = r->incarnation, .lead = s->lead};
	bool ready = row->serving && row->views[i].in_sync && membership_replica_alive(c, r);
	if (MUTATION(move_not_awaited) && !lead_leaves(s)) {
		move.kind = PLACEMENT_SWAP;
		ready = true;
	}
	if (!ready)
		return false;
	if (lead_leaves(s)) {
		REACHED(move_of_lead);
		move.lead = other_lead(c, row);
	}
	if (move.lead == 0)
		return false;
	REACHED(move_joint);
	succession_move(c, row, &move, "move_admits", fx);
	return true;
}

/* Nothing that was accepted at the old node alone is left there: it has taken the joint lead's
 * entry, so no tail of it will be cut any more, and takes no branches in this epoch
 * (storage-node/placed.h). One that is away keeps them until it is back. */
static bool source_done(const struct coordinator *c, const struct shard_row *row)
{
	const struct shard *s = &row->placement.shard;
	uint32_t i = placement_leaving(s);
	const struct replica_view *view = &row->views[i];
	const struct replica *r = &s->replicas[i];
	if (!membership_replica_alive(c, r) || r->learning)
		return true;
	return view->known && view->epoch == s->epoch && view->last.epoch == s->epoch &&
	       view->outbox == 0;
}

static bool swap(struct coordinator *c, struct shard_row *row, struct effects *fx)
{
	const struct shard *s = &row->placement.shard;
	uint32_t joining = placement_joining(s);
	if (!row->serving || !membership_replica_alive(c, &s->replicas[joining]))
		return false;
	if (lead_leaves(s)) {
		struct placement_move move = {.kind = PLACEMENT_LEAD, .lead = other_lead(c, row)};
		if (move.lead != 0)
			succession_move(c, row, &move, "move_lead", fx);
		return move.lead != 0;
	}
	if (!row->views[joining].in_sync || !source_done(c, row))
		return false;
	const struct replica *old = &s->replicas[placement_leaving(s)];
	if (!membership_replica_alive(c, old))
		REACHED(move_from_away);
	REACHED(move_done);
	c->moved++;
	struct placement_move move = {.kind = PLACEMENT_SWAP};
	succession_move(c, row, &move, "moved", fx);
	return true;
}

bool moves_step(struct coordinator *c, struct shard_row *row, struct effects *fx)
{
	const struct shard *s = &row->placement.shard;
	if (placement_joining(s) == s->replicas_count)
		return false;
	if (target_lost(c, s))
		return stay(c, row, fx);
	return quorum_joint(s) ? swap(c, row, fx) : admit(c, row, fx);
}

/* ---- which moves begin ---- */

/* Who has how much, and who takes part in a move; returns how many are under way. */
static uint32_t survey(struct coordinator *c)
{
	uint32_t moves = 0;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->members, &at));) {
		struct member_row *m = e->value;
		m->placed = 0;
		m->moving = false;
	}
	at = 0;
	for (struct map_entry *e; (e = map_next(&c->shards, &at));) {
		const struct shard *s = &((struct shard_row *)e->value)->placement.shard;
		for (uint32_t i = 0; i < s->replicas_count && !s->dropped; i++) {
			const struct replica *r = &s->replicas[i];
			struct member_row *m = coordinator_member_row(c, r->node);
			moves += r->joining;
			if (!m)
				continue;
			m->placed += !r->leaving;
			m->moving |= r->joining || r->leaving;
		}
	}
	return moves;
}

/* The best claim to this shard among those with room, or the one that is named, unless that one has
 * a replica already. */
static struct member_row *target_of(struct coordinator *c, const struct shard *s, uint64_t named)
{
	if (placement_index(s, named) < s->replicas_count)
		named = 0;
	uint64_t nodes[LIMIT_MEMBERS];
	uint32_t count = 0;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->members, &at));) {
		const struct member_row *m = e->value;
		if (has_room(c, m) && !m->moving && (named == 0 || m->id == named) &&
		    placement_index(s, m->id) == s->replicas_count && count < LIMIT_MEMBERS)
			nodes[count++] = m->id;
	}
	placement_rank(s->id, nodes, count);
	return count > 0 ? coordinator_member_row(c, nodes[0]) : NULL;
}

static bool may_begin(const struct shard_row *row)
{
	const struct shard *s = &row->placement.shard;
	return !s->dropped && !row->raise && row->heard && row->serving &&
	       s->replicas_count < LIMIT_REPLICAS && placement_joining(s) == s->replicas_count;
}

static void begin(struct coordinator *c, struct shard_row *row, struct member_row *from,
		  struct member_row *to, const char *why, struct effects *fx)
{
	struct placement_move move = {.kind = PLACEMENT_JOIN,
				      .node = to->id,
				      .incarnation = to->incarnation,
				      .leaving = from->id};
	REACHED(move_began);
	from->moving = true;
	to->moving = true;
	succession_move(c, row, &move, why, fx);
}

/* Who is to get all that this node gives away, unless it gives its own away since, or has left; 0:
 * anybody. */
static uint64_t replacement_of(const struct coordinator *c, const struct member_row *from)
{
	const struct member_row *by =
	    from->draining ? coordinator_member_row(c, from->replaced_by) : NULL;
	return by && by->listed && !by->draining ? by->id : 0;
}

/* The first replica of the shard whose node has to give it away, and can. */
static bool empty_one(struct coordinator *c, struct shard_row *row, struct effects *fx)
{
	const struct shard *s = &row->placement.shard;
	for (uint32_t i = 0; i < s->replicas_count; i++) {
		struct member_row *from = coordinator_member_row(c, s->replicas[i].node);
		if (!from || from->moving || !(from->draining || evictable(c, from)))
			continue;
		struct member_row *to = target_of(c, s, replacement_of(c, from));
		if (!to)
			continue;
		begin(c, row, from, to, from->draining ? "drain" : "evict", fx);
		return true;
	}
	return false;
}

static uint32_t empty_nodes(struct coordinator *c, uint32_t moves, struct effects *fx)
{
	size_t at = 0;
	for (struct map_entry *e;
	     (e = map_next(&c->shards, &at)) && moves < BOUND(moves, MOVES_AT_ONCE);) {
		struct shard_row *row = e->value;
		moves += may_begin(row) && empty_one(c, row, fx);
	}
	return moves;
}

static bool all_in_sync(const struct shard_row *row)
{
	for (uint32_t i = 0; i < row->placement.shard.replicas_count; i++)
		if (!row->views[i].in_sync || row->placement.shard.replicas[i].learning)
			return false;
	return true;
}

/* Those with most and least; false while somebody is away, as it may come back. */
static bool extremes(const struct coordinator *c, struct member_row **most,
		     struct member_row **least)
{
	*most = NULL;
	*least = NULL;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->members, &at));) {
		struct member_row *m = e->value;
		if (!m->listed || m->role != ROLE_STORAGE || m->draining)
			continue;
		if (!has_room(c, m))
			return false;
		if (!*most || m->placed > (*most)->placed)
			*most = m;
		if (!*least || m->placed < (*least)->placed)
			*least = m;
	}
	return *most && (*most)->placed > (*least)->placed + 1;
}

static void rebalance(struct coordinator *c, struct effects *fx)
{
	struct member_row *most;
	struct member_row *least;
	if (c->now_ms < c->rebalance_ms || !extremes(c, &most, &least))
		return;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->shards, &at));) {
		struct shard_row *row = e->value;
		const struct shard *s = &row->placement.shard;
		if (!may_begin(row) || !all_in_sync(row) ||
		    placement_index(s, most->id) == s->replicas_count ||
		    placement_index(s, least->id) < s->replicas_count)
			continue;
		REACHED(move_for_balance);
		begin(c, row, most, least, "rebalance", fx);
		c->rebalance_ms = c->now_ms + REBALANCE_PAUSE_MS;
		return;
	}
}

void moves_plan(struct coordinator *c, struct effects *fx)
{
	uint32_t moves = survey(c);
	moves = empty_nodes(c, moves, fx);
	if (moves == 0 && c->options.rebalance)
		rebalance(c, fx);
}

void moves_pause(struct coordinator *c)
{
	c->rebalance_ms = c->now_ms + REBALANCE_AFTER_START_MS;
}

uint64_t moves_left(const struct coordinator *c, const struct member_row *m)
{
	uint64_t left = 0;
	size_t at = 0;
	for (struct map_entry *e; m->draining && (e = map_next(&c->shards, &at));) {
		const struct shard *s = &((struct shard_row *)e->value)->placement.shard;
		left += !s->dropped && placement_index(s, m->id) < s->replicas_count;
	}
	return left;
}

/* ---- what people ask for ---- */

static struct member_row *storage_named(const struct coordinator *c, struct slice name)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->members, &at));) {
		struct member_row *m = e->value;
		if (m->listed && m->role == ROLE_STORAGE && slice_equal(member_name(m), name))
			return m;
	}
	return NULL;
}

static enum status update(struct coordinator *c, const struct msg_node_update *m,
			  struct member_row *node, struct effects *fx)
{
	const struct member_row *by =
	    m->replaced_by.len > 0 ? storage_named(c, m->replaced_by) : NULL;
	if (!node)
		return STATUS_NOT_FOUND;
	if (m->replaced_by.len > 0 && (!m->drain || !by || by == node || by->draining))
		return STATUS_BAD_PARAMETER;
	uint64_t replaced_by = by ? by->id : 0;
	if (node->draining == m->drain && node->replaced_by == replaced_by)
		return STATUS_OK;
	if (c->disk_full)
		return STATUS_DISK_FULL;
	node->draining = m->drain;
	node->replaced_by = replaced_by;
	state_put_member(c, node, fx);
	state_map_changed(c);
	moves_pause(c);
	c->review_wanted = true;
	fx_log(fx, LOG_LEVEL_INFO, "node_updated member=%llu draining=%d replaced_by=%llu",
	       (unsigned long long)node->id, node->draining, (unsigned long long)replaced_by);
	return STATUS_OK;
}

void moves_on_update(struct coordinator *c, const struct event *e, struct effects *fx)
{
	const struct msg_node_update *m = e->message.body;
	struct member_row *node = storage_named(c, m->name);
	struct asking asking = {m->operation, m->until_ms, m->life};
	enum status status = coordinator_decides(c);
	if (status == STATUS_OK && !asked_before(c, asking, &status)) {
		status = update(c, m, node, fx);
		asked_note(c, asking, status);
	}
	struct msg_node_update_ack ack = {.status = status,
					  .replicas = node ? moves_left(c, node) : 0,
					  .clock_ms = (uint64_t)c->now_ms,
					  .life = c->life};
	fx_reply(fx, WHEN_DURABLE, e, MSG_node_update_ack, &ack);
}
