/* The gateway's core: lists merged from many shards, system collections, conflicts, settings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/timing.h"
#include "gateway/internal.h"
#include "proto/msgpack.h"
#include "tests/core/gateway_case.h"

enum { SHARDS = 3 };

static int setup(void **state)
{
	struct gateway_bench *b = bench_open(state, NULL);
	bench_map(b, SHARDS, MODE_CONSISTENT);
	return 0;
}

/* Answers with rows {"n":n}, ids as given, ended by NULL; more: the page is not the last one. */
struct page_row {
	const char *id;
	int n;
};

static void answer_page(struct gateway_bench *b, uint32_t index, const struct page_row *rows,
			bool more)
{
	struct msg_shard_query_ack ack = {.status = STATUS_OK};
	struct row list[8] = {0};
	struct buf bodies[8] = {0};
	struct slice keys[8];
	for (; rows->id; rows++) {
		struct row *row = &list[ack.rows_count];
		struct buf *body = &bodies[ack.rows_count];
		mp_write_map(body, 1);
		mp_write_text(body, "n");
		size_t at = body->len;
		mp_write_i64(body, rows->n);
		keys[ack.rows_count] = slice_of(body->data + at, body->len - at);
		row->id = slice_text(rows->id);
		row->revision = (struct revision){1, slice_text("r")};
		row->body = buf_slice(body);
		row->order_key = &keys[ack.rows_count++];
		row->order_key_count = 1;
	}
	ack.rows = list;
	if (more)
		ack.more_after = list[ack.rows_count - 1].id;
	gateway_bench_answer(b, index, MSG_shard_query_ack, &ack);
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
		buf_close(&bodies[i]);
}

#define ROWS(...)                                                                                  \
	(const struct page_row[])                                                                  \
	{                                                                                          \
		__VA_ARGS__                                                                        \
		{                                                                                  \
			NULL, 0                                                                    \
		}                                                                                  \
	}

/* ---- lists ---- */

static void test_merge_by_id(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(
	    b, "GET /c?query=%7B%22n%22%3A%7B%22%24gt%22%3A0%7D%7D&fields=%5B%22n%22%5D");
	answer_page(b, 2, ROWS({"b", 2}, {"f", 6}, ), false);
	answer_page(b, 0, ROWS({"a", 1}, {"c", 3}, {"e", 5}, ), false);
	answer_page(b, 1, ROWS({"d", 4}, ), false);
	expect(b, "-> 11@1 query 1 filter={\"n\":{\"$gt\":0}} fields=n limit=1000\n"
		  "-> 12@1 query 2 filter={\"n\":{\"$gt\":0}} fields=n limit=1000\n"
		  "-> 13@1 query 3 filter={\"n\":{\"$gt\":0}} fields=n limit=1000\n"
		  "<- 1 200 X-Parley-Index=none "
		  "[{\"id\":\"a\",\"n\":1},{\"id\":\"b\",\"n\":2},{\"id\":\"c\",\"n\":3},"
		  "{\"id\":\"d\",\"n\":4},{\"id\":\"e\",\"n\":5},{\"id\":\"f\",\"n\":6}]\n");
}

/* Who names ids asks only the shards that have them. */
static void test_ids_name_shards(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "GET /c?query=%7B%22id%22%3A%22a%22%7D");
	assert_non_null(strstr(buf_cstr(&b->trace), "filter={\"id\":\"a\"}"));
	assert_null(strstr(strstr(buf_cstr(&b->trace), " query ") + 1, " query "));
	answer_page(b, 0, ROWS({"a", 1}, ), false);
	assert_string_equal(buf_cstr(&b->body), "[{\"id\":\"a\",\"n\":1}]");
	gateway_bench_http(b, "GET /c?query=%7B%22id%22%3A7%7D");
	assert_string_equal(buf_cstr(&b->body), "[]");
	gateway_bench_http(b,
			   "GET /c?count=true&query=%7B%22id%22%3A%7B%22%24in%22%3A%5B%5D%7D%7D");
	assert_string_equal(buf_cstr(&b->body), "{\"documentCount\":0}");
	gateway_bench_clear(b);
	gateway_bench_http(b, "DELETE /c?query=%7B%22id%22%3A%22a%22%7D");
	assert_null(strstr(strstr(buf_cstr(&b->trace), " delete ") + 1, " delete "));
}

/* The limit counts after the merge, and the rows are the first ones of all shards. */
static void test_merge_by_order(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "GET /c?order=%5B%22desc(n)%22%5D&limit=3");
	answer_page(b, 0, ROWS({"a", 9}, {"b", 1}, ), false);
	answer_page(b, 1, ROWS({"z", 7}, {"c", 7}, {"d", 2}, ), false);
	answer_page(b, 2, ROWS({"e", 8}, ), false);
	expect(b, "-> 11@1 query 1 order=desc(n) limit=4\n"
		  "-> 12@1 query 2 order=desc(n) limit=4\n"
		  "-> 13@1 query 3 order=desc(n) limit=4\n"
		  "<- 1 200 X-Parley-Index=none X-Parley-Cursor=Mt66hjQwOvZhAAAAAQd6 "
		  "[{\"id\":\"a\",\"n\":9},{\"id\":\"e\",\"n\":8},{\"id\":\"z\",\"n\":7}]\n");
	gateway_bench_http(b,
			   "GET /c?order=%5B%22desc(n)%22%5D&limit=3&cursor=Mt66hjQwOvZhAAAAAQd6");
	assert_non_null(
	    strstr(buf_cstr(&b->trace), "query 1 order=desc(n) limit=4 after=z after_keys=7\n"));
}

static void test_pages_and_cursor(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "GET /c?limit=4");
	answer_page(b, 0, ROWS({"a", 1}, {"b", 2}, ), true);
	answer_page(b, 1, ROWS({"c", 3}, {"x", 9}, ), false);
	answer_page(b, 2, ROWS({NULL, 0}, ), false);
	answer_page(b, 3, ROWS({"bb", 2}, {"d", 4}, ), true);
	expect(b, "-> 11@1 query 1 limit=4\n"
		  "-> 12@1 query 2 limit=4\n"
		  "-> 13@1 query 3 limit=4\n"
		  "-> 11@1 query 1 limit=2 after=b\n"
		  "<- 1 200 X-Parley-Cursor=Mpe2ohqHiSWgYw "
		  "[{\"id\":\"a\",\"n\":1},{\"id\":\"b\",\"n\":2},"
		  "{\"id\":\"bb\",\"n\":2},{\"id\":\"c\",\"n\":3}]\n");
	gateway_bench_http(b, "GET /c?limit=4&cursor=Mpe2ohqHiSWgYw");
	assert_non_null(strstr(buf_cstr(&b->trace), "query 1 limit=4 after=c\n"));
	assert_non_null(strstr(buf_cstr(&b->trace), "query 3 limit=4 after=c\n"));
}

static void test_lists_are_bounded(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_close(b);
	gateway_bench_open(b, &(struct gateway_limits){.list_rows_max = 2});
	bench_map(b, 1, MODE_CONSISTENT);
	gateway_bench_http(b, "GET /c");
	answer_page(b, 0, ROWS({"a", 1}, {"b", 2}, ), true);
	gateway_bench_http(b, "GET /c?order=%5B%22asc(n)%22%5D\nx-request-id: q\n");
	answer_page(b, 1, ROWS({"a", 1}, {"b", 2}, {"c", 3}, ), false);
	expect(b, "-> 11@1 query 1 limit=2\n"
		  "<- 1 200 X-Parley-Cursor=Mpe2ohqHiSWgYg "
		  "[{\"id\":\"a\",\"n\":1},{\"id\":\"b\",\"n\":2}]\n"
		  "-> 11@1 query 1 order=asc(n) limit=3\n"
		  "<- 2 200 X-Parley-Index=none X-Parley-Cursor=MnrwCRk_7rljAAAAAQJi "
		  "[{\"id\":\"a\",\"n\":1},{\"id\":\"b\",\"n\":2}]\n");
}

static void answer_count(struct gateway_bench *b, uint32_t index, uint64_t count, const char *more)
{
	struct msg_shard_query_ack ack = {
	    .status = STATUS_OK, .count = count, .more_after = slice_text(more)};
	gateway_bench_answer(b, index, MSG_shard_query_ack, &ack);
}

static void test_count(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "GET /c?count=true&limit=1");
	answer_count(b, 0, 5, "");
	answer_count(b, 2, 7, "k");
	answer_count(b, 1, 1, "");
	answer_count(b, 3, 2, "");
	expect(b, "-> 11@1 query 1 count\n"
		  "-> 12@1 query 2 count\n"
		  "-> 13@1 query 3 count\n"
		  "-> 13@1 query 3 count after=k\n"
		  "<- 1 200 {\"documentCount\":15}\n");
}

/* One shard moves while the list is made: only it is asked again, and nothing counts twice. */
static void test_list_survives_a_fail_over(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_shard_query_ack refusal = {.status = STATUS_NOT_LEAD};
	gateway_bench_http(b, "GET /c?count=1");
	answer_count(b, 0, 1, "");
	gateway_bench_answer(b, 1, MSG_shard_query_ack, &refusal);
	gateway_bench_newer(b, 2, 2, 13);
	answer_count(b, 2, 1, "");
	/* late, of the old lead */
	answer_count(b, 1, 1, "");
	answer_count(b, 3, 1, "");
	expect(b, "-> 11@1 query 1 count\n"
		  "-> 12@1 query 2 count\n"
		  "-> 13@1 query 3 count\n"
		  "-> 13@2 query 2 count\n"
		  "<- 1 200 {\"documentCount\":3}\n");
}

static void test_one_shard_fails(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_shard_query_ack bad = {.status = STATUS_BAD_QUERY, .text = slice_text("a/$x")};
	gateway_bench_http(b, "GET /c");
	gateway_bench_answer(b, 1, MSG_shard_query_ack, &bad);
	assert_int_equal(b->status, 400);
	assert_non_null(strstr(buf_cstr(&b->body), "\"place\":\"a/$x\""));
	gateway_bench_http(b, "GET /c");
	gateway_bench_advance(b, REQUEST_DEADLINE_MS);
	assert_int_equal(b->status, 503);
}

static void answer_cost(struct gateway_bench *b, uint32_t index, const char *name, bool sorted)
{
	struct msg_shard_query_ack ack = {.status = STATUS_OK,
					  .index = slice_text(name),
					  .keys_read = 5,
					  .documents_read = 7,
					  .sorted = sorted};
	gateway_bench_answer(b, index, MSG_shard_query_ack, &ack);
}

static void test_explain(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "GET /c?explain=true&index=by-n&order=%5B%22asc(n)%22%5D&limit=2");
	assert_non_null(strstr(buf_cstr(&b->trace), "query 1 order=asc(n) limit=3 index=by-n\n"));
	answer_cost(b, 0, "by-n", false);
	answer_cost(b, 1, "", true);
	answer_cost(b, 2, "by-n", false);
	assert_non_null(strstr(buf_cstr(&b->headers), "X-Parley-Index: by-n, none\n"));
	assert_string_equal(
	    buf_cstr(&b->body),
	    "{\"collection\":\"c\",\"plan\":\"all documents, sorted, merged from 3 shards\","
	    "\"index\":\"by-n, none\",\"keysRead\":15,\"documentsRead\":21,\"rows\":0,"
	    "\"sorted\":true,\"shards\":["
	    "{\"shard\":\"0000000000000001\",\"index\":\"by-n\",\"keysRead\":5,"
	    "\"documentsRead\":7,\"rows\":0,\"pages\":1,\"sorted\":false},"
	    "{\"shard\":\"0000000000000002\",\"index\":\"none\",\"keysRead\":5,"
	    "\"documentsRead\":7,\"rows\":0,\"pages\":1,\"sorted\":true},"
	    "{\"shard\":\"0000000000000003\",\"index\":\"by-n\",\"keysRead\":5,"
	    "\"documentsRead\":7,\"rows\":0,\"pages\":1,\"sorted\":false}]}");
	gateway_bench_clear(b);
	gateway_bench_http(b, "GET /c?index=none");
	assert_non_null(strstr(buf_cstr(&b->trace), "query 1 limit=1000 no_index\n"));
	for (uint32_t i = 0; i < SHARDS; i++)
		answer_cost(b, i, "", false);
	/* a list of all by id has no use for an index */
	assert_null(strstr(buf_cstr(&b->headers), "X-Parley-Index"));
}

/* What a shard refuses is told with its place. */
static void test_refusals_of_shards(void **state)
{
	static const struct {
		enum status status;
		const char *text;
		int http;
		const char *body;
	} rows[] = {
	    {STATUS_SORT_TOO_LARGE, "", 400,
	     "\"code\":\"sort_too_large\",\"status\":400,\"place\":\"order\""},
	    {STATUS_PATTERN_TOO_COSTLY, "", 400,
	     "\"code\":\"pattern_too_costly\",\"status\":400,\"place\":\"query\""},
	    {STATUS_BAD_QUERY, "index: there is none", 400,
	     "\"code\":\"bad_parameter\",\"status\":400,\"place\":\"index\",\"detail\":\"there is "
	     "none\""},
	    {STATUS_OVERLOADED, "", 503, "\"code\":\"overloaded\""},
	};
	struct gateway_bench *b = *state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct msg_shard_query_ack ack = {.status = rows[i].status,
						  .text = slice_text(rows[i].text)};
		gateway_bench_clear(b);
		gateway_bench_http(b, "GET /c?order=%5B%22asc(n)%22%5D");
		gateway_bench_answer(b, 1, MSG_shard_query_ack, &ack);
		assert_int_equal(b->status, rows[i].http);
		assert_non_null(strstr(buf_cstr(&b->body), rows[i].body));
	}
}

/* A document that moves from one page of a shard to the next, as its value changes meanwhile. */
static void test_no_document_comes_twice(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_close(b);
	gateway_bench_open(b, NULL);
	bench_map(b, 1, MODE_CONSISTENT);
	gateway_bench_http(b, "GET /c?order=%5B%22asc(n)%22%5D");
	answer_page(b, 0, ROWS({"a", 1}, {"b", 2}, ), true);
	assert_non_null(strstr(buf_cstr(&b->trace), "after=b after_keys=2\n"));
	answer_page(b, 1, ROWS({"c", 3}, {"a", 4}, {"d", 5}, ), false);
	assert_string_equal(buf_cstr(&b->body), "[{\"id\":\"a\",\"n\":1},{\"id\":\"b\",\"n\":2},"
						"{\"id\":\"c\",\"n\":3},{\"id\":\"d\",\"n\":5}]");
}

/* ---- system collections ---- */

static void refresh_map(struct gateway_bench *b, uint32_t index)
{
	struct msg_map_push same = {.map_version = 5};
	gateway_bench_answer(b, index, MSG_map_push, &same);
}

#define COLLECTION_ROW                                                                             \
	"{\"id\":\"0000000000000007\",\"collectionId\":\"c\",\"documentCount\":6,"                 \
	"\"mode\":\"consistent\",\"replicas\":3,\"writeQuorum\":2,\"shards\":3,"                   \
	"\"settingsVersion\":1,\"retainMs\":0,\"keepAncestors\":0,\"retainDeletedMs\":604800000}"

static void list_collections(struct gateway_bench *b, const char *request)
{
	gateway_bench_clear(b);
	gateway_bench_http(b, request);
	refresh_map(b, 0);
	for (uint32_t i = 1; i <= SHARDS; i++)
		answer_count(b, i, i, "");
}

static void test_collections(void **state)
{
	struct gateway_bench *b = *state;
	list_collections(b, "GET /system.collections");
	assert_string_equal(buf_cstr(&b->body), "[" COLLECTION_ROW "]");
	list_collections(b, "GET /system.collections/c");
	assert_string_equal(buf_cstr(&b->body), COLLECTION_ROW);
	list_collections(
	    b, "GET /system.collections/0000000000000007?fields=%5B%22documentCount%22%5D");
	assert_string_equal(buf_cstr(&b->body),
			    "{\"id\":\"0000000000000007\",\"documentCount\":6}");
	list_collections(b, "GET /system.collections/other");
	assert_int_equal(b->status, 404);
	list_collections(b, "GET /system.collections?query=%7B%22collectionId%22%3A%22x%22%7D");
	assert_string_equal(buf_cstr(&b->body), "[]");
	list_collections(b, "GET /system.collections?count=true");
	assert_string_equal(buf_cstr(&b->body), "{\"documentCount\":1}");
	assert_null(strstr(buf_cstr(&b->headers), "X-Parley-Unconfirmed"));
	gateway_bench_clear(b);
	gateway_bench_advance(b, OFFLINE_MS + 1);
	gateway_bench_http(b, "GET /system.collections?count=true");
	for (uint32_t i = 0; i < SHARDS; i++)
		answer_count(b, i, i, "");
	assert_non_null(strstr(buf_cstr(&b->headers), "X-Parley-Unconfirmed: map\n"));
}

static void answer_nodes(struct gateway_bench *b)
{
	static const char *const names[] = {"b", "a", "d"};
	struct slice rows[3];
	struct buf bytes[3] = {0};
	for (int i = 0; i < 3; i++) {
		mp_write_map(&bytes[i], 2);
		mp_write_text(&bytes[i], "id");
		mp_write_text(&bytes[i], names[i]);
		mp_write_text(&bytes[i], "boot");
		mp_write_i64(&bytes[i], i);
		rows[i] = buf_slice(&bytes[i]);
	}
	struct msg_system_list_ack ack = {.status = STATUS_OK, .rows = rows, .rows_count = 3};
	gateway_bench_answer(b, 0, MSG_system_list_ack, &ack);
	for (int i = 0; i < 3; i++)
		buf_close(&bytes[i]);
}

static void test_nodes(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "GET /system.nodes");
	answer_nodes(b);
	expect(b,
	       "-> 1@0 system_list{collection=\"system.nodes\"}\n"
	       "<- 1 200 "
	       "[{\"id\":\"a\",\"boot\":1},{\"id\":\"b\",\"boot\":0},{\"id\":\"d\",\"boot\":2}]\n");
	gateway_bench_http(b, "GET /system.nodes?order=%5B%22desc(boot)%22%5D&limit=1");
	answer_nodes(b);
	assert_string_equal(buf_cstr(&b->body), "[{\"id\":\"d\",\"boot\":2}]");
	gateway_bench_clear(b);
	gateway_bench_http(b, "GET /system.nodes/a");
	answer_nodes(b);
	assert_string_equal(buf_cstr(&b->body), "{\"id\":\"a\",\"boot\":1}");
	gateway_bench_clear(b);
	gateway_bench_http(b, "GET /system.notifys");
	struct msg_system_list_ack ack = {.status = STATUS_OK, .cut = true};
	gateway_bench_answer(b, 0, MSG_system_list_ack, &ack);
	assert_non_null(strstr(buf_cstr(&b->headers), "X-Parley-More: true\n"));
}

/* ---- conflicts ---- */

static void answer_conflicts(struct gateway_bench *b, uint32_t index, const char *id,
			     uint64_t state, bool more)
{
	struct revision leaves[] = {{3, slice_text("x")}, {3, slice_text("y")}};
	struct conflict_row row = {.id = slice_text(id)};
	struct msg_conflict_list_ack ack = {
	    .status = STATUS_OK, .rows = &row, .rows_count = 1, .more = more};
	row.conflict =
	    (struct conflict){.state = state, .since_ms = 5, .leaves = leaves, .leaves_count = 2};
	row.conflict.detail = gateway_bench_document(b, "{\"reason\":\"scalar\"}");
	gateway_bench_answer(b, index, MSG_conflict_list_ack, &ack);
}

#define CONFLICT_ROW(id)                                                                           \
	"{\"collection\":\"c\",\"id\":\"" id "\",\"state\":\"open\",\"kind\":\"edits\","           \
	"\"since\":5,\"leaves\":[\"3-x\",\"3-y\"],\"leavesCount\":2,\"detail\":{\"reason\":"       \
	"\"scalar\"}}"

static void test_conflicts(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "GET /_/conflicts?collection=c&state=open");
	answer_conflicts(b, 0, "m", CONFLICT_OPEN, true);
	answer_conflicts(b, 1, "a", CONFLICT_RESOLVED, false);
	answer_conflicts(b, 2, "b", CONFLICT_OPEN, false);
	answer_conflicts(b, 3, "n", CONFLICT_OPEN, false);
	expect(b, "-> 11@1 conflict_list{shard=1 limit=500}\n"
		  "-> 12@1 conflict_list{shard=2 limit=500}\n"
		  "-> 13@1 conflict_list{shard=3 limit=500}\n"
		  "-> 11@1 conflict_list{shard=1 after=\"m\" limit=500}\n"
		  "<- 1 200 [" CONFLICT_ROW("b") "," CONFLICT_ROW("m") "," CONFLICT_ROW("n") "]\n");
	gateway_bench_http(b, "GET /_/conflicts?limit=1");
	refresh_map(b, 0);
	answer_conflicts(b, 1, "c", CONFLICT_OPEN, false);
	answer_conflicts(b, 2, "b", CONFLICT_OPEN, false);
	answer_conflicts(b, 3, "d", CONFLICT_OPEN, false);
	assert_string_equal(buf_cstr(&b->body), "[" CONFLICT_ROW("b") "]");
	assert_non_null(strstr(buf_cstr(&b->headers), "X-Parley-More: true\n"));
}

/* Of each shard a page is read, however few rows are wanted; who reads keeps these few. */
static void test_few_conflicts_of_many_shards(void **state)
{
	enum { MANY = 16, ROWS = 500, DETAIL = 1000, MOST = 1 << 20 };
	struct gateway_bench *b = *state;
	static struct conflict_row rows[ROWS];
	char ids[ROWS][16];
	uint8_t detail[DETAIL] = {0xda, (DETAIL - 3) >> 8, (DETAIL - 3) & 255};
	memset(detail + 3, 'x', sizeof detail - 3);
	uint64_t id = gateway_bench_http(b, "GET /_/conflicts?collection=c&limit=2");
	const struct request *r = map_get_u64(&b->gw->requests, id);
	for (uint32_t shard = 0; shard < MANY; shard++) {
		for (uint32_t i = 0; i < ROWS; i++) {
			snprintf(ids[i], sizeof ids[i], "%03u-%03u", MANY - shard, i);
			rows[i] = (struct conflict_row){
			    .id = slice_text(ids[i]),
			    .conflict = {.state = CONFLICT_OPEN,
					 .detail = slice_of(detail, sizeof detail)}};
		}
		assert_true(r->arena.used < MOST);
		gateway_bench_answer(
		    b, shard, MSG_conflict_list_ack,
		    &(struct msg_conflict_list_ack){
			.status = STATUS_OK, .rows = rows, .rows_count = ROWS, .more = true});
	}
	assert_int_equal(b->status, 200);
	assert_non_null(strstr(buf_cstr(&b->body), "[{\"collection\":\"c\",\"id\":\"001-000\""));
	assert_non_null(strstr(buf_cstr(&b->body), "\"id\":\"001-001\""));
	assert_null(strstr(buf_cstr(&b->body), "\"id\":\"001-002\""));
}

/* An answer has room for three of these. What it leaves out comes next, wherever it lies. */
static void test_conflicts_are_bounded(void **state)
{
	enum { EACH = 4, DETAIL = 1000, MOST = 3600 };
	const struct gateway_limits limits = {.list_bytes_max = MOST};
	struct gateway_bench *b = *state;
	uint8_t detail[DETAIL] = {0xda, (DETAIL - 3) >> 8, (DETAIL - 3) & 255};
	static const char *const ids[][EACH] = {{"b", "d", "f", "h"}, {"a", "c", "e", "g"}};
	memset(detail + 3, 'x', sizeof detail - 3);
	gateway_bench_close(b);
	gateway_bench_open(b, &limits);
	bench_map(b, ARRAY_LEN(ids), MODE_CONSISTENT);
	gateway_bench_http(b, "GET /_/conflicts?collection=c");
	for (uint32_t shard = 0; shard < ARRAY_LEN(ids); shard++) {
		struct conflict_row rows[EACH];
		for (uint32_t i = 0; i < EACH; i++)
			rows[i] = (struct conflict_row){
			    .id = slice_text(ids[shard][i]),
			    .conflict = {.state = CONFLICT_OPEN,
					 .detail = slice_of(detail, sizeof detail)}};
		gateway_bench_answer(b, shard, MSG_conflict_list_ack,
				     &(struct msg_conflict_list_ack){
					 .status = STATUS_OK, .rows = rows, .rows_count = EACH});
	}
	assert_int_equal(b->status, 200);
	assert_true(b->body.len < MOST + 16);
	assert_non_null(strstr(buf_cstr(&b->body), "\"id\":\"c\""));
	assert_null(strstr(buf_cstr(&b->body), "\"id\":\"d\""));
	assert_non_null(strstr(buf_cstr(&b->headers), "X-Parley-Cursor: Yy9j\n")); /* c/c */
}

static int setup_many(void **state)
{
	struct gateway_bench *b = bench_open(state, NULL);
	bench_map(b, 16, MODE_CONSISTENT);
	return 0;
}

static struct conflict_row entry_of(const char *id, const struct conflict *conflict)
{
	return (struct conflict_row){.id = slice_text(id), .conflict = *conflict};
}

/* One row for each document, whatever is kept of earlier resolutions; pages of such rows. */
static void test_one_row_for_each_document(void **state)
{
	struct gateway_bench *b = *state;
	struct revision leaf = {3, slice_text("x")};
	struct conflict open = {.state = CONFLICT_OPEN,
				.since_ms = 9,
				.number = 20,
				.held = true,
				.leaves = &leaf,
				.leaves_count = 1,
				.leaves_all = 70};
	struct conflict resolved = {.state = CONFLICT_RESOLVED,
				    .since_ms = 5,
				    .number = 10,
				    .leaves = &leaf,
				    .leaves_count = 1,
				    .result = {4, slice_text("y")},
				    .resolved_ms = 7,
				    .policy = 1,
				    .resolution_id = slice_text("\x01")};
	struct conflict undone = resolved;
	undone.number = 12;
	undone.undone = true;
	undone.resolution_id = slice_text("\x02");
	struct conflict_row rows[] = {entry_of("a", &resolved), entry_of("a", &undone),
				      entry_of("b", &open), entry_of("b", &resolved),
				      entry_of("b", &undone)};
	struct msg_conflict_list_ack ack = {.rows = rows, .rows_count = ARRAY_LEN(rows)};
	struct msg_conflict_list_ack none = {0};
#define KEPT(id)                                                                                   \
	"\"leaves\":[\"3-x\"],\"leavesCount\":1,\"result\":\"4-y\",\"resolvedAt\":7,"              \
	"\"policyVersion\":1,"                                                                     \
	"\"resolutionId\":\"" id "\",\"cleanup\":{\"state\":\"due\"}"
#define ROW_A                                                                                      \
	"{\"collection\":\"c\",\"id\":\"a\",\"state\":\"undone\",\"kind\":\"edits\",\"since\":"    \
	"5," KEPT("02") ",\"earlier\":[{\"state\":\"resolved\"," KEPT("01") "}]}"
#define ROW_B                                                                                      \
	"{\"collection\":\"c\",\"id\":\"b\",\"state\":\"open\",\"kind\":\"edits\",\"since\":9,"    \
	"\"held\":true,\"leaves\":[\"3-x\"],\"leavesCount\":70,\"earlier\":[{\"state\":"           \
	"\"undone\"," KEPT("02") "},{\"state\":\"resolved\"," KEPT("01") "}]}"
	static const struct {
		const char *query, *rows, *more;
	} asked[] = {
	    {"limit=1", "[" ROW_A "]", "true"},         {"state=undone", "[" ROW_A "]", NULL},
	    {"state=open", "[" ROW_B "]", NULL},        {"state=resolved", "[]", NULL},
	    {"limit=2", "[" ROW_A "," ROW_B "]", NULL},
	};
	for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
		char text[128];
		snprintf(text, sizeof text, "GET /_/conflicts?collection=c&%s", asked[i].query);
		gateway_bench_clear(b);
		gateway_bench_http(b, text);
		gateway_bench_answer(b, 0, MSG_conflict_list_ack, &ack);
		gateway_bench_answer(b, 1, MSG_conflict_list_ack, &none);
		gateway_bench_answer(b, 2, MSG_conflict_list_ack, &none);
		assert_string_equal(buf_cstr(&b->body), asked[i].rows);
		assert_int_equal(strstr(buf_cstr(&b->headers), "X-Parley-More: true\n") != NULL,
				 asked[i].more != NULL);
	}
}

/* ---- settings ---- */

static void test_collection_is_made(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_collection_create_ack ack = {.status = STATUS_CREATED, .map_version = 6};
	struct peer coordinator = {BENCH_COORDINATOR, ROLE_COORDINATOR, 1};
	struct envelope envelope = {.type = MSG_map_push};
	struct collection c = {
	    .id = 7, .name = slice_text("c"), .version = 1, .replicas = 3, .write_quorum = 2};
	struct msg_map_push newer = {.map_version = 6, .collections = &c, .collections_count = 1};
	gateway_bench_http(
	    b,
	    "POST /_/collections\n\n{\"name\":\"c\",\"replicas\":3,\"mode\":\"available\","
	    "\"shards\":4,\"retainMs\":0,\"keepAncestors\":0,\"policy\":{\"strategy\":\"none\"}}");
	gateway_bench_answer(b, 0, MSG_collection_create_ack, &ack);
	assert_int_equal(b->status, 0);
	gateway_bench_message(b, &coordinator, &envelope, &newer);
	assert_int_equal(b->status, 201);
	assert_non_null(strstr(buf_cstr(&b->trace), "replicas=3 write_quorum=0 mode=1 policy="));
	assert_non_null(strstr(buf_cstr(&b->trace),
			       "} shards=4 retain_nothing=true mode_given=true "
			       "keep_nothing=true}\n"));
	assert_non_null(
	    strstr(buf_cstr(&b->body), "\"collectionId\":\"c\",\"mode\":\"consistent\""));
}

/* Made, but not for all to use yet: then it says so at its deadline. */
static void test_made_but_not_served(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_collection_create_ack ack = {.status = STATUS_CREATED, .map_version = 5};
	b->served_held = true;
	gateway_bench_http(b, "POST /_/collections\n\n{\"name\":\"c\"}");
	gateway_bench_answer(b, 0, MSG_collection_create_ack, &ack);
	assert_true(b->served_asked_count > 0);
	b->served_asked_count = 0;
	assert_int_equal(b->status, 0);
	gateway_bench_advance(b, REQUEST_DEADLINE_MS);
	assert_int_equal(b->status, 202);
	assert_non_null(strstr(buf_cstr(&b->body), "\"collectionId\":\"c\""));
}

static void test_settings_are_patched(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_collection_create_ack ack = {.status = STATUS_OK, .map_version = 5};
	gateway_bench_http(b, "PATCH /_/collections/c\n\n{\"mode\":\"available\"}");
	gateway_bench_answer(b, 0, MSG_collection_create_ack, &ack);
	assert_int_equal(b->status, 200);
	assert_non_null(strstr(buf_cstr(&b->trace),
			       "-> 1@0 collection_create{collection={id=7 name=\"c\" version=1 "
			       "replicas=3 write_quorum=2 mode=1} update=true mode_given=true "
			       "if_version=1}\n"));
	gateway_bench_clear(b);
	gateway_bench_http(b, "PATCH /_/collections/c\n\n{\"shards\":9}");
	assert_int_equal(b->status, 400);
	gateway_bench_http(b, "PATCH /_/collections/other\n\n{\"mode\":\"available\"}");
	refresh_map(b, 0);
	assert_int_equal(b->status, 404);
}

/* What another request, or another gateway, has changed meanwhile stays. */
static void test_settings_that_two_change_at_once(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_collection_create_ack ack = {.status = STATUS_CONFLICT, .map_version = 6};
	struct collection c = {.id = 7,
			       .name = slice_text("c"),
			       .version = 2,
			       .replicas = 3,
			       .write_quorum = 2,
			       .mode = MODE_AVAILABLE};
	struct msg_map_push newer = {.map_version = 6, .collections = &c, .collections_count = 1};
	gateway_bench_http(b, "PATCH /_/collections/c\n\n{\"retainMs\":5}");
	gateway_bench_answer(b, 0, MSG_collection_create_ack, &ack);
	gateway_bench_answer(b, 1, MSG_map_push, &newer);
	assert_non_null(strstr(buf_cstr(&b->trace),
			       "version=2 replicas=3 write_quorum=2 mode=1 retain_ms=5} "
			       "update=true if_version=2}\n"));
	ack.status = STATUS_OK;
	ack.map_version = 7;
	gateway_bench_answer(b, 2, MSG_collection_create_ack, &ack);
	assert_int_equal(b->status, 0);
	newer.map_version = 7;
	c.version = 3;
	c.retain_ms = 5;
	struct peer coordinator = {BENCH_COORDINATOR, ROLE_COORDINATOR, 1};
	struct envelope envelope = {.type = MSG_map_push};
	gateway_bench_message(b, &coordinator, &envelope, &newer);
	assert_int_equal(b->status, 200);
	assert_non_null(strstr(buf_cstr(&b->body), "\"mode\":\"available\""));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, gateway_bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_merge_by_id),
	    TEST(test_ids_name_shards),
	    TEST(test_merge_by_order),
	    TEST(test_pages_and_cursor),
	    TEST(test_lists_are_bounded),
	    TEST(test_count),
	    TEST(test_list_survives_a_fail_over),
	    TEST(test_one_shard_fails),
	    TEST(test_explain),
	    TEST(test_refusals_of_shards),
	    TEST(test_no_document_comes_twice),
	    TEST(test_collections),
	    TEST(test_nodes),
	    TEST(test_conflicts),
	    cmocka_unit_test_setup_teardown(test_few_conflicts_of_many_shards, setup_many,
					    gateway_bench_teardown),
	    TEST(test_conflicts_are_bounded),
	    TEST(test_one_row_for_each_document),
	    TEST(test_collection_is_made),
	    TEST(test_made_but_not_served),
	    TEST(test_settings_are_patched),
	    TEST(test_settings_that_two_change_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
