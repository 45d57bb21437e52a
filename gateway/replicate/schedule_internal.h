/* What the files of the schedule share. */
#ifndef PARLEY_GATEWAY_REPLICATE_SCHEDULE_INTERNAL_H
#define PARLEY_GATEWAY_REPLICATE_SCHEDULE_INTERNAL_H

#include "gateway/replicate/internal.h"
#include "gateway/replicate/schedule.h"

enum {
	PLANS_MAX = 10000,          /* documents that are looked at */
	PLAN_KEY_BYTES = 4 + 32,    /* "job-" and a hash */
	RUNNER_ID_BYTES = 7 + 32,   /* "runner-" and a random number */
	SCHEDULE_REQUESTS_MAX = 32, /* of plans, at once */
	SCHEDULE_WAITING_MAX = 64,
	SCHEDULE_PAGE = 50,
	SCHEDULE_BUSY_MS = 1000, /* between rounds while there is anything to run */
	SCHEDULE_IDLE_MS = 5000,
	SCHEDULE_AGAIN_MS = 100,     /* after a write that came too late */
	SCHEDULE_TELL_MS = 30000,    /* how far a job has come is written so often */
	SCHEDULE_BACKOFF_MS = 5000,  /* after a crash; doubled with each */
	SCHEDULE_BACKOFFS = 10,      /* doublings */
	SCHEDULE_HEALTHY_MS = 120000 /* who ran so long crashes for the first time */
};

enum plan_state {
	PLAN_INITIALIZING,
	PLAN_PENDING,
	PLAN_RUNNING,
	PLAN_CRASHING,
	PLAN_COMPLETED,
	PLAN_FAILED,
	PLAN_STATES
};
extern const char *const plan_state_names[PLAN_STATES];

/* A life of a gateway that runs jobs. */
struct runner {
	char id[RUNNER_ID_BYTES + 1];
	struct buf revision;
	uint64_t generation; /* of it */
	struct buf node;
	int64_t lease_ms;
	uint64_t load;   /* jobs that it has */
	uint64_t room;   /* that it would take */
	int64_t seen_ms; /* when this revision was first seen */
	bool ending;     /* its row is being removed */
};

/* Who runs a job. */
struct plan_row {
	struct buf holder; /* id of a runner; empty: nobody */
	struct buf runs;   /* revision of the document */
	struct buf info;   /* JSON object; empty: nothing is known */
	enum plan_state state;
	uint64_t errors; /* crashes one after the other */
	int64_t started_wall_ms;
	int64_t updated_wall_ms;
};

/* A document of _replicator, and its row. */
struct plan {
	char key[PLAN_KEY_BYTES + 1];
	struct buf id;
	/* the document */
	bool there;
	struct buf revision;
	struct buf source, target; /* without credentials; empty: it can't be read */
	struct buf job_id;
	struct buf owner;
	bool continuous;
	enum plan_state ended; /* COMPLETED or FAILED: as it says itself; else INITIALIZING */
	struct buf result;     /* then: JSON */
	struct buf result_time;
	/* the row */
	struct buf row_revision; /* empty: there is none */
	uint64_t row_generation;
	struct plan_row row;
	struct plan_row asked; /* as it will be */
	/* here */
	bool busy; /* a request of it is under way */
	struct job *job;
	bool stopping; /* its end is wanted */
	int64_t started_ms;
	int64_t retry_ms;
	int64_t told_ms;
	int64_t free_ms;         /* since when nobody has it; 0: somebody has */
	struct buf document;     /* what the job was made from: MessagePack */
	enum plan_state outcome; /* of the job, not yet written: COMPLETED, FAILED, CRASHING */
	struct buf outcome_info; /* JSON */
};

enum schedule_feed { FEED_DOCUMENTS, FEED_ROWS, FEEDS };

/* What a request of the schedule was for. */
enum note_kind {
	NOTE_PAGE,
	NOTE_BEAT,
	NOTE_RUNNER_GONE,
	NOTE_ROW,
	NOTE_ROW_GONE,
	NOTE_DOCUMENT,
	NOTE_OUTCOME
};

struct note {
	struct note *next;
	enum note_kind kind;
	char key[RUNNER_ID_BYTES + 1]; /* of the plan, or id of the runner */
	int status;
	struct buf text;
	struct slice value; /* MessagePack, while it is taken */
};

struct schedule_waiting {
	uint64_t request;
	uint64_t round; /* that it waits for */
	request_step *step;
};

struct schedule {
	struct map plans;   /* by key */
	struct map runners; /* by id; this gateway's is among them once it stands there */
	char node[LIMIT_NAME_BYTES + 1]; /* this gateway's name */
	char self[RUNNER_ID_BYTES + 1];  /* its life's row; empty: none yet */
	bool beating;
	bool leaving; /* the gateway stops, and its row still stands there */
	bool unsure;  /* of the revision of the own row */
	int64_t beat_sent_ms;
	int64_t beat_due_ms;
	int64_t lease_until_ms;
	/* rounds: all that has changed is read */
	struct buf since[FEEDS];
	enum schedule_feed feed;
	bool reading;
	bool more;   /* something happened here that the next round should not wait for */
	bool wanted; /* there is something to run, or to clear away */
	uint64_t rounds;
	int64_t round_began_ms;
	int64_t next_round_ms;
	uint32_t requests; /* of plans, under way */
	uint64_t crashes;
	uint64_t leases_lost; /* with jobs */
	bool full;            /* which has been said */
	struct note *notes, *notes_last;
	struct schedule_waiting waiting[SCHEDULE_WAITING_MAX];
	uint32_t waiting_count;
};

/* schedule.c: life, plans, leases, rounds */
struct plan *plan_get(struct schedule *s, struct slice id);
/* NULL: there are too many. */
struct plan *plan_want(struct turn *t, struct slice id);
void plan_free(struct plan *plan);
bool plan_is_mine(const struct schedule *s, const struct plan *plan);
bool plan_is_over(const struct plan *plan); /* or its document is gone */
/* NULL: its row does not stand there yet. */
struct runner *runner_own(const struct schedule *s);
/* Somebody has taken over: what ran here runs elsewhere. */
void schedule_lost(struct turn *t);
bool schedule_has_lease(const struct gateway *gw, int64_t now_ms);

/* schedule_decide.c: who does what */
/* What is to be done about it now. */
void plan_consider(struct turn *t, struct plan *plan);
/* A round is over: all is known. */
void schedule_decide(struct turn *t);

/* schedule_ask.c: requests and their answers */
/* key: see struct note. */
void schedule_ask(struct turn *t, enum note_kind kind, const char *key,
		  const struct http_request *http);
void round_begin(struct turn *t);
void round_page(struct turn *t, const struct note *note);

/* schedule_rows.c */
void beat_send(struct turn *t);
void beat_answered(struct turn *t, const struct note *note);
void runner_remove(struct turn *t, struct runner *runner);
/* Writes plan->asked. */
void row_write(struct turn *t, struct plan *plan);
void row_answered(struct turn *t, struct plan *plan, const struct note *note);
void row_remove(struct turn *t, struct plan *plan);
void row_removed(struct plan *plan, const struct note *note);
/* A row as the feed shows it; document empty: it is gone. */
void row_seen(struct turn *t, struct slice id, struct slice revision, struct slice document);
void plan_row_copy(struct plan_row *to, const struct plan_row *from);
void plan_row_close(struct plan_row *row);
void runner_free(struct runner *runner);

/* schedule_run.c: a document becomes a job, a job's end is written */
/* A document as the feed shows it; empty: it is gone. */
void document_seen(struct turn *t, struct slice id, struct slice revision, struct slice document);
void plan_start(struct turn *t, struct plan *plan);
void plan_document_came(struct turn *t, struct plan *plan, const struct note *note);
void plan_stop(struct turn *t, struct plan *plan);
void outcome_write(struct turn *t, struct plan *plan);
void outcome_answered(struct turn *t, struct plan *plan, const struct note *note);
/* How far it has come, in CouchDB's words: a JSON object. */
void job_info_print(const struct job *job, struct buf *out);

#endif
