/* Paths that are for people, when a script decides about the rest. */
#include "common/doc/merge_columns.h"
#include "common/doc/merge_internal.h"
#include "common/doc/value.h"

enum { KEPT_PATHS_BYTES = MERGE_DETAIL_BYTES / 2 };

struct keeping {
	struct merge m;
	bool *kept; /* by index among the policy's paths */
};

static bool is_manual(const struct policy_path *rule)
{
	return rule && rule->rule == RULE_MANUAL;
}

/* May there be such a path at or below where the walk is? */
static bool leads_to_manual(const struct keeping *k, const struct policy_path *rule)
{
	return (!rule || rule->rule == RULE_MAP) &&
	       policy_has_below(k->m.policy, buf_slice(&k->m.path), RULE_MANUAL);
}

/* ---- is there anything for people in it? ---- */

static bool has_manual(struct keeping *k, struct slice value);

static bool members_have_manual(struct keeping *k, struct slice map)
{
	if (value_rank(map) != RANK_MAP)
		return false;
	struct mp_reader r = mp_reader_of(map);
	struct mp_token head = mp_read(&r);
	bool found = false;
	for (uint32_t i = 0; i < head.count && !found; i++) {
		struct slice name = mp_read(&r).bytes;
		struct merge_path_mark mark = merge_path_push(&k->m, name);
		found = has_manual(k, mp_value(&r));
		merge_path_pop(&k->m, mark);
	}
	return found;
}

static bool elements_have_manual(struct keeping *k, struct slice array)
{
	struct mp_reader r = mp_reader_of(array);
	struct mp_token head = mp_read(&r);
	bool found = false;
	for (uint32_t i = 0; i < head.count && !found; i++)
		found = members_have_manual(k, mp_value(&r));
	return found;
}

/* As deep as documents. */
static bool has_manual(struct keeping *k, struct slice value)
{
	const struct policy_path *rule = policy_find(k->m.policy, buf_slice(&k->m.path));
	if (is_manual(rule))
		return value.len > 0;
	if (!leads_to_manual(k, rule))
		return false;
	if (rule)
		return value_rank(value) == RANK_ARRAY && elements_have_manual(k, value);
	return members_have_manual(k, value);
}

/* ---- keeping it ---- */

static struct merge_piece *piece_of(struct keeping *k, struct slice value)
{
	return value.len > 0 ? merge_raw(&k->m, value) : NULL;
}

static bool both_are(enum value_rank rank, struct slice given, struct slice merged)
{
	return value_rank(given) == rank && value_rank(merged) == rank;
}

/* As deep as documents. False: something for people would be removed or replaced. */
static bool keep(struct keeping *k, struct slice given, struct slice merged,
		 struct merge_piece **out);

static bool keep_members(struct keeping *k, struct slice given, struct slice merged,
			 struct merge_piece **out)
{
	enum { GIVEN, MERGED };
	struct merge_columns c = {0};
	bool kept = true;
	merge_columns_add_members(&k->m, &c, GIVEN, given);
	merge_columns_add_members(&k->m, &c, MERGED, merged);
	merge_columns_by_leaf(&k->m, &c);
	*out = merge_container(&k->m, PIECE_MAP);
	for (uint32_t i = 0; i < c.columns_count && kept; i++) {
		struct slice values[2] = {{0}, {0}};
		struct merge_piece *member;
		const struct merge_column *column = &c.columns[i];
		for (uint32_t j = 0; j < column->count; j++)
			values[column->entries[j].rank] = column->entries[j].value;
		struct merge_path_mark mark = merge_path_push(&k->m, column->entries->key);
		kept = keep(k, values[GIVEN], values[MERGED], &member);
		merge_path_pop(&k->m, mark);
		merge_attach(*out, member, column->entries->key);
	}
	return kept;
}

static bool keep_element(struct keeping *k, struct slice given, struct slice merged,
			 struct merge_piece **out)
{
	*out = piece_of(k, given);
	if (merge_same(&k->m, given, merged))
		return true;
	if (both_are(RANK_MAP, given, merged))
		return keep_members(k, given, merged, out);
	return !members_have_manual(k, given) && !members_have_manual(k, merged);
}

static bool keep_elements(struct keeping *k, const struct policy_path *rule, struct slice given,
			  struct slice merged, struct merge_piece **out)
{
	struct merge_columns c = {0};
	struct merge_side side = {0, merged};
	struct merge_place place = {.base = given, .sides = &side, .sides_count = 1};
	bool kept = merge_columns_of_elements(&k->m, &place, rule, &c) && !c.twice;
	*out = merge_container(&k->m, PIECE_ARRAY);
	for (uint32_t i = 0; i < c.columns_count && kept; i++) {
		const struct merge_column *column = &c.columns[i];
		struct slice ours = column->base ? column->base->value : slice_of(NULL, 0);
		struct slice theirs =
		    column->base && column->count == 1 ? slice_of(NULL, 0) : column->entries->value;
		struct merge_piece *element;
		kept = keep_element(k, ours, theirs, &element);
		merge_attach(*out, element, (struct slice){0});
	}
	return kept;
}

static bool keep(struct keeping *k, struct slice given, struct slice merged,
		 struct merge_piece **out)
{
	const struct policy *policy = k->m.policy;
	const struct policy_path *rule = policy_find(policy, buf_slice(&k->m.path));
	*out = piece_of(k, given);
	if (is_manual(rule)) {
		if (merge_same(&k->m, given, merged))
			return true;
		*out = piece_of(k, merged);
		k->kept[rule - policy->paths] = true;
		return true;
	}
	if (!leads_to_manual(k, rule) || merge_same(&k->m, given, merged))
		return true;
	if (rule && both_are(RANK_ARRAY, given, merged))
		return keep_elements(k, rule, given, merged, out);
	if (!rule && both_are(RANK_MAP, given, merged))
		return keep_members(k, given, merged, out);
	return !has_manual(k, given) && !has_manual(k, merged);
}

/* ---- the whole ---- */

static void write_kept(const struct keeping *k, struct buf *out)
{
	uint32_t count = 0;
	size_t bytes = 0;
	for (uint32_t i = 0; i < k->m.policy->paths_count; i++) {
		bytes += k->kept[i] ? k->m.policy->paths[i].path.len : 0;
		k->kept[i] &= bytes <= KEPT_PATHS_BYTES;
		count += k->kept[i];
	}
	mp_write_array(out, count);
	for (uint32_t i = 0; i < k->m.policy->paths_count; i++)
		if (k->kept[i])
			mp_write_str(out, k->m.policy->paths[i].path);
}

bool merge_keep_manual(const struct policy *policy, struct slice given, struct slice merged,
		       struct arena *arena, struct buf *body, struct buf *paths)
{
	struct keeping k = {.m = {.policy = policy, .arena = arena}};
	struct merge_piece *whole;
	k.kept = arena_alloc(arena, policy->paths_count + 1);
	bool kept = keep(&k, given, merged, &whole);
	if (kept && whole)
		merge_emit(whole, body);
	write_kept(&k, paths);
	buf_close(&k.m.path);
	buf_close(&k.m.shown);
	buf_close(&k.m.form_a);
	buf_close(&k.m.form_b);
	return kept;
}
