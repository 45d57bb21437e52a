#include "gateway/gateway.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "common/timing.h"
#include "gateway/arbiter.h"
#include "gateway/call.h"
#include "gateway/couch/auth.h"
#include "gateway/couch/changes.h"
#include "gateway/intake.h"
#include "gateway/lock.h"
#include "gateway/notify/notify.h"
#include "gateway/replicate/replicate.h"
#include "gateway/replicate/schedule.h"
#include "gateway/script_runs.h"

enum { TIMERS_PER_STEP = 100000 };

static void default_u32(uint32_t *value, uint32_t given)
{
	if (*value == 0)
		*value = given;
}

static void limits_settle(struct gateway_limits *l)
{
#define LIMIT(field, name, value, least, greatest, doc) default_u32(&l->field, value);
#include "gateway/limits.def"
#undef LIMIT
	if (l->document_bytes_max > LIMIT_BODY_BYTES)
		l->document_bytes_max = LIMIT_BODY_BYTES;
	if (l->list_rows_max > LIMIT_ROWS)
		l->list_rows_max = LIMIT_ROWS;
}

struct gateway *gateway_new(const struct gateway_options *options, uint64_t seed)
{
	struct gateway *gw = mem_alloc_zero(sizeof *gw);
	gw->options = *options;
	if (!gw->options.version)
		gw->options.version = "0";
	limits_settle(&gw->options.limits);
	gw->options.storage_count = 0;
	gateway_set_storage(gw, options->storage, options->storage_count);
	rng_init(&gw->rng, seed);
	cluster_map_init(&gw->map, rng_next(&gw->rng));
	gw->requests.seed = rng_next(&gw->rng);
	call_table_init(gw);
	admission_init(&gw->admission);
	lock_keeper_init(gw);
	notify_init(gw);
	arbiters_init(gw);
	script_runs_init(gw);
	replicator_init(gw);
	gw->schedule = schedule_new(gw->requests.seed, options->name);
	gw->auth = couch_auth_new(gw->requests.seed);
	gw->json = json_parser_new();
	return gw;
}

void gateway_set_storage(struct gateway *gw, const uint64_t *storage, uint32_t count)
{
	free(gw->storage);
	gw->storage = mem_alloc((count + 1) * sizeof *gw->storage);
	if (count > 0)
		memcpy(gw->storage, storage, count * sizeof *storage);
	gw->options.storage = gw->storage;
	gw->options.storage_count = count;
}

const struct gateway_limits *gateway_limits(const struct gateway *gw)
{
	return &gw->options.limits;
}

bool gateway_has_left(const struct gateway *gw)
{
	return schedule_has_left(gw);
}

void gateway_free(struct gateway *gw)
{
	struct effects nobody = {0}; /* what the ends of requests want is not done any more */
	struct turn t = {.gw = gw, .fx = &nobody};
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&gw->requests, &at)) != NULL;)
		request_finish(&t, e->value);
	effects_close(&nobody);
	request_sweep(gw);
	while (gw->spare) {
		struct request *r = gw->spare;
		gw->spare = r->next;
		arena_close(&r->arena);
		free(r);
	}
	notify_close(gw);
	arbiters_close(gw);
	script_runs_close(gw);
	replicator_close(gw);
	schedule_close(gw);
	couch_auth_close(gw);
	map_close(&gw->requests);
	cluster_map_close(&gw->map);
	call_table_close(gw);
	lock_keeper_close(gw);
	timers_close(&gw->timers);
	json_parser_free(gw->json);
	buf_close(&gw->scratch);
	buf_close(&gw->reply.body);
	free(gw->storage);
	free(gw);
}

static void run_timers(struct turn *t)
{
	for (uint32_t i = 0; i < TIMERS_PER_STEP; i++) {
		struct timer *timer = timers_first(&t->gw->timers);
		if (!timer || timer->at_ms > t->now_ms)
			break;
		if (timer->kind == TIMER_REQUEST)
			request_deadline(t, (struct request *)timer);
		else
			call_timer(t, timer);
	}
	member_tick(t);
	lock_keeper_tick(t);
	notify_tick(t);
	arbiters_tick(t);
	script_runs_tick(t);
	replicator_tick(t);
	schedule_tick(t);
}

static void drain(struct turn *t)
{
	schedule_drain(t); /* asks once more */
	t->gw->draining = true;
	notify_drain(t);
	changes_drain(t);
	arbiters_drain(t);
	replicator_drain(t);
}

static void stream_gone(struct turn *t, uint64_t stream)
{
	notify_stream_gone(t, stream);
	arbiters_stream_gone(t, stream);
}

/* False: it is none of a stream. */
static bool on_stream(struct turn *t)
{
	uint64_t stream = t->event->stream.stream;
	switch (t->event->kind) {
	case EVENT_STREAM_MESSAGE:
		if (!arbiter_socket_message(t))
			notify_stream_message(t);
		return true;
	case EVENT_STREAM_TAKEN:
		request_taken(t, stream);
		return true;
	case EVENT_STREAM_GONE:
		request_gone(t, stream);
		stream_gone(t, stream);
		return true;
	default:
		return false;
	}
}

/* False: it is none of a request. */
static bool on_http(struct turn *t)
{
	const struct event *event = t->event;
	switch (event->kind) {
	case EVENT_HTTP_REQUEST:
		request_arrived(t, event->http);
		return true;
	case EVENT_HTTP_BODY:
		intake_body(t, &event->http_body);
		return true;
	case EVENT_HTTP_GONE:
		request_gone(t, event->http_gone);
		stream_gone(t, event->http_gone); /* it was to become one */
		lock_answer_lost(t, event->http_gone);
		return true;
	case EVENT_HTTP_CLOSED:
		lock_session_end(t, event->http_closed);
		return true;
	default:
		return false;
	}
}

static void on_event(struct turn *t)
{
	switch (t->event->kind) {
	case EVENT_START:
		member_start(t);
		break;
	case EVENT_MESSAGE:
		if (!member_message(t) && !lock_keeper_message(t) && !notify_message(t))
			call_answered(t);
		break;
	case EVENT_UNSENT:
		call_unsent(t);
		break;
	case EVENT_TIMER:
		run_timers(t);
		break;
	case EVENT_DRAIN:
		drain(t);
		break;
	case EVENT_TURN:
		admission_turn(&t->gw->admission, t->now_ms);
		lock_keeper_turn(t);
		break;
	case EVENT_PASSWORD:
		couch_password_event(t);
		break;
	case EVENT_SCRIPT:
		script_runs_event(t);
		break;
	case EVENT_FETCH_ROOM:
	case EVENT_FETCH_PIECE:
	case EVENT_FETCHED:
		replicator_event(t);
		break;
	default: /* it has no disk */
		break;
	}
}

static void step(void *core, const struct event *event, struct effects *fx)
{
	struct turn t = {.gw = core, .event = event, .fx = fx, .now_ms = event->now_ms};
	if (!on_http(&t) && !on_stream(&t))
		on_event(&t);
	replicator_step(&t);
	schedule_step(&t);
	request_sweep(t.gw);
}

static int64_t deadline(const void *core)
{
	const struct gateway *gw = core;
	const struct timer *timer = timers_first(&gw->timers);
	int64_t tick_ms = gw->member.tick_ms;
	if (lock_keeper_deadline(gw) < tick_ms)
		tick_ms = lock_keeper_deadline(gw);
	if (notify_deadline(gw) < tick_ms)
		tick_ms = notify_deadline(gw);
	if (arbiters_deadline(gw) < tick_ms)
		tick_ms = arbiters_deadline(gw);
	if (script_runs_deadline(gw) < tick_ms)
		tick_ms = script_runs_deadline(gw);
	if (replicator_deadline(gw) < tick_ms)
		tick_ms = replicator_deadline(gw);
	if (schedule_deadline(gw) < tick_ms)
		tick_ms = schedule_deadline(gw);
	return timer && timer->at_ms < tick_ms ? timer->at_ms : tick_ms;
}

static bool ready_line(struct buf *out, const char *name, bool ok, const char *why)
{
	if (ok)
		buf_printf(out, "%s ok\n", name);
	else
		buf_printf(out, "%s failed: %s\n", name, why);
	return ok;
}

static bool ready(const void *core, int64_t now_ms, struct buf *out)
{
	const struct gateway *gw = core;
	const struct member_state *m = &gw->member;
	bool coordinator = m->joined && member_coordinator_alive(gw, now_ms);
	bool storage = m->storage_heard && now_ms - m->storage_heard_ms < 2 * OFFLINE_MS;
	bool ok = ready_line(out, "map", gw->map.version > 0, "no map has come yet");
	ok &= ready_line(out, "peers", coordinator || storage,
			 "neither the coordinator nor a storage node answers");
	ok &= ready_line(out, "accepting", !gw->draining, "draining");
	return ok;
}

const struct core_ops gateway_ops = {
    .name = "gateway",
    .role = ROLE_GATEWAY,
    .step = step,
    .deadline = deadline,
    .metrics = metrics_print,
    .ready = ready,
};
