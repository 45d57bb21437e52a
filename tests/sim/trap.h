/* A fault at a place rather than at a time: whenever a message of this type has been sent so many
 * times, a node fails. All else runs without faults, so what is found is found there. */
#ifndef PARLEY_SIM_TRAP_H
#define PARLEY_SIM_TRAP_H

#include "tests/sim/sim.h"

enum trap_where {
	TRAP_SENT,     /* its sender, when it has left */
	TRAP_ARRIVING, /* its receiver, before */
	TRAP_ARRIVED   /* its receiver, before what it does about it is durable, or soon after */
};

struct sim_trap {
	uint16_t type;
	enum trap_where where;
	enum role sender;     /* ROLE_NONE: any */
	bool pause;           /* for a while; else the machine loses power */
	int every;            /* springs at each so many-th message */
	const char *workload; /* the only one that takes part, beside the first */
	int arbiters;
};

/* In place of what the seed draws. */
void trap_settle(struct sim_settings *settings, const struct sim_trap *trap);
/* A message is sent, or has come. */
void trap_on_send(struct sim *sim, int from, int to, uint16_t type);
void trap_on_arrival(struct sim *sim, uint64_t from, int to, uint16_t type);
/* The time of a SIM_NEMESIS event with NEMESIS_TRAP. */
void trap_spring(struct sim *sim, int node);

#endif
