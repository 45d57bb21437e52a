/* CouchDB's selectors as a table of document, selector and expected outcome; the order of values.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "common/doc/collation.h"
#include "common/doc/mango_fields.h"
#include "common/doc/query.h"
#include "common/doc/query_conditions.h"
#include "common/doc/value.h"
#include "proto/enums.h"
#include "proto/schema.h"
#include "tests/unit/packed.h"

/* {"$mango": selector} */
static struct buf filter_of(const char *selector)
{
	struct buf json = {0};
	buf_printf(&json, "{\"$mango\":%s}", selector);
	struct buf out = packed(buf_cstr(&json));
	buf_close(&json);
	return out;
}

struct selector_row {
	const char *selector;
	const char *document;
	bool matches;
};

static const struct selector_row rows[] = {
    {"{}", "{\"a\":1}", true},
    {"{\"a\":1}", "{\"a\":1}", true},
    {"{\"a\":1}", "{\"a\":1.0}", true},
    {"{\"a\":1}", "{\"a\":[1]}", false},
    {"{\"a\":[1]}", "{\"a\":[1]}", true},
    {"{\"a\":1}", "{}", false},
    {"{\"a\":null}", "{}", false},
    {"{\"~_a\":1}", "{\"_a\":1}", true},
    {"{\"~~_a.b\":1}", "{\"~_a\":{\"b\":1}}", true},
    {"{\"_a\":1}", "{\"_a\":1}", false},
    {"{\"_a\":{\"$exists\":false}}", "{\"_a\":1}", true},
    {"{\"b\":{\"$elemMatch\":{\"_a\":1}}}", "{\"b\":[{\"_a\":1}]}", true},
    {"{\"a\":null}", "{\"a\":null}", true},
    {"{\"a\":{}}", "{\"a\":{}}", true},
    {"{\"a\":{}}", "{\"a\":{\"b\":1}}", false},
    {"{\"a\":{\"b\":1}}", "{\"a\":{\"b\":1,\"c\":2}}", true},
    {"{\"a.b\":1}", "{\"a\":{\"b\":1,\"c\":2}}", true},
    {"{\"a\":{\"b\":{\"$gt\":1}}}", "{\"a\":{\"b\":2}}", true},
    {"{\"a\\\\.b\":1}", "{\"a.b\":1}", true},
    {"{\"a\\\\.b\":1}", "{\"a\":{\"b\":1}}", false},
    {"{\"\\\\$a\":1}", "{\"$a\":1}", true},
    {"{\"a.1\":5}", "{\"a\":[4,5]}", true},
    {"{\"a.b\":1}", "{\"a\":[{\"b\":1}]}", false},
    {"{\"_id\":\"doc1\"}", "{}", true},
    {"{\"_id\":{\"$gt\":\"doc\"}}", "{}", true},
    {"{\"_id\":{\"$gt\":null}}", "{}", true},
    {"{\"_id\":{\"$exists\":true}}", "{}", true},
    {"{\"id\":7}", "{\"_id\":7}", true},
    {"{\"a.id\":7}", "{\"a\":{\"id\":7}}", true},
    /* all types compare */
    {"{\"a\":{\"$gt\":5}}", "{\"a\":6}", true},
    {"{\"a\":{\"$gt\":5}}", "{\"a\":\"x\"}", true},
    {"{\"a\":{\"$gt\":5}}", "{\"a\":true}", false},
    {"{\"a\":{\"$lt\":5}}", "{\"a\":true}", true},
    {"{\"a\":{\"$lt\":5}}", "{\"a\":null}", true},
    {"{\"a\":{\"$lt\":5}}", "{}", false},
    {"{\"a\":{\"$gte\":5,\"$lt\":7}}", "{\"a\":5}", true},
    {"{\"a\":{\"$gte\":5,\"$lt\":7}}", "{\"a\":7}", false},
    {"{\"a\":{\"$lte\":[1,2]}}", "{\"a\":[1]}", true},
    {"{\"a\":{\"$gt\":{\"b\":2}}}", "{\"a\":{\"b\":2,\"a\":1}}", true},
    {"{\"a\":{\"$ne\":1}}", "{\"a\":2}", true},
    {"{\"a\":{\"$ne\":1}}", "{}", false},
    /* combinations */
    {"{\"$and\":[{\"a\":1},{\"b\":2}]}", "{\"a\":1,\"b\":2}", true},
    {"{\"$and\":[{\"a\":1},{\"b\":2}]}", "{\"a\":1}", false},
    {"{\"$and\":[]}", "{}", true},
    {"{\"$or\":[{\"a\":1},{\"b\":2}]}", "{\"b\":2}", true},
    {"{\"$or\":[]}", "{}", true},
    {"{\"$or\":[],\"a\":1}", "{\"a\":1}", true},
    {"{\"$or\":[],\"a\":1}", "{\"a\":2}", false},
    {"{\"$nor\":[]}", "{}", true},
    {"{\"$not\":{\"$or\":[]}}", "{}", false},
    {"{\"$not\":{\"$nor\":[]}}", "{}", false},
    {"{\"$nor\":[{\"a\":1},{\"b\":2}]}", "{\"a\":2,\"b\":3}", true},
    {"{\"$nor\":[{\"a\":1},{\"b\":2}]}", "{\"a\":2,\"b\":2}", false},
    {"{\"$not\":{\"a\":1}}", "{\"a\":2}", true},
    {"{\"$not\":{\"a\":1}}", "{}", false},
    {"{\"$not\":{\"a\":1,\"b\":1}}", "{\"a\":1,\"b\":2}", true},
    {"{\"$not\":{\"$not\":{\"a\":1}}}", "{\"a\":1}", true},
    {"{\"a\":{\"$not\":{\"$gt\":5}}}", "{\"a\":5}", true},
    {"{\"a\":{\"$not\":{\"$gt\":5}}}", "{\"a\":6}", false},
    {"{\"a\":{\"$not\":{\"$exists\":true}}}", "{}", true},
    {"{\"a\":{\"$or\":[{\"$eq\":1},{\"$eq\":2}]}}", "{\"a\":2}", true},
    {"{\"a\":{\"$not\":{\"$in\":[1,2]}}}", "{\"a\":3}", true},
    {"{\"a\":{\"$not\":{\"$regex\":\"x\"}}}", "{\"a\":\"y\"}", true},
    /* the rest */
    {"{\"a\":{\"$exists\":true}}", "{\"a\":null}", true},
    {"{\"a\":{\"$exists\":false}}", "{\"a\":null}", false},
    {"{\"a\":{\"$exists\":false}}", "{}", true},
    {"{\"a\":{\"$exists\":false}}", "{\"b\":1}", true},
    {"{\"a\":{\"$in\":[1,\"x\"]}}", "{\"a\":\"x\"}", true},
    {"{\"a\":{\"$in\":[1,\"x\"]}}", "{\"a\":[7,1]}", true},
    {"{\"a\":{\"$in\":[]}}", "{\"a\":1}", false},
    {"{\"a\":{\"$nin\":[1,\"x\"]}}", "{\"a\":2}", true},
    {"{\"a\":{\"$nin\":[1,\"x\"]}}", "{\"a\":[2,1]}", false},
    {"{\"a\":{\"$nin\":[1]}}", "{}", false},
    {"{\"a\":{\"$type\":\"null\"}}", "{\"a\":null}", true},
    {"{\"a\":{\"$type\":\"object\"}}", "{\"a\":{}}", true},
    {"{\"a\":{\"$type\":\"number\"}}", "{\"a\":1.5}", true},
    {"{\"a\":{\"$type\":\"string\"}}", "{\"a\":[]}", false},
    {"{\"a\":{\"$type\":\"thing\"}}", "{\"a\":1}", false},
    {"{\"a\":{\"$size\":2}}", "{\"a\":[1,2]}", true},
    {"{\"a\":{\"$size\":2}}", "{\"a\":[1]}", false},
    {"{\"a\":{\"$mod\":[3,1]}}", "{\"a\":7}", true},
    {"{\"a\":{\"$mod\":[3,1]}}", "{\"a\":-7}", false},
    {"{\"a\":{\"$mod\":[3,-1]}}", "{\"a\":-7}", true},
    {"{\"a\":{\"$mod\":[3,0]}}", "{\"a\":-6}", true},
    {"{\"a\":{\"$mod\":[3,1]}}", "{\"a\":7.5}", false},
    {"{\"a\":{\"$regex\":\"^b.d$\"}}", "{\"a\":\"bad\"}", true},
    {"{\"a\":{\"$regex\":\"(?i)BAD\"}}", "{\"a\":\"a bad one\"}", true},
    {"{\"a\":{\"$regex\":\"b\"}}", "{\"a\":5}", false},
    {"{\"a\":{\"$beginsWith\":\"fo\"}}", "{\"a\":\"foo\"}", true},
    {"{\"a\":{\"$beginsWith\":\"fo\"}}", "{\"a\":\"of\"}", false},
    {"{\"a\":{\"$all\":[1,2]}}", "{\"a\":[2,3,1]}", true},
    {"{\"a\":{\"$all\":[1,2]}}", "{\"a\":[2,3]}", false},
    {"{\"a\":{\"$all\":[[1,2]]}}", "{\"a\":[1,2]}", true},
    {"{\"a\":{\"$all\":[]}}", "{\"a\":[1]}", false},
    {"{\"a\":{\"$all\":[3,1,3,1.0]}}", "{\"a\":[1,3]}", true},
    {"{\"a\":{\"$all\":[3,1,3]}}", "{\"a\":[1,1,1,2]}", false},
    {"{\"a\":{\"$all\":[[1,2],[1,2]]}}", "{\"a\":[1,2]}", false},
    {"{\"a\":{\"$all\":[[1,2],[1,2]]}}", "{\"a\":[[1,2]]}", true},
    {"{\"a\":{\"$not\":{\"$all\":[1,2]}}}", "{\"a\":[1]}", true},
    {"{\"a\":{\"$elemMatch\":{\"b\":1}}}", "{\"a\":[{\"b\":2},{\"b\":1}]}", true},
    {"{\"a\":{\"$elemMatch\":{\"$gt\":5}}}", "{\"a\":[1,6]}", true},
    {"{\"a\":{\"$elemMatch\":{\"$gt\":5}}}", "{\"a\":[1,5]}", false},
    {"{\"a\":{\"$elemMatch\":{\"_id\":5}}}", "{\"a\":[{\"_id\":5}]}", true},
    {"{\"a\":{\"$not\":{\"$elemMatch\":{\"$gt\":5}}}}", "{\"a\":[1,5]}", true},
    {"{\"a\":{\"$allMatch\":{\"$gt\":5}}}", "{\"a\":[6,7]}", true},
    {"{\"a\":{\"$allMatch\":{\"$gt\":5}}}", "{\"a\":[6,1]}", false},
    {"{\"a\":{\"$allMatch\":{\"$gt\":5}}}", "{\"a\":[]}", false},
    {"{\"a\":{\"$keyMapMatch\":{\"$eq\":\"k\"}}}", "{\"a\":{\"j\":1,\"k\":2}}", true},
    {"{\"a\":{\"$keyMapMatch\":{\"$eq\":\"z\"}}}", "{\"a\":{\"j\":1,\"k\":2}}", false},
};

static void test_selectors(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct selector_row *row = &rows[i];
		struct arena arena = {0};
		struct query_error error;
		struct buf filter = filter_of(row->selector), document = packed(row->document);
		struct query *q = query_compile(buf_slice(&filter), &arena, &error);
		if (!q)
			fail_msg("%s refused at %s: %s", row->selector, error.place, error.text);
		if (query_matches(q, slice_text("doc1"), buf_slice(&document)) != row->matches)
			fail_msg("%s on %s is not %d", row->selector, row->document, row->matches);
		arena_close(&arena);
		buf_close(&filter);
		buf_close(&document);
	}
}

/* What a version shows beside its members: of a deletion, or of a winner with conflicts. */
static const struct {
	const char *selector;
	bool deletion, winner;
} versions[] = {
    {"{\"_deleted\":{\"$exists\":false}}", false, true},
    {"{\"_deleted\":{\"$exists\":true}}", true, false},
    {"{\"_deleted\":true}", true, false},
    {"{\"_deleted\":{\"$ne\":true}}", false, false}, /* CouchDB's, too: it is not there */
    {"{\"$nor\":[{\"_deleted\":true},{\"n\":2}]}", false, false},
    {"{\"_deleted.x\":true}", false, false},
    {"{\"_rev\":\"3-abc\"}", true, true},
    {"{\"_rev\":{\"$gt\":\"3\"}}", true, true},
    {"{\"_rev\":{\"$regex\":\"^2-\"}}", false, false},
    {"{\"_rev\":{\"$exists\":true},\"_id\":\"doc1\"}", true, true},
    {"{\"_conflicts\":{\"$exists\":true}}", false, true},
    {"{\"_conflicts\":{\"$size\":2}}", false, true},
    {"{\"_conflicts.1\":\"2-b\"}", false, true},
    {"{\"b\":{\"$elemMatch\":{\"_rev\":1}}}", false, true},
    {"{\"_revisions\":{\"$exists\":true}}", false, false},
};

static void test_of_versions(void **state)
{
	(void)state;
	struct revision name = {.generation = 3, .hash = slice_text("abc")};
	struct buf none = packed("{}"), some = packed("{\"n\":1,\"b\":[{\"_rev\":1}]}");
	struct buf conflicts = packed("[\"2-a\",\"2-b\"]");
	struct query_version deletion = {.revision = &name, .deleted = true};
	struct query_version winner = {.revision = &name, .conflicts = buf_slice(&conflicts)};
	struct slice id = slice_text("doc1");
	for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
		struct arena arena = {0};
		struct query_error error;
		struct query_condition *conditions;
		struct buf filter = filter_of(versions[i].selector);
		struct query *q = query_compile(buf_slice(&filter), &arena, &error);
		assert_non_null(q);
		print_message("%s\n", versions[i].selector);
		assert_int_equal(query_matches_version(q, id, buf_slice(&none), &deletion),
				 versions[i].deletion);
		assert_int_equal(query_matches_version(q, id, buf_slice(&some), &winner),
				 versions[i].winner);
		/* no index knows of them */
		uint32_t count = query_conditions(q, &arena, &conditions);
		for (uint32_t k = 0; k < count; k++)
			assert_true(slice_is(conditions[k].path, "id"));
		arena_close(&arena);
		buf_close(&filter);
	}
	buf_close(&none);
	buf_close(&some);
	buf_close(&conflicts);
}

/* ---- fields ---- */

static const struct {
	const char *fields; /* an array of them */
	const char *document;
	const char *left;
} projections[] = {
    {"[]", "{\"a\":1}", "{}"},
    {"[\"a\"]", "{\"a\":{\"b\":1},\"c\":2}", "{\"a\":{\"b\":1}}"},
    {"[\"a.b\"]", "{\"a\":{\"b\":1,\"c\":2}}", "{\"a\":{\"b\":1}}"},
    {"[\"a.b\",\"d\",\"a.c\"]", "{\"a\":{\"b\":1,\"c\":2},\"d\":3}",
     "{\"a\":{\"b\":1,\"c\":2},\"d\":3}"},
    {"[\"a.b\",\"a\"]", "{\"a\":{\"b\":1,\"c\":2}}", "{\"a\":{\"b\":1,\"c\":2}}"},
    {"[\"a.x\",\"y\",\"a.b.z\"]", "{\"a\":{\"b\":1}}", "{}"},
    {"[\"a\\\\.b\"]", "{\"a.b\":1,\"a\":{\"b\":2}}", "{\"a.b\":1}"},
    {"[\"a.b\\\\.c.d\"]", "{\"a\":{\"b.c\":{\"d\":4}}}", "{\"a\":{\"b.c\":{\"d\":4}}}"},
    {"[\"a.1\"]", "{\"a\":[5,6]}", "{\"a\":{\"1\":6}}"},
    {"[\"a.b\"]", "{\"a\":[{\"b\":6}]}", "{}"},
    {"[\"id\"]", "{\"_id\":7}", "{\"_id\":7}"},
    {"[\"a\",\"a\"]", "{\"a\":null}", "{\"a\":null}"},
};

static void test_fields(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(projections); i++) {
		struct arena arena = {0};
		struct mango_fields_paths paths;
		struct slice texts[4];
		struct buf fields = packed(projections[i].fields);
		struct buf document = packed(projections[i].document), left = {0}, json = {0};
		struct mp_reader reader = mp_reader_of(buf_slice(&fields));
		uint32_t count = mp_read(&reader).count;
		for (uint32_t k = 0; k < count; k++)
			texts[k] = mp_read(&reader).bytes;
		assert_true(mango_fields_parse(texts, count, &arena, &paths));
		mango_fields_project(&paths, buf_slice(&document), &left);
		assert_true(json_from_msgpack(buf_slice(&left), &json));
		assert_string_equal(buf_cstr(&json), projections[i].left);
		arena_close(&arena);
		buf_close(&fields);
		buf_close(&document);
		buf_close(&left);
		buf_close(&json);
	}
}

static void test_fields_are_bounded(void **state)
{
	(void)state;
	struct arena arena = {0};
	struct mango_fields_paths paths;
	struct slice deep = slice_text("a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a");
	assert_false(mango_fields_parse(&deep, 1, &arena, &paths));
	deep.len -= 2;
	assert_true(mango_fields_parse(&deep, 1, &arena, &paths));
	arena_close(&arena);
}

/* ---- errors ---- */

static const struct {
	const char *selector;
	enum query_error_kind kind;
	const char *text;
} refused[] = {
    {"{\"$noor\":[]}", QUERY_ERROR_OPERATOR, "Invalid operator: $noor"},
    {"{\"a\":{\"$foobar\":1}}", QUERY_ERROR_OPERATOR, "Invalid operator: $foobar"},
    {"{\"a\":{\"$in\":1}}", QUERY_ERROR_ARGUMENT, "Bad argument for operator $in: 1"},
    {"{\"a\":{\"$exists\":1}}", QUERY_ERROR_ARGUMENT, "Bad argument for operator $exists: 1"},
    {"{\"a\":{\"$mod\":[0,1]}}", QUERY_ERROR_ARGUMENT, "Bad argument for operator $mod: [0,1]"},
    {"{\"a\":{\"$mod\":[1.5,1]}}", QUERY_ERROR_ARGUMENT, "Bad argument for operator $mod: [1.5,1]"},
    {"{\"a\":{\"$size\":-1}}", QUERY_ERROR_ARGUMENT, "Bad argument for operator $size: -1"},
    {"{\"a\":{\"$type\":5}}", QUERY_ERROR_ARGUMENT, "Bad argument for operator $type: 5"},
    {"{\"a\":{\"$not\":\"x\"}}", QUERY_ERROR_ARGUMENT, "Bad argument for operator $not: <<120>>"},
    {"{\"a\":{\"$allMatch\":[\"\",null]}}", QUERY_ERROR_ARGUMENT,
     "Bad argument for operator $allMatch: [<<>>,null]"},
    {"{\"a\":{\"$all\":{\"b\":true,\"c\":{}}}}", QUERY_ERROR_ARGUMENT,
     "Bad argument for operator $all: {[{<<98>>,true},{<<99>>,{[]}}]}"},
    {"{\"$where\":\"x\"}", QUERY_ERROR_UNSUPPORTED, "Unsupported operator: $where"},
    {"{\"a\":{\"$regex\":\"(\"}}", QUERY_ERROR_ARGUMENT,
     "Bad argument for operator $regex: <<40>>"},
    {"{\"a\":{\"$beginsWith\":1}}", QUERY_ERROR_ARGUMENT,
     "Bad argument for operator $beginsWith: 1"},
    {"{\"a\":{\"$elemMatch\":{\"$x\":1}}}", QUERY_ERROR_OPERATOR, "Invalid operator: $x"},
    {"{\"$and\":5}", QUERY_ERROR_ARGUMENT, "Bad argument for operator $and: 5"},
    {"5", QUERY_ERROR_OTHER, "a selector is a JSON object"},
};

static void test_what_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		struct arena arena = {0};
		struct query_error error;
		struct buf filter = filter_of(refused[i].selector);
		assert_null(query_compile(buf_slice(&filter), &arena, &error));
		assert_string_equal(error.text, refused[i].text);
		assert_int_equal(error.kind, refused[i].kind);
		arena_close(&arena);
		buf_close(&filter);
	}
}

static void test_depth_is_bounded(void **state)
{
	(void)state;
	struct buf json = {0};
	struct arena arena = {0};
	struct query_error error;
	for (int i = 0; i < 40; i++)
		buf_append_text(&json, "{\"$not\":");
	buf_append_text(&json, "{\"a\":1}");
	for (int i = 0; i < 40; i++)
		buf_append_byte(&json, '}');
	struct buf filter = filter_of(buf_cstr(&json));
	assert_null(query_compile(buf_slice(&filter), &arena, &error));
	assert_non_null(strstr(error.text, "levels deep"));
	arena_close(&arena);
	buf_close(&json);
	buf_close(&filter);
}

/* ---- what an index is asked ---- */

static const struct {
	const char *selector;
	uint32_t count;
	enum query_comparison first;
	const char *path;
} looked_up[] = {
    {"{\"a\":1}", 1, COMPARE_IN, "a"},
    {"{\"_id\":\"x\"}", 1, COMPARE_IN, "id"},
    {"{\"a\":{\"b\":{\"$in\":[1,2]}}}", 1, COMPARE_IN, "a.b"},
    {"{\"a\":{\"$gt\":5}}", 1, COMPARE_FROM, "a"},
    {"{\"a\":{\"$gt\":null}}", 1, COMPARE_FROM, "a"},
    {"{\"a\":{\"$gte\":null}}", 0, COMPARE_IN, ""},
    {"{\"a\":{\"$gte\":false}}", 1, COMPARE_FROM, "a"},
    {"{\"a\":{\"$lt\":5}}", 0, COMPARE_IN, ""},
    {"{\"a\":{\"$gt\":5,\"$lte\":7}}", 2, COMPARE_GT, "a"},
    {"{\"a\":{\"$gte\":5,\"$lt\":\"x\"}}", 1, COMPARE_FROM, "a"},
    {"{\"a\":{\"$not\":{\"$lt\":5}}}", 1, COMPARE_FROM, "a"},
    {"{\"a\":{\"$ne\":5}}", 0, COMPARE_IN, ""},
    {"{\"a\\\\.b\":5}", 0, COMPARE_IN, ""},
    {"{\"a\":{\"$gt\":[5]}}", 0, COMPARE_IN, ""},
    {"{\"$or\":[{\"a\":1},{\"b\":1}]}", 0, COMPARE_IN, ""},
    {"{\"$and\":[{\"a\":1},{\"b\":{\"$gt\":1}}]}", 2, COMPARE_IN, "a"},
};

static void test_conditions(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(looked_up); i++) {
		struct arena arena = {0};
		struct query_error error;
		struct query_condition *found;
		struct buf filter = filter_of(looked_up[i].selector);
		struct query *q = query_compile(buf_slice(&filter), &arena, &error);
		assert_non_null(q);
		uint32_t count = query_conditions(q, &arena, &found);
		if (count != looked_up[i].count)
			fail_msg("%s demands %u", looked_up[i].selector, count);
		if (count > 0) {
			assert_int_equal(found[0].comparison, looked_up[i].first);
			assert_true(slice_is(found[0].path, looked_up[i].path));
		}
		arena_close(&arena);
		buf_close(&filter);
	}
}

/* ---- order ---- */

static void test_order(void **state)
{
	static const char *const ascending[] = {
	    "null",
	    "false",
	    "true",
	    "-5",
	    "0",
	    "1.5",
	    "100",
	    "\"\"",
	    "\"a\"",
	    "\"aa\"",
	    "\"b\"",
	    "[]",
	    "[null]",
	    "[1]",
	    "[1,2]",
	    "[2]",
	    "[\"a\"]",
	    "{}",
	    "{\"a\":1}",
	    "{\"a\":2}",
	    "{\"b\":1}",
	    "{\"b\":2}",
	    "{\"b\":2,\"a\":1}",
	    "{\"b\":2,\"c\":2}",
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ascending); i++) {
		for (size_t k = 0; k < ARRAY_LEN(ascending); k++) {
			struct buf a = packed(ascending[i]), b = packed(ascending[k]);
			int order = collation_compare(buf_slice(&a), buf_slice(&b));
			if ((order < 0) != (i < k) || (order > 0) != (i > k))
				fail_msg("%s against %s: %d", ascending[i], ascending[k], order);
			buf_close(&a);
			buf_close(&b);
		}
	}
}

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* [first, first + 1, ...] */
static void append_numbers(struct buf *json, uint32_t first, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		buf_printf(json, "%c%u", i > 0 ? ',' : '[', (unsigned)(first + i));
	buf_append_byte(json, ']');
}

static double cost_of_all(uint32_t count)
{
	struct arena arena = {0};
	struct query_error error;
	struct buf json = {0};
	buf_append_text(&json, "{\"a\":{\"$all\":");
	append_numbers(&json, count / 2, count);
	buf_append_text(&json, "}}");
	struct buf filter = filter_of(buf_cstr(&json));
	buf_clear(&json);
	buf_append_text(&json, "{\"a\":");
	append_numbers(&json, 0, 3 * count / 2 - 1);
	buf_append_byte(&json, '}');
	struct buf document = packed(buf_cstr(&json));
	struct query *q = query_compile(buf_slice(&filter), &arena, &error);
	assert_non_null(q);
	double from = seconds();
	assert_false(query_matches(q, slice_text("doc1"), buf_slice(&document)));
	double cost = seconds() - from;
	arena_close(&arena);
	buf_close(&json);
	buf_close(&filter);
	buf_close(&document);
	return cost;
}

/* Eight times as many values in an array eight times as long: a square would be 64 times as much.
 */
static void test_long_lists_are_cheap(void **state)
{
	(void)state;
	double small = cost_of_all(5000);
	assert_true(cost_of_all(40000) < 24 * small);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_selectors),
	    cmocka_unit_test(test_of_versions),
	    cmocka_unit_test(test_fields),
	    cmocka_unit_test(test_fields_are_bounded),
	    cmocka_unit_test(test_what_is_refused),
	    cmocka_unit_test(test_depth_is_bounded),
	    cmocka_unit_test(test_conditions),
	    cmocka_unit_test(test_order),
	    cmocka_unit_test(test_long_lists_are_cheap),
	};
	return cmocka_run_group_tests(tests, open_parser, close_parser);
}
