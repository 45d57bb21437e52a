/* The arbiter core's own state. Only files of this folder include it. */
#ifndef PARLEY_ARBITER_INTERNAL_H
#define PARLEY_ARBITER_INTERNAL_H

#include "arbiter/arbiter.h"
#include "arbiter/cleanup.h"
#include "arbiter/counts.h"
#include "arbiter/large.h"
#include "arbiter/script.h"
#include "arbiter/split.h"
#include "arbiter/task.h"
#include "common/base/map.h"
#include "common/doc/decide.h"
#include "common/timing.h"

enum {
	POLL_MS = 200,             /* between looks at a queue that had work */
	POLL_IDLE_MS = 1000,       /* the longest pause at one that had none */
	REQUEST_MS = 2000,         /* an answer that is not there by then is asked for again, and */
	REQUEST_LONGEST_MS = 8000, /* mostly after twice as long each time, up to this */
	JOIN_MS = 500,             /* between tries */
	ASK_LEASE_MS = 1000,
	BACKOFF_MS = 1000, /* the longest pause between tries of one document */
	KNOWN_MS = 30000,  /* then a conflict that stayed open is looked at, and noted, again */
	KNOWN_COSTLY_MS = 3600000, /* the same of costly ones, doubled up to */
	KNOWN_MAX = 65536,         /* past it all are forgotten: that costs time only */
	AHEAD_STEPS = 16,          /* into so many a retention is cut to count it by our clock */
	PAUSE_LEAVES = 64,         /* conflicts of more are read again after a pause: */
	PAUSE_MS_A_LEAF = 1,
	LIST_ROWS = 256,
	TASKS_MAX = 64,
	TASKS_PER_SHARD = 32,
	ATTEMPTS_MAX = 8,        /* then the document waits until its queue is looked at again */
	CLEANUP_RETRY_MS = 1000, /* doubles up to */
	CLEANUP_RETRY_LONGEST_MS = 8000,
	CLEANUP_FRESH_MS = 30000, /* an older acknowledgement is asked for again */
	COMMIT_ATTEMPTS_MAX = 5
};

/* ---- shards and documents ---- */

/* Resolutions that our clock has not got to: what has this number or a smaller one had been made
 * when we looked at this time. */
struct ahead {
	uint64_t number;
	int64_t seen_ms;
};

struct shard_row {
	struct shard placement; /* replicas point to the array below */
	struct replica replicas[LIMIT_REPLICAS];
	bool leased;
	bool scripted;         /* the last document's policy was a script */
	bool listed;           /* in the lease's answer that is being read */
	uint64_t list_request; /* the same in every try, so that a late answer counts; 0: none */
	uint32_t list_tries;
	int64_t list_ms; /* when to ask, or to ask again */
	int64_t pause_ms;
	bool found_work;              /* in this pass over the queue */
	struct buf after;             /* the last document handled in this pass */
	struct queue_counts counting; /* in this pass */
	struct queue_counts counted;  /* in the last one */
	uint32_t tasks;
	struct cleanup cleanup;
	struct ahead ahead[2 * AHEAD_STEPS + 2]; /* the oldest first */
	uint32_t ahead_count;
};

struct collection_row {
	uint64_t version;
	uint64_t slow_version; /* slow: a script has run out of time under this one */
	bool slow;
	bool none; /* under this version all conflicts are people's */
	uint64_t retain_ms;
	size_t name_len;
	char name[LIMIT_NAME_BYTES];
};

/* A conflict that stayed open, as it was then. */
struct known {
	uint8_t digest[16];
	int64_t until_ms;
	uint32_t costly; /* so often a script has failed at it that took all it may */
	int64_t
	    pause_ms; /* till then other leaves don't matter either, unless they are far fewer */
	uint64_t leaves;
	uint64_t policy; /* version */
};

struct counters {
	uint64_t resolved[HOW_KINDS];
	uint64_t noted;
	uint64_t scripts_failed; /* whatever was done instead */
	uint64_t retries;
	uint64_t given_up;
	uint64_t cleanup_rounds;
	uint64_t cleanup_restarts;
	uint64_t cleanup_items;
	uint64_t cleanup_refused; /* acknowledgements of another incarnation */
};

struct arbiter {
	struct arbiter_options options;
	int64_t now_ms;
	int64_t wall_ms;
	bool started;
	bool joined;
	bool draining;
	int64_t join_ms;
	int64_t heartbeat_ms;
	int64_t ask_lease_ms;
	int64_t lease_until_ms;
	uint64_t map_version;
	uint64_t last_request;
	struct map shards;      /* id -> struct shard_row */
	struct map collections; /* id -> struct collection_row */
	struct map members;     /* id -> name, NUL-terminated */
	struct map known;       /* shard id (8 BE), document id -> struct known */
	struct task tasks[TASKS_MAX];
	struct counters counters;
	struct large large;
	struct arena arena; /* for the step */
	struct json_parser *json;
	struct buf key;
};

static inline struct shard_row *shard_row(struct arbiter *a, uint64_t id)
{
	return map_get_u64(&a->shards, id);
}

static inline struct envelope request_new(struct arbiter *a, uint16_t type, uint64_t epoch)
{
	return (struct envelope){.type = type, .request_id = ++a->last_request, .epoch = epoch};
}

/* Doubles from `first`. */
static inline int64_t backoff_ms(int64_t first, int64_t longest, uint32_t attempts)
{
	int64_t ms = attempts < 16 ? first << attempts : longest;
	return ms < longest ? ms : longest;
}

static inline int64_t earlier(int64_t x, int64_t y)
{
	return x < y ? x : y;
}

/* ---- membership.c: the coordinator, the map ---- */

void arbiter_member_start(struct arbiter *a);
void arbiter_member_timer(struct arbiter *a, struct effects *fx);
int64_t arbiter_member_deadline(const struct arbiter *a);
void arbiter_member_on_join_ack(struct arbiter *a, const struct event *e, struct effects *fx);
void arbiter_member_on_heartbeat_ack(struct arbiter *a, const struct event *e, struct effects *fx);
void arbiter_member_on_lease(struct arbiter *a, const struct event *e, struct effects *fx);
void arbiter_member_on_map(struct arbiter *a, const struct event *e, struct effects *fx);
void arbiter_member_on_newer(struct arbiter *a, const struct event *e, struct effects *fx);

/* ---- queue.c: what is there to do ---- */

void arbiter_queue_timer(struct arbiter *a, struct shard_row *row, struct effects *fx);
/* Frees the row, which is in no map any more. */
void arbiter_queue_free(struct shard_row *row);
void arbiter_queue_wake(struct arbiter *a, struct shard_row *row);
/* Forget where the look was. */
void arbiter_queue_reset(struct arbiter *a, struct shard_row *row);
int64_t arbiter_queue_deadline(const struct shard_row *row);
void arbiter_queue_on_list(struct arbiter *a, const struct event *e, struct effects *fx);
/* Is it what could not be resolved before? */
bool arbiter_queue_is_known(struct arbiter *a, const struct shard_row *row, struct slice id,
			    const struct conflict *conflict);
/* Under the policy that it was decided by, the lead's, of which this process may know a newer one.
 */
void arbiter_queue_remember(struct arbiter *a, const struct shard_row *row, struct slice id,
			    const struct msg_conflict_read_ack *graph, bool costly);
/* It is none any more. */
void arbiter_queue_forget(struct arbiter *a, const struct shard_row *row, struct slice id);
/* What is remembered is looked at again in `ms` at the latest. */
void arbiter_queue_remind(struct arbiter *a, const struct shard_row *row, struct slice id,
			  int64_t ms);

/* ---- metrics.c ---- */

void arbiter_metrics_print(const void *core, struct buf *out);
bool arbiter_metrics_ready(const void *core, int64_t now_ms, struct buf *out);

#endif
