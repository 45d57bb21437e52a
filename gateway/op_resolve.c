/* Conflicts resolved by hand, and resolutions taken apart. */
#include <stdio.h>

#include "common/doc/attachment.h"
#include "common/doc/decide.h"
#include "common/doc/revision.h"
#include "common/doc/value.h"
#include "gateway/conflict_ask.h"
#include "gateway/lock.h"
#include "gateway/routes.h"

enum { RESOLUTION_ID_BYTES = 16, RESOLVE_TRIES_MAX = 3 };

struct resolve_op {
	struct conflict_ask ask;
	struct answer answer;
	struct revision *leaves; /* that must be there, sorted */
	uint32_t leaves_count;
	struct msg_conflict_resolve resolve;
	struct decision decision; /* what `resolve` borrows from */
	uint32_t tries;
};

struct undo_op {
	struct conflict_ask ask;
	struct msg_conflict_undo undo;
};

static void answer_resolved(struct turn *t, struct request *r)
{
	const struct resolve_op *op = r->op;
	struct reply *reply = reply_begin(t, 200);
	reply_etag(r, reply, &op->resolve.revision);
	buf_append_text(&reply->body, "{\"collection\":");
	json_string(r->collection, &reply->body);
	buf_append_text(&reply->body, ",\"id\":");
	json_string(r->resource, &reply->body);
	buf_append_text(&reply->body, ",\"rev\":");
	json_revision(&op->resolve.revision, &reply->body);
	buf_append_text(&reply->body, ",\"resolutionId\":\"");
	buf_append_hex(&reply->body, op->resolve.resolution_id.data, op->resolve.resolution_id.len);
	buf_append_text(&reply->body, "\"}");
	reply_send(t, r, reply);
}

static call_done resolve_graph;

/* What people say does not depend on the policy; only its name does. */
static bool goes_on(struct turn *t, struct request *r, enum status status)
{
	struct resolve_op *op = r->op;
	if (status != STATUS_POLICY_MOVED || ++op->tries >= RESOLVE_TRIES_MAX)
		return false;
	graph_read_end(t->gw, r);
	conflict_ask_graph(t, r, resolve_graph);
	return true;
}

void conflict_resolve_problem(enum status status, const struct answer *answer,
			      const struct msg_conflict_resolve_ack *ack, struct problem *p)
{
	problem_set(p, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
	if (ack && status == STATUS_MISSING_ATTACHMENT && answer->kind == ANSWER_BODY)
		write_attachment_place(p, "/document", ack->place);
}

static void have_resolved(struct turn *t, struct request *r, uint32_t index, enum status status,
			  const void *body)
{
	const struct resolve_op *op = r->op;
	struct problem problem;
	(void)index;
	if (body && goes_on(t, r, status))
		return;
	if (status == STATUS_LEAVES_MOVED || status == STATUS_POLICY_MOVED) {
		answer_status(t, r, status, "/leaves");
	} else if (!body || !status_is_success(status)) {
		conflict_resolve_problem(status, &op->answer, body, &problem);
		answer_problem(t, r, &problem);
	} else {
		answer_resolved(t, r);
	}
}

void conflict_keep(struct request *r, const struct decision *d, struct msg_conflict_resolve *m)
{
	const struct conflict_ask *ask = r->op;
	struct arena *arena = &r->arena;
	*m = d->resolve;
	m->shard = ask->read.message.shard;
	m->id = r->resource;
	m->lock_ids = r->lock_ids;
	m->lock_ids_count = r->lock_ids_count;
	m->body = arena_copy(arena, m->body);
	m->detail = arena_copy(arena, m->detail);
	m->resolution_id = arena_copy(arena, m->resolution_id);
	m->revision.hash = arena_copy(arena, m->revision.hash);
	for (uint32_t i = 0; i < m->leaves_count; i++)
		m->leaves[i].hash = arena_copy(arena, m->leaves[i].hash);
	for (uint32_t i = 0; i < m->parents_count; i++)
		m->parents[i].hash = arena_copy(arena, m->parents[i].hash);
}

/* Of a conflict that is none any more the decision names no leaves. */
static bool same_leaves(const struct resolve_op *op, const struct decision *d)
{
	if (d->note.leaves_count != op->leaves_count)
		return false;
	for (uint32_t i = 0; i < op->leaves_count; i++)
		if (!revision_equal(&d->note.leaves[i], &op->leaves[i]))
			return false;
	return true;
}

static bool is_named(const struct resolve_op *op, const struct revision *name)
{
	uint32_t low = 0;
	uint32_t high = op->leaves_count;
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		int order = revision_compare(&op->leaves[middle], name);
		if (order == 0)
			return true;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

/* The graph as if the leaves named were still the ones that are there: what this answer made of
 * them, if it was given before. False: one of them is not known. */
static bool as_it_was(struct request *r, const struct msg_conflict_read_ack *graph,
		      struct msg_conflict_read_ack *out)
{
	const struct resolve_op *op = r->op;
	uint32_t found = 0;
	*out = *graph;
	out->nodes = arena_alloc(&r->arena, (graph->nodes_count + 1) * sizeof *out->nodes);
	for (uint32_t i = 0; i < graph->nodes_count; i++) {
		struct graph_node *node = &out->nodes[i];
		*node = graph->nodes[i];
		node->flags &= ~(uint64_t)(REVISION_LEAF | REVISION_CLOSED | REVISION_AGAINST);
		if (!is_named(op, &node->revision))
			continue;
		node->flags |= REVISION_LEAF;
		node->flags |= node->flags & REVISION_DELETED ? REVISION_AGAINST : 0;
		found++;
	}
	return found == op->leaves_count;
}

/* The leaves are others: is it because this very answer has been given? The lead knows. */
static bool decide_again(struct request *r, const struct msg_conflict_read_ack *graph)
{
	struct resolve_op *op = r->op;
	struct msg_conflict_read_ack before;
	if (!as_it_was(r, graph, &before))
		return false;
	decide_answer(&before, r->resource, &op->answer, &r->arena, &op->decision);
	return op->decision.kind == DECISION_RESOLVE;
}

/* Under whatever policy that was, and though its losers may be gone. */
static bool was_answered(struct request *r, const struct msg_conflict_read_ack *graph)
{
	struct resolve_op *op = r->op;
	struct decide_asked asked = {op->leaves, op->leaves_count, &op->answer};
	struct decision d;
	if (!decide_repeat(graph, r->resource, &asked, &r->arena, &d))
		return false;
	conflict_keep(r, &d, &op->resolve);
	return true;
}

static const char *answer_place(enum answer_kind kind)
{
	static const char *const places[] = {[ANSWER_BODY] = "/document",
					     [ANSWER_PICK] = "/pick",
					     [ANSWER_DELETE] = "/delete",
					     [ANSWER_SPLIT] = "/split"};
	return places[kind];
}

void conflict_split_refused(struct turn *t, struct request *r, enum status status, struct slice id)
{
	struct problem problem;
	char text[PLACE_BYTES];
	snprintf(text, sizeof text, "%.*s", (int)id.len, id.len ? (const char *)id.data : "");
	problem_detail(&problem, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "/split",
		       text);
	answer_problem(t, r, &problem);
}

void conflict_answer_wrong(struct request *r, const struct decision *d, enum answer_kind kind,
			   struct problem *p)
{
	struct slice why = decision_wrong(d, kind, &r->arena);
	char text[PLACE_BYTES];
	snprintf(text, sizeof text, "%.*s", (int)why.len, why.len ? (const char *)why.data : "");
	problem_detail(p, STATUS_BAD_PARAMETER, answer_place(kind), text);
}

static void resolve_send(struct turn *t, struct request *r, enum status status, struct slice taken)
{
	struct resolve_op *op = r->op;
	struct call_spec spec = {.type = MSG_conflict_resolve,
				 .answer = MSG_conflict_resolve_ack,
				 .message = &op->resolve,
				 .done = have_resolved};
	if (status == STATUS_OK)
		conflict_call(t, r, &spec);
	else
		conflict_split_refused(t, r, status, taken);
}

static void resolve_graph(struct turn *t, struct request *r, uint32_t index, enum status status,
			  const void *body)
{
	struct resolve_op *op = r->op;
	const struct msg_conflict_read_ack *graph = conflict_graph(t, r, status, body);
	(void)index;
	if (!graph)
		return;
	decide_answer(graph, r->resource, &op->answer, &r->arena, &op->decision);
	const struct decision *d = &op->decision;
	bool moved = d->kind != DECISION_BROKEN && !same_leaves(op, d);
	if (moved && was_answered(r, graph)) {
		answer_resolved(t, r);
		return;
	}
	if (moved && !decide_again(r, graph)) {
		answer_status(t, r, STATUS_LEAVES_MOVED, "/leaves");
		return;
	}
	if (d->kind != DECISION_RESOLVE) {
		struct problem problem;
		conflict_answer_wrong(r, d, op->answer.kind, &problem);
		answer_problem(t, r, &problem);
		return;
	}
	conflict_keep(r, d, &op->resolve);
	if (moved)
		resolve_send(t, r, STATUS_OK, (struct slice){0});
	else
		split_write(t, r, op->ask.read.message.shard, d, resolve_send);
}

static void resolve_go(struct turn *t, struct request *r, struct map_collection *c)
{
	(void)c;
	conflict_ask_graph(t, r, resolve_graph);
}

static bool take_revision(struct slice value, struct revision *out)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	return token.type == MP_STR && revision_parse(token.bytes, out);
}

static bool take_leaves(struct request *r, struct slice list, struct resolve_op *op)
{
	struct mp_reader reader = mp_reader_of(list);
	struct mp_token head = mp_read(&reader);
	if (head.type != MP_ARRAY || head.count < 2 || head.count > LIMIT_LEAVES)
		return false;
	op->leaves = arena_alloc(&r->arena, head.count * sizeof *op->leaves);
	op->leaves_count = head.count;
	for (uint32_t i = 0; i < head.count; i++)
		if (!take_revision(mp_value(&reader), &op->leaves[i]))
			return false;
	revision_sort(op->leaves, op->leaves_count);
	return true;
}

/* As they are shown; whether they are there its lead says. */
static bool takes_attachments(struct request *r, struct slice body, struct problem *p)
{
	struct attachments_wanted named;
	if (attachments_want(body, &r->arena, &named))
		return true;
	problem_set(p, STATUS_BAD_ATTACHMENT, "");
	write_attachment_place(p, "/document", named.wrong);
	return false;
}

bool conflict_take_answer(struct turn *t, struct request *r, struct slice body,
			  struct answer *answer, struct problem *p)
{
	struct slice pick = value_member(body, slice_text("pick"));
	struct slice document = value_member(body, slice_text("document"));
	struct slice remove = value_member(body, slice_text("delete"));
	struct slice split = value_member(body, slice_text("split"));
	struct native_document taken;
	if ((pick.len > 0) + (document.len > 0) + (remove.len > 0) + (split.len > 0) != 1)
		return problem_detail(p, STATUS_BAD_PARAMETER, "",
				      "Exactly one of pick, document, delete and split.");
	if (pick.len > 0) {
		answer->kind = ANSWER_PICK;
		return take_revision(pick, &answer->pick) ||
		       problem_set(p, STATUS_BAD_REVISION, "/pick");
	}
	if (remove.len > 0) {
		answer->kind = ANSWER_DELETE;
		return slice_equal(remove, slice_of("\xc3", 1)) ||
		       problem_detail(p, STATUS_BAD_PARAMETER, "/delete", "true");
	}
	if (split.len > 0) {
		answer->kind = ANSWER_SPLIT;
		return slice_equal(split, slice_of("\xc3", 1)) ||
		       problem_detail(p, STATUS_BAD_PARAMETER, "/split", "true");
	}
	answer->kind = ANSWER_BODY;
	if (!native_document(t, r, document, "/document", &taken, p))
		return false;
	if (taken.id.len > 0 && !slice_equal(taken.id, r->resource))
		return problem_detail(p, STATUS_BAD_PARAMETER, "/document/id",
				      "The id of the document that is in conflict, or none.");
	answer->body = taken.body;
	return takes_attachments(r, taken.body, p);
}

static struct slice principal_of(struct request *r)
{
	return arena_copy(&r->arena, r->http->principal);
}

void native_conflict_resolve(struct turn *t, struct request *r)
{
	struct resolve_op *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem = {0};
	struct slice body;
	r->op = op;
	op->answer.how = HOW_PERSON;
	op->answer.by = principal_of(r);
	static const char *const members[] = {"leaves", "pick",  "document",
					      "delete", "split", NULL};
	bool fine = lock_take_headers(t, r, &problem) && native_body(t, r, &body, &problem) &&
		    native_members(body, members, &problem);
	if (fine && !take_leaves(r, value_member(body, slice_text("leaves")), op))
		fine = problem_detail(&problem, STATUS_BAD_PARAMETER, "/leaves",
				      "The revisions of all leaves, as the conflict lists them.");
	if (fine)
		fine = conflict_take_answer(t, r, body, &op->answer, &problem);
	if (fine)
		conflict_begin(t, r, resolve_go);
	else
		answer_problem(t, r, &problem);
}

/* ---- taking a resolution apart ---- */

static void have_undone(struct turn *t, struct request *r, uint32_t index, enum status status,
			const void *body)
{
	(void)index;
	struct problem problem = {0};
	if (body && status == STATUS_LIMIT_REACHED) {
		problem_detail(&problem, status, "/resolutionId",
			       "Each version would be one more, and the document has no room for "
			       "them: read what is wanted with ?rev= and write it.");
		answer_problem(t, r, &problem);
		return;
	}
	if (status == STATUS_NOT_FOUND) {
		problem_detail(
		    &problem, status, "/resolutionId",
		    "No resolution of this document with this id is kept. Those whose "
		    "losers were cleaned up can't be undone; system.resolutions lists them.");
		answer_problem(t, r, &problem);
		return;
	}
	if (!body || !status_is_success(status)) {
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status,
			      status == STATUS_LEAVES_MOVED ? "/resolutionId" : "");
		return;
	}
	struct reply *reply = reply_begin(t, 200);
	buf_append_text(&reply->body, "{\"collection\":");
	json_string(r->collection, &reply->body);
	buf_append_text(&reply->body, ",\"id\":");
	json_string(r->resource, &reply->body);
	buf_append_text(&reply->body, ",\"held\":true}");
	reply_send(t, r, reply);
}

static void undo_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct undo_op *op = r->op;
	(void)c;
	op->undo.shard = op->ask.read.message.shard;
	op->undo.id = r->resource;
	op->undo.lock_ids = r->lock_ids;
	op->undo.lock_ids_count = r->lock_ids_count;
	struct call_spec spec = {.type = MSG_conflict_undo,
				 .answer = MSG_conflict_undo_ack,
				 .message = &op->undo,
				 .done = have_undone};
	conflict_call(t, r, &spec);
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool take_resolution_id(struct request *r, struct slice value, struct slice *out)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	uint8_t *id = arena_alloc(&r->arena, RESOLUTION_ID_BYTES);
	if (token.type != MP_STR || token.bytes.len != 2 * RESOLUTION_ID_BYTES)
		return false;
	for (size_t i = 0; i < RESOLUTION_ID_BYTES; i++) {
		int high = hex_digit(token.bytes.data[2 * i]);
		int low = hex_digit(token.bytes.data[2 * i + 1]);
		if (high < 0 || low < 0)
			return false;
		id[i] = (uint8_t)(high << 4 | low);
	}
	*out = slice_of(id, RESOLUTION_ID_BYTES);
	return true;
}

static struct slice undo_detail(struct request *r)
{
	struct buf detail = {0};
	mp_write_map(&detail, 1);
	mp_write_text(&detail, "by");
	mp_write_str(&detail, r->http->principal);
	struct slice copy = arena_copy(&r->arena, buf_slice(&detail));
	buf_close(&detail);
	return copy;
}

void native_conflict_undo(struct turn *t, struct request *r)
{
	struct undo_op *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem = {0};
	struct slice body;
	r->op = op;
	static const char *const members[] = {"resolutionId", NULL};
	bool fine = lock_take_headers(t, r, &problem) && native_body(t, r, &body, &problem) &&
		    native_members(body, members, &problem);
	if (fine && !take_resolution_id(r, value_member(body, slice_text("resolutionId")),
					&op->undo.resolution_id))
		fine = problem_detail(&problem, STATUS_BAD_PARAMETER, "/resolutionId",
				      "32 hexadecimal digits, as the conflict lists them.");
	op->undo.detail = undo_detail(r);
	if (fine)
		conflict_begin(t, r, undo_go);
	else
		answer_problem(t, r, &problem);
}
