#include "tests/sim/faults.h"

#include <stdio.h>

#include "tests/sim/workload.h"

enum { TOPOLOGIES = FAULTS_FEATURES - WORKLOADS_MAX };
_Static_assert(FAULTS_COUNT <= 32 && FAULTS_FEATURES <= 64, "bits of struct faults_met");

static const char *const source_names[] = {
#define FAULT_ROW(name, text) #name,
#include "tests/sim/faults.def"
#undef FAULT_ROW
};

static const char *const topology_names[TOPOLOGIES] = {"one copy",
						       "two copies",
						       "three copies",
						       "more copies",
						       "more nodes than copies",
						       "several gateways",
						       "several arbiters",
						       "streams cut short"};

void faults_note(struct sim *sim, enum sim_fault fault)
{
	sim->faults_met |= 1u << fault;
}

static uint64_t topology_bits(const struct sim_settings *set)
{
	int copies = set->replicas < 4 ? set->replicas : 4;
	uint64_t bits = UINT64_C(1) << (copies - 1);
	bits |= (uint64_t)(set->storage_nodes > set->replicas) << 4;
	bits |= (uint64_t)(set->gateways > 1) << 5;
	bits |= (uint64_t)(set->arbiters > 1) << 6;
	bits |= (uint64_t)(set->stream_keep < 1000) << 7;
	return bits << WORKLOADS_MAX;
}

/* What goes on all the time is in the settings. */
static uint32_t lasting(const struct sim_settings *set)
{
	uint32_t sources = 0;
	sources |= (uint32_t)(set->drop > 0) << FAULT_lost;
	sources |= (uint32_t)(set->duplicate > 0) << FAULT_doubled;
	sources |= (uint32_t)(set->delay_tail > 0) << FAULT_late;
	sources |= (uint32_t)(set->drift_ppm > 0) << FAULT_clock;
	bool broken = set->commit_broken > 0 || set->commit_full > 0 || set->get_broken > 0;
	return sources | (uint32_t)broken << FAULT_broken;
}

void faults_of_run(const struct sim *sim, struct faults_met *out)
{
	*out = (struct faults_met){.sources = sim->faults_met | lasting(&sim->settings),
				   .features = topology_bits(&sim->settings)};
	for (int i = 0; i < WORKLOADS_MAX; i++)
		if (sim->workloads[i].ops)
			out->features |= UINT64_C(1) << i;
}

void faults_count(struct faults_tally *tally, const struct faults_met *met)
{
	for (int f = 0; f < FAULTS_FEATURES; f++) {
		if (!(met->features >> f & 1))
			continue;
		tally->seeds[f]++;
		for (int k = 0; k < FAULTS_COUNT; k++)
			tally->counts[f][k] += met->sources >> k & 1;
	}
}

static void print_row(const struct faults_tally *tally, const char *name, int feature)
{
	if (!name)
		return;
	printf("| %s | %llu |", name, (unsigned long long)tally->seeds[feature]);
	for (int k = 0; k < FAULTS_COUNT; k++)
		printf(" %llu |", (unsigned long long)tally->counts[feature][k]);
	printf("\n");
}

void faults_print(const struct faults_tally *tally)
{
	printf("| | seeds |");
	for (int k = 0; k < FAULTS_COUNT; k++)
		printf(" %s |", source_names[k]);
	printf("\n|---|---|");
	for (int k = 0; k < FAULTS_COUNT; k++)
		printf("---|");
	printf("\n");
	for (int i = 0; i < TOPOLOGIES; i++)
		print_row(tally, topology_names[i], WORKLOADS_MAX + i);
	for (int i = 0; i < WORKLOADS_MAX; i++)
		print_row(tally, workload_name(i), i);
}
