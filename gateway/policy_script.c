#include "gateway/policy_script.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/policy.h"
#include "common/doc/script_answer.h"
#include "gateway/http_answer.h"

struct script_run {
	uint64_t id; /* 0: free */
	uint64_t request;
	int64_t due_ms;
	script_done *done;
	const void *context;
};

struct script_runs {
	struct script_run rows[SCRIPT_RUNS_MAX];
	uint32_t count;
	uint64_t last;
};

void script_runs_init(struct gateway *gw)
{
	gw->scripts = mem_alloc_zero(sizeof *gw->scripts);
}

void script_runs_close(struct gateway *gw)
{
	free(gw->scripts);
}

static void end(struct turn *t, struct script_run *run, const struct script_end *with)
{
	struct request *r = map_get_u64(&t->gw->requests, run->request);
	const struct script_run was = *run;
	*run = (struct script_run){0};
	t->gw->scripts->count--;
	if (r)
		was.done(t, r, was.context, with);
}

void script_runs_event(struct turn *t)
{
	struct script_runs *all = t->gw->scripts;
	struct script_end with = {t->event->script.status, t->event->script.output};
	for (uint32_t i = 0; i < SCRIPT_RUNS_MAX; i++)
		if (all->rows[i].id != 0 && all->rows[i].id == t->event->script.id) {
			end(t, &all->rows[i], &with);
			return;
		}
}

void script_runs_tick(struct turn *t)
{
	struct script_runs *all = t->gw->scripts;
	struct script_end with = {SCRIPT_UNAVAILABLE, slice_text("no answer in time")};
	for (uint32_t i = 0; all->count > 0 && i < SCRIPT_RUNS_MAX; i++)
		if (all->rows[i].id != 0 && all->rows[i].due_ms <= t->now_ms)
			end(t, &all->rows[i], &with);
}

int64_t script_runs_deadline(const struct gateway *gw)
{
	int64_t at = NO_DEADLINE;
	for (uint32_t i = 0; gw->scripts->count > 0 && i < SCRIPT_RUNS_MAX; i++)
		if (gw->scripts->rows[i].id != 0 && gw->scripts->rows[i].due_ms < at)
			at = gw->scripts->rows[i].due_ms;
	return at;
}

bool script_run(struct turn *t, struct request *r, const struct script_asked *asked)
{
	struct script_runs *all = t->gw->scripts;
	struct script_run *run = NULL;
	for (uint32_t i = 0; !run && i < SCRIPT_RUNS_MAX; i++)
		if (all->rows[i].id == 0)
			run = &all->rows[i];
	if (!run)
		return false;
	*run = (struct script_run){.id = ++all->last,
				   .request = r->id,
				   .due_ms = t->now_ms + SCRIPT_PATIENCE_MS,
				   .done = asked->done,
				   .context = asked->context};
	all->count++;
	struct script_request request = {.id = run->id,
					 .time_ms = SCRIPT_TIME_MS,
					 .memory_bytes = SCRIPT_MEMORY_BYTES,
					 .source = asked->source,
					 .arguments = asked->arguments};
	fx_script(t->fx, &request);
	return true;
}

/* ---- is it one? ---- */

struct check {
	script_checked *next;
	char place[PLACE_BYTES];
};

static void checked(struct turn *t, struct request *r, const void *context,
		    const struct script_end *with)
{
	const struct check *check = context;
	struct problem problem;
	char text[PLACE_BYTES];
	if (with->status != SCRIPT_INVALID) {
		check->next(t, r);
		return;
	}
	struct slice why = script_text(with->output);
	snprintf(text, sizeof text, "%.*s", (int)why.len, why.len ? (const char *)why.data : "");
	problem_detail(&problem, STATUS_BAD_PARAMETER, check->place, text);
	answer_problem(t, r, &problem);
}

void policy_check_script(struct turn *t, struct request *r, struct slice policy, const char *place,
			 script_checked *next)
{
	static const uint8_t nothing[] = {0x92, 0xc0, 0x90}; /* no base, no versions */
	struct policy read;
	struct policy_error error;
	struct check *check = arena_alloc(&r->arena, sizeof *check);
	check->next = next;
	snprintf(check->place, sizeof check->place, "%s/script", place);
	bool has = policy_parse(policy, &r->arena, &read, &error) && read.script.len > 0;
	struct script_asked asked = {.source = has ? read.script : slice_of(NULL, 0),
				     .arguments = slice_of(nothing, sizeof nothing),
				     .done = checked,
				     .context = check};
	if (!has || !script_run(t, r, &asked))
		next(t, r);
}
