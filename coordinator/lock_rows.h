/* The rows behind lock.h; only files lock*.c include it. */
#ifndef PARLEY_COORDINATOR_LOCK_ROWS_H
#define PARLEY_COORDINATOR_LOCK_ROWS_H

#include "coordinator/lock.h"

enum lock_state { LOCK_WAITING, LOCK_GRANTING, LOCK_HELD, LOCK_RELEASING, LOCK_STATES };
enum { LOCK_ID_BYTES = 16 };

/* Who is to be answered. */
struct lock_asker {
	struct peer peer;
	struct envelope envelope;
	uint8_t request[LOCK_ID_BYTES]; /* of a release */
	bool wanted;
};

/* What one shard has settled of the row's state. */
struct lock_shard {
	uint64_t id;
	bool settled;
	uint64_t epoch; /* of the last message; 0: none */
	int64_t sent_ms;
};

struct lock_session {
	uint8_t id[LOCK_ID_BYTES];
	int64_t seen_ms;
	uint32_t locks;
};

/* What one client certificate has, by all gateways. */
struct lock_owner {
	uint32_t locks;
	uint32_t paths;
};

struct lock_row {
	struct lock_row *prev, *next; /* in order of arrival */
	enum lock_state state;
	struct arena arena;
	struct lock_record record;    /* in the arena */
	struct lock_session *session; /* NULL: a lease of its own */
	bool loaded;                  /* known before this start: its holder may have been told */
	int64_t expires_ms;           /* if it has a lifetime */
	int64_t wait_until_ms;        /* WAITING */
	int64_t heard_ms;             /* WAITING: its gateway asked last */
	struct lock_asker acquire;
	struct lock_asker release[LOCK_ASKERS_MAX];
	uint32_t releases;
	struct lock_shard *shards; /* in the arena */
	uint32_t shards_count;
	uint32_t unsettled;
};

struct lock_ended {
	uint8_t id[LOCK_ID_BYTES]; /* of a lock, or a session */
	uint8_t request[LOCK_ID_BYTES];
	int64_t until_ms; /* 0: free */
};

struct locks {
	struct lock_row *first, *last;
	struct map by_id;
	struct map sessions; /* id -> struct lock_session* */
	struct map owners;   /* name -> struct lock_owner* */
	struct map claims;   /* of one pass: lock_claims.c */
	struct lock_ended ended[LOCK_ENDED_MAX];
	uint32_t ended_next;
	bool dirty;          /* something may be granted */
	uint64_t drops_seen; /* as many of drops_count were looked at */
	uint64_t granted, expired, refused;
};

/* ---- lock_rows.c ---- */

static inline struct slice lock_row_id(const struct lock_row *row)
{
	return row->record.id;
}
struct lock_row *lock_row_find(const struct coordinator *c, struct slice id);
/* NULL: it has no lock. */
struct lock_owner *lock_owner_find(const struct coordinator *c, struct slice name);
/* Copies the record; appended as the latest. */
struct lock_row *lock_row_add(struct coordinator *c, const struct lock_record *record);
/* It belongs to this session from now on. */
void lock_row_move(struct coordinator *c, struct lock_row *row, struct slice session);
/* Frees it; nobody is answered. */
void lock_row_drop(struct coordinator *c, struct lock_row *row);
/* False: one of its collections does not exist, or it concerns too many shards: *why. Those that
 * there are are noted all the same. */
bool lock_row_shards(struct coordinator *c, struct lock_row *row, enum status *why);
void lock_row_put(struct coordinator *c, const struct lock_row *row, struct effects *fx);
void lock_row_remove(struct coordinator *c, const struct lock_row *row, struct effects *fx);
/* Its lifetime begins anew. */
void lock_row_renew(struct coordinator *c, struct lock_row *row);
bool lock_row_expired(const struct coordinator *c, const struct lock_row *row);
void lock_ended_add(struct coordinator *c, struct slice id, struct slice request);
/* NULL: not known to have ended. */
const struct lock_ended *lock_ended_find(const struct coordinator *c, struct slice id);
void lock_key_print(const struct lock_key *key, struct buf *out);

/* ---- lock_claims.c ---- */

void lock_claims_clear(struct locks *l);
void lock_claims_add(struct locks *l, const struct lock_record *record);
/* The first key that overlaps what was added, or NULL. */
const struct lock_key *lock_claims_overlap(struct locks *l, const struct lock_record *record);

/* ---- lock_grant.c ---- */

void lock_answer_acquire(struct coordinator *c, struct lock_row *row, enum status status,
			 struct slice text, struct effects *fx);
void lock_begin_release(struct coordinator *c, struct lock_row *row, struct effects *fx);

#endif
