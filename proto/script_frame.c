#include "proto/script_frame.h"

#include "proto/msgpack.h"

enum { REQUEST_MEMBERS = 5, REPLY_MEMBERS = 4 };

const char *script_status_name(enum script_status status)
{
	static const char *const names[] = {
	    [SCRIPT_OK] = "ok",
	    [SCRIPT_INVALID] = "invalid",
	    [SCRIPT_THREW] = "threw",
	    [SCRIPT_BAD_RESULT] = "bad_result",
	    [SCRIPT_TOO_LARGE] = "too_large",
	    [SCRIPT_TIME] = "time",
	    [SCRIPT_MEMORY] = "memory",
	    [SCRIPT_CRASHED] = "crashed",
	    [SCRIPT_BUSY] = "busy",
	    [SCRIPT_UNAVAILABLE] = "unavailable",
	};
	return (uint32_t)status < ARRAY_LEN(names) ? names[status] : "unknown";
}

/* ---- writing ---- */

static size_t frame_begin(struct buf *out)
{
	size_t start = out->len;
	buf_append_be32(out, 0);
	return start;
}

static bool frame_end(struct buf *out, size_t start)
{
	size_t len = out->len - start - SCRIPT_FRAME_HEAD;
	if (len > SCRIPT_FRAME_BYTES_MAX) {
		out->len = start;
		return false;
	}
	for (int i = 0; i < SCRIPT_FRAME_HEAD; i++)
		out->data[start + (size_t)i] = (uint8_t)(len >> (8 * (SCRIPT_FRAME_HEAD - 1 - i)));
	return true;
}

bool script_request_write(const struct script_request *request, struct buf *out)
{
	if (request->source.len > SCRIPT_FRAME_BYTES_MAX ||
	    request->arguments.len > SCRIPT_FRAME_BYTES_MAX)
		return false;
	size_t start = frame_begin(out);
	mp_write_array(out, REQUEST_MEMBERS);
	mp_write_u64(out, request->id);
	mp_write_u64(out, request->time_ms);
	mp_write_u64(out, request->memory_bytes);
	mp_write_str(out, request->source);
	if (request->arguments.len > 0)
		buf_append_slice(out, request->arguments);
	else
		mp_write_nil(out);
	return frame_end(out, start);
}

bool script_reply_write(const struct script_reply *reply, struct buf *out)
{
	size_t start = frame_begin(out);
	mp_write_array(out, REPLY_MEMBERS);
	mp_write_u64(out, reply->id);
	mp_write_u64(out, (uint64_t)reply->status);
	if (reply->status == SCRIPT_OK)
		buf_append_slice(out, reply->value);
	else
		mp_write_str(out, reply->text);
	mp_write_bool(out, reply->last);
	return frame_end(out, start);
}

/* ---- reading ---- */

enum script_frame script_frame_next(struct slice bytes, struct slice *body)
{
	if (bytes.len < SCRIPT_FRAME_HEAD)
		return SCRIPT_FRAME_MORE;
	size_t len = be32_read(bytes.data);
	if (len > SCRIPT_FRAME_BYTES_MAX)
		return SCRIPT_FRAME_BAD;
	if (bytes.len - SCRIPT_FRAME_HEAD < len)
		return SCRIPT_FRAME_MORE;
	*body = slice_of(bytes.data + SCRIPT_FRAME_HEAD, len);
	return SCRIPT_FRAME_WHOLE;
}

static bool read_head(struct mp_reader *r, uint32_t members)
{
	struct mp_token t = mp_read(r);
	return t.type == MP_ARRAY && t.count == members;
}

static bool read_u64(struct mp_reader *r, uint64_t *out)
{
	struct mp_token t = mp_read(r);
	*out = t.type == MP_UINT ? t.u64 : 0;
	return t.type == MP_UINT;
}

static bool read_text(struct mp_reader *r, struct slice *out)
{
	struct mp_token t = mp_read(r);
	*out = t.bytes;
	return t.type == MP_STR;
}

bool script_request_read(struct slice body, struct script_request *out)
{
	struct mp_reader r = mp_reader_of(body);
	if (!read_head(&r, REQUEST_MEMBERS) || !read_u64(&r, &out->id) ||
	    !read_u64(&r, &out->time_ms) || !read_u64(&r, &out->memory_bytes) ||
	    !read_text(&r, &out->source))
		return false;
	bool compiles = mp_peek(&r) == MP_NIL;
	bool calls = mp_peek(&r) == MP_ARRAY;
	out->arguments = mp_value(&r);
	bool fine = out->id != 0 && (compiles || calls) && out->arguments.len > 0 && mp_at_end(&r);
	if (compiles)
		out->arguments = slice_of(NULL, 0);
	out->group = 0;
	return fine;
}

bool script_reply_read(struct slice body, struct script_reply *out)
{
	struct mp_reader r = mp_reader_of(body);
	uint64_t status;
	*out = (struct script_reply){0};
	if (!read_head(&r, REPLY_MEMBERS) || !read_u64(&r, &out->id) || !read_u64(&r, &status) ||
	    status > SCRIPT_STATUS_MAX)
		return false;
	out->status = (enum script_status)status;
	if (status == SCRIPT_OK)
		out->value = mp_value(&r);
	else if (!read_text(&r, &out->text) || out->text.len > SCRIPT_TEXT_BYTES_MAX)
		return false;
	struct mp_token last = mp_read(&r);
	out->last = last.type == MP_BOOL && last.flag;
	return last.type == MP_BOOL && (status != SCRIPT_OK || out->value.len > 0) && mp_at_end(&r);
}
