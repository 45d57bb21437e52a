/* A hash map from byte strings to pointers that remembers the order of insertion, so that walking
 * it is the same in every run. Keys are copied; values are the caller's. Zero-initialised is valid
 * and empty. Hashes are seeded per map: a caller that stores outside input sets `seed` from a
 * random source before the first insert. */
#ifndef PARLEY_BASE_MAP_H
#define PARLEY_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/slice.h"

struct map_entry {
	uint8_t *key; /* NULL: a hole left by a removal */
	size_t key_len;
	uint64_t hash;
	void *value;
};

struct map {
	struct map_entry *entries; /* in order of insertion, with holes */
	size_t entries_len;
	size_t entries_cap;
	uint32_t *slots; /* open addressing: entry index + 1, 0 = free */
	size_t slots_cap;
	size_t count; /* live entries */
	uint64_t seed;
};

void map_close(struct map *m);
/* Frees the values, too. */
void map_close_owned(struct map *m);
void map_clear(struct map *m);
/* NULL when absent. */
void *map_get(const struct map *m, struct slice key);
/* Inserts or replaces; returns the value that stood there before, or NULL. value must not be NULL.
 */
void *map_put(struct map *m, struct slice key, void *value);
/* Returns the removed value, or NULL. */
void *map_remove(struct map *m, struct slice key);
/* Walk: at = 0; while ((e = map_next(m, &at))) ... The map may lose, not gain, entries meanwhile.
 */
struct map_entry *map_next(const struct map *m, size_t *at);

/* The same with 64-bit numbers as keys. */
void *map_get_u64(const struct map *m, uint64_t key);
void *map_put_u64(struct map *m, uint64_t key, void *value);
void *map_remove_u64(struct map *m, uint64_t key);
/* The number under which an entry of map_next was put. */
uint64_t map_key_u64(const struct map_entry *entry);

#endif
