/* Each version is taken apart into (pointer, value); sorted by pointer, the versions' values of one
 * place stand side by side. */
#include "common/doc/diff.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/path.h"
#include "common/doc/value.h"
#include "proto/enums.h"

struct place {
	struct slice pointer;
	uint32_t version;
	struct slice value;
};

struct diff {
	struct arena *arena;
	struct buf pointer; /* where the walk is */
	struct place *places;
	uint32_t count;
	uint32_t cap;
	size_t pointer_bytes; /* copied: a long name stands in the pointer of each place below */
	bool full;
};

static void add_place(struct diff *d, uint32_t version, struct slice value)
{
	if (d->count == DIFF_ENTRIES_MAX ||
	    d->pointer.len > DIFF_POINTER_BYTES_MAX - d->pointer_bytes) {
		d->full = true;
		return;
	}
	d->pointer_bytes += d->pointer.len;
	if (d->count == d->cap) {
		d->cap = d->cap ? d->cap * 2 : 64;
		d->places = mem_realloc(d->places, d->cap * sizeof *d->places);
	}
	d->places[d->count++] =
	    (struct place){arena_copy(d->arena, buf_slice(&d->pointer)), version, value};
}

/* A document's depth is bounded by LIMIT_JSON_DEPTH. */
static void take_apart(struct diff *d, uint32_t version, struct slice value, uint32_t depth)
{
	struct mp_reader r = mp_reader_of(value);
	struct mp_token head = mp_read(&r);
	if (head.type != MP_MAP || head.count == 0 || depth > LIMIT_JSON_DEPTH) {
		add_place(d, version, value);
		return;
	}
	for (uint32_t i = 0; i < head.count && !d->full; i++) {
		size_t mark = d->pointer.len;
		struct mp_token name = mp_read(&r);
		struct slice member = mp_value(&r);
		if (name.type != MP_STR || member.len == 0)
			return;
		path_pointer_push(&d->pointer, name.bytes);
		take_apart(d, version, member, depth + 1);
		d->pointer.len = mark;
	}
}

static int place_order(const void *a, const void *b)
{
	const struct place *x = a;
	const struct place *y = b;
	int order = slice_compare(x->pointer, y->pointer);
	return order ? order : (x->version > y->version) - (x->version < y->version);
}

/* Are all versions' values of this place there, and the same? */
static bool is_same(const struct place *places, uint32_t count, uint32_t versions)
{
	if (count != versions)
		return false;
	for (uint32_t i = 1; i < count; i++)
		if (!value_equal(places[0].value, places[i].value))
			return false;
	return true;
}

static void add_row(struct diff *d, const struct place *places, uint32_t count, uint32_t versions,
		    struct diff_row *out)
{
	struct slice *values = arena_alloc(d->arena, versions * sizeof *values);
	for (uint32_t i = 0; i < count; i++)
		values[places[i].version] = places[i].value;
	*out = (struct diff_row){places[0].pointer, values};
}

uint32_t diff_rows(const struct slice *versions, uint32_t count, uint32_t most, struct arena *arena,
		   struct diff_row **out, bool *cut)
{
	struct diff d = {.arena = arena};
	uint32_t rows = 0;
	for (uint32_t i = 0; i < count; i++)
		if (versions[i].len > 0)
			take_apart(&d, i, versions[i], 0);
	if (d.count > 1)
		qsort(d.places, d.count, sizeof *d.places, place_order);
	*out = arena_alloc(arena, (most + 1) * sizeof **out);
	*cut = d.full;
	for (uint32_t at = 0, end; at < d.count; at = end) {
		for (end = at + 1; end < d.count; end++)
			if (!slice_equal(d.places[end].pointer, d.places[at].pointer))
				break;
		if (is_same(&d.places[at], end - at, count))
			continue;
		if (rows == most) {
			*cut = true;
			break;
		}
		add_row(&d, &d.places[at], end - at, count, &(*out)[rows++]);
	}
	free(d.places);
	buf_close(&d.pointer);
	return rows;
}
