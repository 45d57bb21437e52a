/* Ids of other documents in a document: at a declared path, as a string or as elements of a list.
 * On the way lists of objects are passed through, as queries do. */
#ifndef PARLEY_DOC_REFERENCE_H
#define PARLEY_DOC_REFERENCE_H

#include "common/doc/policy.h"
#include "proto/msgpack.h"

/* Appends the document with every reference to `from` at the path turned into one to `to`. Returns
 * how many there were; 0: what was appended equals the document. *out ends up longer than
 * LIMIT_BODY_BYTES if that would be too large, and is not whole then. */
uint32_t reference_replace(struct slice body, struct slice path, struct slice from, struct slice to,
			   struct buf *out);
/* Is one of the values that tell the document's kind this text? */
bool reference_kind_is(const struct policy_roots *roots, struct slice body, struct slice kind);

#endif
