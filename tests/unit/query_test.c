/* Filters and orders: MongoDB's semantics as a table of document, filter and expected outcome. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/doc/query.h"
#include "common/doc/value.h"
#include "proto/enums.h"
#include "tests/unit/packed.h"

struct row {
	const char *filter;
	const char *document;
	bool matches;
};

static void check_row(const struct row *row)
{
	struct arena arena = {0};
	struct query_error error;
	struct buf filter = packed(row->filter), document = packed(row->document);
	struct query *q = query_compile(buf_slice(&filter), &arena, &error);
	if (!q)
		fail_msg("%s refused at %s: %s", row->filter, error.place, error.text);
	if (query_matches(q, slice_text("doc1"), buf_slice(&document)) != row->matches)
		fail_msg("%s on %s is not %d", row->filter, row->document, row->matches);
	/* Nothing is left over from one document to the next. */
	assert_int_equal(query_matches(q, slice_text("doc1"), buf_slice(&document)), row->matches);
	arena_close(&arena);
	buf_close(&filter);
	buf_close(&document);
}

static void check_rows(const struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		check_row(&rows[i]);
}

static void test_equality(void **state)
{
	(void)state;
	static const struct row rows[] = {
	    {"{}", "{\"a\":1}", true},
	    {"{\"a\":1}", "{\"a\":1}", true},
	    {"{\"a\":1}", "{\"a\":1.0}", true},
	    {"{\"a\":1}", "{\"a\":\"1\"}", false},
	    {"{\"a\":1}", "{\"a\":true}", false},
	    {"{\"a\":1}", "{\"b\":1}", false},
	    {"{\"a\":1,\"b\":2}", "{\"a\":1,\"b\":2}", true},
	    {"{\"a\":1,\"b\":2}", "{\"a\":1,\"b\":3}", false},
	    {"{\"a\":{\"$eq\":\"x\"}}", "{\"a\":\"x\"}", true},
	    {"{\"a\":0}", "{\"a\":-0.0}", true},
	    {"{\"a\":false}", "{\"a\":false}", true},
	    {"{\"a\":false}", "{\"a\":0}", false},
	    {"{\"a\":18446744073709551616}", "{\"a\":18446744073709551616}", true},
	    {"{\"a\":18446744073709551616}", "{\"a\":18446744073709551615}", false},
	    {"{\"a\":0.1}", "{\"a\":0.10}", true},
	    {"{\"a\":null}", "{\"a\":null}", true},
	    {"{\"a\":null}", "{}", true},
	    {"{\"a\":null}", "{\"a\":0}", false},
	    {"{\"a\":{\"$eq\":null}}", "{}", true},
	    {"{\"a\":{}}", "{\"a\":{}}", true},
	    {"{\"a\":{}}", "{\"a\":{\"b\":1}}", false},
	    {"{\"a\":{\"b\":1,\"c\":2}}", "{\"a\":{\"b\":1,\"c\":2}}", true},
	    {"{\"a\":{\"b\":1,\"c\":2}}", "{\"a\":{\"c\":2,\"b\":1}}", false},
	    {"{\"a\":{\"b\":1}}", "{\"a\":{\"b\":1,\"c\":2}}", false},
	    {"{\"a\":{\"b\":{\"$gt\":1}}}", "{\"a\":{\"b\":2}}", false},
	    {"{\"\":1}", "{\"\":1}", true},
	};
	check_rows(rows, ARRAY_LEN(rows));
}

static void test_arrays(void **state)
{
	(void)state;
	static const struct row rows[] = {
	    {"{\"a\":2}", "{\"a\":[1,2]}", true},
	    {"{\"a\":3}", "{\"a\":[1,2]}", false},
	    {"{\"a\":[1,2]}", "{\"a\":[1,2]}", true},
	    {"{\"a\":[2,1]}", "{\"a\":[1,2]}", false},
	    {"{\"a\":[1,2]}", "{\"a\":[[1,2],3]}", true},
	    {"{\"a\":1}", "{\"a\":[[1]]}", false},
	    {"{\"a\":[]}", "{\"a\":[]}", true},
	    {"{\"a\":null}", "{\"a\":[]}", false},
	    {"{\"a\":null}", "{\"a\":[1,null]}", true},
	    {"{\"a\":{\"$gt\":1}}", "{\"a\":[0,2]}", true},
	    {"{\"a\":{\"$gt\":5,\"$lt\":3}}", "{\"a\":[1,9]}", true},
	    {"{\"a\":{\"$ne\":2}}", "{\"a\":[1,2]}", false},
	    {"{\"a\":{\"$ne\":3}}", "{\"a\":[1,2]}", true},
	    {"{\"a\":{\"$nin\":[2,5]}}", "{\"a\":[1,2]}", false},
	    {"{\"a\":{\"$not\":{\"$gt\":1}}}", "{\"a\":[0,2]}", false},
	};
	check_rows(rows, ARRAY_LEN(rows));
}

static void test_paths(void **state)
{
	(void)state;
	static const struct row rows[] = {
	    {"{\"a.b\":1}", "{\"a\":{\"b\":1}}", true},
	    {"{\"a.b\":1}", "{\"a\":{\"b\":[3,1]}}", true},
	    {"{\"a.b\":1}", "{\"a\":[{\"b\":2},{\"b\":1}]}", true},
	    {"{\"a.b\":1}", "{\"a\":[{\"b\":2},{\"b\":[1]}]}", true},
	    {"{\"a.b\":1}", "{\"a\":[[{\"b\":1}]]}", false},
	    {"{\"a.0.b\":1}", "{\"a\":[[{\"b\":1}]]}", true},
	    {"{\"a.b\":1}", "{\"a\":5}", false},
	    {"{\"a.1\":2}", "{\"a\":[1,2]}", true},
	    {"{\"a.0\":2}", "{\"a\":[1,2]}", false},
	    {"{\"a.0\":1}", "{\"a\":{\"0\":1}}", true},
	    {"{\"a.0\":1}", "{\"a\":[[1,2],3]}", false},
	    {"{\"a.0\":[1,2]}", "{\"a\":[[1,2],3]}", true},
	    {"{\"a.0\":{\"$gt\":0}}", "{\"a\":[[1,2],3]}", false},
	    {"{\"a.0\":{\"$elemMatch\":{\"$gt\":1}}}", "{\"a\":[[1,2],3]}", true},
	    {"{\"a.0\":1}", "{\"a\":{\"0\":[1,2]}}", true},
	    {"{\"a.0\":1}", "{\"a\":[{\"0\":1}]}", true},
	    {"{\"a.0.b\":1}", "{\"a\":[{\"b\":1}]}", true},
	    {"{\"a.1.b\":1}", "{\"a\":[{\"b\":1}]}", false},
	    {"{\"a.b.c\":1}", "{\"a\":[{\"b\":[{\"c\":7},{\"c\":1}]}]}", true},
	    {"{\"a.b\":null}", "{}", true},
	    {"{\"a.b\":null}", "{\"a\":5}", true},
	    {"{\"a.b\":null}", "{\"a\":{\"b\":2}}", false},
	    {"{\"a.b\":null}", "{\"a\":[{\"b\":1},{}]}", true},
	    {"{\"a.b\":null}", "{\"a\":[1,2]}", false},
	    {"{\"a.b\":{\"$exists\":false}}", "{\"a\":[1,2]}", true},
	    {"{\"a.b\":{\"$exists\":true}}", "{\"a\":[{},{\"b\":1}]}", true},
	};
	check_rows(rows, ARRAY_LEN(rows));
}

static void test_comparison(void **state)
{
	(void)state;
	static const struct row rows[] = {
	    {"{\"a\":{\"$gt\":1}}", "{\"a\":2}", true},
	    {"{\"a\":{\"$gt\":1}}", "{\"a\":1}", false},
	    {"{\"a\":{\"$gt\":1}}", "{\"a\":1.5}", true},
	    {"{\"a\":{\"$gte\":1}}", "{\"a\":1}", true},
	    {"{\"a\":{\"$lt\":1}}", "{\"a\":0.5}", true},
	    {"{\"a\":{\"$lte\":1}}", "{\"a\":1.5}", false},
	    {"{\"a\":{\"$gt\":1}}", "{\"a\":\"2\"}", false},
	    {"{\"a\":{\"$lt\":\"b\"}}", "{\"a\":\"a\"}", true},
	    {"{\"a\":{\"$lt\":\"b\"}}", "{\"a\":1}", false},
	    {"{\"a\":{\"$gt\":1}}", "{}", false},
	    {"{\"a\":{\"$lt\":1}}", "{\"a\":null}", false},
	    {"{\"a\":{\"$gte\":null}}", "{}", true},
	    {"{\"a\":{\"$gt\":null}}", "{\"a\":null}", false},
	    {"{\"a\":{\"$gt\":false}}", "{\"a\":true}", true},
	    {"{\"a\":{\"$gt\":{\"x\":1}}}", "{\"a\":{\"x\":2}}", true},
	    {"{\"a\":{\"$gt\":0,\"$lt\":10}}", "{\"a\":5}", true},
	    {"{\"a\":{\"$gt\":0,\"$lt\":10}}", "{\"a\":10}", false},
	    {"{\"a\":{\"$gt\":9007199254740992}}", "{\"a\":9007199254740993}", true},
	    {"{\"a\":{\"$gt\":1e400}}", "{\"a\":2e400}", true},
	    {"{\"a\":{\"$ne\":1}}", "{\"a\":2}", true},
	    {"{\"a\":{\"$ne\":1}}", "{\"a\":1}", false},
	    {"{\"a\":{\"$ne\":1}}", "{}", true},
	    {"{\"a\":{\"$ne\":null}}", "{}", false},
	    {"{\"a\":{\"$ne\":null}}", "{\"a\":0}", true},
	};
	check_rows(rows, ARRAY_LEN(rows));
}

static void test_sets(void **state)
{
	(void)state;
	static const struct row rows[] = {
	    {"{\"a\":{\"$in\":[3,1,2]}}", "{\"a\":2}", true},
	    {"{\"a\":{\"$in\":[3,1,2]}}", "{\"a\":4}", false},
	    {"{\"a\":{\"$in\":[]}}", "{\"a\":4}", false},
	    {"{\"a\":{\"$in\":[\"x\",null]}}", "{}", true},
	    {"{\"a\":{\"$in\":[\"x\",1]}}", "{}", false},
	    {"{\"a\":{\"$in\":[\"x\",[1,2]]}}", "{\"a\":[1,2]}", true},
	    {"{\"a\":{\"$in\":[7,2]}}", "{\"a\":[1,2]}", true},
	    {"{\"a\":{\"$in\":[{\"b\":1}]}}", "{\"a\":{\"b\":1}}", true},
	    {"{\"a\":{\"$nin\":[1,2]}}", "{\"a\":3}", true},
	    {"{\"a\":{\"$nin\":[1,2]}}", "{\"a\":2}", false},
	    {"{\"a\":{\"$nin\":[1,2]}}", "{}", true},
	    {"{\"a\":{\"$nin\":[null]}}", "{}", false},
	    {"{\"a\":{\"$nin\":[]}}", "{}", true},
	    {"{\"a\":{\"$all\":[1,2]}}", "{\"a\":[2,1,3]}", true},
	    {"{\"a\":{\"$all\":[1,4]}}", "{\"a\":[2,1,3]}", false},
	    {"{\"a\":{\"$all\":[1]}}", "{\"a\":1}", true},
	    {"{\"a\":{\"$all\":[]}}", "{\"a\":[1]}", false},
	    {"{\"a\":{\"$all\":[[1,2]]}}", "{\"a\":[1,2]}", true},
	    {"{\"a\":{\"$all\":[{\"$elemMatch\":{\"b\":1,\"c\":1}},{\"$elemMatch\":{\"b\":2}}]}}",
	     "{\"a\":[{\"b\":1,\"c\":1},{\"b\":2}]}", true},
	    {"{\"a\":{\"$all\":[{\"$elemMatch\":{\"b\":1,\"c\":1}}]}}",
	     "{\"a\":[{\"b\":1},{\"c\":1}]}", false},
	    {"{\"a\":{\"$size\":2}}", "{\"a\":[1,2]}", true},
	    {"{\"a\":{\"$size\":2}}", "{\"a\":[[1,2]]}", false},
	    {"{\"a\":{\"$size\":0}}", "{\"a\":[]}", true},
	    {"{\"a\":{\"$size\":0}}", "{}", false},
	    {"{\"a\":{\"$size\":1}}", "{\"a\":5}", false},
	};
	check_rows(rows, ARRAY_LEN(rows));
}

/* What the manual of MongoDB says of each operator beyond the obvious. */
static void test_documented_corners(void **state)
{
	(void)state;
	static const struct row rows[] = {
	    /* $eq of an object: exactly this, members in this order */
	    {"{\"a\":{\"$eq\":{\"b\":1}}}", "{\"a\":[{\"b\":1}]}", true},
	    /* $ne and $nin: also what lacks the field */
	    {"{\"a.b\":{\"$ne\":1}}", "{\"a\":[{\"b\":1},{\"b\":2}]}", false},
	    {"{\"a.b\":{\"$nin\":[1]}}", "{\"a\":[{\"b\":2},{}]}", true},
	    {"{\"a\":{\"$ne\":[1,2]}}", "{\"a\":[1,2]}", false},
	    {"{\"a\":{\"$ne\":[1,2]}}", "{\"a\":[2,1]}", true},
	    /* comparison only within a type; of arrays by element, of whole arrays with arrays */
	    {"{\"a\":{\"$gte\":[1]}}", "{\"a\":[1,0]}", true},
	    {"{\"a\":{\"$lt\":true}}", "{\"a\":false}", true},
	    {"{\"a\":{\"$lt\":true}}", "{\"a\":0}", false},
	    {"{\"a\":{\"$gt\":\"\"}}", "{\"a\":\"0\"}", true},
	    {"{\"a\":{\"$lte\":null}}", "{}", true},
	    {"{\"a\":{\"$lt\":null}}", "{}", false},
	    {"{\"a\":{\"$gt\":{}}}", "{\"a\":{\"b\":1}}", true},
	    /* integers, doubles and longer numbers by value */
	    {"{\"a\":9007199254740993}", "{\"a\":9007199254740992.0}", false},
	    {"{\"a\":{\"$lt\":0.1}}", "{\"a\":0.09999999999999999999}", true},
	    {"{\"a\":100000000000000000000}", "{\"a\":1e20}", true},
	    {"{\"a\":{\"$in\":[1.0]}}", "{\"a\":1}", true},
	    {"{\"a\":{\"$gt\":-9223372036854775808}}", "{\"a\":-9223372036854775807}", true},
	    /* $exists: null is there */
	    {"{\"a.0\":{\"$exists\":true}}", "{\"a\":[null]}", true},
	    {"{\"a.1\":{\"$exists\":false}}", "{\"a\":[null]}", true},
	    /* $type of an array: of its elements, or array itself */
	    {"{\"a\":{\"$type\":\"number\"}}", "{\"a\":[\"x\",1.5]}", true},
	    {"{\"a\":{\"$type\":4}}", "{\"a\":[]}", true},
	    {"{\"a\":{\"$type\":\"string\"}}", "{\"a\":[[\"x\"]]}", false},
	    /* $not: also what lacks the field, and what is of another type */
	    {"{\"a\":{\"$not\":{\"$gte\":5}}}", "{\"a\":\"x\"}", true},
	    {"{\"a\":{\"$not\":{\"$regex\":\"x\"}}}", "{}", true},
	    {"{\"a\":{\"$not\":{\"$exists\":true}}}", "{}", true},
	    /* $nor with fields that are absent */
	    {"{\"$nor\":[{\"a\":1},{\"b\":{\"$exists\":true}}]}", "{}", true},
	    /* $all: like $and of each */
	    {"{\"a\":{\"$all\":[\"x\",\"y\"]}}", "{\"a\":\"x\"}", false},
	    {"{\"a.b\":{\"$all\":[1,2]}}", "{\"a\":[{\"b\":1},{\"b\":2}]}", true},
	    {"{\"a\":{\"$all\":[null]}}", "{}", true},
	    /* $elemMatch: one element for all conditions, which separate ones need not share */
	    {"{\"a.b\":1,\"a.c\":2}", "{\"a\":[{\"b\":1},{\"c\":2}]}", true},
	    {"{\"a\":{\"$elemMatch\":{\"b\":{\"$exists\":false}}}}", "{\"a\":[{\"b\":1},{}]}",
	     true},
	    {"{\"a\":{\"$elemMatch\":{\"$not\":{\"$gt\":1}}}}", "{\"a\":[2,1]}", true},
	    {"{\"a\":{\"$elemMatch\":{\"0\":5}}}", "{\"a\":[[5]]}", false},
	    {"{\"a\":{\"$elemMatch\":{\"$and\":[{\"b\":1},{\"c\":2}]}}}",
	     "{\"a\":[{\"b\":1,\"c\":2}]}", true},
	    /* $size: of the array itself; its elements do not count */
	    {"{\"a.b\":{\"$size\":1}}", "{\"a\":[{\"b\":[]},{\"b\":[1]}]}", true},
	    /* $mod: fractions are cut off */
	    {"{\"a\":{\"$mod\":[4,0]}}", "{\"a\":[1,8]}", true},
	    {"{\"a\":{\"$mod\":[4,0]}}", "{\"a\":0.5}", true},
	    /* $regex beside others */
	    {"{\"a\":{\"$regex\":\"^a\",\"$ne\":\"ab\"}}", "{\"a\":\"ab\"}", false},
	    {"{\"a\":{\"$in\":[\"^a\"]}}", "{\"a\":\"ab\"}", false},
	    /* several operators on one array need not hold for one element */
	    {"{\"a\":{\"$gt\":15,\"$lt\":20}}", "{\"a\":[10,30]}", true},
	};
	check_rows(rows, ARRAY_LEN(rows));
}

static void test_presence_and_types(void **state)
{
	(void)state;
	static const struct row rows[] = {
	    {"{\"a\":{\"$exists\":true}}", "{\"a\":null}", true},
	    {"{\"a\":{\"$exists\":true}}", "{}", false},
	    {"{\"a\":{\"$exists\":false}}", "{}", true},
	    {"{\"a\":{\"$exists\":false}}", "{\"a\":1}", false},
	    {"{\"a\":{\"$exists\":1}}", "{\"a\":[]}", true},
	    {"{\"a\":{\"$null\":true}}", "{}", true},
	    {"{\"a\":{\"$null\":true}}", "{\"a\":null}", true},
	    {"{\"a\":{\"$null\":true}}", "{\"a\":0}", false},
	    {"{\"a\":{\"$null\":true}}", "{\"a\":[null]}", false},
	    {"{\"a\":{\"$null\":false}}", "{\"a\":0}", true},
	    {"{\"a\":{\"$null\":false}}", "{}", false},
	    {"{\"a\":{\"$type\":\"string\"}}", "{\"a\":\"x\"}", true},
	    {"{\"a\":{\"$type\":\"string\"}}", "{\"a\":[1,\"x\"]}", true},
	    {"{\"a\":{\"$type\":\"array\"}}", "{\"a\":[1]}", true},
	    {"{\"a\":{\"$type\":\"array\"}}", "{\"a\":{}}", false},
	    {"{\"a\":{\"$type\":\"object\"}}", "{\"a\":{}}", true},
	    {"{\"a\":{\"$type\":\"null\"}}", "{\"a\":null}", true},
	    {"{\"a\":{\"$type\":\"null\"}}", "{}", false},
	    {"{\"a\":{\"$type\":\"int\"}}", "{\"a\":2147483647}", true},
	    {"{\"a\":{\"$type\":\"int\"}}", "{\"a\":2147483648}", false},
	    {"{\"a\":{\"$type\":\"long\"}}", "{\"a\":-2147483649}", true},
	    {"{\"a\":{\"$type\":\"decimal\"}}", "{\"a\":1e400}", true},
	    {"{\"a\":{\"$type\":\"number\"}}", "{\"a\":1.5}", true},
	    {"{\"a\":{\"$type\":1}}", "{\"a\":1.5}", true},
	    {"{\"a\":{\"$type\":[\"bool\",2]}}", "{\"a\":true}", true},
	    {"{\"a\":{\"$type\":[\"bool\",2]}}", "{\"a\":1}", false},
	};
	check_rows(rows, ARRAY_LEN(rows));
}

static void test_logic(void **state)
{
	(void)state;
	static const struct row rows[] = {
	    {"{\"$and\":[{\"a\":1},{\"b\":2}]}", "{\"a\":1,\"b\":2}", true},
	    {"{\"$and\":[{\"a\":1},{\"b\":2}]}", "{\"a\":1}", false},
	    {"{\"$or\":[{\"a\":1},{\"b\":2}]}", "{\"b\":2}", true},
	    {"{\"$or\":[{\"a\":1},{\"b\":2}]}", "{\"b\":3}", false},
	    {"{\"$nor\":[{\"a\":1},{\"b\":2}]}", "{\"b\":3}", true},
	    {"{\"$nor\":[{\"a\":1},{\"b\":2}]}", "{\"a\":1}", false},
	    {"{\"c\":1,\"$or\":[{\"a\":1},{\"$and\":[{\"b\":2},{\"b\":{\"$gt\":1}}]}]}",
	     "{\"c\":1,\"b\":2}", true},
	    {"{\"a\":{\"$not\":{\"$gt\":1}}}", "{\"a\":1}", true},
	    {"{\"a\":{\"$not\":{\"$gt\":1}}}", "{\"a\":2}", false},
	    {"{\"a\":{\"$not\":{\"$gt\":1}}}", "{}", true},
	    {"{\"a\":{\"$not\":{\"$gt\":1,\"$lt\":5}}}", "{\"a\":7}", true},
	    {"{\"a\":{\"$not\":{\"$gt\":1,\"$lt\":5}}}", "{\"a\":3}", false},
	    {"{\"a\":{\"$not\":{\"$not\":{\"$gt\":1}}}}", "{\"a\":2}", true},
	};
	check_rows(rows, ARRAY_LEN(rows));
}

static void test_element(void **state)
{
	(void)state;
	static const struct row rows[] = {
	    {"{\"a\":{\"$elemMatch\":{\"$gt\":1,\"$lt\":5}}}", "{\"a\":[0,3]}", true},
	    {"{\"a\":{\"$elemMatch\":{\"$gt\":1,\"$lt\":5}}}", "{\"a\":[0,9]}", false},
	    {"{\"a\":{\"$elemMatch\":{\"$gt\":1}}}", "{\"a\":3}", false},
	    {"{\"a\":{\"$elemMatch\":{\"$ne\":1}}}", "{\"a\":[1,2]}", true},
	    {"{\"a\":{\"$elemMatch\":{\"$ne\":1}}}", "{\"a\":[1,1]}", false},
	    {"{\"a\":{\"$elemMatch\":{\"$in\":[1]}}}", "{\"a\":[[1]]}", false},
	    {"{\"a\":{\"$elemMatch\":{\"b\":1,\"c\":2}}}", "{\"a\":[{\"b\":1},{\"b\":1,\"c\":2}]}",
	     true},
	    {"{\"a\":{\"$elemMatch\":{\"b\":1,\"c\":2}}}", "{\"a\":[{\"b\":1},{\"c\":2}]}", false},
	    {"{\"a\":{\"$elemMatch\":{\"b.c\":{\"$gt\":1}}}}", "{\"a\":[{\"b\":[{\"c\":2}]}]}",
	     true},
	    {"{\"a\":{\"$elemMatch\":{\"$or\":[{\"b\":1},{\"b\":2}]}}}", "{\"a\":[{\"b\":2}]}",
	     true},
	    {"{\"a\":{\"$elemMatch\":{\"id\":7}}}", "{\"a\":[{\"id\":7}]}", true},
	    {"{\"a\":{\"$elemMatch\":{\"id\":\"doc1\"}}}", "{\"a\":[{\"id\":7}]}", false},
	    {"{\"a\":{\"$elemMatch\":{}}}", "{\"a\":[{}]}", true},
	    {"{\"a\":{\"$elemMatch\":{}}}", "{\"a\":[1]}", false},
	    {"{\"a\":{\"$not\":{\"$elemMatch\":{\"b\":1}}}}", "{\"a\":[{\"b\":2}]}", true},
	    {"{\"a\":{\"$elemMatch\":{\"$elemMatch\":{\"$gt\":1}}}}", "{\"a\":[[0,2]]}", true},
	    {"{\"a.b\":{\"$elemMatch\":{\"$gt\":1}}}", "{\"a\":[{\"b\":[0]},{\"b\":[2]}]}", true},
	};
	check_rows(rows, ARRAY_LEN(rows));
}

static void test_regex_and_mod(void **state)
{
	(void)state;
	static const struct row rows[] = {
	    {"{\"a\":{\"$regex\":\"^ab\"}}", "{\"a\":\"abc\"}", true},
	    {"{\"a\":{\"$regex\":\"^ab\"}}", "{\"a\":\"xab\"}", false},
	    {"{\"a\":{\"$regex\":\"b\"}}", "{\"a\":\"abc\"}", true},
	    {"{\"a\":{\"$regex\":\"^AB\",\"$options\":\"i\"}}", "{\"a\":\"abc\"}", true},
	    {"{\"a\":{\"$options\":\"ms\",\"$regex\":\"^x.y$\"}}", "{\"a\":\"q\\nx\\ny\"}", true},
	    {"{\"a\":{\"$regex\":\"a b\",\"$options\":\"x\"}}", "{\"a\":\"ab\"}", true},
	    {"{\"a\":{\"$regex\":\"^.$\"}}", "{\"a\":\"\xc3\xa6\"}", true},
	    {"{\"a\":{\"$regex\":\"\"}}", "{\"a\":\"\"}", true},
	    {"{\"a\":{\"$regex\":\"1\"}}", "{\"a\":1}", false},
	    {"{\"a\":{\"$regex\":\"x\"}}", "{}", false},
	    {"{\"a\":{\"$regex\":\"x\"}}", "{\"a\":[\"b\",\"x\"]}", true},
	    {"{\"a\":{\"$not\":{\"$regex\":\"^x\"}}}", "{\"a\":\"y\"}", true},
	    {"{\"id\":{\"$regex\":\"^doc\"}}", "{}", true},
	    {"{\"a\":{\"$mod\":[4,1]}}", "{\"a\":9}", true},
	    {"{\"a\":{\"$mod\":[4,1]}}", "{\"a\":8}", false},
	    {"{\"a\":{\"$mod\":[4,-1]}}", "{\"a\":-9}", true},
	    {"{\"a\":{\"$mod\":[-4,1]}}", "{\"a\":9}", true},
	    {"{\"a\":{\"$mod\":[4.9,1.2]}}", "{\"a\":9.7}", true},
	    {"{\"a\":{\"$mod\":[4,0]}}", "{\"a\":-9223372036854775808}", true},
	    {"{\"a\":{\"$mod\":[10,5]}}", "{\"a\":18446744073709551615}", true},
	    {"{\"a\":{\"$mod\":[4,0]}}", "{\"a\":\"4\"}", false},
	    {"{\"a\":{\"$mod\":[4,0]}}", "{\"a\":1e300}", false},
	};
	check_rows(rows, ARRAY_LEN(rows));
}

static void test_id(void **state)
{
	(void)state;
	static const struct row rows[] = {
	    {"{\"id\":\"doc1\"}", "{}", true},
	    {"{\"id\":\"doc2\"}", "{}", false},
	    {"{\"id\":{\"$in\":[\"x\",\"doc1\"]}}", "{}", true},
	    {"{\"id\":{\"$gt\":\"doc0\"}}", "{}", true},
	    {"{\"id\":{\"$exists\":true}}", "{}", true},
	    {"{\"$or\":[{\"id\":\"doc1\"},{\"a\":1}]}", "{}", true},
	    {"{\"id.x\":{\"$exists\":true}}", "{}", false},
	};
	check_rows(rows, ARRAY_LEN(rows));
}

static void check_refused(const char *filter, const char *place)
{
	struct arena arena = {0};
	struct query_error error;
	struct buf bytes = packed(filter);
	if (query_compile(buf_slice(&bytes), &arena, &error))
		fail_msg("%s was taken", filter);
	if (strcmp(error.place, place) != 0)
		fail_msg("%s refused at '%s', not '%s'", filter, error.place, place);
	assert_true(strlen(error.text) > 0);
	arena_close(&arena);
	buf_close(&bytes);
}

static void test_refusals(void **state)
{
	(void)state;
	static const char *const rows[][2] = {
	    {"[]", ""},
	    {"5", ""},
	    {"{\"$where\":\"1\"}", "/$where"},
	    {"{\"$not\":{\"a\":1}}", "/$not"},
	    {"{\"a\":{\"$foo\":1}}", "/a/$foo"},
	    {"{\"a\":{\"$gt\":1,\"b\":2}}", "/a/b"},
	    {"{\"$and\":[]}", "/$and"},
	    {"{\"$or\":{\"a\":1}}", "/$or"},
	    {"{\"$or\":[{\"a\":1},5]}", "/$or/1"},
	    {"{\"$or\":[{\"a\":{\"$bad\":1}}]}", "/$or/0/a/$bad"},
	    {"{\"a\":{\"$in\":5}}", "/a/$in"},
	    {"{\"a\":{\"$in\":[{\"$gt\":1}]}}", "/a/$in/0"},
	    {"{\"a\":{\"$exists\":\"yes\"}}", "/a/$exists"},
	    {"{\"a\":{\"$null\":2}}", "/a/$null"},
	    {"{\"a\":{\"$type\":\"regex\"}}", "/a/$type"},
	    {"{\"a\":{\"$type\":[]}}", "/a/$type"},
	    {"{\"a\":{\"$type\":0}}", "/a/$type"},
	    {"{\"a\":{\"$not\":5}}", "/a/$not"},
	    {"{\"a\":{\"$not\":{}}}", "/a/$not"},
	    {"{\"a\":{\"$regex\":5}}", "/a/$regex"},
	    {"{\"a\":{\"$regex\":\"(\"}}", "/a/$regex"},
	    {"{\"a\":{\"$regex\":\"x\",\"$options\":\"g\"}}", "/a/$regex"},
	    {"{\"a\":{\"$regex\":\"x\",\"$options\":1}}", "/a/$regex"},
	    {"{\"a\":{\"$options\":\"i\"}}", "/a/$options"},
	    {"{\"a\":{\"$size\":-1}}", "/a/$size"},
	    {"{\"a\":{\"$size\":1.5}}", "/a/$size"},
	    {"{\"a\":{\"$all\":5}}", "/a/$all"},
	    {"{\"a\":{\"$all\":[{\"$gt\":1}]}}", "/a/$all/0"},
	    {"{\"a\":{\"$elemMatch\":5}}", "/a/$elemMatch"},
	    {"{\"a\":{\"$mod\":[0,1]}}", "/a/$mod"},
	    {"{\"a\":{\"$mod\":[1]}}", "/a/$mod"},
	    {"{\"a\":{\"$mod\":[1,2,3]}}", "/a/$mod"},
	    {"{\"a\":{\"$mod\":[\"1\",2]}}", "/a/$mod"},
	    {"{\"a\":{\"$mod\":[1e300,2]}}", "/a/$mod"},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		check_refused(rows[i][0], rows[i][1]);
}

static struct query *compile_text(struct arena *arena, struct buf *bytes, const char *text,
				  struct query_error *error)
{
	buf_close(bytes);
	*bytes = packed(text);
	return query_compile(buf_slice(bytes), arena, error);
}

static void nested_not(struct buf *out, int levels)
{
	buf_clear(out);
	buf_append_text(out, "{\"a\":");
	for (int i = 0; i < levels; i++)
		buf_append_text(out, "{\"$not\":");
	buf_append_text(out, "{\"$gt\":1}");
	for (int i = 0; i < levels; i++)
		buf_append_byte(out, '}');
	buf_append_byte(out, '}');
}

static void many_conditions(struct buf *out, int count)
{
	buf_clear(out);
	buf_append_text(out, "{\"$or\":[");
	for (int i = 0; i < count; i++)
		buf_printf(out, "%s{\"a\":%d}", i ? "," : "", i);
	buf_append_text(out, "]}");
}

static void path_of(struct buf *out, int names)
{
	buf_clear(out);
	buf_append_text(out, "{\"a");
	for (int i = 1; i < names; i++)
		buf_append_text(out, ".a");
	buf_append_text(out, "\":1}");
}

static void test_limits(void **state)
{
	(void)state;
	struct arena arena = {0};
	struct query_error error;
	struct buf text = {0}, bytes = {0};
	nested_not(&text, 30);
	assert_non_null(compile_text(&arena, &bytes, buf_cstr(&text), &error));
	nested_not(&text, 31);
	assert_null(compile_text(&arena, &bytes, buf_cstr(&text), &error));
	many_conditions(&text, 2046);
	assert_non_null(compile_text(&arena, &bytes, buf_cstr(&text), &error));
	many_conditions(&text, 2048);
	assert_null(compile_text(&arena, &bytes, buf_cstr(&text), &error));
	path_of(&text, 20);
	assert_non_null(compile_text(&arena, &bytes, buf_cstr(&text), &error));
	path_of(&text, 21);
	assert_null(compile_text(&arena, &bytes, buf_cstr(&text), &error));
	assert_null(query_compile(slice_of("\x81\xa1x", 3), &arena, &error));
	assert_non_null(query_compile((struct slice){0}, &arena, &error));
	buf_close(&text);
	buf_close(&bytes);
	arena_close(&arena);
}

static bool is_too_costly(const char *pattern, const char *filler, int count)
{
	struct arena arena = {0};
	struct query_error error;
	struct buf text = {0}, filter = {0}, bytes = {0};
	buf_printf(&text, "{\"a\":{\"$regex\":\"%s\"}}", pattern);
	struct query *q = compile_text(&arena, &filter, buf_cstr(&text), &error);
	assert_non_null(q);
	buf_clear(&text);
	buf_append_text(&text, "{\"a\":\"");
	for (int i = 0; i < count; i++)
		buf_append_text(&text, filler);
	buf_append_text(&text, "!\"}");
	bytes = packed(buf_cstr(&text));
	bool matches = query_matches(q, slice_text("doc1"), buf_slice(&bytes));
	bool costly = query_too_costly(q);
	assert_false(matches && costly);
	buf_close(&text);
	buf_close(&filter);
	buf_close(&bytes);
	arena_close(&arena);
	return costly;
}

/* A pattern that backtracks without end gives up, and says so, instead of holding up the node. */
static void test_costly_patterns(void **state)
{
	(void)state;
	assert_true(is_too_costly("^(a+)+$", "a", 200));
	assert_true(is_too_costly("(x+x+)+[yz]", "x", 50));
	assert_true(is_too_costly("^(a|aa)+$", "a", 100));
	assert_true(is_too_costly("(.*)(.*)(.*)(.*)(.*)[bc]", "a", 100));
	assert_true(is_too_costly("a*+[bc]", "a", 1000000));
	assert_true(is_too_costly("(?:aa)*b[^!]|c", "a", 4000000));
	assert_false(is_too_costly("^(a+)+$", "a", 2));
	assert_false(is_too_costly(".*b[cd]", "a", 1000000));
	assert_false(is_too_costly("^a.*!$", "a", 1000000));
	assert_false(is_too_costly("lorem .* dolor", "lorem ipsum dolor sit amet ", 1000));
	assert_false(is_too_costly("(lorem|ipsum) +sit", "lorem ipsum dolor sit amet ", 1000));
	assert_false(is_too_costly("[a-z]+@[a-z]+[.]com", "lorem ipsum@dolor.sit amet ", 1000));
}

/* No single value takes long, but all of them together do. */
static void test_patterns_costly_in_sum(void **state)
{
	(void)state;
	struct arena arena = {0};
	struct query_error error;
	struct buf filter = {0};
	struct query *q =
	    compile_text(&arena, &filter, "{\"a\":{\"$regex\":\"(a+)+[bc]\"}}", &error);
	struct buf bytes = packed("{\"a\":\"aaaaaaaaaaaa\"}");
	int documents = 0;
	while (!query_too_costly(q) && documents < 1000) {
		query_matches(q, slice_text("doc1"), buf_slice(&bytes));
		documents++;
	}
	assert_in_range(documents, 2, 500);
	arena_close(&arena);
	buf_close(&filter);
	buf_close(&bytes);
}

/* What matching comes to need beyond what the filter takes: memory, or steps. */
struct matching {
	size_t bytes;
	bool costly;
};

static struct matching match_patterns(bool mango, int patterns, int letters)
{
	struct arena arena = {0};
	struct query_error error;
	struct buf text = {0}, filter = {0};
	buf_append_text(&text, mango ? "{\"$mango\":{\"$or\":[" : "{\"$or\":[");
	for (int i = 0; i < patterns; i++)
		buf_printf(&text, "%s{\"a\":{\"$regex\":\"(a|b)*[cd]\"}}", i > 0 ? "," : "");
	buf_append_text(&text, mango ? "]}}" : "]}");
	struct query *q = compile_text(&arena, &filter, buf_cstr(&text), &error);
	assert_non_null(q);
	buf_clear(&text);
	buf_append_text(&text, "{\"a\":\"");
	for (int i = 0; i < letters; i++)
		buf_append_byte(&text, 'a');
	buf_append_text(&text, "\"}");
	struct buf bytes = packed(buf_cstr(&text));
	size_t before = arena.used;
	assert_false(query_matches(q, slice_text("doc1"), buf_slice(&bytes)));
	struct matching out = {arena.used - before, query_too_costly(q)};
	arena_close(&arena);
	buf_close(&text);
	buf_close(&filter);
	buf_close(&bytes);
	return out;
}

static void test_many_patterns_take_what_one_may(void **state)
{
	(void)state;
	for (int mango = 0; mango < 2; mango++) {
		struct matching one = match_patterns(mango, 1, 300);
		assert_false(one.costly);
		assert_int_equal(match_patterns(mango, 100, 300).bytes, one.bytes);
		assert_true(match_patterns(mango, 100, 300).costly);
		one = match_patterns(mango, 1, 20000);
		assert_true(one.costly);
		assert_int_equal(match_patterns(mango, 100, 20000).bytes, one.bytes);
	}
}

/* A document's long member comes before the one that all conditions ask for. */
static struct matching match_conditions(bool mango, int conditions, size_t bytes)
{
	struct arena arena = {0};
	struct query_error error;
	struct buf text = {0}, filter = {0};
	buf_append_text(&text, mango ? "{\"$mango\":{\"$or\":[" : "{\"$or\":[");
	for (int i = 0; i < conditions; i++)
		buf_printf(&text, "%s{\"z\":{\"$gt\":%d}}", i > 0 ? "," : "", i);
	buf_append_text(&text, mango ? "]}}" : "]}");
	struct query *q = compile_text(&arena, &filter, buf_cstr(&text), &error);
	assert_non_null(q);
	buf_clear(&text);
	buf_append_text(&text, "{\"a\":\"");
	for (size_t i = 0; i < bytes; i++)
		buf_append_byte(&text, 'x');
	buf_append_text(&text, "\"}");
	struct buf body = packed(buf_cstr(&text));
	assert_false(query_matches(q, slice_text("doc1"), buf_slice(&body)));
	struct matching out = {query_steps(q), query_too_costly(q)};
	arena_close(&arena);
	buf_close(&text);
	buf_close(&filter);
	buf_close(&body);
	return out;
}

/* Few conditions are held against the largest documents, many against others: both together would
 * keep a lead from all else for minutes. */
static void test_conditions_costly_in_sum(void **state)
{
	(void)state;
	enum { LONG = 8 * 1024 * 1024, SHORT = 8 * 1024 };
	for (int mango = 0; mango < 2; mango++) {
		struct matching few = match_conditions(mango, 4, LONG);
		assert_false(few.costly);
		assert_in_range(few.bytes, match_conditions(mango, 2, LONG).bytes * 3 / 2,
				QUERY_STEPS_MAX / 8);
		assert_false(match_conditions(mango, 1000, SHORT).costly);
		struct matching many = match_conditions(mango, 1000, LONG);
		assert_true(many.costly);
		assert_in_range(many.bytes, QUERY_STEPS_MAX, QUERY_STEPS_MAX + few.bytes);
	}
}

static void check_order(const char *order_text, const char *document, const char *expected)
{
	struct query_order order;
	struct query_error error;
	struct buf bytes = packed(document), scratch = {0}, text = {0};
	assert_true(query_order_parse(slice_text(order_text), &order, &error));
	assert_int_equal(order.descending, order_text[0] == 'd');
	struct slice value =
	    query_order_value(&order, slice_text("doc1"), buf_slice(&bytes), &scratch);
	assert_true(json_from_msgpack(value, &text));
	assert_string_equal(buf_cstr(&text), expected);
	buf_close(&bytes);
	buf_close(&scratch);
	buf_close(&text);
}

static void test_order(void **state)
{
	(void)state;
	check_order("asc(a)", "{\"a\":5}", "5");
	check_order("desc(a.b)", "{\"a\":{\"b\":\"x\"}}", "\"x\"");
	check_order("asc(a)", "{}", "null");
	check_order("asc(id)", "{}", "\"doc1\"");
	check_order("asc(a)", "{\"a\":[3,1,2]}", "1");
	check_order("desc(a)", "{\"a\":[1,3,2]}", "3");
	check_order("asc(a)", "{\"a\":[]}", "null");
	check_order("asc(a)", "{\"a\":[[1],2]}", "2");
	check_order("asc(a.b)", "{\"a\":[{\"b\":3},{\"b\":2}]}", "2");
	check_order("desc(a.b)", "{\"a\":[{\"b\":3},{\"b\":[2,9]},{}]}", "9");
	check_order("asc(a.b)", "{\"a\":[{\"b\":3},{}]}", "null");
	check_order("asc(a.b)", "{\"a\":[{\"b\":3},7]}", "null");
	check_order("asc(a.b)", "{\"a\":[]}", "null");
	check_order("desc(a.b)", "{\"a\":7}", "null");
	check_order("asc(a.1)", "{\"a\":[4,5,6]}", "5");
	check_order("asc(a.1.b)", "{\"a\":[{\"b\":1},{\"b\":5}]}", "5");
	check_order("asc(a.)", "{\"a\":{\"\":5}}", "5");
	check_order("asc(a.)", "{\"a\":[{\"\":5},{\"\":4}]}", "4");
	check_order("asc(a.)", "{\"a\":5}", "null");
	check_order("asc(a.b.c)", "{\"a\":[{\"b\":[{\"c\":8},{\"c\":6}]},{\"b\":{\"c\":7}}]}", "6");
	struct query_order order;
	struct query_error error;
	static const char *const bad[] = {"",      "a",     "asc()",  "asc(a",
					  "up(a)", "asc a", "ASC(a)", "asc("};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(query_order_parse(slice_text(bad[i]), &order, &error));
}

static void test_long_order_values(void **state)
{
	(void)state;
	struct query_order order;
	struct query_error error;
	struct buf text = {0}, scratch = {0};
	assert_true(query_order_parse(slice_text("asc(a)"), &order, &error));
	buf_append_text(&text, "{\"a\":\"x");
	for (int i = 0; i < 1000; i++)
		buf_append_text(&text, "\xc3\xa6");
	buf_append_text(&text, "\"}");
	struct buf document = packed(buf_cstr(&text));
	struct slice value =
	    query_order_value(&order, slice_text("i"), buf_slice(&document), &scratch);
	assert_true(value.len <= LIMIT_ORDER_KEY_BYTES && value.len > LIMIT_ORDER_KEY_BYTES - 16);
	buf_clear(&text);
	assert_true(json_from_msgpack(value, &text));
	buf_close(&text);
	buf_close(&scratch);
	buf_close(&document);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_equality),
	    cmocka_unit_test(test_arrays),
	    cmocka_unit_test(test_paths),
	    cmocka_unit_test(test_comparison),
	    cmocka_unit_test(test_sets),
	    cmocka_unit_test(test_documented_corners),
	    cmocka_unit_test(test_presence_and_types),
	    cmocka_unit_test(test_logic),
	    cmocka_unit_test(test_element),
	    cmocka_unit_test(test_regex_and_mod),
	    cmocka_unit_test(test_id),
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_costly_patterns),
	    cmocka_unit_test(test_patterns_costly_in_sum),
	    cmocka_unit_test(test_many_patterns_take_what_one_may),
	    cmocka_unit_test(test_conditions_costly_in_sum),
	    cmocka_unit_test(test_order),
	    cmocka_unit_test(test_long_order_values),
	};
	return cmocka_run_group_tests(tests, open_parser, close_parser);
}
