/* The table behind lock.h; only lock.c and lock_check.c include it. */
#ifndef PARLEY_STORAGE_LOCK_TABLE_H
#define PARLEY_STORAGE_LOCK_TABLE_H

#include "storage-node/lock.h"

struct held_lock {
	uint8_t id[LOCK_ID_BYTES];
	uint64_t token;   /* the newest, appended ones included */
	uint64_t applied; /* the newest that is applied; 0: none */
	uint64_t number;  /* of the newest LOCK entry that is not applied; 0: none */
	uint64_t unlock;  /* of an UNLOCK entry that is not applied; 0: none */
	struct arena arena;
	struct shard_lock what; /* in the arena; its token does not count */
};

struct held_path {
	struct held_lock *lock;
	struct slice field; /* empty: the whole document, or collection */
};

struct lock_paths {
	struct held_path *items;
	uint32_t count;
	uint32_t cap;
};

struct lock_table {
	struct map by_id;        /* lock id -> struct held_lock* */
	struct map by_document;  /* document id -> struct lock_paths* */
	struct lock_paths whole; /* locks of the collection */
	uint64_t greatest;       /* token appended here */
	int64_t tell_ms;
	size_t tell_at;
};

#endif
