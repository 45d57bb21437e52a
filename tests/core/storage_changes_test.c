/* Documents in order of their latest change, as gateways ask for them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/doc/revision.h"
#include "proto/msgpack.h"
#include "storage-node/changes.h"
#include "tests/sim/storage_peers.h"

enum { FIRST = 3 /* number of the first write: EPOCH and SETTINGS come before */ };

static void put(struct storage_bench *b, const char *id, uint64_t number)
{
	struct msg_doc_write m = peers_put(b, id, number);
	storage_bench_clear(b);
	peers_write(b, 1, &m);
	peers_ack(b, PEER_B, 1, number);
}

/* "number:id number:id | last pending" */
static void ask(struct storage_bench *b, struct msg_shard_changes *m, const char *wanted)
{
	struct buf text = {0};
	m->shard = SHARD;
	storage_bench_clear(b);
	storage_bench_deliver(b, GATEWAY, MSG_shard_changes, 1, m);
	const struct msg_shard_changes_ack *ack = &b->changed;
	assert_int_equal(ack->status, STATUS_OK);
	for (uint32_t i = 0; i < ack->rows_count; i++)
		buf_printf(&text, "%llu:%.*s%s ", (unsigned long long)ack->rows[i].number,
			   (int)ack->rows[i].id.len, (const char *)ack->rows[i].id.data,
			   ack->rows[i].deleted ? "-" : "");
	buf_printf(&text, "| %llu %llu", (unsigned long long)ack->last,
		   (unsigned long long)ack->pending);
	assert_string_equal(buf_cstr(&text), wanted);
	buf_close(&text);
}

/* a, b, c, then b again */
static void filled(struct storage_bench *b, enum availability_mode mode)
{
	static const char *const ids[] = {"a", "b", "c", "b"};
	peers_lead(b, mode);
	for (uint64_t i = 0; i < ARRAY_LEN(ids); i++)
		put(b, ids[i], FIRST + i);
}

static void test_each_document_stands_at_its_latest_change(void **state)
{
	struct storage_bench *b = *state;
	filled(b, MODE_CONSISTENT);
	ask(b, &(struct msg_shard_changes){0}, "3:a 5:c 6:b | 6 0");
	ask(b, &(struct msg_shard_changes){.after = 3}, "5:c 6:b | 6 0");
	ask(b, &(struct msg_shard_changes){.after = 6}, "| 6 0");
	ask(b, &(struct msg_shard_changes){.after = 60}, "| 60 0");
	ask(b, &(struct msg_shard_changes){.until = 5}, "3:a 5:c | 5 0");
	assert_int_equal(peers_pairs(b, STORE_CONFLICTS, 'd'), 3);
}

static void test_pages(void **state)
{
	struct storage_bench *b = *state;
	filled(b, MODE_CONSISTENT);
	ask(b, &(struct msg_shard_changes){.limit = 1}, "3:a | 3 2");
	ask(b, &(struct msg_shard_changes){.limit = 2, .after = 3}, "5:c 6:b | 6 0");
	ask(b, &(struct msg_shard_changes){.limit = 2, .descending = true}, "6:b 5:c | 5 1");
	ask(b, &(struct msg_shard_changes){.until = 4, .descending = true}, "3:a | 0 0");
}

static void test_some_documents(void **state)
{
	struct storage_bench *b = *state;
	struct slice ids[] = {slice_text("b"), slice_text("nothing"), slice_text("a")};
	filled(b, MODE_CONSISTENT);
	struct msg_shard_changes m = {.ids = ids, .ids_count = ARRAY_LEN(ids)};
	ask(b, &m, "3:a 6:b | 6 0");
	m.limit = 1;
	ask(b, &m, "3:a | 3 1");
	m.descending = true;
	ask(b, &m, "6:b | 6 1");
	m = (struct msg_shard_changes){.ids = ids, .ids_count = ARRAY_LEN(ids), .after = 3};
	ask(b, &m, "6:b | 6 0");
}

static void test_asked_for_twice(void **state)
{
	struct storage_bench *b = *state;
	struct slice ids[] = {slice_text("b"), slice_text("a"), slice_text("b"), slice_text("a")};
	filled(b, MODE_CONSISTENT);
	struct msg_shard_changes m = {.ids = ids, .ids_count = ARRAY_LEN(ids)};
	ask(b, &m, "3:a 6:b | 6 0");
	m.limit = 1;
	ask(b, &m, "3:a | 3 1");
}

static void test_deletions_bodies_and_leaves(void **state)
{
	struct storage_bench *b = *state;
	filled(b, MODE_CONSISTENT);
	struct msg_doc_write gone = peers_put(b, "a", 7);
	gone.op = WRITE_DELETE;
	gone.body = (struct slice){0};
	peers_write(b, 1, &gone);
	ask(b, &(struct msg_shard_changes){0}, "3:a 5:c 6:b | 6 0"); /* not settled yet */
	peers_ack(b, PEER_B, 1, 7);
	ask(b, &(struct msg_shard_changes){0}, "5:c 6:b 7:a- | 7 0");
	assert_int_equal(b->changed.rows[0].body.len, 0);
	ask(b, &(struct msg_shard_changes){.bodies = true, .leaves = true}, "5:c 6:b 7:a- | 7 0");
	assert_int_equal(b->changed.rows[2].body.len, 0);
	assert_true(slice_equal(b->changed.rows[0].body, peers_body(b, 5)));
	assert_int_equal(b->changed.rows[1].leaves_count, 0);
}

static struct import_item version(struct slice *hash, struct slice body)
{
	return (struct import_item){.id = slice_text("d"),
				    .generation = 1,
				    .hashes = hash,
				    .hashes_count = 1,
				    .deleted = body.len == 0,
				    .body = body};
}

/* For filters that look at each version. */
static void test_bodies_of_leaves(void **state)
{
	struct storage_bench *b = *state;
	struct slice hashes[] = {slice_text("c"), slice_text("b"), slice_text("a")};
	struct import_item items[] = {version(&hashes[0], peers_body(b, 1)),
				      version(&hashes[1], peers_body(b, 2)),
				      version(&hashes[2], slice_of(NULL, 0))};
	struct msg_doc_import m = {.shard = SHARD, .items = items, .items_count = ARRAY_LEN(items)};
	peers_lead(b, MODE_CONSISTENT);
	storage_bench_clear(b);
	storage_bench_deliver(b, GATEWAY, MSG_doc_import, 1, &m);
	peers_ack(b, PEER_B, 1, FIRST + 2);
	ask(b, &(struct msg_shard_changes){.bodies = true, .leaves = true}, "5:d | 5 0");
	assert_int_equal(b->changed.rows[0].leaves_count, 2);
	assert_int_equal(b->changed.rows[0].leaf_bodies_count, 0);
	ask(b, &(struct msg_shard_changes){.bodies = true, .leaves = true, .leaf_bodies = true},
	    "5:d | 5 0");
	const struct change_row *row = &b->changed.rows[0];
	assert_true(slice_equal(row->body, peers_body(b, 1)));
	assert_int_equal(row->live, 1); /* beside the winner; the other is a deletion */
	assert_int_equal(row->leaf_bodies_count, 1);
	assert_true(slice_equal(row->leaf_bodies[0], peers_body(b, 2)));
}

static struct slice large_body(struct storage_bench *b, size_t bytes)
{
	struct buf text = {0};
	mp_write_map(&text, 1);
	mp_write_text(&text, "v");
	uint8_t *filling = arena_alloc(&b->arena, bytes);
	memset(filling, 'x', bytes);
	mp_write_str(&text, slice_of(filling, bytes));
	struct slice kept = arena_copy(&b->arena, buf_slice(&text));
	buf_close(&text);
	return kept;
}

/* Four versions as large as gateways let them be: together too much for a message. */
static void test_bodies_of_a_row_fit_into_a_message(void **state)
{
	struct storage_bench *b = *state;
	enum { VERSIONS = 4, BYTES = 7900000 };
	static const char *const names[VERSIONS] = {"d", "c", "b", "a"};
	peers_lead(b, MODE_CONSISTENT);
	for (uint64_t i = 0; i < VERSIONS; i++) {
		struct slice hash = slice_text(names[i]);
		struct import_item item = version(&hash, large_body(b, BYTES));
		struct msg_doc_import m = {.shard = SHARD, .items = &item, .items_count = 1};
		storage_bench_clear(b);
		storage_bench_deliver(b, GATEWAY, MSG_doc_import, 1, &m);
		peers_ack(b, PEER_B, 1, FIRST + i);
	}
	ask(b, &(struct msg_shard_changes){.bodies = true, .leaves = true, .leaf_bodies = true},
	    "6:d | 6 0");
	const struct change_row *row = &b->changed.rows[0];
	size_t bytes = row->body.len;
	for (uint32_t i = 0; i < row->leaf_bodies_count; i++)
		bytes += row->leaf_bodies[i].len;
	assert_int_equal(row->live, VERSIONS - 1);
	assert_in_range(row->leaf_bodies_count, 1, VERSIONS - 2);
	assert_in_range(bytes, 0, LIMIT_MESSAGE_BYTES);
}

static void test_only_a_lead_answers(void **state)
{
	struct storage_bench *b = *state;
	filled(b, MODE_CONSISTENT);
	struct msg_shard_changes m = {.shard = SHARD};
	storage_bench_advance(b, 10000); /* no lease */
	storage_bench_clear(b);
	storage_bench_deliver(b, GATEWAY, MSG_shard_changes, 1, &m);
	assert_int_equal(b->changed.status, STATUS_NO_LEAD);
	m.shard = SHARD + 1;
	storage_bench_deliver(b, GATEWAY, MSG_shard_changes, 1, &m);
	assert_int_equal(b->changed.status, STATUS_NO_SHARD);
}

#define CASE(name)                                                                                 \
	cmocka_unit_test_setup_teardown(name, storage_bench_setup, storage_bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_each_document_stands_at_its_latest_change),
	    CASE(test_pages),
	    CASE(test_some_documents),
	    CASE(test_asked_for_twice),
	    CASE(test_deletions_bodies_and_leaves),
	    CASE(test_bodies_of_leaves),
	    CASE(test_bodies_of_a_row_fit_into_a_message),
	    CASE(test_only_a_lead_answers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
