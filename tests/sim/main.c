/* parley-sim [--seeds N] [--seed FIRST] [--deep] [--lines] [--marks] [--verbose] [--mutation NAME]:
 * runs seeds FIRST .. FIRST+N-1, each to its end.
 *   --deep    at least a minute and 500 operations each
 *   --lines   prints what each seed draws
 *   --marks   prints which marks of common/marks.def were reached
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
	static const struct option options[] = {
	    {"seeds", required_argument, NULL, 'n'},     {"seed", required_argument, NULL, 's'},
	    {"verbose", no_argument, NULL, 'v'},         {"deep", no_argument, NULL, 'd'},
	    {"lines", no_argument, NULL, 'l'},           {"marks", no_argument, NULL, 'k'},
	    {"faults", no_argument, NULL, 'f'},          {"mutation", required_argument, NULL, 'm'},
	    {"mutations", optional_argument, NULL, 'M'}, {NULL, 0, NULL, 0}};
	struct series series = {.first = 1, .seeds = 100};
	bool mutations = false;
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;)
		if (!take_option(c, &series, &mutations))
			return 2;
	return mutations ? series_mutations(&series) > 0 : series_run(&series) > 0;
}
