/* Copies of a shard at the storage node's core: what comes late, and what is not whole. */
#include <stdio.h>

#include "storage-node/internal.h"
#include "tests/core/storage_case.h"

enum { PEER_D = 14, PEER_E = 15 };

/* SELF leads epoch 1 of five replicas, W = 3: EPOCH and SETTINGS are entries 1 and 2. */
static void lead_five(struct storage_bench *b)
{
	const uint64_t nodes[] = {SELF, PEER_B, PEER_C, PEER_D, PEER_E};
	struct replica replicas[ARRAY_LEN(nodes)];
	for (size_t i = 0; i < ARRAY_LEN(nodes); i++)
		replicas[i] =
		    (struct replica){.node = nodes[i], .incarnation = INCARNATION + nodes[i]};
	struct shard shard = {.id = SHARD,
			      .collection = COLLECTION,
			      .hash_last = UINT64_MAX,
			      .epoch = 1,
			      .lead = SELF,
			      .replicas = replicas,
			      .replicas_count = ARRAY_LEN(nodes),
			      .write_quorum = 3};
	struct collection collection = {.id = COLLECTION,
					.name = slice_text("c"),
					.version = 1,
					.replicas = ARRAY_LEN(nodes),
					.write_quorum = 3};
	struct msg_map_push push = {.map_version = 1,
				    .collections = &collection,
				    .collections_count = 1,
				    .shards = &shard,
				    .shards_count = 1};
	storage_bench_deliver(b, COORDINATOR, MSG_map_push, 0, &push);
	for (uint64_t node = PEER_B; node <= PEER_C; node++)
		peers_promise(b, node, 1, STATUS_OK);
	for (uint64_t number = 0; number <= 2; number++)
		for (uint64_t node = PEER_B; node <= PEER_D; node += PEER_D - PEER_B)
			peers_ack(b, node, 1, number);
	peers_grant(b, PEER_B, 1, false);
	peers_grant(b, PEER_D, 1, false);
}

static void not_vouching(struct storage_bench *b, uint64_t node)
{
	struct msg_stream_append_ack m = {
	    .shard = SHARD, .status = STATUS_NOT_VOUCHING, .incarnation = INCARNATION + node};
	storage_bench_deliver(b, node, MSG_stream_append_ack, 1, &m);
}

/* The copy that is under way goes out, as one chunk, and is taken. */
static void copied(struct storage_bench *b, uint64_t node, uint64_t snapshot)
{
	struct msg_snapshot_chunk_ack m = {
	    .shard = SHARD, .snapshot = snapshot, .incarnation = INCARNATION + node};
	storage_bench_advance(b, 50);
	storage_bench_deliver(b, node, MSG_snapshot_chunk_ack, 1, &m);
}

/* C was in the middle of a copy, said so twice, and one of that comes when it is in sync again. A
 * second copy would take what it has acknowledged since and is not settled yet, while a late
 * acknowledgement could still count for it. */
static void test_what_was_said_before_a_copy_is_over(void **state)
{
	struct storage_bench *b = *state;
	lead_five(b);
	not_vouching(b, PEER_C);
	copied(b, PEER_C, 1);
	b->request = UINT64_MAX; /* an answer to what was sent since */
	peers_ack(b, PEER_C, 1, 2);
	struct msg_doc_write m = peers_put(b, "d", 1);
	peers_write(b, 1, &m);
	peers_ack(b, PEER_C, 1, 3);
	assert_int_equal(b->written.status, 999);
	b->request = 1;
	storage_bench_clear(b);
	not_vouching(b, PEER_C);
	storage_bench_advance(b, 1000);
	assert_null(strstr(buf_cstr(&b->trace), "-> 13 e1 snapshot_chunk"));
	b->request = UINT64_MAX;
	peers_ack(b, PEER_B, 1, 3);
	assert_int_equal(b->written.status, STATUS_CREATED);
}

static void flip(struct storage_bench *b)
{
	struct rng rng;
	struct buf key = {0};
	struct buf flipped = {0};
	enum store_family family;
	rng_init(&rng, 7);
	assert_true(disk_flip_any(b->disk, key_shard(&key, 'd', SHARD), &rng, &family, &flipped));
	buf_close(&flipped);
	buf_close(&key);
}

/* The lead's own data are damaged. Where W others have all, they give the copy, when it has begun
 * anew; where they have not, it is better than none. */
static void test_damage_is_not_copied(void **state)
{
	struct storage_bench *b = *state;
	lead_five(b);
	struct msg_doc_write m = peers_put(b, "d", 1);
	peers_write(b, 1, &m);
	peers_ack(b, PEER_B, 1, 3);
	peers_ack(b, PEER_D, 1, 3);
	assert_int_equal(b->written.status, STATUS_CREATED);
	flip(b);
	not_vouching(b, PEER_C);
	storage_bench_advance(b, 50);
	assert_non_null(strstr(buf_cstr(&b->trace), "-> 13 e1 snapshot_chunk"));
	storage_bench_clear(b);
	peers_ack(b, PEER_E, 1, 3);
	struct msg_snapshot_chunk_ack gap = {.shard = SHARD,
					     .snapshot = 1,
					     .status = STATUS_STREAM_GAP,
					     .incarnation = INCARNATION + PEER_C};
	storage_bench_deliver(b, PEER_C, MSG_snapshot_chunk_ack, 1, &gap);
	storage_bench_advance(b, 50);
	assert_null(strstr(buf_cstr(&b->trace), "-> 13 e1 snapshot_chunk"));
}

/* It does not add up; the answer is lost, and the lead sends its end again. */
static void test_a_wrong_copy_stays_wrong(void **state)
{
	struct storage_bench *b = *state;
	peers_follow(b, MODE_CONSISTENT);
	struct msg_snapshot_chunk m = {.shard = SHARD,
				       .snapshot = 1,
				       .last = true,
				       .position = {.last = 4,
						    .last_epoch = 1,
						    .applied = 4,
						    .trimmed = 4,
						    .trimmed_epoch = 1,
						    .digest = 77,
						    .digested = true}};
	for (int i = 0; i < 2; i++) {
		storage_bench_deliver(b, PEER_B, MSG_snapshot_chunk, 1, &m);
		expect(
		    b,
		    "-> 12 e1 snapshot_chunk_ack{shard=7 snapshot=1 status=104 incarnation=211}\n");
	}
}

/* An early piece comes once more, late: nothing of what came since is thrown away for that. */
static void test_a_late_piece_does_not_begin_a_copy_anew(void **state)
{
	struct storage_bench *b = *state;
	struct msg_snapshot_chunk m = {.shard = SHARD, .snapshot = 1};
	peers_follow(b, MODE_CONSISTENT);
	for (; m.sequence < 3; m.sequence++)
		storage_bench_deliver(b, PEER_B, MSG_snapshot_chunk, 1, &m);
	storage_bench_clear(b);
	m.sequence = 1;
	storage_bench_deliver(b, PEER_B, MSG_snapshot_chunk, 1, &m);
	expect(b, "-> 12 e1 snapshot_chunk_ack{shard=7 snapshot=1 sequence=1 status=0 "
		  "incarnation=211}\n");
}

/* One more document, settled by B as this entry. */
static void write_one(struct storage_bench *b, uint64_t number)
{
	char id[16];
	snprintf(id, sizeof id, "d%u", (unsigned)number);
	struct msg_doc_write m = peers_put(b, id, number);
	peers_write(b, 1, &m);
	peers_ack(b, PEER_B, 1, number);
	assert_int_equal(b->written.status, STATUS_CREATED);
}

/* C is copied to, in many pieces, while one document comes with each. The last entry. */
static uint64_t copy_during_writes(struct storage_bench *b)
{
	enum { KEPT = 4, BEFORE = 10, PIECES = 100 };
	uint64_t last = 2;
	storage_bench_stop(b, false);
	b->options.stream_keep_entries = KEPT;
	b->options.snapshot_chunk_bytes = 1;
	storage_bench_start(b);
	peers_lead(b, MODE_CONSISTENT);
	while (last < BEFORE)
		write_one(b, ++last);
	assert_in_range(peers_pairs(b, STORE_STREAM, 'e'), KEPT, KEPT + 1);
	peers_ack(b, PEER_C, 1, 1);
	storage_bench_clear(b);
	storage_bench_advance(b, 50);
	for (uint64_t piece = 0; piece < PIECES; piece++) {
		struct msg_snapshot_chunk_ack m = {.shard = SHARD,
						   .snapshot = 1,
						   .sequence = piece,
						   .incarnation = INCARNATION + PEER_C};
		write_one(b, ++last);
		if (strstr(buf_cstr(&b->trace), "last=true"))
			piece = PIECES; /* that was the last one */
		storage_bench_clear(b);
		storage_bench_deliver(b, PEER_C, MSG_snapshot_chunk_ack, 1, &m);
	}
	assert_true(last > BEFORE + 4 * KEPT);
	return last;
}

/* What was written meanwhile is more than the stream keeps. C goes on from where its copy ends, or
 * it would be copied to again and again while clients write. */
static void test_a_copy_ends_under_load(void **state)
{
	struct storage_bench *b = *state;
	uint64_t last = copy_during_writes(b);
	storage_bench_advance(b, 100);
	assert_null(strstr(buf_cstr(&b->trace), "snapshot_chunk"));
	assert_non_null(strstr(buf_cstr(&b->trace), "-> 13 e1 append after=1.10 "));
	b->request = UINT64_MAX;
	peers_ack(b, PEER_C, 1, last);
	write_one(b, ++last);
	assert_in_range(peers_pairs(b, STORE_STREAM, 'e'), 4, 5); /* nobody needs them any more */
}

/* C has gone in the middle: the stream does not wait for it for ever. */
static void test_a_copy_that_stands_still_keeps_nothing(void **state)
{
	struct storage_bench *b = *state;
	uint64_t last = copy_during_writes(b);
	assert_true(peers_pairs(b, STORE_STREAM, 'e') > 5);
	storage_bench_advance(b, COPY_SILENT_MS);
	write_one(b, ++last);
	assert_in_range(peers_pairs(b, STORE_STREAM, 'e'), 4, 5);
}

/* Nor without bound for one that is too slow. */
static void test_a_slow_copy_keeps_so_much(void **state)
{
	struct storage_bench *b = *state;
	uint64_t last = copy_during_writes(b);
	for (int i = 0; i < 4 * COPY_KEEPS; i++)
		write_one(b, ++last);
	assert_in_range(peers_pairs(b, STORE_STREAM, 'e'), 4, 5);
}

/* What is copied, and an open copy holds on to it, the disk can't free. */
static void expect_no_copy(struct storage_bench *b)
{
	storage_bench_advance(b, COPY_SILENT_MS);
	storage_bench_clear(b);
	storage_bench_advance(b, 2 * SNAPSHOT_RESEND_MS);
	assert_null(strstr(buf_cstr(&b->trace), "snapshot_chunk"));
	assert_non_null(strstr(buf_cstr(&b->trace), "-> 13 e1 append after="));
}

/* C has gone, and the stream is trimmed beyond what it has: it is copied to when it is back. */
static void test_nobody_is_copied_to_who_is_away(void **state)
{
	struct storage_bench *b = *state;
	storage_bench_stop(b, false);
	b->options.stream_keep_entries = 4;
	storage_bench_start(b);
	peers_lead(b, MODE_CONSISTENT);
	peers_ack(b, PEER_C, 1, 2);
	for (uint64_t n = 3; n <= 20; n++)
		write_one(b, n);
	assert_in_range(peers_pairs(b, STORE_STREAM, 'e'), 4, 5);
	expect_no_copy(b);
	struct msg_stream_append_ack gap = {.shard = SHARD,
					    .status = STATUS_STREAM_GAP,
					    .last = {1, 2},
					    .incarnation = INCARNATION + PEER_C};
	b->request = b->append_request;
	storage_bench_clear(b);
	storage_bench_deliver(b, PEER_C, MSG_stream_append_ack, 1, &gap);
	storage_bench_advance(b, 50);
	assert_non_null(strstr(buf_cstr(&b->trace), "-> 13 e1 snapshot_chunk"));
}

static void test_a_copy_ends_with_who_is_away(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	not_vouching(b, PEER_C);
	storage_bench_advance(b, 50);
	assert_non_null(strstr(buf_cstr(&b->trace), "-> 13 e1 snapshot_chunk"));
	expect_no_copy(b);
	b->request = b->append_request;
	not_vouching(b, PEER_C);
	storage_bench_advance(b, 50);
	assert_non_null(strstr(buf_cstr(&b->trace), "-> 13 e1 snapshot_chunk"));
}

/* As it still vouches for what it had before. */
static void grant_lease(struct storage_bench *b, uint64_t node)
{
	struct shard_epoch e = {.shard = SHARD, .epoch = 1, .settled = 1};
	struct msg_lease_grant m = {.sent_ms = (uint64_t)b->now_ms,
				    .boot = b->options.boot,
				    .incarnation = INCARNATION + node,
				    .disk_full = true,
				    .shards = &e,
				    .shards_count = 1};
	storage_bench_deliver(b, node, MSG_lease_grant, 0, &m);
}

/* C has no room for it, and says so each time. The copy would stand open until it has some. */
static void test_a_copy_that_nobody_takes_ends(void **state)
{
	struct storage_bench *b = *state;
	struct msg_snapshot_chunk_ack full = {.shard = SHARD,
					      .snapshot = 1,
					      .status = STATUS_DISK_FULL,
					      .incarnation = INCARNATION + PEER_C};
	peers_lead(b, MODE_CONSISTENT);
	not_vouching(b, PEER_C);
	storage_bench_clear(b);
	for (int64_t ms = 0; ms <= COPY_SILENT_MS; ms += SNAPSHOT_RESEND_MS) {
		storage_bench_advance(b, SNAPSHOT_RESEND_MS);
		storage_bench_deliver(b, PEER_C, MSG_snapshot_chunk_ack, 1, &full);
		grant_lease(b, PEER_C);
	}
	assert_non_null(strstr(buf_cstr(&b->trace), "-> 13 e1 snapshot_chunk"));
	assert_non_null(strstr(buf_cstr(&b->trace), "-> 13 e1 append after="));
}

/* C, which has lagged behind what is kept, has entry 21, and nobody has heard of it, when a copy is
 * begun for it. */
static void copy_over_what_is_unsettled(struct storage_bench *b)
{
	enum { KEPT = 4, LAST = 21 };
	storage_bench_stop(b, false);
	b->options.stream_keep_entries = KEPT;
	storage_bench_start(b);
	peers_lead(b, MODE_CONSISTENT);
	peers_ack(b, PEER_C, 1, 2);
	for (uint64_t n = 3; n < LAST; n++)
		write_one(b, n);
	struct msg_doc_write m = peers_put(b, "d", LAST);
	peers_write(b, 1, &m);
	storage_bench_clear(b);
	storage_bench_advance(b, RESEND_MS + 50);
	assert_non_null(strstr(buf_cstr(&b->trace), "-> 13 e1 snapshot_chunk"));
	expect_no_copy(b);
	storage_bench_clear(b);
}

/* It has taken the beginning of the copy, which was ended since. What it said before comes late. */
static void test_what_was_said_before_an_ended_copy_is_over(void **state)
{
	struct storage_bench *b = *state;
	copy_over_what_is_unsettled(b);
	peers_ack(b, PEER_C, 1, 21);
	assert_int_equal(b->written.status, 999);
}

/* It has not taken it yet, and may still: the beginning is on its way, and takes all away. So it
 * counts when it has been copied to. */
static void test_an_ended_copy_may_still_come(void **state)
{
	struct storage_bench *b = *state;
	copy_over_what_is_unsettled(b);
	b->request = b->append_request;
	peers_ack(b, PEER_C, 1, 21);
	assert_int_equal(b->written.status, 999);
	storage_bench_advance(b, 50);
	assert_non_null(strstr(buf_cstr(&b->trace), "-> 13 e1 snapshot_chunk"));
	copied(b, PEER_C, 2);
	b->request = UINT64_MAX;
	peers_ack(b, PEER_C, 1, 21);
	assert_int_equal(b->written.status, STATUS_CREATED);
}

/* Of large entries a node keeps no more for being restarted between them. */
static void test_restarts_keep_nothing(void **state)
{
	enum { KEPT_BYTES = 64 * 1024, LARGE_BYTES = 4096, A_LIFE = 8, LIVES = 40 };
	struct storage_bench *b = *state;
	uint8_t *text = arena_alloc(&b->arena, LARGE_BYTES);
	uint64_t last = 2;
	storage_bench_stop(b, false);
	b->options.stream_keep_bytes = KEPT_BYTES;
	storage_bench_start(b);
	peers_follow(b, MODE_CONSISTENT);
	for (int life = 0; life < LIVES; life++) {
		for (int i = 0; i < A_LIFE; i++, last++) {
			struct change change = {.kind = CHANGE_RESOLVE,
						.id = slice_text("d"),
						.body = slice_of(text, LARGE_BYTES)};
			peers_append(b, 1, 1, last, last, &change);
		}
		storage_bench_stop(b, true);
		storage_bench_start(b);
		text = arena_alloc(&b->arena, LARGE_BYTES);
	}
	assert_in_range(peers_pairs(b, STORE_STREAM, 'e'), 10,
			(STREAM_MARKS + 2) * KEPT_BYTES / LARGE_BYTES);
}

/* ---- what a replica was counted for ---- */

/* SELF holds 12 entries of epoch 1, has heard that 10 are settled, and keeps few. It led epoch 2
 * for a moment, of which C knows nothing, and begins epoch 3. */
static void lead_with_unsettled(struct storage_bench *b)
{
	enum { KEPT = 4, APPLIED = 10, LAST = 12 };
	storage_bench_stop(b, false);
	b->options.stream_keep_entries = KEPT;
	storage_bench_start(b);
	peers_follow(b, MODE_CONSISTENT);
	for (uint64_t n = 3; n <= LAST; n++) {
		char hash[16];
		struct change change = first_write(b);
		snprintf(hash, sizeof hash, "%u", (unsigned)n);
		change.revision.hash = slice_text(hash);
		change.operation_id = peers_operation(b, n);
		peers_append(b, 1, 1, n - 1, n - 1 < APPLIED ? n - 1 : APPLIED, &change);
	}
	assert_in_range(peers_pairs(b, STORE_STREAM, 'e'), 2 + KEPT, 3 + KEPT);
	peers_place(b, 2, SELF, MODE_CONSISTENT);
	storage_bench_advance(b, LEASE_HELD_MS);
	peers_promise(b, PEER_B, 2, STATUS_OK);
	peers_place(b, 3, SELF, MODE_CONSISTENT);
	storage_bench_advance(b, 50);
	peers_promise(b, PEER_C, 3, STATUS_OK);
	storage_bench_advance(b, 50);
	assert_non_null(strstr(buf_cstr(&b->trace), "-> 13 e3 append after=2.13 "));
	b->request = b->append_request;
	storage_bench_clear(b);
}

/* C has applied 2, and holds all of epoch 1; 11 and 12 may be settled because of that. A copy of
 * what is applied here would take them away: first it is asked about where the stream begins. */
static void test_no_copy_over_what_counted(void **state)
{
	struct storage_bench *b = *state;
	lead_with_unsettled(b);
	struct msg_stream_append_ack gap = {.shard = SHARD,
					    .status = STATUS_STREAM_GAP,
					    .last = {1, 2},
					    .incarnation = INCARNATION + PEER_C};
	storage_bench_deliver(b, PEER_C, MSG_stream_append_ack, 3, &gap);
	storage_bench_advance(b, 50);
	assert_null(strstr(buf_cstr(&b->trace), "snapshot_chunk"));
	assert_non_null(strstr(buf_cstr(&b->trace), "-> 13 e3 append after=1.6 "));
}

/* This peer, with so much of epoch 1, asks to lead. */
static void asked_to_promise(struct storage_bench *b, uint64_t peer, uint64_t epoch, uint64_t last)
{
	struct replica replicas[] = {{.node = SELF, .incarnation = INCARNATION + SELF},
				     {.node = PEER_B, .incarnation = INCARNATION + PEER_B},
				     {.node = PEER_C, .incarnation = INCARNATION + PEER_C}};
	struct msg_promise_request m = {.shard = {.id = SHARD,
						  .collection = COLLECTION,
						  .hash_last = UINT64_MAX,
						  .epoch = epoch,
						  .lead = peer,
						  .replicas = replicas,
						  .replicas_count = 3,
						  .write_quorum = 2},
					.boot = 1,
					.last = {.epoch = 1, .number = last}};
	storage_bench_clear(b);
	storage_bench_deliver(b, peer, MSG_promise_request, epoch, &m);
}

/* SELF and C have settled entry 3, and C, which has not applied it yet, copies over what SELF has.
 * Before the stream brings that again, B, which never had it, asks for a promise. */
static void test_what_counted_is_not_forgotten(void **state)
{
	struct storage_bench *b = *state;
	struct change change = first_write(b);
	struct msg_snapshot_chunk m = {
	    .shard = SHARD,
	    .snapshot = 1,
	    .last = true,
	    .position = {
		.last = 2, .last_epoch = 1, .applied = 2, .trimmed = 2, .trimmed_epoch = 1}};
	peers_follow(b, MODE_CONSISTENT);
	peers_append(b, 1, 1, 2, 2, &change);
	peers_place(b, 2, PEER_C, MODE_CONSISTENT);
	storage_bench_deliver(b, PEER_C, MSG_snapshot_chunk, 2, &m);
	storage_bench_stop(b, true);
	storage_bench_start(b);
	storage_bench_advance(b, LEASE_HELD_MS);
	asked_to_promise(b, PEER_B, 3, 2);
	expect(b, "-> 12 e3 promise_ack{shard=7 status=103 last={epoch=1 number=2} "
		  "incarnation=211 settled=2}\n");
	asked_to_promise(b, PEER_C, 4, 3);
	expect(b, "-> 13 e4 promise_ack{shard=7 status=0 last={epoch=1 number=2} "
		  "incarnation=211 settled=2}\n");
}

#define CASE(name)                                                                                 \
	cmocka_unit_test_setup_teardown(name, storage_bench_setup, storage_bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_what_was_said_before_a_copy_is_over),
	    CASE(test_damage_is_not_copied),
	    CASE(test_a_wrong_copy_stays_wrong),
	    CASE(test_a_late_piece_does_not_begin_a_copy_anew),
	    CASE(test_a_copy_ends_under_load),
	    CASE(test_a_copy_that_stands_still_keeps_nothing),
	    CASE(test_a_slow_copy_keeps_so_much),
	    CASE(test_nobody_is_copied_to_who_is_away),
	    CASE(test_a_copy_ends_with_who_is_away),
	    CASE(test_a_copy_that_nobody_takes_ends),
	    CASE(test_what_was_said_before_an_ended_copy_is_over),
	    CASE(test_an_ended_copy_may_still_come),
	    CASE(test_restarts_keep_nothing),
	    CASE(test_no_copy_over_what_counted),
	    CASE(test_what_counted_is_not_forgotten),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
