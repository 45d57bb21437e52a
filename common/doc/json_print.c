/* From MessagePack to JSON. */
#include <math.h>
#include <string.h>

#include "common/doc/json.h"
#include "common/doc/number.h"
#include "common/doc/utf8.h"
#include "proto/enums.h"
#include "proto/msgpack.h"

/* Answers wrap documents, so they may be deeper than what is taken in; mp_skip draws the same line.
 */
enum { PRINT_LEVELS = LIMIT_JSON_DEPTH + 28 };

static uint64_t load8(const uint8_t *at)
{
	uint64_t v;
	memcpy(&v, at, sizeof v);
	return v;
}

/* As buf_append_byte and buf_append, without a call where there is room. */
static inline void put_byte(struct buf *out, char byte)
{
	if (out->len == out->cap)
		buf_reserve(out, 1);
	out->data[out->len++] = (uint8_t)byte;
}

static inline void put_bytes(struct buf *out, const void *data, size_t len)
{
	if (out->cap - out->len < len)
		buf_reserve(out, len);
	if (len)
		memcpy(out->data + out->len, data, len);
	out->len += len;
}

void json_number(double value, struct buf *out)
{
	uint8_t *at = buf_reserve(out, JSON_NUMBER_CHARS);
	out->len += json_number_text(value, (char *)at);
}

static bool needs_escape(uint8_t byte)
{
	return byte < 0x20 || byte == '"' || byte == '\\';
}

/* True if one of eight bytes needs an escape (and at times if none does); Mycroft's zero-byte test.
 */
static bool may_need_escape(uint64_t eight)
{
	const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
	uint64_t quote = eight ^ ones * '"', slash = eight ^ ones * '\\';
	uint64_t control = (eight - ones * 0x20) & ~eight;
	return ((control | ((quote - ones) & ~quote) | ((slash - ones) & ~slash)) & tops) != 0;
}

static void write_escape(uint8_t byte, struct buf *out)
{
	static const char shorts[] = "\bb\tt\nn\ff\rr\"\"\\\\";
	for (size_t i = 0; i + 1 < sizeof shorts; i += 2)
		if ((uint8_t)shorts[i] == byte) {
			put_byte(out, '\\');
			buf_append_byte(out, (uint8_t)shorts[i + 1]);
			return;
		}
	buf_append_text(out, "\\u00");
	buf_append_hex(out, &byte, 1);
}

/* text is valid UTF-8. */
static void write_escaped(struct slice text, struct buf *out)
{
	size_t at = 0;
	while (at < text.len) {
		size_t from = at;
		while (at + 8 <= text.len && !may_need_escape(load8(text.data + at)))
			at += 8;
		while (at < text.len && !needs_escape(text.data[at]))
			at++;
		put_bytes(out, text.data + from, at - from);
		if (at < text.len)
			write_escape(text.data[at++], out);
	}
}

static void write_replacing(struct slice text, struct buf *out)
{
	size_t at = 0;
	while (at < text.len) {
		struct slice rest = slice_of(text.data + at, text.len - at);
		size_t valid = utf8_valid_prefix(rest);
		write_escaped(slice_of(rest.data, valid), out);
		at += valid;
		if (at < text.len) {
			buf_append_text(out, "\xef\xbf\xbd");
			at++;
		}
	}
}

void json_string(struct slice text, struct buf *out)
{
	put_byte(out, '"');
	if (utf8_is_valid(text))
		write_escaped(text, out);
	else
		write_replacing(text, out);
	put_byte(out, '"');
}

static void write_integer(bool negative, uint64_t magnitude, struct buf *out)
{
	char digits[20];
	size_t at = sizeof digits;
	do {
		digits[--at] = (char)('0' + magnitude % 10);
		magnitude /= 10;
	} while (magnitude > 0);
	if (negative)
		put_byte(out, '-');
	put_bytes(out, digits + at, sizeof digits - at);
}

static bool write_ext(const struct mp_token *t, struct buf *out)
{
	struct number_text n;
	if (t->ext_type != MP_EXT_NUMBER || !number_scan(t->bytes, &n))
		return false;
	buf_append_slice(out, t->bytes);
	return true;
}

static bool write_string(struct slice text, struct buf *out)
{
	if (!utf8_is_valid(text))
		return false;
	put_byte(out, '"');
	write_escaped(text, out);
	put_byte(out, '"');
	return true;
}

static bool write_value(struct mp_reader *r, struct buf *out, unsigned level);

static bool write_array(struct mp_reader *r, uint32_t count, struct buf *out, unsigned level)
{
	put_byte(out, '[');
	for (uint32_t i = 0; i < count; i++) {
		if (i > 0)
			put_byte(out, ',');
		if (!write_value(r, out, level))
			return false;
	}
	put_byte(out, ']');
	return true;
}

/* The members, comma between them, without the braces. */
static bool write_members(struct mp_reader *r, uint32_t count, struct buf *out, unsigned level)
{
	for (uint32_t i = 0; i < count; i++) {
		if (i > 0)
			put_byte(out, ',');
		struct mp_token key = mp_read(r);
		if (key.type != MP_STR || !write_string(key.bytes, out))
			return false;
		put_byte(out, ':');
		if (!write_value(r, out, level))
			return false;
	}
	return true;
}

static bool write_scalar(const struct mp_token *t, struct buf *out)
{
	switch (t->type) {
	case MP_NIL:
		put_bytes(out, "null", 4);
		return true;
	case MP_BOOL:
		buf_append_text(out, t->flag ? "true" : "false");
		return true;
	case MP_UINT:
		write_integer(false, t->u64, out);
		return true;
	case MP_INT:
		write_integer(true, 0 - (uint64_t)t->i64, out);
		return true;
	case MP_DOUBLE:
		if (!isfinite(t->number))
			return false;
		json_number(t->number, out);
		return true;
	case MP_STR:
		return write_string(t->bytes, out);
	case MP_EXT:
		return write_ext(t, out);
	default:
		return false;
	}
}

/* level: containers around the value. */
static bool write_value(struct mp_reader *r, struct buf *out, unsigned level)
{
	struct mp_token t = mp_read(r);
	if (t.type != MP_ARRAY && t.type != MP_MAP)
		return write_scalar(&t, out);
	if (level == PRINT_LEVELS)
		return false;
	if (t.type == MP_ARRAY)
		return write_array(r, t.count, out, level + 1);
	put_byte(out, '{');
	bool done = write_members(r, t.count, out, level + 1);
	put_byte(out, '}');
	return done;
}

bool json_from_msgpack(struct slice value, struct buf *out)
{
	size_t before = out->len;
	struct mp_reader r = mp_reader_of(value);
	if (write_value(&r, out, 0) && mp_at_end(&r))
		return true;
	out->len = before;
	return false;
}

bool json_document(struct slice id, struct slice body, struct buf *out)
{
	size_t before = out->len;
	struct mp_reader r = mp_reader_of(body);
	struct mp_token t = mp_read(&r);
	put_byte(out, '{');
	if (id.len) {
		buf_append_text(out, "\"id\":");
		json_string(id, out);
		if (t.type == MP_MAP && t.count > 0)
			put_byte(out, ',');
	}
	if (t.type == MP_MAP && write_members(&r, t.count, out, 1) && mp_at_end(&r)) {
		put_byte(out, '}');
		return true;
	}
	out->len = before;
	return false;
}
