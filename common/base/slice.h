/* A borrowed run of bytes: pointer and length, owned by somebody else. */
#ifndef PARLEY_BASE_SLICE_H
#define PARLEY_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
	const uint8_t *data;
	size_t len;
};

static inline struct slice slice_of(const void *data, size_t len)
{
	return (struct slice){(const uint8_t *)data, len};
}

/* `len` bytes from `at` on. C11 forbids even a step of 0 from the null pointer of an empty one. */
static inline struct slice slice_part(struct slice s, size_t at, size_t len)
{
	return slice_of(at > 0 ? s.data + at : s.data, len);
}

/* Without the terminating NUL. */
static inline struct slice slice_text(const char *text)
{
	return slice_of(text, strlen(text));
}

static inline bool slice_equal(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool slice_is(struct slice a, const char *text)
{
	return slice_equal(a, slice_text(text));
}

/* Order of unsigned bytes, the shorter first among equals: <0, 0, >0. */
static inline int slice_compare(struct slice a, struct slice b)
{
	size_t common = a.len < b.len ? a.len : b.len;
	int order = common ? memcmp(a.data, b.data, common) : 0;
	if (order != 0)
		return order;
	return a.len < b.len ? -1 : a.len > b.len;
}

#endif
