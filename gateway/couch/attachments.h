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
/* A document on its way to the lead. */
struct couch_attached {
	const struct couch_document *document;
	struct slice id;       /* under which it is written */
	struct slice *body;    /* gets what the lead is to make of `_attachments` */
	struct contents *work; /* gets contents that came inline, to be sent before the write */
};
bool couch_attachments_take(struct turn *t, struct request *r, const struct couch_attached *to,
			    struct problem *p) MUST_CHECK;
/* The entry of a content that is about to be sent. revpos: 0: of the revision that is made. */
void couch_attachment_entry(const struct content *c, struct slice type, uint64_t revpos,
			    struct buf *out);
/* As it may stand in a header: what could end one, or is no text, is not repeated. */
struct slice couch_attachment_type(struct slice type);
/* A body for another document, with new uploads in place of its attachments, which are to be
 * carried there before it is written. False: one of them is not as it is stored. */
bool couch_attachments_carry(struct turn *t, struct request *r, struct slice id, struct slice *body,
			     struct contents *work) MUST_CHECK;
/* ,"_attachments":{...} if the body has any. With `data` a mark stands in the place of each
 * content; only what is sent by couch_reply_send, or read by couch_data_next, may have such. */
void couch_attachments_print(const struct couch_document *d, struct buf *out);
/* What a mark stands for. */
struct couch_data {
	struct slice document; /* id, in the text */
	uint8_t content[CONTENT_BYTES];
	uint64_t length;
};
/* Takes text up to the first mark, and the mark, from the front of *text. False: there is none. */
bool couch_data_next(struct slice *text, struct slice *before, struct couch_data *out);
/* reply_send of an answer in which such documents may be: contents are read for the marks. */
void couch_reply_send(struct turn *t, struct request *r, struct reply *reply);
/* The refusal of contents that could not be sent. */
void couch_contents_refused(struct turn *t, struct request *r, enum status status);

#endif
