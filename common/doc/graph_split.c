#include "common/doc/graph_split.h"

#include <string.h>

#include "common/base/check.h"
#include "common/doc/graph.h"

/* Parents stand before their children; stored bytes may say otherwise. */
static bool valid_parent(const struct revision_node *node, uint32_t index, uint32_t nth)
{
	return node->parents[nth] < index;
}

static bool is_split(const struct document *doc, uint64_t index)
{
	return doc->revisions[index].flags & REVISION_SPLIT;
}

void graph_mark_below(const struct document *doc, uint8_t *marks)
{
	for (uint32_t i = doc->revisions_count; i-- > 0;)
		for (uint32_t p = 0; marks[i] && p < doc->revisions[i].parents_count; p++)
			if (valid_parent(&doc->revisions[i], i, p))
				marks[doc->revisions[i].parents[p]] = 1;
}

void graph_mark_above(const struct document *doc, uint8_t *marks)
{
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		for (uint32_t p = 0; !marks[i] && p < doc->revisions[i].parents_count; p++)
			marks[i] = valid_parent(&doc->revisions[i], i, p) && !is_split(doc, i) &&
				   marks[doc->revisions[i].parents[p]];
}

static void cut_off(const struct document *doc, struct arena *arena, struct document *cut)
{
	*cut = *doc;
	cut->revisions = arena_alloc(arena, (doc->revisions_count + 1) * sizeof *cut->revisions);
	for (uint32_t i = 0; i < doc->revisions_count; i++) {
		struct revision_node node = doc->revisions[i];
		uint64_t *parents = arena_alloc(arena, (node.parents_count + 1) * sizeof *parents);
		uint32_t left = 0;
		for (uint32_t p = 0; p < node.parents_count; p++)
			if (valid_parent(&node, i, p) && !is_split(doc, node.parents[p]))
				parents[left++] = node.parents[p];
		node.parents = parents;
		node.parents_count = left;
		cut->revisions[i] = node;
	}
}

/* A split among what these stand on that no other of these splits stands on. */
static bool mark_last_splits(const struct document *doc, const uint8_t *below, struct arena *arena,
			     uint8_t *marks)
{
	bool found = false;
	uint8_t *older = arena_alloc(arena, doc->revisions_count + 1);
	for (uint32_t i = doc->revisions_count; i-- > 0;) {
		bool split = below[i] && is_split(doc, i);
		marks[i] = split && !older[i];
		found |= split;
		for (uint32_t p = 0; (split || older[i]) && p < doc->revisions[i].parents_count;
		     p++)
			if (valid_parent(&doc->revisions[i], i, p))
				older[doc->revisions[i].parents[p]] = 1;
	}
	return found;
}

/* What is of the documents that were split off, by what is after the split. */
static void mark_before(const struct document *doc, const uint8_t *leaves, struct graph_split *out)
{
	uint32_t all = doc->revisions_count;
	for (uint32_t i = 0; i < all; i++)
		out->taken[i] = leaves[i] && out->after[i];
	graph_mark_below(doc, out->taken);
	for (uint32_t i = 0; i < all; i++)
		out->before[i] = out->taken[i] =
		    out->taken[i] && !out->after[i] && !is_split(doc, i);
	graph_mark_above(doc, out->before);
	for (uint32_t i = 0; i < all; i++)
		out->before[i] = out->before[i] && !out->after[i];
}

static uint8_t *copy_of(const struct document *doc, const uint8_t *marks, struct arena *arena)
{
	uint8_t *copy = arena_alloc(arena, doc->revisions_count + 1);
	memcpy(copy, marks, doc->revisions_count);
	return copy;
}

/* ---- an id that was freed ---- */

static bool has_split(const struct document *doc)
{
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		if (is_split(doc, i))
			return true;
	return false;
}

/* The same marks, and the deletions that ended what stands on a split. */
static uint8_t *with_ends(const struct document *doc, const uint8_t *leaves, struct arena *arena)
{
	uint8_t *out = copy_of(doc, leaves, arena);
	uint8_t *on = arena_alloc(arena, doc->revisions_count + 1);
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		on[i] = is_split(doc, i);
	graph_mark_above(doc, on);
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		out[i] |= on[i] && graph_is_leaf(doc, i) && !graph_is_live(doc, i);
	return out;
}

/* Marks what has nothing to do with the split, and what stands on that. */
static bool mark_fresh(const struct document *doc, const uint8_t *leaves, const uint8_t *below,
		       const struct graph_split *split, struct arena *arena, uint8_t *fresh)
{
	bool found = false;
	uint8_t *related = arena_alloc(arena, doc->revisions_count + 1);
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		related[i] = leaves[i] && split->after[i];
	graph_mark_below(doc, related);
	graph_mark_above(doc, related);
	for (uint32_t i = 0; i < doc->revisions_count; i++) {
		fresh[i] = below[i] && !related[i] && !is_split(doc, i);
		found |= fresh[i];
	}
	graph_mark_above(doc, fresh);
	return found;
}

static bool stub_is_there(const struct document *doc)
{
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		if (is_split(doc, i) && graph_is_live(doc, i))
			return true;
	return false;
}

static bool some_are_live(const struct document *doc, const uint8_t *nodes, const uint8_t *marks)
{
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		if (nodes[i] && marks[i] && !(doc->revisions[i].flags & REVISION_DELETED))
			return true;
	return false;
}

/* All that stands on the split is deleted, so whoever makes a document of that id need not know of
 * the split. False: it is not so, or nothing late has met such a document. */
static bool find_freed(const struct document *doc, const uint8_t *nodes, struct arena *arena,
		       struct graph_split *out)
{
	uint32_t all = doc->revisions_count;
	uint8_t *leaves = with_ends(doc, nodes, arena);
	uint8_t *below = copy_of(doc, nodes, arena);
	uint8_t *all_below = copy_of(doc, leaves, arena);
	uint8_t *fresh = arena_alloc(arena, all + 1);
	graph_mark_below(doc, below);
	graph_mark_below(doc, all_below);
	if (stub_is_there(doc) || !mark_last_splits(doc, all_below, arena, out->after))
		return false;
	graph_mark_above(doc, out->after);
	if (some_are_live(doc, nodes, out->after) ||
	    !mark_fresh(doc, leaves, below, out, arena, fresh))
		return false;
	for (uint32_t i = 0; i < all; i++)
		out->after[i] |= fresh[i];
	mark_before(doc, leaves, out);
	for (uint32_t i = 0; i < all; i++)
		out->freed |= nodes[i] && out->before[i];
	return out->freed;
}

/* ---- either way ---- */

static struct graph_split nothing_marked(const struct document *doc, struct arena *arena)
{
	uint32_t all = doc->revisions_count;
	return (struct graph_split){.cut = *doc,
				    .after = arena_alloc(arena, all + 1),
				    .before = arena_alloc(arena, all + 1),
				    .taken = arena_alloc(arena, all + 1)};
}

void graph_split_find(const struct document *doc, const uint32_t *nodes, uint32_t count,
		      struct arena *arena, struct graph_split *out)
{
	*out = nothing_marked(doc, arena);
	if (!has_split(doc))
		return;
	uint8_t *leaves = arena_alloc(arena, doc->revisions_count + 1);
	for (uint32_t i = 0; i < count; i++) {
		CHECK(nodes[i] < doc->revisions_count);
		leaves[nodes[i]] = 1;
	}
	if (!find_freed(doc, leaves, arena, out)) {
		uint8_t *below = copy_of(doc, leaves, arena);
		*out = nothing_marked(doc, arena);
		graph_mark_below(doc, below);
		if (!mark_last_splits(doc, below, arena, out->after))
			return;
		graph_mark_above(doc, out->after);
		mark_before(doc, leaves, out);
	}
	cut_off(doc, arena, &out->cut);
}
