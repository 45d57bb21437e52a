/* Faults of nodes, links, clocks and disks, drawn from a stream of their own. */
#include "storage-node/keys.h"
#include "tests/sim/faults.h"
#include "tests/sim/records.h"
#include "tests/sim/trap.h"

enum {
	FLAPS_MAX = 12,
	SLOW_DISK_MS = 8000,
	CLOG_MS = 4000,
	LATE_MS = 6000,
	FLIP_AFTER_MS = 3000,
	FORGET_AFTER_MS = 1000,
	HOLD_MS = 6000,
	HOLD_EVERY_MS = 4000,
	AMBUSH_EVERY_MS = 3000,
	AMBUSH_SKIP = 6,
	AMBUSH_MS = 6000,
	AMBUSH_LATE_US = 30000,
	AWAY_LEAST_MS = 6000,
	AWAY_MOST_MS = 12000
};

static struct rng *dice(struct sim *sim)
{
	return &sim->nemesis_rng;
}

static int any_node(struct sim *sim)
{
	return (int)rng_below(dice(sim), (uint64_t)sim->nodes_count);
}

static int any_storage(struct sim *sim)
{
	return 1 + (int)rng_below(dice(sim), (uint64_t)sim->settings.storage_nodes);
}

static void later(struct sim *sim, int64_t ms, enum nemesis_action action, int node)
{
	sim_schedule(sim, sim->now_us + ms * 1000, SIM_NEMESIS, (int)action, (uint64_t)node, NULL);
}

/* ---- links ---- */

static void partition(struct sim *sim)
{
	bool side[SIM_NODES_MAX];
	bool one_way = rng_below(dice(sim), 3) == 0;
	for (int i = 0; i < sim->nodes_count; i++)
		side[i] = rng_below(dice(sim), 2);
	for (int i = 0; i < sim->nodes_count; i++)
		for (int k = 0; k < sim->nodes_count; k++)
			sim->cut[i][k] = side[i] != side[k] && (!one_way || side[i]);
	faults_note(sim, FAULT_cut);
	sim_log(sim, "nemesis partition one_way=%d", one_way);
}

static void cut_node(struct sim *sim, int node, bool cut)
{
	for (int i = 0; i < sim->nodes_count; i++)
		sim->cut[node][i] = sim->cut[i][node] = cut && i != node;
	if (cut)
		faults_note(sim, FAULT_cut);
	sim_log(sim, "nemesis %s %s", cut ? "isolate" : "join", sim->nodes[node].name);
}

/* Cut off from its kind and the coordinator, with some of the gateways: whoever asks there must not
 * be told what was so a while ago. */
static void island(struct sim *sim, int node, struct rng *r)
{
	bool inside[SIM_NODES_MAX] = {false};
	inside[node] = true;
	for (int i = 1 + sim->settings.storage_nodes; i < sim->nodes_count; i++)
		inside[i] = rng_below(r, 2);
	for (int i = 0; i < sim->nodes_count; i++)
		for (int k = 0; k < sim->nodes_count; k++)
			sim->cut[i][k] = inside[i] != inside[k];
	faults_note(sim, FAULT_island);
	sim_log(sim, "nemesis island %s", sim->nodes[node].name);
}

/* What others send it arrives only once it is an island. */
static void late_island(struct sim *sim)
{
	for (int i = 0; i <= sim->settings.storage_nodes; i++)
		if (sim->clogged_until_us[0][i] > sim->now_us)
			return; /* one at a time: the next would end it */
	int node = any_storage(sim);
	int64_t ms = rng_between(dice(sim), 500, LATE_MS);
	for (int i = 0; i <= sim->settings.storage_nodes; i++)
		sim->clogged_until_us[i][node] = sim->now_us + ms * 1000;
	later(sim, rng_between(dice(sim), 50, 700), NEMESIS_ISLAND, node);
	faults_note(sim, FAULT_late);
	sim_log(sim, "nemesis clog all to %s ms=%lld", sim->nodes[node].name, (long long)ms);
}

static void heal_links(struct sim *sim)
{
	memset(sim->cut, 0, sizeof sim->cut);
	sim_log(sim, "nemesis heal_links");
}

/* A node that comes and goes. */
static void flap(struct sim *sim)
{
	int node = any_node(sim);
	int64_t at_ms = 0;
	int flaps = (int)rng_between(dice(sim), 2, FLAPS_MAX);
	for (int i = 0; i < flaps; i++) {
		at_ms += rng_between(dice(sim), 20, 900);
		later(sim, at_ms, i % 2 ? NEMESIS_JOIN : NEMESIS_CUT, node);
	}
	later(sim, at_ms + 500, NEMESIS_JOIN, node);
}

/* Some nodes are cut off one after another, and come back in another order. */
static void swizzle(struct sim *sim)
{
	for (int i = 0; i < sim->nodes_count; i++) {
		if (rng_below(dice(sim), 2))
			continue;
		later(sim, rng_between(dice(sim), 0, 3000), NEMESIS_CUT, i);
		later(sim, rng_between(dice(sim), 3000, 8000), NEMESIS_JOIN, i);
	}
}

/* What is sent over one link arrives only when it is free again. */
static void clog_link(struct sim *sim)
{
	int from = any_node(sim);
	int to = any_node(sim);
	int64_t ms = rng_between(dice(sim), 100, CLOG_MS);
	sim->clogged_until_us[from][to] = sim->now_us + ms * 1000;
	faults_note(sim, FAULT_late);
	sim_log(sim, "nemesis clog %s to %s ms=%lld", sim->nodes[from].name, sim->nodes[to].name,
		(long long)ms);
}

static void isolate(struct sim *sim)
{
	cut_node(sim, any_node(sim), true);
}

static void any_island(struct sim *sim)
{
	island(sim, any_storage(sim), dice(sim));
}

/* Again and again, from its own stream. */
static void hold_kind(struct sim *sim)
{
	struct rng *r = &sim->late_rng;
	if (sim->now_us >= sim->hold.until_us) {
		faults_note(sim, FAULT_late);
		net_hold(sim, 1 + (int)rng_below(r, (uint64_t)sim->settings.storage_nodes),
			 rng_between(r, 100, HOLD_MS));
	}
	later(sim, rng_between(r, 1, HOLD_EVERY_MS), NEMESIS_HOLD, 0);
}

/* Of the kinds that the seed has drawn. */
static void trouble_links(struct sim *sim)
{
	static void (*const kinds[LINK_TROUBLES])(struct sim *) = {
	    partition, isolate, any_island, flap, swizzle, clog_link, late_island};
	uint64_t kind;
	do {
		kind = rng_below(dice(sim), LINK_TROUBLES);
	} while (!(sim->settings.links & 1u << kind));
	kinds[kind](sim);
}

/* ---- processes ---- */

static void crash_by(struct sim *sim, int node, struct rng *r)
{
	if (!sim->nodes[node].core)
		return;
	bool power = sim->settings.power_cuts && rng_below(r, 2);
	faults_note(sim, power ? FAULT_power : FAULT_crash);
	sim_log(sim, "nemesis crash %s power=%d", sim->nodes[node].name, power);
	node_crash(sim, node, power);
	int64_t down_ms = rng_between(r, 1, rng_below(r, 4) ? 3000 : 8000);
	sim_schedule(sim, sim->now_us + down_ms * 1000, SIM_RESTART, node, 0, NULL);
}

static void crash(struct sim *sim, int node)
{
	crash_by(sim, node, dice(sim));
}

static void crash_all(struct sim *sim)
{
	for (int i = 0; i < sim->nodes_count; i++)
		crash(sim, i);
}

static void pause_by(struct sim *sim, int index, struct rng *r)
{
	struct sim_node *node = &sim->nodes[index];
	int64_t ms = rng_between(r, 50, sim->settings.pause_max_ms);
	node->paused_until_us = sim->now_us + ms * 1000;
	faults_note(sim, FAULT_pause);
	sim_log(sim, "nemesis pause %s ms=%lld", node->name, (long long)ms);
}

static void pause_node(struct sim *sim)
{
	pause_by(sim, any_node(sim), dice(sim));
}

/* ---- ambushes ---- */

/* Kinds of messages are as likely as each other: rare steps are met as often as others. */
static void lie_in_wait(struct sim *sim)
{
	struct rng *r = &sim->ambush_rng;
	if (sim->hold.types_count > 0) {
		sim->ambush.type = sim->hold.types[rng_below(r, sim->hold.types_count)];
		sim->ambush.skip = (uint32_t)rng_below(r, AMBUSH_SKIP);
	}
	later(sim, rng_between(r, 1, AMBUSH_EVERY_MS), NEMESIS_AMBUSH, 0);
}

void nemesis_on_send(struct sim *sim, int from, int to)
{
	struct rng *r = &sim->ambush_rng;
	if (sim->healed || sim->ambush.skip-- > 0)
		return;
	sim->ambush.type = 0;
	sim_schedule(sim, sim->now_us + (rng_below(r, 2) ? 0 : rng_between(r, 0, AMBUSH_LATE_US)),
		     SIM_NEMESIS, NEMESIS_SPRING, (uint64_t)(rng_below(r, 2) ? from : to), NULL);
}

/* A fault of those that the seed has: the node dies, stands still, or is cut off, from all or with
 * some gateways. */
static void spring(struct sim *sim, int node)
{
	const struct sim_settings *set = &sim->settings;
	struct rng *r = &sim->ambush_rng;
	const bool drawn[] = {set->crashes, set->pauses, set->partitions, set->partitions};
	uint64_t kind;
	do {
		kind = rng_below(r, ARRAY_LEN(drawn));
	} while (!drawn[kind]);
	sim_log(sim, "nemesis ambushes %s", sim->nodes[node].name);
	if (kind == 0)
		crash_by(sim, node, r);
	else if (kind == 1)
		pause_by(sim, node, r);
	else if (kind == 2 || sim->nodes[node].role != ROLE_STORAGE)
		cut_node(sim, node, true);
	else
		island(sim, node, r);
	if (kind >= 2)
		later(sim, rng_between(r, 100, AMBUSH_MS), NEMESIS_HEAL, 0);
}

/* ---- disks ---- */

/* The node starts on the disk as it was when the copy was made. */
static void put_back(struct sim *sim, struct sim_node *node)
{
	faults_note(sim, FAULT_old);
	sim_log(sim, "nemesis old disk of %s boot=%llu now=%llu", node->name,
		(unsigned long long)node->copy_boot, (unsigned long long)node->boot);
	disk_restore(node->disk, node->copy);
	node->incarnation = node->copy_incarnation;
	node->boot = node->copy_boot;
	node->aged = node->incarnation;
}

/* Data are lost only while no other replica is missing: what is acknowledged has W copies, not N.
 */
static void lose_disk(struct sim *sim)
{
	int index = any_storage(sim);
	struct sim_node *node = &sim->nodes[index];
	uint64_t kind = rng_below(dice(sim), 5);
	if (sim->losses < sim->settings.losses && checker_whole(sim)) {
		sim->losses++;
		if (kind == 0) {
			/* found when it is read: until then it counts as a copy, so it is the last
			 * one to go */
			sim->losses = sim->settings.losses;
			faults_note(sim, FAULT_bits);
			sim_log(sim, "nemesis flips a bit of %s", node->name);
			disk_corrupt_any(node->disk, dice(sim));
			sim->rotten = true;
		} else {
			sim_log(sim, "nemesis loses the disk of %s", node->name);
			node_crash(sim, index, false);
			if (kind < 3 && node->copy && copy_is_known(sim, node)) {
				put_back(sim, node);
			} else if (kind == 3) {
				faults_note(sim, FAULT_old);
				disk_tear(node->disk);
				node->aged = node->incarnation;
			} else {
				faults_note(sim, FAULT_wiped);
				disk_wipe(node->disk);
				node->incarnation = 0;
			}
			sim_schedule(sim, sim->now_us + 500000, SIM_RESTART, index, 0, NULL);
		}
	}
}

/* The newest entry of a shard's stream can't be read any more, which the node finds as it starts.
 */
static bool garble_entry(struct sim *sim, struct sim_node *node, uint64_t shard)
{
	struct shard_position p;
	struct buf key = {0};
	bool garbled =
	    position_of(sim, node->member, shard, &p) && p.applied == p.last &&
	    disk_garble(node->disk, STORE_STREAM, key_number(&key, 'e', shard, p.last), 8);
	buf_close(&key);
	if (garbled) {
		node_crash(sim, (int)(node - sim->nodes), false);
		sim_schedule(sim, sim->now_us + 500000, SIM_RESTART, (int)(node - sim->nodes), 0,
			     NULL);
	}
	return garbled;
}

static bool leads(struct sim *sim, uint64_t member, uint64_t shard)
{
	const struct shard_list *list = all_shards(sim);
	for (int i = 0; i < list->count; i++)
		if (list->shards[i].id == shard)
			return list->shards[i].lead == member;
	return false;
}

/* Another that has the shard stands still while the damage is found: its copy may be lost as well.
 * Not its lead, in whose place the damaged one would answer. */
static void hush_peer(struct sim *sim, uint64_t member, uint64_t shard)
{
	struct rng *r = &sim->away_rng;
	int index = 1 + (int)rng_below(r, (uint64_t)sim->settings.storage_nodes);
	struct sim_node *node = &sim->nodes[index];
	struct shard_position p;
	bool follows = node->member != member && !leads(sim, node->member, shard) &&
		       position_of(sim, node->member, shard, &p);
	arena_reset(&sim->arena);
	if (!follows)
		return;
	node->paused_until_us = sim->now_us + rng_between(r, AWAY_LEAST_MS, AWAY_MOST_MS) * 1000;
	faults_note(sim, FAULT_pause);
	sim_log(sim, "nemesis pauses %s, which has that shard, too", node->name);
}

/* Of a shard that the node follows: what it holds there is not asked for, unless a client puts up
 * with any replica. No checksum tells it; the node must find out itself. */
static void flip_silently(struct sim *sim)
{
	for (int i = 1; i <= sim->settings.storage_nodes; i++) {
		struct sim_node *node = &sim->nodes[i];
		uint64_t shard = checker_followed(sim, node->member);
		struct buf prefix = {0};
		struct slice value;
		bool flipped = false;
		buf_clear(&node->flipped_key);
		buf_clear(&node->flipped_value);
		if (shard && rng_below(dice(sim), 3) == 0)
			flipped = garble_entry(sim, node, shard);
		else if (shard)
			flipped =
			    disk_flip_any(node->disk, key_shard(&prefix, 'd', shard), dice(sim),
					  &node->flipped_family, &node->flipped_key);
		buf_close(&prefix);
		if (!flipped)
			continue;
		if (disk_get(node->disk, node->flipped_family, buf_slice(&node->flipped_key),
			     &value))
			buf_append_slice(&node->flipped_value, value);
		node->flipped = node->incarnation;
		node->flipped_shard = shard;
		sim->losses++;
		faults_note(sim, FAULT_bits);
		sim_log(sim, "nemesis flips a bit of %s, unnoticed", node->name);
		hush_peer(sim, node->member, shard);
		return;
	}
}

/* Another one than these two, of at least three. */
static int third_storage(struct sim *sim, int a, int b)
{
	int node;
	do {
		node = any_storage(sim);
	} while (node == a || node == b);
	return node;
}

static void copy_disk(struct sim *sim, int index)
{
	struct sim_node *node = &sim->nodes[index];
	if (node->copy)
		disk_free(node->copy);
	node->copy = disk_clone(node->disk);
	node->copy_incarnation = node->incarnation;
	node->copy_boot = node->boot;
	sim_log(sim, "nemesis copies the disk of %s", node->name);
}

/* Its disk is put back as it was when another was cut off, and a third one goes while that comes
 * again: what was acknowledged in between is on the third only. */
static void plan_put_back(struct sim *sim)
{
	int node = any_storage(sim);
	int away = third_storage(sim, node, node);
	int64_t ms = rng_between(dice(sim), 5500, 9000);
	copy_disk(sim, node);
	cut_node(sim, away, true);
	later(sim, ms, NEMESIS_JOIN, away);
	later(sim, ms, NEMESIS_PUT_BACK, node + SIM_NODES_MAX * away);
}

static void planned_put_back(struct sim *sim, int index, int away)
{
	struct sim_node *node = &sim->nodes[index];
	if (sim->losses >= sim->settings.losses || !checker_whole(sim) || !node->copy ||
	    !copy_is_known(sim, node))
		return;
	crash(sim, third_storage(sim, index, away));
	sim->losses++;
	sim_log(sim, "nemesis loses the disk of %s", node->name);
	node_crash(sim, index, false);
	put_back(sim, node);
	sim_schedule(sim, sim->now_us + 500000, SIM_RESTART, index, 0, NULL);
}

static bool old_disk_unfound(const struct sim *sim)
{
	for (int i = 1; i <= sim->settings.storage_nodes; i++)
		if (sim->nodes[i].incarnation == sim->nodes[i].aged)
			return true;
	return false;
}

/* When all storage nodes are there to tell it what it knew. That a disk was put back nobody else
 * could tell it. */
static void lose_coordinator(struct sim *sim)
{
	if (old_disk_unfound(sim)) {
		later(sim, FORGET_AFTER_MS, NEMESIS_FORGET, 0);
		return;
	}
	sim_log(sim, "nemesis loses the disk of the coordinator");
	faults_note(sim, FAULT_wiped);
	sim->recovers = true;
	node_crash(sim, 0, false);
	disk_wipe(sim->nodes[0].disk);
	sim_schedule(sim, sim->now_us + 500000, SIM_RESTART, 0, 0, NULL);
}

static void slow_disk(struct sim *sim)
{
	struct sim_node *node = &sim->nodes[any_node(sim)];
	node->slow_until_us = sim->now_us + rng_between(dice(sim), 100, SLOW_DISK_MS) * 1000;
	faults_note(sim, FAULT_slow);
	sim_log(sim, "nemesis slow disk of %s", node->name);
}

/* Full or not any more; or the next commit fails, which ends the process. */
static void disk_trouble(struct sim *sim)
{
	struct sim_node *node = &sim->nodes[any_node(sim)];
	if (!node->disk || !node->core)
		return;
	if (node->role == ROLE_STORAGE && rng_below(dice(sim), 3) != 0) {
		node->disk_short = (node->disk_short + 1) % 3;
		faults_note(sim, FAULT_full);
		sim_log(sim, "nemesis disk %s short=%d", node->name, node->disk_short);
		node_wake(sim, (int)(node - sim->nodes), sim->now_us);
	} else {
		faults_note(sim, FAULT_broken);
		sim_log(sim, "nemesis commit of %s fails", node->name);
		disk_fail_next_commit(node->disk,
				      rng_below(dice(sim), 2) ? STORE_FULL : STORE_BROKEN);
	}
}

/* ---- all together ---- */

static void clock_jump(struct sim *sim)
{
	int64_t skew_ms = rng_between(dice(sim), -3600000, 3600000);
	faults_note(sim, FAULT_clock);
	sim->nodes[any_node(sim)].clock_skew_ms = skew_ms;
}

static void draw(struct sim *sim)
{
	const struct sim_settings *set = &sim->settings;
	uint64_t kind = rng_below(dice(sim), 20);
	if (set->put_back && !sim->put_back_planned) {
		sim->put_back_planned = true;
		plan_put_back(sim);
	} else if (kind < 4 && set->crashes)
		crash(sim, any_node(sim));
	else if (kind == 4 && set->crashes && rng_below(dice(sim), 4) == 0)
		crash_all(sim);
	else if (kind < 9 && set->partitions)
		trouble_links(sim);
	else if (kind < 12)
		heal_links(sim);
	else if (kind == 12 && set->pauses)
		pause_node(sim);
	else if (kind == 13)
		clock_jump(sim);
	else if (kind < 16 && set->losses > 0)
		lose_disk(sim);
	else if (kind == 16 && set->losses > 0)
		copy_disk(sim, any_storage(sim));
	else if (kind == 17 && set->slow_disks)
		slow_disk(sim);
	else if (set->disks)
		disk_trouble(sim);
	int64_t next_ms = rng_between(dice(sim), 1, 2 * set->nemesis_every_ms);
	later(sim, next_ms, NEMESIS_DRAW, 0);
}

void nemesis_step(struct sim *sim, enum nemesis_action action, int node)
{
	/* not while another copy may hold damage that nobody has read yet */
	if (action == NEMESIS_FLIP && !sim->rotten && checker_whole(sim))
		flip_silently(sim);
	if (action == NEMESIS_TRAP)
		trap_spring(sim, node);
	if (action == NEMESIS_FORGET)
		lose_coordinator(sim);
	if (sim->healed || action == NEMESIS_FLIP || action == NEMESIS_TRAP)
		return;
	if (action == NEMESIS_DRAW)
		draw(sim);
	else if (action == NEMESIS_ISLAND)
		island(sim, node, dice(sim));
	else if (action == NEMESIS_HOLD)
		hold_kind(sim);
	else if (action == NEMESIS_HEAL)
		heal_links(sim);
	else if (action == NEMESIS_AMBUSH)
		lie_in_wait(sim);
	else if (action == NEMESIS_SPRING)
		spring(sim, node);
	else if (action == NEMESIS_PUT_BACK)
		planned_put_back(sim, node % SIM_NODES_MAX, node / SIM_NODES_MAX);
	else
		cut_node(sim, node, action == NEMESIS_CUT);
}

void nemesis_heal(struct sim *sim)
{
	sim->healed = true;
	if (sim->settings.flips)
		later(sim, FLIP_AFTER_MS, NEMESIS_FLIP, 0);
	if (sim->settings.forgets)
		later(sim, FORGET_AFTER_MS, NEMESIS_FORGET, 0);
	heal_links(sim);
	memset(sim->clogged_until_us, 0, sizeof sim->clogged_until_us);
	sim->hold.until_us = 0;
	for (int i = 0; i < sim->nodes_count; i++) {
		struct sim_node *node = &sim->nodes[i];
		node->paused_until_us = 0;
		node->slow_until_us = 0;
		node->disk_short = 0;
		if (node->store)
			disk_end_faults(node->store);
		if (!node->core)
			node_start(sim, i);
		else
			node_wake(sim, i, sim->now_us);
	}
}
