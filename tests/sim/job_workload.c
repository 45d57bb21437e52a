/* Two databases that gateways replicate into each other while clients push to both, at any gateway:
 * jobs once and continuous ones, some begun again after theirs was lost with its gateway. A
 * document's revisions are one line, so nothing is in conflict whatever comes first.
 *
 * Checked when all has healed, and both directions have been run once more: each document's newest
 * revision, and nothing else, is the leaf of it in both databases. */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "tests/sim/workload.h"

enum {
	WRITERS = 2,
	ACTORS = WRITERS + 1, /* the last one replicates */
	DOCUMENTS = 8,
	PUSHES_MAX = 60,
	DATABASES = 2,
	PUSH_US = 9000000,
	JOB_US = 20000000,
	RETRY_US = 250000,
	LAST_JOBS = 2
};

enum job_step { STEP_JOB, STEP_LOOK };

struct line {
	int count; /* revisions: N is called N-rN */
	int deleted_every;
};

struct actor {
	int document; /* writers: what is pushed; -1: nothing */
	int revision;
	int database;
	enum job_step step;
};

struct state {
	struct line lines[DOCUMENTS];
	struct actor actors[ACTORS];
	int made; /* databases that are there */
	int pushes;
	int jobs;      /* answered with success */
	int last_jobs; /* of these, after all pushes */
	int looked;    /* databases that were looked at in the end */
	bool done;
};

static struct state *state_of(struct workload *w)
{
	return w->state;
}

static void start(struct workload *w)
{
	struct state *s = state_of(w);
	for (int i = 0; i < DOCUMENTS; i++)
		s->lines[i].deleted_every = 3 + workload_below(w, 4);
	for (int i = 0; i < ACTORS; i++) {
		s->actors[i].document = -1;
		workload_sleep(w, i, workload_below(w, 3000000) - 500000);
	}
}

static void ask_database(struct workload *w, int actor)
{
	struct sim_http *r = workload_request(w, actor, HTTP_POST, "/_/collections");
	buf_printf(&r->body, "{\"name\":\"job-%d\",\"shards\":%d}", state_of(w)->made,
		   1 + workload_below(w, 3));
	workload_ask(w, actor, r, PUSH_US);
}

/* ---- writers ---- */

static bool is_deleted(const struct line *line, int revision)
{
	return revision % line->deleted_every == 0;
}

static void push(struct workload *w, int actor)
{
	struct state *s = state_of(w);
	struct actor *a = &s->actors[actor];
	struct sim_http *r = workload_couch_request(w, actor, HTTP_POST, "");
	buf_printf(&r->path, "/job-%d/_bulk_docs", a->database);
	bool deleted = is_deleted(&s->lines[a->document], a->revision);
	workload_fill_push(r, a->document, a->revision,
			   deleted ? ",\"_deleted\":true" : ",\"n\":1");
	workload_ask(w, actor, r, PUSH_US);
}

static void writer_goes_on(struct workload *w, int actor)
{
	struct state *s = state_of(w);
	struct actor *a = &s->actors[actor];
	if (a->document < 0 && (w->sim->healed || s->pushes == PUSHES_MAX))
		return;
	if (a->document < 0) {
		s->pushes++;
		a->document = workload_below(w, DOCUMENTS);
		a->database = workload_below(w, DATABASES);
		a->revision = ++s->lines[a->document].count;
	}
	push(w, actor);
}

static void push_answered(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct actor *a = &state_of(w)->actors[actor];
	if (answer->status == 201 && !slice_is(buf_slice(&answer->body), "[]"))
		sim_violation(w->sim, "jobs: a push of d%d is refused: %.*s", a->document,
			      (int)answer->body.len, (const char *)answer->body.data);
	if (answer->status == 201)
		a->document = -1;
	workload_rest(w, actor, 600);
}

/* ---- who replicates ---- */

static bool all_pushed(const struct state *s)
{
	for (int i = 0; i < WRITERS; i++)
		if (s->actors[i].document >= 0)
			return false;
	return true;
}

static void ask_job(struct workload *w, int actor)
{
	struct state *s = state_of(w);
	bool last = w->sim->healed && all_pushed(s);
	int from = last ? s->last_jobs % DATABASES : workload_below(w, DATABASES);
	bool continuous = !w->sim->healed && workload_below(w, 5) == 0;
	struct sim_http *r = workload_couch_request(w, actor, HTTP_POST, "/_replicate");
	s->actors[actor].step = STEP_JOB;
	s->actors[actor].database = last ? from : -1;
	buf_printf(&r->body, "{\"source\":\"job-%d\",\"target\":\"job-%d\"%s}", from, 1 - from,
		   continuous ? ",\"continuous\":true" : "");
	workload_ask(w, actor, r, JOB_US);
}

static void look(struct workload *w, int actor)
{
	struct state *s = state_of(w);
	struct sim_http *r = workload_couch_request(w, actor, HTTP_GET, "");
	s->actors[actor].step = STEP_LOOK;
	buf_printf(&r->path, "/job-%d/_changes", s->looked);
	buf_append_text(&r->query, "style=all_docs");
	workload_ask(w, actor, r, PUSH_US);
}

static void job_answered(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct state *s = state_of(w);
	bool last = s->actors[actor].database == s->last_jobs % DATABASES;
	if (answer->status >= 400 && answer->status < 500 && answer->status != 429)
		sim_violation(w->sim, "jobs: refused: %d %.*s", answer->status,
			      (int)answer->body.len, (const char *)answer->body.data);
	s->jobs += answer->status == 200;
	s->last_jobs += answer->status == 200 && last;
	workload_rest(w, actor, 1500);
}

/* ---- the end ---- */

static int count_of(const char *text, const char *what)
{
	int count = 0;
	for (const char *at = strstr(text, what); at; at = strstr(at + 1, what))
		count++;
	return count;
}

static void check_document(struct workload *w, const char *text, int document)
{
	struct state *s = state_of(w);
	const struct line *line = &s->lines[document];
	char row[100];
	snprintf(row, sizeof row, "\"id\":\"d%d\",\"changes\":[{\"rev\":\"%d-r%d\"}]%s}", document,
		 line->count, line->count,
		 is_deleted(line, line->count) ? ",\"deleted\":true" : "");
	if (line->count > 0 && count_of(text, row) != 1)
		sim_violation(w->sim, "jobs: job-%d lacks %s: %s", s->looked, row, text);
}

static void looked(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct state *s = state_of(w);
	struct buf text = {0};
	int documents = 0;
	workload_sleep(w, actor, RETRY_US);
	if (answer->status != 200)
		return;
	buf_append_slice(&text, buf_slice(&answer->body));
	for (int d = 0; d < DOCUMENTS; d++) {
		check_document(w, buf_cstr(&text), d);
		documents += s->lines[d].count > 0;
	}
	if (count_of(buf_cstr(&text), "\"seq\":") != documents)
		sim_violation(w->sim, "jobs: job-%d has others than %d documents: %s", s->looked,
			      documents, buf_cstr(&text));
	buf_close(&text);
	s->done = ++s->looked == DATABASES;
}

static void replicator_goes_on(struct workload *w, int actor)
{
	struct state *s = state_of(w);
	if (s->done)
		return;
	if (s->last_jobs == LAST_JOBS)
		look(w, actor);
	else
		ask_job(w, actor);
}

/* ---- hooks ---- */

static void step(struct workload *w, int actor)
{
	struct state *s = state_of(w);
	workload_give_up(w, actor);
	if (s->made < DATABASES && actor == WRITERS)
		ask_database(w, actor);
	else if (s->made < DATABASES)
		workload_sleep(w, actor, RETRY_US);
	else if (actor < WRITERS)
		writer_goes_on(w, actor);
	else
		replicator_goes_on(w, actor);
}

static void on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct state *s = state_of(w);
	struct actor *a = &s->actors[actor];
	if (!workload_answered(w, actor, answer))
		return;
	if (s->made < DATABASES) {
		s->made += answer->status == 200 || answer->status == 201 || answer->status == 409;
		workload_sleep(w, actor, RETRY_US);
	} else if (actor < WRITERS) {
		push_answered(w, actor, answer);
	} else if (a->step == STEP_JOB) {
		job_answered(w, actor, answer);
	} else {
		looked(w, actor, answer);
	}
}

static bool done(struct workload *w, struct buf *why)
{
	const struct state *s = state_of(w);
	if (!s->done)
		buf_printf(why, "jobs: %d databases, %d last replications, %d looked at", s->made,
			   s->last_jobs, s->looked);
	return s->done;
}

static void check(struct workload *w)
{
	const struct state *s = state_of(w);
	sim_log(w->sim, "jobs pushes=%d replications=%d", s->pushes, s->jobs);
}

const struct workload_ops job_workload = {
    .name = "jobs",
    .actors = ACTORS,
    .state_bytes = sizeof(struct state),
    .one_in = 8,
    .drawn = 3,
    .start = start,
    .step = step,
    .on_answer = on_answer,
    .done = done,
    .check = check,
};
