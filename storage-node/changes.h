/* What gateways ask: the documents of a shard in order of their latest change. */
#ifndef PARLEY_STORAGE_CHANGES_H
#define PARLEY_STORAGE_CHANGES_H

#include "storage-node/internal.h"

enum {
	CHANGES_ANSWER_BYTES = 1024 * 1024, /* with the first row beyond, no more rows follow */
	CHANGES_COUNTED = 100 /* rows beyond the answer that are counted, at least; more are
				 estimated */
};

void changes_on_shard_changes(struct storage *s, const struct event *e, struct effects *fx);

#endif
