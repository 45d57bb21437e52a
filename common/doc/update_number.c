/* $inc: sums that are exact or refused. */
#include <math.h>

#include "common/doc/update_plan.h"

/* An integer of the range -2^63 .. 2^64-1, by sign and size. */
struct integer {
	bool negative;
	uint64_t size;
};

static struct integer integer_of(const struct mp_token *t)
{
	if (t->type == MP_UINT)
		return (struct integer){false, t->u64};
	return (struct integer){true, 0 - (uint64_t)t->i64};
}

static bool is_integer(const struct mp_token *t)
{
	return t->type == MP_UINT || t->type == MP_INT;
}

/* False if no double is this number. */
static bool double_of(const struct mp_token *t, double *out)
{
	static const uint64_t exact = UINT64_C(1) << 53;
	if (t->type == MP_DOUBLE) {
		*out = t->number;
		return true;
	}
	struct integer i = integer_of(t);
	*out = i.negative ? -(double)i.size : (double)i.size;
	return i.size < exact;
}

static const char *add_integers(const struct mp_token *a, const struct mp_token *b, struct buf *out)
{
	static const char too_large[] = "The sum does not fit 64 bits.";
	struct integer x = integer_of(a), y = integer_of(b);
	struct integer sum = {x.negative, x.size + y.size};
	if (x.negative == y.negative) {
		if (sum.size < x.size)
			return too_large;
	} else if (x.size >= y.size) {
		sum.size = x.size - y.size;
	} else {
		sum = (struct integer){y.negative, y.size - x.size};
	}
	if (!sum.negative) {
		mp_write_u64(out, sum.size);
		return NULL;
	}
	if (sum.size > UINT64_C(1) << 63)
		return too_large;
	mp_write_i64(out, (int64_t)(0 - sum.size));
	return NULL;
}

const char *update_add(struct slice a, struct slice b, struct buf *out)
{
	struct mp_reader a_reader = mp_reader_of(a), b_reader = mp_reader_of(b);
	struct mp_token x = mp_read(&a_reader), y = mp_read(&b_reader);
	if (x.type == MP_EXT || y.type == MP_EXT)
		return "A number of more than 64 bits can't be counted exactly.";
	if ((!is_integer(&x) && x.type != MP_DOUBLE) || (!is_integer(&y) && y.type != MP_DOUBLE))
		return "The value here is no number.";
	if (is_integer(&x) && is_integer(&y))
		return add_integers(&x, &y, out);
	double x_double, y_double;
	if (!double_of(&x, &x_double) || !double_of(&y, &y_double))
		return "An integer past 2^53 and a fraction have no exact sum.";
	if (!isfinite(x_double + y_double))
		return "The sum is larger than a number can be.";
	mp_write_double(out, x_double + y_double);
	return NULL;
}
