/* What only the simulator's build of the cores has: bugs that are planted on purpose, to see that
 * its checks find them, marks at places that its runs must reach, and limits that it lowers. In the
 * daemons MUTATION is false, REACHED is nothing, and BOUND is the limit that it is given. */
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

enum lowered_bound {
#define BOUND_ROW(name, least, most) BOUND_##name,
#include "common/bounds.def"
#undef BOUND_ROW
	BOUNDS_COUNT
};

/* tests/sim/probe.c: the daemons have neither. */
extern bool probe_planted[MUTATIONS_COUNT];
extern bool probe_reached[MARKS_COUNT];
extern uint32_t probe_bounds[BOUNDS_COUNT]; /* 0: as in the daemons */

#ifdef PARLEY_PROBES
#define MUTATION(name) (probe_planted[MUTATION_##name])
#define REACHED(name)  ((void)(probe_reached[MARK_##name] = true))
#define BOUND(name, limit)                                                                         \
	(probe_bounds[BOUND_##name] ? probe_bounds[BOUND_##name] : (uint32_t)(limit))
#else
#define MUTATION(name)     false
#define REACHED(name)      ((void)0)
#define BOUND(name, limit) ((uint32_t)(limit))
#endif

#endif
