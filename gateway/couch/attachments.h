/* Attachments as CouchDB's clients write and read them inside documents. */
#ifndef PARLEY_GATEWAY_COUCH_ATTACHMENTS_H
#define PARLEY_GATEWAY_COUCH_ATTACHMENTS_H

#include "gateway/contents.h"
#include "gateway/couch/couch.h"

/* May an attachment be called that? */
bool couch_attachment_name_check(struct slice name, struct problem *p) MUST_CHECK;
/* May an attachment be as long as that? */
bool couch_attachment_fits(struct turn *t, uint64_t length, struct slice name,
			   struct problem *p) MUST_CHECK;
/* Always false, as problem_set: it is longer. */
bool couch_attachment_large(struct slice name, struct problem *p);
/* Of a document that is written under this id: puts into its body what the lead is to make of
 * `_attachments`; contents that came inline are added to `work`, to be sent before the write. */
bool couch_attachments_take(struct turn *t, struct request *r, const struct couch_document *d,
			    struct slice id, struct slice *body, struct contents *work,
			    struct problem *p) MUST_CHECK;
/* The entry of a content that is about to be sent. revpos: 0: of the revision that is made. */
void couch_attachment_entry(const struct content *c, struct slice type, uint64_t revpos,
			    struct buf *out);
/* As it may stand in a header: what could end one, or is no text, is not repeated. */
struct slice couch_attachment_type(struct slice type);
/* Adds all attachments of a document's body to what is to be read. */
void couch_attachments_want(struct contents *work, struct slice id, struct slice body);
/* False: together they are too large. */
bool couch_contents_fit(struct turn *t, const struct contents *work, struct problem *p) MUST_CHECK;
/* A body whose attachments were all read into `work`, for another document: with new uploads of
 * them, to be sent before it is written. */
struct slice couch_attachments_again(struct turn *t, struct request *r, struct slice id,
				     struct slice body, struct contents *work);
/* ,"_attachments":{...} if the body has any. With `want` their data is to be shown: a mark stands
 * in its place, and it is noted what is to be read. */
void couch_attachments_print(const struct couch_document *d, struct buf *out);
/* Documents printed for this request are to have the data of their attachments: r->contents then
 * is their `want`. */
void couch_want_attachments(struct request *r);
/* reply_send of an answer in which such documents are: first reads what the marks stand for. */
void couch_reply_send(struct turn *t, struct request *r, struct reply *reply);
/* The refusal of contents that could not be sent. */
void couch_contents_refused(struct turn *t, struct request *r, enum status status);

#endif
