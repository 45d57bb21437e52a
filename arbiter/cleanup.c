/* Acknowledged cleanup. A round asks every replica that the placement lists, never "those that
 * answer", and goes on to the lead only when all of them, by incarnation, have acknowledged. It
 * waits for a silent replica as long as the placement lists it; another epoch makes the round void.
 */
#include "arbiter/internal.h"
#include "common/probe.h"

bool arbiter_cleanup_collects(const struct arbiter *a, const struct shard_row *row)
{
	return row->cleanup.state == CLEANUP_COLLECTING && row->cleanup.not_before_ms <= a->now_ms;
}

bool arbiter_cleanup_collect(struct shard_row *row, const struct cleanup_item *item)
{
	struct cleanup *c = &row->cleanup;
	if (c->items_count >= BOUND(cleanup_items, LIMIT_CLEANUP_ITEMS))
		return false;
	if (!c->items) {
		c->items = arena_alloc(&c->arena, LIMIT_CLEANUP_ITEMS * sizeof *c->items);
		c->acks = arena_alloc(&c->arena, LIMIT_CLEANUP_ITEMS * sizeof *c->acks);
	}
	c->items[c->items_count++] =
	    (struct cleanup_item){.id = arena_copy(&c->arena, item->id),
				  .resolution_id = arena_copy(&c->arena, item->resolution_id),
				  .number = item->number,
				  .purge = item->purge};
	return true;
}

/* Back to collecting; with `progress` the next round need not wait. */
static void round_end(struct arbiter *a, struct shard_row *row, bool progress)
{
	struct cleanup *c = &row->cleanup;
	int64_t pause_ms = 0;
	if (!progress)
		pause_ms = c->pause_ms ? earlier(2 * c->pause_ms, CLEANUP_RETRY_LONGEST_MS)
				       : CLEANUP_RETRY_MS;
	arena_close(&c->arena);
	*c = (struct cleanup){.pause_ms = pause_ms,
			      .not_before_ms = a->now_ms + pause_ms,
			      .since_wall_ms = c->since_wall_ms};
}

void arbiter_cleanup_abort(struct arbiter *a, struct shard_row *row, struct effects *fx)
{
	struct cleanup *c = &row->cleanup;
	if (c->state != CLEANUP_COLLECTING) {
		a->counters.cleanup_restarts++;
		fx_log(fx, LOG_LEVEL_INFO, "cleanup_restarts shard=%016llx items=%u",
		       (unsigned long long)row->placement.id, c->items_count);
	}
	round_end(a, row, true);
}

/* ---- asking ---- */

static void send_prepare(struct arbiter *a, struct shard_row *row, struct cleanup_replica *r,
			 struct effects *fx)
{
	struct cleanup *c = &row->cleanup;
	struct msg_cleanup_prepare prepare = {
	    .shard = row->placement.id, .items = c->items, .items_count = c->items_count};
	struct envelope envelope = {
	    .type = MSG_cleanup_prepare, .request_id = r->request, .epoch = row->placement.epoch};
	fx_send(fx, WHEN_NOW, r->node, 0, &envelope, &prepare);
	r->retry_ms =
	    a->now_ms + backoff_ms(CLEANUP_RETRY_MS, CLEANUP_RETRY_LONGEST_MS, r->attempts++);
}

void arbiter_cleanup_start(struct arbiter *a, struct shard_row *row, struct effects *fx)
{
	struct cleanup *c = &row->cleanup;
	if (c->state != CLEANUP_COLLECTING || c->items_count == 0 || a->draining)
		return;
	c->state = CLEANUP_PREPARING;
	if (c->since_wall_ms == 0)
		c->since_wall_ms = a->wall_ms;
	c->replicas_count = row->placement.replicas_count;
	a->counters.cleanup_rounds++;
	for (uint32_t i = 0; i < c->replicas_count; i++) {
		c->replicas[i] =
		    (struct cleanup_replica){.node = row->replicas[i].node,
					     .incarnation = row->replicas[i].incarnation,
					     .request = ++a->last_request};
		send_prepare(a, row, &c->replicas[i], fx);
	}
}

uint32_t arbiter_cleanup_waits_for(const struct arbiter *a, const struct shard_row *row,
				   struct slice names[LIMIT_REPLICAS])
{
	const struct cleanup *c = &row->cleanup;
	uint32_t count = 0;
	for (uint32_t i = 0; c->state == CLEANUP_PREPARING && i < c->replicas_count; i++) {
		const char *name = map_get_u64(&a->members, c->replicas[i].node);
		if (!c->replicas[i].acked && c->replicas[i].attempts > 1 && name)
			names[count++] = slice_text(name);
	}
	return count;
}

static void send_commit(struct arbiter *a, struct shard_row *row, struct effects *fx)
{
	struct cleanup *c = &row->cleanup;
	struct cleanup_ack_row acks[LIMIT_REPLICAS];
	for (uint32_t i = 0; i < c->replicas_count; i++)
		acks[i] = (struct cleanup_ack_row){.node = c->replicas[i].node,
						   .incarnation = c->replicas[i].incarnation,
						   .number = c->replicas[i].number};
	struct msg_cleanup_commit commit = {.shard = row->placement.id,
					    .items = c->items,
					    .items_count = c->items_count,
					    .acks = acks,
					    .acks_count = c->replicas_count};
	struct envelope envelope = {.type = MSG_cleanup_commit,
				    .request_id = c->commit_request,
				    .epoch = row->placement.epoch};
	fx_send(fx, WHEN_NOW, row->placement.lead, 0, &envelope, &commit);
	c->commit_retry_ms = a->now_ms + REQUEST_MS;
	c->commit_attempts++;
}

int64_t arbiter_cleanup_deadline(const struct shard_row *row)
{
	const struct cleanup *c = &row->cleanup;
	int64_t at = c->state == CLEANUP_COMMITTING ? c->commit_retry_ms : NO_DEADLINE;
	for (uint32_t i = 0; c->state == CLEANUP_PREPARING && i < c->replicas_count; i++)
		if (!c->replicas[i].acked)
			at = earlier(at, c->replicas[i].retry_ms);
	return at;
}

void arbiter_cleanup_timer(struct arbiter *a, struct shard_row *row, struct effects *fx)
{
	struct cleanup *c = &row->cleanup;
	if (arbiter_cleanup_deadline(row) > a->now_ms)
		return;
	if (c->state == CLEANUP_PREPARING) {
		for (uint32_t i = 0; i < c->replicas_count; i++)
			if (!c->replicas[i].acked && c->replicas[i].retry_ms <= a->now_ms)
				send_prepare(a, row, &c->replicas[i], fx);
	} else if (c->commit_attempts < BOUND(commit_attempts, COMMIT_ATTEMPTS_MAX)) {
		send_commit(a, row, fx);
	} else {
		a->counters.cleanup_restarts++;
		round_end(a, row, false);
	}
}

/* ---- answers ---- */

/* Marks the items that the replica acknowledges and has passed. Both lists have the same order, as
 * a rule. */
static void mark_items(struct cleanup *c, uint32_t replica, const struct msg_cleanup_prepare_ack *m)
{
	uint32_t at = 0;
	for (uint32_t i = 0; i < m->items_count; i++) {
		for (uint32_t tried = 0; tried < c->items_count; tried++) {
			const struct cleanup_item *item = &c->items[at];
			bool same = slice_equal(item->resolution_id, m->items[i].resolution_id) &&
				    slice_equal(item->id, m->items[i].id);
			if (same && m->number >= item->number)
				c->acks[at] |= (uint8_t)(1u << replica);
			at = at + 1 < c->items_count ? at + 1 : 0;
			if (same)
				break;
		}
	}
}

/* Leaves out what a replica did not acknowledge: the next pass finds it again. */
static void keep_acknowledged(struct cleanup *c)
{
	uint8_t all = (uint8_t)((1u << c->replicas_count) - 1);
	for (uint32_t i = 0; i < c->items_count; i++)
		if (MUTATION(cleanup_by_one_less) ||
		    (c->items[i].purge && MUTATION(purge_by_one_less)))
			c->acks[i] |= 1;
	uint32_t kept = 0;
	for (uint32_t i = 0; i < c->items_count; i++)
		if (c->acks[i] == all)
			c->items[kept++] = c->items[i];
	c->items_count = kept;
}

/* Who answered while another kept the round waiting may have taken a branch since. */
static bool ask_stale_again(struct arbiter *a, struct shard_row *row, struct effects *fx)
{
	struct cleanup *c = &row->cleanup;
	bool any = false;
	for (uint32_t i = 0; i < c->replicas_count; i++) {
		struct cleanup_replica *r = &c->replicas[i];
		if (!r->acked || a->now_ms - r->acked_ms < CLEANUP_FRESH_MS)
			continue;
		for (uint32_t k = 0; k < c->items_count; k++)
			c->acks[k] &= (uint8_t) ~(1u << i);
		r->acked = false;
		r->attempts = 0;
		r->request = ++a->last_request;
		send_prepare(a, row, r, fx);
		any = true;
	}
	return any;
}

static void proceed_if_all(struct arbiter *a, struct shard_row *row, struct effects *fx)
{
	struct cleanup *c = &row->cleanup;
	bool less = MUTATION(cleanup_by_one_less) || MUTATION(purge_by_one_less);
	for (uint32_t i = less; i < c->replicas_count; i++)
		if (!c->replicas[i].acked)
			return;
	if (ask_stale_again(a, row, fx))
		return;
	keep_acknowledged(c);
	if (c->items_count == 0) {
		round_end(a, row, false);
		return;
	}
	c->state = CLEANUP_COMMITTING;
	c->commit_request = ++a->last_request;
	send_commit(a, row, fx);
}

void arbiter_cleanup_on_prepared(struct arbiter *a, const struct event *e, struct effects *fx)
{
	const struct msg_cleanup_prepare_ack *m = e->message.body;
	struct shard_row *row = shard_row(a, m->shard);
	if (!row || row->cleanup.state != CLEANUP_PREPARING ||
	    e->message.envelope.epoch != row->placement.epoch || m->status != STATUS_OK)
		return;
	struct cleanup *c = &row->cleanup;
	for (uint32_t i = 0; i < c->replicas_count; i++) {
		struct cleanup_replica *r = &c->replicas[i];
		if (r->node != e->message.from.member ||
		    r->request != e->message.envelope.request_id || r->acked)
			continue;
		if (r->incarnation != m->incarnation) {
			a->counters.cleanup_refused++;
			continue;
		}
		r->acked = true;
		r->acked_ms = a->now_ms;
		r->number = m->number;
		mark_items(c, i, m);
		proceed_if_all(a, row, fx);
		return;
	}
}

void arbiter_cleanup_on_committed(struct arbiter *a, const struct event *e, struct effects *fx)
{
	const struct msg_cleanup_commit_ack *m = e->message.body;
	struct shard_row *row = shard_row(a, m->shard);
	if (!row || row->cleanup.state != CLEANUP_COMMITTING || m->status != STATUS_OK ||
	    e->message.envelope.request_id != row->cleanup.commit_request ||
	    e->message.from.member != row->placement.lead)
		return;
	a->counters.cleanup_items += m->cleaned;
	fx_log(fx, LOG_LEVEL_DEBUG, "cleanup_done shard=%016llx items=%u cleaned=%llu",
	       (unsigned long long)row->placement.id, row->cleanup.items_count,
	       (unsigned long long)m->cleaned);
	bool full = row->cleanup.items_count >= BOUND(cleanup_items, LIMIT_CLEANUP_ITEMS);
	if (m->cleaned > 0)
		row->cleanup.since_wall_ms = 0;
	round_end(a, row, m->cleaned > 0);
	if (full && m->cleaned > 0)
		arbiter_queue_wake(a, row); /* there may be more than fitted into the round */
}
