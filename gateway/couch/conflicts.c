#include "gateway/couch/conflicts.h"

#include "common/doc/revision.h"

void couch_conflicts_take(struct arena *arena, struct slice others, struct couch_document *d)
{
	struct revision *list = arena_alloc(arena, (others.len / 3 + 1) * sizeof *list);
	for (size_t at = 0, end; at < others.len; at = end + 1) {
		for (end = at; end < others.len && others.data[end] != ',';)
			end++;
		struct slice name = arena_copy(arena, slice_of(others.data + at, end - at));
		if (revision_parse(name, &list[d->conflicts_count]))
			d->conflicts_count++;
	}
	revision_sort(list, d->conflicts_count);
	d->conflicts = list;
}

void couch_revisions_print(const char *name, const struct revision *list, uint32_t count,
			   struct buf *out)
{
	for (uint32_t i = 0; i < count; i++) {
		buf_append_text(out, i == 0 ? name : ",");
		json_revision(&list[i], out);
	}
	if (count > 0)
		buf_append_byte(out, ']');
}

void couch_conflicts_print(const struct couch_document *d, struct buf *out)
{
	couch_revisions_print(",\"_conflicts\":[", d->conflicts, d->conflicts_count, out);
}
