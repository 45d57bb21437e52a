#include "common/base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/base/check.h"
#include "common/base/memory.h"

enum { ARENA_BLOCK_BYTES = 16 * 1024, ARENA_KEEP_BYTES = 256 * 1024 };

struct arena_block {
	struct arena_block *next;
	size_t cap;
	size_t len;
	alignas(max_align_t) uint8_t data[];
};

static struct arena_block *block_new(size_t bytes, size_t least, struct arena_block *next)
{
	size_t cap = bytes > least ? bytes : least;
	struct arena_block *block = mem_alloc(sizeof *block + cap);
	block->next = next;
	block->cap = cap;
	block->len = 0;
	return block;
}

static void *take(struct arena *a, size_t bytes)
{
	CHECK(bytes < SIZE_MAX / 4);
	size_t step = alignof(max_align_t);
	size_t rounded = (bytes + step - 1) / step * step;
	size_t least = a->block_bytes > 0 ? a->block_bytes : ARENA_BLOCK_BYTES;
	if (!a->head || a->head->cap - a->head->len < rounded)
		a->head = block_new(rounded, least, a->head);
	void *at = a->head->data + a->head->len;
	a->head->len += rounded;
	a->used += rounded;
	return at;
}

void *arena_alloc(struct arena *a, size_t bytes)
{
	return memset(take(a, bytes), 0, bytes);
}

/* What is copied over at once need not be zeroed before. */
struct slice arena_copy(struct arena *a, struct slice s)
{
	if (s.len == 0)
		return (struct slice){0};
	return slice_of(memcpy(take(a, s.len), s.data, s.len), s.len);
}

static void free_chain(struct arena_block *block)
{
	while (block) {
		struct arena_block *next = block->next;
		free(block);
		block = next;
	}
}

struct arena_mark arena_mark(const struct arena *a)
{
	return (struct arena_mark){a->head, a->head ? a->head->len : 0, a->used};
}

void arena_rewind(struct arena *a, struct arena_mark mark)
{
	while (a->head != mark.head) {
		CHECK(a->head); /* else the mark is another arena's */
		struct arena_block *next = a->head->next;
		if (!next && !mark.head)
			break; /* the first block: kept for reuse */
		free(a->head);
		a->head = next;
	}
	if (a->head)
		a->head->len = mark.len;
	a->used = mark.used;
}

void arena_reset(struct arena *a)
{
	a->used = 0;
	if (!a->head)
		return;
	free_chain(a->head->next);
	a->head->next = NULL;
	a->head->len = 0;
	if (a->head->cap > ARENA_KEEP_BYTES)
		arena_close(a);
}

void arena_close(struct arena *a)
{
	free_chain(a->head);
	*a = (struct arena){0};
}
