/* Which index _find asks for, and what it warns of. */
#include "common/doc/query_conditions.h"
#include "gateway/couch/find.h"

bool find_by_id_only(const struct mango_fields *sort)
{
	return sort->count == 1 && slice_is(sort->list[0].name, "_id");
}

struct demands {
	struct query_condition *list;
	uint32_t count;
};

static bool is_demanded(const struct demands *d, struct slice path, bool constant)
{
	for (uint32_t i = 0; i < d->count; i++) {
		const struct query_condition *c = &d->list[i];
		bool one = c->comparison == COMPARE_IN && c->values_count == 1;
		if (slice_equal(c->path, path) && (one || !constant))
			return true;
	}
	return false;
}

/* Fields that the selector gives one value apart, an index begins with those of the sort. */
static bool fits_sort(const struct find *op, const struct demands *d,
		      const struct index_definition *index)
{
	uint32_t at = 0;
	for (uint32_t i = 0; i < op->sort.count; i++) {
		struct slice path = op->sort.list[i].path;
		while (at < index->fields_count && !slice_equal(index->fields[at], path) &&
		       is_demanded(d, index->fields[at], true))
			at++;
		if (at == index->fields_count || !slice_equal(index->fields[at++], path))
			return false;
	}
	return true;
}

static bool fits(const struct find *op, const struct demands *d,
		 const struct index_definition *index)
{
	if (op->sort.count > 0 && !find_by_id_only(&op->sort))
		return fits_sort(op, d, index);
	return is_demanded(d, index->fields[0], false);
}

/* An index made by _index has its design document's and its own name in that of the native one. */
static bool is_asked_for(const struct find *op, const struct index_definition *index)
{
	struct mango_index asked = {.ddoc = op->use_ddoc, .name = op->use_name};
	mango_index_name(&asked);
	return op->use_ddoc.len > 0 && index->name.len == MANGO_NATIVE_CHARS - 1 &&
	       memcmp(index->name.data, asked.native, mango_index_asked(&asked)) == 0;
}

/* One with a filter is nobody's but theirs who ask for it, as it lessens what is found. */
void find_choose_index(struct request *r, struct find *op, const struct map_collection *c,
		       const struct query *query)
{
	struct demands d;
	d.count = query_conditions(query, &r->arena, &d.list);
	op->unused = op->use_ddoc.len > 0;
	for (uint32_t i = 0; i < c->settings.indexes_count; i++) {
		const struct index_definition *index = &c->settings.indexes[i];
		bool asked = is_asked_for(op, index);
		bool partial = mango_is_partial(index->name);
		if (!fits(op, &d, index) || (partial && !asked))
			continue;
		if (!op->indexed || (asked && (!partial || op->unused)))
			op->index = arena_copy(&r->arena, index->name);
		op->indexed = true;
		op->unused &= !asked;
	}
}
