#include "common/doc/graph_split.h"

#include "common/base/check.h"

/* Parents stand before their children; stored bytes may say otherwise. */
static bool valid_parent(const struct revision_node *node, uint32_t index, uint32_t nth)
{
	return node->parents[nth] < index;
}

static bool is_split(const struct document *doc, uint64_t index)
{
	return doc->revisions[index].flags & REVISION_SPLIT;
}

/* Marks all that marked nodes stand on. */
static void mark_below(const struct document *doc, uint8_t *marks)
{
	for (uint32_t i = doc->revisions_count; i-- > 0;)
		for (uint32_t p = 0; marks[i] && p < doc->revisions[i].parents_count; p++)
			if (valid_parent(&doc->revisions[i], i, p))
				marks[doc->revisions[i].parents[p]] = 1;
}

/* Marks all that stands on marked nodes, but for what a split left. */
static void mark_above(const struct document *doc, uint8_t *marks)
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

void graph_split_find(const struct document *doc, const uint32_t *nodes, uint32_t count,
		      struct arena *arena, struct graph_split *out)
{
	uint32_t all = doc->revisions_count;
	uint8_t *below = arena_alloc(arena, all + 1);
	*out = (struct graph_split){.cut = *doc,
				    .after = arena_alloc(arena, all + 1),
				    .before = arena_alloc(arena, all + 1),
				    .taken = arena_alloc(arena, all + 1)};
	for (uint32_t i = 0; i < count; i++) {
		CHECK(nodes[i] < all);
		below[nodes[i]] = 1;
	}
	mark_below(doc, below);
	if (!mark_last_splits(doc, below, arena, out->after))
		return;
	cut_off(doc, arena, &out->cut);
	mark_above(doc, out->after);
	for (uint32_t i = 0; i < count; i++)
		out->taken[nodes[i]] = out->after[nodes[i]];
	mark_below(doc, out->taken);
	for (uint32_t i = 0; i < all; i++)
		out->before[i] = out->taken[i] =
		    out->taken[i] && !out->after[i] && !is_split(doc, i);
	mark_above(doc, out->before);
	for (uint32_t i = 0; i < all; i++)
		out->before[i] = out->before[i] && !out->after[i];
}
