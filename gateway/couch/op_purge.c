/* _purge: versions go for good, with one message to each shard. */
#include "gateway/couch/auth.h"
#include "gateway/couch/shards.h"
#include "gateway/lock.h"
#include "gateway/routes.h"

struct purge {
	struct couch_asked asked;
	struct couch_group *groups;
	struct msg_doc_erase *messages; /* of each group */
	struct slice *gone;             /* of each document: its list, printed */
	enum status *statuses;          /* of each document */
	uint32_t groups_count;
	uint32_t left; /* groups without an answer yet */
};

/* What the request is refused with; OK: nothing of it is. */
static enum status refusal_of(const struct purge *op)
{
	enum status refusal = STATUS_OK;
	for (uint32_t i = 0; i < op->asked.count && refusal != STATUS_OUTCOME_UNKNOWN; i++)
		if (op->statuses[i] != STATUS_OK &&
		    (refusal == STATUS_OK || op->statuses[i] == STATUS_OUTCOME_UNKNOWN))
			refusal = op->statuses[i];
	return refusal;
}

static bool is_any_gone(const struct purge *op)
{
	for (uint32_t i = 0; i < op->asked.count; i++)
		if (op->gone[i].len > 0)
			return true;
	return false;
}

static void print_purged(const struct purge *op, uint32_t index, struct buf *out)
{
	struct problem problem;
	bool done = op->statuses[index] == STATUS_OK;
	json_string(op->asked.ids[index], out);
	buf_append_text(out, done ? ":[" : ":{");
	if (done) {
		buf_append_slice(out, op->gone[index]);
	} else {
		write_problem(WRITE_DELETE, op->statuses[index], NULL, &problem);
		couch_error_members(&problem, out);
	}
	buf_append_byte(out, done ? ']' : '}');
}

/* A refusal says that nothing was changed: where something was, each document has its own. */
static void purge_answer(struct turn *t, struct request *r, const struct purge *op)
{
	enum status refusal = refusal_of(op);
	if (refusal != STATUS_OK && !is_any_gone(op)) {
		struct problem problem;
		write_problem(WRITE_DELETE, refusal, NULL, &problem);
		answer_problem(t, r, &problem);
		return;
	}
	struct reply *reply = reply_begin(t, refusal == STATUS_OK ? 201 : 202);
	struct buf *out = &reply->body;
	buf_append_text(out, "{\"purge_seq\":null,\"purged\":{");
	for (uint32_t i = 0; i < op->asked.count; i++) {
		buf_append_text(out, i > 0 ? "," : "");
		print_purged(op, i, out);
	}
	buf_append_text(out, "}}");
	reply_send(t, r, reply);
}

static void take_item(struct turn *t, struct request *r, const struct erased *item,
		      struct slice *gone)
{
	struct buf *out = &t->gw->scratch;
	buf_clear(out);
	for (uint32_t i = 0; i < item->revisions_count; i++) {
		buf_append_text(out, i > 0 ? "," : "");
		json_revision(&item->revisions[i], out);
	}
	*gone = arena_copy(&r->arena, buf_slice(out));
}

static void group_done(struct turn *t, struct request *r, uint32_t index, enum status status,
		       const void *body)
{
	struct purge *op = r->op;
	const struct msg_doc_erase_ack *ack = body;
	const struct couch_group *group = &op->groups[index];
	for (uint32_t i = 0; i < group->count; i++) {
		couch_wrote(t, r, op->asked.ids[group->items[i]]);
		op->statuses[group->items[i]] = status;
	}
	for (uint32_t i = 0; ack && status == STATUS_OK && i < ack->items_count; i++) {
		const struct erased *item = &ack->items[i];
		if (item->index >= group->count)
			continue;
		uint32_t at = group->items[item->index];
		op->statuses[at] = status_row(item->status)->status;
		take_item(t, r, item, &op->gone[at]);
	}
	if (--op->left == 0)
		purge_answer(t, r, op);
}

static void purge_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct purge *op = r->op;
	op->groups_count = couch_groups(r, c, op->asked.ids, op->asked.count, &op->groups);
	op->messages = arena_alloc(&r->arena, (op->groups_count + 1) * sizeof *op->messages);
	op->gone = arena_alloc(&r->arena, (op->asked.count + 1) * sizeof *op->gone);
	op->statuses = arena_alloc(&r->arena, (op->asked.count + 1) * sizeof *op->statuses);
	/* One more than there are, so that none answers before all were sent. */
	op->left = op->groups_count + 1;
	for (uint32_t g = 0; g < op->groups_count; g++) {
		const struct couch_group *group = &op->groups[g];
		struct msg_doc_erase *m = &op->messages[g];
		*m = (struct msg_doc_erase){.shard = group->shard,
					    .lock_ids = r->lock_ids,
					    .lock_ids_count = r->lock_ids_count};
		m->items = arena_alloc(&r->arena, group->count * sizeof *m->items);
		for (uint32_t i = 0; i < group->count; i++)
			m->items[m->items_count++] = op->asked.rows[group->items[i]];
		struct call_spec spec = {.shard = group->shard,
					 .type = MSG_doc_erase,
					 .answer = MSG_doc_erase_ack,
					 .message = m,
					 .index = g,
					 .done = group_done};
		couch_tell_lead(t, r, spec);
	}
	if (--op->left == 0)
		purge_answer(t, r, op);
}

static bool take(struct turn *t, struct request *r, struct purge *op, struct problem *p)
{
	if (!lock_take_headers(t, r, p) || !couch_take_asked(t, r, &op->asked, p))
		return false;
	for (uint32_t i = 0; i < op->asked.count; i++)
		if (!couch_id_check(op->asked.ids[i], p))
			return false;
	return true;
}

void couch_purge(struct turn *t, struct request *r)
{
	struct purge *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	r->op = op;
	if (!take(t, r, op, &problem))
		answer_problem(t, r, &problem);
	else if (op->asked.count > LIMIT_IMPORT_ITEMS)
		couch_answer_error(t, r, COUCH_TOO_LARGE);
	else
		couch_find(t, r, purge_go);
}
