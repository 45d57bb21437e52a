/* Revisions that were made elsewhere, with their histories. */
#ifndef PARLEY_GATEWAY_COUCH_IMPORT_H
#define PARLEY_GATEWAY_COUCH_IMPORT_H

#include "gateway/couch/couch.h"

/* statuses: of each document, in their order. */
typedef void couch_imported(struct turn *t, struct request *r, const enum status *statuses);
/* Puts them into their graphs, with their histories. False: refused with *p, nothing was done; else
 * done comes, unless the request as a whole has failed, which is answered here. r->op stays as it
 * is. */
bool couch_import(struct turn *t, struct request *r, const struct couch_document *documents,
		  uint32_t count, couch_imported *done, struct problem *p) MUST_CHECK;
/* Such a document with its history. False with *p: it contradicts itself. */
bool couch_import_item(struct request *r, const struct couch_document *d, struct import_item *out,
		       struct problem *p) MUST_CHECK;
/* The revision that such a document is. */
struct revision couch_newest(const struct couch_document *d);

#endif
