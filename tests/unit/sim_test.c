/* The simulated cluster as a unit test: the seeds that once found something, some others, and that
 * a seed is a run. Always the same seeds, unless SIM_SEED names others: what a change is tested
 * with does not depend on the hour. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/mutations.h"
#include "tests/sim/sim.h"

enum { OTHER_SEEDS = 60, SEEDS_TRIED = 100, LINE_BYTES = 256 };

static const struct sim_options normal = {0};
static const struct sim_options deep = {.deep = true};

static void run(uint64_t seed, const struct sim_options *options)
{
	uint64_t trace;
	uint64_t simulated_ms;
	int violations = sim_run(seed, options, &trace, &simulated_ms);
	if (violations > 0)
		print_error("replay: make sim SEED=%llu SEEDS=1%s VERBOSE=1\n",
			    (unsigned long long)seed, options->deep ? " DEEP=1" : "");
	assert_int_equal(violations, 0);
}

static void test_regressions(void **state)
{
	(void)state;
	char line[LINE_BYTES];
	int seeds = 0;
	FILE *file = fopen("tests/sim/seeds/regress.txt", "r");
	assert_non_null(file);
	while (fgets(line, sizeof line, file)) {
		if (line[0] == '#')
			continue;
		char *rest;
		uint64_t seed = strtoull(line, &rest, 10);
		run(seed, strncmp(rest, " deep ", 6) == 0 ? &deep : &normal);
		seeds++;
	}
	fclose(file);
	assert_true(seeds > 10);
}

static void read_mutation_seeds(uint64_t seeds[MUTATIONS_COUNT])
{
	char line[LINE_BYTES];
	FILE *file = fopen("tests/sim/seeds/mutations.txt", "r");
	assert_non_null(file);
	while (fgets(line, sizeof line, file)) {
		if (line[0] == '#')
			continue;
		char *rest = line;
		char *name = strsep(&rest, " ");
		assert_non_null(rest);
		int mutation = mutation_find(name);
		assert_true(mutation >= 0);
		seeds[mutation] = strtoull(rest, NULL, 10);
		assert_true(seeds[mutation] > 0);
	}
	fclose(file);
}

/* A bug without one would never be replayed, whatever has become of the check that finds it. */
static void test_each_mutation_has_a_seed(void **state)
{
	(void)state;
	uint64_t seeds[MUTATIONS_COUNT] = {0};
	read_mutation_seeds(seeds);
	for (int i = 0; i < MUTATIONS_COUNT; i++)
		if (seeds[i] == 0)
			fail_msg("no seed finds %s: make sim-mutations", mutation_name(i));
}

/* Each planted bug is found by its seed, or by one soon after it (a change of a core makes other
 * runs of the same seeds), which is clean without the bug. What finds it are the checks of the
 * simulator, which sanitizers do not change: with them it would be most of the time, for nothing.
 */
static void test_mutations(void **state)
{
	(void)state;
#ifdef SIM_SANITIZED
	skip();
#endif
	uint64_t seeds[MUTATIONS_COUNT] = {0};
	read_mutation_seeds(seeds);
	for (int i = 0; i < MUTATIONS_COUNT; i++) {
		const char *name = mutation_name(i);
		unsigned long long seed = seeds[i];
		uint64_t found;
		if (!mutation_run(i, seed, SEEDS_TRIED, &normal, &found))
			fail_msg("seed %llu does not find %s: make sim-mutations", seed, name);
		seed = found;
		if (mutation_run(-1, seed, 1, &normal, &found))
			fail_msg("seed %llu fails without %s, too", seed, name);
	}
}

static void test_others(void **state)
{
	(void)state;
	const char *given = getenv("SIM_SEED");
	uint64_t first = given ? strtoull(given, NULL, 10) : 1000000;
	for (uint64_t i = 0; i < OTHER_SEEDS; i++)
		run(first + i, &normal);
}

static void test_same_seed_same_trace(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 5; seed++) {
		uint64_t first, second, other, ms;
		assert_int_equal(sim_run(seed, &normal, &first, &ms), 0);
		assert_int_equal(sim_run(seed, &normal, &second, &ms), 0);
		assert_int_equal(sim_run(seed + 100, &normal, &other, &ms), 0);
		assert_true(first == second);
		assert_true(first != other);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_each_mutation_has_a_seed),
	    cmocka_unit_test(test_regressions),
	    cmocka_unit_test(test_mutations),
	    cmocka_unit_test(test_others),
	    cmocka_unit_test(test_same_seed_same_trace),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
