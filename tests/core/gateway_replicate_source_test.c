/* Replications that are asked for what can't be done, and sources that don't do what they are asked
 * for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/core/replicate_steps.h"

#define CONTINUOUS "{\"source\":\"" SOURCE "\",\"target\":\"" TARGET "\",\"continuous\":true}"

/* Who says where to begin wants nothing else. */
static void test_a_beginning_that_the_source_refuses(void **state)
{
	struct gateway_bench *b = *state;
	begin(b, "{\"source\":\"" SOURCE "\",\"target\":\"" TARGET "\",\"since_seq\":\"7-z\"}",
	      NULL, NULL);
	expect_question(b, "&since=7-z&heartbeat=10000 ");
	answer(b, "/_changes", 400, "{\"error\":\"bad_request\",\"reason\":\"Malformed\"}");
	expect_body(b, 500,
		    "{\"error\":\"bad_request\",\"reason\":\"source answered 400 Malformed\"}");
}

/* Nobody would use it. */
static void test_proxies_are_refused(void **state)
{
	static const char *const names[] = {"proxy", "source_proxy", "target_proxy"};
	struct gateway_bench *b = *state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char body[300];
		for (int none = 0; none < 2; none++) {
			snprintf(body, sizeof body,
				 "{\"source\":\"" SOURCE "\",\"target\":\"" TARGET "\",\"%s\":%s}",
				 names[i], none ? "null" : "\"http://p.example:8080\"");
			b->status = 0;
			start(b, body);
			assert_int_equal(b->status, none ? 0 : 400);
		}
	}
}

/* Who asks again whenever its patience has ended is no crowd. */
static void test_clients_that_are_gone_do_not_wait(void **state)
{
	struct gateway_bench *b = *state;
	for (int i = 0; i <= REPLICATE_WAITERS; i++) {
		struct event gone = {.kind = EVENT_HTTP_GONE, .http_gone = start(b, BODY)};
		assert_int_equal(b->status, 0);
		gateway_bench_event(b, &gone);
	}
	for (int i = 0; i <= REPLICATE_WAITERS; i++) {
		assert_int_equal(b->status, 0);
		start(b, BODY);
	}
	assert_int_equal(b->status, 429);
}

/* A source may answer at once with nothing, again and again. */
static void test_a_source_that_does_not_wait_is_not_asked_all_the_time(void **state)
{
	static const char *const pages[] = {
	    "{\"results\":[],\"last_seq\":0}", "{\"results\":[],\"last_seq\":\"2\"}",
	    "{\"results\":[{\"id\":\"x\",\"changes\":[]}],\"last_seq\":\"2\"}"};
	struct gateway_bench *b = *state;
	begin(b, CONTINUOUS, NULL, NULL);
	for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
		answer(b, "/_changes", 200, pages[i]);
		assert_null(question(b, "/_changes"));
		gateway_bench_advance(b, REPLICATE_PAUSE_MS - 1);
		assert_null(question(b, "/_changes"));
		gateway_bench_advance(b, 1);
		expect_question(b, "/_changes");
	}
}

/* Nor does one wait that has something to tell, or has waited itself. */
static void test_a_source_that_waits_is_asked_at_once(void **state)
{
	struct gateway_bench *b = *state;
	begin(b, CONTINUOUS, NULL, NULL);
	gateway_bench_advance(b, REPLICATE_PAUSE_MS);
	answer(b, "/_changes", 200, "{\"results\":[],\"last_seq\":\"1\"}");
	expect_question(b, "/_changes");
	answer(b, "/_changes", 200, PAGE);
	expect_question(b, "/_changes");
}

/* A page that is shorter than was asked for, though more follows, is not the last. */
static void test_a_source_that_gives_less_at_once(void **state)
{
	static const char more[] = "{\"results\":[{\"id\":\"x\",\"changes\":[{\"rev\":\"1-x\"}]}],"
				   "\"last_seq\":\"1-a\",\"pending\":2}";
	struct gateway_bench *b = *state;
	begin(b, BODY, NULL, NULL);
	answer(b, "/_changes", 200, more);
	uint64_t next = question_id(b, "since=1-a&");
	answer(b, "/_revs_diff", 200, "{}");
	to_end(b);
	/* a page that goes nowhere is */
	fetched(b, &(struct http_fetched){.id = next, .status = 200, .body = slice_text(more)});
	assert_null(question(b, "/_changes"));
	answer(b, "/_revs_diff", 200, "{}");
	to_end(b);
	expect_body(b, 200, "\"source_last_seq\":\"1-a\"");
}

/* Nobody is told that all was copied when something can't be. */
static void test_a_row_without_an_id_is_told_of(void **state)
{
	struct gateway_bench *b = *state;
	begin(b, BODY, NULL, NULL);
	answer(b, "/_changes", 200,
	       "{\"results\":[{\"id\":7,\"changes\":[{\"rev\":\"1-x\"}]}],"
	       "\"last_seq\":\"1-a\",\"pending\":0}");
	answer(b, "/_revs_diff", 200, "{}");
	to_end(b);
	expect_body(b, 200, "\"doc_write_failures\":1");
}

#define DESIGN(text) "{\"filters\":{\"f\":\"" text "\"}}"
#define ASKS_DESIGN  "GET " SOURCE "/_design/d "

/* What an earlier function kept back may pass the one that is there now: a job that goes on begins
 * anew, when it has done what it has at hand. */
static void test_a_filter_that_is_changed_while_it_is_used(void **state)
{
	static const char none[] = "{\"results\":[],\"last_seq\":\"4-d\"}";
	struct gateway_bench *b = *state;
	start(b, "{\"source\":\"" SOURCE "\",\"target\":\"" TARGET
		 "\",\"continuous\":true,\"filter\":\"d/f\"}");
	answer(b, "GET " TARGET " ", 200, "{\"db_name\":\"dst\"}");
	answer(b, "GET " SOURCE " ", 200, "{\"db_name\":\"src\"}");
	answer(b, ASKS_DESIGN, 200, DESIGN("one"));
	answer(b, "GET " SOURCE "/_local/", 404, NONE);
	answer(b, "GET " TARGET "/_local/", 404, NONE);
	gateway_bench_advance(b, REPLICATE_PAUSE_MS);
	answer(b, "/_changes", 200, none);
	answer(b, ASKS_DESIGN, 200, DESIGN("one"));
	expect_question(b, "&since=4-d&");
	uint64_t id = question_id(b, "/_changes");
	/* rows come, and meanwhile another function */
	fetched(b, &(struct http_fetched){.id = id, .status = 200, .body = slice_text(PAGE)});
	uint64_t diff = question_id(b, "/_revs_diff");
	answer(b, ASKS_DESIGN, 200, DESIGN("two"));
	assert_null(question(b, "/_changes"));
	fetched(b, &(struct http_fetched){.id = diff, .status = 200, .body = slice_text("{}")});
	to_end(b);
	answer(b, ASKS_DESIGN, 200, DESIGN("two"));
	answer(b, "GET " SOURCE "/_local/", 404, NONE);
	answer(b, "GET " TARGET "/_local/", 404, NONE);
	expect_question(b, "&since=0&");
}

static void expect_rows(struct gateway_bench *b, uint32_t rows, const char *since)
{
	char text[60];
	snprintf(text, sizeof text, "&limit=%u&since=%s&", rows, since);
	expect_question(b, text);
}

/* Its documents were in conflict very often. */
static void test_a_page_that_is_too_large_is_asked_for_in_parts(void **state)
{
	struct gateway_bench *b = *state;
	struct buf page = {0};
	begin(b, BODY, NULL, NULL);
	answer_as(b, "/_changes", 0, true, "");
	expect_rows(b, REPLICATE_ROWS / 2, "0");
	buf_append_text(&page, "{\"results\":[");
	for (uint32_t i = 0; i < REPLICATE_ROWS / 2; i++)
		buf_printf(&page, "%s{\"id\":\"d%u\",\"changes\":[]}", i > 0 ? "," : "", i);
	buf_append_text(&page, "],\"last_seq\":\"3-c\"}");
	answer(b, "/_changes", 200, buf_cstr(&page)); /* as many as were asked for */
	expect_rows(b, REPLICATE_ROWS, "3-c");
	for (uint32_t rows = REPLICATE_ROWS / 2; rows > 0; rows /= 2) {
		answer_as(b, "/_changes", 0, true, "");
		expect_rows(b, rows, "3-c");
	}
	answer_as(b, "/_changes", 0, true, "");
	assert_int_equal(b->status, 500);
	buf_close(&page);
}

enum { LONG_MS = 3600000 };

/* Who is looking for changes among very many, and says so, is waited for: the shell ends what is
 * silent. */
static void test_a_page_may_take_long(void **state)
{
	struct gateway_bench *b = *state;
	begin(b, BODY, NULL, NULL);
	uint64_t id = question_id(b, "/_changes");
	gateway_bench_clear(b);
	gateway_bench_advance(b, LONG_MS);
	assert_null(question(b, "/_changes"));
	fetched(b, &(struct http_fetched){.id = id, .status = 200, .body = slice_text(PAGE)});
	expect_question(b, "/_revs_diff");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, gateway_bench_teardown)
	    TEST(test_a_beginning_that_the_source_refuses),
	    TEST(test_proxies_are_refused),
	    TEST(test_clients_that_are_gone_do_not_wait),
	    TEST(test_a_source_that_does_not_wait_is_not_asked_all_the_time),
	    TEST(test_a_source_that_waits_is_asked_at_once),
	    TEST(test_a_source_that_gives_less_at_once),
	    TEST(test_a_row_without_an_id_is_told_of),
	    TEST(test_a_filter_that_is_changed_while_it_is_used),
	    TEST(test_a_page_that_is_too_large_is_asked_for_in_parts),
	    TEST(test_a_page_may_take_long),
#undef TEST
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
