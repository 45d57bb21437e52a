/* A request for rows of a view: its state, and the parts of its work. */
#ifndef PARLEY_GATEWAY_COUCH_VIEW_PRIVATE_H
#define PARLEY_GATEWAY_COUCH_VIEW_PRIVATE_H

#include "gateway/couch/view.h"

struct view_shard {
	struct msg_view_query query;
	struct view_range *ranges; /* those left; the first may begin later */
	struct arena page;         /* the rows below */
	struct view_row *rows;
	uint32_t rows_count;
	uint32_t at;
	uint32_t passed; /* ranges before the first of those left */
	uint64_t total;
	bool more;
	bool asked;
};

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

/* What a reduce function of the design document's own has made of parts of a line's rows. */
struct view_made {
	struct buf values; /* JSON, with commas between */
	uint32_t count;
};
struct view_script {
	struct buf keys; /* JSON: of rows that are in no part yet */
	struct buf values;
	uint32_t rows;
	struct buf parts; /* JSON: to be reduced next */
	uint32_t *parts_lines;
	uint32_t parts_count;
	struct view_made *made; /* of each line */
	uint32_t made_count;
	uint32_t made_cap;
	size_t made_bytes;
	bool running;
};

struct view_op {
	struct view_params params;
	struct msg_doc_read read; /* of the design document */
	struct design_view design;
	enum collation_order order;
	enum reduce_kind kind;
	struct slice sequence;
	struct view_shard *shards;
	uint32_t shards_count;
	uint64_t skip; /* still */
	struct view_lines lines;
	/* the group at hand */
	struct reduce reduce;
	struct buf group; /* MessagePack of its key */
	uint32_t range;
	bool in_group;
	struct view_script script;
	struct msg_doc_read *reads;
	uint32_t left;
};

/* ---- op_view.c ---- */

/* Goes on with the rows that have come. */
void view_advance(struct turn *t, struct request *r);
bool view_is_full(const struct view_op *op);
void view_add_line(struct request *r, struct view_op *op, const struct view_line *from);
void view_too_large(struct turn *t, struct request *r, size_t bytes);

/* ---- view_reduce.c ---- */

/* One more row, of this of all ranges. False: the function can't take its value. */
bool view_reduce_row(struct turn *t, struct request *r, const struct view_row *row,
		     uint32_t range) MUST_CHECK;
/* After the last row. */
void view_reduce_end_group(struct turn *t, struct request *r);
/* True: a worker has to reduce what there is; view_advance is called when it has. */
bool view_reduce_awaits(struct turn *t, struct request *r, bool all_rows);
void view_reduce_close(struct view_op *op);

/* ---- view_answer.c ---- */

void view_lines_answer(struct turn *t, struct request *r);

#endif
