/* Feeds at the storage node's core: what gateways are told of settled changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "storage-node/feed.h"
#include "tests/sim/storage_peers.h"

enum { FEED = 77 };

static void clear(struct storage_bench *b)
{
	b->fed = (struct msg_feed_events){.status = 999};
}

static void feed_open(struct storage_bench *b, uint64_t epoch, uint64_t after, bool tail)
{
	struct msg_feed_open m = {.shard = SHARD, .feed = FEED, .after = after, .tail = tail};
	clear(b);
	storage_bench_deliver(b, GATEWAY, MSG_feed_open, epoch, &m);
}

static void feed_ack(struct storage_bench *b, uint64_t last)
{
	struct msg_feed_ack m = {.shard = SHARD, .feed = FEED, .last = last};
	clear(b);
	storage_bench_deliver(b, GATEWAY, MSG_feed_ack, 1, &m);
}

/* A write that settles as entry `number`. */
static void settle(struct storage_bench *b, const struct msg_doc_write *m, uint64_t number)
{
	clear(b);
	peers_write(b, 1, m);
	peers_ack(b, PEER_B, 1, number);
	assert_int_not_equal(b->written.status, 999);
}

static struct msg_doc_write write_of(struct storage_bench *b, uint64_t op, const char *id,
				     uint64_t n)
{
	struct msg_doc_write m = peers_put(b, id, n);
	m.op = op;
	if (op == WRITE_DELETE)
		m.body = (struct slice){0};
	return m;
}

static void expect_event(const struct storage_bench *b, uint32_t index, uint64_t number,
			 uint64_t op, const char *id)
{
	assert_true(index < b->fed.events_count);
	assert_int_equal(b->fed.events[index].number, number);
	assert_int_equal(b->fed.events[index].op, op);
	assert_true(slice_is(b->fed.events[index].id, id));
}

/* Only a change of a document is told, once it is settled, one message at a time. */
static void test_tail(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	feed_open(b, 1, 0, true);
	assert_int_equal(b->fed.status, STATUS_OK);
	assert_int_equal(b->fed.previous, 2);
	assert_int_equal(b->fed.last, 2);
	feed_ack(b, 2);
	struct msg_doc_write m = write_of(b, WRITE_PUT, "d", 1);
	clear(b);
	peers_write(b, 1, &m);
	assert_int_equal(b->fed.status, 999); /* not settled yet */
	peers_ack(b, PEER_B, 1, 3);
	assert_int_equal(b->fed.events_count, 1);
	assert_int_equal(b->fed.previous, 2);
	expect_event(b, 0, 3, WRITE_PUT, "d");
	assert_int_equal(b->fed.events[0].revision.generation, 1);
	/* two more come while that one is under way: together in the next */
	m = write_of(b, WRITE_PATCH, "d", 2);
	settle(b, &m, 4);
	m = write_of(b, WRITE_DELETE, "d", 3);
	settle(b, &m, 5);
	assert_int_equal(b->fed.status, 999);
	feed_ack(b, 2); /* of a message before */
	assert_int_equal(b->fed.status, 999);
	feed_ack(b, 3);
	assert_int_equal(b->fed.events_count, 2);
	assert_int_equal(b->fed.last, 5);
	expect_event(b, 0, 4, WRITE_PATCH, "d");
	expect_event(b, 1, 5, WRITE_DELETE, "d");
}

static void test_catch_up(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	for (uint64_t n = 1; n <= 3; n++) {
		struct msg_doc_write m = write_of(b, WRITE_PUT, "d", n);
		settle(b, &m, 2 + n);
	}
	feed_open(b, 1, 0, false);
	assert_int_equal(b->fed.events_count, 3); /* neither EPOCH nor SETTINGS */
	expect_event(b, 0, 3, WRITE_PUT, "d");
	assert_int_equal(b->fed.last, 5);
	feed_open(b, 1, 4, false);
	assert_int_equal(b->fed.events_count, 1);
	expect_event(b, 0, 5, WRITE_PUT, "d");
	feed_open(b, 1, 5, false);
	assert_int_equal(b->fed.status, STATUS_OK);
	assert_int_equal(b->fed.events_count, 0);
	feed_open(b, 1, 6, false); /* a place that is not there */
	assert_int_equal(b->fed.status, STATUS_STREAM_TRIMMED);
}

static void expect_conflict(struct storage_bench *b, uint32_t index, enum conflict_event event,
			    enum conflict_kind kind)
{
	assert_true(index < b->fed.events_count);
	assert_int_equal(b->fed.events[index].conflict, event);
	assert_int_equal(b->fed.events[index].kind, kind);
}

/* Told alike to those who listen and to those who read the stream later. */
static void test_conflicts(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	feed_open(b, 1, 0, true);
	feed_ack(b, 2);
	struct msg_doc_write m = write_of(b, WRITE_PUT, "d", 1);
	settle(b, &m, 3);
	struct buf hash = {0};
	buf_append_slice(&hash, b->written.revision.hash);
	struct revision base = {1, buf_slice(&hash)};
	feed_ack(b, 3);
	m = write_of(b, WRITE_PUT, "d", 2);
	settle(b, &m, 4);
	feed_ack(b, 4);
	m = write_of(b, WRITE_DELETE, "d", 3);
	m.expect = EXPECT_REVISION;
	m.expected = &base;
	m.expected_count = 1;
	m.keep_as_branch = true;
	settle(b, &m, 5);
	expect_event(b, 0, 5, WRITE_DELETE, "d");
	expect_conflict(b, 0, CONFLICT_OPENED, CONFLICT_DELETE);
	feed_ack(b, 5);
	m = write_of(b, WRITE_DELETE, "d", 4); /* the edit's side: no conflict is left */
	settle(b, &m, 6);
	expect_conflict(b, 0, CONFLICT_ENDED, CONFLICT_DELETE);
	feed_open(b, 1, 3, false);
	assert_int_equal(b->fed.events_count, 3);
	expect_conflict(b, 0, 0, CONFLICT_EDITS);
	expect_conflict(b, 1, CONFLICT_OPENED, CONFLICT_DELETE);
	expect_event(b, 1, 5, WRITE_DELETE, "d");
	expect_conflict(b, 2, CONFLICT_ENDED, CONFLICT_DELETE);
	buf_close(&hash);
}

static void test_trimmed(void **state)
{
	struct storage_bench *b = *state;
	storage_bench_stop(b, false);
	b->options.stream_keep_entries = 5;
	storage_bench_start(b);
	peers_lead(b, MODE_CONSISTENT);
	for (uint64_t n = 1; n <= 30; n++) {
		struct msg_doc_write m = write_of(b, WRITE_PUT, "d", n);
		settle(b, &m, 2 + n);
	}
	feed_open(b, 1, 2, false);
	assert_int_equal(b->fed.status, STATUS_STREAM_TRIMMED);
	assert_true(b->fed.last > 2);
	feed_open(b, 1, b->fed.last, false);
	assert_int_equal(b->fed.status, STATUS_OK);
	assert_true(b->fed.events_count > 0);
}

static void test_life_and_repetition(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	feed_open(b, 1, 0, true);
	feed_ack(b, 2);
	clear(b);
	storage_bench_advance(b, FEED_LIFE_MS / 2);
	assert_int_equal(b->fed.status, 999);
	peers_grant(b, PEER_B, 1, false);
	storage_bench_advance(b, FEED_LIFE_MS / 2 + 100);
	assert_int_equal(b->fed.status, STATUS_OK); /* a sign of life */
	assert_int_equal(b->fed.events_count, 0);
	struct msg_doc_write m = write_of(b, WRITE_PUT, "d", 1);
	peers_grant(b, PEER_B, 1, false);
	settle(b, &m, 3);
	clear(b);
	storage_bench_advance(b, FEED_LIFE_MS + 100);
	assert_int_equal(b->fed.previous, 2); /* once more, as nothing was acknowledged */
	assert_int_equal(b->fed.events_count, 1);
	for (int i = 0; i < 20; i++) {
		storage_bench_advance(b, FEED_DROP_MS / 20);
		peers_grant(b, PEER_B, 1, false);
	}
	clear(b);
	storage_bench_advance(b, FEED_LIFE_MS + 100);
	assert_int_equal(b->fed.status, 999); /* given up */
	feed_ack(b, 3);
	assert_int_equal(b->fed.status, 999);
}

static void test_who_answers(void **state)
{
	struct storage_bench *b = *state;
	feed_open(b, 1, 0, true);
	assert_int_equal(b->fed.status, STATUS_NO_SHARD);
	peers_lead(b, MODE_CONSISTENT);
	feed_open(b, 0, 0, true);
	assert_int_equal(b->fed.status, STATUS_OLD_EPOCH);
	feed_open(b, 1, 0, true);
	assert_int_equal(b->fed.status, STATUS_OK);
	clear(b);
	peers_place(b, 2, PEER_B, MODE_CONSISTENT);
	storage_bench_advance(b, 100);
	assert_int_equal(b->fed.status, STATUS_NOT_LEAD); /* the feed ends with its lead */
	feed_open(b, 2, 0, true);
	assert_int_equal(b->fed.status, STATUS_NOT_LEAD);
}

static void test_close(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	feed_open(b, 1, 0, true);
	struct msg_feed_close m = {.shard = SHARD, .feed = FEED};
	storage_bench_deliver(b, GATEWAY, MSG_feed_close, 1, &m);
	feed_ack(b, 2);
	struct msg_doc_write w = write_of(b, WRITE_PUT, "d", 1);
	settle(b, &w, 3);
	assert_int_equal(b->fed.status, 999);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, storage_bench_setup, storage_bench_teardown)
	const struct CMUnitTest tests[] = {
	    T(test_tail),
	    T(test_catch_up),
	    T(test_conflicts),
	    T(test_trimmed),
	    T(test_life_and_repetition),
	    T(test_who_answers),
	    T(test_close),
	};
#undef T
	return cmocka_run_group_tests(tests, NULL, NULL);
}
