#include "tests/sim/mutations.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/probe.h"
#include "tests/sim/jobs.h"
#include "tests/sim/sim.h"

enum { STUCK_SECONDS = 60 }; /* no seed takes that long: the bug makes it loop */

static const struct {
	const char *name;
	const char *text;
} rows[] = {
#define MUTATION_ROW(name, text) {#name, text},
#include "common/mutations.def"
#undef MUTATION_ROW
};

int mutation_find(const char *name)
{
	for (int i = 0; i < MUTATIONS_COUNT; i++)
		if (strcmp(rows[i].name, name) == 0)
			return i;
	return -1;
}

const char *mutation_name(int mutation)
{
	return rows[mutation].name;
}

const char *mutation_text(int mutation)
{
	return rows[mutation].text;
}

/* In the child: what it prints would only confuse. */
static void search(int mutation, uint64_t first, uint64_t seeds, const struct sim_options *options,
		   volatile uint64_t *under_way)
{
	uint64_t trace;
	uint64_t ms;
	if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
		_exit(2);
	if (mutation >= 0)
		probe_planted[mutation] = true;
	for (uint64_t seed = first; seed < first + seeds; seed++) {
		*under_way = seed;
		alarm(STUCK_SECONDS);
		if (sim_run(seed, options, &trace, &ms) > 0)
			_exit(1);
	}
	_exit(0);
}

bool mutation_run(int mutation, uint64_t first, uint64_t seeds, const struct sim_options *options,
		  uint64_t *found)
{
	int status;
	uint64_t *under_way = jobs_shared(sizeof *under_way);
	fflush(stdout);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0)
		search(mutation, first, seeds, options, under_way);
	CHECK(waitpid(child, &status, 0) == child);
	*found = *under_way;
	jobs_unshare(under_way, sizeof *under_way);
	return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
