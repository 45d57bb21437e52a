#include "common/run/daemon.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include "common/base/memory.h"
#include "common/run/clock.h"
#include "common/run/daemon_private.h"
#include "common/run/descriptors.h"
#include "common/store/store_rocks.h"

enum {
	DAEMON_FRAMES_A_TURN = 256,
	DAEMON_TURN_MS = 50, /* then no further frame, so that timers and others are heard */
	DAEMON_HOUSEKEEPING_MS = 500,
	DAEMON_DRAIN_LOOK_MS = 20,
	DAEMON_UNSENT_MAX = 4096
};

/* ---- for hooks ---- */

const struct config *daemon_config(const struct daemon *d)
{
	return &d->config;
}

const struct members *daemon_members(const struct daemon *d)
{
	return &d->members;
}

const struct member_row *daemon_self(const struct daemon *d)
{
	return members_by_id(&d->members, d->self);
}

uint64_t daemon_coordinator(const struct daemon *d)
{
	for (uint32_t i = 0; i < d->members.count; i++)
		if (d->members.rows[i].role == ROLE_COORDINATOR)
			return d->members.rows[i].id;
	return 0;
}

struct logger *daemon_logger(struct daemon *d)
{
	return &d->logger;
}

struct loop *daemon_loop(struct daemon *d)
{
	return &d->loop;
}

struct store *daemon_store(struct daemon *d)
{
	return d->store;
}

const struct node_identity *daemon_identity(const struct daemon *d)
{
	return &d->identity;
}

void *daemon_core(struct daemon *d)
{
	return d->core;
}

void daemon_set_user(struct daemon *d, void *user)
{
	d->user = user;
}

void *daemon_user(struct daemon *d)
{
	return d->user;
}

void daemon_inject(struct daemon *d, struct event *event)
{
	event->now_ms = clock_boot_ms();
	event->wall_ms = clock_wall_ms();
	d->spec->ops->step(d->core, event, &d->fx);
	d->again = true;
}

void daemon_again(struct daemon *d)
{
	d->again = true;
}

/* ---- effects ---- */

static void stop(struct daemon *d, int exit_code)
{
	d->stopping = true;
	d->exit_code = exit_code;
}

/* The last words of a core that ends its process. */
static void write_log(struct daemon *d)
{
	for (uint32_t i = 0; i < d->fx.count; i++)
		if (d->fx.items[i].kind == EFFECT_LOG)
			logger_text(&d->logger, d->fx.items[i].log.level, d->fx.items[i].log.text);
}

/* The core may hold iterators of the store: it goes first. */
static void reset(struct daemon *d, struct slice reason)
{
	char text[200];
	snprintf(text, sizeof text, "%.*s", (int)reason.len, (const char *)reason.data);
	d->spec->destroy(d->core);
	d->core = NULL;
	if (d->store)
		store_close(d->store);
	d->store = NULL;
	stop(d, daemon_set_aside(d, text) ? DAEMON_EXIT_RESET : DAEMON_EXIT_FAILED);
}

/* True if the process ends here: what else the list holds is not carried out. */
static bool ends_process(struct daemon *d)
{
	for (uint32_t i = 0; i < d->fx.count; i++) {
		const struct effect *e = &d->fx.items[i];
		if (e->kind != EFFECT_EXIT && e->kind != EFFECT_RESET)
			continue;
		write_log(d);
		if (e->kind == EFFECT_RESET) {
			reset(d, e->reason);
			return true;
		}
		logger_printf(&d->logger, LOG_LEVEL_FATAL, "exit reason=\"%.*s\"",
			      (int)e->reason.len, (const char *)e->reason.data);
		stop(d, DAEMON_EXIT_FAILED);
		return true;
	}
	return false;
}

/* Past the bound the core waits for an answer, as if the message had been lost. */
static void note_unsent(struct daemon *d, const struct effect *e)
{
	if (d->unsent_count == DAEMON_UNSENT_MAX)
		return;
	if (!d->unsent)
		d->unsent = mem_alloc_zero(DAEMON_UNSENT_MAX * sizeof *d->unsent);
	struct event *event = &d->unsent[d->unsent_count++];
	*event = (struct event){.kind = EVENT_UNSENT};
	event->unsent.member = e->send.member;
	event->unsent.envelope = e->send.envelope;
	d->again = true;
}

static void carry_out(struct daemon *d, enum effect_when when)
{
	for (uint32_t i = 0; i < d->fx.count; i++) {
		const struct effect *e = &d->fx.items[i];
		if (e->when != when)
			continue;
		if (e->kind == EFFECT_SEND) {
			if (!bus_send(d->bus, e))
				note_unsent(d, e);
		} else if (e->kind == EFFECT_SCRIPT) {
			script_pool_submit(d->scripts, &e->script);
		} else if (e->kind == EFFECT_SCRIPT_DROP) {
			script_pool_drop(d->scripts, e->script.id);
		} else if (e->kind == EFFECT_LOG) {
			logger_text(&d->logger, e->log.level, e->log.text);
		} else if (d->spec->respond) {
			d->spec->respond(d, e);
		}
	}
	bus_flush(d->bus);
}

/* Damaged data are for the peers to replace; anything else may be better after a restart. */
static void store_failed(struct daemon *d, enum store_result result)
{
	struct slice error = store_rocks_error(d->store);
	logger_printf(&d->logger, LOG_LEVEL_FATAL, "store_failed reason=%s error=\"%.*s\"",
		      result == STORE_FULL ? "no_space" : "input_output_error", (int)error.len,
		      (const char *)error.data);
	if (d->spec->identity && store_rocks_damaged(d->store))
		reset(d, error);
	else
		stop(d, DAEMON_EXIT_FAILED);
}

/* What a core took for absent may only have been unreadable: nothing that it says may go out. */
static bool store_ends_process(struct daemon *d)
{
	if (!d->store || !store_rocks_failed(d->store))
		return false;
	store_failed(d, STORE_BROKEN);
	return true;
}

static bool commit(struct daemon *d)
{
	uint64_t start = clock_mono_us();
	enum store_result result = store_commit(d->store, d->fx.sync);
	d->commit_us += clock_mono_us() - start;
	d->commits++;
	d->syncs += d->fx.sync;
	if (result == STORE_OK)
		return true;
	store_failed(d, result);
	return false;
}

/* The order is contract: see common/core.h. */
static void finish_turn(struct daemon *d)
{
	d->turns++;
	for (;;) {
		if (store_ends_process(d) || ends_process(d))
			break;
		carry_out(d, WHEN_NOW);
		bool dirty = d->store && store_dirty(d->store);
		if (dirty && !commit(d))
			break;
		carry_out(d, WHEN_DURABLE);
		effects_clear(&d->fx);
		if (!dirty)
			return;
		struct event stored = {
		    .kind = EVENT_STORED, .now_ms = clock_boot_ms(), .wall_ms = clock_wall_ms()};
		d->spec->ops->step(d->core, &stored, &d->fx);
	}
	effects_clear(&d->fx);
}

/* ---- turns ---- */

static void on_message(void *context, struct event *event)
{
	struct daemon *d = context;
	event->now_ms = clock_boot_ms();
	event->wall_ms = clock_wall_ms();
	d->spec->ops->step(d->core, event, &d->fx);
}

static void feed(struct daemon *d, enum event_kind kind)
{
	struct event event = {.kind = kind, .now_ms = clock_boot_ms(), .wall_ms = clock_wall_ms()};
	d->spec->ops->step(d->core, &event, &d->fx);
}

static void turn(struct daemon *d)
{
	d->again = bus_receive(d->bus, DAEMON_FRAMES_A_TURN, clock_boot_ms() + DAEMON_TURN_MS,
			       on_message, d);
	for (uint32_t i = 0; i < d->unsent_count; i++)
		on_message(d, &d->unsent[i]);
	d->unsent_count = 0;
	if (d->scripts)
		script_pool_turn(d->scripts, on_message, d);
	if (d->spec->ops->deadline(d->core) <= clock_boot_ms())
		feed(d, EVENT_TIMER);
	feed(d, EVENT_TURN);
	finish_turn(d);
	if (d->spec->turn_end && !d->stopping)
		d->spec->turn_end(d);
}

static void drain(struct daemon *d)
{
	if (!d->draining) {
		d->draining = true;
		d->drain_until_ms =
		    clock_boot_ms() + (int64_t)config_number(&d->config, "drain_timeout_ms");
		sd_notify(0, "STOPPING=1");
		logger_printf(&d->logger, LOG_LEVEL_INFO, "draining");
		feed(d, EVENT_DRAIN);
		d->again = true;
		return;
	}
	bool drained = !d->spec->drained || d->spec->drained(d);
	if (drained || clock_boot_ms() >= d->drain_until_ms)
		stop(d, DAEMON_EXIT_OK);
}

static void wait_for_work(struct daemon *d)
{
	int64_t now_ms = clock_boot_ms();
	int64_t deadline = d->spec->ops->deadline(d->core);
	if (d->housekeeping_ms < deadline)
		deadline = d->housekeeping_ms;
	if (d->scripts && script_pool_deadline(d->scripts) < deadline)
		deadline = script_pool_deadline(d->scripts);
	if (d->draining && now_ms + DAEMON_DRAIN_LOOK_MS < deadline)
		deadline = now_ms + DAEMON_DRAIN_LOOK_MS;
	if (d->again || bus_has_input(d->bus))
		deadline = 0;
	loop_wait(&d->loop, deadline);
}

/* More often until it is ready, since somebody is waiting for that. */
static void look_after(struct daemon *d)
{
	int64_t now_ms = clock_boot_ms();
	if (now_ms < d->housekeeping_ms)
		return;
	d->housekeeping_ms =
	    now_ms + (d->ready_told ? DAEMON_HOUSEKEEPING_MS : DAEMON_HOUSEKEEPING_MS / 10);
	daemon_housekeeping(d);
}

static void run(struct daemon *d)
{
	while (!d->stopping) {
		wait_for_work(d);
		if (d->loop.hangup) {
			d->loop.hangup = false;
			daemon_reload(d);
		}
		turn(d);
		if (d->loop.term && !d->stopping)
			drain(d);
		if (!d->stopping)
			look_after(d);
	}
}

int daemon_run(int argc, char **argv, const struct daemon_spec *spec)
{
	struct daemon d = {.spec = spec, .argc = argc, .argv = argv};
	mallopt(M_ARENA_MAX, 2); /* threads of libraries would each get an arena of their own */
	umask(0077);
	descriptors_fill_standard();
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL); /* ignored, it hides how script workers ended */
	if (daemon_setup(&d, argc, argv)) {
		feed(&d, EVENT_START);
		finish_turn(&d);
		struct buf problem = {0};
		if (!d.stopping && spec->setup && !spec->setup(&d, &problem)) {
			logger_printf(&d.logger, LOG_LEVEL_FATAL, "start_failed reason=\"%s\"",
				      buf_cstr(&problem));
			stop(&d, DAEMON_EXIT_FAILED);
		}
		buf_close(&problem);
		run(&d);
	}
	int exit_code = d.exit_code;
	daemon_teardown(&d);
	return exit_code;
}
