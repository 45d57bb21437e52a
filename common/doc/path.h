/* Names of a path to a value within a document, as in "address.lines.0". */
#ifndef PARLEY_DOC_PATH_H
#define PARLEY_DOC_PATH_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/slice.h"

struct path_segment {
	struct slice name;
	uint32_t index; /* if the name may stand for an element */
	bool is_index;
};

/* How many names it has: 1 at least. */
uint32_t path_names(struct slice text);
/* All of them, path_names(text); they borrow from text. */
struct path_segment *path_split(struct slice text, struct arena *arena);

/* What a path leads to. Of an array on the way every map is entered, and the element that the next
 * name may stand for: one that is both in two ways. All ways go on together, so that a value is
 * looked at once however many lead to it; each alone would take time that grows by half with each
 * name. */
struct path_walk {
	const struct path_segment *segments;
	uint32_t count; /* less than PATH_WALK_NAMES */
	/* What is at the path's end; empty: absent. `element`: an index at the end names it. True:
	 * go no further. */
	bool (*found)(void *context, struct slice value, bool element);
	void *context;
};
enum { PATH_WALK_NAMES = 32 };
/* From an array at the name `at` on. True if `found` was true once. */
bool path_walk_array(const struct path_walk *walk, struct slice array, uint32_t at);

/* Appends one more name to a JSON pointer (RFC 6901). */
void path_pointer_push(struct buf *pointer, struct slice name);

#endif
