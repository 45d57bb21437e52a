/* What the files of _find share. A selector is a native list with the filter {"$mango": selector}.
 * Which indexes there are is known from the map, so that a query needs no more messages than a
 * list. */
#ifndef PARLEY_GATEWAY_COUCH_FIND_H
#define PARLEY_GATEWAY_COUCH_FIND_H

#include "common/doc/mango_fields.h"
#include "gateway/couch/mango.h"

struct query;

enum { FIND_LIMIT = 25 };

struct find {
	struct list_view view; /* first: the list's hooks lead back here */
	struct list_params params;
	struct slice body;
	struct slice selector;
	struct mango_fields sort;
	struct slice bookmark;
	uint64_t limit;
	uint64_t skip;
	bool projected; /* to these: */
	struct mango_fields_paths fields;
	bool with_id;
	bool with_rev;
	bool with_attachments;
	bool with_conflicts;
	bool conflicts; /* they are looked for */
	struct arena *arena;
	bool stats;
	bool explain;
	bool indexed;          /* an index of the map fits */
	struct slice index;    /* its native name */
	struct slice partial;  /* its filter; empty: none */
	bool unused;           /* the one asked for does not */
	struct slice use_ddoc; /* with _design/; empty: any */
	struct slice use_name;
	uint64_t returned;
	uint64_t conflicted; /* of them */
	int64_t started_ms;
};

/* find_params.c: what was asked, from the body; false: refused */
bool find_take(struct turn *t, struct request *r, struct find *op, struct problem *p) MUST_CHECK;

/* find_index.c: the index that fits, if one does; `query` is the filter */
void find_choose_index(struct request *r, struct find *op, const struct map_collection *c,
		       const struct query *query);
/* Sorted by nothing but the id, which needs none. */
bool find_by_id_only(const struct mango_fields *sort);

/* find_answer.c */
enum list_taken find_take_row(struct list_view *view, const struct row *row, struct buf *out);
void find_answer(struct turn *t, struct request *r, struct list_view *view, struct slice rows);
/* Of _explain; r->op is the struct find. */
mango_listed find_explain;

#endif
