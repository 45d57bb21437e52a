/* The simulated disk: power cuts, faults, copies. */
#include "tests/sim/disk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/base/buf.h"

struct bench {
	struct disk *disk;
	struct store *store;
	struct rng rng;
};

static void start(struct bench *b, uint64_t seed)
{
	b->disk = disk_new();
	b->store = disk_open(b->disk, NULL);
	rng_init(&b->rng, seed);
}

static void stop(struct bench *b)
{
	store_close(b->store);
	disk_free(b->disk);
}

static void put(struct bench *b, const char *key, const char *value)
{
	store_put(b->store, STORE_META, slice_text(key), slice_text(value));
}

static void expect(struct bench *b, const char *key, const char *value)
{
	struct slice found;
	enum store_result result = store_get(b->store, STORE_META, slice_text(key), &found);
	assert_int_equal(result, value ? STORE_OK : STORE_ABSENT);
	if (value)
		assert_true(slice_is(found, value));
}

static uint64_t crash(struct bench *b)
{
	store_close(b->store);
	uint64_t lost = disk_crash(b->disk, &b->rng);
	b->store = disk_open(b->disk, NULL);
	return lost;
}

static uint64_t digest(const struct disk *d)
{
	uint64_t sum = 0;
	for (int f = 0; f < STORE_FAMILIES; f++)
		sum = sum * 31 + disk_digest(d, (enum store_family)f, (struct slice){0});
	return sum;
}

static void a_kill_loses_only_what_was_pending(void **state)
{
	(void)state;
	struct bench b;
	start(&b, 1);
	put(&b, "a", "1");
	assert_int_equal(store_commit(b.store, false), STORE_OK);
	put(&b, "a", "2");
	put(&b, "b", "2");
	store_close(b.store);
	b.store = disk_open(b.disk, NULL);
	expect(&b, "a", "1");
	expect(&b, "b", NULL);
	assert_int_equal(crash(&b), 0); /* what a store showed at its start is durable */
	expect(&b, "a", "1");
	stop(&b);
}

static void a_power_cut_keeps_synced_commits(void **state)
{
	(void)state;
	bool lost_all = false, lost_none = false, lost_some = false;
	for (uint64_t seed = 0; seed < 50; seed++) {
		struct bench b;
		start(&b, seed);
		put(&b, "synced", "1");
		assert_int_equal(store_commit(b.store, true), STORE_OK);
		for (int i = 0; i < 3; i++) {
			put(&b, "n", i == 0 ? "0" : i == 1 ? "1" : "2");
			put(&b, "twin", i == 0 ? "0" : i == 1 ? "1" : "2");
			assert_int_equal(store_commit(b.store, false), STORE_OK);
		}
		uint64_t lost = crash(&b);
		const char *left[] = {"2", "1", "0", NULL};
		assert_true(lost <= 3);
		expect(&b, "synced", "1");
		expect(&b, "n", left[lost]);
		expect(&b, "twin", left[lost]);
		assert_int_equal(crash(&b), 0);
		lost_all |= lost == 3;
		lost_none |= lost == 0;
		lost_some |= lost == 1 || lost == 2;
		stop(&b);
	}
	assert_true(lost_all && lost_none && lost_some);
}

enum { STEPS = 3000, KEYS = 40, REMEMBERED = 64 };

/* The digests of the last commits, by number. */
struct history {
	uint64_t digests[REMEMBERED];
};

static void random_turn(struct bench *b, struct store_iterator **it)
{
	for (uint64_t n = rng_below(&b->rng, 6); n > 0; n--) {
		enum store_family f = (enum store_family)rng_below(&b->rng, STORE_FAMILIES);
		uint8_t key[2] = {(uint8_t)rng_below(&b->rng, KEYS), 0};
		uint8_t end[2] = {(uint8_t)(key[0] + rng_below(&b->rng, 5)), 0};
		uint64_t value = rng_next(&b->rng);
		uint64_t what = rng_below(&b->rng, 10);
		if (what < 6)
			store_put(b->store, f, slice_of(key, 2), slice_of(&value, sizeof value));
		else if (what < 9)
			store_remove(b->store, f, slice_of(key, 2));
		else
			store_remove_range(b->store, f, slice_of(key, 2), slice_of(end, 2));
	}
	if (*it) {
		store_iterator_free(b->store, *it);
		*it = NULL;
	} else if (rng_below(&b->rng, 4) == 0) {
		*it = store_iterate(b->store, STORE_META);
	}
}

static uint64_t crash_test(uint64_t seed)
{
	struct bench b;
	struct history h = {0};
	struct store_iterator *it = NULL;
	start(&b, seed);
	h.digests[0] = digest(b.disk);
	for (int step = 0; step < STEPS; step++) {
		random_turn(&b, &it);
		bool sync = rng_below(&b.rng, 4) == 0;
		assert_int_equal(store_commit(b.store, sync), STORE_OK);
		h.digests[disk_commits(b.disk) % REMEMBERED] = digest(b.disk);
		if (rng_below(&b.rng, 20) != 0)
			continue;
		if (it)
			store_iterator_free(b.store, it);
		it = NULL;
		uint64_t durable = disk_commits_durable(b.disk);
		(void)crash(&b);
		assert_true(disk_commits(b.disk) >= durable);
		assert_true(digest(b.disk) == h.digests[disk_commits(b.disk) % REMEMBERED]);
	}
	if (it)
		store_iterator_free(b.store, it);
	uint64_t result = digest(b.disk);
	stop(&b);
	return result;
}

static void power_cuts_go_back_to_a_commit(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed < 6; seed++)
		(void)crash_test(seed);
}

static void the_same_seed_gives_the_same_disk(void **state)
{
	(void)state;
	assert_true(crash_test(7) == crash_test(7));
	assert_true(crash_test(7) != crash_test(8));
}

static void a_failed_commit_writes_nothing(void **state)
{
	static const enum store_result results[] = {STORE_FULL, STORE_BROKEN};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(results); i++) {
		struct bench b;
		start(&b, 1);
		put(&b, "a", "1");
		assert_int_equal(store_commit(b.store, false), STORE_OK);
		disk_fail_next_commit(b.disk, results[i]);
		struct store_iterator *it = store_iterate(b.store, STORE_META);
		put(&b, "a", "2");
		put(&b, "b", "2");
		assert_int_equal(store_commit(b.store, true), results[i]);
		store_iterator_free(b.store, it);
		expect(&b, "a", "1");
		expect(&b, "b", NULL);
		put(&b, "a", "3");
		assert_int_equal(store_commit(b.store, true), results[i]);
		expect(&b, "a", "1");
		store_close(b.store);
		b.store = disk_open(b.disk, NULL);
		put(&b, "b", "4");
		assert_int_equal(store_commit(b.store, true), STORE_OK);
		expect(&b, "a", "1");
		expect(&b, "b", "4");
		stop(&b);
	}
}

static void a_full_disk_takes_removals(void **state)
{
	(void)state;
	struct bench b;
	start(&b, 1);
	disk_set_capacity(b.disk, 20);
	put(&b, "a", "123456789");
	put(&b, "b", "123456789");
	assert_int_equal(disk_used(b.disk), 20);
	assert_int_equal(store_commit(b.store, true), STORE_OK);
	put(&b, "a", "1234567890");
	assert_int_equal(store_commit(b.store, true), STORE_FULL);
	assert_int_equal(disk_used(b.disk), 20);
	store_close(b.store);
	b.store = disk_open(b.disk, NULL);
	store_remove(b.store, STORE_META, slice_text("b"));
	put(&b, "a", "1234567890");
	assert_int_equal(store_commit(b.store, true), STORE_OK);
	assert_int_equal(disk_used(b.disk), 11);
	stop(&b);
}

static void random_faults_come_from_their_seed(void **state)
{
	(void)state;
	int first[2] = {0}, results[2] = {0};
	for (int run = 0; run < 2; run++) {
		struct disk_faults faults = {
		    .seed = 5, .commit_broken = 20000, .commit_full = 20000};
		struct disk *disk = disk_new();
		struct store *s = disk_open(disk, &faults);
		enum store_result result = STORE_OK;
		for (; result == STORE_OK && first[run] < 10000; first[run]++) {
			store_put(s, STORE_META, slice_text("a"), slice_text("1"));
			result = store_commit(s, false);
		}
		results[run] = (int)result;
		store_close(s);
		disk_free(disk);
	}
	assert_int_equal(first[0], first[1]);
	assert_int_equal(results[0], results[1]);
	assert_true(results[0] != STORE_OK);
}

static void corrupt_values_break_reads(void **state)
{
	(void)state;
	struct bench b;
	struct slice found;
	start(&b, 1);
	put(&b, "a", "1");
	put(&b, "b", "1");
	assert_int_equal(store_commit(b.store, true), STORE_OK);
	assert_false(disk_corrupt(b.disk, STORE_META, slice_text("c")));
	assert_true(disk_corrupt(b.disk, STORE_META, slice_text("b")));
	struct store_iterator *it = store_iterate(b.store, STORE_META);
	store_seek(b.store, it, slice_text("a"));
	assert_true(store_valid(b.store, it));
	store_next(b.store, it);
	assert_false(store_valid(b.store, it));
	assert_int_equal(store_iterator_result(b.store, it), STORE_BROKEN);
	store_iterator_free(b.store, it);
	assert_int_equal(store_get(b.store, STORE_META, slice_text("b"), &found), STORE_BROKEN);
	store_close(b.store);
	b.store = disk_open(b.disk, NULL);
	expect(&b, "a", "1");
	put(&b, "b", "2");
	expect(&b, "b", "2");
	assert_int_equal(store_commit(b.store, true), STORE_OK);
	expect(&b, "b", "2");
	stop(&b);
}

static void copies_are_of_their_time(void **state)
{
	(void)state;
	struct bench b;
	start(&b, 1);
	put(&b, "a", "1");
	assert_int_equal(store_commit(b.store, false), STORE_OK);
	put(&b, "a", "pending");
	struct disk *copy = disk_clone(b.disk);
	assert_true(digest(copy) == digest(b.disk));
	assert_int_equal(store_commit(b.store, true), STORE_OK);
	assert_true(digest(copy) != digest(b.disk));
	store_close(b.store);
	disk_restore(b.disk, copy);
	disk_free(copy);
	b.store = disk_open(b.disk, NULL);
	expect(&b, "a", "1");
	put(&b, "b", "2");
	assert_int_equal(store_commit(b.store, true), STORE_OK);
	expect(&b, "b", "2");
	stop(&b);
}

static void a_torn_disk_opens_only_when_wiped(void **state)
{
	(void)state;
	struct bench b;
	start(&b, 1);
	put(&b, "a", "1");
	assert_int_equal(store_commit(b.store, true), STORE_OK);
	store_close(b.store);
	disk_tear(b.disk);
	assert_null(disk_open(b.disk, NULL));
	disk_wipe(b.disk);
	b.store = disk_open(b.disk, NULL);
	expect(&b, "a", NULL);
	assert_int_equal(disk_used(b.disk), 0);
	stop(&b);
}

static void digests_are_of_committed_content(void **state)
{
	(void)state;
	struct bench a, b;
	start(&a, 1);
	start(&b, 1);
	put(&a, "x1", "1");
	put(&a, "y1", "1");
	assert_int_equal(store_commit(a.store, true), STORE_OK);
	put(&b, "x1", "0");
	put(&b, "x2", "0");
	assert_int_equal(store_commit(b.store, true), STORE_OK);
	store_remove(b.store, STORE_META, slice_text("x2"));
	put(&b, "x1", "1");
	struct slice x = slice_text("x");
	uint64_t same = disk_digest(a.disk, STORE_META, x);
	assert_true(disk_digest(b.disk, STORE_META, x) != same); /* still pending */
	assert_int_equal(store_commit(b.store, false), STORE_OK);
	assert_true(disk_digest(b.disk, STORE_META, x) == same);
	assert_true(disk_digest(a.disk, STORE_META, slice_text("")) != same);
	assert_true(disk_digest(a.disk, STORE_STREAM, x) != same);
	stop(&a);
	stop(&b);
}

static void count(void *context, struct slice key, struct slice value)
{
	(void)key;
	(void)value;
	++*(int *)context;
}

/* Zeros, and lengths about those of the part that is compared as numbers. */
static void walks_show_what_is_under_a_prefix(void **state)
{
	(void)state;
	enum { LONGEST = 20 };
	uint8_t zeros[LONGEST + 1] = {0};
	uint8_t other[LONGEST] = {0};
	struct bench b;
	start(&b, 1);
	for (size_t len = 1; len <= LONGEST; len++) {
		other[len - 1] = 1; /* zeros up to its last byte */
		store_put(b.store, STORE_META, slice_of(zeros, len), slice_text("v"));
		store_put(b.store, STORE_META, slice_of(other, len), slice_text("v"));
		other[len - 1] = 0;
	}
	assert_int_equal(store_commit(b.store, true), STORE_OK);
	for (size_t len = 0; len <= LONGEST + 1; len++) {
		int found = 0;
		disk_walk(b.disk, STORE_META, slice_of(zeros, len), count, &found);
		int as_long = LONGEST - (len > 0 ? (int)len - 1 : 0);
		int others = LONGEST - (int)len;
		assert_int_equal(found, (as_long > 0 ? as_long : 0) + (others > 0 ? others : 0));
		assert_int_equal(disk_count(b.disk, STORE_META, slice_of(zeros, len)), found);
	}
	stop(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_kill_loses_only_what_was_pending),
	    cmocka_unit_test(a_power_cut_keeps_synced_commits),
	    cmocka_unit_test(power_cuts_go_back_to_a_commit),
	    cmocka_unit_test(the_same_seed_gives_the_same_disk),
	    cmocka_unit_test(a_failed_commit_writes_nothing),
	    cmocka_unit_test(a_full_disk_takes_removals),
	    cmocka_unit_test(random_faults_come_from_their_seed),
	    cmocka_unit_test(corrupt_values_break_reads),
	    cmocka_unit_test(copies_are_of_their_time),
	    cmocka_unit_test(a_torn_disk_opens_only_when_wiped),
	    cmocka_unit_test(digests_are_of_committed_content),
	    cmocka_unit_test(walks_show_what_is_under_a_prefix),
	};
	return cmocka_run_group_tests_name("disk", tests, NULL, NULL);
}
