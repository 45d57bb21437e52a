/* What a policy would make of the conflicts that are open now. Nothing is changed: graphs are read
 * from the leads one after the other, and decided here as an arbiter would. */
#include "common/base/memory.h"
#include "common/doc/value.h"
#include "gateway/conflict_ask.h"
#include "gateway/policy.h"
#include "gateway/policy_script.h"
#include "gateway/routes.h"
#include "gateway/url.h"

enum { TEST_DEFAULT = 20, TEST_MAX = 100, TEST_PAGE = 100 };

struct test_op {
	struct conflict_ask ask; /* first */
	struct slice policy;     /* empty: the one in force */
	bool has_policy;
	struct text_list ids; /* of documents; without any all open conflicts are looked at */
	bool has_ids;
	uint64_t limit;
	uint64_t *shards;
	uint32_t shards_count;
	uint32_t shard; /* in work */
	struct msg_conflict_list list;
	struct slice *found; /* a page of ids, copied */
	uint32_t found_count;
	uint32_t next;                      /* among found, or among ids */
	bool more;                          /* behind the page */
	struct arena_mark mark;             /* before the document in work */
	struct msg_conflict_read_ack graph; /* of it, copied, while its script runs or others are
					     * asked */
	struct decision decision;
	struct buf json;
	uint64_t count;
	bool cut;
};

static void test_close(struct request *r)
{
	struct test_op *op = r->op;
	buf_close(&op->json);
}

static void test_answer(struct turn *t, struct request *r)
{
	struct test_op *op = r->op;
	struct reply *reply = reply_begin(t, 200);
	buf_append_byte(&reply->body, '[');
	buf_append_slice(&reply->body, buf_slice(&op->json));
	buf_append_byte(&reply->body, ']');
	if (op->cut)
		reply_header(r, reply, "X-Parley-More", slice_text("true"));
	reply_send(t, r, reply);
}

/* ---- one document ---- */

static void print_result(struct request *r, bool held, const struct decision *decision)
{
	struct test_op *op = r->op;
	struct slice id = op->ask.read.message.id;
	if (decision->kind == DECISION_NOTHING && !op->has_ids)
		return; /* resolved since it was listed */
	buf_append_text(&op->json, op->count > 0 ? ",{\"id\":" : "{\"id\":");
	json_string(id, &op->json);
	buf_append_text(&op->json, ",\"leaves\":[");
	for (uint32_t i = 0; i < decision->note.leaves_count; i++) {
		buf_append_text(&op->json, i > 0 ? "," : "");
		json_revision(&decision->note.leaves[i], &op->json);
	}
	buf_append_text(&op->json, "],");
	if (held)
		buf_append_text(&op->json, "\"held\":true,");
	decision_print(decision, id, true, &op->json);
	buf_append_byte(&op->json, '}');
	op->count++;
}

static void test_next(struct turn *t, struct request *r);

static void one_done(struct turn *t, struct request *r)
{
	const struct test_op *op = r->op;
	graph_read_end(t->gw, r);
	arena_rewind(&r->arena, op->mark);
	test_next(t, r);
}

static void decided(struct turn *t, struct request *r)
{
	struct test_op *op = r->op;
	print_result(r, op->graph.conflict.held, &op->decision);
	one_done(t, r);
}

static void parts_checked(struct turn *t, struct request *r, enum status status, struct slice place)
{
	struct test_op *op = r->op;
	split_heed_check(r, &op->decision, status, place);
	decided(t, r);
}

/* Would what it is split into be taken? */
static void ask_parts(struct turn *t, struct request *r)
{
	struct test_op *op = r->op;
	struct split_writes split;
	split_prepare(r, op->ask.read.message.shard, &op->decision, &split);
	split_check(t, r, &split, parts_checked);
}

static void script_ended(struct turn *t, struct request *r, const void *context,
			 const struct script_end *end)
{
	struct test_op *op = r->op;
	(void)context;
	if (end->status != SCRIPT_UNAVAILABLE && end->status != SCRIPT_BUSY)
		(void)script_decide(&op->graph, op->ask.read.message.id, end, t->gw->json,
				    &r->arena, &op->decision);
	ask_parts(t, r);
}

/* False: it can't be run now, and what it would say stays unknown. */
static bool run_script(struct turn *t, struct request *r)
{
	const struct test_op *op = r->op;
	struct script_asked asked = {.source = op->decision.policy.script,
				     .arguments = op->decision.input,
				     .done = script_ended};
	return script_run(t, r, &asked);
}

static void decide(struct request *r, const struct msg_conflict_read_ack *graph)
{
	struct test_op *op = r->op;
	decide_conflict(graph, op->ask.read.message.id, &r->arena, &op->decision);
	decision_heed_held(&op->decision, graph->conflict.held, &r->arena);
}

/* Its message goes with this step. */
static void keep_graph(struct request *r, const struct msg_conflict_read_ack *graph)
{
	struct test_op *op = r->op;
	struct buf bytes = {0};
	schema_encode(schema_of_message(MSG_conflict_read_ack), graph, &bytes);
	CHECK(schema_decode(schema_of_message(MSG_conflict_read_ack),
			    arena_copy(&r->arena, buf_slice(&bytes)), &r->arena, &op->graph));
	buf_close(&bytes);
	decide(r, &op->graph);
}

static void graph_came(struct turn *t, struct request *r, uint32_t index, enum status status,
		       const void *body)
{
	struct test_op *op = r->op;
	const struct msg_conflict_read_ack *ack = body;
	struct msg_conflict_read_ack nothing = {0};
	(void)index;
	if (!ack || (status != STATUS_OK && status != STATUS_NOT_FOUND)) {
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
		return;
	}
	struct msg_conflict_read_ack graph = status == STATUS_OK ? *ack : nothing;
	if (op->has_policy)
		graph_under(&graph, op->policy);
	decide(r, &graph);
	bool asks = op->decision.kind == DECISION_SCRIPT || op->decision.parts_count > 0;
	if (asks)
		keep_graph(r, &graph);
	else
		op->graph = graph;
	if (op->decision.kind == DECISION_SCRIPT && run_script(t, r))
		return;
	if (op->decision.kind == DECISION_RESOLVE && op->decision.parts_count > 0)
		ask_parts(t, r);
	else
		decided(t, r);
}

static void test_read(struct turn *t, struct request *r, uint64_t shard, struct slice id)
{
	struct test_op *op = r->op;
	op->mark = arena_mark(&r->arena);
	op->ask.read.message.shard = shard;
	op->ask.read.message.id = id;
	if (!graph_read(t, r, graph_came))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

/* ---- which documents ---- */

static void page_came(struct turn *t, struct request *r, uint32_t index, enum status status,
		      const void *body)
{
	struct test_op *op = r->op;
	const struct msg_conflict_list_ack *ack = body;
	(void)index;
	if (!ack || status != STATUS_OK) {
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
		return;
	}
	op->found = arena_alloc(&r->arena, (ack->rows_count + 1) * sizeof *op->found);
	op->found_count = 0;
	op->next = 0;
	op->more = ack->more && ack->rows_count > 0;
	if (op->more)
		op->list.after = arena_copy(&r->arena, ack->rows[ack->rows_count - 1].id);
	for (uint32_t i = 0; i < ack->rows_count; i++)
		if (ack->rows[i].conflict.state == CONFLICT_OPEN)
			op->found[op->found_count++] = arena_copy(&r->arena, ack->rows[i].id);
	test_next(t, r);
}

static void test_page(struct turn *t, struct request *r)
{
	struct test_op *op = r->op;
	struct call_spec spec = {.reach = REACH_LEAD,
				 .shard = op->shards[op->shard],
				 .type = MSG_conflict_list,
				 .answer = MSG_conflict_list_ack,
				 .message = &op->list,
				 .repeatable = true,
				 .done = page_came};
	op->list.shard = op->shards[op->shard];
	op->list.limit = TEST_PAGE;
	if (!call_open(t, r, &spec))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

static void next_named(struct turn *t, struct request *r)
{
	struct test_op *op = r->op;
	struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	if (op->next == op->ids.count) {
		test_answer(t, r);
		return;
	}
	struct slice id = op->ids.texts[op->next++];
	struct map_shard *shard = c ? map_collection_shard(c, id) : NULL;
	if (shard)
		test_read(t, r, shard->shard.id, id);
	else
		answer_status(t, r, STATUS_NO_LEAD, "");
}

static void test_next(struct turn *t, struct request *r)
{
	struct test_op *op = r->op;
	bool late = t->now_ms - r->started_ms > t->gw->options.limits.deadline_ms / 2;
	if (op->json.len > t->gw->options.limits.list_bytes_max || op->count >= op->limit ||
	    (late && op->count > 0)) {
		op->cut = op->has_ids ? op->next < op->ids.count
				      : op->next < op->found_count || op->more ||
					    op->shard + 1 < op->shards_count;
		test_answer(t, r);
	} else if (op->has_ids) {
		next_named(t, r);
	} else if (op->next < op->found_count) {
		test_read(t, r, op->shards[op->shard], op->found[op->next++]);
	} else {
		if (!op->more) {
			op->shard++;
			op->list.after = (struct slice){0};
		}
		op->found_count = op->next = 0;
		if (op->shard == op->shards_count)
			test_answer(t, r);
		else
			test_page(t, r);
	}
}

static void test_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct test_op *op = r->op;
	r->close = test_close;
	if (!c) {
		answer_no_collection(t, r, "/collection");
		return;
	}
	op->shards = arena_alloc(&r->arena, c->shards_count * sizeof *op->shards);
	for (uint32_t i = 0; i < c->shards_count; i++)
		op->shards[op->shards_count++] = c->shards[i]->shard.id;
	if (op->has_ids) {
		next_named(t, r);
	} else {
		op->shard = 0;
		test_page(t, r);
	}
}

/* ---- the request ---- */

static bool take_ids(struct request *r, struct test_op *op, struct slice value, struct problem *p)
{
	op->has_ids = true;
	if (!native_text_list(r, value, TEST_MAX, LIMIT_ID_BYTES, &op->ids))
		return problem_detail(p, STATUS_BAD_PARAMETER, "/ids",
				      "An array of at most 100 ids.");
	for (uint32_t i = 0; i < op->ids.count; i++)
		if (!document_id_valid(op->ids.texts[i]))
			return problem_set(p, STATUS_BAD_ID, "/ids");
	return true;
}

static bool take_limit(struct test_op *op, struct slice value, struct problem *p)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	op->limit = token.u64;
	return (token.type == MP_UINT && token.u64 >= 1 && token.u64 <= TEST_MAX) ||
	       problem_detail(p, STATUS_BAD_PARAMETER, "/limit", "A whole number from 1 to 100.");
}

static bool take_member(struct request *r, struct test_op *op, struct slice name,
			struct slice value, struct problem *p)
{
	if (slice_is(name, "policy")) {
		op->policy = value;
		op->has_policy = true;
		return policy_check(r, value, "/policy", p);
	}
	if (slice_is(name, "ids"))
		return take_ids(r, op, value, p);
	if (slice_is(name, "limit"))
		return take_limit(op, value, p);
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	if (token.type != MP_STR || !collection_name_valid(token.bytes))
		return problem_set(p, STATUS_BAD_NAME, "/collection");
	r->collection = token.bytes;
	return true;
}

static bool take_body(struct request *r, struct test_op *op, struct slice value, struct problem *p)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token head = mp_read(&reader);
	static const char *const members[] = {"collection", "policy", "ids", "limit", NULL};
	if (!native_members(value, members, p))
		return false;
	for (uint32_t i = 0; i < head.count; i++) {
		struct mp_token name = mp_read(&reader);
		struct slice member = mp_value(&reader);
		if (!take_member(r, op, name.bytes, member, p))
			return false;
	}
	return r->collection.len > 0 ||
	       problem_detail(p, STATUS_BAD_PARAMETER, "/collection", "It must be given.");
}

void native_policy_test(struct turn *t, struct request *r)
{
	struct test_op *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	struct slice value;
	r->op = op;
	op->limit = TEST_DEFAULT;
	if (native_body(t, r, &value, &problem) && take_body(r, op, value, &problem)) {
		if (op->has_ids)
			op->limit = TEST_MAX;
		collection_find(t, r, false, test_go);
	} else {
		answer_problem(t, r, &problem);
	}
}
