/* How long things are kept that might have gone. */
#ifndef PARLEY_RETAIN_H
#define PARLEY_RETAIN_H

#include "proto/schema.h"

/* A deleted document's tombstone, at least. The setting is stored as 1 + so many milliseconds. */
static inline uint64_t retain_deleted_ms(const struct collection *c)
{
	return c->retain_deleted > 0 ? c->retain_deleted - 1 : 7ull * 24 * 3600 * 1000;
}

#endif
