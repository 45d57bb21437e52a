/* The gateway's core: clients that decide conflicts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/doc/revision.h"
#include "common/timing.h"
#include "gateway/admission.h"
#include "gateway/call.h"
#include "proto/msgpack.h"
#include "tests/core/gateway_case.h"

enum { SHARDS = 2 };

static struct buf lease;

static int setup(void **state)
{
	struct gateway_bench *b = bench_open(state, NULL);
	b->policy = "{\"strategy\":\"external\"}";
	bench_map(b, SHARDS, MODE_CONSISTENT);
	b->roles = HTTP_ROLE_ARBITER;
	return 0;
}

static int teardown(void **state)
{
	gateway_bench_close(*state);
	free(*state);
	buf_close(&lease);
	return 0;
}

static const struct bench_sent *last(struct gateway_bench *b, uint16_t type)
{
	assert_true(b->sent_count > 0);
	const struct bench_sent *sent = &b->sent[b->sent_count - 1];
	assert_int_equal(sent->envelope.type, type);
	return sent;
}

static void offer(struct gateway_bench *b, const char *id)
{
	struct conflict_offer row = {.id = slice_text(id ? id : ""), .since_ms = 5};
	struct msg_conflict_take_ack ack = {
	    .status = STATUS_OK, .offers = &row, .offers_count = id != NULL, .lease_ms = 1000};
	last(b, MSG_conflict_take);
	gateway_bench_answer(b, b->sent_count - 1, MSG_conflict_take_ack, &ack);
}

/* Two edits of {"v":0}; resolved: one leaf. */
static void graph(struct gateway_bench *b, bool resolved)
{
	uint64_t root[] = {0};
	struct graph_node nodes[] = {{.revision = {1, slice_text("r")}, .flags = REVISION_HAS_BODY},
				     {.revision = {2, slice_text("a")},
				      .parents = root,
				      .parents_count = 1,
				      .flags = REVISION_LEAF | REVISION_HAS_BODY},
				     {.revision = {2, slice_text("b")},
				      .parents = root,
				      .parents_count = 1,
				      .flags = REVISION_LEAF | REVISION_HAS_BODY}};
	for (uint32_t i = 0; i < 3; i++) {
		char text[16];
		snprintf(text, sizeof text, "{\"v\":%u}", i);
		nodes[i].body = gateway_bench_document(b, text);
	}
	struct msg_conflict_read_ack ack = {
	    .status = STATUS_OK,
	    .nodes = nodes,
	    .nodes_count = resolved ? 2 : 3,
	    .policy_version = 1,
	    .policy = gateway_bench_document(b, "{\"strategy\":\"external\"}")};
	last(b, MSG_conflict_read);
	gateway_bench_answer(b, b->sent_count - 1, MSG_conflict_read_ack, &ack);
}

static void keep_lease(const struct gateway_bench *b)
{
	const char *at = strstr(buf_cstr((struct buf *)(uintptr_t)&b->body), "\"lease\":\"");
	assert_non_null(at);
	at += strlen("\"lease\":\"");
	buf_clear(&lease);
	buf_append(&lease, at, strcspn(at, "\""));
}

/* One conflict taken: its lease is kept. */
static void take_one(struct gateway_bench *b)
{
	gateway_bench_http(b, "POST /_/arbiter/_take\n\n{\"waitMs\":1000}");
	offer(b, "x");
	graph(b, false);
	assert_int_equal(b->status, 200);
	keep_lease(b);
	gateway_bench_clear(b);
}

static void say(struct gateway_bench *b, const char *method, const char *action, const char *body)
{
	char text[1024];
	snprintf(text, sizeof text, "%s /_/arbiter/%s%s\n\n%s", method, buf_cstr(&lease), action,
		 body);
	gateway_bench_clear(b);
	gateway_bench_http(b, text);
}

static void leased(struct gateway_bench *b, const struct msg_conflict_lease_ack *ack)
{
	last(b, MSG_conflict_lease);
	gateway_bench_answer(b, b->sent_count - 1, MSG_conflict_lease_ack, ack);
}

static bool body_has(struct gateway_bench *b, const char *text)
{
	return strstr(buf_cstr(&b->body), text) != NULL;
}

static void test_a_role_is_needed(void **state)
{
	struct gateway_bench *b = *state;
	static const char *const requests[] = {
	    "POST /_/arbiter/_take\n\n{}", "GET /_/arbiter/_stream",
	    "POST /_/arbiter/AAAA/answer\n\n{\"delete\":true}", "PUT /_/arbiter/AAAA"};
	b->roles = 0;
	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		gateway_bench_clear(b);
		gateway_bench_http(b, requests[i]);
		assert_int_equal(b->status, 403);
		assert_true(body_has(b, "\"role_needed\""));
	}
	assert_int_equal(b->sent_count, 0);
}

/* Two roots of 9 MiB each, of which one message holds the body of one. */
static void large_graph(struct gateway_bench *b, uint32_t part)
{
	enum { LARGE_BYTES = 9 * 1024 * 1024 };
	struct graph_node nodes[] = {
	    {.revision = {1, slice_text("a")}, .flags = REVISION_LEAF | REVISION_BODY_LEFT},
	    {.revision = {1, slice_text("b")}, .flags = REVISION_LEAF | REVISION_BODY_LEFT}};
	struct buf body = {0};
	mp_write_map(&body, 1);
	mp_write_text(&body, "v");
	char *text = malloc(LARGE_BYTES);
	memset(text, 'x', LARGE_BYTES);
	mp_write_str(&body, slice_of(text, LARGE_BYTES));
	free(text);
	nodes[part].flags = REVISION_LEAF | REVISION_HAS_BODY;
	nodes[part].body = buf_slice(&body);
	struct msg_conflict_read_ack ack = {
	    .status = STATUS_OK,
	    .nodes = nodes,
	    .nodes_count = 2,
	    .policy_version = 1,
	    .policy = gateway_bench_document(b, "{\"strategy\":\"external\"}")};
	last(b, MSG_conflict_read);
	gateway_bench_answer(b, b->sent_count - 1, MSG_conflict_read_ack, &ack);
	buf_close(&body);
}

static void test_a_large_one_comes_in_parts_and_is_cut(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "POST /_/arbiter/_take\n\n{\"waitMs\":1000}");
	offer(b, "x");
	uint32_t before = b->sent_count;
	large_graph(b, 0);
	assert_int_equal(b->sent_count, before + 1); /* asked for the rest */
	large_graph(b, 1);
	assert_int_equal(b->status, 200);
	/* whoever wins is whole */
	assert_true(
	    body_has(b, "\"versions\":[{\"rev\":\"1-b\",\"document\":{\"id\":\"x\",\"v\":\"xxx"));
	assert_true(body_has(b, ",{\"rev\":\"1-a\",\"cut\":true}]"));
}

static void test_a_conflict_is_shown(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "POST /_/arbiter/_take\n\n{\"limit\":1}");
	offer(b, NULL); /* of one shard */
	offer(b, "x");  /* of the other */
	graph(b, false);
	assert_int_equal(b->status, 200);
	assert_true(body_has(b, "\"leaseMs\":1000,\"collection\":\"c\",\"id\":\"x\","));
	assert_true(body_has(b,
			     "\"base\":{\"rev\":\"1-r\",\"document\":{\"id\":\"x\",\"v\":0}},"
			     "\"versions\":[{\"rev\":\"2-b\",\"document\":{\"id\":\"x\",\"v\":2}},"
			     "{\"rev\":\"2-a\",\"document\":{\"id\":\"x\",\"v\":1}}]"));
}

static void test_who_waits_looks_again(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "POST /_/arbiter/_take\n\n{\"waitMs\":2000}");
	offer(b, NULL);
	offer(b, NULL);
	uint32_t asked = b->sent_count;
	assert_int_equal(b->status, 0);
	gateway_bench_http(b, "POST /_/arbiter/_take\n\n{\"waitMs\":2000}");
	offer(b, NULL);
	offer(b, NULL);
	gateway_bench_advance(b, 400);
	assert_int_equal(b->sent_count, 2 * asked + 1); /* only the first one */
	offer(b, "x");
	graph(b, false);
	assert_int_equal(b->status, 200);
	assert_true(body_has(b, "\"id\":\"x\""));
	gateway_bench_clear(b);
	gateway_bench_advance(b, 400);
	offer(b, NULL); /* the second one has its turn */
	offer(b, NULL);
	gateway_bench_advance(b, 1500);
	while (b->status == 0) {
		offer(b, NULL);
		gateway_bench_advance(b, 300);
	}
	assert_string_equal(buf_cstr(&b->body), "[\n]");
}

/* Nothing is half undone; and whoever asked is told what to do instead. */
static void test_what_has_no_room_is_not_undone(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_conflict_undo_ack full = {.status = STATUS_LIMIT_REACHED};
	gateway_bench_http(b, "POST /_/conflicts/c/x/undo\n\n"
			      "{\"resolutionId\":\"00112233445566778899aabbccddeeff\"}");
	last(b, MSG_conflict_undo);
	gateway_bench_answer(b, b->sent_count - 1, MSG_conflict_undo_ack, &full);
	assert_int_equal(b->status, 503);
	assert_true(body_has(b, "\"code\":\"limit_reached\""));
	assert_true(body_has(b, "read what is wanted with ?rev="));
}

/* Nobody is told that nothing was done while a later sending of the same may be taken. */
static void test_a_refusal_of_an_earlier_sending_is_not_told(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_conflict_undo_ack full = {.status = STATUS_OVERLOADED};
	struct msg_conflict_undo_ack done = {.status = STATUS_OK};
	gateway_bench_http(b, "POST /_/conflicts/c/x/undo\n\n"
			      "{\"resolutionId\":\"00112233445566778899aabbccddeeff\"}");
	gateway_bench_advance(b, CALL_RESEND_MS);
	assert_int_equal(b->sent_count, 2);
	gateway_bench_answer(b, 0, MSG_conflict_undo_ack, &full);
	assert_int_equal(b->status, 0);
	gateway_bench_answer(b, 1, MSG_conflict_undo_ack, &done);
	assert_int_equal(b->status, 200);
	gateway_bench_clear(b);
	gateway_bench_http(b, "POST /_/conflicts/c/x/undo\n\n"
			      "{\"resolutionId\":\"00112233445566778899aabbccddeeff\"}");
	gateway_bench_advance(b, CALL_RESEND_MS);
	gateway_bench_answer(b, 1, MSG_conflict_undo_ack, &full);
	assert_int_equal(b->status, 503);
	assert_true(body_has(b, "\"code\":\"outcome_unknown\""));
}

static void test_silent_leads_are_passed_over(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "POST /_/arbiter/_take\n\n{}");
	assert_int_equal(b->sent_count, 1);
	gateway_bench_advance(b, 700);
	offer(b, "x");
	graph(b, false);
	assert_int_equal(b->status, 200);
}

static uint32_t given_back(struct gateway_bench *b)
{
	uint32_t count = 0;
	for (const char *at = buf_cstr(&b->trace); (at = strstr(at, " op=2")); at++)
		count++;
	return count;
}

/* One conflict is shown already, the other lead may have leased another: who will not see them
 * keeps neither. */
static void test_who_has_gone_keeps_nothing(void **state)
{
	struct gateway_bench *b = *state;
	uint64_t request = gateway_bench_http(b, "POST /_/arbiter/_take\n\n{\"limit\":2}");
	offer(b, "x");
	graph(b, false);
	last(b, MSG_conflict_take);
	gateway_bench_clear(b);
	struct event gone = {.kind = EVENT_HTTP_GONE, .http_gone = request};
	gateway_bench_event(b, &gone);
	assert_int_equal(given_back(b), 2);
}

/* Its answer will not be heard. */
static void test_a_silent_lead_keeps_nothing_leased(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "POST /_/arbiter/_take\n\n{}");
	gateway_bench_advance(b, 400);
	gateway_bench_clear(b);
	gateway_bench_advance(b, 300);
	assert_int_equal(given_back(b), 1);
}

/* The next one would lease under the same lease what is not shown, if the first answers yet. */
static void test_one_lead_is_asked_for_conflicts(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "POST /_/arbiter/_take\n\n{}");
	gateway_bench_clear(b);
	for (uint64_t shard = 1; shard <= SHARDS; shard++)
		gateway_bench_newer(b, shard, 2, 13);
	assert_int_equal(b->sent_count, 0);
	gateway_bench_advance(b, 2 * CALL_ORPHAN_MS);
	last(b, MSG_conflict_take); /* of the other shard */
}

/* What has been leased is not for nothing because others were silent. */
static void test_what_there_is_is_shown_when_time_is_over(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "POST /_/arbiter/_take\n\n{\"limit\":2}");
	offer(b, "x");
	graph(b, false);
	for (int i = 0; i < 100 && b->status == 0; i++) {
		struct msg_conflict_take_ack more = {.status = STATUS_OK, .more = true};
		gateway_bench_answer(b, b->sent_count - 1, MSG_conflict_take_ack, &more);
		gateway_bench_advance(b, 100);
	}
	assert_int_equal(b->status, 200);
	assert_true(body_has(b, "\"id\":\"x\""));
}

static void test_an_answer_names_its_lease(void **state)
{
	struct gateway_bench *b = *state;
	struct arena arena = {0};
	struct msg_conflict_resolve m;
	take_one(b);
	say(b, "POST", "/answer", "{\"pick\":\"2-a\"}");
	leased(b, &(struct msg_conflict_lease_ack){.status = STATUS_OK});
	graph(b, false);
	const struct bench_sent *sent = last(b, MSG_conflict_resolve);
	assert_true(schema_decode(&schema_msg_conflict_resolve, sent->body, &arena, &m));
	assert_int_equal(m.lease.len, 16);
	assert_int_equal(m.answer.len, 16);
	assert_int_equal(m.leaves_count, 2);
	assert_true(slice_equal(m.body, gateway_bench_document(b, "{\"v\":1}")));
	struct msg_conflict_lease_ack again = {.status = STATUS_OK,
					       .answer = m.answer,
					       .revision = m.revision,
					       .resolution_id = m.resolution_id};
	struct msg_conflict_resolve_ack done = {.status = STATUS_OK};
	gateway_bench_answer(b, b->sent_count - 1, MSG_conflict_resolve_ack, &done);
	assert_int_equal(b->status, 200);
	assert_true(body_has(b, "{\"collection\":\"c\",\"id\":\"x\",\"rev\":\"3-"));
	char *first = strdup(buf_cstr(&b->body));
	say(b, "POST", "/answer", "{\"pick\":\"2-a\"}");
	leased(b, &again);
	assert_int_equal(b->status, 200);
	assert_string_equal(buf_cstr(&b->body), first);
	say(b, "POST", "/answer", "{\"pick\":\"2-b\"}");
	leased(b, &again);
	assert_int_equal(b->status, 409);
	assert_true(body_has(b, "\"lease_lost\""));
	free(first);
	arena_close(&arena);
}

static void test_answers_that_come_too_late(void **state)
{
	struct gateway_bench *b = *state;
	take_one(b);
	say(b, "POST", "/answer", "{\"delete\":true}");
	leased(b, &(struct msg_conflict_lease_ack){.status = STATUS_LEASE_LOST});
	assert_int_equal(b->status, 409);
	assert_true(body_has(b, "\"lease_lost\""));
	say(b, "POST", "/answer", "{\"delete\":true}");
	leased(b, &(struct msg_conflict_lease_ack){.status = STATUS_OK});
	graph(b, true);
	assert_int_equal(b->status, 409);
	assert_true(body_has(b, "\"leaves_moved\""));
}

/* What the lead would take for an attachment that is not there is refused before it is asked. */
static void test_an_answer_with_what_is_no_attachment(void **state)
{
	static const struct {
		const char *attachments;
		const char *place;
	} rows[] = {{"7", "\"place\":\"/document/_attachments\""},
		    {"{\"my/x\":{\"foo\":1}}", "\"place\":\"/document/_attachments/my~1x\""},
		    {"{\"a\":{\"data\":\"AAAA\"}}", "\"place\":\"/document/_attachments/a\""}};
	struct gateway_bench *b = *state;
	take_one(b);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[256];
		snprintf(text, sizeof text, "{\"document\":{\"_attachments\":%s}}",
			 rows[i].attachments);
		say(b, "POST", "/answer", text);
		assert_int_equal(b->status, 400);
		assert_true(body_has(b, "\"bad_attachment\"") && body_has(b, rows[i].place));
		snprintf(text, sizeof text,
			 "POST /_/conflicts/c/x/resolve\n\n{\"leaves\":[\"2-a\",\"2-b\"],"
			 "\"document\":{\"_attachments\":%s}}",
			 rows[i].attachments);
		gateway_bench_clear(b);
		gateway_bench_http(b, text);
		assert_int_equal(b->status, 400);
		assert_true(body_has(b, "\"bad_attachment\"") && body_has(b, rows[i].place));
	}
}

#define STUB                                                                                       \
	"{\"content_type\":\"a/b\",\"revpos\":1,\"digest\":\"md5-x\",\"length\":1,\"content\":\""  \
	"0000000000000000000000000000000000000000000000000000000000000000\"}"

/* The lead names the attachment; the client is told where it stands in what it sent. */
static void test_an_answer_with_an_attachment_that_is_not_there(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_conflict_resolve_ack missing = {.status = STATUS_MISSING_ATTACHMENT,
						   .place = slice_text("my/x~")};
	take_one(b);
	say(b, "POST", "/answer", "{\"document\":{\"_attachments\":{\"my/x~\":" STUB "}}}");
	leased(b, &(struct msg_conflict_lease_ack){.status = STATUS_OK});
	graph(b, false);
	last(b, MSG_conflict_resolve);
	gateway_bench_answer(b, b->sent_count - 1, MSG_conflict_resolve_ack, &missing);
	assert_int_equal(b->status, 412);
	assert_true(body_has(b, "\"place\":\"/document/_attachments/my~1x~0\""));
	gateway_bench_clear(b);
	gateway_bench_http(b, "POST /_/conflicts/c/x/resolve\n\n{\"leaves\":[\"2-a\",\"2-b\"],"
			      "\"document\":{\"_attachments\":{\"my/x~\":" STUB "}}}");
	graph(b, false);
	last(b, MSG_conflict_resolve);
	gateway_bench_answer(b, b->sent_count - 1, MSG_conflict_resolve_ack, &missing);
	assert_int_equal(b->status, 412);
	assert_true(body_has(b, "\"place\":\"/document/_attachments/my~1x~0\""));
}

static void test_other_answers(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_conflict_lease_ack ok = {.status = STATUS_OK, .lease_ms = 700};
	take_one(b);
	say(b, "PUT", "", "{\"leaseMs\":700}");
	assert_non_null(strstr(buf_cstr(&b->trace), " op=1 ms=700"));
	leased(b, &ok);
	assert_string_equal(buf_cstr(&b->body), "{\"leaseMs\":700}");
	say(b, "POST", "/answer", "{\"defer\":5000}");
	assert_non_null(strstr(buf_cstr(&b->trace), " op=3 ms=5000"));
	leased(b, &ok);
	assert_string_equal(buf_cstr(&b->body), "{\"deferred\":true}");
	say(b, "POST", "/answer", "{\"release\":true}");
	leased(b, &ok);
	assert_string_equal(buf_cstr(&b->body), "{\"released\":true}");
}

static void test_what_is_malformed_is_refused(void **state)
{
	struct gateway_bench *b = *state;
	static const char *const bodies[] = {"{}",
					     "[]",
					     "{\"pick\":\"x\"}",
					     "{\"pick\":\"2-a\",\"delete\":true}",
					     "{\"delete\":1}",
					     "{\"defer\":-1}",
					     "{\"defer\":1}",
					     "{\"release\":false}",
					     "{\"document\":1}",
					     "{\"split\":1}"};
	static const char *const takes[] = {"[]",
					    "{\"limit\":65}",
					    "{\"waitMs\":\"x\"}",
					    "{\"collections\":\"c\"}",
					    "{\"leaseMs\":-1}",
					    "{\"leaseMs\":99}",
					    "{\"leaseMs\":3600001}"};
	take_one(b);
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
		say(b, "POST", "/answer", bodies[i]);
		assert_int_equal(b->status, 400);
	}
	for (size_t i = 0; i < ARRAY_LEN(takes); i++) {
		char text[128];
		snprintf(text, sizeof text, "POST /_/arbiter/_take\n\n%s", takes[i]);
		gateway_bench_clear(b);
		gateway_bench_http(b, text);
		assert_int_equal(b->status, 400);
	}
	gateway_bench_clear(b);
	gateway_bench_http(b, "PUT /_/arbiter/nonsense");
	assert_int_equal(b->status, 409);
	gateway_bench_clear(b);
	static const char *const streams[] = {"credit=65", "collection=c", "waitMs=5",
					      "collections="};
	for (size_t i = 0; i < ARRAY_LEN(streams); i++) {
		char request[64];
		gateway_bench_clear(b);
		snprintf(request, sizeof request, "GET /_/arbiter/_stream?%s", streams[i]);
		gateway_bench_http(b, request);
		assert_int_equal(b->status, 400);
	}
}

/* Who waits for conflicts keeps nobody busy: others are let in as if he were not there. */
static void test_who_waits_takes_nobodys_place(void **state)
{
	struct gateway_bench *b = *state;
	for (int i = 0; i < 20; i++)
		gateway_bench_http(b, "POST /_/arbiter/_take\n\n{\"waitMs\":60000}");
	for (int i = 0; i < ADMISSION_WINDOW_FIRST; i++) {
		gateway_bench_clear(b);
		gateway_bench_http(b, "GET /c/a");
		assert_int_equal(b->status, 0);
	}
	gateway_bench_http(b, "GET /c/a");
	assert_int_equal(b->status, 503);
}

static void test_a_stream_has_credit(void **state)
{
	struct gateway_bench *b = *state;
	uint64_t stream = gateway_bench_http(b, "GET /_/arbiter/_stream?credit=1&collections=c");
	assert_int_equal(b->status, 200);
	gateway_bench_advance(b, 200);
	gateway_bench_clear(b);
	gateway_bench_advance(b, 600); /* the shard asked first is silent */

	offer(b, "x");
	graph(b, false);
	assert_non_null(strstr(buf_cstr(&b->trace), "event: conflict"));
	gateway_bench_clear(b);
	gateway_bench_advance(b, 1000);
	assert_int_equal(b->sent_count, 0); /* its credit is used */
	struct event gone = {.kind = EVENT_STREAM_GONE, .stream = {.stream = stream}};
	gateway_bench_event(b, &gone);
	last(b, MSG_conflict_lease);
	assert_non_null(strstr(buf_cstr(&b->trace), " op=2"));
}

/* What a client has answered is not taken from it when its stream ends before the answer. */
static void test_a_stream_that_ends_has_decided_what_it_answers(void **state)
{
	struct gateway_bench *b = *state;
	static const char name[] = "\"lease\":\"";
	uint64_t stream = gateway_bench_http(b, "GET /_/arbiter/_stream?credit=1&collections=c");
	gateway_bench_advance(b, 200);
	offer(b, "x");
	graph(b, false);
	const char *at = strstr(buf_cstr(&b->trace), name);
	assert_non_null(at);
	buf_clear(&lease);
	buf_append(&lease, at + strlen(name), strcspn(at + strlen(name), "\""));
	say(b, "POST", "/answer", "{\"pick\":\"2-a\"}");
	last(b, MSG_conflict_lease);
	struct event gone = {.kind = EVENT_STREAM_GONE, .stream = {.stream = stream}};
	gateway_bench_event(b, &gone);
	assert_int_equal(b->sent_count, 1); /* nothing is given back */
}

/* It was answered in the turn in which its client left, and the shell tells of the request alone:
 * nobody is there to take conflicts for. */
static void test_a_stream_whose_client_is_gone(void **state)
{
	struct gateway_bench *b = *state;
	uint64_t stream = gateway_bench_http(b, "GET /_/arbiter/_stream?credit=1&collections=c");
	assert_int_equal(b->status, 200);
	struct event gone = {.kind = EVENT_HTTP_GONE, .http_gone = stream};
	gateway_bench_event(b, &gone);
	gateway_bench_clear(b);
	gateway_bench_advance(b, 2000);
	expect(b, "");
}

/* ---- over a WebSocket ---- */

static uint64_t connect_socket(struct gateway_bench *b)
{
	struct http_request request = {.id = ++b->requests,
				       .method = HTTP_GET,
				       .path = slice_text("/_/arbiter/_socket"),
				       .roles = b->roles,
				       .principal = slice_text("ann"),
				       .websocket = true};
	gateway_bench_request(b, &request);
	return request.id;
}

static void socket_say(struct gateway_bench *b, uint64_t stream, const char *text)
{
	struct event event = {.kind = EVENT_STREAM_MESSAGE};
	event.stream.stream = stream;
	event.stream.bytes = slice_text(text);
	event.stream.text = true;
	gateway_bench_event(b, &event);
}

static bool told(struct gateway_bench *b, const char *text)
{
	return strstr(buf_cstr(&b->trace), text) != NULL;
}

static void test_a_socket_needs_the_role(void **state)
{
	struct gateway_bench *b = *state;
	b->roles = 0;
	(void)connect_socket(b);
	assert_int_equal(b->status, 403);
	b->roles = HTTP_ROLE_ARBITER;
	gateway_bench_http(b, "GET /_/arbiter/_socket");
	assert_int_equal(b->status, 400);
	(void)connect_socket(b);
	assert_int_equal(b->status, 101);
}

/* Takes x, which it is then told of. */
static uint64_t socket_with_conflict(struct gateway_bench *b)
{
	uint64_t stream = connect_socket(b);
	gateway_bench_advance(b, 1000);
	assert_int_equal(b->sent_count, 0); /* it has not said what it wants */
	socket_say(b, stream, "{\"ref\":1,\"listen\":{\"collections\":[\"c\"]}}");
	assert_true(told(b, "{\"ref\":1,\"status\":200}"));
	gateway_bench_advance(b, 200);
	offer(b, "x");
	graph(b, false);
	assert_true(told(b, "{\"conflict\":{\"lease\":\""));
	const char *at = strstr(buf_cstr(&b->trace), "\"lease\":\"") + 9;
	buf_clear(&lease);
	buf_append(&lease, at, strcspn(at, "\""));
	gateway_bench_clear(b);
	gateway_bench_advance(b, 1000);
	assert_int_equal(b->sent_count, 0); /* its credit is used */
	return stream;
}

static void say_about(struct gateway_bench *b, uint64_t stream, const char *rest)
{
	struct buf text = {0};
	buf_append_text(&text, "{\"ref\":\"r\",\"lease\":\"");
	buf_append_slice(&text, buf_slice(&lease));
	buf_append_text(&text, rest);
	socket_say(b, stream, buf_cstr(&text));
	buf_close(&text);
}

static void test_a_socket_takes_and_answers(void **state)
{
	struct gateway_bench *b = *state;
	uint64_t stream = socket_with_conflict(b);
	struct msg_conflict_lease_ack ack = {.status = STATUS_OK, .lease_ms = 5000};
	say_about(b, stream, "\",\"renew\":{\"leaseMs\":5000}}");
	leased(b, &ack);
	assert_true(told(b, "{\"ref\":\"r\",\"status\":200,\"body\":{\"leaseMs\":5000}}"));
	say_about(b, stream, "\",\"answer\":{\"pick\":\"2-a\"}}");
	leased(b, &ack);
	graph(b, false);
	struct msg_conflict_resolve_ack resolved = {.status = STATUS_OK};
	last(b, MSG_conflict_resolve);
	gateway_bench_answer(b, b->sent_count - 1, MSG_conflict_resolve_ack, &resolved);
	assert_true(told(b, "\"resolutionId\":"));
	gateway_bench_clear(b);
	gateway_bench_advance(b, 200);
	last(b, MSG_conflict_take); /* there is room again */
}

static void test_a_socket_that_ends_gives_back_what_it_has_not_decided(void **state)
{
	struct gateway_bench *b = *state;
	for (int answered = 0; answered < 2; answered++) {
		uint64_t stream = socket_with_conflict(b);
		if (answered)
			say_about(b, stream, "\",\"answer\":{\"pick\":\"2-a\"}}");
		gateway_bench_clear(b);
		struct event gone = {.kind = EVENT_STREAM_GONE, .stream = {.stream = stream}};
		gateway_bench_event(b, &gone);
		assert_int_equal(told(b, " op=2"), !answered);
		gateway_bench_clear(b);
	}
}

/* Also not when it renews the lease while its answer is under way. */
static void test_a_socket_that_ends_has_decided_what_it_renews(void **state)
{
	struct gateway_bench *b = *state;
	uint64_t stream = socket_with_conflict(b);
	say_about(b, stream, "\",\"answer\":{\"pick\":\"2-a\"}}");
	say_about(b, stream, "\",\"renew\":{}}");
	gateway_bench_clear(b);
	struct event gone = {.kind = EVENT_STREAM_GONE, .stream = {.stream = stream}};
	gateway_bench_event(b, &gone);
	assert_false(told(b, " op=2"));
}

static void test_frames_that_are_none(void **state)
{
	struct gateway_bench *b = *state;
	static const char *const bad[] = {"{",
					  "[]",
					  "{\"ref\":{}}",
					  "{\"ref\":1}",
					  "{\"listen\":{},\"renew\":{}}",
					  "{\"answer\":{}}",
					  "{\"lease\":5,\"renew\":{}}"};
	uint64_t stream = connect_socket(b);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		gateway_bench_clear(b);
		socket_say(b, stream, bad[i]);
		assert_true(told(b, "\"status\":400,\"body\":{\"error\":"));
	}
	static const char *const refused[] = {"5",
					      "{\"credit\":65}",
					      "{\"leaseMs\":\"x\"}",
					      "{\"leaseMs\":99}",
					      "{\"collections\":[5]}",
					      "{\"collections\":5}"};
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		struct buf text = {0};
		buf_printf(&text, "{\"ref\":1,\"listen\":%s}", refused[i]);
		gateway_bench_clear(b);
		socket_say(b, stream, buf_cstr(&text));
		assert_true(told(b, "{\"ref\":1,\"status\":4"));
		buf_close(&text);
	}
	gateway_bench_clear(b);
	for (size_t i = ARRAY_LEN(bad); i < 11; i++)
		socket_say(b, stream, "x");
	assert_true(told(b, "1008"));
}

/* A misspelt member is named, wherever it stands. */
static void test_unknown_members(void **state)
{
	struct gateway_bench *b = *state;
	take_one(b);
	say(b, "POST", "/answer", "{\"picked\":\"2-a\"}");
	assert_true(body_has(b, "\"place\":\"/picked\""));
	say(b, "PUT", "", "{\"leaseMs\":1}");
	assert_true(body_has(b, "\"place\":\"/leaseMs\",\"detail\":\"Milliseconds, from 100 to"));
	uint64_t stream = connect_socket(b);
	gateway_bench_clear(b);
	socket_say(b, stream, "{\"ref\":1,\"listen\":{\"creditt\":8}}");
	assert_true(told(b, "\"place\":\"/listen/creditt\""));
	gateway_bench_clear(b);
	socket_say(b, stream, "{\"ref\":1,\"listen\":{},\"credit\":8}");
	assert_true(told(b, "{\"ref\":1,") && told(b, "\"place\":\"/credit\""));
}

/* A path means nothing to whoever has sent a frame. */
static void test_a_lease_that_is_none(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "PUT /_/arbiter/nonsense");
	assert_true(body_has(b, "\"lease_lost\"") && body_has(b, "\"place\":\"path\""));
	uint64_t stream = connect_socket(b);
	gateway_bench_clear(b);
	socket_say(b, stream, "{\"ref\":1,\"lease\":\"nonsense\",\"renew\":{}}");
	assert_true(told(b, "\"lease_lost\"") && told(b, "\"place\":\"/lease\""));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_a_role_is_needed),
	    TEST(test_a_large_one_comes_in_parts_and_is_cut),
	    TEST(test_a_conflict_is_shown),
	    TEST(test_who_waits_looks_again),
	    TEST(test_what_has_no_room_is_not_undone),
	    TEST(test_a_refusal_of_an_earlier_sending_is_not_told),
	    TEST(test_silent_leads_are_passed_over),
	    TEST(test_who_has_gone_keeps_nothing),
	    TEST(test_a_silent_lead_keeps_nothing_leased),
	    TEST(test_one_lead_is_asked_for_conflicts),
	    TEST(test_what_there_is_is_shown_when_time_is_over),
	    TEST(test_an_answer_names_its_lease),
	    TEST(test_answers_that_come_too_late),
	    TEST(test_an_answer_with_what_is_no_attachment),
	    TEST(test_an_answer_with_an_attachment_that_is_not_there),
	    TEST(test_other_answers),
	    TEST(test_what_is_malformed_is_refused),
	    TEST(test_who_waits_takes_nobodys_place),
	    TEST(test_a_stream_has_credit),
	    TEST(test_a_stream_that_ends_has_decided_what_it_answers),
	    TEST(test_a_stream_whose_client_is_gone),
	    TEST(test_a_socket_needs_the_role),
	    TEST(test_a_socket_takes_and_answers),
	    TEST(test_a_socket_that_ends_gives_back_what_it_has_not_decided),
	    TEST(test_a_socket_that_ends_has_decided_what_it_renews),
	    TEST(test_frames_that_are_none),
	    TEST(test_unknown_members),
	    TEST(test_a_lease_that_is_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
