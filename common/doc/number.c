#include "common/doc/number.h"

#define EXPONENT_MAX INT64_C(1000000000000000)

static const uint8_t *skip_digits(const uint8_t *at, const uint8_t *end)
{
	while (at < end && *at >= '0' && *at <= '9')
		at++;
	return at;
}

/* "e+12": NULL if malformed. */
static const uint8_t *scan_exponent(const uint8_t *at, const uint8_t *end, int64_t *exponent)
{
	at++;
	bool negative = at < end && *at == '-';
	if (at < end && (*at == '-' || *at == '+'))
		at++;
	const uint8_t *digits = at;
	int64_t value = 0;
	for (; at < end && *at >= '0' && *at <= '9'; at++)
		if (value < EXPONENT_MAX)
			value = value * 10 + (*at - '0');
	if (at == digits)
		return NULL;
	value = value < EXPONENT_MAX ? value : EXPONENT_MAX;
	*exponent = negative ? -value : value;
	return at;
}

/* The parts of the text: whole digits, fraction digits (may be empty). */
struct parts {
	const uint8_t *whole;
	const uint8_t *whole_end;
	const uint8_t *fraction;
	const uint8_t *fraction_end;
};

static void find_digits(const struct parts *p, int64_t exponent, struct number_text *out)
{
	const uint8_t *first = p->whole;
	while (first < p->whole_end && *first == '0')
		first++;
	bool in_fraction = first == p->whole_end;
	if (in_fraction) {
		first = p->fraction;
		while (first < p->fraction_end && *first == '0')
			first++;
	}
	const uint8_t *end = p->fraction_end;
	while (end > p->fraction && end[-1] == '0')
		end--;
	bool ends_whole = end == p->fraction;
	if (ends_whole) {
		end = p->whole_end;
		while (end > p->whole && end[-1] == '0')
			end--;
	}
	out->first = first;
	if (in_fraction && ends_whole) {
		out->digits = 0;
		out->magnitude = 0;
		return;
	}
	out->magnitude = exponent + (in_fraction ? p->fraction - first : p->whole_end - first);
	out->digits = (uint64_t)(end - first) - (!in_fraction && !ends_whole);
}

bool number_scan(struct slice text, struct number_text *out)
{
	if (text.len == 0)
		return false;
	const uint8_t *at = text.data;
	const uint8_t *end = at + text.len;
	out->negative = *at == '-';
	at += out->negative;
	struct parts p = {.whole = at};
	at = skip_digits(at, end);
	p.whole_end = p.fraction = p.fraction_end = at;
	if (at == p.whole || (*p.whole == '0' && at - p.whole > 1))
		return false;
	out->integer = at == end;
	if (at < end && *at == '.') {
		p.fraction = ++at;
		at = p.fraction_end = skip_digits(at, end);
		if (at == p.fraction)
			return false;
	}
	int64_t exponent = 0;
	if (at < end && (*at == 'e' || *at == 'E'))
		at = scan_exponent(at, end, &exponent);
	if (at != end)
		return false;
	find_digits(&p, exponent, out);
	return true;
}

static int compare_size(const struct number_text *a, const struct number_text *b)
{
	if (a->magnitude != b->magnitude)
		return a->magnitude < b->magnitude ? -1 : 1;
	const uint8_t *x = a->first, *y = b->first;
	uint64_t common = a->digits < b->digits ? a->digits : b->digits;
	for (uint64_t i = 0; i < common; i++, x++, y++) {
		x += *x == '.';
		y += *y == '.';
		if (*x != *y)
			return *x < *y ? -1 : 1;
	}
	return a->digits < b->digits ? -1 : a->digits > b->digits;
}

int number_compare(const struct number_text *a, const struct number_text *b)
{
	int a_sign = a->digits == 0 ? 0 : a->negative ? -1 : 1;
	int b_sign = b->digits == 0 ? 0 : b->negative ? -1 : 1;
	if (a_sign != b_sign || a_sign == 0)
		return a_sign - b_sign;
	return a_sign > 0 ? compare_size(a, b) : compare_size(b, a);
}
