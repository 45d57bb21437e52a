/* Versions taken out for good, at the storage node's core. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/doc/revision.h"
#include "storage-node/internal.h"
#include "tests/sim/storage_peers.h"

/* 2-hash on 1-a, or 1-a alone, as a replicator brings it. */
static void push(struct storage_bench *b, const char *hash, uint64_t v, uint64_t settles)
{
	struct slice hashes[2] = {slice_text(hash), slice_text("a")};
	bool root = hash[0] == 'a';
	struct import_item one = {.id = slice_text("d"),
				  .generation = root ? 1 : 2,
				  .hashes = hashes,
				  .hashes_count = root ? 1 : 2,
				  .body = peers_body(b, v)};
	struct msg_doc_import m = {.shard = SHARD, .items = &one, .items_count = 1};
	storage_bench_deliver(b, GATEWAY, MSG_doc_import, 1, &m);
	peers_ack(b, PEER_B, 1, settles);
	assert_int_equal(b->imported.status, STATUS_OK);
}

/* Asks for up to two versions of d; returns how many went. */
static uint32_t erase(struct storage_bench *b, struct revision first, struct revision second,
		      uint64_t settles)
{
	struct revision list[2] = {first, second};
	struct revs_asked d = {.id = slice_text("d"),
			       .revisions = list,
			       .revisions_count = second.generation > 0 ? 2 : 1};
	struct msg_doc_erase m = {.shard = SHARD, .items = &d, .items_count = 1};
	b->erased = (struct msg_doc_erase_ack){.status = 999};
	storage_bench_deliver(b, GATEWAY, MSG_doc_erase, 1, &m);
	if (settles > 0) {
		assert_int_equal(b->erased.status, 999);
		peers_ack(b, PEER_B, 1, settles);
	}
	assert_int_equal(b->erased.status, STATUS_OK);
	return b->erased.items_count ? b->erased.items[0].revisions_count : 0;
}

static struct revision rev(uint64_t generation, const char *hash)
{
	return (struct revision){generation, slice_text(hash)};
}

static const struct revision none = {0};

static uint64_t conflicts_listed(struct storage_bench *b)
{
	struct msg_conflict_list list = {.shard = SHARD};
	storage_bench_deliver(b, GATEWAY, MSG_conflict_list, 1, &list);
	return b->listed.rows_count;
}

static uint64_t changes_listed(struct storage_bench *b)
{
	struct msg_shard_changes m = {.shard = SHARD};
	storage_bench_deliver(b, GATEWAY, MSG_shard_changes, 1, &m);
	return b->changed.rows_count;
}

static uint64_t documents(struct storage_bench *b)
{
	struct msg_shard_query m = {.shard = SHARD, .count = true};
	storage_bench_deliver(b, GATEWAY, MSG_shard_query, 1, &m);
	return b->queried.count + b->queried.deleted;
}

static void test_a_document_goes_with_all_its_traces(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_AVAILABLE);
	push(b, "a", 1, 3);
	push(b, "b", 2, 4);
	assert_int_equal(changes_listed(b), 1);
	assert_int_equal(erase(b, rev(1, "a"), none, 0), 0); /* 2-b was made of it */
	assert_int_equal(erase(b, rev(2, "z"), none, 0), 0);
	assert_int_equal(erase(b, rev(2, "b"), none, 5), 1);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_NOT_FOUND);
	assert_int_equal(peers_pairs(b, STORE_DOCUMENTS, 'd'), 0);
	assert_int_equal(peers_pairs(b, STORE_CONFLICTS, 'd'), 0);
	assert_int_equal(changes_listed(b), 0);
	assert_int_equal(documents(b), 0);
	assert_int_equal(b->queried.erased, 1);
	assert_int_equal(b->queried.changed, 0);
	assert_int_equal(erase(b, rev(2, "b"), none, 0), 0);
	/* who still has it brings it back */
	push(b, "b", 2, 6);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_int_equal(b->was_read.conflicts, 0);
}

static void test_one_side_of_a_conflict(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_AVAILABLE);
	push(b, "a", 1, 3);
	push(b, "b", 2, 4);
	push(b, "c", 3, 5);
	assert_int_equal(conflicts_listed(b), 1);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_true(slice_is(b->was_read.revision.hash, "c"));
	assert_int_equal(erase(b, rev(2, "c"), none, 6), 1);
	assert_int_equal(conflicts_listed(b), 0);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_true(slice_is(b->was_read.revision.hash, "b"));
	assert_true(slice_equal(b->was_read.body, peers_body(b, 2)));
	assert_int_equal(b->was_read.conflicts, 0);
	assert_int_equal(documents(b), 1);
	assert_int_equal(changes_listed(b), 1);
	assert_int_equal(b->changed.rows[0].number, 6);
	/* its record, and what it was made of */
	assert_int_equal(peers_pairs(b, STORE_DOCUMENTS, 'd'), 2);
}

/* 1-a of "d"; in the bench's arena. */
static struct msg_doc_import push_of(struct storage_bench *b)
{
	struct slice *hash = arena_alloc(&b->arena, sizeof *hash);
	struct import_item *one = arena_alloc(&b->arena, sizeof *one);
	*hash = slice_text("a");
	*one = (struct import_item){.id = slice_text("d"),
				    .generation = 1,
				    .hashes = hash,
				    .hashes_count = 1,
				    .body = peers_body(b, 1)};
	return (struct msg_doc_import){.shard = SHARD, .items = one, .items_count = 1};
}

static void test_decided_on_what_is_under_way(void **state)
{
	struct storage_bench *b = *state;
	struct msg_doc_import m = push_of(b);
	peers_lead(b, MODE_AVAILABLE);
	storage_bench_deliver(b, GATEWAY, MSG_doc_import, 1, &m);
	struct revision list[1] = {rev(1, "a")};
	struct revs_asked d = {.id = slice_text("d"), .revisions = list, .revisions_count = 1};
	struct msg_doc_erase gone = {.shard = SHARD, .items = &d, .items_count = 1};
	storage_bench_deliver(b, GATEWAY, MSG_doc_erase, 1, &gone);
	storage_bench_deliver(b, GATEWAY, MSG_doc_import, 1, &m); /* and once more */
	peers_ack(b, PEER_B, 1, 5);
	assert_int_equal(b->erased.items_count, 1);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_true(slice_equal(b->was_read.body, peers_body(b, 1)));
	assert_int_equal(erase(b, rev(1, "a"), none, 6), 1);
	assert_int_equal(peers_pairs(b, STORE_DOCUMENTS, 'd'), 0);
}

static void test_both_sides(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_AVAILABLE);
	push(b, "a", 1, 3);
	push(b, "b", 2, 4);
	push(b, "c", 3, 5);
	assert_int_equal(erase(b, rev(2, "b"), rev(2, "c"), 6), 2);
	assert_int_equal(conflicts_listed(b), 0);
	assert_int_equal(peers_pairs(b, STORE_DOCUMENTS, 'd'), 0);
	assert_int_equal(peers_pairs(b, STORE_CONFLICTS, 'd'), 0);
}

/* A copy of a push that was on its way when its document was erased; who pushes it anew may. */
static void test_a_late_copy_brings_nothing_back(void **state)
{
	struct storage_bench *b = *state;
	struct msg_doc_import m = push_of(b);
	peers_lead(b, MODE_AVAILABLE);
	m.sent_ms = (uint64_t)b->now_ms;
	storage_bench_deliver(b, GATEWAY, MSG_doc_import, 1, &m);
	peers_ack(b, PEER_B, 1, 3);
	assert_int_equal(b->imported.status, STATUS_OK);
	b->now_ms += 10;
	assert_int_equal(erase(b, rev(1, "a"), none, 4), 1);
	storage_bench_deliver(b, GATEWAY, MSG_doc_import, 1, &m);
	assert_int_equal(b->imported.status, STATUS_STALE);
	m.sent_ms = (uint64_t)b->now_ms; /* by the same millisecond nobody can tell */
	storage_bench_deliver(b, GATEWAY, MSG_doc_import, 1, &m);
	assert_int_equal(b->imported.status, STATUS_STALE);
	assert_true(b->imported.clock_ms >= m.sent_ms);
	assert_int_equal(peers_pairs(b, STORE_DOCUMENTS, 'd'), 0);
	b->now_ms++;
	m.sent_ms = (uint64_t)b->now_ms;
	storage_bench_deliver(b, GATEWAY, MSG_doc_import, 1, &m);
	peers_ack(b, PEER_B, 1, 5);
	assert_int_equal(b->imported.status, STATUS_OK);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
}

/* A replica pushes a branch until it sees it in the stream: once more after it was erased there. */
static void test_a_branch_pushed_again_brings_nothing_back(void **state)
{
	struct storage_bench *b = *state;
	struct change branch = {.kind = CHANGE_BRANCH,
				.id = slice_text("d"),
				.revision = rev(1, "a"),
				.operation_id = slice_text("0123456789abcdef"),
				.body = peers_body(b, 1)};
	struct buf encoded = {0};
	peers_lead(b, MODE_AVAILABLE);
	schema_encode(&schema_change, &branch, &encoded);
	struct msg_outbox_push m = {.shard = SHARD, .change = buf_slice(&encoded), .applied = 2};
	storage_bench_deliver(b, PEER_B, MSG_outbox_push, 1, &m);
	peers_ack(b, PEER_B, 1, 3);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_int_equal(erase(b, rev(1, "a"), none, 4), 1);
	m.applied = 3;
	storage_bench_deliver(b, PEER_B, MSG_outbox_push, 1, &m);
	peers_ack(b, PEER_B, 1, 4);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_NOT_FOUND);
	m.applied = 4; /* never in the stream by then: accepted is accepted */
	storage_bench_deliver(b, PEER_B, MSG_outbox_push, 1, &m);
	peers_ack(b, PEER_B, 1, 5);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	buf_close(&encoded);
}

/* 2-hash on 1-a, which settles with what follows. */
static void push_under_way(struct storage_bench *b, const char *hash, uint64_t v)
{
	struct slice hashes[2] = {slice_text(hash), slice_text("a")};
	struct import_item one = {.id = slice_text("d"),
				  .generation = 2,
				  .hashes = hashes,
				  .hashes_count = 2,
				  .body = peers_body(b, v)};
	struct msg_doc_import m = {.shard = SHARD, .items = &one, .items_count = 1};
	storage_bench_deliver(b, GATEWAY, MSG_doc_import, 1, &m);
}

static uint64_t clean_up(struct storage_bench *b, struct slice resolution, uint64_t number,
			 uint64_t settles)
{
	struct cleanup_item item = {slice_text("d"), resolution, number, false};
	struct cleanup_ack_row acks[] = {{SELF, INCARNATION + SELF, number},
					 {PEER_B, INCARNATION + PEER_B, number},
					 {PEER_C, INCARNATION + PEER_C, number}};
	struct msg_cleanup_commit m = {
	    .shard = SHARD, .items = &item, .items_count = 1, .acks = acks, .acks_count = 3};
	b->cleaned = (struct msg_cleanup_commit_ack){.status = 999};
	storage_bench_deliver(b, ARBITER, MSG_cleanup_commit, 1, &m);
	if (b->cleaned.status == 999)
		peers_ack(b, PEER_B, 1, settles);
	assert_int_equal(b->cleaned.status, STATUS_OK);
	return b->cleaned.cleaned;
}

/* Of 2-b and 2-c; in the bench's arena. */
static struct msg_conflict_resolve resolution(struct storage_bench *b, uint64_t v, uint64_t id)
{
	struct revision *leaves = arena_alloc(&b->arena, 2 * sizeof *leaves);
	leaves[0] = rev(2, "b");
	leaves[1] = rev(2, "c");
	struct msg_conflict_resolve m = {.shard = SHARD,
					 .id = slice_text("d"),
					 .leaves = leaves,
					 .leaves_count = 2,
					 .parents = leaves,
					 .parents_count = 2,
					 .body = arena_copy(&b->arena, peers_body(b, v)),
					 .policy_version = 1};
	m.resolution_id = arena_copy(&b->arena, peers_operation(b, id));
	struct revision_content content = {
	    .parents = leaves, .parents_count = 2, .body = m.body, .policy = 1};
	revision_name(&content, arena_alloc(&b->arena, REVISION_HASH_CHARS), &m.revision);
	return m;
}

/* The same versions come again, and become the same: what the replicas have passed is the first
 * resolution, not this one. */
static void test_a_resolution_made_again_is_not_cleaned_up(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_AVAILABLE);
	push(b, "a", 1, 3);
	push(b, "b", 2, 4);
	push(b, "c", 3, 5);
	struct msg_conflict_resolve m = resolution(b, 4, 77);
	storage_bench_deliver(b, ARBITER, MSG_conflict_resolve, 1, &m);
	peers_ack(b, PEER_B, 1, 6);
	struct revs_asked d = {
	    .id = slice_text("d"), .revisions = &m.revision, .revisions_count = 1};
	struct msg_doc_erase gone = {.shard = SHARD, .items = &d, .items_count = 1};
	storage_bench_deliver(b, GATEWAY, MSG_doc_erase, 1, &gone);
	push_under_way(b, "b", 2);
	push_under_way(b, "c", 3);
	storage_bench_deliver(b, ARBITER, MSG_conflict_resolve, 1, &m); /* a late one */
	assert_int_equal(clean_up(b, m.resolution_id, 6, 11), 0);
	peers_ack(b, PEER_B, 1, 10);
	assert_int_equal(conflicts_listed(b), 1);
	assert_int_equal(b->listed.rows[0].conflict.number, 10);
	assert_int_equal(b->listed.rows[0].conflict.leaves_count, 2);
	assert_int_equal(clean_up(b, m.resolution_id, 10, 11), 1);
	assert_int_equal(conflicts_listed(b), 0);
}

/* A node without a place pushes it until it is told. */
static void test_a_branch_of_one_without_a_place(void **state)
{
	struct storage_bench *b = *state;
	struct buf encoded = {0};
	struct change change = {.kind = CHANGE_BRANCH,
				.id = slice_text("d"),
				.revision = rev(1, "a"),
				.body = peers_body(b, 1),
				.operation_id = peers_operation(b, 1)};
	peers_lead(b, MODE_AVAILABLE);
	schema_encode(&schema_change, &change, &encoded);
	struct msg_outbox_push m = {.shard = SHARD, .change = buf_slice(&encoded)};
	storage_bench_deliver(b, 14, MSG_outbox_push, 1, &m);
	peers_ack(b, PEER_B, 1, 3);
	assert_int_equal(erase(b, rev(1, "a"), none, 4), 1);
	storage_bench_clear(b);
	storage_bench_deliver(b, 14, MSG_outbox_push, 1, &m);
	assert_non_null(strstr(buf_cstr(&b->trace), "-> 14 e1 outbox_push_ack{shard=7 id=\"d\""));
	peers_ack(b, PEER_B, 1, 5);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_NOT_FOUND);
	buf_close(&encoded);
}

/* What the first resolution kept of them went with them. */
static void test_a_cleanup_leaves_what_came_again(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	push(b, "b", 2, 3);
	push(b, "c", 3, 4);
	struct msg_conflict_resolve first = resolution(b, 4, 77);
	storage_bench_deliver(b, ARBITER, MSG_conflict_resolve, 1, &first);
	peers_ack(b, PEER_B, 1, 5);
	assert_int_equal(erase(b, first.revision, none, 6), 1);
	push(b, "b", 2, 7);
	push(b, "c", 3, 8);
	struct msg_conflict_resolve second = resolution(b, 5, 78);
	storage_bench_deliver(b, ARBITER, MSG_conflict_resolve, 1, &second);
	peers_ack(b, PEER_B, 1, 9);
	assert_int_equal(clean_up(b, first.resolution_id, 5, 10), 1);
	struct msg_conflict_undo undo = {
	    .shard = SHARD, .id = slice_text("d"), .resolution_id = second.resolution_id};
	storage_bench_deliver(b, GATEWAY, MSG_conflict_undo, 1, &undo);
	peers_ack(b, PEER_B, 1, 11);
	assert_int_equal(b->undone.status, STATUS_OK);
	assert_int_equal(clean_up(b, second.resolution_id, 9, 12), 0);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_int_equal(b->was_read.conflicts, 1);
}

static void test_not_the_lead(void **state)
{
	struct storage_bench *b = *state;
	peers_follow(b, MODE_AVAILABLE);
	struct msg_doc_erase m = {.shard = SHARD};
	storage_bench_deliver(b, GATEWAY, MSG_doc_erase, 1, &m);
	assert_int_equal(b->erased.status, STATUS_NOT_LEAD);
}

/* What is asked for goes already, and everybody who asks waits for it. */
static void test_not_everybody_can_wait(void **state)
{
	struct storage_bench *b = *state;
	struct revision name = rev(1, "a");
	struct revs_asked d = {.id = slice_text("d"), .revisions = &name, .revisions_count = 1};
	struct msg_doc_erase m = {.shard = SHARD, .items = &d, .items_count = 1};
	peers_lead(b, MODE_AVAILABLE);
	push(b, "a", 1, 3);
	b->erased.status = 999;
	for (int i = 0; i <= WAITERS_MAX && b->erased.status == 999; i++)
		storage_bench_deliver(b, GATEWAY, MSG_doc_erase, 1, &m);
	assert_int_equal(b->erased.status, STATUS_OVERLOADED);
	peers_ack(b, PEER_B, 1, 4);
	assert_int_equal(b->erased.status, STATUS_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_a_document_goes_with_all_its_traces,
					    storage_bench_setup, storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_one_side_of_a_conflict, storage_bench_setup,
					    storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_decided_on_what_is_under_way, storage_bench_setup,
					    storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_both_sides, storage_bench_setup,
					    storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_a_late_copy_brings_nothing_back,
					    storage_bench_setup, storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_a_branch_pushed_again_brings_nothing_back,
					    storage_bench_setup, storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_a_resolution_made_again_is_not_cleaned_up,
					    storage_bench_setup, storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_a_branch_of_one_without_a_place,
					    storage_bench_setup, storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_a_cleanup_leaves_what_came_again,
					    storage_bench_setup, storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_not_everybody_can_wait, storage_bench_setup,
					    storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_not_the_lead, storage_bench_setup,
					    storage_bench_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
