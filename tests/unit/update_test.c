/* Update operators: what each makes of a document, and what each refuses, with the place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/doc/json.h"
#include "common/doc/update.h"
#include "proto/enums.h"
#include "proto/msgpack.h"

static struct buf packed(const char *json)
{
	struct json_parser *parser = json_parser_new();
	struct json_error error;
	struct buf out = {0};
	if (!json_to_msgpack(parser, slice_text(json), &out, &error))
		fail_msg("%s: byte %zu", json, error.offset);
	json_parser_free(parser);
	return out;
}

struct result {
	struct buf json; /* of what was made */
	struct update_error error;
	bool compiled, applied, accumulates;
};

static struct result run(const char *update, const char *document)
{
	struct result r = {0};
	struct arena arena = {0};
	struct buf spec = packed(update), body = packed(document), out = {0};
	struct update *u = update_compile(buf_slice(&spec), &arena, &r.error);
	r.compiled = u != NULL;
	if (u) {
		r.accumulates = update_accumulates(u);
		buf_append_text(&out, "xy");
		r.applied = update_apply(u, buf_slice(&body), &out, &r.error);
		if (r.applied)
			assert_true(
			    json_from_msgpack(slice_of(out.data + 2, out.len - 2), &r.json));
		else
			assert_int_equal(out.len, 2);
	}
	buf_close(&spec);
	buf_close(&body);
	buf_close(&out);
	arena_close(&arena);
	return r;
}

struct made {
	const char *update, *document, *expected;
};

static void check_made(const struct made *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct result r = run(rows[i].update, rows[i].document);
		if (!r.applied)
			fail_msg("%s on %s: %s %s", rows[i].update, rows[i].document, r.error.place,
				 r.error.text);
		if (strcmp(buf_cstr(&r.json), rows[i].expected) != 0)
			fail_msg("%s on %s: %s, not %s", rows[i].update, rows[i].document,
				 buf_cstr(&r.json), rows[i].expected);
		buf_close(&r.json);
	}
}

static void test_set_and_unset(void **state)
{
	(void)state;
	static const struct made rows[] = {
	    {"{\"$set\":{\"a\":2}}", "{\"a\":1,\"b\":0}", "{\"a\":2,\"b\":0}"},
	    {"{\"$set\":{\"c\":null}}", "{\"a\":1}", "{\"a\":1,\"c\":null}"},
	    {"{\"$set\":{\"z\":1,\"b\":2}}", "{\"a\":1}", "{\"a\":1,\"b\":2,\"z\":1}"},
	    {"{\"$set\":{\"a.b.c\":1}}", "{}", "{\"a\":{\"b\":{\"c\":1}}}"},
	    {"{\"$set\":{\"a.b\":1}}", "{\"a\":{\"x\":0,\"b\":{\"y\":1}}}",
	     "{\"a\":{\"x\":0,\"b\":1}}"},
	    {"{\"$set\":{\"a.1\":9}}", "{\"a\":[0,1,2]}", "{\"a\":[0,9,2]}"},
	    {"{\"$set\":{\"a.1.b\":9}}", "{\"a\":[{},{\"c\":1}]}",
	     "{\"a\":[{},{\"c\":1,\"b\":9}]}"},
	    {"{\"$set\":{\"a.3\":9}}", "{\"a\":[0]}", "{\"a\":[0,null,null,9]}"},
	    {"{\"$set\":{\"a.2\":2,\"a.10\":10}}", "{\"a\":[]}",
	     "{\"a\":[null,null,2,null,null,null,null,null,null,null,10]}"},
	    {"{\"$set\":{\"a.0\":1}}", "{}", "{\"a\":{\"0\":1}}"},
	    {"{\"$set\":{\"a.01\":1}}", "{\"a\":{}}", "{\"a\":{\"01\":1}}"},
	    {"{\"$set\":{\"a\":{\"$b\":1}}}", "{}", "{\"a\":{\"$b\":1}}"},
	    {"{\"$set\":{\"ids\":1,\"a.id\":2}}", "{}", "{\"a\":{\"id\":2},\"ids\":1}"},
	    {"{\"$unset\":{\"a\":\"\"}}", "{\"a\":1,\"b\":2}", "{\"b\":2}"},
	    {"{\"$unset\":{\"a.b\":1}}", "{\"a\":{\"b\":1}}", "{\"a\":{}}"},
	    {"{\"$unset\":{\"a.b\":1,\"c\":1}}", "{\"a\":1}", "{\"a\":1}"},
	    {"{\"$unset\":{\"a.1\":1}}", "{\"a\":[0,1,2]}", "{\"a\":[0,null,2]}"},
	    {"{\"$unset\":{\"a.7\":1,\"a.b\":1}}", "{\"a\":[0]}", "{\"a\":[0]}"},
	    {"{\"$set\":{}}", "{\"a\":1}", "{\"a\":1}"},
	    {"{\"$set\":{\"a.b\":1},\"$unset\":{\"a.c\":1},\"$inc\":{\"n\":1}}",
	     "{\"a\":{\"c\":1,\"d\":2}}", "{\"a\":{\"d\":2,\"b\":1},\"n\":1}"},
	};
	check_made(rows, ARRAY_LEN(rows));
}

static void test_inc(void **state)
{
	(void)state;
	static const struct made rows[] = {
	    {"{\"$inc\":{\"n\":1}}", "{}", "{\"n\":1}"},
	    {"{\"$inc\":{\"n\":-3}}", "{\"n\":1}", "{\"n\":-2}"},
	    {"{\"$inc\":{\"n\":1}}", "{\"n\":-1}", "{\"n\":0}"},
	    {"{\"$inc\":{\"n\":1}}", "{\"n\":9223372036854775807}", "{\"n\":9223372036854775808}"},
	    {"{\"$inc\":{\"n\":18446744073709551615}}", "{\"n\":-9223372036854775808}",
	     "{\"n\":9223372036854775807}"},
	    {"{\"$inc\":{\"n\":-9223372036854775808}}", "{\"n\":0}",
	     "{\"n\":-9223372036854775808}"},
	    {"{\"$inc\":{\"n\":-5}}", "{\"n\":5}", "{\"n\":0}"},
	    {"{\"$inc\":{\"n\":7}}", "{\"n\":-5}", "{\"n\":2}"},
	    {"{\"$inc\":{\"n\":0.5}}", "{\"n\":1}", "{\"n\":1.5}"},
	    {"{\"$inc\":{\"n\":0.5}}", "{\"n\":9007199254740991}", "{\"n\":9.007199254740992e+15}"},
	    {"{\"$inc\":{\"a.0.n\":1}}", "{\"a\":[{\"n\":1}]}", "{\"a\":[{\"n\":2}]}"},
	};
	check_made(rows, ARRAY_LEN(rows));
}

static void test_arrays(void **state)
{
	(void)state;
	static const struct made rows[] = {
	    {"{\"$push\":{\"a\":1}}", "{}", "{\"a\":[1]}"},
	    {"{\"$push\":{\"a\":[1,2]}}", "{\"a\":[0]}", "{\"a\":[0,[1,2]]}"},
	    {"{\"$push\":{\"a\":{\"$each\":[1,2]}}}", "{\"a\":[1]}", "{\"a\":[1,1,2]}"},
	    {"{\"$push\":{\"a\":{\"$each\":[]}}}", "{}", "{\"a\":[]}"},
	    {"{\"$addToSet\":{\"a\":1}}", "{\"a\":[1.0]}", "{\"a\":[1.0]}"},
	    {"{\"$addToSet\":{\"a\":{\"x\":1}}}", "{\"a\":[{\"x\":2}]}",
	     "{\"a\":[{\"x\":2},{\"x\":1}]}"},
	    {"{\"$addToSet\":{\"a\":{\"$each\":[3,1,3,2]}}}", "{\"a\":[2,2]}", "{\"a\":[2,2,3,1]}"},
	    {"{\"$addToSet\":{\"a\":{\"$each\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,17,5]}}}",
	     "{\"a\":[4,4,20]}", "{\"a\":[4,4,20,1,2,3,5,6,7,8,9,10,11,12,13,14,15,16,17]}"},
	    {"{\"$pull\":{\"a\":1}}", "{\"a\":[1,2,1.0,[1]]}", "{\"a\":[2,[1]]}"},
	    {"{\"$pull\":{\"a\":[1]}}", "{\"a\":[1,[1]]}", "{\"a\":[1]}"},
	    {"{\"$pull\":{\"a\":{\"$gte\":2,\"$lt\":4}}}", "{\"a\":[1,2,3,4]}", "{\"a\":[1,4]}"},
	    {"{\"$pull\":{\"a\":{\"$in\":[\"x\",null]}}}", "{\"a\":[\"x\",\"y\",null]}",
	     "{\"a\":[\"y\"]}"},
	    {"{\"$pull\":{\"a\":{\"id\":7}}}", "{\"a\":[{\"id\":7,\"n\":1},{\"id\":8},7]}",
	     "{\"a\":[{\"id\":8},7]}"},
	    {"{\"$pull\":{\"a\":{\"n\":{\"$gt\":1}}}}", "{\"a\":[{\"n\":1},{\"n\":2}]}",
	     "{\"a\":[{\"n\":1}]}"},
	    {"{\"$pull\":{\"a\":{\"$or\":[{\"n\":1},{\"n\":3}]}}}",
	     "{\"a\":[{\"n\":1},{\"n\":2},{\"n\":3}]}", "{\"a\":[{\"n\":2}]}"},
	    {"{\"$pull\":{\"b\":1,\"c.d\":1}}", "{\"c\":5}", "{\"c\":5}"},
	    {"{\"$push\":{\"a.0\":1}}", "{\"a\":[[0]]}", "{\"a\":[[0,1]]}"},
	};
	check_made(rows, ARRAY_LEN(rows));
}

struct refused {
	const char *update, *document, *place;
	enum status status;
};

static void check_refused(const struct refused *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct result r = run(rows[i].update, rows[i].document);
		buf_close(&r.json);
		if (r.applied || r.error.status != rows[i].status ||
		    strcmp(r.error.place, rows[i].place) != 0)
			fail_msg("%s on %s: applied=%d %d %s %s", rows[i].update, rows[i].document,
				 r.applied, r.error.status, r.error.place, r.error.text);
		assert_int_equal(r.compiled, rows[i].status != STATUS_BAD_UPDATE);
		assert_true(r.error.text[0] != 0);
	}
}

static void test_malformed(void **state)
{
	(void)state;
	static const struct refused rows[] = {
	    {"[]", "{}", "/", STATUS_BAD_UPDATE},
	    {"{}", "{}", "/", STATUS_BAD_UPDATE},
	    {"{\"a\":1}", "{}", "/a", STATUS_BAD_UPDATE},
	    {"{\"$rename\":{}}", "{}", "/$rename", STATUS_BAD_UPDATE},
	    {"{\"$set\":1}", "{}", "/$set", STATUS_BAD_UPDATE},
	    {"{\"$set\":{\"\":1}}", "{}", "/$set/", STATUS_BAD_UPDATE},
	    {"{\"$set\":{\"a..b\":1}}", "{}", "/$set/a..b", STATUS_BAD_UPDATE},
	    {"{\"$set\":{\"a.\":1}}", "{}", "/$set/a.", STATUS_BAD_UPDATE},
	    {"{\"$set\":{\"a.$\":1}}", "{}", "/$set/a.$", STATUS_BAD_UPDATE},
	    {"{\"$set\":{\"id\":1}}", "{}", "/$set/id", STATUS_BAD_UPDATE},
	    {"{\"$unset\":{\"id.x\":1}}", "{}", "/$unset/id.x", STATUS_BAD_UPDATE},
	    {"{\"$set\":{\"a\":1,\"a.b\":1}}", "{}", "/$set/a.b", STATUS_BAD_UPDATE},
	    {"{\"$set\":{\"a.b\":1},\"$inc\":{\"a\":1}}", "{}", "/$inc/a", STATUS_BAD_UPDATE},
	    {"{\"$set\":{\"a\":1},\"$push\":{\"a\":1}}", "{}", "/$push/a", STATUS_BAD_UPDATE},
	    {"{\"$inc\":{\"a\":\"1\"}}", "{}", "/$inc/a", STATUS_BAD_UPDATE},
	    {"{\"$inc\":{\"a\":99999999999999999999}}", "{}", "/$inc/a", STATUS_BAD_UPDATE},
	    {"{\"$push\":{\"a\":{\"$each\":1}}}", "{}", "/$push/a", STATUS_BAD_UPDATE},
	    {"{\"$push\":{\"a\":{\"$each\":[],\"$slice\":1}}}", "{}", "/$push/a",
	     STATUS_BAD_UPDATE},
	    {"{\"$addToSet\":{\"a\":{\"$foo\":1}}}", "{}", "/$addToSet/a", STATUS_BAD_UPDATE},
	    {"{\"$pull\":{\"a\":{\"$foo\":1}}}", "{}", "/$pull/a/$foo", STATUS_BAD_UPDATE},
	    {"{\"$pull\":{\"a\":{\"b\":{\"$gt\":1,\"$in\":2}}}}", "{}", "/$pull/a/b/$in",
	     STATUS_BAD_UPDATE},
	};
	check_refused(rows, ARRAY_LEN(rows));
}

static void test_does_not_fit(void **state)
{
	(void)state;
	static const struct refused rows[] = {
	    {"{\"$set\":{\"a.b\":1}}", "{\"a\":1}", "/$set/a.b", STATUS_UPDATE_FAILED},
	    {"{\"$set\":{\"a.b\":1}}", "{\"a\":null}", "/$set/a.b", STATUS_UPDATE_FAILED},
	    {"{\"$set\":{\"a.b\":1}}", "{\"a\":[]}", "/$set/a.b", STATUS_UPDATE_FAILED},
	    {"{\"$set\":{\"a.10001\":1}}", "{\"a\":[]}", "/$set/a.10001", STATUS_UPDATE_FAILED},
	    {"{\"$inc\":{\"a\":1}}", "{\"a\":\"1\"}", "/$inc/a", STATUS_UPDATE_FAILED},
	    {"{\"$inc\":{\"a\":1}}", "{\"a\":null}", "/$inc/a", STATUS_UPDATE_FAILED},
	    {"{\"$inc\":{\"a\":1}}", "{\"a\":18446744073709551615}", "/$inc/a",
	     STATUS_UPDATE_FAILED},
	    {"{\"$inc\":{\"a\":-1}}", "{\"a\":-9223372036854775808}", "/$inc/a",
	     STATUS_UPDATE_FAILED},
	    {"{\"$inc\":{\"a\":1}}", "{\"a\":18446744073709551616}", "/$inc/a",
	     STATUS_UPDATE_FAILED},
	    {"{\"$inc\":{\"a\":0.5}}", "{\"a\":9007199254740992}", "/$inc/a", STATUS_UPDATE_FAILED},
	    {"{\"$inc\":{\"a\":1e308}}", "{\"a\":1e308}", "/$inc/a", STATUS_UPDATE_FAILED},
	    {"{\"$push\":{\"a\":1}}", "{\"a\":1}", "/$push/a", STATUS_UPDATE_FAILED},
	    {"{\"$addToSet\":{\"a\":1}}", "{\"a\":{}}", "/$addToSet/a", STATUS_UPDATE_FAILED},
	    {"{\"$pull\":{\"a\":1}}", "{\"a\":\"x\"}", "/$pull/a", STATUS_UPDATE_FAILED},
	};
	check_refused(rows, ARRAY_LEN(rows));
	struct result past = run("{\"$set\":{\"a.10000\":1}}", "{\"a\":[]}");
	assert_true(past.applied);
	buf_close(&past.json);
}

static void test_accumulates(void **state)
{
	(void)state;
	static const struct {
		const char *update;
		bool accumulates;
	} rows[] = {
	    {"{\"$set\":{\"a\":1},\"$unset\":{\"b\":1}}", false},
	    {"{\"$addToSet\":{\"a\":1},\"$pull\":{\"b\":1}}", false},
	    {"{\"$set\":{\"a\":1},\"$inc\":{\"b\":1}}", true},
	    {"{\"$push\":{\"a\":1}}", true},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct result r = run(rows[i].update, "{}");
		assert_true(r.applied || strstr(rows[i].update, "unset"));
		assert_int_equal(r.accumulates, rows[i].accumulates);
		buf_close(&r.json);
	}
}

static void nested(struct buf *out, int levels)
{
	for (int i = 0; i < levels; i++)
		buf_append_text(out, "[");
	for (int i = 0; i < levels; i++)
		buf_append_text(out, "]");
}

/* Update and document may each be within the limit, and what they make not. */
static void test_bounds_of_the_result(void **state)
{
	(void)state;
	for (int over = 0; over <= 1; over++) {
		struct buf update = {0}, document = {0};
		buf_append_text(&update, "{\"$set\":{\"a.b.c.0\":");
		nested(&update, LIMIT_JSON_DEPTH - 4 + over);
		buf_append_text(&update, "}}");
		buf_append_text(&document, "{\"a\":{\"b\":{\"c\":[1]}}}");
		struct result r = run(buf_cstr(&update), buf_cstr(&document));
		assert_int_equal(r.applied, !over);
		assert_int_equal(r.error.status, over ? STATUS_JSON_TOO_DEEP : STATUS_OK);
		buf_close(&update);
		buf_close(&document);
		buf_close(&r.json);
	}
	struct buf update = {0}, path = {0};
	for (int over = 0; over <= 1; over++) {
		buf_clear(&update);
		buf_append_text(&update, "{\"$set\":{");
		for (int i = 0; i < UPDATE_PATHS_MAX + over; i++)
			buf_printf(&update, "%s\"m%d\":1", i ? "," : "", i);
		buf_append_text(&update, "}}");
		struct result r = run(buf_cstr(&update), "{\"m5\":0,\"x\":1}");
		assert_int_equal(r.compiled, !over);
		assert_int_equal(r.error.status, over ? STATUS_BAD_UPDATE : STATUS_OK);
		buf_close(&r.json);
	}
	buf_close(&update);
	buf_close(&path);
}

/* Bytes that many conditions with patterns come to need. */
static size_t matching_bytes(int paths)
{
	struct arena arena = {0};
	struct update_error error;
	struct buf update = {0}, document = {0}, out = {0};
	for (int i = 0; i < paths; i++) {
		buf_printf(&update, "%s\"p%d\":{\"$regex\":\"(a|b)*[cd]\"}",
			   i > 0 ? "," : "{\"$pull\":{", i);
		buf_printf(&document, "%s\"p%d\":[\"", i > 0 ? "," : "{", i);
		for (int k = 0; k < 100; k++)
			buf_append_byte(&document, 'a');
		buf_append_text(&document, "\"]");
	}
	buf_append_text(&update, "}}");
	buf_append_byte(&document, '}');
	struct buf spec = packed(buf_cstr(&update)), body = packed(buf_cstr(&document));
	struct update *u = update_compile(buf_slice(&spec), &arena, &error);
	assert_non_null(u);
	size_t before = arena.used;
	assert_true(update_apply(u, buf_slice(&body), &out, &error));
	size_t bytes = arena.used - before;
	arena_close(&arena);
	buf_close(&update);
	buf_close(&document);
	buf_close(&spec);
	buf_close(&body);
	buf_close(&out);
	return bytes;
}

static void test_conditions_share_their_memory(void **state)
{
	(void)state;
	assert_int_equal(matching_bytes(4), matching_bytes(1));
}

/* Whether each of so many long elements may be held against a hundred conditions. */
static bool pulls_from(int elements)
{
	enum { ELEMENT_BYTES = 1024 * 1024 };
	struct buf update = {0}, document = {0};
	for (int i = 0; i < 100; i++)
		buf_printf(&update, "%s{\"z\":%d}", i > 0 ? "," : "{\"$pull\":{\"a\":{\"$or\":[",
			   i);
	buf_append_text(&update, "]}}}");
	for (int i = 0; i < elements; i++) {
		buf_append_text(&document, i > 0 ? ",{\"b\":\"" : "{\"a\":[{\"b\":\"");
		for (int k = 0; k < ELEMENT_BYTES; k++)
			buf_append_byte(&document, 'x');
		buf_append_text(&document, "\"}");
	}
	buf_append_text(&document, "]}");
	struct result r = run(buf_cstr(&update), buf_cstr(&document));
	assert_int_equal(r.error.status, r.applied ? STATUS_OK : STATUS_UPDATE_FAILED);
	buf_close(&update);
	buf_close(&document);
	buf_close(&r.json);
	return r.applied;
}

static void test_conditions_costly_in_sum(void **state)
{
	(void)state;
	assert_true(pulls_from(4));
	assert_false(pulls_from(14));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_set_and_unset),
	    cmocka_unit_test(test_inc),
	    cmocka_unit_test(test_arrays),
	    cmocka_unit_test(test_malformed),
	    cmocka_unit_test(test_does_not_fit),
	    cmocka_unit_test(test_accumulates),
	    cmocka_unit_test(test_bounds_of_the_result),
	    cmocka_unit_test(test_conditions_share_their_memory),
	    cmocka_unit_test(test_conditions_costly_in_sum),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
