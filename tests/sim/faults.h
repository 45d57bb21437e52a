/* Which faults met what: over a series of seeds, in how many a source of faults struck while a
 * workload took part, or on a kind of cluster. Shows where the swarm does not go. */
#ifndef PARLEY_SIM_FAULTS_H
#define PARLEY_SIM_FAULTS_H

#include <stdint.h>

struct sim;

enum sim_fault {
#define FAULT_ROW(name, text) FAULT_##name,
#include "tests/sim/faults.def"
#undef FAULT_ROW
	FAULTS_COUNT
};

/* What one run met: a bit for each source, and for each workload and kind of cluster. */
struct faults_met {
	uint32_t sources;
	uint64_t features;
};

/* It strikes now. */
void faults_note(struct sim *sim, enum sim_fault fault);
/* At the end of a run, before the workloads are gone. */
void faults_of_run(const struct sim *sim, struct faults_met *out);

/* Of a series; processes share it. Features are workloads, then kinds of clusters. */
enum { FAULTS_FEATURES = 40 };

struct faults_tally {
	_Atomic uint64_t seeds[FAULTS_FEATURES];
	_Atomic uint64_t counts[FAULTS_FEATURES][FAULTS_COUNT];
};

void faults_count(struct faults_tally *tally, const struct faults_met *met);
/* A Markdown table: a row for each feature, a column for each source. */
void faults_print(const struct faults_tally *tally);

#endif
