/* Objects: member by member over the union of names. A member that is missing is not a null. */
#include "common/doc/attachment.h"
#include "common/doc/merge_columns.h"
#include "common/doc/merge_internal.h"
#include "proto/msgpack.h"

void merge_columns_add_members(struct merge *m, struct merge_columns *c, uint32_t rank,
			       struct slice map)
{
	struct mp_reader r = mp_reader_of(map);
	struct mp_token head = mp_read(&r);
	for (uint32_t i = 0; head.type == MP_MAP && i < head.count; i++) {
		struct mp_token name = mp_read(&r);
		struct merge_entry entry = {.key = name.bytes, .rank = rank, .pos = i};
		entry.value = mp_value(&r);
		if (name.type != MP_STR || entry.value.len == 0)
			return;
		merge_columns_add(m, c, &entry);
	}
}

struct merge_path_mark merge_path_push(struct merge *m, struct slice name)
{
	struct merge_path_mark mark = {m->path.len, m->shown.len};
	if (mark.path > 0)
		buf_append_byte(&m->path, '.');
	if (mark.shown > 0)
		buf_append_byte(&m->shown, '.');
	buf_append_slice(&m->path, name);
	buf_append_slice(&m->shown, name);
	return mark;
}

void merge_path_pop(struct merge *m, struct merge_path_mark mark)
{
	m->path.len = mark.path;
	m->shown.len = mark.shown;
}

struct merge_piece *merge_object(struct merge *m, const struct merge_place *place)
{
	struct merge_columns c = {0};
	merge_columns_add_members(m, &c, MERGE_BASE_RANK, place->base);
	for (uint32_t i = 0; i < place->sides_count; i++)
		merge_columns_add_members(m, &c, place->sides[i].rank, place->sides[i].value);
	merge_columns_by_leaf(m, &c);
	bool attachments = slice_is(buf_slice(&m->path), ATTACHMENTS_MEMBER);
	struct merge_piece *result = merge_container(m, PIECE_MAP);
	for (uint32_t i = 0; i < c.columns_count; i++) {
		const struct merge_column *column = &c.columns[i];
		struct merge_side *sides;
		struct merge_place member = {
		    .base = column->base ? column->base->value : (struct slice){0},
		    .sides_count = merge_column_sides(m, column, &sides),
		    .scope = place->sides,
		    .scope_count = place->sides_count,
		};
		member.sides = sides;
		struct merge_path_mark mark = merge_path_push(m, column->entries->key);
		m->whole = attachments;
		merge_attach(result, merge_value(m, &member), column->entries->key);
		m->whole = false;
		merge_path_pop(m, mark);
	}
	return result;
}
