/* Many documents in one request of CouchDB's dialect: one message to each shard, what is told of
 * refusals, and what did not fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/core/gateway_case.h"

static int setup(void **state)
{
	struct gateway_bench *b = bench_open(state, NULL);
	b->dialect = DIALECT_COUCH;
	bench_map(b, 1, MODE_AVAILABLE);
	return 0;
}

static int setup_two(void **state)
{
	struct gateway_bench *b = bench_open(state, NULL);
	b->dialect = DIALECT_COUCH;
	bench_map(b, 2, MODE_CONSISTENT);
	return 0;
}

static void expect_body(struct gateway_bench *b, int status, const char *body)
{
	assert_int_equal(b->status, status);
	assert_string_equal(buf_cstr(&b->body), body);
}

#define PUSH                                                                                       \
	"POST /c/_bulk_docs\n\n{\"new_edits\":false,\"docs\":["                                    \
	"{\"_id\":\"a\",\"_revisions\":{\"start\":2,\"ids\":[\"b\",\"a\"]}},"                      \
	"{\"_id\":\"b\",\"_rev\":\"1-x\"},{\"_id\":\"c\",\"_rev\":\"1-y\",\"_deleted\":true}]}"

static void test_one_message(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_doc_import_ack ack = {.status = STATUS_OK};
	gateway_bench_http(b, PUSH);
	assert_int_equal(b->sent_count, 1);
	assert_int_equal(b->sent[0].envelope.type, MSG_doc_import);
	gateway_bench_answer(b, 0, MSG_doc_import_ack, &ack);
	expect_body(b, 201, "[]");
}

static void test_refused_for_good(void **state)
{
	struct gateway_bench *b = *state;
	struct import_refusal refused[] = {{1, STATUS_LIMIT_REACHED}};
	struct msg_doc_import_ack ack = {
	    .status = STATUS_OK, .refused = refused, .refused_count = 1};
	gateway_bench_http(b, PUSH);
	gateway_bench_answer(b, 0, MSG_doc_import_ack, &ack);
	assert_int_equal(b->status, 201);
	assert_non_null(strstr(buf_cstr(&b->body), "[{\"id\":\"b\",\"rev\":\"1-x\",\"error\":"));
	assert_null(strstr(buf_cstr(&b->body), "\"a\""));
}

/* A replicator would not send it again. */
static void test_refused_for_now(void **state)
{
	struct gateway_bench *b = *state;
	struct import_refusal refused[] = {{0, STATUS_OVERLOADED}};
	struct msg_doc_import_ack ack = {
	    .status = STATUS_OK, .refused = refused, .refused_count = 1};
	gateway_bench_http(b, PUSH);
	gateway_bench_answer(b, 0, MSG_doc_import_ack, &ack);
	assert_int_equal(b->status, 503);
}

/* What was lost is sent again, to the lead only, though the collection takes branches. */
static void test_repeated(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_doc_import_ack ack = {.status = STATUS_OK};
	gateway_bench_http(b, "PUT /c/a?new_edits=false\n\n{\"_rev\":\"7-z\"}");
	gateway_bench_advance(b, 2500);
	assert_true(b->sent_count > 1);
	for (uint32_t i = 0; i < b->sent_count; i++)
		assert_int_equal(b->sent[i].member, BENCH_NODE);
	gateway_bench_answer(b, b->sent_count - 1, MSG_doc_import_ack, &ack);
	expect_body(b, 201, "{\"ok\":true,\"id\":\"a\",\"rev\":\"7-z\"}");
}

static void test_what_did_not_fit(void **state)
{
	struct gateway_bench *b = *state;
	struct revision_read a = {.revision = {1, slice_text("a")}};
	struct revision_read gone = {.revision = {3, slice_text("c")}, .deleted = true};
	struct document_read first = {STATUS_OK, &a, 1};
	struct document_read rest[] = {{STATUS_OK, &gone, 1}, {.status = STATUS_NOT_FOUND}};
	struct msg_doc_revisions_ack ack = {
	    .status = STATUS_OK, .documents = &first, .documents_count = 1};
	gateway_bench_http(b, "POST /c/_bulk_get\n\n{\"docs\":[{\"id\":\"a\",\"rev\":\"1-a\"},"
			      "{\"id\":\"b\",\"rev\":\"3-c\"},{\"id\":\"c\"}]}");
	a.body = gateway_bench_document(b, "{\"n\":1}");
	gateway_bench_answer(b, 0, MSG_doc_revisions_ack, &ack);
	assert_int_equal(b->sent_count, 2);
	ack.documents = rest;
	ack.documents_count = 2;
	gateway_bench_answer(b, 1, MSG_doc_revisions_ack, &ack);
	expect_body(b, 200,
		    "{\"results\":["
		    "{\"id\":\"a\",\"docs\":[{\"ok\":{\"_id\":\"a\",\"_rev\":\"1-a\",\"n\":1}}]},"
		    "{\"id\":\"b\",\"docs\":[{\"ok\":{\"_id\":\"b\",\"_rev\":\"3-c\","
		    "\"_deleted\":true}}]},"
		    "{\"id\":\"c\",\"docs\":[{\"error\":{\"id\":\"c\",\"rev\":\"undefined\","
		    "\"error\":\"not_found\",\"reason\":\"missing\"}}]}]}");
}

static void test_diff(void **state)
{
	struct gateway_bench *b = *state;
	struct revision missing = {2, slice_text("b")};
	struct revision leaf = {1, slice_text("a")};
	struct revs_missing row = {1, &missing, 1, &leaf, 1};
	struct msg_revs_diff_ack ack = {.status = STATUS_OK, .rows = &row, .rows_count = 1};
	gateway_bench_http(
	    b, "POST /c/_revs_diff\n\n{\"x\":[],\"y\":[\"1-a\"],\"z\":[\"1-a\",\"2-b\"]}");
	gateway_bench_answer(b, 0, MSG_revs_diff_ack, &ack);
	expect_body(b, 200, "{\"z\":{\"missing\":[\"2-b\"],\"possible_ancestors\":[\"1-a\"]}}");
}

/* CouchDB takes such ids; here they are nowhere. */
static void test_ids_that_can_not_be_stored(void **state)
{
	struct gateway_bench *b = *state;
	struct buf text = {0};
	struct msg_revs_diff_ack all = {.status = STATUS_OK};
	struct msg_doc_import_ack taken = {.status = STATUS_OK};
	gateway_bench_http(b, "POST /c/_revs_diff\n\n{\"x\":[\"1-a\"],\"\\u0001\":[\"1-c\"]}");
	assert_int_equal(b->sent_count, 1);
	gateway_bench_answer(b, 0, MSG_revs_diff_ack, &all);
	expect_body(b, 200, "{\"\\u0001\":{\"missing\":[\"1-c\"]}}");
	gateway_bench_http(b, "POST /c/_missing_revs\n\n{\"\\u0001\":[\"1-c\",\"1-d\"]}");
	expect_body(b, 200, "{\"missing_revs\":{\"\\u0001\":[\"1-c\",\"1-d\"]}}");
	buf_printf(&text, "POST /c/_revs_diff\n\n{\"%0*d\":[\"1-c\"]}", 65537, 0);
	gateway_bench_http(b, buf_cstr(&text));
	assert_int_equal(b->status, 400);
	gateway_bench_http(b, "POST /c/_purge\n\n{\"x\":[\"1-a\"],\"\\u0001\":[\"1-c\"]}");
	assert_int_equal(b->status, 400);
	gateway_bench_clear(b);
	gateway_bench_http(b, "POST /c/_bulk_docs\n\n{\"new_edits\":false,\"docs\":["
			      "{\"_id\":\"a\",\"_rev\":\"1-a\"},"
			      "{\"_id\":\"\\u0001\",\"_rev\":\"1-c\"}]}");
	assert_int_equal(b->sent_count, 1);
	gateway_bench_answer(b, 0, MSG_doc_import_ack, &taken);
	expect_body(b, 201,
		    "[{\"id\":\"\\u0001\",\"rev\":\"1-c\",\"error\":\"forbidden\",\"reason\":"
		    "\"Document ids are 1 to 512 bytes of valid UTF-8 without control "
		    "characters.\"}]");
	buf_close(&text);
}

/* It is refused before anybody has looked at its history, which may be anything then. */
static void test_refused_with_any_history(void **state)
{
	static const char *const histories[] = {"{\"start\":1,\"ids\":[5]}",
						"{\"start\":1,\"ids\":[2.5]}",
						"{\"start\":\"abc\",\"ids\":[\"a\"]}",
						"{\"start\":1,\"ids\":[]}",
						"{\"start\":1,\"ids\":[true]}",
						"{\"start\":1,\"ids\":[[\"a\"]]}",
						"{\"start\":1}",
						"{\"ids\":[\"a\"]}",
						"7"};
	struct gateway_bench *b = *state;
	for (size_t i = 0; i < ARRAY_LEN(histories); i++) {
		struct buf text = {0};
		buf_printf(&text,
			   "POST /c/_bulk_docs\n\n{\"new_edits\":false,\"docs\":["
			   "{\"_id\":\"\\u0001\",\"_rev\":\"1-c\",\"_revisions\":%s}]}",
			   histories[i]);
		gateway_bench_http(b, buf_cstr(&text));
		assert_int_equal(b->status, 201);
		assert_non_null(
		    strstr(buf_cstr(&b->body), "[{\"id\":\"\\u0001\",\"rev\":\"1-c\",\"error\":"));
		buf_close(&text);
	}
}

/* Also among writes of one's own: the others are done. */
static void test_a_write_that_can_not_be_stored(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_doc_write_ack ack = {.status = STATUS_CREATED, .revision = {1, slice_text("a")}};
	gateway_bench_http(b, "POST /c/_bulk_docs\n\n{\"docs\":["
			      "{\"_id\":\"\\u0001\"},{\"_id\":\"a\"}]}");
	assert_int_equal(b->sent_count, 1);
	gateway_bench_answer(b, 0, MSG_doc_write_ack, &ack);
	expect_body(b, 201,
		    "[{\"id\":\"\\u0001\",\"error\":\"illegal_docid\",\"reason\":"
		    "\"Document ids are 1 to 512 bytes of valid UTF-8 without control "
		    "characters.\"},{\"ok\":true,\"id\":\"a\",\"rev\":\"1-a\"}]");
}

/* One of them lies on one disk only. */
static void test_a_write_that_is_a_branch(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_doc_write_ack ack = {.status = STATUS_CREATED, .revision = {1, slice_text("a")}};
	gateway_bench_http(b, "POST /c/_bulk_docs\n\n{\"docs\":[{\"_id\":\"a\"},{\"_id\":\"b\"}]}");
	gateway_bench_answer(b, 0, MSG_doc_write_ack, &ack);
	ack.status = STATUS_ACCEPTED;
	gateway_bench_answer(b, 1, MSG_doc_write_ack, &ack);
	expect_body(b, 202,
		    "[{\"ok\":true,\"id\":\"a\",\"rev\":\"1-a\"},"
		    "{\"ok\":true,\"id\":\"b\",\"rev\":\"1-a\",\"accepted\":true}]");
}

/* Whether it may go is for the lead to say, who has to know what its client holds. */
static void test_purge_carries_locks(void **state)
{
	struct gateway_bench *b = *state;
	struct arena arena = {0};
	struct msg_doc_erase m;
	gateway_bench_http(b, "POST /c/_purge\nx-lock-id: 11111111-2222-4333-8444-555555555555\n\n"
			      "{\"a\":[\"1-x\"]}");
	assert_int_equal(b->sent_count, 1);
	assert_true(schema_decode(schema_of_message(MSG_doc_erase), b->sent[0].body, &arena, &m));
	assert_int_equal(m.lock_ids_count, 1);
	assert_int_equal(m.lock_ids[0].data[0], 0x11);
	gateway_bench_http(b, "POST /c/_purge\nx-lock-id: nonsense\n\n{\"a\":[\"1-x\"]}");
	assert_int_equal(b->status, 400);
	arena_close(&arena);
}

/* One shard has taken its part: no answer may say that nothing was changed. */
static void test_pushed_in_part(void **state)
{
	static const struct {
		enum status first, second;
		const char *code;
	} rows[] = {{STATUS_OK, STATUS_OVERLOADED, "outcome_unknown"},
		    {STATUS_DISK_FULL, STATUS_OK, "outcome_unknown"},
		    {STATUS_OVERLOADED, STATUS_OVERLOADED, "overloaded"}};
	struct gateway_bench *b = *state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct msg_doc_import_ack first = {.status = rows[i].first};
		struct msg_doc_import_ack second = {.status = rows[i].second};
		gateway_bench_clear(b);
		gateway_bench_http(b, PUSH);
		assert_int_equal(b->sent_count, 2);
		gateway_bench_answer(b, 0, MSG_doc_import_ack, &first);
		gateway_bench_answer(b, 1, MSG_doc_import_ack, &second);
		assert_int_equal(b->status, 503);
		assert_non_null(strstr(buf_cstr(&b->body), rows[i].code));
	}
}

/* The answers of two shards, the first to have purged. */
static void purge_two(struct gateway_bench *b, enum status of_item, enum status of_shard)
{
	struct revision gone = {1, slice_text("x")};
	struct erased items[2] = {{.index = 0, .revisions = &gone, .revisions_count = 1}};
	struct msg_doc_erase_ack done = {.status = STATUS_OK, .items = items, .items_count = 1};
	struct erased refused = {.index = 0, .status = of_item};
	struct msg_doc_erase_ack other = {.status = of_shard, .items = &refused, .items_count = 1};
	gateway_bench_clear(b);
	gateway_bench_http(b, "POST /c/_purge\n\n{\"a\":[\"1-x\"],\"b\":[\"1-y\"]}");
	assert_int_equal(b->sent_count, 2);
	b->status = 0;
	gateway_bench_answer(b, 1, MSG_doc_erase_ack, &other);
	assert_int_equal(b->status, 0);
	gateway_bench_answer(b, 0, MSG_doc_erase_ack, &done);
}

/* Where something was purged, no answer says that nothing was. */
static void test_purge_of_some(void **state)
{
	struct gateway_bench *b = *state;
	purge_two(b, STATUS_LOCKED, STATUS_OK);
	assert_int_equal(b->status, 202);
	assert_non_null(
	    strstr(buf_cstr(&b->body), "\"purged\":{\"a\":[\"1-x\"],\"b\":{\"error\":\"locked\","));
	purge_two(b, STATUS_OK, STATUS_OVERLOADED);
	assert_int_equal(b->status, 202);
	assert_non_null(strstr(buf_cstr(&b->body), "\"b\":{\"error\":\"overloaded\","));
}

static void test_purge_of_nothing(void **state)
{
	struct gateway_bench *b = *state;
	struct erased refused = {.index = 0, .status = STATUS_LOCKED};
	struct msg_doc_erase_ack some = {.status = STATUS_OK, .items = &refused, .items_count = 1};
	struct msg_doc_erase_ack none = {.status = STATUS_OK};
	gateway_bench_http(b, "POST /c/_purge\n\n{\"a\":[\"1-x\"],\"b\":[\"1-y\"]}");
	gateway_bench_answer(b, 0, MSG_doc_erase_ack, &some);
	gateway_bench_answer(b, 1, MSG_doc_erase_ack, &none);
	assert_int_equal(b->status, 423);
	/* of one of them nobody knows */
	gateway_bench_clear(b);
	gateway_bench_http(b, "POST /c/_purge\n\n{\"a\":[\"1-x\"],\"b\":[\"1-y\"]}");
	gateway_bench_answer(b, 0, MSG_doc_erase_ack, &some);
	gateway_bench_advance(b, 60000);
	assert_int_equal(b->status, 503);
	assert_non_null(strstr(buf_cstr(&b->body), "outcome_unknown"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, gateway_bench_teardown)
	    TEST(test_one_message),
	    TEST(test_refused_for_good),
	    TEST(test_refused_for_now),
	    TEST(test_repeated),
	    TEST(test_what_did_not_fit),
	    TEST(test_diff),
	    TEST(test_ids_that_can_not_be_stored),
	    TEST(test_refused_with_any_history),
	    TEST(test_a_write_that_can_not_be_stored),
	    TEST(test_a_write_that_is_a_branch),
	    TEST(test_purge_carries_locks),
#undef TEST
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_two, gateway_bench_teardown)
	    TEST(test_pushed_in_part),
	    TEST(test_purge_of_some),
	    TEST(test_purge_of_nothing),
#undef TEST
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
