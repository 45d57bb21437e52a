#include "storage-node/checkpoint.h"

#include "storage-node/conflict.h"
#include "storage-node/digest.h"
#include "storage-node/write.h"

static bool load(struct storage *s, struct shard_copy *c, struct slice name, struct checkpoint *out)
{
	struct slice value;
	return store_get(s->store, STORE_CONFLICTS, key_checkpoint(&s->key, c->id, name), &value) ==
		   STORE_OK &&
	       schema_decode(&schema_checkpoint, arena_copy(&s->arena, value), &s->arena, out);
}

/* All of the shard, in order of name; *out in the arena. */
static uint32_t load_all(struct storage *s, struct shard_copy *c, struct checkpoint **out)
{
	uint8_t prefix[KEY_BESIDE_BYTES];
	uint32_t count = 0;
	*out = arena_alloc(&s->arena, LIMIT_CHECKPOINTS * sizeof **out);
	if (c->position.checkpoints == 0)
		return 0;
	struct store_iterator *it = store_iterate(s->store, STORE_CONFLICTS);
	memcpy(prefix, key_checkpoint(&s->key, c->id, slice_of(NULL, 0)).data, sizeof prefix);
	store_seek(s->store, it, slice_of(prefix, sizeof prefix));
	for (; count < LIMIT_CHECKPOINTS && store_valid(s->store, it); store_next(s->store, it)) {
		struct slice key = store_key(s->store, it);
		if (key.len < sizeof prefix || memcmp(key.data, prefix, sizeof prefix) != 0)
			break;
		struct slice value = arena_copy(&s->arena, store_value(s->store, it));
		count += schema_decode(&schema_checkpoint, value, &s->arena, &(*out)[count]);
	}
	store_iterator_free(s->store, it);
	return count;
}

static bool is_lost(const struct storage *s, const struct checkpoint *p)
{
	uint64_t now_ms = s->wall_ms > 0 ? (uint64_t)s->wall_ms : 0;
	return p->updated_ms + s->options.checkpoint_keep_ms < now_ms;
}

uint64_t checkpoint_seen(struct storage *s, struct shard_copy *c, char behind[LIMIT_NAME_BYTES + 1])
{
	struct checkpoint *list;
	uint64_t seen = UINT64_MAX;
	struct slice name = slice_of(NULL, 0);
	uint32_t count = load_all(s, c, &list);
	for (uint32_t i = 0; i < count && !MUTATION(checkpoint_ignored); i++) {
		if (is_lost(s, &list[i]) || list[i].number >= seen)
			continue;
		seen = list[i].number;
		name = list[i].name;
	}
	/* the walk shows the last commit: those under way, or applied since, are not in it */
	if (c->checkpoint_entry > c->committed && c->checkpoint_low < seen)
		seen = c->checkpoint_low;
	if (behind) {
		if (name.len > 0)
			memcpy(behind, name.data, name.len);
		behind[name.len] = 0;
	}
	return seen;
}

void checkpoint_apply(struct storage *s, struct shard_copy *c, const struct change *change)
{
	struct checkpoint before;
	if (change->checkpoints_count == 0)
		return;
	const struct checkpoint *p = &change->checkpoints[0];
	bool known = load(s, c, p->name, &before);
	c->position.checkpoints += !known && !change->drop;
	c->position.checkpoints -= known && change->drop;
	if (change->drop) {
		digest_remove(s, c, STORE_CONFLICTS, key_checkpoint(&s->key, c->id, p->name));
		return;
	}
	buf_clear(&s->value);
	schema_encode(&schema_checkpoint, p, &s->value);
	digest_put(s, c, STORE_CONFLICTS, key_checkpoint(&s->key, c->id, p->name),
		   buf_slice(&s->value));
}

/* ---- at the lead ---- */

static uint64_t order(struct storage *s, struct shard_copy *c, struct checkpoint *p, bool drop,
		      struct slice operation_id, struct effects *fx)
{
	struct change change = {.kind = CHANGE_CHECKPOINT,
				.checkpoints = p,
				.checkpoints_count = 1,
				.drop = drop,
				.operation_id = operation_id,
				.wall_ms = (uint64_t)s->wall_ms};
	return stream_append_change(s, c, &change, fx);
}

/* Room for another one: of those that count as lost, one goes. New ones count when they are
 * applied: near the limit each waits for the one before. */
static enum status make_room(struct storage *s, struct shard_copy *c, struct effects *fx)
{
	struct checkpoint *list;
	if (c->position.checkpoints + c->pending.count < LIMIT_CHECKPOINTS)
		return STATUS_OK;
	if (c->checkpoint_entry > c->committed)
		return STATUS_OVERLOADED;
	if (c->position.checkpoints < LIMIT_CHECKPOINTS)
		return STATUS_OK;
	uint32_t count = load_all(s, c, &list);
	for (uint32_t i = 0; i < count; i++)
		if (is_lost(s, &list[i])) {
			order(s, c, &list[i], true, slice_of(NULL, 0), fx);
			return STATUS_OK;
		}
	return STATUS_TOO_MANY_CHECKPOINTS;
}

static enum status check(struct storage *s, struct shard_copy *c,
			 const struct msg_checkpoint_set *m, struct effects *fx)
{
	struct checkpoint before;
	if (m->checkpoint.name.len == 0)
		return STATUS_BAD_MESSAGE;
	if (m->drop)
		return load(s, c, m->checkpoint.name, &before) ? STATUS_OK : STATUS_NOT_FOUND;
	/* a deletion that it has not seen is gone, or about to go */
	if (m->checkpoint.number < c->position.purged_seen ||
	    m->checkpoint.number < c->purge_wait.ordered)
		return STATUS_EVENTS_GONE;
	if (m->checkpoint.number > c->position.last)
		return STATUS_BAD_PARAMETER;
	if (s->disk_full)
		return STATUS_DISK_FULL;
	return load(s, c, m->checkpoint.name, &before) ? STATUS_OK : make_room(s, c, fx);
}

static uint64_t order_set(struct storage *s, struct shard_copy *c,
			  const struct msg_checkpoint_set *m, struct effects *fx)
{
	struct checkpoint p = m->checkpoint;
	p.updated_ms = (uint64_t)s->wall_ms;
	uint64_t number = order(s, c, &p, m->drop, m->operation_id, fx);
	if (!m->drop && (c->checkpoint_entry <= c->committed || p.number < c->checkpoint_low))
		c->checkpoint_low = p.number;
	if (!m->drop)
		c->checkpoint_entry = number;
	return number;
}

void checkpoint_on_set(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_checkpoint_set *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	struct msg_checkpoint_set_ack ack = {.status = conflict_must_lead(s, c, e, fx),
					     .clock_ms = (uint64_t)s->now_ms,
					     .life = s->options.life};
	uint64_t number = 0;
	/* a late copy must not undo what its client asked for since */
	if (ack.status == STATUS_OK && write_is_stale(s, m->until_ms, m->life))
		ack.status = STATUS_STALE;
	if (ack.status == STATUS_OK && c->position.applied < c->epoch_start)
		ack.status = STATUS_NO_LEAD; /* it may have taken over purges that are to come */
	if (ack.status == STATUS_OK)
		number = recent_number(s, c, m->operation_id);
	if (ack.status == STATUS_OK && number == 0) {
		ack.status = stream_has_room(s, c) ? check(s, c, m, fx) : STATUS_OVERLOADED;
		number = ack.status == STATUS_OK ? order_set(s, c, m, fx) : 0;
	} else if (number > 0 && ring_at(&c->pending, number) && waiters_full(c)) {
		ack.status = STATUS_TIMED_OUT; /* asked again while it is under way */
		number = 0;
	}
	if (!waiter_await(c, e, number, MSG_checkpoint_set_ack, &ack))
		fx_reply(fx, WHEN_NOW, e, MSG_checkpoint_set_ack, &ack);
}

void checkpoint_on_list(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_checkpoint_list *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	struct msg_checkpoint_list_ack ack = {.status = conflict_must_lead(s, c, e, fx)};
	if (ack.status == STATUS_OK && m->name.len > 0) {
		ack.checkpoints = arena_alloc(&s->arena, sizeof *ack.checkpoints);
		ack.checkpoints_count = load(s, c, m->name, &ack.checkpoints[0]);
	} else if (ack.status == STATUS_OK) {
		ack.checkpoints_count = load_all(s, c, &ack.checkpoints);
	}
	fx_reply(fx, WHEN_NOW, e, MSG_checkpoint_list_ack, &ack);
}
