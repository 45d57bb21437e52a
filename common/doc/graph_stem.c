/* A graph forgets what lies too far below its leaves. */
#include <stdlib.h>

#include "common/doc/graph.h"

/* Ancestry among the nodes that stay is kept: a child of a node that goes is linked to the nearest
 * kept ancestors, so that a base which stays is still found as the base. */

/* More than so many nearest kept ancestors and a node that could go is kept in their stead: it
 * bounds the work and the lists. */
enum { STEM_LINKS_MAX = 64 };

/* What a split left tells what is of the documents that were split off, and what is not. */
static const uint64_t KEPT_FLAGS =
    REVISION_LEAF | REVISION_CLOSED | REVISION_HAS_BODY | REVISION_SPLIT;

/* The nearest kept ancestors of a node that goes; of a kept one itself. */
struct stem_links {
	uint32_t *indexes; /* ascending */
	uint32_t count;
};

struct stem {
	struct document *doc;
	struct arena *arena;
	uint8_t *kept;
	uint32_t *renumbered; /* new index of a kept node */
	struct stem_links *links;
	uint32_t *seen; /* the last gathering that this node was put into */
	uint32_t gatherings;
};

static bool valid_parent(const struct revision_node *node, uint32_t index, uint32_t nth)
{
	return node->parents[nth] < index;
}

/* The least generation of any leaf above decides how far below a leaf a node is. */
static void keep_near_leaves(struct stem *s, uint32_t depth)
{
	const struct document *doc = s->doc;
	uint64_t *leaf_generation = arena_alloc(s->arena, doc->revisions_count * sizeof(uint64_t));
	memset(leaf_generation, 0xff, doc->revisions_count * sizeof(uint64_t));
	for (uint32_t i = doc->revisions_count; i-- > 0;) {
		const struct revision_node *node = &doc->revisions[i];
		if ((node->flags & REVISION_LEAF) && node->generation < leaf_generation[i])
			leaf_generation[i] = node->generation;
		if (leaf_generation[i] != UINT64_MAX &&
		    leaf_generation[i] <= node->generation + depth)
			s->kept[i] = 1;
		for (uint32_t p = 0; p < node->parents_count; p++)
			if (valid_parent(node, i, p) &&
			    leaf_generation[i] < leaf_generation[node->parents[p]])
				leaf_generation[node->parents[p]] = leaf_generation[i];
	}
}

static void choose(struct stem *s, uint32_t depth)
{
	const struct document *doc = s->doc;
	keep_near_leaves(s, depth);
	graph_mark_needed(s->doc, s->arena, s->kept);
	for (uint32_t i = doc->revisions_count; i-- > 0;) {
		const struct revision_node *node = &doc->revisions[i];
		if ((node->flags & KEPT_FLAGS) || node->pins > 0)
			s->kept[i] = 1;
		if (!s->kept[i] || !(node->flags & REVISION_RESOLVED))
			continue;
		/* A resolution without its parents would pass for a revision with others. */
		for (uint32_t p = 0; p < node->parents_count; p++)
			if (valid_parent(node, i, p))
				s->kept[node->parents[p]] = 1;
	}
}

static int compare_indexes(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

/* The union of the parents' links; *more is set, and the rest left out, past `limit`. */
static struct stem_links gather(struct stem *s, uint32_t index, uint32_t limit, bool *more)
{
	const struct revision_node *node = &s->doc->revisions[index];
	struct stem_links found = {0};
	uint32_t room = 0;
	for (uint32_t p = 0; p < node->parents_count; p++)
		if (valid_parent(node, index, p))
			room += s->links[node->parents[p]].count;
	room = room < limit ? room : limit;
	found.indexes = arena_alloc(s->arena, room * sizeof *found.indexes);
	*more = false;
	s->gatherings++;
	/* The newest first, so that those are what a limit leaves. */
	for (uint32_t p = node->parents_count; p-- > 0;) {
		if (!valid_parent(node, index, p))
			continue;
		struct stem_links links = s->links[node->parents[p]];
		for (uint32_t i = 0; i < links.count; i++) {
			if (s->seen[links.indexes[i]] == s->gatherings)
				continue;
			s->seen[links.indexes[i]] = s->gatherings;
			if (found.count == room)
				*more = true;
			else
				found.indexes[found.count++] = links.indexes[i];
		}
	}
	if (found.count > 1)
		qsort(found.indexes, found.count, sizeof *found.indexes, compare_indexes);
	return found;
}

/* Links of a node that may go; false if it has to stay after all. */
static bool bridge(struct stem *s, uint32_t index)
{
	const struct revision_node *node = &s->doc->revisions[index];
	if (node->parents_count == 1 && valid_parent(node, index, 0)) {
		s->links[index] = s->links[node->parents[0]];
		return true;
	}
	bool more;
	s->links[index] = gather(s, index, STEM_LINKS_MAX, &more);
	return !more;
}

static void relink(struct stem *s, uint32_t index, uint32_t to)
{
	struct document *doc = s->doc;
	bool more;
	struct stem_links parents = gather(s, index, LIMIT_LEAVES, &more);
	struct revision_node node = doc->revisions[index];
	node.parents = arena_alloc(s->arena, parents.count * sizeof *node.parents);
	node.parents_count = parents.count;
	for (uint32_t i = 0; i < parents.count; i++)
		node.parents[i] = s->renumbered[parents.indexes[i]];
	s->renumbered[index] = to;
	s->links[index].indexes = arena_alloc(s->arena, sizeof(uint32_t));
	s->links[index].indexes[0] = index;
	s->links[index].count = 1;
	doc->revisions[index] = node;
}

bool graph_stem(struct document *doc, struct arena *arena, uint32_t depth)
{
	uint32_t count = doc->revisions_count;
	struct stem s = {.doc = doc, .arena = arena};
	s.kept = arena_alloc(arena, count);
	choose(&s, depth);
	if (count == 0 || !memchr(s.kept, 0, count))
		return false;
	s.renumbered = arena_alloc(arena, count * sizeof *s.renumbered);
	s.links = arena_alloc(arena, count * sizeof *s.links);
	s.seen = arena_alloc(arena, count * sizeof *s.seen);
	uint32_t kept = 0;
	for (uint32_t i = 0; i < count; i++) {
		if (!s.kept[i] && bridge(&s, i))
			continue;
		s.kept[i] = 1;
		relink(&s, i, kept++);
	}
	kept = 0;
	for (uint32_t i = 0; i < count; i++)
		if (s.kept[i])
			doc->revisions[kept++] = doc->revisions[i];
	doc->revisions_count = kept;
	return true;
}
