#include "common/probe.h"

bool probe_planted[MUTATIONS_COUNT];
bool probe_reached[MARKS_COUNT];
uint32_t probe_bounds[BOUNDS_COUNT];
