/* A replica that was copied to, and has it whole, is not copied to again by the same lead as long
 * as the stream goes on from there: it would lose what it has acknowledged since.
 *
 * Who leads in one epoch does so once in a life, so what it has done since holds. Not looked at
 * where bits flip unnoticed: a lead with damage may break a copy off, and begin it anew. */
#include "common/base/memory.h"
#include "storage-node/keys.h"
#include "storage-node/storage.h"
#include "tests/sim/records.h"

/* To one replica, by a lead in one life and epoch. */
struct copied {
	uint64_t snapshot;     /* the newest */
	uint64_t end;          /* how much it holds; 0: its end was not sent yet */
	uint64_t end_sequence; /* of the chunk that was its end */
	uint64_t incarnation;  /* of the replica, then */
	int64_t heard_us;      /* when the lead last heard of it; 0: never */
	bool ended;            /* perhaps, as the replica was silent */
	bool done;             /* the lead knows that all of it is there */
};

static struct copied *copied_of(struct sim *sim, const struct sim_node *lead, uint64_t epoch,
				uint64_t shard, uint64_t to)
{
	struct buf key = {0};
	const uint64_t parts[] = {lead->member, lead->life, epoch, shard, to};
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		buf_append_be64(&key, parts[i]);
	struct copied *found = map_get(&sim->copied, buf_slice(&key));
	if (!found) {
		found = mem_alloc_zero(sizeof *found);
		map_put(&sim->copied, buf_slice(&key), found);
	}
	buf_close(&key);
	return found;
}

/* A copy begins only where memory and disk agree, so the disks say why it should. */
static void check_again(struct sim *sim, const struct sim_node *lead, const struct sim_node *to,
			uint64_t shard, const struct copied *before)
{
	struct shard_position there;
	struct shard_position here;
	bool damage = sim->healed && sim->settings.flips;
	if (damage || to->incarnation != before->incarnation || to->incarnation == to->aged ||
	    !position_of(sim, to->member, shard, &there) ||
	    !position_of(sim, lead->member, shard, &here))
		return;
	if (!there.copying && there.last >= before->end && here.trimmed <= before->end)
		sim_violation(sim, "%s copies shard %016llx once more to %s, which has all to %llu",
			      lead->name, (unsigned long long)shard, to->name,
			      (unsigned long long)there.last);
}

void copies_on_send(struct sim *sim, const struct sim_node *from, const struct effect *effect)
{
	struct msg_snapshot_chunk m;
	const struct sim_node *to = sim_node_of(sim, effect->send.member);
	if (!to || effect->send.envelope.type != MSG_snapshot_chunk)
		return;
	CHECK(schema_decode(&schema_msg_snapshot_chunk, effect->send.body, &sim->arena, &m));
	struct copied *c = copied_of(sim, from, effect->send.envelope.epoch, m.shard, to->member);
	if (m.snapshot != c->snapshot) { /* what is acknowledged of an older one is passed over */
		if (c->done)
			check_again(sim, from, to, m.shard, c);
		*c = (struct copied){.snapshot = m.snapshot, .heard_us = c->heard_us};
	}
	if (m.last) {
		c->end_sequence = m.sequence;
		c->end = m.position.applied;
		c->incarnation = to->incarnation;
	}
	arena_reset(&sim->arena);
}

/* A lead counts on the data that it was told of, and on no others of that node. */
static bool is_listed(struct sim *sim, const struct sim_node *lead, uint64_t id, uint64_t node,
		      uint64_t incarnation)
{
	struct shard shard;
	struct buf key = {0};
	bool listed = false;
	if (disk_record(sim, lead->disk, STORE_META, key_shard(&key, 's', id), &schema_shard,
			&shard))
		for (uint32_t i = 0; i < shard.replicas_count; i++)
			listed = listed || (shard.replicas[i].node == node &&
					    shard.replicas[i].incarnation == incarnation);
	buf_close(&key);
	arena_reset(&sim->arena);
	return listed;
}

/* A copy to a silent replica is ended, and then an answer to it tells the lead nothing any more.
 * Its clock, and when it began to wait, are known here only roughly. */
static bool may_be_ended(const struct sim *sim, const struct copied *c)
{
	int64_t bound_ms = sim->settings.bounds[BOUND_copy_silent_ms];
	int64_t silent_ms = bound_ms > 0 ? bound_ms : COPY_SILENT_MS;
	return sim->now_us - c->heard_us >= silent_ms * 1000 / 2;
}

static void on_chunk_ack(struct sim *sim, const struct sim_node *lead, uint64_t from,
			 struct copied *c, const struct msg_snapshot_chunk_ack *m)
{
	if (m->status == STATUS_OK && c->end > 0 && m->snapshot == c->snapshot &&
	    m->sequence == c->end_sequence && m->incarnation == c->incarnation)
		c->done |= !c->ended && is_listed(sim, lead, m->shard, from, m->incarnation);
}

void copies_on_message(struct sim *sim, const struct sim_node *lead,
		       const struct sim_message *message, const void *body)
{
	const struct msg_snapshot_chunk_ack *chunk = NULL;
	uint64_t shard = 0;
	if (message->envelope.type == MSG_snapshot_chunk_ack) {
		chunk = body;
		shard = chunk->shard;
	} else if (message->envelope.type == MSG_stream_append_ack) {
		shard = ((const struct msg_stream_append_ack *)body)->shard;
	} else {
		return;
	}
	struct copied *c = copied_of(sim, lead, message->envelope.epoch, shard, message->from);
	c->ended |= may_be_ended(sim, c);
	c->heard_us = sim->now_us;
	if (chunk)
		on_chunk_ack(sim, lead, message->from, c, chunk);
}
