/* Faults of nodes and links, drawn from a stream of their own. */
#include "tests/sim/sim.h"

static int any_node(struct sim *sim)
{
	return (int)rng_below(&sim->nemesis_rng, (uint64_t)sim->nodes_count);
}

static void partition(struct sim *sim)
{
	bool side[SIM_NODES_MAX];
	bool one_way = rng_below(&sim->nemesis_rng, 3) == 0;
	for (int i = 0; i < sim->nodes_count; i++)
		side[i] = rng_below(&sim->nemesis_rng, 2);
	for (int i = 0; i < sim->nodes_count; i++)
		for (int k = 0; k < sim->nodes_count; k++)
			sim->cut[i][k] = side[i] != side[k] && (!one_way || side[i]);
	sim_log(sim, "nemesis partition one_way=%d", one_way);
}

static void isolate(struct sim *sim)
{
	int node = any_node(sim);
	for (int i = 0; i < sim->nodes_count; i++)
		sim->cut[node][i] = sim->cut[i][node] = i != node;
	sim_log(sim, "nemesis isolate %s", sim->nodes[node].name);
}

static void heal_links(struct sim *sim)
{
	memset(sim->cut, 0, sizeof sim->cut);
	sim_log(sim, "nemesis heal_links");
}

static void crash(struct sim *sim, int node)
{
	if (!sim->nodes[node].core)
		return;
	bool power = sim->settings.power_cuts && rng_below(&sim->nemesis_rng, 2);
	sim_log(sim, "nemesis crash %s power=%d", sim->nodes[node].name, power);
	node_crash(sim, node, power);
	int64_t down_ms = rng_between(&sim->nemesis_rng, 1, 8000);
	sim_schedule(sim, sim->now_us + down_ms * 1000, SIM_RESTART, node, 0, NULL);
}

static void crash_all(struct sim *sim)
{
	for (int i = 0; i < sim->nodes_count; i++)
		crash(sim, i);
}

static void pause_node(struct sim *sim)
{
	struct sim_node *node = &sim->nodes[any_node(sim)];
	int64_t ms = rng_between(&sim->nemesis_rng, 50, 6000);
	node->paused_until_us = sim->now_us + ms * 1000;
	sim_log(sim, "nemesis pause %s ms=%lld", node->name, (long long)ms);
}

/* A disk is lost only while no other copy is missing: what is acknowledged has W copies, not N. */
static void wipe(struct sim *sim)
{
	struct buf why = {0};
	if (sim->wipes == 0 && checker_quiet(sim, &why)) {
		int node;
		do {
			node = any_node(sim);
		} while (sim->nodes[node].role != ROLE_STORAGE);
		sim_log(sim, "nemesis wipe %s", sim->nodes[node].name);
		sim->wipes++;
		node_crash(sim, node, false);
		if (rng_below(&sim->nemesis_rng, 2)) {
			disk_tear(sim->nodes[node].disk);
		} else {
			disk_wipe(sim->nodes[node].disk);
			sim->nodes[node].incarnation = 0;
		}
		sim_schedule(sim, sim->now_us + 500000, SIM_RESTART, node, 0, NULL);
	}
	buf_close(&why);
}

/* Full or not any more; or the next commit fails, which ends the process. */
static void disk_trouble(struct sim *sim)
{
	struct sim_node *node = &sim->nodes[any_node(sim)];
	if (!node->disk || !node->core)
		return;
	if (node->role == ROLE_STORAGE && rng_below(&sim->nemesis_rng, 3) != 0) {
		node->disk_full = !node->disk_full;
		sim_log(sim, "nemesis disk %s full=%d", node->name, node->disk_full);
		node_wake(sim, (int)(node - sim->nodes), sim->now_us);
	} else {
		sim_log(sim, "nemesis commit of %s fails", node->name);
		disk_fail_next_commit(node->disk,
				      rng_below(&sim->nemesis_rng, 2) ? STORE_FULL : STORE_BROKEN);
	}
}

static void clock_jump(struct sim *sim)
{
	sim->nodes[any_node(sim)].clock_skew_ms = rng_between(&sim->nemesis_rng, -3600000, 3600000);
}

void nemesis_step(struct sim *sim)
{
	const struct sim_settings *set = &sim->settings;
	uint64_t kind = rng_below(&sim->nemesis_rng, set->disks ? 15 : 12);
	if (kind >= 12)
		disk_trouble(sim);
	else if (kind < 3 && set->crashes)
		crash(sim, any_node(sim));
	else if (kind == 3 && set->crashes && rng_below(&sim->nemesis_rng, 4) == 0)
		crash_all(sim);
	else if (kind < 6 && set->partitions)
		partition(sim);
	else if (kind < 7 && set->partitions)
		isolate(sim);
	else if (kind < 9)
		heal_links(sim);
	else if (kind < 10 && set->pauses)
		pause_node(sim);
	else if (kind < 11)
		clock_jump(sim);
	else if (set->wipes)
		wipe(sim);
	int64_t next_ms = rng_between(&sim->nemesis_rng, 1, 2 * set->nemesis_every_ms);
	sim_schedule(sim, sim->now_us + next_ms * 1000, SIM_NEMESIS, 0, 0, NULL);
}

void nemesis_heal(struct sim *sim)
{
	sim->healed = true;
	heal_links(sim);
	for (int i = 0; i < sim->nodes_count; i++) {
		sim->nodes[i].paused_until_us = 0;
		sim->nodes[i].disk_full = false;
		if (!sim->nodes[i].core)
			node_start(sim, i);
		else
			node_wake(sim, i, sim->now_us);
	}
}
