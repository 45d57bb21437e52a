#include "tests/sim/series.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/probe.h"
#include "tests/sim/faults.h"
#include "tests/sim/mutations.h"

enum {
	REPEAT_EVERY = 25,       /* every so many seeds one is run twice */
	MARKS_NEED_SEEDS = 10000 /* so many reach everything that can be reached */
};

/* Written beforehand: a signal's handler may not print. */
static char last_words[64];

/* A broken invariant is a violation: say of which seed, then end as the signal wants. */
static void on_fatal(int number)
{
	ssize_t written = write(STDOUT_FILENO, last_words, strlen(last_words));
	(void)written;
	signal(number, SIG_DFL);
	raise(number);
}

/* ---- marks ---- */

static const struct {
	const char *name;
	const char *text;
} mark_rows[] = {
#define MARK_ROW(name, text) {#name, text},
#include "common/marks.def"
#undef MARK_ROW
};

static uint64_t marks_seeds[MARKS_COUNT]; /* that reached each */

static void take_marks(void)
{
	for (int i = 0; i < MARKS_COUNT; i++)
		marks_seeds[i] += probe_reached[i];
	memset(probe_reached, 0, sizeof probe_reached);
}

/* Returns how many were never reached. */
static uint64_t report_marks(const struct series *s)
{
	uint64_t missing = 0;
	for (int i = 0; i < MARKS_COUNT; i++) {
		missing += marks_seeds[i] == 0;
		if (s->marks)
			printf("mark %-28s seeds=%llu  %s\n", mark_rows[i].name,
			       (unsigned long long)marks_seeds[i], mark_rows[i].text);
		else if (marks_seeds[i] == 0 && s->seeds >= MARKS_NEED_SEEDS)
			printf("mark never reached: %s: %s\n", mark_rows[i].name,
			       mark_rows[i].text);
	}
	printf("sim marks=%d never=%llu\n", MARKS_COUNT, (unsigned long long)missing);
	return missing;
}

/* ---- seeds ---- */

static int run_seed(uint64_t seed, const struct series *s, uint64_t *simulated_ms)
{
	uint64_t trace;
	uint64_t again;
	uint64_t ms;
	struct sim_settings settings;
	struct sim_options quiet = {.deep = s->options.deep};
	fflush(stdout);
	snprintf(last_words, sizeof last_words, "violation seed=%" PRIu64 ": a signal\n", seed);
	if (s->lines) {
		sim_settings_draw(&settings, seed, s->options.deep);
		sim_settings_print(&settings);
	}
	struct faults_met met;
	struct sim_options options = s->options;
	options.met = &met;
	int violations = sim_run(seed, &options, &trace, &ms);
	*simulated_ms += ms;
	take_marks();
	faults_count(&met);
	if (violations == 0 && seed % REPEAT_EVERY == 0) {
		violations = sim_run(seed, &quiet, &again, &ms);
		if (again != trace) {
			printf("violation seed=%llu: two runs differ\n", (unsigned long long)seed);
			violations++;
		}
	}
	if (violations > 0)
		printf("replay: make sim SEED=%llu SEEDS=1%s VERBOSE=1\n", (unsigned long long)seed,
		       s->options.deep ? " DEEP=1" : "");
	fflush(stdout);
	return violations;
}

uint64_t series_run(const struct series *s)
{
	time_t start = time(NULL);
	uint64_t simulated_ms = 0;
	uint64_t bad = 0;
	signal(SIGABRT, on_fatal);
	signal(SIGSEGV, on_fatal);
	for (uint64_t i = 0; i < s->seeds; i++)
		bad += run_seed(s->first + i, s, &simulated_ms) > 0;
	uint64_t missing = report_marks(s);
	if (s->faults)
		faults_print();
	printf("simulated_seconds=%llu\n", (unsigned long long)(simulated_ms / 1000));
	printf("sim seeds=%llu violations=%llu seconds=%lld\n", (unsigned long long)s->seeds,
	       (unsigned long long)bad, (long long)(time(NULL) - start));
	return bad + (s->seeds >= MARKS_NEED_SEEDS ? missing : 0);
}

/* The first seed that fails with the bug, and only with it. */
static bool find_mutation(int mutation, const struct series *s, uint64_t *seed)
{
	uint64_t end = s->first + s->seeds;
	for (uint64_t first = s->first; first < end; first = *seed + 1) {
		uint64_t alone;
		if (!mutation_run(mutation, first, end - first, &s->options, seed))
			return false;
		if (!mutation_run(-1, *seed, 1, &s->options, &alone))
			return true;
		printf("violation seed=%llu, without any bug planted\n", (unsigned long long)*seed);
	}
	return false;
}

int series_mutations(const struct series *s)
{
	int tried = 0;
	int missed = 0;
	for (int i = 0; i < MUTATIONS_COUNT; i++) {
		uint64_t seed;
		if (s->only && strncmp(mutation_name(i), s->only, strlen(s->only)) != 0)
			continue;
		tried++;
		if (find_mutation(i, s, &seed)) {
			printf("%s %llu\n", mutation_name(i), (unsigned long long)seed);
		} else {
			missed++;
			printf("%s not found: %s\n", mutation_name(i), mutation_text(i));
		}
		fflush(stdout);
	}
	printf("sim mutations=%d missed=%d\n", tried, missed);
	return missed;
}
