/* Whether a filter holds for a document: for its winner, with what selectors of CouchDB's see
 * beside its members. */
#ifndef PARLEY_STORAGE_QUERY_LOOK_H
#define PARLEY_STORAGE_QUERY_LOOK_H

#include "common/doc/query.h"
#include "proto/schema.h"
#include "storage-node/scan.h"

/* Of a document with a winner. conflicts: its other live leaves are seen, too. */
bool query_look_document(const struct query *q, struct slice id, const struct document *doc,
			 bool conflicts, struct arena *arena);
/* Of what a scan shows. No more of the record is read than the filter needs. False: it can't be
 * read. */
bool query_look_row(const struct query *q, const struct scan_row *row, bool conflicts,
		    struct arena *arena, bool *holds) MUST_CHECK;
/* What the last look takes of a step's budget, beside the document itself. NULL: nothing. */
int64_t query_look_cost(const struct query *q);

#endif
