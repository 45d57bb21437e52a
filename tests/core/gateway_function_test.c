/* Functions of design documents at the gateway: what each write waits for, and what becomes of
 * verdicts. */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/couch/rules.h"
#include "proto/msgpack.h"
#include "tests/sim/gateway_bench.h"

static int open_with(void **state, uint32_t shards)
{
	struct gateway_bench *b = malloc(sizeof *b);
	assert_non_null(b);
	gateway_bench_open(b, NULL);
	b->dialect = DIALECT_COUCH;
	gateway_bench_map(b, shards, MODE_CONSISTENT);
	gateway_bench_clear(b);
	*state = b;
	return 0;
}

static int setup(void **state)
{
	return open_with(state, 1);
}

static int setup_two(void **state)
{
	return open_with(state, 2);
}

static uint32_t sent_count(const struct gateway_bench *b, uint16_t type)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < b->sent_count; i++)
		count += b->sent[i].envelope.type == type;
	return count;
}

static uint32_t index_of(const struct gateway_bench *b, uint16_t type)
{
	for (uint32_t i = b->sent_count; i-- > 0;)
		if (b->sent[i].envelope.type == type)
			return i;
	fail_msg("nothing of that type was sent");
	return 0;
}

static void expect_body(struct gateway_bench *b, int status, const char *body)
{
	assert_string_equal(buf_cstr(&b->body), body);
	assert_int_equal(b->status, status);
}

/* ---- what is known of a database ---- */

static void test_a_database_without_functions_pays_nothing(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	assert_int_equal(sent_count(b, MSG_doc_write), 1);
	b->rules_held = true; /* nobody is asked for a while */
	gateway_bench_advance(b, 900);
	gateway_bench_http(b, "PUT /c/b\n\n{}");
	assert_int_equal(sent_count(b, MSG_doc_write), 2);
	assert_int_equal(b->rule_asked_count, 0);
}

static void test_one_asks_again_while_others_go_on(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	gateway_bench_advance(b, 1000);
	b->rules_held = true;
	gateway_bench_clear(b);
	gateway_bench_http(b, "PUT /c/b\n\n{}");
	assert_int_equal(sent_count(b, MSG_doc_write), 0);
	gateway_bench_http(b, "PUT /c/c\n\n{}");
	assert_int_equal(sent_count(b, MSG_doc_write), 1);
	assert_int_equal(b->rule_asked_count, 1);
	/* the lead is silent: what was known stays */
	gateway_bench_advance(b, 1000);
	assert_int_equal(sent_count(b, MSG_doc_write), 2);
}

static void test_who_knows_nothing_asks_any_replica(void **state)
{
	struct gateway_bench *b = *state;
	b->rules_held = true;
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	assert_int_equal(b->rule_asked_count, 1);
	gateway_bench_advance(b, 1000);
	assert_int_equal(sent_count(b, MSG_doc_write), 0);
	assert_true(b->rule_asked_count > 1);
	b->rules_held = false;
	struct event turn = {.kind = EVENT_TURN};
	gateway_bench_event(b, &turn);
	assert_int_equal(sent_count(b, MSG_doc_write), 1);
}

static void test_nobody_answers(void **state)
{
	struct gateway_bench *b = *state;
	b->rules_held = true;
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	gateway_bench_advance(b, 5000);
	assert_int_equal(b->status, 503);
	assert_int_equal(sent_count(b, MSG_doc_write), 0);
}

static void test_a_design_document_written_here_counts_at_once(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_doc_write_ack ack = {.status = STATUS_CREATED, .revision = {1, slice_text("r")}};
	gateway_bench_http(b, "PUT /c/_design/r\n\n{}");
	gateway_bench_advance(b, 1);
	gateway_bench_answer(b, index_of(b, MSG_doc_write), MSG_doc_write_ack, &ack);
	gateway_bench_advance(b, 1);
	b->rules_held = true;
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	assert_int_equal(b->rule_asked_count, 1);
}

enum { RULE_LARGE = 60000, RULES_MANY = 2 * RULES_BYTES_MAX / RULE_LARGE };

/* Answers the question for functions with many that are large. */
static void answer_large(struct gateway_bench *b, uint32_t count)
{
	static struct row rows[RULES_MANY];
	struct buf text = {0};
	struct buf body = {0};
	for (int i = 0; i < RULE_LARGE; i++)
		buf_append_byte(&text, ' ');
	mp_write_map(&body, 1);
	mp_write_text(&body, "validate_doc_update");
	mp_write_str(&body, buf_slice(&text));
	for (uint32_t i = 0; i < count; i++)
		rows[i] = (struct row){.id = slice_text("_design/r"),
				       .revision = {1, slice_text("d")},
				       .body = buf_slice(&body)};
	struct bench_sent sent = b->rule_asked[--b->rule_asked_count];
	struct peer from = {sent.member, ROLE_STORAGE, 1};
	struct msg_shard_query_ack ack = {.status = STATUS_OK, .rows = rows, .rows_count = count};
	sent.envelope.type = MSG_shard_query_ack;
	gateway_bench_message(b, &from, &sent.envelope, &ack);
	buf_close(&text);
	buf_close(&body);
}

/* Design documents can have as many as somebody writes. */
static void test_functions_are_bounded_together(void **state)
{
	struct gateway_bench *b = *state;
	b->rules_held = true;
	uint64_t id = gateway_bench_http(b, "PUT /c/a?rev=1-a\n\n{}");
	answer_large(b, RULES_MANY);
	const struct request *r = map_get_u64(&b->gw->requests, id);
	assert_non_null(r);
	/* as they came, and as they are given to a run */
	assert_true(r->arena.used < 2 * RULES_BYTES_MAX + RULES_BYTES_MAX / 4);
}

static void push_database(struct gateway_bench *b, uint64_t id, const char *name)
{
	struct replica replica = {.node = BENCH_NODE, .incarnation = 1};
	struct collection database = {.id = id,
				      .name = slice_text(name),
				      .version = 1,
				      .replicas = 1,
				      .write_quorum = 1,
				      .mode = MODE_CONSISTENT};
	struct shard shard = {.id = id,
			      .collection = id,
			      .epoch = 1,
			      .lead = BENCH_NODE,
			      .replicas = &replica,
			      .replicas_count = 1,
			      .write_quorum = 1,
			      .hash_last = UINT64_MAX};
	struct msg_map_push push = {.map_version = 100 + id,
				    .collections = &database,
				    .collections_count = 1,
				    .shards = &shard,
				    .shards_count = 1};
	struct peer from = {BENCH_COORDINATOR, ROLE_COORDINATOR, 1};
	struct envelope pushed = {.type = MSG_map_push};
	gateway_bench_message(b, &from, &pushed, &push);
}

static size_t memory_used(void)
{
	struct mallinfo2 all = mallinfo2();
	return all.uordblks + all.hblkhd;
}

/* Nor are those of very many databases remembered at the same time. */
static void test_functions_of_many_databases_are_forgotten(void **state)
{
	struct gateway_bench *b = *state;
	size_t before = memory_used();
	b->rules_held = true;
	for (uint64_t i = 0; i < 12; i++) {
		char name[8];
		char request[64];
		snprintf(name, sizeof name, "d%d", (int)i);
		push_database(b, 50 + i, name);
		snprintf(request, sizeof request, "PUT /%s/a?rev=1-a\n\n{}", name);
		uint64_t id = gateway_bench_http(b, request);
		answer_large(b, RULES_MANY / 2);
		struct event gone = {.kind = EVENT_HTTP_GONE, .http_gone = id};
		gateway_bench_event(b, &gone);
		gateway_bench_clear(b);
	}
	assert_in_range(memory_used() - before, 0, 5 * RULES_BYTES_MAX);
}

/* Each write that asks for them, or waits, has its own copy. */
static void test_writes_hold_functions_as_far_as_there_is_room(void **state)
{
	enum { WRITES = 16 };
	struct gateway_bench *b = *state;
	size_t before = memory_used();
	uint64_t last = 0;
	b->rules_held = true;
	for (int i = 0; i < WRITES; i++)
		last = gateway_bench_http(b, "PUT /c/a?rev=1-a\n\n{}");
	for (int i = 0; i < WRITES; i++)
		answer_large(b, RULES_MANY / 2);
	assert_in_range(memory_used() - before, 0, 20 * RULES_BYTES_MAX);
	assert_int_equal(b->status, 503);
	/* they are gone with their writes */
	for (uint64_t id = last + 1 - WRITES; id <= last; id++) {
		struct event gone = {.kind = EVENT_HTTP_GONE, .http_gone = id};
		gateway_bench_event(b, &gone);
	}
	b->status = 0;
	gateway_bench_http(b, "PUT /c/a?rev=1-a\n\n{}");
	assert_int_equal(b->status, 0);
}

/* ---- verdicts ---- */

static void script_ends(struct gateway_bench *b, uint64_t id, enum script_status status,
			const char *output)
{
	struct event event = {.kind = EVENT_SCRIPT};
	event.script.id = id;
	event.script.status = status;
	event.script.output =
	    status == SCRIPT_OK ? gateway_bench_document(b, output) : slice_text(output);
	gateway_bench_event(b, &event);
}

static bool script_runs(const struct gateway_bench *b, const char *id)
{
	return strstr(buf_cstr((struct buf *)&b->trace), id) != NULL;
}

/* A write of what is at 1-a, up to its script. */
static void write_is_judged(struct gateway_bench *b, const char *request)
{
	b->rule = "f";
	gateway_bench_clear(b);
	gateway_bench_http(b, request);
	struct msg_doc_read_ack ack = {.status = STATUS_OK,
				       .revision = {1, slice_text("a")},
				       .body = gateway_bench_document(b, "{\"v\":1}")};
	gateway_bench_answer(b, index_of(b, MSG_doc_read), MSG_doc_read_ack, &ack);
	/* _security: there is no such collection */
	struct msg_map_push same = {.map_version = 5};
	if (b->sent[b->sent_count - 1].envelope.type == MSG_map_request)
		gateway_bench_answer(b, b->sent_count - 1, MSG_map_push, &same);
}

static void test_a_refused_write_is_not_sent(void **state)
{
	struct gateway_bench *b = *state;
	write_is_judged(b, "PUT /c/a?rev=1-a\n\n{\"v\":2}");
	assert_true(script_runs(b, "$$ 1 "));
	script_ends(b, 1, SCRIPT_OK, "[[\"forbidden\",{\"code\":7}]]");
	expect_body(b, 403, "{\"error\":\"forbidden\",\"reason\":{\"code\":7}}");
	assert_int_equal(sent_count(b, MSG_doc_write), 0);
}

static void test_others_are(void **state)
{
	struct gateway_bench *b = *state;
	write_is_judged(b, "PUT /c/a?rev=1-a\n\n{\"v\":2}");
	script_ends(b, 1, SCRIPT_OK, "[null]");
	assert_int_equal(sent_count(b, MSG_doc_write), 1);
}

static void test_rubbish_refuses(void **state)
{
	static const struct {
		enum script_status status;
		const char *output;
		int http;
	} ends[] = {
	    {SCRIPT_OK, "[]", 500},
	    {SCRIPT_OK, "[null,null]", 500},
	    {SCRIPT_OK, "[true]", 500},
	    {SCRIPT_OK, "[[1,2]]", 500},
	    {SCRIPT_OK, "[[\"forbidden\"]]", 500},
	    {SCRIPT_OK, "{\"a\":1}", 500},
	    {SCRIPT_OK, "\"no function\"", 400},
	    {SCRIPT_THREW, "it", 500},
	    {SCRIPT_TIME, "too long", 500},
	    {SCRIPT_CRASHED, "gone", 500},
	    {SCRIPT_UNAVAILABLE, "none", 503},
	};
	struct gateway_bench *b = *state;
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		write_is_judged(b, "PUT /c/a?rev=1-a\n\n{\"v\":2}");
		script_ends(b, i + 1, ends[i].status, ends[i].output);
		assert_int_equal(b->status, ends[i].http);
		assert_int_equal(sent_count(b, MSG_doc_write), 0);
	}
}

static void test_a_revision_that_is_not_there_is_a_conflict(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_doc_read_ack none = {.status = STATUS_NOT_FOUND};
	b->rule = "f";
	gateway_bench_http(b, "PUT /c/a?rev=1-b\n\n{}");
	gateway_bench_answer(b, index_of(b, MSG_doc_read), MSG_doc_read_ack, &none);
	struct msg_map_push same = {.map_version = 5};
	gateway_bench_answer(b, index_of(b, MSG_map_request), MSG_map_push, &same);
	expect_body(b, 409, "{\"error\":\"conflict\",\"reason\":\"Document update conflict.\"}");
	assert_false(script_runs(b, "$$"));
}

static void test_a_bulk_that_is_too_much_is_judged_in_parts(void **state)
{
	struct gateway_bench *b = *state;
	b->rule = "f";
	gateway_bench_http(b, "POST /c/_bulk_docs\n\n{\"docs\":[{\"_id\":\"a\"},{\"_id\":\"b\"},"
			      "{\"_id\":\"_design/d\"}]}");
	struct msg_map_push same = {.map_version = 5};
	gateway_bench_answer(b, index_of(b, MSG_map_request), MSG_map_push, &same);
	script_ends(b, 1, SCRIPT_TIME, "too long");
	assert_int_equal(sent_count(b, MSG_doc_write), 0);
	script_ends(b, 2, SCRIPT_OK, "[null]");
	script_ends(b, 3, SCRIPT_TIME, "too long");
	assert_int_equal(sent_count(b, MSG_doc_write), 2); /* a, and what no function sees */
}

static void test_a_bulk_of_endless_ones_ends(void **state)
{
	struct gateway_bench *b = *state;
	b->rule = "f";
	gateway_bench_http(b, "POST /c/_bulk_docs\n\n{\"docs\":[{\"_id\":\"a\"},{\"_id\":\"b\"},"
			      "{\"_id\":\"c\"},{\"_id\":\"d\"},{\"_id\":\"_design/d\"}]}");
	struct msg_map_push same = {.map_version = 5};
	gateway_bench_answer(b, index_of(b, MSG_map_request), MSG_map_push, &same);
	/* on a busy machine each takes its time */
	for (uint64_t id = 1; id <= 4; id++) {
		assert_int_equal(b->status, 0);
		gateway_bench_advance(b, 4000);
		script_ends(b, id, SCRIPT_TIME, "too long");
	}
	expect_body(b, 500, "{\"error\":\"os_process_error\",\"reason\":\"too long\"}");
	assert_int_equal(sent_count(b, MSG_doc_write), 0);
}

static void test_nobody_has_time_for_a_write(void **state)
{
	struct gateway_bench *b = *state;
	write_is_judged(b, "PUT /c/a?rev=1-a\n\n{\"v\":2}");
	gateway_bench_advance(b, 29000);
	assert_int_equal(b->status, 0);
	gateway_bench_advance(b, 2000);
	assert_int_equal(b->status, 503);
	assert_true(script_runs(b, "$| 1\n"));
	assert_int_equal(sent_count(b, MSG_doc_write), 0);
}

/* ---- filters ---- */

/* A feed with a filter, up to the first pages of both shards. */
static void feed_is_filtered(struct gateway_bench *b, const char *request)
{
	struct msg_map_push same = {.map_version = 5};
	gateway_bench_http(b, request);
	/* _security: there is no such collection */
	gateway_bench_answer(b, index_of(b, MSG_map_request), MSG_map_push, &same);
	struct msg_doc_read_ack design = {
	    .status = STATUS_OK,
	    .revision = {1, slice_text("d")},
	    .body = gateway_bench_document(b, "{\"filters\":{\"f\":\"f\"}}")};
	gateway_bench_answer(b, index_of(b, MSG_doc_read), MSG_doc_read_ack, &design);
	uint32_t last = index_of(b, MSG_shard_changes);
	for (uint32_t i = 0; i < 2; i++) {
		struct change_row row = {.number = 1,
					 .id = slice_text(i == 0 ? "a" : "b"),
					 .revision = {1, slice_text("r")},
					 .body = gateway_bench_document(b, "{}"),
					 .stamp = i + 1};
		struct msg_shard_changes_ack ack = {
		    .status = STATUS_OK, .rows = &row, .rows_count = 1, .last = 1};
		gateway_bench_answer(b, last - i, MSG_shard_changes_ack, &ack);
	}
}

static void test_a_feed_has_one_run_at_a_time(void **state)
{
	struct gateway_bench *b = *state;
	feed_is_filtered(b, "GET /c/_changes?filter=d/f\n\n");
	assert_true(script_runs(b, "$$ 1 "));
	assert_false(script_runs(b, "$$ 2 "));
	script_ends(b, 1, SCRIPT_OK, "[true]");
	assert_true(script_runs(b, "$$ 2 "));
	script_ends(b, 2, SCRIPT_OK, "[true]");
	assert_int_equal(b->status, 200);
	assert_non_null(strstr(buf_cstr(&b->body), "\"id\":\"a\""));
	assert_non_null(strstr(buf_cstr(&b->body), "\"id\":\"b\""));
}

/* Nothing is sent before the filter has said something: so its failure can be told. */
static void test_a_feed_waits_for_its_filter(void **state)
{
	static const char *const feeds[] = {
	    "GET /c/_changes?filter=d/f&feed=continuous\n\n",
	    "GET /c/_changes?filter=d/f&feed=eventsource&heartbeat=1000\n\n",
	    "GET /c/_changes?filter=d/f&feed=longpoll&heartbeat=1000\n\n",
	};
	for (size_t i = 0; i < 2 * ARRAY_LEN(feeds); i++) {
		open_with(state, 2);
		struct gateway_bench *b = *state;
		feed_is_filtered(b, feeds[i / 2]);
		gateway_bench_advance(b, 29000);
		assert_int_equal(b->status, 0);
		if (i % 2 == 0) {
			script_ends(b, 1, SCRIPT_TIME, "too long");
			expect_body(b, 500,
				    "{\"error\":\"os_process_error\",\"reason\":\"too long\"}");
		} else {
			gateway_bench_advance(b, 2000);
			assert_int_equal(b->status, 503);
		}
		gateway_bench_teardown(state);
	}
}

static void test_functions_are_tried_before_they_are_written(void **state)
{
	static const struct {
		enum script_status status;
		const char *output;
		int http; /* 0: it is written */
	} ends[] = {
	    {SCRIPT_OK, "\"\"", 0},     {SCRIPT_UNAVAILABLE, "none", 0}, {SCRIPT_BUSY, "many", 503},
	    {SCRIPT_OK, "\"no\"", 400}, {SCRIPT_OK, "[]", 400},          {SCRIPT_TIME, "", 500},
	};
	struct gateway_bench *b = *state;
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		gateway_bench_clear(b);
		b->status = 0;
		gateway_bench_http(b, "PUT /c/_design/d\n\n{\"views\":{\"v\":{\"map\":\"f\"}}}");
		assert_true(script_runs(b, "$$ "));
		assert_int_equal(sent_count(b, MSG_doc_write), 0);
		script_ends(b, i + 1, ends[i].status, ends[i].output);
		assert_int_equal(sent_count(b, MSG_doc_write), ends[i].http == 0);
		assert_int_equal(b->status, ends[i].http);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, gateway_bench_teardown)
	    TEST(test_a_database_without_functions_pays_nothing),
	    TEST(test_one_asks_again_while_others_go_on),
	    TEST(test_who_knows_nothing_asks_any_replica),
	    TEST(test_nobody_answers),
	    TEST(test_a_design_document_written_here_counts_at_once),
	    TEST(test_functions_are_bounded_together),
	    TEST(test_functions_of_many_databases_are_forgotten),
	    TEST(test_writes_hold_functions_as_far_as_there_is_room),
	    TEST(test_a_refused_write_is_not_sent),
	    TEST(test_others_are),
	    TEST(test_rubbish_refuses),
	    TEST(test_a_revision_that_is_not_there_is_a_conflict),
	    TEST(test_functions_are_tried_before_they_are_written),
	    TEST(test_a_bulk_that_is_too_much_is_judged_in_parts),
	    TEST(test_a_bulk_of_endless_ones_ends),
	    TEST(test_nobody_has_time_for_a_write),
	    cmocka_unit_test_setup_teardown(test_a_feed_has_one_run_at_a_time, setup_two,
					    gateway_bench_teardown),
	    cmocka_unit_test(test_a_feed_waits_for_its_filter),
#undef TEST
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
