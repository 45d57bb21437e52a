/* Contents of one document's attachments on their way to other documents, in whatever shards: read
 * from one lead and sent to another, chunk by chunk. One chunk is held, however large they are. A
 * write then names the uploads, as if a client had brought them. */
#ifndef PARLEY_GATEWAY_CARRY_H
#define PARLEY_GATEWAY_CARRY_H

#include "gateway/contents.h"

/* One more for `work`, under a new upload: what the stub names is to come to this document (in the
 * arena). False: the stub has no digest. */
bool carry_add(struct turn *t, struct contents *work, const struct attachment_stub *stub,
	       struct slice document, struct content **out) MUST_CHECK;
/* All of `work`, from this document (in the arena) to their own. done may come at once. If it is
 * much, it counts as a transfer: with too many of these the request is answered, and done does not
 * come. r->close is taken over. */
void carry_start(struct turn *t, struct request *r, struct slice from, struct contents *work,
		 contents_done *done);
/* A write that names the uploads is sent: from now on they are not to be forgotten. */
void carry_named(struct request *r);
/* For request_finish: leads hear of uploads that nobody will name. */
void carry_end(struct turn *t, struct request *r);

#endif
