/* The documents that a query looks at, one after another: all of a shard in order of id, those that
 * an index names in order of id, or those of a range of an index in the index's order. All of one
 * scan is one view of the store. */
#ifndef PARLEY_STORAGE_SCAN_H
#define PARLEY_STORAGE_SCAN_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/store/store.h"
#include "storage-node/plan.h"
#include "storage-node/record_peek.h"

enum {
	SCAN_RECORD_BYTES = 4096, /* so many bytes of a record count as another document */
	SCAN_PARTS_MAX = 4,       /* keys of one document; behind so many it looks for the next */
	SCAN_SEEK_COST = 3,       /* documents that one costs that is looked up */
	/* More ids than these, and than an eighth of the documents, are not worth looking up. */
	SCAN_IDS_MIN = 1000,
	SCAN_IDS_BYTES_MAX = 4 * 1024 * 1024
};

enum scan_kind {
	SCAN_DOCUMENTS, /* all, by id */
	SCAN_GATHER,    /* collecting ids from the index; goes on as SCAN_IDS */
	SCAN_IDS,       /* those collected, or named by the filter, by id */
	SCAN_FORWARD,   /* in the index's order */
	SCAN_BACKWARD   /* against it, but equal ones by id */
};

struct scan {
	struct store *store;
	uint64_t shard;
	enum scan_kind kind;
	const struct plan *plan; /* NULL: none; outlives the scan */
	struct buf after;        /* document id: only what follows it; empty: all */
	struct store_iterator *documents;
	struct store_iterator *keys; /* of the index */
	bool started;                /* the iterator that leads stands on what was seen last */
	uint32_t parts;              /* DOCUMENTS: keys of one document passed since its record */
	struct buf key;              /* scratch */
	struct buf id;               /* of the row */
	struct buf group;            /* BACKWARD: what the keys read now begin with */
	uint32_t range;              /* GATHER: which of the plan's */
	struct buf ids;              /* those collected, each behind its length in 4 bytes */
	struct slice *sorted;        /* the same, in order; or the plan's ids */
	uint32_t ids_count;
	uint32_t ids_max;
	uint32_t at; /* IDS: the next of them */
	uint64_t keys_read;
	uint64_t documents_read;
};

struct scan_row {
	struct slice id;     /* borrowed until the next step */
	struct slice record; /* likewise */
	struct slice body;   /* of the winner; likewise */
};

enum scan_result {
	SCAN_ROW,
	SCAN_END,
	SCAN_LATER, /* the budget is used up */
	SCAN_BROKEN /* the store can't be read */
};

/* plan: NULL for all documents. documents: how many the shard has, about. after: only ids behind
 * this one; without effect on a plan that is ordered, which says itself where it starts. */
void scan_open(struct scan *scan, struct store *store, uint64_t shard, const struct plan *plan,
	       struct slice after, uint64_t documents);
/* The next live document. Takes from the budget what it cost. Of all documents: SCAN_LATER leaves
 * the id of the last one passed, live or not, in the row, if there was any. */
enum scan_result scan_next(struct scan *scan, int64_t *budget, struct scan_row *row);
/* False also once a plan was given up for reading all documents. */
bool scan_uses_index(const struct scan *scan);
void scan_close(struct scan *scan);

#endif
