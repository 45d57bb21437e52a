#include "common/doc/path.h"

#include "common/doc/value.h"
#include "proto/msgpack.h"

uint32_t path_names(struct slice text)
{
	uint32_t count = 1;
	for (size_t i = 0; i < text.len; i++)
		count += text.data[i] == '.';
	return count;
}

struct path_segment *path_split(struct slice text, struct arena *arena)
{
	uint32_t count = path_names(text);
	struct path_segment *segments = arena_alloc(arena, count * sizeof *segments);
	size_t from = 0;
	for (uint32_t i = 0; i < count; i++) {
		size_t end = from;
		while (end < text.len && text.data[end] != '.')
			end++;
		segments[i].name = slice_of(text.data + from, end - from);
		segments[i].is_index = value_is_index(segments[i].name, &segments[i].index);
		from = end + 1;
	}
	return segments;
}

/* ---- walking ---- */

/* ways: bit k: the names from k on are still to be followed. */
static bool walk_value(const struct path_walk *w, struct slice value, uint32_t ways);

static bool walk_array(const struct path_walk *w, struct slice array, uint32_t ways)
{
	struct mp_reader r = mp_reader_of(array);
	uint32_t count = mp_read(&r).count;
	for (uint32_t i = 0; i < count; i++) {
		struct slice element = mp_value(&r);
		if (element.len == 0)
			return false;
		uint32_t below = value_rank(element) == RANK_MAP ? ways : 0;
		for (uint32_t left = ways; left > 0; left &= left - 1) {
			uint32_t at = (uint32_t)__builtin_ctz(left);
			if (!w->segments[at].is_index || w->segments[at].index != i)
				continue;
			if (at + 1 < w->count)
				below |= UINT32_C(2) << at;
			else if (w->found(w->context, element, true))
				return true;
		}
		if (below > 0 && walk_value(w, element, below))
			return true;
	}
	return false;
}

static bool walk_map(const struct path_walk *w, struct slice map, uint32_t ways)
{
	struct mp_reader r = mp_reader_of(map);
	uint32_t count = mp_read(&r).count;
	for (uint32_t i = 0; i < count && ways > 0; i++) {
		struct mp_token key = mp_read(&r);
		struct slice value = mp_value(&r);
		uint32_t below = 0;
		if (key.type != MP_STR)
			break;
		for (uint32_t left = ways; left > 0; left &= left - 1) {
			uint32_t at = (uint32_t)__builtin_ctz(left);
			if (!slice_equal(key.bytes, w->segments[at].name))
				continue;
			below |= UINT32_C(2) << at;
			ways &= ~(UINT32_C(1) << at);
		}
		if (below > 0 && walk_value(w, value, below))
			return true;
	}
	return ways > 0 && w->found(w->context, slice_of(NULL, 0), false);
}

/* As deep as documents. */
static bool walk_value(const struct path_walk *w, struct slice value, uint32_t ways)
{
	uint32_t end = UINT32_C(1) << w->count;
	enum value_rank rank = value_rank(value);
	if (ways & end && w->found(w->context, value, false))
		return true;
	ways &= ~end;
	if (ways == 0)
		return false;
	if (rank == RANK_ARRAY)
		return walk_array(w, value, ways);
	if (rank == RANK_MAP)
		return walk_map(w, value, ways);
	return w->found(w->context, slice_of(NULL, 0), false);
}

bool path_walk_array(const struct path_walk *walk, struct slice array, uint32_t at)
{
	CHECK(walk->count < PATH_WALK_NAMES && at < walk->count);
	return walk_array(walk, array, UINT32_C(1) << at);
}

void path_pointer_push(struct buf *pointer, struct slice name)
{
	buf_append_byte(pointer, '/');
	for (size_t i = 0; i < name.len; i++) {
		if (name.data[i] == '~')
			buf_append_text(pointer, "~0");
		else if (name.data[i] == '/')
			buf_append_text(pointer, "~1");
		else
			buf_append_byte(pointer, name.data[i]);
	}
}
