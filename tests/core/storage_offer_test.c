/* Conflicts that clients decide, at the storage node's core: leases, and what answers change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/doc/revision.h"
#include "proto/msgpack.h"
#include "storage-node/offer.h"
#include "tests/sim/storage_peers.h"

enum { FIRST = 3, DOCUMENTS = 3 };

static struct buf policy;

static int setup(void **state)
{
	struct storage_bench *b = malloc(sizeof *b);
	assert_non_null(b);
	storage_bench_init(b);
	mp_write_map(&policy, 1);
	mp_write_text(&policy, "strategy");
	mp_write_text(&policy, "external");
	b->policy = buf_slice(&policy);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	storage_bench_close(*state);
	free(*state);
	buf_close(&policy);
	return 0;
}

static void branch(struct storage_bench *b, const char *id, const char *name, uint64_t v,
		   uint64_t number)
{
	struct buf bytes = {0};
	struct change change = {.kind = CHANGE_BRANCH,
				.id = slice_text(id),
				.revision = {1, slice_text(name)},
				.body = peers_body(b, v),
				.operation_id = peers_operation(b, number)};
	schema_encode(&schema_change, &change, &bytes);
	struct msg_outbox_push m = {.shard = SHARD, .change = buf_slice(&bytes)};
	storage_bench_deliver(b, PEER_B, MSG_outbox_push, 1, &m);
	peers_ack(b, PEER_B, 1, number);
	buf_close(&bytes);
}

/* Documents a, b and c have two roots each: entries 3 to 8. */
static void conflicts(struct storage_bench *b)
{
	static const char *const ids[DOCUMENTS] = {"a", "b", "c"};
	peers_lead(b, MODE_AVAILABLE);
	for (uint64_t i = 0; i < DOCUMENTS; i++) {
		branch(b, ids[i], "x", 1, FIRST + 2 * i);
		branch(b, ids[i], "y", 2, FIRST + 2 * i + 1);
	}
	storage_bench_clear(b);
}

/* The ids given, without spaces. */
static const char *take(struct storage_bench *b, uint64_t lease, uint64_t limit)
{
	static char ids[LIMIT_OFFERS + 1];
	struct msg_conflict_take m = {
	    .shard = SHARD, .lease = peers_operation(b, lease), .limit = limit, .lease_ms = 1000};
	b->taken = (struct msg_conflict_take_ack){.status = 999};
	storage_bench_deliver(b, GATEWAY, MSG_conflict_take, 1, &m);
	assert_int_equal(b->taken.status, STATUS_OK);
	for (uint32_t i = 0; i < b->taken.offers_count; i++)
		ids[i] = (char)b->taken.offers[i].id.data[0];
	ids[b->taken.offers_count] = 0;
	return ids;
}

static enum status say(struct storage_bench *b, const char *id, uint64_t lease, enum lease_op op,
		       uint64_t ms)
{
	struct msg_conflict_lease m = {.shard = SHARD,
				       .id = slice_text(id),
				       .lease = peers_operation(b, lease),
				       .op = op,
				       .ms = ms};
	storage_bench_deliver(b, GATEWAY, MSG_conflict_lease, 1, &m);
	return b->leased.status;
}

/* The roots x and y become {"v": v}; lease 0: by somebody without one. */
static enum status answer(struct storage_bench *b, const char *id, uint64_t lease, uint64_t v,
			  uint64_t number)
{
	struct revision leaves[] = {{1, slice_text("x")}, {1, slice_text("y")}};
	char hash[REVISION_HASH_CHARS];
	struct msg_conflict_resolve m = {.shard = SHARD,
					 .id = slice_text(id),
					 .leaves = leaves,
					 .leaves_count = 2,
					 .parents = leaves,
					 .parents_count = 2,
					 .body = peers_body(b, v),
					 .policy_version = 1,
					 .resolution_id = peers_operation(b, 1000)};
	if (lease > 0) {
		m.lease = peers_operation(b, lease);
		m.answer = peers_operation(b, 500 + v);
	}
	struct revision_content content = {
	    .parents = leaves, .parents_count = 2, .body = m.body, .policy = 1};
	revision_name(&content, hash, &m.revision);
	b->resolved = (struct msg_conflict_resolve_ack){.status = 999};
	storage_bench_deliver(b, lease > 0 ? GATEWAY : ARBITER, MSG_conflict_resolve, 1, &m);
	if (b->resolved.status == 999 && number > 0)
		peers_ack(b, PEER_B, 1, number);
	return b->resolved.status;
}

static void pass(struct storage_bench *b, int64_t ms)
{
	for (; ms > 0; ms -= 200) {
		storage_bench_advance(b, ms < 200 ? ms : 200);
		peers_grant(b, PEER_B, 1, false);
	}
}

static void test_clients_share_the_queue(void **state)
{
	struct storage_bench *b = *state;
	conflicts(b);
	assert_string_equal(take(b, 1, 2), "ab");
	assert_true(b->taken.more);
	assert_string_equal(take(b, 2, 2), "c");
	assert_string_equal(take(b, 3, 2), "");
	assert_false(b->taken.more);
	assert_string_equal(take(b, 1, 2), "ab"); /* a doubled message takes no more */
}

static void test_leases_end_and_are_given_back(void **state)
{
	struct storage_bench *b = *state;
	conflicts(b);
	assert_string_equal(take(b, 1, 3), "abc");
	pass(b, 600);
	assert_int_equal(say(b, "a", 1, LEASE_RENEW, 0), STATUS_OK);
	assert_int_equal(b->leased.lease_ms, 1000);
	assert_int_equal(say(b, "b", 1, LEASE_DEFER, 5000), STATUS_OK);
	assert_int_equal(say(b, "b", 1, LEASE_RENEW, 0), STATUS_LEASE_LOST);
	pass(b, 600);
	assert_string_equal(take(b, 2, 3), "c"); /* its lease has ended */
	assert_int_equal(say(b, "c", 1, LEASE_RENEW, 0), STATUS_LEASE_LOST);
	assert_int_equal(say(b, "a", 1, LEASE_RELEASE, 0), STATUS_OK);
	assert_string_equal(take(b, 3, 3), "a");
	pass(b, 5000);
	assert_string_equal(take(b, 4, 3), "abc");
}

/* Who took them is gone before the answer came. */
static void test_all_of_a_lease_are_given_back_at_once(void **state)
{
	struct storage_bench *b = *state;
	conflicts(b);
	assert_string_equal(take(b, 1, 2), "ab");
	assert_string_equal(take(b, 2, 1), "c");
	assert_int_equal(say(b, "", 1, LEASE_RELEASE, 0), STATUS_OK);
	assert_string_equal(take(b, 3, 3), "ab");
	assert_int_equal(say(b, "c", 2, LEASE_RENEW, 0), STATUS_OK);
}

static void test_an_answer_counts_once(void **state)
{
	struct storage_bench *b = *state;
	conflicts(b);
	assert_string_equal(take(b, 1, 1), "a");
	assert_int_equal(answer(b, "a", 2, 7, 9), STATUS_LEASE_LOST); /* another's lease */
	assert_int_equal(answer(b, "a", 1, 7, 0), 999);
	assert_int_equal(say(b, "a", 1, LEASE_CHECK, 0), STATUS_TIMED_OUT); /* not settled */
	peers_ack(b, PEER_B, 1, 9);
	assert_int_equal(b->resolved.status, STATUS_OK);
	assert_int_equal(say(b, "a", 1, LEASE_CHECK, 0), STATUS_OK);
	assert_true(slice_equal(b->leased.answer, peers_operation(b, 507)));
	assert_int_equal(answer(b, "a", 1, 7, 0), STATUS_OK); /* once more */
	assert_int_equal(answer(b, "a", 1, 8, 0), STATUS_LEAVES_MOVED);
	assert_int_equal(answer(b, "a", 0, 8, 0), STATUS_LEAVES_MOVED);
	assert_int_equal(peers_read(b, 1, "a", false), STATUS_OK);
	assert_int_equal(b->was_read.conflicts, 0);
	assert_string_equal(take(b, 3, 3), "bc");
}

static void test_an_answer_is_known_when_others_have_the_document(void **state)
{
	struct storage_bench *b = *state;
	conflicts(b);
	assert_string_equal(take(b, 1, 1), "a");
	assert_int_equal(answer(b, "a", 1, 7, 9), STATUS_OK);
	branch(b, "a", "z", 3, 10); /* on what came before */
	assert_string_equal(take(b, 2, 3), "bc");
	assert_string_equal(take(b, 3, 3), "a");
	assert_int_equal(say(b, "a", 1, LEASE_CHECK, 0), STATUS_OK);
	assert_true(slice_equal(b->leased.answer, peers_operation(b, 507)));
	assert_int_equal(answer(b, "a", 1, 7, 0), STATUS_OK);
}

static void test_late_answers_change_nothing(void **state)
{
	struct storage_bench *b = *state;
	conflicts(b);
	assert_string_equal(take(b, 1, 1), "a");
	pass(b, 1200);
	assert_int_equal(answer(b, "a", 1, 7, 0), STATUS_LEASE_LOST);
	assert_int_equal(peers_read(b, 1, "a", false), STATUS_OK);
	assert_int_equal(b->was_read.conflicts, 1);
	assert_string_equal(take(b, 2, 1), "b"); /* the queue goes round */
	assert_string_equal(take(b, 3, 3), "c");
	assert_true(b->taken.more);
	assert_string_equal(take(b, 4, 3), "a");
	branch(b, "b", "z", 3, 9); /* a leaf that nobody was shown */
	assert_int_equal(answer(b, "b", 2, 7, 0), STATUS_LEAVES_MOVED);
	assert_string_equal(take(b, 5, 3), "b");
}

/* Who was shown the conflict as it was would answer for leaves that came since, unseen. */
static void test_a_late_copy_of_a_request_takes_nothing(void **state)
{
	struct storage_bench *b = *state;
	conflicts(b);
	assert_string_equal(take(b, 1, 3), "abc");
	branch(b, "a", "z", 3, 9);
	assert_int_equal(answer(b, "a", 1, 7, 0), STATUS_LEAVES_MOVED);
	assert_string_equal(take(b, 1, 3), "bc"); /* what it had of "a" was other */
	branch(b, "b", "z", 3, 10);
	pass(b, 1200);
	assert_string_equal(take(b, 1, 3), "");
	assert_int_equal(say(b, "a", 1, LEASE_CHECK, 0), STATUS_LEASE_LOST);
	assert_int_equal(say(b, "b", 1, LEASE_CHECK, 0), STATUS_LEASE_LOST);
	assert_string_equal(take(b, 2, 3), "abc"); /* another request does */
}

static void test_others_may_resolve_it(void **state)
{
	struct storage_bench *b = *state;
	conflicts(b);
	assert_string_equal(take(b, 1, 1), "a");
	assert_int_equal(answer(b, "a", 0, 7, 9), STATUS_OK); /* the deadline was over */
	assert_int_equal(answer(b, "a", 1, 8, 0), STATUS_LEAVES_MOVED);
	assert_int_equal(say(b, "a", 1, LEASE_CHECK, 0), STATUS_LEASE_LOST);
}

static void test_what_is_being_resolved_is_offered_to_nobody(void **state)
{
	struct storage_bench *b = *state;
	conflicts(b);
	assert_string_equal(take(b, 1, 1), "a");
	assert_int_equal(answer(b, "a", 0, 7, 0), 999); /* ordered, not yet settled */
	assert_string_equal(take(b, 2, 3), "bc");
	assert_string_equal(take(b, 3, 3), "");
}

/* Its sender can't know whether the first one came. */
static void test_the_same_resolution_again_is_answered_alike(void **state)
{
	struct storage_bench *b = *state;
	conflicts(b);
	assert_int_equal(answer(b, "a", 0, 7, 0), 999);
	assert_int_equal(answer(b, "a", 0, 7, 0), 999); /* as unknown as the first */
	b->resolved.status = 999;
	peers_ack(b, PEER_B, 1, 9);
	assert_int_equal(b->resolved.status, STATUS_OK);
	assert_int_equal(answer(b, "a", 0, 7, 0), STATUS_OK);
	assert_int_equal(answer(b, "a", 0, 8, 0), STATUS_LEAVES_MOVED);
}

/* However many ask again: one that can't wait is told to come again, not that it was refused. */
static void test_what_is_under_way_is_never_refused(void **state)
{
	struct storage_bench *b = *state;
	conflicts(b);
	assert_string_equal(take(b, 1, 1), "a");
	enum status told = answer(b, "a", 1, 7, 0);
	for (int i = 0; i < WAITERS_MAX && told == 999; i++)
		told = answer(b, "a", 1, 7, 0);
	assert_int_equal(told, STATUS_TIMED_OUT);
	assert_int_equal(answer(b, "a", 0, 7, 0), STATUS_TIMED_OUT);
	assert_int_equal(answer(b, "a", 0, 8, 0), STATUS_TIMED_OUT);
	peers_ack(b, PEER_B, 1, 9);
	assert_int_equal(answer(b, "a", 1, 7, 0), STATUS_OK);
	assert_int_equal(answer(b, "a", 0, 8, 0), STATUS_LEAVES_MOVED);
}

/* It would not be true if what it rests on were lost with its lead. */
static void test_a_refusal_waits_for_what_it_rests_on(void **state)
{
	struct storage_bench *b = *state;
	conflicts(b);
	assert_int_equal(answer(b, "a", 0, 7, 0), 999);
	assert_int_equal(answer(b, "a", 0, 8, 0), 999);
	peers_ack(b, PEER_B, 1, 9);
	assert_int_equal(b->resolved.status, STATUS_LEAVES_MOVED);
}

static void test_nothing_for_other_policies(void **state)
{
	struct storage_bench *b = *state;
	b->policy = (struct slice){0};
	conflicts(b);
	assert_string_equal(take(b, 1, 3), "");
}

/* More rows than are looked at for one request, and nothing in them for who asks. */
static void test_a_long_queue_has_an_end(void **state)
{
	enum { MANY = OFFER_ROWS_TAKE + 100, ASKS_MAX = 8 };
	struct storage_bench *b = *state;
	uint32_t given = 0;
	uint32_t asks = 0;
	char id[8];
	peers_lead(b, MODE_AVAILABLE);
	for (uint64_t i = 0; i < MANY; i++) {
		snprintf(id, sizeof id, "%04u", (unsigned)i);
		branch(b, id, "x", 1, FIRST + 2 * i);
		branch(b, id, "y", 2, FIRST + 2 * i + 1);
		storage_bench_clear(b);
	}
	for (uint64_t lease = 1; given < MANY; lease++) {
		take(b, lease, LIMIT_OFFERS);
		given += b->taken.offers_count;
	}
	do {
		assert_string_equal(take(b, 1000 + asks, 3), "");
		assert_true(++asks <= ASKS_MAX);
	} while (b->taken.more);
}

static void test_nobody_asks(void **state)
{
	struct storage_bench *b = *state;
	struct buf out = {0};
	conflicts(b);
	pass(b, OFFER_ALONE_MS + 2 * OFFER_LOOK_MS);
	storage_ops.metrics(b->core, &out);
	assert_non_null(strstr(buf_cstr(&out), "parley_external_conflicts_unattended 3\n"));
	take(b, 1, 1);
	buf_clear(&out);
	storage_ops.metrics(b->core, &out);
	assert_non_null(strstr(buf_cstr(&out), "parley_external_conflicts_open 3\n"));
	assert_non_null(strstr(buf_cstr(&out), "parley_external_conflicts_unattended 0\n"));
	assert_non_null(strstr(buf_cstr(&out), "parley_external_leases 1\n"));
	buf_close(&out);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_clients_share_the_queue),
	    TEST(test_leases_end_and_are_given_back),
	    TEST(test_all_of_a_lease_are_given_back_at_once),
	    TEST(test_an_answer_counts_once),
	    TEST(test_an_answer_is_known_when_others_have_the_document),
	    TEST(test_late_answers_change_nothing),
	    TEST(test_a_late_copy_of_a_request_takes_nothing),
	    TEST(test_others_may_resolve_it),
	    TEST(test_what_is_being_resolved_is_offered_to_nobody),
	    TEST(test_the_same_resolution_again_is_answered_alike),
	    TEST(test_what_is_under_way_is_never_refused),
	    TEST(test_a_refusal_waits_for_what_it_rests_on),
	    TEST(test_nothing_for_other_policies),
	    TEST(test_a_long_queue_has_an_end),
	    TEST(test_nobody_asks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
