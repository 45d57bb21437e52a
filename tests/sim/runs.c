#include "tests/sim/runs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool runs_parse(char *text, struct runs *out)
{
	char *rest;
	out->path = strtok_r(text, ",", &rest);
	out->cores = strtok_r(NULL, ",", &rest);
	out->simulator = strtok_r(NULL, ",", &rest);
	return out->path && out->cores && out->simulator;
}

/* How each line of the block begins. */
static int block_name(const struct runs *runs, bool deep, uint64_t first, char *out, size_t size)
{
	return snprintf(out, size, "%s %s %" PRIu64 " %d ", runs->cores, deep ? "deep" : "plain",
			first, RUNS_BLOCK);
}

/* rest: the line from the simulator's name on. */
static bool passed(const char *rest)
{
	const char *bad = strchr(rest, ' ');
	return bad && strncmp(bad, " 0 ", 3) == 0;
}

static bool by_this_simulator(const struct runs *runs, const char *rest)
{
	size_t size = strlen(runs->simulator);
	return strncmp(rest, runs->simulator, size) == 0 && rest[size] == ' ';
}

bool runs_have(const struct runs *runs, bool deep, uint64_t first)
{
	char name[128];
	char line[256];
	bool have = false;
	int size = block_name(runs, deep, first, name, sizeof name);
	FILE *file = fopen(runs->path, "r");
	while (file && fgets(line, sizeof line, file))
		if (strncmp(line, name, (size_t)size) == 0)
			have = passed(line + size) || by_this_simulator(runs, line + size);
	if (file)
		fclose(file);
	return have;
}

void runs_add(const struct runs *runs, bool deep, uint64_t first, uint64_t bad,
	      uint64_t simulated_ms, double cpu_seconds)
{
	char name[128];
	block_name(runs, deep, first, name, sizeof name);
	FILE *file = fopen(runs->path, "a");
	if (!file ||
	    fprintf(file, "%s%s %" PRIu64 " %" PRIu64 " %.0f\n", name, runs->simulator, bad,
		    simulated_ms / 1000, cpu_seconds) < 0 ||
	    fclose(file) != 0) {
		perror(runs->path);
		exit(2);
	}
}
