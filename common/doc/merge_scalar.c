/* Rules for values that differ: one of them. */
#include "common/doc/merge_internal.h"
#include "common/doc/value.h"
#include "proto/msgpack.h"

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
		note->rule = policy_rule_name(rule);
		note->kept = place->sides[best].rank;
	}
	struct slice value = place->sides[best].value;
	*out = value.len > 0 ? merge_raw(m, value) : NULL;
	return true;
}
