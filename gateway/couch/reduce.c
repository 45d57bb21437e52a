#include "gateway/couch/reduce.h"

#include <inttypes.h>
#include <math.h>

#include "common/doc/json.h"
#include "common/doc/number.h"
#include "common/doc/value.h"

bool reduce_kind(struct slice text, enum reduce_kind *out)
{
	static const struct {
		const char *name;
		enum reduce_kind kind;
	} rows[] = {
	    {"", REDUCE_NONE},
	    {"_count", REDUCE_COUNT},
	    {"_sum", REDUCE_SUM},
	    {"_stats", REDUCE_STATS},
	    {"_approx_count_distinct", REDUCE_DISTINCT},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		*out = rows[i].kind;
		if (slice_is(text, rows[i].name))
			return true;
	}
	*out = REDUCE_SCRIPT;
	return text.data[0] != '_';
}

void reduce_begin(struct reduce *r, enum reduce_kind kind, enum collation_order order)
{
	struct buf last = r->last;
	buf_clear(&last);
	*r = (struct reduce){.kind = kind, .order = order, .last = last};
}

void reduce_close(struct reduce *r)
{
	buf_close(&r->last);
}

/* Numbers that no double holds are rounded, as JavaScript does. */
static bool number_of(struct slice value, double *out)
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

static bool add_list(struct reduce *r, struct slice value)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token head = mp_read(&reader);
	if (head.type != MP_ARRAY || head.count > REDUCE_SUMS_MAX)
		return false;
	r->is_list = true;
	for (uint32_t i = 0; i < head.count; i++) {
		double number;
		if (!number_of(mp_value(&reader), &number))
			return false;
		r->sums[i] += number;
	}
	if (head.count > r->sums_count)
		r->sums_count = head.count;
	return true;
}

static bool add_sum(struct reduce *r, struct slice value)
{
	double number;
	if (!number_of(value, &number))
		return add_list(r, value);
	r->sums[0] += number;
	r->sums_count = r->sums_count > 0 ? r->sums_count : 1;
	return true;
}

static bool add_stats(struct reduce *r, struct slice value)
{
	double number;
	if (!number_of(value, &number))
		return false;
	r->least = r->count == 0 || number < r->least ? number : r->least;
	r->greatest = r->count == 0 || number > r->greatest ? number : r->greatest;
	r->sums[0] += number;
	r->squares += number * number;
	return true;
}

static void add_distinct(struct reduce *r, struct slice key)
{
	struct buf collated = {0};
	bool same = collation_key(r->order, key, &collated) && r->count > 0 &&
		    slice_equal(buf_slice(&collated), buf_slice(&r->last));
	r->count += !same;
	buf_clear(&r->last);
	buf_append_slice(&r->last, buf_slice(&collated));
	buf_close(&collated);
}

bool reduce_add(struct reduce *r, struct slice key, struct slice value)
{
	bool fine = true;
	if (r->kind == REDUCE_SUM)
		fine = add_sum(r, value);
	else if (r->kind == REDUCE_STATS)
		fine = add_stats(r, value);
	if (r->kind == REDUCE_DISTINCT)
		add_distinct(r, key);
	else
		r->count++;
	return fine;
}

/* Whole numbers without a point. */
static void print_number(double number, struct buf *out)
{
	if (!isfinite(number))
		buf_append_text(out, "null");
	else if (number == floor(number) && fabs(number) < 0x1p53)
		buf_printf(out, "%" PRId64, (int64_t)number);
	else
		json_number(number, out);
}

static void print_member(const char *name, double number, struct buf *out)
{
	buf_printf(out, "\"%s\":", name);
	print_number(number, out);
}

static void print_stats(const struct reduce *r, struct buf *out)
{
	buf_append_byte(out, '{');
	print_member("sum", r->sums[0], out);
	buf_printf(out, ",\"count\":%" PRIu64 ",", r->count);
	print_member("min", r->least, out);
	buf_append_byte(out, ',');
	print_member("max", r->greatest, out);
	buf_append_byte(out, ',');
	print_member("sumsqr", r->squares, out);
	buf_append_byte(out, '}');
}

void reduce_print(const struct reduce *r, struct buf *out)
{
	if (r->kind == REDUCE_STATS) {
		print_stats(r, out);
	} else if (r->kind != REDUCE_SUM) {
		buf_printf(out, "%" PRIu64, r->count);
	} else if (!r->is_list) {
		print_number(r->sums[0], out);
	} else {
		for (uint32_t i = 0; i < r->sums_count; i++) {
			buf_append_byte(out, i > 0 ? ',' : '[');
			print_number(r->sums[i], out);
		}
		buf_append_text(out, r->sums_count > 0 ? "]" : "[]");
	}
}
