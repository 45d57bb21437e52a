/* The life of the schedule: plans, leases, rounds, and who waits for them. */
#include "gateway/replicate/schedule.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/revision.h"
#include "common/probe.h"
#include "gateway/replicate/schedule_internal.h"

const char *const plan_state_names[PLAN_STATES] = {"initializing", "pending",   "running",
						   "crashing",     "completed", "failed"};

/* ---- life ---- */

struct schedule *schedule_new(uint64_t seed, const char *node)
{
	struct schedule *s = mem_alloc_zero(sizeof *s);
	s->plans.seed = s->runners.seed = seed;
	snprintf(s->node, sizeof s->node, "%s", node ? node : "gateway");
	return s;
}

void plan_free(struct plan *plan)
{
	struct buf *const bufs[] = {&plan->id,       &plan->revision,    &plan->source,
				    &plan->target,   &plan->job_id,      &plan->owner,
				    &plan->result,   &plan->result_time, &plan->row_revision,
				    &plan->document, &plan->outcome_info};
	for (size_t i = 0; i < ARRAY_LEN(bufs); i++)
		buf_close(bufs[i]);
	plan_row_close(&plan->row);
	plan_row_close(&plan->asked);
	free(plan);
}

static void note_free(struct note *note)
{
	buf_close(&note->text);
	free(note);
}

struct slice schedule_node(const struct gateway *gw)
{
	return slice_text(gw->schedule->node);
}

void schedule_close(struct gateway *gw)
{
	struct schedule *s = gw->schedule;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&s->plans, &at)) != NULL;)
		plan_free(e->value);
	at = 0;
	for (struct map_entry *e; (e = map_next(&s->runners, &at)) != NULL;)
		runner_free(e->value);
	while (s->notes) {
		struct note *note = s->notes;
		s->notes = note->next;
		note_free(note);
	}
	for (int i = 0; i < FEEDS; i++)
		buf_close(&s->since[i]);
	map_close(&s->plans);
	map_close(&s->runners);
	free(s);
}

/* ---- plans ---- */

static void key_of(struct slice id, char key[PLAN_KEY_BYTES + 1])
{
	uint8_t digest[16];
	struct buf text = {0};
	digest16(id, digest);
	buf_append_text(&text, "job-");
	buf_append_hex(&text, digest, sizeof digest);
	memcpy(key, buf_cstr(&text), PLAN_KEY_BYTES + 1);
	buf_close(&text);
}

struct plan *plan_get(struct schedule *s, struct slice id)
{
	char key[PLAN_KEY_BYTES + 1];
	key_of(id, key);
	return map_get(&s->plans, slice_text(key));
}

struct plan *plan_want(struct turn *t, struct slice id)
{
	struct schedule *s = t->gw->schedule;
	struct plan *plan = plan_get(s, id);
	if (plan)
		return plan;
	if (s->plans.count >= PLANS_MAX) {
		if (!s->full)
			fx_log(t->fx, LOG_LEVEL_WARN, "replicator_full documents=%d", PLANS_MAX);
		s->full = true;
		return NULL;
	}
	plan = mem_alloc_zero(sizeof *plan);
	key_of(id, plan->key);
	buf_append_slice(&plan->id, id);
	map_put(&s->plans, slice_text(plan->key), plan);
	return plan;
}

struct runner *runner_own(const struct schedule *s)
{
	return map_get(&s->runners, slice_text(s->self));
}

bool plan_is_mine(const struct schedule *s, const struct plan *plan)
{
	return slice_is(buf_slice(&plan->row.holder), s->self) && runner_own(s) != NULL;
}

bool plan_is_over(const struct plan *plan)
{
	return !plan->there || plan->ended != PLAN_INITIALIZING;
}

/* ---- leases ---- */

bool schedule_has_lease(const struct gateway *gw, int64_t now_ms)
{
	return now_ms < gw->schedule->lease_until_ms;
}

int64_t schedule_lease_left(const struct gateway *gw, int64_t now_ms)
{
	return gw->schedule->lease_until_ms - now_ms;
}

bool schedule_allows(const struct gateway *gw, const struct job *job, int64_t now_ms)
{
	if (MUTATION(job_lease_ignored))
		return true;
	return !job->plan || schedule_has_lease(gw, now_ms);
}

static void new_life(struct turn *t)
{
	struct schedule *s = t->gw->schedule;
	uint8_t random[16];
	struct buf text = {0};
	rng_fill(&t->gw->rng, random, sizeof random);
	buf_append_text(&text, "runner-");
	buf_append_hex(&text, random, sizeof random);
	memcpy(s->self, buf_cstr(&text), sizeof s->self);
	buf_close(&text);
	s->lease_until_ms = 0;
	s->unsure = false;
	s->beat_due_ms = t->now_ms;
}

void schedule_lost(struct turn *t)
{
	struct schedule *s = t->gw->schedule;
	size_t at = 0;
	uint32_t jobs = 0;
	for (struct map_entry *e; (e = map_next(&s->plans, &at)) != NULL;) {
		struct plan *plan = e->value;
		jobs += plan->job != NULL;
		plan_stop(t, plan);
	}
	if (jobs > 0) {
		REACHED(jobs_lost);
		s->leases_lost++;
		fx_log(t->fx, LOG_LEVEL_WARN, "replication_lease_lost jobs=%" PRIu32, jobs);
	}
	new_life(t);
}

/* ---- time ---- */

static bool is_used(const struct gateway *gw)
{
	return !gw->draining &&
	       cluster_map_collection(&gw->map, slice_text(COLLECTION_REPLICATOR)) != NULL;
}

/* Is there anything to run, or to clear away? */
static bool is_wanted(const struct schedule *s)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&s->plans, &at)) != NULL;) {
		const struct plan *plan = e->value;
		if (!plan_is_over(plan) || plan->row_revision.len > 0)
			return true;
	}
	return false;
}

static void serve_waiting(struct turn *t)
{
	struct schedule *s = t->gw->schedule;
	uint32_t kept = 0;
	for (uint32_t i = 0; i < s->waiting_count; i++) {
		struct schedule_waiting w = s->waiting[i];
		struct request *r = map_get_u64(&t->gw->requests, w.request);
		if (w.round > s->rounds)
			s->waiting[kept++] = w;
		else if (r)
			w.step(t, r);
	}
	s->waiting_count = kept;
}

static void end_round(struct turn *t)
{
	struct schedule *s = t->gw->schedule;
	serve_waiting(t);
	s->wanted = is_wanted(s);
	s->next_round_ms = t->now_ms + (s->wanted ? SCHEDULE_BUSY_MS : SCHEDULE_IDLE_MS);
	if (s->more)
		s->next_round_ms = t->now_ms;
}

/* A document was read that is not the one to be run: the feed will show it. */
static bool awaits_feed(const struct plan *plan, const struct note *note)
{
	return note->kind == NOTE_DOCUMENT && note->status == 200 && !plan->job &&
	       plan->outcome == PLAN_INITIALIZING;
}

static void take(struct turn *t, struct note *note)
{
	struct schedule *s = t->gw->schedule;
	struct plan *plan = map_get(&s->plans, slice_text(note->key));
	bool of_plan = note->kind >= NOTE_ROW;
	if (of_plan && plan) {
		plan->busy = false;
		s->requests--;
	}
	if (note->kind == NOTE_PAGE) {
		round_page(t, note);
		if (!s->reading)
			end_round(t);
	} else if (note->kind == NOTE_BEAT) {
		beat_answered(t, note);
	} else if (note->kind == NOTE_RUNNER_GONE) {
		struct runner *runner = map_get(&s->runners, slice_text(note->key));
		if (runner && note->status == 200)
			runner_free(map_remove(&s->runners, slice_text(note->key)));
		else if (runner)
			runner->ending = false;
	} else if (plan && note->kind == NOTE_ROW) {
		row_answered(t, plan, note);
	} else if (plan && note->kind == NOTE_ROW_GONE) {
		row_removed(plan, note);
	} else if (plan && note->kind == NOTE_DOCUMENT) {
		plan_document_came(t, plan, note);
	} else if (plan) {
		outcome_answered(t, plan, note);
	}
	bool behind = note->status == 409 || (plan && awaits_feed(plan, note));
	if (of_plan && plan && note->status < 300 && !behind)
		plan_consider(t, plan);
	else if (behind && s->next_round_ms > t->now_ms + SCHEDULE_AGAIN_MS)
		s->next_round_ms = t->now_ms + SCHEDULE_AGAIN_MS;
}

void schedule_step(struct turn *t)
{
	struct schedule *s = t->gw->schedule;
	while (s->notes) {
		struct note *note = s->notes;
		struct json_error error;
		struct buf value = {0};
		s->notes = note->next;
		if (note->text.len > 0 &&
		    json_to_msgpack(t->gw->json, buf_slice(&note->text), &value, &error))
			note->value = buf_slice(&value);
		if (!t->gw->draining)
			take(t, note);
		else if (note->kind == NOTE_RUNNER_GONE && strcmp(note->key, s->self) == 0)
			s->leaving = false;
		buf_close(&value);
		note_free(note);
	}
}

void schedule_hint(struct gateway *gw)
{
	gw->schedule->more = true;
	gw->schedule->next_round_ms = 0;
}

void schedule_tick(struct turn *t)
{
	struct schedule *s = t->gw->schedule;
	if (!is_used(t->gw))
		return;
	if (s->self[0] == 0)
		new_life(t);
	if (!s->reading && t->now_ms >= s->next_round_ms)
		round_begin(t);
	if (s->wanted && !s->beating && !s->unsure && t->now_ms >= s->beat_due_ms)
		beat_send(t);
}

int64_t schedule_deadline(const struct gateway *gw)
{
	const struct schedule *s = gw->schedule;
	int64_t at_ms = s->reading ? NO_DEADLINE : s->next_round_ms;
	if (!is_used(gw))
		return NO_DEADLINE;
	if (s->wanted && !s->beating && !s->unsure && s->beat_due_ms < at_ms)
		at_ms = s->beat_due_ms;
	return at_ms;
}

void schedule_drain(struct turn *t)
{
	struct schedule *s = t->gw->schedule;
	struct runner *self = runner_own(s);
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&s->plans, &at)) != NULL;)
		plan_stop(t, e->value);
	s->lease_until_ms = 0;
	s->leaving = self && !s->beating;
	if (s->leaving)
		runner_remove(t, self);
}

bool schedule_has_left(const struct gateway *gw)
{
	return !gw->schedule->leaving;
}

void schedule_metrics(const struct gateway *gw, struct buf *out)
{
	const struct schedule *s = gw->schedule;
	size_t at = 0;
	uint64_t running = 0;
	for (struct map_entry *e; (e = map_next(&s->plans, &at)) != NULL;)
		running += ((const struct plan *)e->value)->job != NULL;
	buf_printf(out,
		   "# TYPE parley_replications gauge\n"
		   "parley_replications{by=\"document\"} %" PRIu64 "\n"
		   "parley_replications{by=\"client\"} %" PRIu64 "\n"
		   "# TYPE parley_replication_documents_total counter\n"
		   "parley_replication_documents_total{result=\"written\"} %" PRIu64 "\n"
		   "parley_replication_documents_total{result=\"refused\"} %" PRIu64 "\n"
		   "# TYPE parley_replication_crashes_total counter\n"
		   "parley_replication_crashes_total %" PRIu64 "\n"
		   "# TYPE parley_replication_leases_lost_total counter\n"
		   "parley_replication_leases_lost_total %" PRIu64 "\n",
		   running, gw->replicator->jobs.count - running, gw->replicator->written,
		   gw->replicator->refused, s->crashes, s->leases_lost);
}

/* ---- who waits ---- */

static void forget_gone(struct gateway *gw)
{
	struct schedule *s = gw->schedule;
	uint32_t kept = 0;
	for (uint32_t i = 0; i < s->waiting_count; i++)
		if (map_get_u64(&gw->requests, s->waiting[i].request))
			s->waiting[kept++] = s->waiting[i];
	s->waiting_count = kept;
}

bool schedule_await(struct turn *t, struct request *r, request_step *step)
{
	struct schedule *s = t->gw->schedule;
	if (!is_used(t->gw)) {
		step(t, r);
		return true;
	}
	forget_gone(t->gw);
	if (s->waiting_count >= BOUND(schedule_waiting, SCHEDULE_WAITING_MAX))
		return false;
	s->waiting[s->waiting_count++] = (struct schedule_waiting){
	    .request = r->id, .round = s->rounds + (s->reading ? 2 : 1), .step = step};
	schedule_hint(t->gw);
	return true;
}
