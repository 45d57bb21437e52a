/* Revisions from elsewhere (CouchDB's replication). */
#ifndef PARLEY_STORAGE_IMPORT_H
#define PARLEY_STORAGE_IMPORT_H

#include "storage-node/internal.h"

void import_on_doc_import(struct storage *s, const struct event *e, struct effects *fx);

#endif
