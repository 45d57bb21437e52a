/* What differs between versions of a document, per path: for people. */
#ifndef PARLEY_DOC_DIFF_H
#define PARLEY_DOC_DIFF_H

#include "common/base/arena.h"
#include "common/base/slice.h"

enum { DIFF_ENTRIES_MAX = 100000, DIFF_POINTER_BYTES_MAX = 16 * 1024 * 1024 };

/* One place where not all versions have the same. */
struct diff_row {
	struct slice pointer;       /* RFC 6901 */
	const struct slice *values; /* one for each version, MessagePack; empty: absent there */
};

/* Versions are MessagePack values; an empty one has nothing. Objects are compared member by member,
 * everything else as a whole; an object against something else differs in each of its members, and
 * an empty object is a value. Rows come sorted by pointer, at most `most`. Past DIFF_ENTRIES_MAX
 * places in all versions together, past DIFF_POINTER_BYTES_MAX of their pointers, or past `most`,
 * *cut is set and the list is not complete. Of bytes that are no document what can be read counts.
 * Everything lives in the arena or borrows from the versions. */
uint32_t diff_rows(const struct slice *versions, uint32_t count, uint32_t most, struct arena *arena,
		   struct diff_row **out, bool *cut);

#endif
