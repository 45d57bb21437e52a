/* Any bytes as a frame, as an encoded message or stored struct, or as one MessagePack value. The
 * first byte chooses: 'P' a frame (all of the input), 'S' a struct or message (its index in
 * schema_all, then its bytes), 'M' a MessagePack value. */
#include <stdlib.h>

#include "common/base/check.h"
#include "proto/msgpack.h"
#include "proto/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was accepted keeps its limits (the encoder checks), and means the same when it is encoded
 * again. */
static void try_schema(const struct schema *schema, struct slice bytes)
{
	struct arena arena = {0};
	struct buf first = {0};
	struct buf second = {0};
	void *value = arena_alloc(&arena, schema->size);
	if (schema_decode(schema, bytes, &arena, value)) {
		schema_encode(schema, value, &first);
		schema_print(schema, value, &second);
		buf_clear(&second);
		CHECK(schema_decode(schema, buf_slice(&first), &arena, value));
		schema_encode(schema, value, &second);
		CHECK(slice_equal(buf_slice(&first), buf_slice(&second)));
		CHECK(first.len <= bytes.len);
	}
	buf_close(&first);
	buf_close(&second);
	arena_close(&arena);
}

static void try_frame(struct slice bytes)
{
	struct frame_reader r;
	struct envelope envelope;
	struct slice body;
	if (frame_open(&r, bytes, 0) != FRAME_OK)
		return;
	while (frame_next(&r, &envelope, &body) == FRAME_OK) {
		const struct schema *schema = schema_of_message(envelope.type);
		if (schema)
			try_schema(schema, body);
	}
}

static void try_msgpack(struct slice bytes)
{
	struct mp_reader tokens = mp_reader_of(bytes);
	struct mp_reader values = mp_reader_of(bytes);
	size_t skipped = 0;
	while (mp_read(&tokens).type != MP_INVALID)
		CHECK(tokens.at <= tokens.end);
	while (mp_skip(&values))
		skipped++;
	CHECK(!mp_valid(bytes) || (skipped == 1 && mp_at_end(&tokens)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t schemas = 0;
	while (schema_all[schemas])
		schemas++;
	CHECK(schemas > 0);
	if (size >= 1 && data[0] == 'P')
		try_frame(slice_of(data, size));
	else if (size >= 2 && data[0] == 'S')
		try_schema(schema_all[data[1] % schemas], slice_of(data + 2, size - 2));
	else if (size >= 1 && data[0] == 'M')
		try_msgpack(slice_of(data + 1, size - 1));
	return 0;
}
