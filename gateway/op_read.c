/* Reading one document. */
#include "common/doc/revision.h"
#include "common/doc/value.h"
#include "gateway/conflict_print.h"
#include "gateway/list.h"
#include "gateway/routes.h"

struct read_op {
	struct msg_doc_read read;
	struct text_list fields;
	struct slice if_none_match;
	bool conflicts; /* show the other leaves */
	bool revs;      /* show the ancestors */
};

/* All but the one that was read, which `rev` may have named. Of one that is no leaf any more in a
 * document without a conflict: none. */
static void append_others(struct request *r, const struct msg_doc_read_ack *ack, struct buf *out)
{
	uint32_t count = 0;
	struct revision *others = arena_alloc(&r->arena, (ack->leaves_count + 1) * sizeof *others);
	for (uint32_t i = 0; ack->conflicts > 0 && i < ack->leaves_count; i++)
		if (!revision_equal(&ack->leaves[i], &ack->revision))
			others[count++] = ack->leaves[i];
	conflict_append_revisions(CONFLICTS_MEMBER, others, count, out);
}

static bool print_document(struct turn *t, struct request *r, const struct msg_doc_read_ack *ack,
			   struct buf *out)
{
	const struct read_op *op = r->op;
	struct buf *scratch = &t->gw->scratch;
	struct slice body = ack->body;
	if (op->fields.count > 0) {
		buf_clear(scratch);
		value_project(body, op->fields.texts, op->fields.count, scratch);
		body = arena_copy(&r->arena, buf_slice(scratch));
	}
	if (op->conflicts)
		body = native_without(t, r, body, CONFLICTS_MEMBER);
	if (op->revs)
		body = native_without(t, r, body, "_revs");
	if (!json_document(op->read.id, body, out))
		return false;
	if (op->conflicts)
		append_others(r, ack, out);
	if (op->revs)
		conflict_append_revisions("_revs", ack->ancestors, ack->ancestors_count, out);
	return true;
}

static void answer_found(struct turn *t, struct request *r, const struct msg_doc_read_ack *ack)
{
	const struct read_op *op = r->op;
	bool known =
	    op->if_none_match.len > 0 && native_etag_matches(op->if_none_match, &ack->revision);
	struct reply *reply = reply_begin(t, known ? 304 : 200);
	reply_etag(r, reply, &ack->revision);
	reply_conflicts(r, reply, ack->conflicts);
	if (known || print_document(t, r, ack, &reply->body))
		reply_send(t, r, reply);
	else
		answer_status(t, r, STATUS_INTERNAL, "");
}

static void have_read(struct turn *t, struct request *r, uint32_t index, enum status status,
		      const void *body)
{
	const struct msg_doc_read_ack *ack = body;
	(void)index;
	if (!ack || !status_is_success(status))
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
	else if (ack->deleted)
		answer_status(t, r, STATUS_NOT_FOUND, "");
	else
		answer_found(t, r, ack);
}

static void read_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct read_op *op = r->op;
	const struct map_shard *s = c ? map_collection_shard(c, op->read.id) : NULL;
	if (!s) {
		answer_status(t, r, STATUS_NOT_FOUND, "");
		return;
	}
	op->read.shard = s->shard.id;
	struct call_spec spec = {
	    .reach = op->read.any ? REACH_ANY : REACH_LEAD,
	    .shard = s->shard.id,
	    .type = MSG_doc_read,
	    .answer = MSG_doc_read_ack,
	    .message = &op->read,
	    .repeatable = true,
	    .done = have_read,
	};
	if (!call_open(t, r, &spec))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

static bool take_parameters(struct turn *t, struct request *r, struct read_op *op,
			    struct problem *p)
{
	struct slice value;
	if (!list_fields(t, r, &op->fields, p) || !native_consistency(r, &op->read.any, p))
		return false;
	if (request_parameter(r, "rev", &value) && !revision_parse(value, &op->read.revision))
		return problem_set(p, STATUS_BAD_REVISION, "rev");
	op->conflicts = request_flag(r, "conflicts");
	op->read.want_leaves = op->conflicts;
	op->revs = request_flag(r, "revs");
	op->read.want_ancestors = op->revs;
	op->if_none_match = arena_copy(&r->arena, request_header(r, "if-none-match"));
	return true;
}

void native_read(struct turn *t, struct request *r)
{
	struct read_op *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	op->read.id = r->resource;
	r->op = op;
	if (take_parameters(t, r, op, &problem))
		collection_find(t, r, false, read_go);
	else
		answer_problem(t, r, &problem);
}
