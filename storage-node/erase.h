/* Versions taken out of documents for good, as somebody wishes it (CouchDB's _purge). Unlike a
 * purge of what was deleted it waits for nobody, neither for clients that sync nor for the cleanup
 * of resolutions, and leaves no mark: who pushes such a version later brings it back. */
#ifndef PARLEY_STORAGE_ERASE_H
#define PARLEY_STORAGE_ERASE_H

#include "storage-node/internal.h"

void erase_on_doc_erase(struct storage *s, const struct event *e, struct effects *fx);
/* The waiter's body holds the answer but for its status. */
void erase_answer(const struct waiter *w, const struct envelope *envelope, struct effects *fx);

#endif
