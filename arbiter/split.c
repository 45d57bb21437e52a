#include "arbiter/split.h"

#include "arbiter/internal.h"
#include "common/doc/revision.h"
#include "common/doc/shard_hash.h"
#include "common/probe.h"

/* ---- asking ---- */

static void digest_of(const struct decision *d, uint8_t out[16])
{
	struct buf all = {0};
	for (uint32_t i = 0; i < d->parts_count; i++) {
		buf_append(&all, d->parts[i].operation_id, sizeof d->parts[i].operation_id);
		buf_append(&all, d->parts[i].digest, sizeof d->parts[i].digest);
	}
	digest16(buf_slice(&all), out);
	buf_close(&all);
}

/* Where a document of the collection lies; NULL: not known, or it has no lead. */
static const struct shard_row *row_of(struct arbiter *a, uint64_t collection, struct slice id)
{
	uint64_t hash = shard_hash(id);
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&a->shards, &at));) {
		const struct shard_row *row = entry->value;
		const struct shard *s = &row->placement;
		if (s->collection == collection && !s->dropped && s->hash_first <= hash &&
		    hash <= s->hash_last)
			return s->lead ? row : NULL;
	}
	return NULL;
}

/* False: not all can be reached now. */
static bool find_leads(struct arbiter *a, const struct task *t, const struct decision *d,
		       const struct shard_row **rows)
{
	uint64_t collection = shard_row(a, t->shard)->placement.collection;
	for (uint32_t i = 0; i < d->parts_count; i++) {
		rows[i] = row_of(a, collection, d->parts[i].id);
		if (!rows[i])
			return false;
	}
	return true;
}

static void start(struct arbiter *a, struct task *t, const struct decision *d, struct effects *fx)
{
	struct split_run *run = &t->split;
	const struct shard_row *rows[SPLIT_PARTS_MAX];
	if (!find_leads(a, t, d, rows)) {
		arbiter_task_wait(a, t, fx);
		return;
	}
	*run = (struct split_run){.first_request = a->last_request + 1};
	digest_of(d, run->digest);
	for (uint32_t i = 0; i < d->parts_count; i++) {
		struct msg_doc_write write = split_part_write(&d->parts[i]);
		struct envelope envelope = request_new(a, MSG_doc_write, rows[i]->placement.epoch);
		write.shard = rows[i]->placement.id;
		run->leads[i] = rows[i]->placement.lead;
		run->waiting |= UINT64_C(1) << i;
		fx_send(fx, WHEN_NOW, run->leads[i], 0, &envelope, &write);
	}
	t->state = TASK_SPLITTING;
	t->request = run->first_request;
	t->due_ms = a->now_ms + REQUEST_MS;
}

bool arbiter_split_decide(struct arbiter *a, struct task *t, const struct msg_conflict_read_ack *m,
			  struct decision *d, struct effects *fx)
{
	uint8_t digest[16];
	if (d->parts_count == 0 || MUTATION(split_not_awaited))
		return true;
	digest_of(d, digest);
	if (!t->split.done || memcmp(digest, t->split.digest, sizeof digest) != 0) {
		start(a, t, d, fx);
		return false;
	}
	if (t->split.refused) {
		struct slice id = d->parts[t->split.taken].id;
		decide_open(m, buf_slice(&t->id), "split_taken", id, &a->arena, d);
	}
	return true;
}

/* ---- answers ---- */

static struct task *task_of(struct arbiter *a, const struct event *e, uint32_t *part)
{
	uint64_t request = e->message.envelope.request_id;
	for (uint32_t i = 0; i < TASKS_MAX; i++) {
		struct task *t = &a->tasks[i];
		const struct split_run *run = &t->split;
		if (t->state != TASK_SPLITTING || request < run->first_request ||
		    request - run->first_request >= SPLIT_PARTS_MAX)
			continue;
		*part = (uint32_t)(request - run->first_request);
		if ((run->waiting >> *part & 1) && run->leads[*part] == e->message.from.member)
			return t;
	}
	return NULL;
}

static bool is_taken(uint64_t status)
{
	return status == STATUS_PRECONDITION_FAILED || status == STATUS_OPERATION_ID_REUSED;
}

void arbiter_split_on_written(struct arbiter *a, const struct event *e, struct effects *fx)
{
	const struct msg_doc_write_ack *m = e->message.body;
	uint32_t part;
	struct task *t = task_of(a, e, &part);
	if (!t)
		return;
	struct split_run *run = &t->split;
	run->waiting &= ~(UINT64_C(1) << part);
	if (is_taken(m->status)) {
		run->refused = true;
		run->taken = part;
		run->waiting = 0;
	} else if (!status_is_success((enum status)m->status)) {
		arbiter_task_wait(a, t, fx);
		return;
	}
	run->done = run->waiting == 0;
	if (run->done)
		arbiter_task_read(a, t, fx);
}
