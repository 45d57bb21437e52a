/* Documents that one side of a replication gives and the other one can't take: they stay behind,
 * and nothing else does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/core/replicate_steps.h"

/* Two documents of a batch are asked for. */
static void to_batch(struct gateway_bench *b)
{
	begin(b, BODY, NULL, NULL);
	answer(b, "/_changes", 200,
	       "{\"results\":[{\"id\":\"x\",\"changes\":[{\"rev\":\"1-x\"}]},"
	       "{\"id\":\"y\",\"changes\":[{\"rev\":\"1-y\"}]}],\"last_seq\":\"3-c\"}");
	answer(b, "/_revs_diff", 200, LACKS_BOTH);
}

/* They come, in the source's words. */
static void to_documents(struct gateway_bench *b, const char *documents)
{
	to_batch(b);
	answer(b, "/_bulk_get", 200, documents);
}

/* JSON all the same: the others are copied. Half an answer is no document's fault. */
static void test_what_can_not_be_read_is_passed_by(void **state)
{
	static const char surrogate[] = "{\"results\":[{\"docs\":[{\"ok\":{\"_id\":\"x\","
					"\"a\":\"\\ud800\"}}]}]}\n";
	struct gateway_bench *b = *state;
	to_documents(b, surrogate);
	expect_question(b, " {\"docs\":[{\"id\":\"x\",\"rev\":\"1-x\"}]}");
	answer(b, "/_bulk_get", 200, surrogate);
	expect_question(b, " {\"docs\":[{\"id\":\"y\",\"rev\":\"1-y\"}]}");
	answer(b, "/_bulk_get", 200, GOT_Y);
	answer(b, "/_bulk_docs", 201, "[]");
	to_end(b);
	expect_body(b, 200, "\"docs_read\":1,\"docs_written\":1,\"doc_write_failures\":1");
	static const char *const none[] = {"", " ", "{", "<html>", "{\"results\":[", "7"};
	for (size_t i = 0; i < ARRAY_LEN(none); i++) {
		b->status = 0;
		to_documents(b, none[i]);
		assert_int_equal(b->status, 500);
	}
}

/* PouchDB Server's refusal, which no patience mends. */
static void test_a_verdict_of_500_is_passed_by(void **state)
{
	struct gateway_bench *b = *state;
	to_documents(b, GOT_BOTH);
	refuses_x(b, 500);
	expect_body(b, 200, "\"docs_read\":2,\"docs_written\":1,\"doc_write_failures\":1");
}

/* What its filter keeps back is none of the target's business, and what it was told of comes. */
static void test_a_target_gets_only_what_it_was_told_of(void **state)
{
	struct gateway_bench *b = *state;
	begin(b, "{\"source\":\"" SOURCE "\",\"target\":\"" TARGET "\",\"doc_ids\":[\"x\",\"y\"]}",
	      NULL, NULL);
	answer(b, "/_changes", 200, PAGE);
	answer(
	    b, "/_revs_diff", 200,
	    "{\"secret\":{\"missing\":[\"1-s\"]},\"y\":{\"missing\":[\"7-q\",\"2-z\",\"1-x\"]}}");
	expect_question(b, " {\"docs\":[{\"id\":\"y\",\"rev\":\"2-z\"}]}");
	answer(b, "/_bulk_get", 200, GOT_Y);
	answer(b, "/_bulk_docs", 201, "[]");
	to_end(b);
	expect_body(b, 200, "\"missing_found\":1,\"docs_read\":1,\"docs_written\":1");
}

/* A batch that a slow line does not carry in time comes in smaller ones, on either way. */
static void test_what_is_not_answered_is_asked_for_in_parts(void **state)
{
	struct gateway_bench *b = *state;
	for (int i = 0; i < 2; i++) {
		to_batch(b);
		if (i == 1)
			answer(b, "/_bulk_get", 200, GOT_BOTH);
		answer_nothing(b, i == 0 ? "/_bulk_get" : "/_bulk_docs", false);
		gateway_bench_advance(b, REPLICATE_BACKOFF_MS);
		expect_question(b, " {\"docs\":[{\"id\":\"x\",\"rev\":\"1-x\"}]}");
		answer(b, "/_bulk_get", 200, GOT_X);
		answer_nothing(b, "/_bulk_docs", false);
		gateway_bench_advance(b, REPLICATE_BACKOFF_MS);
		answer(b, "/_bulk_docs", 201, "[]");
		answer(b, "/_bulk_get", 200, GOT_Y);
		answer(b, "/_bulk_docs", 201, "[]");
		to_end(b);
		expect_body(b, 200, "\"docs_read\":2,\"docs_written\":2");
		b->status = 0;
	}
}

/* The names that checkpoints are looked for by, with a filter function of this text. */
static void name_of_log(struct gateway_bench *b, int status, const char *design, char out[33])
{
	start(b, "{\"source\":\"" SOURCE "\",\"target\":\"" TARGET "\",\"filter\":\"d d/f\"}");
	answer(b, "GET " TARGET " ", 200, "{\"db_name\":\"dst\"}");
	answer(b, "GET " SOURCE " ", 200, "{\"db_name\":\"src\"}");
	answer(b, "GET " SOURCE "/_design/d%20d ", status, design);
	static const char log[] = "GET " SOURCE "/_local/";
	const char *at = question(b, log);
	assert_non_null(at);
	snprintf(out, 33, "%s", strstr(at, "/_local/") + 8);
	answer(b, log, 404, NONE);
	answer(b, "GET " TARGET "/_local/", 404, NONE);
	answer(b, "/_changes?style=all_docs&limit=500&since=0&heartbeat=10000&filter=d%20d%2Ff",
	       404, NONE);
	assert_int_equal(b->status, 404);
	b->status = 0;
}

/* What one kept back another may let pass: checkpoints made with the one say nothing of it. */
static void test_another_filter_function_begins_anew(void **state)
{
	char names[4][33];
	struct gateway_bench *b = *state;
	name_of_log(b, 200, "{\"filters\":{\"f\":\"one\",\"g\":\"x\"}}", names[0]);
	name_of_log(b, 200, "{\"filters\":{\"f\":\"one\",\"g\":\"y\"}}", names[1]);
	name_of_log(b, 200, "{\"filters\":{\"f\":\"two\",\"g\":\"x\"}}", names[2]);
	name_of_log(b, 404, NONE, names[3]);
	assert_string_equal(names[0], names[1]);
	assert_string_not_equal(names[0], names[2]);
	assert_string_not_equal(names[0], names[3]);
}

enum { MANY_ROWS = 3, MANY_LEAVES = 1500 };

/* A page of documents that were in conflict very often. */
static void answer_many(struct gateway_bench *b)
{
	struct buf page = {0};
	buf_append_text(&page, "{\"results\":[{\"id\":\"none\",\"changes\":[]},");
	for (int i = 0; i < MANY_ROWS; i++) {
		buf_printf(&page, "%s{\"id\":\"d%d\",\"changes\":[", i > 0 ? "," : "", i);
		for (int k = 0; k < MANY_LEAVES; k++)
			buf_printf(&page, "%s{\"rev\":\"1-%d\"}", k > 0 ? "," : "", k);
		buf_append_text(&page, "]}");
	}
	buf_append_text(&page, "],\"last_seq\":\"3-c\"}");
	answer(b, "/_changes", 200, buf_cstr(&page));
	buf_close(&page);
}

/* Targets refuse to be asked about too many revisions at once. */
static void test_a_target_is_told_of_many_leaves_in_parts(void **state)
{
	struct gateway_bench *b = *state;
	begin(b, BODY, NULL, NULL);
	answer_many(b);
	expect_question(b, "/_revs_diff {\"none\":[],\"d0\":[\"1-0\",");
	expect_question(b, ",\"d1\":[\"1-0\",");
	assert_null(question(b, "\"d2\""));
	answer(b, "/_revs_diff", 200, "{\"d1\":{\"missing\":[\"1-7\"]}}");
	expect_question(b, "/_revs_diff {\"d2\":[\"1-0\",");
	answer(b, "/_revs_diff", 200, "{\"d2\":{\"missing\":[\"1-9\"]}}");
	expect_question(
	    b, " {\"docs\":[{\"id\":\"d1\",\"rev\":\"1-7\"},{\"id\":\"d2\",\"rev\":\"1-9\"}]}");
	answer(b, "/_bulk_get", 200, GOT_BOTH);
	answer(b, "/_bulk_docs", 201, "[]");
	to_end(b);
	expect_body(b, 200, "\"missing_checked\":4500,\"missing_found\":2,\"docs_read\":2");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_what_can_not_be_read_is_passed_by, setup,
					    gateway_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_a_verdict_of_500_is_passed_by, setup,
					    gateway_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_what_is_not_answered_is_asked_for_in_parts, setup,
					    gateway_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_another_filter_function_begins_anew, setup,
					    gateway_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_a_target_is_told_of_many_leaves_in_parts, setup,
					    gateway_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_a_target_gets_only_what_it_was_told_of, setup,
					    gateway_bench_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
