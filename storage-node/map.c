/* The cluster map as this node keeps it: placements and collections, durable before they are acted
 * on. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/quorum.h"
#include "storage-node/internal.h"

static void adopt_collection(struct storage *s, const struct collection *collection)
{
	struct known_collection *known = map_get_u64(&s->collections, collection->id);
	if (known ? known->collection.version >= collection->version
		  : s->collections.count >= LIMIT_COLLECTIONS)
		return;
	if (map_get_u64(&s->dropped, collection->id))
		return;
	if (!known) {
		known = mem_alloc_zero(sizeof *known);
		map_put_u64(&s->collections, collection->id, known);
	}
	/* the struct given may borrow from the bytes replaced here: encode first */
	struct buf fresh = {0};
	schema_encode(&schema_collection, collection, &fresh);
	buf_close(&known->bytes);
	known->bytes = fresh;
	arena_reset(&known->arena);
	CHECK(schema_decode(&schema_collection, buf_slice(&known->bytes), &known->arena,
			    &known->collection));
	store_put(s->store, STORE_META, key_shard(&s->key, 'c', collection->id),
		  buf_slice(&known->bytes));
}

const struct collection *map_collection(struct storage *s, uint64_t id)
{
	struct known_collection *known = map_get_u64(&s->collections, id);
	return known ? &known->collection : NULL;
}

static void load_dropped(struct storage *s, struct store_iterator *it)
{
	for (store_seek(s->store, it, slice_text("d")); store_valid(s->store, it);
	     store_next(s->store, it)) {
		struct slice key = store_key(s->store, it);
		if (key.len != KEY_SHARD_BYTES || key.data[0] != 'd')
			break;
		map_put_u64(&s->dropped, be64_read(key.data + 1), s);
	}
}

uint64_t *map_dropped(struct storage *s, uint32_t *count)
{
	uint64_t *ids = arena_alloc(&s->arena, (s->dropped.count + 1) * sizeof *ids);
	size_t at = 0;
	*count = 0;
	for (struct map_entry *e; *count < LIMIT_DROPS_KNOWN && (e = map_next(&s->dropped, &at));)
		ids[(*count)++] = map_key_u64(e);
	return ids;
}

bool map_load_collections(struct storage *s)
{
	struct store_iterator *it = store_iterate(s->store, STORE_META);
	bool ok = true;
	load_dropped(s, it);
	for (store_seek(s->store, it, slice_text("c")); store_valid(s->store, it);
	     store_next(s->store, it)) {
		struct slice key = store_key(s->store, it);
		if (key.len != KEY_SHARD_BYTES || key.data[0] != 'c')
			break;
		struct known_collection *known = mem_alloc_zero(sizeof *known);
		map_put_u64(&s->collections, be64_read(key.data + 1), known);
		buf_append_slice(&known->bytes, store_value(s->store, it));
		if (!schema_decode(&schema_collection, buf_slice(&known->bytes), &known->arena,
				   &known->collection))
			ok = false;
	}
	ok = ok && store_iterator_result(s->store, it) == STORE_OK;
	store_iterator_free(s->store, it);
	return ok;
}

/* What can be decoded may still be nonsense: nothing below may have to count with it. */
static bool makes_sense(const struct shard *p)
{
	uint32_t places = quorum_places(p);
	if (p->epoch == 0 || places == 0 || p->write_quorum > places ||
	    2 * p->write_quorum <= places || quorum_problem(p) != NULL)
		return false;
	for (uint32_t i = 0; i < p->replicas_count; i++)
		for (uint32_t k = 0; k < i; k++)
			if (p->replicas[i].node == p->replicas[k].node)
				return false;
	return true;
}

static bool lists_us(const struct storage *s, const struct shard *placement)
{
	for (uint32_t i = 0; i < placement->replicas_count; i++)
		if (placement->replicas[i].node == s->options.self)
			return true;
	return false;
}

static void keep_placement(struct storage *s, struct shard_copy *c, const struct shard *placement,
			   struct effects *fx)
{
	struct buf bytes = {0};
	schema_encode(&schema_shard, placement, &bytes);
	if (!MUTATION(promise_not_durable) || placement->epoch == 1)
		store_put(s->store, STORE_META, key_shard(&s->key, 's', c->id), buf_slice(&bytes));
	fx_sync(fx);
	arena_reset(&c->placement_arena);
	struct slice copy = arena_copy(&c->placement_arena, buf_slice(&bytes));
	CHECK(schema_decode(&schema_shard, copy, &c->placement_arena, &c->placement));
	buf_close(&bytes);
}

bool map_adopt(struct storage *s, const struct shard *placement, struct effects *fx)
{
	struct shard_copy *c = shard_get(s, placement->id);
	if (!makes_sense(placement) && !placement->dropped) {
		fx_log(fx, LOG_LEVEL_ERROR, "placement_refused shard=%016llx epoch=%llu",
		       (unsigned long long)placement->id, (unsigned long long)placement->epoch);
		return false;
	}
	if (!c && (!lists_us(s, placement) || placement->dropped || s->shards.count >= SHARDS_MAX))
		return false;
	if (!c && map_get_u64(&s->dropped, placement->collection)) {
		REACHED(dropped_not_made_again);
		return false;
	}
	if (c && placement->epoch == c->placement.epoch &&
	    !schema_same(&schema_shard, placement, &c->placement)) {
		fx_log(fx, LOG_LEVEL_ERROR, "placement_differs shard=%016llx epoch=%llu",
		       (unsigned long long)c->id, (unsigned long long)placement->epoch);
		return false;
	}
	if (c && placement->epoch <= c->placement.epoch)
		return false;
	if (c && placement->dropped) {
		store_remove(s->store, STORE_META, key_shard(&s->key, 's', c->id));
		shard_drop(s, c, fx);
		return true;
	}
	if (!c)
		c = shard_new(s, placement->id);
	bool was_leading = c->state != SHARD_REPLICA;
	if (was_leading)
		lease_step_down(s, c, fx);
	c->integrity.spare_until_ms = 0; /* that was said with other replicas in mind */
	keep_placement(s, c, placement, fx);
	fx_log(fx, LOG_LEVEL_INFO, "placement_adopted shard=%016llx epoch=%llu lead=%llu",
	       (unsigned long long)c->id, (unsigned long long)placement->epoch,
	       (unsigned long long)placement->lead);
	if (c->placement.lead == s->options.self)
		takeover_start(s, c, fx);
	return true;
}

/* Others may not have heard: what they send late must not make an empty copy here, which would look
 * to its lead like a disk that lost what it had acknowledged. */
static void remember_dropped(struct storage *s, uint64_t id, struct effects *fx)
{
	if (MUTATION(drop_forgotten) || map_put_u64(&s->dropped, id, s))
		return;
	store_put(s->store, STORE_META, key_shard(&s->key, 'd', id), slice_of(NULL, 0));
	fx_sync(fx);
}

/* The coordinator's word that a collection is dropped: what is here of it goes. */
static void drop_collection(struct storage *s, uint64_t id, struct effects *fx)
{
	remember_dropped(s, id, fx);
	struct known_collection *known = map_remove_u64(&s->collections, id);
	uint64_t *shards = arena_alloc(&s->arena, (s->shards.count + 1) * sizeof *shards);
	uint32_t count = 0;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&s->shards, &at));) {
		struct shard_copy *c = e->value;
		if (c->placement.collection == id)
			shards[count++] = c->id;
	}
	for (uint32_t i = 0; i < count; i++) {
		struct shard_copy *c = shard_get(s, shards[i]);
		if (c->state != SHARD_REPLICA)
			lease_step_down(s, c, fx);
		store_remove(s->store, STORE_META, key_shard(&s->key, 's', c->id));
		shard_drop(s, c, fx);
	}
	if (known) {
		buf_close(&known->bytes);
		arena_close(&known->arena);
		free(known);
	}
	if (known || count > 0) {
		store_remove(s->store, STORE_META, key_shard(&s->key, 'c', id));
		fx_sync(fx);
		fx_log(fx, LOG_LEVEL_INFO, "collection_dropped id=%016llx shards=%u",
		       (unsigned long long)id, count);
	}
}

void map_on_push(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_map_push *m = e->message.body;
	/* first: there may be room for what is new only once they are gone */
	for (uint32_t i = 0; i < m->dropped_count; i++)
		drop_collection(s, m->dropped[i], fx);
	for (uint32_t i = 0; i < m->collections_count; i++)
		adopt_collection(s, &m->collections[i]);
	for (uint32_t i = 0; i < m->shards_count; i++)
		map_adopt(s, &m->shards[i], fx);
	if (m->map_version > s->map_version) {
		s->map_version = m->map_version;
		struct msg_map_push members = {.map_version = m->map_version,
					       .members = m->members,
					       .members_count = m->members_count};
		buf_clear(&s->map_members);
		schema_encode(&schema_msg_map_push, &members, &s->map_members);
	}
	/* a lead orders changed settings in its stream */
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&s->shards, &at));)
		takeover_order_settings(s, entry->value, fx);
}

void map_on_shard_newer(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_shard_newer *m = e->message.body;
	map_adopt(s, &m->shard, fx);
}

void map_send_newer(struct shard_copy *c, const struct event *to, struct effects *fx)
{
	struct msg_shard_newer newer = {.shard = c->placement};
	struct envelope envelope = {.type = MSG_shard_newer, .epoch = c->placement.epoch};
	fx_send(fx, WHEN_DURABLE, to->message.from.member, to->message.from.route, &envelope,
		&newer);
}

/* Everything this node knows, for a gateway that can't reach the coordinator. */
void map_on_request(struct storage *s, const struct event *e, struct effects *fx)
{
	struct msg_map_push push = {.map_version = s->map_version};
	struct msg_map_push members;
	if (s->map_members.len > 0 &&
	    schema_decode(&schema_msg_map_push, buf_slice(&s->map_members), &s->arena, &members)) {
		push.members = members.members;
		push.members_count = members.members_count;
	}
	push.collections = arena_alloc(&s->arena, s->collections.count * sizeof *push.collections);
	push.shards = arena_alloc(&s->arena, s->shards.count * sizeof *push.shards);
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&s->collections, &at));)
		push.collections[push.collections_count++] =
		    ((struct known_collection *)entry->value)->collection;
	at = 0;
	for (struct map_entry *entry; (entry = map_next(&s->shards, &at));)
		push.shards[push.shards_count++] = ((struct shard_copy *)entry->value)->placement;
	fx_reply(fx, WHEN_DURABLE, e, MSG_map_push, &push);
}
