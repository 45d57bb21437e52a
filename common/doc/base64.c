#include "common/doc/base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct slice bytes, struct buf *out)
{
	size_t groups = bytes.len / 3 + (bytes.len % 3 > 0);
	uint8_t *to = buf_reserve(out, groups * 4);
	for (size_t i = 0; i < bytes.len; i += 3) {
		size_t left = bytes.len - i;
		uint32_t group = (uint32_t)bytes.data[i] << 16;
		group |= left > 1 ? (uint32_t)bytes.data[i + 1] << 8 : 0;
		group |= left > 2 ? bytes.data[i + 2] : 0;
		*to++ = (uint8_t)digits[group >> 18];
		*to++ = (uint8_t)digits[group >> 12 & 63];
		*to++ = left > 1 ? (uint8_t)digits[group >> 6 & 63] : '=';
		*to++ = left > 2 ? (uint8_t)digits[group & 63] : '=';
	}
	out->len += groups * 4;
}

static int value_of(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

bool base64_decode(struct slice text, struct buf *out)
{
	size_t before = out->len;
	size_t padding = 0;
	if (text.len % 4 != 0)
		return false;
	while (padding < 2 && padding < text.len && text.data[text.len - 1 - padding] == '=')
		padding++;
	uint8_t *to = buf_reserve(out, text.len / 4 * 3);
	for (size_t i = 0; i < text.len; i += 4) {
		uint32_t group = 0;
		for (size_t k = 0; k < 4; k++) {
			bool pad = i + k >= text.len - padding;
			int value = pad ? 0 : value_of(text.data[i + k]);
			if (value < 0) {
				out->len = before;
				return false;
			}
			group = group << 6 | (uint32_t)value;
		}
		*to++ = (uint8_t)(group >> 16);
		*to++ = (uint8_t)(group >> 8);
		*to++ = (uint8_t)group;
	}
	out->len += text.len / 4 * 3 - padding;
	return true;
}
