/* Which deletions are sides of a conflict. To delete a document is none, nor is it if all delete
 * it, or if somebody deletes one of two versions by naming it. */
#include "common/doc/graph.h"
#include "common/doc/graph_split.h"

static bool is_ended(const struct document *doc, uint32_t index)
{
	return graph_is_leaf(doc, index) && !graph_is_live(doc, index);
}

static bool counts(const struct document *doc, uint32_t index)
{
	return doc->revisions[index].flags & REVISION_AGAINST;
}

static bool other_is_live(const struct document *doc, uint32_t than, const uint8_t *among)
{
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		if (i != than && (!among || among[i]) && graph_is_live(doc, i))
			return true;
	return false;
}

static void mark_ended(struct document *doc, const uint8_t *among)
{
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		if (among[i] && is_ended(doc, i))
			doc->revisions[i].flags |= REVISION_AGAINST;
}

/* All that has an ancestor in common with the node, or is one; what a split left, and what stands
 * on that, is another document. */
static uint8_t *find_related(const struct document *doc, uint32_t index, struct arena *arena)
{
	uint8_t *related = arena_alloc(arena, doc->revisions_count);
	related[index] = 1;
	graph_mark_below(doc, related);
	graph_mark_above(doc, related);
	return related;
}

static void find_split(const struct document *doc, struct arena *arena, struct graph_split *out)
{
	uint32_t *leaves = arena_alloc(arena, (doc->revisions_count + 1) * sizeof *leaves);
	uint32_t count = 0;
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		if (graph_is_leaf(doc, i))
			leaves[count++] = i;
	graph_split_find(doc, leaves, count, arena, out);
}

static void mark_deletion(struct document *doc, uint32_t added, struct arena *arena)
{
	struct graph_split split;
	bool meets = other_is_live(doc, added, find_related(doc, added, arena));
	if (!meets)
		find_split(doc, arena, &split);
	if (meets || split.before[added])
		doc->revisions[added].flags |= REVISION_AGAINST;
}

static void mark_against_edit(struct document *doc, uint32_t added, struct arena *arena)
{
	struct graph_split split;
	if (other_is_live(doc, added, NULL))
		return; /* which deletions stand against edits is known already */
	find_split(doc, arena, &split);
	mark_ended(doc, find_related(doc, added, arena));
	if (split.before[added])
		mark_ended(doc, split.after);
}

void graph_mark_deletions(struct document *doc, uint32_t added, struct arena *arena)
{
	if (graph_is_live(doc, added))
		mark_against_edit(doc, added, arena);
	else
		mark_deletion(doc, added, arena);
}

/* Marks the deletions that count though no edit is left. */
static uint8_t *find_standing(const struct document *doc, struct arena *arena)
{
	struct graph_split split;
	uint8_t *standing = arena_alloc(arena, doc->revisions_count);
	bool late = false;
	find_split(doc, arena, &split);
	for (uint32_t i = 0; i < doc->revisions_count; i++) {
		standing[i] = is_ended(doc, i) && counts(doc, i) && split.before[i];
		late |= standing[i];
	}
	for (uint32_t i = 0; late && i < doc->revisions_count; i++)
		standing[i] |= is_ended(doc, i) && split.after[i];
	return standing;
}

void graph_settle_deletions(struct document *doc, struct arena *arena)
{
	int winner = graph_winner(doc);
	if (winner == GRAPH_NONE || graph_is_live(doc, (uint32_t)winner))
		return;
	bool any = false;
	for (uint32_t i = 0; !any && i < doc->revisions_count; i++)
		any = counts(doc, i);
	if (!any)
		return;
	const uint8_t *standing = find_standing(doc, arena);
	for (uint32_t i = 0; i < doc->revisions_count; i++) {
		uint64_t flags = doc->revisions[i].flags & ~(uint64_t)REVISION_AGAINST;
		doc->revisions[i].flags = flags | (standing[i] ? REVISION_AGAINST : 0);
	}
}
