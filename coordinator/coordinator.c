#include "coordinator/coordinator.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "coordinator/arbiters.h"
#include "coordinator/collections.h"
#include "coordinator/lock.h"
#include "coordinator/map_push.h"
#include "coordinator/membership.h"
#include "coordinator/moves.h"
#include "coordinator/notifys.h"
#include "coordinator/recovery.h"
#include "coordinator/state.h"
#include "coordinator/succession.h"
#include "coordinator/system.h"

struct member_row *coordinator_member_row(const struct coordinator *c, uint64_t id)
{
	return map_get_u64(&c->members, id);
}

struct shard_row *coordinator_shard_row(const struct coordinator *c, uint64_t id)
{
	return map_get_u64(&c->shards, id);
}

struct coordinator *coordinator_new(const struct coordinator_options *options, struct store *store,
				    uint64_t seed)
{
	struct coordinator *c = mem_alloc_zero(sizeof *c);
	c->options = *options;
	c->options.members = NULL;
	c->store = store;
	rng_init(&c->rng, seed);
	/* the ids inside come from peers, and may be chosen to collide */
	c->shards.seed = rng_next(&c->rng);
	c->collections.seed = rng_next(&c->rng);
	c->dropped.seed = c->collections.seed;
	c->members.seed = rng_next(&c->rng);
	c->asked.seed = c->members.seed;
	c->life = seed | 1; /* not 0 */
	membership_set(c, options->members, options->members_count);
	if (state_load(c) && lock_open(c))
		return c;
	coordinator_free(c);
	return NULL;
}

void coordinator_free(struct coordinator *c)
{
	if (!c)
		return;
	lock_close(c);
	notifys_close(c);
	state_close(c);
	buf_close(&c->refused_text);
	buf_close(&c->key);
	buf_close(&c->value);
	arena_close(&c->arena);
	free(c);
}

void coordinator_members_set(struct coordinator *c, const struct coordinator_member *members,
			     uint32_t count)
{
	membership_set(c, members, count);
	c->members_changed = true;
}

int64_t coordinator_deadline(const void *core)
{
	const struct coordinator *c = core;
	return c->started ? c->tick_ms : NO_DEADLINE;
}

static void on_start(struct coordinator *c, struct effects *fx)
{
	c->started = true;
	c->tick_ms = c->now_ms + TICK_MS;
	moves_pause(c);
	c->state.boot++;
	state_put_counters(c, fx);
	membership_grace(c);
	recovery_start(c);
	lock_start(c);
	c->review_wanted = true;
	fx_log(fx, LOG_LEVEL_INFO, "coordinator_started boot=%llu map_version=%llu shards=%llu",
	       (unsigned long long)c->state.boot, (unsigned long long)c->state.map_version,
	       (unsigned long long)c->shards.count);
}

static void on_message(struct coordinator *c, const struct event *e, struct effects *fx)
{
	switch (e->message.envelope.type) {
	case MSG_member_join:
		membership_on_join(c, e, fx);
		break;
	case MSG_heartbeat:
		membership_on_heartbeat(c, e, fx);
		break;
	case MSG_map_request:
		map_push_on_request(c, e, fx);
		break;
	case MSG_collection_create:
		collections_on_create(c, e, fx);
		break;
	case MSG_node_update:
		moves_on_update(c, e, fx);
		break;
	case MSG_system_list:
		system_on_list(c, e, fx);
		break;
	case MSG_arbiter_lease:
		arbiters_on_lease(c, e, fx);
		break;
	case MSG_lock_acquire:
		lock_on_acquire(c, e, fx);
		break;
	case MSG_lock_release:
		lock_on_release(c, e, fx);
		break;
	case MSG_lock_renew:
		lock_on_renew(c, e, fx);
		break;
	case MSG_notify_report:
		notifys_on_report(c, e);
		break;
	case MSG_lock_set_ack:
		lock_on_set_ack(c, e, fx);
		break;
	default:
		fx_log(fx, LOG_LEVEL_WARN, "message_unexpected type=%u from=%llu",
		       e->message.envelope.type, (unsigned long long)e->message.from.member);
	}
}

/* Decisions are made here, on all that the turn brought, and leave with one map. */
static void on_turn(struct coordinator *c, struct effects *fx)
{
	if (c->members_changed)
		state_map_changed(c);
	if (c->review_wanted || c->members_changed) {
		membership_review(c, fx);
		recovery_review(c, fx);
		succession_review(c, fx);
	}
	c->members_changed = false;
	c->review_wanted = false;
	lock_turn(c, fx);
	if (!c->map_changed)
		return;
	state_put_counters(c, fx);
	map_push_all(c, fx);
	c->map_changed = false;
}

static void on_timer(struct coordinator *c, struct effects *fx)
{
	if (c->now_ms < c->tick_ms)
		return;
	c->tick_ms = c->now_ms + TICK_MS;
	c->review_wanted = true;
	lock_review_time(c, fx);
}

static void slept(struct coordinator *c, int64_t before_ms)
{
	membership_slept(c, before_ms);
	lock_slept(c, c->now_ms - before_ms);
	recovery_slept(c, c->now_ms - before_ms);
}

static void coordinator_step(void *core, const struct event *e, struct effects *fx)
{
	struct coordinator *c = core;
	/* a process that was stopped finds its queues full of heartbeats, after the clock has moved
	 */
	int64_t before_ms = c->now_ms;
	c->now_ms = e->now_ms;
	c->wall_ms = e->wall_ms;
	if (c->started && e->now_ms - before_ms > ASLEEP_MS)
		slept(c, before_ms);
	switch (e->kind) {
	case EVENT_START:
		on_start(c, fx);
		break;
	case EVENT_MESSAGE:
		on_message(c, e, fx);
		break;
	case EVENT_TIMER:
		on_timer(c, fx);
		break;
	case EVENT_TURN:
		on_turn(c, fx);
		break;
	case EVENT_DISK:
		c->disk_full = e->disk.full;
		break;
	case EVENT_DRAIN:
		c->draining = true;
		break;
	default:
		break;
	}
	arena_reset(&c->arena);
}

const struct core_ops coordinator_ops = {
    .name = "coordinator",
    .role = ROLE_COORDINATOR,
    .step = coordinator_step,
    .deadline = coordinator_deadline,
    .metrics = system_metrics,
    .ready = system_ready,
};
