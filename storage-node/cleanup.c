/* Acknowledged cleanup: the traces of a resolution or a deletion go only when every replica that
 * the placement lists has passed it and holds no branch of the document in its outbox (DESIGN 7).
 */
#include "common/doc/graph.h"
#include "storage-node/checkpoint.h"
#include "storage-node/conflict.h"
#include "storage-node/purge.h"

enum { WAIT_KEPT_MS = 10000 };

/* ---- whom it waits for ---- */

void cleanup_take_wait(struct storage *s, struct shard_copy *c, const struct msg_conflict_list *m)
{
	struct cleanup_wait *w = &c->cleanup_wait;
	w->count = m->waiting_count;
	w->since_ms = m->waiting_since;
	w->until_ms = s->now_ms + WAIT_KEPT_MS;
	for (uint32_t i = 0; i < w->count; i++) {
		w->names_len[i] = m->waiting[i].len;
		memcpy(w->names[i], m->waiting[i].data, m->waiting[i].len);
	}
}

void cleanup_tell_wait(struct storage *s, struct shard_copy *c, struct msg_conflict_list_ack *ack)
{
	const struct cleanup_wait *w = &c->cleanup_wait;
	if (w->count == 0 || w->until_ms <= s->now_ms)
		return;
	ack->waiting = arena_alloc(&s->arena, w->count * sizeof *ack->waiting);
	for (uint32_t i = 0; i < w->count; i++)
		ack->waiting[ack->waiting_count++] = slice_of(w->names[i], w->names_len[i]);
	ack->waiting_since = w->since_ms;
}

/* ---- every replica: have I passed it? ---- */

static bool passed(const struct shard_copy *c, const struct cleanup_item *item, bool held)
{
	if (held) {
		REACHED(cleanup_awaits_branch);
		return false;
	}
	return c->position.applied >= item->number || MUTATION(cleanup_of_passed);
}

/* Both lists may be long: the outbox is gone through once for all items. */
static void acknowledge(struct storage *s, struct shard_copy *c,
			const struct msg_cleanup_prepare *m, struct msg_cleanup_prepare_ack *ack)
{
	/* arbiters pass on what clients chose, who can't know the shard's id */
	struct map ids = {.seed = c->id};
	bool *held = arena_alloc(&s->arena, (m->items_count + 1) * sizeof *held);
	for (uint32_t i = 0; i < m->items_count; i++)
		if (!map_get(&ids, m->items[i].id))
			map_put(&ids, m->items[i].id, &held[i]);
	outbox_mark(c, &ids);
	ack->items = arena_alloc(&s->arena, (m->items_count + 1) * sizeof *ack->items);
	for (uint32_t i = 0; i < m->items_count; i++)
		if (passed(c, &m->items[i], *(const bool *)map_get(&ids, m->items[i].id)))
			ack->items[ack->items_count++] = m->items[i];
	map_close(&ids);
}

void cleanup_on_prepare(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_cleanup_prepare *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	struct msg_cleanup_prepare_ack ack = {
	    .shard = m->shard, .status = STATUS_NO_SHARD, .incarnation = s->options.incarnation};
	if (c && e->message.envelope.epoch != c->placement.epoch) {
		ack.status = STATUS_OLD_EPOCH;
		map_send_newer(c, e, fx);
	} else if (c && !shard_vouching(s, c)) {
		ack.status = STATUS_NOT_VOUCHING;
	} else if (c) {
		ack.status = STATUS_OK;
		ack.number = MUTATION(cleanup_of_passed) ? INT64_MAX : c->position.applied;
		if (!shard_tail_may_depart(c)) /* what departs may need what is superseded */
			acknowledge(s, c, m, &ack);
		/* what it acknowledges must be on its disk: a synced commit takes the earlier,
		 * unsynced ones along, and for that it must write something */
		c->position_dirty = true;
		fx_sync(fx);
	}
	fx_reply(fx, WHEN_DURABLE, e, MSG_cleanup_prepare_ack, &ack);
}

/* ---- the lead: all have acknowledged ---- */

/* One acknowledgement from each replica listed, of the incarnation listed, far enough. */
static bool all_acknowledged(const struct shard_copy *c, const struct msg_cleanup_commit *m,
			     const struct cleanup_item *item)
{
	bool less = MUTATION(cleanup_by_one_less) || (item->purge && MUTATION(purge_by_one_less));
	for (uint32_t i = less; i < c->placement.replicas_count; i++) {
		const struct replica *r = &c->placement.replicas[i];
		bool found = false;
		for (uint32_t k = 0; k < m->acks_count && !found; k++)
			found = m->acks[k].node == r->node &&
				m->acks[k].incarnation == r->incarnation &&
				m->acks[k].number >= item->number;
		if (!found || r->learning)
			return false;
	}
	return true;
}

static bool still_resolved(struct storage *s, struct shard_copy *c, const struct cleanup_item *item)
{
	struct document_view view;
	struct conflict resolved;
	if (!conflict_load_resolved(s, c, item->id, item->resolution_id, &resolved) ||
	    resolved.number != item->number)
		return false;
	document_load_pending(s, c, item->id, &view);
	if (overlay_cleans(view.overlay, item->resolution_id))
		return false; /* it was ordered already */
	if (overlay_resolves(view.overlay, item))
		return false; /* what came again since has the same id, and nobody has passed it */
	if (view.exists && graph_conflicts(&view.doc) > 0)
		REACHED(cleanup_cancelled);
	return !view.exists || graph_conflicts(&view.doc) == 0; /* not there: it was erased */
}

static uint64_t order_cleanups(struct storage *s, struct shard_copy *c,
			       const struct msg_cleanup_commit *m, struct effects *fx)
{
	uint64_t ordered = 0;
	/* clients may be many: they are gone through once for all items */
	uint64_t seen = checkpoint_seen(s, c, NULL);
	for (uint32_t i = 0; i < m->items_count && stream_has_room(s, c); i++) {
		const struct cleanup_item *item = &m->items[i];
		if (item->purge) {
			ordered +=
			    all_acknowledged(c, m, item) && purge_order(s, c, item, seen, fx);
			continue;
		}
		if (item->resolution_id.len != 16 || !all_acknowledged(c, m, item) ||
		    !still_resolved(s, c, item))
			continue;
		struct change change = {.kind = CHANGE_CLEANUP,
					.id = item->id,
					.floor = c->floor,
					.resolution_id = item->resolution_id,
					.wall_ms = (uint64_t)s->wall_ms};
		uint64_t number = stream_append_change(s, c, &change, fx);
		overlay_touch(s, c, item->id, number);
		ordered++;
	}
	return ordered;
}

void cleanup_on_commit(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_cleanup_commit *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	struct msg_cleanup_commit_ack ack = {.shard = m->shard, .status = STATUS_OK};
	/* what was applied before it began to serve must be in the walks that this looks at */
	if (!c || c->state != SHARD_SERVING || c->serving_unseen)
		ack.status = STATUS_NOT_LEAD;
	else if (e->message.envelope.epoch != c->lead_epoch)
		ack.status = STATUS_OLD_EPOCH;
	if (ack.status == STATUS_OK)
		ack.cleaned = order_cleanups(s, c, m, fx);
	if (ack.cleaned == 0 || !waiter_await(c, e, c->position.last, MSG_cleanup_commit_ack, &ack))
		fx_reply(fx, WHEN_NOW, e, MSG_cleanup_commit_ack, &ack);
}
