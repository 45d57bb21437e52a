/* Sorting instead of hashing: the result can't depend on a table's layout, and chosen names can't
 * make it slow. */
#include <stdlib.h>

#include "common/doc/merge_columns.h"
#include "common/doc/merge_internal.h"
#include "common/doc/value.h"

enum { COLUMNS_FIRST = 32 };

void merge_columns_add(struct merge *m, struct merge_columns *c, const struct merge_entry *entry)
{
	if (c->entries_count == c->entries_cap) {
		uint32_t cap = c->entries_cap ? c->entries_cap * 2 : COLUMNS_FIRST;
		struct merge_entry *grown = arena_alloc(m->arena, cap * sizeof *grown);
		if (c->entries_count)
			memcpy(grown, c->entries, c->entries_count * sizeof *grown);
		c->entries = grown;
		c->entries_cap = cap;
	}
	c->entries[c->entries_count++] = *entry;
}

/* ---- into columns ---- */

static int by_place(const struct merge_entry *a, const struct merge_entry *b)
{
	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	return a->pos < b->pos ? -1 : a->pos > b->pos;
}

static int by_bytes(const void *a, const void *b)
{
	int order = slice_compare(((const struct merge_entry *)a)->key,
				  ((const struct merge_entry *)b)->key);
	return order ? order : by_place(a, b);
}

static int by_value(const void *a, const void *b)
{
	int order = value_compare(((const struct merge_entry *)a)->key,
				  ((const struct merge_entry *)b)->key);
	return order ? order : by_place(a, b);
}

static bool same_key(const struct merge_entry *a, const struct merge_entry *b, bool values)
{
	return values ? value_compare(a->key, b->key) == 0 : slice_equal(a->key, b->key);
}

/* Takes one sorted run of a key, leaving out what a container has twice. */
static uint32_t column_take(struct merge_columns *c, uint32_t from, bool values)
{
	struct merge_column *column = &c->columns[c->columns_count++];
	column->entries = &c->entries[from];
	uint32_t at = from;
	for (; at < c->entries_count && same_key(&c->entries[from], &c->entries[at], values);
	     at++) {
		struct merge_entry *last =
		    column->count ? &column->entries[column->count - 1] : NULL;
		if (last && last->rank == c->entries[at].rank)
			c->twice = true;
		else
			column->entries[column->count++] = c->entries[at];
	}
	if (column->entries[column->count - 1].rank == MERGE_BASE_RANK)
		column->base = &column->entries[column->count - 1];
	return at;
}

static void columns_make(struct merge *m, struct merge_columns *c, bool values)
{
	if (c->entries_count > 1)
		qsort(c->entries, c->entries_count, sizeof *c->entries,
		      values ? by_value : by_bytes);
	c->columns = arena_alloc(m->arena, c->entries_count * sizeof *c->columns);
	for (uint32_t at = 0; at < c->entries_count;)
		at = column_take(c, at, values);
}

/* ---- their order ---- */

static int by_first_entry(const void *a, const void *b)
{
	return by_place(((const struct merge_column *)a)->entries,
			((const struct merge_column *)b)->entries);
}

static int by_base(const void *a, const void *b)
{
	const struct merge_column *x = a;
	const struct merge_column *y = b;
	if (x->base && y->base)
		return by_place(x->base, y->base);
	if (x->base || y->base)
		return x->base ? -1 : 1;
	return value_compare(x->entries->key, y->entries->key);
}

void merge_columns_by_leaf(struct merge *m, struct merge_columns *c)
{
	columns_make(m, c, false);
	if (c->columns_count > 1)
		qsort(c->columns, c->columns_count, sizeof *c->columns, by_first_entry);
}

void merge_columns_by_base(struct merge *m, struct merge_columns *c)
{
	columns_make(m, c, true);
	if (c->columns_count > 1)
		qsort(c->columns, c->columns_count, sizeof *c->columns, by_base);
}

uint32_t merge_column_sides(struct merge *m, const struct merge_column *column,
			    struct merge_side **out)
{
	uint32_t count = column->count - (column->base != NULL);
	*out = arena_alloc(m->arena, count * sizeof **out);
	for (uint32_t i = 0; i < count; i++)
		(*out)[i] = (struct merge_side){column->entries[i].rank, column->entries[i].value};
	return count;
}
