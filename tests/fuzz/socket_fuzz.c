/* Any bytes as what a client sends over a WebSocket, or as the headers that ask for one.
 *
 * Input: a first byte that draws where the rest is cut, then the bytes of frames; if the first byte
 * is 255, lines "name: value" of a handshake. However the bytes are cut, and whenever an idle
 * reader is exchanged for a new one, the same messages are told and the same end is come to, with a
 * closing frame; nothing is told or held beyond the limit. */
#include <stdlib.h>

#include "common/base/buf.h"
#include "common/base/rng.h"
#include "gateway/http/ws.h"
#include "tests/fuzz/texts.h"

enum { MESSAGE_BYTES_MAX = 4096, HEADERS_MAX = 16, PIECE_MAX = 64, HANDSHAKE = 255 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* All that came of the bytes, one after another. */
struct run {
	struct buf told;
	struct buf answer;
	enum ws_outcome outcome;
	bool idle;
};

static void told(void *context, struct slice bytes, bool text)
{
	struct buf *out = context;
	CHECK(bytes.len <= MESSAGE_BYTES_MAX);
	buf_append_byte(out, text);
	buf_append_be32(out, (uint32_t)bytes.len);
	buf_append_slice(out, bytes);
}

/* Only whole, unmasked pongs and closes, the latter last. Gives the close; empty: none. */
static struct slice check_answer(struct slice answer)
{
	while (answer.len > 0) {
		CHECK(answer.len >= 2 && answer.data[1] < 126);
		size_t len = 2 + (size_t)answer.data[1];
		CHECK(answer.data[0] == 0x8a || answer.data[0] == 0x88);
		CHECK(len <= answer.len && (answer.data[0] == 0x8a || len == answer.len));
		if (answer.data[0] == 0x88)
			return answer;
		answer = slice_of(answer.data + len, answer.len - len);
	}
	return answer;
}

/* seed 0: all at once. */
static void run(struct run *out, struct slice bytes, uint64_t seed, bool exchange)
{
	struct rng rng;
	struct ws_reader *reader = ws_reader_new(MESSAGE_BYTES_MAX);
	rng_init(&rng, seed);
	*out = (struct run){.outcome = WS_OPEN};
	while (out->outcome == WS_OPEN && bytes.len > 0) {
		size_t len = seed ? 1 + rng_below(&rng, PIECE_MAX) : bytes.len;
		len = len < bytes.len ? len : bytes.len;
		out->outcome = ws_reader_feed(reader, slice_of(bytes.data, len), told, &out->told,
					      &out->answer);
		bytes = slice_of(bytes.data + len, bytes.len - len);
		CHECK(out->outcome != WS_OPEN || ws_reader_held(reader) <= 2 * MESSAGE_BYTES_MAX);
		if (exchange && out->outcome == WS_OPEN && ws_reader_idle(reader)) {
			CHECK(ws_reader_held(reader) == 0);
			ws_reader_free(reader);
			reader = ws_reader_new(MESSAGE_BYTES_MAX);
		}
	}
	out->idle = ws_reader_idle(reader);
	ws_reader_free(reader);
}

static void run_close(struct run *r)
{
	buf_close(&r->told);
	buf_close(&r->answer);
}

/* Inside a frame what is wrong may be seen sooner or later (libwslay looks at the text of a close
 * only as far as it has come), and who is about to be cut off may miss a pong. */
static void check_same(const struct run *a, const struct run *b)
{
	bool a_open = a->outcome == WS_OPEN;
	bool b_open = b->outcome == WS_OPEN;
	CHECK(slice_equal(buf_slice(&a->told), buf_slice(&b->told)));
	CHECK((check_answer(buf_slice(&a->answer)).len > 0) == !a_open);
	CHECK((check_answer(buf_slice(&b->answer)).len > 0) == !b_open);
	if (a_open != b_open)
		CHECK(a_open ? !a->idle : !b->idle);
	else
		CHECK(!a_open || a->answer.len == b->answer.len);
}

static void frames(uint8_t seed, struct slice bytes)
{
	struct run whole;
	run(&whole, bytes, 0, false);
	for (int exchange = 0; exchange < 2; exchange++) {
		struct run pieces;
		run(&pieces, bytes, (uint64_t)seed + 1, exchange);
		check_same(&whole, &pieces);
		run_close(&pieces);
	}
	run_close(&whole);
}

static void handshake(struct slice text)
{
	struct http_field headers[HEADERS_MAX];
	uint32_t count = 0;
	struct slice key;
	while (text.len > 0 && count < HEADERS_MAX) {
		struct slice line = take_until(&text, '\n');
		headers[count].name = take_until(&line, ':');
		take_until(&line, ' ');
		headers[count++].value = line;
	}
	if (ws_handshake_check(HTTP_GET, true, headers, count, &key) != WS_VALID)
		return;
	char accept[WS_ACCEPT_BYTES];
	ws_accept_print(key, accept);
	CHECK(strlen(accept) == WS_ACCEPT_BYTES - 1);
	CHECK(ws_handshake_check(HTTP_POST, true, headers, count, &key) == WS_BAD_REQUEST);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] == HANDSHAKE)
		handshake(slice_of(data + 1, size - 1));
	else
		frames(data[0], slice_of(data + 1, size - 1));
	return 0;
}
