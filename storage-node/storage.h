/* The storage node's core: documents, revision graphs, and the replicated stream of each shard. */
#ifndef PARLEY_STORAGE_STORAGE_H
#define PARLEY_STORAGE_STORAGE_H

#include "common/core.h"
#include "common/store/store.h"

#define DAY_MS (24ull * 3600 * 1000)

enum {
	PURGED_KEEP_DAYS = 90,
	CHECKPOINT_KEEP_DAYS = 30,
	COPY_SILENT_MS = 30000 /* the copy to a replica that says nothing for so long is ended */
};

struct storage_options {
	uint64_t self;                 /* member id */
	uint64_t coordinator;          /* member id */
	uint64_t incarnation;          /* of the data directory */
	uint64_t boot;                 /* starts of this directory, this one included; from 1 */
	uint64_t life;                 /* random number of this start */
	uint64_t stream_keep_entries;  /* applied entries kept per shard for catch-up; 0: default */
	uint64_t stream_keep_bytes;    /* likewise; 0: default */
	uint64_t pending_entries_max;  /* unsettled entries per shard before writes are refused; 0:
					  default */
	uint64_t pending_bytes_max;    /* likewise; 0: default */
	uint64_t snapshot_chunk_bytes; /* sent at once when a shard is copied; 0: default */
	uint64_t copy_entries_min;     /* a stream of fewer is replayed, never copied; 0: default */
	uint64_t apply_bytes_turn;     /* of records that a replica makes in one turn; 0: default */
	uint64_t changes_answer_bytes; /* of changes in one answer; 0: default */
	uint64_t edit_flight_entries;  /* of one write by query that are under way; 0: default */
	uint64_t scrub_bytes_per_second; /* read in the background to check it; 0: none */
	int64_t scrub_rest_ms;           /* between the starts of two such passes; 0: default */
	uint64_t purged_keep_ms;         /* so long purged documents are remembered; 0: default */
	uint64_t checkpoint_keep_ms;     /* silent for so long, it counts as lost; 0: default */
	uint64_t upload_keep_ms;         /* so long contents wait for a document; 0: default */
	int64_t index_step_documents;    /* passed in one step by builds of indexes; 0: default */
};

struct storage; /* private: storage-node/internal.h */

/* Reads its state from the store, which it borrows for its life and which must outlive it. NULL:
 * the store holds what this version can't read (the caller refuses to start). */
struct storage *storage_new(const struct storage_options *options, struct store *store,
			    uint64_t seed);
void storage_free(struct storage *s);

extern const struct core_ops storage_ops;

#endif
