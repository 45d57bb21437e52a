/* The space of what was removed comes back. */
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <time.h>

#include "common/base/rng.h"
#include "tests/unit/store_rocks_case.h"

enum { CONTENT_BYTES = 1 << 20, CONTENTS = 48, SPACE_DEADLINE_S = 120 };

static struct slice content_key(uint8_t key[2], int number)
{
	key[0] = 'k';
	key[1] = (uint8_t)number;
	return slice_of(key, 2);
}

static void put_contents(struct bench *b, enum store_family family)
{
	struct buf value = {0};
	struct rng rng;
	uint8_t key[2];
	rng_init(&rng, family);
	for (int i = 0; i < CONTENTS; i++) {
		buf_clear(&value);
		rng_fill(&rng, buf_reserve(&value, CONTENT_BYTES), CONTENT_BYTES);
		value.len = CONTENT_BYTES;
		store_put(b->store, family, content_key(key, i), buf_slice(&value));
		assert_int_equal(store_commit(b->store, true), STORE_OK);
	}
	buf_close(&value);
}

/* Of the files with this end. */
static uint64_t bytes_of(struct bench *b, const char *end)
{
	uint64_t bytes = 0;
	DIR *directory = opendir(b->directory);
	assert_non_null(directory);
	for (struct dirent *e = readdir(directory); e; e = readdir(directory)) {
		struct stat st;
		size_t len = strlen(e->d_name);
		if (len > strlen(end) && strcmp(e->d_name + len - strlen(end), end) == 0 &&
		    fstatat(dirfd(directory), e->d_name, &st, 0) == 0)
			bytes += (uint64_t)st.st_size;
	}
	closedir(directory);
	return bytes;
}

static void expect_space(struct bench *b, const char *end, uint64_t most)
{
	time_t until = time(NULL) + SPACE_DEADLINE_S;
	while (bytes_of(b, end) > most && time(NULL) < until)
		sched_yield();
	assert_true(bytes_of(b, end) <= most);
}

static void open_eager(struct bench *b)
{
	struct store_rocks_options options = {.path = b->directory, .reclaim_delay_ms = 1};
	assert_int_equal(store_rocks_open(&options, &b->store, &b->text), STORE_OPEN_OK);
}

/* On a store that nothing else is written to. What was not removed stays. */
static void a_removed_range_gives_its_space_back(void **state)
{
	struct bench *b = *state;
	uint8_t first[2], end[2];
	struct slice value;
	open_eager(b);
	put_contents(b, STORE_ATTACHMENTS);
	assert_true(bytes_of(b, ".blob") > CONTENTS / 2 * (uint64_t)CONTENT_BYTES);
	store_remove_range(b->store, STORE_ATTACHMENTS, content_key(first, 0),
			   content_key(end, CONTENTS - 1));
	assert_int_equal(store_commit(b->store, true), STORE_OK);
	/* the last file has one that lives, and at most a memtable of others */
	expect_space(b, ".blob", 18 * (uint64_t)CONTENT_BYTES);
	assert_int_equal(
	    store_get(b->store, STORE_ATTACHMENTS, content_key(first, CONTENTS - 1), &value),
	    STORE_OK);
	assert_int_equal(value.len, CONTENT_BYTES);
	put_contents(b, STORE_STREAM);
	store_remove_range(b->store, STORE_STREAM, content_key(first, 0),
			   content_key(end, CONTENTS - 1));
	assert_int_equal(store_commit(b->store, true), STORE_OK);
	expect_space(b, ".sst", 4 * (uint64_t)CONTENT_BYTES);
	assert_int_equal(
	    store_get(b->store, STORE_STREAM, content_key(first, CONTENTS - 1), &value), STORE_OK);
}

/* One in three of each file lives: these are copied, so that the files can go. */
static void files_that_are_mostly_garbage_are_rewritten(void **state)
{
	struct bench *b = *state;
	uint8_t first[2], end[2];
	struct slice value;
	open_eager(b);
	put_contents(b, STORE_ATTACHMENTS);
	for (int i = 0; i < CONTENTS; i += 3) {
		store_remove_range(b->store, STORE_ATTACHMENTS, content_key(first, i),
				   content_key(end, i + 2));
		assert_int_equal(store_commit(b->store, true), STORE_OK);
	}
	expect_space(b, ".blob", 20 * (uint64_t)CONTENT_BYTES);
	for (int i = 0; i < CONTENTS; i++)
		assert_int_equal(
		    store_get(b->store, STORE_ATTACHMENTS, content_key(first, i), &value),
		    i % 3 == 2 ? STORE_OK : STORE_ABSENT);
}

/* In the middle of such a pass, or before it. */
static void a_store_that_gives_space_back_closes(void **state)
{
	struct bench *b = *state;
	uint8_t first[2], end[2];
	for (int round = 0; round < 3; round++) {
		open_eager(b);
		put_contents(b, STORE_ATTACHMENTS);
		store_remove_range(b->store, STORE_ATTACHMENTS, content_key(first, 0),
				   content_key(end, CONTENTS));
		assert_int_equal(store_commit(b->store, true), STORE_OK);
		shut(b);
	}
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(a_removed_range_gives_its_space_back),
	    CASE(files_that_are_mostly_garbage_are_rewritten),
	    CASE(a_store_that_gives_space_back_closes),
	};
	return cmocka_run_group_tests_name("store_rocks_reclaim", tests, NULL, NULL);
}
