/* Documents and their attachments as parts of one body: multipart/related, both ways, and
 * multipart/mixed of several. */
#ifndef PARLEY_GATEWAY_COUCH_MULTIPART_H
#define PARLEY_GATEWAY_COUCH_MULTIPART_H

#include "gateway/couch/attachments.h"
#include "gateway/flow.h"

/* What a document says of an attachment that follows as a part. */
struct follow {
	struct slice name;
	struct slice md5; /* of the part's bytes, Base64; empty: it says none */
	uint64_t length;  /* UINT64_MAX: it says none */
	uint64_t coded;   /* of the part; likewise */
	bool gzip;
	bool came;
};

/* ---- op_write.c ---- */

/* The document by itself that was sent, taken apart and checked: attachments that it brings. r->op
 * is its own from now on. follows: some may follow as parts. NULL: refused. */
struct contents *couch_write_prepare(struct turn *t, struct request *r, bool follows,
				     struct problem *p) MUST_CHECK;
/* Sends what is not streamed of these, then the write. */
void couch_write_go(struct turn *t, struct request *r);

/* ---- op_multipart.c: written ---- */

bool couch_multipart_sent(const struct request *r);
void couch_multipart_write(struct turn *t, struct request *r);
/* What a document says of it. NULL: what it says can't be. */
struct follow *couch_follow_new(struct request *r, struct slice name, struct slice value,
				struct problem *p) MUST_CHECK;

/* ---- multipart.c: read ---- */

enum { PART_BOUNDARY_BYTES = 33 };

/* Does its client ask for an answer of this type, by its name? */
bool couch_multipart_asked(const struct request *r, const char *type);
void couch_boundary_draw(struct turn *t, char out[PART_BOUNDARY_BYTES]);
/* The head of an attachment's part, from the delimiter before it on. */
void couch_part_print(const char *boundary, struct slice name, struct slice type, uint64_t length,
		      struct buf *out);
/* The type of a document with this body, printed as below. */
void couch_related_type(const char *boundary, struct slice body, struct buf *out);
/* The document, printed with `follows`, is the first part, its attachments are the others; without
 * attachments it stands alone. */
void couch_related_print(struct flow *flow, const char *boundary, struct slice id,
			 struct slice json, struct slice body);

#endif
