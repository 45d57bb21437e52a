/* Values as bytes that sort. */
#include "common/doc/index_key.h"
#include "common/doc/json.h"
#include "common/doc/number.h"
#include "proto/enums.h"

enum { STRING_ESCAPED_ZERO = 255, STRING_END = 1, EXPONENT_BYTE_MAX = 100 };

/* What does not fit is left out; then nothing more is read either. */
struct writer {
	struct buf *out;
	size_t end;
	bool cut;
};

static void put(struct writer *w, uint8_t byte)
{
	if (w->out->len < w->end)
		buf_append_byte(w->out, byte);
	else
		w->cut = true;
}

uint8_t index_rank_byte(enum value_rank rank)
{
	return (uint8_t)(rank + 2);
}

/* ---- numbers ---- */

static void put_exponent(struct writer *w, int64_t exponent, uint8_t invert)
{
	if (exponent >= -EXPONENT_BYTE_MAX && exponent <= EXPONENT_BYTE_MAX) {
		put(w, (uint8_t)(128 + exponent) ^ invert);
		return;
	}
	uint64_t biased = (uint64_t)exponent + (UINT64_C(1) << 63);
	put(w, (exponent < 0 ? 0 : 255) ^ invert);
	for (int shift = 56; shift >= 0; shift -= 8)
		put(w, (uint8_t)(biased >> shift) ^ invert);
}

/* Two digits a byte, from 1 on; 0 ends them. */
static void put_digits(struct writer *w, const struct number_text *n, uint8_t invert)
{
	const uint8_t *at = n->first;
	uint8_t pair = 0;
	for (uint64_t i = 0; i < n->digits && !w->cut; i++, at++) {
		at += *at == '.';
		uint8_t digit = (uint8_t)(*at - '0');
		if (i % 2 == 0) {
			pair = (uint8_t)(digit * 10);
			if (i + 1 < n->digits)
				continue;
			digit = 0;
		}
		put(w, (uint8_t)(pair + digit + 1) ^ invert);
	}
	put(w, 0 ^ invert);
}

static void put_number_text(struct writer *w, struct slice text)
{
	struct number_text n;
	if (!number_scan(text, &n) || n.digits == 0) {
		put(w, 2);
		return;
	}
	uint8_t invert = n.negative ? 255 : 0;
	put(w, n.negative ? 1 : 3);
	put_exponent(w, n.magnitude, invert);
	put_digits(w, &n, invert);
}

static void put_integer(struct writer *w, bool negative, uint64_t magnitude)
{
	char text[24];
	size_t at = sizeof text;
	do {
		text[--at] = (char)('0' + magnitude % 10);
		magnitude /= 10;
	} while (magnitude > 0);
	if (negative)
		text[--at] = '-';
	put_number_text(w, slice_of(text + at, sizeof text - at));
}

static void put_number(struct writer *w, const struct mp_token *t)
{
	char text[JSON_NUMBER_CHARS];
	if (t->type == MP_UINT)
		put_integer(w, false, t->u64);
	else if (t->type == MP_INT)
		put_integer(w, true, 0 - (uint64_t)t->i64);
	else if (t->type == MP_DOUBLE)
		put_number_text(w, slice_of(text, json_number_text(t->number, text)));
	else
		put_number_text(w, t->bytes);
}

/* ---- the others ---- */

static void put_string(struct writer *w, struct slice text)
{
	for (size_t i = 0; i < text.len && !w->cut; i++) {
		put(w, text.data[i]);
		if (text.data[i] == 0)
			put(w, STRING_ESCAPED_ZERO);
	}
	put(w, 0);
	put(w, STRING_END);
}

static void put_value(struct writer *w, struct mp_reader *r);

static enum value_rank next_rank(const struct mp_reader *r)
{
	return value_rank(slice_of(r->at, (size_t)(r->end - r->at)));
}

static void put_members(struct writer *w, struct mp_reader *r, const struct mp_token *head)
{
	for (uint32_t i = 0; i < head->count && !w->cut; i++) {
		if (head->type == MP_MAP) {
			struct mp_token name = mp_read(r);
			put(w, index_rank_byte(next_rank(r)));
			put_string(w, name.type == MP_STR ? name.bytes : (struct slice){0});
		}
		put_value(w, r);
	}
	put(w, 0);
}

/* Documents nest LIMIT_JSON_DEPTH deep at most, and each level takes a byte. */
static void put_value(struct writer *w, struct mp_reader *r)
{
	enum value_rank rank = next_rank(r);
	struct mp_token t = mp_read(r);
	put(w, index_rank_byte(rank));
	switch (rank) {
	case RANK_NUMBER:
		put_number(w, &t);
		break;
	case RANK_STRING:
	case RANK_OTHER:
		put_string(w, t.bytes);
		break;
	case RANK_MAP:
	case RANK_ARRAY:
		put_members(w, r, &t);
		break;
	case RANK_BOOL:
		put(w, t.flag);
		break;
	default:
		break;
	}
}

bool index_value_append(struct slice value, struct buf *out)
{
	struct writer w = {.out = out, .end = out->len + INDEX_VALUE_BYTES};
	struct mp_reader r = mp_reader_of(value);
	put_value(&w, &r);
	return !w.cut;
}
