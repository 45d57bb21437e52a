/* Views while documents change and nodes fail. Writers keep documents of their own in a consistent
 * collection and ask a view for them by value, over the CouchDB dialect; the function that script.c
 * has in place of a worker gives a row for each document's value.
 *
 * Checked: the newest value that was acknowledged is a row of its document, an older one is not,
 * whoever leads; in the end the view's rows are those of all documents, read one by one. */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "tests/sim/workload.h"

enum {
	WRITERS = 3,
	ACTORS = WRITERS + 1, /* the last one makes the collection, and looks in the end */
	DOCUMENTS = 5,        /* of each writer */
	ROUNDS = 80,
	UNKNOWN = -1,
	TIMEOUT_US = 12000000,
	RETRY_US = 300000,
	THINK_MS = 500,
	ONE_IN_WANTED = 5
};

#define DESIGN "{\"views\":{\"values\":{\"map\":\"function (doc) { emit(doc.v, null); }\"}}}"
#define VIEW   "/viewed/_design/d/_view/values"

struct known {
	int lives; /* after a write of which nothing is known another document takes its place */
	int value; /* acknowledged; UNKNOWN: none */
	int older; /* one that it had before; UNKNOWN: none */
};

enum step { MAKE, DESIGN_IT, WRITE, REMOVE, FIND, FIND_OLDER, LIST, COMPARE };

struct actor {
	enum step step;
	struct known documents[DOCUMENTS];
	int document;
	int value;
	int rounds;
};

struct viewers {
	struct actor actors[ACTORS];
	int values; /* given out so far */
	bool ready;
	struct buf listed; /* all documents, in the end */
	struct buf viewed; /* the view after that */
};

static struct viewers *state_of(struct workload *w)
{
	return w->state;
}

static void post(struct workload *w, int actor, enum step step, struct sim_http *r)
{
	state_of(w)->actors[actor].step = step;
	workload_ask(w, actor, r, TIMEOUT_US);
}

/* ---- the one that makes, and looks in the end ---- */

static void make(struct workload *w, int actor)
{
	struct sim_http *r = workload_request(w, actor, HTTP_POST, "/_/collections");
	buf_printf(&r->body, "{\"name\":\"viewed\",\"replicas\":%d,\"writeQuorum\":%d",
		   w->sim->settings.replicas, w->sim->settings.write_quorum);
	if (workload_below(w, 2)) /* views that are behind never see what is purged */
		buf_append_text(&r->body, ",\"retainDeletedMs\":1000");
	buf_append_byte(&r->body, '}');
	post(w, actor, MAKE, r);
}

static void design(struct workload *w, int actor)
{
	struct sim_http *r = workload_couch_request(w, actor, HTTP_PUT, "/viewed/_design/d");
	buf_append_text(&r->body, DESIGN);
	post(w, actor, DESIGN_IT, r);
}

static void look(struct workload *w, int actor, bool listed)
{
	struct sim_http *r = workload_request(w, actor, HTTP_GET, listed ? VIEW : "/viewed");
	if (listed)
		r->dialect = DIALECT_COUCH;
	post(w, actor, listed ? COMPARE : LIST, r);
}

static void oversee(struct workload *w, int actor)
{
	struct viewers *s = state_of(w);
	if (!s->ready && s->actors[actor].step == MAKE)
		make(w, actor);
	else if (!s->ready)
		design(w, actor);
	else if (w->sim->healed && workload_are_done(w, 0, WRITERS - 1, NULL))
		look(w, actor, s->listed.len > 0 && s->viewed.len == 0);
	else
		workload_sleep(w, actor, RETRY_US);
}

static int count_of(const char *text, const char *part)
{
	int count = 0;
	for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
		count++;
	return count;
}

/* Both as text; ids are unique, and so are values. */
static void compare(struct workload *w)
{
	const char *view = buf_cstr(&state_of(w)->viewed);
	int documents = 0;
	const char *at = buf_cstr(&state_of(w)->listed);
	while ((at = strstr(at, "{\"id\":\"v"))) {
		char row[96];
		const char *id = at + sizeof "{\"id\":\"" - 1;
		const char *end = strchr(id, '"');
		int len = (int)(end - id);
		long value = strtol(end + sizeof "\",\"v\":" - 1, NULL, 10);
		snprintf(row, sizeof row, "{\"id\":\"%.*s\",\"key\":%ld,", len, id, value);
		if (!strstr(view, row))
			sim_violation(w->sim, "%.*s with the value %ld has no row in %s", len, id,
				      value, view);
		documents++;
		at++;
	}
	if (count_of(view, "\"key\":") != documents)
		sim_violation(w->sim, "%d documents have these rows: %s", documents, view);
}

/* A write of which its client has heard nothing may be done yet: what was listed before the view
 * counts if it still is the same after. */
static void listed(struct workload *w, int actor, const char *body)
{
	struct viewers *s = state_of(w);
	bool same = s->viewed.len > 0 && strcmp(buf_cstr(&s->listed), body) == 0;
	if (same)
		compare(w);
	w->actors[actor].done = same;
	buf_clear(&s->viewed);
	buf_clear(&s->listed);
	buf_append_text(&s->listed, body);
}

static void overseen(struct workload *w, int actor, const struct sim_answer *answer,
		     const char *body)
{
	struct viewers *s = state_of(w);
	struct actor *a = &s->actors[actor];
	bool fine = answer->status >= 200 && answer->status < 300;
	if (a->step == MAKE && fine)
		a->step = DESIGN_IT;
	else if (a->step == DESIGN_IT)
		s->ready = fine || answer->status == 409;
	else if (a->step == LIST && fine)
		listed(w, actor, body);
	else if (a->step == COMPARE && fine)
		buf_append_text(&s->viewed, body);
}

/* ---- writers ---- */

static void name_of(const struct actor *a, int actor, char *out, size_t bytes)
{
	snprintf(out, bytes, "v%d-%d-%d", actor, a->document, a->documents[a->document].lives);
}

static void write_one(struct workload *w, int actor, bool removes)
{
	struct actor *a = &state_of(w)->actors[actor];
	char id[32];
	name_of(a, actor, id, sizeof id);
	struct sim_http *r =
	    workload_request(w, actor, removes ? HTTP_DELETE : HTTP_PUT, "/viewed/");
	buf_append_text(&r->path, id);
	a->value = removes ? UNKNOWN : ++state_of(w)->values;
	if (!removes)
		buf_printf(&r->body, "{\"v\":%d}", a->value);
	post(w, actor, removes ? REMOVE : WRITE, r);
}

static void find(struct workload *w, int actor, enum step step, int value)
{
	struct sim_http *r = workload_couch_request(w, actor, HTTP_GET, VIEW);
	buf_printf(&r->query, "key=%d", value);
	state_of(w)->actors[actor].value = value;
	post(w, actor, step, r);
}

static void act(struct workload *w, int actor)
{
	struct actor *a = &state_of(w)->actors[actor];
	w->actors[actor].done = w->sim->healed || a->rounds++ >= ROUNDS;
	if (w->actors[actor].done)
		return;
	a->document = workload_below(w, DOCUMENTS);
	const struct known *d = &a->documents[a->document];
	if (d->value == UNKNOWN || workload_below(w, 3) == 0)
		write_one(w, actor, d->value != UNKNOWN && workload_below(w, 4) == 0);
	else if (d->older != UNKNOWN && workload_below(w, 3) == 0)
		find(w, actor, FIND_OLDER, d->older);
	else
		find(w, actor, FIND, d->value);
}

static void forget(struct known *d)
{
	*d = (struct known){d->lives + 1, UNKNOWN, UNKNOWN};
}

static void found(struct workload *w, int actor, const char *body)
{
	const struct actor *a = &state_of(w)->actors[actor];
	char id[32];
	char row[96];
	name_of(a, actor, id, sizeof id);
	snprintf(row, sizeof row, "{\"id\":\"%s\",\"key\":%d,", id, a->value);
	if (a->step == FIND && count_of(body, row) != 1)
		sim_violation(w->sim, "%s has the value %d, but the view says %s", id, a->value,
			      body);
	if (a->step == FIND_OLDER && strstr(body, row))
		sim_violation(w->sim, "%s has another value than %d, but the view says %s", id,
			      a->value, body);
}

static void heard(struct workload *w, int actor, const struct sim_answer *answer, const char *body)
{
	struct actor *a = &state_of(w)->actors[actor];
	struct known *d = &a->documents[a->document];
	bool fine = answer->status == 200 || answer->status == 201;
	if (a->step == WRITE && fine)
		*d = (struct known){d->lives, a->value, d->value};
	else if (a->step == WRITE || a->step == REMOVE)
		forget(d);
	else if (fine)
		found(w, actor, body);
	/* what is deleted has no row any more; another document comes in its place */
}

/* ---- life ---- */

static void view_step(struct workload *w, int actor)
{
	struct viewers *s = state_of(w);
	struct actor *a = &s->actors[actor];
	if (workload_give_up(w, actor) && (a->step == WRITE || a->step == REMOVE))
		forget(&a->documents[a->document]);
	if (actor == WRITERS)
		oversee(w, actor);
	else if (s->ready || w->sim->healed)
		act(w, actor);
	else
		workload_sleep(w, actor, RETRY_US);
}

static void view_on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct buf body = {0};
	if (!workload_answered(w, actor, answer) || w->actors[actor].done)
		return;
	buf_append_slice(&body, buf_slice(&answer->body));
	if (actor == WRITERS)
		overseen(w, actor, answer, buf_cstr(&body));
	else
		heard(w, actor, answer, buf_cstr(&body));
	buf_close(&body);
	workload_rest(w, actor, THINK_MS);
}

static void view_start(struct workload *w)
{
	struct viewers *s = state_of(w);
	for (int i = 0; i < ACTORS; i++) {
		for (int k = 0; k < DOCUMENTS; k++)
			s->actors[i].documents[k] = (struct known){0, UNKNOWN, UNKNOWN};
	}
}

static void view_free(struct workload *w)
{
	buf_close(&state_of(w)->listed);
	buf_close(&state_of(w)->viewed);
}

const struct workload_ops view_workload = {
    .name = "view",
    .actors = ACTORS,
    .state_bytes = sizeof(struct viewers),
    .one_in = ONE_IN_WANTED,
    .start = view_start,
    .start_ms = 300,
    .step = view_step,
    .on_answer = view_on_answer,
    .free = view_free,
};
