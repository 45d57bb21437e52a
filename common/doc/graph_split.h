/* What a document's history tells of a split of it: which revisions are of what the old id became
 * when somebody edited, deleted or wrote anew what the split left there (a revision with
 * REVISION_SPLIT), and which are of the documents that were split off. */
#ifndef PARLEY_DOC_GRAPH_SPLIT_H
#define PARLEY_DOC_GRAPH_SPLIT_H

#include "common/base/arena.h"
#include "proto/schema.h"

struct graph_split {
	struct document cut; /* the graph in which nothing stands on what a split left */
	uint8_t *after;      /* by index: it stands on the last split, or is of a document that was
			      * made under the freed id */
	uint8_t *before;     /* what the last split knew of, or was resolved since, and what stands
			      * on that; none of it is `after` */
	uint8_t *taken;      /* of `before`: `nodes` below, or what was deleted, stand on it */
	bool freed;          /* all that stood on the split was deleted, then documents were made
			      * there by who knew nothing of it */
};

/* Marks all that marked nodes stand on. */
void graph_mark_below(const struct document *doc, uint8_t *marks);
/* Marks all that stands on marked nodes, but for what a split left. */
void graph_mark_above(const struct document *doc, uint8_t *marks);

/* Of the histories of these nodes; all lists in the arena. Without a split the graph is as it was,
 * and nothing is marked. */
void graph_split_find(const struct document *doc, const uint32_t *nodes, uint32_t count,
		      struct arena *arena, struct graph_split *out);

#endif
