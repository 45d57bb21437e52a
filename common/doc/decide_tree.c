/* The merge of inputs whose histories are a tree: from the leaves down, each group where it meets,
 * on the body that stands there. In one pass, in the memory of what is merged at one place; what
 * comes of it is the same as splitting groups from the root up. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/decide_internal.h"
#include "common/doc/graph_tree.h"

/* What goes down to the next meeting: an input, or what a group has become. */
struct strand {
	struct merge_leaf leaf;
	struct merge_result result; /* of a group */
	bool open;                  /* the group stays open: `result` says why */
	uint32_t first;             /* of its members: by name */
	uint32_t last;              /* this one names it */
};

struct joining {
	struct decide *w;
	struct graph_tree tree;
	const uint32_t *nodes;
	struct strand *strands; /* by index of revision; one more for "nowhere" */
	struct merge_leaf *leaves;
};

static void result_close(struct merge_result *result)
{
	buf_close(&result->body);
	buf_close(&result->detail);
	*result = (struct merge_result){0};
}

/* Gathers what meets; the count. An open group's place is taken by the first that is open. */
static uint32_t gather(struct joining *j, uint32_t meeting, struct strand *into)
{
	uint32_t count = 0;
	struct strand *open = NULL;
	into->first = UINT32_MAX;
	for (uint32_t i = j->tree.first[meeting]; i != GRAPH_TREE_END; i = j->tree.next[i]) {
		struct strand *s = &j->strands[i];
		if (s->open && (!open || s->first < open->first))
			open = s;
		j->leaves[count++] = s->leaf;
		if (s->first < into->first)
			into->first = s->first;
		if (s->last > into->last)
			into->last = s->last;
		if (s->leaf.stamp > into->leaf.stamp)
			into->leaf.stamp = s->leaf.stamp;
	}
	if (open) {
		into->open = true;
		into->result = open->result;
		open->result = (struct merge_result){0};
	}
	return count;
}

static void release(struct joining *j, uint32_t meeting)
{
	for (uint32_t i = j->tree.first[meeting]; i != GRAPH_TREE_END; i = j->tree.next[i])
		result_close(&j->strands[i].result);
}

static void join(struct joining *j, uint32_t meeting)
{
	struct decide *w = j->w;
	struct strand *s = &j->strands[meeting];
	struct slice base;
	uint32_t count = gather(j, meeting, s);
	if (!s->open) {
		bool has_base = meeting < w->doc.revisions_count &&
				w->base_depth < GRAPH_BASE_DEPTH_MAX &&
				decide_body(w, meeting, &base);
		struct arena_mark mark = arena_mark(w->arena);
		decide_merge_leaves(w, j->leaves, count, has_base ? &base : NULL, &s->result);
		arena_rewind(w->arena, mark);
		s->open = s->result.outcome != MERGE_DONE && w->base_depth == 0;
	}
	release(j, meeting);
	s->leaf.revision = j->strands[j->nodes[s->last]].leaf.revision;
	s->leaf.deleted = s->result.deleted;
	s->leaf.body = s->leaf.deleted ? (struct slice){0} : buf_slice(&s->result.body);
}

bool decide_merge_tree(struct decide *w, const uint32_t *nodes, uint32_t count,
		       struct merge_result *out)
{
	struct joining j = {.w = w, .nodes = nodes};
	if (!graph_tree_make(&w->doc, nodes, count, w->arena, &j.tree))
		return false;
	uint32_t places = w->doc.revisions_count + 1;
	j.strands = mem_alloc_zero(places * sizeof *j.strands);
	j.leaves = mem_alloc_zero(count * sizeof *j.leaves);
	for (uint32_t i = 0; i < count; i++) {
		struct strand *s = &j.strands[nodes[i]];
		decide_fill_leaf(w, nodes[i], &s->leaf);
		s->first = i;
		s->last = i;
	}
	for (uint32_t i = 0; i < j.tree.meetings_count; i++)
		join(&j, j.tree.meetings[i]);
	*out = j.strands[j.tree.meetings[j.tree.meetings_count - 1]].result;
	free(j.leaves);
	free(j.strands);
	return true;
}
