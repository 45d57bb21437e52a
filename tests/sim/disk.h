/* A disk in memory, with faults: the store interface for the simulator. A struct disk outlives the
 * process that opened a store on it; what that store committed stays, what it did not commit is
 * gone with it.
 *
 * After a kill (store_close, then disk_open) every commit is there. After a power cut (store_close,
 * then disk_crash) the synced commits are, and a random first part of those after them. Everything
 * is deterministic: the same calls with the same seeds give the same disk. */
#ifndef PARLEY_SIM_DISK_H
#define PARLEY_SIM_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/rng.h"
#include "common/store/store.h"

/* With AddressSanitizer what is lent out is freed as soon as it may be. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIM_SANITIZED 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define SIM_SANITIZED 1
#endif

struct disk;

/* Random faults of an opened store, in a million; each draws from a stream of its own seed. */
struct disk_faults {
	uint64_t seed;
	uint32_t commit_full;   /* a commit fails for want of space */
	uint32_t commit_broken; /* a commit fails with an I/O error */
	uint32_t get_broken;    /* a get fails with an I/O error */
};

struct disk *disk_new(void);
/* The store must be closed. */
void disk_free(struct disk *d);

/* One at a time; faults may be NULL. NULL: the log is torn (disk_tear), which only disk_wipe or
 * disk_restore heals. All that the store shows at first is durable. Release with store_close, after
 * its iterators. */
struct store *disk_open(struct disk *d, const struct disk_faults *faults);

/* What it has shown so far can't be trusted: a get or an iterator gave STORE_BROKEN. *damaged: the
 * data are not what was written, which a restart does not mend. */
bool disk_store_failed(const struct store *store, bool *damaged);
/* No random faults from now on. */
void disk_end_faults(struct store *store);

/* A power cut, the store being closed: drops the last unsynced commits, a random number of them.
 * Returns how many. */
uint64_t disk_crash(struct disk *d, struct rng *rng);
/* The next disk_open refuses. */
void disk_tear(struct disk *d);
/* An empty disk in its place; capacity stays. The store must be closed. */
void disk_wipe(struct disk *d);

/* A copy of what is committed now, as a backup of the files would be; released with disk_free. */
struct disk *disk_clone(const struct disk *d);
/* Puts the copy's content in place of the disk's, whose store must be closed. */
void disk_restore(struct disk *d, const struct disk *copy);

/* The next commit that writes or syncs gives this result: STORE_FULL or STORE_BROKEN. */
void disk_fail_next_commit(struct disk *d, enum store_result result);
/* Bytes of keys and values; a commit that would end above gives STORE_FULL. 0: no limit. */
void disk_set_capacity(struct disk *d, uint64_t bytes);
uint64_t disk_capacity(const struct disk *d);
/* Bytes committed and pending. */
uint64_t disk_used(const struct disk *d);
/* Reading the key's committed value gives STORE_BROKEN until it is written anew. False: there is no
 * such key. */
bool disk_corrupt(struct disk *d, enum store_family family, struct slice key);
/* Likewise as on a bad sector, which is an I/O error and no damage. */
bool disk_make_unreadable(struct disk *d, enum store_family family, struct slice key);
/* Any one key that has a value. */
void disk_corrupt_any(struct disk *d, struct rng *rng);

/* Changes a bit of a document or conflict under this prefix; reading it fails no more than before.
 * False: there is none. */
bool disk_flip_any(struct disk *d, struct slice prefix, struct rng *rng, enum store_family *family,
		   struct buf *key);

/* Makes a MessagePack value unreadable from this byte on. False: there is none. */
bool disk_garble(struct disk *d, enum store_family family, struct slice key, size_t at);

/* The committed value, lent until the disk changes. False: none. */
bool disk_get(const struct disk *d, enum store_family family, struct slice key,
	      struct slice *value);
/* Calls visit for each committed pair whose key starts with the prefix, in key order. */
typedef void disk_visit(void *context, struct slice key, struct slice value);
void disk_walk(const struct disk *d, enum store_family family, struct slice prefix,
	       disk_visit *visit, void *context);
/* Likewise, but only those that no such walk has shown yet. */
void disk_walk_new(const struct disk *d, enum store_family family, struct slice prefix,
		   disk_visit *visit, void *context);
/* How many there are. */
uint64_t disk_count(const struct disk *d, enum store_family family, struct slice prefix);
/* A hash over those pairs: equal for equal content. */
uint64_t disk_digest(const struct disk *d, enum store_family family, struct slice prefix);

/* The most bytes that were put for one commit, whether they stayed or not. */
uint64_t disk_put_max(const struct disk *d);
/* Commits made, and those of them that a power cut can't take. */
uint64_t disk_commits(const struct disk *d);
uint64_t disk_commits_durable(const struct disk *d);

#endif
