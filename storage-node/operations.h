/* Client operation ids of a document: the newest in its record, the others under keys of their own,
 * so that a document that is written over and over need not carry them all through each write. */
#ifndef PARLEY_STORAGE_OPERATIONS_H
#define PARLEY_STORAGE_OPERATIONS_H

#include "storage-node/internal.h"

/* False: it is not remembered. Borrows from the step's arena. */
bool operations_find(struct document_view *view, struct slice operation_id, struct operation *out);
/* Puts what the edit moved under keys, and forgets what is too old or too many. */
void operations_apply(struct document_view *view, const struct change *change,
		      const struct document_edit *edit);
/* Removes all keys; the record is the caller's. */
void operations_drop(struct document_view *view);

#endif
