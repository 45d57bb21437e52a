#include "tests/sim/workload.h"
#include "tests/sim/trap.h"

#include <stdlib.h>
#include <xxhash.h>

#include "common/base/memory.h"

/* New ones go to the end. */
static const struct workload_ops *const table[] = {
    &client_workload,   &lock_workload,       &notify_workload,    &edit_workload,
    &late_workload,     &index_workload,      &set_workload,       &moves_workload,
    &fresh_workload,    &policy_workload,     &collision_workload, &external_workload,
    &purge_workload,    &replicator_workload, &changes_workload,   &attachment_workload,
    &drop_workload,     &view_workload,       &dispute_workload,   &job_workload,
    &schedule_workload, &erase_workload,      &storm_workload,     &alone_workload,
    &parts_workload,    &tuned_workload,      &album_workload,
};
_Static_assert(ARRAY_LEN(table) <= WORKLOADS_MAX, "too many workloads");

enum { LOOK_US = 300000 };

/* A request's id: workload + 1, actor, gateway, number. */
enum { WORKLOAD_SHIFT = 56, ACTOR_SHIFT = 40, GATEWAY_SHIFT = 32 };

struct workload *workload_of(struct sim *sim, uint64_t request)
{
	return &sim->workloads[(request >> WORKLOAD_SHIFT) - 1];
}

static int actor_of(uint64_t request)
{
	return (int)(request >> ACTOR_SHIFT & 0xffff);
}

static int gateway_of(uint64_t request)
{
	return (int)(request >> GATEWAY_SHIFT & 0xff);
}

int workload_below(struct workload *w, int bound)
{
	return (int)rng_below(&w->rng, (uint64_t)bound);
}

/* ---- actors ---- */

void workload_sleep(struct workload *w, int actor, int64_t in_us)
{
	int64_t at_us = w->sim->now_us + in_us;
	w->actors[actor].deadline_us = at_us;
	sim_schedule(w->sim, at_us, SIM_WORKLOAD, w->index, (uint64_t)actor, NULL);
}

void workload_rest(struct workload *w, int actor, int64_t most_ms)
{
	workload_sleep(w, actor, rng_between(&w->rng, 1, most_ms) * 1000);
}

bool workload_is_opened(struct workload *w, int actor, bool ready, void (*ask)(struct workload *w),
			int64_t retry_us)
{
	if (ready)
		return true;
	if (w->sim->healed)
		w->actors[actor].done = true;
	else if (actor == 0)
		ask(w);
	else
		workload_sleep(w, actor, retry_us);
	return false;
}

static bool has_header(const struct sim_http *r, const char *name)
{
	for (uint32_t i = 0; i < r->headers_count; i++)
		if (slice_is(r->headers[i].name, name))
			return true;
	return false;
}

uint64_t workload_ask_at(struct workload *w, int actor, int gateway, struct sim_http *r,
			 int64_t timeout_us)
{
	if (r->body.len > 0 && !has_header(r, "content-type"))
		workload_header(r, "content-type", "application/json");
	r->id |= (uint64_t)gateway << GATEWAY_SHIFT;
	if (r->connection == 0)
		r->connection = r->id;
	uint64_t id = r->id;
	w->sim->asked++;
	w->actors[actor].request = id;
	http_send(w, workload_gateway_node(w->sim, gateway), r);
	workload_sleep(w, actor, timeout_us);
	return id;
}

uint64_t workload_ask(struct workload *w, int actor, struct sim_http *r, int64_t timeout_us)
{
	int gateway = workload_below(w, w->sim->settings.gateways);
	return workload_ask_at(w, actor, gateway, r, timeout_us);
}

void workload_ask_document(struct workload *w, int actor, const char *path, const char *body,
			   int64_t timeout_us)
{
	struct sim_http *r = workload_request(w, actor, HTTP_PUT, path);
	buf_append_text(&r->body, body);
	workload_header(r, "if-none-match", "*");
	workload_ask(w, actor, r, timeout_us);
}

bool workload_is_made(const struct sim_answer *answer)
{
	return answer->status == 200 || answer->status == 201 || answer->status == 409 ||
	       answer->status == 412;
}

bool workload_awaits(const struct workload *w, int actor, const struct sim_answer *answer)
{
	return answer->id == w->actors[actor].request;
}

bool workload_answered(struct workload *w, int actor, const struct sim_answer *answer)
{
	bool ends = answer->kind == SIM_ANSWER_END ||
		    (answer->kind == SIM_ANSWER_WHOLE && !answer->streaming);
	if (!workload_awaits(w, actor, answer))
		return false;
	if (ends)
		workload_forget(w, actor);
	return true;
}

void workload_forget(struct workload *w, int actor)
{
	w->actors[actor].request = 0;
}

bool workload_give_up(struct workload *w, int actor)
{
	uint64_t request = w->actors[actor].request;
	if (request != 0)
		workload_hang_up(w, request);
	workload_forget(w, actor);
	return request != 0;
}

bool workload_are_done(const struct workload *w, int first, int last, struct buf *why)
{
	for (int i = first; i <= last; i++) {
		if (w->actors[i].done)
			continue;
		if (why)
			buf_printf(why, "%s: actor %d waits", w->ops->name, i);
		return false;
	}
	return true;
}

bool workload_actors_done(struct workload *w, struct buf *why)
{
	return workload_are_done(w, 0, w->ops->actors - 1, why);
}

bool workload_is_over(const struct workload *w, int first, int last)
{
	struct buf why = {0};
	bool over = w->sim->healed && workload_are_done(w, first, last, NULL) &&
		    checker_quiet(w->sim, &why);
	buf_close(&why);
	return over;
}

int workload_last_look(struct workload *w, int actor, int last, const bool *checked, int documents)
{
	int next = 0;
	while (next < documents && checked[next])
		next++;
	if (actor != 0 || next == documents)
		w->actors[actor].done = true;
	else if (workload_is_over(w, 1, last))
		return next;
	else
		workload_sleep(w, actor, LOOK_US);
	return -1;
}

/* ---- what they get ---- */

uint64_t workload_collection_id(struct slice body)
{
	static const char name[] = "\"id\":\"";
	char text[17] = {0};
	const char *at = body.len > 0 ? memmem(body.data, body.len, name, sizeof name - 1) : NULL;
	if (!at || at + sizeof name - 1 + 16 > (const char *)body.data + body.len)
		return 0;
	memcpy(text, at + sizeof name - 1, 16);
	return strtoull(text, NULL, 16);
}

/* ---- what they send ---- */

bool workload_event_id(const char *event, char *id, size_t size)
{
	const char *at = strncmp(event, "id: ", 4) == 0 ? event + 4 : strstr(event, "\nid: ");
	if (!at)
		return false;
	at += *at == '\n' ? 5 : 0;
	size_t len = strcspn(at, "\n");
	CHECK(len < size);
	memcpy(id, at, len);
	id[len] = 0;
	return true;
}

int workload_gateway_node(const struct sim *sim, int gateway)
{
	return 1 + sim->settings.storage_nodes + gateway;
}

struct sim_http *workload_request(struct workload *w, int actor, enum http_method method,
				  const char *path)
{
	struct sim_http *r = mem_alloc_zero(sizeof *r);
	r->kind = SIM_HTTP_REQUEST;
	r->id = (uint64_t)(w->index + 1) << WORKLOAD_SHIFT | (uint64_t)actor << ACTOR_SHIFT |
		++w->requests;
	r->method = method;
	buf_append_text(&r->path, path);
	return r;
}

struct sim_http *workload_couch_request(struct workload *w, int actor, enum http_method method,
					const char *path)
{
	struct sim_http *r = workload_request(w, actor, method, path);
	r->dialect = DIALECT_COUCH;
	return r;
}

void workload_fill_push(struct sim_http *r, int document, int revision, const char *rest)
{
	buf_printf(&r->body,
		   "{\"new_edits\":false,\"docs\":[{\"_id\":\"d%d\",\"_revisions\":{\"start\":%d,"
		   "\"ids\":[",
		   document, revision);
	for (int i = revision; i > 0; i--)
		buf_printf(&r->body, "%s\"r%d\"", i < revision ? "," : "", i);
	buf_printf(&r->body, "]}%s}]}", rest);
}

void workload_header(struct sim_http *r, const char *name, const char *value)
{
	CHECK(r->headers_count < SIM_HEADERS_MAX);
	struct buf *text = &r->header_text[r->headers_count];
	buf_append_text(text, value);
	r->headers[r->headers_count++] = (struct http_field){slice_text(name), buf_slice(text)};
}

static void post_kind(struct workload *w, enum sim_http_kind kind, uint64_t id, struct slice text)
{
	struct sim_http *r = mem_alloc_zero(sizeof *r);
	r->kind = kind;
	r->id = id;
	buf_append_slice(&r->body, text);
	http_send(w, workload_gateway_node(w->sim, gateway_of(id)), r);
}

void workload_stream_send(struct workload *w, uint64_t id, struct slice text)
{
	post_kind(w, SIM_HTTP_MESSAGE, id, text);
}

void workload_hang_up(struct workload *w, uint64_t id)
{
	http_forget(w->sim, workload_gateway_node(w->sim, gateway_of(id)), id);
	post_kind(w, SIM_HTTP_HANG_UP, id, (struct slice){0});
}

/* ---- all of them ---- */

const char *workload_name(int index)
{
	return index < (int)ARRAY_LEN(table) ? table[index]->name : NULL;
}

static bool draw_part(struct workload *w)
{
	const struct workload_ops *ops = w->ops;
	if (ops->fits && !ops->fits(&w->sim->settings))
		return false;
	return ops->one_in == 0 || workload_below(w, ops->one_in) == ops->drawn;
}

bool workload_takes_part(const struct sim *sim, const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (strcmp(table[i]->name, name) == 0)
			return sim->workloads[i].ops != NULL;
	return false;
}

static void start(struct workload *w)
{
	const struct workload_ops *ops = w->ops;
	w->actors = mem_alloc_zero((size_t)ops->actors * sizeof *w->actors);
	w->state = mem_alloc_zero(ops->state_bytes);
	if (ops->start)
		ops->start(w);
	for (int i = 0; i < ops->actors && ops->start_ms > 0; i++)
		workload_sleep(w, i, ops->start_ms * 1000);
}

void workload_start_all(struct sim *sim)
{
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct workload *w = &sim->workloads[i];
		const char *name = table[i]->name;
		*w = (struct workload){.ops = table[i], .sim = sim, .index = (int)i};
		rng_init(&w->rng, XXH3_64bits_withSeed(name, strlen(name), sim->settings.seed));
		bool wanted = draw_part(w);
		if (sim->trap)
			wanted = i == 0 || strcmp(name, sim->trap->workload) == 0;
		if (wanted)
			start(w);
		else
			w->ops = NULL;
	}
}

void workload_step(struct sim *sim, int index, int actor)
{
	struct workload *w = &sim->workloads[index];
	const struct workload_actor *a = &w->actors[actor];
	if (!a->done && sim->now_us >= a->deadline_us)
		w->ops->step(w, actor);
}

void workload_answer(struct sim *sim, struct sim_answer *answer)
{
	struct workload *w = workload_of(sim, answer->id);
	int actor = actor_of(answer->id);
	sim_log(sim, "%s %d gets %d %s %.*s", w->ops->name, actor, answer->status, answer->etag,
		(int)(answer->body.len < 100 ? answer->body.len : 100),
		(const char *)answer->body.data);
	if (!answer->dropped)
		w->ops->on_answer(w, actor, answer);
	buf_close(&answer->body);
	free(answer);
}

void workload_on_send(struct sim *sim, int from, const struct effect *effect)
{
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct workload *w = &sim->workloads[i];
		if (w->ops && w->ops->on_send)
			w->ops->on_send(w, from, effect);
	}
}

void workload_heal(struct sim *sim)
{
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct workload *w = &sim->workloads[i];
		if (w->ops && w->ops->on_heal)
			w->ops->on_heal(w);
	}
}

bool workload_all_done(struct sim *sim, struct buf *why)
{
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct workload *w = &sim->workloads[i];
		if (w->ops && !(w->ops->done ? w->ops->done : workload_actors_done)(w, why))
			return false;
	}
	return true;
}

void workload_check_all(struct sim *sim)
{
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct workload *w = &sim->workloads[i];
		if (w->ops && w->ops->check)
			w->ops->check(w);
	}
}

void workload_free_all(struct sim *sim)
{
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct workload *w = &sim->workloads[i];
		if (w->ops && w->ops->free)
			w->ops->free(w);
		free(w->actors);
		free(w->state);
	}
}
