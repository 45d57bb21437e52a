/* A stored document as functions of design documents see it: in CouchDB's form, attachments as
 * stubs. */
#ifndef PARLEY_DOC_SCRIPT_DOCUMENT_H
#define PARLEY_DOC_SCRIPT_DOCUMENT_H

#include "common/base/buf.h"
#include "proto/schema.h"

/* Appends the members of a body, attachments included, as pairs of a MessagePack map; returns how
 * many there are. */
uint32_t script_document_members(struct slice body, struct buf *out);
/* Appends the whole map. revision: generation 0: none. body: empty of a deletion. */
struct script_document {
	struct slice id;
	struct revision revision;
	bool deleted;
	struct slice body;
	/* further pairs, and how many */
	struct slice more;
	uint32_t more_count;
};
void script_document_write(const struct script_document *d, struct buf *out);

#endif
