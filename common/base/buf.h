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

/* Room for `bytes` more; returns where they would start. Does not change len. */
uint8_t *buf_reserve(struct buf *b, size_t bytes);
void buf_append(struct buf *b, const void *data, size_t len);
void buf_append_slice(struct buf *b, struct slice s);
void buf_append_text(struct buf *b, const char *text);
void buf_append_byte(struct buf *b, uint8_t byte);
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

uint32_t be32_read(const uint8_t *p);
uint64_t be64_read(const uint8_t *p);
void be64_write(uint8_t *p, uint64_t v);

#endif
