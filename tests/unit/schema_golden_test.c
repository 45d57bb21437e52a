/* The encoding of one fixed value of every message and struct, against the file that is kept: a
 * change of the wire or of the disk can't happen unseen. `--write` (make golden) writes the file
 * and the fuzzer's seeds anew. Runs in the root of the tree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "proto/schema.h"
#include "proto/schema_random.h"

#define GOLDEN_FILE "tests/unit/golden/messages.txt"
#define SEED_DIR    "tests/fuzz/corpus/message/"

static void encode_fixed(const struct schema *schema, struct buf *out)
{
	struct arena arena = {0};
	void *value = arena_alloc(&arena, schema->size);
	schema_fixed(schema, &arena, value);
	schema_encode(schema, value, out);
	arena_close(&arena);
}

static void golden_text(struct buf *out)
{
	struct buf bytes = {0};
	for (size_t i = 0; schema_all[i]; i++) {
		buf_clear(&bytes);
		encode_fixed(schema_all[i], &bytes);
		buf_printf(out, "%s%s ", schema_all[i]->number ? "msg_" : "", schema_all[i]->name);
		buf_append_hex(out, bytes.data, bytes.len);
		buf_append_text(out, "\n");
	}
	buf_close(&bytes);
}

static bool read_file(const char *path, struct buf *out)
{
	FILE *file = fopen(path, "rb");
	if (!file)
		return false;
	size_t got;
	do {
		got = fread(buf_reserve(out, 4096), 1, 4096, file);
		out->len += got;
	} while (got > 0);
	bool ok = !ferror(file);
	return fclose(file) == 0 && ok;
}

static bool write_file(const char *path, struct slice bytes)
{
	FILE *file = fopen(path, "wb");
	if (!file)
		return false;
	bool ok = fwrite(bytes.data, 1, bytes.len, file) == bytes.len;
	return fclose(file) == 0 && ok;
}

/* Line by line, so that a failure names the message. */
static void test_encodings_are_those_of_the_golden_file(void **state)
{
	(void)state;
	struct buf expected = {0};
	struct buf now = {0};
	assert_true(read_file(GOLDEN_FILE, &expected));
	golden_text(&now);
	size_t line = 0;
	size_t i = 0;
	while (i < now.len && i < expected.len && now.data[i] == expected.data[i])
		if (now.data[i++] == '\n')
			line = i;
	if (i < now.len || i < expected.len) {
		const char *at = buf_cstr(&now) + line;
		fail_msg("differs from " GOLDEN_FILE " at %.*s", (int)strcspn(at, " \n"), at);
	}
	buf_close(&expected);
	buf_close(&now);
}

static void test_golden_values_decode(void **state)
{
	(void)state;
	for (size_t i = 0; schema_all[i]; i++) {
		struct arena arena = {0};
		struct buf bytes = {0};
		encode_fixed(schema_all[i], &bytes);
		void *value = arena_alloc(&arena, schema_all[i]->size);
		assert_true(schema_decode(schema_all[i], buf_slice(&bytes), &arena, value));
		buf_close(&bytes);
		arena_close(&arena);
	}
}

/* A frame for each message, and 'S', index, encoding for each struct: the forms that message_fuzz.c
 * reads. */
static bool write_seed(size_t index)
{
	const struct schema *schema = schema_all[index];
	struct buf seed = {0};
	struct buf path = {0};
	buf_printf(&path, SEED_DIR "%s", schema->name);
	if (schema->number > 0) {
		struct arena arena = {0};
		void *value = arena_alloc(&arena, schema->size);
		struct envelope envelope = {
		    .type = schema->number, .request_id = 5, .epoch = 2, .trace_id = {1}};
		schema_fixed(schema, &arena, value);
		frame_begin(&seed, 1);
		frame_append(&seed, &envelope, value);
		arena_close(&arena);
	} else {
		buf_append_byte(&seed, 'S');
		buf_append_byte(&seed, (uint8_t)index);
		encode_fixed(schema, &seed);
	}
	bool ok = write_file(buf_cstr(&path), buf_slice(&seed));
	buf_close(&seed);
	buf_close(&path);
	return ok;
}

static int write_all(void)
{
	struct buf text = {0};
	golden_text(&text);
	bool ok = write_file(GOLDEN_FILE, buf_slice(&text));
	buf_close(&text);
	for (size_t i = 0; schema_all[i]; i++)
		ok = write_seed(i) && ok;
	return ok ? 0 : 1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_encodings_are_those_of_the_golden_file),
	    cmocka_unit_test(test_golden_values_decode),
	};
	if (argc == 2 && strcmp(argv[1], "--write") == 0)
		return write_all();
	return cmocka_run_group_tests_name("schema golden", tests, NULL, NULL);
}
