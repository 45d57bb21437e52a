/* A document's keys: the values at each path, and their combinations. */
#include "common/doc/index_key.h"

#include <stdlib.h>

#include "common/doc/path.h"
#include "proto/enums.h"

enum { NO_VALUE = 1 };

struct index_path {
	const struct path_segment *segments;
	uint32_t count;
	bool is_id; /* the document's id, not a member */
};

/* ---- paths ---- */

static bool compile_path(struct slice text, struct arena *arena, struct index_path *out)
{
	uint32_t count = path_names(text);
	if (text.len == 0 || text.len > LIMIT_PATH_BYTES || count > INDEX_NAMES_MAX)
		return false;
	text = arena_copy(arena, text);
	*out = (struct index_path){path_split(text, arena), count, slice_is(text, "id")};
	return true;
}

bool index_fields_compile(const struct slice *paths, uint32_t count, struct arena *arena,
			  struct index_fields *out)
{
	struct index_path *list = arena_alloc(arena, (count + 1) * sizeof *list);
	for (uint32_t i = 0; i < count; i++)
		if (!compile_path(paths[i], arena, &list[i]))
			return false;
	*out = (struct index_fields){list, count};
	return count > 0 && count <= LIMIT_INDEX_FIELDS;
}

/* ---- the values at one path, as bytes ---- */

struct collector {
	struct arena *arena;
	struct slice *parts;
	uint32_t count;
	uint32_t cap;
	uint32_t has;
	bool too_many;
};

static void add_part(struct collector *c, struct slice part)
{
	if (c->count == c->cap) {
		uint32_t cap = c->cap ? c->cap * 4 : 4;
		struct slice *parts = arena_alloc(c->arena, cap * sizeof *parts);
		if (c->count > 0)
			memcpy(parts, c->parts, c->count * sizeof *parts);
		c->parts = parts;
		c->cap = cap;
	}
	c->parts[c->count++] = part;
}

static int compare_slices(const void *a, const void *b)
{
	return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

static uint32_t sort_unique(struct slice *list, uint32_t count)
{
	uint32_t unique = 0;
	if (count > 1)
		qsort(list, count, sizeof *list, compare_slices);
	for (uint32_t i = 0; i < count; i++)
		if (i == 0 || !slice_equal(list[i], list[unique - 1]))
			list[unique++] = list[i];
	return unique;
}

/* Now and then what is there twice goes, so that a long array of few values has few keys. */
static void add_value(struct collector *c, struct slice value)
{
	uint8_t memory[INDEX_VALUE_BYTES];
	struct buf part = {.data = memory, .cap = sizeof memory}; /* never grows */
	if (c->count == 2 * INDEX_KEYS_MAX) {
		c->count = sort_unique(c->parts, c->count);
		c->too_many = c->count > INDEX_KEYS_MAX;
	}
	if (c->too_many)
		return;
	if (!index_value_append(value, &part) || value.len > LIMIT_ORDER_KEY_BYTES)
		c->has |= INDEX_HAS_CUT;
	add_part(c, arena_copy(c->arena, buf_slice(&part)));
}

static enum mp_type type_of(struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	return mp_peek(&r);
}

static void values_at_end(struct collector *c, struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	if (mp_peek(&r) == MP_ARRAY) {
		uint32_t count = mp_read(&r).count;
		c->has |= INDEX_HAS_ARRAYS;
		for (uint32_t i = 0; i < count && !c->too_many; i++) {
			struct slice element = mp_value(&r);
			if (element.len == 0)
				break;
			add_value(c, element);
		}
	}
	add_value(c, value);
}

static bool value_found(void *context, struct slice value, bool element)
{
	struct collector *c = context;
	(void)element;
	values_at_end(c, value);
	return c->too_many;
}

/* The same ways into an array that a filter takes: common/doc/query_match.c. */
static void values_at(struct collector *c, const struct index_path *path, struct slice value)
{
	struct path_walk walk = {path->segments, path->count, value_found, c};
	for (uint32_t at = 0; at < path->count && value.len > 0; at++) {
		if (type_of(value) == MP_ARRAY) {
			c->has |= INDEX_HAS_ARRAYS;
			(void)path_walk_array(&walk, value, at);
			return;
		}
		value = value_member(value, path->segments[at].name);
	}
	values_at_end(c, value);
}

static void collect(struct collector *c, const struct index_path *path, struct slice id,
		    struct slice body)
{
	static const uint8_t none = NO_VALUE;
	if (path->is_id) {
		uint8_t memory[LIMIT_ID_BYTES + 8];
		struct buf text = {.data = memory, .cap = sizeof memory}; /* never grows */
		mp_write_str(&text,
			     slice_of(id.data, id.len < LIMIT_ID_BYTES ? id.len : LIMIT_ID_BYTES));
		add_value(c, buf_slice(&text));
		return;
	}
	values_at(c, path, body);
	if (c->count == 0)
		add_part(c, slice_of(&none, 1));
	c->count = sort_unique(c->parts, c->count);
}

/* ---- combinations ---- */

static struct slice join(struct arena *arena, struct slice a, struct slice b)
{
	uint8_t *bytes = arena_alloc(arena, a.len + b.len);
	if (a.len > 0)
		memcpy(bytes, a.data, a.len);
	if (b.len > 0)
		memcpy(bytes + a.len, b.data, b.len);
	return slice_of(bytes, a.len + b.len);
}

/* As no value begins with another, combinations of sorted lists come sorted and are distinct. */
static void combine(struct index_keys *keys, const struct collector *c, struct arena *arena)
{
	struct slice *list = arena_alloc(arena, keys->count * c->count * sizeof *list);
	uint32_t count = 0;
	for (uint32_t i = 0; i < keys->count; i++)
		for (uint32_t k = 0; k < c->count; k++)
			list[count++] = join(arena, keys->keys[i], c->parts[k]);
	keys->keys = list;
	keys->count = count;
}

void index_keys_of(const struct index_fields *fields, struct slice id, struct slice body,
		   struct arena *arena, struct index_keys *out)
{
	static const uint8_t always = INDEX_ALWAYS;
	*out = (struct index_keys){0};
	for (uint32_t i = 0; i < fields->count; i++) {
		struct collector c = {.arena = arena};
		collect(&c, &fields->paths[i], id, body);
		out->has |= c.has;
		bool fits = out->count == 0 || c.count <= INDEX_KEYS_MAX / out->count;
		if (c.too_many || c.count > INDEX_KEYS_MAX || !fits) {
			out->has |= INDEX_HAS_ARRAYS | INDEX_HAS_ALWAYS;
			out->keys = arena_alloc(arena, sizeof *out->keys);
			out->keys[0] = slice_of(&always, 1);
			out->count = 1;
			return;
		}
		if (i == 0) {
			out->keys = c.parts;
			out->count = c.count;
		} else {
			combine(out, &c, arena);
		}
	}
}
