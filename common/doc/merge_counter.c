/* Counters: decimals, so that 0.1 and 0.2 are 0.3, and exact or not at all. */
#include "common/doc/json.h"
#include "common/doc/merge_internal.h"
#include "common/doc/number.h"
#include "proto/msgpack.h"

/* Digits before the point, and behind it. */
enum { SUM_DIGITS = 128, SUM_PLACES = 2 * SUM_DIGITS };

/* The least first; not carried over before the end, so each may be anything. */
struct sum {
	int64_t places[SUM_PLACES];
};

/* False: it is no number. An absent one is 0. */
static bool scan(struct slice value, char memory[JSON_NUMBER_CHARS], struct buf *digits,
		 struct number_text *out)
{
	struct mp_reader r = mp_reader_of(value);
	struct mp_token token = mp_read(&r);
	*out = (struct number_text){.integer = true};
	if (value.len == 0)
		return true;
	buf_clear(digits);
	if (token.type == MP_UINT)
		buf_printf(digits, "%llu", (unsigned long long)token.u64);
	else if (token.type == MP_INT)
		buf_printf(digits, "%lld", (long long)token.i64);
	else if (token.type == MP_DOUBLE)
		return number_scan(slice_of(memory, json_number_text(token.number, memory)), out);
	else if (token.type == MP_EXT && token.ext_type == MP_EXT_NUMBER)
		return number_scan(token.bytes, out);
	else
		return false;
	return number_scan(buf_slice(digits), out);
}

/* False: it is no number, or has too many digits. */
static bool add(struct merge *m, struct slice value, int64_t times, struct sum *sum)
{
	char memory[JSON_NUMBER_CHARS];
	struct number_text n;
	if (!scan(value, memory, &m->form_a, &n))
		return false;
	if (n.digits > SUM_PLACES || n.magnitude > SUM_DIGITS ||
	    n.magnitude - (int64_t)n.digits < -SUM_DIGITS)
		return false;
	const uint8_t *at = n.first;
	int64_t place = SUM_DIGITS + n.magnitude - 1;
	for (uint64_t i = 0; i < n.digits; i++, at++, place--) {
		at += *at == '.';
		sum->places[place] += (n.negative ? -times : times) * (*at - '0');
	}
	return true;
}

/* To digits. What is left over beyond the first: 0, -1 if the sum is negative, or more than fits.
 */
static int64_t carry_over(struct sum *sum)
{
	int64_t carry = 0;
	for (uint32_t i = 0; i < SUM_PLACES; i++) {
		int64_t value = sum->places[i] + carry;
		int64_t digit = (value % 10 + 10) % 10;
		carry = (value - digit) / 10;
		sum->places[i] = digit;
	}
	return carry;
}

static void print(const struct sum *sum, bool negative, struct buf *out)
{
	uint32_t first = SUM_PLACES - 1, last = 0;
	while (first > SUM_DIGITS && sum->places[first] == 0)
		first--;
	while (last < SUM_DIGITS && sum->places[last] == 0)
		last++;
	if (negative)
		buf_append_byte(out, '-');
	for (uint32_t i = first + 1; i-- > last;) {
		if (i == SUM_DIGITS - 1)
			buf_append_byte(out, '.');
		buf_append_byte(out, (uint8_t)('0' + sum->places[i]));
	}
}

/* False: it has too many digits. */
static bool finish(struct merge *m, struct sum *sum, struct merge_piece **out)
{
	int64_t beyond = carry_over(sum);
	bool negative = beyond < 0;
	if (negative) {
		/* the digits are what is missing to beyond * 10^SUM_DIGITS */
		for (uint32_t i = 0; i < SUM_PLACES; i++)
			sum->places[i] = -sum->places[i];
		beyond = carry_over(sum) - beyond;
	}
	if (beyond != 0)
		return false;
	buf_clear(&m->form_a);
	buf_clear(&m->form_b);
	print(sum, negative, &m->form_a);
	if (!json_number_value(buf_slice(&m->form_a), &m->form_b))
		return false;
	*out = merge_raw(m, arena_copy(m->arena, buf_slice(&m->form_b)));
	return true;
}

bool merge_counter(struct merge *m, const struct merge_place *place, struct merge_piece **out)
{
	struct sum sum = {0};
	bool removed = false;
	int64_t bases = 1;
	if (!m->has_base)
		return false;
	for (uint32_t i = 0; i < place->sides_count; i++) {
		removed |= place->sides[i].value.len == 0;
		bases -= place->sides[i].value.len > 0;
		if (!add(m, place->sides[i].value, 1, &sum))
			return false;
	}
	return add(m, place->base, bases - removed, &sum) && finish(m, &sum, out);
}
