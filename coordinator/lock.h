/* Locks: who holds which paths, who waits.
 *
 * - WAITING: asked for; kept in memory only. Served first come, first served, all paths or none: it
 *   waits as long as it overlaps a lock that is not gone, or a request that came before it.
 *
 * - GRANTING: it has its fencing token and is on disk; the leads of all shards concerned order it
 * in their streams.
 *
 * - HELD: all have settled it, and only then its holder is told.
 *
 * - RELEASING: it has ended; on disk until all shards have settled that. Only then it makes room.
 *
 * A lock ends by request, when it was not renewed for its lifetime, when one of its collections is
 * dropped, or with its session: when the gateway says that the session is over, or has not spoken
 * of it for LOCK_SESSION_MS. Lifetimes are counted by this process's clock: after a start, or a
 * standstill, they run anew, so that no lock expires because the coordinator was away.
 *
 * Tokens only grow. A shard refuses a grant whose token is not greater than all it has seen: one
 * that nobody was told of is then given a greater one, any other has ended. So it does not matter
 * how late or how often messages come. */
#ifndef PARLEY_COORDINATOR_LOCK_H
#define PARLEY_COORDINATOR_LOCK_H

#include "coordinator/system.h"

enum {
	LOCK_TTL_MS = 60 * 1000, /* of locks that ask for none */
	LOCK_TTL_MAX_MS = 24 * 3600 * 1000,
	LOCK_WAIT_MAX_MS = 600 * 1000,
	LOCK_SESSION_MS = 10 * 1000,
	LOCK_SILENT_MS =
	    5 * 1000, /* who waits says so again and again; silent for so long he is gone */
	LOCK_RESEND_MS = 250,
	LOCK_SHARDS_MAX = 512, /* of one lock */
	LOCK_ENDED_MAX = 1024, /* remembered, so that a late request does not lock again */
	LOCK_ENDED_KEEP_MS = 600 * 1000,
	LOCK_ASKERS_MAX = 4,
	/* of one client certificate, held and waited for: nobody takes all there are */
	LOCK_OWNER_LOCKS = LIMIT_LOCKS / 4,
	LOCK_OWNER_PATHS = LIMIT_LOCKS
};

/* False: the store holds what can't be read. */
bool lock_open(struct coordinator *c) MUST_CHECK;
void lock_close(struct coordinator *c);

void lock_on_acquire(struct coordinator *c, const struct event *e, struct effects *fx);
void lock_on_release(struct coordinator *c, const struct event *e, struct effects *fx);
void lock_on_renew(struct coordinator *c, const struct event *e, struct effects *fx);
void lock_on_set_ack(struct coordinator *c, const struct event *e, struct effects *fx);

/* All lifetimes begin anew. */
void lock_start(struct coordinator *c);
/* This process stood still for so long. */
void lock_slept(struct coordinator *c, int64_t ms);
/* What is over, what must be said again. */
void lock_review_time(struct coordinator *c, struct effects *fx);
/* Grants what can be granted after the messages of a turn. */
void lock_turn(struct coordinator *c, struct effects *fx);

/* Rows of system.locks. */
void lock_list(struct coordinator *c, struct system_list *list);
void lock_metrics(const struct coordinator *c, struct buf *out);

#endif
