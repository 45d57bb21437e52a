/* Inputs that are texts with a byte between them. */
#ifndef PARLEY_TESTS_FUZZ_TEXTS_H
#define PARLEY_TESTS_FUZZ_TEXTS_H

#include "common/base/arena.h"
#include "common/doc/json.h"

/* Up to the byte, which is passed by, or all. */
static inline struct slice take_until(struct slice *rest, uint8_t stop)
{
	size_t end = 0;
	while (end < rest->len && rest->data[end] != stop)
		end++;
	struct slice taken = slice_of(rest->data, end);
	size_t used = end < rest->len ? end + 1 : end;
	*rest = slice_of(rest->data + used, rest->len - used);
	return taken;
}

/* JSON as MessagePack; what is none as it is: a disk or a peer might have it. */
static inline struct slice value_of(struct slice text, struct arena *arena)
{
	struct json_parser *parser = json_parser_new();
	struct json_error error;
	struct buf packed = {0};
	if (json_to_msgpack(parser, text, &packed, &error))
		text = arena_copy(arena, buf_slice(&packed));
	buf_close(&packed);
	json_parser_free(parser);
	return text;
}

#endif
