/* Is what lies here what it should be? A slow walk over all that is stored, a comparison of digests
 * with the peers (in the lease messages), and what follows when something is wrong: a node that has
 * damaged data sets them aside and is rebuilt from its peers, as soon as they can do without. */
#ifndef PARLEY_STORAGE_SCRUB_H
#define PARLEY_STORAGE_SCRUB_H

#include "storage-node/internal.h"

enum {
	SCRUB_BYTES_PER_SECOND = 4 * 1024 * 1024,
	SCRUB_REST_MS = 15 * 60 * 1000, /* from the start of a pass to that of the next, at least */
	SCRUB_PAIR_BYTES = 64,          /* what a pair costs beside its bytes */
	SCRUB_URGENT = 16,              /* so much faster where a peer has something else */
	SPARE_MS = 1000,                /* how long a replica counts on not being needed */
	SPARED_MS = 3 * SPARE_MS,       /* how long nobody counts on a replica that was told so */
	DAMAGE_TOLD_MS = 60000
};

/* scrub.c: a step of the walk; it begins only where memory and the last commit agree. */
void scrub_tick(struct storage *s, struct effects *fx);
void scrub_stored(struct storage *s, struct effects *fx);
/* The shard's content is replaced or goes: what was read of it means nothing. */
void scrub_forget(struct storage *s, const struct shard_copy *c);
void scrub_free(struct storage *s);
/* Appends the metrics of this part. */
void scrub_metrics(const struct storage *s, struct buf *out);

/* compare.c: the lead's question, the replica's answer, the lead's conclusion. */
void compare_ask(struct storage *s, struct shard_copy *c, struct follower *f,
		 struct shard_epoch *question);
void compare_answer(struct storage *s, struct shard_copy *c, const struct shard_epoch *question,
		    struct shard_epoch *answer, struct effects *fx);
void compare_conclude(struct storage *s, struct shard_copy *c, struct follower *f,
		      const struct shard_epoch *answer, struct effects *fx);

/* compare.c: this copy is wrong. The node starts anew once its peers can do without it. */
void damage_found(struct storage *s, struct shard_copy *c, const char *what, struct effects *fx);
/* It is, and others hold all that is settled: nobody is to get a copy of it. */
bool damage_stays(const struct storage *s, const struct shard_copy *c);
void damage_tick(struct storage *s, struct effects *fx);

#endif
