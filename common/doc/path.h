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
/* Appends one more name to a JSON pointer (RFC 6901). */
void path_pointer_push(struct buf *pointer, struct slice name);

#endif
