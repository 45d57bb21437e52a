/* Any bytes as an update: as MessagePack, and as JSON that is converted first. What compiles is
 * applied to a few documents: the result is a document within its bounds, and one that counts
 * nothing makes the same of it once more. */
#include <stdlib.h>

#include "common/base/check.h"
#include "common/doc/json.h"
#include "common/doc/update.h"
#include "common/doc/value.h"
#include "proto/enums.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const documents[] = {
    "{}",
    "{\"a\":1,\"b\":[1,2.5,\"x\",null,[3],{\"a\":1,\"id\":true}],\"c\":{\"a\":{\"b\":[]}}}",
    "{\"a\":[{\"b\":1},{\"b\":[1,2]},{}],\"b\":\"abcabc\",\"0\":[[1],[2]],\"d\":-1}",
    "{\"a\":18446744073709551616,\"b\":-9223372036854775808,\"c\":1e-400,\"d\":[[],{}]}",
};

static void apply(const struct update *u, struct slice body)
{
	struct update_error error;
	struct buf once = {0}, twice = {0};
	if (!update_apply(u, body, &once, &error)) {
		CHECK(error.status != STATUS_OK && error.status != STATUS_BAD_UPDATE);
		CHECK(once.len == 0);
	} else {
		CHECK(value_is_document(buf_slice(&once)) && once.len <= LIMIT_BODY_BYTES);
		if (!update_accumulates(u)) {
			CHECK(update_apply(u, buf_slice(&once), &twice, &error));
			CHECK(slice_equal(buf_slice(&once), buf_slice(&twice)));
		}
	}
	buf_close(&once);
	buf_close(&twice);
}

static void try_update(struct json_parser *parser, struct slice spec)
{
	struct arena arena = {0};
	struct update_error error;
	const struct update *u = update_compile(spec, &arena, &error);
	if (!u)
		CHECK(error.status == STATUS_BAD_UPDATE && strlen(error.text) > 0);
	for (size_t i = 0; u && i < ARRAY_LEN(documents); i++) {
		struct buf body = {0};
		struct json_error json_error;
		CHECK(json_to_msgpack(parser, slice_text(documents[i]), &body, &json_error));
		apply(u, buf_slice(&body));
		buf_close(&body);
	}
	arena_close(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json_parser *parser = json_parser_new();
	struct json_error error;
	struct buf spec = {0};
	try_update(parser, slice_of(data, size));
	if (json_to_msgpack(parser, slice_of(data, size), &spec, &error))
		try_update(parser, buf_slice(&spec));
	buf_close(&spec);
	json_parser_free(parser);
	return 0;
}
