/* Who does what: rounds, leases, and what is to be done about each document. */
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

static void plan_free(struct plan *plan)
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

bool plan_is_mine(const struct schedule *s, const struct plan *plan)
{
	return slice_is(buf_slice(&plan->row.holder), s->self) &&
	       map_get(&s->runners, slice_text(s->self)) != NULL;
}

/* ---- leases ---- */

static int64_t lease_ms(const struct gateway *gw)
{
	return gw->options.limits.replication_lease_ms;
}

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

/* Its holder is a runner whose row stands there. */
static bool is_held(const struct schedule *s, const struct plan *plan)
{
	const struct runner *runner = map_get(&s->runners, buf_slice(&plan->row.holder));
	return runner != NULL && !MUTATION(job_taken_early);
}

static void expire_runners(struct turn *t)
{
	struct schedule *s = t->gw->schedule;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&s->runners, &at)) != NULL;) {
		struct runner *runner = e->value;
		bool self = strcmp(runner->id, s->self) == 0;
		if (!self && !runner->ending &&
		    s->round_began_ms - runner->seen_ms >= 2 * runner->lease_ms)
			runner_remove(t, runner);
	}
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

/* ---- sharing out ---- */

static bool is_over(const struct plan *plan)
{
	return !plan->there || plan->ended != PLAN_INITIALIZING;
}

/* Jobs that clients asked for count, too. */
static void count_load(const struct gateway *gw, struct runner *self)
{
	const struct schedule *s = gw->schedule;
	uint64_t taken = gw->replicator->jobs.count;
	uint32_t max = gw->options.limits.replications_max;
	size_t at = 0;
	self->load = 0;
	for (struct map_entry *e; (e = map_next(&s->plans, &at)) != NULL;) {
		const struct plan *plan = e->value;
		bool mine = !is_over(plan) && plan_is_mine(s, plan);
		self->load += mine;
		taken += mine && !plan->job;
	}
	self->room = taken < max ? max - taken : 0;
}

static uint64_t weight(const struct plan *plan, const struct runner *runner)
{
	uint8_t digest[16];
	char text[PLAN_KEY_BYTES + RUNNER_ID_BYTES];
	memcpy(text, plan->key, PLAN_KEY_BYTES);
	memcpy(text + PLAN_KEY_BYTES, runner->id, RUNNER_ID_BYTES);
	digest16(slice_of(text, sizeof text), digest);
	return be64_read(digest);
}

/* Of those that have the fewest jobs the one that weighs most for it. */
static const struct runner *best_for(const struct schedule *s, const struct plan *plan)
{
	uint64_t fewest = UINT64_MAX;
	uint64_t most = 0;
	const struct runner *best = NULL;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&s->runners, &at)) != NULL;) {
		const struct runner *runner = e->value;
		if (runner->room > 0 && runner->load < fewest)
			fewest = runner->load;
	}
	at = 0;
	for (struct map_entry *e; (e = map_next(&s->runners, &at)) != NULL;) {
		const struct runner *runner = e->value;
		uint64_t weighs = weight(plan, runner);
		if (runner->room == 0 || runner->load > fewest + 1 || (best && weighs <= most))
			continue;
		best = runner;
		most = weighs;
	}
	return best;
}

static bool is_best(const struct schedule *s, const struct plan *plan)
{
	const struct runner *best = best_for(s, plan);
	return best && strcmp(best->id, s->self) == 0;
}

static struct runner *own_runner(const struct schedule *s)
{
	return map_get(&s->runners, slice_text(s->self));
}

/* Who would have it might never take it; so after a while anybody does. */
static bool may_claim(const struct turn *t, struct plan *plan)
{
	const struct schedule *s = t->gw->schedule;
	const struct runner *self = own_runner(s);
	if (!self || self->room == 0)
		return false;
	if (plan->free_ms == 0)
		plan->free_ms = t->now_ms;
	return is_best(s, plan) || t->now_ms - plan->free_ms > 2 * lease_ms(t->gw);
}

/* ---- one document ---- */

static void ask_row(struct turn *t, struct plan *plan, const char *holder, enum plan_state state)
{
	plan_row_copy(&plan->asked, &plan->row);
	buf_clear(&plan->asked.holder);
	buf_append_text(&plan->asked.holder, holder);
	buf_clear(&plan->asked.runs);
	buf_append_slice(&plan->asked.runs, buf_slice(&plan->revision));
	plan->asked.state = state;
	plan->asked.updated_wall_ms = t->event->wall_ms;
}

static int64_t backoff_ms(uint64_t errors)
{
	uint64_t doublings = errors > 0 ? errors - 1 : 0;
	if (doublings > SCHEDULE_BACKOFFS)
		doublings = SCHEDULE_BACKOFFS;
	return (int64_t)SCHEDULE_BACKOFF_MS << doublings;
}

static void claim(struct turn *t, struct plan *plan)
{
	struct runner *self = own_runner(t->gw->schedule);
	bool known = slice_equal(buf_slice(&plan->row.runs), buf_slice(&plan->revision));
	bool crashed = known && plan->row.state == PLAN_CRASHING;
	if (known && plan->row.holder.len > 0)
		REACHED(job_taken_over);
	ask_row(t, plan, self->id, crashed ? PLAN_CRASHING : PLAN_RUNNING);
	if (!known) {
		plan->asked.errors = 0;
		buf_clear(&plan->asked.info);
		plan->asked.started_wall_ms = t->event->wall_ms;
	}
	if (crashed)
		plan->retry_ms = t->now_ms + backoff_ms(plan->row.errors);
	self->room -= self->room > 0;
	self->load++;
	row_write(t, plan);
}

static void write_crash(struct turn *t, struct plan *plan)
{
	bool healthy = t->now_ms - plan->started_ms >= SCHEDULE_HEALTHY_MS;
	ask_row(t, plan, t->gw->schedule->self, PLAN_CRASHING);
	plan->asked.errors = healthy ? 1 : plan->row.errors + 1;
	buf_clear(&plan->asked.info);
	buf_append_slice(&plan->asked.info, buf_slice(&plan->outcome_info));
	plan->retry_ms = t->now_ms + backoff_ms(plan->asked.errors);
	t->gw->schedule->crashes++;
	row_write(t, plan);
}

static void tell_progress(struct turn *t, struct plan *plan)
{
	struct buf info = {0};
	job_info_print(plan->job, &info);
	plan->told_ms = t->now_ms;
	if (!slice_equal(buf_slice(&info), buf_slice(&plan->row.info))) {
		ask_row(t, plan, t->gw->schedule->self, PLAN_RUNNING);
		buf_clear(&plan->asked.info);
		buf_append_slice(&plan->asked.info, buf_slice(&info));
		row_write(t, plan);
	}
	buf_close(&info);
}

/* It is this gateway's. */
static void look_after(struct turn *t, struct plan *plan)
{
	if (!slice_equal(buf_slice(&plan->row.runs), buf_slice(&plan->revision))) {
		REACHED(job_document_changed);
		plan_stop(t, plan);
		claim(t, plan);
	} else if (plan->outcome == PLAN_CRASHING) {
		write_crash(t, plan);
	} else if (plan->outcome != PLAN_INITIALIZING) {
		outcome_write(t, plan);
	} else if (plan->job) {
		if (t->now_ms - plan->told_ms >= SCHEDULE_TELL_MS)
			tell_progress(t, plan);
	} else if (plan->row.state == PLAN_RUNNING) {
		plan_start(t, plan);
	} else if (t->now_ms >= plan->retry_ms) {
		ask_row(t, plan, t->gw->schedule->self, PLAN_RUNNING);
		row_write(t, plan);
	}
}

void plan_consider(struct turn *t, struct plan *plan)
{
	struct schedule *s = t->gw->schedule;
	bool mine = plan_is_mine(s, plan);
	bool held = mine || is_held(s, plan);
	if (!mine || is_over(plan))
		plan_stop(t, plan);
	if (held)
		plan->free_ms = 0;
	if (plan->busy || s->requests >= SCHEDULE_REQUESTS_MAX ||
	    !schedule_has_lease(t->gw, t->now_ms))
		return;
	if (is_over(plan)) {
		if (plan->row_revision.len > 0 && (mine || (!held && is_best(s, plan))))
			row_remove(t, plan);
	} else if (mine) {
		look_after(t, plan);
	} else if (!held && may_claim(t, plan)) {
		claim(t, plan);
	}
}

/* One at a time, and only what goes on for ever: what ends makes room by itself. */
static void give_away(struct turn *t)
{
	struct schedule *s = t->gw->schedule;
	struct runner *self = own_runner(s);
	size_t at = 0;
	for (struct map_entry *e; self && (e = map_next(&s->plans, &at)) != NULL;) {
		struct plan *plan = e->value;
		if (!plan->job || plan->busy || !plan->continuous || !plan_is_mine(s, plan))
			continue;
		const struct runner *best = best_for(s, plan);
		if (!best || best->load + 1 >= self->load || !schedule_has_lease(t->gw, t->now_ms))
			return;
		REACHED(job_given_away);
		plan_stop(t, plan);
		ask_row(t, plan, "", PLAN_PENDING);
		self->load--;
		row_write(t, plan);
		return;
	}
}

/* Its document and its row are gone. */
static bool is_forgotten(const struct plan *plan)
{
	return !plan->there && plan->row_revision.len == 0 && !plan->busy && !plan->job;
}

void schedule_decide(struct turn *t)
{
	struct schedule *s = t->gw->schedule;
	struct runner *self = own_runner(s);
	size_t at = 0;
	s->unsure = false;
	if (self)
		count_load(t->gw, self);
	expire_runners(t);
	for (struct map_entry *e; (e = map_next(&s->plans, &at)) != NULL;) {
		struct plan *plan = e->value;
		plan_consider(t, plan);
		if (!is_forgotten(plan))
			continue;
		map_remove(&s->plans, slice_text(plan->key));
		plan_free(plan);
		s->full = false;
	}
	give_away(t);
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
		if (!is_over(plan) || plan->row_revision.len > 0)
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
	struct runner *self = own_runner(s);
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
	if (s->waiting_count == SCHEDULE_WAITING_MAX)
		return false;
	s->waiting[s->waiting_count++] = (struct schedule_waiting){
	    .request = r->id, .round = s->rounds + (s->reading ? 2 : 1), .step = step};
	schedule_hint(t->gw);
	return true;
}
