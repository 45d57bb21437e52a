/* JSON and MessagePack: round trips, what is refused and where, numbers kept exactly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/doc/json.h"
#include "common/doc/number.h"
#include "proto/enums.h"
#include "proto/msgpack.h"

struct fixture {
	struct json_parser *parser;
	struct buf packed;
	struct buf text;
	struct json_error error;
};

static int fixture_open(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	f->parser = json_parser_new();
	*state = f;
	return 0;
}

static int fixture_close(void **state)
{
	struct fixture *f = *state;
	json_parser_free(f->parser);
	buf_close(&f->packed);
	buf_close(&f->text);
	free(f);
	return 0;
}

static bool pack(struct fixture *f, struct slice text)
{
	buf_clear(&f->packed);
	return json_to_msgpack(f->parser, text, &f->packed, &f->error);
}

static void check_becomes_slice(struct fixture *f, struct slice text, struct slice expected)
{
	if (!pack(f, text))
		fail_msg("%.*s refused: %d at %s", (int)text.len, (const char *)text.data,
			 f->error.status, f->error.place);
	assert_true(mp_valid(buf_slice(&f->packed)));
	buf_clear(&f->text);
	assert_true(json_from_msgpack(buf_slice(&f->packed), &f->text));
	if (!slice_equal(buf_slice(&f->text), expected))
		fail_msg("%.*s became %s", (int)text.len, (const char *)text.data,
			 buf_cstr(&f->text));
}

static void check_becomes(struct fixture *f, const char *text, const char *expected)
{
	check_becomes_slice(f, slice_text(text), slice_text(expected));
}

static void check_kept(struct fixture *f, const char *text)
{
	check_becomes(f, text, text);
}

static void check_refused(struct fixture *f, const char *text, enum status status,
			  const char *place)
{
	buf_clear(&f->packed);
	buf_append_text(&f->packed, "before");
	if (json_to_msgpack(f->parser, slice_text(text), &f->packed, &f->error))
		fail_msg("%s was taken", text);
	if (f->error.status != status)
		fail_msg("%s gave status %d", text, f->error.status);
	if (place)
		assert_string_equal(f->error.place, place);
	assert_true(f->error.offset <= strlen(text));
	assert_true(slice_is(buf_slice(&f->packed), "before"));
}

static enum mp_type packed_type(struct fixture *f, const char *text)
{
	assert_true(pack(f, slice_text(text)));
	struct mp_reader r = mp_reader_of(buf_slice(&f->packed));
	return mp_peek(&r);
}

static void test_values_survive(void **state)
{
	struct fixture *f = *state;
	static const char *const kept[] = {
	    "null",
	    "true",
	    "false",
	    "\"\"",
	    "{}",
	    "[]",
	    "[[],{}]",
	    "{\"b\":1,\"a\":[1,2,{\"c\":null}],\"\":\"x\"}",
	    "\"a \\\"quoted\\\" line\\nand \\\\ more \\u0001\\u0000 end\"",
	    "[\"\xc3\xa6\xc3\xb8\xc3\xa5\",\"\xf0\x9f\x98\x80\",\"\x7f\"]",
	    "[0,1,15,16,127,128,255,256,65535,65536,4294967295,4294967296]",
	    "[-1,-32,-33,-128,-129,-32768,-32769,-2147483648,-2147483649]",
	};
	for (size_t i = 0; i < ARRAY_LEN(kept); i++)
		check_kept(f, kept[i]);
	check_becomes(f, " { \"a\" : [ 1 , 2 ] , \"b\" : \"x\" }\r\n\t",
		      "{\"a\":[1,2],\"b\":\"x\"}");
	check_becomes(f, "\"\\u0061\\/\\ud83d\\ude00\\b\\f\"", "\"a/\xf0\x9f\x98\x80\\b\\f\"");
	check_becomes(f, "{\"\\u0061\":1}", "{\"a\":1}");
}

static void test_numbers_survive(void **state)
{
	struct fixture *f = *state;
	static const char *const kept[] = {
	    "9223372036854775807",
	    "9223372036854775808",
	    "18446744073709551615",
	    "-9223372036854775808",
	    "18446744073709551616",
	    "-9223372036854775809",
	    "123456789012345678901234567890",
	    "0.1",
	    "-0.0",
	    "1.0",
	    "1e+300",
	    "1e400",
	    "-1E-400",
	    "3.141592653589793",
	    "3.14159265358979323846",
	    "0.1000000000000000055511151231257827",
	    "9007199254740993.0",
	    "5e-324",
	    "1.7976931348623157e+308",
	};
	for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
		check_kept(f, kept[i]);
		check_kept(f, kept[i]);
	}
	check_becomes(f, "1.10", "1.1");
	check_becomes(f, "1e300", "1e+300");
	check_becomes(f, "100e-2", "1.0");
	check_becomes(f, "-0", "-0.0");
	check_becomes(f, "0e99999", "0.0");
	check_becomes(f, "10000000000000000000000.0", "1e+22");
}

/* A thousand characters, and not one more, whatever they say. */
static void test_long_numbers(void **state)
{
	struct fixture *f = *state;
	static const char *const begins[] = {"", "-", "1.", "1e"};
	for (size_t i = 0; i < ARRAY_LEN(begins); i++) {
		struct buf text = {0};
		buf_append_text(&text, "{\"a\":[");
		size_t before = text.len;
		buf_append_text(&text, begins[i]);
		while (text.len < before + 1000)
			buf_append_byte(&text, '7');
		buf_append_text(&text, "]}");
		check_kept(f, buf_cstr(&text));
		text.len -= 2;
		buf_append_text(&text, "7]}");
		check_refused(f, buf_cstr(&text), STATUS_INVALID_JSON, "/a/0");
		buf_close(&text);
	}
}

static void test_number_types(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(packed_type(f, "18446744073709551615"), MP_UINT);
	assert_int_equal(packed_type(f, "-9223372036854775808"), MP_INT);
	assert_int_equal(packed_type(f, "18446744073709551616"), MP_EXT);
	assert_int_equal(packed_type(f, "-9223372036854775809"), MP_EXT);
	assert_int_equal(packed_type(f, "1.0"), MP_DOUBLE);
	assert_int_equal(packed_type(f, "1.10"), MP_DOUBLE);
	assert_int_equal(packed_type(f, "1e300"), MP_DOUBLE);
	assert_int_equal(packed_type(f, "1e400"), MP_EXT);
	assert_int_equal(packed_type(f, "1e-400"), MP_EXT);
	assert_int_equal(packed_type(f, "1.2345678901234567890"), MP_EXT);
	assert_int_equal(packed_type(f, "9007199254740993.0"), MP_EXT);
	assert_int_equal(packed_type(f, "9223372036854775808.0"), MP_EXT);
	assert_int_equal(packed_type(f, "9223372036854776000.0"), MP_DOUBLE);
}

/* Texts that look like JSON, each with one fault. */
static const char *const bad_texts[] = {
    "{",
    "}",
    "[",
    "]",
    "[1",
    "{\"a\"",
    "{\"a\":",
    "{\"a\":1",
    "{\"a\":1,}",
    "[1,]",
    "[,1]",
    "[1 2]",
    "[1,,2]",
    "{1:2}",
    "{a:1}",
    "{\"a\" 1}",
    "{\"a\":1 \"b\":2}",
    "1 2",
    "1,2",
    "1]",
    "1],[2",
    "[]]",
    "][",
    "],[",
    "{}}",
    "{}{}",
    "[1]x",
    "nul",
    "nulll",
    "tru",
    "truex",
    "TRUE",
    "NaN",
    "Infinity",
    "-",
    "+1",
    "01",
    "-01",
    "1.",
    ".5",
    "1e",
    "1e+",
    "0x10",
    "1_000",
    "1.0.0",
    "--1",
    "1a",
    "12\"a\"",
    "\"a",
    "\"a\"b",
    "\"\\x\"",
    "\"\\u12\"",
    "\"\\u12g4\"",
    "\"a\nb\"",
    "\"\t\"",
    "'a'",
    "\"\\\"",
    "[\"a]",
    "{\"a\":]",
    "[}",
    "{]",
    "[1}",
    "{\"a\":1]",
    "\"\\ud800\"",
    "\"\\udc00\"",
    "\"\\ud800\\u0041\"",
    "\"\\ud800\\ud800\"",
    "{\"\\ud800\":1}",
    "\"\\udfffx\"",
    "/**/1",
    "\xef\xbb\xbf{}",
    "{\"a\":1,\"b\"}",
    ",",
    ":",
    "[:]",
    "{,}",
    "{\"a\"::1}",
    "[\"a\":1]",
    "\x01",
    "[1]]]",
    "[[[[",
    "{\"a\":{\"b\":[",
    "\"\\",
    "\\",
    "\"\\u\"",
    "1\"\"",
    "\"\"\"\"",
    "[\"\"\"\"]",
};

static void test_bad_json(void **state)
{
	struct fixture *f = *state;
	for (size_t i = 0; i < ARRAY_LEN(bad_texts); i++)
		check_refused(f, bad_texts[i], STATUS_INVALID_JSON, NULL);
	assert_false(pack(f, slice_of("1\0", 2)));
	assert_false(pack(f, slice_of("\"a\0b\"", 5)));
	assert_false(pack(f, slice_of("\0", 1)));
}

static void test_empty(void **state)
{
	struct fixture *f = *state;
	check_refused(f, "", STATUS_EMPTY_BODY, "");
	check_refused(f, " \r\n\t", STATUS_EMPTY_BODY, "");
}

static void test_bad_utf8(void **state)
{
	struct fixture *f = *state;
	static const char *const bad[] = {
	    "\"\x80\"",         "\"\xc0\x80\"",     "\"\xc3\"",
	    "\"\xe0\x80\x80\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"",
	    "{\"\xff\":1}",     "[1]\xff",          "\"abc\xe2\x82\"",
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		check_refused(f, bad[i], STATUS_INVALID_UTF8, NULL);
	check_refused(f, "[\"ok\",\"\xff\"]", STATUS_INVALID_UTF8, NULL);
	assert_int_equal(f->error.offset, 7);
}

static void test_places(void **state)
{
	struct fixture *f = *state;
	check_refused(f, "{\"a\":[{},{\"b\":tru}]}", STATUS_INVALID_JSON, "/a/1/b");
	assert_int_equal(f->error.offset, 14);
	check_refused(f, "{\"a/b\":{\"c~d\":01}}", STATUS_INVALID_JSON, "/a~1b/c~0d");
	check_refused(f, "x", STATUS_INVALID_JSON, "");
	check_refused(f, "{\"x\":[1,2,{\"k\":1,\"k\":2}]}", STATUS_DUPLICATE_KEY, "/x/2/k");
	struct buf long_key = {0};
	buf_append_text(&long_key, "{\"");
	for (int i = 0; i < 200; i++)
		buf_append_text(&long_key, "\xc3\xa6");
	buf_append_text(&long_key, "\":x}");
	check_refused(f, buf_cstr(&long_key), STATUS_INVALID_JSON, NULL);
	assert_int_equal(strlen(f->error.place), 127);
	buf_close(&long_key);
}

/* Where a value or a comma is missing, or something is that does not belong there. */
static void test_places_between_values(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *text;
		size_t offset;
		const char *place;
	} rows[] = {
	    {"{bad", 1, ""},
	    {"{\"a\":1,bad}", 7, ""},
	    {"{\"a\":1,}", 7, ""},
	    {"{\"a\" 1}", 5, ""},
	    {"{\"a\":1 \"b\":2}", 7, ""},
	    {"[1 2]", 3, "/1"},
	    {"[1}", 2, "/1"},
	    {"[1,2", 4, ""},
	    {"{\"a\":1", 6, ""},
	    {"{\"a\":1} x", 8, ""},
	    {"{\"a\":{\"b\":[1,{\"c\":1 \"y\":2}]}}", 20, "/a/b/1"},
	    {"{\"a\":[1,2,3,\"x\" \"y\"]}", 16, "/a/4"},
	    {"{\"a\":1,\"\\q\":2}", 7, "/a"},
	    {"{\"a\":\"\\q\"}", 5, "/a"},
	    {"{\"a\":1,\"b\":2,\"a\":3}", 13, "/a"},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct json_error *e = &f->error;
		struct buf out = {0};
		assert_false(json_to_msgpack(f->parser, slice_text(rows[i].text), &out, e));
		if (e->offset != rows[i].offset || strcmp(e->place, rows[i].place) != 0)
			fail_msg("%s: byte %zu, %s", rows[i].text, e->offset, e->place);
		buf_close(&out);
	}
}

static void test_duplicate_keys(void **state)
{
	struct fixture *f = *state;
	check_refused(f, "{\"a\":1,\"a\":2}", STATUS_DUPLICATE_KEY, "/a");
	check_refused(f, "{\"a\":1,\"\\u0061\":2}", STATUS_DUPLICATE_KEY, "/a");
	check_refused(f, "{\"\\u0061b\":1,\"b\":2,\"a\\u0062\":2}", STATUS_DUPLICATE_KEY, "/ab");
	check_refused(f, "{\"\":1,\"\":2}", STATUS_DUPLICATE_KEY, "/");
	check_refused(f, "[{\"long key name\":{\"x\":1},\"long key name\":2}]",
		      STATUS_DUPLICATE_KEY, "/0/long key name");
	check_kept(f, "{\"a\":{\"a\":{\"a\":1}},\"b\":{\"a\":1}}");
	check_kept(f, "{\"a\":1,\"A\":2,\"aa\":3,\"abcdefgh\":4,\"abcdefgi\":5,\"xabcdefgh\":6}");
}

/* Members k0 .. k<count-1>, and at the end `extra` again if it is >= 0. */
static void object_of(struct buf *out, int count, int extra)
{
	buf_clear(out);
	buf_append_byte(out, '{');
	for (int i = 0; i < count; i++)
		buf_printf(out, "%s\"k%d\":%d", i ? "," : "", i, i);
	if (extra >= 0)
		buf_printf(out, ",\"k\\u003%d\":0", extra);
	buf_append_byte(out, '}');
}

static void test_many_keys(void **state)
{
	struct fixture *f = *state;
	static const int counts[] = {14, 15, 16, 17, 18, 100, 5000, 70000};
	struct buf text = {0};
	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		object_of(&text, counts[i], -1);
		check_becomes_slice(f, buf_slice(&text), buf_slice(&text));
		object_of(&text, counts[i], 3);
		check_refused(f, buf_cstr(&text), STATUS_DUPLICATE_KEY, "/k3");
	}
	buf_close(&text);
}

static void nest(struct buf *out, int levels, const char *open, const char *close)
{
	buf_clear(out);
	for (int i = 0; i < levels; i++)
		buf_append_text(out, open);
	buf_append_text(out, "1");
	for (int i = 0; i < levels; i++)
		buf_append_text(out, close);
}

static void test_depth(void **state)
{
	struct fixture *f = *state;
	struct buf text = {0};
	nest(&text, LIMIT_JSON_DEPTH, "[", "]");
	check_becomes_slice(f, buf_slice(&text), buf_slice(&text));
	nest(&text, LIMIT_JSON_DEPTH, "{\"a\":", "}");
	check_becomes_slice(f, buf_slice(&text), buf_slice(&text));
	nest(&text, LIMIT_JSON_DEPTH + 1, "[", "]");
	check_refused(f, buf_cstr(&text), STATUS_JSON_TOO_DEEP, NULL);
	nest(&text, LIMIT_JSON_DEPTH + 1, "{\"a\":", "}");
	check_refused(f, buf_cstr(&text), STATUS_JSON_TOO_DEEP, NULL);
	nest(&text, 100000, "[", "]");
	check_refused(f, buf_cstr(&text), STATUS_JSON_TOO_DEEP, NULL);
	nest(&text, 3000, "[", "");
	assert_false(pack(f, buf_slice(&text)));
	buf_close(&text);
}

static void test_long_strings(void **state)
{
	struct fixture *f = *state;
	struct buf text = {0};
	static const char *const pieces[] = {"\xc3\xb8", "x", "\xe2\x82\xac", "\\n",
					     "\xf0\x9f\x98\x80"};
	for (size_t pad = 0; pad < 9; pad++) {
		buf_clear(&text);
		buf_append_text(&text, "[\"");
		for (size_t i = 0; i < pad; i++)
			buf_append_byte(&text, '-');
		for (size_t i = 0; text.len < 20000; i++)
			buf_append_text(&text, pieces[i % ARRAY_LEN(pieces)]);
		buf_append_text(&text, "\"]");
		check_becomes_slice(f, buf_slice(&text), buf_slice(&text));
	}
	buf_close(&text);
}

static void test_large_text_gives_memory_back(void **state)
{
	struct fixture *f = *state;
	struct buf text = {0};
	buf_append_text(&text, "[1");
	while (text.len < 3 * 1024 * 1024)
		buf_append_text(&text, ",12345,\"abc\"");
	buf_append_text(&text, "]");
	check_becomes_slice(f, buf_slice(&text), buf_slice(&text));
	check_kept(f, "{\"a\":1}");
	buf_close(&text);
}

static void check_unprintable(struct fixture *f, const char *bytes, size_t len)
{
	buf_clear(&f->text);
	buf_append_text(&f->text, "x");
	assert_false(json_from_msgpack(slice_of(bytes, len), &f->text));
	assert_true(slice_is(buf_slice(&f->text), "x"));
}

static void test_refuses_to_print(void **state)
{
	struct fixture *f = *state;
	check_unprintable(f, "", 0);
	check_unprintable(f, "\xc1", 1);
	check_unprintable(f, "\xc0\xc0", 2);
	check_unprintable(f, "\x92\x01", 2);
	check_unprintable(f, "\x81\x01\x01", 3);
	check_unprintable(f, "\xc4\x01x", 3);
	check_unprintable(f,
			  "\xd4\x02"
			  "1",
			  3);
	check_unprintable(f,
			  "\xd4\x01"
			  "x",
			  3);
	check_unprintable(f, "\xa1\xff", 2);
	check_unprintable(f, "\xcb\x7f\xf8\0\0\0\0\0\0", 9);
	check_unprintable(f, "\xcb\x7f\xf0\0\0\0\0\0\0", 9);
	char deep[200];
	memset(deep, 0x91, sizeof deep);
	deep[199] = 1;
	check_unprintable(f, deep, sizeof deep);
}

static void test_document(void **state)
{
	struct fixture *f = *state;
	assert_true(pack(f, slice_text("{\"a\":1,\"b\":[2]}")));
	buf_clear(&f->text);
	assert_true(json_document(slice_text("x\"y"), buf_slice(&f->packed), &f->text));
	assert_string_equal(buf_cstr(&f->text), "{\"id\":\"x\\\"y\",\"a\":1,\"b\":[2]}");
	buf_clear(&f->text);
	assert_true(json_document(slice_text(""), buf_slice(&f->packed), &f->text));
	assert_string_equal(buf_cstr(&f->text), "{\"a\":1,\"b\":[2]}");
	assert_true(pack(f, slice_text("{}")));
	buf_clear(&f->text);
	assert_true(json_document(slice_text("x"), buf_slice(&f->packed), &f->text));
	assert_string_equal(buf_cstr(&f->text), "{\"id\":\"x\"}");
	assert_true(pack(f, slice_text("[1]")));
	assert_false(json_document(slice_text("x"), buf_slice(&f->packed), &f->text));
	assert_string_equal(buf_cstr(&f->text), "{\"id\":\"x\"}");
}

static void test_strings_from_outside(void **state)
{
	struct fixture *f = *state;
	buf_clear(&f->text);
	json_string(slice_text("a\xff"
			       "b\"\xe2\x82"),
		    &f->text);
	assert_string_equal(buf_cstr(&f->text), "\"a\xef\xbf\xbd"
						"b\\\"\xef\xbf\xbd\xef\xbf\xbd\"");
}

static int compare_texts(const char *a, const char *b)
{
	struct number_text x, y;
	assert_true(number_scan(slice_text(a), &x) && number_scan(slice_text(b), &y));
	assert_int_equal(number_compare(&x, &y), -number_compare(&y, &x));
	return number_compare(&x, &y);
}

static void test_number_order(void **state)
{
	(void)state;
	static const char *const ascending[] = {
	    "-1e400",
	    "-123456789012345678901234567890",
	    "-12.5",
	    "-12.25",
	    "-1e-400",
	    "0",
	    "1e-400",
	    "0.000123",
	    "0.00123",
	    "0.1",
	    "0.10000000000000000001",
	    "1",
	    "9.99",
	    "10.5",
	    "10.50000000000000000000001",
	    "11",
	    "99e9",
	    "1e11",
	    "1e400",
	    "2e400",
	    "1e401",
	};
	for (size_t i = 0; i < ARRAY_LEN(ascending); i++)
		for (size_t k = 0; k < ARRAY_LEN(ascending); k++) {
			int order = compare_texts(ascending[i], ascending[k]);
			assert_int_equal(order < 0, i < k);
			assert_int_equal(order > 0, i > k);
		}
	assert_int_equal(compare_texts("1", "1.000"), 0);
	assert_int_equal(compare_texts("120e-1", "12"), 0);
	assert_int_equal(compare_texts("0.0012E3", "1.2"), 0);
	assert_int_equal(compare_texts("-0", "0e7"), 0);
	assert_int_equal(compare_texts("10203.04", "1.020304e4"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_values_survive),
	    cmocka_unit_test(test_numbers_survive),
	    cmocka_unit_test(test_number_types),
	    cmocka_unit_test(test_long_numbers),
	    cmocka_unit_test(test_bad_json),
	    cmocka_unit_test(test_empty),
	    cmocka_unit_test(test_bad_utf8),
	    cmocka_unit_test(test_places),
	    cmocka_unit_test(test_places_between_values),
	    cmocka_unit_test(test_duplicate_keys),
	    cmocka_unit_test(test_many_keys),
	    cmocka_unit_test(test_depth),
	    cmocka_unit_test(test_long_strings),
	    cmocka_unit_test(test_large_text_gives_memory_back),
	    cmocka_unit_test(test_refuses_to_print),
	    cmocka_unit_test(test_document),
	    cmocka_unit_test(test_strings_from_outside),
	    cmocka_unit_test(test_number_order),
	};
	return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
