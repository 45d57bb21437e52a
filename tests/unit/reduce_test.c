/* Built-in reduce functions over values of all forms, as CouchDB reduces them. */
#include "gateway/couch/reduce.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/doc/json.h"

enum { VALUES_MAX = 4 };

struct reduced {
	const char *values[VALUES_MAX];
	const char *made; /* NULL: they are refused */
};

#define CANT_ADD                                                                                   \
	"{\"error\":\"builtin_reduce_error\",\"reason\":\"The _sum function requires that map "    \
	"values be numbers, arrays of numbers, or objects. Objects cannot be mixed with other "    \
	"data structures. Objects can be arbitrarily nested, provided that the values for all "    \
	"fields are themselves numbers, arrays of numbers, or objects.\",\"caused_by\":"

static const struct reduced sums[] = {
    {{"1", "2.5"}, "3.5"},
    {{"[1,2]", "[3]"}, "[4,2]"},
    {{"1", "[2,3]"}, "[3,3]"},
    {{"[2,3]", "1"}, "[3,3]"},
    {{"[]"}, "[]"},
    {{"{\"b\":1,\"a\":2}", "{\"a\":3,\"c\":4}"}, "{\"a\":5,\"b\":1,\"c\":4}"},
    {{"{\"a\":{\"x\":1,\"y\":[1,2]}}", "{\"a\":{\"y\":[0.5],\"z\":7}}", "{}"},
     "{\"a\":{\"x\":1,\"y\":[1.5,2],\"z\":7}}"},
    {{"{\"a\":1}", "{\"a\":[1,2]}"}, "{\"a\":[2,2]}"},
    {{"{}"}, "{}"},
    {{"\"x\""}, CANT_ADD "\"x\"}"},
    {{"1", "{\"a\":1}", "5"}, CANT_ADD "{\"a\":1}}"},
    {{"{\"a\":1}", "1"}, CANT_ADD "1}"},
    {{"{\"a\":1}", "{\"a\":\"x\"}", "{\"a\":1}"}, CANT_ADD "{\"a\":\"x\"}}"},
    {{"{\"a\":{}}", "{\"a\":1}"}, CANT_ADD "{\"a\":1}}"},
    {{"[1,null]"}, CANT_ADD "[1,null]}"},
};

static const struct reduced stats[] = {
    {{"4", "-2"}, "{\"sum\":2,\"count\":2,\"min\":-2,\"max\":4,\"sumsqr\":20}"},
    {{"{\"sum\":6,\"count\":3,\"min\":1,\"max\":3,\"sumsqr\":14}", "10"},
     "{\"sum\":16,\"count\":4,\"min\":1,\"max\":10,\"sumsqr\":114}"},
    {{"[1,{\"sum\":2,\"count\":2,\"min\":1,\"max\":1,\"sumsqr\":2}]", "[3,0]"},
     "[{\"sum\":4,\"count\":2,\"min\":1,\"max\":3,\"sumsqr\":10},"
     "{\"sum\":2,\"count\":3,\"min\":0,\"max\":1,\"sumsqr\":2}]"},
    {{"{\"sum\":6,\"count\":3,\"min\":1,\"max\":3}"}, NULL},
    {{"{\"sum\":\"6\",\"count\":3,\"min\":1,\"max\":3,\"sumsqr\":14}"}, NULL},
    {{"\"x\""}, NULL},
    {{"1", "[1]"}, NULL},
    {{"[1]", "[1,2]"}, NULL},
    {{"null"}, NULL},
};

static bool add(struct reduce *r, struct json_parser *parser, const char *json)
{
	struct json_error error;
	struct buf value = {0};
	assert_true(json_to_msgpack(parser, slice_text(json), &value, &error));
	bool fine = reduce_add(r, slice_text("\xc0"), buf_slice(&value));
	buf_close(&value);
	return fine;
}

static void check(const struct reduced *row, enum reduce_kind kind, struct reduce *r)
{
	struct json_parser *parser = json_parser_new();
	struct buf made = {0};
	bool fine = true;
	reduce_begin(r, kind, COLLATION_UNICODE);
	for (int i = 0; fine && i < VALUES_MAX && row->values[i]; i++)
		fine = add(r, parser, row->values[i]);
	assert_int_equal(fine, row->made != NULL);
	reduce_print(r, &made);
	if (fine)
		assert_string_equal(buf_cstr(&made), row->made);
	buf_close(&made);
	json_parser_free(parser);
}

static void test_sums(void **state)
{
	struct reduce r = {0};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sums); i++)
		check(&sums[i], REDUCE_SUM, &r);
	reduce_close(&r);
}

static void test_stats(void **state)
{
	struct reduce r = {0};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(stats); i++)
		check(&stats[i], REDUCE_STATS, &r);
	reduce_close(&r);
}

/* What grows with each row is no reduction. */
static void test_sums_are_bounded(void **state)
{
	struct json_parser *parser = json_parser_new();
	struct reduce r = {0};
	struct buf text = {0};
	(void)state;
	reduce_begin(&r, REDUCE_SUM, COLLATION_UNICODE);
	for (int i = 0; i < REDUCE_OBJECT_BYTES; i++) {
		buf_clear(&text);
		buf_printf(&text, "{\"name-%d\":%d}", i, i);
		assert_true(add(&r, parser, buf_cstr(&text)));
		assert_true(r.object.len < REDUCE_OBJECT_BYTES + 32);
	}
	buf_clear(&text);
	reduce_print(&r, &text);
	assert_string_equal(buf_cstr(&text),
			    "{\"error\":\"builtin_reduce_error\",\"reason\":\"The sum of these "
			    "objects is larger than 8 KiB.\"}");
	buf_clear(&text);
	buf_append_text(&text, "[0");
	for (int i = 0; i < REDUCE_LANES_MAX; i++)
		buf_append_text(&text, ",1");
	buf_append_byte(&text, ']');
	reduce_begin(&r, REDUCE_SUM, COLLATION_UNICODE);
	assert_true(add(&r, parser, buf_cstr(&text)));
	assert_true(r.error.len > 0);
	reduce_begin(&r, REDUCE_STATS, COLLATION_UNICODE);
	assert_false(add(&r, parser, buf_cstr(&text)));
	buf_close(&text);
	reduce_close(&r);
	json_parser_free(parser);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_sums),
	    cmocka_unit_test(test_stats),
	    cmocka_unit_test(test_sums_are_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
