#include "common/doc/value.h"

#include <math.h>

#include "common/doc/json.h"
#include "common/doc/number.h"
#include "proto/enums.h"

/* ---- navigation ---- */

struct slice value_member(struct slice map, struct slice name)
{
	struct mp_reader r = mp_reader_of(map);
	struct mp_token head = mp_read(&r);
	if (head.type != MP_MAP)
		return (struct slice){0};
	for (uint32_t i = 0; i < head.count; i++) {
		struct mp_token key = mp_read(&r);
		if (key.type == MP_STR && key.bytes.len == name.len && slice_equal(key.bytes, name))
			return mp_value(&r);
		if (key.type == MP_INVALID || !mp_skip(&r))
			break;
	}
	return (struct slice){0};
}

static struct mp_token member_token(struct slice map, const char *name)
{
	struct mp_reader reader = mp_reader_of(value_member(map, slice_text(name)));
	return mp_read(&reader);
}

struct slice value_text_member(struct slice map, const char *name)
{
	struct mp_token token = member_token(map, name);
	return token.type == MP_STR ? token.bytes : slice_of(NULL, 0);
}

uint64_t value_number_member(struct slice map, const char *name)
{
	struct mp_token token = member_token(map, name);
	return token.type == MP_UINT ? token.u64 : 0;
}

struct slice value_element(struct slice array, uint32_t index)
{
	struct mp_reader r = mp_reader_of(array);
	struct mp_token head = mp_read(&r);
	if (head.type != MP_ARRAY || index >= head.count)
		return (struct slice){0};
	for (uint32_t i = 0; i < index; i++)
		if (!mp_skip(&r))
			return (struct slice){0};
	return mp_value(&r);
}

bool value_is_index(struct slice name, uint32_t *index)
{
	uint32_t value = 0;
	if (name.len == 0 || name.len > 9 || (name.data[0] == '0' && name.len > 1))
		return false;
	for (size_t i = 0; i < name.len; i++) {
		if (name.data[i] < '0' || name.data[i] > '9')
			return false;
		value = value * 10 + (uint32_t)(name.data[i] - '0');
	}
	*index = value;
	return true;
}

struct slice value_at(struct slice value, struct slice dotted_path)
{
	const uint8_t *at = dotted_path.data;
	/* No arithmetic on the NULL of an empty slice. */
	const uint8_t *end = dotted_path.len ? at + dotted_path.len : at;
	for (;;) {
		const uint8_t *dot = at == end ? NULL : memchr(at, '.', (size_t)(end - at));
		struct slice name = slice_of(at, (size_t)((dot ? dot : end) - at));
		struct mp_reader r = mp_reader_of(value);
		uint32_t index;
		if (mp_peek(&r) == MP_ARRAY)
			value = value_is_index(name, &index) ? value_element(value, index)
							     : (struct slice){0};
		else
			value = value_member(value, name);
		if (!dot || value.len == 0)
			return value;
		at = dot + 1;
	}
}

/* ---- validity ---- */

static bool is_scalar(const struct mp_token *t)
{
	struct number_text number;
	switch (t->type) {
	case MP_NIL:
	case MP_BOOL:
	case MP_UINT:
	case MP_INT:
	case MP_STR:
		return true;
	case MP_DOUBLE:
		return isfinite(t->number);
	case MP_EXT:
		return t->ext_type == MP_EXT_NUMBER && number_scan(t->bytes, &number);
	default:
		return false;
	}
}

static bool is_value(struct mp_reader *r, unsigned levels)
{
	struct mp_token t = mp_read(r);
	if (t.type != MP_ARRAY && t.type != MP_MAP)
		return is_scalar(&t);
	if (levels == 0)
		return false;
	for (uint32_t i = 0; i < t.count; i++) {
		if (t.type == MP_MAP && mp_read(r).type != MP_STR)
			return false;
		if (!is_value(r, levels - 1))
			return false;
	}
	return true;
}

bool value_is_document(struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	return mp_peek(&r) == MP_MAP && is_value(&r, LIMIT_JSON_DEPTH) && mp_at_end(&r);
}

/* ---- order ---- */

static enum value_rank rank_of(enum mp_type type)
{
	static const uint8_t ranks[] = {
	    [MP_INVALID] = RANK_NIL, [MP_NIL] = RANK_NIL,    [MP_BOOL] = RANK_BOOL,
	    [MP_UINT] = RANK_NUMBER, [MP_INT] = RANK_NUMBER, [MP_DOUBLE] = RANK_NUMBER,
	    [MP_STR] = RANK_STRING,  [MP_BIN] = RANK_OTHER,  [MP_ARRAY] = RANK_ARRAY,
	    [MP_MAP] = RANK_MAP,     [MP_EXT] = RANK_NUMBER,
	};
	return (enum value_rank)ranks[type];
}

enum value_rank value_rank(struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	return rank_of(mp_peek(&r));
}

/* The number as text in memory (JSON_NUMBER_CHARS bytes) or where it stands. */
static struct number_text text_of(const struct mp_token *t, char *memory)
{
	struct number_text out = {.integer = true};
	size_t at = JSON_NUMBER_CHARS;
	struct slice text = t->bytes;
	if (t->type == MP_DOUBLE) {
		text = slice_of(memory, json_number_text(t->number, memory));
	} else if (t->type != MP_EXT) {
		bool negative = t->type == MP_INT;
		uint64_t left = negative ? 0 - (uint64_t)t->i64 : t->u64;
		do {
			memory[--at] = (char)('0' + left % 10);
			left /= 10;
		} while (left > 0);
		if (negative)
			memory[--at] = '-';
		text = slice_of(memory + at, JSON_NUMBER_CHARS - at);
	}
	/* Text that is no number can come from broken bytes only; it then counts as zero. */
	if (!number_scan(text, &out))
		out = (struct number_text){.integer = true};
	return out;
}

static int compare_as_text(const struct mp_token *a, const struct mp_token *b)
{
	char a_memory[JSON_NUMBER_CHARS], b_memory[JSON_NUMBER_CHARS];
	struct number_text x = text_of(a, a_memory), y = text_of(b, b_memory);
	return number_compare(&x, &y);
}

static double as_double(const struct mp_token *t)
{
	return t->type == MP_UINT ? (double)t->u64 : t->type == MP_INT ? (double)t->i64 : t->number;
}

static int compare_numbers(const struct mp_token *a, const struct mp_token *b)
{
	if (a->type == MP_UINT && b->type == MP_UINT)
		return a->u64 < b->u64 ? -1 : a->u64 > b->u64;
	if (a->type == MP_INT && b->type == MP_INT)
		return a->i64 < b->i64 ? -1 : a->i64 > b->i64;
	if (a->type == MP_EXT || b->type == MP_EXT)
		return compare_as_text(a, b);
	/* Rounding keeps order, so unequal doubles decide; equal ones do where every integer is a
	 * double. */
	double x = as_double(a), y = as_double(b);
	if (x != y)
		return x < y ? -1 : 1;
	if (fabs(x) < 0x1p53 || (a->type == MP_DOUBLE && b->type == MP_DOUBLE))
		return 0;
	return compare_as_text(a, b);
}

static int compare_next(struct mp_reader *a, struct mp_reader *b);

/* As MongoDB: member by member, by type, then key, then value. */
static int compare_members(struct mp_reader *a, struct mp_reader *b)
{
	struct mp_token x = mp_read(a), y = mp_read(b);
	enum value_rank x_rank = rank_of(mp_peek(a)), y_rank = rank_of(mp_peek(b));
	if (x_rank != y_rank)
		return x_rank < y_rank ? -1 : 1;
	if (x.type == MP_STR && y.type == MP_STR) {
		int order = slice_compare(x.bytes, y.bytes);
		if (order != 0)
			return order;
	}
	return compare_next(a, b);
}

static int compare_containers(struct mp_reader *a, struct mp_reader *b, const struct mp_token *x,
			      const struct mp_token *y)
{
	uint32_t common = x->count < y->count ? x->count : y->count;
	for (uint32_t i = 0; i < common; i++) {
		int order = x->type == MP_MAP ? compare_members(a, b) : compare_next(a, b);
		if (order != 0)
			return order;
	}
	return x->count < y->count ? -1 : x->count > y->count;
}

/* Reads as much of both as it takes to tell them apart: all, if they are equal. */
static int compare_next(struct mp_reader *a, struct mp_reader *b)
{
	struct mp_token x = mp_read(a), y = mp_read(b);
	enum value_rank x_rank = rank_of(x.type), y_rank = rank_of(y.type);
	if (x_rank != y_rank)
		return x_rank < y_rank ? -1 : 1;
	switch (x_rank) {
	case RANK_NUMBER:
		return compare_numbers(&x, &y);
	case RANK_STRING:
	case RANK_OTHER:
		return slice_compare(x.bytes, y.bytes);
	case RANK_MAP:
	case RANK_ARRAY:
		return compare_containers(a, b, &x, &y);
	case RANK_BOOL:
		return (int)x.flag - (int)y.flag;
	default:
		return 0;
	}
}

int value_compare(struct slice a, struct slice b)
{
	struct mp_reader x = mp_reader_of(a), y = mp_reader_of(b);
	return compare_next(&x, &y);
}

bool value_equal(struct slice a, struct slice b)
{
	return slice_equal(a, b) || value_compare(a, b) == 0;
}

bool value_among(struct slice value, const struct slice *list, uint32_t count)
{
	for (uint32_t low = 0, high = count; low < high;) {
		uint32_t middle = low + (high - low) / 2;
		int order = value_compare(value, list[middle]);
		if (order == 0)
			return true;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return false;
}
