/* Leases: what lets a lead answer reads without asking. They come from the replicas (DESIGN 3):
 * each promises for LEASE_HELD_MS, counted from receiving, to promise no other lead a higher epoch;
 * the lead counts LEASE_MS from sending. Only durations on one clock are compared. */
#include "storage-node/offer.h"
#include "storage-node/placed.h"
#include "storage-node/scrub.h"

static void renew_with(struct storage *s, uint64_t node, struct effects *fx)
{
	struct msg_lease_renew m = {.sent_ms = (uint64_t)s->now_ms, .boot = s->options.boot};
	m.shards = arena_alloc(&s->arena, (s->shards.count + 1) * sizeof *m.shards);
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&s->shards, &at));) {
		struct shard_copy *c = entry->value;
		struct follower *f = shard_is_lead(c) ? shard_follower(c, node) : NULL;
		if (!f)
			continue;
		struct shard_epoch *e = &m.shards[m.shards_count++];
		*e = (struct shard_epoch){
		    .shard = c->id, .epoch = c->lead_epoch, .settled = c->settled};
		compare_ask(s, c, f, e);
	}
	if (m.shards_count == 0)
		return;
	struct envelope envelope = {.type = MSG_lease_renew, .request_id = s->next_request++};
	fx_send(fx, WHEN_NOW, node, 0, &envelope, &m);
}

/* One message per node, all shards together. */
void lease_tick(struct storage *s, struct effects *fx)
{
	if (s->now_ms < s->lease_ms)
		return;
	s->lease_ms = s->now_ms + LEASE_RENEW_MS;
	uint64_t done[LIMIT_MEMBERS];
	uint32_t done_count = 0;
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&s->shards, &at));) {
		struct shard_copy *c = entry->value;
		if (!shard_is_lead(c))
			continue;
		for (uint32_t i = 0; i < c->followers_count; i++) {
			uint64_t node = c->followers[i].node;
			uint32_t k = 0;
			while (k < done_count && done[k] != node)
				k++;
			if (k < done_count || done_count == LIMIT_MEMBERS)
				continue;
			done[done_count++] = node;
			renew_with(s, node, fx);
		}
	}
}

static bool grant(struct storage *s, const struct event *e, const struct shard_epoch *wanted,
		  uint64_t boot, struct effects *fx)
{
	struct shard_copy *c = shard_get(s, wanted->shard);
	if (!c || !s->admitted || c->promise.epoch != wanted->epoch ||
	    c->promise.lead != e->message.from.member || c->placement.epoch != wanted->epoch ||
	    c->position.copying)
		return false; /* a learning replica answers too: the lead does not count it, but
				 hears how far it is */
	c->lease_lead = e->message.from.member;
	c->lease_boot = boot;
	c->lease_epoch = wanted->epoch;
	c->lease_until_ms = s->now_ms + LEASE_HELD_MS;
	if (c->matched_epoch == wanted->epoch)
		stream_apply(s, c, wanted->settled < c->matched ? wanted->settled : c->matched, fx);
	return true;
}

void lease_on_renew(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_lease_renew *m = e->message.body;
	struct msg_lease_grant g = {
	    .sent_ms = m->sent_ms,
	    .boot = m->boot,
	    .incarnation = s->options.incarnation,
	    .disk_full = s->disk_full,
	};
	g.shards = arena_alloc(&s->arena, (m->shards_count + 1) * sizeof *g.shards);
	for (uint32_t i = 0; i < m->shards_count; i++)
		if (grant(s, e, &m->shards[i], m->boot, fx)) {
			struct shard_copy *c = shard_get(s, m->shards[i].shard);
			struct shard_epoch *granted = &g.shards[g.shards_count++];
			*granted = (struct shard_epoch){.shard = c->id,
							.epoch = m->shards[i].epoch,
							.settled = c->position.applied};
			compare_answer(s, c, &m->shards[i], granted, fx);
		}
	/* the promise behind a grant must be durable before the lead may count on it */
	fx_reply(fx, WHEN_DURABLE, e, MSG_lease_grant, &g);
}

void lease_on_grant(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_lease_grant *m = e->message.body;
	if (m->boot != s->options.boot || m->sent_ms > (uint64_t)s->now_ms)
		return;
	for (uint32_t i = 0; i < m->shards_count; i++) {
		struct shard_copy *c = shard_get(s, m->shards[i].shard);
		if (!c || !shard_is_lead(c) || c->lead_epoch != m->shards[i].epoch)
			continue;
		struct follower *f = shard_follower(c, e->message.from.member);
		if (!f || f->incarnation != m->incarnation)
			continue;
		int64_t until = (int64_t)m->sent_ms + LEASE_MS;
		if (MUTATION(lease_counted_late))
			until = s->now_ms + LEASE_MS;
		if (until > f->lease_until_ms)
			f->lease_until_ms = until;
		/* a copy goes on by its own answers: who has no room for it grants leases, too */
		if (f->mode != FOLLOW_SNAPSHOT)
			f->heard_ms = s->now_ms;
		f->disk_full = m->disk_full;
		f->applied = m->shards[i].settled;
		compare_conclude(s, c, f, &m->shards[i], fx);
		stream_nudge(s, c, f, fx);
	}
}

static bool has_leased(const struct storage *s, const struct follower *f)
{
	return f->lease_until_ms > s->now_ms;
}

bool lease_held(const struct storage *s, const struct shard_copy *c)
{
	if (c->state != SHARD_SERVING || !shard_vouching(s, c) ||
	    (c->serving_unseen && !MUTATION(lists_too_early)))
		return false;
	return placed_quorum(s, c, has_leased, (uint32_t)c->placement.write_quorum) ||
	       MUTATION(lead_without_lease);
}

/* The successor need not wait for our lease to run out: from this step on nothing is answered under
 * it. */
void lease_step_down(struct storage *s, struct shard_copy *c, struct effects *fx)
{
	struct msg_lease_release m = {.shard = c->id, .boot = s->options.boot};
	struct envelope envelope = {.type = MSG_lease_release, .epoch = c->lead_epoch};
	for (uint32_t i = 0; i < c->followers_count; i++) {
		struct follower *f = &c->followers[i];
		if (c->lead_epoch)
			fx_send(fx, WHEN_NOW, f->node, 0, &envelope, &m);
		snapshot_stop(s, f);
	}
	if (c->state != SHARD_REPLICA)
		fx_log(fx, LOG_LEVEL_INFO, "stepped_down shard=%016llx epoch=%llu",
		       (unsigned long long)c->id, (unsigned long long)c->lead_epoch);
	c->state = SHARD_REPLICA;
	c->followers_count = 0;
	c->matched_epoch = 0;
	overlays_clear(c);
	conflict_notes_clear(c);
	offer_free(c);
}

void lease_on_release(struct storage *s, const struct event *e, struct effects *fx)
{
	(void)fx;
	const struct msg_lease_release *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	if (c && c->lease_lead == e->message.from.member && c->lease_boot == m->boot &&
	    c->lease_epoch == e->message.envelope.epoch)
		c->lease_until_ms = 0;
}

int64_t lease_wait_ms(const struct storage *s, const struct shard_copy *c, uint64_t lead,
		      uint64_t boot)
{
	int64_t wait = 0;
	if (MUTATION(lease_not_awaited))
		return 0;
	bool same_life = c->lease_lead == lead && c->lease_boot == boot;
	if (!same_life && c->lease_until_ms > s->now_ms)
		wait = c->lease_until_ms - s->now_ms;
	/* an earlier life of this process may have granted a lease that it does not remember */
	int64_t alive = s->now_ms - s->started_ms;
	if (c->from_disk && alive < LEASE_HELD_MS && LEASE_HELD_MS - alive > wait)
		wait = LEASE_HELD_MS - alive;
	return wait;
}
