/* Lists that only grow: what each side put in stays, and what was there before keeps its order.
 *
 * The base may be a merge itself, made anew, and so have the same elements in another order than a
 * side that was made from an earlier merge: then what the side has beyond them comes at the end. */
#include <stdlib.h>

#include "common/doc/merge_internal.h"
#include "common/doc/value.h"
#include "proto/msgpack.h"

struct side {
	uint32_t rank;
	uint64_t stamp;
	struct slice *elements;
	struct slice *forms; /* the same in canonical form */
	uint32_t count;
	uint32_t *found; /* where the base's elements are among them */
	uint32_t next;   /* the first that is not in the result yet */
	bool unordered;  /* it has the base's elements in another order: `found` says nothing */
	bool *is_base;   /* unordered: which of its elements are the base's */
};

/* Made once: a comparison then takes no longer than the shorter of two is long, so that one long
 * element and many short ones stay cheap. */
static struct slice form_of(struct merge *m, struct slice element)
{
	struct mp_reader r = mp_reader_of(element);
	enum mp_type type = mp_peek(&r);
	if (type != MP_MAP && type != MP_ARRAY)
		return element;
	buf_clear(&m->form_a);
	value_canonical(element, &m->form_a);
	return arena_copy(m->arena, buf_slice(&m->form_a));
}

/* False: it is no array, or too long. */
static bool elements_of(struct merge *m, struct slice array, struct side *out)
{
	struct mp_reader r = mp_reader_of(array);
	struct mp_token head = mp_read(&r);
	if (head.type != MP_ARRAY || !merge_elements_fit(m, head.count))
		return false;
	out->count = head.count;
	out->elements = arena_alloc(m->arena, (head.count + 1) * sizeof *out->elements);
	out->forms = arena_alloc(m->arena, (head.count + 1) * sizeof *out->forms);
	for (uint32_t i = 0; i < head.count; i++) {
		out->elements[i] = mp_value(&r);
		out->forms[i] = form_of(m, out->elements[i]);
	}
	return true;
}

/* The base's elements, in their order, each as early as possible. False: one is missing. */
static bool find_base(struct merge *m, const struct side *base, struct side *side)
{
	uint32_t at = 0;
	side->found = arena_alloc(m->arena, (base->count + 1) * sizeof *side->found);
	for (uint32_t i = 0; i < base->count; i++, at++) {
		while (at < side->count && !value_equal(base->forms[i], side->forms[at]))
			at++;
		if (at == side->count)
			return false;
		side->found[i] = at;
	}
	return true;
}

struct ranked {
	struct slice form;
	uint32_t at;
};

static int compare_ranked(const void *a, const void *b)
{
	const struct ranked *x = a;
	const struct ranked *y = b;
	int order = value_compare(x->form, y->form);
	return order ? order : x->at < y->at ? -1 : x->at > y->at;
}

static struct ranked *rank_elements(struct merge *m, const struct side *side)
{
	struct ranked *all = arena_alloc(m->arena, (side->count + 1) * sizeof *all);
	for (uint32_t i = 0; i < side->count; i++)
		all[i] = (struct ranked){side->forms[i], i};
	if (side->count > 1)
		qsort(all, side->count, sizeof *all, compare_ranked);
	return all;
}

/* The base's elements in any order, each of equal ones as early as possible. False: one is missing.
 */
static bool find_base_anywhere(struct merge *m, const struct side *base, struct side *side)
{
	const struct ranked *wanted = rank_elements(m, base);
	const struct ranked *all = rank_elements(m, side);
	side->unordered = true;
	side->is_base = arena_alloc(m->arena, side->count + 1);
	uint32_t at = 0;
	for (uint32_t i = 0; i < base->count; i++, at++) {
		int order = -1;
		while (at < side->count &&
		       (order = value_compare(all[at].form, wanted[i].form)) < 0)
			at++;
		if (order != 0)
			return false;
		side->is_base[all[at].at] = true;
	}
	return true;
}

/* Without a base: what all sides begin with. */
static void find_beginning(const struct side *sides, uint32_t count, struct side *out)
{
	*out = sides[0];
	for (uint32_t s = 1; s < count; s++) {
		uint32_t same = 0;
		while (same < out->count && same < sides[s].count &&
		       value_equal(out->forms[same], sides[s].forms[same]))
			same++;
		out->count = same;
	}
}

/* As merge_is_newer has it. */
static int compare_ages(const void *a, const void *b)
{
	const struct side *x = a;
	const struct side *y = b;
	if (x->stamp != y->stamp)
		return x->stamp < y->stamp ? -1 : 1;
	return x->rank > y->rank ? -1 : x->rank < y->rank;
}

static void attach(struct merge *m, struct merge_piece *out, struct slice element)
{
	merge_attach(out, merge_raw(m, element), (struct slice){0});
}

/* What the sides have before the base's next element, the oldest side's first. */
static void take_until(struct merge *m, struct side *side, uint32_t end, struct merge_piece *out)
{
	for (; side->next < end; side->next++)
		if (!side->unordered || !side->is_base[side->next])
			attach(m, out, side->elements[side->next]);
}

bool merge_append(struct merge *m, const struct merge_place *place, struct merge_piece **out)
{
	struct side base = {0};
	uint32_t count = place->sides_count;
	struct side *sides = arena_alloc(m->arena, count * sizeof *sides);
	if (place->base.len > 0 && !elements_of(m, place->base, &base))
		return false;
	for (uint32_t i = 0; i < count; i++) {
		sides[i].rank = place->sides[i].rank;
		sides[i].stamp = m->leaves[sides[i].rank].stamp;
		if (place->sides[i].value.len > 0 &&
		    !elements_of(m, place->sides[i].value, &sides[i]))
			return false;
	}
	if (!m->has_base)
		find_beginning(sides, count, &base);
	for (uint32_t i = 0; i < count; i++)
		if (!find_base(m, &base, &sides[i]) && !find_base_anywhere(m, &base, &sides[i]))
			return false;
	qsort(sides, count, sizeof *sides, compare_ages);
	*out = merge_container(m, PIECE_ARRAY);
	for (uint32_t b = 0; b < base.count; b++) {
		for (uint32_t i = 0; i < count; i++) {
			if (sides[i].unordered)
				continue;
			take_until(m, &sides[i], sides[i].found[b], *out);
			sides[i].next++;
		}
		attach(m, *out, base.elements[b]);
	}
	for (uint32_t i = 0; i < count; i++)
		take_until(m, &sides[i], sides[i].count, *out);
	return true;
}
