/* parley-sim [--seeds N] [--seed FIRST] [--verbose]: runs seeds FIRST .. FIRST+N-1, each to its
 * end. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/sim/sim.h"

enum { REPEAT_EVERY = 25 }; /* every so many seeds one is run twice: the traces must be equal */

static int run_seed(uint64_t seed, bool verbose, uint64_t *simulated_ms)
{
	uint64_t trace;
	uint64_t again;
	uint64_t ms;
	int violations = sim_run(seed, verbose, &trace, &ms);
	*simulated_ms += ms;
	if (violations == 0 && seed % REPEAT_EVERY == 0) {
		violations = sim_run(seed, false, &again, &ms);
		if (again != trace) {
			printf("violation seed=%llu: two runs differ\n", (unsigned long long)seed);
			violations++;
		}
	}
	if (violations > 0)
		printf("replay: make sim SEED=%llu SEEDS=1 VERBOSE=1\n", (unsigned long long)seed);
	fflush(stdout);
	return violations;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"seeds", required_argument, NULL, 'n'},
						{"seed", required_argument, NULL, 's'},
						{"verbose", no_argument, NULL, 'v'},
						{NULL, 0, NULL, 0}};
	uint64_t seeds = 100;
	uint64_t first = 1;
	bool verbose = false;
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (c == 'n')
			seeds = strtoull(optarg, NULL, 10);
		else if (c == 's')
			first = strtoull(optarg, NULL, 10);
		else if (c == 'v')
			verbose = true;
		else
			return 2;
	}
	time_t start = time(NULL);
	uint64_t simulated_ms = 0;
	uint64_t bad = 0;
	for (uint64_t i = 0; i < seeds; i++)
		bad += run_seed(first + i, verbose, &simulated_ms) > 0;
	printf("simulated_seconds=%llu\n", (unsigned long long)(simulated_ms / 1000));
	printf("sim seeds=%llu violations=%llu seconds=%lld\n", (unsigned long long)seeds,
	       (unsigned long long)bad, (long long)(time(NULL) - start));
	return bad > 0;
}
