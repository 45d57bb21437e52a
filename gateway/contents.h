/* Contents of attachments on their way to the leads, chunk by chunk; a request does one such piece
 * of work at a time. What is not streamed is in the request's memory, so what a request may bring
 * bounds it. Each chunk that crosses gives the request a new deadline. */
#ifndef PARLEY_GATEWAY_CONTENTS_H
#define PARLEY_GATEWAY_CONTENTS_H

#include "common/doc/attachment.h"
#include "gateway/call.h"

enum { UPLOAD_ID_BYTES = 16, UPLOAD_TEXT_BYTES = 33 };

/* One content on its way. */
struct content {
	struct slice document; /* id, which tells the shard */
	struct slice bytes;
	uint8_t upload[UPLOAD_ID_BYTES]; /* under this id, which a write names */
	uint8_t md5[MD5_BYTES];
	uint64_t length;
	bool streamed; /* its bytes are not here: an intake sends them, or they are carried */
	struct follow
	    *follow; /* couch/multipart.h: what its document says of a part that follows */
	uint8_t content[CONTENT_BYTES]; /* carried from another document: its name there */
	/* private */
	uint64_t at; /* the next chunk */
	uint64_t shard;
	union {
		struct msg_attachment_chunk chunk;
		struct msg_attachment_read read;
	} message;
};

/* OK, or of the first that failed; comes once all have ended. */
typedef void contents_done(struct turn *t, struct request *r, enum status status);

struct contents {
	struct arena *arena; /* of the list: the request's */
	struct content *list;
	uint32_t count;
	uint32_t left;
	enum status status;
	contents_done *done;
	bool follow; /* attachments may follow their document as parts */
};

/* One more at the end of the list; zeroed. */
struct content *contents_add(struct contents *work);
/* A new upload; its bytes come later. */
void content_draw(struct turn *t, struct content *out);
/* The message for chunk out->at. */
void content_fill_chunk(struct content *c, struct slice bytes, bool last);
/* Sends it to the lead; false: too many calls are under way. */
bool content_send_chunk(struct turn *t, struct request *r, struct content *c, uint32_t index,
			call_done *done) MUST_CHECK;
/* A new upload of these bytes, which stay as they are. */
void content_prepare(struct turn *t, struct slice bytes, struct content *out);
/* Is that the same, in Base64? Empty: whatever it is. */
bool md5_is(const uint8_t md5[MD5_BYTES], struct slice text) MUST_CHECK;
/* The upload's id as it is named in a body. */
void content_upload_text(const struct content *c, char out[UPLOAD_TEXT_BYTES]);

/* What is streamed is passed over. `work` and its list live in the request's arena. done may come
 * at once. */
void contents_send(struct turn *t, struct request *r, struct contents *work, contents_done *done);

#endif
