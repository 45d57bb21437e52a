/* Views of design documents: what is asked of one, and its answer. */
#ifndef PARLEY_GATEWAY_COUCH_VIEW_H
#define PARLEY_GATEWAY_COUCH_VIEW_H

#include "gateway/couch.h"
#include "gateway/couch_reduce.h"

/* ---- couch_view_params.c ---- */

struct view_params {
	struct view_range *ranges;
	uint32_t ranges_count;
	bool ranged; /* not all rows */
	bool descending;
	bool include_docs;
	bool conflicts;
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
bool view_params_take(struct turn *t, struct request *r, struct view_params *out,
		      struct problem *p) MUST_CHECK;
/* What does not go together. */
bool view_params_check(const struct view_params *params, bool reduces,
		       struct problem *p) MUST_CHECK;

/* ---- op_couch_view.c ---- */

/* A row, or a group of them, that is answered. */
struct view_line {
	struct slice id; /* of a group none */
	struct slice key;
	struct slice value; /* MessagePack; of a group JSON */
	struct slice doc;   /* JSON; empty: none was asked for */
};
struct view_lines {
	struct view_line *list;
	uint32_t count;
	uint32_t cap;
	size_t bytes;
};
struct view_line *view_lines_add(struct request *r, struct view_lines *lines);

/* ---- couch_design.c ---- */

/* The functions of a view; false: there is no such view. */
bool design_view(struct slice body, struct slice name, struct slice *map,
		 struct slice *reduce) MUST_CHECK;
/* A design document that may be written; any other may. */
bool design_check(const struct couch_document *d, struct problem *p) MUST_CHECK;
void design_signature(struct slice map, uint8_t out[16]);

#endif
