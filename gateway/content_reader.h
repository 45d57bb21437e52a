/* A content of an attachment, or a range of it, read from the lead of its shard chunk by chunk: the
 * next one is asked for when there is room for it. Zeroed is closed. */
#ifndef PARLEY_GATEWAY_CONTENT_READER_H
#define PARLEY_GATEWAY_CONTENT_READER_H

#include "common/doc/attachment.h"
#include "gateway/call.h"

struct content_reader {
	struct slice document; /* id of one that names it; borrowed */
	uint8_t content[CONTENT_BYTES];
	uint64_t first;
	uint64_t count;
	bool base64; /* it is wanted so */
	/* private */
	uint64_t taken;
	struct buf carry; /* at most two bytes that are no group of Base64 yet */
	struct msg_attachment_read read;
};

/* done gets the answer (attachment_read_ack), to be given to content_reader_take. */
enum status content_reader_ask(struct turn *t, struct request *r, struct content_reader *c,
			       call_done *done) MUST_CHECK;
/* Adds to *out what the range has of the chunk. Not OK: what has come is not that chunk. */
enum status content_reader_take(struct content_reader *c, enum status status,
				const struct msg_attachment_read_ack *ack,
				struct buf *out) MUST_CHECK;
bool content_reader_ended(const struct content_reader *c);
void content_reader_close(struct content_reader *c);

#endif
