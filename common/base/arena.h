/* A bump allocator: many small allocations, freed all at once. Zero-initialised is valid and empty.
 */
#ifndef PARLEY_BASE_ARENA_H
#define PARLEY_BASE_ARENA_H

#include <stddef.h>

#include "common/base/slice.h"

struct arena_block;

struct arena {
	struct arena_block *head; /* newest block; older ones are linked behind it */
	size_t used;              /* bytes given out since the last reset */
	size_t block_bytes;       /* of a new block, at least; 0: as fits most */
};

/* Aligned for any type, zeroed. Lives until arena_reset or arena_close. */
void *arena_alloc(struct arena *a, size_t bytes);
/* A copy of the bytes, owned by the arena. */
struct slice arena_copy(struct arena *a, struct slice s);
/* A point to go back to: what was allocated since is freed by arena_rewind. */
struct arena_mark {
	struct arena_block *head;
	size_t len;
	size_t used;
};
struct arena_mark arena_mark(const struct arena *a);
void arena_rewind(struct arena *a, struct arena_mark mark);
/* Frees all allocations but keeps one block for reuse. */
void arena_reset(struct arena *a);
void arena_close(struct arena *a);

#endif
