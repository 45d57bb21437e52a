#include "common/base/rng.h"

#include <string.h>

#include "common/base/check.h"

static uint64_t splitmix(uint64_t *x)
{
	uint64_t z = (*x += 0x9e3779b97f4a7c15u);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

void rng_init(struct rng *r, uint64_t seed)
{
	for (int i = 0; i < 4; i++)
		r->state[i] = splitmix(&seed);
}

static uint64_t rotl(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

uint64_t rng_next(struct rng *r)
{
	uint64_t *s = r->state;
	uint64_t result = rotl(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;
	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotl(s[3], 45);
	return result;
}

uint64_t rng_below(struct rng *r, uint64_t bound)
{
	CHECK(bound > 0);
	uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
	uint64_t x;
	do {
		x = rng_next(r);
	} while (x >= limit);
	return x % bound;
}

int64_t rng_between(struct rng *r, int64_t low, int64_t high)
{
	CHECK(low <= high);
	return low + (int64_t)rng_below(r, (uint64_t)(high - low) + 1);
}

bool rng_chance(struct rng *r, uint32_t per_million)
{
	return rng_below(r, 1000000) < per_million;
}

void rng_fill(struct rng *r, void *out, size_t len)
{
	uint8_t *to = out;
	while (len > 0) {
		uint64_t x = rng_next(r);
		size_t part = len < sizeof x ? len : sizeof x;
		memcpy(to, &x, part);
		to += part;
		len -= part;
	}
}

void rng_fork(struct rng *r, struct rng *child)
{
	rng_init(child, rng_next(r));
}
