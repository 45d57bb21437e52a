/* What arbiter clients say about a lease: renewed, given back, or answered.
 *
 * An answer is conditional on the leaves that were shown: the lead takes it only under the lease,
 * and knows which leaves that was given for. The same answer again finds the first one. */
#include <inttypes.h>

#include "common/doc/value.h"
#include "gateway/arbiter.h"
#include "gateway/conflict_ask.h"
#include "gateway/routes.h"

struct arbiter_op {
	struct conflict_ask ask; /* first: conflict_keep looks there */
	struct gateway *gw;
	struct arbiter_lease lease;
	struct msg_conflict_lease message;
	enum arbiter_answer kind;
	struct answer answer;
	uint8_t digest[16];
	struct msg_conflict_resolve resolve;
	struct decision decision; /* what `resolve` borrows from */
};

static void refuse(struct turn *t, struct request *r, enum status status, const char *place)
{
	t->gw->arbiters->answers[ARBITER_REFUSED]++;
	answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, place);
}

/* Where the lease stands in what the client sent: a path, or a frame of a socket. */
static const char *lease_place(const struct request *r)
{
	return r->reply ? "/lease" : "path";
}

static void ask(struct turn *t, struct request *r, call_done *done)
{
	struct arbiter_op *op = r->op;
	struct call_spec spec = {.type = MSG_conflict_lease,
				 .answer = MSG_conflict_lease_ack,
				 .message = &op->message,
				 .done = done};
	conflict_call(t, r, &spec);
}

/* ---- an answer ---- */

static void send_resolved(struct turn *t, struct request *r, const struct revision *revision,
			  struct slice resolution_id)
{
	const struct arbiter_op *op = r->op;
	struct reply *reply = reply_begin(t, 200);
	t->gw->arbiters->answers[op->kind]++;
	arbiter_stream_lease_lasts(t, &op->lease, 0);
	reply_etag(r, reply, revision);
	buf_append_text(&reply->body, "{\"collection\":");
	json_string(r->collection, &reply->body);
	buf_append_text(&reply->body, ",\"id\":");
	json_string(r->resource, &reply->body);
	buf_append_text(&reply->body, ",\"rev\":");
	json_revision(revision, &reply->body);
	buf_append_text(&reply->body, ",\"resolutionId\":\"");
	buf_append_hex(&reply->body, resolution_id.data, resolution_id.len);
	buf_append_text(&reply->body, "\"}");
	reply_send(t, r, reply);
}

static void have_resolved(struct turn *t, struct request *r, uint32_t index, enum status status,
			  const void *body)
{
	const struct arbiter_op *op = r->op;
	struct problem problem;
	(void)index;
	if (body && status_is_success(status)) {
		send_resolved(t, r, &op->resolve.revision, op->resolve.resolution_id);
		return;
	}
	if (status == STATUS_LEAVES_MOVED)
		arbiter_stream_lease_lasts(t, &op->lease, 0);
	t->gw->arbiters->answers[ARBITER_REFUSED]++;
	conflict_resolve_problem(status, &op->answer, body, &problem);
	answer_problem(t, r, &problem);
}

static void resolve_send(struct turn *t, struct request *r, enum status status, struct slice taken)
{
	struct arbiter_op *op = r->op;
	struct call_spec spec = {.type = MSG_conflict_resolve,
				 .answer = MSG_conflict_resolve_ack,
				 .message = &op->resolve,
				 .done = have_resolved};
	if (status == STATUS_OK) {
		conflict_call(t, r, &spec);
		return;
	}
	t->gw->arbiters->answers[ARBITER_REFUSED]++;
	conflict_split_refused(t, r, status, taken);
}

/* What the versions have in common was shown as their base: nobody has edited it since. */
static bool picks_base(const struct arbiter_op *op, struct slice input)
{
	struct mp_reader reader = mp_reader_of(input);
	struct revision base;
	mp_read(&reader);
	return revision_parse(value_text_member(mp_value(&reader), "rev"), &base) &&
	       revision_equal(&base, &op->answer.pick);
}

/* A version that the client was shown, perhaps, and that has been edited since. input: of the
 * question as it is now. */
static bool picks_what_was(const struct arbiter_op *op, const struct msg_conflict_read_ack *graph,
			   struct slice input)
{
	if (op->answer.kind == ANSWER_PICK && picks_base(op, input))
		return false;
	for (uint32_t i = 0; op->answer.kind == ANSWER_PICK && i < graph->nodes_count; i++)
		if (revision_equal(&graph->nodes[i].revision, &op->answer.pick))
			return true;
	return false;
}

static void refuse_answer(struct turn *t, struct request *r, bool moved)
{
	const struct arbiter_op *op = r->op;
	struct problem problem;
	if (moved) {
		refuse(t, r, STATUS_LEAVES_MOVED, "/pick");
		return;
	}
	t->gw->arbiters->answers[ARBITER_REFUSED]++;
	conflict_answer_wrong(r, &op->decision, op->answer.kind, &problem);
	answer_problem(t, r, &problem);
}

static void have_graph(struct turn *t, struct request *r, uint32_t index, enum status status,
		       const void *body)
{
	struct arbiter_op *op = r->op;
	const struct msg_conflict_read_ack *graph = body;
	struct decision policy;
	(void)index;
	if (!graph || status != STATUS_OK) {
		refuse(t, r, status == STATUS_NOT_FOUND ? STATUS_LEAVES_MOVED : status, "");
		return;
	}
	decide_conflict(graph, r->resource, &r->arena, &policy);
	if (policy.kind != DECISION_EXTERNAL) {
		refuse(t, r,
		       policy.kind == DECISION_NOTHING ? STATUS_LEAVES_MOVED : STATUS_POLICY_MOVED,
		       "");
		return;
	}
	decide_answer(graph, r->resource, &op->answer, &r->arena, &op->decision);
	if (op->decision.kind != DECISION_RESOLVE) {
		refuse_answer(t, r, picks_what_was(op, graph, policy.input));
		return;
	}
	conflict_keep(r, &op->decision, &op->resolve);
	op->resolve.lease = slice_of(op->lease.token, ARBITER_LEASE_BYTES);
	op->resolve.answer = slice_of(op->digest, sizeof op->digest);
	split_write(t, r, op->lease.shard, &op->decision, resolve_send);
}

static void have_lease(struct turn *t, struct request *r, uint32_t index, enum status status,
		       const void *body)
{
	const struct arbiter_op *op = r->op;
	const struct msg_conflict_lease_ack *ack = body;
	(void)index;
	if (!ack || status != STATUS_OK)
		refuse(t, r, status, "");
	else if (ack->answer.len == 0)
		conflict_ask_graph(t, r, have_graph);
	else if (slice_equal(ack->answer, slice_of(op->digest, sizeof op->digest)))
		send_resolved(t, r, &ack->revision, ack->resolution_id);
	else
		refuse(t, r, STATUS_LEASE_LOST, "");
}

/* ---- renewing, giving back ---- */

static void have_done(struct turn *t, struct request *r, uint32_t index, enum status status,
		      const void *body)
{
	const struct arbiter_op *op = r->op;
	const struct msg_conflict_lease_ack *ack = body;
	(void)index;
	if (!ack || status != STATUS_OK) {
		refuse(t, r, status, "");
		return;
	}
	struct reply *reply = reply_begin(t, 200);
	if (op->message.op == LEASE_RENEW) {
		t->gw->arbiters->renewed++;
		arbiter_stream_lease_lasts(t, &op->lease, ack->lease_ms);
		buf_printf(&reply->body, "{\"leaseMs\":%" PRIu64 "}", ack->lease_ms);
	} else {
		t->gw->arbiters->answers[op->kind]++;
		arbiter_stream_lease_lasts(t, &op->lease, 0);
		buf_append_text(&reply->body, op->kind == ARBITER_DEFER ? "{\"deferred\":true}"
									: "{\"released\":true}");
	}
	reply_send(t, r, reply);
}

/* ---- requests ---- */

static void begin(struct turn *t, struct request *r)
{
	struct arbiter_op *op = r->op;
	const struct map_shard *s = cluster_map_shard(&t->gw->map, op->lease.shard);
	const struct map_collection *c =
	    s ? map_get_u64(&t->gw->map.collections_by_id, s->shard.collection) : NULL;
	if (!c) {
		refuse(t, r, STATUS_LEASE_LOST, lease_place(r));
		return;
	}
	r->collection = arena_copy(&r->arena, c->settings.name);
	if (op->message.op == LEASE_CHECK)
		ask(t, r, have_lease);
	else
		ask(t, r, have_done);
}

static void map_came(struct turn *t, struct request *r, uint32_t index, enum status status,
		     const void *body)
{
	(void)index;
	(void)status;
	(void)body;
	begin(t, r);
}

static struct arbiter_op *op_new(struct request *r, struct problem *p)
{
	struct arbiter_op *op = arena_alloc(&r->arena, sizeof *op);
	r->op = op;
	if (!arbiter_allowed(r, p))
		return NULL;
	if (!arbiter_lease_parse(r, r->resource, &op->lease)) {
		problem_set(p, STATUS_LEASE_LOST, lease_place(r));
		return NULL;
	}
	r->resource = op->lease.id;
	op->ask.read.message.shard = op->lease.shard;
	op->ask.read.message.id = op->lease.id;
	op->message.shard = op->lease.shard;
	op->message.id = op->lease.id;
	op->message.lease = slice_of(op->lease.token, ARBITER_LEASE_BYTES);
	return op;
}

static void start(struct turn *t, struct request *r, bool fine, const struct problem *p)
{
	const struct arbiter_op *op = r->op;
	if (!fine)
		answer_problem(t, r, p);
	else if (cluster_map_shard(&t->gw->map, op->lease.shard))
		begin(t, r);
	else
		map_refresh(t, r, map_came);
}

void native_arbiter_renew(struct turn *t, struct request *r)
{
	struct problem problem = {0};
	struct slice body = slice_of("\x80", 1);
	struct arbiter_op *op = op_new(r, &problem);
	static const char *const members[] = {"leaseMs", NULL};
	bool fine = op && (r->http->body.len == 0 || native_body(t, r, &body, &problem)) &&
		    native_members(body, members, &problem) &&
		    arbiter_take_ms(value_member(body, slice_text("leaseMs")), "/leaseMs",
				    &op->message.ms, &problem);
	if (fine)
		op->message.op = LEASE_RENEW;
	start(t, r, fine, &problem);
}

static bool take_answer(struct turn *t, struct request *r, struct arbiter_op *op, struct slice body,
			struct problem *p)
{
	static const enum arbiter_answer kinds[] = {[ANSWER_BODY] = ARBITER_DOCUMENT,
						    [ANSWER_PICK] = ARBITER_PICK,
						    [ANSWER_DELETE] = ARBITER_DELETE,
						    [ANSWER_SPLIT] = ARBITER_SPLIT};
	static const char *const members[] = {"pick",  "document", "delete", "split",
					      "defer", "release",  NULL};
	if (!native_members(body, members, p))
		return false;
	struct mp_reader reader = mp_reader_of(body);
	struct mp_token head = mp_read(&reader);
	struct slice defer = value_member(body, slice_text("defer"));
	struct slice release = value_member(body, slice_text("release"));
	if (head.count != 1)
		return problem_detail(
		    p, STATUS_BAD_PARAMETER, "",
		    "Exactly one of pick, document, delete, split, defer and release.");
	if (defer.len > 0) {
		op->kind = ARBITER_DEFER;
		op->message.op = LEASE_DEFER;
		return arbiter_take_ms(defer, "/defer", &op->message.ms, p);
	}
	if (release.len > 0) {
		op->kind = ARBITER_RELEASE;
		op->message.op = LEASE_RELEASE;
		return slice_equal(release, slice_of("\xc3", 1)) ||
		       problem_detail(p, STATUS_BAD_PARAMETER, "/release", "true");
	}
	op->answer.how = HOW_EXTERNAL;
	op->answer.by = arena_copy(&r->arena, r->http->principal);
	if (!conflict_take_answer(t, r, body, &op->answer, p))
		return false;
	op->kind = kinds[op->answer.kind];
	op->message.op = LEASE_CHECK;
	digest16(body, op->digest);
	return true;
}

static void answer_ended(struct request *r)
{
	const struct arbiter_op *op = r->op;
	arbiter_stream_answers(op->gw, &op->lease, false);
}

void native_arbiter_answer(struct turn *t, struct request *r)
{
	struct problem problem = {0};
	struct slice body;
	struct arbiter_op *op = op_new(r, &problem);
	if (op) {
		op->gw = t->gw;
		r->close = answer_ended;
		arbiter_stream_answers(t->gw, &op->lease, true);
	}
	bool fine =
	    op && native_body(t, r, &body, &problem) && take_answer(t, r, op, body, &problem);
	start(t, r, fine, &problem);
}
