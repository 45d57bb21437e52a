/* Records of writes by query: like documents, they are what the settled entries make of them, on
 * every replica alike. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "storage-node/shard_edit.h"

static struct edit_progress *find(const struct shard_copy *c, struct slice id)
{
	for (uint32_t i = c->edits ? c->edits->count : 0; i > 0; i--)
		if (slice_equal(c->edits->items[i - 1].record.id, id))
			return &c->edits->items[i - 1];
	return NULL;
}

const struct edit_record *edits_find(const struct shard_copy *c, struct slice id)
{
	const struct edit_progress *p = find(c, id);
	return p ? &p->record : NULL;
}

static void progress_free(struct edit_progress *p)
{
	buf_close(&p->bytes);
	arena_close(&p->arena);
}

void edits_free(struct shard_copy *c)
{
	if (!c->edits)
		return;
	for (uint32_t i = 0; i < c->edits->count; i++)
		progress_free(&c->edits->items[i]);
	free(c->edits->items);
	free(c->edits);
	c->edits = NULL;
}

static struct edit_progress *add(struct shard_copy *c)
{
	if (!c->edits)
		c->edits = mem_alloc_zero(sizeof *c->edits);
	struct edit_list *list = c->edits;
	if (list->count == list->cap) {
		list->cap = list->cap ? list->cap * 2 : 8;
		list->items = mem_realloc(list->items, list->cap * sizeof *list->items);
	}
	list->items[list->count] = (struct edit_progress){0};
	return &list->items[list->count++];
}

/* Decodes what stands in bytes, so that the record's slices lead there. */
static bool settle(struct edit_progress *p)
{
	arena_reset(&p->arena);
	return schema_decode(&schema_edit_record, buf_slice(&p->bytes), &p->arena, &p->record);
}

static void encode(struct edit_progress *p, const struct edit_record *record)
{
	struct buf bytes = {0};
	schema_encode(&schema_edit_record, record, &bytes);
	buf_close(&p->bytes);
	p->bytes = bytes;
	CHECK(settle(p));
}

static struct slice key_edit(struct storage *s, const struct shard_copy *c, struct slice id)
{
	key_shard(&s->key, 't', c->id);
	buf_append_slice(&s->key, id);
	return buf_slice(&s->key);
}

static void drop(struct storage *s, struct shard_copy *c, uint32_t index)
{
	struct edit_list *list = c->edits;
	store_remove(s->store, STORE_META, key_edit(s, c, list->items[index].record.id));
	progress_free(&list->items[index]);
	memmove(&list->items[index], &list->items[index + 1],
		(list->count - index - 1) * sizeof *list->items);
	list->count--;
}

/* Which of two goes first: one that is done, then the older. */
static bool goes_before(const struct edit_record *a, const struct edit_record *b)
{
	if (a->done != b->done)
		return a->done;
	if (a->stamp != b->stamp)
		return a->stamp < b->stamp;
	return slice_compare(a->id, b->id) < 0;
}

/* By the stream's own time, so that all replicas forget the same. */
static void trim(struct storage *s, struct shard_copy *c, uint64_t stamp)
{
	struct edit_list *list = c->edits;
	for (uint32_t i = 0; i < list->count;) {
		if ((list->items[i].record.stamp >> 16) + OPERATION_KEEP_MS < stamp >> 16)
			drop(s, c, i);
		else
			i++;
	}
	while (list->count > EDITS_KEPT) {
		uint32_t first = 0;
		for (uint32_t i = 1; i + 1 < list->count; i++)
			if (goes_before(&list->items[i].record, &list->items[first].record))
				first = i;
		drop(s, c, first);
	}
}

void edits_apply(struct storage *s, struct shard_copy *c, const struct change *change)
{
	struct edit_progress *p = find(c, change->edit_id);
	if (!p)
		p = add(c);
	struct edit_record record = {
	    .id = change->edit_id,
	    .digest = change->operation_digest,
	    .count = change->edit_count,
	    .last = change->id.len > 0 ? change->id : p->record.last,
	    .done = change->edit_done || p->record.done,
	    .stamp = change->stamp,
	};
	bool fresh = p->bytes.len == 0;
	encode(p, &record);
	p->dirty = true;
	c->position_dirty = true;
	if (fresh)
		trim(s, c, change->stamp);
}

void edits_save(struct storage *s, struct shard_copy *c)
{
	for (uint32_t i = 0; c->edits && i < c->edits->count; i++) {
		struct edit_progress *p = &c->edits->items[i];
		if (p->dirty)
			store_put(s->store, STORE_META, key_edit(s, c, p->record.id),
				  buf_slice(&p->bytes));
		p->dirty = false;
	}
}

static bool take(struct shard_copy *c, struct slice value)
{
	struct edit_progress *p = add(c);
	buf_append_slice(&p->bytes, value);
	if (settle(p))
		return true;
	progress_free(p);
	c->edits->count--;
	return false;
}

bool edits_load(struct storage *s, struct shard_copy *c)
{
	struct store_iterator *it = store_iterate(s->store, STORE_META);
	uint8_t prefix[KEY_SHARD_BYTES];
	bool ok = true;
	memcpy(prefix, key_shard(&s->key, 't', c->id).data, sizeof prefix);
	for (store_seek(s->store, it, slice_of(prefix, sizeof prefix));
	     ok && store_valid(s->store, it); store_next(s->store, it)) {
		struct slice key = store_key(s->store, it);
		if (key.len < sizeof prefix || memcmp(key.data, prefix, sizeof prefix) != 0)
			break;
		ok = take(c, store_value(s->store, it));
	}
	ok = ok && store_iterator_result(s->store, it) == STORE_OK;
	store_iterator_free(s->store, it);
	return ok;
}

uint32_t edits_pairs(const struct shard_copy *c, struct arena *arena, struct key_value *out,
		     uint32_t max)
{
	uint32_t count = 0;
	for (uint32_t i = 0; c->edits && i < c->edits->count && count < max; i++) {
		const struct edit_progress *p = &c->edits->items[i];
		struct buf key = {0};
		buf_append_byte(&key, 't');
		buf_append_slice(&key, p->record.id);
		out[count++] = (struct key_value){.family = STORE_META,
						  .key = arena_copy(arena, buf_slice(&key)),
						  .value = arena_copy(arena, buf_slice(&p->bytes))};
		buf_close(&key);
	}
	return count;
}

bool edits_take_pair(struct storage *s, struct shard_copy *c, const struct key_value *pair)
{
	if (pair->family != STORE_META || pair->key.len < 1 || pair->key.data[0] != 't')
		return false;
	if (!take(c, pair->value))
		return false;
	store_put(s->store, STORE_META,
		  key_edit(s, c, c->edits->items[c->edits->count - 1].record.id), pair->value);
	return true;
}

void edits_remove_all(struct storage *s, struct shard_copy *c)
{
	struct buf end = {0};
	store_remove_range(s->store, STORE_META, key_shard(&s->key, 't', c->id),
			   key_shard_end(&end, 't', c->id));
	buf_close(&end);
	edits_free(c);
}
