#include "tests/sim/series.h"

#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "common/probe.h"
#include "tests/sim/faults.h"
#include "tests/sim/jobs.h"
#include "tests/sim/mutations.h"

enum {
	REPEAT_EVERY = 25,       /* every so many seeds one is run twice */
	MARKS_NEED_SEEDS = 10000 /* so many reach everything that can be reached */
};

/* What the processes of a series add up. */
struct tally {
	_Atomic uint64_t bad; /* seeds */
	_Atomic uint64_t simulated_ms;
	_Atomic uint64_t least_ms;                 /* of any seed */
	_Atomic uint64_t least_asked;              /* requests */
	_Atomic uint64_t marks[MARKS_COUNT];       /* seeds that reached each */
	_Atomic uint64_t marks_first[MARKS_COUNT]; /* the lowest of them */
	_Atomic int missed;                        /* mutations */
	struct faults_tally faults;
};

/* What one of them is given. */
struct share {
	const struct series *series;
	struct tally *tally;
	uint64_t first; /* the seed that has number 0 */
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

static void lower(_Atomic uint64_t *least, uint64_t value)
{
	uint64_t before = *least;
	while (value < before && !atomic_compare_exchange_weak(least, &before, value))
		;
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

static void take_marks(struct tally *tally, uint64_t seed)
{
	for (int i = 0; i < MARKS_COUNT; i++) {
		if (!probe_reached[i])
			continue;
		tally->marks[i]++;
		lower(&tally->marks_first[i], seed);
	}
	memset(probe_reached, 0, sizeof probe_reached);
}

/* Returns how many were never reached. */
static uint64_t report_marks(const struct series *s, const struct tally *tally, uint64_t seeds)
{
	uint64_t missing = 0;
	for (int i = 0; i < MARKS_COUNT; i++) {
		uint64_t reached = tally->marks[i];
		missing += reached == 0;
		if (s->marks)
			printf("mark %-28s seeds=%llu first=%llu  %s\n", mark_rows[i].name,
			       (unsigned long long)reached,
			       (unsigned long long)(reached ? tally->marks_first[i] : 0),
			       mark_rows[i].text);
		else if (reached == 0 && seeds >= MARKS_NEED_SEEDS)
			printf("mark never reached: %s: %s\n", mark_rows[i].name,
			       mark_rows[i].text);
	}
	printf("sim marks=%d never=%llu\n", MARKS_COUNT, (unsigned long long)missing);
	return missing;
}

/* ---- seeds ---- */

static void run_seed(void *context, uint64_t number)
{
	const struct share *share = context;
	const struct series *s = share->series;
	uint64_t seed = share->first + number;
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
	uint64_t asked;
	options.met = &met;
	options.asked = &asked;
	int violations = sim_run(seed, &options, &trace, &ms);
	share->tally->simulated_ms += ms;
	lower(&share->tally->least_ms, ms);
	lower(&share->tally->least_asked, asked);
	take_marks(share->tally, seed);
	faults_count(&share->tally->faults, &met);
	if (s->traces)
		printf("trace %llu %016llx\n", (unsigned long long)seed, (unsigned long long)trace);
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
	share->tally->bad += violations > 0;
	fflush(stdout);
}

/* ---- series ---- */

/* Of this process and all that it waited for. */
static double cpu_seconds(void)
{
	double seconds = 0;
	static const int whose[] = {RUSAGE_SELF, RUSAGE_CHILDREN};
	for (size_t i = 0; i < ARRAY_LEN(whose); i++) {
		struct rusage u;
		CHECK(getrusage(whose[i], &u) == 0);
		seconds += (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
			   (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
	}
	return seconds;
}

/* From this seed on; returns how many seeds that were. */
static uint64_t run_block(const struct series *s, struct tally *tally, uint64_t first,
			  uint64_t seeds)
{
	struct share share = {s, tally, first};
	uint64_t bad = tally->bad;
	uint64_t simulated_ms = tally->simulated_ms;
	double cpu = cpu_seconds();
	if (s->runs.path && runs_have(&s->runs, s->options.deep, first))
		return 0;
	tally->bad += jobs_run(s->jobs, seeds, run_seed, &share);
	if (s->runs.path)
		runs_add(&s->runs, s->options.deep, first, tally->bad - bad,
			 tally->simulated_ms - simulated_ms, cpu_seconds() - cpu);
	return seeds;
}

uint64_t series_run(const struct series *s)
{
	time_t start = time(NULL);
	struct tally *tally = jobs_shared(sizeof *tally);
	uint64_t block = s->runs.path ? RUNS_BLOCK : s->seeds;
	uint64_t seeds = 0;
	tally->least_ms = UINT64_MAX;
	tally->least_asked = UINT64_MAX;
	for (int i = 0; i < MARKS_COUNT; i++)
		tally->marks_first[i] = UINT64_MAX;
	signal(SIGABRT, on_fatal);
	signal(SIGSEGV, on_fatal);
	for (uint64_t i = 0; i < s->seeds; i += block)
		seeds += run_block(s, tally, s->first + i, block);
	uint64_t missing = report_marks(s, tally, seeds);
	uint64_t bad = tally->bad;
	if (s->faults)
		faults_print(&tally->faults);
	if (seeds > 0)
		printf("each seed: simulated_seconds>=%llu requests>=%llu\n",
		       (unsigned long long)(tally->least_ms / 1000),
		       (unsigned long long)tally->least_asked);
	printf("simulated_seconds=%llu cpu_seconds=%.1f\n",
	       (unsigned long long)(tally->simulated_ms / 1000), cpu_seconds());
	printf("sim seeds=%llu violations=%llu seconds=%lld\n", (unsigned long long)seeds,
	       (unsigned long long)bad, (long long)(time(NULL) - start));
	jobs_unshare(tally, sizeof *tally);
	return bad + (seeds >= MARKS_NEED_SEEDS ? missing : 0);
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

static bool is_meant(const struct series *s, int mutation)
{
	return !s->only || strncmp(mutation_name(mutation), s->only, strlen(s->only)) == 0;
}

static void try_mutation(void *context, uint64_t number)
{
	const struct share *share = context;
	int mutation = (int)number;
	uint64_t seed;
	if (!is_meant(share->series, mutation))
		return;
	if (find_mutation(mutation, share->series, &seed)) {
		printf("%s %llu\n", mutation_name(mutation), (unsigned long long)seed);
	} else {
		share->tally->missed++;
		printf("%s not found: %s\n", mutation_name(mutation), mutation_text(mutation));
	}
	fflush(stdout);
}

int series_mutations(const struct series *s)
{
	struct tally *tally = jobs_shared(sizeof *tally);
	struct share share = {s, tally, 0};
	int tried = 0;
	for (int i = 0; i < MUTATIONS_COUNT; i++)
		tried += is_meant(s, i);
	jobs_run(s->jobs, MUTATIONS_COUNT, try_mutation, &share);
	int missed = tally->missed;
	jobs_unshare(tally, sizeof *tally);
	printf("sim mutations=%d missed=%d\n", tried, missed);
	return missed;
}
