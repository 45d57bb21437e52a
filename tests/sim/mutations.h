/* The simulator's own test: bugs planted one at a time must be found. */
#ifndef PARLEY_SIM_MUTATIONS_H
#define PARLEY_SIM_MUTATIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/sim.h"

/* Index of the row, or -1. */
int mutation_find(const char *name);
const char *mutation_name(int mutation);
const char *mutation_text(int mutation);

/* Runs seeds first .. first+seeds-1 in a process of its own with the bug planted (-1: none) until
 * one fails, by a violation or by ending the process. True if one did; *found is its seed. */
bool mutation_run(int mutation, uint64_t first, uint64_t seeds, const struct sim_options *options,
		  uint64_t *found);

#endif
