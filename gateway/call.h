/* Calls: one message that a request sends and the answer that it waits for, with the retries in
 * between.
 *
 * A call to a shard goes to the lead that the map names. Refusals that say "not I" are definite: it
 * is sent again, at once if a newer placement has come, else after RETRY_MS. A call that may have
 * been taken is sent again only if that is harmless (`repeatable`). Every call ends by `done`,
 * exactly once, unless its request ends before. */
#ifndef PARLEY_GATEWAY_CALL_H
#define PARLEY_GATEWAY_CALL_H

#include "gateway/internal.h"

enum call_reach {
	REACH_COORDINATOR,
	REACH_LEAD,
	REACH_BRANCH, /* the lead; without an answer for BRANCH_AFTER_MS another replica, as a
			 branch */
	REACH_ANY     /* whichever replica answers */
};

enum {
	CALLS_MAX = 1 << 18,
	CALL_RESEND_MS = 1000,
	CALL_ANY_RESEND_MS = 300,
	CALL_ORPHAN_MS = 200,
	CALL_COORDINATOR_MS = 500
};

/* body: struct msg_* of the answer, borrowed for the step; NULL if none came, status then says why.
 */
typedef void call_done(struct turn *t, struct request *r, uint32_t index, enum status status,
		       const void *body);

struct call_spec {
	enum call_reach reach;
	uint64_t shard;
	uint16_t type;   /* of the message */
	uint16_t answer; /* of its answer */
	void *message;   /* struct msg_*, kept alive by the caller until done */
	bool repeatable;
	bool write;       /* without an answer the outcome is unknown */
	uint32_t index;   /* the caller's */
	int64_t until_ms; /* given up at the first occasion after that; 0: at the request's deadline
			   */
	call_done *done;
};

/* False: too many calls under way; nothing was sent, done will not come. */
bool call_open(struct turn *t, struct request *r, const struct call_spec *spec) MUST_CHECK;
/* An answer has come: finds its call. */
void call_answered(struct turn *t);
/* A message was not sent: as good as a refusal. */
void call_unsent(struct turn *t);
void call_timer(struct turn *t, struct timer *timer);
/* Calls that wait for another placement go on. */
void call_map_changed(struct turn *t);
/* Ends the request's calls one by one, as their time is over. */
void call_expire_all(struct turn *t, struct request *r);
/* Forgets them without a word. */
void call_forget_all(struct gateway *gw, struct request *r);
void call_table_init(struct gateway *gw);
void call_table_close(struct gateway *gw);

#endif
