/* The rows of an answer while a query collects them: in the order they come, or, with an order, the
 * best so far. */
#ifndef PARLEY_STORAGE_QUERY_ROWS_H
#define PARLEY_STORAGE_QUERY_ROWS_H

#include "common/doc/query.h"
#include "proto/schema.h"

/* One row. Of those kept, all slices lie in the row's own memory. */
struct query_row {
	struct slice id;
	struct slice body;
	struct slice hash;
	struct slice others; /* names of the other live leaves or sides, when wanted */
	struct slice keys[LIMIT_ORDER_KEYS]; /* values to sort by */
	uint64_t generation;
	uint64_t conflicts;
	size_t bytes; /* of all slices */
	uint8_t memory[];
};

/* Zero-initialised is valid: no order. */
struct query_rows {
	struct query_order order[LIMIT_ORDER_KEYS];
	uint32_t order_count;
	uint64_t limit;          /* with an order: so many are kept; > 0 */
	struct query_row **list; /* with an order: a heap, the worst first, until rows_sort */
	uint32_t count;
	uint32_t cap;
	size_t bytes; /* of all rows */
	bool dropped; /* rows that came after those kept */
};

/* <0, 0, >0: by order, then by id. */
int rows_compare(const struct query_rows *rows, const struct query_row *a,
		 const struct query_row *b);
/* With an order: false if the row comes after all those kept and there is no room for it. Looks at
 * id and keys only. */
bool rows_wants(struct query_rows *rows, const struct query_row *row);
/* Copies the row. With an order, the worst one makes room where there is none. */
void rows_add(struct query_rows *rows, const struct query_row *row);
/* At the end of the list, whatever the order: they came sorted. */
void rows_append(struct query_rows *rows, const struct query_row *row);
void rows_sort(struct query_rows *rows);
/* Appends them to the list of an answer; slices borrow, lists lie in the arena. */
void rows_fill(const struct query_rows *rows, struct arena *arena, struct msg_shard_query_ack *ack);
void rows_close(struct query_rows *rows);

#endif
