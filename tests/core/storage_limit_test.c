/* Repeated operations, full disks and greatest sizes at the storage node's core. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/timing.h"
#include "proto/msgpack.h"
#include "tests/core/storage_case.h"

/* ---- operation ids ---- */

static void test_operation_ids(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	struct msg_doc_write m = peers_put(b, "d", 1);
	m.operation_digest = peers_operation(b, 50);
	peers_write(b, 1, &m);
	peers_ack(b, PEER_B, 1, 3);
	assert_int_equal(b->written.status, STATUS_CREATED);
	struct msg_doc_write next = peers_put(b, "d", 2);
	peers_write(b, 1, &next);
	peers_ack(b, PEER_B, 1, 4);
	assert_int_equal(b->written.status, STATUS_OK);
	peers_write(b, 1, &m); /* the first one again: its own answer, and nothing is done */
	assert_int_equal(b->written.status, STATUS_CREATED);
	assert_int_equal(b->written.revision.generation, 1);
	m.operation_digest = peers_operation(b, 51);
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_OPERATION_ID_REUSED);
	/* the record remembers what the lead of a later epoch can't */
	m.operation_digest = peers_operation(b, 50);
	peers_place(b, 2, SELF, MODE_CONSISTENT);
	peers_promise(b, PEER_B, 2, STATUS_OK);
	peers_ack(b, PEER_B, 2, 5);
	peers_grant(b, PEER_B, 2, false);
	storage_bench_advance(b, 3 * REQUEST_DEADLINE_MS);
	peers_grant(b, PEER_B, 2, false);
	peers_write(b, 2, &m);
	assert_int_equal(b->written.status, STATUS_CREATED);
	assert_int_equal(b->written.revision.generation, 1);
}

/* A refusal would be believed, and the write done again. */
static void test_late_duplicate_is_not_refused(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	struct msg_doc_write m = peers_put(b, "d", 1);
	peers_write(b, 1, &m);
	peers_place(b, 2, SELF, MODE_CONSISTENT);
	storage_bench_clear(b);
	peers_write(b, 1, &m);
	assert_int_equal(b->answers, 0);
	peers_promise(b, PEER_B, 2, STATUS_OK);
	peers_ack(b, PEER_B, 2, 4); /* 3 is the write, 4 the new epoch */
	assert_int_equal(b->written.status, STATUS_CREATED);
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_CREATED);
	assert_int_equal(b->written.revision.generation, 1);
	struct msg_doc_write late = peers_put(b, "d", 2); /* one that nobody took */
	peers_write(b, 1, &late);
	assert_int_equal(b->written.status, STATUS_OLD_EPOCH);
}

/* Its client was told that nobody knows, and asks again: it must not be refused and then be done.
 */
static void test_unsettled_is_not_forgotten(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	struct msg_doc_write m = peers_put(b, "d", 1);
	m.operation_digest = peers_operation(b, 50);
	peers_write(b, 1, &m);
	for (int i = 0; i < 8; i++) {
		storage_bench_advance(b, REQUEST_DEADLINE_MS);
		peers_grant(b, PEER_B, 1, true);
		peers_grant(b, PEER_C, 1, true);
		storage_bench_advance(b, 1);
	}
	storage_bench_clear(b);
	m.attempt = 1;
	peers_write(b, 1, &m);
	assert_int_equal(b->answers, 0);
	peers_ack(b, PEER_B, 1, 3);
	assert_int_equal(b->written.status, STATUS_CREATED);
}

/* ---- limits ---- */

static void test_disk_full(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	struct event e = {.kind = EVENT_DISK};
	e.disk.full = true;
	storage_bench_step(b, &e);
	storage_bench_turn(b);
	struct msg_doc_write m = peers_put(b, "d", 1);
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_DISK_FULL);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_NOT_FOUND);
	e.disk.full = false;
	storage_bench_step(b, &e);
	peers_write(b, 1, &m); /* a copy of it: its client was told already */
	assert_int_equal(b->written.status, STATUS_DISK_FULL);
	m.attempt = 1; /* its client, again */
	peers_write(b, 1, &m);
	peers_ack(b, PEER_B, 1, 3);
	assert_int_equal(b->written.status, STATUS_CREATED);
	/* both others are full: a write could never settle */
	peers_grant(b, PEER_B, 1, true);
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_CREATED); /* done already */
	m = peers_put(b, "e", 2);
	peers_grant(b, PEER_C, 1, true);
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_DISK_FULL);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	peers_grant(b, PEER_C, 1, false);
	m.attempt = 2;
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, 999);
}

static void test_full_replica_lets_a_lead_begin(void **state)
{
	struct storage_bench *b = *state;
	struct change change = first_write(b);
	struct change epoch = {.kind = CHANGE_EPOCH};
	peers_follow(b, MODE_CONSISTENT);
	struct event e = {.kind = EVENT_DISK};
	e.disk.full = true;
	storage_bench_step(b, &e);
	peers_append(b, 1, 1, 2, 2, &change); /* its lead took it already */
	expect(b, "-> 12 e1 stream_append_ack{shard=7 status=0 last={epoch=1 number=3} "
		  "incarnation=211 applied=2}\n");
	e.disk.exhausted = true;
	storage_bench_step(b, &e);
	peers_append(b, 1, 1, 3, 3, &change);
	expect(b, "-> 12 e1 stream_append_ack{shard=7 status=80 incarnation=211}\n");
	peers_append(b, 1, 1, 3, 3, &epoch);
	expect(b, "-> 12 e1 stream_append_ack{shard=7 status=0 last={epoch=1 number=4} "
		  "incarnation=211 applied=3}\n");
}

static void test_patches_do_not_add_up(void **state)
{
	struct storage_bench *b = *state;
	enum { PART_BYTES = 6 * 1024 * 1024 };
	static char part[PART_BYTES];
	peers_lead(b, MODE_CONSISTENT);
	for (uint64_t i = 0; i < 3; i++) {
		struct buf body = {0};
		char name[2] = {(char)('a' + i), 0};
		mp_write_map(&body, 1);
		mp_write_text(&body, name);
		memset(part, 'x', sizeof part);
		mp_write_str(&body, slice_of(part, sizeof part));
		struct msg_doc_write m = peers_put(b, "d", i + 1);
		m.op = i ? WRITE_PATCH : WRITE_PUT;
		m.body = buf_slice(&body);
		peers_write(b, 1, &m);
		if (i < 2)
			peers_ack(b, PEER_B, 1, 3 + i);
		buf_close(&body);
		peers_grant(b, PEER_B, 1, false);
	}
	assert_int_equal(b->written.status, STATUS_BODY_TOO_LARGE);
}

static void test_body_must_be_a_document(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	struct msg_doc_write m = peers_put(b, "d", 1);
	m.body = slice_text("\x81\x01"); /* a map that ends too early, its key no string */
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_WRONG_TYPE);
	m = peers_put(b, "d", 2);
	m.id = slice_of("d\0\1", 3); /* a key of another document's body */
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_BAD_MESSAGE);
}

static void ask(struct storage_bench *b, const struct msg_shard_query *m)
{
	arena_reset(&b->arena);
	peers_grant(b, PEER_B, 1, false);
	storage_bench_deliver(b, GATEWAY, MSG_shard_query, 1, m);
	storage_bench_advance(b, 1000);
}

/* Puts {"v": i / 2}, so that each value is there twice. */
static void fill(struct storage_bench *b, uint64_t documents)
{
	for (uint64_t i = 0; i < documents; i++) {
		char id[16];
		snprintf(id, sizeof id, "d%06d", (int)i);
		struct msg_doc_write m = peers_put(b, id, i / 2);
		m.operation_id = peers_operation(b, i + 1);
		storage_bench_deliver(b, GATEWAY, MSG_doc_write, 1, &m);
		peers_ack(b, PEER_B, 1, 3 + i);
		storage_bench_clear(b);
		if (i % 1000 == 0)
			arena_reset(&b->arena);
	}
}

static void test_ordered_list_comes_in_pages(void **state)
{
	struct storage_bench *b = *state;
	enum { DOCUMENTS = LIMIT_ROWS + 10 };
	peers_lead(b, MODE_CONSISTENT);
	fill(b, DOCUMENTS);
	struct slice order = slice_text("desc(v)");
	struct msg_shard_query m = {.shard = SHARD, .order = &order, .order_count = 1};
	ask(b, &m);
	assert_int_equal(b->queried.status, STATUS_OK);
	assert_int_equal(b->queried.rows_count, LIMIT_ROWS);
	assert_true(b->queried.sorted);
	assert_int_equal(b->queried.documents_read, DOCUMENTS);
	struct row last = b->queried.rows[LIMIT_ROWS - 1];
	char id[16];
	uint8_t key[16];
	assert_true(slice_is(last.id, "d000011")); /* of two that are equal the one that is later */
	assert_true(slice_equal(b->queried.more_after, last.id));
	memcpy(id, last.id.data, last.id.len);
	memcpy(key, last.order_key[0].data, last.order_key[0].len);
	struct slice after = slice_of(key, last.order_key[0].len);
	m.after = slice_of(id, last.id.len);
	m.after_keys = &after;
	m.after_keys_count = 1;
	ask(b, &m);
	assert_int_equal(b->queried.rows_count, 10);
	assert_true(slice_is(b->queried.rows[0].id, "d000008"));
	assert_int_equal(b->queried.more_after.len, 0);
	m.after_keys_count = 0; /* a row without its keys is nowhere */
	ask(b, &m);
	assert_int_equal(b->queried.status, STATUS_BAD_QUERY);
}

/* Document i of those written. */
static void put_long(struct storage_bench *b, const char *id, uint64_t i, struct slice text)
{
	struct buf body = {0};
	mp_write_map(&body, 1);
	mp_write_text(&body, "v");
	mp_write_str(&body, text);
	struct msg_doc_write m = peers_put(b, id, i + 1);
	m.body = buf_slice(&body);
	peers_write(b, 1, &m);
	peers_ack(b, PEER_B, 1, 3 + i);
	buf_close(&body);
}

static void test_what_is_sorted_is_bounded(void **state)
{
	struct storage_bench *b = *state;
	enum { PART_BYTES = 1024 * 1024, DOCUMENTS = 12 };
	static char part[PART_BYTES];
	peers_lead(b, MODE_CONSISTENT);
	memset(part, 'x', sizeof part);
	for (uint64_t i = 0; i < DOCUMENTS; i++) {
		char id[2] = {(char)('a' + i), 0};
		put_long(b, id, i, slice_of(part, sizeof part));
		peers_grant(b, PEER_B, 1, false);
	}
	struct slice order = slice_text("asc(v)");
	struct msg_shard_query m = {
	    .shard = SHARD, .order = &order, .order_count = 1, .limit = DOCUMENTS};
	ask(b, &m);
	assert_int_equal(b->queried.status, STATUS_SORT_TOO_LARGE);
	m.limit = 2;
	ask(b, &m);
	assert_int_equal(b->queried.status, STATUS_OK);
	assert_int_equal(b->queried.rows_count, 2);
	assert_true(slice_is(b->queried.rows[1].id, "b"));
	struct slice field = slice_text("w");
	m.limit = 0;
	m.fields = &field;
	m.fields_count = 1;
	ask(b, &m);
	assert_int_equal(b->queried.status, STATUS_OK);
	assert_int_equal(b->queried.rows_count, DOCUMENTS);
}

enum { TALL_DOCUMENTS = 6 };

/* Turns until documents are counted by so many conditions, none of which holds. */
static int turns_to_count(struct storage_bench *b, uint32_t conditions)
{
	struct buf filter = {0};
	mp_write_map(&filter, 1);
	mp_write_text(&filter, "$or");
	mp_write_array(&filter, conditions);
	for (uint32_t i = 0; i < conditions; i++) {
		mp_write_map(&filter, 1);
		mp_write_text(&filter, "z");
		mp_write_u64(&filter, i);
	}
	struct msg_shard_query m = {.shard = SHARD, .count = true, .filter = buf_slice(&filter)};
	peers_grant(b, PEER_B, 1, false);
	b->queried.status = STATUS_INTERNAL;
	storage_bench_deliver(b, GATEWAY, MSG_shard_query, 1, &m);
	buf_close(&filter);
	int turns = 1;
	for (; b->queried.status == STATUS_INTERNAL && turns < 100; turns++)
		storage_bench_advance(b, 1);
	assert_int_equal(b->queried.status, STATUS_OK);
	assert_int_equal(b->queried.documents_read, TALL_DOCUMENTS);
	return turns;
}

/* A turn ends sooner where looking at a document takes long. */
static void test_costly_filters_take_more_turns(void **state)
{
	struct storage_bench *b = *state;
	enum { PART_BYTES = 64 * 1024 };
	static char part[PART_BYTES];
	peers_lead(b, MODE_CONSISTENT);
	memset(part, 'x', sizeof part);
	for (uint64_t i = 0; i < TALL_DOCUMENTS; i++) {
		char id[2] = {(char)('a' + i), 0};
		put_long(b, id, i, slice_of(part, sizeof part));
	}
	int few = turns_to_count(b, 1);
	assert_in_range(turns_to_count(b, 1000), few + TALL_DOCUMENTS - 1, 99);
}

/* What one map drops makes room for what it brings. */
static void test_a_drop_makes_room_for_a_collection(void **state)
{
	struct storage_bench *b = *state;
	static struct collection list[LIMIT_COLLECTIONS];
	uint64_t dropped = 1000;
	for (uint32_t i = 0; i < LIMIT_COLLECTIONS; i++)
		list[i] = (struct collection){.id = dropped + i,
					      .name = slice_text("x"),
					      .version = 1,
					      .replicas = 3,
					      .write_quorum = 2};
	struct msg_map_push push = {
	    .map_version = 1, .collections = list, .collections_count = LIMIT_COLLECTIONS};
	storage_bench_deliver(b, COORDINATOR, MSG_map_push, 0, &push);
	struct collection next = list[1];
	next.id = COLLECTION;
	push = (struct msg_map_push){.map_version = 3,
				     .collections = &next,
				     .collections_count = 1,
				     .dropped = &dropped,
				     .dropped_count = 1};
	storage_bench_deliver(b, COORDINATOR, MSG_map_push, 0, &push);
	assert_int_equal(disk_count(b->disk, STORE_META, slice_text("c")), LIMIT_COLLECTIONS);
	assert_int_equal(disk_count(b->disk, STORE_META, slice_text("d")), 1);
}

#define CASE(name)                                                                                 \
	cmocka_unit_test_setup_teardown(name, storage_bench_setup, storage_bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_operation_ids),
	    CASE(test_late_duplicate_is_not_refused),
	    CASE(test_unsettled_is_not_forgotten),
	    CASE(test_disk_full),
	    CASE(test_full_replica_lets_a_lead_begin),
	    CASE(test_patches_do_not_add_up),
	    CASE(test_body_must_be_a_document),
	    CASE(test_ordered_list_comes_in_pages),
	    CASE(test_what_is_sorted_is_bounded),
	    CASE(test_costly_filters_take_more_turns),
	    CASE(test_a_drop_makes_room_for_a_collection),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
