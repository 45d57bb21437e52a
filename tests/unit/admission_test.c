/* How many requests a gateway lets in, by how late answers come. */
#include "gateway/admission.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { MAX = 10000 };

/* So many intervals in which answers take so long, while more is asked than let in. */
static int64_t press(struct admission *a, int64_t now_ms, int intervals, int64_t took_ms)
{
	for (int i = 0; i < intervals; i++) {
		for (int k = 0; k < 10; k++)
			admission_answered(a, took_ms, now_ms);
		(void)admission_admit(a, a->window, MAX, now_ms);
		now_ms += ADMISSION_INTERVAL_MS;
	}
	return now_ms;
}

static void test_few_are_always_let_in(void **state)
{
	(void)state;
	struct admission a;
	admission_init(&a);
	int64_t now_ms = press(&a, 0, 200, 5000);
	assert_int_equal(a.window, ADMISSION_WINDOW_MIN);
	assert_true(admission_admit(&a, ADMISSION_WINDOW_MIN - 1, MAX, now_ms));
	assert_false(admission_admit(&a, ADMISSION_WINDOW_MIN, MAX, now_ms));
}

static void test_grows_while_answers_come_soon(void **state)
{
	(void)state;
	struct admission a;
	admission_init(&a);
	int64_t now_ms = press(&a, 0, 100, 5);
	(void)admission_admit(&a, 0, MAX, now_ms);
	assert_int_equal(a.window, MAX);
	assert_false(admission_admit(&a, MAX, MAX, now_ms));
}

static void test_does_not_grow_unless_it_is_used_up(void **state)
{
	(void)state;
	struct admission a;
	admission_init(&a);
	for (int64_t now_ms = 0; now_ms < 100000; now_ms += 10) {
		assert_true(admission_admit(&a, 10, MAX, now_ms));
		admission_answered(&a, 5, now_ms);
	}
	assert_int_equal(a.window, ADMISSION_WINDOW_FIRST);
}

static void test_late_is_what_takes_longer_than_before(void **state)
{
	(void)state;
	struct admission slow, quick;
	admission_init(&slow);
	admission_init(&quick);
	int64_t now_ms = press(&slow, 0, 20, 80);
	press(&quick, 0, 20, 5);
	uint32_t before = slow.window;
	press(&slow, now_ms, 5, 200);
	press(&quick, now_ms, 5, 200);
	assert_true(slow.window > before);
	assert_true(quick.window < before);
}

/* An overload that lasts must not become what is held to be calm. */
static void test_remembers_what_was_calm(void **state)
{
	(void)state;
	struct admission a;
	admission_init(&a);
	int64_t now_ms = press(&a, 0, 20, 5);
	press(&a, now_ms, (int)(ADMISSION_CALM_MS / ADMISSION_INTERVAL_MS), 400);
	assert_int_equal(a.window, ADMISSION_WINDOW_MIN);
}

/* A gateway that is itself at its limit gains nothing by refusing. */
static void test_own_turns_are_no_lateness(void **state)
{
	(void)state;
	struct admission a;
	admission_init(&a);
	int64_t now_ms = press(&a, 0, 20, 5);
	uint32_t before = a.window;
	for (int i = 0; i < 40; i++) {
		now_ms = press(&a, now_ms, 1, 250);
		admission_turn(&a, now_ms);
	}
	assert_true(a.window > before);
}

static void test_recovers(void **state)
{
	(void)state;
	struct admission a;
	admission_init(&a);
	int64_t now_ms = press(&a, 0, 20, 5);
	now_ms = press(&a, now_ms, 100, 2000);
	press(&a, now_ms, 30, 5);
	assert_true(a.window > 4 * ADMISSION_WINDOW_MIN);
}

/* Half as much is asked than when it was too much: a moment without answers is no overload. */
static void test_calm_forgets_an_overload(void **state)
{
	(void)state;
	struct admission a;
	admission_init(&a);
	int64_t now_ms = press(&a, 0, 20, 5);
	now_ms = press(&a, now_ms, 100, 2000);
	assert_int_equal(a.window, ADMISSION_WINDOW_MIN);
	for (int64_t end_ms = now_ms + 2000; now_ms < end_ms; now_ms += 10) {
		assert_true(admission_admit(&a, 10, MAX, now_ms));
		admission_answered(&a, 5, now_ms);
	}
	assert_true(admission_admit(&a, ADMISSION_WINDOW_FIRST - 1, MAX, now_ms));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_few_are_always_let_in),
	    cmocka_unit_test(test_grows_while_answers_come_soon),
	    cmocka_unit_test(test_does_not_grow_unless_it_is_used_up),
	    cmocka_unit_test(test_late_is_what_takes_longer_than_before),
	    cmocka_unit_test(test_remembers_what_was_calm),
	    cmocka_unit_test(test_own_turns_are_no_lateness),
	    cmocka_unit_test(test_recovers),
	    cmocka_unit_test(test_calm_forgets_an_overload),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
