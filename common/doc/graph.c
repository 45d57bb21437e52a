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

/* Orders most names: generation, then how the hash begins. Thousands are compared again and again.
 */
static uint64_t key_of(uint64_t generation, struct slice hash)
{
	uint64_t key = generation << 32;
	for (uint32_t i = 0; i < 4 && i < hash.len; i++)
		key |= (uint64_t)hash.data[i] << (24 - 8 * i);
	return key;
}

int graph_find(const struct document *doc, const struct revision *r)
{
	uint64_t key = key_of(r->generation, r->hash);
	/* From the end: what is asked for is most often a leaf or near one. */
	for (uint32_t i = doc->revisions_count; i-- > 0;) {
		const struct revision_node *node = &doc->revisions[i];
		if (node->generation == r->generation &&
		    key_of(node->generation, node->hash) == key && slice_equal(node->hash, r->hash))
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

bool graph_is_side(const struct document *doc, uint32_t index)
{
	uint64_t flags = node_at(doc, index)->flags;
	bool counts = flags & (REVISION_AGAINST | REVISION_PURGED);
	return (flags & REVISION_LEAF) && (!(flags & REVISION_DELETED) || counts);
}

static int compare_nodes(const struct revision_node *a, const struct revision_node *b)
{
	if (a->generation != b->generation)
		return a->generation < b->generation ? -1 : 1;
	return slice_compare(a->hash, b->hash);
}

/* What comes late after a purge is shown to nobody beside what somebody wrote. */
static int rank_of(const struct revision_node *node)
{
	if (!(node->flags & REVISION_DELETED))
		return node->flags & REVISION_LATE ? 1 : 2;
	return node->flags & REVISION_PURGED ? 3 : 0;
}

struct named {
	uint64_t key;
	const struct revision_node *node;
	uint32_t index;
	int rank; /* among leaves, before the key */
};

static struct named named_of(const struct document *doc, uint32_t index)
{
	const struct revision_node *node = &doc->revisions[index];
	return (struct named){.key = key_of(node->generation, node->hash),
			      .node = node,
			      .index = index,
			      .rank = rank_of(node)};
}

static int compare_ascending(const void *a, const void *b)
{
	const struct named *x = a;
	const struct named *y = b;
	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return compare_nodes(x->node, y->node);
}

static int compare_winning(const void *a, const void *b)
{
	const struct named *x = a;
	const struct named *y = b;
	return x->rank != y->rank ? y->rank - x->rank : compare_ascending(y, x);
}

int graph_winner(const struct document *doc)
{
	struct named best = {0};
	for (uint32_t i = 0; i < doc->revisions_count; i++) {
		if (!(doc->revisions[i].flags & REVISION_LEAF))
			continue;
		struct named row = named_of(doc, i);
		if (!best.node || compare_winning(&row, &best) < 0)
			best = row;
	}
	return best.node ? (int)best.index : GRAPH_NONE;
}

uint32_t graph_conflicts(const struct document *doc)
{
	uint32_t sides = 0;
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		sides += graph_is_side(doc, i);
	return sides > 1 ? sides - 1 : 0;
}

/* ---- sorting ---- */

static void sort_by_name(const struct document *doc, uint32_t *indexes, uint32_t count,
			 struct arena *arena, int (*compare)(const void *, const void *))
{
	if (count < 2)
		return;
	struct named *rows = arena_alloc(arena, count * sizeof *rows);
	for (uint32_t i = 0; i < count; i++)
		rows[i] = named_of(doc, indexes[i]);
	qsort(rows, count, sizeof *rows, compare);
	for (uint32_t i = 0; i < count; i++)
		indexes[i] = rows[i].index;
}

void graph_sort_by_name(const struct document *doc, uint32_t *indexes, uint32_t count,
			struct arena *arena)
{
	sort_by_name(doc, indexes, count, arena, compare_ascending);
}

void graph_sort_by_winning(const struct document *doc, uint32_t *indexes, uint32_t count,
			   struct arena *arena)
{
	sort_by_name(doc, indexes, count, arena, compare_winning);
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

uint32_t graph_sides_set(const struct document *doc, struct arena *arena, uint32_t **out)
{
	uint8_t *marks = arena_alloc(arena, doc->revisions_count);
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		marks[i] = graph_is_side(doc, i);
	return collect(marks, doc->revisions_count, arena, out);
}

uint32_t graph_sides(const struct document *doc, struct arena *arena, uint32_t **out)
{
	uint32_t count = graph_sides_set(doc, arena, out);
	sort_by_name(doc, *out, count, arena, compare_winning);
	return count;
}

uint32_t graph_top_sides(const struct document *doc, uint32_t most, struct arena *arena,
			 uint32_t **out)
{
	struct named *best = arena_alloc(arena, (most + 1) * sizeof *best);
	uint32_t count = 0;
	for (uint32_t i = 0; i < doc->revisions_count; i++) {
		if (!graph_is_side(doc, i))
			continue;
		struct named row = named_of(doc, i);
		uint32_t at = count;
		for (; at > 0 && compare_winning(&best[at - 1], &row) > 0; at--)
			best[at] = best[at - 1];
		best[at] = row;
		count += count < most;
	}
	*out = arena_alloc(arena, (count + 1) * sizeof **out);
	for (uint32_t i = 0; i < count; i++)
		(*out)[i] = best[i].index;
	return count;
}

/* ---- many at once ---- */

enum { FIND_FEW = 2 };

/* Where the first row that is not before this one stands. */
static uint32_t lower_bound(const struct named *rows, uint32_t count, const struct named *wanted)
{
	uint32_t low = 0;
	for (uint32_t high = count; low < high;) {
		uint32_t middle = low + (high - low) / 2;
		if (compare_ascending(&rows[middle], wanted) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* What is asked for is sorted, not the graph, which is the longer one most often. */
static void find_sorted(const struct document *doc, const struct named *rows, uint32_t count,
			int *found)
{
	for (uint32_t i = 0; i < doc->revisions_count; i++) {
		struct named row = named_of(doc, i);
		if (row.key < rows[0].key || row.key > rows[count - 1].key)
			continue;
		for (uint32_t at = lower_bound(rows, count, &row);
		     at < count && compare_ascending(&rows[at], &row) == 0; at++)
			found[rows[at].index] = (int)i;
	}
}

int *graph_find_all(const struct document *doc, const struct revision *names, uint32_t count,
		    struct arena *arena)
{
	int *found = arena_alloc(arena, (count + 1) * sizeof *found);
	for (uint32_t i = 0; count <= FIND_FEW && i < count; i++)
		found[i] = graph_find(doc, &names[i]);
	if (count <= FIND_FEW)
		return found;
	struct revision_node *nodes = arena_alloc(arena, count * sizeof *nodes);
	struct document wanted = {.revisions = nodes, .revisions_count = count};
	struct named *rows = arena_alloc(arena, count * sizeof *rows);
	for (uint32_t i = 0; i < count; i++) {
		nodes[i].generation = names[i].generation;
		nodes[i].hash = names[i].hash;
		rows[i] = named_of(&wanted, i);
		found[i] = GRAPH_NONE;
	}
	qsort(rows, count, sizeof *rows, compare_ascending);
	find_sorted(doc, rows, count, found);
	return found;
}

/* ---- changes ---- */

static void supersede(struct revision_node *node, uint64_t number)
{
	node->flags &= ~(uint64_t)REVISION_LEAF;
	if (node->superseded == 0)
		node->superseded = number;
}

void graph_reserve(struct document *doc, struct arena *arena, uint32_t more)
{
	uint32_t count = doc->revisions_count;
	CHECK(more <= LIMIT_REVISIONS && count + more <= LIMIT_REVISIONS);
	struct revision_node *list = arena_alloc(arena, (count + more) * sizeof *list);
	if (count)
		memcpy(list, doc->revisions, count * sizeof *list);
	doc->revisions = list;
}

uint32_t graph_add(struct document *doc, struct arena *arena, const struct revision_node *node,
		   uint64_t number)
{
	graph_reserve(doc, arena, 1);
	return graph_add_reserved(doc, arena, node, number);
}

uint32_t graph_add_reserved(struct document *doc, struct arena *arena,
			    const struct revision_node *node, uint64_t number)
{
	uint32_t index = doc->revisions_count;
	CHECK(index < LIMIT_REVISIONS);
	struct revision_node *list = doc->revisions;
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
	doc->revisions_count = index + 1;
	return index;
}

void graph_close(struct document *doc, uint32_t index, uint64_t number)
{
	CHECK(graph_is_leaf(doc, index));
	supersede(&doc->revisions[index], number);
	doc->revisions[index].flags |= REVISION_CLOSED;
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

uint32_t graph_human_set(const struct document *doc, const uint32_t *nodes, uint32_t count,
			 struct arena *arena, uint32_t **out)
{
	uint8_t *marks = arena_alloc(arena, doc->revisions_count);
	for (uint32_t i = 0; i < count; i++) {
		CHECK(nodes[i] < doc->revisions_count);
		marks[nodes[i]] = 1;
	}
	expand_resolutions(doc, marks);
	keep_maximal(doc, marks, arena);
	return collect(marks, doc->revisions_count, arena, out);
}

uint32_t graph_human_inputs(const struct document *doc, const uint32_t *nodes, uint32_t count,
			    struct arena *arena, uint32_t **out)
{
	uint32_t found = graph_human_set(doc, nodes, count, arena, out);
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

/* The last of several nodes is an ancestor of none of the others: what all of them have in common
 * is the same with its only parent in its place. So thousands of leaves become a few nodes before
 * anything is counted. Returns how many; 0: they have nothing in common. */
static uint32_t collapse(const struct document *doc, const uint32_t *nodes, uint32_t count,
			 struct arena *arena, uint32_t **out)
{
	uint8_t *marks = arena_alloc(arena, doc->revisions_count);
	uint32_t left = 0;
	for (uint32_t i = 0; i < count; i++) {
		CHECK(nodes[i] < doc->revisions_count);
		left += !marks[nodes[i]];
		marks[nodes[i]] = 1;
	}
	for (uint32_t i = doc->revisions_count; i-- > 0 && left > 1;) {
		if (!marks[i])
			continue;
		if (doc->revisions[i].parents_count > 1)
			break;
		int parent =
		    doc->revisions[i].parents_count == 1 ? parent_of(doc, i, 0) : GRAPH_NONE;
		if (parent == GRAPH_NONE)
			return 0;
		marks[i] = 0;
		left -= marks[parent];
		marks[parent] = 1;
	}
	return collect(marks, doc->revisions_count, arena, out);
}

uint32_t graph_common_ancestors(const struct document *doc, const uint32_t *nodes, uint32_t count,
				struct arena *arena, uint32_t **out)
{
	*out = NULL;
	if (count == 0 || doc->revisions_count == 0)
		return 0;
	uint32_t *few = NULL;
	count = collapse(doc, nodes, count, arena, &few);
	nodes = few;
	*out = few;
	if (count < 2)
		return count;
	uint8_t *marks = arena_alloc(arena, doc->revisions_count);
	uint64_t *reached = arena_alloc(arena, doc->revisions_count * sizeof *reached);
	memset(marks, 1, doc->revisions_count);
	for (uint32_t from = 0; from < count; from += 64)
		keep_common(doc, nodes + from, count - from < 64 ? count - from : 64, reached,
			    marks);
	keep_maximal(doc, marks, arena);
	return collect(marks, doc->revisions_count, arena, out);
}
