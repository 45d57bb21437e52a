/* Replicas that know their data to be damaged, and can't start anew yet: who leads meanwhile. */
#include "tests/sim/coordinator_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/timing.h"

/* A node that can't be spared yet goes on with what it has, but others lead meanwhile. */
static void test_damaged_lead(void **state)
{
	struct bench *b = *state;
	uint64_t lead = bench_begin(b);
	bool *damaged = &bench_model(b, lead)->copies[0].damaged;
	bench_advance(b, 10 * MOVE_BACK_MS);
	*damaged = true;
	bench_advance(b, MOVE_BACK_MS - 500); /* mostly it starts anew by then */
	assert_int_equal(bench_placement(b)->lead, lead);
	bench_advance(b, 1000);
	assert_int_equal(bench_placement(b)->lead, 13);
	assert_int_equal(bench_placement(b)->epoch, 2);
	assert_non_null(strstr(buf_cstr(&b->trace), "epoch=2 lead=13 why=damaged\n"));
	bench_model(b, 13)->copies[0].damaged = true;
	bench_advance(b, MOVE_BACK_MS + 500);
	assert_int_equal(bench_placement(b)->lead, 11);
	/* where nobody is whole, it stays with whom it is */
	bench_model(b, 11)->copies[0].damaged = true;
	bench_advance(b, MOVE_BACK_MS * 3);
	assert_int_equal(bench_placement(b)->epoch, 3);
	*damaged = false;
	bench_advance(b, MOVE_BACK_MS + 500);
	assert_int_equal(bench_placement(b)->lead, 12);
	assert_int_equal(bench_placement(b)->epoch, 4);
}

/* Such as comes late, from before the damage was found. */
static void test_one_report_cures_nobody(void **state)
{
	struct bench *b = *state;
	uint64_t lead = bench_begin(b);
	bool *damaged = &bench_model(b, lead)->copies[0].damaged;
	*damaged = true;
	bench_advance(b, MOVE_BACK_MS * 3);
	assert_int_equal(bench_placement(b)->lead, 13);
	*damaged = false;
	bench_advance(b, 250);
	*damaged = true;
	bench_advance(b, MOVE_BACK_MS * 3);
	assert_int_equal(bench_placement(b)->epoch, 2);
}

static void test_damaged_is_not_moved_back(void **state)
{
	struct bench *b = *state;
	uint64_t lead = bench_begin(b);
	bench_down(b, lead);
	bench_advance(b, OFFLINE_MS + 300);
	bench_model(b, lead)->copies[0].damaged = true;
	bench_boot(b, lead);
	bench_advance(b, MOVE_BACK_MS * 3);
	assert_int_equal(bench_placement(b)->lead, 13);
	assert_int_equal(bench_placement(b)->epoch, 2);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_damaged_lead),
	    CASE(test_one_report_cures_nobody),
	    CASE(test_damaged_is_not_moved_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
