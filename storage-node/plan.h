/* Which index a query reads, and which of its keys. Whatever is chosen, each document found is held
 * against the whole filter: a plan must miss none, and may bring others. */
#ifndef PARLEY_STORAGE_PLAN_H
#define PARLEY_STORAGE_PLAN_H

#include "common/base/arena.h"
#include "common/doc/query.h"
#include "proto/schema.h"

enum { PLAN_RANGES_MAX = 1024 };

struct shard_copy;

/* Keys k with first <= k < end. */
struct plan_range {
	struct slice first;
	struct slice end;
};

/* Lives in the arena that it was made in, and refers to nothing else. */
struct plan {
	struct slice index; /* its name */
	struct plan_range *ranges;
	uint32_t ranges_count;
	bool ordered; /* the keys stand in the order of the query, or just against it: one range */
	bool descending;    /* ordered: from the end */
	bool named;         /* by who asks: many documents are no reason to give it up */
	struct slice start; /* ordered: a key to go on behind; empty: none */
	/* no index at all: the filter names the ids, ascending, each once; may be none */
	struct slice *ids;
	uint32_t ids_count;
};

/* order: as parsed from m; none for a count. The ids that the filter names, or the best plan of the
 * indexes that are ready here, or NULL: read all documents. */
struct plan *plan_make(const struct shard_copy *c, const struct msg_shard_query *m,
		       const struct query *query, const struct query_order *order,
		       uint32_t order_count, struct arena *arena);

#endif
