/* Revisions that were made elsewhere, at the storage node's core: taken as they are, once, answered
 * when they are settled; and what is told of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/doc/revision.h"
#include "tests/sim/storage_peers.h"

/* "c b a" with generation 3: 3-c on 2-b on 1-a; of a deletion v is 0. */
static struct import_item item(struct storage_bench *b, const char *id, uint64_t generation,
			       const char *hashes, uint64_t v)
{
	struct import_item out = {
	    .id = slice_text(id), .generation = generation, .deleted = v == 0};
	out.hashes = arena_alloc(&b->arena, 8 * sizeof *out.hashes);
	for (const char *at = hashes; *at; at += at[1] ? 2 : 1)
		out.hashes[out.hashes_count++] = slice_of(at, 1);
	if (v > 0)
		out.body = peers_body(b, v);
	return out;
}

static void push(struct storage_bench *b, struct import_item *items, uint32_t count)
{
	struct msg_doc_import m = {.shard = SHARD, .items = items, .items_count = count};
	b->imported = (struct msg_doc_import_ack){.status = 999};
	storage_bench_deliver(b, GATEWAY, MSG_doc_import, 1, &m);
}

static void expect_revision(const struct revision_read *read, uint64_t generation, const char *hash)
{
	assert_int_equal(read->revision.generation, generation);
	assert_true(slice_is(read->revision.hash, hash));
}

/* Of document d; none: all leaves. */
static const struct document_read *leaves(struct storage_bench *b, const struct revision *asked,
					  bool latest)
{
	struct revision copy[1];
	struct revs_asked d = {.id = slice_text("d")};
	struct msg_doc_revisions m = {.shard = SHARD,
				      .asked = &d,
				      .asked_count = 1,
				      .latest = latest,
				      .want_ancestors = true};
	if (asked) {
		copy[0] = *asked;
		d.revisions = copy;
		d.revisions_count = 1;
	}
	storage_bench_deliver(b, GATEWAY, MSG_doc_revisions, 1, &m);
	assert_int_equal(b->revisions.status, STATUS_OK);
	assert_int_equal(b->revisions.documents_count, 1);
	return &b->revisions.documents[0];
}

static void test_answered_when_settled_and_known_then(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	struct import_item one = item(b, "d", 3, "c b a", 5);
	push(b, &one, 1);
	assert_int_equal(b->imported.status, 999);
	push(b, &one, 1); /* again, while it is under way: it waits for the same entry */
	assert_int_equal(b->imported.status, 999);
	peers_ack(b, PEER_B, 1, 3);
	assert_int_equal(b->imported.status, STATUS_OK);
	push(b, &one, 1);
	assert_int_equal(b->imported.status, STATUS_OK);
	struct import_item ancestor = item(b, "d", 2, "b", 9);
	push(b, &ancestor, 1); /* known, though not its content */
	assert_int_equal(b->imported.status, STATUS_OK);
	const struct document_read *d = leaves(b, NULL, false);
	assert_int_equal(d->revisions_count, 1);
	expect_revision(&d->revisions[0], 3, "c");
	assert_int_equal(d->revisions[0].ancestors_count, 2);
	assert_true(slice_is(d->revisions[0].ancestors[1], "a"));
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_int_equal(b->was_read.conflicts, 0);
}

static void test_bad_ones_are_refused_alone(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	struct import_item items[] = {
	    item(b, "d", 1, "a", 1), item(b, "d", 1, "b a", 1), item(b, "d", 0, "a", 1),
	    item(b, "d", 2, "", 1),  item(b, "e", 2, "b", 0),
	};
	items[4].body = peers_body(b, 1); /* a deletion with a content */
	push(b, items, 5);
	peers_ack(b, PEER_B, 1, 3);
	assert_int_equal(b->imported.status, STATUS_OK);
	assert_int_equal(b->imported.refused_count, 4);
	for (uint32_t i = 0; i < 4; i++) {
		assert_int_equal(b->imported.refused[i].index, i + 1);
		assert_int_equal(b->imported.refused[i].status, STATUS_BAD_MESSAGE);
	}
}

static void test_not_the_lead(void **state)
{
	struct storage_bench *b = *state;
	peers_follow(b, MODE_AVAILABLE);
	struct import_item one = item(b, "d", 1, "a", 1);
	push(b, &one, 1);
	assert_int_equal(b->imported.status, STATUS_NOT_LEAD);
}

static void test_under_a_lock(void **state)
{
	struct storage_bench *b = *state;
	uint8_t id[16] = {1};
	struct lock_path whole = {0};
	peers_lead(b, MODE_CONSISTENT);
	struct msg_lock_set lock = {
	    .shard = SHARD,
	    .lock = {.id = slice_of(id, sizeof id), .token = 1, .paths = &whole, .paths_count = 1}};
	storage_bench_deliver(b, COORDINATOR, MSG_lock_set, 1, &lock);
	peers_ack(b, PEER_B, 1, 3);
	struct import_item one = item(b, "d", 1, "a", 1);
	push(b, &one, 1);
	assert_int_equal(b->imported.refused_count, 1);
	assert_int_equal(b->imported.refused[0].status, STATUS_LOCKED);
}

static void test_latest_and_missing(void **state)
{
	struct storage_bench *b = *state;
	struct revision root = {1, slice_text("a")};
	struct revision unknown = {4, slice_text("x")};
	peers_lead(b, MODE_CONSISTENT);
	struct import_item items[] = {item(b, "d", 2, "b a", 1), item(b, "d", 3, "c z a", 2),
				      item(b, "d", 2, "q a", 0)};
	push(b, items, 3);
	peers_ack(b, PEER_B, 1, 5);
	assert_int_equal(b->imported.refused_count, 0);
	const struct document_read *d = leaves(b, &root, true);
	assert_int_equal(d->revisions_count, 3);
	expect_revision(&d->revisions[0], 3, "c");
	expect_revision(&d->revisions[1], 2, "b");
	assert_true(d->revisions[2].deleted);
	d = leaves(b, &root, false);
	assert_true(d->revisions_count == 1 && d->revisions[0].missing); /* no content of it */
	struct revision list[] = {root, unknown};
	struct revs_asked asked[] = {{slice_text("d"), list, 2}, {slice_text("e"), list, 1}};
	struct msg_revs_diff diff = {.shard = SHARD, .asked = asked, .asked_count = 2};
	storage_bench_deliver(b, GATEWAY, MSG_revs_diff, 1, &diff);
	assert_int_equal(b->missing.rows_count, 2);
	assert_int_equal(b->missing.rows[0].missing_count, 1);
	assert_true(revision_equal(&b->missing.rows[0].missing[0], &unknown));
	assert_int_equal(b->missing.rows[0].ancestors_count, 3);
	assert_int_equal(b->missing.rows[1].index, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name)                                                                                 \
	cmocka_unit_test_setup_teardown(name, storage_bench_setup, storage_bench_teardown)
	    TEST(test_answered_when_settled_and_known_then),
	    TEST(test_bad_ones_are_refused_alone),
	    TEST(test_not_the_lead),
	    TEST(test_under_a_lock),
	    TEST(test_latest_and_missing),
#undef TEST
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
