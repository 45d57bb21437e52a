#include "common/doc/collation.h"

#include "common/base/check.h"
#include "common/doc/index_key.h"

static int rank_of(struct slice value)
{
	static const uint8_t ranks[] = {
	    [RANK_NIL] = 0,   [RANK_BOOL] = 1, [RANK_NUMBER] = 2, [RANK_STRING] = 3,
	    [RANK_ARRAY] = 4, [RANK_MAP] = 5,  [RANK_OTHER] = 6,
	};
	return ranks[value_rank(value)];
}

/* Names stand before their values. */
static int compare_containers(struct slice a, struct slice b)
{
	struct mp_reader x = mp_reader_of(a), y = mp_reader_of(b);
	struct mp_token first = mp_read(&x), second = mp_read(&y);
	uint32_t common = first.count < second.count ? first.count : second.count;
	bool is_map = first.type == MP_MAP;
	for (uint32_t i = 0; i < common; i++) {
		struct mp_token name = {0}, other = {0};
		if (is_map) {
			name = mp_read(&x);
			other = mp_read(&y);
		}
		bool named = name.type == MP_STR && other.type == MP_STR;
		int order = named ? slice_compare(name.bytes, other.bytes) : 0;
		if (order == 0)
			order = collation_compare(mp_value(&x), mp_value(&y));
		if (order != 0)
			return order;
	}
	return first.count < second.count ? -1 : first.count > second.count;
}

int collation_compare(struct slice a, struct slice b)
{
	int x = rank_of(a), y = rank_of(b);
	if (x != y)
		return x < y ? -1 : 1;
	enum value_rank rank = value_rank(a);
	bool container = rank == RANK_ARRAY || rank == RANK_MAP;
	return container ? compare_containers(a, b) : value_compare(a, b);
}

/* ---- as bytes ---- */

/* First bytes; END ends arrays and objects, and comes before them all. */
enum { KEY_END, KEY_NULL, KEY_FALSE, KEY_TRUE, KEY_NUMBER, KEY_STRING, KEY_ARRAY, KEY_OBJECT };

static void string_key(struct slice text, struct buf *out)
{
	buf_append_byte(out, KEY_STRING);
	for (size_t i = 0; i < text.len; i++) {
		buf_append_byte(out, text.data[i]);
		if (text.data[i] == 0)
			buf_append_byte(out, 255);
	}
	buf_append(out, "\0\1", 2);
}

static bool append_key(struct slice value, struct buf *out, size_t most);

static bool container_key(struct slice value, struct buf *out, size_t most)
{
	struct mp_reader r = mp_reader_of(value);
	struct mp_token head = mp_read(&r);
	buf_append_byte(out, head.type == MP_MAP ? KEY_OBJECT : KEY_ARRAY);
	for (uint32_t i = 0; i < head.count; i++) {
		if (head.type == MP_MAP)
			string_key(mp_read(&r).bytes, out);
		if (out->len > most || !append_key(mp_value(&r), out, most))
			return false;
	}
	buf_append_byte(out, KEY_END);
	return true;
}

/* Numbers are never cut: those of so many digits are too long already. */
static bool number_key(struct slice value, struct buf *out)
{
	buf_append_byte(out, KEY_NUMBER);
	return index_value_append(value, out);
}

static bool append_key(struct slice value, struct buf *out, size_t most)
{
	struct mp_reader r = mp_reader_of(value);
	struct mp_token t = mp_read(&r);
	bool fits = true;
	switch (value_rank(value)) {
	case RANK_BOOL:
		buf_append_byte(out, t.flag ? KEY_TRUE : KEY_FALSE);
		break;
	case RANK_NUMBER:
		fits = number_key(value, out);
		break;
	case RANK_STRING:
		fits = t.bytes.len <= COLLATION_KEY_BYTES;
		if (fits)
			string_key(t.bytes, out);
		break;
	case RANK_MAP:
	case RANK_ARRAY:
		fits = container_key(value, out, most);
		break;
	default:
		buf_append_byte(out, KEY_NULL);
	}
	return fits && out->len <= most;
}

bool collation_key(struct slice value, struct buf *out)
{
	size_t before = out->len;
	if (append_key(value, out, before + COLLATION_KEY_BYTES))
		return true;
	out->len = before;
	return false;
}
