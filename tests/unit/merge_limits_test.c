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

/* CPU time of a merge, which comes to this. */
static double cost(struct fixture *f, enum merge_outcome outcome)
{
	double from = seconds();
	run(f);
	assert_int_equal(f->result.outcome, outcome);
	return seconds() - from;
}

/* Of one that is eight times as large, whatever runs beside: no more than in proportion, while a
 * square would be 64 times as much. */
static void assert_cheap(double small, double large)
{
	assert_true(large < 24 * small);
}

/* One long element that a side took out is looked for among many short ones. */
static double cost_of_long_element(struct fixture *f, uint32_t count)
{
	struct buf base = {0};
	struct buf side = {0};
	buf_append_text(&base, "{\"a\":");
	append_ones(&base, 1, count);
	buf_append_byte(&base, '}');
	start(f, "{\"paths\":{\"a\":\"append\"}}", buf_cstr(&base));
	add(f, "2-b", long_array(&side, count, '1'));
	add(f, "2-a", long_array(&side, count, '2'));
	buf_close(&base);
	buf_close(&side);
	return cost(f, MERGE_OPEN);
}

static void test_long_elements_among_many_are_cheap(void **state)
{
	double small = cost_of_long_element(*state, 12500);
	assert_cheap(small, cost_of_long_element(*state, 100000));
}

/* The same long elements in another order on one side: each finds its like. */
static double cost_of_reordered(struct fixture *f, uint32_t rows)
{
	enum { EACH = 500 };
	struct buf base = {0};
	struct buf side = {0};
	buf_append_text(&base, "{\"a\":");
	append_ones(&base, rows, EACH);
	buf_append_byte(&base, '}');
	start(f, "{\"paths\":{\"a\":\"append\"}}", buf_cstr(&base));
	buf_append_text(&side, "{\"a\":[\"x\"");
	for (uint32_t row = rows; row-- > 0;) {
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
	buf_close(&base);
	buf_close(&side);
	return cost(f, MERGE_DONE);
}

static void test_long_elements_in_another_order_are_cheap(void **state)
{
	struct fixture *f = *state;
	double small = cost_of_reordered(f, 225);
	assert_cheap(small, cost_of_reordered(f, 1800));
	const char *merged = to_json(f, buf_slice(&f->result.body));
	assert_string_equal(merged + strlen(merged) - 9, "\"y\",\"x\"]}");
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
static double cost_of_depth(struct fixture *f, uint32_t levels)
{
	enum { COUNT = 30000 };
	struct buf json = {0};
	start(f, "{}", deep_array(&json, levels, COUNT, 1));
	add(f, "2-b", deep_array(&json, levels, COUNT, 2));
	add(f, "2-a", deep_array(&json, levels, COUNT, 3));
	buf_close(&json);
	return cost(f, MERGE_OPEN);
}

static void test_deep_documents_are_cheap(void **state)
{
	double small = cost_of_depth(*state, 12);
	assert_cheap(small, cost_of_depth(*state, 96));
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
