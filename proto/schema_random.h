/* Values made from descriptor rows, for tests, fuzzers and the simulator: no message needs a
 * generator of its own. Bytes and lists live in the arena. Every value keeps the limits of its
 * rows. */
#ifndef PARLEY_PROTO_SCHEMA_RANDOM_H
#define PARLEY_PROTO_SCHEMA_RANDOM_H

#include "common/base/arena.h"
#include "common/base/rng.h"
#include "proto/schema.h"

/* Fills *value: zeros, small numbers, greatest values and absent fields all occur; sizes stay
 * small, so that a value seldom encodes to more than some kilobytes. The same seed gives the same
 * value. */
void schema_random(const struct schema *schema, struct rng *rng, struct arena *arena, void *value);

/* Fills every field of *value, nothing zero or empty, the same each time: for golden encodings. */
void schema_fixed(const struct schema *schema, struct arena *arena, void *value);

#endif
