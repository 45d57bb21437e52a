/* Every write of the dialect is shown to the database's functions validate_doc_update before it
 * goes to a lead, with what it replaces. As a write names what it replaces, that can't be something
 * else by then. */
#ifndef PARLEY_GATEWAY_COUCH_VALIDATE_H
#define PARLEY_GATEWAY_COUCH_VALIDATE_H

#include "gateway/couch/couch.h"

/* One document that is about to be written. */
struct validated {
	const struct couch_document *document; /* with `imported` if it was made elsewhere */
	struct slice id;                       /* the document's own may be empty */
	struct slice patch; /* MessagePack in CouchDB's form: merged into what is there, in place
			       of the document's body; or empty */
	/* what came of it */
	bool refused;
	struct problem problem;
	/* private */
	bool exempt; /* no function sees it */
	struct import_item history;
	struct msg_doc_read read;
	struct slice old; /* MessagePack; empty: none */
};

/* done may come at once; r->op stays as it is, and items live as long as the request. A request
 * that fails as a whole is answered here. The collection must be known (couch_find). */
void couch_validate(struct turn *t, struct request *r, struct validated *items, uint32_t count,
		    request_step *done);
/* The first step of it: design documents whose functions don't compile are refused, but for those
 * that were made elsewhere. r->op stays as it is. */
void couch_compile(struct turn *t, struct request *r, struct validated *items, uint32_t count,
		   request_step *done);

/* The patch that sets an attachment, or with c = NULL removes it. */
struct content;
struct slice couch_validate_attachment(struct request *r, const struct content *c,
				       struct slice type, uint64_t revpos);

#endif
