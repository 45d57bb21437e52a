/* Data that turn out to be damaged are set aside only while W others that have the shard can be
 * heard of: theirs may be lost as well, and these be the last. Looked at where a lead says to a
 * replica that its copy can be spared, and where a node goes. By then all other faults have ended.
 */
#include <string.h>

#include "common/base/memory.h"
#include "common/quorum.h"
#include "storage-node/keys.h"
#include "tests/sim/records.h"

/* What is heard counts for a second, and so does what is said of it; both clocks may be slow, and
 * messages take a while. */
enum { SILENT_US = 4000000 };

static bool is_there(struct sim *sim, const struct replica *r, uint64_t shard)
{
	const struct sim_node *node = sim_node_of(sim, r->node);
	struct shard_position p;
	return !r->learning && node->incarnation == r->incarnation &&
	       sim->now_us - node->heard_us < SILENT_US && position_of(sim, r->node, shard, &p) &&
	       !p.copying;
}

/* The first entry of a stream only begins the shard's first epoch, so nothing was answered as
 * written to a shard that has no more; a node that goes takes no writes, but hears of new shards.
 */
static bool holds_writes(struct sim *sim, const struct sim_node *node, const struct shard *shard)
{
	struct shard_position p;
	return position_of(sim, node->member, shard->id, &p) && !p.copying && p.last > 1;
}

static void check_spared(struct sim *sim, const struct sim_node *node, const struct shard *shard)
{
	uint64_t others = 0;
	bool counted = false;
	for (uint32_t i = 0; i < shard->replicas_count; i++) {
		const struct replica *r = &shard->replicas[i];
		if (r->node != node->member)
			others += is_there(sim, r, shard->id);
		else
			counted = !r->learning && r->incarnation == node->incarnation;
	}
	if (counted && others < shard->write_quorum && !quorum_joint(shard) &&
	    holds_writes(sim, node, shard))
		sim_violation(sim,
			      "%s may set shard %016llx aside while %llu others of %llu are there",
			      node->name, (unsigned long long)shard->id, (unsigned long long)others,
			      (unsigned long long)shard->write_quorum);
}

/* ---- where it is said ---- */

/* In which epoch was it last told to this replica? Lives until the end of the run. */
static uint64_t *spared_in(struct sim *sim, const struct sim_node *node, uint64_t shard)
{
	struct buf key = {0};
	buf_append_be64(&key, node->member);
	buf_append_be64(&key, shard);
	uint64_t *epoch = map_get(&sim->spared, buf_slice(&key));
	if (!epoch) {
		epoch = mem_alloc_zero(sizeof *epoch);
		map_put(&sim->spared, buf_slice(&key), epoch);
	}
	buf_close(&key);
	return epoch;
}

/* A lead that does not know the newest placement yet speaks of other replicas. */
static void on_spare(struct sim *sim, const struct sim_node *to, const struct shard_epoch *said)
{
	const struct shard_list *list = all_shards(sim);
	*spared_in(sim, to, said->shard) = said->epoch;
	for (int i = 0; i < list->count; i++)
		if (list->shards[i].id == said->shard && list->shards[i].epoch == said->epoch)
			check_spared(sim, to, &list->shards[i]);
}

void spares_on_send(struct sim *sim, const struct effect *effect)
{
	struct msg_lease_renew m;
	const struct sim_node *to = sim_node_of(sim, effect->send.member);
	if (!to || effect->send.envelope.type != MSG_lease_renew || !sim->healed ||
	    !sim->settings.flips)
		return;
	CHECK(schema_decode(&schema_msg_lease_renew, effect->send.body, &sim->arena, &m));
	for (uint32_t i = 0; i < m.shards_count; i++)
		if (m.shards[i].spare)
			on_spare(sim, to, &m.shards[i]);
	arena_reset(&sim->arena);
}

/* ---- where it is done ---- */

/* What made the node go was of this placement: it leads, or was told so by who does. */
static bool went_by(struct sim *sim, const struct sim_node *node, const struct shard *shard)
{
	struct shard own;
	struct buf key = {0};
	bool knows = disk_record(sim, node->disk, STORE_META, key_shard(&key, 's', shard->id),
				 &schema_shard, &own);
	buf_close(&key);
	return knows && own.epoch == shard->epoch &&
	       (own.lead == node->member || *spared_in(sim, node, shard->id) == shard->epoch);
}

void spares_on_reset(struct sim *sim, const struct sim_node *node, struct slice reason)
{
	const struct slice damage = slice_text("damaged data");
	if (!sim->healed || reason.len < damage.len ||
	    memcmp(reason.data, damage.data, damage.len) != 0)
		return;
	const struct shard_list *list = all_shards(sim);
	for (int i = 0; i < list->count; i++)
		if (!list->shards[i].dropped && went_by(sim, node, &list->shards[i]))
			check_spared(sim, node, &list->shards[i]);
	arena_reset(&sim->arena);
}
