#include "tests/sim/records.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "storage-node/keys.h"

bool disk_value(const struct disk *disk, enum store_family family, struct slice key,
		struct buf *out)
{
	struct slice value;
	if (!disk_get(disk, family, key, &value))
		return false;
	buf_append_slice(out, value);
	return true;
}

bool disk_record(struct sim *sim, const struct disk *disk, enum store_family family,
		 struct slice key, const struct schema *schema, void *out)
{
	struct buf value = {0};
	bool ok =
	    disk_value(disk, family, key, &value) &&
	    schema_decode(schema, arena_copy(&sim->arena, buf_slice(&value)), &sim->arena, out);
	buf_close(&value);
	return ok;
}

bool disk_has_any(const struct disk *disk, enum store_family family, struct slice prefix)
{
	return disk_count(disk, family, prefix) > 0;
}

/* ---- all shards ---- */

/* Nothing holds for it any more: nodes that have not heard of it yet deal with others that have. */
static bool is_dropped(struct sim *sim, uint64_t shard)
{
	struct slice value;
	struct buf key = {0};
	bool dropped = disk_get(sim_node_of(sim, SIM_COORDINATOR)->disk, STORE_META,
				key_shard(&key, 'd', shard), &value);
	buf_close(&key);
	return dropped;
}

static void take_shard(void *context, struct slice key, struct slice value)
{
	struct sim *sim = context;
	struct shard_list *list = sim->shards;
	(void)key;
	struct shard shard;
	if (!schema_decode(&schema_shard, arena_copy(&list->arena, value), &list->arena, &shard) ||
	    is_dropped(sim, shard.id))
		return;
	for (int i = 0; i < list->count; i++) {
		if (list->shards[i].id != shard.id)
			continue;
		if (shard.epoch > list->shards[i].epoch)
			list->shards[i] = shard;
		return;
	}
	CHECK(list->count < SHARD_LIST_MAX);
	list->shards[list->count++] = shard;
}

/* Of the placements on all disks, and of what was dropped. */
static uint64_t placements_digest(struct sim *sim)
{
	uint64_t digest =
	    disk_digest(sim_node_of(sim, SIM_COORDINATOR)->disk, STORE_META, slice_text("d"));
	for (int i = 0; i < sim->nodes_count; i++)
		if (sim->nodes[i].role == ROLE_STORAGE)
			digest = digest * 31 +
				 disk_digest(sim->nodes[i].disk, STORE_META, slice_text("s"));
	return digest;
}

const struct shard_list *all_shards(struct sim *sim)
{
	uint64_t digest = placements_digest(sim);
	if (!sim->shards)
		sim->shards = mem_alloc_zero(sizeof *sim->shards);
	else if (sim->shards->digest == digest)
		return sim->shards;
	sim->shards->digest = digest;
	sim->shards->count = 0;
	arena_reset(&sim->shards->arena);
	for (int i = 0; i < sim->nodes_count; i++)
		if (sim->nodes[i].role == ROLE_STORAGE)
			disk_walk(sim->nodes[i].disk, STORE_META, slice_text("s"), take_shard, sim);
	return sim->shards;
}

void shards_close(struct sim *sim)
{
	if (sim->shards)
		arena_close(&sim->shards->arena);
	free(sim->shards);
	sim->shards = NULL;
}

void each_copy(struct sim *sim, uint64_t collection,
	       void (*look)(void *context, const struct shard *shard, struct sim_node *node),
	       void *context)
{
	const struct shard_list *list = all_shards(sim);
	for (int i = 0; i < list->count; i++) {
		const struct shard *shard = &list->shards[i];
		for (uint32_t k = 0; k < shard->replicas_count; k++)
			if (collection == 0 || shard->collection == collection)
				look(context, shard, sim_node_of(sim, shard->replicas[k].node));
	}
	arena_reset(&sim->arena);
}

void each_document(const struct sim_node *node, uint64_t shard,
		   void (*look)(void *context, struct slice key, struct slice value), void *context)
{
	struct buf key = {0};
	disk_walk(node->disk, STORE_DOCUMENTS, key_shard(&key, 'd', shard), look, context);
	buf_close(&key);
}

/* ---- single records ---- */

struct shards_wanted {
	struct sim *sim;
	uint64_t collection;
	uint64_t *ids;
	int count, max;
};

static void take_shard_of(void *context, struct slice key, struct slice value)
{
	struct shards_wanted *wanted = context;
	struct shard shard;
	(void)key;
	if (schema_decode(&schema_shard, value, &wanted->sim->arena, &shard) &&
	    shard.collection == wanted->collection && wanted->count < wanted->max)
		wanted->ids[wanted->count++] = shard.id;
}

int shards_of_collection(struct sim *sim, uint64_t collection, uint64_t *ids, int max)
{
	struct shards_wanted wanted = {
	    .sim = sim, .collection = collection, .ids = ids, .max = max};
	disk_walk(sim_node_of(sim, SIM_COORDINATOR)->disk, STORE_META, slice_text("s"),
		  take_shard_of, &wanted);
	arena_reset(&sim->arena);
	return wanted.count;
}

bool position_of(struct sim *sim, uint64_t node, uint64_t shard, struct shard_position *out)
{
	struct buf key = {0};
	bool ok = disk_record(sim, sim_node_of(sim, node)->disk, STORE_META,
			      key_shard(&key, 'x', shard), &schema_shard_position, out);
	buf_close(&key);
	return ok;
}

/* With all others that have applied as much; if none has, nothing is known yet. */
static bool digest_agrees(struct sim *sim, const struct sim_node *node,
			  const struct shard_position *p)
{
	bool agrees = false;
	for (int i = 1; i <= sim->settings.storage_nodes; i++) {
		struct shard_position other;
		if (&sim->nodes[i] == node ||
		    !position_of(sim, sim->nodes[i].member, node->flipped_shard, &other) ||
		    other.copying || other.vacated || other.applied != p->applied)
			continue;
		if (other.digest != p->digest)
			return false;
		agrees = true;
	}
	return agrees;
}

bool flip_stands(struct sim *sim, struct sim_node *node)
{
	struct shard_position p;
	struct slice value;
	if (!sim_node_flipped(node))
		return false;
	bool there = position_of(sim, node->member, node->flipped_shard, &p);
	bool same =
	    disk_get(node->disk, node->flipped_family, buf_slice(&node->flipped_key), &value) &&
	    slice_equal(value, buf_slice(&node->flipped_value));
	/* removed or overwritten by who knew what it had been, before anything was made of it */
	bool harmless = there && node->flipped_key.len > 0 && !same && digest_agrees(sim, node, &p);
	if (!there || p.vacated || p.copying || harmless)
		node->flipped = 0;
	return sim_node_flipped(node);
}

uint64_t digest_of(struct sim *sim, uint64_t node, enum store_family family, uint64_t shard)
{
	struct buf key = {0};
	uint64_t digest =
	    disk_digest(sim_node_of(sim, node)->disk, family, key_shard(&key, 'd', shard));
	buf_close(&key);
	return digest;
}

static bool on_trail(const struct trail *trail, const struct member *member)
{
	uint64_t back = trail->number - member->trail_number;
	return trail->number >= member->trail_number &&
	       (back >= trail->ids_count || trail->ids[back] == member->trail_id);
}

bool copy_is_known(struct sim *sim, const struct sim_node *node)
{
	struct member member;
	struct trail trail = {0};
	struct buf key = {0};
	buf_append_byte(&key, 'm');
	buf_append_be64(&key, node->member);
	bool found =
	    !sim->nodes[0].committing && disk_record(sim, sim->nodes[0].disk, STORE_META,
						     buf_slice(&key), &schema_member, &member);
	buf_close(&key);
	if (!found)
		return false;
	if (member.incarnation != node->copy_incarnation)
		return true;
	disk_record(sim, node->copy, STORE_META, slice_text("trail"), &schema_trail, &trail);
	return member.trail_number > 0 && !on_trail(&trail, &member);
}

static void count_conflict(void *context, struct slice key, struct slice value)
{
	struct slice id;
	struct slice rest;
	(void)value;
	*(int *)context += key_split(key, &id, &rest) && id.len > 0;
}

int conflicts_on(struct sim *sim, uint64_t node, uint64_t shard)
{
	struct buf key = {0};
	int count = 0;
	disk_walk(sim_node_of(sim, node)->disk, STORE_CONFLICTS, key_shard(&key, 'd', shard),
		  count_conflict, &count);
	buf_close(&key);
	return count;
}
