/* The conflict queue of each shard, page by page from its lead. A pass that found nothing makes the
 * next pause longer; conflicts that stayed open are remembered, so that they are not taken up again
 * and again. */
#include <stdlib.h>

#include "arbiter/internal.h"
#include "common/base/memory.h"
#include "common/probe.h"
#include "proto/msgpack.h"

static int64_t poll_ms(const struct arbiter *a)
{
	return a->options.poll_ms ? (int64_t)a->options.poll_ms : POLL_MS;
}

void arbiter_queue_free(struct shard_row *row)
{
	arena_close(&row->cleanup.arena);
	buf_close(&row->after);
	free(row);
}

void arbiter_queue_reset(struct arbiter *a, struct shard_row *row)
{
	row->list_request = 0;
	row->found_work = false;
	row->counting = row->counted = (struct queue_counts){0};
	row->pause_ms = poll_ms(a);
	buf_clear(&row->after);
	arbiter_queue_wake(a, row);
}

void arbiter_queue_wake(struct arbiter *a, struct shard_row *row)
{
	if (row->list_request == 0)
		row->list_ms = a->now_ms;
}

int64_t arbiter_queue_deadline(const struct shard_row *row)
{
	bool has_queue = row->leased && row->placement.lead != 0 && !row->placement.dropped;
	return has_queue ? row->list_ms : NO_DEADLINE;
}

void arbiter_queue_timer(struct arbiter *a, struct shard_row *row, struct effects *fx)
{
	if (arbiter_queue_deadline(row) > a->now_ms || a->draining)
		return;
	struct msg_conflict_list list = {.shard = row->placement.id,
					 .after = buf_slice(&row->after),
					 .limit = BOUND(arbiter_list, LIST_ROWS)};
	struct slice waiting[LIMIT_REPLICAS];
	list.waiting = waiting;
	list.waiting_count = arbiter_cleanup_waits_for(a, row, waiting);
	if (list.waiting_count > 0)
		list.waiting_since = (uint64_t)row->cleanup.since_wall_ms;
	if (row->list_request == 0) {
		row->list_request = ++a->last_request;
		row->list_tries = 0;
	}
	struct envelope envelope = {.type = MSG_conflict_list,
				    .request_id = row->list_request,
				    .epoch = row->placement.epoch};
	fx_send(fx, WHEN_NOW, row->placement.lead, 0, &envelope, &list);
	row->list_ms = a->now_ms + backoff_ms(REQUEST_MS, REQUEST_LONGEST_MS, row->list_tries++);
}

static void forget_values(struct map *m)
{
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(m, &at));)
		free(entry->value);
	map_clear(m);
}

/* ---- what stayed open ---- */

static struct slice known_key(struct arbiter *a, const struct shard_row *row, struct slice id)
{
	buf_clear(&a->key);
	buf_append_be64(&a->key, row->placement.id);
	buf_append_slice(&a->key, id);
	return buf_slice(&a->key);
}

static void digest_of(const struct conflict *conflict, uint64_t policy_version, uint8_t out[16])
{
	struct buf form = {0};
	mp_write_u64(&form, conflict->number);
	mp_write_u64(&form, policy_version);
	for (uint32_t i = 0; i < conflict->leaves_count; i++) {
		mp_write_u64(&form, conflict->leaves[i].generation);
		mp_write_bin(&form, conflict->leaves[i].hash);
	}
	digest16(buf_slice(&form), out);
	buf_close(&form);
}

static uint64_t leaves_of(const struct conflict *conflict)
{
	return conflict->leaves_all > 0 ? conflict->leaves_all : conflict->leaves_count;
}

/* To read and merge thousands of leaves again for each one that comes would keep everybody busy. */
static bool is_pausing(const struct arbiter *a, const struct known *known,
		       const struct conflict *conflict, uint64_t policy)
{
	return known->pause_ms > a->now_ms && known->policy == policy &&
	       leaves_of(conflict) > known->leaves / 2;
}

bool arbiter_queue_is_known(struct arbiter *a, const struct shard_row *row, struct slice id,
			    const struct conflict *conflict)
{
	uint8_t digest[16];
	const struct known *known = map_get(&a->known, known_key(a, row, id));
	if (!known || known->until_ms <= a->now_ms)
		return false;
	const struct collection_row *collection =
	    map_get_u64(&a->collections, row->placement.collection);
	uint64_t policy = collection ? collection->version : 0;
	if (is_pausing(a, known, conflict, policy))
		return true;
	digest_of(conflict, policy, digest);
	return memcmp(digest, known->digest, sizeof digest) == 0;
}

void arbiter_queue_remember(struct arbiter *a, const struct shard_row *row, struct slice id,
			    const struct msg_conflict_read_ack *graph, bool costly)
{
	struct known *before = map_get(&a->known, known_key(a, row, id));
	struct known known = {.costly = costly,
			      .leaves = leaves_of(&graph->conflict),
			      .policy = graph->policy_version};
	digest_of(&graph->conflict, graph->policy_version, known.digest);
	if (before && memcmp(before->digest, known.digest, sizeof known.digest) == 0)
		known.costly += before->costly;
	known.until_ms = a->now_ms + backoff_ms(KNOWN_MS, KNOWN_COSTLY_MS,
						known.costly > 0 ? known.costly - 1 : 0);
	if (known.leaves > PAUSE_LEAVES)
		known.pause_ms = a->now_ms + (int64_t)known.leaves * PAUSE_MS_A_LEAF;
	if (!before && a->known.count >= BOUND(arbiter_known, KNOWN_MAX))
		forget_values(&a->known);
	if (!before) {
		before = mem_alloc(sizeof *before);
		map_put(&a->known, known_key(a, row, id), before);
	}
	*before = known;
}

void arbiter_queue_forget(struct arbiter *a, const struct shard_row *row, struct slice id)
{
	free(map_remove(&a->known, known_key(a, row, id)));
}

void arbiter_queue_remind(struct arbiter *a, const struct shard_row *row, struct slice id,
			  int64_t ms)
{
	struct known *known = map_get(&a->known, known_key(a, row, id));
	if (known && known->until_ms > a->now_ms + ms)
		known->until_ms = a->now_ms + ms;
	if (known && known->pause_ms > known->until_ms)
		known->pause_ms = known->until_ms;
}

/* ---- a page ---- */

/* Since when it is known that there is a resolution of this number. A shard numbers them in order,
 * so a few marks do for any number of them. The last moves on until the one before it is a step
 * old: else those that keep coming would use up all marks, or keep the last one young. When the
 * first is dropped, the second has been there for the whole retention, too. */
static int64_t seen_ms(const struct arbiter *a, struct shard_row *row, uint64_t number,
		       uint64_t retain_ms)
{
	const uint32_t most = sizeof row->ahead / sizeof row->ahead[0];
	uint64_t step_ms = retain_ms / AHEAD_STEPS + 1;
	for (uint32_t i = 0; i < row->ahead_count; i++)
		if (number <= row->ahead[i].number)
			return row->ahead[i].seen_ms;
	uint32_t at = row->ahead_count;
	if (at >= 2 && (uint64_t)(a->now_ms - row->ahead[at - 2].seen_ms) < step_ms) {
		at--;
	} else if (at == most) {
		at--;
		memmove(row->ahead, row->ahead + 1, at * sizeof row->ahead[0]);
	}
	row->ahead[at] = (struct ahead){.number = number, .seen_ms = a->now_ms};
	row->ahead_count = at + 1;
	return a->now_ms;
}

/* How long ago it was resolved. Of a time that is still to come (the lead's clock is ahead of
 * ours): since it was first seen here. */
static uint64_t age_ms(const struct arbiter *a, struct shard_row *row,
		       const struct conflict *conflict, uint64_t retain_ms)
{
	uint64_t wall_ms = a->wall_ms > 0 ? (uint64_t)a->wall_ms : 0;
	if (conflict->resolved_ms <= wall_ms)
		return wall_ms - conflict->resolved_ms;
	return (uint64_t)(a->now_ms - seen_ms(a, row, conflict->number, retain_ms));
}

static void take_resolved(struct arbiter *a, struct shard_row *row, const struct conflict_row *r)
{
	const struct collection_row *collection =
	    map_get_u64(&a->collections, row->placement.collection);
	if (!collection || !arbiter_cleanup_collects(a, row) || r->conflict.resolution_id.len != 16)
		return;
	if (age_ms(a, row, &r->conflict, collection->retain_ms) < collection->retain_ms)
		return;
	struct cleanup_item item = {
	    .id = r->id, .resolution_id = r->conflict.resolution_id, .number = r->conflict.number};
	row->found_work |= arbiter_cleanup_collect(row, &item);
}

/* What the lead says has been deleted for long enough. */
static void take_tombstones(struct arbiter *a, struct shard_row *row,
			    const struct msg_conflict_list_ack *m)
{
	for (uint32_t i = 0; i < m->tombstones_count && arbiter_cleanup_collects(a, row); i++) {
		struct cleanup_item item = m->tombstones[i];
		item.purge = true;
		item.resolution_id = slice_of(NULL, 0);
		row->found_work |= arbiter_cleanup_collect(row, &item);
	}
}

/* Under the policy `none`, by the lead's word and the map's, what is in the row says enough: the
 * versions need not be read. */
static bool leave_open(struct arbiter *a, struct shard_row *row, const struct conflict_row *r,
		       struct effects *fx)
{
	const struct conflict *conflict = &r->conflict;
	const struct collection_row *collection =
	    map_get_u64(&a->collections, row->placement.collection);
	if (!collection || !collection->none || conflict->policy != collection->version)
		return false;
	struct decision d = {.note = {.shard = row->placement.id,
				      .id = r->id,
				      .leaves = conflict->leaves,
				      .leaves_count = conflict->leaves_count}};
	decision_leave_open(&d, "policy_none", (struct slice){0}, &a->arena);
	decision_heed_held(&d, conflict->held, &a->arena);
	struct envelope envelope = {.type = MSG_conflict_note, .epoch = row->placement.epoch};
	fx_send(fx, WHEN_NOW, row->placement.lead, 0, &envelope, &d.note);
	struct msg_conflict_read_ack seen = {.conflict = *conflict,
					     .policy_version = collection->version};
	arbiter_queue_remember(a, row, r->id, &seen, false);
	a->counters.noted++;
	return true;
}

/* False: there is no room for it now. */
static bool take_open(struct arbiter *a, struct shard_row *row, const struct conflict_row *r,
		      struct effects *fx)
{
	if (arbiter_task_exists(a, row->placement.id, r->id)) {
		row->found_work = true;
		return true;
	}
	if (arbiter_queue_is_known(a, row, r->id, &r->conflict))
		return true;
	if (!leave_open(a, row, r, fx) && !arbiter_task_start(a, row, r->id, fx))
		return false;
	row->found_work = true;
	return true;
}

static void count_row(struct shard_row *row, const struct conflict *c)
{
	struct queue_counts *counts = &row->counting;
	if (c->state == CONFLICT_RESOLVED) {
		counts->resolved++;
		return;
	}
	counts->open[c->kind <= CONFLICT_KIND_MAX ? c->kind : CONFLICT_EDITS]++;
	if (counts->oldest_ms == 0 || c->since_ms < counts->oldest_ms)
		counts->oldest_ms = c->since_ms;
}

/* Handles rows until there is no room; `after` then names the last one handled. */
static bool take_rows(struct arbiter *a, struct shard_row *row,
		      const struct msg_conflict_list_ack *m, struct effects *fx)
{
	for (uint32_t i = 0; i < m->rows_count; i++) {
		const struct conflict_row *r = &m->rows[i];
		if (r->conflict.state == CONFLICT_RESOLVED)
			take_resolved(a, row, r);
		else if (!take_open(a, row, r, fx))
			return false;
		count_row(row, &r->conflict);
		buf_clear(&row->after);
		buf_append_slice(&row->after, r->id);
	}
	return true;
}

static void end_pass(struct arbiter *a, struct shard_row *row, struct effects *fx)
{
	row->pause_ms = row->found_work ? poll_ms(a) : backoff_ms(row->pause_ms, POLL_IDLE_MS, 1);
	row->list_ms = a->now_ms + row->pause_ms;
	row->found_work = false;
	row->counted = row->counting;
	row->counting = (struct queue_counts){0};
	buf_clear(&row->after);
	arbiter_cleanup_start(a, row, fx);
}

void arbiter_queue_on_list(struct arbiter *a, const struct event *e, struct effects *fx)
{
	const struct msg_conflict_list_ack *m = e->message.body;
	struct shard_row *row = shard_row(a, m->shard);
	if (!row || row->list_request == 0 || e->message.envelope.request_id != row->list_request ||
	    e->message.from.member != row->placement.lead)
		return;
	row->list_request = 0;
	if (m->status != STATUS_OK) {
		row->pause_ms = backoff_ms(row->pause_ms, POLL_IDLE_MS, 1);
		row->list_ms = a->now_ms + row->pause_ms;
		return;
	}
	take_tombstones(a, row, m);
	if (!take_rows(a, row, m, fx)) {
		row->list_ms = a->now_ms + poll_ms(a);
	} else if (m->more && m->rows_count > 0) {
		row->list_ms = a->now_ms + (row->found_work ? 0 : row->pause_ms);
	} else {
		end_pass(a, row, fx);
	}
}
