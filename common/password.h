/* Hashes of passwords: asked for by an effect, computed beside the loop, told by an event. */
#ifndef PARLEY_PASSWORD_H
#define PARLEY_PASSWORD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/slice.h"

/* scrypt (RFC 7914) with a block size of 8 and a parallelization of 1: it takes 1 KiB of memory
 * times the cost, and a time to match. */
enum {
	PASSWORD_HASH_BYTES = 32,
	PASSWORD_BLOCK = 8,
	PASSWORD_COST = 1 << 14, /* of new ones: 16 MiB, some 30 ms */
	PASSWORD_COST_MAX = 1 << 16
};

struct password_request {
	uint64_t id;
	uint32_t cost; /* a power of two, 2 to PASSWORD_COST_MAX */
	struct slice password;
	struct slice salt;
};

struct effects;
/* Copies. The core bounds how many are under way. */
void fx_password(struct effects *fx, const struct password_request *request);

struct password_reply {
	uint64_t id;
	bool failed; /* there was no memory for it */
	uint8_t hash[PASSWORD_HASH_BYTES];
};

#endif
