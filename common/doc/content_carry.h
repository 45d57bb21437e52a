/* Contents of attachments on their way to a lead that lacks what a body names: of a document that a
 * split makes for another shard, or of a branch that comes late. They are asked of whoever has them
 * chunk by chunk and sent as uploads, one chunk under way.
 *
 * An upload is named by the write's operation and the content, so whoever carries one of them,
 * again, late or at the same time as others, sends the same bytes under the same name. */
#ifndef PARLEY_DOC_CONTENT_CARRY_H
#define PARLEY_DOC_CONTENT_CARRY_H

#include "common/base/arena.h"
#include "common/doc/attachment.h"
#include "proto/schema.h"

enum { CARRY_UPLOAD_BYTES = 16 };

/* A content, and the upload that brings it. */
struct content_carried {
	uint8_t content[CONTENT_BYTES];
	uint8_t md5[MD5_BYTES];
	uint8_t upload[CARRY_UPLOAD_BYTES];
	uint64_t length;
};

struct content_carry {
	struct content_carried *list;
	uint32_t count;
	uint32_t next;  /* == count: all are there */
	uint64_t chunk; /* of that one, to be asked for or sent */
};

/* All contents that the body names. Of the operation's id the first eight bytes count, which are
 * the same whichever try it is. The list lies in the arena. False: its attachments are none in the
 * form in which they are stored. */
bool content_carry_begin(struct content_carry *c, struct slice body, struct slice operation_id,
			 struct arena *arena) MUST_CHECK;
bool content_carry_is_done(const struct content_carry *c);
/* The messages, but for their shards. They borrow from the carry and the bytes. */
struct msg_attachment_read content_carry_read(const struct content_carry *c);
struct msg_attachment_chunk content_carry_chunk(const struct content_carry *c, struct slice bytes);
/* The chunk is there. */
void content_carry_go_on(struct content_carry *c);
/* The body with uploads in place of what they bring: no longer than it was. */
struct slice content_carry_body(struct slice body, struct slice operation_id, struct arena *arena);

#endif
