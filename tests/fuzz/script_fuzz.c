/* Frames between a daemon and its script worker: neither side believes the other. What is read as a
 * request or reply must come out the same when it is written and read again. */
#include <stdlib.h>

#include "common/base/check.h"
#include "proto/script_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_request(struct slice body)
{
	struct script_request request, again;
	struct buf out = {0};
	struct slice copy;
	if (!script_request_read(body, &request))
		return;
	CHECK(script_request_write(&request, &out));
	CHECK(script_frame_next(buf_slice(&out), &copy) == SCRIPT_FRAME_WHOLE);
	CHECK(script_request_read(copy, &again));
	CHECK(again.id == request.id && again.time_ms == request.time_ms);
	CHECK(again.memory_bytes == request.memory_bytes);
	CHECK(slice_equal(again.source, request.source));
	CHECK(slice_equal(again.arguments, request.arguments));
	buf_close(&out);
}

static void check_reply(struct slice body)
{
	struct script_reply reply, again;
	struct buf out = {0};
	struct slice copy;
	if (!script_reply_read(body, &reply))
		return;
	CHECK(script_reply_write(&reply, &out));
	CHECK(script_frame_next(buf_slice(&out), &copy) == SCRIPT_FRAME_WHOLE);
	CHECK(script_reply_read(copy, &again));
	CHECK(again.id == reply.id && again.status == reply.status && again.last == reply.last);
	CHECK(slice_equal(again.value, reply.value) && slice_equal(again.text, reply.text));
	buf_close(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice rest = slice_of(data, size), body;
	while (script_frame_next(rest, &body) == SCRIPT_FRAME_WHOLE) {
		check_request(body);
		check_reply(body);
		size_t used = SCRIPT_FRAME_HEAD + body.len;
		rest = slice_of(rest.data + used, rest.len - used);
	}
	return 0;
}
