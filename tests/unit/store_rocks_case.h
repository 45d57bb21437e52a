/* A store of RocksDB in a directory of its own, which goes with the test. */
#ifndef PARLEY_TESTS_UNIT_STORE_ROCKS_CASE_H
#define PARLEY_TESTS_UNIT_STORE_ROCKS_CASE_H

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "common/base/memory.h"
#include "common/store/store_rocks.h"

struct bench {
	char directory[64];
	struct store *store;
	struct buf text;
};

static inline int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

static inline int setup(void **state)
{
	struct bench *b = mem_alloc_zero(sizeof *b);
	snprintf(b->directory, sizeof b->directory, "/tmp/parley-rocks-XXXXXX");
	assert_non_null(mkdtemp(b->directory));
	*state = b;
	return 0;
}

static inline void shut(struct bench *b)
{
	if (b->store)
		store_close(b->store);
	b->store = NULL;
}

static inline int teardown(void **state)
{
	struct bench *b = *state;
	shut(b);
	nftw(b->directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	buf_close(&b->text);
	free(b);
	return 0;
}

#endif
