/* CouchDB's order of values: null < false < true < numbers < strings < arrays < objects. Numbers by
 * value; strings as bytes; arrays element by element; objects member by member as they stand, by
 * name, then value; what is a beginning of the other comes first. */
#ifndef PARLEY_DOC_COLLATION_H
#define PARLEY_DOC_COLLATION_H

#include "common/base/buf.h"
#include "common/base/slice.h"

/* An empty value is null. */
int collation_compare(struct slice a, struct slice b);

enum { COLLATION_KEY_BYTES = 1024 };
/* Appends bytes that sort as the values do; none begins with all those of another value. False:
 * they are more than COLLATION_KEY_BYTES; out is as before. */
bool collation_key(struct slice value, struct buf *out) MUST_CHECK;

#endif
