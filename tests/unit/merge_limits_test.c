/* What one merge looks at is bounded. */
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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_very_long_arrays_stay_open, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
