/* Arrays that the policy declares to be more than a list: sets, and maps whose elements are named
 * by fields. */
#include "common/doc/merge_columns.h"
#include "common/doc/merge_internal.h"
#include "common/doc/value.h"
#include "proto/msgpack.h"

enum { SHOWN_KEY_BYTES = 64 };

/* A member of that name, or what the dotted path leads to. */
static struct slice key_field(struct slice element, struct slice name)
{
	struct slice field = value_member(element, name);
	return field.len > 0 ? field : value_at(element, name);
}

/* The element's key in canonical form: itself, or the array of its key fields. Empty: it has none.
 */
static struct slice element_key(struct merge *m, struct slice element,
				const struct policy_path *rule)
{
	buf_clear(&m->form_a);
	if (!rule) {
		value_canonical(element, &m->form_a);
		return arena_copy(m->arena, buf_slice(&m->form_a));
	}
	struct mp_reader r = mp_reader_of(element);
	if (mp_peek(&r) != MP_MAP)
		return (struct slice){0};
	mp_write_array(&m->form_a, rule->keys_count);
	for (uint32_t i = 0; i < rule->keys_count; i++) {
		struct slice field = key_field(element, rule->keys[i]);
		if (field.len == 0)
			return (struct slice){0};
		value_canonical(field, &m->form_a);
	}
	return arena_copy(m->arena, buf_slice(&m->form_a));
}

bool merge_elements_fit(struct merge *m, uint32_t count)
{
	m->elements += count;
	return m->elements <= MERGE_ELEMENTS_MAX;
}

/* False: not an array, too long, or an element without the key. An absent array is an empty one. */
static bool add_elements(struct merge *m, struct merge_columns *c, uint32_t rank,
			 struct slice array, const struct policy_path *rule)
{
	if (array.len == 0)
		return true;
	struct mp_reader r = mp_reader_of(array);
	struct mp_token head = mp_read(&r);
	if (head.type != MP_ARRAY || !merge_elements_fit(m, head.count))
		return false;
	for (uint32_t i = 0; i < head.count; i++) {
		struct merge_entry entry = {.rank = rank, .pos = i, .value = mp_value(&r)};
		entry.key = element_key(m, entry.value, rule);
		if (entry.key.len == 0)
			return false;
		merge_columns_add(m, c, &entry);
	}
	return true;
}

bool merge_columns_of_elements(struct merge *m, const struct merge_place *place,
			       const struct policy_path *rule, struct merge_columns *c)
{
	if (!add_elements(m, c, MERGE_BASE_RANK, place->base, rule))
		return false;
	for (uint32_t i = 0; i < place->sides_count; i++)
		if (!add_elements(m, c, place->sides[i].rank, place->sides[i].value, rule))
			return false;
	merge_columns_by_base(m, c);
	return true;
}

bool merge_set(struct merge *m, const struct merge_place *place, struct merge_piece **out)
{
	struct merge_columns c = {0};
	if (!merge_columns_of_elements(m, place, NULL, &c))
		return false;
	*out = merge_container(m, PIECE_ARRAY);
	for (uint32_t i = 0; i < c.columns_count; i++) {
		const struct merge_column *column = &c.columns[i];
		bool kept = !column->base || column->count - 1 == place->sides_count;
		struct slice value = column->base ? column->base->value : column->entries->value;
		if (kept)
			merge_attach(*out, merge_raw(m, value), (struct slice){0});
	}
	return true;
}

/* "[a1,7]": scalars as they are, anything else as a mark. */
static void show_key(struct merge *m, struct slice key)
{
	struct mp_reader r = mp_reader_of(key);
	uint32_t fields = mp_read(&r).count;
	buf_append_byte(&m->shown, '[');
	for (uint32_t i = 0; i < fields; i++) {
		struct mp_reader field = mp_reader_of(mp_value(&r));
		struct mp_token token = mp_read(&field);
		if (i > 0)
			buf_append_byte(&m->shown, ',');
		if (token.type == MP_UINT)
			buf_printf(&m->shown, "%llu", (unsigned long long)token.u64);
		else if (token.type == MP_INT)
			buf_printf(&m->shown, "%lld", (long long)token.i64);
		else if ((token.type == MP_STR || token.type == MP_EXT) &&
			 token.bytes.len <= SHOWN_KEY_BYTES)
			buf_append_slice(&m->shown, token.bytes);
		else
			buf_append_byte(&m->shown, '?');
	}
	buf_append_byte(&m->shown, ']');
}

bool merge_map(struct merge *m, const struct merge_place *place, const struct policy_path *rule,
	       struct merge_piece **out)
{
	struct merge_columns c = {0};
	if (!merge_columns_of_elements(m, place, rule, &c) || c.twice)
		return false;
	*out = merge_container(m, PIECE_ARRAY);
	for (uint32_t i = 0; i < c.columns_count; i++) {
		const struct merge_column *column = &c.columns[i];
		struct merge_side *sides;
		struct merge_place element = {
		    .base = column->base ? column->base->value : (struct slice){0},
		    .sides_count = merge_column_sides(m, column, &sides),
		    .scope = place->sides,
		    .scope_count = place->sides_count,
		};
		element.sides = sides;
		size_t mark = m->shown.len;
		show_key(m, column->entries->key);
		merge_attach(*out, merge_value(m, &element), (struct slice){0});
		m->shown.len = mark;
	}
	return true;
}
