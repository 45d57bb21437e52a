#include "proto/msgpack.h"

#include <msgpack.h>
#include <string.h>

#include "common/base/check.h"
#include "proto/enums.h"

enum { SKIP_LEVELS = LIMIT_JSON_DEPTH + 28 };

/* ---- writer ---- */

static int write_to_buf(void *data, const char *bytes, size_t len)
{
	buf_append(data, bytes, len);
	return 0;
}

static msgpack_packer packer_of(struct buf *out)
{
	return (msgpack_packer){.data = out, .callback = write_to_buf};
}

void mp_write_nil(struct buf *out)
{
	msgpack_packer p = packer_of(out);
	msgpack_pack_nil(&p);
}

void mp_write_bool(struct buf *out, bool v)
{
	msgpack_packer p = packer_of(out);
	if (v)
		msgpack_pack_true(&p);
	else
		msgpack_pack_false(&p);
}

void mp_write_u64(struct buf *out, uint64_t v)
{
	if (v < 0x80) { /* most are */
		buf_append_byte(out, (uint8_t)v);
		return;
	}
	msgpack_packer p = packer_of(out);
	msgpack_pack_uint64(&p, v);
}

void mp_write_i64(struct buf *out, int64_t v)
{
	msgpack_packer p = packer_of(out);
	msgpack_pack_int64(&p, v);
}

void mp_write_double(struct buf *out, double v)
{
	msgpack_packer p = packer_of(out);
	msgpack_pack_double(&p, v);
}

void mp_write_str(struct buf *out, struct slice text)
{
	CHECK(text.len <= UINT32_MAX);
	msgpack_packer p = packer_of(out);
	msgpack_pack_str(&p, text.len);
	buf_append_slice(out, text);
}

void mp_write_text(struct buf *out, const char *text)
{
	mp_write_str(out, slice_text(text));
}

void mp_write_bin(struct buf *out, struct slice bytes)
{
	CHECK(bytes.len <= UINT32_MAX);
	if (bytes.len < 0x100) {
		uint8_t *to = buf_reserve(out, bytes.len + 2);
		to[0] = 0xc4;
		to[1] = (uint8_t)bytes.len;
		if (bytes.len)
			memcpy(to + 2, bytes.data, bytes.len);
		out->len += bytes.len + 2;
		return;
	}
	msgpack_packer p = packer_of(out);
	msgpack_pack_bin(&p, bytes.len);
	buf_append_slice(out, bytes);
}

void mp_write_array(struct buf *out, uint32_t count)
{
	msgpack_packer p = packer_of(out);
	msgpack_pack_array(&p, count);
}

void mp_write_map(struct buf *out, uint32_t count)
{
	if (count < 16) {
		buf_append_byte(out, (uint8_t)(0x80 | count));
		return;
	}
	msgpack_packer p = packer_of(out);
	msgpack_pack_map(&p, count);
}

void mp_write_ext(struct buf *out, int8_t type, struct slice bytes)
{
	CHECK(bytes.len <= UINT32_MAX);
	msgpack_packer p = packer_of(out);
	msgpack_pack_ext(&p, bytes.len, type);
	buf_append_slice(out, bytes);
}

/* ---- reader ---- */

static size_t remaining(const struct mp_reader *r)
{
	return (size_t)(r->end - r->at);
}

/* A big-endian number of 1, 2, 4 or 8 bytes. */
static bool take_number(struct mp_reader *r, size_t width, uint64_t *out)
{
	if (remaining(r) < width)
		return false;
	uint64_t v = 0;
	for (size_t i = 0; i < width; i++)
		v = v << 8 | r->at[i];
	r->at += width;
	*out = v;
	return true;
}

static struct mp_token take_bytes(struct mp_reader *r, enum mp_type type, uint64_t len)
{
	if (remaining(r) < len)
		return (struct mp_token){.type = MP_INVALID};
	struct slice bytes = slice_of(r->at, (size_t)len);
	r->at += len;
	return (struct mp_token){.type = type, .bytes = bytes};
}

static struct mp_token take_ext(struct mp_reader *r, uint64_t len)
{
	uint64_t ext_type;
	if (!take_number(r, 1, &ext_type))
		return (struct mp_token){.type = MP_INVALID};
	struct mp_token t = take_bytes(r, MP_EXT, len);
	t.ext_type = (int8_t)(uint8_t)ext_type;
	return t;
}

/* Every member takes at least one byte: a count beyond that can't be true. */
static struct mp_token container(const struct mp_reader *r, enum mp_type type, uint64_t count)
{
	size_t room = type == MP_MAP ? remaining(r) / 2 : remaining(r);
	if (count > room)
		return (struct mp_token){.type = MP_INVALID};
	return (struct mp_token){.type = type, .count = (uint32_t)count};
}

static struct mp_token unsigned_of(uint64_t v)
{
	return (struct mp_token){.type = MP_UINT, .u64 = v};
}

/* width: 1 to 8 bytes. */
static struct mp_token signed_of(uint64_t bits, size_t width)
{
	CHECK(width > 0);
	unsigned shift = 64 - 8 * (unsigned)width;
	int64_t v = (int64_t)(bits << shift) >> shift;
	if (v >= 0)
		return unsigned_of((uint64_t)v);
	return (struct mp_token){.type = MP_INT, .i64 = v};
}

static struct mp_token float_of(uint64_t bits, size_t width)
{
	struct mp_token t = {.type = MP_DOUBLE};
	if (width == 8) {
		memcpy(&t.number, &bits, sizeof t.number);
	} else {
		uint32_t narrow = (uint32_t)bits;
		float f;
		memcpy(&f, &narrow, sizeof f);
		t.number = (double)f;
	}
	return t;
}

/* Heads that say all in their first byte. */
static struct mp_token read_short(struct mp_reader *r, uint8_t head)
{
	if (head < 0x80)
		return unsigned_of(head);
	if (head < 0x90)
		return container(r, MP_MAP, head & 15u);
	if (head < 0xa0)
		return container(r, MP_ARRAY, head & 15u);
	if (head < 0xc0)
		return take_bytes(r, MP_STR, head & 31u);
	return (struct mp_token){.type = MP_INT, .i64 = (int64_t)head - 256};
}

/* Heads 0xc4 .. 0xdf, but fixext: a number of `width` bytes follows, and says the value or the
 * length. */
static struct mp_token read_wide(struct mp_reader *r, uint8_t head, size_t width)
{
	uint64_t v;
	if (!take_number(r, width, &v))
		return (struct mp_token){.type = MP_INVALID};
	switch (head) {
	case 0xc4 ... 0xc6:
		return take_bytes(r, MP_BIN, v);
	case 0xc7 ... 0xc9:
		return take_ext(r, v);
	case 0xca ... 0xcb:
		return float_of(v, width);
	case 0xcc ... 0xcf:
		return unsigned_of(v);
	case 0xd0 ... 0xd3:
		return signed_of(v, width);
	case 0xd9 ... 0xdb:
		return take_bytes(r, MP_STR, v);
	case 0xdc ... 0xdd:
		return container(r, MP_ARRAY, v);
	default:
		return container(r, MP_MAP, v);
	}
}

static struct mp_token read_any(struct mp_reader *r)
{
	/* Bytes of the number after the head, for 0xc0 .. 0xdf; 0 where none follows. */
	static const uint8_t widths[32] = {0, 0, 0, 0, 1, 2, 4, 1, 2, 4, 4, 8, 1, 2, 4, 8,
					   1, 2, 4, 8, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4};
	if (mp_at_end(r))
		return (struct mp_token){.type = MP_INVALID};
	uint8_t head = *r->at++;
	if (head < 0xc0 || head > 0xdf)
		return read_short(r, head);
	if (widths[head - 0xc0] > 0)
		return read_wide(r, head, widths[head - 0xc0]);
	if (head >= 0xd4)
		return take_ext(r, UINT64_C(1) << (head - 0xd4));
	if (head == 0xc0)
		return (struct mp_token){.type = MP_NIL};
	if (head == 0xc1)
		return (struct mp_token){.type = MP_INVALID};
	return (struct mp_token){.type = MP_BOOL, .flag = head == 0xc3};
}

struct mp_token mp_read_long(struct mp_reader *r)
{
	struct mp_reader ahead = *r;
	struct mp_token t = read_any(&ahead);
	if (t.type == MP_INVALID)
		return (struct mp_token){.type = MP_INVALID};
	*r = ahead;
	return t;
}

bool mp_read_uint_long(struct mp_reader *r, uint64_t *out)
{
	size_t room = remaining(r);
	if (room == 0)
		return false;
	uint8_t head = *r->at;
	if (head == 0xcf && room > 8) {
		*out = be64_read(r->at + 1);
		r->at += 9;
		return true;
	}
	struct mp_token t = mp_read_long(r);
	*out = t.u64;
	return t.type == MP_UINT;
}

bool mp_read_bin(struct mp_reader *r, struct slice *out)
{
	size_t room = remaining(r);
	if (room > 1 && r->at[0] == 0xc4 && r->at[1] <= room - 2) {
		*out = slice_of(r->at + 2, r->at[1]);
		r->at += out->len + 2;
		return true;
	}
	struct mp_token t = mp_read_long(r);
	*out = t.bytes;
	return t.type == MP_BIN;
}

bool mp_read_map(struct mp_reader *r, uint32_t *count)
{
	size_t room = remaining(r);
	if (room > 0 && (*r->at & 0xf0) == 0x80 && (*r->at & 15u) <= (room - 1) / 2) {
		*count = *r->at++ & 15u;
		return true;
	}
	struct mp_token t = mp_read_long(r);
	*count = t.count;
	return t.type == MP_MAP;
}

#define SAME_4(n)  n, n, n, n
#define SAME_16(n) SAME_4(n), SAME_4(n), SAME_4(n), SAME_4(n)
#define FROM_16(n)                                                                                 \
	(n), (n) + 1, (n) + 2, (n) + 3, (n) + 4, (n) + 5, (n) + 6, (n) + 7, (n) + 8, (n) + 9,      \
	    (n) + 10, (n) + 11, (n) + 12, (n) + 13, (n) + 14, (n) + 15
const uint8_t mp_bytes_by_head[256] = {
    /* 00..7f: small integers */
    SAME_16(1), SAME_16(1), SAME_16(1), SAME_16(1), SAME_16(1), SAME_16(1), SAME_16(1), SAME_16(1),
    /* 80..9f: small containers; a0..bf: short strings */
    SAME_16(0), SAME_16(0), FROM_16(1), FROM_16(17),
    /* c0..df: nil, -, booleans, bin, ext, floats, integers, fixext, str, array, map */
    1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 5, 9, 2, 3, 5, 9, 2, 3, 5, 9, 3, 4, 6, 10, 18, 0, 0, 0, 0, 0, 0,
    0,
    /* e0..ff: small negative integers */
    SAME_16(1), SAME_16(1)};

/* Steps over a string, bin or ext of up to 255 bytes, or any value whose head tells its length;
 * false if it is something else. */
static bool skip_flat(struct mp_reader *r)
{
	size_t room = remaining(r);
	if (room == 0)
		return false;
	uint8_t head = *r->at;
	size_t bytes = mp_bytes_by_head[head];
	if ((head == 0xd9 || head == 0xc4) && room > 1)
		bytes = (size_t)r->at[1] + 2;
	if (bytes == 0 || bytes > room)
		return false;
	r->at += bytes;
	return true;
}

/* Values still to come at each level. */
bool mp_skip_long(struct mp_reader *r)
{
	struct mp_reader ahead = *r;
	uint64_t left[SKIP_LEVELS + 1];
	size_t level = 0;
	left[0] = 1;
	for (;;) {
		while (left[level] == 0) {
			if (level == 0) {
				*r = ahead;
				return true;
			}
			level--;
		}
		left[level]--;
		if (skip_flat(&ahead))
			continue;
		struct mp_token t = mp_read_long(&ahead);
		if (t.type == MP_INVALID)
			return false;
		if (t.type != MP_ARRAY && t.type != MP_MAP)
			continue;
		if (++level > SKIP_LEVELS)
			return false;
		left[level] = (uint64_t)t.count * (t.type == MP_MAP ? 2 : 1);
	}
}

struct slice mp_value(struct mp_reader *r)
{
	const uint8_t *from = r->at;
	if (!mp_skip(r))
		return (struct slice){0};
	return slice_of(from, (size_t)(r->at - from));
}

bool mp_valid(struct slice bytes)
{
	struct mp_reader r = mp_reader_of(bytes);
	return mp_skip(&r) && mp_at_end(&r);
}
