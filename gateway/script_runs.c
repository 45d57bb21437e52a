#include "gateway/script_runs.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/shard_hash.h"

struct script_run {
	uint64_t id; /* 0: free */
	uint64_t request;
	uint64_t group; /* its collection */
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
	CHECK(r != NULL && r->script_runs > 0);
	r->script_runs--;
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
	struct script_end with = {SCRIPT_BUSY, slice_text("no answer in time")};
	for (uint32_t i = 0; all->count > 0 && i < SCRIPT_RUNS_MAX; i++)
		if (all->rows[i].id != 0 && all->rows[i].due_ms <= t->now_ms) {
			fx_script_drop(t->fx, all->rows[i].id);
			end(t, &all->rows[i], &with);
		}
}

void script_runs_end(struct turn *t, struct request *r)
{
	struct script_runs *all = t->gw->scripts;
	for (uint32_t i = 0; r->script_runs > 0; i++) {
		struct script_run *run = &all->rows[i];
		CHECK(i < SCRIPT_RUNS_MAX);
		if (run->id == 0 || run->request != r->id)
			continue;
		fx_script_drop(t->fx, run->id);
		*run = (struct script_run){0};
		all->count--;
		r->script_runs--;
	}
}

int64_t script_runs_deadline(const struct gateway *gw)
{
	int64_t at = NO_DEADLINE;
	for (uint32_t i = 0; gw->scripts->count > 0 && i < SCRIPT_RUNS_MAX; i++)
		if (gw->scripts->rows[i].id != 0 && gw->scripts->rows[i].due_ms < at)
			at = gw->scripts->rows[i].due_ms;
	return at;
}

/* A collection may have as many runs as it leaves free for the others. */
static bool has_its_share(const struct script_runs *all, uint64_t group)
{
	uint32_t held = 0;
	for (uint32_t i = 0; i < SCRIPT_RUNS_MAX; i++)
		held += all->rows[i].id != 0 && all->rows[i].group == group;
	return held >= SCRIPT_RUNS_MAX - all->count;
}

static struct script_run *free_row(struct script_runs *all)
{
	for (uint32_t i = 0; i < SCRIPT_RUNS_MAX; i++)
		if (all->rows[i].id == 0)
			return &all->rows[i];
	return NULL;
}

bool script_run(struct turn *t, struct request *r, const struct script_asked *asked)
{
	struct script_runs *all = t->gw->scripts;
	struct script_run *run = free_row(all);
	uint64_t group = shard_hash(r->collection);
	int64_t patience_ms = asked->patience_ms ? asked->patience_ms : SCRIPT_PATIENCE_MS;
	if (!run || has_its_share(all, group))
		return false;
	*run = (struct script_run){.id = ++all->last,
				   .request = r->id,
				   .group = group,
				   .due_ms = t->now_ms + patience_ms,
				   .done = asked->done,
				   .context = asked->context};
	all->count++;
	r->script_runs++;
	struct script_request request = {.id = run->id,
					 .group = group,
					 .time_ms = SCRIPT_TIME_MS,
					 .memory_bytes = SCRIPT_MEMORY_BYTES,
					 .source = asked->source,
					 .arguments = asked->arguments};
	fx_script(t->fx, &request);
	return true;
}
