/* What only the simulator's build of the cores has: bugs that are planted on purpose, to see that
 * its checks find them, and marks at places that its runs must reach. In the daemons MUTATION is
 * false and REACHED is nothing. */
#ifndef PARLEY_PROBE_H
#define PARLEY_PROBE_H

#include <stdbool.h>
#include <stdint.h>

enum mutation {
#define MUTATION_ROW(name, text) MUTATION_##name,
#include "common/mutations.def"
#undef MUTATION_ROW
	MUTATIONS_COUNT
};

enum mark {
#define MARK_ROW(name, text) MARK_##name,
#include "common/marks.def"
#undef MARK_ROW
	MARKS_COUNT
};

/* tests/sim/probe.c: the daemons have neither. */
extern bool probe_planted[MUTATIONS_COUNT];
extern bool probe_reached[MARKS_COUNT];

#ifdef PARLEY_PROBES
#define MUTATION(name) (probe_planted[MUTATION_##name])
#define REACHED(name)  ((void)(probe_reached[MARK_##name] = true))
#else
#define MUTATION(name) false
#define REACHED(name)  ((void)0)
#endif

#endif
