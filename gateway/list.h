/* Lists: their parameters, the cursor, the order of rows, and what a list has cost. Documents of
 * shards and rows that the gateway makes itself are listed alike. */
#ifndef PARLEY_GATEWAY_LIST_H
#define PARLEY_GATEWAY_LIST_H

#include "gateway/native.h"

enum { LIST_SKIP_MAX = 1000000 };

/* Where a row stands in a list. */
struct list_key {
	struct slice id;
	const struct slice *order_keys; /* as many as orders; may be fewer: absent */
	uint32_t order_keys_count;
};

struct list_cost;

/* A list that another dialect prints. It has no bound of rows but its own limit; one that is too
 * large for an answer is refused. */
enum list_taken { LIST_TAKEN, LIST_PASSED, LIST_ENDED };
struct list_view {
	/* out NULL: only asks. */
	enum list_taken (*row)(struct list_view *view, const struct row *row, struct buf *out);
	void (*answer)(struct turn *t, struct request *r, struct list_view *view,
		       struct slice rows);
	/* Set before it answers: the last row that was passed or taken, without an id if there was
	 * none; what each shard did. */
	const struct list_key *last;
	const struct list_cost *costs;
	uint32_t costs_count;
};

/* ---- list_params.c ---- */

struct list_params {
	struct slice filter; /* MessagePack map; empty: all */
	struct text_list fields;
	struct text_list order;
	struct query_order *orders; /* the same, parsed */
	uint64_t limit;             /* 0: none */
	uint64_t skip;
	struct list_key after; /* from the cursor; without id: from the beginning */
	struct slice index;    /* the one to use; empty: the storage node chooses */
	bool no_index;
	bool want_others; /* rows name their documents' other live leaves */
	bool conflicts;   /* rows show the other sides of their documents' conflicts */
	bool count;
	bool explain;
	bool any;
	struct list_view *view; /* NULL: the native dialect's */
};
/* Orders by id, the greatest first. */
bool list_order_descending(struct request *r, struct list_params *out) MUST_CHECK;
/* From the query string, or, of a POST, from the members of the body. */
bool list_params(struct turn *t, struct request *r, struct list_params *out,
		 struct problem *p) MUST_CHECK;
/* The filter alone, of requests that are no lists: from the query string, checked. */
bool list_filter(struct turn *t, struct request *r, struct slice *filter,
		 struct problem *p) MUST_CHECK;
/* The list of fields of any read, given in the query string. */
bool list_fields(struct turn *t, struct request *r, struct text_list *out,
		 struct problem *p) MUST_CHECK;
/* <0, 0, >0: which comes first under the orders, then by id. */
int list_compare(const struct list_params *params, const struct list_key *a,
		 const struct list_key *b);
/* A copy in the request's arena. */
struct list_key list_key_copy(struct request *r, const struct list_key *key);

/* ---- op_list.c ---- */

/* A list of the documents of r->collection; params are copied. r->op is the list's from now on. */
void list_start(struct turn *t, struct request *r, const struct list_params *params);

/* ---- list_shards.c ---- */

/* Ids of the shards that may hold a document for which the (valid) filter holds. */
uint32_t list_shards(struct request *r, const struct map_collection *c, struct slice filter,
		     uint64_t **out);

/* ---- list_cursor.c ---- */

/* Opaque. It names the last row of what was answered, and the list that it belongs to. */
void list_cursor_print(struct turn *t, struct request *r, const struct list_params *params,
		       const struct list_key *last, struct buf *out);
/* Fills params->after; false if the text is no cursor of this list. */
bool list_cursor_parse(struct turn *t, struct request *r, struct slice text,
		       struct list_params *params) MUST_CHECK;

/* ---- list_explain.c ---- */

/* What one shard did for a list. */
struct list_cost {
	uint64_t shard;
	uint64_t keys_read;
	uint64_t documents_read;
	uint64_t rows;
	uint64_t pages;
	struct slice index; /* empty: none */
	bool sorted;
};
/* X-Parley-Index, if the list has a query or an order: names of indexes, or none. */
void list_index_header(struct request *r, struct reply *reply, const struct list_params *params,
		       const struct list_cost *costs, uint32_t count);
/* Answers explain=true. returned: rows, or of a count the documents counted. */
void list_explain(struct turn *t, struct request *r, const struct list_params *params,
		  const struct list_cost *costs, uint32_t count, uint64_t returned);

/* ---- system_rows.c: lists that the gateway filters itself ---- */

struct system_row {
	struct slice id;
	struct slice body; /* MessagePack map without id */
	struct slice *order_keys;
};
/* Answers with the rows: filtered, ordered, paged, projected, or counted; or the one with
 * r->resource as id. cut: there are more than these. */
void system_rows_answer(struct turn *t, struct request *r, struct system_row *rows, uint32_t count,
			bool cut, const struct list_params *params);
/* The collection that the request's route names, such as system.nodes. */
struct slice system_collection(const struct request *r);

#endif
