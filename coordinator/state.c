#include "coordinator/state.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "coordinator/asked.h"
#include "coordinator/drops.h"

enum {
	KEY_ID_BYTES = 9,
	KEY_REVOKED_BYTES = 17,
	DROPPED_SHARD_BYTES = 8,
	DROPPED_COLLECTION_BYTES = 24
};
#define KEY_COUNTERS "coordinator"

static struct slice key_id(struct coordinator *c, char letter, uint64_t id)
{
	buf_clear(&c->key);
	buf_append_byte(&c->key, (uint8_t)letter);
	buf_append_be64(&c->key, id);
	return buf_slice(&c->key);
}

static struct slice key_revoked(struct coordinator *c, uint64_t member, uint64_t incarnation)
{
	key_id(c, 'r', member);
	buf_append_be64(&c->key, incarnation);
	return buf_slice(&c->key);
}

static void put(struct coordinator *c, struct slice key, const struct schema *schema,
		const void *value, struct effects *fx)
{
	buf_clear(&c->value);
	schema_encode(schema, value, &c->value);
	store_put(c->store, STORE_META, key, buf_slice(&c->value));
	if (!MUTATION(coordinator_not_synced))
		fx_sync(fx);
}

void state_map_changed(struct coordinator *c)
{
	if (c->recovery != RECOVERY_DONE) {
		c->map_waits = true;
		return;
	}
	if (!c->map_changed)
		c->state.map_version++;
	c->map_changed = true;
}

void state_put_counters(struct coordinator *c, struct effects *fx)
{
	put(c, slice_text(KEY_COUNTERS), &schema_coordinator_state, &c->state, fx);
}

void state_put_member(struct coordinator *c, const struct member_row *m, struct effects *fx)
{
	struct member member = {.id = m->id,
				.name = member_name(m),
				.role = m->role,
				.incarnation = m->incarnation,
				.boot = m->boot,
				.life = m->life,
				.draining = m->draining,
				.replaced_by = m->replaced_by,
				.trail_number = m->trail_number,
				.trail_id = m->trail_id};
	put(c, key_id(c, 'm', m->id), &schema_member, &member, fx);
}

static void revoked_add(struct member_row *m, uint64_t incarnation)
{
	m->revoked = mem_realloc(m->revoked, (m->revoked_count + 1) * sizeof *m->revoked);
	m->revoked[m->revoked_count++] = incarnation;
}

bool state_is_revoked(const struct member_row *m, uint64_t incarnation)
{
	for (uint32_t i = 0; i < m->revoked_count; i++)
		if (m->revoked[i] == incarnation)
			return true;
	return false;
}

void state_revoke(struct coordinator *c, struct member_row *m, struct effects *fx)
{
	if (m->incarnation == 0 || state_is_revoked(m, m->incarnation))
		return;
	if (m->revoked_count == REVOKED_MAX) {
		store_remove(c->store, STORE_META, key_revoked(c, m->id, m->revoked[0]));
		memmove(m->revoked, m->revoked + 1, --m->revoked_count * sizeof *m->revoked);
	}
	revoked_add(m, m->incarnation);
	/* the map's version only grows, so it tells which is the oldest */
	buf_clear(&c->value);
	buf_append_be64(&c->value, c->state.map_version);
	store_put(c->store, STORE_META, key_revoked(c, m->id, m->incarnation),
		  buf_slice(&c->value));
	fx_sync(fx);
}

struct member_row *state_member_add(struct coordinator *c, uint64_t id)
{
	struct member_row *m = mem_alloc_zero(sizeof *m);
	m->id = id;
	map_put_u64(&c->members, id, m);
	return m;
}

static void view_reset(struct replica_view *view)
{
	*view = (struct replica_view){.failed_ms = NO_TIME};
}

/* What was said of a replica holds for its incarnation, wherever it stands in the list. */
static void shard_set(struct shard_row *row, const struct shard *shard)
{
	struct replica_view views[LIMIT_REPLICAS];
	const struct shard *old = &row->placement.shard;
	for (uint32_t i = 0; i < shard->replicas_count; i++) {
		uint32_t was = placement_index(old, shard->replicas[i].node);
		if (was < old->replicas_count &&
		    old->replicas[was].incarnation == shard->replicas[i].incarnation)
			views[i] = row->views[was];
		else
			view_reset(&views[i]);
	}
	memcpy(row->views, views, shard->replicas_count * sizeof *views);
	placement_copy(&row->placement, shard);
}

static struct shard_row *shard_row_of(struct coordinator *c, uint64_t id)
{
	struct shard_row *row = map_get_u64(&c->shards, id);
	if (row)
		return row;
	row = mem_alloc_zero(sizeof *row);
	map_put_u64(&c->shards, id, row);
	return row;
}

struct shard_row *state_put_shard(struct coordinator *c, const struct shard *shard,
				  struct effects *fx)
{
	struct shard_row *row = shard_row_of(c, shard->id);
	shard_set(row, shard);
	row->serving = false;
	row->named_ms = c->now_ms;
	row->waiting_since_ms = c->now_ms;
	put(c, key_id(c, 's', shard->id), &schema_shard, &row->placement.shard, fx);
	state_map_changed(c);
	return row;
}

/* Takes the bytes over. */
static bool collection_set(struct coordinator *c, struct buf bytes)
{
	struct arena arena = {0};
	struct collection collection;
	if (!schema_decode(&schema_collection, buf_slice(&bytes), &arena, &collection)) {
		arena_close(&arena);
		buf_close(&bytes);
		return false;
	}
	struct collection_row *row = map_get_u64(&c->collections, collection.id);
	if (!row) {
		row = mem_alloc_zero(sizeof *row);
		map_put_u64(&c->collections, collection.id, row);
	}
	buf_close(&row->bytes);
	arena_close(&row->arena);
	*row = (struct collection_row){.bytes = bytes, .arena = arena, .collection = collection};
	asked_load(c, collection.made_by, STATUS_CREATED);
	return true;
}

void state_put_collection(struct coordinator *c, const struct collection *collection,
			  struct effects *fx)
{
	uint64_t id = collection->id;
	struct buf bytes = {0};
	schema_encode(&schema_collection, collection, &bytes);
	store_put(c->store, STORE_META, key_id(c, 'c', id), buf_slice(&bytes));
	fx_sync(fx);
	CHECK(collection_set(c, bytes));
	state_map_changed(c);
}

/* c->value says with which collection. */
static void put_dropped(struct coordinator *c, uint64_t id, struct effects *fx)
{
	store_put(c->store, STORE_META, key_id(c, 'd', id), buf_slice(&c->value));
	fx_sync(fx);
	state_map_changed(c);
}

void state_drop_shard(struct coordinator *c, uint64_t id, uint64_t collection, struct effects *fx)
{
	store_remove(c->store, STORE_META, key_id(c, 's', id));
	free(map_remove_u64(&c->shards, id));
	buf_clear(&c->value);
	buf_append_be64(&c->value, collection);
	put_dropped(c, id, fx);
}

void state_put_dropped(struct coordinator *c, uint64_t collection, struct effects *fx)
{
	buf_clear(&c->value);
	buf_append_be64(&c->value, collection);
	put_dropped(c, collection, fx);
}

static void collection_row_free(struct collection_row *row)
{
	buf_close(&row->bytes);
	arena_close(&row->arena);
	free(row);
}

void state_drop_collection(struct coordinator *c, const struct collection *collection,
			   uint64_t operation, struct effects *fx)
{
	uint64_t id = collection->id;
	buf_clear(&c->value);
	buf_append_be64(&c->value, id);
	buf_append_be64(&c->value, collection->made_by);
	buf_append_be64(&c->value, operation);
	asked_load(c, operation, STATUS_OK);
	store_remove(c->store, STORE_META, key_id(c, 'c', id));
	collection_row_free(map_remove_u64(&c->collections, id));
	put_dropped(c, id, fx);
}

const struct collection *state_collection(const struct coordinator *c, struct slice name)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->collections, &at));) {
		const struct collection_row *row = e->value;
		if (row->collection.database == 0 && slice_equal(row->collection.name, name))
			return &row->collection;
	}
	return NULL;
}

static bool load_shard(struct coordinator *c, uint64_t id, struct slice value)
{
	struct shard shard;
	if (!schema_decode(&schema_shard, value, &c->arena, &shard) || shard.id != id ||
	    placement_problem(&shard) != NULL)
		return false;
	shard_set(shard_row_of(c, id), &shard);
	return true;
}

static bool load_collection(struct coordinator *c, uint64_t id, struct slice value)
{
	struct buf bytes = {0};
	buf_append_slice(&bytes, value);
	if (!collection_set(c, bytes))
		return false;
	const struct collection_row *row = map_get_u64(&c->collections, id);
	return row && row->collection.version < COUNTER_END;
}

/* Listed or not: a member that was taken out of the list and comes back is still remembered. */
static bool load_member(struct coordinator *c, uint64_t id, struct slice value)
{
	struct member member;
	if (!schema_decode(&schema_member, value, &c->arena, &member) || member.id != id)
		return false;
	struct member_row *m = coordinator_member_row(c, id);
	if (!m) {
		m = state_member_add(c, id);
		m->role = (enum role)member.role;
		m->name_len = member.name.len;
		if (member.name.len > 0)
			memcpy(m->name, member.name.data, member.name.len);
	}
	m->incarnation = member.incarnation;
	m->boot = member.boot;
	m->life = member.life;
	m->trail_number = member.trail_number;
	m->trail_id = member.trail_id;
	m->draining = member.draining;
	m->replaced_by = member.replaced_by;
	return true;
}

static bool load_dropped(struct coordinator *c, uint64_t id, struct slice value)
{
	if (value.len != DROPPED_SHARD_BYTES && value.len != DROPPED_COLLECTION_BYTES)
		return false;
	drops_load(c, id, be64_read(value.data));
	if (value.len == DROPPED_COLLECTION_BYTES) {
		asked_load(c, be64_read(value.data + 8), STATUS_CREATED);
		asked_load(c, be64_read(value.data + 16), STATUS_OK);
	}
	return true;
}

static bool load_pair(struct coordinator *c, struct slice key, struct slice value)
{
	if (key.len != KEY_ID_BYTES)
		return true;
	uint64_t id = be64_read(key.data + 1);
	switch (key.data[0]) {
	case 'c':
		return load_collection(c, id, value);
	case 'm':
		return load_member(c, id, value);
	case 's':
		return load_shard(c, id, value);
	case 'd':
		return load_dropped(c, id, value);
	default:
		return false;
	}
}

/* Oldest first, so that a full list forgets the right one. */
static void load_revoked(struct coordinator *c, struct store_iterator *it)
{
	uint64_t orders[REVOKED_MAX];
	struct member_row *m = NULL;
	for (store_seek(c->store, it, slice_text("r")); store_valid(c->store, it);
	     store_next(c->store, it)) {
		struct slice key = store_key(c->store, it);
		if (key.len != KEY_REVOKED_BYTES || key.data[0] != 'r')
			break;
		struct slice value = store_value(c->store, it);
		uint64_t order = value.len == 8 ? be64_read(value.data) : 0;
		m = coordinator_member_row(c, be64_read(key.data + 1));
		if (!m || m->revoked_count == REVOKED_MAX)
			continue;
		uint32_t i = m->revoked_count;
		revoked_add(m, 0);
		for (; i > 0 && orders[i - 1] > order; i--) {
			m->revoked[i] = m->revoked[i - 1];
			orders[i] = orders[i - 1];
		}
		m->revoked[i] = be64_read(key.data + 9);
		orders[i] = order;
	}
}

static bool load_counters(struct coordinator *c)
{
	struct slice value;
	enum store_result got = store_get(c->store, STORE_META, slice_text(KEY_COUNTERS), &value);
	if (got == STORE_ABSENT) {
		c->state = (struct coordinator_state){.format = STORE_FORMAT,
						      .cluster = c->options.cluster};
		return true;
	}
	const struct coordinator_state *state = &c->state;
	return got == STORE_OK &&
	       schema_decode(&schema_coordinator_state, value, &c->arena, &c->state) &&
	       state->format == STORE_FORMAT && state->cluster == c->options.cluster &&
	       state->map_version < COUNTER_END && state->boot < COUNTER_END &&
	       state->token < COUNTER_END;
}

bool state_load(struct coordinator *c)
{
	bool ok = load_counters(c);
	struct store_iterator *it = store_iterate(c->store, STORE_META);
	for (store_seek(c->store, it, slice_of(NULL, 0)); ok && store_valid(c->store, it);
	     store_next(c->store, it))
		ok = load_pair(c, store_key(c->store, it), store_value(c->store, it));
	if (ok)
		load_revoked(c, it);
	ok = ok && store_iterator_result(c->store, it) == STORE_OK;
	store_iterator_free(c->store, it);
	arena_reset(&c->arena);
	return ok;
}

void state_close(struct coordinator *c)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->collections, &at));)
		collection_row_free(e->value);
	at = 0;
	for (struct map_entry *e; (e = map_next(&c->members, &at));) {
		struct member_row *m = e->value;
		free(m->revoked);
		free(m);
	}
	drops_close(c);
	asked_close(c);
	map_close(&c->collections);
	map_close(&c->members);
	map_close_owned(&c->shards);
}
