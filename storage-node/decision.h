/* What a client's write comes to, given a document: at the lead the one that it will be after all
 * entries under way, on another replica the one that its outbox makes. Pure but for reading. */
#ifndef PARLEY_STORAGE_DECISION_H
#define PARLEY_STORAGE_DECISION_H

#include "common/doc/revision.h"
#include "common/doc/update.h"
#include "storage-node/internal.h"

/* Begins as all zero; what it points to lives until the end of the step, `body` until
 * decision_close. */
struct decision {
	enum status status;
	bool ordered; /* `change` is to be appended */
	bool late;    /* on `parent`, of a document that was purged */
	struct change change;
	struct revision parent[1];
	char hash[REVISION_HASH_CHARS];
	struct revision answer; /* revision of the answer; borrows */
	uint64_t conflicts;
	struct buf body;          /* of a patch or an update */
	bool accumulates;         /* done twice it would not be what it is done once */
	struct update_error *why; /* of an update that is refused */
};

void decision_make(struct document_view *v, const struct msg_doc_write *m, struct decision *d);
void decision_close(struct decision *d);

#endif
