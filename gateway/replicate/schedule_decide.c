/* Who does what: which gateway runs a job, and what is to be done about each document now. */
#include "common/doc/revision.h"
#include "common/probe.h"
#include "gateway/replicate/schedule_internal.h"

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

/* ---- sharing out ---- */

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
		bool mine = !plan_is_over(plan) && plan_is_mine(s, plan);
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

/* Who would have it might never take it; so after a while anybody does. */
static bool may_claim(const struct turn *t, struct plan *plan)
{
	const struct schedule *s = t->gw->schedule;
	const struct runner *self = runner_own(s);
	if (!self || self->room == 0)
		return false;
	if (plan->free_ms == 0)
		plan->free_ms = t->now_ms;
	int64_t lease_ms = t->gw->options.limits.replication_lease_ms;
	return is_best(s, plan) || t->now_ms - plan->free_ms > 2 * lease_ms;
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
	struct runner *self = runner_own(t->gw->schedule);
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
	if (!mine || plan_is_over(plan))
		plan_stop(t, plan);
	if (held)
		plan->free_ms = 0;
	if (plan->busy || s->requests >= BOUND(schedule_requests, SCHEDULE_REQUESTS_MAX) ||
	    !schedule_has_lease(t->gw, t->now_ms))
		return;
	if (plan_is_over(plan)) {
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
	struct runner *self = runner_own(s);
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
	struct runner *self = runner_own(s);
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
