/* Replication between two other servers, whose answers are given by hand: every question that a job
 * asks is seen here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "gateway/replicate/internal.h"
#include "tests/core/replicate_steps.h"

/* ---- one replication, from its beginning to its end ---- */

static void test_all_questions_in_their_order(void **state)
{
	struct gateway_bench *b = *state;
	begin(b, BODY, NULL, NULL);
	expect_question(b, "GET " SOURCE
			   "/_changes?style=all_docs&limit=500&since=0&heartbeat=10000 ");
	answer(b, "/_changes", 200, PAGE);
	/* x is told of twice: its later place counts */
	expect_question(b, "POST " TARGET "/_revs_diff {\"x\":[\"2-x\"],\"y\":[\"1-y\",\"2-z\"]}");
	answer(b, "/_revs_diff", 200,
	       "{\"x\":{\"missing\":[\"2-x\"]},\"y\":{\"missing\":[\"2-z\"]}}");
	expect_question(
	    b, "POST " SOURCE "/_bulk_get?revs=true&latest=true&attachments=true "
	       "{\"docs\":[{\"id\":\"x\",\"rev\":\"2-x\"},{\"id\":\"y\",\"rev\":\"2-z\"}]}");
	answer(b, "/_bulk_get", 200,
	       "{\"results\":[{\"id\":\"x\",\"docs\":[{\"ok\":{\"_id\":\"x\",\"_rev\":\"2-x\","
	       "\"n\":1e30}}]},"
	       "{\"id\":\"y\",\"docs\":[{\"error\":{\"id\":\"y\",\"rev\":\"2-z\",\"error\":\"not_"
	       "found\"}}]}]}");
	expect_question(b, "POST " TARGET "/_bulk_docs {\"new_edits\":false,\"docs\":"
			   "[{\"_id\":\"x\",\"_rev\":\"2-x\",\"n\":1e+30}]}");
	answer(b, "/_bulk_docs", 201, "[]");
	expect_question(b, "PUT " TARGET "/_local/");
	answer(b, "PUT ", 201, DONE);
	expect_question(b, "PUT " SOURCE "/_local/");
	assert_int_equal(b->status, 0);
	answer(b, "PUT ", 201, DONE);
	expect_body(b, 200,
		    "\"source_last_seq\":\"3-c\",\"replication_id_version\":4,\"history\":[");
	expect_body(b, 200,
		    "\"start_last_seq\":0,\"end_last_seq\":\"3-c\",\"recorded_seq\":\"3-c\","
		    "\"missing_checked\":3,\"missing_found\":2,\"docs_read\":1,"
		    "\"docs_written\":1,\"doc_write_failures\":0}]");
}

/* By a request that is refused as a whole, or by what no server takes. */
static void test_what_the_target_refuses_is_passed_by(void **state)
{
	struct gateway_bench *b = *state;
	begin(b, BODY, NULL, NULL);
	answer(b, "/_changes", 200,
	       "{\"results\":[{\"id\":\"_foo\",\"changes\":[{\"rev\":\"1-f\"}]},"
	       "{\"id\":\"x\",\"changes\":[{\"rev\":\"1-x\"}]},"
	       "{\"id\":\"y\",\"changes\":[{\"rev\":\"1-y\"}]}],\"last_seq\":\"3-c\"}");
	expect_question(b, "/_revs_diff {\"x\":[\"1-x\"],\"y\":[\"1-y\"]}");
	answer(b, "/_revs_diff", 200, LACKS_BOTH);
	answer(b, "/_bulk_get", 200, GOT_BOTH);
	refuses_x(b, 400);
	expect_body(b, 200, "\"docs_read\":2,\"docs_written\":1,\"doc_write_failures\":2");
	/* who says nothing of a document has not refused one */
	begin(b, BODY, NULL, NULL);
	answer(b, "/_changes", 200, PAGE);
	answer(b, "/_revs_diff", 200, "{\"x\":{\"missing\":[\"2-x\"]}}");
	answer(b, "/_bulk_get", 200, GOT_X);
	answer(b, "/_bulk_docs", 400, "<html>");
	assert_int_equal(b->status, 500);
}

static void test_refused_documents_are_counted(void **state)
{
	struct gateway_bench *b = *state;
	begin(b, BODY, NULL, NULL);
	answer(b, "/_changes", 200, PAGE);
	answer(b, "/_revs_diff", 200, "{\"x\":{\"missing\":[\"2-x\"]}}");
	answer(b, "/_bulk_get", 200, GOT_X);
	answer(b, "/_bulk_docs", 201, "[{\"id\":\"x\",\"error\":\"forbidden\",\"reason\":\"no\"}]");
	answer(b, "PUT ", 201, DONE);
	answer(b, "PUT ", 201, DONE);
	expect_body(b, 200, "\"docs_written\":0,\"doc_write_failures\":1");
}

/* ---- options ---- */

#define LOG(last, checked, more)                                                                   \
	"{\"_rev\":\"0-7\",\"session_id\":\"s\",\"source_last_seq\":\"" last "\",\"history\":["    \
	"{\"session_id\":\"s\",\"recorded_seq\":\"" last "\",\"missing_checked\":" checked         \
	"}" more "]}"
#define OTHER(last)                                                                                \
	"{\"_rev\":\"0-2\",\"session_id\":\"o\",\"source_last_seq\":\"" last "\",\"history\":["    \
	"{\"session_id\":\"o\",\"recorded_seq\":\"" last "\",\"missing_checked\":50}]}"

#define WITH(more) "{\"source\":\"" SOURCE "\",\"target\":\"" TARGET "\"," more "}"

static void test_options(void **state)
{
	struct gateway_bench *b = *state;
	start(b, WITH("\"create_target\":true,\"create_target_params\":{\"q\":4,\"n\":1}"));
	answer(b, "GET " TARGET " ", 404, NONE);
	expect_question(b, "PUT " TARGET "?q=4&n=1 ");
	answer(b, "PUT " TARGET, 403, NONE);
	expect_body(b, 403, "forbidden to access or create database " TARGET "/");
	/* no checkpoints, from a place on, without losers of conflicts */
	start(b,
	      WITH("\"use_checkpoints\":false,\"since_seq\":\"7-g\",\"winning_revs_only\":true"));
	answer(b, "GET " TARGET " ", 200, "{}");
	answer(b, "GET " SOURCE " ", 200, "{}");
	expect_question(b, "/_changes?style=main_only&limit=500&since=7-g&heartbeat=10000 ");
	answer(b, "/_changes", 200, PAGE);
	answer(b, "/_revs_diff", 200, "{}");
	expect_body(b, 200, "\"start_last_seq\":\"7-g\",\"end_last_seq\":\"3-c\"");
	begin(b, WITH("\"since_seq\":4"), LOG("5-e", "50", ""), LOG("5-e", "50", ""));
	expect_question(b, "/_changes?style=all_docs&limit=500&since=4&heartbeat=10000 ");
	static const char *const bad[] = {
	    WITH("\"create_target_params\":5"), WITH("\"since_seq\":[]"),
	    WITH("\"use_checkpoints\":\"no\""), WITH("\"user_ctx\":5"),
	    WITH("\"user_ctx\":{\"name\":\"a\",\"roles\":[5]}")};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		b->status = 0;
		start(b, bad[i]);
		assert_int_equal(b->status, 400);
	}
}

static void test_a_source_without_bulk_get(void **state)
{
	struct gateway_bench *b = *state;
	begin(b, BODY, NULL, NULL);
	answer(b, "/_changes", 200, PAGE);
	answer(b, "/_revs_diff", 200,
	       "{\"x\":{\"missing\":[\"2-x\"]},\"y\":{\"missing\":[\"2-z\"]}}");
	answer(b, "/_bulk_get", 404, NONE);
	expect_question(b, "GET " SOURCE "/x?revs=true&latest=true&attachments=true&open_revs="
			   "%5B%222-x%22%5D ");
	answer(b, "/x?revs", 200,
	       "[{\"ok\":{\"_id\":\"x\",\"_rev\":\"2-x\"}},{\"missing\":\"2-y\"}]");
	expect_question(
	    b, "_bulk_docs {\"new_edits\":false,\"docs\":[{\"_id\":\"x\",\"_rev\":\"2-x\"}]}");
	answer(b, "/_bulk_docs", 201, "[]");
	/* this one is gone */
	answer(b, "/y?revs", 404, NONE);
	expect_question(b, "_bulk_docs {\"new_edits\":false,\"docs\":[]}");
	answer(b, "/_bulk_docs", 201, "[]");
	to_end(b);
	expect_body(b, 200, "\"docs_read\":1,\"docs_written\":1,\"doc_write_failures\":0");
	begin(b, WITH("\"use_bulk_get\":false"), NULL, NULL);
	answer(b, "/_changes", 200, PAGE);
	answer(b, "/_revs_diff", 200, "{\"x\":{\"missing\":[\"2-x\"]}}");
	expect_question(b, "GET " SOURCE "/x?revs=true");
}

/* ---- checkpoints ---- */

static void expect_since(struct gateway_bench *b, const char *source, const char *target,
			 const char *since)
{
	char text[200];
	begin(b, BODY, source, target);
	snprintf(text, sizeof text, "/_changes?style=all_docs&limit=500&since=%s&heartbeat=10000 ",
		 since);
	expect_question(b, text);
	answer(b, "/_changes", 200, "{\"results\":[],\"last_seq\":\"9-z\"}");
	expect_body(b, 200, "{\"ok\":true,\"no_changes\":true,");
}

static void test_goes_on_where_both_sides_agree(void **state)
{
	struct gateway_bench *b = *state;
	expect_since(b, LOG("5-e", "50", ""), LOG("5-e", "50", ""), "5-e");
	/* one write of the last checkpoint was lost, or a side was put back */
	expect_since(b, LOG("5-e", "50", ""), LOG("7-g", "70", ""), "5-e");
	expect_since(b, LOG("7-g", "70", ""), LOG("5-e", "50", ""), "5-e");
	/* an older session is what they have in common */
	expect_since(b,
		     LOG("8-h", "80",
			 ",{\"session_id\":\"o\",\"recorded_seq\":\"3-c\",\"missing_checked\":30}"),
		     OTHER("4-d"), "3-c");
	/* nothing is */
	expect_since(b, LOG("5-e", "50", ""), OTHER("5-e"), "0");
	expect_since(b, LOG("5-e", "50", ""), NULL, "0");
	expect_since(b, "{\"history\":5}", LOG("5-e", "50", ""), "0");
}

static void test_a_sequence_that_the_source_forgot(void **state)
{
	struct gateway_bench *b = *state;
	begin(b, BODY, LOG("5-e", "50", ""), LOG("5-e", "50", ""));
	answer(b, "/_changes", 400, "{\"error\":\"bad_request\"}");
	expect_question(b, "&since=0&heartbeat=10000 ");
	answer(b, "/_changes", 400, "{\"error\":\"bad_request\",\"reason\":\"no\"}");
	expect_body(b, 500, "{\"error\":\"bad_request\",\"reason\":\"source answered 400 no\"}");
}

static void to_checkpoint(struct gateway_bench *b)
{
	begin(b, BODY, NULL, NULL);
	answer(b, "/_changes", 200, PAGE);
	answer(b, "/_revs_diff", 200, "{}");
}

static void test_a_checkpoint_in_conflict_is_read_again(void **state)
{
	struct gateway_bench *b = *state;
	to_checkpoint(b);
	answer(b, "PUT ", 409, "{\"error\":\"conflict\"}");
	answer(b, "GET " TARGET "/_local/", 200, "{\"_rev\":\"0-41\"}");
	expect_question(b, " {\"_rev\":\"0-41\",\"session_id\"");
	answer(b, "PUT " TARGET, 201, DONE);
	/* a source that may only be read */
	answer(b, "PUT " SOURCE, 403, "{\"error\":\"forbidden\"}");
	assert_int_equal(b->status, 200);
}

/* ---- what goes wrong ---- */

/* How long it takes until a question that nobody answers is given up. */
static int64_t given_up_after(struct gateway_bench *b, const char *with, bool nobody)
{
	int64_t waited_ms = 0;
	while (b->status == 0) {
		answer_nothing(b, with, nobody);
		while (b->status == 0 && !question(b, with)) {
			gateway_bench_advance(b, 250);
			waited_ms += 250;
			assert_true(waited_ms < 60000);
		}
	}
	return waited_ms;
}

static void test_asks_again_and_gives_up(void **state)
{
	struct gateway_bench *b = *state;
	start(b, BODY);
	answer(b, "GET " TARGET " ", 503, "");
	assert_null(question(b, "GET "));
	gateway_bench_advance(b, 1000);
	answer(b, "GET " TARGET " ", 200, "{}");
	assert_in_range(given_up_after(b, "GET " SOURCE " ", false), 20000, 30000);
	expect_body(b, 500,
		    "{\"error\":\"http_request_failed\",\"reason\":\"GET " SOURCE ": no route\"}");
}

static void test_where_nobody_is_it_asks_no_longer(void **state)
{
	struct gateway_bench *b = *state;
	start(b, BODY);
	assert_in_range(given_up_after(b, "GET " TARGET " ", true), 500, 1000);
	expect_body(b, 500, "GET " TARGET ": no route");
	/* one that has answered is being started anew, perhaps */
	b->status = 0;
	begin(b, BODY, NULL, NULL);
	assert_in_range(given_up_after(b, "/_changes", true), 20000, 30000);
}

static void test_a_late_answer_to_an_earlier_try_is_none(void **state)
{
	struct gateway_bench *b = *state;
	start(b, BODY);
	struct event event = {.kind = EVENT_FETCHED,
			      .fetched = {.id = question_id(b, "GET " TARGET " "), .status = 404}};
	answer(b, "GET " TARGET " ", 503, "");
	gateway_bench_advance(b, 1000);
	gateway_bench_event(b, &event);
	assert_int_equal(b->status, 0);
	answer(b, "GET " TARGET " ", 404, NONE);
	expect_body(b, 404,
		    "{\"error\":\"db_not_found\",\"reason\":\"could not open " TARGET "/\"}");
	/* nobody answers at all */
	start(b, BODY);
	gateway_bench_advance(b, REPLICATE_POLL_MS + 2 * REPLICATE_PATIENCE_MS + 5000);
	expect_body(b, 500, "GET " TARGET ": no answer");
}

#define ONLY(more) "{\"last_seq\":\"9\"" more "}"

static void test_bad_answers_end_it(void **state)
{
	static const char *const pages[] = {"",
					    "[]",
					    "{}",
					    "{\"results\":5}",
					    "\"x\"",
					    "{\"last_seq\":",
					    ONLY(""),
					    ONLY(",\"results\":{}"),
					    ONLY(",\"results\":null")};
	struct gateway_bench *b = *state;
	for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
		begin(b, BODY, NULL, NULL);
		answer(b, "/_changes", 200, pages[i]);
		assert_int_equal(b->status, 500);
		b->status = 0;
	}
	begin(b, BODY, NULL, NULL);
	answer(b, "/_changes", 200, PAGE);
	answer(
	    b, "/_revs_diff", 200,
	    "{\"x\":{\"missing\":[5]},\"z\":7,\"y\":{\"missing\":[\"2-z\",\"1-y\",\"2-z\",\"1-y\","
	    "\"2-z\"]}}");
	/* no more than was asked about */
	expect_question(b, "{\"docs\":[{\"id\":\"y\",\"rev\":\"2-z\"},{\"id\":\"y\",\"rev\":\"1-"
			   "y\"},{\"id\":\"y\",\"rev\":\"2-z\"}]}");
	answer(b, "/_bulk_get", 200,
	       "{\"results\":[{\"docs\":[{\"error\":{\"error\":\"forbidden\"}}]}]}");
	expect_body(b, 500, "source can't give a document");
}

/* ---- who asks ---- */

static void test_continuous_goes_on_until_it_is_cancelled(void **state)
{
	static const char again[] =
	    "{\"source\":\"" SOURCE "\",\"target\":\"" TARGET "\",\"continuous\":true}";
	struct gateway_bench *b = *state;
	start(b, again);
	expect_body(b, 202, "{\"ok\":true,\"_local_id\":\"");
	to_page(b, NULL, NULL);
	expect_question(b, "&since=0&feed=longpoll&timeout=30000 ");
	answer(b, "/_changes", 200, PAGE);
	gateway_bench_http(b, "GET /_active_tasks");
	expect_body(b, 200,
		    "\",\"doc_id\":null,\"database\":null,\"node\":\"gateway\","
		    "\"source\":\"" SOURCE "/\",\"target\":\"" TARGET "/\",");
	/* the next page is asked for while this one is done */
	expect_question(b, "&since=3-c&feed=longpoll&timeout=30000 ");
	start(b, "{\"source\":\"" SOURCE "\",\"target\":\"" TARGET
		 "\",\"continuous\":true,\"cancel\":true}");
	assert_int_equal(b->status, 200);
	assert_non_null(strstr(buf_cstr(&b->trace), "?| "));
	start(b, "{\"source\":\"" SOURCE "\",\"target\":\"" TARGET
		 "\",\"continuous\":true,\"cancel\":true}");
	assert_int_equal(b->status, 404);
}

static void test_two_that_ask_for_the_same_wait_for_one(void **state)
{
	struct gateway_bench *b = *state;
	uint64_t first = start(b, BODY);
	gateway_bench_clear(b);
	uint64_t second = start(b, BODY);
	assert_null(question(b, "GET "));
	/* one of them goes away */
	struct event gone = {.kind = EVENT_HTTP_GONE, .http_gone = first};
	gateway_bench_event(b, &gone);
	struct event drain = {.kind = EVENT_DRAIN};
	gateway_bench_clear(b);
	gateway_bench_event(b, &drain);
	char text[40];
	snprintf(text, sizeof text, "<- %d 503", (int)second);
	assert_non_null(strstr(buf_cstr(&b->trace), text));
	snprintf(text, sizeof text, "<- %d 503", (int)first);
	assert_null(strstr(buf_cstr(&b->trace), text));
}

/* What was written between the first one's last page and the second one's request counts, too. */
static void test_who_comes_later_is_not_told_of_an_earlier_end(void **state)
{
	struct gateway_bench *b = *state;
	begin(b, BODY, NULL, NULL);
	answer(b, "/_changes", 200, PAGE);
	start(b, BODY);
	answer(b, "/_revs_diff", 200, "{}");
	answer(b, "PUT ", 201, DONE);
	answer(b, "PUT ", 201, DONE);
	assert_int_equal(b->status, 0);
	expect_question(b, "GET " SOURCE
			   "/_changes?style=all_docs&limit=500&since=3-c&heartbeat=10000 ");
	answer(b, "/_changes", 200, "{\"results\":[],\"last_seq\":\"3-c\",\"pending\":0}");
	expect_body(b, 200, "\"source_last_seq\":\"3-c\"");
}

static void test_credentials_go_nowhere_else(void **state)
{
	struct gateway_bench *b = *state;
	start(b, "{\"source\":\"https://ann:a%40b@a.example/src\",\"target\":{\"url\":\"" TARGET
		 "\",\"auth\":{\"basic\":{\"username\":\"bob\",\"password\":\"pw\"}},"
		 "\"headers\":{\"X-A\":\"1\"}}}");
	/* a session first, which not all servers have */
	expect_question(b,
			"POST https://b.example/_session {\"name\":\"bob\",\"password\":\"pw\"}");
	answer(b, "/_session", 404, NONE);
	expect_question(b, "GET " TARGET " X-A: 1 Authorization: Basic Ym9iOnB3 ");
	answer(b, "GET " TARGET " ", 200, "{}");
	expect_question(b,
			"POST https://a.example/_session {\"name\":\"ann\",\"password\":\"a@b\"}");
	answer(b, "/_session", 500, "no");
	expect_question(b, "GET " SOURCE " Authorization: Basic YW5uOmFAYg== ");
	answer(b, "GET " SOURCE " ", 404, NONE);
	expect_body(b, 404, "could not open " SOURCE "/\"");
}

static void answer_with_cookie(struct gateway_bench *b, const char *with, const char *cookie)
{
	fetched(b, &(struct http_fetched){.id = question_id(b, with),
					  .status = 200,
					  .body = slice_text("{\"ok\":true}"),
					  .session = slice_text(cookie)});
}

static void test_a_session_in_place_of_the_password(void **state)
{
	struct gateway_bench *b = *state;
	start(b, "{\"source\":\"" SOURCE "\",\"target\":\"https://bob:pw@b.example/dst\"}");
	answer_with_cookie(b, "/_session", "AuthSession=one");
	expect_question(b, "GET " TARGET " Cookie: AuthSession=one ");
	/* made anew once, when it is over; and by the server itself */
	answer(b, "GET " TARGET " ", 401, NONE);
	expect_question(b, "POST https://b.example/_session ");
	answer_with_cookie(b, "/_session", "AuthSession=two");
	expect_question(b, "GET " TARGET " Cookie: AuthSession=two ");
	answer_with_cookie(b, "GET " TARGET " ", "AuthSession=three");
	expect_question(b, "GET " SOURCE " ");
	assert_null(question(b, "AuthSession"));
	answer(b, "GET " SOURCE " ", 200, "{}");
	answer(b, "GET " SOURCE "/_local/", 404, NONE);
	expect_question(b, "Cookie: AuthSession=three ");
	answer(b, "GET " TARGET "/_local/", 401, NONE);
	answer(b, "/_session", 401, NONE);
	expect_question(b, " Authorization: Basic Ym9iOnB3 ");
	answer(b, "GET " TARGET "/_local/", 401, "{\"error\":\"unauthorized\",\"reason\":\"no\"}");
	expect_body(b, 401, "{\"error\":\"unauthorized\",\"reason\":\"target answered 401 no\"}");
}

static void test_sides_that_may_not_be_opened(void **state)
{
	struct gateway_bench *b = *state;
	start(b, BODY);
	answer(b, "GET " TARGET " ", 401, NONE);
	expect_body(b, 401,
		    "{\"error\":\"unauthorized\",\"reason\":\"unauthorized to access or create "
		    "database " TARGET "/\"}");
	start(b, BODY);
	answer(b, "GET " TARGET " ", 200, "{}");
	answer(b, "GET " SOURCE " ", 403, NONE);
	expect_body(b, 403, "forbidden to access or create database " SOURCE "/\"");
}

static void test_whom_it_may_ask(void **state)
{
	static const struct {
		const char *url;
		int status;
	} table[] = {
	    {"https://x.example/db", 0},
	    {"http://x.y.EXAMPLE:99/db", 0},
	    {"https://plain:5984/db", 0},
	    {"https://plain/db", 403},
	    {"https://example/db", 403},
	    {"https://.example/db", 403},
	    {"https://xexample/db", 403},
	    {"https://plain:5984@evil/db", 403},
	    {"https://evil:99/plain:5984/db", 403},
	    {"https://x.example:0/db", 400},
	    {"https://x.example:/db", 400},
	    {"https://x.example:70000/db", 400},
	    {"https://x.example", 400},
	    {"https://x.example//", 400},
	    {"https://x.example/a b", 400},
	    {"https://x.example/a?b", 400},
	    {"https://%zz@x.example/a", 400},
	    {"https://[::1]/a", 403},
	    {"ftp://x.example/a", 400},
	    {"file:///etc/passwd", 400},
	};
	struct gateway_bench *b = *state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		char body[300];
		snprintf(body, sizeof body, "{\"source\":\"%s\",\"target\":\"" TARGET "\"}",
			 table[i].url);
		b->status = 0;
		start(b, body);
		if (b->status != table[i].status)
			print_error("%s: %d\n", table[i].url, b->status);
		assert_int_equal(b->status, table[i].status);
	}
}

/* By the address that its client has of it. */
static void test_an_address_of_its_own_is_here(void **state)
{
	static const struct {
		const char *host;
		const char *source;
		bool here;
	} table[] = {
	    {"me:6984", "https://me:6984/c", true},
	    {"me:6984", "https://ME:6984/c/", true},
	    {"me:6984", "https://ann:pw@me:6984/c", true},
	    {"me:6984", "https://bob:pw@me:6984/c", false},
	    {"me:6984", "http://me:6984/c", false},
	    {"me:6984", "https://me:6985/c", false},
	    {"me:6984", "https://me:6984/c/d", false},
	    {"you:6984", "https://me:6984/c", false},
	};
	struct gateway_bench *b = *state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		char text[300];
		snprintf(text, sizeof text,
			 "POST /_replicate\nhost: %s\nauthorization: Basic YW5uOnB3\n\n"
			 "{\"source\":\"%s\",\"target\":\"" TARGET "\"}",
			 table[i].host, table[i].source);
		b->status = 0;
		gateway_bench_clear(b);
		gateway_bench_http(b, text);
		if (b->status != (table[i].here ? 0 : 403))
			print_error("%s: %d\n", table[i].source, b->status);
		assert_int_equal(b->status, table[i].here ? 0 : 403);
	}
}

static void test_no_more_than_may_run(void **state)
{
	struct gateway_limits limits = {.replications_max = 1};
	struct gateway_bench *b = *state;
	gateway_bench_close(b);
	gateway_bench_open(b, &limits);
	b->dialect = DIALECT_COUCH;
	gateway_bench_map(b, 1, MODE_CONSISTENT);
	b->status = 0;
	for (int i = 0; i < REPLICATE_WAITERS; i++)
		start(b, BODY);
	assert_int_equal(b->status, 0);
	start(b, BODY);
	assert_int_equal(b->status, 429);
	start(b, "{\"source\":\"c\",\"target\":\"" TARGET "\"}");
	expect_body(b, 429, "max_replications");
}

static void test_dates(void **state)
{
	static const struct {
		int64_t wall_ms;
		const char *text;
	} table[] = {
	    {0, "Thu, 01 Jan 1970 00:00:00 GMT"},
	    {951827696789, "Tue, 29 Feb 2000 12:34:56 GMT"},
	    {1798761599999, "Thu, 31 Dec 2026 23:59:59 GMT"},
	    {4107542400000, "Mon, 01 Mar 2100 00:00:00 GMT"},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct buf text = {0};
		date_print(table[i].wall_ms, &text);
		assert_string_equal(buf_cstr(&text), table[i].text);
		buf_close(&text);
	}
}

#define on_bench(f) cmocka_unit_test_setup_teardown(f, setup, gateway_bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    on_bench(test_all_questions_in_their_order),
	    on_bench(test_refused_documents_are_counted),
	    on_bench(test_what_the_target_refuses_is_passed_by),
	    on_bench(test_goes_on_where_both_sides_agree),
	    on_bench(test_a_sequence_that_the_source_forgot),
	    on_bench(test_a_checkpoint_in_conflict_is_read_again),
	    on_bench(test_asks_again_and_gives_up),
	    on_bench(test_where_nobody_is_it_asks_no_longer),
	    on_bench(test_a_late_answer_to_an_earlier_try_is_none),
	    on_bench(test_bad_answers_end_it),
	    on_bench(test_continuous_goes_on_until_it_is_cancelled),
	    on_bench(test_two_that_ask_for_the_same_wait_for_one),
	    on_bench(test_who_comes_later_is_not_told_of_an_earlier_end),
	    on_bench(test_credentials_go_nowhere_else),
	    on_bench(test_a_session_in_place_of_the_password),
	    on_bench(test_sides_that_may_not_be_opened),
	    on_bench(test_options),
	    on_bench(test_a_source_without_bulk_get),
	    on_bench(test_whom_it_may_ask),
	    on_bench(test_an_address_of_its_own_is_here),
	    on_bench(test_no_more_than_may_run),
	    cmocka_unit_test(test_dates),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
