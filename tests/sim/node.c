/* Nodes: cores with their inbox, their disk and their turns, as common/core.h orders them. */
#include <stdio.h>
#include <stdlib.h>

#include "arbiter/arbiter.h"
#include "common/base/memory.h"
#include "coordinator/coordinator.h"
#include "gateway/gateway.h"
#include "storage-node/storage.h"
#include "tests/sim/sim.h"

enum { TURN_MESSAGES_MAX = 256, SLOW_SYNC_US = 1000000, PAUSED_LOOK_US = 100000 };

/* Only differences of it count, so each machine begins anywhere. */
static void new_clock(struct sim *sim, struct sim_node *node)
{
	int64_t most = sim->settings.drift_ppm;
	node->clock_base_ms = rng_between(&sim->core_rng, 0, 1000000);
	node->drift_ppm = rng_between(&sim->core_rng, -most, most);
}

static int64_t clock_ms(const struct sim *sim, const struct sim_node *node)
{
	return node->clock_base_ms +
	       (sim->now_us + sim->now_us / 1000 * node->drift_ppm / 1000) / 1000;
}

/* When the node's clock shows at least this. */
static int64_t clock_reached_us(const struct sim *sim, const struct sim_node *node, int64_t at_ms)
{
	int64_t wait_ms = at_ms - clock_ms(sim, node);
	return sim->now_us +
	       (wait_ms > 0 ? wait_ms * 1000 * 1000000 / (1000000 + node->drift_ppm) + 1 : 0);
}

static void add_node(struct sim *sim, uint64_t member, enum role role, const char *name, int number)
{
	struct sim_node *node = &sim->nodes[sim->nodes_count++];
	node->member = member;
	node->role = role;
	node->wake_us = INT64_MAX;
	snprintf(node->name, sizeof node->name, "%s-%d", name, number);
	node->inbox_end = &node->inbox;
	node->requests_end = &node->requests;
	if (role == ROLE_STORAGE || role == ROLE_COORDINATOR)
		node->disk = disk_new();
	new_clock(sim, node);
}

void node_build(struct sim *sim)
{
	add_node(sim, SIM_COORDINATOR, ROLE_COORDINATOR, "coordinator", 1);
	for (int i = 0; i < sim->settings.storage_nodes; i++)
		add_node(sim, SIM_STORAGE_FIRST + (uint64_t)i, ROLE_STORAGE, "storage", i + 1);
	for (int i = 0; i < sim->settings.gateways; i++)
		add_node(sim, SIM_GATEWAY_FIRST + (uint64_t)i, ROLE_GATEWAY, "gateway", i + 1);
	for (int i = 0; i < sim->settings.arbiters; i++)
		add_node(sim, SIM_ARBITER_FIRST + (uint64_t)i, ROLE_ARBITER, "arbiter", i + 1);
	for (int i = 0; i < sim->nodes_count; i++)
		node_start(sim, i);
}

/* ---- birth and death of a core ---- */

static void *new_coordinator(struct sim *sim, struct sim_node *node, uint64_t seed)
{
	struct coordinator_member members[SIM_NODES_MAX];
	for (int i = 0; i < sim->nodes_count; i++)
		members[i] = (struct coordinator_member){sim->nodes[i].member, sim->nodes[i].name,
							 sim->nodes[i].role};
	struct coordinator_options options = {.self = node->member,
					      .cluster = SIM_CLUSTER,
					      .members = members,
					      .members_count = (uint32_t)sim->nodes_count,
					      .replicas = (uint64_t)sim->settings.replicas,
					      .rebalance = sim->settings.rebalance,
					      .recover_from_nodes = sim->recovers,
					      .shards = (uint64_t)sim->settings.shards};
	node->ops = &coordinator_ops;
	return coordinator_new(&options, node->store, seed);
}

static void *new_storage(struct sim *sim, struct sim_node *node, uint64_t seed)
{
	if (node->incarnation == 0) {
		node->incarnation = rng_next(&sim->core_rng) | 1;
		node->boot = 0;
	}
	node->boot++;
	struct storage_options options = {
	    .self = node->member,
	    .coordinator = SIM_COORDINATOR,
	    .incarnation = node->incarnation,
	    .boot = node->boot,
	    .life = rng_next(&sim->core_rng),
	    .stream_keep_entries = sim->settings.stream_keep,
	    /* few at once, so that faults meet a write by query in its middle */
	    .edit_flight_entries = sim->settings.seed % 3 ? 3 : 0,
	    .snapshot_chunk_bytes = sim->settings.chunk_bytes,
	    .apply_bytes_turn = sim->settings.chunk_bytes,
	    .changes_answer_bytes = sim->settings.chunk_bytes,
	    .pending_entries_max = sim->settings.pending_max,
	    .scrub_bytes_per_second = 64 * 1024 * 1024,
	    /* passes enough for a long run */
	    .scrub_rest_ms = sim->settings.deep && sim->settings.seed % 3 ? 6000 : 2000,
	    /* so short that some go before their document comes */
	    .upload_keep_ms = sim->settings.seed % 3 ? 20000 : 200,
	    .index_step_documents = 3};
	node->ops = &storage_ops;
	return storage_new(&options, node->store, seed);
}

static void *new_gateway(struct sim *sim, struct sim_node *node, uint64_t seed)
{
	uint64_t storage[SIM_NODES_MAX];
	for (int i = 0; i < sim->settings.storage_nodes; i++)
		storage[i] = SIM_STORAGE_FIRST + (uint64_t)i;
	struct gateway_options options = {.self = node->member,
					  .coordinator = SIM_COORDINATOR,
					  .storage = storage,
					  .storage_count = (uint32_t)sim->settings.storage_nodes,
					  .version = "sim"};
	/* so short that leases end while leads are replaced */
	options.limits.replication_lease_ms = sim->settings.seed % 3 ? 1500 : 4000;
	node->ops = &gateway_ops;
	return gateway_new(&options, seed);
}

static void *new_arbiter(struct sim_node *node, uint64_t seed)
{
	struct arbiter_options options = {.self = node->member, .coordinator = SIM_COORDINATOR};
	node->ops = &arbiter_ops;
	return arbiter_new(&options, seed);
}

static void *new_core(struct sim *sim, struct sim_node *node)
{
	uint64_t seed = rng_next(&sim->core_rng);
	switch (node->role) {
	case ROLE_COORDINATOR:
		return new_coordinator(sim, node, seed);
	case ROLE_STORAGE:
		return new_storage(sim, node, seed);
	case ROLE_GATEWAY:
		return new_gateway(sim, node, seed);
	default:
		return new_arbiter(node, seed);
	}
}

static void free_core(struct sim_node *node)
{
	switch (node->role) {
	case ROLE_COORDINATOR:
		coordinator_free(node->core);
		break;
	case ROLE_STORAGE:
		storage_free(node->core);
		break;
	case ROLE_GATEWAY:
		gateway_free(node->core);
		break;
	default:
		arbiter_free(node->core);
		break;
	}
	node->core = NULL;
}

static struct event event_at(const struct sim *sim, const struct sim_node *node,
			     enum event_kind kind)
{
	return (struct event){.kind = kind,
			      .now_ms = clock_ms(sim, node),
			      .wall_ms = 1700000000000 + sim->now_us / 1000 + node->clock_skew_ms};
}

static void finish_turn(struct sim *sim, int index);

static bool open_disk(struct sim *sim, struct sim_node *node)
{
	struct disk_faults faults = {0};
	if (!sim->healed)
		faults = (struct disk_faults){.seed = rng_next(&sim->disk_rng),
					      .commit_full = sim->settings.commit_full,
					      .commit_broken = sim->settings.commit_broken,
					      .get_broken = sim->settings.get_broken};
	node->store = disk_open(node->disk, &faults);
	return node->store != NULL;
}

/* A new data directory; the store is closed. */
static void set_aside(struct sim_node *node)
{
	disk_wipe(node->disk);
	node->incarnation = 0;
}

static void restart_soon(struct sim *sim, int index)
{
	sim_schedule(sim, sim->now_us + 100000, SIM_RESTART, index, 0, NULL);
}

/* What it can't read may be readable next time, or is damaged. */
static void cannot_start(struct sim *sim, int index)
{
	struct sim_node *node = &sim->nodes[index];
	bool damaged;
	bool failed = disk_store_failed(node->store, &damaged);
	store_close(node->store);
	node->store = NULL;
	if (!failed || (damaged && sim->losses == 0))
		sim_violation(sim, "%s can't read its own disk", node->name);
	if (damaged)
		set_aside(node);
	restart_soon(sim, index);
}

void node_start(struct sim *sim, int index)
{
	struct sim_node *node = &sim->nodes[index];
	if (node->disk && !open_disk(sim, node)) { /* torn: it can't vouch for what is left */
		set_aside(node);
		open_disk(sim, node);
	}
	node->disk_short_told = 0;
	node->core = new_core(sim, node);
	if (!node->core) {
		cannot_start(sim, index);
		return;
	}
	node->life++;
	sim_log(sim, "%s starts boot=%llu", node->name, (unsigned long long)node->boot);
	struct event start = event_at(sim, node, EVENT_START);
	node->ops->step(node->core, &start, &node->fx);
	finish_turn(sim, index);
}

static void clear_inbox(struct sim_node *node)
{
	while (node->inbox) {
		struct sim_message *m = node->inbox;
		node->inbox = m->next;
		free(m);
	}
	while (node->requests) {
		struct sim_http *r = node->requests;
		node->requests = r->next;
		http_request_free(r);
	}
	while (node->scripts) {
		struct sim_script *s = node->scripts;
		node->scripts = s->next;
		script_free(s);
	}
	node->inbox_end = &node->inbox;
	node->requests_end = &node->requests;
}

void node_crash(struct sim *sim, int index, bool power)
{
	struct sim_node *node = &sim->nodes[index];
	if (!node->core)
		return;
	free_core(node);
	clear_inbox(node);
	http_gateway_down(sim, index);
	effects_clear(&node->fx);
	node->life++;
	node->committing = false;
	node->busy_until_us = 0;
	node->wake_us = INT64_MAX;
	if (node->disk) {
		store_close(node->store);
		node->store = NULL;
		if (power)
			disk_crash(node->disk, &sim->disk_rng);
	}
	if (power) {
		new_clock(sim, node);
	}
}

void node_free_all(struct sim *sim)
{
	for (int i = 0; i < sim->nodes_count; i++) {
		node_crash(sim, i, false);
		clear_inbox(&sim->nodes[i]);
		effects_close(&sim->nodes[i].fx);
		free(sim->nodes[i].open);
		if (sim->nodes[i].disk)
			disk_free(sim->nodes[i].disk);
		if (sim->nodes[i].copy)
			disk_free(sim->nodes[i].copy);
		buf_close(&sim->nodes[i].flipped_key);
		buf_close(&sim->nodes[i].flipped_value);
	}
}

/* ---- turns ---- */

void node_wake(struct sim *sim, int index, int64_t at_us)
{
	struct sim_node *node = &sim->nodes[index];
	if (!node->core)
		return;
	if (at_us < node->busy_until_us)
		at_us = node->busy_until_us;
	if (at_us < node->paused_until_us)
		at_us = node->paused_until_us;
	if (at_us < sim->now_us)
		at_us = sim->now_us;
	if (node->wake_us <= at_us && node->wake_us >= sim->now_us)
		return;
	node->wake_us = at_us;
	sim_schedule(sim, at_us, SIM_WAKE, index, 0, NULL);
}

/* RESET and EXIT end the process; what else its list holds is not carried out. */
static bool ends_life(struct sim *sim, int index)
{
	struct sim_node *node = &sim->nodes[index];
	for (uint32_t i = 0; i < node->fx.count; i++) {
		const struct effect *e = &node->fx.items[i];
		if (e->kind != EFFECT_RESET && e->kind != EFFECT_EXIT)
			continue;
		sim_log(sim, "%s ends: %.*s", node->name, (int)e->reason.len,
			(const char *)e->reason.data);
		bool reset = e->kind == EFFECT_RESET;
		if (!reset)
			sim_violation(sim, "%s: %.*s", node->name, (int)e->reason.len,
				      (const char *)e->reason.data);
		else if (sim->losses == 0)
			sim_violation(sim, "%s sets its disk aside without a cause: %.*s",
				      node->name, (int)e->reason.len, (const char *)e->reason.data);
		if (reset)
			spares_on_reset(sim, node, e->reason);
		node_crash(sim, index, false);
		if (reset && node->disk)
			set_aside(node);
		restart_soon(sim, index);
		return true;
	}
	return false;
}

/* As the daemon does: what a core took for absent may only have been unreadable. */
static bool store_ends_life(struct sim *sim, int index)
{
	struct sim_node *node = &sim->nodes[index];
	bool damaged;
	if (!node->store || !disk_store_failed(node->store, &damaged))
		return false;
	sim_log(sim, "%s can't read its disk damaged=%d", node->name, damaged);
	node_crash(sim, index, false);
	if (damaged)
		set_aside(node);
	restart_soon(sim, index);
	return true;
}

static void run_effects(struct sim *sim, int index, enum effect_when when)
{
	struct sim_node *node = &sim->nodes[index];
	for (uint32_t i = 0; i < node->fx.count; i++) {
		const struct effect *e = &node->fx.items[i];
		if (e->when != when)
			continue;
		if (e->kind == EFFECT_SEND) {
			sim_trace(sim, &e->send.envelope.type, sizeof e->send.envelope.type);
			sim_trace(sim, e->send.body.data, e->send.body.len);
			net_send(sim, index, e);
		} else if (e->kind == EFFECT_RESPOND) {
			sim_trace(sim, e->respond.response.body.data, e->respond.response.body.len);
			http_respond(sim, index, e);
		} else if (e->kind == EFFECT_BODY_CREDIT) {
			http_body_credit(sim, index, e);
		} else if (e->kind == EFFECT_STREAM_SEND) {
			sim_trace(sim, e->stream_send.body.data, e->stream_send.body.len);
			http_stream_send(sim, index, e);
		} else if (e->kind == EFFECT_STREAM_CLOSE) {
			http_stream_close(sim, index, e);
		} else if (e->kind == EFFECT_SCRIPT) {
			script_submit(sim, index, &e->script);
		} else if (e->kind == EFFECT_LOG) {
			sim_log(sim, "%s %.*s", node->name, (int)e->log.text.len,
				(const char *)e->log.text.data);
		}
	}
}

static void schedule_timer(struct sim *sim, int index)
{
	struct sim_node *node = &sim->nodes[index];
	int64_t deadline = node->ops->deadline(node->core);
	if (deadline != NO_DEADLINE)
		node_wake(sim, index, clock_reached_us(sim, node, deadline));
	if (node->inbox || node->requests)
		node_wake(sim, index, sim->now_us);
}

/* Sends what may go at once, then commits; what must be durable waits for node_stored. */
static void finish_turn(struct sim *sim, int index)
{
	struct sim_node *node = &sim->nodes[index];
	if (store_ends_life(sim, index) || ends_life(sim, index))
		return;
	run_effects(sim, index, WHEN_NOW);
	if (node->store && store_dirty(node->store)) {
		node->sync_wanted = node->fx.sync;
		if (store_commit(node->store, false) != STORE_OK) {
			node_crash(sim, index, true);
			restart_soon(sim, index);
			return;
		}
		const struct sim_settings *set = &sim->settings;
		int64_t slowest_us =
		    sim->now_us < node->slow_until_us ? SLOW_SYNC_US : set->sync_max_us;
		int64_t takes_us = node->sync_wanted
				       ? rng_between(&sim->disk_rng, set->sync_min_us, slowest_us)
				       : 10;
		node->committing = true;
		node->busy_until_us = sim->now_us + takes_us;
		sim_schedule(sim, node->busy_until_us, SIM_STORED, index, node->life, NULL);
		return;
	}
	run_effects(sim, index, WHEN_DURABLE);
	effects_clear(&node->fx);
	schedule_timer(sim, index);
}

void node_stored(struct sim *sim, int index, uint64_t life)
{
	struct sim_node *node = &sim->nodes[index];
	if (!node->core || node->life != life)
		return;
	if (sim->now_us < node->paused_until_us) { /* which may end earlier */
		int64_t look_us = sim->now_us + PAUSED_LOOK_US;
		bool over = look_us > node->paused_until_us;
		sim_schedule(sim, over ? node->paused_until_us : look_us, SIM_STORED, index, life,
			     NULL);
		return;
	}
	node->committing = false;
	node->busy_until_us = sim->now_us;
	if (node->sync_wanted && store_commit(node->store, true) != STORE_OK) {
		node_crash(sim, index, true);
		restart_soon(sim, index);
		return;
	}
	run_effects(sim, index, WHEN_DURABLE);
	effects_clear(&node->fx);
	struct event stored = event_at(sim, node, EVENT_STORED);
	node->ops->step(node->core, &stored, &node->fx);
	finish_turn(sim, index);
}

static void feed_message(struct sim *sim, struct sim_node *node, struct sim_message *m)
{
	const struct schema *schema = schema_of_message(m->envelope.type);
	void *body = arena_alloc(&sim->message, schema->size);
	struct event event = event_at(sim, node, EVENT_MESSAGE);
	if (schema_decode(schema, slice_of(m->bytes, m->len), &sim->message, body)) {
		event.message.from = (struct peer){.member = m->from, .role = m->from_role};
		event.message.envelope = m->envelope;
		event.message.body = body;
		if (sim->verbose) {
			struct buf text = {0};
			schema_print(schema, body, &text);
			sim_log(sim, "  %s <- %llu e%llu %s", node->name,
				(unsigned long long)m->from, (unsigned long long)m->envelope.epoch,
				buf_cstr(&text));
			buf_close(&text);
		}
		copies_on_message(sim, node, m, body);
		node->ops->step(node->core, &event, &node->fx);
		sim->steps++;
	} else {
		sim_violation(sim, "%s can't read a %s", node->name, schema->name);
	}
	arena_reset(&sim->message);
#ifdef SIM_SANITIZED
	arena_close(&sim->message);
#endif
}

static void feed_scripts(struct sim *sim, struct sim_node *node)
{
	while (node->scripts) {
		struct sim_script *s = node->scripts;
		struct event event = event_at(sim, node, EVENT_SCRIPT);
		node->scripts = s->next;
		event.script.id = s->id;
		event.script.status = s->status;
		event.script.output = buf_slice(&s->output);
		node->ops->step(node->core, &event, &node->fx);
		script_free(s);
	}
}

void node_turn(struct sim *sim, int index)
{
	struct sim_node *node = &sim->nodes[index];
	node->wake_us = INT64_MAX;
	if (!node->core)
		return;
	if (node->committing || sim->now_us < node->paused_until_us) {
		if (!node->committing)
			node_wake(sim, index, node->paused_until_us);
		return; /* after a commit, node_stored wakes it */
	}
	for (int i = 0; i < TURN_MESSAGES_MAX && node->inbox; i++) {
		struct sim_message *m = node->inbox;
		node->inbox = m->next;
		if (!node->inbox)
			node->inbox_end = &node->inbox;
		feed_message(sim, node, m);
		free(m);
	}
	for (int i = 0; i < TURN_MESSAGES_MAX && node->requests; i++) {
		struct sim_http *r = node->requests;
		node->requests = r->next;
		if (!node->requests)
			node->requests_end = &node->requests;
		http_feed(sim, node, event_at(sim, node, EVENT_HTTP_REQUEST), r);
		http_request_free(r);
		sim->steps++;
	}
	feed_scripts(sim, node);
	http_feed_taken(node, event_at(sim, node, EVENT_STREAM_TAKEN));
	http_feed_closed(node, event_at(sim, node, EVENT_STREAM_GONE));
	if (node->ops->deadline(node->core) <= clock_ms(sim, node)) {
		struct event timer = event_at(sim, node, EVENT_TIMER);
		node->ops->step(node->core, &timer, &node->fx);
	}
	if (node->disk_short != node->disk_short_told) {
		struct event disk = event_at(sim, node, EVENT_DISK);
		node->disk_short_told = node->disk_short;
		disk.disk.full = node->disk_short > 0;
		disk.disk.exhausted = node->disk_short > 1;
		node->ops->step(node->core, &disk, &node->fx);
	}
	struct event turn = event_at(sim, node, EVENT_TURN);
	node->ops->step(node->core, &turn, &node->fx);
	finish_turn(sim, index);
}
