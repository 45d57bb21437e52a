/* What differs between versions, per path. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "common/doc/diff.h"
#include "common/doc/json.h"
#include "proto/msgpack.h"

enum { VERSIONS_MAX = 4, MOST = 100 };

/* One line a row: pointer, then a value for each version, "-" where it is absent. */
static void expect(const char *const *texts, uint32_t count, const char *lines)
{
	struct json_parser *parser = json_parser_new();
	struct json_error error = {0};
	struct slice versions[VERSIONS_MAX];
	struct buf encoded[VERSIONS_MAX] = {0};
	struct arena arena = {0};
	struct buf shown = {0};
	struct diff_row *rows;
	bool cut;
	for (uint32_t i = 0; i < count; i++) {
		if (texts[i])
			assert_true(
			    json_to_msgpack(parser, slice_text(texts[i]), &encoded[i], &error));
		versions[i] = buf_slice(&encoded[i]);
	}
	uint32_t found = diff_rows(versions, count, MOST, &arena, &rows, &cut);
	for (uint32_t i = 0; i < found; i++) {
		buf_append_slice(&shown, rows[i].pointer);
		for (uint32_t v = 0; v < count; v++) {
			buf_append_byte(&shown, ' ');
			if (rows[i].values[v].len == 0)
				buf_append_byte(&shown, '-');
			else
				assert_true(json_from_msgpack(rows[i].values[v], &shown));
		}
		buf_append_byte(&shown, '\n');
	}
	assert_false(cut);
	assert_string_equal(buf_cstr(&shown), lines);
	for (uint32_t i = 0; i < count; i++)
		buf_close(&encoded[i]);
	buf_close(&shown);
	arena_close(&arena);
	json_parser_free(parser);
}

static void test_rows(void **state)
{
	(void)state;
	expect((const char *[]){"{\"a\":1,\"b\":2}", "{\"a\":1,\"b\":3}", "{\"a\":1,\"b\":2}"}, 3,
	       "/b 2 3 2\n");
	expect((const char *[]){"{\"a\":{\"x\":1,\"y\":2}}", "{\"a\":{\"x\":1}}"}, 2, "/a/y 2 -\n");
	expect((const char *[]){"{\"a\":[1,2]}", "{\"a\":[2,1]}"}, 2, "/a [1,2] [2,1]\n");
	expect((const char *[]){"{\"a\":1.0}", "{\"a\":1}"}, 2, "");
	expect((const char *[]){"{}", "{}"}, 2, "");
}

static void test_kinds_that_differ(void **state)
{
	(void)state;
	expect((const char *[]){"{\"a\":5}", "{\"a\":{\"b\":1}}"}, 2, "/a 5 -\n/a/b - 1\n");
	expect((const char *[]){"{\"a\":{}}", "{}"}, 2, " - {}\n/a {} -\n");
	expect((const char *[]){"{\"a\":null}", "{\"b\":1}"}, 2, "/a null -\n/b - 1\n");
}

static void test_no_base(void **state)
{
	(void)state;
	expect((const char *[]){NULL, "{\"a\":1}", "{\"a\":1}"}, 3, "/a - 1 1\n");
}

static void test_names_are_escaped(void **state)
{
	(void)state;
	expect((const char *[]){"{\"a/b\":{\"~\":1}}", "{\"a/b\":{\"~\":2}}"}, 2, "/a~1b/~0 1 2\n");
}

static void test_cut(void **state)
{
	(void)state;
	uint8_t bytes[1024];
	struct arena arena = {0};
	struct diff_row *rows;
	bool cut;
	size_t len = 0;
	bytes[len++] = 0x80 | 3; /* three members, none of which the other version has */
	for (uint8_t i = 0; i < 3; i++) {
		bytes[len++] = 0xa1;
		bytes[len++] = (uint8_t)('a' + i);
		bytes[len++] = i;
	}
	struct slice versions[2] = {slice_of(bytes, len), {0}};
	assert_int_equal(diff_rows(versions, 2, 2, &arena, &rows, &cut), 2);
	assert_true(cut);
	assert_int_equal(diff_rows(versions, 2, 3, &arena, &rows, &cut), 3);
	assert_false(cut);
	arena_close(&arena);
}

static void test_long_names_do_not_add_up(void **state)
{
	(void)state;
	enum { NAME_BYTES = 1024 * 1024, MEMBERS = 64 };
	struct buf bytes = {0};
	struct arena arena = {0};
	struct diff_row *rows;
	bool cut;
	static char name[NAME_BYTES];
	memset(name, 'n', sizeof name);
	mp_write_map(&bytes, 1);
	mp_write_str(&bytes, slice_of(name, sizeof name));
	mp_write_map(&bytes, MEMBERS);
	for (uint32_t i = 0; i < MEMBERS; i++) {
		uint8_t letter = (uint8_t)('!' + i);
		mp_write_str(&bytes, slice_of(&letter, 1));
		mp_write_nil(&bytes);
	}
	struct slice versions[2] = {buf_slice(&bytes), {0}};
	uint32_t found = diff_rows(versions, 2, MOST, &arena, &rows, &cut);
	assert_true(cut);
	assert_in_range(found, 1, MEMBERS / 2);
	assert_true(arena.used < 2 * DIFF_POINTER_BYTES_MAX);
	buf_close(&bytes);
	arena_close(&arena);
}

static void test_bytes_that_are_no_document(void **state)
{
	(void)state;
	static const uint8_t numbered[] = {0x82, 0xa1, 'a', 1, 7, 2}, cut_off[] = {0x82, 0xa1, 'a'};
	struct arena arena = {0};
	struct diff_row *rows;
	bool cut;
	struct slice versions[2] = {slice_of(numbered, sizeof numbered),
				    slice_of(cut_off, sizeof cut_off)};
	assert_int_equal(diff_rows(versions, 2, MOST, &arena, &rows, &cut), 2);
	assert_true(slice_is(rows[0].pointer, "") && slice_is(rows[1].pointer, "/a"));
	arena_close(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows),
	    cmocka_unit_test(test_kinds_that_differ),
	    cmocka_unit_test(test_no_base),
	    cmocka_unit_test(test_names_are_escaped),
	    cmocka_unit_test(test_cut),
	    cmocka_unit_test(test_long_names_do_not_add_up),
	    cmocka_unit_test(test_bytes_that_are_no_document),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
