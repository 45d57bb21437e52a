/* What of a document `fields` of CouchDB's queries leaves. Paths are those of selectors: a dot
 * parts names unless a backslash stands before it, and of an array a number names an element. */
#ifndef PARLEY_DOC_MANGO_FIELDS_H
#define PARLEY_DOC_MANGO_FIELDS_H

#include "common/base/arena.h"
#include "common/base/buf.h"

struct mango_fields_paths {
	struct mango_path *list;
	uint32_t count;
};
/* At most LIMIT_FIELDS. False: one has too many names, or is too long. */
bool mango_fields_parse(const struct slice *texts, uint32_t count, struct arena *arena,
			struct mango_fields_paths *out) MUST_CHECK;
/* The member of a document that the path begins with, as stored; empty: there is none. */
struct slice mango_fields_first(const struct mango_fields_paths *paths, uint32_t at);
/* Appends what the paths lead to in a stored body, in objects of the same names; a path that leads
 * nowhere leaves nothing. */
void mango_fields_project(const struct mango_fields_paths *paths, struct slice body,
			  struct buf *out);

#endif
