/* The storage node's core among scripted peers: each scenario is the trace that it leaves, and the
 * answers that it gives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/timing.h"
#include "storage-node/discarded.h"
#include "tests/core/storage_case.h"

/* ---- take-over ---- */

static void test_takeover(void **state)
{
	struct storage_bench *b = *state;
	peers_place(b, 1, SELF, MODE_CONSISTENT);
	expect(b, "-> 12 e1 promise_request\n-> 13 e1 promise_request\n");
	peers_promise(b, PEER_C, 1, STATUS_NOT_VOUCHING);
	expect(b, "");
	peers_promise(b, PEER_B, 1, STATUS_OK);
	expect(b, "");
	storage_bench_advance(b, 50);
	expect(b, "-> 12 e1 shard_newer epoch=1 lead=11\n"
		  "-> 12 e1 append after=0.0 settled=0 acked=0\n"
		  "-> 13 e1 shard_newer epoch=1 lead=11\n"
		  "-> 13 e1 append after=0.0 settled=0 acked=0\n");
	peers_ack(b, PEER_B, 1, 0);
	expect(b, "-> 12 e1 append after=0.0 settled=0 acked=0 epoch\n");
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_NO_LEAD);
	peers_ack(b, PEER_B, 1, 1);
	expect(b, "-> 12 e1 append after=1.1 settled=1 acked=1 settings\n");
}

static void test_epoch_of_another_incarnation(void **state)
{
	struct storage_bench *b = *state;
	peers_place(b, 1, SELF, MODE_CONSISTENT);
	storage_bench_clear(b);
	struct msg_promise_ack m = {.shard = SHARD, .incarnation = 999};
	storage_bench_deliver(b, PEER_B, MSG_promise_ack, 1, &m);
	storage_bench_advance(b, 50);
	expect(b, "");
	peers_promise(b, PEER_B, 1, STATUS_OK);
	storage_bench_advance(b, 50);
	assert_true(b->trace.len > 0);
}

/* ---- writing ---- */

static void test_write_settles_at_quorum(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	struct msg_doc_write m = peers_put(b, "d", 1);
	peers_write(b, 1, &m);
	expect(b, "-> 12 e1 append after=1.2 settled=2 acked=2 write:d:1\n");
	storage_bench_advance(b, 200);
	assert_int_equal(b->written.status, 999);
	peers_ack(b, PEER_C, 1, 0); /* C answers, but has nothing yet */
	assert_int_equal(b->written.status, 999);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_NOT_FOUND);
	peers_ack(b, PEER_B, 1, 3);
	assert_int_equal(b->written.status, STATUS_CREATED);
	assert_int_equal(b->written.revision.generation, 1);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
}

static void test_lease(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_NOT_FOUND);
	storage_bench_advance(b, LEASE_MS - 1);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_NOT_FOUND);
	storage_bench_advance(b, 1);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_NO_LEAD);
	struct msg_doc_write m = peers_put(b, "d", 1);
	m.expect = EXPECT_PRESENT;
	peers_write(b, 1, &m); /* a refusal is a read */
	assert_int_equal(b->written.status, STATUS_NO_LEAD);
	peers_grant(b, PEER_B, 1, false);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_NOT_FOUND);
}

static void test_step_down(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	peers_place(b, 2, PEER_C, MODE_CONSISTENT);
	expect(b, "-> 12 e1 lease_release{shard=7 boot=1}\n"
		  "-> 13 e1 lease_release{shard=7 boot=1}\n");
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OLD_EPOCH);
	assert_int_equal(peers_read(b, 2, "d", false), STATUS_NOT_LEAD);
	struct msg_stream_append m = {.shard = SHARD, .previous = {1, 2}};
	storage_bench_deliver(b, PEER_B, MSG_stream_append, 1, &m);
	expect(b, "-> 12 e2 shard_newer epoch=2 lead=13\n"
		  "-> 12 e1 stream_append_ack{shard=7 status=101 incarnation=211}\n");
}

static void test_restart_leads_nothing(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	storage_bench_stop(b, false);
	storage_bench_start(b);
	assert_int_equal(b->join.boot, 2);
	assert_int_equal(b->join.reports_count, 1);
	assert_int_equal(b->join.reports[0].state, SHARD_REPLICA);
	assert_int_equal(b->join.reports[0].last.number, 2);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_NO_LEAD);
	struct msg_doc_write m = peers_put(b, "d", 1);
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_NO_LEAD);
	peers_place(b, 1, SELF, MODE_CONSISTENT); /* the same epoch again changes nothing */
	storage_bench_advance(b, 3000);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_NO_LEAD);
}

/* What an epoch refuses it may say only of messages for it: a copy of one for the next epoch may
 * come when that takes it. */
static void test_refusal_is_of_its_epoch(void **state)
{
	struct storage_bench *b = *state;
	struct msg_doc_write m = refused(b);
	peers_write(b, 2, &m);
	assert_int_equal(b->written.status, STATUS_NO_LEAD);
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_NOT_FOUND);
}

/* ---- the trail ---- */

static void remember(struct storage_bench *b, uint64_t number)
{
	struct msg_heartbeat_ack ack = {.status = STATUS_OK, .trail_number = number};
	struct event e = {.kind = EVENT_MESSAGE};
	e.message.from = (struct peer){.member = COORDINATOR, .role = ROLE_COORDINATOR};
	e.message.envelope =
	    (struct envelope){.type = MSG_heartbeat_ack, .request_id = b->join_request};
	e.message.body = &ack;
	storage_bench_step(b, &e);
	storage_bench_turn(b);
}

/* A step at each start; the next ones only when the last is remembered. */
static void test_trail_grows(void **state)
{
	struct storage_bench *b = *state;
	assert_int_equal(b->join.trail.number, 1);
	storage_bench_advance(b, 20000);
	assert_int_equal(b->beat.trail_number, 1);
	uint64_t first = b->beat.trail_id;
	remember(b, 1);
	storage_bench_advance(b, 500);
	assert_int_equal(b->beat.trail_number, 2);
	uint64_t second = b->beat.trail_id;
	remember(b, 2);
	storage_bench_advance(b, 3000);
	assert_int_equal(b->beat.trail_number, 2);
	storage_bench_stop(b, true);
	storage_bench_start(b);
	assert_int_equal(b->join.trail.number, 3);
	assert_int_equal(b->join.trail.ids_count, 3);
	assert_int_equal(b->join.trail.ids[1], second);
	assert_int_equal(b->join.trail.ids[2], first);
}

/* However often it starts unheard, what may be remembered of it stays on its trail. */
static void test_trail_keeps_what_is_remembered(void **state)
{
	struct storage_bench *b = *state;
	uint64_t first = b->join.trail.ids[0];
	for (int i = 0; i < 3 * LIMIT_TRAIL; i++) {
		storage_bench_stop(b, true);
		storage_bench_start(b);
	}
	uint32_t count = b->join.trail.ids_count;
	assert_true(count > 1 && count <= LIMIT_TRAIL);
	assert_int_equal(b->join.trail.ids[count - 1], first);
	assert_int_equal(b->join.trail.number, count);
}

/* It has the first `last`; what was sent with this request comes after others. */
static void gap(struct storage_bench *b, uint64_t node, uint64_t request, uint64_t last)
{
	struct msg_stream_append_ack m = {.shard = SHARD,
					  .status = STATUS_STREAM_GAP,
					  .last = {.epoch = last > 0, .number = last},
					  .incarnation = INCARNATION + node};
	b->request = request;
	storage_bench_deliver(b, node, MSG_stream_append_ack, 1, &m);
	b->request = b->append_request;
}

static void test_gap_probe_stream(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	gap(b, PEER_C, b->append_request, 0);
	expect(b, "-> 13 e1 shard_newer epoch=1 lead=11\n"
		  "-> 13 e1 append after=0.0 settled=2 acked=0\n");
	peers_ack(b, PEER_C, 1, 0);
	expect(b, "-> 13 e1 append after=0.0 settled=2 acked=0 epoch settings\n");
	peers_ack(b, PEER_C, 1, 2);
	expect(b, "");
}

/* Whoever lacks one entry refuses all behind it, and the network may bring each word of that twice:
 * the lead asks once where to go on. */
static void test_many_gaps_one_probe(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	gap(b, PEER_C, b->append_request, 0);
	peers_ack(b, PEER_C, 1, 2);
	uint64_t sent[2];
	for (int i = 0; i < 2; i++) {
		struct msg_doc_write m = peers_put(b, i ? "e" : "d", 1);
		peers_write(b, 1, &m);
		sent[i] = b->append_request;
	}
	storage_bench_clear(b);
	gap(b, PEER_C, sent[1], 2);
	expect(b, "-> 13 e1 append after=1.2 settled=2 acked=2\n");
	gap(b, PEER_C, sent[1], 2);
	gap(b, PEER_C, sent[0], 2);
	expect(b, "");
	peers_ack(b, PEER_C, 1, 2);
	assert_non_null(
	    strstr(buf_cstr(&b->trace), "-> 13 e1 append after=1.2 settled=2 acked=2 "));
	storage_bench_clear(b);
	gap(b, PEER_C, sent[1], 2); /* from before the probe */
	expect(b, "");
	gap(b, PEER_C, b->append_request, 2); /* what came after it is lost, too */
	expect(b, "-> 13 e1 append after=1.2 settled=2 acked=2\n");
	storage_bench_advance(b, 300);
	assert_non_null(
	    strstr(buf_cstr(&b->trace), "-> 13 e1 append after=1.2 settled=2 acked=2\n"));
}

/* Its answers to a lead that probes it each 300 ms take `trip_ms`; it has nothing yet. How far it
 * is after a while. */
static uint64_t caught_up(struct storage_bench *b, int64_t trip_ms)
{
	enum { STEP_MS = 10, STEPS = 1000 };
	struct {
		int64_t at_ms;
		uint64_t request, after;
	} sent[STEPS];
	uint32_t count = 0;
	uint32_t answered = 0;
	uint64_t has = 0;
	for (int i = 0; i < STEPS; i++) {
		storage_bench_clear(b);
		storage_bench_advance(b, STEP_MS);
		for (; answered < count && sent[answered].at_ms + trip_ms <= b->now_ms;
		     answered++) {
			b->request = sent[answered].request;
			struct msg_stream_append_ack m = {
			    .shard = SHARD,
			    .status = sent[answered].after > has ? STATUS_STREAM_GAP : STATUS_OK,
			    .last = {.epoch = has > 0, .number = has},
			    .incarnation = INCARNATION + PEER_C};
			storage_bench_deliver(b, PEER_C, MSG_stream_append_ack, 2, &m);
		}
		const char *append = strstr(buf_cstr(&b->trace), "-> 13 e2 append after=");
		if (!append)
			continue;
		sent[count].at_ms = b->now_ms;
		sent[count].request = b->append_request;
		sent[count].after = strtoull(strchr(append, '.') + 1, NULL, 10);
		if (sent[count++].after <= has && strstr(append, " epoch"))
			has = 3;
	}
	return has;
}

static void test_answers_that_are_slow(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	peers_take_over(b, 2, PEER_B, 2);
	assert_int_equal(caught_up(b, 400), 3);
}

/* ---- following ---- */

static void test_promise_waits_for_the_lease(void **state)
{
	struct storage_bench *b = *state;
	peers_follow(b, MODE_CONSISTENT);
	storage_bench_advance(b, LEASE_HELD_MS);
	struct shard_epoch shard = {.shard = SHARD, .epoch = 1, .settled = 2};
	struct msg_lease_renew renew = {
	    .sent_ms = 5, .boot = 3, .shards = &shard, .shards_count = 1};
	storage_bench_deliver(b, PEER_B, MSG_lease_renew, 0, &renew);
	expect(b, "-> 12 e0 lease_grant{sent_ms=5 boot=3 incarnation=211 shards=[{shard=7 epoch=1 "
		  "settled=2}]}\n");
	peers_place(b, 2, PEER_C, MODE_CONSISTENT);
	struct replica replicas[] = {{.node = SELF, .incarnation = INCARNATION + SELF},
				     {.node = PEER_B, .incarnation = INCARNATION + PEER_B},
				     {.node = PEER_C, .incarnation = INCARNATION + PEER_C}};
	struct msg_promise_request m = {.shard = {.id = SHARD,
						  .collection = COLLECTION,
						  .hash_last = UINT64_MAX,
						  .epoch = 2,
						  .lead = PEER_C,
						  .replicas = replicas,
						  .replicas_count = 3,
						  .write_quorum = 2},
					.boot = 1};
	storage_bench_deliver(b, PEER_C, MSG_promise_request, 2, &m);
	expect(b, "-> 13 e2 promise_ack{shard=7 status=102 last={epoch=1 number=2} incarnation=211 "
		  "wait_ms=1800 settled=2}\n");
	storage_bench_advance(b, LEASE_HELD_MS);
	storage_bench_clear(b);
	storage_bench_deliver(b, PEER_C, MSG_promise_request, 2, &m);
	expect(b, "-> 13 e2 promise_ack{shard=7 status=0 last={epoch=1 number=2} incarnation=211 "
		  "settled=2}\n");
	peers_append(b, 1, 1, 2, 2, NULL); /* the old lead is too late */
	expect(b, "-> 12 e2 shard_newer epoch=2 lead=13\n"
		  "-> 12 e1 stream_append_ack{shard=7 status=101 incarnation=211}\n");
}

/* A directory that was put back has forgotten newer epochs: it must not help an older lead to
 * settle anything before the coordinator has let it in. */
static void test_takes_nothing_before_admitted(void **state)
{
	struct storage_bench *b = *state;
	struct msg_snapshot_chunk chunk = {.shard = SHARD, .snapshot = 1};
	peers_follow(b, MODE_CONSISTENT);
	storage_bench_stop(b, true);
	b->strange = true;
	storage_bench_start(b);
	storage_bench_clear(b);
	peers_append(b, 1, 1, 2, 2, NULL);
	storage_bench_deliver(b, PEER_B, MSG_snapshot_chunk, 1, &chunk);
	expect(b, "");
	storage_bench_admit(b);
	storage_bench_clear(b);
	peers_append(b, 1, 1, 2, 2, NULL);
	expect(
	    b,
	    "-> 12 e1 stream_append_ack{shard=7 status=0 last={epoch=1 number=2} incarnation=211 "
	    "applied=2}\n");
}

/* In the middle of a copy, after a restart, too: it promises to one that has what it had. */
static void test_promise_from_memory(void **state)
{
	struct storage_bench *b = *state;
	struct msg_snapshot_chunk chunk = {.shard = SHARD, .snapshot = 1};
	struct replica replicas[] = {{.node = SELF, .incarnation = INCARNATION + SELF},
				     {.node = PEER_B, .incarnation = INCARNATION + PEER_B},
				     {.node = PEER_C, .incarnation = INCARNATION + PEER_C}};
	struct msg_promise_request m = {.shard = {.id = SHARD,
						  .collection = COLLECTION,
						  .hash_last = UINT64_MAX,
						  .epoch = 2,
						  .lead = PEER_C,
						  .replicas = replicas,
						  .replicas_count = 3,
						  .write_quorum = 2},
					.boot = 1,
					.last = {.epoch = 1, .number = 1}};
	peers_follow(b, MODE_CONSISTENT);
	storage_bench_deliver(b, PEER_B, MSG_snapshot_chunk, 1, &chunk);
	storage_bench_stop(b, true);
	storage_bench_start(b);
	storage_bench_advance(b, LEASE_HELD_MS);
	peers_place(b, 2, PEER_C, MODE_CONSISTENT);
	storage_bench_clear(b);
	storage_bench_deliver(b, PEER_C, MSG_promise_request, 2, &m);
	expect(b, "-> 13 e2 promise_ack{shard=7 status=103 incarnation=211}\n");
	m.last.number = 2;
	storage_bench_deliver(b, PEER_C, MSG_promise_request, 2, &m);
	expect(b, "-> 13 e2 promise_ack{shard=7 status=0 incarnation=211}\n");
}

static void cut_in(struct storage_bench *b, enum availability_mode mode, uint32_t uploads,
		   const char *outbox)
{
	struct slice upload = peers_operation(b, 5);
	struct change change = {.kind = CHANGE_WRITE,
				.id = slice_text("d"),
				.revision = {1, slice_text("a")},
				.body = peers_body(b, 1),
				.operation_id = peers_operation(b, 1),
				.uploads = &upload,
				.uploads_count = uploads};
	struct change epoch = {.kind = CHANGE_EPOCH};
	struct buf wanted = {0};
	peers_follow(b, mode);
	peers_append(b, 1, 1, 2, 2, &change);
	peers_place(b, 2, PEER_B, mode);
	storage_bench_clear(b);
	peers_append(b, 2, 1, 2, 2, &epoch);
	buf_printf(&wanted,
		   "-> 12 e2 stream_append_ack{shard=7 status=0 last={epoch=2 number=3} "
		   "incarnation=211 applied=2%s}\n",
		   outbox);
	expect(b, buf_cstr(&wanted));
	buf_close(&wanted);
}

static void test_cut_is_discarded(void **state)
{
	struct storage_bench *b = *state;
	cut_in(b, MODE_CONSISTENT, 0, "");
	assert_int_equal(peers_pairs(b, STORE_STREAM, 'z'), 1);
	assert_int_equal(peers_pairs(b, STORE_STREAM, 'o'), 0);
	assert_int_equal(peers_pairs(b, STORE_DOCUMENTS, 'd'), 0);
}

/* Long ago, and of so many bytes. */
static void put_discarded(struct storage_bench *b, uint64_t number, size_t bytes)
{
	struct buf key = {0};
	struct buf value = {0};
	memset(buf_reserve(&value, bytes), 0, bytes);
	value.len = bytes;
	store_put(b->store, STORE_STREAM, key_discarded(&key, SHARD, 1, number), buf_slice(&value));
	buf_close(&key);
	buf_close(&value);
}

static void test_old_discards_go(void **state)
{
	struct storage_bench *b = *state;
	for (uint64_t n = 0; n < DISCARDED_MAX + 10; n++)
		put_discarded(b, n, 8);
	CHECK(store_commit(b->store, true) == STORE_OK);
	cut_in(b, MODE_CONSISTENT, 0, "");
	assert_int_equal(peers_pairs(b, STORE_STREAM, 'z'), DISCARDED_MAX + 1);
}

static void test_large_discards_go(void **state)
{
	enum { COUNT = 10, BYTES = DISCARDED_BYTES_MAX / 4 };
	struct storage_bench *b = *state;
	for (uint64_t n = 0; n < COUNT; n++)
		put_discarded(b, n, BYTES);
	CHECK(store_commit(b->store, true) == STORE_OK);
	cut_in(b, MODE_CONSISTENT, 0, "");
	assert_int_equal(peers_pairs(b, STORE_STREAM, 'z'), 4 + 1);
}

static void test_cut_goes_to_the_outbox(void **state)
{
	struct storage_bench *b = *state;
	cut_in(b, MODE_AVAILABLE, 0, " outbox=1");
	assert_int_equal(peers_pairs(b, STORE_STREAM, 'z'), 0);
	assert_int_equal(peers_pairs(b, STORE_STREAM, 'o'), 1);
	storage_bench_advance(b, OUTBOX_RETRY_MS);
	expect(b, "-> 12 e2 outbox_push branch:d:1\n");
}

/* What it brings may be gone by the time that it is ordered; nobody was told that it is safe. */
static void test_cut_with_contents_is_discarded(void **state)
{
	struct storage_bench *b = *state;
	cut_in(b, MODE_AVAILABLE, 1, "");
	assert_int_equal(peers_pairs(b, STORE_STREAM, 'z'), 1);
	assert_int_equal(peers_pairs(b, STORE_STREAM, 'o'), 0);
}

/* A write that stands here, not settled, is sent as a branch: is it accepted as what stands? What
 * brings contents would go when it is cut, and is not decided anew either: it may yet be settled.
 */
static void stands(struct storage_bench *b, uint32_t uploads, enum status wanted)
{
	struct slice upload = peers_operation(b, 5);
	struct change change = {.kind = CHANGE_WRITE,
				.id = slice_text("d"),
				.revision = {1, slice_text("a")},
				.body = peers_body(b, 1),
				.operation_id = peers_operation(b, 1),
				.status = STATUS_CREATED,
				.uploads = &upload,
				.uploads_count = uploads};
	peers_follow(b, MODE_AVAILABLE);
	peers_append(b, 1, 1, 2, 2, &change);
	struct msg_doc_write m = peers_put(b, "d", 1);
	m.operation_id = peers_operation(b, 1);
	m.branch = true;
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, wanted);
	assert_int_equal(peers_pairs(b, STORE_STREAM, 'o'), 0);
}

static void test_standing_is_accepted(void **state)
{
	stands(*state, 0, STATUS_ACCEPTED);
}

static void test_standing_with_contents_is_not(void **state)
{
	stands(*state, 1, STATUS_NO_LEAD);
}

static struct collection consistent_settings(void)
{
	return (struct collection){.id = COLLECTION,
				   .name = slice_text("c"),
				   .version = 2,
				   .replicas = 3,
				   .write_quorum = 2,
				   .mode = MODE_CONSISTENT};
}

/* Settings under way make the collection a consistent one: cut after that, what stands behind them
 * would be discarded. */
static void test_standing_behind_settings_is_not_accepted(void **state)
{
	struct storage_bench *b = *state;
	struct collection collection = consistent_settings();
	struct buf encoded = {0};
	schema_encode(&schema_collection, &collection, &encoded);
	struct change settings = {
	    .kind = CHANGE_SETTINGS, .policy = 2, .body = buf_slice(&encoded)};
	struct change change = {.kind = CHANGE_WRITE,
				.id = slice_text("d"),
				.revision = {1, slice_text("a")},
				.body = peers_body(b, 1),
				.operation_id = peers_operation(b, 1),
				.status = STATUS_CREATED};
	struct change epoch = {.kind = CHANGE_EPOCH};
	peers_follow(b, MODE_AVAILABLE);
	peers_append(b, 1, 1, 2, 2, &settings);
	peers_append(b, 1, 1, 3, 2, &change);
	struct msg_doc_write m = peers_put(b, "d", 1);
	m.branch = true;
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_NO_LEAD);
	peers_append(b, 1, 1, 3, 3, NULL);
	peers_place(b, 2, PEER_B, MODE_AVAILABLE);
	peers_append(b, 2, 1, 3, 3, &epoch);
	assert_int_equal(peers_pairs(b, STORE_STREAM, 'z'), 1);
	assert_int_equal(peers_pairs(b, STORE_STREAM, 'o'), 0);
	buf_close(&encoded);
}

/* Likewise of a lead that is cut off. */
static void test_alone_behind_settings_accepts_nothing(void **state)
{
	struct storage_bench *b = *state;
	struct collection collection = consistent_settings();
	struct msg_map_push push = {
	    .map_version = 2, .collections = &collection, .collections_count = 1};
	peers_lead(b, MODE_AVAILABLE);
	storage_bench_deliver(b, COORDINATOR, MSG_map_push, 0, &push);
	storage_bench_advance(b, LEASE_MS);
	struct msg_doc_write m = peers_put(b, "d", 1);
	m.branch = true;
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, 999);
}

static void test_nonsense_is_refused(void **state)
{
	struct storage_bench *b = *state;
	peers_follow(b, MODE_CONSISTENT);
	struct stream_entry entry = {.epoch = 1, .change = slice_text("no change")};
	struct msg_stream_append m = {
	    .shard = SHARD, .previous = {1, 2}, .entries = &entry, .entries_count = 1};
	storage_bench_deliver(b, PEER_B, MSG_stream_append, 1, &m);
	expect(b, "-> 12 e1 stream_append_ack{shard=7 status=19 incarnation=211}\n");
	struct change settings = {
	    .kind = CHANGE_SETTINGS, .policy = 2, .body = slice_text("no collection")};
	peers_append(b, 1, 1, 2, 2, &settings);
	expect(b, "-> 12 e1 stream_append_ack{shard=7 status=19 incarnation=211}\n");
	struct msg_shard_newer newer = {
	    .shard = {.id = 8, .epoch = 1, .hash_last = 1, .replicas = NULL, .write_quorum = 0}};
	storage_bench_deliver(b, PEER_B, MSG_shard_newer, 1, &newer);
	storage_bench_advance(b, 1000);
	expect(b, "");
}

static void test_fetched_nonsense_is_refused(void **state)
{
	struct storage_bench *b = *state;
	peers_place(b, 1, SELF, MODE_CONSISTENT);
	struct msg_promise_ack promise = {
	    .shard = SHARD, .last = {.epoch = 1, .number = 1}, .incarnation = INCARNATION + PEER_B};
	storage_bench_deliver(b, PEER_B, MSG_promise_ack, 1, &promise);
	storage_bench_clear(b);
	struct stream_entry entry = {.epoch = 1, .change = slice_text("no change")};
	struct msg_stream_fetch_ack m = {.shard = SHARD,
					 .entries = &entry,
					 .entries_count = 1,
					 .last = {.epoch = 1, .number = 1}};
	storage_bench_deliver(b, PEER_B, MSG_stream_fetch_ack, 1, &m);
	storage_bench_advance(b, 500);
	assert_int_equal(b->beat.shards[0].state, SHARD_STUCK);
	assert_int_equal(peers_pairs(b, STORE_STREAM, 'e'), 0);
}

/* The furthest can't read its next entry any more: it passes nothing on, however often it is asked.
 */
static void test_nothing_to_fetch_is_no_reason_to_wait(void **state)
{
	struct storage_bench *b = *state;
	peers_place(b, 1, SELF, MODE_CONSISTENT);
	struct msg_promise_ack promise = {
	    .shard = SHARD, .last = {.epoch = 1, .number = 1}, .incarnation = INCARNATION + PEER_B};
	storage_bench_deliver(b, PEER_B, MSG_promise_ack, 1, &promise);
	struct msg_stream_fetch_ack m = {.shard = SHARD, .last = {.epoch = 1, .number = 1}};
	storage_bench_deliver(b, PEER_B, MSG_stream_fetch_ack, 1, &m);
	storage_bench_advance(b, 500);
	assert_int_equal(b->beat.shards[0].state, SHARD_STUCK);
}

static void test_copy_to_an_impossible_place_is_refused(void **state)
{
	struct storage_bench *b = *state;
	peers_follow(b, MODE_CONSISTENT);
	struct msg_snapshot_chunk m = {
	    .shard = SHARD,
	    .snapshot = 1,
	    .last = true,
	    .position = {.last = 3, .last_epoch = 1, .applied = 4, .trimmed_epoch = 1}};
	storage_bench_deliver(b, PEER_B, MSG_snapshot_chunk, 1, &m);
	expect(b, "-> 12 e1 snapshot_chunk_ack{shard=7 snapshot=1 status=19 incarnation=211}\n");
	peers_append(b, 1, 1, 2, 2, NULL);
	expect(b, "-> 12 e1 stream_append_ack{shard=7 status=0 last={epoch=1 number=2} "
		  "incarnation=211 applied=2}\n");
}

/* This node leads and has done five writes of one document, which B has. */
static void lead_five_writes(struct storage_bench *b)
{
	peers_lead(b, MODE_CONSISTENT);
	for (uint64_t v = 1; v <= 5; v++) {
		struct msg_doc_write m = peers_put(b, "d", v);
		peers_write(b, 1, &m);
		peers_ack(b, PEER_B, 1, 2 + v);
		assert_true(status_is_success(b->written.status));
	}
}

/* C comes back with nothing; it would have to apply each of five writes of one document. */
static void test_an_empty_replica_is_copied_to(void **state)
{
	struct storage_bench *b = *state;
	storage_bench_stop(b, false);
	b->options.copy_entries_min = 5;
	storage_bench_start(b);
	lead_five_writes(b);
	place_with_learner(b);
	storage_bench_advance(b, LEASE_HELD_MS);
	peers_promise(b, PEER_B, 2, STATUS_OK);
	storage_bench_advance(b, 50);
	peers_ack(b, PEER_B, 2, 8);
	storage_bench_clear(b);
	peers_ack(b, PEER_C, 2, 0);
	storage_bench_advance(b, 100);
	assert_non_null(strstr(buf_cstr(&b->trace), "-> 13 e2 snapshot_chunk"));
	assert_null(
	    strstr(buf_cstr(&b->trace), "-> 13 e2 append after=0.0 settled=8 acked=0 epoch"));
}

/* C lags behind what the lead's stream still has; in each turn messages put something before the
 * timer comes. */
static void test_copy_begins_under_load(void **state)
{
	struct storage_bench *b = *state;
	storage_bench_stop(b, false);
	b->options.stream_keep_entries = 1;
	storage_bench_start(b);
	lead_five_writes(b);
	peers_ack(b, PEER_C, 1, 1);
	storage_bench_clear(b);
	for (int turn = 0; turn < 20; turn++) {
		struct event timer = {.kind = EVENT_TIMER};
		b->now_ms += 50;
		store_put(b->store, STORE_META, slice_text("load"), slice_text("x"));
		storage_bench_step(b, &timer);
		storage_bench_turn(b);
	}
	assert_non_null(strstr(buf_cstr(&b->trace), "-> 13 e1 snapshot_chunk"));
}

static void test_dropped_is_not_made_again(void **state)
{
	struct storage_bench *b = *state;
	uint64_t dropped = COLLECTION;
	struct msg_map_push push = {.map_version = 9, .dropped = &dropped, .dropped_count = 1};
	peers_follow(b, MODE_CONSISTENT);
	assert_int_equal(peers_pairs(b, STORE_META, 's'), 1);
	storage_bench_deliver(b, COORDINATOR, MSG_map_push, 0, &push);
	assert_int_equal(peers_pairs(b, STORE_META, 's'), 0);
	assert_int_equal(peers_pairs(b, STORE_META, 'x'), 0);
	peers_place(b, 2, PEER_B, MODE_CONSISTENT); /* from who has not heard */
	assert_int_equal(peers_pairs(b, STORE_META, 's'), 0);
	storage_bench_stop(b, false);
	storage_bench_start(b);
	storage_bench_advance(b, 1000);
	assert_int_equal(b->join.dropped_count, 1); /* for a coordinator that has lost its disk */
	peers_place(b, 3, PEER_B, MODE_CONSISTENT);
	assert_int_equal(peers_pairs(b, STORE_META, 's'), 0);
}

#define CASE(name)                                                                                 \
	cmocka_unit_test_setup_teardown(name, storage_bench_setup, storage_bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_takeover),
	    CASE(test_epoch_of_another_incarnation),
	    CASE(test_write_settles_at_quorum),
	    CASE(test_lease),
	    CASE(test_step_down),
	    CASE(test_restart_leads_nothing),
	    CASE(test_refusal_is_of_its_epoch),
	    CASE(test_trail_grows),
	    CASE(test_trail_keeps_what_is_remembered),
	    CASE(test_gap_probe_stream),
	    CASE(test_many_gaps_one_probe),
	    CASE(test_answers_that_are_slow),
	    CASE(test_promise_waits_for_the_lease),
	    CASE(test_takes_nothing_before_admitted),
	    CASE(test_promise_from_memory),
	    CASE(test_cut_is_discarded),
	    CASE(test_old_discards_go),
	    CASE(test_large_discards_go),
	    CASE(test_cut_goes_to_the_outbox),
	    CASE(test_cut_with_contents_is_discarded),
	    CASE(test_standing_is_accepted),
	    CASE(test_standing_with_contents_is_not),
	    CASE(test_standing_behind_settings_is_not_accepted),
	    CASE(test_alone_behind_settings_accepts_nothing),
	    CASE(test_nonsense_is_refused),
	    CASE(test_fetched_nonsense_is_refused),
	    CASE(test_nothing_to_fetch_is_no_reason_to_wait),
	    CASE(test_copy_to_an_impossible_place_is_refused),
	    CASE(test_an_empty_replica_is_copied_to),
	    CASE(test_copy_begins_under_load),
	    CASE(test_dropped_is_not_made_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
