/* Rows of views in CouchDB's order, as bytes: null < false < true < numbers < strings < arrays <
 * objects. Numbers by value; strings by Unicode's root collation (a < A < aa); arrays element by
 * element; objects member by member as they stand, by name, then value; what is a beginning of the
 * other comes first. RAW is the order that a design document asks for with `collation: "raw"`:
 * numbers < false < null < true < objects < arrays < strings, strings as bytes.
 *
 * What Mango compares stands in collation.h: there strings are bytes. */
#ifndef PARLEY_DOC_COLLATION_KEY_H
#define PARLEY_DOC_COLLATION_KEY_H

#include "common/base/buf.h"
#include "common/base/slice.h"

enum collation_order { COLLATION_UNICODE, COLLATION_RAW };

enum { COLLATION_KEY_BYTES = 1500 };
/* Appends bytes that sort as the values do; none begins with all those of another value. Values
 * that differ only in what the order does not tell apart have the same. False: they are more than
 * COLLATION_KEY_BYTES; out is as before. An empty value is null. */
bool collation_key(enum collation_order order, struct slice value, struct buf *out) MUST_CHECK;

/* Names this form of keys, with the version of Unicode's data: bytes of another can't be compared
 * with these. */
uint64_t collation_form(void);

#endif
