/* One place of the documents: who changed it, who removed it, and which rule says what comes of
 * that. */
#include "common/doc/attachment.h"
#include "common/doc/merge_internal.h"
#include "common/doc/value.h"

static bool same_in_canonical_form(struct merge *m, struct slice a, struct slice b)
{
	buf_clear(&m->form_a);
	buf_clear(&m->form_b);
	value_canonical(a, &m->form_a);
	value_canonical(b, &m->form_b);
	return value_equal(buf_slice(&m->form_a), buf_slice(&m->form_b));
}

static bool same_next(struct merge *m, struct mp_reader *a, struct mp_reader *b);

/* The members stand in the same order most often; a name is there once. */
static bool same_maps(struct merge *m, struct mp_reader *a, struct mp_reader *b)
{
	struct mp_reader a_whole = *a, b_whole = *b;
	uint32_t count = mp_read(a).count;
	if (count != mp_read(b).count)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		struct mp_token x = mp_read(a), y = mp_read(b);
		if (x.type != MP_STR || y.type != MP_STR || !slice_equal(x.bytes, y.bytes)) {
			*a = a_whole;
			*b = b_whole;
			return same_in_canonical_form(m, mp_value(a), mp_value(b));
		}
		if (!same_next(m, a, b))
			return false;
	}
	return true;
}

/* As deep as documents. Reads both up to where they differ: all, if they do not. */
static bool same_next(struct merge *m, struct mp_reader *a, struct mp_reader *b)
{
	enum mp_type type = mp_peek(a);
	if (type != mp_peek(b) || (type != MP_MAP && type != MP_ARRAY))
		return value_equal(mp_value(a), mp_value(b));
	if (type == MP_MAP)
		return same_maps(m, a, b);
	uint32_t count = mp_read(a).count;
	if (count != mp_read(b).count)
		return false;
	for (uint32_t i = 0; i < count; i++)
		if (!same_next(m, a, b))
			return false;
	return true;
}

bool merge_same(struct merge *m, struct slice a, struct slice b)
{
	if (slice_equal(a, b))
		return true;
	if (a.len == 0 || b.len == 0)
		return false;
	if (m->whole)
		return attachment_same(a, b);
	struct mp_reader x = mp_reader_of(a), y = mp_reader_of(b);
	return same_next(m, &x, &y);
}

static uint32_t changed_sides(struct merge *m, const struct merge_place *place,
			      struct merge_side **out)
{
	uint32_t count = 0;
	*out = arena_alloc(m->arena, place->sides_count * sizeof **out);
	for (uint32_t i = 0; i < place->sides_count; i++)
		if (!merge_same(m, place->base, place->sides[i].value))
			(*out)[count++] = place->sides[i];
	return count;
}

static bool all_same(struct merge *m, const struct merge_side *sides, uint32_t count)
{
	for (uint32_t i = 1; i < count; i++)
		if (!merge_same(m, sides[0].value, sides[i].value))
			return false;
	return true;
}

static bool is_map(struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	return mp_peek(&r) == MP_MAP;
}

static bool all_maps(const struct merge *m, const struct merge_place *place)
{
	if (m->whole)
		return false;
	for (uint32_t i = 0; i < place->sides_count; i++)
		if (!is_map(place->sides[i].value))
			return false;
	return true;
}

/* ---- rules ---- */

/* Under these two sides that did the same thing did it twice: equal values hide that, at the path
 * and in all that it is part of. */
static bool is_sum(const struct policy_path *rule)
{
	return rule && (rule->rule == RULE_COUNTER || rule->rule == RULE_APPEND);
}

static bool is_manual(const struct policy_path *rule)
{
	return rule && rule->rule == RULE_MANUAL;
}

/* Does what comes of the whole place pass over a path that was declared to be for people? */
static bool holds_manual(const struct merge *m)
{
	return policy_has_below(m->policy, buf_slice(&m->path), RULE_MANUAL);
}

static bool apply_sum(struct merge *m, const struct merge_place *changed,
		      const struct policy_path *rule, struct merge_piece **out)
{
	if (!is_sum(rule))
		return false;
	return rule->rule == RULE_COUNTER ? merge_counter(m, changed, out)
					  : merge_append(m, changed, out);
}

/* False: no rule is declared for the path, or not for values like these. */
static bool apply_rule(struct merge *m, const struct merge_place *changed,
		       const struct policy_path *rule, struct merge_piece **out)
{
	switch (rule ? rule->rule : RULE_MANUAL) {
	case RULE_SET:
		return merge_set(m, changed, out);
	case RULE_MAP:
		return merge_map(m, changed, rule, out);
	case RULE_NEWEST:
	case RULE_OLDEST:
	case RULE_MAX:
	case RULE_MIN:
		return merge_pick(m, changed, rule->rule, out);
	case RULE_APPEND:
	case RULE_COUNTER:
	case RULE_MANUAL:
	case POLICY_RULES:
		break;
	}
	return false;
}

/* What no rule decided, unless it was declared to be for people. */
static bool apply_fallback(struct merge *m, const struct merge_place *changed,
			   const struct policy_path *rule, struct merge_piece **out)
{
	enum policy_strategy fallback = m->policy->fallback;
	if ((fallback != POLICY_NEWEST && fallback != POLICY_OLDEST) || is_manual(rule) ||
	    holds_manual(m))
		return false;
	return merge_pick(m, changed, fallback == POLICY_NEWEST ? RULE_NEWEST : RULE_OLDEST, out);
}

/* ---- removed by some, changed by others ---- */

/* The sides, and as empty ones the leaves that have the container, but not what the base has there.
 */
static struct merge_place with_removals(struct merge *m, const struct merge_place *place,
					const struct merge_side *sides, uint32_t count)
{
	struct merge_place out = *place;
	uint32_t s = 0, p = 0, all = 0;
	if (place->base.len == 0)
		return (struct merge_place){
		    .base = place->base, .sides = sides, .sides_count = count};
	struct merge_side *list = arena_alloc(m->arena, place->scope_count * sizeof *list);
	for (uint32_t i = 0; i < place->scope_count; i++) {
		uint32_t rank = place->scope[i].rank;
		bool present = p < place->sides_count && place->sides[p].rank == rank;
		p += present;
		if (s < count && sides[s].rank == rank)
			list[all++] = sides[s++];
		else if (!present)
			list[all++] = (struct merge_side){.rank = rank};
	}
	out.sides = list;
	out.sides_count = all;
	return out;
}

static void note_removed(struct merge *m, const struct merge_place *all,
			 const struct merge_place *changed)
{
	struct merge_note *note = merge_note(m, NOTE_DROPPED, changed->sides, changed->sides_count);
	if (!note)
		return;
	note->rule = "delete-wins";
	for (uint32_t i = all->sides_count; i-- > 0;)
		if (all->sides[i].value.len == 0)
			note->kept = all->sides[i].rank;
}

static void note_kept(struct merge *m, const struct merge_place *all)
{
	uint32_t count = 0;
	struct merge_side *removers = arena_alloc(m->arena, all->sides_count * sizeof *removers);
	for (uint32_t i = 0; i < all->sides_count; i++)
		if (all->sides[i].value.len == 0)
			removers[count++] = all->sides[i];
	merge_note(m, NOTE_KEPT, removers, count);
}

/* `max` and `min` say nothing of removals. */
static bool rule_weighs_removals(const struct policy_path *rule)
{
	return rule && rule->rule != RULE_MAX && rule->rule != RULE_MIN;
}

/* True: *out is what comes of it. False: the change stays; of several it is still to be decided
 * which. */
static bool apply_removal(struct merge *m, const struct merge_place *all,
			  const struct merge_place *changed, const struct policy_path *rule,
			  struct merge_piece **out)
{
	*out = NULL;
	if (rule_weighs_removals(rule) &&
	    (apply_sum(m, all, rule, out) || apply_rule(m, all, rule, out)))
		return true;
	/* a removed list lacks what was there: that is more than appending */
	bool undecided = rule && rule->rule == RULE_APPEND;
	if (undecided && apply_fallback(m, all, rule, out))
		return true;
	if (undecided || is_manual(rule) || holds_manual(m)) {
		merge_note(m, NOTE_OPEN, all->sides, all->sides_count);
		return true;
	}
	if (m->policy->delete_wins) {
		note_removed(m, all, changed);
		return true;
	}
	note_kept(m, all);
	return false;
}

/* ---- the place ---- */

/* Of equal ones: that which came in last, so that none who saw an earlier one is thought to have
 * it. */
static struct slice newest_attachment(const struct merge_side *sides, uint32_t count)
{
	struct attachment_stub stub;
	uint64_t newest = 0;
	struct slice found = sides[0].value;
	for (uint32_t i = 0; i < count; i++) {
		if (!attachment_parse(sides[i].value, &stub) || stub.revpos <= newest)
			continue;
		newest = stub.revpos;
		found = sides[i].value;
	}
	return found;
}

/* Changed by several. */
static struct merge_piece *merge_changes(struct merge *m, const struct merge_place *place,
					 struct merge_place *changed,
					 const struct policy_path *rule)
{
	struct merge_piece *result;
	if (apply_sum(m, changed, rule, &result))
		return result;
	bool same = all_same(m, changed->sides, changed->sides_count);
	bool has_parts =
	    !is_manual(rule) && (all_maps(m, changed) || (rule && rule->rule == RULE_MAP));
	if (same && m->whole)
		return merge_raw(m, newest_attachment(changed->sides, changed->sides_count));
	if (same && !(m->has_sums && has_parts))
		return merge_raw(m, changed->sides[0].value);
	if (apply_rule(m, changed, rule, &result))
		return result;
	if (has_parts && all_maps(m, changed)) {
		if (!is_map(changed->base))
			changed->base = (struct slice){0};
		return merge_object(m, changed);
	}
	if (same)
		return merge_raw(m, changed->sides[0].value);
	if (apply_fallback(m, changed, rule, &result))
		return result;
	merge_note(m, NOTE_OPEN, place->sides, place->sides_count);
	return NULL;
}

struct merge_piece *merge_value(struct merge *m, const struct merge_place *place)
{
	struct merge_side *sides;
	uint32_t count = changed_sides(m, place, &sides);
	if (count == 0)
		return place->sides_count == 0 || place->sides_count < place->scope_count
			   ? NULL
			   : merge_raw(m, place->sides[0].value);
	struct merge_place all = with_removals(m, place, sides, count);
	if (all.sides_count == 1)
		return merge_raw(m, sides[0].value);
	struct merge_piece *result;
	struct merge_place changed = *place;
	changed.sides = sides;
	changed.sides_count = count;
	const struct policy_path *rule = policy_find(m->policy, buf_slice(&m->path));
	if (all.sides_count > count && apply_removal(m, &all, &changed, rule, &result))
		return result;
	return count == 1 ? merge_raw(m, sides[0].value) : merge_changes(m, place, &changed, rule);
}
