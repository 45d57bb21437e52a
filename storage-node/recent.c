#include "storage-node/recent.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "common/probe.h"
#include "storage-node/internal.h"
#include "storage-node/refusals.h"

static void table_clear(struct recent_table *t)
{
	map_close(&t->by_id);
	free(t->ring);
	*t = (struct recent_table){0};
}

static void table_forget(struct recent_table *t, struct slice operation_id)
{
	struct recent *r = map_remove(&t->by_id, operation_id);
	if (r)
		r->used = false;
}

/* Returns the one that gives way; not used: none. */
static struct recent table_add(struct recent_table *t, uint32_t size, struct slice operation_id,
			       struct slice digest, const struct recent *what)
{
	struct recent gone = {0};
	table_forget(t, operation_id);
	if (!t->ring)
		t->ring = mem_alloc(size * sizeof *t->ring);
	struct recent *r = &t->ring[t->next % size];
	if (t->next++ >= size && r->used) {
		map_remove(&t->by_id, slice_of(r->operation_id, sizeof r->operation_id));
		gone = *r;
	}
	*r = *what;
	r->used = true;
	memcpy(r->operation_id, operation_id.data, sizeof r->operation_id);
	r->digest_len = (uint8_t)digest.len;
	if (r->digest_len)
		memcpy(r->digest, digest.data, r->digest_len);
	map_put(&t->by_id, operation_id, r);
	t->until_ms = 0;
	return gone;
}

/* Idle shards keep none: a copy of a request that is still on its way is not that old. But what is
 * not settled yet may be asked for as long as it isn't; afterwards documents know clients' keys. */
static bool table_is_old(const struct storage *s, const struct shard_copy *c,
			 struct recent_table *t)
{
	if (!t->ring)
		return false;
	if (t->until_ms == 0 || c->position.applied < c->position.last)
		t->until_ms = s->now_ms + RECENT_KEEP_MS;
	return s->now_ms >= t->until_ms;
}

struct recent *recent_find(const struct shard_copy *c, struct slice operation_id)
{
	return map_get(&c->recents.taken.by_id, operation_id);
}

struct recent *recent_refusal(const struct shard_copy *c, struct slice operation_id)
{
	return map_get(&c->recents.refused.by_id, operation_id);
}

struct revision recent_revision(const struct recent *r)
{
	return (struct revision){r->generation, slice_of(r->hash, r->hash_len)};
}

bool recent_is_of(const struct recent *r, struct slice digest)
{
	return slice_equal(digest, slice_of(r->digest, r->digest_len));
}

bool recent_stands(struct storage *s, struct shard_copy *c, const struct recent *r)
{
	uint64_t epoch;
	return stream_epoch_at(s, c, r->number, &epoch) && epoch == r->epoch;
}

uint64_t recent_number(struct storage *s, struct shard_copy *c, struct slice operation_id)
{
	const struct recent *r = recent_find(c, operation_id);
	bool stands = r && r->number > 0 && recent_stands(s, c, r);
	return stands && !MUTATION(doubled_write) ? r->number : 0;
}

void recent_gap(const struct storage *s, struct shard_copy *c)
{
	c->recents.gap = true;
	c->recents.gap_ms = s->now_ms;
}

bool recent_has_gap(const struct storage *s, const struct shard_copy *c)
{
	int64_t gap_ms = c->recents.gap_ms;
	if (gap_ms < s->started_ms) /* found while the stream was read, before there was a clock */
		gap_ms = s->started_ms;
	return c->recents.gap && s->now_ms < gap_ms + RECENT_KEEP_MS;
}

static struct recent made_of(const struct storage *s, const struct recent *what,
			     const struct revision *revision)
{
	struct recent r = *what;
	CHECK(revision->hash.len <= sizeof r.hash);
	r.added_ms = s->now_ms;
	r.generation = revision->generation;
	r.hash_len = (uint8_t)revision->hash.len;
	if (r.hash_len)
		memcpy(r.hash, revision->hash.data, r.hash_len);
	return r;
}

void recent_add(const struct storage *s, struct shard_copy *c, struct slice operation_id,
		struct slice digest, const struct recent *what, const struct revision *revision)
{
	CHECK(operation_id.len == sizeof what->operation_id && digest.len <= sizeof what->digest);
	struct recent r = made_of(s, what, revision);
	struct recent gone =
	    table_add(&c->recents.taken, BOUND(recent_operations, RECENT_OPERATIONS), operation_id,
		      digest, &r);
	c->recents.gap |= gone.used;
	if (gone.used && gone.added_ms > c->recents.gap_ms)
		c->recents.gap_ms = gone.added_ms;
}

void recent_forget(struct shard_copy *c, struct slice operation_id)
{
	table_forget(&c->recents.taken, operation_id);
}

static void add_refusal(struct storage *s, struct shard_copy *c, const struct recent *what,
			const struct change *change)
{
	struct recent r = made_of(s, what, &change->revision);
	const struct recent *known = recent_refusal(c, change->operation_id);
	if (known && known->number == r.number)
		return;
	if (known)
		refusal_forget(s, c, known->number);
	struct recent gone = table_add(&c->recents.refused, RECENT_REFUSALS, change->operation_id,
				       change->operation_digest, &r);
	if (gone.used)
		refusal_forget(s, c, gone.number);
}

/* It was done after all: then no attempt under its key is refused. */
static void forget_refusal(struct storage *s, struct shard_copy *c, struct slice operation_id)
{
	const struct recent *r = recent_refusal(c, operation_id);
	if (!r)
		return;
	refusal_forget(s, c, r->number);
	table_forget(&c->recents.refused, operation_id);
}

void recent_entry(struct storage *s, struct shard_copy *c, uint64_t number, uint64_t epoch,
		  const struct change *change)
{
	struct recent what = {.number = number, .epoch = epoch, .status = change->status};
	if (change->edit_id.len > 0 || /* its own record knows it */
	    change->operation_id.len != sizeof what.operation_id)
		return;
	if (change->kind == CHANGE_WRITE || change->kind == CHANGE_BRANCH ||
	    change->kind == CHANGE_CHECKPOINT) {
		forget_refusal(s, c, change->operation_id);
		recent_add(s, c, change->operation_id, change->operation_digest, &what,
			   &change->revision);
	} else if (change->kind == CHANGE_REFUSAL) {
		add_refusal(s, c, &what, change);
	}
}

void recent_cut(struct shard_copy *c, uint64_t number, const struct change *change)
{
	if (change->kind != CHANGE_REFUSAL)
		return;
	const struct recent *r = recent_refusal(c, change->operation_id);
	if (r && r->number == number)
		table_forget(&c->recents.refused, change->operation_id);
}

static void refusals_clear(struct storage *s, struct shard_copy *c)
{
	struct recent_table *t = &c->recents.refused;
	uint64_t count = t->next < RECENT_REFUSALS ? t->next : RECENT_REFUSALS;
	for (uint64_t i = 0; i < count; i++)
		if (t->ring[i].used)
			refusal_forget(s, c, t->ring[i].number);
	table_clear(t);
}

void recent_tick(struct storage *s, struct shard_copy *c)
{
	if (table_is_old(s, c, &c->recents.taken))
		table_clear(&c->recents.taken);
	if (table_is_old(s, c, &c->recents.refused))
		refusals_clear(s, c);
}

void recent_clear(struct shard_copy *c)
{
	table_clear(&c->recents.taken);
	table_clear(&c->recents.refused);
}
