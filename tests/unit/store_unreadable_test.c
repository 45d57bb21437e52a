/* RocksDB's store on a disk that does not give back what it took: an I/O error, which is no damage.
 */
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/store/store_rocks.h"

enum { FILES_MAX = 256 };

static char directory[64];

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

static struct store *open_store(void)
{
	struct store_rocks_options options = {.path = directory};
	struct buf text = {0};
	struct store *store = NULL;
	assert_int_equal(store_rocks_open(&options, &store, &text), STORE_OPEN_OK);
	buf_close(&text);
	return store;
}

/* Whatever is read of an open table fails from now on. */
static int take_tables_away(void)
{
	int taken = 0;
	int closed = open("/dev/null", O_WRONLY | O_CLOEXEC);
	assert_true(closed >= 0);
	for (int fd = 0; fd < FILES_MAX; fd++) {
		char name[64];
		char path[256] = "";
		snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
		ssize_t len = readlink(name, path, sizeof path - 1);
		if (len < 4 || strncmp(path, directory, strlen(directory)) != 0 ||
		    strcmp(path + len - 4, ".sst") != 0)
			continue;
		assert_true(dup2(closed, fd) == fd);
		taken++;
	}
	close(closed);
	return taken;
}

static enum store_result walk(struct store *store, bool tolerant)
{
	struct store_iterator *it = store_iterate(store, STORE_DOCUMENTS);
	if (tolerant)
		store_tolerate(store, it);
	for (store_seek(store, it, (struct slice){0}); store_valid(store, it);)
		store_next(store, it);
	enum store_result result = store_iterator_result(store, it);
	store_iterator_free(store, it);
	return result;
}

/* One who looks whether all can be read is told, and the store goes on; else it fails. */
static void a_tolerant_walk_leaves_the_store_alone(void **state)
{
	(void)state;
	snprintf(directory, sizeof directory, "/tmp/parley-unreadable-XXXXXX");
	assert_non_null(mkdtemp(directory));
	struct store *store = open_store();
	store_put(store, STORE_DOCUMENTS, slice_text("a"), slice_text("1"));
	assert_int_equal(store_commit(store, true), STORE_OK);
	store_close(store);
	store_close(open_store()); /* opening writes the log into a table */
	store = open_store();
	assert_int_equal(walk(store, true), STORE_OK);
	store_close(store);
	store = open_store();
	assert_true(take_tables_away() > 0);
	assert_int_equal(walk(store, true), STORE_BROKEN);
	assert_false(store_rocks_failed(store));
	assert_int_equal(walk(store, false), STORE_BROKEN);
	assert_true(store_rocks_failed(store));
	assert_false(store_rocks_damaged(store));
	store_close(store);
	nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_tolerant_walk_leaves_the_store_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
