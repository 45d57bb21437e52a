/* _conflicts of a document, as lists of documents have them. */
#ifndef PARLEY_GATEWAY_COUCH_CONFLICTS_H
#define PARLEY_GATEWAY_COUCH_CONFLICTS_H

#include "gateway/couch/couch.h"

/* From a row's `others`: names with commas between. */
void couch_conflicts_take(struct arena *arena, struct slice others, struct couch_document *d);
/* Revisions as a member, with a comma before it; of none nothing. name: ,"x":[ */
void couch_revisions_print(const char *name, const struct revision *list, uint32_t count,
			   struct buf *out);
void couch_conflicts_print(const struct couch_document *d, struct buf *out);

#endif
