/* What must hold at any moment, looked at every so often while faults go on:
 * - one history: replicas apply the same entry under the same number, for ever
 * - equal replicas: those that have applied as much hold the same documents and conflicts
 * - open conflicts: a document with several live leaves is in the list of conflicts, and no other
 * - contents: each version has the content that it was made with (contents.c)
 */
#include <xxhash.h>

#include "common/base/memory.h"
#include "common/doc/graph.h"
#include "storage-node/keys.h"
#include "tests/sim/records.h"

struct watched_copy {
	uint64_t incarnation;
	uint64_t checked; /* entries up to here were compared */
};

struct watched_shard {
	uint64_t compared; /* replicas were compared when they had applied so much */
	uint64_t looks;    /* at its records */
};

/* What is new is looked at each time; now and then all that there is, and in the end. */
enum { LOOK_AT_ALL_EVERY = 16 };

static struct slice pair_key(struct buf *key, uint64_t a, uint64_t b)
{
	buf_clear(key);
	buf_append_be64(key, a);
	buf_append_be64(key, b);
	return buf_slice(key);
}

static void *state_of(struct map *map, struct slice key, size_t size)
{
	void *state = map_get(map, key);
	if (!state) {
		state = mem_alloc_zero(size);
		map_put(map, key, state);
	}
	return state;
}

/* ---- one history ---- */

static void compare_entry(struct sim *sim, const struct sim_node *node, uint64_t shard,
			  uint64_t number)
{
	struct buf key = {0};
	struct buf value = {0};
	if (disk_value(node->disk, STORE_STREAM, key_number(&key, 'e', shard, number), &value)) {
		/* the value is not a pointer to anything; never 0 */
		uintptr_t digest = (uintptr_t)XXH3_64bits(value.data, value.len) | 1;
		struct slice name = pair_key(&key, shard, number);
		uintptr_t before = (uintptr_t)map_get(&sim->entries_applied, name);
		contents_note(sim, shard, buf_slice(&value));
		if (before == 0)
			map_put(&sim->entries_applied, name, (void *)digest);
		else if (before != digest)
			sim_violation(sim, "%s applied another entry %llu of shard %016llx",
				      node->name, (unsigned long long)number,
				      (unsigned long long)shard);
	}
	buf_close(&key);
	buf_close(&value);
}

static void watch_copy(struct sim *sim, const struct sim_node *node, uint64_t shard,
		       const struct shard_position *p)
{
	struct buf key = {0};
	struct watched_copy *w = state_of(&sim->copies_watched, pair_key(&key, node->member, shard),
					  sizeof(struct watched_copy));
	if (w->incarnation != node->incarnation || w->checked > p->applied)
		*w = (struct watched_copy){.incarnation = node->incarnation};
	if (w->checked < p->trimmed)
		w->checked = p->trimmed;
	while (w->checked < p->applied)
		compare_entry(sim, node, shard, ++w->checked);
	buf_close(&key);
}

/* ---- open conflicts ---- */

struct conflict_walk {
	struct sim *sim;
	const struct sim_node *node;
	uint64_t shard;
};

static void check_listed(void *context, struct slice key, struct slice value)
{
	struct conflict_walk *walk = context;
	struct document doc;
	struct slice id;
	struct slice rest;
	struct buf text = {0};
	struct buf listed = {0};
	bool record = key_split(key, &id, &rest) && rest.len == 0 &&
		      schema_decode(&schema_document, value, &walk->sim->arena, &doc);
	contents_check(walk->sim, walk->node, walk->shard, key, value, record ? &doc : NULL);
	if (!record)
		return;
	bool open = disk_value(walk->node->disk, STORE_CONFLICTS,
			       key_conflict_open(&text, walk->shard, id), &listed);
	if (open != (graph_conflicts(&doc) > 0))
		sim_violation(walk->sim, "%s: %.*s has %u conflicts, listed: %d", walk->node->name,
			      (int)id.len, (const char *)id.data, (unsigned)graph_conflicts(&doc),
			      open);
	buf_close(&text);
	buf_close(&listed);
}

static void check_records(struct sim *sim, const struct sim_node *node, uint64_t shard, bool all)
{
	struct conflict_walk walk = {sim, node, shard};
	struct buf key = {0};
	key_shard(&key, 'd', shard);
	(all ? disk_walk : disk_walk_new)(node->disk, STORE_DOCUMENTS, buf_slice(&key),
					  check_listed, &walk);
	buf_close(&key);
}

/* ---- equal replicas ---- */

static const enum store_family compared_families[] = {STORE_DOCUMENTS, STORE_CONFLICTS,
						      STORE_ATTACHMENTS};

struct copy {
	const struct sim_node *node;
	struct shard_position position;
	uint64_t digests[ARRAY_LEN(compared_families)];
};

static void compare_copies(struct sim *sim, uint64_t shard, const struct copy *a,
			   const struct copy *b)
{
	for (size_t f = 0; f < ARRAY_LEN(compared_families); f++)
		if (a->digests[f] != b->digests[f])
			sim_violation(
			    sim, "%s and %s differ in family %d of shard %016llx at %llu applied",
			    a->node->name, b->node->name, (int)compared_families[f],
			    (unsigned long long)shard, (unsigned long long)a->position.applied);
}

static void compare_all(struct sim *sim, uint64_t shard, struct copy *copies, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		for (size_t f = 0; f < ARRAY_LEN(compared_families); f++)
			copies[i].digests[f] =
			    digest_of(sim, copies[i].node->member, compared_families[f], shard);
	for (uint32_t i = 0; i < count; i++)
		for (uint32_t k = i + 1; k < count; k++)
			if (copies[i].position.applied == copies[k].position.applied)
				compare_copies(sim, shard, &copies[i], &copies[k]);
}

static void watch_shard(struct sim *sim, const struct shard *shard, bool last)
{
	struct buf key = {0};
	struct copy copies[LIMIT_REPLICAS];
	uint32_t count = 0;
	uint64_t most = 0;
	for (uint32_t i = 0; i < shard->replicas_count; i++) {
		struct copy *c = &copies[count];
		c->node = sim_node_of(sim, shard->replicas[i].node);
		if (!position_of(sim, c->node->member, shard->id, &c->position) ||
		    c->position.copying || sim_node_flipped(c->node))
			continue;
		watch_copy(sim, c->node, shard->id, &c->position);
		if (c->position.applied > most)
			most = c->position.applied;
		count++;
	}
	struct watched_shard *w =
	    state_of(&sim->shards_watched, pair_key(&key, shard->id, 0), sizeof *w);
	buf_close(&key);
	if (w->compared == most && !last)
		return;
	w->compared = most;
	compare_all(sim, shard->id, copies, count);
	bool all = last || w->looks++ % LOOK_AT_ALL_EVERY == 0;
	for (uint32_t i = 0; i < count; i++)
		check_records(sim, copies[i].node, shard->id, all);
}

static void watch_shards(struct sim *sim, bool last)
{
	const struct shard_list *list = all_shards(sim);
	for (int i = 0; i < list->count && sim->violations == 0; i++)
		if (!list->shards[i].dropped)
			watch_shard(sim, &list->shards[i], last);
	arena_reset(&sim->arena);
}

void watch_last(struct sim *sim)
{
	watch_shards(sim, true);
}

void watch(struct sim *sim)
{
	watch_shards(sim, false);
	if (!sim->healed)
		sim_schedule(sim, sim->now_us + WATCH_EVERY_MS * 1000, SIM_WATCH, 0, 0, NULL);
}

void watch_close(struct sim *sim)
{
	map_close_owned(&sim->copies_watched);
	map_close_owned(&sim->shards_watched);
	map_close(&sim->entries_applied);
	map_close(&sim->contents);
}
