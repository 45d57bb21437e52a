/* The gateway's core and locks: keys, waiting, sessions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "gateway/call.h"
#include "gateway/lock.h"
#include "tests/core/gateway_case.h"

#define UUID "11111111-2222-4333-8444-555555555555"

static int setup(void **state)
{
	struct gateway_bench *b = bench_open(state, NULL);
	bench_map(b, 1, MODE_CONSISTENT);
	return 0;
}

static bool says(struct gateway_bench *b, const char *text)
{
	return strstr(buf_cstr(&b->trace), text) != NULL;
}

static void expect_says(struct gateway_bench *b, const char *text)
{
	if (!says(b, text))
		fail_msg("not said: %s\nbut: %s", text, buf_cstr(&b->trace));
}

static uint16_t last_type(const struct gateway_bench *b)
{
	return b->sent_count ? b->sent[b->sent_count - 1].envelope.type : 0;
}

/* The coordinator answers the last question. */
static void answer(struct gateway_bench *b, uint16_t type, const void *message)
{
	gateway_bench_answer(b, b->sent_count - 1, type, message);
}

static void answer_map(struct gateway_bench *b)
{
	struct msg_map_push push = {.map_version = 5};
	answer(b, MSG_map_push, &push);
}

static void answer_acquire(struct gateway_bench *b, enum status status)
{
	struct msg_lock_acquire_ack ack = {
	    .status = status, .id = slice_text("0123456789abcdef"), .token = 7, .ttl_ms = 60000};
	answer(b, MSG_lock_acquire_ack, &ack);
}

/* ---- keys ---- */

static void test_keys(void **state)
{
	static const struct {
		const char *key, *sent; /* sent NULL: refused */
	} rows[] = {
	    {"c", "{name=\"c\"}"},
	    {"c/", "{name=\"c\"}"},
	    {"c/d", "{name=\"c\" path={document=\"d\"}}"},
	    {"c/d/f.g", "{name=\"c\" path={document=\"d\" field=\"f.g\"}}"},
	    {"c/a%2Fb/%66", "{name=\"c\" path={document=\"a/b\" field=\"f\"}}"},
	    {"c.d", "{name=\"c\" path={document=\"d\"}}"},
	    {"c.d.f.g", "{name=\"c\" path={document=\"d\" field=\"f.g\"}}"},
	    {"a lock", "{name=\"a lock\" advisory=true}"},
	    {"a lock/x/y/z", "{name=\"a lock/x/y/z\" advisory=true}"},
	    {"system.nodes", "{name=\"system.nodes\" advisory=true}"},
	    {"c/d/f/g", NULL},
	    {"c//f", NULL},
	    {"c/d/a.", NULL},
	    {"c/d/.a", NULL},
	    {"c/d/a..b", NULL},
	    {"c/d/a%2e%2eb", NULL},
	    {"c.", NULL},
	    {"c..f", NULL},
	    {"c.d.", NULL},
	    {"c.d.f..g", NULL},
	    {"c/%zz", NULL},
	    {"", NULL},
	};
	struct gateway_bench *b = *state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[256];
		snprintf(text, sizeof text, "POST /_/locks\n\n[\"%s\"]", rows[i].key);
		gateway_bench_clear(b);
		gateway_bench_http(b, text);
		if (last_type(b) == MSG_map_request)
			answer_map(b);
		if (rows[i].sent)
			expect_says(b, rows[i].sent);
		else if (b->status != 400 ||
			 (*rows[i].key && !strstr(buf_cstr(&b->body), "\"/0\"") &&
			  !strstr(buf_cstr(&b->body), "\"/keys/0\"")))
			fail_msg("%s: %d %s", rows[i].key, b->status, buf_cstr(&b->body));
	}
}

static void test_bad_requests(void **state)
{
	static const char *const bodies[] = {"{}",
					     "5",
					     "\"text\"",
					     "[5]",
					     "[null]",
					     "not json",
					     "",
					     "{\"keys\":5}",
					     "{\"keys\":[\"c\"],\"ttl\":5}",
					     "{\"keys\":[\"c\"],\"ttlMs\":-1}",
					     "{\"keys\":[\"c\"],\"ttlMs\":99999999999}",
					     "{\"keys\":[\"c\"],\"waitMs\":\"x\"}",
					     "{\"keys\":[\"c\"],\"session\":\"mine\"}"};
	struct gateway_bench *b = *state;
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
		char text[256];
		snprintf(text, sizeof text, "POST /_/locks\n\n%s", bodies[i]);
		gateway_bench_http(b, text);
		if (b->status != 400)
			fail_msg("%s: %d", bodies[i], b->status);
	}
	assert_int_equal(b->sent_count, 0);
}

static void test_the_place_is_named(void **state)
{
	struct gateway_bench *b = *state;
	char text[2200] = "POST /_/locks\n\n{\"keys\":[\"fine\",\"";
	size_t len = strlen(text);
	memset(text + len, 'a', 2000);
	memcpy(text + len + 2000, "\"]}", 4);
	gateway_bench_http(b, text);
	assert_int_equal(b->status, 400);
	assert_non_null(strstr(buf_cstr(&b->body), "\"place\":\"/keys/1\""));
	assert_non_null(strstr(buf_cstr(&b->body), "\"lock_key_bytes\""));
	gateway_bench_http(b, "POST /_/locks\n\n{\"keys\":[\"c\"],\"foo\":1}");
	assert_int_equal(b->status, 400);
	assert_non_null(strstr(buf_cstr(&b->body), "\"place\":\"/foo\""));
	gateway_bench_http(b, "DELETE /_/locks/no-id\n");
	assert_non_null(strstr(buf_cstr(&b->body), "No lock has this id"));
}

static void test_a_collection_is_made(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_collection_create_ack made = {.status = STATUS_CREATED, .map_version = 6};
	gateway_bench_http(b, "POST /_/locks\n\n[\"new/d\"]");
	assert_int_equal(last_type(b), MSG_collection_create);
	answer(b, MSG_collection_create_ack, &made);
	assert_int_equal(last_type(b), MSG_lock_acquire);
	answer_acquire(b, STATUS_OK);
	assert_int_equal(b->status, 200);
	assert_string_equal(
	    buf_cstr(&b->body),
	    "{\"id\":\"30313233-3435-3637-3839-616263646566\",\"token\":7,\"ttlMs\":60000}");
}

/* ---- asking ---- */

static void test_waits_and_fails(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "POST /_/locks\n\n[\"c\"]");
	expect_says(b, "wait_ms=30000 ttl_ms=60000");
	answer_acquire(b, STATUS_LOCKED);
	assert_int_equal(b->status, 423);
	gateway_bench_clear(b);
	gateway_bench_http(
	    b, "POST /_/locks\nx-lock-strategy: fail\n\n{\"keys\":[\"c\"],\"ttlMs\":5000}");
	expect_says(b, "ttl_ms=5000");
	assert_false(says(b, "wait_ms=3"));
}

/* The coordinator forgets whom it refuses: a copy of the question that comes after that would get
 * the lock, for nobody. */
static void test_a_refusal_of_what_was_asked_twice(void **state)
{
	static const struct {
		const char *request;
		int64_t after_ms;
		bool unlocks;
	} rows[] = {
	    {"POST /_/locks\n\n[\"c\"]", CALL_COORDINATOR_MS, true},
	    {"POST /_/locks\n\n[\"c\"]", CALL_COORDINATOR_MS - 1, false},
	    {"POST /_/locks\nidempotency-key: mine\n\n[\"c\"]", CALL_COORDINATOR_MS, false},
	};
	struct gateway_bench *b = *state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		gateway_bench_clear(b);
		gateway_bench_http(b, rows[i].request);
		gateway_bench_advance(b, rows[i].after_ms);
		answer_acquire(b, STATUS_LOCKED);
		assert_int_equal(b->status, 423);
		assert_int_equal(says(b, "lock_release{id="), rows[i].unlocks);
		/* it is heard: nothing is said again */
		struct msg_lock_release_ack heard = {.status = STATUS_NOT_FOUND,
						     .id = slice_text("0123456789abcdef")};
		if (rows[i].unlocks)
			answer(b, MSG_lock_release_ack, &heard);
	}
}

static void test_who_goes_away_unlocks(void **state)
{
	struct gateway_bench *b = *state;
	uint64_t id = gateway_bench_http(b, "POST /_/locks\n\n[\"c\"]");
	struct event gone = {.kind = EVENT_HTTP_GONE, .http_gone = id};
	gateway_bench_event(b, &gone);
	expect_says(b, "lock_release{id=");
	gateway_bench_clear(b);
	/* until it is heard */
	gateway_bench_advance(b, LOCK_RENEW_MS);
	expect_says(b, "lock_release{id=");
	for (int i = 0; i < LOCK_RELEASE_TRIES; i++)
		gateway_bench_advance(b, LOCK_RENEW_MS);
	gateway_bench_clear(b);
	gateway_bench_advance(b, 5 * LOCK_RENEW_MS);
	assert_false(says(b, "lock_release"));
}

/* Nobody could unlock it. A client that named its request may find it again. */
static void test_an_answer_that_nobody_took(void **state)
{
	struct gateway_bench *b = *state;
	uint64_t id = gateway_bench_http(b, "POST /_/locks\n\n[\"c\"]");
	answer_acquire(b, STATUS_OK);
	assert_true(b->tell_if_lost);
	gateway_bench_clear(b);
	struct event gone = {.kind = EVENT_HTTP_GONE, .http_gone = id};
	gateway_bench_event(b, &gone);
	expect_says(b, "lock_release{id=");
	gateway_bench_clear(b);
	gateway_bench_event(b, &gone); /* once is enough */
	assert_false(says(b, "lock_release"));
	gateway_bench_http(b, "POST /_/locks\nidempotency-key: mine\n\n[\"c\"]");
	answer_acquire(b, STATUS_OK);
	assert_false(b->tell_if_lost);
}

static void test_who_named_his_lock_may_come_again(void **state)
{
	struct gateway_bench *b = *state;
	uint64_t id = gateway_bench_http(b, "POST /_/locks\nidempotency-key: mine\n\n[\"c\"]");
	struct event gone = {.kind = EVENT_HTTP_GONE, .http_gone = id};
	gateway_bench_event(b, &gone);
	assert_false(says(b, "lock_release"));
}

/* Two that hit on the same name are not one: the second waits for the first. */
static void test_a_name_is_its_clients_own(void **state)
{
	struct gateway_bench *b = *state;
	const char *request = "POST /_/locks\nidempotency-key: 1\n\n[\"c\"]";
	static const char *const clients[] = {"urn:a", "urn:b", "urn:a"};
	struct msg_lock_acquire asked[3];
	for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
		b->principal = clients[i];
		gateway_bench_http(b, request);
		const struct bench_sent *sent = &b->sent[b->sent_count - 1];
		assert_int_equal(sent->envelope.type, MSG_lock_acquire);
		assert_true(schema_decode(&schema_msg_lock_acquire, sent->body, &b->sent_bodies,
					  &asked[i]));
	}
	assert_false(slice_equal(asked[0].id, asked[1].id));
	assert_true(slice_equal(asked[0].id, asked[2].id));
}

static void close_connection(struct gateway_bench *b, uint64_t connection)
{
	struct event closed = {.kind = EVENT_HTTP_CLOSED, .http_closed = connection};
	gateway_bench_event(b, &closed);
}

static void end_turn(struct gateway_bench *b)
{
	struct event turn = {.kind = EVENT_TURN};
	gateway_bench_event(b, &turn);
}

/* An answer to what was said before a session ended does not say that its end was heard. */
static void test_each_end_is_told_until_it_is_heard(void **state)
{
	struct gateway_bench *b = *state;
	const char *body = "POST /_/locks\n\n{\"keys\":[\"c\"],\"session\":\"connection\"}";
	struct msg_lock_renew_ack ack = {.status = STATUS_OK};
	uint64_t one = gateway_bench_http(b, body);
	answer_acquire(b, STATUS_OK);
	uint64_t other = gateway_bench_http(b, body);
	answer_acquire(b, STATUS_OK);
	gateway_bench_clear(b);
	close_connection(b, one);
	end_turn(b);
	assert_int_equal(last_type(b), MSG_lock_renew);
	uint32_t first = b->sent_count - 1;
	close_connection(b, other);
	end_turn(b);
	gateway_bench_answer(b, first, MSG_lock_renew_ack, &ack);
	buf_clear(&b->trace);
	gateway_bench_advance(b, LOCK_RENEW_MS);
	expect_says(b, "lock_renew{ended=[");
	answer(b, MSG_lock_renew_ack, &ack);
	buf_clear(&b->trace);
	gateway_bench_advance(b, 3 * LOCK_RENEW_MS);
	assert_false(says(b, "lock_renew"));
}

static void test_sessions(void **state)
{
	struct gateway_bench *b = *state;
	uint64_t id =
	    gateway_bench_http(b, "POST /_/locks\n\n{\"keys\":[\"c\"],\"session\":\"connection\"}");
	expect_says(b, "session=");
	assert_false(says(b, "ttl_ms"));
	answer_acquire(b, STATUS_OK);
	gateway_bench_clear(b);
	gateway_bench_advance(b, LOCK_RENEW_MS);
	expect_says(b, "lock_renew{sessions=[");
	gateway_bench_clear(b);
	close_connection(b, id);
	end_turn(b);
	expect_says(b, "lock_renew{ended=[");
	struct msg_lock_renew_ack ack = {.status = STATUS_OK};
	answer(b, MSG_lock_renew_ack, &ack);
	gateway_bench_clear(b);
	gateway_bench_advance(b, 3 * LOCK_RENEW_MS);
	assert_false(says(b, "lock_renew"));
}

/* A client with many connections is gone. */
static void test_many_sessions_end_in_one_message(void **state)
{
	struct gateway_bench *b = *state;
	const char *body = "POST /_/locks\n\n{\"keys\":[\"c\"],\"session\":\"connection\"}";
	uint64_t connections[3];
	for (int i = 0; i < 3; i++) {
		connections[i] = gateway_bench_http(b, body);
		answer_acquire(b, STATUS_OK);
	}
	gateway_bench_clear(b);
	for (int i = 0; i < 3; i++)
		close_connection(b, connections[i]);
	end_turn(b);
	assert_int_equal(b->sent_count, 1);
	assert_int_equal(last_type(b), MSG_lock_renew);
	assert_false(says(b, "sessions="));
	end_turn(b);
	assert_int_equal(b->sent_count, 1);
}

/* Clients that come and go, of whom each leaves something to be said, put nothing off. */
static void test_sessions_are_renewed_while_others_leave(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "POST /_/locks\n\n{\"keys\":[\"c\"],\"session\":\"connection\"}");
	answer_acquire(b, STATUS_OK);
	gateway_bench_advance(b, LOCK_RENEW_MS);
	buf_clear(&b->trace);
	for (int i = 0; i < 4; i++) {
		struct event gone = {.kind = EVENT_HTTP_GONE};
		gone.http_gone = gateway_bench_http(b, "POST /_/locks\n\n[\"c/x\"]");
		gateway_bench_event(b, &gone);
		gateway_bench_advance(b, LOCK_RENEW_MS / 2);
	}
	expect_says(b, "lock_renew{sessions=[");
}

static void test_unlock_and_renew(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_lock_release_ack released = {.status = STATUS_OK, .id = slice_text("x")};
	gateway_bench_http(b, "DELETE /_/locks/" UUID "\n");
	answer(b, MSG_lock_release_ack, &released);
	assert_int_equal(b->status, 200);
	assert_string_equal(buf_cstr(&b->body), "{}");
	released.status = STATUS_NOT_FOUND;
	gateway_bench_http(b, "DELETE /_/locks/" UUID "\n");
	answer(b, MSG_lock_release_ack, &released);
	assert_int_equal(b->status, 404);
	assert_non_null(strstr(buf_cstr(&b->body), "\"code\":\"not_found\""));
	gateway_bench_http(b, "DELETE /_/locks/no-id\n");
	assert_int_equal(b->status, 404);
	struct msg_lock_renew_ack renewed = {.status = STATUS_OK, .ttl_ms = 9000};
	gateway_bench_http(b, "PUT /_/locks/" UUID "\n\n{\"ttlMs\":9000}");
	answer(b, MSG_lock_renew_ack, &renewed);
	assert_string_equal(buf_cstr(&b->body), "{\"id\":\"" UUID "\",\"ttlMs\":9000}");
	struct slice unknown[] = {slice_text("0123456789abcdef")};
	renewed.unknown = unknown;
	renewed.unknown_count = 1;
	gateway_bench_http(b, "PUT /_/locks/" UUID "\n");
	answer(b, MSG_lock_renew_ack, &renewed);
	assert_int_equal(b->status, 404);
}

/* ---- writes ---- */

static void refuse(struct gateway_bench *b, enum status status)
{
	struct msg_doc_write_ack ack = {.status = status};
	answer(b, MSG_doc_write_ack, &ack);
}

static void test_writes_carry_ids(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "PUT /c/a\nx-lock-id: " UUID
			      ", 22222222-2222-4333-8444-555555555555\n\n{}");
	expect_says(b, "put a {} locks=11,22");
	gateway_bench_clear(b);
	gateway_bench_http(b, "POST /c?lockId=" UUID
			      "&lockStrategy=\n\n[{\"id\":\"x\"},{\"id\":\"y\"}]");
	expect_says(b, "post x {} absent locks=11");
	expect_says(b, "post y {} absent locks=11");
	gateway_bench_clear(b);
	gateway_bench_http(b, "DELETE /c?query=%7B%7D\nx-lock-id: " UUID "\n");
	expect_says(b, "locks=11");
	gateway_bench_http(b, "PUT /c/a\nx-lock-id: nonsense\n\n{}");
	assert_int_equal(b->status, 400);
	gateway_bench_http(b, "PUT /c/a\nx-lock-strategy: hope\n\n{}");
	assert_int_equal(b->status, 400);
}

static void test_a_write_waits_for_locks(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	for (uint32_t i = 1; i <= 4; i++) {
		refuse(b, STATUS_LOCKED);
		assert_int_equal(b->sent_count, i);
		gateway_bench_advance(b, (LOCK_BACKOFF_MS << (i - 1)) - 1);
		assert_int_equal(b->sent_count, i);
		gateway_bench_advance(b, 1);
		assert_int_equal(b->sent_count, i + 1);
	}
	refuse(b, STATUS_OK);
	assert_int_equal(b->status, 200);
}

/* A refusal is an answer, whoever leads by then. */
static void test_a_write_waits_under_the_next_lead(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	gateway_bench_newer(b, 1, 2, BENCH_NODE + 1);
	refuse(b, STATUS_LOCKED);
	gateway_bench_advance(b, LOCK_BACKOFF_MS);
	assert_int_equal(b->status, 0);
	assert_int_equal(b->sent_count, 2);
	assert_int_equal(b->sent[1].member, BENCH_NODE + 1);
	refuse(b, STATUS_OK);
	assert_int_equal(b->status, 200);
}

static void test_a_write_waits_so_long(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	int64_t began_ms = b->now_ms;
	while (b->status == 0 && b->now_ms - began_ms < 60000) {
		refuse(b, STATUS_LOCKED);
		if (b->sent_count > 200)
			gateway_bench_clear(b);
		uint32_t sent = b->sent_count;
		for (int i = 0; b->status == 0 && b->sent_count == sent && i < 100; i++)
			gateway_bench_advance(b, 10);
	}
	assert_int_equal(b->status, 423);
	assert_true(b->now_ms - began_ms > 29000 && b->now_ms - began_ms <= 30000);
	assert_non_null(strstr(buf_cstr(&b->headers), "Retry-After"));
}

static void test_a_write_does_not_wait(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "PUT /c/a\nx-lock-strategy: fail\n\n{}");
	refuse(b, STATUS_LOCKED);
	assert_int_equal(b->status, 423);
	gateway_bench_http(b, "PUT /c/a\nx-lock-id: " UUID "\n\n{}");
	refuse(b, STATUS_LOCK_LOST);
	assert_int_equal(b->status, 412);
}

#define UNDO "\n\n{\"resolutionId\":\"00000000000000000000000000000000\"}"

/* As any write. */
static void test_an_undo_heeds_locks(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_conflict_undo_ack locked = {.status = STATUS_LOCKED};
	struct msg_conflict_undo_ack done = {.status = STATUS_OK};
	gateway_bench_http(b, "POST /_/conflicts/c/a/undo\nx-lock-id: " UUID UNDO);
	expect_says(b, "lock_ids=[0x11111111222243338444555555555555]");
	answer(b, MSG_conflict_undo_ack, &locked);
	uint32_t sent = b->sent_count;
	gateway_bench_advance(b, LOCK_BACKOFF_MS);
	assert_int_equal(b->sent_count, sent + 1);
	answer(b, MSG_conflict_undo_ack, &done);
	assert_int_equal(b->status, 200);
	gateway_bench_http(b, "POST /_/conflicts/c/a/undo\nx-lock-strategy: fail" UNDO);
	answer(b, MSG_conflict_undo_ack, &locked);
	assert_int_equal(b->status, 423);
	gateway_bench_http(b, "POST /_/conflicts/c/a/undo\nx-lock-id: me" UNDO);
	assert_int_equal(b->status, 400);
}

/* The first copy may come yet, when the lock is gone. */
static void test_a_refusal_of_an_undo_sent_twice(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_conflict_undo_ack locked = {.status = STATUS_LOCKED};
	gateway_bench_http(b, "POST /_/conflicts/c/a/undo\nx-lock-strategy: fail" UNDO);
	gateway_bench_advance(b, CALL_RESEND_MS);
	answer(b, MSG_conflict_undo_ack, &locked);
	assert_int_equal(b->status, 503);
	assert_non_null(strstr(buf_cstr(&b->body), "outcome_unknown"));
}

static void test_so_many_wait(void **state)
{
	struct gateway_bench *b = *state;
	const struct gateway_limits limits = {.lock_waiters_max = 1};
	gateway_bench_close(b);
	gateway_bench_open(b, &limits);
	bench_map(b, 1, MODE_CONSISTENT);
	gateway_bench_http(b, "PUT /c/a\n\n{}");
	refuse(b, STATUS_LOCKED);
	gateway_bench_http(b, "PUT /c/b\n\n{}");
	refuse(b, STATUS_LOCKED);
	assert_int_equal(b->status, 423);
	gateway_bench_http(b, "POST /_/locks\n\n[\"c\"]");
	assert_int_equal(b->status, 429);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, gateway_bench_teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_keys),
	    TEST(test_bad_requests),
	    TEST(test_the_place_is_named),
	    TEST(test_a_collection_is_made),
	    TEST(test_waits_and_fails),
	    TEST(test_a_refusal_of_what_was_asked_twice),
	    TEST(test_who_goes_away_unlocks),
	    TEST(test_an_answer_that_nobody_took),
	    TEST(test_who_named_his_lock_may_come_again),
	    TEST(test_a_name_is_its_clients_own),
	    TEST(test_each_end_is_told_until_it_is_heard),
	    TEST(test_sessions),
	    TEST(test_many_sessions_end_in_one_message),
	    TEST(test_sessions_are_renewed_while_others_leave),
	    TEST(test_unlock_and_renew),
	    TEST(test_writes_carry_ids),
	    TEST(test_a_write_waits_for_locks),
	    TEST(test_a_write_waits_under_the_next_lead),
	    TEST(test_a_write_waits_so_long),
	    TEST(test_a_write_does_not_wait),
	    TEST(test_an_undo_heeds_locks),
	    TEST(test_a_refusal_of_an_undo_sent_twice),
	    TEST(test_so_many_wait),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
