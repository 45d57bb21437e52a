/* Undo: a resolution is taken apart while its losers are kept. Each of them gets a child with the
 * same content, which is a leaf; the resolution, if nothing was built on it, ends. The set of
 * leaves that comes of it is held: no arbiter resolves it, only people do.
 *
 * Everything here is a function of record, change and bodies, so every replica does the same. */
#ifndef PARLEY_STORAGE_REOPEN_H
#define PARLEY_STORAGE_REOPEN_H

#include "storage-node/internal.h"

/* A loser as a leaf again. */
struct reopened {
	struct revision_node node; /* its parent is the loser */
	struct slice body;
};

/* Of the losers that change->parents names, in that order; in the storage's arena. 0: of one the
 * body is gone, or it is not in the graph. */
uint32_t reopen_list(struct document_view *view, const struct change *change,
		     struct reopened **out);
/* The node of the resolution, or of what the undoing of a later one has made of it; GRAPH_NONE: not
 * there. */
int reopen_result(const struct document *doc, const struct change *change);
/* Remembers the document's live leaves as held, the oldest set giving way. */
void reopen_hold(struct document *doc, struct arena *arena);
/* Are its live leaves a set that is held? */
bool reopen_is_held(const struct document *doc, struct arena *arena);

void reopen_on_undo(struct storage *s, const struct event *e, struct effects *fx);

#endif
