/* Rules for values that differ: one of them, or a sum. */
#include "common/doc/merge_internal.h"
#include "common/doc/value.h"
#include "proto/msgpack.h"

/* Sums of 64-bit values: exact for more summands than there can be. */
__extension__ typedef __int128 wide;

bool merge_is_newer(const struct merge *m, uint32_t a, uint32_t b)
{
	uint64_t a_stamp = m->leaves[a].stamp;
	uint64_t b_stamp = m->leaves[b].stamp;
	return a_stamp != b_stamp ? a_stamp > b_stamp : a < b;
}

/* ---- newest, oldest, max, min ---- */

enum scalar_class { CLASS_NONE, CLASS_NUMBER, CLASS_STRING };

static enum scalar_class class_of(struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	switch (mp_peek(&r)) {
	case MP_UINT:
	case MP_INT:
	case MP_DOUBLE:
	case MP_EXT:
		return CLASS_NUMBER;
	case MP_STR:
		return CLASS_STRING;
	default:
		return CLASS_NONE;
	}
}

/* Numbers with numbers, strings with strings: a greatest of mixed values means nothing to anybody.
 */
static bool are_comparable(const struct merge_place *place)
{
	enum scalar_class first = class_of(place->sides[0].value);
	for (uint32_t i = 0; i < place->sides_count; i++)
		if (class_of(place->sides[i].value) != first)
			return false;
	return first != CLASS_NONE;
}

static bool is_better(const struct merge *m, const struct merge_side *a, const struct merge_side *b,
		      enum policy_rule rule)
{
	if (rule == RULE_NEWEST)
		return merge_is_newer(m, a->rank, b->rank);
	if (rule == RULE_OLDEST)
		return merge_is_newer(m, b->rank, a->rank);
	int order = value_compare(a->value, b->value);
	return rule == RULE_MAX ? order > 0 : order < 0;
}

bool merge_pick(struct merge *m, const struct merge_place *place, enum policy_rule rule,
		struct merge_piece **out)
{
	if (rule != RULE_NEWEST && rule != RULE_OLDEST && !are_comparable(place))
		return false;
	uint32_t best = 0;
	for (uint32_t i = 1; i < place->sides_count; i++)
		if (is_better(m, &place->sides[i], &place->sides[best], rule))
			best = i;
	struct merge_side *dropped = arena_alloc(m->arena, place->sides_count * sizeof *dropped);
	uint32_t dropped_count = 0;
	for (uint32_t i = 0; i < place->sides_count; i++)
		if (!merge_same(m, place->sides[i].value, place->sides[best].value))
			dropped[dropped_count++] = place->sides[i];
	struct merge_note *note = merge_note(m, NOTE_DROPPED, dropped, dropped_count);
	if (note) {
		note->rule = rule;
		note->kept = place->sides[best].rank;
	}
	*out = merge_raw(m, place->sides[best].value);
	return true;
}

/* ---- counter ---- */

static bool integer_of(struct slice value, wide *out)
{
	struct mp_reader r = mp_reader_of(value);
	struct mp_token token = mp_read(&r);
	if (token.type == MP_UINT)
		*out = token.u64;
	else if (token.type == MP_INT)
		*out = token.i64;
	else
		return false;
	return true;
}

bool merge_counter(struct merge *m, const struct merge_place *place, struct merge_piece **out)
{
	wide base = 0;
	if (!m->has_base || (place->base.len > 0 && !integer_of(place->base, &base)))
		return false;
	wide sum = base;
	for (uint32_t i = 0; i < place->sides_count; i++) {
		wide value;
		if (!integer_of(place->sides[i].value, &value))
			return false;
		sum += value - base;
	}
	if (sum < INT64_MIN || sum > (wide)UINT64_MAX)
		return false;
	buf_clear(&m->form_a);
	if (sum < 0)
		mp_write_i64(&m->form_a, (int64_t)sum);
	else
		mp_write_u64(&m->form_a, (uint64_t)sum);
	*out = merge_raw(m, arena_copy(m->arena, buf_slice(&m->form_a)));
	return true;
}
