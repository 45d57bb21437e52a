/* Locks at the gateway: what writes carry, how long they wait for others, and the sessions that
 * locks belong to.
 *
 * A session belongs to a client's connection. While it lives the gateway speaks of it to the
 * coordinator every LOCK_RENEW_MS; when it ends, or the gateway does, its locks go. */
#ifndef PARLEY_GATEWAY_LOCK_H
#define PARLEY_GATEWAY_LOCK_H

#include "gateway/internal.h"

enum {
	LOCK_RENEW_MS = 2500,
	LOCK_SESSIONS_MAX = LIMIT_LOCKS,
	LOCK_RELEASE_TRIES = 8,
	LOCK_BACKOFF_MS = 20, /* doubled with each attempt */
	LOCK_BACKOFF_MAX_MS = 500,
	LOCK_ANSWERS_KEPT = 512,
	LOCK_ID_BYTES = 16
};

/* ---- writes ---- */

/* x-lock-id and x-lock-strategy, or the parameters lockId and lockStrategy, into the request. */
bool lock_take_headers(struct turn *t, struct request *r, struct problem *p) MUST_CHECK;
/* A write was refused for a lock: shall it be tried once more, and when? The request's deadline
 * moves along. */
bool lock_wait(struct turn *t, struct request *r, uint32_t tries, int64_t *delay_ms);
/* Notes that a request waits; false: too many do. */
bool lock_wait_begin(struct turn *t, struct request *r);
/* Requests that wait for locks of others. */
uint32_t lock_waiting(const struct gateway *gw);
void lock_wait_end(struct gateway *gw, struct request *r);

/* ---- sessions ---- */

/* The session of a connection (http_request.connection), made if there is none; 16 bytes that live
 * as long as it. Empty: too many sessions. */
struct slice lock_session(struct gateway *gw, uint64_t connection);
/* Its locks are released, from the end of the turn on. No session: nothing happens. */
void lock_session_end(struct turn *t, uint64_t connection);
/* Somebody asked for this lock and is no longer there to hold it: it is released, however far it
 * came. */
void lock_abandon(struct turn *t, struct slice id);
/* A grant was answered to this request; if its client turns out not to have taken the answer, the
 * lock is abandoned. */
void lock_answered(struct gateway *gw, uint64_t request, struct slice id);
void lock_answer_lost(struct turn *t, uint64_t request);

void lock_keeper_tick(struct turn *t);
void lock_keeper_turn(struct turn *t);
int64_t lock_keeper_deadline(const struct gateway *gw);
/* True if the message was an answer to what this keeper sent by itself. */
bool lock_keeper_message(struct turn *t);
void lock_keeper_init(struct gateway *gw);
void lock_keeper_close(struct gateway *gw);

/* ---- ids and keys ---- */

/* 36 characters, as clients see it. */
void lock_id_print(struct slice id, struct buf *out);
bool lock_id_parse(struct slice text, uint8_t id[LOCK_ID_BYTES]) MUST_CHECK;

/* One key of a request. `dotted`: it reads as collection.document.field, and which of its dots ends
 * the collection's name depends on what collections there are: lock_key_resolve says so once the
 * map is known to be new. */
struct lock_parsed {
	struct lock_key key;
	bool dotted;
};
bool lock_key_parse(struct request *r, struct slice text, const char *place,
		    struct lock_parsed *out, struct problem *p) MUST_CHECK;
bool lock_key_resolve(const struct gateway *gw, const char *place, struct lock_parsed *out,
		      struct problem *p) MUST_CHECK;

#endif
