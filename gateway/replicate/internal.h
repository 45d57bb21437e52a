/* What the files of replication share. */
#ifndef PARLEY_GATEWAY_REPLICATE_INTERNAL_H
#define PARLEY_GATEWAY_REPLICATE_INTERNAL_H

#include "common/base/map.h"
#include "gateway/couch/couch.h"
#include "gateway/replicate/ask.h"
#include "gateway/replicate/log.h"
#include "gateway/replicate/parcel.h"
#include "gateway/replicate/replicate.h"
#include "gateway/replicate/spec.h"
#include "proto/msgpack.h"

enum {
	REPLICATE_ROWS = 500,             /* of _changes at once */
	REPLICATE_CHUNK = 100,            /* revisions fetched at once */
	REPLICATE_TOLD = 2000,            /* revisions that a target is asked about at once */
	REPLICATE_ANSWER_BYTES = 1 << 26, /* greatest answer of the other side */
	REPLICATE_PAGE_BYTES = 1 << 24,   /* of _changes at once */
	REPLICATE_KEPT_BYTES = 1 << 20,   /* of a buffer, once its answer has been taken */
	REPLICATE_INLINE_BYTES = 1 << 24, /* of documents with their attachments */
	REPLICATE_POLL_MS = 30000,        /* a continuous job waits so long for changes */
	REPLICATE_BEAT_MS = 10000,        /* so often a source says that it looks for changes */
	REPLICATE_PATIENCE_MS = 60000,    /* for an answer, beyond that */
	/* a job that is not continuous gives up what has not been answered for so long */
	REPLICATE_GIVE_UP_MS = 25000,
	REPLICATE_FIRST_MS = 30000, /* the first answer of a side, and all tries for it */
	REPLICATE_LAST_MS = 5000,   /* at least so long for one try */
	REPLICATE_QUICK_TRIES = 3,  /* where nobody is */
	REPLICATE_BACKOFF_MS = 250, /* doubled with each try */
	REPLICATE_BACKOFF_MAX_MS = 60000,
	REPLICATE_PAUSE_MS = 1000, /* where a page brings nothing, and came at once */
	REPLICATE_WAITERS = 8,     /* clients that wait for one job */
	REPLICATE_OF_USER = 8,     /* jobs that one with a password asks for */
	LOG_NAME_BYTES = 2 * 16 + 1,
	REPLICATE_HISTORY = 50 /* sessions that a checkpoint tells of */
};

/* ---- replicate.c: the table of jobs ---- */

struct counts {
	uint64_t checked; /* revisions */
	uint64_t missing;
	uint64_t read; /* documents */
	uint64_t written;
	uint64_t refused;
};

struct wanted {
	struct slice id;
	struct slice revision;
};

struct job {
	struct replicator *owner;
	struct arena arena;
	struct replication what;
	struct slice principal; /* whose job it is */
	struct plan *plan;      /* of the document that asks for it (schedule.h); NULL: none does */
	uint64_t waiters[REPLICATE_WAITERS];
	uint32_t waiters_count;
	struct ask ask;       /* what the batch under way asks */
	struct ask pages;     /* what follows it */
	struct parcel parcel; /* a document of it whose attachments come and go in pieces */
	bool heard[SIDES];    /* it has answered something */
	bool single;          /* documents are asked for one by one */
	struct session sessions[SIDES];
	bool ended;
	struct job *ended_next;
	/* checkpoints */
	char session[2 * 16 + 1];
	char log_id[LOG_NAME_BYTES]; /* of both; what.id, unless its filter is a function */
	struct buf logs[SIDES];      /* as read: MessagePack; empty: none */
	struct buf revisions[SIDES]; /* of them, as text */
	struct buf history;          /* MessagePack, the newest first; empty: none */
	uint32_t log_tries;
	int64_t started_wall_ms;
	int64_t updated_wall_ms;
	/* sequences as MessagePack */
	struct buf start_sequence;
	struct buf recorded; /* the newest checkpoint */
	struct buf reached;  /* where the batch under way ends */
	struct buf asked;    /* where the pages under way begin */
	/* the batch under way */
	bool busy;
	bool page_ready;
	uint32_t page_rows; /* that are asked for at once */
	bool last_page;     /* no page is asked behind it */
	bool anew;          /* behind the batch: its filter is another function */
	bool no_news;       /* the page that came last brought nothing */
	int64_t page_asked_ms;
	bool again; /* somebody has asked for the job since a page was asked for: one more */
	struct buf page;
	struct arena batch;
	struct map offered; /* its rows: lists of revisions, by document */
	size_t offered_at;
	size_t offered_left; /* which the target was not told of yet */
	struct map told;     /* revisions of it that the target was told of */
	struct wanted *wanted;
	uint32_t wanted_count;
	uint32_t wanted_at;
	uint32_t chunk;
	uint32_t fetching; /* of them, at once */
	uint32_t sending;  /* documents */
	struct counts batch_counts;
	/* all */
	struct counts counts;
	uint64_t rows;
	uint64_t pending; /* as the source says */
};

struct replicator {
	struct map jobs; /* by id, and "+continuous" */
	struct map asks; /* by id */
	struct ask *ready, *ready_last;
	struct ask *rooms; /* there is room for more of their bodies */
	uint64_t next_ask;
	struct job *ended; /* to be freed: only at the end of a step */
	uint64_t written;  /* documents, by all jobs */
	uint64_t refused;
};

void replicator_key(const struct replication *what, struct buf *out);
struct job *replicator_find(const struct gateway *gw, const struct replication *what);
/* NULL: too many. `what` lives in the arena, which becomes the job's. */
/* What is copied from now on is told of by itself in checkpoints. */
void job_new_session(struct gateway *gw, struct job *job);
struct job *replicator_add(struct turn *t, const struct replication *what, struct arena *arena,
			   struct slice principal);
/* The end of a job: who waits for it is answered, everything else forgotten. error NULL: done. */
void job_end(struct turn *t, struct job *job, int http, const char *error, const char *reason);

/* ---- run.c: the protocol ---- */

void job_start(struct turn *t, struct job *job);
/* The answer can't be worked with. */
void job_unexpected(struct turn *t, struct job *job, const struct answer *a);
/* Where to begin is known. */
void job_pages(struct turn *t, struct job *job);
/* The next page may be asked for. */
void job_page(struct turn *t, struct job *job);
void job_filter_changed(struct turn *t, struct job *job);
/* The batch is done, and its checkpoint written. */
void job_next(struct turn *t, struct job *job);
/* All documents of the batch are there. */
void job_batch_done(struct turn *t, struct job *job);

/* ---- documents.c ---- */

/* Those wanted from wanted_at on, then job_batch_done. */
void job_fetch(struct turn *t, struct job *job);
/* A document is not copied, for good: counted and told to the log. */
void job_pass_by(struct turn *t, struct job *job, struct slice id, const char *reason,
		 uint32_t revisions);

/* Asks the source for the version that is wanted next, with these parameters beside its history;
 * more: bounds, and who takes the answer. */
void job_ask_version(struct turn *t, struct job *job, const char *parameters,
		     const struct question *more);

/* ---- parcel.c ---- */

/* The document at wanted_at, whose attachments are too much for a body; then job_fetch. */
void job_parcel(struct turn *t, struct job *job);

/* ---- couch/op_replicate.c ---- */

void replicate_answer(struct turn *t, struct request *r, const struct job *job);

#endif
