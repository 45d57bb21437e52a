/* parley-sim [--seeds N] [--seed FIRST] [--jobs N] [--deep] [--lines] [--traces] [--marks]
 *            [--verbose] [--mutation NAME] [--record FILE,CORES,SIMULATOR]:
 * runs seeds FIRST .. FIRST+N-1, each to its end, in so many processes.
 *   --deep    at least a minute and 500 operations each
 *   --lines   prints what each seed draws
 *   --traces  prints the hash of each run: equal for equal runs
 *   --marks   prints which marks of common/marks.def were reached
 *   --record  keeps a line for each 500 seeds (runs.h): what these cores passed is not run again
 * parley-sim --mutations[=PREFIX]: plants each known bug, and fails if those seeds do not find it.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/probe.h"
#include "tests/sim/mutations.h"
#include "tests/sim/series.h"

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

static bool take_option(int c, struct series *s, bool *mutations)
{
	switch (c) {
	case 'n':
		s->seeds = strtoull(optarg, NULL, 10);
		return true;
	case 's':
		s->first = strtoull(optarg, NULL, 10);
		return true;
	case 'v':
		s->options.verbose = true;
		return true;
	case 'd':
		s->options.deep = true;
		return true;
	case 'l':
		s->lines = true;
		return true;
	case 't':
		s->traces = true;
		return true;
	case 'j':
		s->jobs = (int)strtoul(optarg, NULL, 10);
		return s->jobs > 0;
	case 'r':
		return runs_parse(optarg, &s->runs);
	case 'k':
		s->marks = true;
		return true;
	case 'f':
		s->faults = true;
		return true;
	case 'M':
		*mutations = true;
		s->only = optarg;
		return true;
	default:
		return c == 'm' && plant(optarg);
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"seeds", required_argument, NULL, 'n'},
						{"seed", required_argument, NULL, 's'},
						{"verbose", no_argument, NULL, 'v'},
						{"deep", no_argument, NULL, 'd'},
						{"lines", no_argument, NULL, 'l'},
						{"traces", no_argument, NULL, 't'},
						{"jobs", required_argument, NULL, 'j'},
						{"record", required_argument, NULL, 'r'},

						{"marks", no_argument, NULL, 'k'},
						{"faults", no_argument, NULL, 'f'},
						{"mutation", required_argument, NULL, 'm'},
						{"mutations", optional_argument, NULL, 'M'},
						{NULL, 0, NULL, 0}};
	struct series series = {.first = 1, .seeds = 100, .jobs = 1};
	bool mutations = false;
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;)
		if (!take_option(c, &series, &mutations))
			return 2;
	if (series.runs.path &&
	    ((series.first - 1) % RUNS_BLOCK != 0 || series.seeds % RUNS_BLOCK != 0)) {
		fprintf(stderr, "a record counts seeds 1 to %d, and so on\n", RUNS_BLOCK);
		return 2;
	}
	return mutations ? series_mutations(&series) > 0 : series_run(&series) > 0;
}
