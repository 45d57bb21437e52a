/* The table of jobs: their beginning, their end, their time. */
#include "gateway/replicate/replicate.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "gateway/replicate/internal.h"
#include "gateway/replicate/schedule.h"

/* Ids of requests made for jobs: no listener's, and none of notifications' or arbiters'. */
#define FIRST_ASK (UINT64_C(5) << 61)

enum { STEPS_A_TURN = 10000 };

void replicator_init(struct gateway *gw)
{
	struct replicator *rep = mem_alloc_zero(sizeof *rep);
	rep->jobs.seed = rng_next(&gw->rng);
	rep->asks.seed = rng_next(&gw->rng);
	rep->next_ask = FIRST_ASK;
	gw->replicator = rep;
}

static void job_free(struct job *job)
{
	ask_close(&job->ask);
	ask_close(&job->pages);
	parcel_close(&job->parcel);
	for (int i = 0; i < SIDES; i++) {
		buf_close(&job->logs[i]);
		buf_close(&job->revisions[i]);
		buf_close(&job->sessions[i].cookie);
	}
	buf_close(&job->history);
	buf_close(&job->start_sequence);
	buf_close(&job->recorded);
	buf_close(&job->reached);
	buf_close(&job->asked);
	buf_close(&job->page);
	arena_close(&job->batch);
	map_close(&job->offered);
	map_close(&job->told);
	arena_close(&job->arena);
	free(job);
}

static void free_ended(struct replicator *rep)
{
	while (rep->ended) {
		struct job *job = rep->ended;
		rep->ended = job->ended_next;
		job_free(job);
	}
}

void replicator_close(struct gateway *gw)
{
	struct replicator *rep = gw->replicator;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&rep->jobs, &at)) != NULL;)
		job_free(e->value);
	free_ended(rep);
	map_close(&rep->jobs);
	map_close(&rep->asks);
	free(rep);
}

/* A job that goes on is another one than the same once. */
void replicator_key(const struct replication *what, struct buf *out)
{
	buf_append_text(out, what->id);
	if (what->continuous)
		buf_append_text(out, "+continuous");
}

struct job *replicator_find(const struct gateway *gw, const struct replication *what)
{
	struct buf key = {0};
	replicator_key(what, &key);
	struct job *job = map_get(&gw->replicator->jobs, buf_slice(&key));
	buf_close(&key);
	return job;
}

void job_new_session(struct gateway *gw, struct job *job)
{
	uint8_t random[16];
	struct buf text = {0};
	rng_fill(&gw->rng, random, sizeof random);
	buf_append_hex(&text, random, sizeof random);
	memcpy(job->session, buf_cstr(&text), sizeof job->session);
	buf_close(&text);
}

struct job *replicator_add(struct turn *t, const struct replication *what, struct arena *arena,
			   struct slice principal)
{
	struct replicator *rep = t->gw->replicator;
	struct buf key = {0};
	if (rep->jobs.count >= t->gw->options.limits.replications_max)
		return NULL;
	struct job *job = mem_alloc_zero(sizeof *job);
	job->owner = rep;
	job->what = *what;
	job->arena = *arena;
	*arena = (struct arena){0};
	job->principal = arena_copy(&job->arena, principal);
	job->ask.job = job->pages.job = job->parcel.read.job = job;
	job->offered.seed = job->told.seed = rep->jobs.seed;
	job->chunk = REPLICATE_CHUNK;
	job->page_rows = REPLICATE_ROWS;
	job->single = what->single;
	job->started_wall_ms = job->updated_wall_ms = t->event->wall_ms;
	job_new_session(t->gw, job);
	memcpy(job->log_id, what->id, sizeof job->log_id);
	replicator_key(what, &key);
	map_put(&rep->jobs, buf_slice(&key), job);
	buf_close(&key);
	fx_log(t->fx, LOG_LEVEL_INFO, "replication_begins id=%s continuous=%d", what->id,
	       what->continuous);
	return job;
}

/* ---- the end ---- */

static void tell_waiters(struct turn *t, struct job *job, int http, const char *error,
			 const char *reason)
{
	for (uint32_t i = 0; i < job->waiters_count; i++) {
		struct request *r = map_get_u64(&t->gw->requests, job->waiters[i]);
		if (!r)
			continue;
		if (!error) {
			replicate_answer(t, r, job);
			continue;
		}
		struct reply *reply = reply_begin(t, http);
		buf_append_text(&reply->body, "{\"error\":");
		json_string(slice_text(error), &reply->body);
		buf_append_text(&reply->body, ",\"reason\":");
		json_string(slice_text(reason), &reply->body);
		buf_append_byte(&reply->body, '}');
		reply_send(t, r, reply);
	}
	job->waiters_count = 0;
}

void job_end(struct turn *t, struct job *job, int http, const char *error, const char *reason)
{
	struct replicator *rep = job->owner;
	struct buf key = {0};
	if (job->ended)
		return;
	job->ended = true;
	ask_end(t, &job->ask);
	ask_end(t, &job->pages);
	ask_end(t, &job->parcel.read);
	fx_log(t->fx, error ? LOG_LEVEL_WARN : LOG_LEVEL_INFO,
	       "replication_ended id=%s result=%s reason=\"%s\"", job->what.id,
	       error ? error : "ok", reason);
	tell_waiters(t, job, http, error, reason);
	if (job->plan)
		schedule_ended(t, job, error, reason);
	replicator_key(&job->what, &key);
	map_remove(&rep->jobs, buf_slice(&key));
	buf_close(&key);
	job->ended_next = rep->ended;
	rep->ended = job;
}

/* ---- time ---- */

static void take_ready(struct turn *t, struct replicator *rep)
{
	struct ask *ask = rep->ready;
	rep->ready = ask->ready_next;
	if (!ask->job->ended && ask->answered)
		ask_settle(t, ask);
}

static void take_room(struct turn *t, struct replicator *rep)
{
	struct ask *ask = rep->rooms;
	rep->rooms = ask->room_next;
	ask->has_room = false;
	if (!ask->job->ended && ask->flying)
		ask->room(t, ask->job);
}

void replicator_step(struct turn *t)
{
	struct replicator *rep = t->gw->replicator;
	for (uint32_t i = 0; i < STEPS_A_TURN && (rep->ready || rep->rooms); i++) {
		if (rep->ready)
			take_ready(t, rep);
		else
			take_room(t, rep);
	}
	if (!rep->ready && !rep->rooms)
		free_ended(rep);
}

void replicator_tick(struct turn *t)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&t->gw->replicator->jobs, &at)) != NULL;) {
		struct job *job = e->value;
		ask_tick(t, &job->ask);
		ask_tick(t, &job->pages);
		ask_tick(t, &job->parcel.read);
	}
}

static int64_t earlier(const struct ask *ask, int64_t at_ms)
{
	return ask->id != 0 && !ask->answered && ask->due_ms < at_ms ? ask->due_ms : at_ms;
}

int64_t replicator_deadline(const struct gateway *gw)
{
	size_t at = 0;
	bool now = gw->replicator->ready || gw->replicator->rooms;
	int64_t at_ms = now ? 0 : NO_DEADLINE;
	for (struct map_entry *e; (e = map_next(&gw->replicator->jobs, &at)) != NULL;) {
		const struct job *job = e->value;
		at_ms = earlier(&job->pages, earlier(&job->ask, at_ms));
		at_ms = earlier(&job->parcel.read, at_ms);
	}
	return at_ms;
}

void replicator_drain(struct turn *t)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&t->gw->replicator->jobs, &at)) != NULL;)
		job_end(t, e->value, 503, "service_unavailable", "This gateway is stopping.");
}
