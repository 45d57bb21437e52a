/* How the histories of several nodes hang together, and what merging them reads. */
#include <stdlib.h>

#include "common/doc/graph.h"
#include "common/doc/graph_tree.h"
#include "common/doc/revision.h"

/* ---- groups ---- */

static uint32_t root_of(uint32_t *links, uint32_t node)
{
	while (links[node] != node) {
		links[node] = links[links[node]];
		node = links[node];
	}
	return node;
}

/* Links each node that leads to some of these, but is not common to all (unless `whole`), with such
 * parents. */
static uint32_t *link_histories(const struct document *doc, const uint32_t *nodes, uint32_t count,
				bool whole, struct arena *arena)
{
	uint32_t *links = arena_alloc(arena, (doc->revisions_count + 1) * sizeof *links);
	uint8_t *marks = arena_alloc(arena, doc->revisions_count + 1);
	uint8_t *common = arena_alloc(arena, doc->revisions_count + 1);
	uint32_t *bases = NULL;
	uint32_t bases_count = whole ? 0 : graph_common_ancestors(doc, nodes, count, arena, &bases);
	for (uint32_t i = 0; i < count; i++)
		marks[nodes[i]] = 1;
	for (uint32_t i = 0; i < bases_count; i++)
		common[bases[i]] = 1;
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		links[i] = i;
	for (uint32_t i = doc->revisions_count; i-- > 0;) {
		const struct revision_node *node = &doc->revisions[i];
		for (uint32_t p = 0; p < node->parents_count; p++) {
			uint64_t parent = node->parents[p];
			if (parent >= i || !(marks[i] || common[i]))
				continue;
			if (common[i]) {
				common[parent] = 1;
				continue;
			}
			marks[parent] = 1;
		}
	}
	for (uint32_t i = 0; i < doc->revisions_count; i++) {
		const struct revision_node *node = &doc->revisions[i];
		for (uint32_t p = 0; marks[i] && !common[i] && p < node->parents_count; p++)
			if (node->parents[p] < i && !common[node->parents[p]])
				links[root_of(links, i)] =
				    root_of(links, (uint32_t)node->parents[p]);
	}
	return links;
}

static uint32_t number_groups(const struct document *doc, uint32_t *links, const uint32_t *nodes,
			      uint32_t count, struct arena *arena, uint32_t **out)
{
	uint32_t *numbers = arena_alloc(arena, (doc->revisions_count + 1) * sizeof *numbers);
	uint32_t groups = 0;
	*out = arena_alloc(arena, (count + 1) * sizeof **out);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t root = root_of(links, nodes[i]);
		if (numbers[root] == 0)
			numbers[root] = ++groups;
		(*out)[i] = numbers[root] - 1;
	}
	return groups;
}

uint32_t graph_groups(const struct document *doc, const uint32_t *nodes, uint32_t count,
		      struct arena *arena, uint32_t **out)
{
	uint32_t *links = link_histories(doc, nodes, count, false, arena);
	return number_groups(doc, links, nodes, count, arena, out);
}

uint32_t graph_families(const struct document *doc, const uint32_t *nodes, uint32_t count,
			struct arena *arena, uint32_t **out)
{
	uint32_t *links = link_histories(doc, nodes, count, true, arena);
	return number_groups(doc, links, nodes, count, arena, out);
}

int graph_first_root(const struct document *doc, const uint32_t *nodes, uint32_t count,
		     struct arena *arena)
{
	uint8_t *marks = arena_alloc(arena, doc->revisions_count + 1);
	int first = GRAPH_NONE;
	for (uint32_t i = 0; i < count; i++)
		marks[nodes[i]] = 1;
	for (uint32_t i = doc->revisions_count; i-- > 0;) {
		const struct revision_node *node = &doc->revisions[i];
		bool is_root = marks[i];
		for (uint32_t p = 0; marks[i] && p < node->parents_count; p++) {
			if (node->parents[p] >= i)
				continue;
			marks[node->parents[p]] = 1;
			is_root = false;
		}
		if (!is_root)
			continue;
		struct revision name = graph_name(doc, i);
		struct revision least =
		    first == GRAPH_NONE ? name : graph_name(doc, (uint32_t)first);
		if (first == GRAPH_NONE || revision_compare(&name, &least) < 0)
			first = (int)i;
	}
	return first;
}

uint32_t graph_group(const uint32_t *nodes, uint32_t count, const uint32_t *groups, uint32_t group,
		     struct arena *arena, uint32_t **members)
{
	uint32_t found = 0;
	for (uint32_t i = 0; i < count; i++)
		found += groups[i] == group;
	*members = arena_alloc(arena, (found + 1) * sizeof **members);
	found = 0;
	for (uint32_t i = 0; i < count; i++)
		if (groups[i] == group)
			(*members)[found++] = nodes[i];
	return found;
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

struct document graph_with_room(const struct document *doc, struct arena *arena)
{
	struct document with = *doc;
	with.revisions = arena_alloc(arena, (doc->revisions_count + 1) * sizeof *with.revisions);
	if (doc->revisions_count)
		memcpy(with.revisions, doc->revisions,
		       doc->revisions_count * sizeof *with.revisions);
	with.revisions_count++;
	return with;
}

uint32_t graph_put_merge(struct document *with, const uint32_t *nodes, uint32_t count,
			 struct arena *arena)
{
	struct revision_node node = {.parents_count = count};
	node.parents = arena_alloc(arena, (count + 1) * sizeof *node.parents);
	for (uint32_t i = 0; i < count; i++)
		node.parents[i] = nodes[i];
	qsort(node.parents, count, sizeof *node.parents, compare_u64);
	with->revisions[with->revisions_count - 1] = node;
	return with->revisions_count - 1;
}

bool graph_can_split(const struct document *doc, uint32_t count)
{
	return count > 2 && (uint64_t)count * doc->revisions_count <= GRAPH_WORK_MAX;
}

bool graph_can_fold(const struct document *doc, uint32_t count)
{
	return count <= GRAPH_FOLD_MAX && graph_can_split(doc, count);
}

/* ---- what merges read ---- */

struct marking {
	struct arena *arena;
	uint8_t *marks;
	uint32_t bases_found;
};

static void mark_all(uint8_t *marks, const uint32_t *nodes, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		marks[nodes[i]] = 1;
}

static void mark_set(struct marking *m, const struct document *doc, const uint32_t *nodes,
		     uint32_t count, uint32_t group_depth, uint32_t base_depth);

/* Several bases are merged in their turn. */
static void mark_bases(struct marking *m, const struct document *doc, const uint32_t *nodes,
		       uint32_t count, uint32_t depth)
{
	uint32_t *bases;
	if (depth == GRAPH_BASE_DEPTH_MAX || m->bases_found++ >= GRAPH_BASES_MAX)
		return;
	uint32_t found = graph_common_ancestors(doc, nodes, count, m->arena, &bases);
	mark_all(m->marks, bases, found);
	graph_sort_by_name(doc, bases, found, m->arena);
	if (found > 1)
		mark_set(m, doc, bases, found, 0, depth + 1);
}

/* One after the other, each on what it has in common with those before. */
static void mark_steps(struct marking *m, const struct document *doc, const uint32_t *nodes,
		       uint32_t count, uint32_t depth)
{
	struct document with = graph_with_room(doc, m->arena);
	for (uint32_t i = 1; i < count; i++) {
		uint32_t pair[2] = {nodes[0], nodes[i]};
		if (i > 1)
			pair[0] = graph_put_merge(&with, nodes, i, m->arena);
		mark_bases(m, i > 1 ? &with : doc, pair, 2, depth);
	}
}

/* A tree's meetings are the bases of all its groups. */
static bool mark_tree(struct marking *m, const struct document *doc, const uint32_t *nodes,
		      uint32_t count)
{
	struct graph_tree tree;
	if (!graph_tree_make(doc, nodes, count, m->arena, &tree))
		return false;
	for (uint32_t i = 0; i < tree.meetings_count; i++)
		if (tree.meetings[i] < doc->revisions_count)
			m->marks[tree.meetings[i]] = 1;
	return true;
}

static void mark_groups(struct marking *m, const struct document *doc, const uint32_t *nodes,
			uint32_t count, uint32_t group_depth, uint32_t base_depth)
{
	uint32_t *groups;
	uint32_t groups_count = graph_groups(doc, nodes, count, m->arena, &groups);
	if (groups_count == 1 && graph_can_fold(doc, count))
		mark_steps(m, doc, nodes, count, base_depth);
	for (uint32_t g = 0; groups_count > 1 && groups_count < count && g < groups_count; g++) {
		uint32_t *members;
		uint32_t members_count = graph_group(nodes, count, groups, g, m->arena, &members);
		if (members_count > 1)
			mark_set(m, doc, members, members_count, group_depth + 1, base_depth);
	}
}

/* As deep as histories branch and cross, which is bounded. */
static void mark_set(struct marking *m, const struct document *doc, const uint32_t *nodes,
		     uint32_t count, uint32_t group_depth, uint32_t base_depth)
{
	struct arena_mark mark = arena_mark(m->arena);
	if (!mark_tree(m, doc, nodes, count)) {
		mark_bases(m, doc, nodes, count, base_depth);
		if (graph_can_split(doc, count) && group_depth < GRAPH_GROUP_DEPTH_MAX)
			mark_groups(m, doc, nodes, count, group_depth, base_depth);
	}
	arena_rewind(m->arena, mark);
}

/* In the order in which they would be merged, which only matters where it is no tree. */
static void mark_merge(const struct document *doc, uint32_t *nodes, uint32_t count, bool inputs,
		       struct arena *arena, uint8_t *marks)
{
	struct marking m = {.arena = arena, .marks = marks};
	mark_all(marks, nodes, count);
	if (mark_tree(&m, doc, nodes, count))
		return;
	if (inputs)
		graph_sort_by_name(doc, nodes, count, arena);
	else
		graph_sort_by_winning(doc, nodes, count, arena);
	mark_set(&m, doc, nodes, count, 0, 0);
}

/* What the leaves' merge reads is needed where bodies of the inputs are gone, or these are too
 * many. */
void graph_mark_needed(const struct document *doc, struct arena *arena, uint8_t *marks)
{
	uint32_t *leaves;
	uint32_t *inputs;
	uint32_t count = graph_sides_set(doc, arena, &leaves);
	if (count < 2)
		return;
	uint32_t inputs_count = graph_human_set(doc, leaves, count, arena, &inputs);
	bool same = inputs_count == count;
	for (uint32_t i = 0; same && i < count; i++)
		same = inputs[i] == leaves[i];
	mark_merge(doc, inputs, inputs_count, true, arena, marks);
	if (same)
		return;
	mark_merge(doc, leaves, count, false, arena, marks);
}
