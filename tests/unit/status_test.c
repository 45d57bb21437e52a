#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "proto/status.h"

static const uint64_t numbers[] = {
#define STATUS(name, number, http, retry, code, text) (number),
#include "proto/status.def"
#undef STATUS
};

static void test_rows_are_found_by_number(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		assert_int_equal(status_row(numbers[i])->status, numbers[i]);
	assert_string_equal(status_row(50)->name, "CONFLICT");
	assert_string_equal(status_row(50)->code, "conflict");
	assert_int_equal(status_row(50)->http, 409);
	assert_int_equal(status_row(STATUS_NO_LEAD)->retry, RETRY_LATER);
}

static void test_unknown_numbers_read_as_internal(void **state)
{
	(void)state;
	const uint64_t unknown[] = {3, 5, 112, 255, UINT32_MAX, UINT64_MAX};
	for (size_t i = 0; i < ARRAY_LEN(unknown); i++)
		assert_int_equal(status_row(unknown[i])->status, STATUS_INTERNAL);
}

static void test_codes_differ(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(status_row(numbers[i])->code,
						status_row(numbers[j])->code);
}

static void test_success_is_2xx(void **state)
{
	(void)state;
	assert_true(status_is_success(STATUS_OK));
	assert_true(status_is_success(STATUS_CREATED));
	assert_true(status_is_success(STATUS_ACCEPTED));
	assert_false(status_is_success(STATUS_INVALID_JSON));
	assert_false(status_is_success(STATUS_NOT_LEAD));
	assert_false(status_is_success(9999));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows_are_found_by_number),
	    cmocka_unit_test(test_unknown_numbers_read_as_internal),
	    cmocka_unit_test(test_codes_differ),
	    cmocka_unit_test(test_success_is_2xx),
	};
	return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
