/* What CouchDB's queries and their indexes have in common. An index is a design document of
 * language "query", which goes where documents go, and, to be quick, a native index of a name made
 * from it. */
#ifndef PARLEY_GATEWAY_COUCH_MANGO_H
#define PARLEY_GATEWAY_COUCH_MANGO_H

#include "gateway/couch/couch.h"
#include "gateway/list.h"

struct mango_field {
	struct slice name; /* as it was given */
	struct slice path; /* as natively; empty: there is no such path */
};
struct mango_fields {
	struct mango_field *list;
	uint32_t count;
	bool descending;
};
/* An array of names, or of {name: "asc" or "desc"}; all in one direction. bad: the error if it is
 * none. */
bool mango_take_fields(struct request *r, struct slice value, enum couch_error bad,
		       struct mango_fields *out, struct problem *p) MUST_CHECK;
/* The id of a design document that may be given without _design/. */
struct slice mango_ddoc_id(struct request *r, struct slice name);
/* As natively. Empty if there is none: a name with a dot in it, or one of no member. */
struct slice mango_path(struct request *r, struct slice name);

/* {"$mango": {"$and": [...]}} */
struct slice mango_filter(struct turn *t, struct request *r, const struct slice *selectors,
			  uint32_t count);
/* A selector that could not be compiled; always false. */
bool mango_refuse(const struct query_error *error, struct problem *p);

/* ---- indexes ---- */

enum { MANGO_NATIVE_CHARS = 57 };

struct mango_index {
	struct slice ddoc; /* with _design/ */
	struct slice name;
	struct slice definition; /* MessagePack: {"fields": [...]} */
	struct slice filter;     /* partial_filter_selector; empty: none */
	struct mango_fields fields;
	char native[MANGO_NATIVE_CHARS]; /* empty: there can be none */
};
/* The native name from the rest. */
void mango_index_name(struct mango_index *index);
/* How much of it the design document's name makes, with the index's own if it has one. */
size_t mango_index_asked(const struct mango_index *index);
/* A native name of an index with a filter. */
bool mango_is_partial(struct slice native);
void mango_index_print(const struct mango_index *index, struct buf *out);
/* What a design document of ours defines, appended to list. Returns the count. */
uint32_t mango_ddoc_indexes(struct request *r, struct slice ddoc, struct slice body,
			    struct mango_index *list, uint32_t max);
bool mango_is_ddoc(struct slice body);
/* A design document was deleted: its native indexes go, too, but nobody waits for that. */
void mango_ddoc_gone(struct turn *t, const struct request *r, struct slice ddoc);

enum { MANGO_INDEXES_MAX = 256 };
typedef void mango_listed(struct turn *t, struct request *r, const struct mango_index *list,
			  uint32_t count);
/* All of the database r->collection. r->op stays as it is. */
void mango_list_indexes(struct turn *t, struct request *r, mango_listed *done);

#endif
