/* Views of design documents: what is asked of one, and its answer. */
#ifndef PARLEY_GATEWAY_COUCH_VIEW_H
#define PARLEY_GATEWAY_COUCH_VIEW_H

#include "common/doc/collation_key.h"
#include "gateway/couch/couch.h"
#include "gateway/couch/reduce.h"

/* ---- design.c ---- */

/* What a design document says of a view. */
struct design_view {
	struct slice map;
	struct slice reduce;
	struct slice library; /* JSON of what the functions may require; empty: nothing */
	uint64_t options;     /* enum view_option */
};
/* False: there is no such view. The library is in the arena. */
bool design_view(struct request *r, struct slice body, struct slice name,
		 struct design_view *out) MUST_CHECK;
enum collation_order design_order(const struct design_view *view);
void design_signature(const struct design_view *view, uint8_t out[16]);
/* Functions in another language are kept, and run by nobody. */
bool design_is_foreign(struct slice body);
/* A design document that may be written; any other may. */
bool design_check(const struct couch_document *d, struct problem *p) MUST_CHECK;
/* Appends the arguments of view_compile_source (common/doc/view_script.h) for the functions of all
 * its views. False: it has none in JavaScript. */
bool design_functions(struct slice body, struct buf *out) MUST_CHECK;

/* ---- view_params.c ---- */

struct view_bound {
	struct slice key; /* MessagePack; empty: open */
	struct slice id;
};
struct view_span {
	struct view_bound start;
	struct view_bound end;
	bool inclusive; /* of the end */
};
struct view_params {
	struct view_span *spans;
	uint32_t spans_count;
	struct view_range *ranges; /* made of them by view_params_ranges */
	bool ranged;               /* not all rows */
	bool descending;
	bool include_docs;
	bool conflicts;
	bool data; /* documents with the data of their attachments */
	bool update_seq;
	bool reduce;  /* unless the view has no reduce function */
	bool grouped; /* by so many elements of keys that are arrays: */
	bool keyed;   /* several keys were given */
	bool reduce_asked;
	uint64_t group_level; /* UINT64_MAX: by whole keys */
	uint64_t limit;       /* UINT64_MAX: none */
	uint64_t skip;
	uint64_t update; /* enum view_update */
};
bool view_params_take(struct turn *t, struct request *r, struct slice body, struct view_params *out,
		      struct problem *p) MUST_CHECK;
/* What does not go together. */
bool view_params_check(const struct view_params *params, bool reduces,
		       struct problem *p) MUST_CHECK;
bool view_params_ranges(struct request *r, struct view_params *params, enum collation_order order,
			struct problem *p) MUST_CHECK;

/* ---- op_queries.c ---- */

/* Answers a request whose body has several queries: each is asked of `path`, one after the other,
 * by a request of its own. */
void couch_queries_begin(struct turn *t, struct request *r, struct slice path, struct slice body);

#endif
