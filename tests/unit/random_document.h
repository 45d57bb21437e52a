/* Small documents whose members meet often, and rules for them. */
#ifndef PARLEY_TESTS_UNIT_RANDOM_DOCUMENT_H
#define PARLEY_TESTS_UNIT_RANDOM_DOCUMENT_H

#include "common/base/rng.h"
#include "proto/enums.h"
#include "proto/msgpack.h"

/* The rules stand on paths that random documents have. more: members in front, each with a comma.
 */
#define RANDOM_POLICY(more)                                                                        \
	"{" more "\"paths\":{\"n\":\"counter\",\"s\":\"set\",\"m\":{\"map\":[\"k\"]},"             \
	"\"x\":\"max\",\"y.x\":\"newest\",\"o.n\":\"min\",\"m.n\":\"counter\",\"o.s\":\"set\","    \
	"\"o.m\":\"append\",\"y.n\":\"oldest\"}}"

static inline void random_value(struct rng *rng, uint32_t depth, struct buf *out);

static inline void random_members(struct rng *rng, uint32_t depth, bool named, struct buf *out)
{
	const char *names[] = {"n", "s", "m", "x", "y", "o"};
	uint32_t first = (uint32_t)rng_below(rng, 3);
	uint32_t count = (uint32_t)rng_below(rng, 4);
	if (!named) {
		mp_write_array(out, count);
	} else {
		mp_write_map(out, count + 1);
		mp_write_text(out, "k");
		mp_write_u64(out, rng_below(rng, 4));
	}
	for (uint32_t i = 0; i < count; i++) {
		if (named)
			mp_write_text(out, names[(first + i) % 6]);
		random_value(rng, depth + 1, out);
	}
}

static inline void random_value(struct rng *rng, uint32_t depth, struct buf *out)
{
	switch (rng_below(rng, depth > 3 ? 6 : 9)) {
	case 0:
		mp_write_nil(out);
		break;
	case 1:
		mp_write_bool(out, rng_below(rng, 2));
		break;
	case 2:
		mp_write_double(out, (double)rng_between(rng, -4, 4) / 2);
		break;
	case 3:
		mp_write_ext(out, MP_EXT_NUMBER, slice_text("123456789012345678901234567890"));
		break;
	case 4:
		mp_write_text(out, rng_below(rng, 2) ? "p" : "q");
		break;
	case 5:
		mp_write_i64(out, rng_between(rng, -3, 3));
		break;
	case 6:
		random_members(rng, depth, false, out);
		break;
	default:
		random_members(rng, depth, true, out);
	}
}

static inline void random_document(struct rng *rng, struct buf *out)
{
	random_members(rng, 0, true, out);
}

#endif
