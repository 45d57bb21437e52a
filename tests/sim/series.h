/* Many seeds in a row, and what is said of them. */
#ifndef PARLEY_SIM_SERIES_H
#define PARLEY_SIM_SERIES_H

#include "tests/sim/runs.h"
#include "tests/sim/sim.h"

struct series {
	uint64_t first;
	uint64_t seeds;
	int jobs; /* processes at once */
	struct sim_options options;
	bool lines;       /* print the settings of every seed */
	bool traces;      /* print the hash of each run */
	bool marks;       /* print which marks were reached by how many seeds */
	bool faults;      /* print which faults met what */
	const char *only; /* mutations whose names begin so; NULL: all */
	/* Where a record is kept, first - 1 and seeds are multiples of RUNS_BLOCK. */
	struct runs runs;
};

/* All seeds, each to its end, some twice: the traces must be equal. Returns how many failed; where
 * so many seeds are run that every mark must have been reached, a missing one counts, too. */
uint64_t series_run(const struct series *s);
/* Plants each mutation and looks for the first seed that finds it. Returns how many are not found.
 */
int series_mutations(const struct series *s);

#endif
