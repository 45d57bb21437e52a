/* How the histories of several nodes hang together, and what merging them reads. */
#include <stdlib.h>

#include "common/doc/graph.h"
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

uint32_t graph_add_merge(struct document *doc, const uint32_t *nodes, uint32_t count,
			 struct arena *arena)
{
	struct revision_node node = {.parents_count = count};
	node.parents = arena_alloc(arena, (count + 1) * sizeof *node.parents);
	for (uint32_t i = 0; i < count; i++)
		node.parents[i] = nodes[i];
	qsort(node.parents, count, sizeof *node.parents, compare_u64);
	return graph_add(doc, arena, &node, 0);
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
	for (uint32_t i = 1; i < count; i++) {
		struct document with = *doc;
		uint32_t pair[2] = {nodes[0], nodes[i]};
		if (i > 1)
			pair[0] = graph_add_merge(&with, nodes, i, m->arena);
		mark_bases(m, &with, pair, 2, depth);
	}
}

/* As deep as histories branch and cross, which is bounded. */
static void mark_set(struct marking *m, const struct document *doc, const uint32_t *nodes,
		     uint32_t count, uint32_t group_depth, uint32_t base_depth)
{
	uint32_t *groups;
	mark_bases(m, doc, nodes, count, base_depth);
	if (count < 3 || group_depth == GRAPH_GROUP_DEPTH_MAX)
		return;
	uint32_t groups_count = graph_groups(doc, nodes, count, m->arena, &groups);
	if (groups_count == 1 && count <= GRAPH_FOLD_MAX && doc->revisions_count < LIMIT_REVISIONS)
		mark_steps(m, doc, nodes, count, base_depth);
	for (uint32_t g = 0; groups_count > 1 && groups_count < count && g < groups_count; g++) {
		uint32_t *members;
		uint32_t members_count = graph_group(nodes, count, groups, g, m->arena, &members);
		if (members_count > 1)
			mark_set(m, doc, members, members_count, group_depth + 1, base_depth);
	}
}

void graph_mark_needed(const struct document *doc, struct arena *arena, uint8_t *marks)
{
	struct marking m = {.arena = arena, .marks = marks};
	uint32_t *leaves;
	uint32_t *inputs;
	uint32_t count = graph_sides(doc, arena, &leaves);
	if (count < 2)
		return;
	mark_all(marks, leaves, count);
	mark_set(&m, doc, leaves, count, 0, 0);
	m.bases_found = 0;
	uint32_t inputs_count = graph_human_inputs(doc, leaves, count, arena, &inputs);
	mark_all(marks, inputs, inputs_count);
	mark_set(&m, doc, inputs, inputs_count, 0, 0);
}
