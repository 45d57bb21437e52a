/* The gateway's core: lists of what the cluster has, where collections are alike and come and go.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "gateway/call.h"
#include "proto/msgpack.h"
#include "tests/core/gateway_case.h"

enum { FIRST = 21, SECOND = 22, INDEX = 256, VERSION = 9 };

static const struct peer coordinator = {BENCH_COORDINATOR, ROLE_COORDINATOR, 1};

/* Two collections of a shard each, with an index each; their ids are unique within each only. */
static void push_version(struct gateway_bench *b, uint64_t version)
{
	struct slice path = slice_text("n");
	struct index_definition index = {
	    .id = INDEX, .name = slice_text("by-n"), .fields = &path, .fields_count = 1};
	struct collection collections[2];
	struct shard shards[2];
	struct replica replica = {.node = BENCH_NODE, .incarnation = 100};
	struct msg_map_push push = {.map_version = version,
				    .collections = collections,
				    .collections_count = 2,
				    .shards = shards,
				    .shards_count = 2};
	struct envelope envelope = {.type = MSG_map_push};
	for (uint64_t i = 0; i < 2; i++) {
		collections[i] = (struct collection){.id = FIRST + i,
						     .name = slice_text(i ? "second" : "first"),
						     .version = 1,
						     .replicas = 1,
						     .write_quorum = 1,
						     .indexes = &index,
						     .indexes_count = 1};
		shards[i] = (struct shard){.id = FIRST + i,
					   .collection = FIRST + i,
					   .epoch = 1,
					   .lead = BENCH_NODE,
					   .hash_last = UINT64_MAX,
					   .replicas = &replica,
					   .replicas_count = 1,
					   .write_quorum = 1};
	}
	gateway_bench_message(b, &coordinator, &envelope, &push);
	gateway_bench_clear(b);
}

static int setup(void **state)
{
	push_version(bench_open(state, NULL), VERSION);
	return 0;
}

/* It is gone, as any map says that comes then. */
static void drop(struct gateway_bench *b, uint64_t collection)
{
	struct msg_map_push push = {
	    .map_version = VERSION, .dropped = &collection, .dropped_count = 1};
	struct envelope envelope = {.type = MSG_map_push};
	gateway_bench_message(b, &coordinator, &envelope, &push);
}

static void ask(struct gateway_bench *b, const char *request)
{
	struct msg_map_push same = {.map_version = VERSION};
	gateway_bench_http(b, request);
	gateway_bench_answer(b, 0, MSG_map_push, &same);
	assert_int_equal(b->sent_count, 3); /* both shards are asked */
}

/* ---- system.collections ---- */

static void answer_count(struct gateway_bench *b, uint32_t index, uint64_t count)
{
	struct msg_shard_query_ack ack = {.status = STATUS_OK, .count = count};
	gateway_bench_answer(b, index, MSG_shard_query_ack, &ack);
}

static void expect_only(struct gateway_bench *b, const char *name, const char *other)
{
	assert_int_equal(b->status, 200);
	assert_non_null(strstr(buf_cstr(&b->body), name));
	assert_null(strstr(buf_cstr(&b->body), other));
}

static void test_one_that_was_counted_is_dropped(void **state)
{
	struct gateway_bench *b = *state;
	ask(b, "GET /system.collections");
	answer_count(b, 1, 5);
	drop(b, FIRST);
	answer_count(b, 2, 6);
	expect_only(b, "second", "first");
}

/* A storage node that was away told of an earlier collection of that name, and did not know better.
 */
static void test_one_of_the_same_name_is_gone(void **state)
{
	struct gateway_bench *b = *state;
	struct collection earlier = {.id = FIRST - 1,
				     .name = slice_text("first"),
				     .version = 1,
				     .replicas = 1,
				     .write_quorum = 1};
	struct msg_map_push push = {
	    .map_version = VERSION, .collections = &earlier, .collections_count = 1};
	struct envelope envelope = {.type = MSG_map_push};
	const struct peer node = {BENCH_NODE, ROLE_STORAGE, 1};
	gateway_bench_message(b, &node, &envelope, &push);
	push_version(b, VERSION + 1);
	ask(b, "GET /system.collections");
	answer_count(b, 1, 5);
	answer_count(b, 2, 6);
	assert_int_equal(b->status, 200);
	assert_non_null(strstr(buf_cstr(&b->body), "first"));
}

/* Nobody can count it any more: that is no reason to know nothing of the others. */
static void test_one_that_is_to_be_counted_is_dropped(void **state)
{
	struct gateway_bench *b = *state;
	ask(b, "GET /system.collections");
	drop(b, FIRST);
	answer_count(b, 2, 6);
	for (int i = 0; b->status == 0 && i < 100; i++)
		gateway_bench_advance(b, 100);
	expect_only(b, "second", "first");
}

/* Likewise of lists. What the others hold is known soon, not at the deadline. */
static void test_one_that_is_listed_is_dropped(void **state)
{
	struct gateway_bench *b = *state;
	static const char *const lists[] = {"GET /_/conflicts", "GET /system.conflicts",
					    "GET /system.resolutions", "GET /system.checkpoints",
					    "GET /system.indexes"};
	const struct msg_conflict_list_ack conflicts = {.status = STATUS_OK};
	const struct msg_checkpoint_list_ack checkpoints = {.status = STATUS_OK};
	const struct msg_index_status_ack indexes = {.status = STATUS_OK};
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		gateway_bench_close(b);
		gateway_bench_open(b, NULL);
		push_version(b, VERSION);
		ask(b, lists[i]);
		drop(b, FIRST);
		if (i < 3)
			gateway_bench_answer(b, 2, MSG_conflict_list_ack, &conflicts);
		else if (i == 3)
			gateway_bench_answer(b, 2, MSG_checkpoint_list_ack, &checkpoints);
		else
			gateway_bench_answer(b, 2, MSG_index_status_ack, &indexes);
		gateway_bench_advance(b, CALL_RESEND_MS + 100);
		assert_int_equal(b->status, 200);
		assert_null(strstr(buf_cstr(&b->body), "first"));
	}
}

static void test_one_that_can_not_be_counted(void **state)
{
	struct gateway_bench *b = *state;
	ask(b, "GET /system.collections");
	answer_count(b, 2, 6);
	for (int i = 0; b->status == 0 && i < 100; i++)
		gateway_bench_advance(b, 100);
	assert_int_equal(b->status, 503);
}

/* ---- checkpoints ---- */

/* There is no room for it in a message. */
static void test_a_checkpoint_of_a_name_that_none_can_have(void **state)
{
	static const char *const methods[] = {"GET", "PUT", "DELETE"};
	struct gateway_bench *b = *state;
	char request[200];
	for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
		snprintf(request, sizeof request, "%s /_/checkpoints/first/%0*d\n\n%s", methods[i],
			 LIMIT_NAME_BYTES + 1, 7, i == 1 ? "{\"position\":\"MQ\"}" : "");
		gateway_bench_clear(b);
		gateway_bench_http(b, request);
		assert_int_equal(b->status, 422);
		assert_non_null(strstr(buf_cstr(&b->body), "\"bad_name\""));
	}
}

/* ---- system.indexes ---- */

static void answer_progress(struct gateway_bench *b, uint32_t index, uint64_t documents, bool ready)
{
	struct index_progress progress = {
	    .id = INDEX, .ready = ready, .documents = documents, .total = 10, .keys = documents};
	struct msg_index_status_ack ack = {
	    .status = STATUS_OK, .indexes = &progress, .indexes_count = 1};
	gateway_bench_answer(b, index, MSG_index_status_ack, &ack);
}

static void test_indexes_are_told_apart(void **state)
{
	struct gateway_bench *b = *state;
	ask(b, "GET /system.indexes");
	answer_progress(b, 1, 10, true);
	answer_progress(b, 2, 3, false);
	assert_string_equal(
	    buf_cstr(&b->body),
	    "[{\"id\":\"first/by-n\",\"collection\":\"first\",\"name\":\"by-n\",\"fields\":[\"n\"],"
	    "\"ready\":true,\"documents\":10,\"total\":10,\"keys\":10},"
	    "{\"id\":\"second/"
	    "by-n\",\"collection\":\"second\",\"name\":\"by-n\",\"fields\":[\"n\"],"
	    "\"ready\":false,\"documents\":3,\"total\":10,\"keys\":3}]");
}

static void test_indexes_of_one_that_is_dropped(void **state)
{
	struct gateway_bench *b = *state;
	ask(b, "GET /system.indexes");
	drop(b, FIRST);
	answer_progress(b, 2, 3, false);
	for (int i = 0; b->status == 0 && i < 100; i++)
		gateway_bench_advance(b, 100);
	expect_only(b, "second", "first");
}

/* ---- lists that are cut ---- */

static void answer_cut(struct gateway_bench *b, const char *request)
{
	struct buf row = {0};
	struct slice rows;
	mp_write_map(&row, 1);
	mp_write_text(&row, "id");
	mp_write_text(&row, "x");
	rows = buf_slice(&row);
	struct msg_system_list_ack ack = {
	    .status = STATUS_OK, .rows = &rows, .rows_count = 1, .cut = true};
	gateway_bench_clear(b);
	gateway_bench_http(b, request);
	gateway_bench_answer(b, 0, MSG_system_list_ack, &ack);
	buf_close(&row);
}

/* Of what is not shown it is not known whether it is there. */
static void test_a_cut_list_says_so(void **state)
{
	struct gateway_bench *b = *state;
	answer_cut(b, "GET /system.locks");
	assert_non_null(strstr(buf_cstr(&b->headers), "X-Parley-More: true\n"));
	answer_cut(b, "GET /system.locks?count=true");
	assert_int_equal(b->status, 200);
	assert_non_null(strstr(buf_cstr(&b->headers), "X-Parley-More: true\n"));
	answer_cut(b, "GET /system.locks/x");
	assert_int_equal(b->status, 200);
	answer_cut(b, "GET /system.locks/y");
	assert_int_equal(b->status, 503);
	assert_non_null(strstr(buf_cstr(&b->body), "limit_reached"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, gateway_bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_indexes_are_told_apart),
	    TEST(test_indexes_of_one_that_is_dropped),
	    TEST(test_a_cut_list_says_so),
	    TEST(test_one_that_can_not_be_counted),
	    TEST(test_a_checkpoint_of_a_name_that_none_can_have),
	    TEST(test_one_that_is_to_be_counted_is_dropped),
	    TEST(test_one_that_is_listed_is_dropped),
	    TEST(test_one_that_was_counted_is_dropped),
	    TEST(test_one_of_the_same_name_is_gone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
