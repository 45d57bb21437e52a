/* Sums of values that are more than a number: lists element by element, objects member by member.
 * Members come in the order of their names, so that adding is merging. */
#include <math.h>
#include <stdlib.h>

#include "common/base/arena.h"
#include "common/doc/value.h"
#include "gateway/couch/reduce.h"
#include "proto/msgpack.h"

struct member {
	struct slice name;
	struct slice value;
};

bool reduce_number(struct slice value, double *out)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token t = mp_read(&reader);
	switch (t.type) {
	case MP_UINT:
		*out = (double)t.u64;
		return true;
	case MP_INT:
		*out = (double)t.i64;
		return true;
	case MP_DOUBLE:
		*out = t.number;
		return true;
	default:
		return false;
	}
}

/* Whole numbers without a point. */
static void write_number(double number, struct buf *out)
{
	if (!isfinite(number))
		mp_write_nil(out);
	else if (number == floor(number) && fabs(number) < 0x1p53)
		mp_write_i64(out, (int64_t)number);
	else
		mp_write_double(out, number);
}

static bool add_numbers(struct slice a, struct slice b, struct buf *out)
{
	double x, y;
	if (!reduce_number(a, &x) || !reduce_number(b, &y))
		return false;
	write_number(x + y, out);
	return true;
}

/* A number is a list of one. */
static uint32_t list_of(struct slice value, struct mp_reader *reader)
{
	double number;
	*reader = mp_reader_of(value);
	return reduce_number(value, &number) ? 1 : mp_read(reader).count;
}

static bool add_lists(struct slice a, struct slice b, struct buf *out)
{
	struct mp_reader x, y;
	uint32_t x_count = list_of(a, &x);
	uint32_t y_count = list_of(b, &y);
	uint32_t count = x_count > y_count ? x_count : y_count;
	mp_write_array(out, count);
	for (uint32_t i = 0; i < count; i++) {
		if (i >= x_count)
			buf_append_slice(out, mp_value(&y));
		else if (i >= y_count)
			buf_append_slice(out, mp_value(&x));
		else if (!add_numbers(mp_value(&x), mp_value(&y), out))
			return false;
	}
	return true;
}

static int compare_members(const void *a, const void *b)
{
	return slice_compare(((const struct member *)a)->name, ((const struct member *)b)->name);
}

static struct member *members_of(struct slice object, struct arena *arena, uint32_t *count)
{
	struct mp_reader reader = mp_reader_of(object);
	*count = mp_read(&reader).count;
	struct member *list = arena_alloc(arena, (*count + 1) * sizeof *list);
	for (uint32_t i = 0; i < *count; i++) {
		list[i].name = mp_read(&reader).bytes;
		list[i].value = mp_value(&reader);
	}
	qsort(list, *count, sizeof *list, compare_members);
	return list;
}

static bool merge(struct slice a, struct slice b, struct arena *arena, struct buf *members,
		  uint32_t *count)
{
	uint32_t x_count, y_count;
	const struct member *x = members_of(a, arena, &x_count);
	const struct member *y = members_of(b, arena, &y_count);
	bool fine = true;
	for (uint32_t i = 0, k = 0; fine && (i < x_count || k < y_count); (*count)++) {
		int order = i == x_count   ? 1
			    : k == y_count ? -1
					   : slice_compare(x[i].name, y[k].name);
		const struct member *first = order <= 0 ? &x[i] : &y[k];
		mp_write_str(members, first->name);
		if (order == 0)
			fine = reduce_sum(x[i].value, y[k].value, members);
		else
			buf_append_slice(members, first->value);
		i += order <= 0;
		k += order >= 0;
	}
	return fine;
}

static bool add_objects(struct slice a, struct slice b, struct buf *out)
{
	struct arena arena = {0};
	struct buf members = {0};
	uint32_t count = 0;
	bool fine = merge(a, b, &arena, &members, &count);
	mp_write_map(out, count);
	buf_append_slice(out, buf_slice(&members));
	buf_close(&members);
	arena_close(&arena);
	return fine;
}

bool reduce_sum(struct slice a, struct slice b, struct buf *out)
{
	struct mp_reader reader = mp_reader_of(a);
	enum mp_type x = mp_read(&reader).type;
	reader = mp_reader_of(b);
	enum mp_type y = mp_read(&reader).type;
	if (x == MP_MAP && y == MP_MAP)
		return add_objects(a, b, out);
	if (x == MP_MAP || y == MP_MAP)
		return false;
	if (x != MP_ARRAY && y != MP_ARRAY)
		return add_numbers(a, b, out);
	double number;
	bool lists = (x == MP_ARRAY || reduce_number(a, &number)) &&
		     (y == MP_ARRAY || reduce_number(b, &number));
	return lists && add_lists(a, b, out);
}
