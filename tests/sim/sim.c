#include "tests/sim/faults.h"
#include "tests/sim/records.h"
#include "tests/sim/trap.h"
#include "tests/sim/workload.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "common/base/memory.h"

enum {
	LIVENESS_MS = 90000,
	/* what gateways write each second or two must not be met each time */
	QUIET_LOOK_US = 430000,
	DEEP_REQUESTS = 500,
	DEEP_MORE_MS = 3600000
};

/* ---- the heap of events, by time, then by order of scheduling ---- */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at_us < b->at_us || (a->at_us == b->at_us && a->sequence < b->sequence);
}

void sim_schedule(struct sim *sim, int64_t at_us, enum sim_event_kind kind, int index,
		  uint64_t life, void *payload)
{
	if (sim->heap_len == sim->heap_cap) {
		sim->heap_cap = sim->heap_cap ? sim->heap_cap * 2 : 1024;
		sim->heap = mem_realloc(sim->heap, sim->heap_cap * sizeof *sim->heap);
	}
	struct sim_event event = {at_us, sim->sequence++, kind, index, life, payload};
	size_t at = sim->heap_len++;
	while (at > 0 && before(&event, &sim->heap[(at - 1) / 2])) {
		sim->heap[at] = sim->heap[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	sim->heap[at] = event;
}

static struct sim_event pop(struct sim *sim)
{
	struct sim_event top = sim->heap[0];
	struct sim_event last = sim->heap[--sim->heap_len];
	size_t at = 0;
	for (;;) {
		size_t child = 2 * at + 1;
		if (child >= sim->heap_len)
			break;
		if (child + 1 < sim->heap_len && before(&sim->heap[child + 1], &sim->heap[child]))
			child++;
		if (!before(&sim->heap[child], &last))
			break;
		sim->heap[at] = sim->heap[child];
		at = child;
	}
	if (sim->heap_len > 0)
		sim->heap[at] = last;
	return top;
}

/* ---- reporting ---- */

void sim_trace(struct sim *sim, const void *data, size_t len)
{
	sim->trace = XXH3_64bits_withSeed(data, len, sim->trace);
}

void sim_log(struct sim *sim, const char *format, ...)
{
	if (!sim->verbose)
		return;
	va_list args;
	va_start(args, format);
	printf("%10.3f ", (double)sim->now_us / 1000.0);
	vprintf(format, args);
	putchar('\n');
	va_end(args);
}

void sim_violation(struct sim *sim, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	if (sim->violations++ == 0)
		sim_settings_print(&sim->settings);
	printf("violation seed=%llu at_ms=%lld: ", (unsigned long long)sim->settings.seed,
	       (long long)(sim->now_us / 1000));
	vprintf(format, args);
	putchar('\n');
	va_end(args);
}

struct sim_node *sim_node_of(struct sim *sim, uint64_t member)
{
	for (int i = 0; i < sim->nodes_count; i++)
		if (sim->nodes[i].member == member)
			return &sim->nodes[i];
	return NULL;
}

/* ---- the loop ---- */

static void handle(struct sim *sim, struct sim_event *event)
{
	switch (event->kind) {
	case SIM_WAKE:
		if (sim->nodes[event->index].wake_us == event->at_us)
			node_turn(sim, event->index);
		break;
	case SIM_STORED:
		node_stored(sim, event->index, event->life);
		break;
	case SIM_DELIVER:
		net_deliver(sim, event);
		break;
	case SIM_HTTP:
		http_arrive(sim, event);
		break;
	case SIM_ANSWER:
		workload_answer(sim, event->payload);
		break;
	case SIM_WORKLOAD:
		workload_step(sim, event->index, (int)event->life);
		break;
	case SIM_NEMESIS:
		nemesis_step(sim, (enum nemesis_action)event->index, (int)event->life);
		break;
	case SIM_WATCH:
		watch(sim);
		break;
	case SIM_SCRIPT:
		script_arrive(sim, event);
		break;
	case SIM_RESTART:
		if (!sim->nodes[event->index].core)
			node_start(sim, event->index);
		break;
	}
}

static void run_until(struct sim *sim, int64_t until_us)
{
	while (sim->heap_len > 0 && sim->heap[0].at_us <= until_us) {
		struct sim_event event = pop(sim);
		sim->now_us = event.at_us;
		handle(sim, &event);
	}
	sim->now_us = until_us;
}

static void drop_event(struct sim_event *event)
{
	if (event->kind == SIM_DELIVER) {
		free(event->payload);
	} else if (event->kind == SIM_HTTP) {
		http_request_free(event->payload);
	} else if (event->kind == SIM_ANSWER) {
		buf_close(&((struct sim_answer *)event->payload)->body);
		free(event->payload);
	} else if (event->kind == SIM_SCRIPT) {
		script_free(event->payload);
	}
}

static void sim_close(struct sim *sim)
{
	node_free_all(sim); /* may still schedule the ends of streams */
	for (size_t i = 0; i < sim->heap_len; i++)
		drop_event(&sim->heap[i]);
	free(sim->heap);
	workload_free_all(sim);
	free(sim->workloads);
	checker_close(sim);
	watch_close(sim);
	shards_close(sim);
	arena_close(&sim->arena);
	arena_close(&sim->message);
}

/* Where little works, clients take longer to ask as much as a deep run promises. */
static void safety(struct sim *sim)
{
	int64_t end_us = sim->now_us + sim->settings.safety_ms * 1000;
	int64_t latest_us = end_us + DEEP_MORE_MS * 1000ll;
	run_until(sim, end_us);
	while (sim->settings.deep && sim->asked < DEEP_REQUESTS && sim->now_us < latest_us)
		run_until(sim, sim->now_us + 500000);
	if (sim->settings.deep && sim->asked < DEEP_REQUESTS)
		sim_violation(sim, "an hour is too short for %d requests", DEEP_REQUESTS);
}

static void liveness(struct sim *sim)
{
	struct buf why = {0};
	nemesis_heal(sim);
	workload_heal(sim);
	int64_t deadline = sim->now_us + LIVENESS_MS * 1000ll;
	int quiet = 0;
	while (sim->now_us < deadline && quiet < 3 && sim->violations == 0) {
		run_until(sim, sim->now_us + QUIET_LOOK_US);
		watch(sim);
		buf_clear(&why);
		quiet = workload_all_done(sim, &why) && checker_quiet(sim, &why) ? quiet + 1 : 0;
	}
	if (quiet < 3 && why.len > 0 && sim->violations == 0) {
		buf_append_text(&why, "; ");
		(void)checker_quiet(sim, &why);
	}
	if (quiet < 3 && sim->violations == 0)
		sim_violation(sim, "no progress after healing: %s", buf_cstr(&why));
	buf_close(&why);
}

int sim_run(uint64_t seed, const struct sim_options *options, uint64_t *trace,
	    uint64_t *simulated_ms)
{
	struct sim *sim = mem_alloc_zero(sizeof *sim);
	struct rng root;
	sim->verbose = options->verbose;
	sim_settings_draw(&sim->settings, seed, options->deep);
	sim->trap = options->trap;
	if (sim->trap)
		trap_settle(&sim->settings, sim->trap);
	if (options->verbose)
		sim_settings_print(&sim->settings);
	rng_init(&root, seed ^ 0x5eed);
	rng_fork(&root, &sim->net_rng);
	rng_fork(&root, &sim->disk_rng);
	rng_fork(&root, &sim->nemesis_rng);
	rng_fork(&root, &sim->core_rng);
	rng_init(&sim->body_rng, seed ^ 0xb0d1e5);
	rng_init(&sim->late_rng, seed ^ 0x1a7e);
	rng_init(&sim->ambush_rng, seed ^ 0xab05);
	rng_init(&sim->refusal_rng, seed ^ 0x4ef5);
	rng_init(&sim->away_rng, seed ^ 0xa3a4);
	memcpy(probe_bounds, sim->settings.bounds, sizeof probe_bounds);
	sim->now_us = 1000000;
	sim->workloads = mem_alloc_zero(WORKLOADS_MAX * sizeof *sim->workloads);
	node_build(sim);
	workload_start_all(sim);
	if (sim->settings.nemesis_every_ms > 0)
		sim_schedule(sim, 4000000, SIM_NEMESIS, NEMESIS_DRAW, 0, NULL);
	if (sim->settings.holds)
		sim_schedule(sim, 4000000, SIM_NEMESIS, NEMESIS_HOLD, 0, NULL);
	if (sim->settings.ambushes)
		sim_schedule(sim, 4000000, SIM_NEMESIS, NEMESIS_AMBUSH, 0, NULL);
	sim_schedule(sim, sim->now_us + WATCH_EVERY_MS * 1000, SIM_WATCH, 0, 0, NULL);
	safety(sim);
	liveness(sim);
	if (sim->violations == 0)
		watch_last(sim);
	if (sim->violations == 0)
		checker_final(sim);
	if (sim->violations == 0)
		workload_check_all(sim);
	int violations = sim->violations;
	if (sim->trap)
		*options->trap_sprung = sim->trap_sprung;
	if (options->met)
		faults_of_run(sim, options->met);
	if (options->asked)
		*options->asked = sim->asked;
	*trace = sim->trace;
	*simulated_ms = (uint64_t)(sim->now_us / 1000);
	sim_close(sim);
	free(sim);
	return violations;
}
