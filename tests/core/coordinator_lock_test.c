/* Who is granted a lock, and what its shards say to that. */
#include "tests/core/coordinator_lock_case.h"

/* ---- granting ---- */

static void test_told_when_all_have_settled(void **state)
{
	struct bench *b = *state;
	acquire(b, (struct asked){.id = 1, .key = "c"});
	assert_int_equal(b->sets_count, SHARDS);
	for (uint32_t i = 0; i < SHARDS; i++) {
		assert_int_equal(b->acquired[1], BENCH_NONE);
		assert_int_equal(b->sets[i].paths, 1);
		struct bench_set set = b->sets[i];
		ack_set(b, &set, STATUS_OK, set.token);
		ack_set(b, &set, STATUS_OK, set.token); /* twice is once */
	}
	assert_int_equal(b->acquired[1], STATUS_OK);
	assert_int_equal(b->tokens[1], 1);
	b->sets_count = 0;
	acquire(b, (struct asked){.id = 2, .key = "!name"});
	assert_int_equal(b->sets_count, 0);
	assert_int_equal(b->acquired[2], STATUS_OK);
	assert_int_equal(b->tokens[2], 2);
}

static void test_a_document_concerns_its_shard(void **state)
{
	struct bench *b = *state;
	acquire(b, (struct asked){.id = 1, .key = "c/d", .other = "c/d/f"});
	assert_int_equal(b->sets_count, 1);
	acquire(b, (struct asked){.id = 2, .key = "nowhere/d"});
	assert_int_equal(b->acquired[2], STATUS_NOT_FOUND);
}

static void test_what_excludes_what(void **state)
{
	static const struct {
		const char *has, *wants;
		bool excluded;
	} rows[] = {
	    {"c", "c", true},           {"c", "c/d", true},
	    {"c", "c/d/f", true},       {"c/d", "c", true},
	    {"c/d", "c/d", true},       {"c/d", "c/d/f", true},
	    {"c/d", "c/e", false},      {"c/d/f", "c", true},
	    {"c/d/f", "c/d", true},     {"c/d/f", "c/d/f", true},
	    {"c/d/f", "c/d/g", false},  {"c/d/f", "c/d/f.x", true},
	    {"c/d/f.x", "c/d/f", true}, {"c/d/f.x", "c/d/f.y", false},
	    {"c/d/fx", "c/d/f", false}, {"!c", "c", false},
	    {"!a", "!a", true},         {"!a", "!a.b", false},
	};
	struct bench *b = *state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		held(b, (struct asked){.id = 1, .key = rows[i].has});
		acquire(b, (struct asked){.id = 2, .key = rows[i].wants});
		settle(b);
		if ((b->acquired[2] == STATUS_LOCKED) != rows[i].excluded)
			fail_msg("%s held, %s wanted: %d", rows[i].has, rows[i].wants,
				 (int)b->acquired[2]);
		unlock(b, 1, 99);
		unlock(b, 2, 99);
		settle(b);
		bench_advance(b, LOCK_ENDED_KEEP_MS + 50);
	}
}

static void test_first_come_first_served(void **state)
{
	struct bench *b = *state;
	held(b, (struct asked){.id = 1, .key = "c/a"});
	acquire(b, (struct asked){.id = 2, .key = "c/a", .other = "c/b", .wait_ms = 4000});
	/* free, but somebody who wants it came first */
	acquire(b, (struct asked){.id = 3, .key = "c/b", .wait_ms = 4000});
	acquire(b, (struct asked){.id = 4, .key = "c/x", .wait_ms = 4000});
	settle(b);
	assert_int_equal(b->acquired[2], BENCH_NONE);
	assert_int_equal(b->acquired[3], BENCH_NONE);
	assert_int_equal(b->acquired[4], STATUS_OK);
	unlock(b, 1, 99);
	assert_int_equal(b->released[1], BENCH_NONE);
	assert_int_equal(b->sets_count, 1); /* the release alone: the next waits for it */
	settle(b);
	assert_int_equal(b->released[1], STATUS_OK);
	settle(b);
	assert_int_equal(b->acquired[2], STATUS_OK);
	assert_int_equal(b->acquired[3], BENCH_NONE);
	unlock(b, 2, 99);
	settle(b);
	settle(b);
	assert_int_equal(b->acquired[3], STATUS_OK);
	assert_true(b->tokens[3] > b->tokens[2]);
}

/* With a timer in the same turn, as a busy coordinator has it. */
static void test_not_waiting_is_granted_what_is_free(void **state)
{
	struct bench *b = *state;
	held(b, (struct asked){.id = 1, .key = "c/a"});
	unlock(b, 1, 99);
	settle(b);
	ask(b, (struct asked){.id = 2, .key = "c/b"});
	bench_advance(b, 50);
	settle(b);
	assert_int_equal(b->acquired[2], STATUS_OK);
	ask(b, (struct asked){.id = 3, .key = "c/b"});
	bench_advance(b, 50);
	assert_int_equal(b->acquired[3], STATUS_LOCKED);
}

/* One that can't be granted stands in nobody's way, not even in the same turn. */
static void test_what_is_refused_claims_nothing(void **state)
{
	struct bench *b = *state;
	ask(b, (struct asked){.id = 1, .key = "c/a", .other = "nowhere/a", .wait_ms = 4000});
	ask(b, (struct asked){.id = 2, .key = "c/a"});
	bench_turn(b);
	settle(b);
	assert_int_equal(b->acquired[1], STATUS_NOT_FOUND);
	assert_int_equal(b->acquired[2], STATUS_OK);
}

static void test_fields_have_names(void **state)
{
	static const char *const keys[] = {"c/d/a.", "c/d/.a", "c/d/a..b", "c/d/."};
	struct bench *b = *state;
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		acquire(b, (struct asked){.id = 1, .key = keys[i]});
		assert_int_equal(b->acquired[1], STATUS_BAD_MESSAGE);
	}
}

/* ---- how many ---- */

/* Number n of an owner, with so many paths, all free; the bench knows it by `id`. */
static void acquire_many(struct bench *b, const char *owner, uint32_t n, uint8_t id, uint32_t paths)
{
	uint8_t bytes[16] = {id};
	struct lock_key keys[LIMIT_LOCK_PATHS] = {0};
	char names[LIMIT_LOCK_PATHS][32];
	struct msg_lock_acquire m = {.id = slice_of(bytes, sizeof bytes),
				     .keys = keys,
				     .keys_count = paths,
				     .ttl_ms = 60000,
				     .owner = slice_text(owner)};
	memcpy(bytes + 4, &n, sizeof n);
	memcpy(bytes + 8, owner, 4);
	for (uint32_t i = 0; i < paths; i++) {
		snprintf(names[i], sizeof names[i], "%s-%u-%u", owner, (unsigned)n, (unsigned)i);
		keys[i] = (struct lock_key){.name = slice_text(names[i]), .advisory = true};
	}
	b->acquired[id] = BENCH_NONE;
	say(b, MSG_lock_acquire, &m);
}

static void test_one_client_does_not_take_all_locks(void **state)
{
	struct bench *b = *state;
	for (uint32_t n = 0; n < LOCK_OWNER_LOCKS; n++) {
		acquire_many(b, "greedy", n, 1, 0);
		assert_int_equal(b->acquired[1], STATUS_OK);
	}
	acquire_many(b, "greedy", LOCK_OWNER_LOCKS, 2, 0);
	assert_int_equal(b->acquired[2], STATUS_TOO_MANY_LOCKS);
	acquire_many(b, "modest", 0, 3, 1);
	assert_int_equal(b->acquired[3], STATUS_OK);
	/* one that goes makes room */
	uint8_t id[16] = {1};
	memcpy(id + 8, "greedy", 4);
	struct msg_lock_release m = {.id = slice_of(id, sizeof id)};
	say(b, MSG_lock_release, &m);
	acquire_many(b, "greedy", LOCK_OWNER_LOCKS, 2, 0);
	assert_int_equal(b->acquired[2], STATUS_OK);
	/* also after a start */
	bench_restart(b);
	bench_advance(b, SETTLE_MS);
	acquire_many(b, "greedy", LOCK_OWNER_LOCKS + 1, 2, 0);
	assert_int_equal(b->acquired[2], STATUS_TOO_MANY_LOCKS);
}

static void test_one_client_does_not_take_all_paths(void **state)
{
	struct bench *b = *state;
	uint32_t most = LOCK_OWNER_PATHS / LIMIT_LOCK_PATHS;
	for (uint32_t n = 0; n < most; n++) {
		acquire_many(b, "greedy", n, 1, LIMIT_LOCK_PATHS);
		assert_int_equal(b->acquired[1], STATUS_OK);
	}
	acquire_many(b, "greedy", most, 2, 1);
	assert_int_equal(b->acquired[2], STATUS_TOO_MANY_LOCKS);
	acquire_many(b, "greedy", most, 3, 0);
	assert_int_equal(b->acquired[3], STATUS_OK);
}

static void test_waiting_ends(void **state)
{
	struct bench *b = *state;
	held(b, (struct asked){.id = 1, .key = "c", .ttl_ms = 100000});
	acquire(b, (struct asked){.id = 2, .key = "c", .wait_ms = 1000});
	bench_advance(b, 900);
	assert_int_equal(b->acquired[2], BENCH_NONE);
	bench_advance(b, 200);
	assert_int_equal(b->acquired[2], STATUS_LOCKED);
	/* who does not ask again has gone */
	acquire(b, (struct asked){.id = 3, .key = "c", .wait_ms = 60000});
	bench_advance(b, LOCK_SILENT_MS + 50);
	assert_int_equal(b->acquired[3], STATUS_LOCKED);
	/* one that is not wanted any more */
	acquire(b, (struct asked){.id = 4, .key = "c", .wait_ms = 4000});
	unlock(b, 4, 99);
	assert_int_equal(b->released[4], STATUS_OK);
	assert_int_equal(b->acquired[4], STATUS_LOCK_LOST);
	unlock(b, 4, 99); /* the same request, sent again */
	assert_int_equal(b->released[4], STATUS_OK);
	unlock(b, 4, 98);
	assert_int_equal(b->released[4], STATUS_NOT_FOUND);
}

static void test_the_same_id_is_the_same_lock(void **state)
{
	struct bench *b = *state;
	held(b, (struct asked){.id = 1, .key = "c/a"});
	uint64_t token = b->tokens[1];
	acquire(b, (struct asked){.id = 1, .key = "c/a"});
	assert_int_equal(b->acquired[1], STATUS_OK);
	assert_int_equal(b->tokens[1], token);
	acquire(b, (struct asked){.id = 1, .key = "c/b"});
	assert_int_equal(b->acquired[1], STATUS_OPERATION_ID_REUSED);
	unlock(b, 1, 50);
	settle(b);
	acquire(b, (struct asked){.id = 1, .key = "c/a"});
	assert_int_equal(b->acquired[1], STATUS_LOCK_LOST);
	unlock(b, 1, 50); /* the same request, sent again */
	assert_int_equal(b->released[1], STATUS_OK);
	unlock(b, 1, 51);
	assert_int_equal(b->released[1], STATUS_NOT_FOUND);
}

/* A gateway gives up what its client does not want any more; the question may come after that. */
static void test_a_late_question_for_what_was_given_up(void **state)
{
	struct bench *b = *state;
	struct msg_lock_release m = {.id = id_of(b, 1)};
	say(b, MSG_lock_release, &m);
	assert_int_equal(b->released[1], STATUS_NOT_FOUND);
	acquire(b, (struct asked){.id = 1, .key = "c/a", .wait_ms = 4000});
	assert_int_equal(b->acquired[1], STATUS_LOCK_LOST);
	assert_int_equal(b->sets_count, 0);
}

/* A copy of the question comes when it has been refused: nobody would unlock what it gets. Its
 * gateway says so behind it. */
static void test_a_copy_behind_the_refusal(void **state)
{
	struct bench *b = *state;
	held(b, (struct asked){.id = 1, .key = "c/a", .ttl_ms = 60000});
	acquire(b, (struct asked){.id = 2, .key = "c/a", .wait_ms = 1000});
	bench_advance(b, 1100);
	assert_int_equal(b->acquired[2], STATUS_LOCKED);
	acquire(b, (struct asked){.id = 2, .key = "c/a", .wait_ms = 1000});
	struct msg_lock_release given_up = {.id = id_of(b, 2)};
	say(b, MSG_lock_release, &given_up);
	unlock(b, 1, 99);
	settle(b);
	settle(b);
	assert_int_equal(b->acquired[2], STATUS_LOCK_LOST);
	acquire(b, (struct asked){.id = 2, .key = "c/a", .wait_ms = 1000});
	assert_int_equal(b->acquired[2], STATUS_LOCK_LOST);
	held(b, (struct asked){.id = 3, .key = "c/a"});
}

/* ---- shards ---- */

static void test_a_passed_token_is_raised(void **state)
{
	struct bench *b = *state;
	acquire(b, (struct asked){.id = 1, .key = "c/a"});
	struct bench_set set = b->sets[0];
	b->sets_count = 0;
	ack_set(b, &set, STATUS_LOCK_LOST, 500);
	assert_int_equal(b->sets_count, 1);
	assert_int_equal(b->sets[0].token, 501);
	ack_set(b, &set, STATUS_OK, 500); /* of the token before */
	assert_int_equal(b->acquired[1], BENCH_NONE);
	settle(b);
	assert_int_equal(b->acquired[1], STATUS_OK);
	assert_int_equal(b->tokens[1], 501);
}

/* One damaged number must not end all locks, nor keep the coordinator from being started again. */
static void test_no_token_is_so_great(void **state)
{
	struct bench *b = *state;
	acquire(b, (struct asked){.id = 1, .key = "c/a", .ttl_ms = 60000});
	struct bench_set set = b->sets[0];
	b->sets_count = 0;
	ack_set(b, &set, STATUS_LOCK_LOST, UINT64_MAX - 1);
	assert_int_equal(b->acquired[1], STATUS_LOCK_LOST);
	assert_int_equal(b->sets_count, 1);
	assert_true(b->sets[0].release);
	settle(b);
	held(b, (struct asked){.id = 2, .key = "!name"});
	assert_true(b->tokens[2] < 10);
	bench_restart(b);
	bench_advance(b, SETTLE_MS);
	held(b, (struct asked){.id = 3, .key = "!other"});
}

static void test_one_that_its_shard_lost_ends(void **state)
{
	struct bench *b = *state;
	held(b, (struct asked){.id = 1, .key = "c/a", .ttl_ms = 60000});
	bench_restart(b);
	bench_advance(b, 1000);
	assert_true(b->sets_count > 0);
	struct bench_set set = b->sets[0];
	b->sets_count = 0;
	ack_set(b, &set, STATUS_LOCK_LOST, 500);
	assert_true(releasing(b, 1));
}

static void test_said_again_and_to_the_next_lead(void **state)
{
	struct bench *b = *state;
	acquire(b, (struct asked){.id = 1, .key = "c/a"});
	uint64_t lead = b->sets[0].node;
	bench_advance(b, LOCK_RESEND_MS + 50);
	assert_int_equal(b->sets_count, 2);
	assert_int_equal(b->sets[1].node, lead);
	bench_down(b, lead);
	b->sets_count = 0;
	bench_advance(b, OFFLINE_MS + 500);
	struct bench_set last = b->sets[b->sets_count - 1];
	assert_int_not_equal(last.node, lead);
	assert_int_equal(last.epoch, 2);
	ack_set(b, &last, STATUS_OK, last.token);
	assert_int_equal(b->acquired[1], STATUS_OK);
}

static void test_a_stray_lock_is_released(void **state)
{
	struct bench *b = *state;
	struct bench_set stray = {.node = NODE_A, .shard = 7, .token = 9, .id = 200};
	ack_set(b, &stray, STATUS_OK, 9);
	assert_int_equal(b->sets_count, 1);
	assert_true(releasing(b, 200));
	b->sets_count = 0;
	held(b, (struct asked){.id = 1, .key = "c/a"});
	assert_int_equal(b->tokens[1], 10);
}

static void test_tokens_grow_beyond_a_lost_disk(void **state)
{
	struct bench *b = *state;
	held(b, (struct asked){.id = 1, .key = "c/a"});
	held(b, (struct asked){.id = 2, .key = "!name"}); /* known to no node */
	bench_model(b, NODE_A)->lock_token = b->tokens[1];
	bench_stop(b);
	disk_wipe(b->disk);
	bench_start(b, true);
	bench_advance(b, SETTLE_MS);
	acquire(b, (struct asked){.id = 3, .key = "!name"});
	assert_true(b->tokens[3] > b->tokens[2] && b->tokens[2] > b->tokens[1]);
	/* and once more */
	bench_model(b, NODE_A)->lock_token = b->tokens[3];
	bench_stop(b);
	disk_wipe(b->disk);
	bench_start(b, true);
	bench_advance(b, SETTLE_MS);
	acquire(b, (struct asked){.id = 4, .key = "!name"});
	assert_true(b->tokens[4] > b->tokens[3]);
}

static void test_system_locks(void **state)
{
	struct bench *b = *state;
	struct msg_system_list list = {.collection = slice_text("system.locks")};
	held(b, (struct asked){.id = 1, .key = "c/a"});
	acquire(b, (struct asked){.id = 2, .key = "c/a", .wait_ms = 3000});
	say(b, MSG_system_list, &list);
	assert_non_null(memmem(b->rows.data, b->rows.len, "held", 4));
	assert_non_null(memmem(b->rows.data, b->rows.len, "waiting", 7));
	assert_non_null(memmem(b->rows.data, b->rows.len, "c/a", 3));
	assert_false(b->rows_cut);
}

/* What can't be shown is not passed over in silence. */
static void test_a_lock_that_is_too_much_to_show(void **state)
{
	struct bench *b = *state;
	struct msg_system_list list = {.collection = slice_text("system.locks")};
	struct lock_key keys[LIMIT_LOCK_PATHS];
	uint8_t field[LIMIT_PATH_BYTES];
	memset(field, 'f', sizeof field);
	for (uint32_t i = 0; i < LIMIT_LOCK_PATHS; i++) {
		keys[i] = key_of(b, "c/a");
		keys[i].path.document = slice_of(field, 200);
		keys[i].path.field = slice_of(field, sizeof field - i);
	}
	struct msg_lock_acquire m = {
	    .id = id_of(b, 1), .keys = keys, .keys_count = LIMIT_LOCK_PATHS};
	say(b, MSG_lock_acquire, &m);
	held(b, (struct asked){.id = 2, .key = "c/b"});
	say(b, MSG_system_list, &list);
	assert_non_null(memmem(b->rows.data, b->rows.len, "c/b", 3));
	assert_true(b->rows_cut);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, bench_teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_told_when_all_have_settled),
	    TEST(test_a_document_concerns_its_shard),
	    TEST(test_what_excludes_what),
	    TEST(test_first_come_first_served),
	    TEST(test_not_waiting_is_granted_what_is_free),
	    TEST(test_what_is_refused_claims_nothing),
	    TEST(test_fields_have_names),
	    TEST(test_one_client_does_not_take_all_locks),
	    TEST(test_one_client_does_not_take_all_paths),
	    TEST(test_waiting_ends),
	    TEST(test_the_same_id_is_the_same_lock),
	    TEST(test_a_late_question_for_what_was_given_up),
	    TEST(test_a_copy_behind_the_refusal),
	    TEST(test_a_passed_token_is_raised),
	    TEST(test_no_token_is_so_great),
	    TEST(test_one_that_its_shard_lost_ends),
	    TEST(test_said_again_and_to_the_next_lead),
	    TEST(test_a_stray_lock_is_released),
	    TEST(test_tokens_grow_beyond_a_lost_disk),
	    TEST(test_system_locks),
	    TEST(test_a_lock_that_is_too_much_to_show),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
