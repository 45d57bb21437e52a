/* A growing byte buffer. Owns its memory; grows by doubling; never fails (out of memory is fatal).
 * Zero-initialised is a valid empty buffer. */
#ifndef PARLEY_BASE_BUF_H
#define PARLEY_BASE_BUF_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/check.h"
#include "common/base/slice.h"

struct buf {
	uint8_t *data;
	size_t len;
	size_t cap;
};

void buf_close(struct buf *b);

/* Keeps the memory for reuse. */
static inline void buf_clear(struct buf *b)
{
	b->len = 0;
}

/* What buf_reserve leaves to buf.c. Call that. */
uint8_t *buf_grow(struct buf *b, size_t bytes);

/* Room for `bytes` more; returns where they would start. Does not change len. */
static inline uint8_t *buf_reserve(struct buf *b, size_t bytes)
{
	return b->data && bytes <= b->cap - b->len ? b->data + b->len : buf_grow(b, bytes);
}

void buf_append(struct buf *b, const void *data, size_t len);
void buf_append_slice(struct buf *b, struct slice s);
void buf_append_text(struct buf *b, const char *text);

static inline void buf_append_byte(struct buf *b, uint8_t byte)
{
	*buf_reserve(b, 1) = byte;
	b->len++;
}

/* Big endian, so that keys sort by number. */
void buf_append_be32(struct buf *b, uint32_t v);
void buf_append_be64(struct buf *b, uint64_t v);
void buf_printf(struct buf *b, const char *format, ...) PRINTF_LIKE(2, 3);
void buf_vprintf(struct buf *b, const char *format, va_list args) PRINTF_LIKE(2, 0);
/* Lower-case hexadecimal. */
void buf_append_hex(struct buf *b, const void *data, size_t len);
/* NUL-terminates without counting the NUL; the pointer lives until the next change. */
const char *buf_cstr(struct buf *b);

static inline struct slice buf_slice(const struct buf *b)
{
	return slice_of(b->data, b->len);
}

static inline uint32_t be32_read(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t be64_read(const uint8_t *p)
{
	return (uint64_t)be32_read(p) << 32 | be32_read(p + 4);
}

void be64_write(uint8_t *p, uint64_t v);

#endif
