#include "common/store/pending.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/base/check.h"
#include "common/base/memory.h"

enum { FIRST_SLOTS = 256, FIRST_RANGES = 4, KEEP_SLOTS = 16 * 1024, SORTED_MIN = 1000 };

static uint64_t hash_of(enum store_family family, struct slice key)
{
	return XXH3_64bits_withSeed(key.data, key.len, family);
}

/* The slot that holds the key, or the free one where it would go. */
static uint32_t slot_of(const struct pending *p, enum store_family family, struct slice key,
			uint64_t hash)
{
	uint32_t mask = p->slots_cap - 1;
	uint32_t at = (uint32_t)hash & mask;
	while (p->slots[at] != 0) {
		const struct pending_entry *e = &p->entries[p->slots[at] - 1];
		if (e->hash == hash && e->family == family && slice_equal(e->key, key))
			return at;
		at = (at + 1) & mask;
	}
	return at;
}

static void grow(struct pending *p)
{
	uint32_t cap = p->slots_cap ? p->slots_cap * 2 : FIRST_SLOTS;
	CHECK(cap > p->slots_cap);
	free(p->slots);
	p->slots = mem_alloc_zero(cap * sizeof *p->slots);
	p->slots_cap = cap;
	for (uint32_t i = 0; i < p->entries_count; i++) {
		uint32_t at = (uint32_t)p->entries[i].hash & (cap - 1);
		while (p->slots[at] != 0)
			at = (at + 1) & (cap - 1);
		p->slots[at] = i + 1;
	}
	p->entries_cap = cap / 2;
	p->entries = mem_realloc(p->entries, p->entries_cap * sizeof *p->entries);
}

/* The key's entry, made if it was not there, with the next operation's number. */
static struct pending_entry *entry_for(struct pending *p, enum store_family family,
				       struct slice key)
{
	if (p->entries_count == p->entries_cap)
		grow(p);
	CHECK(p->order < UINT32_MAX);
	p->order++;
	uint64_t hash = hash_of(family, key);
	uint32_t slot = slot_of(p, family, key, hash);
	if (p->slots[slot] == 0) {
		p->entries[p->entries_count] = (struct pending_entry){
		    .hash = hash,
		    .key = arena_copy(&p->arena, key),
		    .family = (uint8_t)family,
		};
		p->slots[slot] = ++p->entries_count;
	}
	struct pending_entry *e = &p->entries[p->slots[slot] - 1];
	e->order = p->order;
	return e;
}

/* A record that is written again and again in one turn, growing, must not fill the arena: what it
 * outgrows is a part of what it has then. */
static void replace_value(struct pending *p, struct pending_entry *e, struct slice value)
{
	size_t room = e->room > 0 ? value.len + value.len / 2 : value.len;
	uint8_t *data = arena_alloc(&p->arena, room);
	memcpy(data, value.data, value.len);
	e->value = slice_of(data, value.len);
	e->room = room;
}

void pending_put(struct pending *p, enum store_family family, struct slice key, struct slice value)
{
	struct pending_entry *e = entry_for(p, family, key);
	e->removed = false;
	if (value.len == 0) {
		e->value = (struct slice){0};
		e->room = 0;
	} else if (value.len <= e->room) {
		/* the new value may be the old one, borrowed */
		memmove((uint8_t *)(uintptr_t)e->value.data, value.data, value.len);
		e->value.len = value.len;
	} else {
		replace_value(p, e, value);
	}
}

void pending_remove(struct pending *p, enum store_family family, struct slice key)
{
	struct pending_entry *e = entry_for(p, family, key);
	e->removed = true;
	e->value = (struct slice){0};
	e->room = 0;
}

void pending_remove_range(struct pending *p, enum store_family family, struct slice first,
			  struct slice end)
{
	if (slice_compare(first, end) >= 0)
		return;
	if (p->ranges_count == p->ranges_cap) {
		p->ranges_cap = p->ranges_cap ? p->ranges_cap * 2 : FIRST_RANGES;
		p->ranges = mem_realloc(p->ranges, p->ranges_cap * sizeof *p->ranges);
	}
	CHECK(p->order < UINT32_MAX);
	p->ranges[p->ranges_count++] = (struct pending_range){
	    .first = arena_copy(&p->arena, first),
	    .end = arena_copy(&p->arena, end),
	    .order = ++p->order,
	    .family = (uint8_t)family,
	};
}

static bool removed_after(const struct pending *p, uint32_t order, uint8_t family, struct slice key)
{
	for (uint32_t i = p->ranges_count; i-- > 0;) {
		const struct pending_range *r = &p->ranges[i];
		if (r->order < order)
			return false;
		if (r->family == family && slice_compare(r->first, key) <= 0 &&
		    slice_compare(key, r->end) < 0)
			return true;
	}
	return false;
}

bool pending_covered(const struct pending *p, const struct pending_entry *entry)
{
	return removed_after(p, entry->order, entry->family, entry->key);
}

static int compare_entries(const void *x, const void *y)
{
	const struct pending_entry *a = *(const struct pending_entry *const *)x;
	const struct pending_entry *b = *(const struct pending_entry *const *)y;
	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	return slice_compare(a->key, b->key);
}

const struct pending_entry **pending_listed(struct pending *p)
{
	const struct pending_entry **list =
	    arena_alloc(&p->arena, (p->entries_count + 1) * sizeof *list);
	for (uint32_t i = 0; i < p->entries_count; i++)
		list[i] = &p->entries[i];
	if (p->entries_count >= SORTED_MIN)
		qsort(list, p->entries_count, sizeof *list, compare_entries);
	return list;
}

enum pending_found pending_get(const struct pending *p, enum store_family family, struct slice key,
			       struct slice *value)
{
	uint32_t order = 0;
	const struct pending_entry *e = NULL;
	if (p->entries_count > 0) {
		uint32_t found = p->slots[slot_of(p, family, key, hash_of(family, key))];
		e = found ? &p->entries[found - 1] : NULL;
		order = e ? e->order : 0;
	}
	if (removed_after(p, order, (uint8_t)family, key))
		return PENDING_REMOVED;
	if (!e)
		return PENDING_UNKNOWN;
	if (e->removed)
		return PENDING_REMOVED;
	*value = e->value;
	return PENDING_VALUE;
}

void pending_clear(struct pending *p)
{
	if (p->slots_cap > KEEP_SLOTS) {
		pending_close(p);
		return;
	}
	if (p->entries_count > 0)
		memset(p->slots, 0, p->slots_cap * sizeof *p->slots);
	p->entries_count = 0;
	p->ranges_count = 0;
	p->order = 0;
	arena_reset(&p->arena);
}

void pending_close(struct pending *p)
{
	free(p->entries);
	free(p->ranges);
	free(p->slots);
	arena_close(&p->arena);
	*p = (struct pending){0};
}
