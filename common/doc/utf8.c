#include "common/doc/utf8.h"

#include <string.h>

/* Unicode 15, table 3-7. */
size_t utf8_char(const uint8_t *at, size_t left)
{
	uint8_t head = at[0];
	if (head < 0x80)
		return 1;
	size_t len = head < 0xe0 ? 2 : head < 0xf0 ? 3 : 4;
	if (head < 0xc2 || head > 0xf4 || left < len)
		return 0;
	uint8_t low = head == 0xe0 ? 0xa0 : head == 0xf0 ? 0x90 : 0x80;
	uint8_t high = head == 0xed ? 0x9f : head == 0xf4 ? 0x8f : 0xbf;
	if (at[1] < low || at[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

size_t utf8_valid_prefix(struct slice text)
{
	size_t at = 0;
	while (at < text.len) {
		size_t len = utf8_char(text.data + at, text.len - at);
		if (len == 0)
			break;
		at += len;
	}
	return at;
}

static bool is_ascii(struct slice text)
{
	uint64_t all = 0;
	size_t at = 0;
	for (; at + 8 <= text.len; at += 8) {
		uint64_t eight;
		memcpy(&eight, text.data + at, 8);
		all |= eight;
	}
	for (; at < text.len; at++)
		all |= text.data[at];
	return (all & UINT64_C(0x8080808080808080)) == 0;
}

/* Most strings are short and plain: for those simdjson's check costs more than it saves. */
bool utf8_is_valid(struct slice text)
{
	if (is_ascii(text))
		return true;
	if (text.len < 64)
		return utf8_valid_prefix(text) == text.len;
	return utf8_is_valid_long(text);
}
