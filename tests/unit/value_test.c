/* Stored values: navigation, order, canonical form, patches, projections. Values are written as
 * JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/doc/value.h"
#include "proto/enums.h"
#include "tests/unit/packed.h"

static void check_json(struct slice value, const char *expected)
{
	struct buf text = {0};
	if (value.len)
		assert_true(json_from_msgpack(value, &text));
	assert_string_equal(buf_cstr(&text), expected);
	buf_close(&text);
}

static void check_at(const char *json, const char *path, const char *expected)
{
	struct buf value = packed(json);
	check_json(value_at(buf_slice(&value), slice_text(path)), expected);
	buf_close(&value);
}

static void test_paths(void **state)
{
	(void)state;
	const char *doc = "{\"a\":{\"b\":[10,{\"c\":\"x\"},[1,2]],\"\":1},\"n\":null,\"0\":5}";
	check_at(doc, "a.b.1.c", "\"x\"");
	check_at(doc, "a.b.2.1", "2");
	check_at(doc, "a.b.0", "10");
	check_at(doc, "a.", "1");
	check_at(doc, "n", "null");
	check_at(doc, "0", "5");
	check_at(doc, "a.b.3", "");
	check_at(doc, "a.b.01", "");
	check_at(doc, "a.b.-1", "");
	check_at(doc, "a.b.99999999999", "");
	check_at(doc, "a.x", "");
	check_at(doc, "n.x", "");
	check_at(doc, "", "");
	check_at(doc, "a.b.1.c.d", "");
	struct buf value = packed(doc);
	for (size_t len = 0; len < value.len; len++) {
		struct slice cut = slice_of(value.data, len);
		assert_int_equal(value_at(cut, slice_text("0")).len, 0);
		assert_false(value_is_document(cut));
	}
	assert_true(value_is_document(buf_slice(&value)));
	buf_close(&value);
}

static void test_is_document(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		size_t len;
	} bad[] = {
	    {"", 0},
	    {"\x01", 1},
	    {"\x90", 1},
	    {"\x80\x80", 2},
	    {"\x81\x01\x01", 3},
	    {"\x81\xa1x\xc4\x01x", 6},
	    {"\x81\xa1x\xd4\x02\x31", 6},
	    {"\x81\xa1x\xd4\x01x", 6},
	    {"\x81\xa1x\xc1", 4},
	    {"\x81\xa1x\xcb\x7f\xf0\0\0\0\0\0\0", 12},
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(value_is_document(slice_of(bad[i].bytes, bad[i].len)));
	assert_true(value_is_document(slice_of("\x80", 1)));
	assert_true(value_is_document(slice_of("\x81\xa1x\xd4\x01"
					       "7",
					       6)));
	struct buf deep = {0};
	for (int i = 0; i < LIMIT_JSON_DEPTH; i++)
		buf_append_text(&deep, "\x81\xa1x");
	struct buf deeper = {0};
	buf_append_text(&deeper, "\x81\xa1x");
	buf_append_slice(&deeper, buf_slice(&deep));
	buf_append_byte(&deep, 1);
	buf_append_byte(&deeper, 1);
	assert_true(value_is_document(buf_slice(&deep)));
	assert_false(value_is_document(buf_slice(&deeper)));
	buf_close(&deep);
	buf_close(&deeper);
}

static int compare_json(const char *a, const char *b)
{
	struct buf x = packed(a), y = packed(b);
	int order = value_compare(buf_slice(&x), buf_slice(&y));
	assert_int_equal(value_equal(buf_slice(&x), buf_slice(&y)), order == 0);
	buf_close(&x);
	buf_close(&y);
	return order;
}

static void test_order(void **state)
{
	(void)state;
	static const char *const ascending[] = {
	    "null",
	    "-1e400",
	    "-9223372036854775809",
	    "-9223372036854775808",
	    "-9223372036854775807",
	    "-1",
	    "-0.5",
	    "0",
	    "1e-400",
	    "0.1",
	    "0.10000000000000000555",
	    "1",
	    "1.5",
	    "9007199254740991",
	    "9007199254740992",
	    "9007199254740993",
	    "9007199254740994.0",
	    "9007199254740995",
	    "9223372036854775807",
	    "9223372036854775808",
	    "9223372036854776000.0",
	    "9223372036854776001",
	    "18446744073709551615",
	    "18446744073709551616",
	    "1e+300",
	    "1e400",
	    "\"\"",
	    "\"A\"",
	    "\"a\"",
	    "\"aa\"",
	    "\"\xc3\xa6\"",
	    "{}",
	    "{\"a\":1}",
	    "{\"a\":2}",
	    "{\"b\":1}",
	    "{\"b\":1,\"a\":0}",
	    "{\"a\":\"x\"}",
	    "[]",
	    "[null]",
	    "[1]",
	    "[1,2]",
	    "[2]",
	    "[\"a\"]",
	    "false",
	    "true",
	};
	for (size_t i = 0; i < ARRAY_LEN(ascending); i++)
		for (size_t k = 0; k < ARRAY_LEN(ascending); k++) {
			int order = compare_json(ascending[i], ascending[k]);
			if ((order < 0) != (i < k) || (order > 0) != (i > k))
				fail_msg("%s to %s: %d", ascending[i], ascending[k], order);
		}
	assert_int_equal(compare_json("1", "1.0"), 0);
	assert_int_equal(compare_json("-0.0", "0"), 0);
	assert_int_equal(compare_json("[1,{\"a\":2.0}]", "[1.0,{\"a\":2}]"), 0);
	assert_int_equal(compare_json("9007199254740992", "9007199254740992.0"), 0);
}

static void check_canonical(const char *json, const char *expected)
{
	struct buf value = packed(json), out = {0};
	value_canonical(buf_slice(&value), &out);
	check_json(buf_slice(&out), expected);
	buf_close(&value);
	buf_close(&out);
}

static void test_canonical(void **state)
{
	(void)state;
	check_canonical("{\"b\":1,\"a\":[{\"d\":1,\"c\":{\"z\":0,\"y\":1}}],\"\":2}",
			"{\"\":2,\"a\":[{\"c\":{\"y\":1,\"z\":0},\"d\":1}],\"b\":1}");
	check_canonical("[3,1,2]", "[3,1,2]");
	struct buf text = {0}, expected = {0};
	for (int i = 0; i < 40; i++) {
		buf_printf(&text, "%s\"k%02d\":%d", i ? "," : "{", 39 - i, i);
		buf_printf(&expected, "%s\"k%02d\":%d", i ? "," : "{", i, 39 - i);
	}
	buf_append_byte(&text, '}');
	buf_append_byte(&expected, '}');
	check_canonical(buf_cstr(&text), buf_cstr(&expected));
	buf_close(&text);
	buf_close(&expected);
	struct buf out = {0};
	value_canonical(slice_text("\xc1"), &out);
	check_json(buf_slice(&out), "null");
	buf_close(&out);
}

static void check_patch(const char *target, const char *patch, const char *expected)
{
	struct buf t = packed(target), p = packed(patch), out = {0};
	value_merge_patch(buf_slice(&t), buf_slice(&p), &out);
	check_json(buf_slice(&out), expected);
	buf_close(&t);
	buf_close(&p);
	buf_close(&out);
}

/* The examples of RFC 7396, appendix A, that have an object as patch. */
static void test_merge_patch(void **state)
{
	(void)state;
	check_patch("{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}");
	check_patch("{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}");
	check_patch("{\"a\":\"b\"}", "{\"a\":null}", "{}");
	check_patch("{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}");
	check_patch("{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}");
	check_patch("{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}");
	check_patch("{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}",
		    "{\"a\":{\"b\":\"d\"}}");
	check_patch("{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}");
	check_patch("{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}");
	check_patch("[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}");
	check_patch("{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}");
	check_patch("{\"a\":1}", "[1]", "{\"a\":1}");
}

static void test_merge_patch_of_many(void **state)
{
	(void)state;
	struct buf target = {0}, patch = {0}, expected = {0};
	for (int i = 0; i < 50; i++) {
		buf_printf(&target, "%s\"k%d\":%d", i ? "," : "{", i, i);
		buf_printf(&patch, "%s\"k%d\":%s", i ? "," : "{", 99 - i, i % 2 ? "null" : "-1");
	}
	buf_append_byte(&target, '}');
	buf_append_byte(&patch, '}');
	for (int i = 0; i < 50; i++)
		buf_printf(&expected, "%s\"k%d\":%d", i ? "," : "{", i, i);
	for (int i = 0; i < 50; i += 2)
		buf_printf(&expected, ",\"k%d\":-1", 99 - i);
	buf_append_byte(&expected, '}');
	check_patch(buf_cstr(&target), buf_cstr(&patch), buf_cstr(&expected));
	buf_close(&target);
	buf_close(&patch);
	buf_close(&expected);
}

static void test_without_member(void **state)
{
	(void)state;
	struct buf value = packed("{\"id\":1,\"a\":{\"id\":2},\"b\":3}"), out = {0};
	value_without_member(buf_slice(&value), slice_text("id"), &out);
	check_json(buf_slice(&out), "{\"a\":{\"id\":2},\"b\":3}");
	buf_clear(&out);
	value_without_member(buf_slice(&value), slice_text("x"), &out);
	assert_true(slice_equal(buf_slice(&out), buf_slice(&value)));
	buf_close(&value);
	buf_close(&out);
}

static void check_projection(const char *json, const char *paths, const char *expected)
{
	struct slice list[8];
	uint32_t count = 0;
	for (const char *at = paths; *at;) {
		size_t len = strcspn(at, " ");
		list[count++] = slice_of(at, len);
		at += len + (at[len] == ' ');
	}
	struct buf value = packed(json), out = {0};
	value_project(buf_slice(&value), list, count, &out);
	check_json(buf_slice(&out), expected);
	buf_close(&value);
	buf_close(&out);
}

static void test_project(void **state)
{
	(void)state;
	const char *doc = "{\"a\":{\"b\":1,\"c\":{\"d\":2,\"e\":3}},\"ab\":4,"
			  "\"l\":[{\"x\":1,\"y\":2},5,[{\"x\":3}]]}";
	check_projection(doc, "", "{}");
	check_projection(doc, "ab", "{\"ab\":4}");
	check_projection(doc, "a.b", "{\"a\":{\"b\":1}}");
	check_projection(doc, "a.c.e ab a.b", "{\"a\":{\"b\":1,\"c\":{\"e\":3}},\"ab\":4}");
	check_projection(doc, "a a.b", "{\"a\":{\"b\":1,\"c\":{\"d\":2,\"e\":3}}}");
	check_projection(doc, "l.x", "{\"l\":[{\"x\":1},[{\"x\":3}]]}");
	check_projection(doc, "ab.x zz", "{}");
	check_projection(doc, "a.z", "{\"a\":{}}");
	check_projection("[1]", "a", "{}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_paths),          cmocka_unit_test(test_is_document),
	    cmocka_unit_test(test_order),          cmocka_unit_test(test_canonical),
	    cmocka_unit_test(test_merge_patch),    cmocka_unit_test(test_merge_patch_of_many),
	    cmocka_unit_test(test_without_member), cmocka_unit_test(test_project),
	};
	return cmocka_run_group_tests(tests, open_parser, close_parser);
}
