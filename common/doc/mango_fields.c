#include "common/doc/mango_fields.h"

#include "common/doc/container.h"
#include "common/doc/mango.h"
#include "proto/enums.h"

bool mango_fields_parse(const struct slice *texts, uint32_t count, struct arena *arena,
			struct mango_fields_paths *out)
{
	CHECK(count <= LIMIT_FIELDS);
	out->list = arena_alloc(arena, (count + 1) * sizeof *out->list);
	out->count = count;
	for (uint32_t i = 0; i < count; i++)
		if (!mango_path_parse(arena, texts[i], &out->list[i]))
			return false;
	return true;
}

struct slice mango_fields_first(const struct mango_fields_paths *paths, uint32_t at)
{
	struct slice name = paths->list[at].names[0];
	return slice_is(name, MANGO_NOBODYS) ? slice_of(NULL, 0) : name;
}

/* Some of the paths, alike in their first `depth` names. */
struct group {
	const struct mango_path *paths[LIMIT_FIELDS];
	struct slice values[LIMIT_FIELDS];
	uint32_t count;
	uint32_t depth;
};

/* Those that go on with the same name as the first left over; they are taken out. */
static struct slice take_name(struct group *from, struct group *out)
{
	uint32_t kept = 0;
	struct slice name = from->paths[0]->names[from->depth];
	out->count = 0;
	out->depth = from->depth + 1;
	for (uint32_t i = 0; i < from->count; i++) {
		bool same = slice_equal(from->paths[i]->names[from->depth], name);
		struct group *to = same ? out : from;
		uint32_t *at = same ? &out->count : &kept;
		to->paths[*at] = from->paths[i];
		to->values[(*at)++] = from->values[i];
	}
	from->count = kept;
	return name;
}

static void project(struct group *group, struct buf *out)
{
	size_t start = container_begin(out);
	uint32_t count = 0;
	while (group->count > 0) {
		struct group below;
		struct slice whole = {0};
		mp_write_str(out, take_name(group, &below));
		for (uint32_t i = 0; i < below.count && whole.len == 0; i++)
			if (below.paths[i]->count == below.depth)
				whole = below.values[i];
		if (whole.len > 0)
			buf_append_slice(out, whole);
		else
			project(&below, out);
		count++;
	}
	container_end_map(out, start, count);
}

void mango_fields_project(const struct mango_fields_paths *paths, struct slice body,
			  struct buf *out)
{
	struct group all = {.count = 0};
	for (uint32_t i = 0; i < paths->count; i++) {
		struct slice value = mango_path_value(&paths->list[i], body);
		if (value.len == 0)
			continue;
		all.paths[all.count] = &paths->list[i];
		all.values[all.count++] = value;
	}
	project(&all, out);
}
