/* What the files of store_rocks share. */
#ifndef PARLEY_STORE_STORE_ROCKS_PRIVATE_H
#define PARLEY_STORE_STORE_ROCKS_PRIVATE_H

#include <rocksdb/c.h>

#include "common/store/mark.h"
#include "common/store/pending.h"
#include "common/store/store_rocks.h"

struct reclaim; /* store_rocks_reclaim.h */

struct rocks {
	struct store base; /* first: a struct store * is a struct rocks * */
	rocksdb_t *db;
	rocksdb_options_t *options; /* of the database; kept for its statistics */
	rocksdb_cache_t *cache;
	rocksdb_column_family_handle_t *families[STORE_FAMILIES];
	rocksdb_readoptions_t *read_options;
	rocksdb_writeoptions_t *write_synced;
	rocksdb_writeoptions_t *write_unsynced;
	rocksdb_writebatch_t *batch;                 /* empty between commits */
	rocksdb_pinnableslice_t *pinned;             /* what the last get lent out */
	struct store_iterator *idle[STORE_FAMILIES]; /* of the last commit, for reuse; NULL: none */
	uint32_t iterators_open;
	struct pending pending;
	struct mark mark;
	uint64_t mark_synced_ns;  /* when the mark was synced last */
	bool unsynced;            /* there are commits since the last sync */
	enum store_result failed; /* of the commit that failed; STORE_OK: none has */
	struct reclaim *reclaim;
	uint32_t reclaim_delay_ms;
	struct buf error;
	char *path;
	bool statistics;
	uint64_t commits;
	uint64_t syncs;
	uint64_t sync_ns; /* time in synced commits */
};

extern const char *const rocks_family_names[STORE_FAMILIES];

static inline struct rocks *rocks_of(struct store *s)
{
	return (struct rocks *)s;
}

/* Sets up what a freshly opened database needs to serve as a store. */
void rocks_start(struct rocks *r);
/* STORE_FULL or STORE_BROKEN; keeps the first error's text in r->error. Frees `error`. */
enum store_result rocks_failed(struct rocks *r, char *error);

#endif
