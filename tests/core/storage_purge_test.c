/* Deleted documents at the storage node's core: when the last traces go, and what happens to those
 * who come late. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#include "common/doc/revision.h"
#include "common/timing.h"
#include "storage-node/internal.h"
#include "tests/sim/storage_peers.h"

enum { DELETION = 4, RESOLUTION = 77 };

/* What the last write made; its name lies in `hash`. */
static struct revision written(const struct storage_bench *b, uint8_t *hash)
{
	const struct revision *r = &b->written.revision;
	memcpy(hash, r->hash.data, r->hash.len);
	return (struct revision){r->generation, slice_of(hash, r->hash.len)};
}

/* Document d is made by entry 3, deleted by entry 4, whose name is given back. */
static struct revision deleted(struct storage_bench *b, struct revision *made)
{
	static uint8_t first[LIMIT_REV_HASH_BYTES], second[LIMIT_REV_HASH_BYTES];
	peers_lead(b, MODE_AVAILABLE);
	struct msg_doc_write put = peers_put(b, "d", 1);
	peers_write(b, 1, &put);
	peers_ack(b, PEER_B, 1, 3);
	*made = written(b, first);
	struct msg_doc_write gone = {.shard = SHARD,
				     .op = WRITE_DELETE,
				     .id = slice_text("d"),
				     .operation_id = peers_operation(b, 9)};
	peers_write(b, 1, &gone);
	peers_ack(b, PEER_B, 1, DELETION);
	assert_int_equal(b->written.status, STATUS_OK);
	struct revision deletion = written(b, second);
	storage_bench_clear(b);
	return deletion;
}

/* What the arbiter asks for once all have acknowledged `number`; returns how many were ordered. */
static uint64_t commit_in(struct storage_bench *b, uint64_t epoch, uint64_t number,
			  uint32_t acks_count, uint64_t settles)
{
	struct cleanup_item item = {.id = slice_text("d"), .number = number, .purge = true};
	struct cleanup_ack_row acks[] = {{SELF, INCARNATION + SELF, number},
					 {PEER_B, INCARNATION + PEER_B, number},
					 {PEER_C, INCARNATION + PEER_C, number}};
	struct msg_cleanup_commit m = {.shard = SHARD,
				       .items = &item,
				       .items_count = 1,
				       .acks = acks,
				       .acks_count = acks_count};
	b->cleaned = (struct msg_cleanup_commit_ack){0};
	storage_bench_deliver(b, ARBITER, MSG_cleanup_commit, epoch, &m);
	peers_ack(b, PEER_B, epoch, settles);
	return b->cleaned.cleaned;
}

static uint64_t commit(struct storage_bench *b, uint64_t number, uint32_t acks_count,
		       uint64_t settles)
{
	return commit_in(b, 1, number, acks_count, settles);
}

/* A branch with this parent, from an outbox; one parent at a time. */
static struct change late_change(struct storage_bench *b, const struct revision *parent,
				 const char *name, uint64_t n)
{
	static struct revision parents[1];
	parents[0] = *parent;
	return (struct change){.kind = CHANGE_BRANCH,
			       .id = slice_text("d"),
			       .revision = {parent->generation + 1, slice_text(name)},
			       .parents = parents,
			       .parents_count = 1,
			       .body = peers_body(b, n),
			       .operation_id = peers_operation(b, n)};
}

static void push_from(struct storage_bench *b, uint64_t node, const struct change *change,
		      const struct position *cut)
{
	struct buf bytes = {0};
	schema_encode(&schema_change, change, &bytes);
	struct msg_outbox_push m = {.shard = SHARD, .change = buf_slice(&bytes), .entry = *cut};
	storage_bench_deliver(b, node, MSG_outbox_push, 1, &m);
	buf_close(&bytes);
}

static void push_change(struct storage_bench *b, const struct change *change,
			const struct position *cut, uint64_t settles)
{
	push_from(b, PEER_B, change, cut);
	peers_ack(b, PEER_B, 1, settles);
}

static struct change late_deletion(struct storage_bench *b, const struct revision *parent,
				   const struct revision *deletion)
{
	struct change change = late_change(b, parent, "", 7);
	change.revision = *deletion;
	change.deleted = true;
	change.body = (struct slice){0};
	return change;
}

/* Without a name the edit "late", else that deletion. */
static void push_cut(struct storage_bench *b, const struct revision *parent,
		     const struct revision *deletion, const struct position *cut, uint64_t settles)
{
	struct change change =
	    deletion ? late_deletion(b, parent, deletion) : late_change(b, parent, "late", 7);
	push_change(b, &change, cut, settles);
}

static void push_second(struct storage_bench *b, const struct revision *parent, uint64_t settles)
{
	struct change change = late_change(b, parent, "second", 17);
	push_change(b, &change, &(struct position){0}, settles);
}

static void push(struct storage_bench *b, const struct revision *parent,
		 const struct revision *deletion, uint64_t settles)
{
	push_cut(b, parent, deletion, &(struct position){0}, settles);
}

static void checkpoint_by(struct storage_bench *b, struct msg_checkpoint_set m, uint64_t settles)
{
	m.shard = SHARD;
	m.checkpoint.name = slice_text("phone");
	storage_bench_deliver(b, GATEWAY, MSG_checkpoint_set, 1, &m);
	peers_ack(b, PEER_B, 1, settles);
}

static void checkpoint(struct storage_bench *b, uint64_t number, bool drop, uint64_t settles)
{
	checkpoint_by(b,
		      (struct msg_checkpoint_set){.checkpoint = {.number = number}, .drop = drop},
		      settles);
}

static void test_goes_when_all_know(void **state)
{
	struct storage_bench *b = *state;
	struct revision made;
	deleted(b, &made);
	assert_int_equal(peers_pairs(b, STORE_DOCUMENTS, 'd'), 2); /* the base is kept, too */
	assert_int_equal(peers_pairs(b, STORE_CONFLICTS, 'd'), 2); /* it waits; the latest change */
	assert_int_equal(commit(b, DELETION, 2, 5), 0);
	assert_int_equal(commit(b, DELETION, 3, 5), 1);
	assert_int_equal(peers_pairs(b, STORE_DOCUMENTS, 'd'), 0);
	assert_int_equal(peers_pairs(b, STORE_CONFLICTS, 'd'), 2); /* the mark, and its age */
	assert_int_equal(commit(b, DELETION, 3, 6), 0);
}

static void test_stays_if_it_has_changed(void **state)
{
	struct storage_bench *b = *state;
	struct revision made;
	deleted(b, &made);
	assert_int_equal(commit(b, DELETION - 1, 3, 5), 0);
	struct msg_doc_write put = peers_put(b, "d", 2);
	peers_write(b, 1, &put); /* not settled yet */
	assert_int_equal(commit(b, DELETION, 3, 5), 0);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_int_equal(peers_pairs(b, STORE_CONFLICTS, 'd'), 1); /* of a live document */
}

static void test_late_push_is_a_conflict(void **state)
{
	struct storage_bench *b = *state;
	struct msg_conflict_list list = {.shard = SHARD};
	struct revision made;
	deleted(b, &made);
	assert_int_equal(commit(b, DELETION, 3, 5), 1);
	push(b, &made, NULL, 6);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_NOT_FOUND);
	assert_int_equal(b->was_read.conflicts, 1);
	storage_bench_deliver(b, GATEWAY, MSG_conflict_list, 1, &list);
	assert_int_equal(b->listed.rows_count, 1);
	assert_int_equal(b->listed.rows[0].conflict.kind, CONFLICT_DELETE);
	assert_true(b->listed.rows[0].conflict.held);
	assert_int_equal(b->listed.rows[0].conflict.leaves_count, 2);
	assert_int_equal(b->listed.rows[0].conflict.policy, 1); /* that the lead accepts */
	/* it is no tombstone that waits */
	assert_int_equal(commit(b, 6, 3, 7), 0);
}

/* People end the conflict that is open, as entry `settles`: with this body; NULL: deleted. */
static void people_resolve(struct storage_bench *b, const struct slice *body, uint64_t settles)
{
	struct msg_conflict_list list = {.shard = SHARD};
	struct revision leaves[2];
	char hash[REVISION_HASH_CHARS];
	storage_bench_deliver(b, GATEWAY, MSG_conflict_list, 1, &list);
	assert_int_equal(b->listed.rows[0].conflict.leaves_count, 2);
	memcpy(leaves, b->listed.rows[0].conflict.leaves, sizeof leaves);
	revision_sort(leaves, 2);
	struct msg_conflict_resolve m = {.shard = SHARD,
					 .id = slice_text("d"),
					 .leaves = leaves,
					 .leaves_count = 2,
					 .parents = leaves,
					 .parents_count = 2,
					 .deleted = body == NULL,
					 .body = body ? *body : (struct slice){0},
					 .policy_version = 1,
					 .resolution_id = peers_operation(b, RESOLUTION)};
	struct revision_content content = {.parents = leaves,
					   .parents_count = 2,
					   .deleted = m.deleted,
					   .body = m.body,
					   .policy = 1};
	revision_name(&content, hash, &m.revision);
	b->resolved.status = 999;
	storage_bench_deliver(b, GATEWAY, MSG_conflict_resolve, 1, &m);
	peers_ack(b, PEER_B, 1, settles);
	assert_int_equal(b->resolved.status, STATUS_OK);
}

static void people_undo(struct storage_bench *b, uint64_t settles)
{
	struct msg_conflict_list list = {.shard = SHARD};
	struct msg_conflict_undo m = {
	    .shard = SHARD, .id = slice_text("d"), .resolution_id = peers_operation(b, RESOLUTION)};
	b->undone.status = 999;
	storage_bench_deliver(b, GATEWAY, MSG_conflict_undo, 1, &m);
	peers_ack(b, PEER_B, 1, settles);
	assert_int_equal(b->undone.status, STATUS_OK);
	storage_bench_deliver(b, GATEWAY, MSG_conflict_list, 1, &list);
	assert_true(b->listed.rows[0].conflict.held);
}

/* The conflict is what it was: whatever people had made of it, readers see nothing of what came
 * late. */
static void undo_shows_nothing(struct storage_bench *b, const struct slice *resolved)
{
	struct revision made;
	deleted(b, &made);
	assert_int_equal(commit(b, DELETION, 3, 5), 1);
	push(b, &made, NULL, 6);
	people_resolve(b, resolved, 7);
	people_undo(b, 8);
	assert_int_equal(b->listed.rows[0].conflict.kind, CONFLICT_DELETE);
	assert_int_equal(b->listed.rows[0].conflict.leaves_count, 2);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_NOT_FOUND);
	assert_int_equal(b->was_read.conflicts, 1);
}

static void test_undo_of_a_deletion_shows_nothing(void **state)
{
	undo_shows_nothing(*state, NULL);
}

static void test_undo_of_a_pick_shows_nothing(void **state)
{
	struct slice body = peers_body(*state, 8);
	undo_shows_nothing(*state, &body);
}

/* What people said of the first is not said of the second; nor does it bring the document back. */
static void test_a_second_one_is_a_conflict_again(void **state)
{
	struct storage_bench *b = *state;
	struct msg_conflict_list list = {.shard = SHARD};
	struct revision made;
	deleted(b, &made);
	assert_int_equal(commit(b, DELETION, 3, 5), 1);
	push(b, &made, NULL, 6);
	people_resolve(b, NULL, 7);
	push_second(b, &made, 8);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_NOT_FOUND);
	assert_int_equal(b->was_read.conflicts, 1);
	storage_bench_deliver(b, GATEWAY, MSG_conflict_list, 1, &list);
	assert_int_equal(b->listed.rows[0].conflict.kind, CONFLICT_DELETE);
	assert_true(b->listed.rows[0].conflict.held);
	people_undo(b, 9);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_NOT_FOUND);
	assert_int_equal(b->was_read.conflicts, 2);
}

/* What somebody wrote since is not taken from readers. */
static void test_undo_hides_no_later_edit(void **state)
{
	struct storage_bench *b = *state;
	struct revision made;
	struct slice body = peers_body(b, 8);
	deleted(b, &made);
	assert_int_equal(commit(b, DELETION, 3, 5), 1);
	push(b, &made, NULL, 6);
	people_resolve(b, &body, 7);
	struct msg_doc_write edit = peers_put(b, "d", 10);
	peers_write(b, 1, &edit);
	peers_ack(b, PEER_B, 1, 8);
	assert_int_equal(b->written.status, STATUS_OK);
	people_undo(b, 9);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_int_equal(b->was_read.conflicts, 2);
	assert_true(revision_equal(&b->was_read.revision, &b->written.revision));
}

/* Whoever goes on from what came late knows no more than that did. */
static void test_what_stands_on_a_late_one_is_late(void **state)
{
	struct storage_bench *b = *state;
	struct msg_conflict_list list = {.shard = SHARD};
	struct revision made;
	deleted(b, &made);
	assert_int_equal(commit(b, DELETION, 3, 5), 1);
	push(b, &made, NULL, 6);
	people_resolve(b, NULL, 7);
	push_second(b, &(struct revision){made.generation + 1, slice_text("late")}, 8);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_NOT_FOUND);
	assert_int_equal(b->was_read.conflicts, 1);
	storage_bench_deliver(b, GATEWAY, MSG_conflict_list, 1, &list);
	assert_true(b->listed.rows[0].conflict.held);
}

/* Nobody has written what came late meanwhile. */
static void test_undo_hides_what_came_late_since(void **state)
{
	struct storage_bench *b = *state;
	struct revision made;
	struct slice body = peers_body(b, 8);
	deleted(b, &made);
	assert_int_equal(commit(b, DELETION, 3, 5), 1);
	push(b, &made, NULL, 6);
	people_resolve(b, &body, 7);
	push_second(b, &made, 8);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	people_undo(b, 9);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_NOT_FOUND);
	assert_int_equal(b->was_read.conflicts, 2);
}

/* Entries that the document knew as settled, and that a replica cut: they stood in this stream. The
 * same number in an epoch that never settled anything there is another entry. */
static void comes_to_nothing(struct storage_bench *b)
{
	struct revision made;
	deleted(b, &made);
	assert_int_equal(commit(b, DELETION, 3, 5), 1);
	for (uint64_t n = 6; n <= 30; n++) {
		struct msg_doc_write put = peers_put(b, "other", 100 + n);
		peers_write(b, 1, &put);
		peers_ack(b, PEER_B, 1, n);
	}
	storage_bench_clear(b);
	push_cut(b, &made, NULL, &(struct position){.epoch = 1, .number = 3}, 30);
	push_cut(b, &made, NULL, &(struct position){.epoch = 1, .number = 4}, 30);
	assert_string_equal(buf_cstr(&b->trace), "");
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_NOT_FOUND);
	assert_int_equal(b->was_read.conflicts, 0);
	push_cut(b, &made, NULL, &(struct position){.epoch = 2, .number = 3}, 31);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_NOT_FOUND);
	assert_int_equal(b->was_read.conflicts, 1);
}

static void test_what_was_settled_brings_nothing(void **state)
{
	comes_to_nothing(*state);
}

static void test_also_when_the_stream_is_gone(void **state)
{
	struct storage_bench *b = *state;
	storage_bench_stop(b, false);
	b->options.stream_keep_entries = 5;
	storage_bench_start(b);
	comes_to_nothing(b);
	assert_true(peers_pairs(b, STORE_STREAM, 'e') < 20);
}

/* Another replica took the same deletion, and passes it on when all is over. */
static void test_the_same_deletion_brings_nothing(void **state)
{
	struct storage_bench *b = *state;
	struct revision made, deletion = deleted(b, &made);
	assert_int_equal(commit(b, DELETION, 3, 5), 1);
	push(b, &made, &deletion, 6);
	assert_int_equal(peers_pairs(b, STORE_DOCUMENTS, 'd'), 0);
	push(b, &made, NULL, 7);
	assert_int_equal(b->listed.rows_count, 0);
	struct msg_conflict_list list = {.shard = SHARD};
	storage_bench_deliver(b, GATEWAY, MSG_conflict_list, 1, &list);
	assert_int_equal(b->listed.rows_count, 1);
	assert_int_equal(b->listed.rows[0].conflict.leaves_count, 2);
}

/* The purge does not wait for a node that has no place any more. That may have heard nothing of its
 * deletion before: it is told, and nothing is ordered again with each time it asks. */
static void test_the_same_deletion_is_told_as_settled(void **state)
{
	enum { PLACELESS = 14 };
	struct storage_bench *b = *state;
	struct revision made, deletion = deleted(b, &made);
	assert_int_equal(commit(b, DELETION, 3, 5), 1);
	struct change change = late_deletion(b, &made, &deletion);
	storage_bench_clear(b);
	push_from(b, PLACELESS, &change, &(struct position){0});
	assert_non_null(strstr(buf_cstr(&b->trace), "-> 14 e1 outbox_push_ack{shard=7 id=\"d\""));
	assert_null(strstr(buf_cstr(&b->trace), "append"));
	storage_bench_clear(b);
	change = late_change(b, &made, "late", 7); /* an edit is not what was purged */
	push_from(b, PLACELESS, &change, &(struct position){0});
	assert_null(strstr(buf_cstr(&b->trace), "outbox_push_ack"));
	assert_non_null(strstr(buf_cstr(&b->trace), "append"));
}

static void test_new_document_is_none(void **state)
{
	struct storage_bench *b = *state;
	struct revision made;
	deleted(b, &made);
	assert_int_equal(commit(b, DELETION, 3, 5), 1);
	struct msg_doc_write put = peers_put(b, "d", 2);
	peers_write(b, 1, &put);
	peers_ack(b, PEER_B, 1, 6);
	assert_int_equal(b->written.status, STATUS_CREATED);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_int_equal(b->was_read.conflicts, 0);
	/* a branch of the old one stands beside the new one, for people to look at */
	uint64_t anew = b->written.revision.generation;
	push(b, &made, NULL, 7);
	struct msg_conflict_list list = {.shard = SHARD};
	storage_bench_deliver(b, GATEWAY, MSG_conflict_list, 1, &list);
	assert_int_equal(b->listed.rows_count, 1);
	assert_true(b->listed.rows[0].conflict.held);
	/* and readers see the new one, though that is of a later generation */
	assert_true(anew < made.generation + 1);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_int_equal(b->was_read.revision.generation, anew);
}

static void test_before_the_purge_nothing_is_late(void **state)
{
	struct storage_bench *b = *state;
	struct revision made;
	deleted(b, &made);
	push(b, &made, NULL, 5);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_int_equal(commit(b, DELETION, 3, 6), 0);
}

static void test_waits_for_clients(void **state)
{
	struct storage_bench *b = *state;
	struct revision made;
	deleted(b, &made);
	checkpoint(b, 3, false, 5);
	assert_int_equal(peers_pairs(b, STORE_CONFLICTS, 'd'), 3);
	assert_int_equal(commit(b, DELETION, 3, 6), 0);
	checkpoint(b, DELETION, false, 6);
	assert_int_equal(commit(b, DELETION, 3, 7), 1);
	/* what it asks for has gone: it is not taken, and one that is there stays */
	checkpoint(b, 3, false, 8);
	checkpoint(b, 0, true, 8);
	assert_int_equal(peers_pairs(b, STORE_CONFLICTS, 'd'), 2);
}

/* It is told that it is registered in the turn in which the arbiter asks, before that is committed:
 * scans do not show it yet. */
static void test_waits_for_a_client_of_the_same_turn(void **state)
{
	struct storage_bench *b = *state;
	struct revision made;
	struct msg_checkpoint_set set = {.shard = SHARD,
					 .checkpoint = {.name = slice_text("phone"), .number = 3}};
	deleted(b, &made);
	storage_bench_deliver(b, GATEWAY, MSG_checkpoint_set, 1, &set);
	b->gathers = true;
	peers_ack(b, PEER_B, 1, 5);
	b->gathers = false;
	assert_int_equal(commit(b, DELETION, 3, 6), 0);
	assert_int_equal(peers_pairs(b, STORE_DOCUMENTS, 'd'), 2);
}

/* Likewise, the client of a lead before, in the turn in which its successor begins to serve. */
static void test_waits_for_a_client_of_the_lead_before(void **state)
{
	struct storage_bench *b = *state;
	struct revision made = {1, slice_text("a")};
	struct checkpoint phone = {.name = slice_text("phone"), .number = 3};
	struct change comes = {.kind = CHANGE_WRITE,
			       .id = slice_text("d"),
			       .revision = made,
			       .body = peers_body(b, 1)};
	struct change goes = {.kind = CHANGE_WRITE,
			      .id = slice_text("d"),
			      .revision = {2, slice_text("b")},
			      .parents = &made,
			      .parents_count = 1,
			      .deleted = true};
	struct change registers = {
	    .kind = CHANGE_CHECKPOINT, .checkpoints = &phone, .checkpoints_count = 1};
	peers_follow(b, MODE_CONSISTENT);
	peers_append(b, 1, 1, 2, 2, &comes);
	peers_append(b, 1, 1, 3, 3, &goes);
	peers_append(b, 1, 1, DELETION, DELETION, &registers);
	peers_place(b, 2, SELF, MODE_CONSISTENT);
	storage_bench_advance(b, LEASE_HELD_MS);
	peers_promise(b, PEER_B, 2, STATUS_OK);
	storage_bench_advance(b, 50);
	peers_ack(b, PEER_B, 2, 5);
	b->gathers = true;
	peers_ack(b, PEER_B, 2, 6); /* it serves */
	b->gathers = false;
	assert_int_equal(commit_in(b, 2, DELETION, 3, 7), 0);
	assert_int_equal(peers_pairs(b, STORE_DOCUMENTS, 'd'), 1);
	assert_int_equal(commit_in(b, 2, DELETION, 3, 7), 0);
}

/* CPU time of a commit of documents that have moved meanwhile; the least of three. */
static clock_t cost_of_commit(struct storage_bench *b, uint32_t count)
{
	struct cleanup_item *items = arena_alloc(&b->arena, count * sizeof *items);
	struct cleanup_ack_row acks[] = {{SELF, INCARNATION + SELF, DELETION},
					 {PEER_B, INCARNATION + PEER_B, DELETION},
					 {PEER_C, INCARNATION + PEER_C, DELETION}};
	struct msg_cleanup_commit m = {
	    .shard = SHARD, .items = items, .items_count = count, .acks = acks, .acks_count = 3};
	clock_t least = 0;
	for (uint32_t i = 0; i < count; i++)
		items[i] = (struct cleanup_item){
		    .id = slice_text("d"), .number = DELETION - 1, .purge = true};
	for (int i = 0; i < 3; i++) {
		clock_t from = clock();
		storage_bench_deliver(b, ARBITER, MSG_cleanup_commit, 1, &m);
		clock_t took = clock() - from;
		least = i == 0 || took < least ? took : least;
	}
	return least;
}

static void register_clients(struct storage_bench *b, int count)
{
	char name[16];
	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof name, "c%05d", i);
		struct msg_checkpoint_set set = {
		    .shard = SHARD, .checkpoint = {.name = slice_text(name), .number = DELETION}};
		storage_bench_deliver(b, GATEWAY, MSG_checkpoint_set, 1, &set);
	}
}

/* However many clients are registered, a lead is not deaf while it looks for what they have seen.
 */
static void test_many_clients_and_many_deletions(void **state)
{
	enum { CLIENTS = 800, DELETIONS = 512 };
	struct storage_bench *b = *state;
	struct revision made;
	deleted(b, &made);
	clock_t without = cost_of_commit(b, DELETIONS);
	register_clients(b, CLIENTS);
	peers_ack(b, PEER_B, 1, DELETION + CLIENTS);
	assert_true(cost_of_commit(b, DELETIONS) < 8 * without);
}

/* More would come than there may be, and all that is looked at are so many. */
static void test_many_clients_at_once(void **state)
{
	struct storage_bench *b = *state;
	struct revision made;
	deleted(b, &made);
	int before = peers_pairs(b, STORE_CONFLICTS, 'd');
	register_clients(b, LIMIT_CHECKPOINTS + 2);
	for (int more = 0; more <= 2; more++)
		peers_ack(b, PEER_B, 1, DELETION + LIMIT_CHECKPOINTS + (uint64_t)more);
	assert_int_equal(peers_pairs(b, STORE_CONFLICTS, 'd'), before + LIMIT_CHECKPOINTS);
}

static void test_a_late_copy_changes_nothing(void **state)
{
	struct storage_bench *b = *state;
	struct revision made;
	struct msg_checkpoint_set drop = {.drop = true, .operation_id = peers_operation(b, 70)};
	deleted(b, &made);
	checkpoint(b, 3, false, 5);
	checkpoint_by(b, drop, 6);
	checkpoint(b, 3, false, 7); /* registered again */
	checkpoint_by(b, drop, 7);  /* and what had it go comes again */
	assert_int_equal(commit(b, DELETION, 3, 8), 0);
	drop.operation_id = peers_operation(b, 71);
	drop.until_ms = 1; /* later than its gateway waits */
	checkpoint_by(b, drop, 7);
	assert_int_equal(commit(b, DELETION, 3, 8), 0);
	checkpoint(b, 0, true, 8);
	assert_int_equal(commit(b, DELETION, 3, 9), 1);
}

/* An offline client's edit that comes while the purge is under way is late like any other. */
static void test_an_edit_behind_a_purge_is_late(void **state)
{
	struct storage_bench *b = *state;
	struct revision made;
	struct msg_conflict_list list = {.shard = SHARD};
	struct msg_doc_write edit = peers_put(b, "d", 7);
	deleted(b, &made);
	edit.body = peers_body(b, 7);
	edit.operation_id = peers_operation(b, 7);
	edit.expect = EXPECT_REVISION;
	edit.expected = &made;
	edit.expected_count = 1;
	edit.keep_as_branch = true;
	assert_int_equal(commit(b, DELETION, 3, DELETION), 0); /* not settled yet */
	peers_write(b, 1, &edit);
	peers_ack(b, PEER_B, 1, 6);
	assert_true(status_is_success(b->written.status));
	storage_bench_deliver(b, GATEWAY, MSG_conflict_list, 1, &list);
	assert_int_equal(b->listed.rows_count, 1);
	assert_true(b->listed.rows[0].conflict.held);
}

/* What this lead ordered, and its successor cut, asks nothing of clients when it leads again. */
static void test_a_purge_that_was_cut(void **state)
{
	struct storage_bench *b = *state;
	struct revision made;
	struct cleanup_item item = {.id = slice_text("d"), .number = DELETION, .purge = true};
	struct cleanup_ack_row acks[] = {{SELF, INCARNATION + SELF, DELETION},
					 {PEER_B, INCARNATION + PEER_B, DELETION},
					 {PEER_C, INCARNATION + PEER_C, DELETION}};
	struct msg_cleanup_commit m = {
	    .shard = SHARD, .items = &item, .items_count = 1, .acks = acks, .acks_count = 3};
	struct msg_checkpoint_set set = {.shard = SHARD,
					 .checkpoint = {.name = slice_text("phone"), .number = 3}};
	struct change epoch = {.kind = CHANGE_EPOCH};
	deleted(b, &made);
	storage_bench_deliver(b, ARBITER, MSG_cleanup_commit, 1, &m);
	peers_place(b, 2, PEER_B, MODE_AVAILABLE);
	peers_append(b, 2, 1, DELETION, DELETION, &epoch);
	peers_append(b, 2, 2, 5, 5, NULL);
	peers_take_over(b, 3, PEER_B, 5);
	assert_int_equal(peers_pairs(b, STORE_DOCUMENTS, 'd'), 2);
	int before = peers_pairs(b, STORE_CONFLICTS, 'd');
	storage_bench_deliver(b, GATEWAY, MSG_checkpoint_set, 3, &set);
	peers_ack(b, PEER_B, 3, 7);
	assert_int_equal(peers_pairs(b, STORE_CONFLICTS, 'd'), before + 1);
}

/* Its gateway's map is older than the node's. */
static void test_a_client_of_a_shard_that_is_not_here(void **state)
{
	struct storage_bench *b = *state;
	struct msg_checkpoint_set set = {.shard = SHARD + 1,
					 .checkpoint = {.name = slice_text("phone"), .number = 3}};
	peers_lead(b, MODE_AVAILABLE);
	uint32_t before = b->answers;
	storage_bench_deliver(b, GATEWAY, MSG_checkpoint_set, 1, &set);
	assert_int_equal(b->answers, before + 1);
}

/* One that can't wait is told to come again, not that nothing was done. */
static void test_registering_again_is_never_refused(void **state)
{
	struct storage_bench *b = *state;
	struct msg_checkpoint_set set = {.shard = SHARD,
					 .checkpoint = {.name = slice_text("phone"), .number = 2},
					 .operation_id = peers_operation(b, 9)};
	peers_lead(b, MODE_AVAILABLE);
	b->registered.status = 999;
	for (int i = 0; i <= WAITERS_MAX && b->registered.status == 999; i++)
		storage_bench_deliver(b, GATEWAY, MSG_checkpoint_set, 1, &set);
	assert_int_equal(b->registered.status, STATUS_TIMED_OUT);
	peers_ack(b, PEER_B, 1, 3);
	assert_int_equal(b->registered.status, STATUS_OK);
}

static void test_a_lost_client_holds_nothing_up(void **state)
{
	struct storage_bench b = {0};
	struct revision made;
	(void)state;
	storage_bench_init(&b);
	storage_bench_stop(&b, false);
	b.options.checkpoint_keep_ms = 500;
	storage_bench_start(&b);
	deleted(&b, &made);
	checkpoint(&b, 3, false, 5);
	assert_int_equal(commit(&b, DELETION, 3, 6), 0);
	storage_bench_advance(&b, 600);
	assert_int_equal(commit(&b, DELETION, 3, 6), 1);
	storage_bench_close(&b);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, storage_bench_setup, storage_bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_goes_when_all_know),
	    CASE(test_stays_if_it_has_changed),
	    CASE(test_late_push_is_a_conflict),
	    CASE(test_undo_of_a_deletion_shows_nothing),
	    CASE(test_undo_of_a_pick_shows_nothing),
	    CASE(test_a_second_one_is_a_conflict_again),
	    CASE(test_undo_hides_no_later_edit),
	    CASE(test_undo_hides_what_came_late_since),
	    CASE(test_what_stands_on_a_late_one_is_late),
	    CASE(test_what_was_settled_brings_nothing),
	    CASE(test_also_when_the_stream_is_gone),
	    CASE(test_the_same_deletion_brings_nothing),
	    CASE(test_the_same_deletion_is_told_as_settled),
	    CASE(test_new_document_is_none),
	    CASE(test_before_the_purge_nothing_is_late),
	    CASE(test_waits_for_clients),
	    CASE(test_waits_for_a_client_of_the_same_turn),
	    CASE(test_waits_for_a_client_of_the_lead_before),
	    CASE(test_many_clients_at_once),
	    CASE(test_many_clients_and_many_deletions),
	    CASE(test_a_late_copy_changes_nothing),
	    CASE(test_a_purge_that_was_cut),
	    CASE(test_an_edit_behind_a_purge_is_late),
	    CASE(test_a_client_of_a_shard_that_is_not_here),
	    CASE(test_registering_again_is_never_refused),
	    cmocka_unit_test(test_a_lost_client_holds_nothing_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
