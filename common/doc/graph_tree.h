/* Where histories meet, if they do nothing but meet: found in one pass, however many they are. */
#ifndef PARLEY_DOC_GRAPH_TREE_H
#define PARLEY_DOC_GRAPH_TREE_H

#include "common/doc/graph.h"

enum { GRAPH_TREE_END = UINT32_MAX };

/* Indexes of revisions; the list's length stands for "nowhere", where roots meet. */
struct graph_tree {
	uint32_t *meetings; /* the last first: what meets there has met before */
	uint32_t meetings_count;
	uint32_t *first; /* by meeting: one that meets there, a node or an earlier meeting */
	uint32_t *next;  /* by what meets: another one, or GRAPH_TREE_END */
};

/* Of nodes that are no ancestors of each other, up to the one place where all have met. False: some
 * revision above that place has several parents, so it is no tree. */
bool graph_tree_make(const struct document *doc, const uint32_t *nodes, uint32_t count,
		     struct arena *arena, struct graph_tree *out);

#endif
