/* parley-sim [--seeds N] [--seed FIRST] [--verbose] [--mutation NAME]: runs seeds FIRST ..
 * FIRST+N-1, each to its end. parley-sim --mutations: plants each known bug, and fails if those
 * seeds do not find it. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/probe.h"
#include "tests/sim/mutations.h"
#include "tests/sim/sim.h"

enum { REPEAT_EVERY = 25 }; /* every so many seeds one is run twice: the traces must be equal */

struct wanted {
	uint64_t first;
	uint64_t seeds;
	bool verbose;
	bool mutations;
	const char *only; /* mutations whose names begin so */
};

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

static int run_seeds(const struct wanted *w)
{
	time_t start = time(NULL);
	uint64_t simulated_ms = 0;
	uint64_t bad = 0;
	for (uint64_t i = 0; i < w->seeds; i++)
		bad += run_seed(w->first + i, w->verbose, &simulated_ms) > 0;
	printf("simulated_seconds=%llu\n", (unsigned long long)(simulated_ms / 1000));
	printf("sim seeds=%llu violations=%llu seconds=%lld\n", (unsigned long long)w->seeds,
	       (unsigned long long)bad, (long long)(time(NULL) - start));
	return bad > 0;
}

static int run_mutations(const struct wanted *w)
{
	int tried = 0;
	int missed = 0;
	for (int i = 0; i < MUTATIONS_COUNT; i++) {
		uint64_t seed;
		if (w->only && strncmp(mutation_name(i), w->only, strlen(w->only)) != 0)
			continue;
		tried++;
		if (mutation_run(i, w->first, w->seeds, &seed)) {
			printf("%s %llu\n", mutation_name(i), (unsigned long long)seed);
		} else {
			missed++;
			printf("%s not found: %s\n", mutation_name(i), mutation_text(i));
		}
		fflush(stdout);
	}
	printf("sim mutations=%d missed=%d\n", tried, missed);
	return missed > 0;
}

static bool plant(const char *name)
{
	int mutation = mutation_find(name);
	if (mutation < 0) {
		fprintf(stderr, "no such mutation: %s\n", name);
		return false;
	}
	probe_planted[mutation] = true;
	return true;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
	    {"seeds", required_argument, NULL, 'n'},     {"seed", required_argument, NULL, 's'},
	    {"verbose", no_argument, NULL, 'v'},         {"mutation", required_argument, NULL, 'm'},
	    {"mutations", optional_argument, NULL, 'M'}, {NULL, 0, NULL, 0}};
	struct wanted w = {.first = 1, .seeds = 100};
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (c == 'n')
			w.seeds = strtoull(optarg, NULL, 10);
		else if (c == 's')
			w.first = strtoull(optarg, NULL, 10);
		else if (c == 'v')
			w.verbose = true;
		else if (c == 'M') {
			w.mutations = true;
			w.only = optarg;
		} else if (c != 'm' || !plant(optarg))
			return 2;
	}
	return w.mutations ? run_mutations(&w) : run_seeds(&w);
}
