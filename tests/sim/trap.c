#include "tests/sim/trap.h"

enum { SPRUNG_MAX = 12, APART_US = 2500000, PAUSE_US = 4000000, ARRIVED_US = 60 };

void trap_settle(struct sim_settings *settings, const struct sim_trap *trap)
{
	settings->nemesis_every_ms = 0;
	settings->drop = settings->duplicate = 0;
	settings->delay_tail = 0;
	settings->stragglers = 0;
	settings->holds = false;
	settings->ambushes = false;
	memset(settings->bounds, 0, sizeof settings->bounds);
	settings->drift_ppm = 0;
	settings->losses = 0;
	settings->put_back = false;
	settings->flips = false;
	settings->forgets = false;
	settings->commit_broken = settings->commit_full = settings->get_broken = 0;
	settings->retain_ms = 0;
	settings->storage_nodes = settings->storage_nodes < 3 ? 3 : settings->storage_nodes;
	settings->replicas = 3;
	settings->write_quorum = 2;
	settings->arbiters = trap->arbiters;
}

static bool is_meant(const struct sim *sim, uint16_t type, enum role sender)
{
	const struct sim_trap *trap = sim->trap;
	return trap && !sim->healed && trap->type == type &&
	       (trap->sender == ROLE_NONE || trap->sender == sender);
}

/* Is it this one's turn? */
static bool is_due(struct sim *sim)
{
	if (++sim->trap_seen < sim->trap->every || sim->trap_sprung >= SPRUNG_MAX ||
	    sim->now_us < sim->trap_again_us)
		return false;
	sim->trap_seen = 0;
	sim->trap_again_us = sim->now_us + APART_US + PAUSE_US;
	return true;
}

static void set_off(struct sim *sim, int node, int64_t in_us)
{
	sim_schedule(sim, sim->now_us + in_us, SIM_NEMESIS, NEMESIS_TRAP, (uint64_t)node, NULL);
}

void trap_on_send(struct sim *sim, int from, int to, uint16_t type)
{
	if (!is_meant(sim, type, sim->nodes[from].role) || sim->trap->where == TRAP_ARRIVED ||
	    !is_due(sim))
		return;
	set_off(sim, sim->trap->where == TRAP_SENT ? from : to, 0);
}

void trap_on_arrival(struct sim *sim, uint64_t from, int to, uint16_t type)
{
	const struct sim_node *sender = sim_node_of(sim, from);
	if (sender && is_meant(sim, type, sender->role) && sim->trap->where == TRAP_ARRIVED &&
	    is_due(sim))
		set_off(sim, to, ARRIVED_US);
}

void trap_spring(struct sim *sim, int index)
{
	struct sim_node *node = &sim->nodes[index];
	if (!node->core || sim->healed)
		return;
	sim->trap_sprung++;
	sim_log(sim, "trap %s %s", sim->trap->pause ? "pauses" : "cuts the power of", node->name);
	if (sim->trap->pause) {
		node->paused_until_us = sim->now_us + PAUSE_US;
		return;
	}
	node_crash(sim, index, true);
	sim_schedule(sim, sim->now_us + PAUSE_US / 4, SIM_RESTART, index, 0, NULL);
}
