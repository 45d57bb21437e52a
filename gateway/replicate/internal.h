/* What the files of replication share. */
#ifndef PARLEY_GATEWAY_REPLICATE_INTERNAL_H
#define PARLEY_GATEWAY_REPLICATE_INTERNAL_H

#include "common/base/map.h"
#include "gateway/couch/couch.h"
#include "gateway/replicate/replicate.h"

enum {
	REPLICATE_ROWS = 500,             /* of _changes at once */
	REPLICATE_CHUNK = 100,            /* revisions fetched at once */
	REPLICATE_ANSWER_BYTES = 1 << 26, /* greatest answer of the other side */
	REPLICATE_POLL_MS = 30000,        /* a continuous job waits so long for changes */
	REPLICATE_PATIENCE_MS = 60000,    /* for an answer, beyond that */
	REPLICATE_TRIES = 8,              /* of one question, unless the job is continuous */
	REPLICATE_BACKOFF_MS = 250,       /* doubled with each */
	REPLICATE_BACKOFF_MAX_MS = 60000,
	REPLICATE_WAITERS = 8, /* clients that wait for one job */
	REPLICATE_HEADERS = 8,
	REPLICATE_PARAMETERS = 32, /* of a filter function */
	REPLICATE_HISTORY = 50,    /* sessions that a checkpoint tells of */
	REPLICATE_REASON_BYTES = 256
};

/* ---- spec.c: what is to be replicated ---- */

enum side { SIDE_SOURCE, SIDE_TARGET, SIDES };

struct endpoint {
	struct slice shown; /* without credentials */
	struct slice base;  /* "/name", or "https://host/name" */
	bool remote;
	struct http_field headers[REPLICATE_HEADERS];
	uint32_t headers_count;
};

struct replication {
	struct endpoint sides[SIDES];
	bool continuous;
	bool create_target;
	struct slice filter;       /* body of a filtered _changes, JSON; empty: none */
	struct slice filter_query; /* its parameters, "&filter=..."; empty: all documents */
	char id[2 * 16 + 1];       /* the same for the same sides and filter, whoever asks */
};

/* value: MessagePack. Everything lives in the arena. */
bool replication_parse(const struct gateway *gw, struct slice value, struct arena *arena,
		       struct replication *out, struct problem *p) MUST_CHECK;

/* ---- ask.c: questions to either side ---- */

struct job;

struct answer {
	enum side side;
	int status;
	bool too_large;
	struct slice text;
	struct slice value; /* MessagePack; empty if it is no JSON. Until the next answer */
};
typedef void job_step(struct turn *t, struct job *job, const struct answer *a);

struct question {
	enum side side;
	enum http_method method;
	const char *path;   /* below the database: "/_changes"; "" is itself */
	struct slice query; /* encoded */
	struct slice body;
	job_step *done;
};

struct ask {
	struct job *job;
	uint64_t id; /* 0: nothing is asked */
	enum side side;
	enum http_method method;
	struct buf path, query, body;
	job_step *done;
	uint32_t tries;
	int64_t due_ms; /* when it is given up, or asked again */
	bool flying;
	bool answered;
	int status;
	bool too_large;
	struct buf text;
	char error[REPLICATE_REASON_BYTES];
	struct ask *ready_next;
};

/* Copies. One at a time for each ask. What may be better later is asked again by itself. */
void ask_send(struct turn *t, struct ask *ask, const struct question *q);
void ask_tick(struct turn *t, struct ask *ask);
/* Hands the answer to its `done`. */
void ask_settle(struct turn *t, struct ask *ask);
/* Forgets it; for fx only a turn with effects. */
void ask_end(struct turn *t, struct ask *ask);
void ask_close(struct ask *ask);

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
	struct ask ask;   /* what the batch under way asks */
	struct ask pages; /* what follows it */
	bool ended;
	struct job *ended_next;
	/* checkpoints */
	char session[2 * 16 + 1];
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
	bool last_page; /* no page is asked behind it */
	bool again;     /* somebody has asked for the job since a page was asked for: one more */
	struct buf page;
	struct arena batch;
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
	uint64_t next_ask;
	struct job *ended; /* to be freed: only at the end of a step */
};

void replicator_key(const struct replication *what, struct buf *out);
struct job *replicator_find(const struct gateway *gw, const struct replication *what);
/* NULL: too many. `what` lives in the arena, which becomes the job's. */
struct job *replicator_add(struct turn *t, const struct replication *what, struct arena *arena,
			   struct slice principal);
/* The end of a job: who waits for it is answered, everything else forgotten. error NULL: done. */
void job_end(struct turn *t, struct job *job, int http, const char *error, const char *reason);

/* ---- run.c: the protocol ---- */

void job_start(struct turn *t, struct job *job);
/* The answer can't be worked with. */
void job_unexpected(struct turn *t, struct job *job, const struct answer *a);

/* ---- log.c: checkpoints ---- */

/* Reads both, then calls job_pages. */
void log_read(struct turn *t, struct job *job);
/* Writes both, then calls job_next. */
void log_write(struct turn *t, struct job *job);
/* The history with this session first, as JSON. */
void log_history(const struct job *job, struct buf *out);
void job_pages(struct turn *t, struct job *job);
void job_next(struct turn *t, struct job *job);
/* "Sat, 21 Nov 2026 17:15:35 GMT" */
void date_print(int64_t wall_ms, struct buf *out);
/* "2026-11-21T17:15:35Z" */
void time_print(int64_t wall_ms, struct buf *out);

/* ---- couch/op_replicate.c ---- */

void replicate_answer(struct turn *t, struct request *r, const struct job *job);

#endif
