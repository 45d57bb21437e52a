#include "coordinator/drops.h"
#include "common/base/memory.h"
#include "coordinator/state.h"

/* In memory, by id. */
struct drop {
	uint64_t collection;
};

static void remember_last(struct coordinator *c, uint64_t collection)
{
	c->drops_last[c->drops_count++ % DROPS_TOLD] = collection;
}

void drops_load(struct coordinator *c, uint64_t id, uint64_t collection)
{
	if (map_get_u64(&c->dropped, id))
		return;
	struct drop *d = mem_alloc_zero(sizeof *d);
	d->collection = collection;
	map_put_u64(&c->dropped, id, d);
	if (id == collection)
		remember_last(c, id);
}

bool drops_has(const struct coordinator *c, uint64_t id)
{
	return map_get_u64(&c->dropped, id) != NULL;
}

void drops_add_shard(struct coordinator *c, uint64_t id, uint64_t collection, struct effects *fx)
{
	state_drop_shard(c, id, collection, fx);
	drops_load(c, id, collection);
}

static uint32_t add_shards(struct coordinator *c, uint64_t collection, struct effects *fx)
{
	uint64_t *shards = arena_alloc(&c->arena, (c->shards.count + 1) * sizeof *shards);
	uint32_t count = 0;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->shards, &at));) {
		const struct shard *s = &((struct shard_row *)e->value)->placement.shard;
		if (s->collection == collection)
			shards[count++] = s->id;
	}
	for (uint32_t i = 0; i < count; i++)
		drops_add_shard(c, shards[i], collection, fx);
	return count;
}

void drops_add(struct coordinator *c, const struct collection *collection, uint64_t operation,
	       struct effects *fx)
{
	uint64_t id = collection->id;
	uint32_t shards = add_shards(c, id, fx);
	fx_log(fx, LOG_LEVEL_INFO, "collection_dropped name=%.*s id=%016llx shards=%u",
	       (int)collection->name.len, (const char *)collection->name.data,
	       (unsigned long long)id, shards);
	state_drop_collection(c, collection, operation, fx);
	drops_load(c, id, id);
}

void drops_adopt(struct coordinator *c, uint64_t collection, struct effects *fx)
{
	const struct collection_row *row = map_get_u64(&c->collections, collection);
	if (row) {
		drops_add(c, &row->collection, 0, fx);
		return;
	}
	add_shards(c, collection, fx);
	state_put_dropped(c, collection, fx);
	drops_load(c, collection, collection);
}

void drops_fill(struct coordinator *c, struct msg_map_push *push)
{
	push->dropped_count = c->drops_count < DROPS_TOLD ? (uint32_t)c->drops_count : DROPS_TOLD;
	push->dropped = c->drops_last;
}

void drops_tell(struct coordinator *c, const struct event *e, const uint64_t *ids, uint32_t count,
		struct effects *fx)
{
	struct msg_map_push push = {0};
	struct envelope envelope = {.type = MSG_map_push};
	if (c->recovery == RECOVERY_REFUSED)
		return;
	push.dropped = arena_alloc(&c->arena, DROPS_TOLD * sizeof *push.dropped);
	for (uint32_t i = 0; i < count && push.dropped_count < DROPS_TOLD; i++) {
		const struct drop *d = map_get_u64(&c->dropped, ids[i]);
		if (!d)
			continue;
		uint32_t k = 0;
		while (k < push.dropped_count && push.dropped[k] != d->collection)
			k++;
		if (k == push.dropped_count)
			push.dropped[push.dropped_count++] = d->collection;
	}
	if (push.dropped_count == 0)
		return;
	REACHED(dropped_copy_told);
	fx_send(fx, WHEN_DURABLE, e->message.from.member, e->message.from.route, &envelope, &push);
}

void drops_close(struct coordinator *c)
{
	map_close_owned(&c->dropped);
}
