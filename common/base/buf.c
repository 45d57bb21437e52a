#include "common/base/buf.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/memory.h"

enum { BUF_FIRST_BYTES = 64 };

void buf_close(struct buf *b)
{
	free(b->data);
	*b = (struct buf){0};
}

uint8_t *buf_grow(struct buf *b, size_t bytes)
{
	CHECK(bytes <= SIZE_MAX / 4 && b->len <= SIZE_MAX / 4);
	size_t need = b->len + bytes;
	if (need > b->cap || !b->data) {
		size_t cap = b->cap ? b->cap : BUF_FIRST_BYTES;
		while (cap < need)
			cap *= 2;
		b->data = mem_realloc(b->data, cap);
		b->cap = cap;
	}
	return b->data + b->len;
}

void buf_append(struct buf *b, const void *data, size_t len)
{
	if (len == 0)
		return;
	memcpy(buf_reserve(b, len), data, len);
	b->len += len;
}

void buf_append_slice(struct buf *b, struct slice s)
{
	buf_append(b, s.data, s.len);
}

void buf_append_text(struct buf *b, const char *text)
{
	buf_append(b, text, strlen(text));
}

void be64_write(uint8_t *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> (56 - 8 * i));
}

void buf_append_be32(struct buf *b, uint32_t v)
{
	uint8_t bytes[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
	buf_append(b, bytes, sizeof bytes);
}

void buf_append_be64(struct buf *b, uint64_t v)
{
	uint8_t bytes[8];
	be64_write(bytes, v);
	buf_append(b, bytes, sizeof bytes);
}

void buf_vprintf(struct buf *b, const char *format, va_list args)
{
	va_list again;
	va_copy(again, args);
	int need = vsnprintf(NULL, 0, format, args);
	CHECK(need >= 0);
	char *at = (char *)buf_reserve(b, (size_t)need + 1);
	int wrote = vsnprintf(at, (size_t)need + 1, format, again);
	va_end(again);
	CHECK(wrote == need);
	b->len += (size_t)need;
}

void buf_printf(struct buf *b, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	buf_vprintf(b, format, args);
	va_end(args);
}

void buf_append_hex(struct buf *b, const void *data, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *from = data;
	uint8_t *to = buf_reserve(b, len * 2);
	for (size_t i = 0; i < len; i++) {
		to[2 * i] = (uint8_t)digits[from[i] >> 4];
		to[2 * i + 1] = (uint8_t)digits[from[i] & 15];
	}
	b->len += len * 2;
}

const char *buf_cstr(struct buf *b)
{
	*buf_reserve(b, 1) = 0;
	return (const char *)b->data;
}
