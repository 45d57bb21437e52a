#include "common/doc/collation_key.h"

#include <unicode/ucol.h>
#include <unicode/ustring.h>

#include "common/base/check.h"
#include "common/doc/index_key.h"
#include "common/doc/value.h"
#include "proto/msgpack.h"

enum { FORM = 1 };

/* First bytes; END ends arrays and objects, and comes before them all. */
struct heads {
	uint8_t null, no, yes, number, string, array, object;
};
enum { KEY_END };
static const struct heads heads[] = {
    [COLLATION_UNICODE] = {1, 2, 3, 4, 5, 6, 7},
    [COLLATION_RAW] = {3, 2, 4, 1, 7, 6, 5},
};

struct writing {
	enum collation_order order;
	struct buf *out;
	size_t most; /* of out->len */
};

/* The root locale's, made once: it is nothing but a table. */
static const UCollator *root_collator(void)
{
	static UCollator *made;
	UErrorCode status = U_ZERO_ERROR;
	if (!made)
		made = ucol_open("", &status);
	CHECK(made && U_SUCCESS(status));
	return made;
}

uint64_t collation_form(void)
{
	UVersionInfo version;
	uint64_t form = FORM;
	ucol_getVersion(root_collator(), version);
	for (size_t i = 0; i < sizeof version; i++)
		form = form << 8 | version[i];
	return form;
}

/* The sort key ends with its only 0. */
static bool unicode_key(struct slice text, struct buf *out)
{
	UChar units[COLLATION_KEY_BYTES];
	UErrorCode status = U_ZERO_ERROR;
	int32_t count = 0;
	u_strFromUTF8WithSub(units, COLLATION_KEY_BYTES, &count, (const char *)text.data,
			     (int32_t)text.len, 0xfffd, NULL, &status);
	if (U_FAILURE(status))
		return false;
	uint8_t *at = buf_reserve(out, COLLATION_KEY_BYTES);
	int32_t len = ucol_getSortKey(root_collator(), units, count, at, COLLATION_KEY_BYTES);
	if (len <= 0 || len > COLLATION_KEY_BYTES)
		return false;
	out->len += (size_t)len;
	return true;
}

static void raw_key(struct slice text, struct buf *out)
{
	for (size_t i = 0; i < text.len; i++) {
		buf_append_byte(out, text.data[i]);
		if (text.data[i] == 0)
			buf_append_byte(out, 255);
	}
	buf_append(out, "\0\1", 2);
}

static bool string_key(const struct writing *w, struct slice text)
{
	if (text.len > COLLATION_KEY_BYTES)
		return false;
	buf_append_byte(w->out, heads[w->order].string);
	if (w->order == COLLATION_UNICODE)
		return unicode_key(text, w->out);
	raw_key(text, w->out);
	return true;
}

static bool append_key(const struct writing *w, struct mp_reader *r);

static bool container_key(const struct writing *w, const struct mp_token *head, struct mp_reader *r)
{
	bool is_map = head->type == MP_MAP;
	buf_append_byte(w->out, is_map ? heads[w->order].object : heads[w->order].array);
	for (uint32_t i = 0; i < head->count; i++) {
		if (is_map && !string_key(w, mp_read(r).bytes))
			return false;
		if (w->out->len > w->most || !append_key(w, r))
			return false;
	}
	buf_append_byte(w->out, KEY_END);
	return true;
}

/* Numbers are never cut: those of so many digits are too long already. */
static bool number_key(const struct writing *w, struct slice value)
{
	buf_append_byte(w->out, heads[w->order].number);
	return index_value_append(value, w->out);
}

/* Reads no further than what still fits. */
static bool append_key(const struct writing *w, struct mp_reader *r)
{
	const struct heads *first = &heads[w->order];
	const uint8_t *from = r->at;
	enum value_rank rank = value_rank(slice_of(from, (size_t)(r->end - from)));
	struct mp_token t = mp_read(r);
	bool fits = true;
	switch (rank) {
	case RANK_BOOL:
		buf_append_byte(w->out, t.flag ? first->yes : first->no);
		break;
	case RANK_NUMBER:
		fits = number_key(w, slice_of(from, (size_t)(r->at - from)));
		break;
	case RANK_STRING:
		fits = string_key(w, t.bytes);
		break;
	case RANK_MAP:
	case RANK_ARRAY:
		fits = container_key(w, &t, r);
		break;
	default:
		buf_append_byte(w->out, first->null);
	}
	return fits && w->out->len <= w->most;
}

bool collation_key(enum collation_order order, struct slice value, struct buf *out)
{
	size_t before = out->len;
	const struct writing w = {order, out, before + COLLATION_KEY_BYTES};
	struct mp_reader r = mp_reader_of(value);
	if (append_key(&w, &r))
		return true;
	out->len = before;
	return false;
}
