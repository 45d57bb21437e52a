/* The digest of a shard, what is read in the background, and what a node does with a copy that is
 * wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/timing.h"
#include "storage-node/digest.h"
#include "storage-node/keys.h"
#include "storage-node/scrub.h"
#include "tests/sim/storage_peers.h"

enum { REST_MS = 1000, FIRST = 3 /* number of the first write */ };

static int setup(void **state)
{
	struct storage_bench *b = malloc(sizeof *b);
	assert_non_null(b);
	storage_bench_init(b);
	storage_bench_stop(b, false);
	b->options.scrub_bytes_per_second = 1024 * 1024;
	b->options.scrub_rest_ms = REST_MS;
	storage_bench_start(b);
	*state = b;
	return 0;
}

/* ---- what the digest is ---- */

struct sum {
	enum store_family family;
	uint64_t digest;
};

static void add_pair(void *context, struct slice key, struct slice value)
{
	struct sum *sum = context;
	sum->digest += digest_pair(sum->family, key, value);
}

static uint64_t stored_sum(struct storage_bench *b)
{
	struct buf key = {0};
	struct sum sum = {.family = STORE_DOCUMENTS};
	disk_walk(b->disk, STORE_DOCUMENTS, key_shard(&key, 'd', SHARD), add_pair, &sum);
	sum.family = STORE_CONFLICTS;
	disk_walk(b->disk, STORE_CONFLICTS, key_shard(&key, 'd', SHARD), add_pair, &sum);
	buf_close(&key);
	return sum.digest;
}

static void take_position(void *context, struct slice key, struct slice value)
{
	struct arena arena = {0};
	(void)key;
	assert_true(schema_decode(&schema_shard_position, value, &arena, context));
	arena_close(&arena);
}

static struct shard_position position(struct storage_bench *b)
{
	struct buf key = {0};
	struct shard_position p = {0};
	disk_walk(b->disk, STORE_META, key_shard(&key, 'x', SHARD), take_position, &p);
	buf_close(&key);
	return p;
}

static void test_digest_is_the_sum_of_what_is_stored(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_AVAILABLE);
	assert_true(position(b).digested);
	assert_true(position(b).digest == stored_sum(b)); /* where the epoch begins */
	for (uint64_t n = 0; n < 6; n++) {                /* bodies of ancestors come and go */
		struct msg_doc_write m = peers_put(b, n % 2 ? "a" : "b", n + 1);
		peers_write(b, 1, &m);
		peers_ack(b, PEER_B, 1, FIRST + n);
	}
	struct msg_doc_write branch = peers_put(b, "a", 90);
	branch.branch = true;
	peers_write(b, 1, &branch);
	peers_ack(b, PEER_B, 1, FIRST + 6);
	assert_true(peers_pairs(b, STORE_DOCUMENTS, 'd') >= 2);
	assert_true(position(b).digest != 0);
	assert_true(position(b).digest == stored_sum(b));
}

/* ---- a replica of B ---- */

static void follow_with_a_document(struct storage_bench *b)
{
	uint8_t hash[16] = {1};
	struct change change = {.kind = CHANGE_WRITE,
				.id = slice_text("a"),
				.revision = {.generation = 1, .hash = slice_of(hash, sizeof hash)},
				.body = peers_body(b, 1)};
	peers_follow(b, MODE_CONSISTENT);
	peers_append(b, 1, 1, 2, FIRST, &change);
	peers_append(b, 1, 1, FIRST, FIRST, NULL);
	assert_int_equal(peers_pairs(b, STORE_DOCUMENTS, 'd'), 1);
	storage_bench_clear(b);
}

static void renew(struct storage_bench *b, bool spare, uint64_t digest, bool outvoted)
{
	struct shard_epoch shard = {.shard = SHARD,
				    .epoch = 1,
				    .settled = FIRST,
				    .digest_number = digest ? FIRST : 0,
				    .digest = digest,
				    .spare = spare,
				    .outvoted = outvoted};
	struct msg_lease_renew m = {
	    .sent_ms = (uint64_t)b->now_ms, .boot = 1, .shards = &shard, .shards_count = 1};
	storage_bench_deliver(b, PEER_B, MSG_lease_renew, 0, &m);
}

static bool traced(const struct storage_bench *b, const char *text)
{
	return b->trace.len > 0 && strstr(buf_cstr((struct buf *)&b->trace), text) != NULL;
}

static void flip(struct storage_bench *b)
{
	struct rng rng;
	struct buf key = {0};
	rng_init(&rng, 7);
	enum store_family family;
	struct buf flipped = {0};
	assert_true(disk_flip_any(b->disk, key_shard(&key, 'd', SHARD), &rng, &family, &flipped));
	buf_close(&flipped);
	buf_close(&key);
}

static void test_sound_copy_is_kept(void **state)
{
	struct storage_bench *b = *state;
	follow_with_a_document(b);
	for (int i = 0; i < 10; i++) {
		renew(b, true, 0, false);
		storage_bench_advance(b, REST_MS / 2);
	}
	assert_false(traced(b, "reset"));
}

static void test_flipped_bit_is_found(void **state)
{
	struct storage_bench *b = *state;
	follow_with_a_document(b);
	flip(b);
	renew(b, true, 0, false);
	storage_bench_advance(b, REST_MS / 2);
	renew(b, true, 0, false);
	storage_bench_advance(b, REST_MS);
	renew(b, true, 0, false);
	storage_bench_advance(b, REST_MS / 2);
	assert_true(traced(b, "reset: damaged data"));
}

static void test_last_copies_are_kept(void **state)
{
	struct storage_bench *b = *state;
	follow_with_a_document(b);
	flip(b);
	storage_bench_advance(b, 3 * REST_MS);
	assert_false(traced(b, "reset"));
	renew(b, false, 0, false);
	storage_bench_advance(b, 3 * REST_MS);
	assert_false(traced(b, "reset"));
	struct buf text = {0};
	storage_ops.metrics(b->core, &text);
	assert_non_null(strstr(buf_cstr(&text), "parley_shards_damaged 1\n"));
	buf_close(&text);
	renew(b, true, 0, false); /* now the others have it all */
	storage_bench_advance(b, REST_MS / 2);
	assert_true(traced(b, "reset: damaged data"));
}

static bool is_damaged(struct storage_bench *b)
{
	struct buf text = {0};
	storage_ops.metrics(b->core, &text);
	bool damaged = strstr(buf_cstr(&text), "parley_shards_damaged 1\n") != NULL;
	buf_close(&text);
	return damaged;
}

static void pass_spared(struct storage_bench *b)
{
	for (int i = 0; i < 6; i++) {
		renew(b, true, 0, false);
		storage_bench_advance(b, REST_MS / 2);
	}
}

/* The lead that said so is none any more: the next one may have said it to another. */
static void test_a_new_lead_says_anew_who_is_spared(void **state)
{
	struct storage_bench *b = *state;
	follow_with_a_document(b);
	flip(b);
	storage_bench_advance(b, 3 * REST_MS);
	assert_true(is_damaged(b));
	renew(b, true, 0, false);
	peers_place(b, 2, PEER_C, MODE_CONSISTENT);
	storage_bench_advance(b, SPARE_MS);
	assert_false(traced(b, "reset: damaged data"));
}

/* C copies over what B and this replica were counted for, and has not sent all of it again. What
 * the copy brought is counted on as well. */
static void test_a_copy_that_lacks_something_is_kept(void **state)
{
	struct storage_bench *b = *state;
	struct buf key = {0};
	struct slice record;
	struct change unsettled = {.kind = CHANGE_WRITE,
				   .id = slice_text("b"),
				   .operation_id = peers_operation(b, 2),
				   .revision = {.generation = 1, .hash = slice_text("x")},
				   .body = peers_body(b, 2)};
	follow_with_a_document(b);
	key_document(&key, SHARD, slice_text("a"));
	assert_int_equal(store_get(b->store, STORE_DOCUMENTS, buf_slice(&key), &record), STORE_OK);
	struct key_value pair = {.family = STORE_DOCUMENTS, .value = arena_copy(&b->arena, record)};
	pair.key = slice_of(key.data + KEY_SHARD_BYTES, key.len - KEY_SHARD_BYTES);
	struct msg_snapshot_chunk m = {.shard = SHARD,
				       .snapshot = 1,
				       .pairs = &pair,
				       .pairs_count = 1,
				       .last = true,
				       .position = {.last = FIRST,
						    .last_epoch = 1,
						    .applied = FIRST,
						    .trimmed = FIRST,
						    .trimmed_epoch = 1,
						    .documents = 1}};
	peers_append(b, 1, 1, FIRST, FIRST, &unsettled);
	peers_place(b, 2, PEER_C, MODE_CONSISTENT);
	storage_bench_deliver(b, PEER_C, MSG_snapshot_chunk, 2, &m);
	assert_int_equal(peers_pairs(b, STORE_DOCUMENTS, 'd'), 1);
	flip(b);
	storage_bench_advance(b, 3 * REST_MS);
	assert_true(is_damaged(b));
	assert_false(traced(b, "reset"));
	buf_close(&key);
}

/* A bad sector ends the walk that checks, and not the node: it is read once more, then it counts as
 * damage. */
static void unreadable_is_damage(struct storage_bench *b, enum store_family family,
				 struct slice key)
{
	bool damaged;
	follow_with_a_document(b);
	assert_true(disk_make_unreadable(b->disk, family, key));
	storage_bench_advance(b, 3 * REST_MS);
	assert_false(disk_store_failed(b->store, &damaged));
	assert_true(is_damaged(b));
	assert_false(traced(b, "reset"));
	pass_spared(b);
	assert_true(traced(b, "reset: damaged data"));
}

static void test_what_can_not_be_read_is_damage(void **state)
{
	struct buf key = {0};
	unreadable_is_damage(*state, STORE_DOCUMENTS, key_document(&key, SHARD, slice_text("a")));
	buf_close(&key);
}

/* What no client asks for any more, a replica that was away may. */
static void test_so_is_an_entry_of_the_stream(void **state)
{
	struct buf key = {0};
	unreadable_is_damage(*state, STORE_STREAM, key_number(&key, 'e', SHARD, 1));
	buf_close(&key);
}

/* A client was told that a branch is safe on this disk: first its lead must have it. */
static void test_branches_go_before_damaged_data(void **state)
{
	struct storage_bench *b = *state;
	struct change change;
	peers_follow(b, MODE_AVAILABLE);
	struct msg_doc_write m = peers_put(b, "d", 1);
	m.branch = true;
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_ACCEPTED);
	flip(b);
	pass_spared(b);
	assert_true(is_damaged(b));
	assert_false(traced(b, "reset"));
	CHECK(schema_decode(&schema_change, b->pushed.change, &b->arena, &change));
	peers_append(b, 1, 1, 2, FIRST, &change);
	peers_append(b, 1, 1, FIRST, FIRST, NULL);
	pass_spared(b);
	assert_true(traced(b, "reset: damaged data"));
}

/* Its peers have synced up to here. */
static void both_ack(struct storage_bench *b, uint64_t number)
{
	peers_ack(b, PEER_B, 1, number);
	peers_ack(b, PEER_C, 1, number);
}

/* Leads, with "a" settled; has not heard of its peers for a while, and finds that it is damaged. */
static void lead_damaged_alone(struct storage_bench *b)
{
	peers_lead(b, MODE_AVAILABLE);
	struct msg_doc_write m = peers_put(b, "a", 1);
	peers_write(b, 1, &m);
	both_ack(b, FIRST);
	storage_bench_advance(b, 2 * OFFLINE_MS);
	flip(b);
	assert_false(b->beat.shards[0].damaged);
	storage_bench_advance(b, 5 * REST_MS);
	assert_true(is_damaged(b));
	assert_false(traced(b, "reset"));
}

/* It accepted a write alone: its peers, which are back, have all but that. */
static void test_a_lead_goes_after_what_it_accepted(void **state)
{
	struct storage_bench *b = *state;
	lead_damaged_alone(b);
	struct msg_doc_write m = peers_put(b, "d", 2);
	m.branch = true;
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_ACCEPTED);
	assert_false(traced(b, "reset"));
	both_ack(b, FIRST);
	storage_bench_advance(b, REST_MS / 2);
	assert_false(traced(b, "reset"));
	both_ack(b, FIRST + 1);
	storage_bench_advance(b, REST_MS / 2);
	assert_true(traced(b, "reset: damaged data"));
}

/* B and C had all that is settled, but nobody has heard of them for a while: their disks may be
 * gone, and the lead's be the last. */
static void test_silent_peers_are_not_counted_on(void **state)
{
	struct storage_bench *b = *state;
	lead_damaged_alone(b);
	assert_true(b->beat.shards[0].damaged); /* so that another one leads */
	assert_false(traced(b, "reset"));
	both_ack(b, FIRST);
	storage_bench_advance(b, REST_MS / 2);
	assert_true(traced(b, "reset: damaged data"));
}

/* SELF joins in the place of OLD, votes and leads; or the move was called off, and B leads. */
static void place_joint(struct storage_bench *b, uint64_t epoch, bool called_off)
{
	enum { OLD = 77 };
	struct replica replicas[] = {
	    {.node = PEER_B, .incarnation = INCARNATION + PEER_B},
	    {.node = PEER_C, .incarnation = INCARNATION + PEER_C},
	    {.node = OLD, .incarnation = INCARNATION + OLD, .leaving = !called_off},
	    {.node = SELF, .incarnation = INCARNATION + SELF, .joining = true}};
	peers_place_among(b, epoch, called_off ? PEER_B : SELF, MODE_AVAILABLE, replicas,
			  called_off ? 3 : 4);
}

/* The target of a move led, was cut off, and accepted a write that stands in its tail alone. It is
 * damaged, the coordinator calls the move off for that: the write goes to the lead first. */
static void test_a_tail_goes_before_damaged_data(void **state)
{
	struct storage_bench *b = *state;
	place_joint(b, 1, false);
	for (uint64_t n = 0; n <= 2; n++)
		for (uint64_t node = PEER_B; node <= PEER_C; node++) {
			if (n == 0)
				peers_promise(b, node, 1, STATUS_OK);
			peers_ack(b, node, 1, n);
		}
	peers_grant(b, PEER_B, 1, false);
	peers_grant(b, PEER_C, 1, false);
	struct msg_doc_write m = peers_put(b, "a", 1);
	peers_write(b, 1, &m);
	both_ack(b, FIRST);
	assert_int_equal(b->written.status, STATUS_CREATED);
	flip(b);
	storage_bench_advance(b, 3 * REST_MS);
	assert_true(is_damaged(b));
	m = peers_put(b, "d", 2);
	m.branch = true;
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_ACCEPTED);
	assert_false(traced(b, "reset"));
	place_joint(b, 2, true);
	storage_bench_advance(b, REST_MS);
	assert_false(traced(b, "reset"));
}

/* Both others are there, say that they have all, and perhaps that they are damaged. */
static void pass(struct storage_bench *b, int64_t ms, bool b_damaged, bool c_damaged)
{
	for (int64_t end = b->now_ms + ms; b->now_ms < end;) {
		for (uint64_t node = PEER_B; node <= PEER_C; node++) {
			bool damaged = node == PEER_B ? b_damaged : c_damaged;
			struct shard_epoch shard = {.shard = SHARD, .epoch = 1, .spare = damaged};
			struct msg_lease_grant m = {.sent_ms = (uint64_t)b->now_ms,
						    .boot = b->boot,
						    .incarnation = INCARNATION + node,
						    .shards = &shard,
						    .shards_count = 1};
			peers_ack(b, node, 1, FIRST);
			storage_bench_deliver(b, node, MSG_lease_grant, 0, &m);
		}
		storage_bench_advance(b, 100);
	}
}

/* Each could be spared, but not both: the lead's disk would be the only one. */
static void test_one_damaged_copy_goes_at_a_time(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	struct msg_doc_write m = peers_put(b, "a", 1);
	peers_write(b, 1, &m);
	pass(b, 2 * SPARED_MS, false, false);
	storage_bench_clear(b);
	pass(b, 2 * SPARED_MS, true, true);
	assert_int_equal(b->spared, 1 << PEER_B);
	/* the first is there again, as a whole, and what it was told is long ago */
	storage_bench_clear(b);
	pass(b, 2 * SPARED_MS, false, true);
	assert_int_equal(b->spared, 1 << PEER_C);
	flip(b); /* the lead's own */
	storage_bench_clear(b);
	pass(b, SPARED_MS / 2, false, false);
	assert_false(traced(b, "reset"));
	pass(b, SPARED_MS, false, false);
	assert_true(traced(b, "reset: damaged data"));
}

/* A shard of one copy, beside the other one. */
static void place_alone(struct storage_bench *b)
{
	struct replica self = {.node = SELF, .incarnation = INCARNATION + SELF};
	struct shard shard = {.id = SHARD + 1,
			      .collection = COLLECTION,
			      .hash_last = UINT64_MAX,
			      .epoch = 1,
			      .lead = SELF,
			      .replicas = &self,
			      .replicas_count = 1,
			      .write_quorum = 1};
	struct msg_map_push push = {.map_version = 9, .shards = &shard, .shards_count = 1};
	storage_bench_deliver(b, COORDINATOR, MSG_map_push, 0, &push);
}

/* Whether it asks to go, once it has found the flipped bit. */
static bool asks(struct storage_bench *b)
{
	follow_with_a_document(b);
	flip(b);
	storage_bench_advance(b, 3 * REST_MS);
	assert_true(is_damaged(b));
	storage_bench_clear(b);
	renew(b, false, 0, false);
	assert_true(traced(b, "lease_grant"));
	return traced(b, "spare=");
}

static void test_asks_to_go(void **state)
{
	assert_true(asks(*state));
}

/* A node that no lead can ever let go asks for nothing: others would wait for it for good. */
static void test_who_can_never_go_does_not_ask(void **state)
{
	place_alone(*state);
	assert_false(asks(*state));
}

/* ---- the stream ---- */

static void garble_entry(struct storage_bench *b, uint64_t number)
{
	struct buf key = {0};
	uint8_t value[] = {0, 0, 0, 0, 0, 0, 0, 1, 0xc1};
	store_put(b->store, STORE_STREAM, key_number(&key, 'e', SHARD, number),
		  slice_of(value, sizeof value));
	storage_bench_turn(b);
	buf_close(&key);
}

/* C needs an entry that the lead's disk has damaged since: it gets what was made of it. */
static void test_a_damaged_entry_is_not_passed_on(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	struct msg_doc_write m = peers_put(b, "d", 1);
	peers_write(b, 1, &m);
	peers_ack(b, PEER_B, 1, 3);
	garble_entry(b, 2);
	storage_bench_clear(b);
	peers_ack(b, PEER_C, 1, 1);
	storage_bench_advance(b, 1000);
	assert_true(traced(b, "-> 13 e1 snapshot_chunk"));
	assert_true(is_damaged(b));
}

/* One that was not applied yet: the node can't lead any more. */
static void test_who_has_a_damaged_entry_does_not_lead(void **state)
{
	struct storage_bench *b = *state;
	peers_follow(b, MODE_CONSISTENT);
	struct change change = {.kind = CHANGE_EPOCH};
	peers_append(b, 1, 1, 2, 2, &change);
	garble_entry(b, 3);
	storage_bench_stop(b, false);
	storage_bench_start(b);
	peers_place(b, 2, SELF, MODE_CONSISTENT);
	storage_bench_advance(b, 1000);
	assert_int_equal(b->beat.shards[0].state, SHARD_STUCK);
	assert_true(is_damaged(b));
}

/* What it accepted alone can still settle: the damaged entry was applied long ago. */
static void test_an_applied_damaged_entry_holds_nothing_up(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_AVAILABLE);
	struct msg_doc_write m = peers_put(b, "a", 1);
	peers_write(b, 1, &m);
	peers_ack(b, PEER_B, 1, FIRST);
	garble_entry(b, FIRST);
	storage_bench_stop(b, false);
	storage_bench_start(b);
	peers_take_over(b, 2, PEER_B, FIRST);
	assert_true(is_damaged(b));
	storage_bench_advance(b, 2 * OFFLINE_MS);
	m = peers_put(b, "d", 2);
	m.branch = true;
	peers_write(b, 2, &m);
	assert_int_equal(b->written.status, STATUS_ACCEPTED);
	peers_ack(b, PEER_B, 2, FIRST + 1);
	peers_ack(b, PEER_C, 2, FIRST + 1);
	storage_bench_advance(b, REST_MS / 2);
	assert_false(traced(b, "reset"));
	peers_ack(b, PEER_B, 2, FIRST + 2);
	peers_ack(b, PEER_C, 2, FIRST + 2);
	storage_bench_advance(b, REST_MS / 2);
	assert_true(traced(b, "reset: damaged data"));
}

/* Between its decision to go and its going another lead has it cut what it ordered last: that is a
 * branch now, and a client hears so. */
static void test_who_goes_accepts_nothing(void **state)
{
	struct storage_bench *b = *state;
	struct change change = {.kind = CHANGE_EPOCH};
	lead_damaged_alone(b);
	struct msg_doc_write m = peers_put(b, "d", 2);
	peers_write(b, 1, &m);
	both_ack(b, FIRST);
	for (int i = 0; i < 100 && !traced(b, "lease_release"); i++)
		storage_bench_advance(b, 1);
	assert_true(traced(b, "lease_release"));
	assert_false(traced(b, "reset"));
	peers_place(b, 2, PEER_B, MODE_AVAILABLE);
	peers_append(b, 2, 1, FIRST, FIRST, &change);
	m.branch = true;
	b->written.status = STATUS_INTERNAL;
	peers_write(b, 2, &m);
	storage_bench_advance(b, 2 * 50);
	assert_int_not_equal(b->written.status, STATUS_ACCEPTED);
	assert_true(traced(b, "reset: damaged data"));
}

/* B and this node alone have entry FIRST, which the lead before may have settled. */
static void test_before_it_serves_a_lead_spares_nobody(void **state)
{
	struct storage_bench *b = *state;
	struct change change = {.kind = CHANGE_EPOCH};
	peers_follow(b, MODE_CONSISTENT);
	peers_append(b, 1, 1, 2, 2, &change);
	peers_place(b, 2, SELF, MODE_CONSISTENT);
	storage_bench_advance(b, LEASE_HELD_MS);
	peers_promise(b, PEER_B, 2, STATUS_OK);
	storage_bench_clear(b);
	for (int64_t end = b->now_ms + 2 * SPARED_MS; b->now_ms < end;) {
		struct shard_epoch shard = {.shard = SHARD, .epoch = 2, .spare = true};
		struct msg_lease_grant m = {.sent_ms = (uint64_t)b->now_ms,
					    .boot = b->boot,
					    .incarnation = INCARNATION + PEER_B,
					    .shards = &shard,
					    .shards_count = 1};
		peers_ack(b, PEER_C, 2, 2);
		storage_bench_deliver(b, PEER_B, MSG_lease_grant, 0, &m);
		storage_bench_advance(b, 100);
	}
	assert_int_equal(b->spared, 0);
}

static void test_majority_decides_where_all_add_up(void **state)
{
	struct storage_bench *b = *state;
	follow_with_a_document(b);
	uint64_t mine = position(b).digest;
	renew(b, true, mine, true);
	storage_bench_advance(b, 100);
	assert_false(traced(b, "reset"));
	renew(b, true, mine + 1, false); /* different; nobody knows yet who is wrong */
	storage_bench_advance(b, REST_MS / 2);
	assert_false(traced(b, "reset"));
	renew(b, true, mine + 1, true);
	storage_bench_advance(b, REST_MS / 2);
	assert_true(traced(b, "reset: damaged data"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, storage_bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_digest_is_the_sum_of_what_is_stored),
	    CASE(test_sound_copy_is_kept),
	    CASE(test_flipped_bit_is_found),
	    CASE(test_last_copies_are_kept),
	    CASE(test_a_new_lead_says_anew_who_is_spared),
	    CASE(test_a_copy_that_lacks_something_is_kept),
	    CASE(test_what_can_not_be_read_is_damage),
	    CASE(test_so_is_an_entry_of_the_stream),
	    CASE(test_branches_go_before_damaged_data),
	    CASE(test_a_lead_goes_after_what_it_accepted),
	    CASE(test_silent_peers_are_not_counted_on),
	    CASE(test_a_tail_goes_before_damaged_data),
	    CASE(test_one_damaged_copy_goes_at_a_time),
	    CASE(test_asks_to_go),
	    CASE(test_who_can_never_go_does_not_ask),
	    CASE(test_a_damaged_entry_is_not_passed_on),
	    CASE(test_who_has_a_damaged_entry_does_not_lead),
	    CASE(test_an_applied_damaged_entry_holds_nothing_up),
	    CASE(test_who_goes_accepts_nothing),
	    CASE(test_before_it_serves_a_lead_spares_nobody),
	    CASE(test_majority_decides_where_all_add_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
