/* Writes by query: PUT, PATCH, DELETE of a collection. Each shard's lead walks its documents and
 * says now and then how far it is; the gateway asks again until all have passed theirs. Leads
 * remember by operation id what they have done, so asking again, of whomever, does nothing twice.
 */
#include <inttypes.h>
#include <stdio.h>

#include "common/doc/value.h"
#include "gateway/list.h"
#include "gateway/routes.h"

struct edit_shard {
	struct msg_shard_edit edit;
	bool ended;
	bool begun;         /* it has said how far it was */
	enum status status; /* once it has ended; OK: done */
	uint64_t changes;
	char place[PLACE_BYTES];
	char detail[PLACE_BYTES];
	struct slice document;
};

struct edit_op {
	struct msg_shard_edit edit;
	struct edit_shard *shards;
	uint32_t shards_count;
	uint32_t left;
};

/* ---- the answer ---- */

static bool is_unknown(enum status status)
{
	return status == STATUS_OUTCOME_UNKNOWN || status == STATUS_TIMED_OUT;
}

/* The shard whose refusal is told: one whose outcome nobody knows before all others, then the
 * first. */
static const struct edit_shard *worst(const struct edit_op *op)
{
	const struct edit_shard *found = NULL;
	for (uint32_t i = 0; i < op->shards_count; i++) {
		const struct edit_shard *s = &op->shards[i];
		if (s->status != STATUS_OK &&
		    (!found || (is_unknown(s->status) && !is_unknown(found->status))))
			found = s;
	}
	return found;
}

static void edit_answer(struct turn *t, struct request *r)
{
	const struct edit_op *op = r->op;
	const struct edit_shard *refused = worst(op);
	uint64_t changes = 0;
	for (uint32_t i = 0; i < op->shards_count; i++)
		changes += op->shards[i].changes;
	if (refused) {
		struct problem problem;
		problem_detail(&problem, refused->status, refused->place, refused->detail);
		problem.partial = true;
		problem.changes = changes;
		problem.document = refused->document;
		answer_problem(t, r, &problem);
		return;
	}
	struct reply *reply = reply_begin(t, 200);
	buf_printf(&reply->body, "{\"changes\":%" PRIu64 "}", changes);
	reply_send(t, r, reply);
}

/* ---- asking ---- */

static void copy_text(char *to, size_t cap, struct slice from)
{
	snprintf(to, cap, "%.*s", (int)from.len, from.len ? (const char *)from.data : "");
}

static void shard_ended(struct turn *t, struct request *r, uint32_t index, enum status status,
			const struct msg_shard_edit_ack *ack)
{
	struct edit_op *op = r->op;
	struct edit_shard *s = &op->shards[index];
	s->ended = true;
	s->status = status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status;
	/* it may have gone on where it was begun, beyond what was told of it */
	if (s->begun && (s->status == STATUS_NO_LEAD || s->status == STATUS_STARTING ||
			 s->status == STATUS_OVERLOADED))
		s->status = STATUS_OUTCOME_UNKNOWN;
	if (ack && status != STATUS_OK) {
		copy_text(s->place, sizeof s->place, ack->place);
		copy_text(s->detail, sizeof s->detail, ack->detail);
		s->document = arena_copy(&r->arena, ack->id);
	}
	if (--op->left == 0)
		edit_answer(t, r);
}

/* It advances: the request lives on, within its own bound. */
static void extend_deadline(struct turn *t, struct request *r)
{
	const struct gateway_limits *limits = &t->gw->options.limits;
	int64_t last_ms = r->started_ms + limits->edit_ms_max;
	int64_t next_ms = t->now_ms + limits->deadline_ms;
	next_ms = next_ms < last_ms ? next_ms : last_ms;
	if (next_ms > r->deadline.at_ms)
		timers_set(&t->gw->timers, &r->deadline, next_ms);
}

static bool ask_shard(struct turn *t, struct request *r, uint32_t index);

static void shard_answered(struct turn *t, struct request *r, uint32_t index, enum status status,
			   const void *body)
{
	struct edit_op *op = r->op;
	const struct msg_shard_edit_ack *ack = body;
	if (ack && ack->changes > op->shards[index].changes)
		op->shards[index].changes = ack->changes;
	if (!ack || status != STATUS_OK || ack->done) {
		shard_ended(t, r, index, status, ack);
		return;
	}
	op->shards[index].begun = true;
	extend_deadline(t, r);
	if (!ask_shard(t, r, index))
		shard_ended(t, r, index, STATUS_OVERLOADED, NULL);
}

static bool ask_shard(struct turn *t, struct request *r, uint32_t index)
{
	struct edit_op *op = r->op;
	struct call_spec spec = {
	    .reach = REACH_LEAD,
	    .shard = op->shards[index].edit.shard,
	    .type = MSG_shard_edit,
	    .answer = MSG_shard_edit_ack,
	    .message = &op->shards[index].edit,
	    .repeatable = true,
	    .write = true,
	    .index = index,
	    .done = shard_answered,
	};
	return call_open(t, r, &spec);
}

static void edit_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct edit_op *op = r->op;
	if (!c) {
		edit_answer(t, r); /* no documents */
		return;
	}
	uint64_t *ids;
	op->shards_count = list_shards(r, c, op->edit.filter, &ids);
	op->shards = arena_alloc(&r->arena, (op->shards_count + 1) * sizeof *op->shards);
	/* One more than there are, so that an early failure does not answer before all were asked.
	 */
	op->left = op->shards_count + 1;
	for (uint32_t i = 0; i < op->shards_count; i++) {
		op->shards[i].edit = op->edit;
		op->shards[i].edit.shard = ids[i];
		if (!ask_shard(t, r, i))
			shard_ended(t, r, i, STATUS_OVERLOADED, NULL);
	}
	if (--op->left == 0)
		edit_answer(t, r);
}

/* ---- the request ---- */

/* Of many documents none has the id that the body names: it is left out, as ids don't change. */
static bool take_document(struct turn *t, struct request *r, struct edit_op *op, struct problem *p)
{
	struct native_document document;
	struct slice value;
	if (!native_body(t, r, &value, p) || !native_document(t, r, value, "", &document, p))
		return false;
	op->edit.body = document.body;
	return true;
}

static bool no_preconditions(const struct request *r, struct problem *p)
{
	static const char *const headers[] = {"if-match", "if-none-match"};
	for (size_t i = 0; i < ARRAY_LEN(headers); i++)
		if (request_header(r, headers[i]).len > 0)
			return problem_detail(p, STATUS_BAD_PARAMETER, headers[i],
					      "A write by query names no revisions.");
	if (request_flag(r, "branch"))
		return problem_detail(p, STATUS_BAD_PARAMETER, "branch",
				      "A write by query makes no branches.");
	return true;
}

/* Who sends these means fewer documents, or another way: better none than all. */
static bool no_list_parameters(const struct request *r, struct problem *p)
{
	static const char *const names[] = {"limit", "skip",    "cursor", "order", "fields",
					    "count", "explain", "index",  "rev"};
	struct slice value;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (request_parameter(r, names[i], &value) && value.len > 0 &&
		    !slice_is(value, "null"))
			return problem_detail(p, STATUS_BAD_PARAMETER, names[i],
					      "A write by query takes all that match; allowed: "
					      "query, mode, lockId, lockStrategy.");
	if (request_parameter(r, "mode", &value) && value.len > 0 && !slice_is(value, "consistent"))
		return problem_detail(p, STATUS_BAD_PARAMETER, "mode", "consistent, or left out.");
	return true;
}

static bool take_edit(struct turn *t, struct request *r, struct edit_op *op, struct problem *p)
{
	struct native_operation operation;
	struct msg_doc_write ids = {0};
	if (!native_operation(t, r, &operation, p) || !write_op_of(r, &op->edit.op, p) ||
	    !no_preconditions(r, p) || !no_list_parameters(r, p) ||
	    !list_filter(t, r, &op->edit.filter, p))
		return false;
	native_operation_fill(t, r, &operation, 0, &ids);
	op->edit.operation_id = ids.operation_id;
	op->edit.lock_ids = ids.lock_ids;
	op->edit.lock_ids_count = ids.lock_ids_count;
	op->edit.operation_digest =
	    ids.operation_digest.len ? ids.operation_digest : ids.operation_id;
	if (op->edit.op == WRITE_DELETE)
		return true;
	return op->edit.op == WRITE_UPDATE ? write_update_body(t, r, &op->edit.body, p)
					   : take_document(t, r, op, p);
}

void native_edit(struct turn *t, struct request *r)
{
	struct edit_op *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	if (!take_edit(t, r, op, &problem)) {
		answer_problem(t, r, &problem);
		return;
	}
	r->op = op;
	collection_find(t, r, false, edit_go);
}
