/* The store interface: the same cases over RocksDB and over the simulator's disk. */
#include "common/store/store.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/store/store_rocks.h"
#include "tests/sim/disk.h"

enum backend { ROCKS, DISK };

struct bench {
	enum backend backend;
	struct store *store;
	struct disk *disk;
	char directory[64];
};

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

static void open_store(struct bench *b)
{
	if (b->backend == DISK) {
		b->store = disk_open(b->disk, NULL);
		assert_non_null(b->store);
		return;
	}
	struct buf text = {0};
	struct store_rocks_options options = {.path = b->directory};
	assert_int_equal(store_rocks_open(&options, &b->store, &text), STORE_OPEN_OK);
	assert_int_equal(text.len, 0);
	buf_close(&text);
}

static int setup(void **state)
{
	struct bench *b = mem_alloc_zero(sizeof *b);
	b->backend = *(const enum backend *)*state;
	*state = b;
	if (b->backend == DISK) {
		b->disk = disk_new();
	} else {
		snprintf(b->directory, sizeof b->directory, "/tmp/parley-store-XXXXXX");
		assert_non_null(mkdtemp(b->directory));
	}
	open_store(b);
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;
	store_close(b->store);
	if (b->disk)
		disk_free(b->disk);
	if (b->directory[0])
		nftw(b->directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	free(b);
	return 0;
}

static void reopen(struct bench *b)
{
	store_close(b->store);
	open_store(b);
}

static void put(struct bench *b, enum store_family f, const char *key, const char *value)
{
	store_put(b->store, f, slice_text(key), slice_text(value));
}

static void commit(struct bench *b)
{
	assert_int_equal(store_commit(b->store, true), STORE_OK);
	assert_false(store_dirty(b->store));
}

static void expect(struct bench *b, enum store_family f, const char *key, const char *value)
{
	struct slice found = {0};
	enum store_result result = store_get(b->store, f, slice_text(key), &found);
	assert_int_equal(result, value ? STORE_OK : STORE_ABSENT);
	if (value)
		assert_true(slice_is(found, value));
}

/* All that the iterator shows from `from` on, as "key=value " */
static void expect_from(struct bench *b, struct store_iterator *it, const char *from,
			const char *all)
{
	struct buf shown = {0};
	store_seek(b->store, it, slice_text(from));
	for (; store_valid(b->store, it); store_next(b->store, it)) {
		buf_append_slice(&shown, store_key(b->store, it));
		buf_append_byte(&shown, '=');
		buf_append_slice(&shown, store_value(b->store, it));
		buf_append_byte(&shown, ' ');
	}
	assert_int_equal(store_iterator_result(b->store, it), STORE_OK);
	assert_string_equal(buf_cstr(&shown), all);
	buf_close(&shown);
}

static void expect_all(struct bench *b, enum store_family f, const char *all)
{
	struct store_iterator *it = store_iterate(b->store, f);
	expect_from(b, it, "", all);
	store_iterator_free(b->store, it);
}

static void put_get_remove(void **state)
{
	struct bench *b = *state;
	expect(b, STORE_META, "a", NULL);
	put(b, STORE_META, "a", "1");
	commit(b);
	expect(b, STORE_META, "a", "1");
	expect(b, STORE_DOCUMENTS, "a", NULL);
	put(b, STORE_META, "a", "a longer value than before");
	commit(b);
	expect(b, STORE_META, "a", "a longer value than before");
	store_remove(b->store, STORE_META, slice_text("a"));
	store_remove(b->store, STORE_META, slice_text("never there"));
	commit(b);
	expect(b, STORE_META, "a", NULL);
	expect_all(b, STORE_META, "");
}

static void pending_is_seen_by_get_alone(void **state)
{
	struct bench *b = *state;
	put(b, STORE_STREAM, "old", "1");
	commit(b);
	assert_false(store_dirty(b->store));
	put(b, STORE_STREAM, "new", "2");
	assert_true(store_dirty(b->store));
	store_remove(b->store, STORE_STREAM, slice_text("old"));
	expect(b, STORE_STREAM, "new", "2");
	expect(b, STORE_STREAM, "old", NULL);
	expect_all(b, STORE_STREAM, "old=1 ");
	put(b, STORE_STREAM, "old", "3");
	expect(b, STORE_STREAM, "old", "3");
	commit(b);
	expect_all(b, STORE_STREAM, "new=2 old=3 ");
}

static void the_last_write_of_a_batch_counts(void **state)
{
	struct bench *b = *state;
	put(b, STORE_META, "counter", "10");
	put(b, STORE_META, "counter", "9");
	put(b, STORE_META, "counter", "eleven");
	put(b, STORE_META, "gone", "1");
	store_remove(b->store, STORE_META, slice_text("gone"));
	store_remove(b->store, STORE_META, slice_text("back"));
	put(b, STORE_META, "back", "2");
	expect(b, STORE_META, "counter", "eleven");
	commit(b);
	expect_all(b, STORE_META, "back=2 counter=eleven ");
}

static void a_range_removes_what_came_before(void **state)
{
	struct bench *b = *state;
	put(b, STORE_DOCUMENTS, "a", "1");
	put(b, STORE_DOCUMENTS, "b", "2");
	put(b, STORE_DOCUMENTS, "c", "3");
	put(b, STORE_CONFLICTS, "b", "other family");
	commit(b);
	put(b, STORE_DOCUMENTS, "bb", "pending");
	store_remove_range(b->store, STORE_DOCUMENTS, slice_text("b"), slice_text("c"));
	assert_true(store_dirty(b->store));
	expect(b, STORE_DOCUMENTS, "b", NULL);
	expect(b, STORE_DOCUMENTS, "bb", NULL);
	expect(b, STORE_DOCUMENTS, "c", "3");
	expect(b, STORE_CONFLICTS, "b", "other family");
	put(b, STORE_DOCUMENTS, "bc", "after");
	expect(b, STORE_DOCUMENTS, "bc", "after");
	expect_all(b, STORE_DOCUMENTS, "a=1 b=2 c=3 ");
	commit(b);
	expect_all(b, STORE_DOCUMENTS, "a=1 bc=after c=3 ");
	expect_all(b, STORE_CONFLICTS, "b=other family ");
}

static void an_empty_range_removes_nothing(void **state)
{
	struct bench *b = *state;
	put(b, STORE_DOCUMENTS, "b", "2");
	commit(b);
	store_remove_range(b->store, STORE_DOCUMENTS, slice_text("b"), slice_text("b"));
	store_remove_range(b->store, STORE_DOCUMENTS, slice_text("c"), slice_text("a"));
	expect(b, STORE_DOCUMENTS, "b", "2");
	commit(b);
	expect_all(b, STORE_DOCUMENTS, "b=2 ");
}

static void a_commit_of_nothing(void **state)
{
	struct bench *b = *state;
	assert_int_equal(store_commit(b->store, false), STORE_OK);
	commit(b);
	put(b, STORE_META, "a", "1");
	assert_int_equal(store_commit(b->store, false), STORE_OK);
	commit(b); /* makes the one before durable */
	expect(b, STORE_META, "a", "1");
}

static void iterators_show_one_commit(void **state)
{
	struct bench *b = *state;
	put(b, STORE_DOCUMENTS, "a", "1");
	put(b, STORE_DOCUMENTS, "b", "1");
	commit(b);
	struct store_iterator *first = store_iterate(b->store, STORE_DOCUMENTS);
	put(b, STORE_DOCUMENTS, "a", "2");
	put(b, STORE_DOCUMENTS, "c", "2");
	store_remove(b->store, STORE_DOCUMENTS, slice_text("b"));
	commit(b);
	struct store_iterator *second = store_iterate(b->store, STORE_DOCUMENTS);
	store_remove_range(b->store, STORE_DOCUMENTS, slice_text("a"), slice_text("z"));
	commit(b);
	expect_from(b, first, "", "a=1 b=1 ");
	expect_from(b, second, "", "a=2 c=2 ");
	store_iterator_free(b->store, first);
	expect_from(b, second, "b", "c=2 ");
	store_iterator_free(b->store, second);
	expect_all(b, STORE_DOCUMENTS, "");
}

static void iterators_are_reused_between_commits_only(void **state)
{
	struct bench *b = *state;
	put(b, STORE_META, "a", "1");
	commit(b);
	expect_all(b, STORE_META, "a=1 ");
	expect_all(b, STORE_META, "a=1 ");
	struct store_iterator *it = store_iterate(b->store, STORE_META);
	assert_false(store_valid(b->store, it)); /* not positioned, reused or not */
	put(b, STORE_META, "b", "2");
	commit(b);
	store_iterator_free(b->store, it);
	expect_all(b, STORE_META, "a=1 b=2 ");
}

static void a_value_is_borrowed_while_the_iterator_stays(void **state)
{
	struct bench *b = *state;
	put(b, STORE_META, "a", "1");
	commit(b);
	struct store_iterator *it = store_iterate(b->store, STORE_META);
	store_seek(b->store, it, slice_text(""));
	struct slice key = store_key(b->store, it), value = store_value(b->store, it);
	store_remove(b->store, STORE_META, slice_text("a"));
	commit(b);
	put(b, STORE_META, "a", "2");
	commit(b);
	assert_true(slice_is(key, "a"));
	assert_true(slice_is(value, "1"));
	store_iterator_free(b->store, it);
}

static void a_borrowed_value_may_be_put(void **state)
{
	struct bench *b = *state;
	struct slice value;
	put(b, STORE_META, "a", "some value");
	assert_int_equal(store_get(b->store, STORE_META, slice_text("a"), &value), STORE_OK);
	store_put(b->store, STORE_META, slice_text("b"), value);
	commit(b);
	assert_int_equal(store_get(b->store, STORE_META, slice_text("a"), &value), STORE_OK);
	store_put(b->store, STORE_META, slice_text("c"), value);
	assert_int_equal(store_get(b->store, STORE_META, slice_text("c"), &value), STORE_OK);
	store_put(b->store, STORE_META, slice_text("c"), slice_of(value.data + 5, 5));
	assert_int_equal(store_get(b->store, STORE_META, slice_text("c"), &value), STORE_OK);
	assert_true(slice_is(value, "value"));
	commit(b);
	expect_all(b, STORE_META, "a=some value b=some value c=value ");
}

static void binary_keys_are_in_byte_order(void **state)
{
	static const struct {
		const char *key;
		size_t len;
	} rows[] = {
	    {"\x00", 1},     {"\x00\x00", 2},     {"\x00\x01", 2}, {"\x00\xff", 2},
	    {"\x01", 1},     {"\x7f\x00", 2},     {"\x80", 1},     {"\x80\x00\x80", 3},
	    {"\xff\x00", 2}, {"\xff\xff\xff", 3},
	};
	struct bench *b = *state;
	for (size_t i = ARRAY_LEN(rows); i-- > 0;)
		store_put(b->store, STORE_STREAM, slice_of(rows[i].key, rows[i].len),
			  slice_of(&i, sizeof i));
	commit(b);
	struct store_iterator *it = store_iterate(b->store, STORE_STREAM);
	store_seek(b->store, it, slice_of("", 0));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_true(store_valid(b->store, it));
		struct slice key = slice_of(rows[i].key, rows[i].len);
		assert_true(slice_equal(store_key(b->store, it), key));
		assert_true(slice_equal(store_value(b->store, it), slice_of(&i, sizeof i)));
		store_next(b->store, it);
	}
	assert_false(store_valid(b->store, it));
	store_seek(b->store, it, slice_of("\x7f", 1));
	assert_true(slice_equal(store_key(b->store, it), slice_of("\x7f\x00", 2)));
	store_seek(b->store, it, slice_of("\xff\xff\xff\x00", 4));
	assert_false(store_valid(b->store, it));
	assert_int_equal(store_iterator_result(b->store, it), STORE_OK);
	store_iterator_free(b->store, it);
}

static void empty_values_are_values(void **state)
{
	struct bench *b = *state;
	store_put(b->store, STORE_META, slice_text("empty"), (struct slice){0});
	expect(b, STORE_META, "empty", "");
	commit(b);
	expect(b, STORE_META, "empty", "");
	expect_all(b, STORE_META, "empty= ");
	put(b, STORE_META, "empty", "no more");
	put(b, STORE_META, "empty", "");
	commit(b);
	reopen(b);
	expect(b, STORE_META, "empty", "");
}

static void large_values(void **state)
{
	struct bench *b = *state;
	size_t len = (size_t)24 * 1024 * 1024;
	struct buf large = {0};
	struct rng rng;
	rng_init(&rng, 24);
	rng_fill(&rng, buf_reserve(&large, len), len);
	large.len = len;
	for (uint8_t i = 0; i < 3; i++) {
		large.data[0] = i;
		store_put(b->store, STORE_DOCUMENTS, slice_of(&i, 1), buf_slice(&large));
		commit(b);
	}
	reopen(b);
	for (uint8_t i = 0; i < 3; i++) {
		struct slice found;
		assert_int_equal(store_get(b->store, STORE_DOCUMENTS, slice_of(&i, 1), &found),
				 STORE_OK);
		large.data[0] = i;
		assert_true(slice_equal(found, buf_slice(&large)));
	}
	buf_close(&large);
}

static void a_large_batch(void **state)
{
	struct bench *b = *state;
	struct buf key = {0};
	for (uint64_t i = 0; i < 40000; i++) {
		buf_clear(&key);
		buf_append_be64(&key, i * 7919 % 40000);
		store_put(b->store, STORE_DOCUMENTS, buf_slice(&key), slice_text("x"));
	}
	commit(b);
	struct store_iterator *it = store_iterate(b->store, STORE_DOCUMENTS);
	store_seek(b->store, it, (struct slice){0});
	uint64_t count = 0;
	for (; store_valid(b->store, it); store_next(b->store, it))
		assert_int_equal(be64_read(store_key(b->store, it).data), count++);
	assert_int_equal(count, 40000);
	store_iterator_free(b->store, it);
	buf_close(&key);
}

static void commits_outlive_the_process(void **state)
{
	struct bench *b = *state;
	put(b, STORE_META, "synced", "1");
	commit(b);
	put(b, STORE_DOCUMENTS, "unsynced", "2");
	put(b, STORE_STREAM, "unsynced", "3");
	assert_int_equal(store_commit(b->store, false), STORE_OK);
	put(b, STORE_META, "pending", "4");
	reopen(b);
	expect(b, STORE_META, "synced", "1");
	expect(b, STORE_DOCUMENTS, "unsynced", "2");
	expect(b, STORE_STREAM, "unsynced", "3");
	expect(b, STORE_META, "pending", NULL);
	put(b, STORE_META, "synced", "5");
	commit(b);
	reopen(b);
	reopen(b);
	expect(b, STORE_META, "synced", "5");
}

/* The model: for every possible key its value, 0 for none. */
enum { MODEL_KEYS = 300, MODEL_STEPS = 6000 };

struct model {
	uint32_t committed[STORE_FAMILIES][MODEL_KEYS];
	uint32_t pending[STORE_FAMILIES][MODEL_KEYS];
};

struct model_key {
	uint8_t bytes[4];
	size_t len;
};

/* Keys of several lengths whose order is that of their numbers. */
static struct model_key key_of(uint32_t number)
{
	struct model_key key = {{(uint8_t)(number / 10), (uint8_t)(number % 10 * 20)}, 2};
	if (number % 10 == 0)
		key.len = 1;
	else if (number % 3 == 0)
		key.len = 4;
	return key;
}

static struct slice slice_of_key(const struct model_key *key)
{
	return slice_of(key->bytes, key->len);
}

/* The last key before this one. */
static void check_before(struct bench *b, struct store_iterator *it, const uint32_t *row,
			 uint32_t from)
{
	struct model_key key = key_of(from);
	store_seek_before(b->store, it, slice_of_key(&key));
	while (from > 0 && row[from - 1] == 0)
		from--;
	assert_int_equal(store_valid(b->store, it), from > 0);
	assert_int_equal(store_iterator_result(b->store, it), STORE_OK);
	if (from == 0)
		return;
	key = key_of(from - 1);
	assert_true(slice_equal(store_key(b->store, it), slice_of_key(&key)));
	assert_true(
	    slice_equal(store_value(b->store, it), slice_of(&row[from - 1], sizeof row[from - 1])));
}

static void check_iterator(struct bench *b, struct store_iterator *it, const uint32_t *row,
			   uint32_t from)
{
	check_before(b, it, row, from);
	struct model_key key = key_of(from);
	store_seek(b->store, it, slice_of_key(&key));
	for (uint32_t i = from; i < MODEL_KEYS; i++) {
		if (row[i] == 0)
			continue;
		key = key_of(i);
		assert_true(store_valid(b->store, it));
		assert_true(slice_equal(store_key(b->store, it), slice_of_key(&key)));
		struct slice value = store_value(b->store, it);
		assert_true(slice_equal(value, slice_of(&row[i], sizeof row[i])));
		store_next(b->store, it);
	}
	assert_false(store_valid(b->store, it));
}

static void random_write(struct bench *b, struct model *m, struct rng *rng, uint32_t step)
{
	enum store_family f = (enum store_family)rng_below(rng, STORE_FAMILIES);
	uint32_t number = (uint32_t)rng_below(rng, MODEL_KEYS);
	struct model_key key = key_of(number);
	uint64_t what = rng_below(rng, 100);
	if (what < 70) {
		m->pending[f][number] = step;
		store_put(b->store, f, slice_of_key(&key), slice_of(&step, sizeof step));
	} else if (what < 96) {
		m->pending[f][number] = 0;
		store_remove(b->store, f, slice_of_key(&key));
	} else {
		uint32_t end = number + (uint32_t)rng_below(rng, 20);
		end = end < MODEL_KEYS ? end : MODEL_KEYS - 1;
		struct model_key last = key_of(end);
		for (uint32_t i = number; i < end; i++)
			m->pending[f][i] = 0;
		store_remove_range(b->store, f, slice_of_key(&key), slice_of_key(&last));
	}
}

static void random_read(struct bench *b, const struct model *m, struct rng *rng)
{
	enum store_family f = (enum store_family)rng_below(rng, STORE_FAMILIES);
	uint32_t number = (uint32_t)rng_below(rng, MODEL_KEYS);
	struct model_key key = key_of(number);
	struct slice found;
	enum store_result result = store_get(b->store, f, slice_of_key(&key), &found);
	uint32_t model = m->pending[f][number];
	assert_int_equal(result, model ? STORE_OK : STORE_ABSENT);
	if (model)
		assert_true(slice_equal(found, slice_of(&model, sizeof model)));
}

/* An iterator and what it has to show for as long as it lives. */
struct held {
	struct store_iterator *it;
	uint32_t row[MODEL_KEYS];
};

static void random_iterator(struct bench *b, const struct model *m, struct rng *rng, struct held *h)
{
	if (h->it) {
		check_iterator(b, h->it, h->row, (uint32_t)rng_below(rng, MODEL_KEYS));
		if (rng_below(rng, 3) == 0) {
			store_iterator_free(b->store, h->it);
			h->it = NULL;
		}
		return;
	}
	enum store_family f = (enum store_family)rng_below(rng, STORE_FAMILIES);
	memcpy(h->row, m->committed[f], sizeof h->row);
	h->it = store_iterate(b->store, f);
}

static void random_commit(struct bench *b, struct model *m, struct rng *rng)
{
	assert_int_equal(store_commit(b->store, rng_below(rng, 2)), STORE_OK);
	memcpy(m->committed, m->pending, sizeof m->committed);
}

static void random_reopen(struct bench *b, struct model *m, struct held *held, size_t held_count)
{
	for (size_t i = 0; i < held_count; i++) {
		if (held[i].it)
			store_iterator_free(b->store, held[i].it);
		held[i].it = NULL;
	}
	reopen(b);
	memcpy(m->pending, m->committed, sizeof m->pending);
}

static void any_operations_agree_with_a_model(void **state)
{
	struct bench *b = *state;
	struct model *m = mem_alloc_zero(sizeof *m);
	struct held held[3] = {0};
	struct rng rng;
	rng_init(&rng, 20);
	for (uint32_t step = 1; step <= MODEL_STEPS; step++) {
		uint64_t what = rng_below(&rng, 1000);
		if (what < 500)
			random_write(b, m, &rng, step);
		else if (what < 850)
			random_read(b, m, &rng);
		else if (what < 930)
			random_iterator(b, m, &rng, &held[rng_below(&rng, ARRAY_LEN(held))]);
		else if (what < 998)
			random_commit(b, m, &rng);
		else
			random_reopen(b, m, held, ARRAY_LEN(held));
	}
	random_reopen(b, m, held, ARRAY_LEN(held));
	for (int f = 0; f < STORE_FAMILIES; f++) {
		struct store_iterator *it = store_iterate(b->store, (enum store_family)f);
		check_iterator(b, it, m->committed[f], 0);
		store_iterator_free(b->store, it);
	}
	free(m);
}

static const enum backend backends[] = {ROCKS, DISK};

#define CASE(test, backend)                                                                        \
	{                                                                                          \
#test " " #backend, test, setup, teardown, (void *)(uintptr_t)&backends[backend]   \
	}
#define BOTH(test) CASE(test, ROCKS), CASE(test, DISK)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    BOTH(put_get_remove),
	    BOTH(pending_is_seen_by_get_alone),
	    BOTH(the_last_write_of_a_batch_counts),
	    BOTH(a_range_removes_what_came_before),
	    BOTH(an_empty_range_removes_nothing),
	    BOTH(a_commit_of_nothing),
	    BOTH(iterators_show_one_commit),
	    BOTH(iterators_are_reused_between_commits_only),
	    BOTH(a_value_is_borrowed_while_the_iterator_stays),
	    BOTH(a_borrowed_value_may_be_put),
	    BOTH(binary_keys_are_in_byte_order),
	    BOTH(empty_values_are_values),
	    BOTH(large_values),
	    BOTH(a_large_batch),
	    BOTH(commits_outlive_the_process),
	    BOTH(any_operations_agree_with_a_model),
	};
	return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
