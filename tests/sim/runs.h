/* The record of long runs: a file with a line for each block of seeds that was run, so that a goal
 * of very many can be reached in pieces. What a line holds: the code of the cores,
 * "deep" or "plain", the block's first seed, how many, the simulator's code, how many seeds failed,
 * simulated seconds, seconds of CPU. The last line of a block counts. */
#ifndef PARLEY_SIM_RUNS_H
#define PARLEY_SIM_RUNS_H

#include <stdbool.h>
#include <stdint.h>

enum { RUNS_BLOCK = 500 }; /* seeds */

struct runs {
	const char *path;      /* NULL: nothing is kept */
	const char *cores;     /* the name of the code under test */
	const char *simulator; /* and of what tests it; both without spaces, of at most 40 bytes */
};

/* Of "FILE,CORES,SIMULATOR", which is cut up and lent. */
bool runs_parse(char *text, struct runs *out);
/* Need the block that begins with this seed not be run: did it pass with these cores? One that
 * failed is run again only by another simulator: the mistake may have been the simulator's. */
bool runs_have(const struct runs *runs, bool deep, uint64_t first);
/* Adds a line. Ends the process where the file can't be written. */
void runs_add(const struct runs *runs, bool deep, uint64_t first, uint64_t bad,
	      uint64_t simulated_ms, double cpu_seconds);

#endif
