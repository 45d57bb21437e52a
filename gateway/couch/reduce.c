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
	struct buf object = r->object;
	struct buf error = r->error;
	struct buf last = r->last;
	buf_clear(&object);
	buf_clear(&error);
	buf_clear(&last);
	*r = (struct reduce){
	    .kind = kind, .order = order, .object = object, .error = error, .last = last};
}

void reduce_close(struct reduce *r)
{
	buf_close(&r->object);
	buf_close(&r->error);
	buf_close(&r->last);
}

/* ---- sums ---- */

#define CANT_ADD                                                                                   \
	"The _sum function requires that map values be numbers, arrays of numbers, or objects. "   \
	"Objects cannot be mixed with other data structures. Objects can be arbitrarily nested, "  \
	"provided that the values for all fields are themselves numbers, arrays of numbers, or "   \
	"objects."

/* cause: empty: none */
static void refuse_sum(struct reduce *r, const char *reason, struct slice cause)
{
	struct buf *out = &r->error;
	buf_clear(out);
	buf_append_text(out, "{\"error\":\"builtin_reduce_error\",\"reason\":");
	json_string(slice_text(reason), out);
	size_t before = out->len;
	buf_append_text(out, ",\"caused_by\":");
	if (cause.len == 0 || !json_from_msgpack(cause, out))
		out->len = before;
	buf_append_byte(out, '}');
}

static void add_list(struct reduce *r, struct slice value, uint32_t count)
{
	struct mp_reader reader = mp_reader_of(value);
	(void)mp_read(&reader);
	if (count > REDUCE_LANES_MAX) {
		refuse_sum(r, "The _sum function adds at most 64 numbers of a list.",
			   slice_of(NULL, 0));
		return;
	}
	r->is_list = true;
	for (uint32_t i = 0; i < count; i++) {
		double number;
		if (!reduce_number(mp_value(&reader), &number)) {
			refuse_sum(r, CANT_ADD, value);
			return;
		}
		r->lanes[i].sum += number;
	}
	if (count > r->lanes_count)
		r->lanes_count = count;
}

static void add_object(struct reduce *r, struct slice value)
{
	struct buf sum = {0};
	if (r->object.len == 0)
		buf_append_slice(&sum, value);
	else if (!reduce_sum(buf_slice(&r->object), value, &sum))
		refuse_sum(r, CANT_ADD, value);
	if (sum.len > REDUCE_OBJECT_BYTES)
		refuse_sum(r, "The sum of these objects is larger than 8 KiB.", slice_of(NULL, 0));
	buf_close(&r->object);
	r->object = sum;
}

/* Behind an error nothing counts. */
static void add_sum(struct reduce *r, struct slice value)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token head = mp_read(&reader);
	double number;
	bool objects = r->object.len > 0;
	if (r->error.len > 0)
		return;
	if (head.type == MP_MAP && r->lanes_count == 0 && !r->is_list) {
		add_object(r, value);
	} else if (head.type == MP_ARRAY && !objects) {
		add_list(r, value, head.count);
	} else if (!objects && reduce_number(value, &number)) {
		r->lanes[0].sum += number;
		r->lanes_count = r->lanes_count > 0 ? r->lanes_count : 1;
	} else {
		refuse_sum(r, CANT_ADD, value);
	}
}

/* ---- statistics ---- */

/* Of a number, or what was made of some already. */
static bool lane_of(struct slice value, struct reduce_lane *out)
{
	double n;
	if (reduce_number(value, &n)) {
		*out = (struct reduce_lane){n, 1, n, n, n * n};
		return true;
	}
	return reduce_number(value_member(value, slice_text("sum")), &out->sum) &&
	       reduce_number(value_member(value, slice_text("count")), &out->count) &&
	       reduce_number(value_member(value, slice_text("min")), &out->least) &&
	       reduce_number(value_member(value, slice_text("max")), &out->greatest) &&
	       reduce_number(value_member(value, slice_text("sumsqr")), &out->squares);
}

static bool add_lane(struct reduce *r, uint32_t index, struct slice value)
{
	struct reduce_lane *lane = &r->lanes[index];
	struct reduce_lane more;
	if (!lane_of(value, &more))
		return false;
	if (r->count == 0) {
		*lane = more;
		return true;
	}
	lane->sum += more.sum;
	lane->count += more.count;
	lane->squares += more.squares;
	lane->least = more.least < lane->least ? more.least : lane->least;
	lane->greatest = more.greatest > lane->greatest ? more.greatest : lane->greatest;
	return true;
}

/* Lists are all of one length. */
static bool add_stats(struct reduce *r, struct slice value)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token head = mp_read(&reader);
	bool is_list = head.type == MP_ARRAY;
	uint32_t count = is_list ? head.count : 1;
	if (count > REDUCE_LANES_MAX ||
	    (r->count > 0 && (r->is_list != is_list || r->lanes_count != count)))
		return false;
	r->is_list = is_list;
	r->lanes_count = count;
	bool fine = is_list || add_lane(r, 0, value);
	for (uint32_t i = 0; fine && is_list && i < count; i++)
		fine = add_lane(r, i, mp_value(&reader));
	return fine;
}

/* ---- all ---- */

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
		add_sum(r, value);
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

static void print_stats(const struct reduce_lane *lane, struct buf *out)
{
	buf_append_byte(out, '{');
	print_member("sum", lane->sum, out);
	buf_append_byte(out, ',');
	print_member("count", lane->count, out);
	buf_append_byte(out, ',');
	print_member("min", lane->least, out);
	buf_append_byte(out, ',');
	print_member("max", lane->greatest, out);
	buf_append_byte(out, ',');
	print_member("sumsqr", lane->squares, out);
	buf_append_byte(out, '}');
}

static void print_lane(const struct reduce *r, uint32_t index, struct buf *out)
{
	if (r->kind == REDUCE_STATS)
		print_stats(&r->lanes[index], out);
	else
		print_number(r->lanes[index].sum, out);
}

void reduce_print(const struct reduce *r, struct buf *out)
{
	if (r->kind != REDUCE_SUM && r->kind != REDUCE_STATS) {
		buf_printf(out, "%" PRIu64, r->count);
	} else if (r->error.len > 0) {
		buf_append_slice(out, buf_slice(&r->error));
	} else if (r->object.len > 0) {
		if (!json_from_msgpack(buf_slice(&r->object), out))
			buf_append_text(out, "null");
	} else if (!r->is_list) {
		print_lane(r, 0, out);
	} else {
		buf_append_byte(out, '[');
		for (uint32_t i = 0; i < r->lanes_count; i++) {
			buf_append_text(out, i > 0 ? "," : "");
			print_lane(r, i, out);
		}
		buf_append_byte(out, ']');
	}
}
