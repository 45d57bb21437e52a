#include "gateway/http/ws.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <wslay/wslay.h>

#include "common/base/memory.h"

enum {
	KEY_CHARACTERS = 24,
	KEY_BYTES = 16,
	SHA1_BYTES = 20,
	FRAME_HEAD_MAX = 10,
	CLOSE_REASON_MAX = WS_REASON_BYTES_MAX,
	FINAL = 0x80,
	MASKED = 0x80,
	OPCODE = 0x0F,
	CONTROL = 0x08,
	WS_PROTOCOL_ERROR = 1002,
	WS_TOO_BIG = 1009,
	PART_BYTES = 96, /* that a part of a message takes beside its own, however short it is */
	HELD_TIMES = 2,  /* a message with its parts, as large as it may be */
	MASK_BYTES = 4
};

/* ---- the opening handshake ---- */

static const struct http_field *header(const struct http_field *headers, uint32_t count,
				       const char *name)
{
	for (uint32_t i = 0; i < count; i++)
		if (slice_is(headers[i].name, name))
			return &headers[i];
	return NULL;
}

static bool token_is(struct slice token, const char *name)
{
	return token.len == strlen(name) &&
	       strncasecmp((const char *)token.data, name, token.len) == 0;
}

/* Whether a comma-separated list has it. */
static bool list_has(const struct http_field *field, const char *name)
{
	size_t at = 0;
	while (field && at < field->value.len) {
		size_t end = at;
		while (end < field->value.len && field->value.data[end] != ',')
			end++;
		struct slice token = slice_of(field->value.data + at, end - at);
		while (token.len > 0 && (*token.data == ' ' || *token.data == '\t'))
			token = slice_of(token.data + 1, token.len - 1);
		while (token.len > 0 &&
		       (token.data[token.len - 1] == ' ' || token.data[token.len - 1] == '\t'))
			token.len--;
		if (token_is(token, name))
			return true;
		at = end + 1;
	}
	return false;
}

/* 16 bytes in base64. */
static bool key_valid(struct slice key)
{
	gnutls_datum_t text = {(unsigned char *)(uintptr_t)key.data, (unsigned)key.len};
	gnutls_datum_t bytes = {NULL, 0};
	if (key.len != KEY_CHARACTERS || gnutls_base64_decode2(&text, &bytes) < 0)
		return false;
	bool valid = bytes.size == KEY_BYTES;
	gnutls_free(bytes.data);
	return valid;
}

enum ws_handshake ws_handshake_check(enum http_method method, bool http_1_1,
				     const struct http_field *headers, uint32_t count,
				     struct slice *key)
{
	if (!list_has(header(headers, count, "upgrade"), "websocket"))
		return WS_NOT_ASKED;
	const struct http_field *version = header(headers, count, "sec-websocket-version");
	const struct http_field *given = header(headers, count, "sec-websocket-key");
	if (version && !slice_is(version->value, "13"))
		return WS_BAD_VERSION;
	if (!version || !given || method != HTTP_GET || !http_1_1 ||
	    !list_has(header(headers, count, "connection"), "upgrade") || !key_valid(given->value))
		return WS_BAD_REQUEST;
	*key = given->value;
	return WS_VALID;
}

void ws_accept_print(struct slice key, char accept[WS_ACCEPT_BYTES])
{
	unsigned char digest[SHA1_BYTES];
	struct buf text = {0};
	gnutls_datum_t encoded = {NULL, 0};
	buf_append_slice(&text, key);
	buf_append_text(&text, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
	CHECK(gnutls_hash_fast(GNUTLS_DIG_SHA1, text.data, text.len, digest) == 0);
	gnutls_datum_t raw = {digest, SHA1_BYTES};
	CHECK(gnutls_base64_encode2(&raw, &encoded) == 0 && encoded.size < WS_ACCEPT_BYTES);
	memcpy(accept, encoded.data, encoded.size);
	accept[encoded.size] = 0;
	gnutls_free(encoded.data);
	buf_close(&text);
}

/* ---- frames to clients: never masked, never fragmented ---- */

static void append_frame(uint8_t opcode, struct slice payload, struct buf *out)
{
	uint8_t head[FRAME_HEAD_MAX] = {(uint8_t)(FINAL | opcode)};
	size_t len = 2;
	if (payload.len < 126) {
		head[1] = (uint8_t)payload.len;
	} else if (payload.len <= UINT16_MAX) {
		head[1] = 126;
		head[2] = (uint8_t)(payload.len >> 8);
		head[3] = (uint8_t)payload.len;
		len = 4;
	} else {
		head[1] = 127;
		be64_write(head + 2, payload.len);
		len = FRAME_HEAD_MAX;
	}
	buf_append(out, head, len);
	buf_append_slice(out, payload);
}

void ws_text_append(struct slice message, struct buf *out)
{
	append_frame(WSLAY_TEXT_FRAME, message, out);
}

void ws_ping_append(struct buf *out)
{
	append_frame(WSLAY_PING, slice_of(NULL, 0), out);
}

void ws_close_append(uint16_t code, struct slice reason, struct buf *out)
{
	uint8_t payload[2 + CLOSE_REASON_MAX] = {(uint8_t)(code >> 8), (uint8_t)code};
	size_t len = reason.len < CLOSE_REASON_MAX ? reason.len : CLOSE_REASON_MAX;
	if (len > 0)
		memcpy(payload + 2, reason.data, len);
	append_frame(WSLAY_CONNECTION_CLOSE, slice_of(payload, code ? 2 + len : 0), out);
}

/* ---- what clients send ---- */

/* libwslay does not tell whether it holds the beginning of a frame, and lets frames pass that are
 * not masked, and wrong control frames: so frames' heads are followed here, too. */

struct ws_reader {
	wslay_event_context_ptr wslay;
	uint32_t message_bytes_max;
	/* Where frames begin; both 0 when no part of one is held. */
	uint8_t head[FRAME_HEAD_MAX];
	size_t head_len;
	uint64_t rest; /* of the frame's mask and payload */
	uint64_t held;
	bool fragment; /* a message goes on in the next frame */
	bool crowded;  /* it has too many parts */
	/* Of the current feed: */
	struct slice input;
	ws_message_told *told;
	void *context;
	struct buf *answer;
	bool closed; /* by the client */
	bool ended;
};

static ssize_t on_receive(wslay_event_context_ptr wslay, uint8_t *out, size_t len, int flags,
			  void *user)
{
	struct ws_reader *r = user;
	size_t n = len < r->input.len ? len : r->input.len;
	(void)flags;
	if (n == 0) {
		wslay_event_set_error(wslay, WSLAY_ERR_WOULDBLOCK);
		return -1;
	}
	memcpy(out, r->input.data, n);
	r->input = slice_of(r->input.data + n, r->input.len - n);
	return (ssize_t)n;
}

static ssize_t on_send(wslay_event_context_ptr wslay, const uint8_t *data, size_t len, int flags,
		       void *user)
{
	struct ws_reader *r = user;
	(void)wslay;
	(void)flags;
	buf_append(r->answer, data, len);
	return (ssize_t)len;
}

static void on_frame_start(wslay_event_context_ptr wslay,
			   const struct wslay_event_on_frame_recv_start_arg *frame, void *user)
{
	struct ws_reader *r = user;
	if (wslay_is_ctrl_frame(frame->opcode))
		return;
	r->fragment = !frame->fin;
	r->held += PART_BYTES + frame->payload_length; /* libwslay reserves it at once */
	if (r->held <= HELD_TIMES * (uint64_t)r->message_bytes_max)
		return;
	r->crowded = true;
	wslay_event_shutdown_read(wslay);
}

static void on_message(wslay_event_context_ptr wslay,
		       const struct wslay_event_on_msg_recv_arg *message, void *user)
{
	struct ws_reader *r = user;
	(void)wslay;
	if (message->opcode == WSLAY_CONNECTION_CLOSE)
		r->closed = true;
	if (wslay_is_ctrl_frame(message->opcode) || r->crowded)
		return;
	r->held = 0;
	r->told(r->context, slice_of(message->msg, message->msg_length),
		message->opcode == WSLAY_TEXT_FRAME);
}

struct ws_reader *ws_reader_new(uint32_t message_bytes_max)
{
	const struct wslay_event_callbacks callbacks = {
	    .recv_callback = on_receive,
	    .send_callback = on_send,
	    .on_frame_recv_start_callback = on_frame_start,
	    .on_msg_recv_callback = on_message,
	};
	struct ws_reader *r = mem_alloc_zero(sizeof *r);
	r->message_bytes_max = message_bytes_max;
	CHECK(wslay_event_context_server_init(&r->wslay, &callbacks, r) == 0);
	wslay_event_config_set_max_recv_msg_length(r->wslay, message_bytes_max);
	return r;
}

void ws_reader_free(struct ws_reader *r)
{
	if (!r)
		return;
	wslay_event_context_free(r->wslay);
	free(r);
}

static uint64_t payload_bytes(const uint8_t *head, size_t head_len)
{
	if (head_len == 2)
		return head[1] & 127;
	if (head_len == 4)
		return (uint64_t)head[2] << 8 | head[3];
	return be64_read(head + 2) & INT64_MAX;
}

static size_t head_bytes(uint8_t length)
{
	return (length & 127) == 127 ? FRAME_HEAD_MAX : (length & 127) == 126 ? 4 : 2;
}

static bool head_valid(const uint8_t *head)
{
	uint8_t len = head[1] & 127;
	if (!(head[1] & MASKED))
		return false;
	if ((head[0] & OPCODE) == WSLAY_CONNECTION_CLOSE && len == 1) /* half a code */
		return false;
	return !(head[0] & CONTROL) || ((head[0] & FINAL) && len < 126);
}

/* False: a frame is wrong; *good bytes come before it. */
static bool follow(struct ws_reader *r, struct slice bytes, size_t *good)
{
	*good = bytes.len;
	for (size_t at = 0; at < bytes.len;) {
		if (r->rest > 0) {
			uint64_t part = r->rest < bytes.len - at ? r->rest : bytes.len - at;
			r->rest -= part;
			at += part;
			continue;
		}
		r->head[r->head_len++] = bytes.data[at++];
		if (r->head_len < 2)
			continue;
		if (!head_valid(r->head)) {
			*good = at > 2 ? at - 2 : 0;
			return false;
		}
		if (r->head_len < head_bytes(r->head[1]))
			continue;
		r->rest = MASK_BYTES + payload_bytes(r->head, r->head_len);
		r->head_len = 0;
	}
	return true;
}

enum ws_outcome ws_reader_feed(struct ws_reader *r, struct slice bytes, ws_message_told *told,
			       void *context, struct buf *answer)
{
	size_t good;
	bool valid = follow(r, bytes, &good);
	r->input = slice_of(bytes.data, good);
	r->told = told;
	r->context = context;
	r->answer = answer;
	int result = 0;
	while (result == 0 && r->input.len > 0 && wslay_event_want_read(r->wslay))
		result = wslay_event_recv(r->wslay);
	if (result == 0)
		result = wslay_event_send(r->wslay);
	r->ended = r->closed || result != 0 || !wslay_event_want_read(r->wslay);
	if (result != 0 || (!valid && !r->ended)) {
		ws_close_append(WS_PROTOCOL_ERROR, slice_text("wrong frame"), answer);
		r->ended = true;
	} else if (r->crowded && !wslay_event_get_close_sent(r->wslay)) {
		ws_close_append(WS_TOO_BIG, slice_text("too many parts"), answer);
	}
	if (!r->ended)
		return WS_OPEN;
	return r->closed ? WS_CLOSED : WS_BAD;
}

bool ws_reader_idle(const struct ws_reader *r)
{
	return !r->ended && !r->fragment && r->head_len == 0 && r->rest == 0;
}

uint64_t ws_reader_held(const struct ws_reader *r)
{
	return r->held;
}
