#include "common/doc/path.h"

#include "common/doc/value.h"

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
