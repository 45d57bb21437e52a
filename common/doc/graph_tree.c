#include "common/doc/graph_tree.h"

struct climb {
	const struct document *doc;
	struct graph_tree *tree;
	uint32_t *arrived; /* how many came to a node */
	uint32_t climbing; /* that have a way to go */
	uint32_t ended;    /* at roots */
};

static void arrive(struct climb *c, uint32_t at, uint32_t who)
{
	c->tree->next[who] = c->arrived[at]++ > 0 ? c->tree->first[at] : GRAPH_TREE_END;
	c->tree->first[at] = who;
}

/* Who goes on from here: who came alone, or the meeting. */
static uint32_t go_on(struct climb *c, uint32_t at)
{
	if (c->arrived[at] == 1)
		return c->tree->first[at];
	c->tree->meetings[c->tree->meetings_count++] = at;
	c->climbing -= c->arrived[at] - 1;
	return at;
}

/* False: it is no tree. */
static bool climb(struct climb *c)
{
	uint32_t nowhere = c->doc->revisions_count;
	for (uint32_t i = nowhere; i-- > 0 && c->climbing > 0;) {
		const struct revision_node *node = &c->doc->revisions[i];
		if (c->arrived[i] == 0)
			continue;
		uint32_t who = go_on(c, i);
		if (c->climbing == 1 && c->ended == 0)
			return true;
		if (node->parents_count > 1)
			return false;
		if (node->parents_count == 1 && node->parents[0] < i) {
			arrive(c, (uint32_t)node->parents[0], who);
			continue;
		}
		arrive(c, nowhere, who);
		c->climbing--;
		c->ended++;
	}
	c->tree->meetings[c->tree->meetings_count++] = nowhere;
	return true;
}

bool graph_tree_make(const struct document *doc, const uint32_t *nodes, uint32_t count,
		     struct arena *arena, struct graph_tree *out)
{
	uint32_t places = doc->revisions_count + 1;
	*out =
	    (struct graph_tree){.meetings = arena_alloc(arena, (count + 1) * sizeof *out->meetings),
				.first = arena_alloc(arena, places * sizeof *out->first),
				.next = arena_alloc(arena, places * sizeof *out->next)};
	struct climb c = {.doc = doc, .tree = out, .climbing = count};
	c.arrived = arena_alloc(arena, places * sizeof *c.arrived);
	for (uint32_t i = 0; i < count; i++)
		arrive(&c, nodes[i], nodes[i]);
	if (!climb(&c))
		return false;
	for (uint32_t i = 0; i < count; i++)
		if (c.arrived[nodes[i]] != 1)
			return false; /* one is an ancestor of another */
	return true;
}
