/* What lies on the disks of storage nodes, for checks. All is decoded into the arena of the run,
 * which the caller resets. */
#ifndef PARLEY_SIM_RECORDS_H
#define PARLEY_SIM_RECORDS_H

#include "tests/sim/sim.h"

enum { SHARD_LIST_MAX = 256 };

struct shard_list {
	struct shard shards[SHARD_LIST_MAX];
	int count;
	uint64_t digest; /* of what it was made of */
	struct arena arena;
};

/* Decodes the committed value under this key. */
bool disk_record(struct sim *sim, const struct disk *disk, enum store_family family,
		 struct slice key, const struct schema *schema, void *out);
/* Appends the committed value. */
bool disk_value(const struct disk *disk, enum store_family family, struct slice key,
		struct buf *out);
/* Is anything committed under keys that begin so? */
bool disk_has_any(const struct disk *disk, enum store_family family, struct slice prefix);
/* The newest placement of each shard that any storage node keeps; lent until the next call. */
const struct shard_list *all_shards(struct sim *sim);
void shards_close(struct sim *sim);
/* Looks at each listed copy of the collection's shards, or of all where it is 0. */
void each_copy(struct sim *sim, uint64_t collection,
	       void (*look)(void *context, const struct shard *shard, struct sim_node *node),
	       void *context);
/* The committed records of documents of a copy. */
void each_document(const struct sim_node *node, uint64_t shard,
		   void (*look)(void *context, struct slice key, struct slice value),
		   void *context);
/* Ids of the collection's shards, of which the coordinator's disk knows; at most max. */
int shards_of_collection(struct sim *sim, uint64_t collection, uint64_t *ids, int max);
/* The bit that was flipped on its disk is still there: its copy was not given up or made anew. */
bool flip_stands(struct sim *sim, struct sim_node *node);
bool position_of(struct sim *sim, uint64_t node, uint64_t shard, struct shard_position *out);
/* Would the coordinator know a start of this copy as one that was there before? One made in the
 * newest start that it knows looks like that start's successor: nobody can tell. */
bool copy_is_known(struct sim *sim, const struct sim_node *node);
/* Conflicts of documents that its disk has, open or not cleaned up. */
int conflicts_on(struct sim *sim, uint64_t node, uint64_t shard);
/* A hash over the shard's pairs of a family. */
uint64_t digest_of(struct sim *sim, uint64_t node, enum store_family family, uint64_t shard);

#endif
