/* A glance at a stored document's record, for reading many: whether it is live, its winner's body,
 * and the winner's name if nothing is in conflict. Allocates nothing and looks at no more than that
 * takes; schema_decode is for the rest. */
#ifndef PARLEY_STORAGE_RECORD_PEEK_H
#define PARLEY_STORAGE_RECORD_PEEK_H

#include <stdbool.h>

#include "common/base/check.h"
#include "common/base/slice.h"
#include "proto/schema.h"

struct record_peek {
	bool live;              /* the winner is no deletion */
	struct slice body;      /* of the winner; borrows from the record */
	uint32_t leaves;        /* live ones */
	struct revision winner; /* if there is just one of these; likewise */
};

/* False if the bytes are no record. Of a valid one it says what schema_decode and graph_winner say.
 */
bool record_peek(struct slice record, struct record_peek *out) MUST_CHECK;

#endif
