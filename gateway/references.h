/* Documents that refer to a document: the paths that collections' policies declare to hold ids of
 * its collection are looked up one after the other, each shard by shard, through an index where
 * there is one. A walk that takes long ends with a cursor. */
#ifndef PARLEY_GATEWAY_REFERENCES_H
#define PARLEY_GATEWAY_REFERENCES_H

#include "gateway/conflict_ask.h"
#include "gateway/list.h"

enum { REFERENCES_DEFAULT = 100, REFERENCES_MAX = 1000, REFERENCES_INDEXES = 32 };

/* A declared path of a collection. */
struct reference_place {
	uint64_t collection;
	struct slice name; /* of the collection */
	struct slice path;
	struct slice kind;
	bool undecided; /* the same path is declared to refer to something else, too */
};

struct references_op;
/* Rows of a page; op->place says of where. It calls references_next at once or later. */
typedef void references_page(struct turn *t, struct request *r,
			     const struct msg_shard_query_ack *page);

struct references_op {
	struct conflict_ask ask; /* first, for splitting */
	struct reference_place *places;
	uint32_t places_count;
	uint32_t place;
	uint64_t *shards; /* of the place's collection, for the whole walk of it */
	uint32_t shards_count;
	uint32_t shard;
	struct msg_shard_query query;
	struct slice cursor; /* as it came */
	uint64_t limit;
	uint64_t seen; /* rows */
	uint32_t passed, all;
	struct list_cost costs[REFERENCES_INDEXES]; /* one for each index that was used */
	uint32_t costs_count;
	references_page *page;
	request_step *ended;
	struct buf json;
	struct rewriting *rewriting; /* op_rewrite.c */
};

/* False: the cursor is none of this walk. */
bool references_begin(struct turn *t, struct request *r, struct problem *p) MUST_CHECK;
/* Asks for the next page, or calls ended. */
void references_next(struct turn *t, struct request *r);
/* Is there more behind where it stopped? */
bool references_has_more(const struct references_op *op);
void references_cursor(struct turn *t, struct request *r, struct buf *out);
/* X-Parley-Index, X-Parley-Progress. */
void references_headers(struct request *r, struct reply *reply);
/* "collection":...,"id":...,"rev":...,"path":...,"kind":... */
void references_print(const struct references_op *op, const struct row *row, struct buf *out);

#endif
