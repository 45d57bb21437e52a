/* _local documents as CouchDB's clients see them. */
#ifndef PARLEY_GATEWAY_COUCH_LOCAL_H
#define PARLEY_GATEWAY_COUCH_LOCAL_H

#include "gateway/couch.h"

/* name: with _local/ before it. False: it could not be printed, nothing was. */
bool couch_local_print(struct slice name, struct slice body, uint64_t generation,
		       struct buf *out) MUST_CHECK;

#endif
