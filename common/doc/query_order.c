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

static enum mp_type type_of(struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	return mp_peek(&r);
}

static void collect(struct extreme *x, struct slice value, struct slice path);

/* Every element counts: a map by what it has at the path, another as absent. */
static void collect_elements(struct extreme *x, struct slice array, struct slice path)
{
	struct mp_reader r = mp_reader_of(array);
	uint32_t count = mp_read(&r).count;
	if (count == 0)
		consider(x, nil_value());
	for (uint32_t i = 0; i < count; i++) {
		struct slice element = mp_value(&r);
		if (element.len == 0)
			break;
		if (!path.data)
			consider(x, element);
		else if (type_of(element) == MP_MAP)
			collect(x, element, path);
		else
			consider(x, nil_value());
	}
}

/* As in MongoDB an array sorts by its least element, or its greatest when descending; one without
 * elements as if it were absent. Of an array on the way the element that the next name stands for
 * is looked into, or all of them. A path without data is at its end; an empty one has an empty name
 * left. */
static void collect(struct extreme *x, struct slice value, struct slice path)
{
	while (path.data) {
		const uint8_t *dot = memchr(path.data, '.', path.len);
		struct slice name = slice_of(path.data, dot ? (size_t)(dot - path.data) : path.len);
		uint32_t index;
		bool in_array = type_of(value) == MP_ARRAY;
		if (in_array && !value_is_index(name, &index)) {
			collect_elements(x, value, path);
			return;
		}
		value = in_array ? value_element(value, index) : value_member(value, name);
		if (value.len == 0) {
			consider(x, nil_value());
			return;
		}
		path = dot ? slice_of(dot + 1, path.len - name.len - 1) : slice_of(NULL, 0);
	}
	if (type_of(value) == MP_ARRAY)
		collect_elements(x, value, path);
	else
		consider(x, value);
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
	collect(&x, body, order->path);
	/* Of an array of broken bytes there may be nothing. */
	return x.best.len ? cut(x.best, scratch) : nil_value();
}
