#include "storage-node/large.h"

#include <string.h>

enum { LARGE_WASTE_BYTES = 4 * 1024 * 1024, LARGE_ROOM = 128 };

static struct slice copied(struct large *l, struct slice bytes, struct slice before)
{
	bool same = bytes.data == before.data && bytes.len == before.len;
	return same ? bytes : arena_copy(&l->arena, bytes);
}

/* From this one on. */
static void copy_revisions(struct large *l, uint32_t from)
{
	for (uint32_t i = from; i < l->doc.revisions_count; i++) {
		struct revision_node *node = &l->doc.revisions[i];
		struct slice parents = slice_of((const uint8_t *)node->parents,
						node->parents_count * sizeof *node->parents);
		node->hash = arena_copy(&l->arena, node->hash);
		node->parents = (uint64_t *)(uintptr_t)arena_copy(&l->arena, parents).data;
	}
}

static void copy_operations(struct large *l)
{
	struct document *doc = &l->doc;
	struct operation *list = arena_alloc(&l->arena, (doc->operations_count + 1) * sizeof *list);
	for (uint32_t i = 0; i < doc->operations_count; i++) {
		list[i] = doc->operations[i];
		list[i].id = arena_copy(&l->arena, list[i].id);
		list[i].digest = arena_copy(&l->arena, list[i].digest);
		list[i].revision.hash = arena_copy(&l->arena, list[i].revision.hash);
	}
	doc->operations = list;
}

static void copy_held(struct large *l)
{
	struct slice *list = arena_alloc(&l->arena, (l->doc.held_count + 1) * sizeof *list);
	for (uint32_t i = 0; i < l->doc.held_count; i++)
		list[i] = arena_copy(&l->arena, l->doc.held[i]);
	l->doc.held = list;
}

/* The list, with places for more: an import can bring a hundred at once. */
static void make_room(struct large *l, const struct document *doc)
{
	uint32_t cap = doc->revisions_count + doc->revisions_count / 4 + LARGE_ROOM;
	struct revision_node *list = arena_alloc(&l->arena, cap * sizeof *list);
	memcpy(list, doc->revisions, doc->revisions_count * sizeof *list);
	l->doc.revisions = list;
	l->cap = cap;
}

bool large_open(struct large *l, const struct document *doc)
{
	if (doc->revisions_count < LARGE_REVISIONS)
		return false;
	*l = (struct large){.doc = *doc};
	make_room(l, doc);
	copy_revisions(l, 0);
	copy_operations(l);
	copy_held(l);
	l->doc.body = arena_copy(&l->arena, doc->body);
	l->used_max = 2 * l->arena.used + LARGE_WASTE_BYTES;
	return true;
}

bool large_follow(struct large *l, const struct document *doc)
{
	struct document before = l->doc;
	if (l->arena.used > l->used_max)
		return false;
	l->doc = *doc;
	if (doc->revisions != before.revisions)
		make_room(l, doc);
	copy_revisions(l, before.revisions_count);
	if (doc->operations != before.operations)
		copy_operations(l);
	l->doc.body = copied(l, doc->body, before.body);
	return true;
}

void large_close(struct large *l)
{
	arena_close(&l->arena);
	*l = (struct large){0};
}
