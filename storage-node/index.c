#include "storage-node/index.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "common/probe.h"
#include "storage-node/scan.h"

/* ---- which there are ---- */

static void free_index(struct shard_index *x)
{
	arena_close(&x->arena);
	buf_close(&x->after);
	free(x);
}

void index_free(struct shard_copy *c)
{
	for (uint32_t i = 0; i < c->indexes_count; i++)
		free_index(c->indexes[i]);
	free(c->indexes);
	c->indexes = NULL;
	c->indexes_count = 0;
}

static void remove_keys(struct storage *s, const struct shard_copy *c, uint64_t index)
{
	struct buf end = {0};
	store_remove_range(s->store, STORE_INDEXES, key_index(&s->key, c->id, index),
			   key_index_end(&end, c->id, index));
	store_remove(s->store, STORE_META, key_index_state(&s->key, c->id, index));
	buf_close(&end);
}

static void save(struct storage *s, const struct shard_copy *c, const struct shard_index *x)
{
	struct index_state state = {.id = x->id,
				    .ready = x->ready,
				    .after = buf_slice(&x->after),
				    .documents = x->documents,
				    .keys = x->keys,
				    .has = x->has};
	buf_clear(&s->value);
	schema_encode(&schema_index_state, &state, &s->value);
	store_put(s->store, STORE_META, key_index_state(&s->key, c->id, x->id),
		  buf_slice(&s->value));
}

/* What is on disk of it, if its build has begun. */
static void load(struct storage *s, const struct shard_copy *c, struct shard_index *x)
{
	struct slice value;
	struct index_state state;
	if (store_get(s->store, STORE_META, key_index_state(&s->key, c->id, x->id), &value) !=
		STORE_OK ||
	    !schema_decode(&schema_index_state, arena_copy(&s->arena, value), &s->arena, &state))
		return;
	buf_append_slice(&x->after, state.after);
	x->ready = state.ready;
	x->usable = state.ready;
	x->documents = state.documents;
	x->keys = state.keys;
	x->has = state.has;
}

/* NULL: a definition that no coordinator makes. */
static struct shard_index *new_index(struct storage *s, const struct shard_copy *c,
				     const struct index_definition *from)
{
	struct shard_index *x = mem_alloc_zero(sizeof *x);
	x->id = from->id;
	x->name = arena_copy(&x->arena, from->name);
	x->paths = arena_alloc(&x->arena, (from->fields_count + 1) * sizeof *x->paths);
	for (uint32_t i = 0; i < from->fields_count; i++)
		x->paths[i] = arena_copy(&x->arena, from->fields[i]);
	if (!index_fields_compile(x->paths, from->fields_count, &x->arena, &x->fields)) {
		free_index(x);
		return NULL;
	}
	load(s, c, x);
	return x;
}

static struct shard_index *take(struct shard_copy *c, uint64_t id)
{
	for (uint32_t i = 0; i < c->indexes_count; i++) {
		struct shard_index *x = c->indexes[i];
		if (!x || x->id != id)
			continue;
		c->indexes[i] = NULL;
		return x;
	}
	return NULL;
}

void index_use_settings(struct storage *s, struct shard_copy *c)
{
	const struct collection *settings = &c->settings;
	struct shard_index **list = mem_alloc((settings->indexes_count + 1) * sizeof(*list));
	uint32_t count = 0;
	for (uint32_t i = 0; i < settings->indexes_count; i++) {
		struct shard_index *x = take(c, settings->indexes[i].id);
		if (!x)
			x = new_index(s, c, &settings->indexes[i]);
		if (x)
			list[count++] = x;
	}
	for (uint32_t i = 0; i < c->indexes_count; i++) {
		if (!c->indexes[i])
			continue;
		remove_keys(s, c, c->indexes[i]->id);
		free_index(c->indexes[i]);
	}
	free(c->indexes);
	c->indexes = list;
	c->indexes_count = count;
	s->indexes_building = true;
}

const struct shard_index *index_named(const struct shard_copy *c, struct slice name)
{
	for (uint32_t i = 0; i < c->indexes_count; i++)
		if (slice_equal(c->indexes[i]->name, name))
			return c->indexes[i];
	return NULL;
}

void index_reset(struct storage *s, struct shard_copy *c)
{
	struct buf end = {0};
	store_remove_range(s->store, STORE_INDEXES, key_shard(&s->key, 'i', c->id),
			   key_shard_end(&end, 'i', c->id));
	store_remove_range(s->store, STORE_META, key_shard(&s->key, 'n', c->id),
			   key_shard_end(&end, 'n', c->id));
	buf_close(&end);
	for (uint32_t i = 0; i < c->indexes_count; i++) {
		struct shard_index *x = c->indexes[i];
		buf_clear(&x->after);
		x->ready = x->usable = false;
		x->documents = x->keys = x->has = 0;
	}
	s->indexes_building = true;
}

/* ---- keys ---- */

static struct slice whole_key(struct storage *s, const struct shard_copy *c,
			      const struct shard_index *x, struct slice values, struct slice id)
{
	key_index(&s->key, c->id, x->id);
	buf_append_slice(&s->key, values);
	buf_append_byte(&s->key, 0);
	buf_append_slice(&s->key, id);
	return buf_slice(&s->key);
}

static void put_key(struct storage *s, const struct shard_copy *c, struct shard_index *x,
		    struct slice values, struct slice id)
{
	store_put(s->store, STORE_INDEXES, whole_key(s, c, x, values, id), (struct slice){0});
	x->keys++;
}

static void remove_key(struct storage *s, const struct shard_copy *c, struct shard_index *x,
		       struct slice values, struct slice id)
{
	if (MUTATION(index_key_stays))
		return;
	store_remove(s->store, STORE_INDEXES, whole_key(s, c, x, values, id));
	x->keys -= x->keys > 0;
}

/* Both lists are sorted: only what differs is written. */
static void write_difference(struct storage *s, const struct shard_copy *c, struct shard_index *x,
			     struct slice id, const struct index_keys *before,
			     const struct index_keys *after)
{
	uint32_t i = 0;
	uint32_t k = 0;
	while (i < before->count || k < after->count) {
		int order = i == before->count  ? 1
			    : k == after->count ? -1
						: slice_compare(before->keys[i], after->keys[k]);
		if (order < 0)
			remove_key(s, c, x, before->keys[i++], id);
		else if (order > 0)
			put_key(s, c, x, after->keys[k++], id);
		else
			i++, k++;
	}
}

static bool is_passed(const struct shard_index *x, struct slice id)
{
	if (MUTATION(index_passed_ignored))
		return x->ready;
	return x->ready || (x->after.len > 0 && slice_compare(id, buf_slice(&x->after)) <= 0);
}

void index_change(struct storage *s, struct shard_copy *c, struct slice id, struct slice before,
		  struct slice after)
{
	if (slice_equal(before, after))
		return;
	for (uint32_t i = 0; i < c->indexes_count; i++) {
		struct shard_index *x = c->indexes[i];
		struct index_keys had = {0};
		struct index_keys has = {0};
		if (!is_passed(x, id))
			continue;
		if (before.len > 0)
			index_keys_of(&x->fields, id, before, &s->arena, &had);
		if (after.len > 0)
			index_keys_of(&x->fields, id, after, &s->arena, &has);
		write_difference(s, c, x, id, &had, &has);
		if ((x->has | has.has) == x->has)
			continue;
		x->has |= has.has;
		save(s, c, x);
	}
}

/* ---- building ---- */

static void pass_document(struct storage *s, const struct shard_copy *c, struct shard_index *x,
			  struct slice id, struct slice body)
{
	struct index_keys keys;
	struct arena_mark mark = arena_mark(&s->arena);
	index_keys_of(&x->fields, id, body, &s->arena, &keys);
	for (uint32_t i = 0; i < keys.count; i++)
		put_key(s, c, x, keys.keys[i], id);
	x->has |= keys.has;
	arena_rewind(&s->arena, mark);
}

static void move_after(struct shard_index *x, struct slice id)
{
	if (id.len == 0)
		return;
	buf_clear(&x->after);
	buf_append_slice(&x->after, id);
}

static void build_step(struct storage *s, struct shard_copy *c, struct shard_index *x,
		       int64_t *budget, struct effects *fx)
{
	struct scan scan;
	struct scan_row row = {0};
	enum scan_result result;
	scan_open(&scan, s->store, c->id, NULL, buf_slice(&x->after), 0);
	while ((result = scan_next(&scan, budget, &row)) == SCAN_ROW) {
		pass_document(s, c, x, row.id, row.body);
		move_after(x, row.id);
		x->documents++;
	}
	if (result == SCAN_LATER)
		move_after(x, row.id);
	scan_close(&scan);
	if (result == SCAN_BROKEN)
		return;
	x->ready = result == SCAN_END;
	save(s, c, x);
	if (x->ready)
		fx_log(fx, LOG_LEVEL_INFO,
		       "index_built shard=%016llx name=%.*s documents=%llu keys=%llu",
		       (unsigned long long)c->id, (int)x->name.len, (const char *)x->name.data,
		       (unsigned long long)x->documents, (unsigned long long)x->keys);
}

/* True while there is work left. */
static bool build(struct storage *s, struct shard_copy *c, int64_t *budget, struct effects *fx)
{
	bool left = false;
	for (uint32_t i = 0; i < c->indexes_count && !c->position.copying; i++) {
		struct shard_index *x = c->indexes[i];
		/* nothing is pending: it is committed */
		x->usable = x->ready || MUTATION(index_used_early);
		if (!x->ready && *budget > 0)
			build_step(s, c, x, budget, fx);
		left = left || !x->usable;
	}
	return left;
}

static void run(struct storage *s, struct effects *fx)
{
	int64_t budget = s->options.index_step_documents;
	bool left = false;
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&s->shards, &at));)
		left |= build(s, entry->value, &budget, fx);
	s->indexes_building = left;
}

void index_run_now(struct storage *s, struct effects *fx)
{
	if (!s->indexes_building || s->disk_full)
		return;
	s->index_step_due = store_dirty(s->store);
	if (!s->index_step_due)
		run(s, fx);
}

void index_run_stored(struct storage *s, struct effects *fx)
{
	if (s->index_step_due && !store_dirty(s->store))
		run(s, fx);
	s->index_step_due = false;
}

/* ---- what is asked about them ---- */

void index_on_status(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_index_status *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	struct msg_index_status_ack ack = {.status = STATUS_OK};
	if (!c)
		ack.status = STATUS_NO_SHARD;
	else if (c->state != SHARD_SERVING)
		ack.status = STATUS_NOT_LEAD;
	struct index_progress *list = arena_alloc(&s->arena, LIMIT_INDEXES * sizeof *list);
	for (uint32_t i = 0; ack.status == STATUS_OK && i < c->indexes_count; i++) {
		const struct shard_index *x = c->indexes[i];
		list[i] = (struct index_progress){.id = x->id,
						  .ready = x->usable,
						  .documents = x->documents,
						  .total = c->position.documents,
						  .keys = x->keys};
	}
	ack.indexes = list;
	ack.indexes_count = ack.status == STATUS_OK ? c->indexes_count : 0;
	fx_reply(fx, WHEN_NOW, e, MSG_index_status_ack, &ack);
}
