/* Refusals under clients' keys: entries of the stream, which bind all leads to come, wherever these
 * have been meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/timing.h"
#include "storage-node/recent.h"
#include "tests/core/storage_case.h"

enum { MANY = 300, REMEMBERED_MS = 4 * REQUEST_DEADLINE_MS };

static struct msg_doc_write with_key(struct storage_bench *b, uint64_t n)
{
	struct msg_doc_write m = peers_put(b, "d", n);
	m.operation_digest = peers_operation(b, 100);
	m.expect = EXPECT_PRESENT;
	return m;
}

/* Under a client's key a refusal is an entry, and answered as such: another attempt may come to the
 * next lead. */
static void test_refusal_with_a_key_is_ordered(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	peers_grant(b, PEER_B, 1, false);
	struct msg_doc_write m = with_key(b, 1);
	peers_write(b, 1, &m);
	expect(b, "-> 12 e1 append after=1.2 settled=2 acked=2 refusal\n");
	assert_int_equal(b->written.status, 999);
	struct msg_doc_write other = peers_put(b, "d", 2);
	peers_write(b, 1, &other);
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, 999);
	peers_ack(b, PEER_B, 1, 3);
	assert_int_equal(b->written.status, STATUS_NOT_FOUND);
	peers_ack(b, PEER_B, 1, 4);
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_NOT_FOUND);
	m.operation_digest = peers_operation(b, 101);
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_OPERATION_ID_REUSED);
	m = with_key(b, 9); /* under another key */
	peers_write(b, 1, &m);
	peers_ack(b, PEER_B, 1, 5);
	assert_int_equal(b->written.status, STATUS_OK);
}

/* Without a key it is not, but a copy that comes when the lease is lost is not done either, though
 * there is the document meanwhile: its client was told. */
static void test_refusal_outlives_the_lease(void **state)
{
	struct storage_bench *b = *state;
	struct msg_doc_write m = refused(b);
	struct msg_doc_write other = peers_put(b, "d", 2);
	peers_write(b, 1, &other);
	storage_bench_advance(b, LEASE_HELD_MS);
	storage_bench_clear(b);
	peers_write(b, 1, &m);
	expect(b, "");
	assert_int_equal(b->written.status, 999);
	peers_grant(b, PEER_B, 1, false);
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_NOT_FOUND);
}

/* B, the lead of epoch 1, has refused it; what it wrote then stands in the stream behind that. */
static void follow_refusal(struct storage_bench *b, const struct msg_doc_write *m, uint64_t settled)
{
	struct change refusal = {.kind = CHANGE_REFUSAL,
				 .operation_id = m->operation_id,
				 .operation_digest = m->operation_digest,
				 .status = STATUS_NOT_FOUND};
	struct change write = {.kind = CHANGE_WRITE,
			       .id = slice_text("d"),
			       .revision = {1, slice_text("a")},
			       .body = peers_body(b, 2),
			       .operation_id = peers_operation(b, 2)};
	peers_append(b, 1, 1, 2, 2, &refusal);
	peers_append(b, 1, 1, 3, settled, &write);
}

static void test_refusal_outlives_its_lead(void **state)
{
	struct storage_bench *b = *state;
	struct msg_doc_write m = with_key(b, 1);
	peers_follow(b, MODE_CONSISTENT);
	follow_refusal(b, &m, 2);
	peers_take_over(b, 2, PEER_C, 4);
	assert_int_equal(peers_read(b, 2, "d", false), STATUS_OK);
	peers_write(b, 2, &m);
	assert_int_equal(b->written.status, STATUS_NOT_FOUND);
	m = with_key(b, 9);
	peers_write(b, 2, &m);
	assert_int_equal(b->written.status, 999); /* ordered */
}

/* What was cut nobody was told: it is decided anew. */
static void test_refusal_is_cut(void **state)
{
	struct storage_bench *b = *state;
	struct msg_doc_write m = with_key(b, 1);
	struct change epoch = {.kind = CHANGE_EPOCH};
	peers_follow(b, MODE_CONSISTENT);
	follow_refusal(b, &m, 2);
	peers_place(b, 2, PEER_B, MODE_CONSISTENT);
	peers_append(b, 2, 1, 2, 2, &epoch);
	peers_append(b, 2, 2, 3, 3, NULL);
	peers_write(b, 2, &m);
	assert_int_equal(b->written.status, STATUS_NOT_LEAD);
	peers_take_over(b, 3, PEER_C, 3);
	peers_write(b, 3, &m);
	expect(b, "-> 13 e3 append after=3.4 settled=4 acked=4 refusal\n");
}

/* A replica of an available collection knows refusals, too. */
static void test_refusal_makes_no_branch(void **state)
{
	struct storage_bench *b = *state;
	struct msg_doc_write m = with_key(b, 1);
	peers_follow(b, MODE_AVAILABLE);
	follow_refusal(b, &m, 2);
	m.branch = true;
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_NO_LEAD);
	peers_append(b, 1, 1, 4, 4, NULL);
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_NOT_FOUND);
	assert_int_equal(peers_pairs(b, STORE_STREAM, 'o'), 0);
}

/* More entries than a restarted replica reads back follow, while attempts may be on their way. */
static void test_refusal_outlives_a_restart(void **state)
{
	struct storage_bench *b = *state;
	struct msg_doc_write m = with_key(b, 1);
	struct change nothing = {.kind = CHANGE_EPOCH};
	peers_follow(b, MODE_CONSISTENT);
	follow_refusal(b, &m, 2);
	for (uint64_t n = 4; n < 4 + MANY; n++)
		peers_append(b, 1, 1, n, n, &nothing);
	assert_int_equal(peers_pairs(b, STORE_META, 'r'), 1);
	storage_bench_stop(b, true);
	storage_bench_start(b);
	peers_take_over(b, 2, PEER_C, 4 + MANY);
	m = with_key(b, 1);
	assert_int_equal(peers_read(b, 2, "d", false), STATUS_OK);
	peers_write(b, 2, &m);
	assert_int_equal(b->written.status, STATUS_NOT_FOUND);
}

/* Neither memory nor the disk keeps it for longer than an attempt may be on its way. */
static void test_refusal_is_forgotten(void **state)
{
	struct storage_bench *b = *state;
	struct msg_doc_write m = with_key(b, 1);
	peers_follow(b, MODE_CONSISTENT);
	follow_refusal(b, &m, 3);
	peers_append(b, 1, 1, 4, 4, NULL);
	assert_int_equal(peers_pairs(b, STORE_META, 'r'), 1);
	storage_bench_advance(b, REMEMBERED_MS);
	assert_int_equal(peers_pairs(b, STORE_META, 'r'), 0);
}

/* So many that the first give way before they are settled: nobody would ever forget them. */
static void test_more_refusals_than_are_kept(void **state)
{
	enum { MORE = 10 };
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	for (uint64_t n = 0; n < RECENT_REFUSALS + MORE; n++) {
		struct msg_doc_write m = with_key(b, n);
		peers_write(b, 1, &m);
	}
	peers_ack(b, PEER_B, 1, 2 + RECENT_REFUSALS + MORE);
	assert_int_equal(b->written.status, STATUS_NOT_FOUND);
	assert_int_equal(peers_pairs(b, STORE_META, 'r'), RECENT_REFUSALS);
	storage_bench_advance(b, REMEMBERED_MS);
	assert_int_equal(peers_pairs(b, STORE_META, 'r'), 0);
}

/* A replica that is copied to hears of those before the copy. */
/* All that there is up to entry 9, without documents. */
static void take_copy(struct storage_bench *b, struct key_value *pair)
{
	struct msg_snapshot_chunk chunk = {.shard = SHARD,
					   .snapshot = 1,
					   .pairs = pair,
					   .pairs_count = pair ? 1 : 0,
					   .last = true,
					   .position = {.applied = 9,
							.last = 9,
							.last_epoch = 1,
							.trimmed = 9,
							.trimmed_epoch = 1,
							.settings_version = 1}};
	peers_follow(b, MODE_CONSISTENT);
	storage_bench_deliver(b, PEER_B, MSG_snapshot_chunk, 1, &chunk);
}

static void test_refusal_is_copied(void **state)
{
	struct storage_bench *b = *state;
	struct msg_doc_write m = with_key(b, 1);
	struct change refusal = {.kind = CHANGE_REFUSAL,
				 .operation_id = m.operation_id,
				 .operation_digest = m.operation_digest,
				 .status = STATUS_NOT_FOUND};
	struct buf encoded = {0};
	schema_encode(&schema_change, &refusal, &encoded);
	uint8_t key[] = {'r', 0, 0, 0, 0, 0, 0, 0, 3};
	struct key_value pair = {
	    .family = STORE_META, .key = slice_of(key, sizeof key), .value = buf_slice(&encoded)};
	take_copy(b, &pair);
	buf_close(&encoded);
	assert_int_equal(peers_pairs(b, STORE_META, 'r'), 1);
	peers_take_over(b, 2, PEER_C, 9);
	m = with_key(b, 1);
	peers_write(b, 2, &m);
	assert_int_equal(b->written.status, STATUS_NOT_FOUND);
}

/* What was done lately a copy does not tell, so that a refusal may be of what was done by an
 * earlier sending. Nobody sends any more after a while. */
static void test_copy_leaves_a_gap(void **state)
{
	struct storage_bench *b = *state;
	take_copy(b, NULL);
	peers_take_over(b, 2, PEER_C, 9);
	struct msg_doc_write m = peers_put(b, "d", 1);
	m.expect = EXPECT_PRESENT;
	peers_write(b, 2, &m);
	assert_int_equal(b->written.status, STATUS_NOT_FOUND);
	assert_true(b->written.gap);
	peers_write(b, 2, &m); /* from memory */
	assert_true(b->written.gap);
	storage_bench_advance(b, REMEMBERED_MS);
	peers_grant(b, PEER_C, 2, false);
	peers_write(b, 2, &m);
	assert_int_equal(b->written.status, STATUS_NOT_FOUND);
	assert_false(b->written.gap);
}

/* Likewise what was thrust out by others. */
static void test_many_operations_leave_a_gap(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	peers_grant(b, PEER_B, 1, false);
	for (uint64_t n = 0; n <= RECENT_OPERATIONS; n++) {
		struct msg_doc_write m = peers_put(b, "d", n);
		m.expect = EXPECT_PRESENT;
		peers_write(b, 1, &m);
		assert_int_equal(b->written.status, STATUS_NOT_FOUND);
		assert_int_equal(b->written.gap, n == RECENT_OPERATIONS);
	}
}

/* Who has no room does not look whether the document knows it: it may be under way. */
static void test_full_lead_may_have_taken_it(void **state)
{
	struct storage_bench *b = *state;
	storage_bench_stop(b, false);
	b->options.pending_entries_max = RECENT_OPERATIONS + 1;
	storage_bench_start(b);
	peers_lead(b, MODE_CONSISTENT);
	struct msg_doc_write first = with_key(b, 1);
	first.expect = EXPECT_ANY;
	peers_write(b, 1, &first);
	for (uint64_t n = 0; n < RECENT_OPERATIONS; n++) {
		struct msg_doc_write m = peers_put(b, "other", 1000 + n);
		peers_write(b, 1, &m);
	}
	struct msg_doc_write fresh = peers_put(b, "other", 5);
	peers_write(b, 1, &fresh);
	assert_int_equal(b->written.status, STATUS_OVERLOADED);
	peers_write(b, 1, &first);
	assert_int_equal(b->written.status, STATUS_OVERLOADED);
	assert_true(b->written.gap);
	peers_ack(b, PEER_B, 1, 3);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK); /* it was done */
}

/* Likewise what a node does not read again when it starts. */
static void test_restart_leaves_a_gap(void **state)
{
	enum { FIRST = 3, LAST = FIRST + RECENT_OPERATIONS };
	struct storage_bench *b = *state;
	struct msg_doc_write first = peers_put(b, "first", 0);
	first.expect = EXPECT_ABSENT;
	peers_lead(b, MODE_CONSISTENT);
	peers_write(b, 1, &first);
	for (uint64_t n = FIRST + 1; n <= LAST; n++) {
		struct msg_doc_write m = peers_put(b, "d", n);
		peers_write(b, 1, &m);
	}
	peers_ack(b, PEER_B, 1, LAST);
	storage_bench_stop(b, false);
	storage_bench_start(b);
	peers_take_over(b, 2, PEER_B, LAST);
	peers_write(b, 2, &first);
	assert_int_equal(b->written.status, STATUS_PRECONDITION_FAILED);
	assert_true(b->written.gap);
	storage_bench_advance(b, REMEMBERED_MS);
	peers_grant(b, PEER_B, 2, false);
	peers_write(b, 2, &first);
	assert_int_equal(b->written.status, STATUS_PRECONDITION_FAILED);
	assert_false(b->written.gap);
}

static void test_refusal_goes_into_a_copy(void **state)
{
	struct storage_bench *b = *state;
	storage_bench_stop(b, false);
	b->options.copy_entries_min = 2;
	storage_bench_start(b);
	peers_lead(b, MODE_CONSISTENT);
	peers_grant(b, PEER_B, 1, false);
	struct msg_doc_write m = with_key(b, 1);
	peers_write(b, 1, &m);
	peers_ack(b, PEER_B, 1, 3);
	assert_int_equal(b->written.status, STATUS_NOT_FOUND);
	place_with_learner(b);
	storage_bench_advance(b, LEASE_HELD_MS);
	peers_promise(b, PEER_B, 2, STATUS_OK);
	storage_bench_advance(b, 50);
	peers_ack(b, PEER_B, 2, 4);
	storage_bench_clear(b);
	peers_ack(b, PEER_C, 2, 0);
	storage_bench_advance(b, 100);
	const char *chunk = strstr(buf_cstr(&b->trace), "-> 13 e2 snapshot_chunk");
	assert_non_null(chunk);
	assert_non_null(strstr(chunk, "{family=0 key=0x720000000000000003 value="));
}

#define CASE(name)                                                                                 \
	cmocka_unit_test_setup_teardown(name, storage_bench_setup, storage_bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_refusal_with_a_key_is_ordered),
	    CASE(test_refusal_outlives_the_lease),
	    CASE(test_refusal_outlives_its_lead),
	    CASE(test_refusal_is_cut),
	    CASE(test_refusal_makes_no_branch),
	    CASE(test_refusal_outlives_a_restart),
	    CASE(test_refusal_is_forgotten),
	    CASE(test_more_refusals_than_are_kept),
	    CASE(test_refusal_is_copied),
	    CASE(test_copy_leaves_a_gap),
	    CASE(test_many_operations_leave_a_gap),
	    CASE(test_full_lead_may_have_taken_it),
	    CASE(test_restart_leaves_a_gap),
	    CASE(test_refusal_goes_into_a_copy),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
