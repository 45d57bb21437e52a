#include "gateway/cluster_map.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/shard_hash.h"

void cluster_map_init(struct cluster_map *m, uint64_t seed)
{
	*m = (struct cluster_map){0};
	m->collections.seed = seed;
	m->collections_by_id.seed = seed;
	m->shards.seed = seed;
	m->dropped.seed = seed;
}

static void collection_free(struct map_collection *c)
{
	buf_close(&c->memory);
	arena_close(&c->lists);
	free(c->shards);
	free(c);
}

void cluster_map_close(struct cluster_map *m)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&m->collections_by_id, &at)) != NULL;)
		collection_free(e->value);
	map_close(&m->dropped);
	map_close(&m->collections);
	map_close(&m->collections_by_id);
	map_close_owned(&m->shards);
}

static bool adopt_collection(struct cluster_map *m, const struct collection *from)
{
	struct map_collection *c = map_get_u64(&m->collections_by_id, from->id);
	if (map_get_u64(&m->dropped, from->id))
		return false;
	/* A collection keeps its name: one that changed it would be found under both, and freed
	 * under one. */
	if (c &&
	    (c->settings.version >= from->version || !slice_equal(c->settings.name, from->name)))
		return false;
	if (!c) {
		if (m->collections_by_id.count >= LIMIT_COLLECTIONS)
			return false;
		c = mem_alloc_zero(sizeof *c);
		c->fresh = m->version > 0;
		map_put_u64(&m->collections_by_id, from->id, c);
		map_put(&m->collections, from->name, c);
	}
	buf_clear(&c->memory);
	arena_reset(&c->lists);
	schema_encode(&schema_collection, from, &c->memory);
	CHECK(schema_decode(&schema_collection, buf_slice(&c->memory), &c->lists, &c->settings));
	return true;
}

static void collection_remove_shard(struct map_collection *c, const struct map_shard *s)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < c->shards_count; i++)
		if (c->shards[i] != s)
			c->shards[kept++] = c->shards[i];
	c->shards_count = kept;
}

static void collection_insert_shard(struct map_collection *c, struct map_shard *s)
{
	if (c->shards_count == c->shards_cap) {
		c->shards_cap = c->shards_cap ? c->shards_cap * 2 : 8;
		c->shards = mem_realloc(c->shards, c->shards_cap * sizeof(struct map_shard *));
	}
	uint32_t at = c->shards_count++;
	while (at > 0 && c->shards[at - 1]->shard.hash_first > s->shard.hash_first) {
		c->shards[at] = c->shards[at - 1];
		at--;
	}
	c->shards[at] = s;
}

bool cluster_map_adopt_shard(struct cluster_map *m, const struct shard *from, struct effects *fx)
{
	if (from->replicas_count > LIMIT_REPLICAS || map_get_u64(&m->dropped, from->collection))
		return false;
	struct map_shard *s = map_get_u64(&m->shards, from->id);
	if (s && s->shard.epoch >= from->epoch) {
		if (s->shard.epoch == from->epoch && !schema_same(&schema_shard, &s->shard, from))
			fx_log(fx, LOG_LEVEL_ERROR,
			       "placement_differs shard=%016" PRIx64 " epoch=%" PRIu64, from->id,
			       from->epoch);
		return false;
	}
	if (!s) {
		if (m->shards.count >= LIMIT_SHARDS)
			return false;
		s = mem_alloc_zero(sizeof *s);
		map_put_u64(&m->shards, from->id, s);
	}
	struct map_collection *old = map_get_u64(&m->collections_by_id, s->shard.collection);
	if (old)
		collection_remove_shard(old, s);
	s->shard = *from;
	for (uint32_t i = 0; i < from->replicas_count; i++)
		s->replicas[i] = from->replicas[i];
	s->shard.replicas = s->replicas;
	struct map_collection *c = map_get_u64(&m->collections_by_id, from->collection);
	if (c && !from->dropped)
		collection_insert_shard(c, s);
	return true;
}

/* Shards may have come before their collection. */
static void collection_gather(struct cluster_map *m, struct map_collection *c)
{
	c->shards_count = 0;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&m->shards, &at)) != NULL;) {
		struct map_shard *s = e->value;
		if (s->shard.collection == c->settings.id && !s->shard.dropped)
			collection_insert_shard(c, s);
	}
}

/* Storage nodes may know an earlier collection of that name: the other has the name then. */
static void name_free(struct cluster_map *m, const struct map_collection *c)
{
	size_t at = 0;
	if (map_get(&m->collections, c->settings.name) != c)
		return;
	map_remove(&m->collections, c->settings.name);
	for (struct map_entry *e; (e = map_next(&m->collections_by_id, &at)) != NULL;) {
		struct map_collection *other = e->value;
		if (slice_equal(other->settings.name, c->settings.name))
			map_put(&m->collections, other->settings.name, other);
	}
}

static bool forget_collection(struct cluster_map *m, uint64_t id)
{
	struct map_collection *c = map_remove_u64(&m->collections_by_id, id);
	if (!c)
		return false;
	for (uint32_t i = 0; i < c->shards_count; i++)
		free(map_remove_u64(&m->shards, c->shards[i]->shard.id));
	name_free(m, c);
	collection_free(c);
	return true;
}

/* Its ids never come back: an older map that has them is not believed. */
static bool drop_collection(struct cluster_map *m, uint64_t id)
{
	if (m->dropped.count >= DROPPED_MAX)
		map_clear(&m->dropped);
	map_put_u64(&m->dropped, id, m);
	return forget_collection(m, id);
}

/* What a whole map does not name any more was dropped while this gateway heard nothing. */
static bool drop_others(struct cluster_map *m, const struct msg_map_push *push)
{
	uint64_t *gone = mem_alloc((m->collections_by_id.count + 1) * sizeof *gone);
	uint32_t count = 0;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&m->collections_by_id, &at)) != NULL;) {
		const struct map_collection *c = e->value;
		uint32_t i = 0;
		while (i < push->collections_count && push->collections[i].id != c->settings.id)
			i++;
		if (i == push->collections_count)
			gone[count++] = c->settings.id;
	}
	for (uint32_t i = 0; i < count; i++)
		(void)forget_collection(m, gone[i]);
	free(gone);
	return count > 0;
}

bool cluster_map_adopt(struct cluster_map *m, const struct msg_map_push *push, bool whole,
		       struct effects *fx)
{
	bool changed = false;
	bool older = push->map_version < m->version;
	for (uint32_t i = 0; i < push->dropped_count; i++)
		changed |= drop_collection(m, push->dropped[i]);
	if (whole && push->map_version > m->whole && !older) {
		changed |= drop_others(m, push);
		m->whole = push->map_version;
	}
	for (uint32_t i = 0; i < push->collections_count; i++) {
		const struct collection *from = &push->collections[i];
		bool known = map_get_u64(&m->collections_by_id, from->id) != NULL;
		/* what an older map knows, and ours does not, was dropped since */
		if ((older && !known) || !adopt_collection(m, from))
			continue;
		changed = true;
		if (!known)
			collection_gather(m, map_get_u64(&m->collections_by_id, from->id));
	}
	for (uint32_t i = 0; i < push->shards_count; i++)
		changed |= cluster_map_adopt_shard(m, &push->shards[i], fx);
	if (push->map_version > m->version) {
		m->version = push->map_version;
		changed = true;
	}
	return changed;
}

bool map_collection_hidden(const struct map_collection *c)
{
	struct slice name = c->settings.name;
	return slice_is(name, COLLECTION_LOCAL) || slice_is(name, COLLECTION_USERS) ||
	       slice_is(name, COLLECTION_REPLICATOR) || slice_is(name, COLLECTION_REPLICATIONS);
}

bool map_collection_whole(const struct map_collection *c)
{
	uint64_t next = 0;
	for (uint32_t i = 0; i < c->shards_count; i++) {
		const struct shard *s = &c->shards[i]->shard;
		if (s->hash_first != next)
			return false;
		next = s->hash_last + 1;
		if (next == 0)
			return i + 1 == c->shards_count;
	}
	return false;
}

struct map_collection *cluster_map_collection(const struct cluster_map *m, struct slice name)
{
	struct map_collection *c = map_get(&m->collections, name);
	return c && map_collection_whole(c) ? c : NULL;
}

struct map_shard *cluster_map_shard(const struct cluster_map *m, uint64_t id)
{
	return map_get_u64(&m->shards, id);
}

bool cluster_map_has_shard(const struct cluster_map *m, uint64_t id)
{
	const struct map_shard *s = cluster_map_shard(m, id);
	return s && !s->shard.dropped;
}

struct map_shard *map_collection_shard(const struct map_collection *c, struct slice document_id)
{
	uint64_t hash = shard_hash(document_id);
	uint32_t low = 0;
	uint32_t high = c->shards_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		const struct shard *s = &c->shards[middle]->shard;
		if (hash < s->hash_first)
			high = middle;
		else if (hash > s->hash_last)
			low = middle + 1;
		else
			return c->shards[middle];
	}
	return NULL;
}
