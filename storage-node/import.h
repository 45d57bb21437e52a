/* Revisions from elsewhere (CouchDB's replication). */
#ifndef PARLEY_STORAGE_IMPORT_H
#define PARLEY_STORAGE_IMPORT_H

#include "storage-node/internal.h"

void import_on_doc_import(struct storage *s, const struct event *e, struct effects *fx);
/* The waiter's body holds the answer but for its status. */
void import_answer(const struct waiter *w, const struct envelope *envelope, struct effects *fx);

#endif
