/* Attachments as CouchDB's clients write and read them inside documents. */
#ifndef PARLEY_GATEWAY_COUCH_ATTACHMENTS_H
#define PARLEY_GATEWAY_COUCH_ATTACHMENTS_H

#include "gateway/contents.h"
#include "gateway/couch.h"

/* May an attachment be called that? */
bool couch_attachment_name_check(struct slice name, struct problem *p) MUST_CHECK;
/* Of a document that is written under this id: puts into its body what the lead is to make of
 * `_attachments`; contents that came inline are added to `work`, to be sent before the write. */
bool couch_attachments_take(struct turn *t, struct request *r, const struct couch_document *d,
			    struct slice id, struct slice *body, struct contents *work,
			    struct problem *p) MUST_CHECK;
/* The entry of a content that is about to be sent. revpos: 0: of the revision that is made. */
void couch_attachment_entry(const struct content *c, struct slice type, uint64_t revpos,
			    struct buf *out);
/* Adds all attachments of a document's body to what is to be read; bounded. */
bool couch_attachments_want(struct turn *t, struct request *r, struct slice id, struct slice body,
			    struct contents *work, struct problem *p) MUST_CHECK;
/* A body whose attachments were all read into `work`, for another document: with new uploads of
 * them, to be sent before it is written. */
struct slice couch_attachments_again(struct turn *t, struct request *r, struct slice id,
				     struct slice body, struct contents *work);
/* ,"_attachments":{...} if the body has any: with their data where `loaded` has them. */
void couch_attachments_print(const struct couch_document *d, struct buf *out);
/* The refusal of contents that could not be sent. */
void couch_contents_refused(struct turn *t, struct request *r, enum status status);

/* One more at the end of the list; zeroed. */
struct content *couch_contents_add(struct request *r, struct contents *work);

#endif
