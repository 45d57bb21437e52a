/* Seeded pseudo-random numbers (xoshiro256**, Blackman and Vigna 2018; seeded by splitmix64).
 * Not for secrets: those come from the kernel. */
#ifndef PARLEY_BASE_RNG_H
#define PARLEY_BASE_RNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rng {
	uint64_t state[4];
};

void rng_init(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);
/* 0 .. bound-1; bound > 0. */
uint64_t rng_below(struct rng *r, uint64_t bound);
/* low .. high, both included. */
int64_t rng_between(struct rng *r, int64_t low, int64_t high);
/* True with a chance of `per_million` in 1,000,000. */
bool rng_chance(struct rng *r, uint32_t per_million);
void rng_fill(struct rng *r, void *out, size_t len);
/* A stream of its own, drawn from this one. */
void rng_fork(struct rng *r, struct rng *child);

#endif
