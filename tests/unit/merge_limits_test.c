/* What one merge looks at is bounded. */
#include <time.h>

#include "tests/unit/merge_case.h"

/* {"a":[1,1,...]} */
static const char *long_array(struct buf *json, uint32_t count, char element)
{
	buf_clear(json);
	buf_append_text(json, "{\"a\":[");
	for (uint32_t i = 0; i < count; i++) {
		buf_append_byte(json, (uint8_t)element);
		buf_append_byte(json, i + 1 < count ? ',' : ']');
	}
	buf_append_byte(json, '}');
	return buf_cstr(json);
}

/* One element more and the path is for people. */
static void test_very_long_arrays_stay_open(void **state)
{
	static const char *const policies[] = {"{\"paths\":{\"a\":\"set\"}}",
					       "{\"paths\":{\"a\":\"append\"}}"};
	struct fixture *f = *state;
	struct buf json = {0};
	for (uint32_t p = 0; p < sizeof policies / sizeof *policies; p++) {
		for (uint32_t more = 0; more < 2; more++) {
			start(f, policies[p], "{}");
			add(f, "2-b", long_array(&json, 500000, '1'));
			add(f, "2-a", long_array(&json, 500000 + more, '2'));
			run(f);
			assert_int_equal(f->result.outcome, more ? MERGE_OPEN : MERGE_DONE);
		}
		assert_non_null(strstr(to_json(f, buf_slice(&f->result.detail)), "\"path\":\"a\""));
	}
	buf_close(&json);
}

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* [1,1,...], or [[1,1,...],[1,1,...], ...] */
static void append_ones(struct buf *json, uint32_t rows, uint32_t each)
{
	buf_append_byte(json, '[');
	for (uint32_t row = 0; row < rows; row++) {
		buf_append_text(json, row > 0 ? ",[" : "[");
		for (uint32_t i = 0; i < each; i++)
			buf_append_text(json, i > 0 ? ",1" : "1");
		buf_printf(json, ",%u]", (unsigned)row);
	}
	buf_append_byte(json, ']');
}

/* One long element that a side took out is looked for among many short ones. */
static void test_long_elements_among_many_are_cheap(void **state)
{
	struct fixture *f = *state;
	struct buf base = {0};
	struct buf side = {0};
	buf_append_text(&base, "{\"a\":");
	append_ones(&base, 1, 100000);
	buf_append_byte(&base, '}');
	start(f, "{\"paths\":{\"a\":\"append\"}}", buf_cstr(&base));
	add(f, "2-b", long_array(&side, 100000, '1'));
	add(f, "2-a", long_array(&side, 100000, '2'));
	double from = seconds();
	run(f);
	assert_int_equal(f->result.outcome, MERGE_OPEN);
	assert_true(seconds() - from < 5);
	buf_close(&base);
	buf_close(&side);
}

/* The same long elements in another order on one side: each finds its like. */
static void test_long_elements_in_another_order_are_cheap(void **state)
{
	enum { ROWS = 1800, EACH = 500 };
	struct fixture *f = *state;
	struct buf base = {0};
	struct buf side = {0};
	buf_append_text(&base, "{\"a\":");
	append_ones(&base, ROWS, EACH);
	buf_append_byte(&base, '}');
	start(f, "{\"paths\":{\"a\":\"append\"}}", buf_cstr(&base));
	buf_append_text(&side, "{\"a\":[\"x\"");
	for (uint32_t row = ROWS; row-- > 0;) {
		buf_append_text(&side, ",[");
		for (uint32_t i = 0; i < EACH; i++)
			buf_append_text(&side, i > 0 ? ",1" : "1");
		buf_printf(&side, ",%u]", (unsigned)row);
	}
	buf_append_text(&side, "]}");
	add(f, "2-b", buf_cstr(&side));
	base.len -= 2;
	buf_append_text(&base, ",\"y\"]}");
	add(f, "2-a", buf_cstr(&base));
	double from = seconds();
	run(f);
	assert_int_equal(f->result.outcome, MERGE_DONE);
	assert_true(seconds() - from < 5);
	const char *merged = to_json(f, buf_slice(&f->result.body));
	assert_string_equal(merged + strlen(merged) - 9, "\"y\",\"x\"]}");
	buf_close(&base);
	buf_close(&side);
}

/* {"a":{"a": ... [1,1,...,last] ... }} */
static const char *deep_array(struct buf *json, uint32_t levels, uint32_t count, uint32_t last)
{
	buf_clear(json);
	for (uint32_t i = 0; i < levels; i++)
		buf_append_text(json, "{\"a\":");
	buf_append_byte(json, '[');
	for (uint32_t i = 0; i < count; i++)
		buf_append_text(json, "1,");
	buf_printf(json, "%u]", (unsigned)last);
	for (uint32_t i = 0; i < levels; i++)
		buf_append_byte(json, '}');
	return buf_cstr(json);
}

/* What stands deep down is not read anew for each level below each level. */
static void test_deep_documents_are_cheap(void **state)
{
	enum { LEVELS = 98, COUNT = 300000 };
	struct fixture *f = *state;
	struct buf json = {0};
	start(f, "{}", deep_array(&json, LEVELS, COUNT, 1));
	add(f, "2-b", deep_array(&json, LEVELS, COUNT, 2));
	add(f, "2-a", deep_array(&json, LEVELS, COUNT, 3));
	double from = seconds();
	run(f);
	assert_int_equal(f->result.outcome, MERGE_OPEN);
	assert_true(seconds() - from < 8);
	buf_close(&json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_very_long_arrays_stay_open, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_long_elements_among_many_are_cheap, setup,
					    teardown),
	    cmocka_unit_test_setup_teardown(test_long_elements_in_another_order_are_cheap, setup,
					    teardown),
	    cmocka_unit_test_setup_teardown(test_deep_documents_are_cheap, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
