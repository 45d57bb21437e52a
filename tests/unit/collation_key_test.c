/* Keys of views as bytes: both orders, and their bounds. */
#include "common/doc/collation_key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "common/doc/collation.h"
#include "proto/msgpack.h"
#include "tests/unit/packed.h"

static bool key_of(enum collation_order order, const char *json, struct buf *out)
{
	struct buf value = packed(json);
	bool fits = collation_key(order, buf_slice(&value), out);
	buf_close(&value);
	return fits;
}

static int compare(enum collation_order order, const char *a, const char *b)
{
	struct buf x = {0}, y = {0};
	assert_true(key_of(order, a, &x) && key_of(order, b, &y));
	int result = slice_compare(buf_slice(&x), buf_slice(&y));
	buf_close(&x);
	buf_close(&y);
	return result;
}

static void ascends(enum collation_order order, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < count; k++) {
			int found = compare(order, list[i], list[k]);
			if ((found < 0) != (i < k) || (found > 0) != (i > k))
				fail_msg("%s against %s: %d", list[i], list[k], found);
		}
}

/* The list of CouchDB's own suite. */
static void test_unicode(void **state)
{
	static const char *const ascending[] = {
	    "null",
	    "false",
	    "true",
	    "-1e400",
	    "-1",
	    "0",
	    "1",
	    "2",
	    "3.0",
	    "4",
	    "18446744073709551615",
	    "\"\"",
	    "\"a\"",
	    "\"A\"",
	    "\"aa\"",
	    "\"Aa\"",
	    "\"b\"",
	    "\"B\"",
	    "\"ba\"",
	    "\"bb\"",
	    "\"\u00e9\"",
	    "\"f\"",
	    "\"\u4e00\"",
	    "\"\ufffd\"",
	    "[]",
	    "[\"a\"]",
	    "[\"a\",\"a\"]",
	    "[\"A\"]",
	    "[\"b\"]",
	    "[\"b\",\"c\"]",
	    "[\"b\",\"c\",\"a\"]",
	    "[\"b\",\"d\"]",
	    "[\"b\",\"d\",\"e\"]",
	    "{}",
	    "{\"a\":1}",
	    "{\"a\":2}",
	    "{\"b\":1}",
	    "{\"b\":2}",
	    "{\"b\":2,\"a\":1}",
	    "{\"b\":2,\"c\":2}",
	};
	(void)state;
	ascends(COLLATION_UNICODE, ascending, ARRAY_LEN(ascending));
}

static void test_raw(void **state)
{
	static const char *const ascending[] = {
	    "-1",           "0",         "2",     "false", "null",    "true", "{}",
	    "{\"a\":1}",    "{\"b\":1}", "[]",    "[1]",   "[\"a\"]", "\"\"", "\"A\"",
	    "\"A\\u0000\"", "\"B\"",     "\"a\"",
	};
	(void)state;
	ascends(COLLATION_RAW, ascending, ARRAY_LEN(ascending));
}

/* Written in two ways, and what has no weight. */
static void test_same(void **state)
{
	(void)state;
	assert_int_equal(compare(COLLATION_UNICODE, "\"\u00e9\"", "\"e\u0301\""), 0);
	assert_int_equal(compare(COLLATION_UNICODE, "\"a\"", "\"a\\u0000\""), 0);
	assert_int_not_equal(compare(COLLATION_RAW, "\"\u00e9\"", "\"e\u0301\""), 0);
	assert_int_equal(compare(COLLATION_UNICODE, "1", "1.0"), 0);
}

static void test_bounds(void **state)
{
	struct buf json = {0}, key = {0};
	(void)state;
	for (int order = COLLATION_UNICODE; order <= COLLATION_RAW; order++)
		for (size_t len = 1300; len < 1600; len++) {
			buf_clear(&json);
			buf_clear(&key);
			buf_append_byte(&json, '"');
			for (size_t i = 0; i < len; i++)
				buf_append_byte(&json, (uint8_t)('a' + i % 26));
			buf_append_byte(&json, '"');
			buf_append_byte(&key, 9);
			bool fits = key_of(order, buf_cstr(&json), &key);
			assert_true(key.len <= 1 + COLLATION_KEY_BYTES);
			assert_true(fits || key.len == 1);
			assert_true(fits || len > 1400);
			assert_false(fits && len > COLLATION_KEY_BYTES);
		}
	buf_close(&json);
	buf_close(&key);
}

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* [[ ... [1,1,...,1,last] ... ]] */
static struct buf deep(uint32_t levels, char last)
{
	enum { COUNT = 300000 };
	struct buf json = {0};
	for (uint32_t i = 0; i < levels; i++)
		buf_append_byte(&json, '[');
	for (uint32_t i = 0; i < COUNT; i++)
		buf_append_text(&json, "1,");
	buf_append_byte(&json, (uint8_t)last);
	for (uint32_t i = 0; i < levels; i++)
		buf_append_byte(&json, ']');
	struct buf out = packed(buf_cstr(&json));
	buf_close(&json);
	return out;
}

/* How much longer eight comparisons take than reading the value eight times. */
static double cost(uint32_t levels)
{
	struct buf value = deep(levels, '1'), other = deep(levels, '2'), key = {0};
	double from = seconds();
	for (int i = 0; i < 8; i++)
		assert_true(mp_valid(buf_slice(&value)));
	double once = seconds() - from;
	from = seconds();
	for (int i = 0; i < 8; i++) {
		assert_true(collation_compare(buf_slice(&value), buf_slice(&other)) < 0);
		assert_false(collation_key(COLLATION_UNICODE, buf_slice(&value), &key));
		assert_false(collation_key(COLLATION_RAW, buf_slice(&value), &key));
	}
	double all = seconds() - from;
	buf_close(&value);
	buf_close(&other);
	buf_close(&key);
	return all / once;
}

/* What stands deep down is not read anew for each level. */
static void test_depth_costs_nothing(void **state)
{
	(void)state;
	double flat = cost(1);
	assert_true(cost(96) < 6 * flat);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_unicode),
	    cmocka_unit_test(test_raw),
	    cmocka_unit_test(test_same),
	    cmocka_unit_test(test_bounds),
	    cmocka_unit_test(test_depth_costs_nothing),
	};
	return cmocka_run_group_tests(tests, open_parser, close_parser);
}
