#include "common/doc/graph_line.h"

#include <stdlib.h>

#include "common/base/check.h"
#include "common/doc/graph.h"
#include "common/doc/revision.h"

static bool is_deleted(const struct revision_node *node)
{
	return node->flags & REVISION_DELETED;
}

static bool line_goes_rather(const struct revision_node *a, const struct revision_node *b)
{
	if (is_deleted(a) != is_deleted(b))
		return is_deleted(b);
	return slice_compare(a->hash, b->hash) > 0;
}

int graph_line_parent(const struct document *doc, uint32_t index)
{
	const struct revision_node *node = &doc->revisions[index];
	int best = GRAPH_NONE;
	for (uint32_t i = 0; i < node->parents_count; i++) {
		uint64_t parent = node->parents[i];
		if (parent >= index || doc->revisions[parent].generation + 1 != node->generation)
			continue;
		if (best == GRAPH_NONE ||
		    line_goes_rather(&doc->revisions[parent], &doc->revisions[best]))
			best = (int)parent;
	}
	return best;
}

void graph_mark_descendants(const struct document *doc, uint32_t index, uint8_t *marks)
{
	memset(marks, 0, doc->revisions_count);
	marks[index] = 1;
	for (uint32_t i = index + 1; i < doc->revisions_count; i++)
		for (uint32_t p = 0; p < doc->revisions[i].parents_count && !marks[i]; p++) {
			uint64_t parent = doc->revisions[i].parents[p];
			marks[i] = parent < i && marks[parent];
		}
}

/* ---- ends ---- */

static void end_name(const struct document *doc, uint32_t index, char text[REVISION_HASH_CHARS],
		     struct revision *out)
{
	struct revision ended = graph_name(doc, index);
	struct revision_content content = {.parents = &ended, .parents_count = 1, .deleted = true};
	revision_name(&content, text, out);
}

int graph_find_end(const struct document *doc, const struct revision *r, uint32_t *work)
{
	char text[REVISION_HASH_CHARS];
	struct revision end;
	if (r->hash.len != REVISION_HASH_CHARS)
		return GRAPH_NONE;
	for (uint32_t i = 0; i<doc->revisions_count && * work> 0; i++) {
		const struct revision_node *node = &doc->revisions[i];
		if (node->generation + 1 != r->generation || (node->flags & REVISION_LEAF) ||
		    is_deleted(node))
			continue;
		(*work)--;
		end_name(doc, i, text, &end);
		if (revision_equal(&end, r))
			return (int)i;
	}
	return GRAPH_NONE;
}

/* Marks what the tree goes on from. A child whose line was cut by stemming goes on from all that it
 * was linked to. */
static void mark_continued(const struct document *doc, uint8_t *marks)
{
	for (uint32_t i = 0; i < doc->revisions_count; i++) {
		const struct revision_node *node = &doc->revisions[i];
		int parent = graph_line_parent(doc, i);
		if (parent != GRAPH_NONE)
			marks[parent] = 1;
		for (uint32_t p = 0; parent == GRAPH_NONE && p < node->parents_count; p++)
			if (node->parents[p] < i)
				marks[node->parents[p]] = 1;
	}
}

static int compare_tips(const void *a, const void *b)
{
	return revision_compare(&((const struct graph_tip *)a)->revision,
				&((const struct graph_tip *)b)->revision);
}

static struct graph_tip end_of(const struct document *doc, uint32_t index, struct arena *arena)
{
	struct graph_tip tip = {.index = index, .deleted = true, .end = true};
	end_name(doc, index, arena_alloc(arena, REVISION_HASH_CHARS), &tip.revision);
	return tip;
}

/* Of each loser that nothing goes on from. The deletion may have been made: then it is a leaf. */
static uint32_t add_ends(const struct document *doc, const uint8_t *continued, struct arena *arena,
			 struct graph_tip *tips)
{
	uint32_t count = 0;
	uint32_t kept = 0;
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		if (!graph_is_leaf(doc, i) && !continued[i] && !is_deleted(&doc->revisions[i]))
			tips[count++] = end_of(doc, i, arena);
	struct revision *names = arena_alloc(arena, (count + 1) * sizeof *names);
	for (uint32_t i = 0; i < count; i++)
		names[i] = tips[i].revision;
	const int *found = graph_find_all(doc, names, count, arena);
	for (uint32_t i = 0; i < count; i++)
		if (found[i] == GRAPH_NONE)
			tips[kept++] = tips[i];
	return kept;
}

uint32_t graph_tips(const struct document *doc, struct arena *arena, struct graph_tip **out)
{
	uint32_t count = doc->revisions_count;
	uint8_t *continued = arena_alloc(arena, count + 1);
	uint32_t *leaves = arena_alloc(arena, (count + 1) * sizeof *leaves);
	uint32_t leaves_count = 0;
	struct graph_tip *tips = arena_alloc(arena, (count + 1) * sizeof *tips);
	mark_continued(doc, continued);
	for (uint32_t i = 0; i < count; i++)
		if (graph_is_leaf(doc, i) || (!continued[i] && is_deleted(&doc->revisions[i])))
			leaves[leaves_count++] = i;
	graph_sort_by_winning(doc, leaves, leaves_count, arena);
	for (uint32_t i = 0; i < leaves_count; i++)
		tips[i] = (struct graph_tip){.revision = graph_name(doc, leaves[i]),
					     .index = leaves[i],
					     .deleted = is_deleted(&doc->revisions[leaves[i]])};
	uint32_t all = leaves_count + add_ends(doc, continued, arena, tips + leaves_count);
	qsort(tips + leaves_count, all - leaves_count, sizeof *tips, compare_tips);
	*out = tips;
	return all;
}

/* ---- what comes from elsewhere ---- */

static void supersede(struct revision_node *node, uint64_t number)
{
	node->flags &= ~(uint64_t)REVISION_LEAF;
	if (node->superseded == 0)
		node->superseded = number;
}

static void append(struct document *doc, struct arena *arena, struct revision_node node, int parent,
		   uint64_t number)
{
	node.flags |= REVISION_LEAF;
	node.parents = NULL;
	node.parents_count = 0;
	if (parent != GRAPH_NONE) {
		node.parents = arena_alloc(arena, sizeof *node.parents);
		node.parents[0] = (uint64_t)parent;
		node.parents_count = 1;
		supersede(&doc->revisions[parent], number);
	}
	doc->revisions[doc->revisions_count++] = node;
}

/* The place of the leaf, then of each of its ancestors; GRAPH_NONE: not there. */
static const int *find_line(const struct document *doc, struct arena *arena,
			    const struct graph_line *line)
{
	uint32_t count = line->ancestors_count;
	struct revision *names = arena_alloc(arena, (count + 1) * sizeof *names);
	names[0] =
	    (struct revision){.generation = line->leaf->generation, .hash = line->leaf->hash};
	if (count > 0)
		memcpy(names + 1, line->ancestors, count * sizeof *names);
	return graph_find_all(doc, names, count + 1, arena);
}

struct graph_imported graph_import(struct document *doc, struct arena *arena,
				   const struct graph_line *line, uint64_t number)
{
	struct graph_imported result = {.index = GRAPH_NONE, .extends = true};
	const int *found = find_line(doc, arena, line);
	uint32_t missing = 0;
	if (found[0] != GRAPH_NONE)
		return result;
	found++;
	while (missing < line->ancestors_count && found[missing] == GRAPH_NONE)
		missing++;
	int parent = missing < line->ancestors_count ? found[missing] : GRAPH_NONE;
	missing = missing < line->most ? missing : line->most;
	if (doc->revisions_count + missing + 1 > LIMIT_REVISIONS)
		return result;
	if (parent != GRAPH_NONE) {
		result.extends = graph_is_leaf(doc, (uint32_t)parent);
		result.on_closed = doc->revisions[parent].flags & REVISION_CLOSED;
	}
	for (uint32_t i = missing; i-- > 0;) {
		struct revision_node node = {.generation = line->ancestors[i].generation,
					     .hash = line->ancestors[i].hash};
		append(doc, arena, node, parent, number);
		parent = (int)doc->revisions_count - 1;
	}
	append(doc, arena, *line->leaf, parent, number);
	result.index = (int)doc->revisions_count - 1;
	return result;
}
