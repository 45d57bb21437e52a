/* The gateway's core: writes by query, updates, and until when writes may be taken. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/timing.h"
#include "gateway/call.h"
#include "gateway/lock.h"
#include "tests/core/gateway_case.h"

enum { EDIT_MS_MAX = 20000 };

static int setup(void **state)
{
	struct gateway_limits limits = {.edit_ms_max = EDIT_MS_MAX};
	bench_open(state, &limits);
	return 0;
}

static void map(struct gateway_bench *b, uint32_t shards)
{
	bench_map(b, shards, MODE_CONSISTENT);
}

static void answer(struct gateway_bench *b, uint32_t index, uint64_t changes, bool done)
{
	struct msg_shard_edit_ack ack = {.changes = changes, .done = done};
	gateway_bench_answer(b, index, MSG_shard_edit_ack, &ack);
}

static void answer_status(struct gateway_bench *b, uint32_t index, enum status status)
{
	struct msg_shard_edit_ack ack = {.status = status};
	gateway_bench_answer(b, index, MSG_shard_edit_ack, &ack);
}

/* ---- writes by query ---- */

static void test_all_shards(void **state)
{
	struct gateway_bench *b = *state;
	map(b, 2);
	gateway_bench_http(b, "DELETE /c?query={\"a\":1}&lockId=&lockStrategy=");
	answer(b, 1, 2, true);
	answer(b, 0, 1, false);
	answer(b, 2, 3, true);
	expect(b, "-> 11@1 edit 1 delete filter={\"a\":1}\n"
		  "-> 12@1 edit 2 delete filter={\"a\":1}\n"
		  "-> 11@1 edit 1 delete filter={\"a\":1}\n"
		  "<- 1 200 {\"changes\":5}\n");
}

/* No query, an empty one or null: all documents. The id in a body changes nobody's. */
static void test_forms(void **state)
{
	struct gateway_bench *b = *state;
	map(b, 1);
	gateway_bench_http(b, "PUT /c?query=\n\n{\"id\":\"x\",\"a\":1}");
	answer(b, 0, 0, true);
	gateway_bench_http(b, "PATCH /c?query=null\nidempotency-key: k\n\n{\"a\":null}");
	answer(b, 1, 7, true);
	gateway_bench_http(b, "PATCH /c\ncontent-type: application/vnd.parley.update+json\n\n"
			      "{\"$inc\":{\"a\":1}}");
	answer(b, 2, 7, true);
	expect(b, "-> 11@1 edit 1 put {\"a\":1}\n"
		  "<- 1 200 {\"changes\":0}\n"
		  "-> 11@1 edit 1 patch {\"a\":null} key\n"
		  "<- 2 200 {\"changes\":7}\n"
		  "-> 11@1 edit 1 update {\"$inc\":{\"a\":1}}\n"
		  "<- 3 200 {\"changes\":7}\n");
}

static void test_no_collection(void **state)
{
	struct gateway_bench *b = *state;
	map(b, 1);
	gateway_bench_http(b, "PUT /nobody\n\n{}");
	struct msg_map_push push = {.map_version = 1};
	gateway_bench_answer(b, 0, MSG_map_push, &push);
	assert_string_equal(buf_cstr(&b->body), "{\"changes\":0}");
}

/* Whatever happens in between, the same operation id goes to whoever leads. */
static void test_asks_again(void **state)
{
	struct gateway_bench *b = *state;
	map(b, 1);
	gateway_bench_http(b, "DELETE /c");
	gateway_bench_advance(b, CALL_RESEND_MS);
	gateway_bench_newer(b, 1, 2, 12);
	answer_status(b, 2, STATUS_NO_LEAD);
	gateway_bench_advance(b, RETRY_MS);
	answer_status(b, 3, STATUS_OUTCOME_UNKNOWN);
	gateway_bench_advance(b, RETRY_MS);
	answer(b, 4, 4, true);
	expect(b, "-> 11@1 edit 1 delete\n"
		  "-> 11@1 edit 1 delete\n"
		  "-> 12@2 edit 1 delete\n"
		  "-> 12@2 edit 1 delete\n"
		  "-> 12@2 edit 1 delete\n"
		  "<- 1 200 {\"changes\":4}\n");
}

/* Its first sending may be under way: that its repetition finds no room says nothing of it. */
static void test_a_full_lead_says_nothing_of_an_earlier_sending(void **state)
{
	struct gateway_bench *b = *state;
	static const enum status full[] = {STATUS_OVERLOADED, STATUS_DISK_FULL};
	map(b, 1);
	for (size_t i = 0; i < ARRAY_LEN(full); i++) {
		gateway_bench_http(b, "DELETE /c");
		answer_status(b, b->sent_count - 1, full[i]);
		assert_int_equal(b->status, status_row(full[i])->http);
		gateway_bench_clear(b);
		gateway_bench_http(b, "DELETE /c");
		gateway_bench_advance(b, CALL_RESEND_MS);
		answer_status(b, 1, full[i]);
		assert_int_equal(b->status, 503);
		assert_non_null(strstr(buf_cstr(&b->body), "\"code\":\"outcome_unknown\""));
		gateway_bench_clear(b);
	}
}

static void test_lives_while_it_advances(void **state)
{
	struct gateway_bench *b = *state;
	map(b, 1);
	gateway_bench_http(b, "DELETE /c\nx-request-id: q");
	uint64_t changes = 0;
	int64_t start_ms = b->now_ms;
	while (b->now_ms < start_ms + EDIT_MS_MAX - REQUEST_DEADLINE_MS) {
		assert_int_equal(b->status, 0);
		gateway_bench_advance(b, REQUEST_DEADLINE_MS - 100);
		answer(b, b->sent_count - 1, ++changes, false);
	}
	gateway_bench_advance(b, 400);
	assert_int_equal(b->status, 503); /* although it advanced just now */
	assert_non_null(strstr(buf_cstr(&b->body), "\"code\":\"outcome_unknown\""));
	assert_non_null(strstr(buf_cstr(&b->body), "\"changes\":"));
}

static void test_ends_without_progress(void **state)
{
	struct gateway_bench *b = *state;
	map(b, 2);
	gateway_bench_http(b, "DELETE /c\nx-request-id: q");
	answer(b, 0, 4, true);
	gateway_bench_clear(b);
	gateway_bench_advance(b, REQUEST_DEADLINE_MS - 1);
	assert_int_equal(b->status, 0);
	gateway_bench_advance(b, 1);
	assert_int_equal(b->status, 503);
	assert_non_null(strstr(buf_cstr(&b->body), "\"changes\":4"));
}

/* One shard stops at a document; the others go on to their end, so that the count is exact. */
static void test_stops_at_a_document(void **state)
{
	struct gateway_bench *b = *state;
	map(b, 2);
	gateway_bench_http(b, "PATCH /c\ncontent-type: application/vnd.parley.update+json\n"
			      "x-request-id: q\n\n{\"$inc\":{\"a\":1}}");
	struct msg_shard_edit_ack ack = {.status = STATUS_UPDATE_FAILED,
					 .changes = 2,
					 .id = slice_text("d\"7"),
					 .place = slice_text("/$inc/a"),
					 .detail = slice_text("No.")};
	gateway_bench_answer(b, 1, MSG_shard_edit_ack, &ack);
	assert_int_equal(b->status, 0);
	answer(b, 0, 1, false);
	answer(b, 2, 5, true);
	assert_int_equal(b->status, 422);
	assert_non_null(strstr(buf_cstr(&b->body), "\"code\":\"update_failed\",\"status\":422,"
						   "\"place\":\"/$inc/a\",\"detail\":\"No.\","
						   "\"changes\":7,\"id\":\"d\\\"7\","
						   "\"requestId\":\"q\""));
}

/* ---- updates by id ---- */

static void test_update(void **state)
{
	struct gateway_bench *b = *state;
	map(b, 1);
	gateway_bench_http(b, "PATCH /c/a\ncontent-type: application/vnd.parley.update+json\n"
			      "if-match: *\n\n{\"$inc\":{\"a\":1}}");
	struct msg_doc_write_ack ack = {.revision = {2, slice_text("r")}};
	gateway_bench_answer(b, 0, MSG_doc_write_ack, &ack);
	expect(b, "-> 11@1 update a {\"$inc\":{\"a\":1}} present\n"
		  "<- 1 200 ETag=\"2-r\" {\"changes\":1}\n");
	gateway_bench_http(b, "PATCH /c/a\ncontent-type: application/vnd.parley.update+json\n\n"
			      "{\"$inc\":{\"a\":1}}");
	ack = (struct msg_doc_write_ack){.status = STATUS_UPDATE_FAILED,
					 .place = slice_text("/$inc/a"),
					 .detail = slice_text("No.")};
	gateway_bench_answer(b, 0, MSG_doc_write_ack, &ack);
	assert_int_equal(b->status, 422);
	assert_non_null(strstr(buf_cstr(&b->body), "\"place\":\"/$inc/a\",\"detail\":\"No.\""));
}

static void test_media_types(void **state)
{
	struct gateway_bench *b = *state;
	static const struct {
		const char *type;
		int status;
	} rows[] = {
	    {"application/json", 200},
	    {"application/merge-patch+json; charset=utf-8", 200},
	    {"text/json", 200},
	    {"application/x-www-form-urlencoded", 200},
	    {"application/json-patch+json", 415},
	    {"application/other+json", 415},
	};
	map(b, 1);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[160];
		snprintf(text, sizeof text, "PATCH /c/a\ncontent-type: %s\n\n{\"x\":1}",
			 rows[i].type);
		gateway_bench_clear(b);
		gateway_bench_http(b, text);
		struct msg_doc_write_ack ack = {.revision = {2, slice_text("r")}};
		if (rows[i].status == 200) {
			assert_string_equal(buf_cstr(&b->trace), "-> 11@1 patch a {\"x\":1}\n");
			gateway_bench_answer(b, 0, MSG_doc_write_ack, &ack);
		}
		assert_int_equal(b->status, rows[i].status);
	}
}

/* ---- until when ---- */

enum { AHEAD_MS = 1000000, LIFE = 5 };

static void answer_clock(struct gateway_bench *b, uint32_t index, enum status status,
			 int64_t ahead_ms)
{
	struct msg_doc_write_ack ack = {
	    .status = status, .clock_ms = (uint64_t)(b->now_ms + ahead_ms), .life = LIFE};
	gateway_bench_answer(b, index, MSG_doc_write_ack, &ack);
}

/* Of so long a wait: a tenth is left to clocks that drift. */
static int64_t surely(int64_t ms)
{
	return ms - ms / 10;
}

static void expect_until(struct gateway_bench *b, const char *write, int64_t until_ms)
{
	char text[160];
	snprintf(text, sizeof text, "%s until=%lld\n", write, (long long)until_ms);
	expect(b, text);
}

/* Of a clock that is not known yet the node tells, and the write goes once more, at once. */
static void test_learns_the_clock(void **state)
{
	struct gateway_bench *b = *state;
	map(b, 1);
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	gateway_bench_advance(b, 10);
	int64_t end_ms = b->now_ms + AHEAD_MS + surely(REQUEST_DEADLINE_MS - 10);
	answer_clock(b, 0, STATUS_STALE, AHEAD_MS);
	answer_clock(b, 1, STATUS_STALE, AHEAD_MS); /* slow on the way: not at once again */
	expect_until(b, "-> 11@1 put a {}\n-> 11@1 put a {}", end_ms);
	gateway_bench_advance(b, RETRY_MS);
	answer_clock(b, 0, STATUS_OK, AHEAD_MS);
	assert_int_equal(b->status, 200);
	assert_ptr_equal(strstr(buf_cstr(&b->trace), "-> 11@1 put a {} until="),
			 buf_cstr(&b->trace));
}

/* What took longer on the way shows a clock that seems less ahead: the nearer one is kept. */
static void test_keeps_the_best_sample(void **state)
{
	struct gateway_bench *b = *state;
	map(b, 1);
	static const int64_t seen[] = {AHEAD_MS, AHEAD_MS - 700, AHEAD_MS + 20, AHEAD_MS};
	static const int64_t kept[] = {AHEAD_MS, AHEAD_MS, AHEAD_MS + 20, AHEAD_MS + 20};
	for (size_t i = 0; i < ARRAY_LEN(seen); i++) {
		gateway_bench_http(b, "PUT /c/a\n\n{}");
		answer_clock(b, 0, STATUS_OK, seen[i]);
		gateway_bench_clear(b);
		gateway_bench_http(b, "PUT /c/a\n\n{}");
		expect_until(b, "-> 11@1 put a {}",
			     b->now_ms + kept[i] + surely(REQUEST_DEADLINE_MS));
	}
	/* after a minute any is better than none of today */
	gateway_bench_advance(b, 60001);
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	gateway_bench_clear(b);
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	answer_clock(b, 0, STATUS_OK, AHEAD_MS - 700);
	gateway_bench_clear(b);
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	expect_until(b, "-> 11@1 put a {}",
		     b->now_ms + AHEAD_MS - 700 + surely(REQUEST_DEADLINE_MS));
}

/* A lead may take it only until a branch is asked for; a branch only until the next one is. */
static void test_until_a_branch(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_map(b, 1, MODE_AVAILABLE);
	for (int i = 0; i < 3; i++) {
		gateway_bench_clear(b);
		gateway_bench_http(b, "PUT /c/a\n\n{}");
		gateway_bench_advance(b, i == 0 ? 0 : BRANCH_AFTER_MS);
		if (i == 2)
			gateway_bench_advance(b, CALL_RESEND_MS / 2);
		answer_clock(b, b->sent_count - 1, STATUS_OK, AHEAD_MS);
	}
	gateway_bench_clear(b);
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	int64_t since_ms = 2 * BRANCH_AFTER_MS + CALL_RESEND_MS / 2; /* the lead answered last */
	expect_until(b, "-> 11@1 put a {}",
		     b->now_ms + AHEAD_MS - since_ms / 10 + surely(BRANCH_AFTER_MS));
	gateway_bench_advance(b, BRANCH_AFTER_MS);
	assert_non_null(strstr(buf_cstr(&b->trace), " branch until="));
	char until[40];
	since_ms = BRANCH_AFTER_MS; /* the replica answered the branch before this one */
	int64_t until_ms = b->now_ms + AHEAD_MS - since_ms / 10 + surely(CALL_RESEND_MS / 2);
	snprintf(until, sizeof until, "until=%" PRId64 "\n", until_ms);
	assert_non_null(strstr(buf_cstr(&b->trace), until));
}

/* A lead that is new has its time before a branch is asked for, but its client is answered at the
 * deadline, and may have written something else when this one is taken. */
static void test_until_the_deadline(void **state)
{
	enum { LEFT_MS = 400 };
	struct gateway_bench *b = *state;
	gateway_bench_map(b, 1, MODE_AVAILABLE);
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	int64_t end_ms = b->now_ms + REQUEST_DEADLINE_MS;
	uint32_t answered = 0;
	while (b->now_ms < end_ms - LEFT_MS) {
		while (answered < b->sent_count)
			answer_clock(b, answered++, STATUS_NOT_LEAD, AHEAD_MS);
		gateway_bench_advance(b, RETRY_MS);
	}
	while (answered < b->sent_count)
		answer_clock(b, answered++, STATUS_NOT_LEAD, AHEAD_MS);
	gateway_bench_clear(b);
	gateway_bench_newer(b, 1, 2, 11);
	const char *until = strstr(buf_cstr(&b->trace), "-> 11@2 put a {} until=");
	assert_non_null(until);
	assert_in_range(strtoll(strchr(until, '=') + 1, NULL, 10), b->now_ms + AHEAD_MS,
			end_ms + AHEAD_MS);
}

/* A lead has said how far it is, and goes on for seconds; then it is out of reach, or has to start
 * again. Nobody knows how many more it has changed. */
static void test_out_of_reach_in_the_middle(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_shard_edit_ack starting = {.status = STATUS_STARTING};
	map(b, 1);
	for (int restarts = 0; restarts < 2; restarts++) {
		gateway_bench_clear(b);
		b->status = 0;
		gateway_bench_http(b, "PUT /c\n\n{\"w\":1}");
		answer(b, 0, 5, false);
		uint32_t seen = 1;
		for (int ms = 0; ms < EDIT_MS_MAX && b->status == 0; ms += 10) {
			for (; seen < b->sent_count; seen++) {
				struct event e = {.kind = EVENT_UNSENT};
				e.unsent.envelope = b->sent[seen].envelope;
				e.unsent.member = b->sent[seen].member;
				if (restarts)
					gateway_bench_answer(b, seen, MSG_shard_edit_ack,
							     &starting);
				else
					gateway_bench_event(b, &e);
			}
			gateway_bench_advance(b, 10);
		}
		assert_int_equal(b->status, 503);
		assert_non_null(strstr(buf_cstr(&b->body), "\"changes\":5"));
		assert_non_null(strstr(buf_cstr(&b->body), "outcome_unknown"));
	}
}

/* One write of several waits for a lock, which gives the request more time; another one is refused
 * for a lock the first time, and must not take that back: what was sent meanwhile could be taken
 * after the client was answered. */
enum { SHORT_MS = 1000 };

static int setup_short(void **state)
{
	struct gateway_limits limits = {.deadline_ms = SHORT_MS};
	bench_open(state, &limits);
	return 0;
}

static void test_a_lock_wait_takes_no_time_back(void **state)
{
	struct gateway_bench *b = *state;
	map(b, 1);
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	answer_clock(b, 0, STATUS_OK, AHEAD_MS);
	gateway_bench_clear(b);
	b->status = 0;
	gateway_bench_http(
	    b, "POST /c/?lockId=&lockStrategy=\n\n[{\"id\":\"x\"},{\"id\":\"y\"},{\"id\":\"z\"}]");
	assert_int_equal(b->sent_count, 3);
	uint32_t x = 0;
	for (int i = 0; i < 5; i++) {
		answer_clock(b, x, STATUS_LOCKED, AHEAD_MS);
		gateway_bench_advance(b, LOCK_BACKOFF_MS << i);
		x = b->sent_count - 1;
	}
	assert_int_equal(b->sent_count, 8);
	answer_clock(b, x, STATUS_LOCKED, AHEAD_MS); /* for 500 ms and all of a request's time */
	answer_clock(b, 2, STATUS_NOT_LEAD, AHEAD_MS);
	gateway_bench_advance(b, RETRY_MS); /* z is sent again */
	assert_int_equal(b->sent_count, 9);
	const char *z = strstr(buf_cstr(&b->trace), "post z {} absent until=");
	while (z && strstr(z + 1, "post z {} absent until="))
		z = strstr(z + 1, "post z {} absent until=");
	assert_non_null(z);
	int64_t until_ms = strtoll(strchr(z, '=') + 1, NULL, 10) - AHEAD_MS;
	gateway_bench_advance(b, 10);
	answer_clock(b, 1, STATUS_LOCKED, AHEAD_MS); /* y, for the first time */
	for (int i = 0; i < EDIT_MS_MAX && b->status == 0; i++)
		gateway_bench_advance(b, 1);
	assert_int_not_equal(b->status, 0);
	assert_in_range(until_ms, 1, b->now_ms);
}

int main(void)
{
#define ON_BENCH(test) cmocka_unit_test_setup_teardown(test, setup, gateway_bench_teardown)
	const struct CMUnitTest tests[] = {
	    ON_BENCH(test_all_shards),
	    ON_BENCH(test_forms),
	    ON_BENCH(test_no_collection),
	    ON_BENCH(test_asks_again),
	    ON_BENCH(test_a_full_lead_says_nothing_of_an_earlier_sending),
	    ON_BENCH(test_lives_while_it_advances),
	    ON_BENCH(test_ends_without_progress),
	    ON_BENCH(test_stops_at_a_document),
	    ON_BENCH(test_update),
	    ON_BENCH(test_media_types),
	    ON_BENCH(test_learns_the_clock),
	    ON_BENCH(test_keeps_the_best_sample),
	    ON_BENCH(test_until_a_branch),
	    ON_BENCH(test_until_the_deadline),
	    ON_BENCH(test_out_of_reach_in_the_middle),
	    cmocka_unit_test_setup_teardown(test_a_lock_wait_takes_no_time_back, setup_short,
					    gateway_bench_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
