/* A shard's copy on this node: what is remembered of it, and how that lies in the store. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "storage-node/erase.h"
#include "storage-node/feed.h"
#include "storage-node/index.h"
#include "storage-node/internal.h"
#include "storage-node/lock.h"
#include "storage-node/offer.h"
#include "storage-node/refusals.h"
#include "storage-node/scrub.h"
#include "storage-node/shard_edit.h"
#include "storage-node/view.h"

struct shard_copy *shard_get(struct storage *s, uint64_t id)
{
	return map_get_u64(&s->shards, id);
}

struct shard_copy *shard_new(struct storage *s, uint64_t id)
{
	struct shard_copy *c = mem_alloc_zero(sizeof *c);
	c->id = id;
	c->pending.first = 1;
	c->outbox_next = 1;
	c->position.digested = true;
	map_put_u64(&s->shards, id, c);
	return c;
}

void shard_free(struct shard_copy *c)
{
	index_free(c);
	overlays_clear(c);
	map_close(&c->overlays);
	recent_clear(c);
	attempt_clear(c);
	erase_forget(c);
	conflict_notes_clear(c);
	map_close(&c->notes);
	offer_free(c);
	lock_free(c);
	feed_free(c);
	outbox_free(c);
	digest_forget(c);
	edits_free(c);
	ring_close(&c->pending);
	arena_close(&c->placement_arena);
	arena_close(&c->settings_arena);
	buf_close(&c->settings_bytes);
	free(c);
}

/* The collection was dropped by an explicit record: its keys go. */
void shard_drop(struct storage *s, struct shard_copy *c, struct effects *fx)
{
	static const struct {
		enum store_family family;
		char letter;
	} ranges[] = {{STORE_DOCUMENTS, 'd'}, {STORE_CONFLICTS, 'd'}, {STORE_ATTACHMENTS, 'd'},
		      {STORE_STREAM, 'e'},    {STORE_STREAM, 'v'},    {STORE_STREAM, 'o'},
		      {STORE_STREAM, 'z'},    {STORE_META, 'r'}};
	struct buf end = {0};
	for (size_t i = 0; i < ARRAY_LEN(ranges); i++)
		store_remove_range(s->store, ranges[i].family,
				   key_shard(&s->key, ranges[i].letter, c->id),
				   key_shard_end(&end, ranges[i].letter, c->id));
	buf_close(&end);
	index_reset(s, c);
	view_reset(s, c);
	edits_remove_all(s, c);
	edit_forget_shard(s, c);
	scrub_forget(s, c);
	for (const char *letter = "pxgb"; *letter; letter++)
		store_remove(s->store, STORE_META, key_shard(&s->key, *letter, c->id));
	fx_sync(fx);
	for (uint32_t i = 0; i < c->followers_count; i++)
		snapshot_stop(s, &c->followers[i]);
	while (c->pending.count > 0) {
		waiters_fail(ring_at(&c->pending, c->pending.first), STATUS_OUTCOME_UNKNOWN, fx);
		ring_pop_first(&c->pending);
	}
	map_remove_u64(&s->shards, c->id);
	shard_free(c);
}

void shard_save_position(struct storage *s, struct shard_copy *c)
{
	buf_clear(&s->value);
	schema_encode(&schema_shard_position, &c->position, &s->value);
	store_put(s->store, STORE_META, key_shard(&s->key, 'x', c->id), buf_slice(&s->value));
	c->position_dirty = false;
	edits_save(s, c);
}

void shard_save_promise(struct storage *s, struct shard_copy *c, struct effects *fx)
{
	buf_clear(&s->value);
	schema_encode(&schema_shard_promise, &c->promise, &s->value);
	if (MUTATION(promise_not_durable))
		return;
	store_put(s->store, STORE_META, key_shard(&s->key, 'p', c->id), buf_slice(&s->value));
	fx_sync(fx);
}

const struct replica *shard_self(const struct storage *s, const struct shard_copy *c)
{
	for (uint32_t i = 0; i < c->placement.replicas_count; i++)
		if (c->placement.replicas[i].node == s->options.self)
			return &c->placement.replicas[i];
	return NULL;
}

/* Its data is of the incarnation that votes, and whole. */
bool shard_vouching(const struct storage *s, const struct shard_copy *c)
{
	const struct replica *self = shard_self(s, c);
	return self && self->incarnation == s->options.incarnation &&
	       (!self->learning || MUTATION(learner_votes)) && !c->position.copying &&
	       !shard_lacks_vouched(&c->position);
}

bool shard_lacks_vouched(const struct shard_position *p)
{
	bool has = p->last_epoch > p->vouched_epoch ||
		   (p->last_epoch == p->vouched_epoch && p->last >= p->vouched_number);
	return p->vouched && !has;
}

bool shard_is_lead(const struct shard_copy *c)
{
	return c->state == SHARD_SERVING || c->state == SHARD_PREPARING;
}

struct follower *shard_follower(struct shard_copy *c, uint64_t node)
{
	for (uint32_t i = 0; i < c->followers_count; i++)
		if (c->followers[i].node == node)
			return &c->followers[i];
	return NULL;
}

void shard_use_settings(struct storage *s, struct shard_copy *c, struct slice encoded)
{
	buf_clear(&c->settings_bytes);
	buf_append_slice(&c->settings_bytes, encoded);
	arena_reset(&c->settings_arena);
	if (!schema_decode(&schema_collection, buf_slice(&c->settings_bytes), &c->settings_arena,
			   &c->settings))
		c->settings = (struct collection){0};
	index_use_settings(s, c);
}

/* Before the first settings are ordered, the placement's collection decides nothing: consistent. */
bool shard_is_available(const struct shard_copy *c)
{
	return c->settings.mode == MODE_AVAILABLE;
}

bool shard_settings_pending(const struct shard_copy *c)
{
	return c->settings_entry > c->position.applied && c->settings_entry <= c->position.last;
}

bool shard_stays_available(const struct shard_copy *c)
{
	return shard_is_available(c) && !shard_settings_pending(c);
}

bool shard_tail_may_depart(const struct shard_copy *c)
{
	return c->position.last > c->position.applied &&
	       c->position.last_epoch < c->placement.epoch;
}

static bool load_record(struct storage *s, char letter, uint64_t id, const struct schema *schema,
			struct arena *arena, void *out)
{
	struct slice value;
	enum store_result got =
	    store_get(s->store, STORE_META, key_shard(&s->key, letter, id), &value);
	if (got == STORE_ABSENT)
		return true;
	if (got != STORE_OK)
		return false;
	return schema_decode(schema, arena_copy(arena, value), arena, out);
}

/* No honest number gets to the bound, and beyond it there would be no room for a next one. */
bool shard_position_sound(const struct shard_position *p)
{
	return p->trimmed <= p->applied && p->applied <= p->last && p->last <= UINT64_MAX / 4 &&
	       p->trimmed_epoch <= p->last_epoch;
}

/* The operations of the newest applied entries: a request may still come a second time. */
static void load_recent(struct storage *s, struct shard_copy *c)
{
	uint64_t most = BOUND(recent_read, RECENT_OPERATIONS / 2);
	uint64_t first = c->position.applied > most ? c->position.applied - most : 0;
	if (first < c->position.trimmed)
		first = c->position.trimmed;
	if (first > 0)
		recent_gap(s, c);
	for (uint64_t n = first + 1; n <= c->position.applied; n++) {
		struct slice value;
		struct change change;
		if (store_get(s->store, STORE_STREAM, key_number(&s->key, 'e', c->id, n), &value) !=
			STORE_OK ||
		    value.len < 8) {
			recent_gap(s, c);
			return;
		}
		uint64_t epoch = be64_read(value.data);
		struct slice encoded =
		    arena_copy(&s->arena, slice_of(value.data + 8, value.len - 8));
		if (schema_decode(&schema_change, encoded, &s->arena, &change))
			recent_entry(s, c, n, epoch, &change);
		else if (c->unreadable == 0)
			c->unreadable = n;
		arena_reset(&s->arena);
	}
}

/* Entries applied+1 .. last come back into memory. */
static bool load_pending(struct storage *s, struct shard_copy *c)
{
	c->pending.first = c->position.applied + 1;
	for (uint64_t n = c->position.applied + 1; n <= c->position.last; n++) {
		struct slice value;
		if (store_get(s->store, STORE_STREAM, key_number(&s->key, 'e', c->id, n), &value) !=
			STORE_OK ||
		    value.len < 8)
			return false;
		ring_push(&c->pending, be64_read(value.data),
			  slice_of(value.data + 8, value.len - 8));
		stream_note_entry(s, c, n);
	}
	c->durable = c->position.last;
	c->settled = c->position.applied;
	return true;
}

static bool load_settings(struct storage *s, struct shard_copy *c)
{
	struct slice value;
	enum store_result got =
	    store_get(s->store, STORE_META, key_shard(&s->key, 'g', c->id), &value);
	if (got == STORE_OK)
		shard_use_settings(s, c, value);
	return got == STORE_OK || got == STORE_ABSENT;
}

static bool shard_load(struct storage *s, struct slice key, struct slice placement)
{
	struct shard_copy *c = shard_new(s, be64_read(key.data + 1));
	c->from_disk = true;
	struct slice copy = arena_copy(&c->placement_arena, placement);
	if (!schema_decode(&schema_shard, copy, &c->placement_arena, &c->placement))
		return false;
	if (!load_record(s, 'p', c->id, &schema_shard_promise, &s->arena, &c->promise) ||
	    !load_record(s, 'x', c->id, &schema_shard_position, &s->arena, &c->position) ||
	    !shard_position_sound(&c->position))
		return false;
	stream_load_kept(s, c);
	refusals_load(s, c);
	load_recent(s, c);
	return load_settings(s, c) && load_pending(s, c) && lock_load(s, c) && outbox_load(s, c) &&
	       edits_load(s, c);
}

bool shard_load_all(struct storage *s)
{
	struct store_iterator *it = store_iterate(s->store, STORE_META);
	bool ok = true;
	for (store_seek(s->store, it, slice_text("s")); ok && store_valid(s->store, it);
	     store_next(s->store, it)) {
		struct slice key = store_key(s->store, it);
		if (key.len != KEY_SHARD_BYTES || key.data[0] != 's')
			break;
		ok = shard_load(s, key, store_value(s->store, it));
	}
	ok = ok && store_iterator_result(s->store, it) == STORE_OK;
	store_iterator_free(s->store, it);
	arena_reset(&s->arena);
	return ok;
}
