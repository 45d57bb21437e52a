/* Writes by query: PUT, PATCH, DELETE of all documents of a shard that match.
 *
 * A job at the lead walks the documents in order of id and orders one CHANGE_WRITE for each that
 * matches, with the operation id of the whole and the running count; at the end CHANGE_EDIT. What
 * is applied of it is in an edit_record, alike on every replica: whoever is asked for the same
 * operation id again, after whatever, goes on behind the last document of the record. So no
 * document is changed twice and the count is exact. What was ordered and cut is not in the record,
 * and is done again. */
#ifndef PARLEY_STORAGE_SHARD_EDIT_H
#define PARLEY_STORAGE_SHARD_EDIT_H

#include "storage-node/internal.h"

enum {
	EDITS_KEPT = 512, /* records of a shard, so many of the newest, and none past 24 hours */
	EDIT_JOBS_MAX = 64,
	EDIT_ASKERS = 4,                        /* gateways that wait for one job */
	EDIT_ANSWER_MS = 500,                   /* how often a job that advances says so */
	EDIT_IDLE_MS = 2 * REQUEST_DEADLINE_MS, /* by then a job that nobody asks about stops */
	EDIT_STEP = 2000,                       /* budget of one step, of all jobs together */
	EDIT_COST_WRITE = 20,                   /* what ordering one document takes of it */
	EDIT_COST_BYTES = 1024,                 /* so many bytes of a document cost one more */
	/* What a job may have under way, so that other writes find room beside it. */
	EDIT_FLIGHT_ENTRIES = 1024,
	EDIT_FLIGHT_BYTES = 8 * 1024 * 1024
};

/* ---- edit_progress.c: what is applied ---- */

struct edit_progress {
	struct edit_record record; /* slices into bytes */
	struct buf bytes;          /* encoded record */
	struct arena arena;
	bool dirty;
};

struct edit_list {
	struct edit_progress *items;
	uint32_t count;
	uint32_t cap;
};

/* NULL if there is none. Valid until the next change of the list. */
const struct edit_record *edits_find(const struct shard_copy *c, struct slice id);
/* A change with an edit_id is applied. */
void edits_apply(struct storage *s, struct shard_copy *c, const struct change *change);
/* Puts what edits_apply changed. */
void edits_save(struct storage *s, struct shard_copy *c);
bool edits_load(struct storage *s, struct shard_copy *c) MUST_CHECK;
void edits_free(struct shard_copy *c);
/* Snapshots: appends one pair for each record; the memory is the arena's. */
uint32_t edits_pairs(const struct shard_copy *c, struct arena *arena, struct key_value *out,
		     uint32_t max);
/* Takes such a pair; false: it is none. */
bool edits_take_pair(struct storage *s, struct shard_copy *c, const struct key_value *pair);
/* All go, on disk and here. */
void edits_remove_all(struct storage *s, struct shard_copy *c);

/* ---- shard_edit.c: jobs ---- */

void edit_on_shard_edit(struct storage *s, const struct event *e, struct effects *fx);
void edit_run_jobs(struct storage *s, struct effects *fx);
/* True if a job could go on now. */
bool edit_wants_step(const struct storage *s);
void edit_free_jobs(struct storage *s);
/* The shard's copy goes. */
void edit_forget_shard(struct storage *s, const struct shard_copy *c);

#endif
