/* Versions that are taken out of a document's graph for good. */
#ifndef PARLEY_DOC_GRAPH_ERASE_H
#define PARLEY_DOC_GRAPH_ERASE_H

#include "common/base/arena.h"
#include "proto/schema.h"

/* Of the versions named those go that nothing was made of, and with them what no other version
 * comes from; without a leaf that stays, everything. Sets the marks, one for each revision: 1 for
 * those that go. Returns how many of the named ones go by themselves; 0: nothing does. */
uint32_t graph_mark_erased(const struct document *doc, const struct revision *names, uint32_t count,
			   struct arena *arena, uint8_t *marks);
/* True if the revision may be named: nothing was made of it. */
bool graph_is_tip(const struct document *doc, uint32_t index);
/* Takes the marked ones out, some of which must stay; with each its descendants must be marked.
 * Returns the new indexes, in the arena: GRAPH_NONE for those that went. */
int *graph_remove(struct document *doc, const uint8_t *marks, struct arena *arena);

#endif
