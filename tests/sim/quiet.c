/* What is left to do: whether all has settled, so that a run may end; whether every replica is
 * there, so that a disk may fail; which shard a node only follows. */
#include "storage-node/keys.h"
#include "tests/sim/records.h"

static bool has_branches(struct sim *sim, uint64_t node, uint64_t shard)
{
	struct buf key = {0};
	bool any =
	    disk_has_any(sim_node_of(sim, node)->disk, STORE_STREAM, key_shard(&key, 'o', shard));
	buf_close(&key);
	return any;
}

static bool shard_quiet(struct sim *sim, const struct shard *shard, struct buf *why)
{
	struct shard_position first;
	if (shard->lead == 0) {
		buf_printf(why, "shard %016llx has no lead", (unsigned long long)shard->id);
		return false;
	}
	for (uint32_t i = 0; i < shard->replicas_count; i++) {
		struct shard_position p;
		uint64_t node = shard->replicas[i].node;
		if (shard->replicas[i].learning || !position_of(sim, node, shard->id, &p)) {
			buf_printf(why, "shard %016llx: node %llu is not in sync",
				   (unsigned long long)shard->id, (unsigned long long)node);
			return false;
		}
		if (i == 0)
			first = p;
		if (p.applied != first.applied || p.last != p.applied || p.copying) {
			buf_printf(why, "shard %016llx: node %llu applied %llu of %llu, first %llu",
				   (unsigned long long)shard->id, (unsigned long long)node,
				   (unsigned long long)p.applied, (unsigned long long)p.last,
				   (unsigned long long)first.applied);
			return false;
		}
		if (has_branches(sim, node, shard->id)) {
			buf_printf(why, "shard %016llx: node %llu has branches in its outbox",
				   (unsigned long long)shard->id, (unsigned long long)node);
			return false;
		}
		if (sim->healed && conflicts_on(sim, node, shard->id) > 0) {
			buf_printf(why, "shard %016llx: conflicts are left",
				   (unsigned long long)shard->id);
			return false;
		}
	}
	return true;
}

bool checker_quiet(struct sim *sim, struct buf *why)
{
	for (int i = 0; i < sim->nodes_count; i++)
		if (!sim->nodes[i].core) {
			buf_printf(why, "%s is down", sim->nodes[i].name);
			return false;
		} else if (flip_stands(sim, &sim->nodes[i])) {
			buf_printf(why, "%s has not noticed its flipped bit", sim->nodes[i].name);
			return false;
		}
	const struct shard_list *list = all_shards(sim);
	bool quiet = true;
	for (int i = 0; i < list->count && quiet; i++)
		quiet = shard_quiet(sim, &list->shards[i], why);
	arena_reset(&sim->arena);
	return quiet;
}

bool checker_whole(struct sim *sim)
{
	const struct shard_list *list = all_shards(sim);
	bool whole = list->count > 0;
	for (int i = 0; i < list->count; i++) {
		const struct shard *shard = &list->shards[i];
		for (uint32_t k = 0; k < shard->replicas_count; k++) {
			const struct replica *r = &shard->replicas[k];
			struct shard_position p;
			const struct sim_node *node = sim_node_of(sim, r->node);
			whole = whole && !r->learning && node->incarnation == r->incarnation &&
				node->incarnation != node->aged &&
				position_of(sim, r->node, shard->id, &p) && !p.copying;
		}
	}
	arena_reset(&sim->arena);
	return whole;
}

uint64_t checker_followed(struct sim *sim, uint64_t member)
{
	const struct shard_list *list = all_shards(sim);
	uint64_t found = 0;
	for (int i = 0; i < list->count; i++) {
		const struct shard *shard = &list->shards[i];
		bool behind = false; /* the lead goes to one in front of it only */
		for (uint32_t k = 0; k < shard->replicas_count && !shard->dropped; k++) {
			if (behind && shard->replicas[k].node == member)
				found = shard->id;
			behind = behind || shard->replicas[k].node == shard->lead;
		}
	}
	arena_reset(&sim->arena);
	return found;
}
