/* The gateway's core: policies as documents, and what they would do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/timing.h"
#include "proto/msgpack.h"
#include "tests/core/gateway_case.h"

enum { SHARDS = 2 };

static int setup(void **state)
{
	struct gateway_bench *b = bench_open(state, NULL);
	bench_map(b, SHARDS, MODE_CONSISTENT);
	return 0;
}

static void refresh_map(struct gateway_bench *b, uint32_t index)
{
	struct msg_map_push same = {.map_version = 5};
	gateway_bench_answer(b, index, MSG_map_push, &same);
}

/* ---- reading ---- */

static void read_policies(struct gateway_bench *b, const char *request)
{
	gateway_bench_clear(b);
	gateway_bench_http(b, request);
	refresh_map(b, 0);
}

static void test_reading(void **state)
{
	struct gateway_bench *b = *state;
	read_policies(b, "GET /system.policies");
	assert_string_equal(buf_cstr(&b->body),
			    "[{\"id\":\"c\",\"version\":1,\"strategy\":\"merge\"}]");
	read_policies(b, "GET /system.policies/c");
	assert_string_equal(buf_cstr(&b->body),
			    "{\"id\":\"c\",\"version\":1,\"strategy\":\"merge\"}");
	assert_non_null(strstr(buf_cstr(&b->headers), "ETag: \"1\"\n"));
	read_policies(b, "GET /system.policies/c\nif-none-match: \"0\", \"1\"\n");
	assert_int_equal(b->status, 304);
	read_policies(b, "GET /system.policies/c?fields=%5B%22strategy%22%5D");
	assert_string_equal(buf_cstr(&b->body), "{\"id\":\"c\",\"strategy\":\"merge\"}");
	read_policies(b, "GET /system.policies/d");
	assert_int_equal(b->status, 404);
	read_policies(b, "GET /system.policies?query=%7B%22strategy%22%3A%22none%22%7D");
	assert_string_equal(buf_cstr(&b->body), "[]");
	read_policies(b, "POST /system.policies/_query\n\n{\"query\":{\"strategy\":\"merge\"},"
			 "\"count\":true}");
	assert_string_equal(buf_cstr(&b->body), "{\"documentCount\":1}");
}

/* ---- changing ---- */

/* Up to the message to the coordinator, which is then the last one sent. */
static struct msg_collection_create *change(struct gateway_bench *b, const char *request)
{
	gateway_bench_clear(b);
	gateway_bench_http(b, request);
	if (b->status != 0)
		return NULL;
	refresh_map(b, 0);
	if (b->sent_count < 2)
		return NULL;
	static struct arena arena;
	static struct msg_collection_create m;
	arena_reset(&arena);
	const struct bench_sent *sent = &b->sent[b->sent_count - 1];
	assert_int_equal(sent->envelope.type, MSG_collection_create);
	assert_true(schema_decode(&schema_msg_collection_create, sent->body, &arena, &m));
	assert_true(m.update && m.policy_only);
	assert_true(slice_is(m.collection.name, "c"));
	return &m;
}

static void changed(struct gateway_bench *b, enum status status)
{
	struct msg_collection_create_ack ack = {.status = status, .map_version = 5};
	gateway_bench_answer(b, b->sent_count - 1, MSG_collection_create_ack, &ack);
}

static void test_replacing(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_collection_create *m =
	    change(b, "PUT /system.policies/c\n\n{\"id\":\"c\",\"version\":9,"
		      "\"strategy\":\"newest\"}");
	assert_non_null(m);
	assert_int_equal(m->if_version, 0);
	assert_true(slice_equal(m->collection.policy,
				gateway_bench_document(b, "{\"strategy\":\"newest\"}")));
	changed(b, STATUS_OK);
	assert_int_equal(b->status, 200);
	assert_non_null(strstr(buf_cstr(&b->headers), "ETag: \"1\"\n"));
	m = change(b, "PUT /system.policies/c\nif-match: \"1\"\n\n{\"strategy\":\"none\"}");
	assert_non_null(m);
	assert_int_equal(m->if_version, 1);
	changed(b, STATUS_LIMIT_REACHED);
	assert_int_equal(b->status, 503);
	m = change(b, "DELETE /system.policies/c\nif-match: *\n");
	assert_non_null(m);
	assert_int_equal(m->collection.policy.len, 0);
	changed(b, STATUS_OK);
	assert_int_equal(b->status, 200);
}

static void test_stale_versions(void **state)
{
	struct gateway_bench *b = *state;
	assert_null(
	    change(b, "PUT /system.policies/c\nif-match: \"11\"\n\n{\"strategy\":\"none\"}"));
	assert_int_equal(b->status, 409);
	assert_non_null(strstr(buf_cstr(&b->body), "Version 1 is current."));
	/* the coordinator knows a newer one: the map is read again, and then decides */
	assert_non_null(change(b, "PATCH /system.policies/c\n\n{\"deletes\":\"delete-wins\"}"));
	changed(b, STATUS_CONFLICT);
	assert_int_equal(b->status, 0);
	assert_int_equal(b->sent[b->sent_count - 1].envelope.type, MSG_map_request);
	refresh_map(b, b->sent_count - 1);
	changed(b, STATUS_OK);
	assert_int_equal(b->status, 200);
	/* but not for ever */
	assert_non_null(change(b, "PATCH /system.policies/c\n\n{\"deletes\":\"delete-wins\"}"));
	for (int i = 0; i < 4; i++) {
		changed(b, STATUS_CONFLICT);
		refresh_map(b, b->sent_count - 1);
	}
	changed(b, STATUS_CONFLICT);
	assert_int_equal(b->status, 409);
}

static void test_patching(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_collection_create *m =
	    change(b, "PATCH /system.policies/c\n\n{\"paths\":{\"a\":\"set\",\"b\":null}}");
	assert_non_null(m);
	assert_int_equal(m->if_version, 1);
	assert_true(slice_equal(m->collection.policy,
				gateway_bench_document(b, "{\"paths\":{\"a\":\"set\"}}")));
	changed(b, STATUS_OK);
}

static void test_refusals(void **state)
{
	static const struct {
		const char *request;
		int status;
		const char *place;
	} rows[] = {
	    {"PUT /system.policies/c\n\n{\"strategy\":\"best\"}", 400, "/strategy"},
	    {"PUT /system.policies/c\n\n{\"paths\":{\"a\":1}}", 400, "/paths/a"},
	    {"PUT /system.policies/c\n\n{\"references\":[{\"path\":\"a\",\"collection\":\"c.2\"},"
	     "{\"path\":\"b\",\"collection\":\"my people\"}]}",
	     400, "/references/1/collection"},
	    {"PUT "
	     "/system.policies/"
	     "c\n\n{\"references\":[{\"path\":\"a\",\"collection\":\"system.x\"}]}",
	     400, "/references/0/collection"},
	    {"PUT /system.policies/c\n\n{\"id\":\"d\"}", 400, "/id"},
	    {"PUT /system.policies/c\n\n[]", 400, NULL},
	    {"PUT /system.policies/d\n\n{}", 404, "path"},
	    {"PATCH /system.policies/c\ncontent-type: application/vnd.parley.update+json\n\n{}",
	     415, "Content-Type"},
	    {"POST /system.policies\n\n{}", 405, "POST"},
	    {"POST /_/policies/_test\n\n{}", 400, "/collection"},
	    {"POST /_/policies/_test\n\n{\"collection\":\"_\"}", 422, "/collection"},
	    {"POST /_/policies/_test\n\n{\"collection\":\"d\"}", 404, "/collection"},
	    {"POST /_/policies/_test\n\n{\"collection\":\"c\",\"limit\":101}", 400, "/limit"},
	    {"POST /_/policies/_test\n\n{\"collection\":\"c\",\"ids\":[1]}", 400, "/ids"},
	    {"POST /_/policies/_test\n\n{\"collection\":\"c\",\"polic\":{}}", 400, "/polic"},
	    {"POST /_/policies/_test\n\n{\"collection\":\"c\",\"policy\":{\"fallback\":1}}", 400,
	     "/policy/fallback"},
	};
	struct gateway_bench *b = *state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		gateway_bench_clear(b);
		b->status = 0;
		gateway_bench_http(b, rows[i].request);
		if (b->sent_count > 0)
			refresh_map(b, 0);
		char place[64];
		snprintf(place, sizeof place, "\"place\":\"%s\"",
			 rows[i].place ? rows[i].place : "");
		bool named = !rows[i].place || strstr(buf_cstr(&b->body), place);
		if (b->status != rows[i].status || !named)
			fail_msg("%s: %d %s", rows[i].request, b->status, buf_cstr(&b->body));
	}
	gateway_bench_advance(b, OFFLINE_MS + 1);
	gateway_bench_http(b, "PUT /system.policies/c\n\n{}");
	assert_int_equal(b->status, 503);
}

/* In every route to a collection, or to a part of it. */
static void test_a_collection_that_is_not_there(void **state)
{
	static const char *const requests[] = {
	    "PUT /system.policies/d\n\n{}", "POST /_/policies/_test\n\n{\"collection\":\"d\"}",
	    "GET /_/checkpoints/d/x",       "PUT /_/checkpoints/d/x\n\n{\"position\":\"1\"}",
	    "DELETE /_/checkpoints/d/x",    "GET /_/conflicts/d/x",
	    "PATCH /_/collections/d\n\n{}", "GET /_/collections/d/indexes",
	    "GET /d/x/_references",
	};
	struct gateway_bench *b = *state;
	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		gateway_bench_clear(b);
		b->status = 0;
		gateway_bench_http(b, requests[i]);
		assert_int_equal(b->sent_count, 1);
		refresh_map(b, 0);
		if (b->status != 404 || !strstr(buf_cstr(&b->body), "no collection of this name"))
			fail_msg("%s: %d %s", requests[i], b->status, buf_cstr(&b->body));
	}
	gateway_bench_clear(b);
	gateway_bench_http(b, "POST /_/policies/_test\n\n{\"collection\":\"c\",\"ids\":\"a\"}");
	assert_int_equal(b->status, 400);
	assert_non_null(strstr(buf_cstr(&b->body), "An array of at most 100 ids."));
}

/* What is not there is named. */
static void test_a_conflict_that_is_not_there(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "GET /_/conflicts/d/x");
	refresh_map(b, 0);
	assert_int_equal(b->status, 404);
	assert_non_null(strstr(buf_cstr(&b->body), "no collection of this name"));
	gateway_bench_clear(b);
	gateway_bench_http(b, "GET /_/conflicts/c/x");
	struct msg_conflict_read_ack graph = {.status = STATUS_NOT_FOUND};
	gateway_bench_answer(b, b->sent_count - 1, MSG_conflict_read_ack, &graph);
	assert_int_equal(b->status, 404);
	assert_non_null(strstr(buf_cstr(&b->body), "no document with this id"));
	gateway_bench_clear(b);
	gateway_bench_http(b, "GET /_/conflicts/c/x");
	struct graph_node only = {.revision = {1, slice_text("a")},
				  .flags = REVISION_LEAF | REVISION_HAS_BODY,
				  .body = gateway_bench_document(b, "{}")};
	graph =
	    (struct msg_conflict_read_ack){.status = STATUS_OK, .nodes = &only, .nodes_count = 1};
	gateway_bench_answer(b, b->sent_count - 1, MSG_conflict_read_ack, &graph);
	assert_int_equal(b->status, 404);
	assert_non_null(strstr(buf_cstr(&b->body), "has no open conflict"));
	gateway_bench_clear(b);
}

/* ---- what it would do ---- */

static void answer_list(struct gateway_bench *b, const char *const *ids, uint64_t state, bool more)
{
	struct conflict_row rows[4] = {0};
	struct msg_conflict_list_ack ack = {.status = STATUS_OK, .rows = rows, .more = more};
	for (; *ids; ids++) {
		rows[ack.rows_count].id = slice_text(*ids);
		rows[ack.rows_count++].conflict.state = state;
	}
	gateway_bench_answer(b, b->sent_count - 1, MSG_conflict_list_ack, &ack);
}

#define IDS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Two edits, 2-a and 2-b, of 1-o. */
static void answer_graph(struct gateway_bench *b, const char *base, const char *first,
			 const char *second)
{
	const char *bodies[] = {base, first, second};
	static const char *const hashes[] = {"o", "a", "b"};
	uint64_t parent = 0;
	struct graph_node nodes[3] = {0};
	struct msg_conflict_read_ack ack = {
	    .status = STATUS_OK, .nodes = nodes, .nodes_count = 3, .policy_version = 1};
	for (uint32_t i = 0; i < 3; i++) {
		nodes[i].revision = (struct revision){i ? 2 : 1, slice_text(hashes[i])};
		nodes[i].parents = &parent;
		nodes[i].parents_count = i > 0;
		nodes[i].flags = REVISION_HAS_BODY | (i ? REVISION_LEAF : 0);
		nodes[i].body = gateway_bench_document(b, bodies[i]);
	}
	gateway_bench_answer(b, b->sent_count - 1, MSG_conflict_read_ack, &ack);
}

/* ---- scripts ---- */

#define WITH_SCRIPT "{\"strategy\":\"script\",\"script\":\"f\"}"

static void script_ends(struct gateway_bench *b, enum script_status status, const char *output)
{
	struct event event = {.kind = EVENT_SCRIPT};
	const char *at = strstr(buf_cstr(&b->trace), "$$ ");
	assert_non_null(at);
	char *end;
	event.script.id = strtoull(at + 3, &end, 10);
	assert_true(strncmp(end, " f\n", 3) == 0);
	event.script.status = status;
	event.script.output =
	    status == SCRIPT_OK ? gateway_bench_document(b, output) : slice_text(output);
	gateway_bench_clear(b);
	gateway_bench_event(b, &event);
}

static void put_script(struct gateway_bench *b)
{
	gateway_bench_clear(b);
	gateway_bench_http(b, "PUT /system.policies/c\n\n" WITH_SCRIPT);
	refresh_map(b, 0);
}

static bool asks_coordinator(const struct gateway_bench *b)
{
	return b->sent_count > 0 &&
	       b->sent[b->sent_count - 1].envelope.type == MSG_collection_create;
}

static void test_a_script_is_tried_when_it_is_written(void **state)
{
	struct gateway_bench *b = *state;
	put_script(b);
	assert_false(asks_coordinator(b));
	script_ends(b, SCRIPT_INVALID, "SyntaxError: no");
	assert_int_equal(b->status, 400);
	assert_non_null(strstr(buf_cstr(&b->body), "\"place\":\"/script\",\"detail\":"
						   "\"SyntaxError: no\""));
	put_script(b);
	script_ends(b, SCRIPT_THREW, "it has no versions to look at");
	assert_true(asks_coordinator(b));
	changed(b, STATUS_OK);
	put_script(b);
	script_ends(b, SCRIPT_UNAVAILABLE, "no such program"); /* the arbiter will find out */
	assert_true(asks_coordinator(b));
	changed(b, STATUS_OK);
	gateway_bench_clear(b);
	gateway_bench_http(b, "POST /_/collections\n\n{\"name\":\"n\",\"policy\":" WITH_SCRIPT "}");
	script_ends(b, SCRIPT_INVALID, "SyntaxError: no");
	assert_non_null(strstr(buf_cstr(&b->body), "\"place\":\"/policy/script\""));
}

/* The teardown ends the gateway: nobody is told any more to drop the run. */
static void test_the_gateway_ends_in_a_run(void **state)
{
	struct gateway_bench *b = *state;
	put_script(b);
	assert_non_null(strstr(buf_cstr(&b->trace), "$$ "));
}

static void test_nothing_is_taken_untried(void **state)
{
	struct gateway_bench *b = *state;
	put_script(b);
	script_ends(b, SCRIPT_BUSY, "too many wait");
	assert_int_equal(b->status, 503);
	assert_false(asks_coordinator(b));
	b->status = 0;
	put_script(b);
	gateway_bench_advance(b, 4100); /* nobody says anything */
	assert_int_equal(b->status, 503);
	assert_non_null(strstr(buf_cstr(&b->body), "\"code\":\"overloaded\""));
	assert_false(asks_coordinator(b));
}

static void test_a_dry_run_runs_scripts(void **state)
{
	struct gateway_bench *b = *state;
	static const struct {
		enum script_status status;
		const char *output, *expected;
	} cases[] = {
	    {SCRIPT_OK, "{\"pick\":\"2-a\"}", "\"outcome\":\"resolved\",\"how\":\"script\""},
	    {SCRIPT_TIME, "ran longer",
	     "\"outcome\":\"open\",\"detail\":{\"by\":\"arbiter\","
	     "\"reason\":\"script_failed\",\"text\":\"time: ran longer\""},
	    {SCRIPT_UNAVAILABLE, "no worker", "\"outcome\":\"script\"}"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		gateway_bench_clear(b);
		gateway_bench_http(b, "POST /_/policies/_test\n\n{\"collection\":\"c\",\"ids\":"
				      "[\"x\"],\"policy\":" WITH_SCRIPT "}");
		answer_graph(b, "{\"n\":1}", "{\"n\":2}", "{\"n\":3}");
		script_ends(b, cases[i].status, cases[i].output);
		assert_int_equal(b->status, 200);
		assert_non_null(strstr(buf_cstr(&b->body), cases[i].expected));
	}
}

static void test_all_open_conflicts(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "POST /_/policies/_test\n\n{\"collection\":\"c\",\"policy\":"
			      "{\"paths\":{\"n\":\"max\"}}}");
	answer_list(b, IDS("x", "y"), CONFLICT_OPEN, false);
	answer_graph(b, "{\"n\":1}", "{\"n\":2}", "{\"n\":3}");
	answer_graph(b, "{\"m\":1}", "{\"m\":2}", "{\"m\":3}");
	answer_list(b, IDS("z"), CONFLICT_RESOLVED, false);
	assert_int_equal(b->status, 200);
	assert_non_null(
	    strstr(buf_cstr(&b->body),
		   "[{\"id\":\"x\",\"leaves\":[\"2-a\",\"2-b\"],\"outcome\":\"resolved\","
		   "\"how\":\"merge\",\"revision\":\"3-"));
	assert_non_null(
	    strstr(buf_cstr(&b->body),
		   "\"deleted\":false,\"document\":{\"id\":\"x\",\"n\":3},"
		   "\"detail\":{\"by\":\"arbiter\",\"strategy\":\"merge\",\"dropped\""));
	assert_non_null(strstr(buf_cstr(&b->body),
			       "{\"id\":\"y\",\"leaves\":[\"2-a\",\"2-b\"],\"outcome\":\"open\","
			       "\"detail\":{\"by\":\"arbiter\",\"strategy\":\"merge\","
			       "\"reason\":\"paths\",\"open\":[{\"path\":\"m\""));
	assert_null(strstr(buf_cstr(&b->headers), "X-Parley-More"));
	gateway_bench_clear(b);
}

static void test_nothing_is_changed_and_limits_hold(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "POST /_/policies/_test\n\n{\"collection\":\"c\",\"limit\":1,"
			      "\"policy\":{\"strategy\":\"external\"}}");
	answer_list(b, IDS("x", "y"), CONFLICT_OPEN, false);
	answer_graph(b, "{\"n\":1}", "{\"n\":2}", "{\"n\":3}");
	assert_non_null(strstr(buf_cstr(&b->headers), "X-Parley-More: true\n"));
	expect(b, "-> 11@1 conflict_list{shard=1 limit=100}\n"
		  "-> 11@1 conflict_read{shard=1 id=\"x\"}\n"
		  "<- 1 200 X-Parley-More=true "
		  "[{\"id\":\"x\",\"leaves\":[\"2-a\",\"2-b\"],\"outcome\":\"external\"}]\n");
}

static void test_named_documents_under_the_policy_in_force(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(
	    b, "POST /_/policies/_test\n\n{\"collection\":\"c\",\"ids\":[\"x\",\"w\"]}");
	answer_graph(b, "{\"n\":1}", "{\"n\":1,\"a\":1}", "{\"n\":3}");
	struct msg_conflict_read_ack gone = {.status = STATUS_NOT_FOUND};
	gateway_bench_answer(b, b->sent_count - 1, MSG_conflict_read_ack, &gone);
	assert_non_null(strstr(buf_cstr(&b->body), "\"document\":{\"id\":\"x\",\"n\":3,\"a\":1}"));
	assert_non_null(
	    strstr(buf_cstr(&b->body), "{\"id\":\"w\",\"leaves\":[],\"outcome\":\"none\"}]"));
	gateway_bench_clear(b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, gateway_bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_reading),
	    TEST(test_replacing),
	    TEST(test_stale_versions),
	    TEST(test_patching),
	    TEST(test_refusals),
	    TEST(test_a_collection_that_is_not_there),
	    TEST(test_a_conflict_that_is_not_there),
	    TEST(test_a_script_is_tried_when_it_is_written),
	    TEST(test_the_gateway_ends_in_a_run),
	    TEST(test_nothing_is_taken_untried),
	    TEST(test_a_dry_run_runs_scripts),
	    TEST(test_all_open_conflicts),
	    TEST(test_nothing_is_changed_and_limits_hold),
	    TEST(test_named_documents_under_the_policy_in_force),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
