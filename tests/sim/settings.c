/* The swarm: what a seed draws. New settings are drawn at the end, so that the others stay. */
#include <stdio.h>

#include "tests/sim/sim.h"

static bool one_in(struct rng *r, uint64_t n)
{
	return rng_below(r, n) == 0;
}

/* Most clusters have three copies; the swarm sees all others, too. */
static void draw_copies(struct sim_settings *set, struct rng *r)
{
	set->storage_nodes = (int)rng_between(r, 3, 5);
	set->replicas = 3;
	set->write_quorum = 2;
	if (one_in(r, 3)) {
		set->storage_nodes = (int)rng_between(r, 1, 7);
		int most = set->storage_nodes < 5 ? set->storage_nodes : 5;
		set->replicas = (int)rng_between(r, 1, most);
		set->write_quorum = (int)rng_between(r, set->replicas / 2 + 1, set->replicas);
	}
}

static void draw_work(struct sim_settings *set, struct rng *r)
{
	bool deep = set->deep;
	set->safety_ms = deep ? rng_between(r, 60000, 65000) : rng_between(r, 15000, 40000);
	set->operations = (int)(deep ? rng_between(r, 500, 600) : rng_between(r, 200, 500));
	set->clients = (int)rng_between(r, 3, 8);
	set->documents = (int)rng_between(r, 2, 12);
	int least = set->operations / 40; /* graphs are cut back past a hundred generations */
	if (set->documents < least)
		set->documents = least;
	int64_t pace_ms = 2 * set->safety_ms * set->clients / set->operations;
	set->think_max_ms = rng_between(r, 5, pace_ms < 600 ? pace_ms : 600);
	set->shards = (int)rng_between(r, 1, 4);
	set->retain_ms = one_in(r, 3) ? rng_between(r, 1, 3000) : 0;
}

static void draw_network(struct sim_settings *set, struct rng *r)
{
	bool rough = !one_in(r, 3);
	bool storm = one_in(r, 8);
	set->drop = rough ? (uint32_t)rng_below(r, storm ? 300000 : 100000) : 0;
	set->duplicate = rough ? (uint32_t)rng_below(r, storm ? 500000 : 100000) : 0;
	set->delay_min_us = 50;
	set->delay_max_us = rng_between(r, 300, 20000);
	set->delay_tail = rough ? (uint32_t)rng_below(r, 50000) : 0;
	set->delay_tail_us = rng_between(r, 100000, 3000000);
}

static void draw_disks(struct sim_settings *set, struct rng *r)
{
	set->sync_min_us = 50;
	set->sync_max_us = rng_between(r, 200, 30000);
	set->disks = one_in(r, 3);
	bool faulty = one_in(r, 4);
	set->commit_broken = faulty ? (uint32_t)rng_below(r, 3000) : 0;
	set->commit_full = faulty ? (uint32_t)rng_below(r, 3000) : 0;
	set->get_broken = faulty ? (uint32_t)rng_below(r, 300) : 0;
	set->slow_disks = one_in(r, 3);
	/* what is acknowledged has W copies: one can be lost only where that leaves enough */
	set->losses =
	    set->replicas > set->write_quorum && one_in(r, 2) ? (int)rng_between(r, 1, 3) : 0;
}

/* Few seeds have any, these several: what ends at one limit may meet the other. */
static void draw_bounds(struct sim_settings *set, struct rng *r)
{
	static const int64_t ranges[BOUNDS_COUNT][2] = {
#define BOUND_ROW(name, least, most) {least, most},
#include "common/bounds.def"
#undef BOUND_ROW
	};
	if (!one_in(r, 3))
		return;
	for (int i = 0; i < BOUNDS_COUNT; i++)
		if (one_in(r, 3))
			set->bounds[i] = (uint32_t)rng_between(r, ranges[i][0], ranges[i][1]);
}

void sim_settings_draw(struct sim_settings *out, uint64_t seed, bool deep)
{
	struct rng r;
	rng_init(&r, seed);
	*out = (struct sim_settings){.seed = seed, .deep = deep};
	draw_copies(out, &r);
	out->gateways = (int)rng_between(&r, 1, 3);
	out->arbiters = (int)rng_between(&r, 1, 3);
	draw_work(out, &r);
	draw_network(out, &r);
	draw_disks(out, &r);
	out->nemesis_every_ms = one_in(&r, 6) ? 0 : rng_between(&r, 200, 4000);
	out->crashes = !one_in(&r, 4);
	out->power_cuts = one_in(&r, 2);
	out->pauses = one_in(&r, 2);
	out->pause_max_ms = one_in(&r, 4) ? 20000 : 6000;
	out->partitions = !one_in(&r, 3);
	out->stream_keep = one_in(&r, 2) ? (uint64_t)rng_between(&r, 5, 100) : 100000;
	out->chunk_bytes = one_in(&r, 2) ? (uint64_t)rng_between(&r, 100, 5000) : 0;
	out->pending_max = one_in(&r, 6) ? (uint64_t)rng_between(&r, 3, 50) : 0;
	if (one_in(&r, 5) && out->nemesis_every_ms > 0)
		out->nemesis_every_ms = rng_between(&r, 50, 300);
	out->links = (uint32_t)rng_between(&r, 1, (1 << LINK_TROUBLES) - 1);
	out->drift_ppm = one_in(&r, 3) ? rng_between(&r, 0, 50000) : 0;
	/* by now all faults but this one have ended: one copy less leaves enough */
	out->flips = out->replicas > out->write_quorum && one_in(&r, 3);
	if (one_in(&r, 8) && out->nemesis_every_ms > 0) {
		out->partitions = true;
		out->links = 1 << LATE_ISLAND;
	}
	out->put_back =
	    out->storage_nodes > 2 && out->replicas > out->write_quorum && one_in(&r, 6);
	if (out->put_back && out->losses == 0)
		out->losses = 1;
	/* as many copies as there are nodes */
	if (one_in(&r, 40)) {
		out->storage_nodes = (int)rng_between(&r, 6, 7);
		out->replicas = out->storage_nodes;
		out->write_quorum = out->replicas / 2 + 1;
	}
	out->rebalance = out->storage_nodes > out->replicas && one_in(&r, 3);
	out->forgets = one_in(&r, 6) && !out->flips;
	if (out->duplicate > 0 && one_in(&r, 2))
		out->stragglers = (uint32_t)rng_between(&r, 50, 3000);
	out->holds = out->nemesis_every_ms > 0 && one_in(&r, 3);
	draw_bounds(out, &r);
	bool fails = out->crashes || out->pauses || out->partitions;
	out->ambushes = out->nemesis_every_ms > 0 && fails && one_in(&r, 3);
}

void sim_settings_print(const struct sim_settings *s)
{
	printf("seed=%llu storage=%d gateways=%d arbiters=%d clients=%d replicas=%d quorum=%d "
	       "shards=%d documents=%d operations=%d safety_ms=%lld think_ms=%lld retain_ms=%lld "
	       "keep=%llu chunk=%llu pending=%llu ",
	       (unsigned long long)s->seed, s->storage_nodes, s->gateways, s->arbiters, s->clients,
	       s->replicas, s->write_quorum, s->shards, s->documents, s->operations,
	       (long long)s->safety_ms, (long long)s->think_max_ms, (long long)s->retain_ms,
	       (unsigned long long)s->stream_keep, (unsigned long long)s->chunk_bytes,
	       (unsigned long long)s->pending_max);
	printf("drop=%u duplicate=%u delay_us=%lld..%lld tail=%u/%lld sync_us=%lld..%lld "
	       "commit_broken=%u commit_full=%u get_broken=%u ",
	       s->drop, s->duplicate, (long long)s->delay_min_us, (long long)s->delay_max_us,
	       s->delay_tail, (long long)s->delay_tail_us, (long long)s->sync_min_us,
	       (long long)s->sync_max_us, s->commit_broken, s->commit_full, s->get_broken);
	printf("nemesis_ms=%lld crashes=%d power=%d pauses=%d/%lld partitions=%d links=%x disks=%d "
	       "slow=%d "
	       "losses=%d drift_ppm=%lld deep=%d flips=%d put_back=%d "
	       "rebalance=%d forgets=%d stragglers=%u holds=%d ambushes=%d bounds",
	       (long long)s->nemesis_every_ms, s->crashes, s->power_cuts, s->pauses,
	       (long long)s->pause_max_ms, s->partitions, s->links, s->disks, s->slow_disks,
	       s->losses, (long long)s->drift_ppm, s->deep, s->flips, s->put_back, s->rebalance,
	       s->forgets, s->stragglers, s->holds, s->ambushes);
	for (int i = 0; i < BOUNDS_COUNT; i++)
		printf("%c%u", i > 0 ? ',' : '=', s->bounds[i]);
	putchar('\n');
}
