/* A collection that is made, and the coordinator dies as soon as its maker is told so: others write
 * to it while nobody can name a lead. Checked:
 * - served: when it is said to be made, each of its shards has been begun on enough disks
 * - alone: while nothing else fails, each write is done, by way of whichever gateway
 * Where other faults go on, a write may be refused, and the coordinator is soon back. */
#include "storage-node/keys.h"
#include "tests/sim/records.h"
#include "tests/sim/trap.h"
#include "tests/sim/workload.h"

enum {
	MAKER,
	WRITERS = 3,
	ACTORS = 1 + WRITERS,
	ROUNDS = 2,
	SHARDS = 4, /* of a collection, at most */
	TIMEOUT_US = 6500000,
	AWAY_CALM_MS = 7000, /* longer than a gateway tries */
	AWAY_MS = 2000,
	PACE_MS = 250,
	JOIN_MS = 1000, /* by then all nodes have joined a coordinator that came back */
	PAUSE_MS = 3000 /* between rounds, at most */
};

struct alone_state {
	int round;
	bool making;
	bool there;        /* the last one is made */
	int64_t back_us;   /* when the coordinator comes back */
	bool away[ACTORS]; /* it was, when the write under way was sent */
	int written;
};

static struct alone_state *state_of(struct workload *w)
{
	return w->state;
}

/* Nothing fails but by this workload. */
static bool calm(const struct sim *sim)
{
	const struct sim_settings *set = &sim->settings;
	static const uint32_t unbounded[BOUNDS_COUNT];
	if (memcmp(set->bounds, unbounded, sizeof unbounded) != 0)
		return false;
	return set->nemesis_every_ms == 0 && set->drop == 0 && set->delay_tail == 0 &&
	       set->commit_broken == 0 && set->commit_full == 0 && set->get_broken == 0 &&
	       set->pending_max == 0 && !sim->healed && sim->trap_sprung == 0;
}

/* ---- the maker ---- */

static void make(struct workload *w)
{
	struct alone_state *s = state_of(w);
	const struct sim_settings *set = &w->sim->settings;
	struct sim_http *r = workload_request(w, MAKER, HTTP_POST, "/_/collections");
	buf_printf(
	    &r->body, "{\"name\":\"alone%d\",\"shards\":%lld,\"replicas\":%d,\"writeQuorum\":%d}",
	    s->round, (long long)rng_between(&w->rng, 1, SHARDS), set->replicas, set->write_quorum);
	s->making = true;
	workload_ask(w, MAKER, r, TIMEOUT_US);
}

static int disks_with(struct sim *sim, uint64_t shard)
{
	struct buf prefix = {0};
	int count = 0;
	key_shard(&prefix, 'e', shard);
	for (int i = 1; i <= sim->settings.storage_nodes; i++)
		count += disk_has_any(sim->nodes[i].disk, STORE_STREAM, buf_slice(&prefix));
	buf_close(&prefix);
	return count;
}

/* A disk may be lost between the lead's word and its way to the client. */
static void check_served(struct workload *w, struct slice answer)
{
	uint64_t shards[SHARDS];
	int count = shards_of_collection(w->sim, workload_collection_id(answer), shards, SHARDS);
	int losable = w->sim->settings.losses > 0 ? 1 : 0;
	for (int i = 0; i < count; i++)
		if (disks_with(w->sim, shards[i]) < w->sim->settings.write_quorum - losable)
			sim_violation(w->sim, "alone: alone%d is made, and nobody serves %016llx",
				      state_of(w)->round, (unsigned long long)shards[i]);
}

static void coordinator_dies(struct workload *w)
{
	struct alone_state *s = state_of(w);
	struct sim *sim = w->sim;
	int64_t away_ms = calm(sim) ? AWAY_CALM_MS : rng_between(&w->rng, 1, AWAY_MS);
	s->back_us = sim->now_us + away_ms * 1000;
	if (sim->healed || !sim->nodes[0].core)
		return;
	sim_log(sim, "alone: the coordinator dies for ms=%lld", (long long)away_ms);
	node_crash(sim, 0, false);
	sim_schedule(sim, s->back_us, SIM_RESTART, 0, 0, NULL);
}

static void have_made(struct workload *w, const struct sim_answer *answer)
{
	struct alone_state *s = state_of(w);
	s->making = false;
	if (answer->status == 201) {
		check_served(w, buf_slice(&answer->body));
		coordinator_dies(w);
		s->there = true;
		workload_sleep(w, MAKER, s->back_us - w->sim->now_us);
		return;
	}
	if (calm(w->sim))
		sim_violation(w->sim, "alone: status=%d of a creation while all is well",
			      answer->status);
	s->round++;
	workload_rest(w, MAKER, PAUSE_MS);
}

static void step_maker(struct workload *w)
{
	struct alone_state *s = state_of(w);
	bool lost = workload_give_up(w, MAKER);
	if (s->there || lost) {
		s->there = false;
		s->making = false;
		s->round++;
		workload_sleep(w, MAKER, (JOIN_MS + workload_below(w, PAUSE_MS)) * 1000);
	} else if (s->round < ROUNDS && !w->sim->healed) {
		make(w);
	} else {
		w->actors[MAKER].done = true;
	}
}

/* ---- writers ---- */

static void write_one(struct workload *w, int actor)
{
	struct alone_state *s = state_of(w);
	struct sim_http *r = workload_request(w, actor, HTTP_PUT, "");
	buf_printf(&r->path, "/alone%d/d%d-%d", s->round, actor, (int)w->requests);
	buf_append_text(&r->body, "{}");
	s->away[actor] = calm(w->sim) && w->sim->now_us < s->back_us;
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void judge(struct workload *w, int actor, int status)
{
	struct alone_state *s = state_of(w);
	bool away = s->away[actor] && calm(w->sim) && w->sim->now_us < s->back_us;
	s->written += status == 201;
	if (away && status != 201)
		sim_violation(w->sim, "alone: status=%d of a write to alone%d", status, s->round);
}

static void step_writer(struct workload *w, int actor)
{
	struct alone_state *s = state_of(w);
	if (workload_give_up(w, actor))
		judge(w, actor, 0);
	if (w->sim->healed || w->actors[MAKER].done)
		w->actors[actor].done = true;
	else if (s->there)
		write_one(w, actor);
	else
		workload_rest(w, actor, PACE_MS);
}

/* ---- steps ---- */

static void alone_step(struct workload *w, int actor)
{
	if (actor == MAKER)
		step_maker(w);
	else
		step_writer(w, actor);
}

static void alone_on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	if (!workload_answered(w, actor, answer))
		return;
	if (actor == MAKER) {
		have_made(w, answer);
		return;
	}
	judge(w, actor, answer->status);
	workload_rest(w, actor, PACE_MS);
}

static void alone_on_heal(struct workload *w)
{
	for (int i = 0; i < ACTORS; i++) {
		workload_give_up(w, i);
		workload_sleep(w, i, 0);
	}
}

static void alone_start(struct workload *w)
{
	workload_sleep(w, MAKER, rng_between(&w->rng, 400, 3000) * 1000);
	for (int i = 1; i < ACTORS; i++)
		workload_rest(w, i, PACE_MS);
}

static void alone_check(struct workload *w)
{
	sim_log(w->sim, "alone: %d rounds, %d written", state_of(w)->round, state_of(w)->written);
}

const struct workload_ops alone_workload = {
    .name = "alone",
    .actors = ACTORS,
    .state_bytes = sizeof(struct alone_state),
    .one_in = 5,
    .start = alone_start,
    .step = alone_step,
    .on_answer = alone_on_answer,
    .on_heal = alone_on_heal,
    .check = alone_check,
};
