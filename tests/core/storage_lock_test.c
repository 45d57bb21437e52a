/* The storage node's core and locks: ordered in the stream, checked at writes, kept over restarts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/doc/json.h"
#include "common/timing.h"
#include "tests/sim/storage_peers.h"

static int setup(void **state)
{
	storage_bench_setup(state);
	peers_lead(*state, MODE_CONSISTENT);
	return 0;
}

enum { NO_ANSWER = 999, NO_LOCK = 0 };

static struct slice lock_id(struct storage_bench *b, uint8_t id)
{
	uint8_t *bytes = arena_alloc(&b->arena, 16);
	memset(bytes, id, 16);
	return slice_of(bytes, 16);
}

/* From the coordinator; document and field may be "". */
static void set(struct storage_bench *b, uint8_t id, uint64_t token, const char *document,
		const char *field, bool release)
{
	struct lock_path path = {.document = slice_text(document), .field = slice_text(field)};
	struct msg_lock_set m = {
	    .shard = SHARD,
	    .lock = {.id = lock_id(b, id), .token = token, .paths = &path, .paths_count = 1},
	    .release = release};
	b->set = (struct msg_lock_set_ack){.status = NO_ANSWER};
	storage_bench_deliver(b, COORDINATOR, MSG_lock_set, 1, &m);
}

/* B has synced all there is. */
static void settle(struct storage_bench *b, uint64_t *last)
{
	peers_ack(b, PEER_B, 1, ++*last);
}

static uint64_t operations;

static enum status write_op(struct storage_bench *b, uint8_t lock, uint64_t op, const char *id,
			    const char *json)
{
	struct msg_doc_write m = peers_put(b, id, ++operations);
	struct slice ids[] = {lock_id(b, lock)};
	struct json_parser *parser = json_parser_new();
	struct json_error error;
	struct buf body = {0};
	assert_true(json_to_msgpack(parser, slice_text(json), &body, &error));
	json_parser_free(parser);
	m.op = op;
	m.body = op == WRITE_DELETE ? slice_of(NULL, 0) : arena_copy(&b->arena, buf_slice(&body));
	buf_close(&body);
	if (lock != NO_LOCK) {
		m.lock_ids = ids;
		m.lock_ids_count = 1;
	}
	peers_write(b, 1, &m);
	return b->written.status;
}

static enum status put(struct storage_bench *b, uint8_t lock, const char *id)
{
	return write_op(b, lock, WRITE_PUT, id, "{\"a\":1}");
}

static void test_settled_like_a_write(void **state)
{
	struct storage_bench *b = *state;
	uint64_t last = 2;
	set(b, 1, 5, "d", "", false);
	assert_int_equal(b->set.status, NO_ANSWER);
	/* it counts at once */
	assert_int_equal(put(b, NO_LOCK, "d"), STATUS_LOCKED);
	set(b, 1, 5, "d", "", false); /* said again: the same entry */
	settle(b, &last);
	assert_int_equal(b->set.status, STATUS_OK);
	assert_int_equal(b->set.token, 5);
	assert_int_equal(peers_pairs(b, STORE_CONFLICTS, 'd'), 1);
	set(b, 1, 5, "d", "", false);
	assert_int_equal(b->set.status, STATUS_OK);
	/* its release counts once it is settled */
	set(b, 1, 5, "", "", true);
	assert_int_equal(b->set.status, NO_ANSWER);
	assert_int_equal(put(b, NO_LOCK, "d"), STATUS_LOCKED);
	settle(b, &last);
	assert_int_equal(b->set.status, STATUS_OK);
	assert_int_equal(peers_pairs(b, STORE_CONFLICTS, 'd'), 0);
	assert_int_equal(put(b, NO_LOCK, "d"), NO_ANSWER);
	settle(b, &last);
	assert_int_equal(b->written.status, STATUS_CREATED);
}

/* It was sent to the lead before, and then to others: what the lead did then it may have forgotten.
 */
static void test_refusal_of_what_may_be_done(void **state)
{
	struct storage_bench *b = *state;
	uint64_t last = 2;
	peers_lead(b, MODE_AVAILABLE);
	set(b, 1, 5, "d", "", false);
	settle(b, &last);
	struct msg_doc_write m = peers_put(b, "d", 1);
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_LOCKED);
	assert_false(b->written.gap);
	m.operation_id = peers_operation(b, 2);
	m.branch = true;
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_LOCKED);
	assert_true(b->written.gap);
	assert_int_equal(b->written.clock_ms, b->now_ms);
}

/* What a lock on (document, field) says to writes, with its id and without. */
static void test_what_is_covered(void **state)
{
	static const struct {
		const char *document, *field;
		uint64_t op;
		const char *id, *body;
		enum status foreign, own; /* OK: taken */
	} rows[] = {
	    {"", "", WRITE_PUT, "d", "{}", STATUS_LOCKED, STATUS_OK},
	    {"", "", WRITE_PATCH, "d", "{\"a\":1}", STATUS_LOCKED, STATUS_OK},
	    {"d", "", WRITE_PUT, "d", "{}", STATUS_LOCKED, STATUS_OK},
	    {"d", "", WRITE_DELETE, "d", "{}", STATUS_LOCKED, STATUS_OK},
	    {"d", "", WRITE_PATCH, "d", "{\"a\":{\"b\":1}}", STATUS_LOCKED, STATUS_OK},
	    {"d", "", WRITE_PUT, "e", "{}", STATUS_OK, STATUS_LOCK_LOST},
	    {"d", "a", WRITE_PUT, "d", "{}", STATUS_LOCKED, STATUS_LOCK_LOST},
	    {"d", "a", WRITE_DELETE, "d", "{}", STATUS_LOCKED, STATUS_LOCK_LOST},
	    {"d", "a", WRITE_PATCH, "d", "{\"a\":1}", STATUS_LOCKED, STATUS_OK},
	    {"d", "a", WRITE_PATCH, "d", "{\"a\":{\"x\":1}}", STATUS_LOCKED, STATUS_OK},
	    {"d", "a", WRITE_PATCH, "d", "{\"ab\":1}", STATUS_OK, STATUS_LOCK_LOST},
	    {"d", "a", WRITE_PATCH, "d", "{\"b\":1}", STATUS_OK, STATUS_LOCK_LOST},
	    {"d", "a", WRITE_PATCH, "d", "{\"b\":1,\"a\":2}", STATUS_LOCKED, STATUS_LOCK_LOST},
	    {"d", "a.x", WRITE_PATCH, "d", "{\"a\":{\"x\":1}}", STATUS_LOCKED, STATUS_OK},
	    {"d", "a.x", WRITE_PATCH, "d", "{\"a\":{\"x\":{\"y\":1}}}", STATUS_LOCKED, STATUS_OK},
	    {"d", "a.x", WRITE_PATCH, "d", "{\"a\":{\"y\":1}}", STATUS_OK, STATUS_LOCK_LOST},
	    {"d", "a.x", WRITE_PATCH, "d", "{\"a\":null}", STATUS_LOCKED, STATUS_LOCK_LOST},
	    {"d", "a.x", WRITE_PATCH, "d", "{\"a\":{}}", STATUS_LOCKED, STATUS_LOCK_LOST},
	    {"d", "a.x", WRITE_UPDATE, "d", "{\"$set\":{\"a.x\":1}}", STATUS_LOCKED, STATUS_OK},
	    {"d", "a.x", WRITE_UPDATE, "d", "{\"$inc\":{\"a.x.y\":1}}", STATUS_LOCKED, STATUS_OK},
	    {"d", "a.x", WRITE_UPDATE, "d", "{\"$set\":{\"a\":1}}", STATUS_LOCKED,
	     STATUS_LOCK_LOST},
	    {"d", "a.x", WRITE_UPDATE, "d", "{\"$unset\":{\"b\":1}}", STATUS_OK, STATUS_LOCK_LOST},
	};
	struct storage_bench *b = *state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (i > 0) { /* a node that knows nothing */
			storage_bench_close(b);
			storage_bench_init(b);
			peers_lead(b, MODE_CONSISTENT);
		}
		uint64_t last = 2;
		put(b, NO_LOCK, "d");
		settle(b, &last);
		set(b, 1, 5, rows[i].document, rows[i].field, false);
		settle(b, &last);
		for (int own = 0; own < 2; own++) {
			enum status wanted = own ? rows[i].own : rows[i].foreign;
			enum status got =
			    write_op(b, own ? 1 : NO_LOCK, rows[i].op, rows[i].id, rows[i].body);
			bool refused = got == STATUS_LOCKED || got == STATUS_LOCK_LOST;
			if (wanted == STATUS_OK ? refused : got != wanted)
				fail_msg("row %zu own=%d: %d", i, own, (int)got);
			if (!refused)
				settle(b, &last);
		}
	}
}

/* A merge patch has no way into an array: an object puts itself in its place, elements and all. */
static void test_a_patch_replaces_an_array(void **state)
{
	struct storage_bench *b = *state;
	uint64_t last = 2;
	write_op(b, NO_LOCK, WRITE_PUT, "d", "{\"o\":{\"a\":[1,2]}}");
	settle(b, &last);
	set(b, 1, 5, "d", "o.a.0", false);
	settle(b, &last);
	static const char patch[] = "{\"o\":{\"a\":{\"b\":1}}}";
	assert_int_equal(write_op(b, NO_LOCK, WRITE_PATCH, "d", patch), STATUS_LOCKED);
	assert_int_equal(write_op(b, 1, WRITE_PATCH, "d", "{\"o\":{\"a\":{\"0\":3}}}"),
			 STATUS_LOCK_LOST);
	assert_int_equal(write_op(b, 1, WRITE_UPDATE, "d", "{\"$set\":{\"o.a.0\":{\"x\":1}}}"),
			 NO_ANSWER);
	/* not settled yet, but decided */
	assert_int_equal(write_op(b, 1, WRITE_UPDATE, "d", "{\"$set\":{\"o.a\":{\"0\":1}}}"),
			 STATUS_LOCK_LOST);
	assert_int_equal(write_op(b, NO_LOCK, WRITE_PATCH, "d", "{\"o\":{\"c\":1}}"), NO_ANSWER);
}

static void test_fencing(void **state)
{
	struct storage_bench *b = *state;
	uint64_t last = 2;
	set(b, 1, 5, "d", "", false);
	settle(b, &last);
	assert_int_equal(put(b, 1, "d"), NO_ANSWER);
	settle(b, &last);
	set(b, 1, 5, "", "", true);
	settle(b, &last);
	assert_int_equal(put(b, 1, "d"), STATUS_LOCK_LOST);
	set(b, 2, 6, "d", "", false);
	settle(b, &last);
	assert_int_equal(put(b, 1, "d"), STATUS_LOCK_LOST);
	assert_int_equal(put(b, 2, "d"), NO_ANSWER);
}

static void test_late_messages(void **state)
{
	struct storage_bench *b = *state;
	uint64_t last = 2;
	set(b, 1, 5, "d", "", false);
	settle(b, &last);
	set(b, 1, 5, "", "", true);
	settle(b, &last);
	/* the grant once more, after its release */
	set(b, 1, 5, "d", "", false);
	assert_int_equal(b->set.status, STATUS_LOCK_LOST);
	assert_int_equal(b->set.greatest, 5);
	/* and the release */
	set(b, 1, 5, "", "", true);
	assert_int_equal(b->set.status, STATUS_OK);
	/* a release that overtakes its grant */
	set(b, 2, 8, "", "", true);
	assert_int_equal(b->set.status, NO_ANSWER);
	settle(b, &last);
	assert_int_equal(b->set.status, STATUS_OK);
	set(b, 2, 8, "d", "", false);
	assert_int_equal(b->set.status, STATUS_LOCK_LOST);
	/* one with a lesser token than another has come with: refused, so that the coordinator
	 * gives a greater one */
	set(b, 3, 7, "d", "", false);
	assert_int_equal(b->set.status, STATUS_LOCK_LOST);
	set(b, 3, 9, "d", "", false);
	settle(b, &last);
	assert_int_equal(b->set.status, STATUS_OK);
	/* the release of an earlier grant of the same id */
	set(b, 3, 7, "", "", true);
	assert_int_equal(b->set.status, STATUS_OK);
	assert_int_equal(put(b, NO_LOCK, "d"), STATUS_LOCKED);
}

static void test_a_refused_attempt_stays_refused(void **state)
{
	struct storage_bench *b = *state;
	uint64_t last = 2;
	set(b, 1, 5, "d", "", false);
	settle(b, &last);
	struct msg_doc_write m = peers_put(b, "d", ++operations);
	m.attempt = 77;
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_LOCKED);
	set(b, 1, 5, "", "", true);
	settle(b, &last);
	peers_write(b, 1, &m); /* a copy that was under way for long */
	assert_int_equal(b->written.status, STATUS_LOCKED);
	m.attempt = 78;
	peers_write(b, 1, &m);
	settle(b, &last);
	assert_int_equal(b->written.status, STATUS_CREATED);
	m.attempt = 79; /* done is done */
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_CREATED);
}

static void test_no_refusal_without_a_lease(void **state)
{
	struct storage_bench *b = *state;
	uint64_t last = 2;
	set(b, 1, 5, "d", "", false);
	settle(b, &last);
	storage_bench_advance(b, LEASE_MS + 1);
	assert_int_equal(put(b, NO_LOCK, "d"), STATUS_NO_LEAD);
}

static void test_kept_over_a_restart(void **state)
{
	struct storage_bench *b = *state;
	uint64_t last = 2;
	set(b, 1, 5, "d", "", false);
	settle(b, &last);
	set(b, 2, 6, "e", "", false);
	settle(b, &last);
	set(b, 2, 6, "", "", true);
	settle(b, &last);
	storage_bench_stop(b, false);
	storage_bench_start(b);
	assert_int_equal(peers_pairs(b, STORE_CONFLICTS, 'd'), 1);
	peers_take_over(b, 2, PEER_B, last);
	struct msg_doc_write m = peers_put(b, "d", ++operations);
	peers_write(b, 2, &m);
	assert_int_equal(b->written.status, STATUS_LOCKED);
	/* the coordinator hears of it, should it have lost its disk */
	b->set = (struct msg_lock_set_ack){.status = NO_ANSWER};
	storage_bench_advance(b, 2500);
	assert_int_equal(b->set.status, STATUS_OK);
	assert_int_equal(b->set.token, 5);
}

static void lock_entry(struct storage_bench *b, struct change *change, struct shard_lock *lock,
		       uint8_t id, uint64_t token, struct lock_path *path)
{
	*lock = (struct shard_lock){
	    .id = lock_id(b, id), .token = token, .paths = path, .paths_count = 1};
	*change = (struct change){.kind = CHANGE_LOCK, .locks = lock, .locks_count = 1};
}

static void test_a_replica_follows(void **state)
{
	struct storage_bench *b = *state;
	struct lock_path path = {.document = slice_text("d")};
	struct shard_lock lock;
	struct change change;
	storage_bench_close(b);
	storage_bench_init(b);
	peers_follow(b, MODE_CONSISTENT);
	lock_entry(b, &change, &lock, 1, 5, &path);
	peers_append(b, 1, 1, 2, 2, &change);
	assert_int_equal(peers_pairs(b, STORE_CONFLICTS, 'd'), 0);
	peers_append(b, 1, 1, 3, 3, NULL);
	assert_int_equal(peers_pairs(b, STORE_CONFLICTS, 'd'), 1);
	change.kind = CHANGE_UNLOCK;
	peers_append(b, 1, 1, 3, 4, &change);
	peers_append(b, 1, 1, 4, 4, NULL);
	assert_int_equal(peers_pairs(b, STORE_CONFLICTS, 'd'), 0);
}

/* A grant that another lead had cut counts no longer. */
static void test_a_cut_grant(void **state)
{
	struct storage_bench *b = *state;
	set(b, 1, 5, "d", "", false);
	assert_int_equal(put(b, NO_LOCK, "d"), STATUS_LOCKED);
	struct change epoch = {.kind = CHANGE_EPOCH};
	peers_place(b, 2, PEER_B, MODE_CONSISTENT);
	peers_append(b, 2, 1, 2, 2, &epoch);
	assert_int_not_equal(b->set.status, STATUS_OK);
	peers_take_over(b, 3, PEER_B, 3);
	struct msg_doc_write m = peers_put(b, "d", ++operations);
	peers_write(b, 3, &m);
	assert_int_equal(b->written.status, NO_ANSWER);
	peers_ack(b, PEER_B, 3, 5);
	assert_int_equal(b->written.status, STATUS_CREATED);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, storage_bench_teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_settled_like_a_write),
	    TEST(test_what_is_covered),
	    TEST(test_a_patch_replaces_an_array),
	    TEST(test_fencing),
	    TEST(test_late_messages),
	    TEST(test_a_refused_attempt_stays_refused),
	    TEST(test_no_refusal_without_a_lease),
	    cmocka_unit_test_setup_teardown(test_refusal_of_what_may_be_done, storage_bench_setup,
					    storage_bench_teardown),
	    TEST(test_kept_over_a_restart),
	    TEST(test_a_replica_follows),
	    TEST(test_a_cut_grant),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
