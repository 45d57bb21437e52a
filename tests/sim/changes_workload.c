/* Clients that write, and others that follow _changes as CouchDB's do: pages, long polls and
 * streams, each at any gateway, from the last sequence on that they were given. The collection is
 * `consistent`, so the generations of a document's revisions count its changes. Checked:
 *
 * - never backwards: what a follower is shown of a document is no older than what it was shown
 *
 * - none skipped: at the end each has seen every acknowledged write, or a later one of the
 * document; and all have seen the same */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "tests/sim/workload.h"

enum {
	WRITERS = 2,
	FOLLOWERS = 4,
	ACTORS = WRITERS + FOLLOWERS,
	DOCUMENTS = 30,
	WRITES_MAX = 400,
	TIMEOUT_US = 12 * 1000 * 1000,
	SEQUENCE_BYTES = 512,
	FORMS = 4
};

#define COLLECTION "followed"

struct writing {
	uint64_t request;
	int document; /* -1: nothing under way */
};

struct follower {
	uint64_t request; /* 0: none under way */
	char since[SEQUENCE_BYTES];
	uint64_t seen[DOCUMENTS]; /* generation */
	int rows;
	int breaks;
};

struct state {
	int64_t until_us[ACTORS];
	struct writing writers[WRITERS];
	struct follower followers[FOLLOWERS];
	uint64_t acknowledged[DOCUMENTS]; /* greatest generation */
	int writes;
	bool ending;
};

static struct state *state_of(struct workload *w)
{
	return w->state;
}

static int below(struct workload *w, int bound)
{
	return (int)rng_below(&w->rng, (uint64_t)bound);
}

static bool wanted(struct workload *w)
{
	return rng_below(&w->rng, 2) == 0;
}

static void sleep_ms(struct workload *w, int actor, int64_t ms)
{
	int64_t *until_us = &state_of(w)->until_us[actor];
	*until_us = w->sim->now_us + ms * 1000;
	workload_wake(w, actor, *until_us);
}

static void start(struct workload *w)
{
	struct state *s = mem_alloc_zero(sizeof *s);
	w->state = s;
	for (int i = 0; i < ACTORS; i++)
		sleep_ms(w, i, 300 + below(w, 6000));
	for (int i = 0; i < WRITERS; i++)
		s->writers[i].document = -1;
	for (int i = 0; i < FOLLOWERS; i++)
		snprintf(s->followers[i].since, SEQUENCE_BYTES, "0");
}

static uint64_t post(struct workload *w, int actor, struct sim_http *r)
{
	sleep_ms(w, actor, TIMEOUT_US / 1000);
	return workload_post(w, below(w, w->sim->settings.gateways), r);
}

/* ---- writers ---- */

static void writer_step(struct workload *w, int actor)
{
	static const enum http_method methods[] = {HTTP_PUT, HTTP_PUT, HTTP_PUT, HTTP_DELETE};
	struct state *s = state_of(w);
	struct writing *own = &s->writers[actor];
	char path[64];
	own->document = -1; /* no answer: it may have been done, or may yet be */
	if (s->ending || s->writes == WRITES_MAX)
		return;
	s->writes++;
	own->document = below(w, DOCUMENTS);
	snprintf(path, sizeof path, "/" COLLECTION "/d%d", own->document);
	struct sim_http *r =
	    workload_request(w, actor, methods[below(w, ARRAY_LEN(methods))], path);
	if (r->method != HTTP_DELETE)
		buf_printf(&r->body, "{\"v\":%d}", s->writes);
	own->request = post(w, actor, r);
}

static void write_answered(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct state *s = state_of(w);
	struct writing *own = &s->writers[actor];
	uint64_t generation = strtoull(answer->etag, NULL, 10);
	if (answer->id != own->request || own->document < 0)
		return;
	if (answer->status >= 200 && answer->status < 300 &&
	    generation > s->acknowledged[own->document])
		s->acknowledged[own->document] = generation;
	own->document = -1;
	sleep_ms(w, actor, 1 + below(w, 200));
}

/* ---- followers ---- */

static void follow(struct workload *w, int actor)
{
	static const char *const forms[FORMS] = {"normal", "longpoll", "continuous", "eventsource"};
	struct state *s = state_of(w);
	struct follower *own = &s->followers[actor - WRITERS];
	struct sim_http *r = workload_request(w, actor, HTTP_GET, "/" COLLECTION "/_changes");
	int form = below(w, FORMS);
	if (!s->ending && below(w, 6) == 0) { /* one that knows nothing yet */
		snprintf(own->since, SEQUENCE_BYTES, "0");
		memset(own->seen, 0, sizeof own->seen);
	}
	r->dialect = DIALECT_COUCH;
	buf_printf(&r->query, "feed=%s&since=%s", forms[form], own->since);
	if (below(w, 2) == 0)
		buf_printf(&r->query, "&limit=%d", 1 + below(w, 8));
	if (below(w, 3) == 0)
		buf_append_text(&r->query, "&include_docs=true&style=all_docs");
	if (below(w, 2) == 0)
		buf_printf(&r->query, "&timeout=%d", below(w, 5000));
	else if (form > 0)
		buf_append_text(&r->query, "&heartbeat=1000");
	own->request = post(w, actor, r);
}

/* It goes although its gateway is well, or there is no answer. */
static void leave(struct workload *w, int actor)
{
	struct follower *own = &state_of(w)->followers[actor - WRITERS];
	workload_hang_up(w, own->request);
	own->request = 0;
	own->breaks++;
	sleep_ms(w, actor, 1 + below(w, 800));
}

static void follower_step(struct workload *w, int actor)
{
	if (state_of(w)->followers[actor - WRITERS].request != 0)
		leave(w, actor);
	else
		follow(w, actor);
}

static void keep_sequence(struct follower *own, const char *text)
{
	size_t len = strcspn(text, "\"");
	CHECK(len < SEQUENCE_BYTES);
	memcpy(own->since, text, len);
	own->since[len] = 0;
}

static void see(struct workload *w, int actor, int document, uint64_t generation)
{
	struct follower *own = &state_of(w)->followers[actor - WRITERS];
	own->rows++;
	if (document < 0 || document >= DOCUMENTS) {
		sim_violation(w->sim, "follower %d is told of a document that nobody wrote", actor);
		return;
	}
	if (generation < own->seen[document])
		sim_violation(w->sim, "follower %d is shown generation %llu of d%d after %llu",
			      actor, (unsigned long long)generation, document,
			      (unsigned long long)own->seen[document]);
	own->seen[document] = generation;
}

/* Rows and ends stand in lines. */
static void take_line(struct workload *w, int actor, const char *line)
{
	struct follower *own = &state_of(w)->followers[actor - WRITERS];
	const char *sequence = strstr(line, "{\"seq\":\"");
	const char *document = strstr(line, "\"id\":\"d");
	const char *revision = strstr(line, "\"rev\":\"");
	const char *last = strstr(line, "\"last_seq\":\"");
	if (sequence && document && revision) {
		see(w, actor, (int)strtol(document + 7, NULL, 10),
		    strtoull(revision + 7, NULL, 10));
		keep_sequence(own, sequence + 8);
	} else if (last) {
		keep_sequence(own, last + 12);
	}
}

static void take_lines(struct workload *w, int actor, const struct buf *body)
{
	struct buf text = {0};
	buf_append_slice(&text, buf_slice(body));
	for (char *line = (char *)text.data; line && *line;) {
		char *end = strchr(line, '\n');
		if (end)
			*end = 0;
		take_line(w, actor, line);
		line = end ? end + 1 : NULL;
	}
	buf_close(&text);
}

static void heard(struct workload *w, int actor, struct sim_answer *answer)
{
	struct follower *own = &state_of(w)->followers[actor - WRITERS];
	if (answer->id != own->request)
		return;
	buf_append_byte(&answer->body, 0);
	if (answer->kind == SIM_ANSWER_WHOLE && answer->status >= 400 && answer->status < 500 &&
	    answer->status != 404 && answer->status != 429)
		sim_violation(w->sim, "follower %d is refused: %d %s", actor, answer->status,
			      (const char *)answer->body.data);
	if (answer->kind == SIM_ANSWER_PART || answer->status == 200)
		take_lines(w, actor, &answer->body);
	bool goes_on =
	    answer->kind == SIM_ANSWER_WHOLE ? answer->streaming : answer->kind == SIM_ANSWER_PART;
	if (goes_on)
		return;
	own->request = 0;
	sleep_ms(w, actor, 1 + below(w, 500));
}

/* ---- hooks ---- */

static void step(struct workload *w, int actor)
{
	if (w->sim->now_us < state_of(w)->until_us[actor])
		return;
	if (actor < WRITERS)
		writer_step(w, actor);
	else
		follower_step(w, actor);
}

static void on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	if (actor < WRITERS)
		write_answered(w, actor, answer);
	else
		heard(w, actor, (struct sim_answer *)answer);
}

static void on_heal(struct workload *w)
{
	state_of(w)->ending = true;
}

static bool done(struct workload *w, struct buf *why)
{
	const struct state *s = state_of(w);
	for (int i = 0; i < WRITERS; i++)
		if (s->writers[i].document >= 0) {
			buf_printf(why, "changes: writer %d waits", i);
			return false;
		}
	for (int i = 0; i < FOLLOWERS; i++)
		for (int d = 0; d < DOCUMENTS; d++) {
			uint64_t seen = s->followers[i].seen[d];
			if (seen < s->acknowledged[d] || seen != s->followers[0].seen[d]) {
				buf_printf(why, "changes: follower %d has seen %llu of d%d", i,
					   (unsigned long long)seen, d);
				return false;
			}
		}
	return true;
}

static void check(struct workload *w)
{
	const struct state *s = state_of(w);
	int rows = 0;
	int breaks = 0;
	for (int i = 0; i < FOLLOWERS; i++) {
		rows += s->followers[i].rows;
		breaks += s->followers[i].breaks;
	}
	sim_log(w->sim, "changes writes=%d rows=%d breaks=%d", s->writes, rows, breaks);
}

static void free_state(struct workload *w)
{
	free(w->state);
}

const struct workload_ops changes_workload = {
    .name = "changes",
    .wanted = wanted,
    .start = start,
    .step = step,
    .on_answer = on_answer,
    .on_heal = on_heal,
    .done = done,
    .check = check,
    .free = free_state,
};
