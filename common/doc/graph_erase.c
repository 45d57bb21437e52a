#include "common/doc/graph_erase.h"

#include "common/doc/graph.h"

/* Marks what some other revision was made of. */
static uint8_t *mark_parents(const struct document *doc, struct arena *arena)
{
	uint8_t *marks = arena_alloc(arena, doc->revisions_count + 1);
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		for (uint32_t p = 0; p < doc->revisions[i].parents_count; p++)
			if (doc->revisions[i].parents[p] < i)
				marks[doc->revisions[i].parents[p]] = 1;
	return marks;
}

bool graph_is_tip(const struct document *doc, uint32_t index)
{
	for (uint32_t i = index + 1; i < doc->revisions_count; i++)
		for (uint32_t p = 0; p < doc->revisions[i].parents_count; p++)
			if (doc->revisions[i].parents[p] == index)
				return false;
	return true;
}

/* What stays keeps all that it comes from. True: a leaf stays. */
static bool keep_lines(const struct document *doc, uint8_t *gone)
{
	bool leaf = false;
	for (uint32_t i = doc->revisions_count; i-- > 0;) {
		const struct revision_node *node = &doc->revisions[i];
		if (gone[i])
			continue;
		leaf |= graph_is_leaf(doc, i);
		for (uint32_t p = 0; p < node->parents_count; p++)
			if (node->parents[p] < i)
				gone[node->parents[p]] = 0;
	}
	return leaf;
}

uint32_t graph_mark_erased(const struct document *doc, const struct revision *names, uint32_t count,
			   struct arena *arena, uint8_t *marks)
{
	const uint8_t *parents = mark_parents(doc, arena);
	const int *found = graph_find_all(doc, names, count, arena);
	uint32_t erased = 0;
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		marks[i] = parents[i]; /* until something that stays comes from it */
	for (uint32_t i = 0; i < count; i++) {
		if (found[i] == GRAPH_NONE || marks[found[i]])
			continue;
		marks[found[i]] = 1;
		erased++;
	}
	if (!keep_lines(doc, marks))
		memset(marks, 1, doc->revisions_count);
	return erased;
}

int *graph_remove(struct document *doc, const uint8_t *marks, struct arena *arena)
{
	uint32_t count = doc->revisions_count;
	int *moved = arena_alloc(arena, (count + 1) * sizeof *moved);
	struct revision_node *kept = arena_alloc(arena, (count + 1) * sizeof *kept);
	uint32_t next = 0;
	for (uint32_t i = 0; i < count; i++) {
		struct revision_node node = doc->revisions[i];
		moved[i] = GRAPH_NONE;
		if (marks[i])
			continue;
		uint64_t *parents = arena_alloc(arena, (node.parents_count + 1) * sizeof *parents);
		uint32_t parents_count = 0;
		for (uint32_t p = 0; p < node.parents_count; p++)
			if (node.parents[p] < i && moved[node.parents[p]] != GRAPH_NONE)
				parents[parents_count++] = (uint64_t)moved[node.parents[p]];
		node.parents = parents;
		node.parents_count = parents_count;
		moved[i] = (int)next;
		kept[next++] = node;
	}
	doc->revisions = kept;
	doc->revisions_count = next;
	return moved;
}
