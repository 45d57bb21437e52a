/* Contents of attachments on their way from one shard to another: a document that a split makes
 * names what only the shard of the old one holds. Asked of the one lead chunk by chunk, sent to the
 * other as uploads, one chunk under way; then the document is written, and names the uploads.
 *
 * An upload is named by the split, the document and the content, so whoever carries one of them,
 * again, late or at the same time as others, sends the same bytes under the same name. */
#ifndef PARLEY_DOC_SPLIT_CARRY_H
#define PARLEY_DOC_SPLIT_CARRY_H

#include "common/base/arena.h"
#include "common/doc/attachment.h"
#include "common/doc/decide.h"
#include "proto/schema.h"

enum { SPLIT_UPLOAD_BYTES = 16 };

/* A content, and the upload that brings it. */
struct split_carried {
	uint8_t content[CONTENT_BYTES];
	uint8_t md5[MD5_BYTES];
	uint8_t upload[SPLIT_UPLOAD_BYTES];
	uint64_t length;
};

struct split_carry {
	struct split_carried *list;
	uint32_t count;
	uint32_t next;  /* == count: all are there */
	uint64_t chunk; /* of that one, to be asked for or sent */
};

/* All contents of a part. The list lies in the arena. False: its attachments are none in the form
 * in which they are stored. */
bool split_carry_begin(struct split_carry *c, const struct split_part *part,
		       struct arena *arena) MUST_CHECK;
bool split_carry_is_done(const struct split_carry *c);
/* The messages, but for their shards. They borrow from the carry and the bytes. */
struct msg_attachment_read split_carry_read(const struct split_carry *c);
struct msg_attachment_chunk split_carry_chunk(const struct split_carry *c, struct slice bytes);
/* The chunk is there. */
void split_carry_go_on(struct split_carry *c);
/* The part's body with uploads in place of what they bring: no longer than it was. */
struct slice split_carry_body(const struct split_part *part, struct arena *arena);

#endif
