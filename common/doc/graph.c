#include "common/doc/graph.h"

#include <stdlib.h>

#include "common/base/check.h"
#include "common/doc/revision.h"

/* Parents stand before their children, so one pass down the list visits every node after all of its
 * descendants: marks in an array replace recursion, and cost no more for graphs that branch and
 * meet. */

static const struct revision_node *node_at(const struct document *doc, uint32_t index)
{
	CHECK(index < doc->revisions_count);
	return &doc->revisions[index];
}

/* A parent's index, or GRAPH_NONE where stored bytes name one that is not before its child. */
static int parent_of(const struct document *doc, uint32_t child, uint32_t nth)
{
	uint64_t parent = doc->revisions[child].parents[nth];
	return parent < child ? (int)parent : GRAPH_NONE;
}

struct revision graph_name(const struct document *doc, uint32_t index)
{
	const struct revision_node *node = node_at(doc, index);
	return (struct revision){.generation = node->generation, .hash = node->hash};
}

int graph_find(const struct document *doc, const struct revision *r)
{
	/* From the end: what is asked for is most often a leaf or near one. */
	for (uint32_t i = doc->revisions_count; i-- > 0;) {
		const struct revision_node *node = &doc->revisions[i];
		if (node->generation == r->generation && slice_equal(node->hash, r->hash))
			return (int)i;
	}
	return GRAPH_NONE;
}

bool graph_is_leaf(const struct document *doc, uint32_t index)
{
	return node_at(doc, index)->flags & REVISION_LEAF;
}

bool graph_is_live(const struct document *doc, uint32_t index)
{
	uint64_t flags = node_at(doc, index)->flags;
	return (flags & REVISION_LEAF) && !(flags & REVISION_DELETED);
}

static int compare_nodes(const struct revision_node *a, const struct revision_node *b)
{
	if (a->generation != b->generation)
		return a->generation < b->generation ? -1 : 1;
	return slice_compare(a->hash, b->hash);
}

static bool wins(const struct revision_node *a, const struct revision_node *b)
{
	bool a_deleted = a->flags & REVISION_DELETED;
	bool b_deleted = b->flags & REVISION_DELETED;
	return a_deleted != b_deleted ? b_deleted : compare_nodes(a, b) > 0;
}

int graph_winner(const struct document *doc)
{
	int best = GRAPH_NONE;
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		if (graph_is_leaf(doc, i) &&
		    (best == GRAPH_NONE || wins(&doc->revisions[i], &doc->revisions[best])))
			best = (int)i;
	return best;
}

bool graph_is_side(const struct document *doc, uint32_t index)
{
	uint64_t flags = node_at(doc, index)->flags;
	return (flags & REVISION_LEAF) &&
	       (!(flags & REVISION_DELETED) || (flags & REVISION_AGAINST));
}

uint32_t graph_conflicts(const struct document *doc)
{
	uint32_t sides = 0;
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		sides += graph_is_side(doc, i);
	return sides > 1 ? sides - 1 : 0;
}

/* ---- sorting ---- */

struct named {
	const struct revision_node *node;
	uint32_t index;
};

static int compare_ascending(const void *a, const void *b)
{
	return compare_nodes(((const struct named *)a)->node, ((const struct named *)b)->node);
}

static int compare_winning(const void *a, const void *b)
{
	const struct revision_node *x = ((const struct named *)a)->node;
	const struct revision_node *y = ((const struct named *)b)->node;
	return wins(x, y) ? -1 : wins(y, x);
}

static void sort_by_name(const struct document *doc, uint32_t *indexes, uint32_t count,
			 struct arena *arena, int (*compare)(const void *, const void *))
{
	if (count < 2)
		return;
	struct named *rows = arena_alloc(arena, count * sizeof *rows);
	for (uint32_t i = 0; i < count; i++)
		rows[i] = (struct named){&doc->revisions[indexes[i]], indexes[i]};
	qsort(rows, count, sizeof *rows, compare);
	for (uint32_t i = 0; i < count; i++)
		indexes[i] = rows[i].index;
}

void graph_sort_by_name(const struct document *doc, uint32_t *indexes, uint32_t count,
			struct arena *arena)
{
	sort_by_name(doc, indexes, count, arena, compare_ascending);
}

/* Indexes of the marks that are set, ascending. */
static uint32_t collect(const uint8_t *marks, uint32_t count, struct arena *arena, uint32_t **out)
{
	uint32_t found = 0;
	for (uint32_t i = 0; i < count; i++)
		found += marks[i] != 0;
	*out = arena_alloc(arena, found * sizeof **out);
	found = 0;
	for (uint32_t i = 0; i < count; i++)
		if (marks[i])
			(*out)[found++] = i;
	return found;
}

uint32_t graph_sides(const struct document *doc, struct arena *arena, uint32_t **out)
{
	uint8_t *marks = arena_alloc(arena, doc->revisions_count);
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		marks[i] = graph_is_side(doc, i);
	uint32_t count = collect(marks, doc->revisions_count, arena, out);
	sort_by_name(doc, *out, count, arena, compare_winning);
	return count;
}

/* ---- changes ---- */

static void supersede(struct revision_node *node, uint64_t number)
{
	node->flags &= ~(uint64_t)REVISION_LEAF;
	if (node->superseded == 0)
		node->superseded = number;
}

uint32_t graph_add(struct document *doc, struct arena *arena, const struct revision_node *node,
		   uint64_t number)
{
	uint32_t index = doc->revisions_count;
	CHECK(index < LIMIT_REVISIONS);
	struct revision_node *list = arena_alloc(arena, (index + 1) * sizeof *list);
	if (index)
		memcpy(list, doc->revisions, index * sizeof *list);
	list[index] = *node;
	list[index].superseded = 0;
	if (node->flags & REVISION_CLOSED)
		supersede(&list[index], number);
	else
		list[index].flags |= REVISION_LEAF;
	list[index].parents = arena_alloc(arena, node->parents_count * sizeof *node->parents);
	for (uint32_t i = 0; i < node->parents_count; i++) {
		CHECK(node->parents[i] < index &&
		      (i == 0 || node->parents[i - 1] < node->parents[i]));
		list[index].parents[i] = node->parents[i];
		supersede(&list[node->parents[i]], number);
	}
	doc->revisions = list;
	doc->revisions_count = index + 1;
	return index;
}

void graph_close(struct document *doc, uint32_t index, uint64_t number)
{
	CHECK(graph_is_leaf(doc, index));
	supersede(&doc->revisions[index], number);
	doc->revisions[index].flags |= REVISION_CLOSED;
}

void graph_settle_deletions(struct document *doc)
{
	int winner = graph_winner(doc);
	if (winner != GRAPH_NONE && graph_is_live(doc, (uint32_t)winner))
		return;
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		doc->revisions[i].flags &= ~(uint64_t)REVISION_AGAINST;
}

/* ---- ancestry ---- */

/* Marks all that is reachable from marked nodes through at least one step. */
static void mark_ancestors(const struct document *doc, const uint8_t *from, uint8_t *ancestors)
{
	for (uint32_t i = doc->revisions_count; i-- > 0;) {
		if (!from[i] && !ancestors[i])
			continue;
		for (uint32_t p = 0; p < doc->revisions[i].parents_count; p++) {
			int parent = parent_of(doc, i, p);
			if (parent != GRAPH_NONE)
				ancestors[parent] = 1;
		}
	}
}

/* Marks all that has an ancestor in common with the node, or is one. */
static void mark_related(const struct document *doc, uint32_t index, uint8_t *related,
			 struct arena *arena)
{
	uint8_t *from = arena_alloc(arena, doc->revisions_count);
	from[index] = 1;
	mark_ancestors(doc, from, related);
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		for (uint32_t p = 0; !related[i] && p < doc->revisions[i].parents_count; p++) {
			int parent = parent_of(doc, i, p);
			related[i] = parent != GRAPH_NONE && related[parent];
		}
}

static bool other_is_live(const struct document *doc, uint32_t than, const uint8_t *among)
{
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		if (i != than && (!among || among[i]) && graph_is_live(doc, i))
			return true;
	return false;
}

void graph_mark_deletions(struct document *doc, uint32_t added, struct arena *arena)
{
	bool deleted = !graph_is_live(doc, added);
	if (!deleted && other_is_live(doc, added, NULL))
		return; /* which deletions stand against edits is known already */
	uint8_t *related = arena_alloc(arena, doc->revisions_count);
	mark_related(doc, added, related, arena);
	if (deleted && other_is_live(doc, added, related))
		doc->revisions[added].flags |= REVISION_AGAINST;
	for (uint32_t i = 0; i < doc->revisions_count && !deleted; i++)
		if (related[i] && graph_is_leaf(doc, i) && !graph_is_live(doc, i))
			doc->revisions[i].flags |= REVISION_AGAINST;
}

bool graph_descends(const struct document *doc, uint32_t index, uint32_t ancestor)
{
	CHECK(index < doc->revisions_count && doc->revisions_count <= LIMIT_REVISIONS);
	uint64_t reached[LIMIT_REVISIONS / 64];
	memset(reached, 0, (index / 64 + 1) * sizeof *reached);
	reached[index / 64] |= UINT64_C(1) << index % 64;
	for (uint32_t i = index; i > ancestor; i--) {
		if (!(reached[i / 64] >> i % 64 & 1))
			continue;
		for (uint32_t p = 0; p < doc->revisions[i].parents_count; p++) {
			int parent = parent_of(doc, i, p);
			if (parent != GRAPH_NONE)
				reached[parent / 64] |= UINT64_C(1) << parent % 64;
		}
	}
	return ancestor <= index && (reached[ancestor / 64] >> ancestor % 64 & 1);
}

/* Takes the ancestors of other marked nodes out. */
static void keep_maximal(const struct document *doc, uint8_t *marks, struct arena *arena)
{
	uint8_t *below = arena_alloc(arena, doc->revisions_count);
	mark_ancestors(doc, marks, below);
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		if (below[i])
			marks[i] = 0;
}

/* A resolution whose parents are still known gives way to them. */
static void expand_resolutions(const struct document *doc, uint8_t *marks)
{
	for (uint32_t i = doc->revisions_count; i-- > 0;) {
		const struct revision_node *node = &doc->revisions[i];
		if (!marks[i] || !(node->flags & REVISION_RESOLVED))
			continue;
		for (uint32_t p = 0; p < node->parents_count; p++) {
			int parent = parent_of(doc, i, p);
			if (parent == GRAPH_NONE)
				continue;
			marks[parent] = 1;
			marks[i] = 0;
		}
	}
}

uint32_t graph_human_inputs(const struct document *doc, const uint32_t *nodes, uint32_t count,
			    struct arena *arena, uint32_t **out)
{
	uint8_t *marks = arena_alloc(arena, doc->revisions_count);
	for (uint32_t i = 0; i < count; i++) {
		CHECK(nodes[i] < doc->revisions_count);
		marks[nodes[i]] = 1;
	}
	expand_resolutions(doc, marks);
	keep_maximal(doc, marks, arena);
	uint32_t found = collect(marks, doc->revisions_count, arena, out);
	sort_by_name(doc, *out, found, arena, compare_ascending);
	return found;
}

/* Clears the mark of every node that is not an ancestor of (or equal to) all of these, at most 64,
 * nodes. */
static void keep_common(const struct document *doc, const uint32_t *nodes, uint32_t count,
			uint64_t *reached, uint8_t *marks)
{
	uint64_t all = count == 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1;
	memset(reached, 0, doc->revisions_count * sizeof *reached);
	for (uint32_t i = 0; i < count; i++) {
		CHECK(nodes[i] < doc->revisions_count);
		reached[nodes[i]] |= UINT64_C(1) << i;
	}
	for (uint32_t i = doc->revisions_count; i-- > 0;) {
		if (reached[i] != all)
			marks[i] = 0;
		if (reached[i] == 0)
			continue;
		for (uint32_t p = 0; p < doc->revisions[i].parents_count; p++) {
			int parent = parent_of(doc, i, p);
			if (parent != GRAPH_NONE)
				reached[parent] |= reached[i];
		}
	}
}

uint32_t graph_common_ancestors(const struct document *doc, const uint32_t *nodes, uint32_t count,
				struct arena *arena, uint32_t **out)
{
	*out = NULL;
	if (count == 0 || doc->revisions_count == 0)
		return 0;
	uint8_t *marks = arena_alloc(arena, doc->revisions_count);
	uint64_t *reached = arena_alloc(arena, doc->revisions_count * sizeof *reached);
	memset(marks, 1, doc->revisions_count);
	for (uint32_t from = 0; from < count; from += 64)
		keep_common(doc, nodes + from, count - from < 64 ? count - from : 64, reached,
			    marks);
	keep_maximal(doc, marks, arena);
	return collect(marks, doc->revisions_count, arena, out);
}
