/* Undo at the storage node's core: losers are leaves again, nobody but people resolves them, and
 * the history knows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/doc/revision.h"
#include "storage-node/internal.h"
#include "tests/core/storage_case.h"

enum { RESOLUTION = 77 };

/* Of a person: what is asked for next names this lock, if any. */
static struct slice lock_named;

/* Whatever the live leaves are, they become {"v": v}. */
static enum status resolve(struct storage_bench *b, uint64_t from, uint64_t v, uint64_t number)
{
	struct msg_doc_read read = {.shard = SHARD, .id = slice_text("d"), .want_leaves = true};
	struct revision leaves[3];
	char hash[REVISION_HASH_CHARS];
	storage_bench_deliver(b, GATEWAY, MSG_doc_read, 1, &read);
	uint32_t count = b->was_read.leaves_count;
	assert_in_range(count, 2, 3);
	memcpy(leaves, b->was_read.leaves, count * sizeof *leaves);
	revision_sort(leaves, count);
	struct msg_conflict_resolve m = {.shard = SHARD,
					 .id = slice_text("d"),
					 .leaves = leaves,
					 .leaves_count = count,
					 .parents = leaves,
					 .parents_count = count,
					 .body = peers_body(b, v),
					 .policy_version = 1,
					 .resolution_id = peers_operation(b, RESOLUTION + v),
					 .lock_ids = &lock_named,
					 .lock_ids_count = lock_named.len > 0};
	struct revision_content content = {
	    .parents = leaves, .parents_count = count, .body = m.body, .policy = 1};
	revision_name(&content, hash, &m.revision);
	b->resolved = (struct msg_conflict_resolve_ack){.status = 999};
	storage_bench_deliver(b, from, MSG_conflict_resolve, 1, &m);
	if (b->resolved.status == 999)
		peers_ack(b, PEER_B, 1, number);
	return b->resolved.status;
}

static enum status undo(struct storage_bench *b, uint64_t resolution, uint64_t number)
{
	struct msg_conflict_undo m = {.shard = SHARD,
				      .id = slice_text("d"),
				      .resolution_id = peers_operation(b, resolution),
				      .lock_ids = &lock_named,
				      .lock_ids_count = lock_named.len > 0};
	b->undone = (struct msg_conflict_undo_ack){.status = 999};
	storage_bench_deliver(b, GATEWAY, MSG_conflict_undo, 1, &m);
	if (b->undone.status == 999 && number > 0)
		peers_ack(b, PEER_B, 1, number);
	return b->undone.status;
}

static const struct conflict *row(struct storage_bench *b, bool history, uint32_t index)
{
	struct msg_conflict_list list = {.shard = SHARD, .history = history};
	storage_bench_deliver(b, GATEWAY, MSG_conflict_list, 1, &list);
	assert_true(index < b->listed.rows_count);
	return &b->listed.rows[index].conflict;
}

static void test_losers_are_leaves_again(void **state)
{
	struct storage_bench *b = *state;
	two_roots(b);
	assert_int_equal(resolve(b, ARBITER, 5, 5), STATUS_OK);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_int_equal(b->was_read.conflicts, 0);
	assert_int_equal(undo(b, RESOLUTION + 5, 6), STATUS_OK);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_int_equal(b->was_read.conflicts, 1);
	assert_int_equal(b->was_read.revision.generation, 2);
	const struct conflict *open = row(b, false, 0);
	assert_int_equal(open->state, CONFLICT_OPEN);
	assert_true(open->held);
	assert_false(open->undone);
	const struct conflict *kept = row(b, false, 1); /* until its cleanup */
	assert_int_equal(kept->state, CONFLICT_RESOLVED);
	assert_true(kept->undone);
	assert_int_equal(b->listed.rows_count, 2);
}

static void test_only_people_resolve_it(void **state)
{
	struct storage_bench *b = *state;
	two_roots(b);
	assert_int_equal(resolve(b, ARBITER, 5, 5), STATUS_OK);
	assert_int_equal(undo(b, RESOLUTION + 5, 6), STATUS_OK);
	assert_int_equal(resolve(b, ARBITER, 6, 7), STATUS_LEAVES_MOVED);
	assert_int_equal(resolve(b, GATEWAY, 6, 7), STATUS_OK);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_int_equal(b->was_read.conflicts, 0);
}

static void test_again_is_harmless(void **state)
{
	struct storage_bench *b = *state;
	two_roots(b);
	assert_int_equal(undo(b, RESOLUTION + 5, 5), STATUS_NOT_FOUND);
	assert_int_equal(resolve(b, ARBITER, 5, 5), STATUS_OK);
	assert_int_equal(undo(b, RESOLUTION + 5, 6), STATUS_OK);
	storage_bench_clear(b);
	assert_int_equal(undo(b, RESOLUTION + 5, 7), STATUS_OK);
	assert_string_equal(buf_cstr(&b->trace), "");
}

/* What came of it was resolved: this undoes nothing any more. */
static void test_again_after_it_was_resolved(void **state)
{
	struct storage_bench *b = *state;
	two_roots(b);
	assert_int_equal(resolve(b, ARBITER, 5, 5), STATUS_OK);
	assert_int_equal(undo(b, RESOLUTION + 5, 6), STATUS_OK);
	assert_int_equal(resolve(b, GATEWAY, 6, 7), STATUS_OK);
	assert_int_equal(undo(b, RESOLUTION + 5, 8), STATUS_LEAVES_MOVED);
}

/* Asked again before it is settled: answered when it is. */
static void test_again_while_under_way(void **state)
{
	struct storage_bench *b = *state;
	struct msg_conflict_undo m = {.shard = SHARD,
				      .id = slice_text("d"),
				      .resolution_id = peers_operation(b, RESOLUTION + 5)};
	two_roots(b);
	assert_int_equal(resolve(b, ARBITER, 5, 5), STATUS_OK);
	b->undone.status = 999;
	storage_bench_deliver(b, GATEWAY, MSG_conflict_undo, 1, &m);
	storage_bench_deliver(b, GATEWAY, MSG_conflict_undo, 1, &m);
	assert_int_equal(b->undone.status, 999);
	for (int i = 0; i < WAITERS_MAX && b->undone.status == 999; i++)
		storage_bench_deliver(b, GATEWAY, MSG_conflict_undo, 1, &m);
	assert_int_equal(b->undone.status, STATUS_TIMED_OUT); /* not that nothing was done */
	peers_ack(b, PEER_B, 1, 6);
	assert_int_equal(b->undone.status, STATUS_OK);
}

static void test_later_edits_stay(void **state)
{
	struct storage_bench *b = *state;
	two_roots(b);
	assert_int_equal(resolve(b, ARBITER, 5, 5), STATUS_OK);
	struct msg_doc_write edit = peers_put(b, "d", 9);
	peers_write(b, 1, &edit);
	peers_ack(b, PEER_B, 1, 6);
	assert_int_equal(b->written.status, STATUS_OK);
	assert_int_equal(undo(b, RESOLUTION + 5, 7), STATUS_OK);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_int_equal(b->was_read.conflicts, 2);
	assert_int_equal(b->was_read.revision.generation, 3); /* the edit */
}

/* Its traces are about to go: an answer that says it is done would not be true. */
static void test_while_its_cleanup_is_under_way(void **state)
{
	struct storage_bench *b = *state;
	struct slice id = peers_operation(b, RESOLUTION + 5);
	struct cleanup_item item = {.id = slice_text("d"), .resolution_id = id, .number = 5};
	struct cleanup_ack_row acks[] = {{SELF, INCARNATION + SELF, 5},
					 {PEER_B, INCARNATION + PEER_B, 5},
					 {PEER_C, INCARNATION + PEER_C, 5}};
	struct msg_cleanup_commit m = {
	    .shard = SHARD, .items = &item, .items_count = 1, .acks = acks, .acks_count = 3};
	two_roots_in(b, MODE_CONSISTENT);
	assert_int_equal(resolve(b, ARBITER, 5, 5), STATUS_OK);
	storage_bench_clear(b);
	storage_bench_deliver(b, ARBITER, MSG_cleanup_commit, 1, &m);
	storage_bench_deliver(b, ARBITER, MSG_cleanup_commit, 1, &m);
	assert_int_equal(undo(b, RESOLUTION + 5, 0),
			 999); /* who says so may have to take it back */
	expect(b, "-> 12 e1 append after=1.5 settled=5 acked=5 cleanup:d\n");
	peers_ack(b, PEER_B, 1, 6);
	assert_int_equal(b->undone.status, STATUS_NOT_FOUND);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_int_equal(b->was_read.conflicts, 0);
}

static void lock(struct storage_bench *b, struct slice id, uint64_t token, uint64_t number)
{
	struct lock_path path = {.document = slice_text("d")};
	struct msg_lock_set m = {
	    .shard = SHARD, .lock = {.id = id, .token = token, .paths = &path, .paths_count = 1}};
	storage_bench_deliver(b, COORDINATOR, MSG_lock_set, 1, &m);
	peers_ack(b, PEER_B, 1, number);
	assert_int_equal(b->set.status, STATUS_OK);
}

/* What people decide is a write like any other; arbiters go on. */
static void test_people_heed_locks(void **state)
{
	struct storage_bench *b = *state;
	struct slice held = slice_text("lock of somebody");
	two_roots(b);
	lock(b, held, 5, 5);
	assert_int_equal(resolve(b, GATEWAY, 5, 6), STATUS_LOCKED);
	lock_named = slice_text("another that was");
	assert_int_equal(resolve(b, GATEWAY, 5, 6), STATUS_LOCK_LOST);
	lock_named = slice_of(NULL, 0);
	assert_int_equal(resolve(b, ARBITER, 5, 6), STATUS_OK);
	assert_int_equal(undo(b, RESOLUTION + 5, 7), STATUS_LOCKED);
	lock_named = held;
	assert_int_equal(undo(b, RESOLUTION + 5, 7), STATUS_OK);
	lock_named = slice_of(NULL, 0);
	assert_int_equal(undo(b, RESOLUTION + 5, 8), STATUS_OK); /* it is done */
	assert_int_equal(resolve(b, GATEWAY, 6, 8), STATUS_LOCKED);
	lock_named = held;
	assert_int_equal(resolve(b, GATEWAY, 6, 8), STATUS_OK);
	lock_named = slice_of(NULL, 0);
}

static void test_history(void **state)
{
	struct storage_bench *b = *state;
	two_roots(b);
	assert_int_equal(resolve(b, ARBITER, 5, 5), STATUS_OK);
	assert_int_equal(undo(b, RESOLUTION + 5, 6), STATUS_OK);
	const struct conflict *newest = row(b, true, 0);
	assert_int_equal(b->listed.rows_count, 2);
	assert_true(newest->undone);
	assert_int_equal(newest->sequence, 1);
	assert_int_equal(newest->leaves_count, 2);
	assert_int_equal(row(b, true, 1)->result.generation, 2);
	assert_true(slice_equal(b->listed.rows[1].id, slice_text("d")));
	struct msg_conflict_list before = {.shard = SHARD, .history = true, .before = 1};
	storage_bench_deliver(b, GATEWAY, MSG_conflict_list, 1, &before);
	assert_int_equal(b->listed.rows_count, 1);
	assert_int_equal(b->listed.rows[0].conflict.sequence, 0);
}

/* As if so many had deleted 1-a, each in a way of its own, before somebody edited it: to push all
 * that takes long. */
static void put_deletions(struct storage_bench *b, uint32_t count)
{
	struct buf key = {0};
	struct buf record = {0};
	struct slice value;
	struct document doc;
	key_document(&key, SHARD, slice_text("d"));
	assert_int_equal(store_get(b->store, STORE_DOCUMENTS, buf_slice(&key), &value), STORE_OK);
	assert_true(schema_decode(&schema_document, arena_copy(&b->arena, value), &b->arena, &doc));
	struct revision_node *nodes =
	    arena_alloc(&b->arena, (doc.revisions_count + count) * sizeof *nodes);
	memcpy(nodes, doc.revisions, doc.revisions_count * sizeof *nodes);
	doc.revisions = nodes;
	for (uint32_t i = 0; i < count; i++)
		nodes[doc.revisions_count++] = (struct revision_node){
		    .generation = 2,
		    .hash = peers_operation(b, i),
		    .flags = REVISION_LEAF | REVISION_DELETED | REVISION_AGAINST};
	schema_encode(&schema_document, &doc, &record);
	store_put(b->store, STORE_DOCUMENTS, buf_slice(&key), buf_slice(&record));
	assert_int_equal(store_commit(b->store, true), STORE_OK);
	buf_close(&record);
	buf_close(&key);
}

/* Deletions are counted as sides when an edit meets them, so they may be more than an entry of the
 * stream can name. */
static void test_more_sides_than_can_be_named(void **state)
{
	struct storage_bench *b = *state;
	two_roots(b);
	assert_int_equal(resolve(b, ARBITER, 5, 5), STATUS_OK);
	put_deletions(b, LIMIT_LEAVES);
	assert_int_equal(undo(b, RESOLUTION + 5, 6), STATUS_LIMIT_REACHED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_losers_are_leaves_again, storage_bench_setup,
					    storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_only_people_resolve_it, storage_bench_setup,
					    storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_again_is_harmless, storage_bench_setup,
					    storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_again_after_it_was_resolved, storage_bench_setup,
					    storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_again_while_under_way, storage_bench_setup,
					    storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_later_edits_stay, storage_bench_setup,
					    storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_while_its_cleanup_is_under_way,
					    storage_bench_setup, storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_more_sides_than_can_be_named, storage_bench_setup,
					    storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_people_heed_locks, storage_bench_setup,
					    storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_history, storage_bench_setup,
					    storage_bench_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
