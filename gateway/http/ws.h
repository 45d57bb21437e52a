/* WebSocket framing (RFC 6455): the opening handshake, frames to clients, and a reader of what
 * clients send, which is the only user of libwslay. No sockets here.
 *
 * A reader holds 9 KB and whatever has arrived of a message. It is needed only while a part of one
 * is held: at any other moment (ws_reader_idle) it can be lent to another connection. */
#ifndef PARLEY_GATEWAY_HTTP_WS_H
#define PARLEY_GATEWAY_HTTP_WS_H

#include "common/base/buf.h"
#include "common/core.h"

enum {
	WS_GOING_AWAY = 1001,
	WS_INTERNAL_ERROR = 1011,
	WS_TRY_AGAIN_LATER = 1013,
	WS_REASON_BYTES_MAX = 123,
	WS_ACCEPT_BYTES = 29 /* with the NUL */
};

enum ws_handshake { WS_NOT_ASKED, WS_VALID, WS_BAD_VERSION, WS_BAD_REQUEST };

/* What the headers (names in lower case) ask for. *key: borrowed from them. */
enum ws_handshake ws_handshake_check(enum http_method method, bool http_1_1,
				     const struct http_field *headers, uint32_t count,
				     struct slice *key);
/* Sec-WebSocket-Accept for a key. */
void ws_accept_print(struct slice key, char accept[WS_ACCEPT_BYTES]);

/* Append one frame. */
void ws_text_append(struct slice message, struct buf *out);
void ws_ping_append(struct buf *out);
/* code 0: none is told. reason is cut to what fits. */
void ws_close_append(uint16_t code, struct slice reason, struct buf *out);

struct ws_reader;
enum ws_outcome {
	WS_OPEN,
	WS_CLOSED, /* by the client; the closing frame is in the answer */
	WS_BAD     /* for what it sent, likewise */
};
typedef void ws_message_told(void *context, struct slice bytes, bool text);

struct ws_reader *ws_reader_new(uint32_t message_bytes_max);
void ws_reader_free(struct ws_reader *r);
/* Whole messages are told; frames to be sent in return (pongs, a close) are appended to *answer. */
enum ws_outcome ws_reader_feed(struct ws_reader *r, struct slice bytes, ws_message_told *told,
			       void *context, struct buf *answer) MUST_CHECK;
/* No part of a frame or message is held. */
bool ws_reader_idle(const struct ws_reader *r);
/* Bytes held, or reserved, for an unfinished message. */
uint64_t ws_reader_held(const struct ws_reader *r);

#endif
