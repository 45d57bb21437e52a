/* How locks end: by who holds them, by time, with a session, with what they hold. */
#include "tests/core/coordinator_lock_case.h"

static void renew(struct bench *b, uint8_t id, uint8_t session, uint8_t ended, uint64_t ttl_ms)
{
	struct slice ids[] = {id_of(b, id), id_of(b, session), id_of(b, ended)};
	struct msg_lock_renew m = {.ids = &ids[0],
				   .ids_count = id > 0,
				   .sessions = &ids[1],
				   .sessions_count = session > 0,
				   .ended = &ids[2],
				   .ended_count = ended > 0,
				   .ttl_ms = ttl_ms};
	say(b, MSG_lock_renew, &m);
}

static void test_lifetime(void **state)
{
	struct bench *b = *state;
	held(b, (struct asked){.id = 1, .key = "c/a", .ttl_ms = 2000});
	bench_advance(b, 1900);
	assert_false(releasing(b, 1));
	renew(b, 1, 0, 0, 0);
	assert_int_equal(b->unknown, 0);
	bench_advance(b, 1900);
	assert_false(releasing(b, 1));
	renew(b, 1, 0, 0, 500);
	bench_advance(b, 600);
	assert_true(releasing(b, 1));
	renew(b, 1, 0, 0, 0);
	assert_int_equal(b->unknown, 1);
}

static void test_sessions(void **state)
{
	struct bench *b = *state;
	held(b, (struct asked){.id = 1, .key = "c/a", .session = 70});
	held(b, (struct asked){.id = 2, .key = "c/b", .session = 71});
	for (int i = 0; i < 5; i++) {
		bench_advance(b, LOCK_SESSION_MS / 2);
		renew(b, 0, 70, 0, 0);
		assert_int_equal(b->unknown, 0);
	}
	assert_true(releasing(b, 2)); /* nobody spoke of its session */
	assert_false(releasing(b, 1));
	renew(b, 0, 0, 70, 0);
	assert_true(releasing(b, 1));
	settle(b);
	/* what comes late for a session that is over */
	acquire(b, (struct asked){.id = 3, .key = "c/a", .session = 70});
	assert_int_equal(b->acquired[3], STATUS_LOCK_LOST);
}

/* Its gateway went, and with it the answer: who asks again has it for his new connection. */
static void test_a_lock_goes_with_who_asks_again(void **state)
{
	struct bench *b = *state;
	held(b, (struct asked){.id = 1, .key = "c/a", .session = 70});
	acquire(b, (struct asked){.id = 1, .key = "c/a", .session = 71});
	assert_int_equal(b->acquired[1], STATUS_OK);
	for (int i = 0; i < 3; i++) {
		bench_advance(b, LOCK_SESSION_MS / 2);
		renew(b, 0, 71, 0, 0);
		assert_int_equal(b->unknown, 0);
	}
	assert_false(releasing(b, 1));
	renew(b, 0, 0, 70, 0);
	assert_false(releasing(b, 1));
	/* what was sent by the first, and comes late */
	acquire(b, (struct asked){.id = 1, .key = "c/a", .session = 70});
	assert_int_equal(b->acquired[1], STATUS_LOCK_LOST);
	bench_restart(b);
	bench_advance(b, SETTLE_MS);
	settle(b);
	renew(b, 0, 71, 0, 0);
	assert_int_equal(b->unknown, 0);
	renew(b, 0, 0, 71, 0);
	assert_true(releasing(b, 1));
}

static void test_lifetimes_begin_anew_after_a_start(void **state)
{
	struct bench *b = *state;
	held(b, (struct asked){.id = 1, .key = "c/a", .ttl_ms = 3000});
	uint64_t token = b->tokens[1];
	bench_advance(b, 2800);
	bench_restart(b);
	bench_advance(b, 2500);
	assert_false(releasing(b, 1));
	/* the shards are asked whether they keep it; then it is held, and known to who asks */
	assert_true(b->sets_count > 0);
	settle(b);
	acquire(b, (struct asked){.id = 1, .key = "c/a"});
	assert_int_equal(b->acquired[1], STATUS_OK);
	assert_int_equal(b->tokens[1], token);
	held(b, (struct asked){.id = 2, .key = "c/b"});
	assert_true(b->tokens[2] > token);
	bench_advance(b, 3100);
	assert_true(releasing(b, 1));
}

static void test_a_release_outlives_a_start(void **state)
{
	struct bench *b = *state;
	held(b, (struct asked){.id = 1, .key = "c/a"});
	unlock(b, 1, 99);
	bench_restart(b);
	b->sets_count = 0;
	bench_advance(b, 1000);
	assert_true(releasing(b, 1));
	settle(b);
	b->sets_count = 0;
	bench_advance(b, 1000);
	assert_int_equal(b->sets_count, 0);
}

static void put_on_disk(struct bench *b, const struct lock_record *record)
{
	struct store *store = disk_open(b->disk, NULL);
	struct buf key = {0};
	struct buf value = {0};
	buf_append_byte(&key, 'l');
	buf_append_slice(&key, record->id);
	schema_encode(&schema_lock_record, record, &value);
	store_put(store, STORE_META, buf_slice(&key), buf_slice(&value));
	assert_int_equal(store_commit(store, true), STORE_OK);
	store_close(store);
	buf_close(&key);
	buf_close(&value);
}

/* What is left of it is released, and then forgotten; nothing else suffers. */
static void test_a_lock_of_what_is_no_more(void **state)
{
	struct bench *b = *state;
	held(b, (struct asked){.id = 1, .key = "c/a", .ttl_ms = 60000});
	bench_stop(b);
	struct lock_key keys[] = {key_of(b, "gone/a"), key_of(b, "c/b"), key_of(b, "gone")};
	struct lock_record record = {
	    .id = id_of(b, 7), .keys = keys, .keys_count = 3, .token = 1, .ttl_ms = 60000};
	put_on_disk(b, &record);
	record.id = id_of(b, 8);
	record.keys_count = 1;
	put_on_disk(b, &record);
	arena_reset(&b->arena);
	b->sets_count = 0;
	bench_start(b, false);
	bench_advance(b, SETTLE_MS);
	assert_true(releasing(b, 7));
	assert_false(releasing(b, 8)); /* it has no shard at all */
	assert_false(releasing(b, 1));
	settle(b);
	held(b, (struct asked){.id = 2, .key = "c/b"});
	acquire(b, (struct asked){.id = 1, .key = "c/a"});
	assert_int_equal(b->acquired[1], STATUS_OK);
	b->sets_count = 0;
	bench_restart(b);
	bench_advance(b, SETTLE_MS);
	assert_false(releasing(b, 7));
}

static void make(struct bench *b, bool drop)
{
	struct msg_collection_create m = {
	    .collection = {.name = slice_text("c")}, .shards = SHARDS, .drop = drop};
	assert_int_equal(bench_create(b, m), drop ? STATUS_OK : STATUS_CREATED);
	bench_advance(b, SETTLE_MS);
}

/* What comes under the same name is another one, and no lead there knows of these locks. */
static void test_a_lock_ends_with_its_collection(void **state)
{
	struct bench *b = *state;
	held(b, (struct asked){.id = 1, .key = "c/a", .ttl_ms = 600000});
	held(b, (struct asked){.id = 2, .key = "!name", .ttl_ms = 600000});
	acquire(b, (struct asked){.id = 3, .key = "c/b", .ttl_ms = 600000});
	b->sets_count = 0;
	make(b, true);
	assert_int_equal(b->acquired[3], STATUS_LOCK_LOST);
	renew(b, 1, 0, 0, 0);
	assert_int_equal(b->unknown, 1);
	renew(b, 2, 0, 0, 0);
	assert_int_equal(b->unknown, 0);
	make(b, false);
	b->sets_count = 0;
	held(b, (struct asked){.id = 4, .key = "c/a"});
	held(b, (struct asked){.id = 5, .key = "c/b"});
}

static void test_a_standstill_ends_no_lock(void **state)
{
	struct bench *b = *state;
	held(b, (struct asked){.id = 1, .key = "c/a", .ttl_ms = 2000});
	b->now_ms += 60000;
	bench_advance(b, 1500);
	assert_false(releasing(b, 1));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, bench_teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_lifetime),
	    TEST(test_sessions),
	    TEST(test_a_lock_goes_with_who_asks_again),
	    TEST(test_lifetimes_begin_anew_after_a_start),
	    TEST(test_a_release_outlives_a_start),
	    TEST(test_a_lock_of_what_is_no_more),
	    TEST(test_a_lock_ends_with_its_collection),
	    TEST(test_a_standstill_ends_no_lock),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
