#include "storage-node/plan.h"

#include <stdlib.h>

#include "common/doc/query_conditions.h"
#include "proto/msgpack.h"
#include "storage-node/index.h"

/* Behind what keys begin with: the next byte of a key is a type or 0, never this. */
enum { AFTER_ALL = 255, POINTS_PER_FIELD_MAX = 256 };

/* What is asked of one field of an index: any of some points, or a range; none: neither. */
struct bound {
	struct slice *points; /* keys' bytes, ascending, each once */
	uint32_t points_count;
	struct slice first; /* a range: keys k with first <= k < end */
	struct slice end;
};

struct planner {
	struct arena *arena;
	const struct shard_copy *copy;
	const struct msg_shard_query *query;
	const struct query_order *order;
	uint32_t order_count;
	struct query_condition *conditions;
	uint32_t conditions_count;
};

/* One index under consideration. */
struct candidate {
	const struct shard_index *index;
	struct bound bounds[LIMIT_INDEX_FIELDS];
	uint32_t points; /* leading fields that are points */
	bool ranged;     /* the next one is a range */
	bool single;     /* of each of those fields one point */
	bool ordered;
	bool descending;
	uint32_t ranges;
};

/* ---- what the conditions say of one field ---- */

static struct slice joined(struct arena *arena, struct slice a, struct slice b)
{
	uint8_t *bytes = arena_alloc(arena, a.len + b.len + 1);
	if (a.len > 0)
		memcpy(bytes, a.data, a.len);
	if (b.len > 0)
		memcpy(bytes + a.len, b.data, b.len);
	return slice_of(bytes, a.len + b.len);
}

static struct slice joined_byte(struct arena *arena, struct slice a, uint8_t byte)
{
	return joined(arena, a, slice_of(&byte, 1));
}

/* whole: false if values that differ may have these bytes. */
static struct slice bytes_of(struct arena *arena, struct slice value, bool *whole)
{
	uint8_t memory[INDEX_VALUE_BYTES];
	struct buf out = {.data = memory, .cap = sizeof memory}; /* never grows */
	*whole = index_value_append(value, &out);
	return arena_copy(arena, buf_slice(&out));
}

static void range_of(struct planner *p, const struct query_condition *c, struct bound *out)
{
	bool whole;
	struct slice none = {0};
	struct slice value = bytes_of(p->arena, c->values[0], &whole);
	uint8_t type = value.data[0];
	struct slice behind = joined_byte(p->arena, value, AFTER_ALL);
	out->first = joined_byte(p->arena, none, type);
	out->end = joined_byte(p->arena, none, (uint8_t)(type + 1));
	if (c->comparison == COMPARE_FROM) {
		bool any =
		    type < index_rank_byte(RANK_NUMBER) || type == index_rank_byte(RANK_BOOL);
		out->first =
		    any ? joined_byte(p->arena, none, index_rank_byte(RANK_NUMBER)) : value;
		out->end = any ? joined_byte(p->arena, none, AFTER_ALL)
			       : joined_byte(p->arena, none, index_rank_byte(RANK_BOOL));
		return;
	}
	if (c->comparison == COMPARE_GT)
		out->first = whole ? behind : value;
	else if (c->comparison == COMPARE_GTE)
		out->first = value;
	else
		out->end = c->comparison == COMPARE_LT && whole ? value : behind;
}

/* $in is sorted as values are, and so are the bytes. */
static void points_of(struct planner *p, const struct query_condition *c, struct bound *out)
{
	bool whole;
	if (c->values_count > POINTS_PER_FIELD_MAX) {
		out->first = bytes_of(p->arena, c->values[0], &whole);
		out->end = joined_byte(p->arena,
				       bytes_of(p->arena, c->values[c->values_count - 1], &whole),
				       AFTER_ALL);
		return;
	}
	out->points = arena_alloc(p->arena, (c->values_count + 1) * sizeof *out->points);
	for (uint32_t i = 0; i < c->values_count; i++) {
		struct slice bytes = bytes_of(p->arena, c->values[i], &whole);
		uint32_t before = out->points_count;
		if (before == 0 || !slice_equal(out->points[before - 1], bytes))
			out->points[out->points_count++] = bytes;
	}
}

/* Of an array one element may be above a bound and another one below the other. */
static void narrow(struct bound *bound, const struct bound *by)
{
	if (slice_compare(by->first, bound->first) > 0)
		bound->first = by->first;
	if (slice_compare(by->end, bound->end) < 0)
		bound->end = by->end;
}

static struct bound bound_of(struct planner *p, const struct shard_index *index, uint32_t field)
{
	struct bound found = {0};
	bool arrays = index->has & INDEX_HAS_ARRAYS;
	for (uint32_t i = 0; i < p->conditions_count; i++) {
		const struct query_condition *c = &p->conditions[i];
		struct bound bound = {0};
		if (!slice_equal(c->path, index->paths[field]) || c->values_count == 0)
			continue;
		if (c->comparison == COMPARE_IN) {
			points_of(p, c, &bound);
			if (bound.points &&
			    (!found.points || bound.points_count < found.points_count))
				found = bound;
		} else {
			range_of(p, c, &bound);
		}
		if (found.points || bound.points)
			continue;
		if (found.end.len == 0)
			found = bound;
		else if (!arrays)
			narrow(&found, &bound);
	}
	return found;
}

/* ---- one index ---- */

static bool is_pinned(const struct candidate *x, struct slice path)
{
	for (uint32_t i = 0; i < x->points; i++)
		if (slice_equal(x->index->paths[i], path))
			return true;
	return false;
}

/* The keys stand as the rows are wanted: every field behind the points is a key of the order, and
 * the id comes last in both. */
static bool fits_order(struct planner *p, struct candidate *x)
{
	uint32_t field = x->points;
	if (x->index->has & (INDEX_HAS_ARRAYS | INDEX_HAS_CUT))
		return false;
	for (uint32_t i = 0; i < p->order_count; i++) {
		struct slice path = p->order[i].path;
		if (is_pinned(x, path))
			continue;
		if (field == x->index->fields.count || !slice_equal(x->index->paths[field], path) ||
		    (field > x->points && p->order[i].descending != x->descending))
			return false;
		x->descending = p->order[i].descending;
		field++;
	}
	return field == x->index->fields.count;
}

static bool is_ordered(struct planner *p, struct candidate *x)
{
	if (p->query->count || !x->single || (x->index->has & INDEX_HAS_ALWAYS))
		return false;
	if (p->order_count == 0) /* then by id */
		return x->points == x->index->fields.count;
	return fits_order(p, x);
}

static bool consider(struct planner *p, const struct shard_index *index, struct candidate *x)
{
	*x = (struct candidate){.index = index, .single = true, .ranges = 1};
	for (uint32_t i = 0; i < index->fields.count; i++) {
		struct bound *bound = &x->bounds[i];
		*bound = bound_of(p, index, i);
		if (bound->points && x->ranges * bound->points_count > PLAN_RANGES_MAX) {
			struct slice last = bound->points[bound->points_count - 1];
			bound->first = bound->points[0];
			bound->end = joined_byte(p->arena, last, AFTER_ALL);
			bound->points = NULL;
		}
		x->ranged = !bound->points && bound->end.len > 0;
		if (!bound->points)
			break;
		x->ranges *= bound->points_count;
		x->single = x->single && bound->points_count == 1;
		x->points++;
	}
	x->ordered = is_ordered(p, x);
	return x->points > 0 || x->ranged || (x->ordered && p->order_count > 0);
}

/* More points first, then a range, then an order; of two alike the one with fewer fields. */
static int score(const struct candidate *x)
{
	int fields = (int)x->index->fields.count;
	return ((int)x->points * 4 + x->ranged * 2 + x->ordered) * 16 - fields;
}

/* ---- its ranges ---- */

static void add_range(struct planner *p, struct plan *plan, const struct candidate *x,
		      struct slice prefix)
{
	struct plan_range *range = &plan->ranges[plan->ranges_count++];
	const struct bound *bound = &x->bounds[x->points];
	if (x->points == x->index->fields.count) {
		range->first = joined_byte(p->arena, prefix, 0);
		range->end = joined_byte(p->arena, prefix, 1);
	} else if (x->ranged) {
		range->first = joined(p->arena, prefix, bound->first);
		range->end = joined(p->arena, prefix, bound->end);
	} else {
		range->first = prefix;
		range->end = joined_byte(p->arena, prefix, AFTER_ALL);
	}
}

static void add_ranges(struct planner *p, struct plan *plan, const struct candidate *x,
		       uint32_t field, struct slice prefix)
{
	if (field == x->points) {
		add_range(p, plan, x, prefix);
		return;
	}
	for (uint32_t i = 0; i < x->bounds[field].points_count; i++)
		add_ranges(p, plan, x, field + 1,
			   joined(p->arena, prefix, x->bounds[field].points[i]));
}

/* The key behind which an ordered list goes on. */
static struct slice start_of(struct planner *p, const struct candidate *x, struct slice prefix)
{
	const struct msg_shard_query *m = p->query;
	bool whole;
	if (m->after.len == 0 || m->after_keys_count < p->order_count)
		return (struct slice){0};
	for (uint32_t i = 0; i < x->points; i++)
		prefix = joined(p->arena, prefix, x->bounds[i].points[0]);
	for (uint32_t i = 0; i < p->order_count; i++)
		if (!is_pinned(x, p->order[i].path))
			prefix =
			    joined(p->arena, prefix, bytes_of(p->arena, m->after_keys[i], &whole));
	return joined(p->arena, joined_byte(p->arena, prefix, 0), m->after);
}

static struct plan *plan_of(struct planner *p, const struct candidate *x)
{
	struct plan *plan = arena_alloc(p->arena, sizeof *plan);
	struct buf key = {0};
	struct slice prefix = arena_copy(p->arena, key_index(&key, p->copy->id, x->index->id));
	buf_close(&key);
	plan->index = arena_copy(p->arena, x->index->name);
	plan->named = p->query->index.len > 0;
	plan->ordered = x->ordered;
	plan->descending = x->descending;
	plan->ranges = arena_alloc(p->arena, (x->ranges + 1) * sizeof *plan->ranges);
	if (x->index->has & INDEX_HAS_ALWAYS) {
		struct plan_range *always = &plan->ranges[plan->ranges_count++];
		always->first = joined_byte(p->arena, prefix, INDEX_ALWAYS);
		always->end = joined_byte(p->arena, prefix, INDEX_ALWAYS + 1);
	}
	add_ranges(p, plan, x, 0, prefix);
	if (plan->ordered)
		plan->start = start_of(p, x, prefix);
	return plan;
}

/* ---- no index ---- */

static int compare_ids(const void *a, const void *b)
{
	return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

/* No document has another id than a text. */
static struct plan *plan_of_ids(struct planner *p, const struct query_condition *c)
{
	struct plan *plan = arena_alloc(p->arena, sizeof *plan);
	uint32_t unique = 0;
	plan->index = slice_text("id");
	plan->ids = arena_alloc(p->arena, (c->values_count + 1) * sizeof *plan->ids);
	for (uint32_t i = 0; i < c->values_count; i++) {
		struct mp_reader r = mp_reader_of(c->values[i]);
		struct mp_token token = mp_read(&r);
		if (token.type == MP_STR)
			plan->ids[plan->ids_count++] = arena_copy(p->arena, token.bytes);
	}
	if (plan->ids_count > 1)
		qsort(plan->ids, plan->ids_count, sizeof *plan->ids, compare_ids);
	for (uint32_t i = 0; i < plan->ids_count; i++)
		if (i == 0 || !slice_equal(plan->ids[i], plan->ids[unique - 1]))
			plan->ids[unique++] = plan->ids[i];
	plan->ids_count = unique;
	return plan;
}

/* The shortest list of ids that the filter demands; NULL: it demands none. */
static struct plan *ids_demanded(struct planner *p)
{
	const struct query_condition *best = NULL;
	for (uint32_t i = 0; i < p->conditions_count; i++) {
		const struct query_condition *c = &p->conditions[i];
		if (slice_is(c->path, "id") && c->comparison == COMPARE_IN &&
		    (!best || c->values_count < best->values_count))
			best = c;
	}
	return best ? plan_of_ids(p, best) : NULL;
}

struct plan *plan_make(const struct shard_copy *c, const struct msg_shard_query *m,
		       const struct query *query, const struct query_order *order,
		       uint32_t order_count, struct arena *arena)
{
	struct planner p = {
	    .arena = arena, .copy = c, .query = m, .order = order, .order_count = order_count};
	struct candidate *best = NULL;
	if (m->no_index)
		return NULL;
	if (query)
		p.conditions_count = query_conditions(query, arena, &p.conditions);
	struct plan *ids = m->index.len == 0 ? ids_demanded(&p) : NULL;
	if (ids)
		return ids;
	for (uint32_t i = 0; i < c->indexes_count; i++) {
		const struct shard_index *index = c->indexes[i];
		struct candidate *x = arena_alloc(arena, sizeof *x);
		if (!index->usable || (m->index.len > 0 && !slice_equal(m->index, index->name)))
			continue;
		if (consider(&p, index, x) && (!best || score(x) > score(best)))
			best = x;
	}
	return best ? plan_of(&p, best) : NULL;
}
