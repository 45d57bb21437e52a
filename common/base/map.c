#include "common/base/map.h"

#include <stdlib.h>
/* For numbers as keys the function folds to a few instructions. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "common/base/check.h"
#include "common/base/memory.h"

enum { MAP_FIRST_SLOTS = 16 };

static uint64_t hash_of(const struct map *m, struct slice key)
{
	return XXH3_64bits_withSeed(key.data, key.len, m->seed);
}

void map_clear(struct map *m)
{
	for (size_t i = 0; i < m->entries_len; i++)
		free(m->entries[i].key);
	m->entries_len = 0;
	m->count = 0;
	if (m->slots)
		memset(m->slots, 0, m->slots_cap * sizeof *m->slots);
}

void map_close(struct map *m)
{
	map_clear(m);
	free(m->entries);
	free(m->slots);
	*m = (struct map){.seed = m->seed};
}

/* The slot that holds the key, or the free one where it would go. */
void map_close_owned(struct map *m)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(m, &at)) != NULL;)
		free(e->value);
	map_close(m);
}

static size_t slot_of(const struct map *m, struct slice key, uint64_t hash)
{
	size_t mask = m->slots_cap - 1;
	size_t at = (size_t)hash & mask;
	while (m->slots[at] != 0) {
		const struct map_entry *e = &m->entries[m->slots[at] - 1];
		if (e->key && e->hash == hash && slice_equal(slice_of(e->key, e->key_len), key))
			return at;
		at = (at + 1) & mask;
	}
	return at;
}

/* Drops the holes, then lays the slots anew; entries keep their order. */
static void rebuild(struct map *m, size_t slots_cap)
{
	size_t live = 0;
	for (size_t i = 0; i < m->entries_len; i++)
		if (m->entries[i].key)
			m->entries[live++] = m->entries[i];
	m->entries_len = live;
	free(m->slots);
	m->slots = mem_alloc_zero(slots_cap * sizeof *m->slots);
	m->slots_cap = slots_cap;
	for (size_t i = 0; i < live; i++) {
		size_t at = (size_t)m->entries[i].hash & (slots_cap - 1);
		while (m->slots[at] != 0)
			at = (at + 1) & (slots_cap - 1);
		m->slots[at] = (uint32_t)(i + 1);
	}
}

static void make_room(struct map *m)
{
	if (m->slots_cap == 0)
		rebuild(m, MAP_FIRST_SLOTS);
	else if ((m->entries_len + 1) * 4 > m->slots_cap * 3)
		rebuild(m, (m->count + 1) * 2 > m->slots_cap ? m->slots_cap * 2 : m->slots_cap);
	if (m->entries_len == m->entries_cap) {
		m->entries_cap = m->entries_cap ? m->entries_cap * 2 : MAP_FIRST_SLOTS;
		m->entries = mem_realloc(m->entries, m->entries_cap * sizeof *m->entries);
	}
}

void *map_get(const struct map *m, struct slice key)
{
	if (m->count == 0)
		return NULL;
	uint32_t found = m->slots[slot_of(m, key, hash_of(m, key))];
	return found ? m->entries[found - 1].value : NULL;
}

void *map_put(struct map *m, struct slice key, void *value)
{
	CHECK(value != NULL);
	make_room(m);
	uint64_t hash = hash_of(m, key);
	size_t slot = slot_of(m, key, hash);
	if (m->slots[slot] != 0) {
		struct map_entry *old = &m->entries[m->slots[slot] - 1];
		void *before = old->value;
		old->value = value;
		return before;
	}
	uint8_t *copy = mem_alloc(key.len);
	if (key.len)
		memcpy(copy, key.data, key.len);
	m->entries[m->entries_len] = (struct map_entry){copy, key.len, hash, value};
	m->slots[slot] = (uint32_t)++m->entries_len;
	m->count++;
	return NULL;
}

void *map_remove(struct map *m, struct slice key)
{
	if (m->count == 0)
		return NULL;
	uint32_t found = m->slots[slot_of(m, key, hash_of(m, key))];
	if (!found)
		return NULL;
	struct map_entry *e = &m->entries[found - 1];
	free(e->key);
	e->key = NULL; /* the slot stays taken, so that later probes go on past it */
	m->count--;
	if (m->count == 0)
		map_clear(m);
	return e->value;
}

struct map_entry *map_next(const struct map *m, size_t *at)
{
	while (*at < m->entries_len) {
		struct map_entry *e = &m->entries[(*at)++];
		if (e->key)
			return e;
	}
	return NULL;
}

void *map_get_u64(const struct map *m, uint64_t key)
{
	if (m->count == 0)
		return NULL;
	uint64_t hash = XXH3_64bits_withSeed(&key, sizeof key, m->seed);
	size_t mask = m->slots_cap - 1;
	for (size_t at = (size_t)hash & mask; m->slots[at] != 0; at = (at + 1) & mask) {
		const struct map_entry *e = &m->entries[m->slots[at] - 1];
		if (e->hash == hash && e->key && e->key_len == sizeof key &&
		    memcmp(e->key, &key, sizeof key) == 0)
			return e->value;
	}
	return NULL;
}

void *map_put_u64(struct map *m, uint64_t key, void *value)
{
	return map_put(m, slice_of(&key, sizeof key), value);
}

void *map_remove_u64(struct map *m, uint64_t key)
{
	return map_remove(m, slice_of(&key, sizeof key));
}

uint64_t map_key_u64(const struct map_entry *entry)
{
	uint64_t key;
	CHECK(entry->key_len == sizeof key);
	memcpy(&key, entry->key, sizeof key);
	return key;
}
