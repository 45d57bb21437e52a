#include "storage-node/placed.h"

#include "common/quorum.h"

bool placed_quorum(const struct storage *s, const struct shard_copy *c, placed_counts *counts,
		   uint32_t needed)
{
	bool here[LIMIT_REPLICAS] = {false};
	CHECK(c->placement.replicas_count <= LIMIT_REPLICAS);
	for (uint32_t i = 0; i < c->placement.replicas_count; i++)
		here[i] = c->placement.replicas[i].node == s->options.self;
	for (uint32_t i = 0; i < c->followers_count; i++) {
		const struct follower *f = &c->followers[i];
		if ((!f->learning || MUTATION(learner_votes)) && counts(s, f))
			here[f->place] = true;
	}
	return quorum_reached(&c->placement, here, needed);
}

bool placed_takes_branches(const struct storage *s, const struct shard_copy *c)
{
	return shard_vouching(s, c) && !(quorum_joint(&c->placement) && shard_self(s, c)->leaving);
}

void placed_tick(struct storage *s, struct shard_copy *c, struct effects *fx)
{
	if (c->position.vacated || shard_self(s, c))
		return;
	/* what the lead never settled may have been accepted here as a branch */
	stream_cut(s, c, c->position.applied, fx);
	if (c->outbox_count > 0) {
		REACHED(branch_outlives_place);
		return;
	}
	REACHED(copy_vacated);
	snapshot_clear(s, c, 0, fx);
	store_remove(s->store, STORE_META, key_shard(&s->key, 'g', c->id));
	shard_use_settings(s, c, (struct slice){0});
	c->position.vacated = true;
	c->turn_dirty = true;
	fx_sync(fx);
	fx_log(fx, LOG_LEVEL_INFO, "copy_vacated shard=%016llx epoch=%llu",
	       (unsigned long long)c->id, (unsigned long long)c->placement.epoch);
}

void placed_on_push_ack(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_outbox_push_ack *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	if (!c || shard_vouching(s, c) || c->placement.lead != e->message.from.member ||
	    c->placement.epoch != e->message.envelope.epoch)
		return;
	outbox_settled(s, c, m->id, &m->revision);
	fx_sync(fx);
}
