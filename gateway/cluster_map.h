/* What the gateway knows of the cluster: collections by name, their shards by range of hash,
 * members. Each part is taken over only if it is newer than what is here. */
#ifndef PARLEY_GATEWAY_CLUSTER_MAP_H
#define PARLEY_GATEWAY_CLUSTER_MAP_H

#include "common/base/map.h"
#include "common/core.h"

enum { DROPPED_MAX = 65536 };

/* A copy of a placement; replicas point into the array beside it. */
struct map_shard {
	struct shard shard;
	struct replica replicas[LIMIT_REPLICAS];
};

/* A copy of a collection's settings; slices point into `memory`, which is their encoding. */
struct map_collection {
	struct collection settings;
	struct buf memory;
	struct arena lists;
	struct map_shard **shards; /* by first hash, without dropped ones */
	uint32_t shards_count;
	uint32_t shards_cap;
	bool fresh; /* made since the first map came: all that it holds is new */
};

struct cluster_map {
	uint64_t version; /* 0: none yet */
	uint64_t whole;   /* of the newest that the coordinator told: storage nodes keep parts */
	struct map collections; /* by name */
	struct map collections_by_id;
	struct map shards;  /* by id */
	struct map dropped; /* ids of collections; the value says nothing */
};

void cluster_map_init(struct cluster_map *m, uint64_t seed);
void cluster_map_close(struct cluster_map *m);

/* whole: it is the coordinator's, of all collections. True if anything in it was new. Equal epochs
 * with different content are logged and left out. */
bool cluster_map_adopt(struct cluster_map *m, const struct msg_map_push *push, bool whole,
		       struct effects *fx);
bool cluster_map_adopt_shard(struct cluster_map *m, const struct shard *shard, struct effects *fx);

/* Of the gateways' own: in no list and in no feed. */
bool map_collection_hidden(const struct map_collection *c);
/* NULL when unknown. A collection counts as known when it has shards that cover every hash. */
struct map_collection *cluster_map_collection(const struct cluster_map *m, struct slice name);
/* Its shards cover every hash. The map that a storage node keeps has only its own ones. */
bool map_collection_whole(const struct map_collection *c);
struct map_shard *cluster_map_shard(const struct cluster_map *m, uint64_t id);
/* False of one that was known: it was dropped since. */
bool cluster_map_has_shard(const struct cluster_map *m, uint64_t id);
/* The shard of that document; NULL only while a map is incomplete. */
struct map_shard *map_collection_shard(const struct map_collection *c, struct slice document_id);

#endif
