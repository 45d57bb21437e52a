/* Locks as a shard knows them: granted by the coordinator, ordered in the stream like writes,
 * checked by the lead at each write.
 *
 * A lock counts from the moment its entry is appended here, and until the entry of its release is
 * applied: so a write that is ordered after a settled lock was decided under it. Each grant has a
 * fencing token, and a shard remembers the greatest it has seen (shard_position.lock_token): a
 * grant with no greater one that is not held is a late message of a lock that has ended, and is
 * refused. */
#ifndef PARLEY_STORAGE_LOCK_H
#define PARLEY_STORAGE_LOCK_H

#include "storage-node/internal.h"

enum {
	LOCKS_KEPT_MAX = 2 * LIMIT_LOCKS, /* of a shard */
	LOCK_TELL_MS = 2000,  /* so often a lead tells the coordinator of some of its locks */
	LOCK_TELL_MAX = 256,  /* of so many */
	LOCK_PATH_DEPTH = 128 /* of nested members of a patch; deeper ones count as one path */
};

/* Who wants to write what. `body` is the merge patch or the update of PATCH and UPDATE, `base` what
 * a patch is made on; the other operations touch the whole document. */
struct lock_question {
	struct slice id; /* of the document */
	uint64_t op;
	struct slice body;
	struct slice base;
	const struct slice *lock_ids;
	uint32_t lock_ids_count;
};

/* Greatest token that this node's shards have seen. */
uint64_t lock_greatest(const struct storage *s);
/* OK; LOCK_LOST: locks are named, and do not cover all that is touched; LOCKED: another lock
 * overlaps it. */
enum status lock_check(const struct shard_copy *c, const struct lock_question *question);
enum status lock_check_write(const struct shard_copy *c, const struct msg_doc_write *m,
			     struct slice base);
/* Is this what lock_check says when it refuses? */
bool lock_is_refusal(enum status status);
/* Refuses a write, if this node may say so, and remembers the attempt. */
void lock_refuse_write(struct storage *s, struct shard_copy *c, const struct event *e,
		       enum status status, struct effects *fx);

/* From the coordinator: a grant or a release. */
void lock_on_set(struct storage *s, const struct event *e, struct effects *fx);
void lock_tick(struct storage *s, struct shard_copy *c, struct effects *fx);

/* A settled entry LOCK or UNLOCK. */
void lock_apply(struct storage *s, struct shard_copy *c, uint64_t number,
		const struct change *change);
/* Entries after this number are gone. */
void lock_cut(struct shard_copy *c, uint64_t after);
/* Those on disk come into memory. */
bool lock_load(struct storage *s, struct shard_copy *c);
/* A snapshot begins; a pair of it has come, which may be a lock. */
void lock_clear(struct shard_copy *c);
void lock_copied(struct shard_copy *c, struct slice key, struct slice value);
void lock_free(struct shard_copy *c);
uint64_t lock_count(const struct shard_copy *c);

#endif
