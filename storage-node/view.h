/* Views of a shard's copy: rows that a function of a design document makes of each live document.
 *
 * A view is known by its function's signature and begins when it is first asked for. It is brought
 * up to date by those who ask: the documents that changed behind its number are read in the order
 * of their changes (sequence.h), the function runs over them in a script worker, and their rows and
 * the number are written together. So a view holds, of every document, the rows of one state of it
 * that is not older than the number says. Each replica has its own, and goes on from where it was
 * when it leads again. Of a shard the VIEWS_MAX used last are kept.
 *
 * A document for which the function throws, takes too much time or memory, or makes too many rows,
 * has none: a log line and a metric say so. */
#ifndef PARLEY_STORAGE_VIEW_H
#define PARLEY_STORAGE_VIEW_H

#include "storage-node/internal.h"

enum {
	VIEWS_MAX = 32,        /* of a shard */
	VIEW_WAITERS_MAX = 64, /* of a view */
	VIEW_BATCH_DOCUMENTS = 2000,
	VIEW_BATCH_STEP = 4, /* a batch that failed is tried with so many times fewer */
	VIEW_BATCH_BYTES = 1024 * 1024,
	VIEW_ROWS_MAX = 10000, /* of one document; one that has more has none */
	VIEW_PAGE_ROWS = 1000,
	VIEW_PAGE_BYTES = 2 * 1024 * 1024,
	VIEW_SCRIPT_MS = 500,
	VIEW_SCRIPT_BYTES = 64 * 1024 * 1024,
	VIEW_RETRY_MS = 500,
	VIEW_PATIENCE_MS = 30000 /* for a worker's answer */
};

struct view_waiter {
	struct peer peer;
	struct envelope envelope;
	uint64_t number; /* answered when the view has come so far */
	struct buf query;
};

struct view {
	struct view *next;
	uint64_t shard;
	uint8_t signature[16];
	uint64_t options;   /* enum view_option */
	struct buf map;     /* the function; empty: not asked for in this life */
	struct buf library; /* what it may require: JSON */
	struct buf problem; /* why it is none */
	uint64_t number;    /* changes up to this one are in; perhaps not committed yet */
	uint64_t stored;    /* the same, committed */
	uint64_t new_until; /* documents that changed up to here last have no rows from before */
	uint64_t rows;
	uint64_t target; /* it is to come so far */
	int64_t used_ms;
	/* under way */
	uint64_t script;    /* id; 0: none */
	int64_t due_ms;     /* of its answer; without one: not to be tried before */
	struct buf ids;     /* of the documents passed, each behind its length and whether it is one
			       of those that the function sees */
	uint32_t documents; /* that it sees */
	uint64_t last;      /* the number that the view has with them */
	uint32_t most;      /* documents of the next batch */
	struct view_waiter waiters[VIEW_WAITERS_MAX];
	uint32_t waiters_count;
};

void view_on_query(struct storage *s, const struct event *e, struct effects *fx);
void view_on_script(struct storage *s, const struct event *e, struct effects *fx);
/* Goes on with what has work, and can. */
void view_run(struct storage *s, struct effects *fx);
/* The turn is committed. */
void view_stored(struct storage *s);
/* A document is not there any more, and no change tells of it: so do its rows. */
void view_forget(struct storage *s, const struct shard_copy *c, struct slice id);
/* The same of what was deleted by this change: views that have come so far have no rows of it. */
void view_forget_deleted(struct storage *s, const struct shard_copy *c, struct slice id,
			 uint64_t deleted);
/* All documents of the shard go: so do its views. */
void view_reset(struct storage *s, const struct shard_copy *c);
void view_free_all(struct storage *s);

/* ---- view_rows.c ---- */

/* Documents changed behind view->number, at most so many, as arguments of the function. False: the
 * store can't be read. */
bool view_collect(struct storage *s, struct shard_copy *c, struct view *v,
		  struct buf *arguments) MUST_CHECK;
/* True if this is one of those collected, and the function sees it. */
bool view_shows(const struct view *v, struct slice id);
/* The documents collected have these rows now (what the function returned; empty: none of them has
 * any), and the view their number. False: output is no such thing; nothing was changed. */
bool view_replace(struct storage *s, struct view *v, struct slice output,
		  struct effects *fx) MUST_CHECK;
/* A document's rows go. */
void view_remove_rows(struct storage *s, struct view *v, struct slice id);
/* The rows that a query asks for. */
void view_answer(struct storage *s, const struct view *v, const struct msg_view_query *m,
		 struct msg_view_query_ack *ack);
/* As the disk has it. */
void view_load(struct storage *s, struct view *v);
void view_save(struct storage *s, const struct view *v);
void view_remove(struct storage *s, const struct view *v);

#endif
