/* A document's graph as CouchDB's clients know it: a tree, in which each revision has one line of
 * ancestors.
 *
 * Of several parents the line goes through one, the greatest that is just one generation older, not
 * deleted first. The other parents, and what a resolution closed, would stay leaves for ever in
 * such a tree: each ends in a deletion, which stands nowhere but has the name that deleting it
 * would give. A client that takes part in replication so gets rid of them, and when it pushes these
 * deletions back they are known. */
#ifndef PARLEY_DOC_GRAPH_LINE_H
#define PARLEY_DOC_GRAPH_LINE_H

#include "common/base/arena.h"
#include "proto/schema.h"

/* A leaf of the tree. */
struct graph_tip {
	struct revision revision;
	uint32_t index; /* its node; of an end: the node that it deletes */
	bool deleted;
	bool end; /* a deletion that stands nowhere */
};

/* All of them: the winner first, others by winning, then the ends by name. In the arena. */
uint32_t graph_tips(const struct document *doc, struct arena *arena, struct graph_tip **out);
/* The node whose end this is, or GRAPH_NONE. Names have to be made for it, *work at most, which is
 * what is left of it then: past that none is found. */
enum { GRAPH_ENDS_WORK = 100000 };
int graph_find_end(const struct document *doc, const struct revision *r, uint32_t *work);
/* Sets the marks, one for each revision: 1 for it and what came of it, 0 for all others. */
void graph_mark_descendants(const struct document *doc, uint32_t index, uint8_t *marks);
/* The next of the line; GRAPH_NONE: it goes no further, or that one is not kept. */
int graph_line_parent(const struct document *doc, uint32_t index);

/* A revision that was made elsewhere, with its ancestors, the newest first, generations falling by
 * one. All is borrowed, and the graph borrows the hashes. */
struct graph_line {
	const struct revision_node *leaf;
	const struct revision *ancestors;
	uint32_t ancestors_count;
	uint32_t most; /* that are put in */
};

struct graph_imported {
	int index;      /* of the leaf; GRAPH_NONE: it is known, or the graph is full */
	bool extends;   /* what is known of its line ended in a leaf, or nothing is */
	bool on_closed; /* it ended in a loser of a resolution */
};
/* Puts in what is not known of the line: `most` ancestors at most, without bodies, the oldest of
 * them as a child of the newest that is known, if there is one. There must be room for `most` + 1
 * (graph_reserve). number: as in graph_add. */
struct graph_imported graph_import(struct document *doc, struct arena *arena,
				   const struct graph_line *line, uint64_t number);

#endif
