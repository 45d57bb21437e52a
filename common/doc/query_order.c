/* Orders: the keys that are asked for, and a document's value for each. */
#include "common/doc/query.h"

#include <stdio.h>

#include "common/doc/value.h"
#include "proto/enums.h"

static struct slice inside(struct slice text, const char *open)
{
	size_t len = strlen(open);
	if (text.len <= len + 1 || !slice_is(slice_of(text.data, len), open) ||
	    text.data[text.len - 1] != ')')
		return (struct slice){0};
	return slice_of(text.data + len, text.len - len - 1);
}

bool query_order_parse(struct slice text, struct query_order *out, struct query_error *error)
{
	struct slice ascending = inside(text, "asc(");
	struct slice descending = inside(text, "desc(");
	struct slice path = ascending.len ? ascending : descending;
	if (path.len == 0 || path.len > LIMIT_PATH_BYTES) {
		*error = (struct query_error){0};
		snprintf(error->text, sizeof error->text,
			 "an order is asc(path) or desc(path), the path 1 to %d bytes",
			 LIMIT_PATH_BYTES);
		return false;
	}
	*out = (struct query_order){.path = path, .descending = descending.len > 0};
	return true;
}

static struct slice nil_value(void)
{
	static const uint8_t nil = 0xc0;
	return slice_of(&nil, 1);
}

/* The least value seen, or the greatest. */
struct extreme {
	struct slice best;
	bool greatest;
};

/* An empty value stands for one that is absent. */
static void consider(struct extreme *x, struct slice value)
{
	if (value.len == 0)
		value = nil_value();
	int order = x->best.len ? value_compare(value, x->best) : 0;
	if (x->best.len == 0 || (x->greatest ? order > 0 : order < 0))
		x->best = value;
}

/* Looks at the next value, of which all is read once, however deep the path goes. `whole`: the
 * reader then stands behind it. False: it ends in broken bytes. A path without data is at its end;
 * an empty one has an empty name left. */
static bool collect(struct extreme *x, struct mp_reader *r, struct slice path, bool whole);

static struct slice first_name(struct slice path, struct slice *rest)
{
	const uint8_t *dot = memchr(path.data, '.', path.len);
	struct slice name = slice_of(path.data, dot ? (size_t)(dot - path.data) : path.len);
	*rest = dot ? slice_of(dot + 1, path.len - name.len - 1) : slice_of(NULL, 0);
	return name;
}

static bool skip(struct mp_reader *r, uint64_t values)
{
	for (uint64_t i = 0; i < values; i++)
		if (!mp_skip(r))
			return false;
	return true;
}

static bool collect_member(struct extreme *x, struct mp_reader *r, struct slice path, bool whole)
{
	struct slice rest, name = first_name(path, &rest);
	uint32_t count = mp_read(r).count;
	for (uint32_t i = 0; i < count; i++) {
		struct mp_token key = mp_read(r);
		if (key.type == MP_STR && slice_equal(key.bytes, name))
			return collect(x, r, rest, whole) &&
			       (!whole || skip(r, 2 * (uint64_t)(count - i - 1)));
		if (key.type == MP_INVALID || !mp_skip(r))
			return false;
	}
	consider(x, nil_value());
	return true;
}

/* Every element counts: a map by what it has at the path, another as absent. */
static bool collect_elements(struct extreme *x, struct mp_reader *r, struct slice path)
{
	uint32_t count = mp_read(r).count;
	if (count == 0)
		consider(x, nil_value());
	for (uint32_t i = 0; i < count; i++) {
		bool absent = path.data && mp_peek(r) != MP_MAP;
		if (!absent && path.data) {
			if (!collect_member(x, r, path, true))
				return false;
			continue;
		}
		struct slice element = mp_value(r);
		if (element.len == 0)
			return false;
		consider(x, absent ? nil_value() : element);
	}
	return true;
}

static bool collect_element(struct extreme *x, struct mp_reader *r, struct slice path, bool whole)
{
	struct slice rest, name = first_name(path, &rest);
	uint32_t index, count;
	if (!value_is_index(name, &index))
		return collect_elements(x, r, path);
	count = mp_read(r).count;
	if (index < count)
		return skip(r, index) && collect(x, r, rest, whole) &&
		       (!whole || skip(r, count - index - 1));
	consider(x, nil_value());
	return !whole || skip(r, count);
}

/* As in MongoDB an array sorts by its least element, or its greatest when descending; one without
 * elements as if it were absent. Of an array on the way the element that the next name stands for
 * is looked into, or all of them. */
static bool collect(struct extreme *x, struct mp_reader *r, struct slice path, bool whole)
{
	enum mp_type type = mp_peek(r);
	if (type == MP_ARRAY)
		return path.data ? collect_element(x, r, path, whole)
				 : collect_elements(x, r, path);
	if (type == MP_MAP && path.data)
		return collect_member(x, r, path, whole);
	struct slice value = mp_value(r);
	consider(x, path.data ? nil_value() : value);
	return value.len > 0;
}

/* A value too long to travel as a key: a string by its beginning, cut between characters, anything
 * else by its type alone. */
static struct slice cut(struct slice value, struct buf *scratch)
{
	struct mp_reader r = mp_reader_of(value);
	struct mp_token t = mp_read(&r);
	if (value.len <= LIMIT_ORDER_KEY_BYTES)
		return value;
	buf_clear(scratch);
	if (t.type == MP_STR) {
		size_t len = LIMIT_ORDER_KEY_BYTES - 8;
		while (len > 0 && (t.bytes.data[len] & 0xc0) == 0x80)
			len--;
		mp_write_str(scratch, slice_of(t.bytes.data, len));
	} else if (t.type == MP_MAP) {
		mp_write_map(scratch, 0);
	} else if (t.type == MP_ARRAY) {
		mp_write_array(scratch, 0);
	} else {
		/* A number of so many digits: its leading ones can't be had without its exponent.
		 */
		mp_write_u64(scratch, 0);
	}
	return buf_slice(scratch);
}

struct slice query_order_value(const struct query_order *order, struct slice id, struct slice body,
			       struct buf *scratch)
{
	if (slice_is(order->path, "id")) {
		buf_clear(scratch);
		mp_write_str(scratch,
			     slice_of(id.data, id.len < LIMIT_ID_BYTES ? id.len : LIMIT_ID_BYTES));
		return buf_slice(scratch);
	}
	struct extreme x = {.greatest = order->descending};
	struct mp_reader r = mp_reader_of(body);
	(void)collect(&x, &r, order->path, false);
	/* Of broken bytes there may be nothing. */
	return x.best.len ? cut(x.best, scratch) : nil_value();
}
