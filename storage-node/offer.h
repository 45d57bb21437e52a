/* Conflicts that clients decide: who holds which, for how long.
 *
 * Leases live in the memory of the shard's lead. A lead that changes has none: the conflicts are
 * offered again, and answers under older leases are refused. What an answer changes is decided by
 * the leaves it was made on, as with every resolution; a lease only says whose turn it is. */
#ifndef PARLEY_STORAGE_OFFER_H
#define PARLEY_STORAGE_OFFER_H

#include "storage-node/internal.h"

enum {
	OFFERS_MAX = 4096,       /* of a shard, deferred ones included; of answers likewise */
	OFFER_ROWS_TAKE = 1024,  /* looked at for one request */
	OFFER_LEASE_MS = 30000,  /* if neither client nor policy says */
	OFFER_LEAST_MS = 100,    /* of a lease or a pause */
	OFFER_MOST_MS = 3600000, /* likewise */
	OFFER_KEEP_MS = 60000,   /* an answer is known at least so long, for those who repeat it */
	OFFER_LOOK_MS = 5000,    /* between looks at the queue for the metrics */
	OFFER_ALONE_MS = 60000   /* so long without anybody asking is told as an alarm */
};

void offer_on_take(struct storage *s, const struct event *e, struct effects *fx);
void offer_on_lease(struct storage *s, const struct event *e, struct effects *fx);
/* OK unless the resolution is a client's answer and its lease does not hold these leaves. */
enum status offer_check(const struct storage *s, const struct shard_copy *c,
			const struct msg_conflict_resolve *m);
/* The resolution is entry `number`. */
void offer_answered(struct shard_copy *c, const struct msg_conflict_resolve *m, uint64_t number);
/* The entry of this very answer; 0: it was not ordered, or is forgotten. */
uint64_t offer_answer_number(const struct shard_copy *c, const struct msg_conflict_resolve *m);
/* The leaves are others: the conflict as it is now may be offered. */
void offer_moved(struct shard_copy *c, const struct msg_conflict_resolve *m);
void offer_tick(struct storage *s, struct shard_copy *c);
void offer_free(struct shard_copy *c);
void offer_metrics(const struct storage *s, struct buf *out);

#endif
