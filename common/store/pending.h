/* The pending batch of a store: what was put, removed and range-removed since the last commit,
 * looked up by key while it collects. Of a key that is written several times only the last state is
 * kept, so that is all that a commit writes. Keys and values are copied. Zero-initialised is valid
 * and empty. */
#ifndef PARLEY_STORE_PENDING_H
#define PARLEY_STORE_PENDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/arena.h"
#include "common/base/slice.h"
#include "common/store/store.h"

/* The last put or removal of one key. */
struct pending_entry {
	uint64_t hash;
	struct slice key;
	struct slice value;
	size_t room;    /* bytes that the value's memory has */
	uint32_t order; /* counts operations of the batch */
	uint8_t family;
	bool removed;
};

/* All keys k with first <= k < end, written before this one, are gone. */
struct pending_range {
	struct slice first;
	struct slice end;
	uint32_t order;
	uint8_t family;
};

struct pending {
	struct pending_entry *entries; /* in order of each key's first appearance */
	uint32_t entries_count;
	uint32_t entries_cap;
	struct pending_range *ranges;
	uint32_t ranges_count;
	uint32_t ranges_cap;
	uint32_t *slots; /* open addressing: entry index + 1, 0 = free */
	uint32_t slots_cap;
	uint32_t order; /* of the latest operation */
	struct arena arena;
};

enum pending_found {
	PENDING_UNKNOWN, /* the batch says nothing about this key: ask the disk */
	PENDING_VALUE,
	PENDING_REMOVED
};

/* The entries in order of their keys, family by family, if they are many: neighbours go into a
 * sorted table several times faster than strangers. Else as they came. Lives until pending_clear.
 */
const struct pending_entry **pending_listed(struct pending *p);

void pending_put(struct pending *p, enum store_family family, struct slice key, struct slice value);
void pending_remove(struct pending *p, enum store_family family, struct slice key);
void pending_remove_range(struct pending *p, enum store_family family, struct slice first,
			  struct slice end);
/* *value is borrowed until pending_clear. */
enum pending_found pending_get(const struct pending *p, enum store_family family, struct slice key,
			       struct slice *value);
/* True if a range that came after the entry covers it: the entry is not to be written. */
bool pending_covered(const struct pending *p, const struct pending_entry *entry);
/* Keeps a little memory for the next batch. */
void pending_clear(struct pending *p);
void pending_close(struct pending *p);

static inline bool pending_dirty(const struct pending *p)
{
	return p->order != 0;
}

#endif
