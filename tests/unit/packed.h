/* Values for tests, written as JSON. */
#ifndef PARLEY_TESTS_UNIT_PACKED_H
#define PARLEY_TESTS_UNIT_PACKED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/doc/json.h"

static struct json_parser *parser;

/* Set-up and end of a group. */
static inline int open_parser(void **state)
{
	(void)state;
	parser = json_parser_new();
	return 0;
}

static inline int close_parser(void **state)
{
	(void)state;
	json_parser_free(parser);
	return 0;
}

/* As MessagePack; the caller's. */
static inline struct buf packed(const char *json)
{
	struct buf out = {0};
	struct json_error error;
	if (!json_to_msgpack(parser, slice_text(json), &out, &error))
		fail_msg("not JSON: %s", json);
	return out;
}

#endif
