#include "gateway/script_runs.h"

#include <stdlib.h>

#include "common/base/memory.h"

struct script_run {
	uint64_t id; /* 0: free */
	uint64_t request;
	uint64_t owner;
	int64_t due_ms;
	script_done *done;
	const void *context;
	bool given; /* to the workers */
	/* until then */
	struct buf source;
	struct buf arguments;
};

struct script_owner {
	uint64_t owner;
	uint64_t served; /* id of its last run that was given */
};

struct script_runs {
	struct script_run rows[SCRIPT_RUNS_MAX];
	uint32_t count;
	uint32_t given; /* of owners */
	uint64_t last;
	uint64_t served;
	size_t waiting_bytes;
	struct script_owner owners[SCRIPT_OWNERS_MAX];
};

void script_runs_init(struct gateway *gw)
{
	gw->scripts = mem_alloc_zero(sizeof *gw->scripts);
}

static void drop_texts(struct script_runs *all, struct script_run *run)
{
	all->waiting_bytes -= run->source.len + run->arguments.len;
	buf_close(&run->source);
	buf_close(&run->arguments);
}

void script_runs_close(struct gateway *gw)
{
	for (uint32_t i = 0; i < SCRIPT_RUNS_MAX; i++)
		drop_texts(gw->scripts, &gw->scripts->rows[i]);
	free(gw->scripts);
}

/* ---- whose turn it is ---- */

/* The one that was served longest ago is forgotten for a new one. */
static struct script_owner *owner_of(struct script_runs *all, uint64_t owner)
{
	struct script_owner *oldest = &all->owners[0];
	for (uint32_t i = 0; i < SCRIPT_OWNERS_MAX; i++) {
		struct script_owner *o = &all->owners[i];
		if (o->owner == owner)
			return o;
		if (o->served < oldest->served)
			oldest = o;
	}
	*oldest = (struct script_owner){.owner = owner};
	return oldest;
}

static bool has_one_given(const struct script_runs *all, uint64_t owner)
{
	for (uint32_t i = 0; i < SCRIPT_RUNS_MAX; i++)
		if (all->rows[i].id != 0 && all->rows[i].given && all->rows[i].owner == owner)
			return true;
	return false;
}

/* The oldest run of the owner that was served longest ago; NULL: none may be given now. */
static struct script_run *next_run(struct script_runs *all)
{
	struct script_run *best = NULL;
	uint64_t best_served = 0;
	for (uint32_t i = 0; i < SCRIPT_RUNS_MAX; i++) {
		struct script_run *run = &all->rows[i];
		if (run->id == 0 || run->given || has_one_given(all, run->owner))
			continue;
		uint64_t served = owner_of(all, run->owner)->served;
		if (best && (served > best_served || (served == best_served && run->id > best->id)))
			continue;
		best = run;
		best_served = served;
	}
	return best;
}

static void give(struct turn *t, struct script_run *run, struct slice source,
		 struct slice arguments)
{
	struct script_request request = {.id = run->id,
					 .group = run->owner,
					 .time_ms = SCRIPT_TIME_MS,
					 .memory_bytes = SCRIPT_MEMORY_BYTES,
					 .source = source,
					 .arguments = arguments};
	run->given = true;
	fx_script(t->fx, &request);
}

static void release(struct script_runs *all, struct script_run *run)
{
	drop_texts(all, run);
	all->given -= run->given && run->owner != 0;
	all->count--;
	*run = (struct script_run){0};
}

static void give_next(struct turn *t)
{
	struct script_runs *all = t->gw->scripts;
	struct script_run *run;
	while (all->given < SCRIPT_GIVEN_MAX && (run = next_run(all)) != NULL) {
		if (!map_get_u64(&t->gw->requests, run->request)) {
			release(all, run); /* nobody waits for it any more */
			continue;
		}
		owner_of(all, run->owner)->served = ++all->served;
		all->given++;
		give(t, run, buf_slice(&run->source), buf_slice(&run->arguments));
		drop_texts(all, run);
	}
}

/* ---- ends ---- */

static void end(struct turn *t, struct script_run *run, const struct script_end *with)
{
	struct request *r = map_get_u64(&t->gw->requests, run->request);
	script_done *done = run->done;
	const void *context = run->context;
	release(t->gw->scripts, run);
	if (r)
		done(t, r, context, with);
	give_next(t);
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

/* ---- beginnings ---- */

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
	size_t bytes = asked->source.len + asked->arguments.len;
	int64_t patience_ms = asked->patience_ms ? asked->patience_ms : SCRIPT_PATIENCE_MS;
	if (!run || all->waiting_bytes + bytes > SCRIPT_RUNS_BYTES_MAX)
		return false;
	*run = (struct script_run){.id = ++all->last,
				   .request = r->id,
				   .owner = asked->owner,
				   .due_ms = t->now_ms + patience_ms,
				   .done = asked->done,
				   .context = asked->context};
	all->count++;
	if (asked->owner == 0) {
		give(t, run, asked->source, asked->arguments);
		return true;
	}
	buf_append_slice(&run->source, asked->source);
	buf_append_slice(&run->arguments, asked->arguments);
	all->waiting_bytes += bytes;
	give_next(t);
	return true;
}
