/* The gateway's core: writes, reads and their retries. Each scenario is the trace that it leaves:
 * `-> node@epoch message` is sent, `<- request status headers body` is answered, `! text` is an
 * error in the log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/timing.h"
#include "gateway/call.h"
#include "tests/core/gateway_case.h"

static int setup(void **state)
{
	bench_open(state, NULL);
	return 0;
}

static void map(struct gateway_bench *b)
{
	bench_map(b, 1, MODE_CONSISTENT);
}

#define NO_LEAD_BODY                                                                               \
	"{\"error\":\"No storage node leads this part of the data at the moment; repeat the "      \
	"request.\",\"code\":\"no_lead\",\"status\":503,\"requestId\":\"q\"}\n"
#define UNKNOWN_BODY                                                                               \
	"{\"error\":\"No answer came in time: the write may have been done; repeat it with the "   \
	"same "                                                                                    \
	"Idempotency-Key.\",\"code\":\"outcome_unknown\",\"status\":503,\"requestId\":\"q\"}\n"
#define CONFLICT_BODY(current)                                                                     \
	"{\"error\":\"The revision named is not current; read the document again and repeat the "  \
	"change on what you find.\",\"code\":\"conflict\",\"status\":409,\"current\":\"" current   \
	"\",\"requestId\":\"q\"}\n"
#define TAKEN_TEXT                                                                                 \
	"{\"error\":\"A document with this id is there already; change it with PUT or PATCH, or "  \
	"choose another id.\",\"code\":\"id_taken\",\"status\":409,"
#define NOT_FOUND_BODY                                                                             \
	"{\"error\":\"There is no such document.\",\"code\":\"not_found\",\"status\":404,"         \
	"\"requestId\":\"q\"}\n"

/* ---- writes ---- */

static void test_put(void **state)
{
	struct gateway_bench *b = *state;
	map(b);
	gateway_bench_http(b, "PUT /c/a%20b\n\n{\"id\":\"a b\",\"x\":1}");
	answer_write(b, 0, STATUS_CREATED, 1);
	gateway_bench_http(b, "PUT /c/a%20b\nif-match: \"1-r\", W/\"1-q\"\n\n{\"x\":2}");
	answer_write(b, 1, STATUS_OK, 2);
	expect(b, "-> 11@1 put a b {\"x\":1}\n"
		  "<- 1 201 ETag=\"1-r\" Location=/c/a%20b {\"changes\":1}\n"
		  "-> 11@1 put a b {\"x\":2} if=1-q,1-r\n"
		  "<- 2 200 ETag=\"2-r\" {\"changes\":1}\n");
}

static void test_patch_and_delete(void **state)
{
	struct gateway_bench *b = *state;
	map(b);
	gateway_bench_http(
	    b, "PATCH /c/a\ncontent-type: application/merge-patch+json\n\n{\"x\":null}");
	answer_write(b, 0, STATUS_OK, 2);
	gateway_bench_http(b, "DELETE /c/a\nif-match: *\nx-request-id: q\n");
	answer_write(b, 1, STATUS_OK, 3);
	gateway_bench_http(b, "DELETE /c/a\nx-request-id: q\n");
	answer_write(b, 2, STATUS_NOT_FOUND, 0);
	expect(b, "-> 11@1 patch a {\"x\":null}\n"
		  "<- 1 200 ETag=\"2-r\" {\"changes\":1}\n"
		  "-> 11@1 delete a present\n"
		  "<- 2 200 ETag=\"3-r\" {}\n"
		  "-> 11@1 delete a\n"
		  "<- 3 404 " NOT_FOUND_BODY);
}

static void test_refusals_name_the_current_revision(void **state)
{
	struct gateway_bench *b = *state;
	map(b);
	gateway_bench_http(b, "PUT /c/a\nif-match: \"1-a\"\nx-request-id: q\n\n{}");
	answer_write(b, 0, STATUS_CONFLICT, 4);
	gateway_bench_http(b, "POST /c\nx-request-id: q\n\n{\"id\":\"a\"}");
	answer_write(b, 1, STATUS_PRECONDITION_FAILED, 4);
	expect(b, "-> 11@1 put a {} if=1-a\n"
		  "<- 1 409 ETag=\"4-r\" " CONFLICT_BODY(
		      "4-r") "-> 11@1 post a {} absent\n"
			     "<- 2 409 ETag=\"4-r\" " TAKEN_TEXT
			     "\"current\":\"4-r\",\"requestId\":\"q\"}\n");
	gateway_bench_http(b, "PUT /c/a\nif-none-match: *\n\n{}");
	answer_write(b, 0, STATUS_PRECONDITION_FAILED, 4);
	assert_int_equal(b->status, 412);
}

/* Its text sends people to the log, where they look for the id of the request. */
static void test_internal_is_in_the_log(void **state)
{
	struct gateway_bench *b = *state;
	map(b);
	gateway_bench_http(b, "PUT /c/a\nx-request-id: q\n\n{}");
	answer_write(b, 0, STATUS_INTERNAL, 0);
	expect(b, "-> 11@1 put a {}\n"
		  "! request_failed request=q method=PUT route=\"/{collection}/{id}\"\n"
		  "<- 1 500 {\"error\":\"The server failed to answer; its log names the request "
		  "id.\",\"code\":\"internal\",\"status\":500,\"requestId\":\"q\"}\n");
}

static void test_branch_by_name(void **state)
{
	struct gateway_bench *b = *state;
	map(b);
	gateway_bench_http(b, "PUT /c/a?branch=true\nif-match: \"1-a\"\n\n{}");
	struct msg_doc_write_ack ack = {
	    .status = STATUS_OK, .revision = {2, slice_text("r")}, .conflicts = 1};
	gateway_bench_answer(b, 0, MSG_doc_write_ack, &ack);
	expect(b, "-> 11@1 put a {} if=1-a keep\n"
		  "<- 1 200 ETag=\"2-r\" X-Parley-Conflicts=1 {\"changes\":1}\n");
}

static void test_post_makes_an_id(void **state)
{
	struct gateway_bench *b = *state;
	map(b);
	gateway_bench_http(b, "POST /c\n\n{\"x\":1}");
	answer_write(b, 0, STATUS_CREATED, 1);
	assert_int_equal(b->status, 201);
	assert_non_null(strstr(buf_cstr(&b->headers), "ETag: \"1-r\"\n"));
	const char *id = strstr(buf_cstr(&b->body), "{\"id\":\"");
	assert_ptr_equal(id, buf_cstr(&b->body));
	assert_int_equal(strchr(id + 7, '"') - (id + 7), 36);
	assert_int_equal(id[7 + 14], '4');
	assert_non_null(strstr(id, "\",\"x\":1}"));
}

/* ---- retries ---- */

static void test_refusal_is_retried(void **state)
{
	struct gateway_bench *b = *state;
	map(b);
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	answer_write(b, 0, STATUS_NOT_LEAD, 0);
	gateway_bench_advance(b, RETRY_MS - 1);
	expect(b, "-> 11@1 put a {}\n");
	gateway_bench_advance(b, 1);
	expect(b, "-> 11@1 put a {}\n");
}

static void test_newer_placement_is_followed_at_once(void **state)
{
	struct gateway_bench *b = *state;
	map(b);
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	answer_write(b, 0, STATUS_OLD_EPOCH, 0);
	gateway_bench_newer(b, 1, 2, 12);
	answer_write(b, 1, STATUS_OK, 2);
	gateway_bench_http(b, "GET /c/a");
	gateway_bench_newer(b, 1, 3, 13);
	expect(b, "-> 11@1 put a {}\n"
		  "-> 12@2 put a {}\n"
		  "<- 1 200 ETag=\"2-r\" {\"changes\":1}\n"
		  "-> 12@2 read a\n"
		  "-> 13@3 read a\n");
}

static void test_write_that_may_be_taken_is_not_repeated(void **state)
{
	struct gateway_bench *b = *state;
	map(b);
	gateway_bench_http(b, "PUT /c/a\nx-request-id: q\n\n{}");
	gateway_bench_advance(b, REQUEST_DEADLINE_MS - 1);
	expect(b, "-> 11@1 put a {}\n");
	gateway_bench_advance(b, 1);
	expect(b, "<- 1 503 Retry-After=1 " UNKNOWN_BODY);
}

/* The lead that has it is replaced: its client hears so soon, unless the old lead answers yet. */
static void test_write_of_a_replaced_lead_ends_soon(void **state)
{
	struct gateway_bench *b = *state;
	map(b);
	gateway_bench_http(b, "PUT /c/a\nx-request-id: q\n\n{}");
	gateway_bench_newer(b, 1, 2, 12);
	gateway_bench_advance(b, CALL_ORPHAN_MS - 1);
	expect(b, "-> 11@1 put a {}\n");
	gateway_bench_advance(b, 1);
	expect(b, "<- 1 503 Retry-After=1 " UNKNOWN_BODY);
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	gateway_bench_newer(b, 1, 3, 11);
	answer_write(b, 0, STATUS_OK, 2);
	expect(b, "-> 12@2 put a {}\n<- 2 200 ETag=\"2-r\" {\"changes\":1}\n");
}

/* The old lead has refused it after all, so it goes on to the next one when there is one. */
static void test_a_refusal_of_a_replaced_lead_is_definite(void **state)
{
	struct gateway_bench *b = *state;
	map(b);
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	gateway_bench_newer(b, 1, 2, 0);
	answer_write(b, 0, STATUS_NOT_LEAD, 0);
	gateway_bench_advance(b, CALL_ORPHAN_MS);
	gateway_bench_newer(b, 1, 3, 12);
	answer_write(b, 1, STATUS_CREATED, 1);
	expect(b, "-> 11@1 put a {}\n"
		  "-> 12@3 put a {}\n"
		  "<- 1 201 ETag=\"1-r\" Location=/c/a {\"changes\":1}\n");
}

static void test_late_answer_is_nobodys(void **state)
{
	struct gateway_bench *b = *state;
	map(b);
	gateway_bench_http(b, "PUT /c/a\nx-request-id: q\n\n{}");
	gateway_bench_advance(b, REQUEST_DEADLINE_MS);
	gateway_bench_http(b, "PUT /c/b\n\n{}");
	answer_write(b, 0, STATUS_OK, 2);
	answer_write(b, 1, STATUS_OK, 3);
	expect(b, "-> 11@1 put a {}\n"
		  "<- 1 503 Retry-After=1 " UNKNOWN_BODY "-> 11@1 put b {}\n"
		  "<- 2 200 ETag=\"3-r\" {\"changes\":1}\n");
}

static void test_refusals_only_are_definite(void **state)
{
	struct gateway_bench *b = *state;
	map(b);
	gateway_bench_newer(b, 1, 2, 0);
	gateway_bench_http(b, "PUT /c/a\nx-request-id: q\n\n{}");
	gateway_bench_advance(b, REQUEST_DEADLINE_MS);
	expect(b, "<- 1 503 Retry-After=1 " NO_LEAD_BODY);
}

static void test_key_makes_repetition_safe(void **state)
{
	struct gateway_bench *b = *state;
	map(b);
	gateway_bench_http(b, "PUT /c/a\nidempotency-key: k\nx-request-id: q\n\n{}");
	gateway_bench_advance(b, 1000);
	gateway_bench_newer(b, 1, 2, 12);
	answer_write(b, 2, STATUS_NOT_LEAD, 0);
	gateway_bench_advance(b, RETRY_MS);
	/* an answer to an earlier sending is as good */
	answer_write(b, 0, STATUS_CREATED, 1);
	expect(b, "-> 11@1 put a {} key\n"
		  "-> 11@1 put a {} key\n"
		  "-> 12@2 put a {} key\n"
		  "-> 12@2 put a {} key\n"
		  "<- 1 201 ETag=\"1-r\" Location=/c/a {\"changes\":1}\n");
}

/* Once lost, a refusal of the repetition says nothing about the first. */
static void test_lost_stays_unknown(void **state)
{
	struct gateway_bench *b = *state;
	map(b);
	gateway_bench_http(b, "PUT /c/a\nidempotency-key: k\nx-request-id: q\n\n{}");
	gateway_bench_newer(b, 1, 2, 12);
	answer_write(b, 1, STATUS_NOT_LEAD, 0);
	gateway_bench_newer(b, 1, 3, 0);
	gateway_bench_clear(b);
	gateway_bench_advance(b, REQUEST_DEADLINE_MS);
	expect(b, "<- 1 503 Retry-After=1 " UNKNOWN_BODY);
}

static void test_available_mode_takes_a_branch(void **state)
{
	struct gateway_bench *b = *state;
	bench_map(b, 1, MODE_AVAILABLE);
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	gateway_bench_advance(b, BRANCH_AFTER_MS);
	answer_write(b, 1, STATUS_ACCEPTED, 2);
	expect(b, "-> 11@1 put a {}\n"
		  "-> 13@1 put a {} branch\n"
		  "<- 1 202 ETag=\"2-r\" {\"changes\":1}\n");
	gateway_bench_http(b, "PUT /c/a?mode=consistent\nx-request-id: q\n\n{}");
	gateway_bench_advance(b, REQUEST_DEADLINE_MS);
	expect(b, "-> 11@1 put a {}\n"
		  "<- 2 503 Retry-After=1 " UNKNOWN_BODY);
}

/* On the smaller side of a cut it may be the only replica in reach. */
static void test_old_lead_is_asked_for_a_branch_last(void **state)
{
	struct gateway_bench *b = *state;
	bench_map(b, 1, MODE_AVAILABLE);
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	gateway_bench_advance(b, BRANCH_AFTER_MS);
	gateway_bench_advance(b, CALL_RESEND_MS / 2);
	gateway_bench_advance(b, CALL_RESEND_MS / 2);
	answer_write(b, 1, STATUS_ACCEPTED, 2);
	expect(b, "-> 11@1 put a {}\n"
		  "-> 13@1 put a {} branch\n"
		  "-> 12@1 put a {} branch\n"
		  "-> 11@1 put a {} branch\n"
		  "<- 1 202 ETag=\"2-r\" {\"changes\":1}\n");
}

static void answer_with_clock(struct gateway_bench *b, uint32_t index, enum status status)
{
	struct msg_doc_write_ack ack = {.status = status,
					.revision = {2, slice_text("r")},
					.clock_ms = (uint64_t)b->now_ms,
					.life = 7};
	gateway_bench_answer(b, index, MSG_doc_write_ack, &ack);
}

/* What its client writes next could be there before it, and be overwritten by it. */
static void test_branch_is_not_answered_while_another_may_take_it(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_map(b, 1, MODE_AVAILABLE);
	gateway_bench_clear(b);
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	gateway_bench_advance(b, BRANCH_AFTER_MS);
	gateway_bench_advance(b, CALL_RESEND_MS / 2);
	answer_with_clock(b, 1, STATUS_STALE); /* now all clocks are known */
	answer_with_clock(b, 2, STATUS_ACCEPTED);
	expect(b, "-> 11@1 put a {}\n"
		  "-> 13@1 put a {} branch\n"
		  "-> 12@1 put a {} branch\n"
		  "<- 1 202 ETag=\"2-r\" {\"changes\":1}\n");
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	gateway_bench_advance(b, BRANCH_AFTER_MS);
	gateway_bench_advance(b, CALL_RESEND_MS / 2);
	gateway_bench_advance(b, CALL_RESEND_MS / 2 - 2);
	answer_with_clock(b, 1, STATUS_ACCEPTED);
	answer_with_clock(b, 1, STATUS_ACCEPTED);
	gateway_bench_newer(b, 1, 2, 12);
	gateway_bench_advance(b, 1);
	expect(b, "-> 11@1 put a {}\n"
		  "-> 12@1 put a {} branch until=1002850\n"
		  "-> 13@1 put a {} branch until=1003300\n");
	gateway_bench_advance(b, 1);
	expect(b, "<- 2 202 ETag=\"2-r\" {\"changes\":1}\n");
}

/* A lead that does not know all that was done lately may refuse a write because of itself. */
static void test_refusal_that_may_come_of_itself(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_doc_write_ack ack = {.status = STATUS_CONFLICT, .gap = true};
	gateway_bench_map(b, 1, MODE_AVAILABLE);
	gateway_bench_http(b, "PUT /c/a\nif-match: \"1-a\"\n\n{}");
	gateway_bench_answer(b, 0, MSG_doc_write_ack, &ack);
	assert_int_equal(b->status, 409); /* it was sent once */
	gateway_bench_clear(b);
	gateway_bench_http(b, "PUT /c/a\nif-match: \"1-a\"\n\n{}");
	gateway_bench_advance(b, BRANCH_AFTER_MS);
	gateway_bench_answer(b, 1, MSG_doc_write_ack, &ack);
	assert_int_equal(b->status, 503);
	assert_non_null(strstr(buf_cstr(&b->body), "\"code\":\"outcome_unknown\""));
	gateway_bench_clear(b);
	gateway_bench_http(b, "PUT /c/a\nif-match: \"1-a\"\n\n{}");
	gateway_bench_advance(b, BRANCH_AFTER_MS);
	answer_write(b, 1, STATUS_CONFLICT, 4);
	assert_int_equal(b->status, 409);
}

static void test_new_lead_comes_before_a_branch(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_map(b, 1, MODE_AVAILABLE);
	gateway_bench_newer(b, 1, 2, 0);
	gateway_bench_clear(b);
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	gateway_bench_advance(b, BRANCH_AFTER_MS / 2);
	gateway_bench_newer(b, 1, 3, 12);
	expect(b, "-> 12@3 put a {}\n");
}

/* ---- idempotency ---- */

struct writes {
	uint8_t ids[4][16];
	uint8_t digests[4][16];
	char documents[4][64];
	uint32_t count;
};

/* Runs one request and keeps what the writes in it were named. */
static void capture(struct gateway_bench *b, const char *text, struct writes *out)
{
	struct event event = {.kind = EVENT_TURN, .now_ms = b->now_ms};
	struct arena arena = {0};
	struct http_field headers[] = {{slice_text("idempotency-key"), slice_text("k")}};
	struct http_request request = {.id = ++b->requests,
				       .method = HTTP_POST,
				       .path = slice_text("/c"),
				       .headers = headers,
				       .headers_count = 1,
				       .body = slice_text(text)};
	event.kind = EVENT_HTTP_REQUEST;
	event.http = &request;
	gateway_ops.step(b->gw, &event, &b->fx);
	out->count = 0;
	for (uint32_t i = 0; i < b->fx.count; i++) {
		const struct effect *e = &b->fx.items[i];
		struct msg_doc_write m;
		assert_int_equal(e->kind, EFFECT_SEND);
		assert_true(schema_decode(&schema_msg_doc_write, e->send.body, &arena, &m));
		memcpy(out->ids[out->count], m.operation_id.data, 16);
		memcpy(out->digests[out->count], m.operation_digest.data, 16);
		snprintf(out->documents[out->count++], 64, "%.*s", (int)m.id.len,
			 (const char *)m.id.data);
	}
	arena_close(&arena);
	effects_clear(&b->fx);
}

static void test_keys_name_operations(void **state)
{
	struct gateway_bench *b = *state;
	struct writes first, same, other, batch;
	map(b);
	capture(b, "{\"x\":1}", &first);
	capture(b, "{\"x\":1}", &same);
	capture(b, "{\"x\":2}", &other);
	capture(b, "[{\"x\":1},{\"x\":1}]", &batch);
	assert_int_equal(first.count, 1);
	assert_memory_equal(first.ids[0], same.ids[0], 16);
	assert_memory_equal(first.digests[0], same.digests[0], 16);
	/* so that the retry finds the first document */
	assert_string_equal(first.documents[0], same.documents[0]);
	assert_memory_equal(first.ids[0], other.ids[0], 16);
	assert_memory_not_equal(first.digests[0], other.digests[0], 16);
	assert_int_equal(batch.count, 2);
	assert_memory_not_equal(batch.ids[0], batch.ids[1], 16);
	assert_string_not_equal(batch.documents[0], batch.documents[1]);
}

/* ---- batches ---- */

static void test_batch(void **state)
{
	struct gateway_bench *b = *state;
	map(b);
	gateway_bench_http(b, "POST /c\n\n[{\"id\":\"a\"},{\"id\":\"b\",\"n\":2},{\"id\":\"d\"}]");
	answer_write(b, 1, STATUS_CREATED, 1);
	answer_write(b, 2, STATUS_PRECONDITION_FAILED, 7);
	answer_write(b, 0, STATUS_CREATED, 1);
	expect(b, "-> 11@1 post a {} absent\n"
		  "-> 11@1 post b {\"n\":2} absent\n"
		  "-> 11@1 post d {} absent\n"
		  "<- 1 201 [{\"status\":201,\"document\":{\"id\":\"a\"}},"
		  "{\"status\":201,\"document\":{\"id\":\"b\",\"n\":2}}," TAKEN_TEXT
		  "\"current\":\"7-r\"}]\n");
	gateway_bench_http(b, "POST /c\n\n[]");
	gateway_bench_http(b, "POST /c\n\n[{\"id\":\"a\"}]");
	answer_write(b, 0, STATUS_CREATED, 1);
	expect(b, "<- 2 201 []\n"
		  "-> 11@1 post a {} absent\n"
		  "<- 3 201 ETag=\"1-r\" Location=/c/a {\"id\":\"a\"}\n");
}

static void test_batch_past_its_deadline(void **state)
{
	struct gateway_bench *b = *state;
	map(b);
	gateway_bench_http(b, "POST /c\n\n[{\"id\":\"a\"},{\"id\":\"b\"}]");
	answer_write(b, 0, STATUS_CREATED, 1);
	gateway_bench_advance(b, REQUEST_DEADLINE_MS);
	assert_int_equal(b->status, 201);
	assert_non_null(strstr(buf_cstr(&b->body), "\"code\":\"outcome_unknown\""));
}

/* ---- reads ---- */

static void answer_read(struct gateway_bench *b, uint32_t index, const char *json,
			uint64_t conflicts)
{
	struct revision leaves[] = {{3, slice_text("r")}, {2, slice_text("s")}};
	struct msg_doc_read_ack ack = {.status = STATUS_OK,
				       .revision = leaves[0],
				       .conflicts = conflicts,
				       .leaves = leaves,
				       .leaves_count = 2};
	ack.body = gateway_bench_document(b, json);
	gateway_bench_answer(b, index, MSG_doc_read_ack, &ack);
}

static void test_read(void **state)
{
	struct gateway_bench *b = *state;
	map(b);
	gateway_bench_http(b, "GET /c/a");
	answer_read(b, 0, "{\"x\":1,\"y\":{\"z\":2}}", 0);
	gateway_bench_http(b, "GET /c/a?conflicts=true&fields=%5B%22y.z%22%5D");
	answer_read(b, 1, "{\"x\":1,\"y\":{\"z\":2}}", 1);
	gateway_bench_http(b, "GET /c/a?rev=2-s\nif-none-match: \"9-a\", \"3-r\"\n");
	answer_read(b, 2, "{}", 0);
	expect(b, "-> 11@1 read a\n"
		  "<- 1 200 ETag=\"3-r\" {\"id\":\"a\",\"x\":1,\"y\":{\"z\":2}}\n"
		  "-> 11@1 read a leaves\n"
		  "<- 2 200 ETag=\"3-r\" X-Parley-Conflicts=1 "
		  "{\"id\":\"a\",\"y\":{\"z\":2},\"_conflicts\":[\"2-s\"]}\n"
		  "-> 11@1 read a rev=2-s\n"
		  "<- 3 304 ETag=\"3-r\" \n");
}

/* Of a version that was asked for by name the winner is another one. */
static void test_read_of_a_revision_names_the_others(void **state)
{
	struct gateway_bench *b = *state;
	struct revision leaves[] = {{3, slice_text("r")}, {2, slice_text("s")}};
	struct msg_doc_read_ack ack = {.status = STATUS_OK,
				       .revision = leaves[1],
				       .conflicts = 1,
				       .leaves = leaves,
				       .leaves_count = 2};
	map(b);
	gateway_bench_http(b, "GET /c/a?rev=2-s&conflicts=true");
	ack.body = gateway_bench_document(b, "{}");
	gateway_bench_answer(b, 0, MSG_doc_read_ack, &ack);
	/* superseded, and so is no leaf */
	ack.revision = (struct revision){1, slice_text("q")};
	gateway_bench_http(b, "GET /c/a?rev=1-q&conflicts=true");
	ack.body = gateway_bench_document(b, "{}");
	gateway_bench_answer(b, 1, MSG_doc_read_ack, &ack);
	ack.conflicts = 0;
	ack.leaves_count = 1;
	gateway_bench_http(b, "GET /c/a?rev=1-q&conflicts=true");
	ack.body = gateway_bench_document(b, "{}");
	gateway_bench_answer(b, 2, MSG_doc_read_ack, &ack);
	expect(b, "-> 11@1 read a rev=2-s leaves\n"
		  "<- 1 200 ETag=\"2-s\" X-Parley-Conflicts=1 "
		  "{\"id\":\"a\",\"_conflicts\":[\"3-r\"]}\n"
		  "-> 11@1 read a rev=1-q leaves\n"
		  "<- 2 200 ETag=\"1-q\" X-Parley-Conflicts=1 "
		  "{\"id\":\"a\",\"_conflicts\":[\"3-r\",\"2-s\"]}\n"
		  "-> 11@1 read a rev=1-q leaves\n"
		  "<- 3 200 ETag=\"1-q\" {\"id\":\"a\",\"_conflicts\":[]}\n");
}

static void test_read_any_goes_round(void **state)
{
	struct gateway_bench *b = *state;
	map(b);
	gateway_bench_http(b, "GET /c/a?consistency=any");
	struct msg_doc_read_ack refusal = {.status = STATUS_NOT_VOUCHING};
	uint64_t first = b->sent[0].member;
	gateway_bench_answer(b, 0, MSG_doc_read_ack, &refusal);
	uint64_t second = b->sent[1].member;
	gateway_bench_advance(b, 300);
	assert_int_equal(b->sent_count, 3);
	assert_int_not_equal(first, second);
	answer_read(b, 1, "{}", 0);
	assert_int_equal(b->status, 200);
}

static void test_read_repeats_and_times_out(void **state)
{
	struct gateway_bench *b = *state;
	map(b);
	gateway_bench_http(b, "GET /c/a");
	gateway_bench_advance(b, REQUEST_DEADLINE_MS);
	assert_int_equal(b->sent_count, 5);
	assert_int_equal(b->status, 503);
	assert_non_null(strstr(buf_cstr(&b->body), "\"code\":\"timed_out\""));
}

/* ---- collections that are not there ---- */

static void test_first_write_makes_the_collection(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_collection_create_ack ack = {.status = STATUS_CREATED, .map_version = 5};
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	gateway_bench_answer(b, 0, MSG_collection_create_ack, &ack);
	gateway_bench_map(b, 1, MODE_CONSISTENT);
	expect(b, "-> 1@0 collection_create{collection={id=0 name=\"c\" version=0 replicas=0 "
		  "write_quorum=0 mode=0}}\n"
		  "-> 11@1 put a {}\n");
}

/* Else a coordinator that dies now would leave it without a lead. */
static void test_creation_waits_for_leads(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_collection_create_ack ack = {.status = STATUS_CREATED, .map_version = 5};
	b->served_held = true;
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	gateway_bench_answer(b, 0, MSG_collection_create_ack, &ack);
	gateway_bench_map(b, 3, MODE_CONSISTENT);
	assert_int_equal(b->served_asked_count, 3);
	assert_int_equal(b->sent_count, 1);
	/* half of its time: then the one shard that it needs decides */
	b->served_asked_count = 0;
	gateway_bench_advance(b, REQUEST_DEADLINE_MS / 2 - 1);
	assert_int_equal(b->sent_count, 1);
	b->served_asked_count = 0;
	gateway_bench_advance(b, 1000);
	assert_int_equal(b->sent_count, 2);
	assert_int_equal(b->sent[1].envelope.type, MSG_doc_write);
}

/* Somebody else's collection is as it is. */
static void test_creation_of_another(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_collection_create_ack ack = {.status = STATUS_OK, .map_version = 5};
	b->served_held = true;
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	gateway_bench_answer(b, 0, MSG_collection_create_ack, &ack);
	gateway_bench_map(b, 3, MODE_CONSISTENT);
	assert_int_equal(b->sent_count, 2);
	assert_int_equal(b->sent[1].envelope.type, MSG_doc_write);
}

static void test_creation_refused(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_collection_create_ack ack = {.status = STATUS_NOT_ENOUGH_NODES};
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	gateway_bench_answer(b, 0, MSG_collection_create_ack, &ack);
	assert_int_equal(b->status, 503);
	assert_non_null(strstr(buf_cstr(&b->body), "\"code\":\"not_enough_nodes\""));
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	gateway_bench_advance(b, REQUEST_DEADLINE_MS);
	assert_non_null(strstr(buf_cstr(&b->body), "\"code\":\"coordinator_unavailable\""));
}

/* A read asks for a newer map before it says that there is none. */
static void test_unknown_collection_is_looked_for(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_map_push same = {.map_version = 5};
	map(b);
	gateway_bench_http(b, "GET /other/a\nx-request-id: q\n");
	assert_int_equal(b->status, 0);
	gateway_bench_answer(b, 0, MSG_map_push, &same);
	gateway_bench_http(b, "GET /other");
	gateway_bench_answer(b, 1, MSG_map_push, &same);
	gateway_bench_http(b, "PATCH /other/a\nx-request-id: q\n\n{}");
	gateway_bench_answer(b, 2, MSG_map_push, &same);
	expect(b, "-> 1@0 map_request{map_version=5}\n"
		  "<- 1 404 " NOT_FOUND_BODY "-> 1@0 map_request{map_version=5}\n"
		  "<- 2 200 []\n"
		  "-> 1@0 map_request{map_version=5}\n"
		  "<- 3 404 " NOT_FOUND_BODY);
}

/* Cut off from the coordinator, others may have made it meanwhile. */
static void test_only_the_coordinator_denies_a_collection(void **state)
{
	struct gateway_bench *b = *state;
	map(b);
	gateway_bench_advance(b, OFFLINE_MS + 1);
	gateway_bench_http(b, "GET /other");
	assert_int_equal(b->status, 503);
	assert_non_null(strstr(buf_cstr(&b->body), "\"code\":\"coordinator_unavailable\""));
	gateway_bench_http(b, "GET /c/a");
	answer_read(b, 0, "{}", 0);
	assert_int_equal(b->status, 200);
}

/* ---- bounds ---- */

static void test_request_id_and_trace(void **state)
{
	struct gateway_bench *b = *state;
	map(b);
	gateway_bench_http(
	    b, "GET /c/a\nx-request-id: my-id.1\n"
	       "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n");
	assert_int_equal(b->sent[0].envelope.trace_id[0], 0x0a);
	assert_int_equal(b->sent[0].envelope.trace_id[15], 0x9c);
	answer_read(b, 0, "{}", 0);
	assert_non_null(strstr(buf_cstr(&b->headers), "X-Request-Id: my-id.1\n"));
	gateway_bench_http(b, "GET /\nx-request-id: not safe\n");
	assert_null(strstr(buf_cstr(&b->headers), "not safe"));
	assert_non_null(strstr(buf_cstr(&b->headers), "X-Request-Id: "));
}

static void test_gone_and_drained(void **state)
{
	struct gateway_bench *b = *state;
	map(b);
	struct event gone = {.kind = EVENT_HTTP_GONE,
			     .http_gone = gateway_bench_http(b, "GET /c/a")};
	gateway_bench_event(b, &gone);
	answer_read(b, 0, "{}", 0);
	expect(b, "-> 11@1 read a\n");
	gateway_bench_http(b, "GET /c/a");
	struct event drain = {.kind = EVENT_DRAIN};
	gateway_bench_event(b, &drain);
	gateway_bench_http(b, "GET /c/b");
	assert_int_equal(b->status, 503);
	assert_non_null(strstr(buf_cstr(&b->body), "\"code\":\"draining\""));
	answer_read(b, 0, "{}", 0);
	assert_int_equal(b->status, 200);
	assert_non_null(strstr(buf_cstr(&b->headers), "Connection: close\n"));
	struct buf out = {0};
	assert_false(gateway_ops.ready(b->gw, b->now_ms, &out));
	buf_close(&out);
}

static void test_inflight_is_bounded(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_close(b);
	gateway_bench_open(b, &(struct gateway_limits){.inflight_max = 2});
	map(b);
	gateway_bench_http(b, "GET /c/a");
	gateway_bench_http(b, "GET /c/a");
	gateway_bench_http(b, "GET /c/a");
	assert_int_equal(b->status, 429);
	assert_non_null(strstr(buf_cstr(&b->body), "\"key\":\"max_inflight\",\"limit\":2"));
	answer_read(b, 0, "{}", 0);
	gateway_bench_http(b, "GET /c/a");
	assert_int_equal(b->sent_count, 3);
}

static void test_ready_and_metrics(void **state)
{
	struct gateway_bench *b = *state;
	struct buf out = {0};
	assert_false(gateway_ops.ready(b->gw, b->now_ms, &out));
	map(b);
	buf_clear(&out);
	assert_true(gateway_ops.ready(b->gw, b->now_ms, &out));
	assert_string_equal(buf_cstr(&out), "map ok\npeers ok\naccepting ok\n");
	gateway_bench_advance(b, OFFLINE_MS);
	assert_false(gateway_ops.ready(b->gw, b->now_ms, &out));
	gateway_bench_http(b, "GET /");
	buf_clear(&out);
	gateway_ops.metrics(b->gw, &out);
	assert_non_null(
	    strstr(buf_cstr(&out),
		   "parley_http_requests_total{api=\"native\",method=\"GET\",code=\"200\"} 1\n"));
	assert_non_null(strstr(buf_cstr(&out), "parley_http_request_duration_seconds_count 1\n"));
	buf_close(&out);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, gateway_bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_put),
	    TEST(test_patch_and_delete),
	    TEST(test_refusals_name_the_current_revision),
	    TEST(test_internal_is_in_the_log),
	    TEST(test_branch_by_name),
	    TEST(test_post_makes_an_id),
	    TEST(test_refusal_is_retried),
	    TEST(test_newer_placement_is_followed_at_once),
	    TEST(test_write_that_may_be_taken_is_not_repeated),
	    TEST(test_write_of_a_replaced_lead_ends_soon),
	    TEST(test_a_refusal_of_a_replaced_lead_is_definite),
	    TEST(test_late_answer_is_nobodys),
	    TEST(test_refusals_only_are_definite),
	    TEST(test_key_makes_repetition_safe),
	    TEST(test_lost_stays_unknown),
	    TEST(test_available_mode_takes_a_branch),
	    TEST(test_old_lead_is_asked_for_a_branch_last),
	    TEST(test_branch_is_not_answered_while_another_may_take_it),
	    TEST(test_refusal_that_may_come_of_itself),
	    TEST(test_new_lead_comes_before_a_branch),
	    TEST(test_keys_name_operations),
	    TEST(test_batch),
	    TEST(test_batch_past_its_deadline),
	    TEST(test_read),
	    TEST(test_read_of_a_revision_names_the_others),
	    TEST(test_read_any_goes_round),
	    TEST(test_read_repeats_and_times_out),
	    TEST(test_first_write_makes_the_collection),
	    TEST(test_creation_waits_for_leads),
	    TEST(test_creation_of_another),
	    TEST(test_creation_refused),
	    TEST(test_unknown_collection_is_looked_for),
	    TEST(test_only_the_coordinator_denies_a_collection),
	    TEST(test_request_id_and_trace),
	    TEST(test_gone_and_drained),
	    TEST(test_inflight_is_bounded),
	    TEST(test_ready_and_metrics),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
