/* Bodies that come in while they are sent on: a request asks for as much as it has room for, takes
 * contents of attachments out of it, and sends them in chunks to the leads of their shards, one
 * under way at a time. Holds some MiB, however long the body is. A body that is whole already is
 * taken in the same way. */
#ifndef PARLEY_GATEWAY_INTAKE_H
#define PARLEY_GATEWAY_INTAKE_H

#include "gateway/contents.h"
#include "gateway/inflate.h"

enum {
	INTAKE_WINDOW = 1 << 20,       /* bytes that may be on their way from the client */
	INTAKE_CREDIT_MIN = 256 << 10, /* room for less is not told */
	INTAKE_WAIT_MS = 300000        /* for a client to send the next chunk */
};

/* More of a content was sent: there is room again, or it is done. Not OK: it failed; of
 * BODY_TOO_LARGE and BAD_MESSAGE its client is to blame: there are more bytes than there may be, or
 * they are not coded as they should be. */
typedef void upload_moved(struct turn *t, struct request *r, enum status status);

/* The content that is being sent. */
struct content_upload {
	struct content *content;
	uint64_t length;              /* of the content, so far */
	uint64_t coded;               /* bytes that have come for it */
	uint8_t md5_coded[MD5_BYTES]; /* of these, once it is done */
	bool done;                    /* all of it is with the lead; content->md5 is set */
	/* private */
	uint64_t most;
	struct buf filling, flying; /* a chunk each */
	struct md5 *md5;
	struct md5 *digest; /* of coded ones: of the bytes that come */
	struct inflater *inflater;
	bool flies;
	bool ended;
	bool last; /* the chunk that flies */
	upload_moved *moved;
};

/* How many of these bytes it has taken: 0 while there is no room. */
typedef size_t intake_take(struct turn *t, struct request *r, struct slice bytes);

struct intake {
	struct contents *work; /* those of them that are `streamed` are sent here */
	struct content_upload upload;
	void *op;                         /* of whoever takes, and can't have r->op */
	void (*close)(struct request *r); /* frees what op holds; may be NULL */
	/* private */
	bool named;    /* a write under way names the contents */
	struct buf in; /* what has come, and was not taken */
	size_t at;
	uint32_t owed; /* room that was not told */
	bool pieces;
	bool ended; /* it has come to its end */
	bool told;  /* which `end` has been told */
	intake_take *take;
	request_step *end;
};

/* ---- intake.c ---- */

/* A body or an answer comes or goes in pieces: the request is counted until its end. False: too
 * many do, which is answered. */
bool transfer_begin(struct turn *t, struct request *r) MUST_CHECK;
/* EVENT_HTTP_BODY; or of a request that is made inside. */
void intake_body(struct turn *t, const struct http_body *body);

/* In the step in which the request arrives. work may come later. False: there are too many, which
 * is answered. */
bool intake_begin(struct turn *t, struct request *r, struct contents *work) MUST_CHECK;
/* take is called with what has come, until it ends the request; end, once it has taken all. */
void intake_start(struct turn *t, struct request *r, intake_take *take, request_step *end);
/* There is room again. */
void intake_pump(struct turn *t, struct request *r);
/* A write that names the contents is sent: from now on they are not to be forgotten. */
void intake_named(struct request *r);
/* For request_finish: leads hear of contents that nobody will name. */
void intake_end(struct turn *t, struct request *r);

/* ---- upload.c ---- */

/* Begins with r->intake->upload, which is done, or was never begun. most: bytes of the content. */
void upload_begin(struct turn *t, struct request *r, struct content *content, uint64_t most,
		  upload_moved *moved);
/* What comes is coded with gzip, and kept decoded. */
void upload_decode(struct content_upload *u);
size_t upload_take(struct turn *t, struct request *r, struct slice bytes);
/* No more will come: `done` follows. */
void upload_finish(struct turn *t, struct request *r);
void upload_forget(struct turn *t, const struct content *content);
void upload_close(struct content_upload *u);

#endif
