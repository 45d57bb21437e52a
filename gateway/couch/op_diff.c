/* Which revisions are not here: `_revs_diff`, and `_missing_revs`, which says less. */
#include "common/doc/revision.h"
#include "common/doc/value.h"
#include "gateway/couch/shards.h"
#include "gateway/routes.h"

struct diff {
	struct couch_asked asked;
	bool ancestors; /* _revs_diff */
	struct couch_group *groups;
	struct msg_revs_diff *messages; /* of each group */
	struct slice *printed;          /* of each group, and of those that are in none */
	uint32_t groups_count;
	uint32_t left; /* without an answer yet */
};

/* ---- printing ---- */

static void print_list(const struct revision *list, uint32_t count, struct buf *out)
{
	buf_append_byte(out, '[');
	for (uint32_t i = 0; i < count; i++) {
		if (i > 0)
			buf_append_byte(out, ',');
		json_revision(&list[i], out);
	}
	buf_append_byte(out, ']');
}

static void print_row(const struct diff *op, struct slice id, const struct revs_missing *row,
		      struct buf *out)
{
	json_string(id, out);
	buf_append_text(out, op->ancestors ? ":{\"missing\":" : ":");
	print_list(row->missing, row->missing_count, out);
	if (op->ancestors && row->ancestors_count > 0) {
		buf_append_text(out, ",\"possible_ancestors\":");
		print_list(row->ancestors, row->ancestors_count, out);
	}
	if (op->ancestors)
		buf_append_byte(out, '}');
}

static void diff_answer(struct turn *t, struct request *r, const struct diff *op)
{
	struct reply *reply = reply_begin(t, 200);
	struct buf *out = &reply->body;
	buf_append_text(out, op->ancestors ? "{" : "{\"missing_revs\":{");
	size_t start = out->len;
	for (uint32_t i = 0; i <= op->groups_count; i++) {
		if (out->len > start && op->printed[i].len > 0)
			buf_append_byte(out, ',');
		buf_append_slice(out, op->printed[i]);
	}
	buf_append_text(out, op->ancestors ? "}" : "}}");
	reply_send(t, r, reply);
}

/* ---- asking ---- */

static void group_done(struct turn *t, struct request *r, uint32_t index, enum status status,
		       const void *body)
{
	struct diff *op = r->op;
	const struct msg_revs_diff_ack *ack = body;
	const struct couch_group *group = &op->groups[index];
	struct buf *out = &t->gw->scratch;
	if (!ack || status != STATUS_OK) {
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
		return;
	}
	buf_clear(out);
	for (uint32_t i = 0; i < ack->rows_count; i++) {
		if (ack->rows[i].index >= group->count)
			continue;
		if (out->len > 0)
			buf_append_byte(out, ',');
		print_row(op, op->asked.ids[group->items[ack->rows[i].index]], &ack->rows[i], out);
	}
	op->printed[index] = arena_copy(&r->arena, buf_slice(out));
	if (--op->left == 0)
		diff_answer(t, r, op);
}

/* What can't be stored is nowhere: nobody is asked. */
static struct slice print_unstorable(struct turn *t, struct request *r, struct diff *op)
{
	struct buf *out = &t->gw->scratch;
	uint32_t kept = 0;
	buf_clear(out);
	for (uint32_t i = 0; i < op->asked.count; i++) {
		const struct revs_asked *asked = &op->asked.rows[i];
		struct problem ignored;
		if (couch_id_check(asked->id, &ignored)) {
			op->asked.ids[kept] = asked->id;
			op->asked.rows[kept++] = *asked;
			continue;
		}
		const struct revs_missing row = {.missing = asked->revisions,
						 .missing_count = asked->revisions_count};
		if (out->len > 0)
			buf_append_byte(out, ',');
		print_row(op, asked->id, &row, out);
	}
	op->asked.count = kept;
	return arena_copy(&r->arena, buf_slice(out));
}

static void diff_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct diff *op = r->op;
	struct slice unstorable = print_unstorable(t, r, op);
	op->groups_count = couch_groups(r, c, op->asked.ids, op->asked.count, &op->groups);
	op->messages = arena_alloc(&r->arena, (op->groups_count + 1) * sizeof *op->messages);
	op->printed = arena_alloc(&r->arena, (op->groups_count + 1) * sizeof *op->printed);
	op->printed[op->groups_count] = unstorable;
	/* One more than there are, so that none answers before all were sent. */
	op->left = op->groups_count + 1;
	for (uint32_t g = 0; g < op->groups_count && !r->finished; g++) {
		const struct couch_group *group = &op->groups[g];
		struct msg_revs_diff *m = &op->messages[g];
		m->shard = group->shard;
		m->asked = arena_alloc(&r->arena, group->count * sizeof *m->asked);
		for (uint32_t i = 0; i < group->count; i++)
			m->asked[m->asked_count++] = op->asked.rows[group->items[i]];
		struct call_spec spec = {.shard = group->shard,
					 .type = MSG_revs_diff,
					 .answer = MSG_revs_diff_ack,
					 .message = m,
					 .index = g,
					 .done = group_done};
		if (!couch_ask_lead(t, r, spec))
			return;
	}
	if (!r->finished && --op->left == 0)
		diff_answer(t, r, op);
}

static void start(struct turn *t, struct request *r, bool ancestors)
{
	struct diff *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	op->ancestors = ancestors;
	r->op = op;
	if (couch_take_asked(t, r, &op->asked, &problem))
		couch_find(t, r, diff_go);
	else
		answer_problem(t, r, &problem);
}

void couch_revs_diff(struct turn *t, struct request *r)
{
	start(t, r, true);
}

void couch_missing_revs(struct turn *t, struct request *r)
{
	start(t, r, false);
}
