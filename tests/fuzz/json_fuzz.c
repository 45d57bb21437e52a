/* Any bytes as JSON: what is taken is a valid value, prints, and reads back to the same bytes. */
#include <stdlib.h>

#include "common/base/check.h"
#include "common/doc/json.h"
#include "common/doc/value.h"
#include "proto/msgpack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_operations(struct slice value)
{
	struct buf once = {0}, twice = {0};
	value_canonical(value, &once);
	value_canonical(buf_slice(&once), &twice);
	CHECK(slice_equal(buf_slice(&once), buf_slice(&twice)));
	CHECK(value_compare(value, value) == 0);
	buf_clear(&once);
	buf_clear(&twice);
	value_merge_patch(buf_slice(&twice), value, &once);
	value_merge_patch(buf_slice(&once), value, &twice);
	CHECK(slice_equal(buf_slice(&once), buf_slice(&twice)));
	buf_close(&once);
	buf_close(&twice);
}

static void check_fixpoint(struct json_parser *parser, struct slice packed)
{
	struct buf text = {0}, again = {0};
	struct json_error error;
	CHECK(mp_valid(packed));
	CHECK(json_from_msgpack(packed, &text));
	CHECK(json_to_msgpack(parser, buf_slice(&text), &again, &error));
	CHECK(slice_equal(packed, buf_slice(&again)));
	struct mp_reader r = mp_reader_of(packed);
	CHECK(value_is_document(packed) == (mp_peek(&r) == MP_MAP));
	check_operations(packed);
	buf_close(&text);
	buf_close(&again);
}

/* The input as stored bytes instead: printing and the rest must stand anything. */
static void try_stored(struct json_parser *parser, struct slice bytes)
{
	struct buf text = {0}, packed = {0};
	struct json_error error;
	if (json_from_msgpack(bytes, &text) && value_is_document(bytes))
		(void)!json_to_msgpack(parser, buf_slice(&text), &packed, &error);
	buf_clear(&text);
	value_canonical(bytes, &text);
	value_merge_patch(bytes, bytes, &text);
	value_without_member(bytes, slice_text("a"), &text);
	const struct slice paths[] = {slice_text("a.b"), slice_text("a.c.0"), slice_text("b")};
	value_project(bytes, paths, 3, &text);
	(void)value_at(bytes, slice_text("a.0.b"));
	(void)value_compare(bytes, slice_text("\x81\xa1"
					      "a\x90"));
	buf_close(&text);
	buf_close(&packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json_parser *parser = json_parser_new();
	struct slice input = slice_of(data, size);
	struct buf packed = {0};
	struct json_error error;
	if (json_to_msgpack(parser, input, &packed, &error))
		check_fixpoint(parser, buf_slice(&packed));
	else
		CHECK(packed.len == 0 && error.status != STATUS_OK && error.offset <= size &&
		      strlen(error.place) < sizeof error.place);
	try_stored(parser, input);
	buf_clear(&packed);
	json_string(input, &packed);
	CHECK(json_to_msgpack(parser, slice_of(packed.data, packed.len), &packed, &error));
	buf_close(&packed);
	json_parser_free(parser);
	return 0;
}
