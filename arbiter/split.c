#include "arbiter/split.h"

#include "arbiter/internal.h"
#include "common/doc/revision.h"
#include "common/doc/shard_hash.h"
#include "common/probe.h"

static uint64_t bit(uint32_t part)
{
	return UINT64_C(1) << part;
}

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

/* To the lead of a shard, about the part or, for chunks, about what is carried: slot 0. */
struct question {
	uint32_t slot;
	const struct shard_row *row;
	uint16_t type;
	const void *message; /* borrowed */
};

static void ask(struct arbiter *a, struct task *t, const struct question *q, struct effects *fx)
{
	struct split_run *run = &t->split;
	struct envelope envelope = request_new(a, q->type, q->row->placement.epoch);
	run->requests[q->slot] = envelope.request_id;
	run->leads[q->slot] = q->row->placement.lead;
	run->waiting |= bit(q->slot);
	fx_send(fx, WHEN_NOW, run->leads[q->slot], 0, &envelope, q->message);
	t->state = TASK_SPLITTING;
	t->request = envelope.request_id;
	t->due_ms = arbiter_task_answer_due_ms(a, t);
}

static void send_check(struct arbiter *a, struct task *t, const struct decision *d, uint32_t part,
		       const struct shard_row *row, struct effects *fx)
{
	struct msg_derived_check check = split_part_check(&d->parts[part]);
	struct question question = {part, row, MSG_derived_check, &check};
	check.shard = row->placement.id;
	ask(a, t, &question, fx);
}

static void send_write(struct arbiter *a, struct task *t, const struct decision *d, uint32_t part,
		       const struct shard_row *row, struct effects *fx)
{
	struct msg_doc_write write = split_part_write(&d->parts[part]);
	struct question question = {part, row, MSG_doc_write, &write};
	write.shard = row->placement.id;
	if (t->split.carried & bit(part))
		write.body = content_carry_body(write.body, write.operation_id, &a->arena);
	ask(a, t, &question, fx);
}

static void ask_chunk(struct arbiter *a, struct task *t, struct effects *fx)
{
	struct msg_attachment_read read = content_carry_read(&t->split.carry);
	const struct shard_row *row = shard_row(a, t->shard);
	struct question question = {0, row, MSG_attachment_read, &read};
	if (!row || !row->placement.lead) {
		arbiter_task_wait(a, t, fx);
		return;
	}
	read.shard = t->shard;
	t->split.waiting = 0;
	ask(a, t, &question, fx);
}

/* ---- stages ---- */

static void refuse(struct split_run *run, enum status status, uint32_t part)
{
	run->refused = status;
	run->part = part;
	run->stage = SPLIT_DONE;
}

static uint32_t first_of(uint64_t bits)
{
	uint32_t part = 0;
	while (!(bits & bit(part)))
		part++;
	return part;
}

/* One that was under way goes on where it was. */
static void carry(struct arbiter *a, struct task *t, const struct decision *d,
		  const struct shard_row **rows, struct effects *fx)
{
	struct split_run *run = &t->split;
	if (!run->carries) {
		run->part = first_of(run->lacking);
		arena_reset(&run->arena);
		const struct split_part *part = &d->parts[run->part];
		run->carries = content_carry_begin(&run->carry, part->body, split_operation(part),
						   &run->arena) &&
			       !content_carry_is_done(&run->carry);
	}
	run->target = rows[run->part]->placement.id;
	if (!run->carries) {
		refuse(run, STATUS_BAD_ATTACHMENT, run->part);
		arbiter_task_read(a, t, fx);
		return;
	}
	ask_chunk(a, t, fx);
}

static void go_on(struct arbiter *a, struct task *t, const struct decision *d, struct effects *fx)
{
	struct split_run *run = &t->split;
	const struct shard_row *rows[SPLIT_PARTS_MAX];
	if (!find_leads(a, t, d, rows)) {
		arbiter_task_wait(a, t, fx);
		return;
	}
	run->waiting = 0;
	if (run->stage == SPLIT_CARRY) {
		carry(a, t, d, rows, fx);
		return;
	}
	if (run->stage == SPLIT_CHECK)
		run->lacking = 0;
	run->versions = false;
	for (uint32_t i = 0; i < d->parts_count; i++) {
		bool version = d->parts[i].base != NULL;
		run->versions |= version;
		if (run->stage == SPLIT_CHECK)
			send_check(a, t, d, i, rows[i], fx);
		else if (version == (run->stage == SPLIT_VERSIONS))
			send_write(a, t, d, i, rows[i], fx);
	}
}

static void begin(struct split_run *run)
{
	run->stage = SPLIT_CHECK;
	run->lacking = run->carried = 0;
	run->carries = false;
	run->refused = STATUS_OK;
}

bool arbiter_split_decide(struct arbiter *a, struct task *t, struct decision *d, struct effects *fx)
{
	struct split_run *run = &t->split;
	uint8_t digest[16];
	if (d->parts_count == 0 || MUTATION(split_not_awaited))
		return true;
	digest_of(d, digest);
	if (memcmp(digest, run->digest, sizeof digest) != 0) {
		memcpy(run->digest, digest, sizeof digest);
		begin(run);
	}
	if (run->stage != SPLIT_DONE) {
		go_on(a, t, d, fx);
		return false;
	}
	if (run->refused != STATUS_OK)
		decision_split_refused(d, run->refused, d->parts[run->part].id, &a->arena);
	return true;
}

void arbiter_split_end(struct task *t)
{
	arena_close(&t->split.arena);
	t->split = (struct split_run){.stage = SPLIT_CHECK};
}

/* ---- answers ---- */

static struct task *task_of(struct arbiter *a, const struct event *e, uint32_t *slot)
{
	uint64_t request = e->message.envelope.request_id;
	for (uint32_t i = 0; i < TASKS_MAX; i++) {
		struct task *t = &a->tasks[i];
		const struct split_run *run = &t->split;
		for (*slot = 0; t->state == TASK_SPLITTING && *slot < SPLIT_PARTS_MAX; ++*slot)
			if ((run->waiting & bit(*slot)) && run->requests[*slot] == request &&
			    run->leads[*slot] == e->message.from.member)
				return t;
	}
	return NULL;
}

/* Whatever is asked again, the answer is this. */
static bool is_final(uint64_t status)
{
	return split_is_taken(status) || status == STATUS_BODY_TOO_LARGE ||
	       status == STATUS_LIMIT_REACHED || status == STATUS_BAD_MESSAGE ||
	       status == STATUS_BAD_ATTACHMENT;
}

/* All parts have been answered for: the next stage. */
static void stage_ended(struct arbiter *a, struct task *t, struct effects *fx)
{
	struct split_run *run = &t->split;
	if (run->stage == SPLIT_WRITE && run->versions)
		run->stage = SPLIT_VERSIONS;
	else if (run->stage == SPLIT_WRITE || run->stage == SPLIT_VERSIONS)
		run->stage = SPLIT_DONE;
	else
		run->stage = run->lacking ? SPLIT_CARRY : SPLIT_WRITE;
	arbiter_task_read(a, t, fx);
}

void arbiter_split_on_written(struct arbiter *a, const struct event *e, struct effects *fx)
{
	const struct msg_doc_write_ack *m = e->message.body;
	uint32_t part;
	struct task *t = task_of(a, e, &part);
	if (!t || t->split.stage == SPLIT_CARRY)
		return;
	struct split_run *run = &t->split;
	run->waiting &= ~bit(part);
	if (m->status == STATUS_MISSING_ATTACHMENT && run->stage == SPLIT_CHECK) {
		run->lacking |= bit(part);
	} else if (is_final(m->status)) {
		refuse(run, (enum status)m->status, part);
		arbiter_task_read(a, t, fx);
		return;
	} else if (!status_is_success((enum status)m->status)) {
		begin(run);
		arbiter_task_wait(a, t, fx);
		return;
	}
	if (run->waiting == 0)
		stage_ended(a, t, fx);
}

static struct task *carrier_of(struct arbiter *a, const struct event *e)
{
	uint32_t slot;
	struct task *t = task_of(a, e, &slot);
	return t && t->split.stage == SPLIT_CARRY && t->split.carries ? t : NULL;
}

void arbiter_split_on_chunk_read(struct arbiter *a, const struct event *e, struct effects *fx)
{
	const struct msg_attachment_read_ack *m = e->message.body;
	struct task *t = carrier_of(a, e);
	if (!t)
		return;
	struct split_run *run = &t->split;
	const struct shard_row *row = shard_row(a, run->target);
	run->waiting = 0;
	if (m->status == STATUS_NOT_FOUND) { /* if the graph still names it, it is nowhere */
		refuse(run, STATUS_MISSING_ATTACHMENT, run->part);
		arbiter_task_read(a, t, fx);
		return;
	}
	if (m->status != STATUS_OK || !row || !row->placement.lead) {
		arbiter_task_wait(a, t, fx);
		return;
	}
	struct msg_attachment_chunk chunk = content_carry_chunk(&run->carry, m->body);
	struct question question = {0, row, MSG_attachment_chunk, &chunk};
	chunk.shard = run->target;
	ask(a, t, &question, fx);
}

/* CREATED: that chunk was there already. */
void arbiter_split_on_chunk_sent(struct arbiter *a, const struct event *e, struct effects *fx)
{
	const struct msg_attachment_chunk_ack *m = e->message.body;
	struct task *t = carrier_of(a, e);
	if (!t)
		return;
	struct split_run *run = &t->split;
	run->waiting = 0;
	if (m->status == STATUS_NOT_FOUND) {
		/* what came before is gone: taken by a document, perhaps by this one */
		begin(run);
		arbiter_task_wait(a, t, fx);
		return;
	}
	if (is_final(m->status)) {
		refuse(run, (enum status)m->status, run->part);
		arbiter_task_read(a, t, fx);
		return;
	}
	if (m->status != STATUS_OK && m->status != STATUS_CREATED) {
		arbiter_task_wait(a, t, fx);
		return;
	}
	t->attempts = 0;
	content_carry_go_on(&run->carry);
	if (!content_carry_is_done(&run->carry)) {
		ask_chunk(a, t, fx);
		return;
	}
	REACHED(split_carried);
	run->carries = false;
	run->lacking &= ~bit(run->part);
	run->carried |= bit(run->part);
	stage_ended(a, t, fx);
}
