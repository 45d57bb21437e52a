#include "common/doc/reference.h"

#include "common/doc/value.h"
#include "proto/enums.h"

struct replacing {
	struct slice from;
	struct slice to;
	uint32_t count;
	struct buf *out;
};

static void replace_at(struct replacing *r, struct slice value, struct slice path);

/* The first name of the path, and what follows it. */
static struct slice first_name(struct slice path, struct slice *rest)
{
	size_t len = 0;
	while (len < path.len && path.data[len] != '.')
		len++;
	size_t skip = len < path.len ? len + 1 : len;
	*rest = slice_of(path.data + skip, path.len - skip);
	return slice_of(path.data, len);
}

static void replace_in_map(struct replacing *r, struct slice map, struct slice path)
{
	struct slice rest;
	struct slice name = first_name(path, &rest);
	struct mp_reader reader = mp_reader_of(map);
	uint32_t count = mp_read(&reader).count;
	mp_write_map(r->out, count);
	for (uint32_t i = 0; i < count; i++) {
		struct slice key = mp_read(&reader).bytes;
		struct slice value = mp_value(&reader);
		mp_write_str(r->out, key);
		if (slice_equal(key, name))
			replace_at(r, value, rest);
		else
			buf_append_slice(r->out, value);
	}
}

/* Of the elements all, or the one that the path names. */
static void replace_in_array(struct replacing *r, struct slice array, struct slice path)
{
	struct slice rest;
	uint32_t index = 0;
	bool named = path.len > 0 && value_is_index(first_name(path, &rest), &index);
	struct mp_reader reader = mp_reader_of(array);
	uint32_t count = mp_read(&reader).count;
	mp_write_array(r->out, count);
	for (uint32_t i = 0; i < count; i++) {
		struct slice value = mp_value(&reader);
		struct mp_reader element = mp_reader_of(value);
		if (named && i == index)
			replace_at(r, value, rest);
		else if (mp_peek(&element) == MP_ARRAY)
			buf_append_slice(r->out, value);
		else
			replace_at(r, value, path);
	}
}

/* As deep as the path is long: lists in lists are left alone. */
static void replace_at(struct replacing *r, struct slice value, struct slice path)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	if (r->out->len > LIMIT_BODY_BYTES)
		return; /* it is not written, so the rest does not matter */
	if (token.type == MP_MAP && path.len > 0) {
		replace_in_map(r, value, path);
	} else if (token.type == MP_ARRAY) {
		replace_in_array(r, value, path);
	} else if (token.type == MP_STR && path.len == 0 && slice_equal(token.bytes, r->from)) {
		mp_write_str(r->out, r->to);
		r->count++;
	} else {
		buf_append_slice(r->out, value);
	}
}

uint32_t reference_replace(struct slice body, struct slice path, struct slice from, struct slice to,
			   struct buf *out)
{
	struct replacing r = {.from = from, .to = to, .out = out};
	replace_at(&r, body, path);
	return r.count;
}

bool reference_kind_is(const struct policy_roots *roots, struct slice body, struct slice kind)
{
	for (uint32_t i = 0; i < roots->kind_count; i++) {
		struct mp_reader reader = mp_reader_of(value_at(body, roots->kind[i]));
		struct mp_token token = mp_read(&reader);
		if (token.type == MP_STR && slice_equal(token.bytes, kind))
			return true;
	}
	return false;
}
