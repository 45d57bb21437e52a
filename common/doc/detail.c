#include "common/doc/detail.h"

enum {
	DEPTH_MAX = 4,     /* the record, a list of it, an element, its values */
	HEAD_BYTES = 5,    /* of a map or a list, at most; also of a text */
	CUT_BYTES = 5,     /* "cut": true */
	ELEMENT_PARTS = 8, /* one element of a list takes no more than such a part of the room */
	ELEMENT_LEAST = 256
};

static bool fit(struct slice value, size_t room, int depth, struct buf *out);

/* The name, which is short, with as much of the value as fits. */
static bool fit_member(struct slice name, struct slice value, size_t room, int depth,
		       struct buf *out)
{
	size_t before = out->len;
	if (name.len == 0 || name.len >= room)
		return false;
	buf_append_slice(out, name);
	if (fit(value, room - name.len, depth, out))
		return true;
	out->len = before;
	return false;
}

static bool fit_map(struct slice map, size_t room, int depth, struct buf *out)
{
	struct mp_reader r = mp_reader_of(map);
	uint32_t members = mp_read(&r).count;
	struct buf kept = {0};
	uint32_t count = 1;
	if (room < HEAD_BYTES + CUT_BYTES)
		return false;
	room -= HEAD_BYTES + CUT_BYTES;
	for (uint32_t i = 0; i < members; i++) {
		struct slice name = mp_value(&r);
		struct slice value = mp_value(&r);
		struct mp_reader text = mp_reader_of(name);
		if (!slice_is(mp_read(&text).bytes, "cut"))
			count += fit_member(name, value, room - kept.len, depth, &kept);
	}
	mp_write_map(out, count);
	buf_append_slice(out, buf_slice(&kept));
	mp_write_text(out, "cut");
	mp_write_bool(out, true);
	buf_close(&kept);
	return true;
}

static bool fit_array(struct slice array, size_t room, int depth, struct buf *out)
{
	struct mp_reader r = mp_reader_of(array);
	uint32_t elements = mp_read(&r).count;
	struct buf kept = {0};
	uint32_t count = 0;
	if (room < HEAD_BYTES)
		return false;
	room -= HEAD_BYTES;
	size_t most = room / ELEMENT_PARTS > ELEMENT_LEAST ? room / ELEMENT_PARTS : ELEMENT_LEAST;
	for (uint32_t i = 0; i < elements; i++) {
		size_t left = room - kept.len;
		count += fit(mp_value(&r), left < most ? left : most, depth, &kept);
	}
	if (count > 0) {
		mp_write_array(out, count);
		buf_append_slice(out, buf_slice(&kept));
	}
	buf_close(&kept);
	return count > 0;
}

static bool fit_text(struct slice text, size_t room, struct buf *out)
{
	if (room <= HEAD_BYTES || text.len <= room - HEAD_BYTES || !text.data)
		return false;
	text.len = room - HEAD_BYTES;
	while (text.len > 0 && (text.data[text.len] & 0xc0) == 0x80)
		text.len--; /* never half a character */
	mp_write_str(out, text);
	return text.len > 0;
}

/* False: nothing of it. Below the depth of a record are documents' values, which are shown whole or
 * not at all. */
static bool fit(struct slice value, size_t room, int depth, struct buf *out)
{
	struct mp_reader r = mp_reader_of(value);
	size_t before = out->len;
	bool fits = false;
	if (value.len == 0)
		return false;
	if (value.len <= room) {
		buf_append_slice(out, value);
		return true;
	}
	if (depth == 0)
		return false;
	switch (mp_peek(&r)) {
	case MP_MAP:
		fits = fit_map(value, room, depth - 1, out);
		break;
	case MP_ARRAY:
		fits = fit_array(value, room, depth - 1, out);
		break;
	case MP_STR:
		fits = fit_text(mp_read(&r).bytes, room, out);
		break;
	default:
		break;
	}
	if (!fits)
		out->len = before;
	return fits;
}

void detail_cut(struct slice map, size_t room, struct buf *out)
{
	CHECK(room >= 64);
	if (!fit(map, room, DEPTH_MAX, out))
		mp_write_map(out, 0);
}
