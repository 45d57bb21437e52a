/* $inc: sums that are exact or refused. */
#include <math.h>

#include "common/doc/update_plan.h"

static __int128 integer_of(const struct mp_token *t)
{
	return t->type == MP_UINT ? (__int128)t->u64 : (__int128)t->i64;
}

static bool is_integer(const struct mp_token *t)
{
	return t->type == MP_UINT || t->type == MP_INT;
}

/* False if no double is this number. */
static bool double_of(const struct mp_token *t, double *out)
{
	static const double exact = 0x1p53;
	*out = t->type == MP_DOUBLE ? t->number : (double)integer_of(t);
	return t->type == MP_DOUBLE || fabs(*out) < exact;
}

static const char *add_integers(const struct mp_token *a, const struct mp_token *b, struct buf *out)
{
	__int128 sum = integer_of(a) + integer_of(b);
	if (sum > (__int128)UINT64_MAX || sum < (__int128)INT64_MIN)
		return "The sum does not fit 64 bits.";
	if (sum < 0)
		mp_write_i64(out, (int64_t)sum);
	else
		mp_write_u64(out, (uint64_t)sum);
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
