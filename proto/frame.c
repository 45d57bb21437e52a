/* A ZeroMQ message: its header, then messages with their envelopes. */
#include "common/base/check.h"
#include "proto/msgpack.h"
#include "proto/schema.h"

enum { FRAME_VERSION_BYTES = 4, ENVELOPE_MEMBERS = 5, TRACE_BYTES = 16, BIN32_HEAD_BYTES = 5 };

void frame_begin(struct buf *frame, uint64_t cluster)
{
	const uint8_t version[FRAME_VERSION_BYTES] = {'P', 'Y', PROTOCOL_MAJOR, PROTOCOL_MINOR};
	buf_append(frame, version, sizeof version);
	buf_append_be64(frame, cluster);
}

/* Encodes in place under a head of fixed width, filled in when the length is known: no copy. */
static void append_body(struct buf *frame, const struct schema *schema, const void *message)
{
	buf_append(frame, (const uint8_t[BIN32_HEAD_BYTES]){0xc6}, BIN32_HEAD_BYTES);
	size_t from = frame->len;
	schema_encode(schema, message, frame);
	size_t len = frame->len - from;
	CHECK(len <= UINT32_MAX);
	for (int i = 0; i < 4; i++)
		frame->data[from - 4 + (size_t)i] = (uint8_t)(len >> (24 - 8 * i));
}

static void append_envelope(struct buf *frame, const struct envelope *envelope)
{
	static const uint8_t no_trace[TRACE_BYTES];
	bool traced = memcmp(envelope->trace_id, no_trace, TRACE_BYTES) != 0;
	mp_write_array(frame, ENVELOPE_MEMBERS);
	mp_write_u64(frame, envelope->type);
	mp_write_u64(frame, envelope->request_id);
	mp_write_u64(frame, envelope->epoch);
	mp_write_bin(frame, slice_of(envelope->trace_id, traced ? TRACE_BYTES : 0));
}

void frame_append(struct buf *frame, const struct envelope *envelope, const void *message)
{
	const struct schema *schema = schema_of_message(envelope->type);
	CHECK(schema != NULL);
	append_envelope(frame, envelope);
	append_body(frame, schema, message);
}

void frame_append_raw(struct buf *frame, const struct envelope *envelope, struct slice body)
{
	append_envelope(frame, envelope);
	mp_write_bin(frame, body);
}

enum frame_problem frame_open(struct frame_reader *r, struct slice bytes, uint64_t cluster)
{
	*r = (struct frame_reader){.bytes = bytes, .at = FRAME_HEADER_BYTES};
	if (bytes.len < FRAME_VERSION_BYTES || bytes.data[0] != 'P' || bytes.data[1] != 'Y')
		return FRAME_MALFORMED;
	r->major = bytes.data[2];
	r->minor = bytes.data[3];
	if (r->major != PROTOCOL_MAJOR)
		return FRAME_OTHER_MAJOR;
	if (bytes.len < FRAME_HEADER_BYTES)
		return FRAME_MALFORMED;
	r->cluster = be64_read(bytes.data + FRAME_VERSION_BYTES);
	return cluster != 0 && r->cluster != cluster ? FRAME_OTHER_CLUSTER : FRAME_OK;
}

static bool read_u64(struct mp_reader *in, uint64_t limit, uint64_t *out)
{
	struct mp_token t = mp_read(in);
	if (t.type != MP_UINT || t.u64 > limit)
		return false;
	*out = t.u64;
	return true;
}

static bool read_trace_id(struct mp_reader *in, uint8_t *trace_id)
{
	struct mp_token t = mp_read(in);
	if (t.type != MP_BIN || (t.bytes.len != 0 && t.bytes.len != TRACE_BYTES))
		return false;
	if (t.bytes.len > 0)
		memcpy(trace_id, t.bytes.data, TRACE_BYTES);
	return true;
}

/* Members past those known here are a later minor version's. */
static bool read_message(struct mp_reader *in, struct envelope *envelope, struct slice *body)
{
	uint64_t type;
	struct mp_token head = mp_read(in);
	if (head.type != MP_ARRAY || head.count < ENVELOPE_MEMBERS)
		return false;
	if (!read_u64(in, UINT16_MAX, &type) || !read_u64(in, UINT64_MAX, &envelope->request_id) ||
	    !read_u64(in, UINT64_MAX, &envelope->epoch) || !read_trace_id(in, envelope->trace_id))
		return false;
	envelope->type = (uint16_t)type;
	struct mp_token bytes = mp_read(in);
	if (bytes.type != MP_BIN)
		return false;
	*body = bytes.bytes;
	for (uint32_t i = ENVELOPE_MEMBERS; i < head.count; i++)
		if (!mp_skip(in))
			return false;
	return true;
}

enum frame_problem frame_next(struct frame_reader *r, struct envelope *envelope, struct slice *body)
{
	*envelope = (struct envelope){0};
	*body = (struct slice){0};
	if (r->at >= r->bytes.len)
		return FRAME_END;
	struct mp_reader in = {r->bytes.data + r->at, r->bytes.data + r->bytes.len};
	if (!read_message(&in, envelope, body))
		return FRAME_MALFORMED;
	r->at = (size_t)(in.at - r->bytes.data);
	return FRAME_OK;
}
