/* What must be written before an id is split: the documents that take its place. Shared by people's
 * and clients' answers; arbiters do the same on their own. */
#ifndef PARLEY_GATEWAY_SPLIT_H
#define PARLEY_GATEWAY_SPLIT_H

#include "common/doc/decide.h"
#include "gateway/internal.h"

/* place: the id that another document has (SPLIT_TAKEN), or empty. */
typedef void split_done(struct turn *t, struct request *r, enum status status, struct slice place);

struct split_writes {
	struct msg_doc_write *writes;
	uint32_t count;
	uint32_t left; /* without an answer */
	enum status status;
	struct slice taken;
	split_done *done;
};

/* Writes the parts of the decision (copied) beside the shard given, then calls done; at once if
 * there are none. r->op begins with a struct conflict_ask, which keeps the state. */
void split_write(struct turn *t, struct request *r, uint64_t shard, const struct decision *d,
		 split_done *done);

#endif
