#include "gateway/url.h"

#include "proto/enums.h"

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static bool needs_decoding(struct slice text, bool plus_is_space)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.data[i] == '%' || (plus_is_space && text.data[i] == '+'))
			return true;
	return false;
}

bool url_decode(struct slice text, bool plus_is_space, struct arena *arena, struct slice *out)
{
	*out = text;
	if (!needs_decoding(text, plus_is_space))
		return true;
	uint8_t *to = arena_alloc(arena, text.len);
	size_t len = 0;
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.data[i];
		if (c == '+' && plus_is_space)
			c = ' ';
		if (c == '%') {
			int high = text.len - i > 2 ? hex_digit(text.data[i + 1]) : -1;
			int low = text.len - i > 2 ? hex_digit(text.data[i + 2]) : -1;
			if (high < 0 || low < 0)
				return false;
			c = (uint8_t)(high << 4 | low);
			i += 2;
		}
		to[len++] = c;
	}
	*out = slice_of(to, len);
	return true;
}

static bool is_unreserved(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       c == '-' || c == '.' || c == '_' || c == '~';
}

void url_encode(struct slice text, struct buf *out)
{
	static const char digits[] = "0123456789ABCDEF";
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.data[i];
		if (is_unreserved(c)) {
			buf_append_byte(out, c);
			continue;
		}
		buf_append_byte(out, '%');
		buf_append_byte(out, (uint8_t)digits[c >> 4]);
		buf_append_byte(out, (uint8_t)digits[c & 15]);
	}
}

int url_segments(struct slice path, struct slice out[URL_SEGMENTS_MAX])
{
	if (path.len == 0 || path.data[0] != '/')
		return -1;
	size_t end = path.len;
	if (end > 1 && path.data[end - 1] == '/')
		end--;
	int count = 0;
	size_t at = 1;
	while (at < end) {
		size_t stop = at;
		while (stop < end && path.data[stop] != '/')
			stop++;
		if (count == URL_SEGMENTS_MAX)
			return -1;
		out[count++] = slice_of(path.data + at, stop - at);
		at = stop + 1;
	}
	return count;
}

bool url_parameter_next(struct slice *rest, struct http_field *out)
{
	while (rest->len > 0) {
		size_t end = 0;
		while (end < rest->len && rest->data[end] != '&')
			end++;
		struct slice pair = slice_of(rest->data, end);
		size_t used = end < rest->len ? end + 1 : end;
		*rest = slice_of(rest->data + used, rest->len - used);
		if (pair.len == 0)
			continue;
		size_t equals = 0;
		while (equals < pair.len && pair.data[equals] != '=')
			equals++;
		size_t value = equals < pair.len ? equals + 1 : equals;
		out->name = slice_of(pair.data, equals);
		out->value = slice_of(pair.data + value, pair.len - value);
		return true;
	}
	return false;
}

bool collection_name_valid(struct slice name)
{
	if (name.len == 0 || name.len > LIMIT_NAME_BYTES)
		return false;
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.data[i];
		if (!is_unreserved(c) || c == '_' || c == '~')
			return false;
	}
	return true;
}

bool collection_name_makeable(struct slice name)
{
	bool system = name.len >= 7 && memcmp(name.data, "system.", 7) == 0;
	return !system && collection_name_valid(name);
}

/* Bytes of the valid UTF-8 character at p, 0 if there is none. */
static size_t utf8_char(const uint8_t *p, size_t left)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint8_t c = p[0];
	if (c < 0x80)
		return 1;
	size_t len = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 0;
	if (len == 0 || c > 0xf4 || len > left)
		return 0;
	uint32_t code = c & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (p[i] & 0x3f);
	}
	bool surrogate = code >= 0xd800 && code <= 0xdfff;
	return code < least[len] || code > 0x10ffff || surrogate ? 0 : len;
}

bool document_id_valid(struct slice id)
{
	if (id.len == 0 || id.len > LIMIT_ID_BYTES)
		return false;
	for (size_t i = 0; i < id.len;) {
		uint8_t c = id.data[i];
		size_t len = utf8_char(id.data + i, id.len - i);
		/* C0, DEL and, in two bytes, C1 */
		bool control =
		    c < 0x20 || c == 0x7f || (c == 0xc2 && len == 2 && id.data[i + 1] < 0xa0);
		if (len == 0 || control)
			return false;
		i += len;
	}
	return true;
}

static const char base64url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void base64url_encode(struct slice bytes, struct buf *out)
{
	uint32_t bits = 0;
	unsigned count = 0;
	for (size_t i = 0; i < bytes.len; i++) {
		bits = (bits << 8 | bytes.data[i]) & 0xffff;
		for (count += 8; count >= 6; count -= 6)
			buf_append_byte(out, (uint8_t)base64url[bits >> (count - 6) & 63]);
	}
	if (count > 0)
		buf_append_byte(out, (uint8_t)base64url[bits << (6 - count) & 63]);
}

bool base64url_decode(struct slice text, struct buf *out)
{
	uint32_t bits = 0;
	unsigned count = 0;
	for (size_t i = 0; i < text.len; i++) {
		const char *at = text.data[i] ? strchr(base64url, text.data[i]) : NULL;
		if (!at)
			return false;
		bits = (bits << 6 | (uint32_t)(at - base64url)) & 0xffff;
		count += 6;
		if (count >= 8) {
			count -= 8;
			buf_append_byte(out, (uint8_t)(bits >> count));
		}
	}
	return count < 6 && (bits & ((1u << count) - 1)) == 0;
}
