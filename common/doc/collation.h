/* CouchDB's order of values, as Mango has it here: null < false < true < numbers < strings < arrays
 * < objects. Numbers by value; strings as bytes; arrays element by element; objects member by
 * member as they stand, by name, then value; what is a beginning of the other comes first. The
 * order of views is in collation_key.h. */
#ifndef PARLEY_DOC_COLLATION_H
#define PARLEY_DOC_COLLATION_H

#include "common/base/slice.h"

/* An empty value is null. */
int collation_compare(struct slice a, struct slice b);

#endif
