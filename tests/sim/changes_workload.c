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
#include "tests/sim/writers.h"

enum {
	FOLLOWERS = 4,
	ACTORS = WRITERS + FOLLOWERS,
	DOCUMENTS = 30,
	TIMEOUT_US = 12 * 1000 * 1000,
	SEQUENCE_BYTES = 512,
	FORMS = 4
};

#define COLLECTION "followed"

static const struct writers_plan plan = {
    .collection = COLLECTION,
    .documents = DOCUMENTS,
    .methods = {HTTP_PUT, HTTP_PUT, HTTP_PUT, HTTP_DELETE},
};

struct follower {
	char since[SEQUENCE_BYTES];
	uint64_t seen[DOCUMENTS]; /* generation */
	int rows;
	int breaks;
};

struct state {
	struct writers writers;
	struct follower followers[FOLLOWERS];
};

static struct state *state_of(struct workload *w)
{
	return w->state;
}

static void start(struct workload *w)
{
	struct state *s = state_of(w);
	for (int i = 0; i < ACTORS; i++)
		workload_sleep(w, i, (300 + workload_below(w, 6000)) * 1000);
	writers_init(&s->writers, &plan);
	for (int i = 0; i < FOLLOWERS; i++)
		snprintf(s->followers[i].since, SEQUENCE_BYTES, "0");
}

/* ---- followers ---- */

static void follow(struct workload *w, int actor)
{
	static const char *const forms[FORMS] = {"normal", "longpoll", "continuous", "eventsource"};
	struct state *s = state_of(w);
	struct follower *own = &s->followers[actor - WRITERS];
	struct sim_http *r = workload_couch_request(w, actor, HTTP_GET, "/" COLLECTION "/_changes");
	int form = workload_below(w, FORMS);
	if (!w->sim->healed && workload_below(w, 6) == 0) { /* one that knows nothing yet */
		snprintf(own->since, SEQUENCE_BYTES, "0");
		memset(own->seen, 0, sizeof own->seen);
	}
	buf_printf(&r->query, "feed=%s&since=%s", forms[form], own->since);
	if (workload_below(w, 2) == 0)
		buf_printf(&r->query, "&limit=%d", 1 + workload_below(w, 8));
	if (workload_below(w, 3) == 0)
		buf_append_text(&r->query, "&include_docs=true&style=all_docs");
	if (workload_below(w, 2) == 0)
		buf_printf(&r->query, "&timeout=%d", workload_below(w, 5000));
	else if (form > 0)
		buf_append_text(&r->query, "&heartbeat=1000");
	workload_ask(w, actor, r, TIMEOUT_US);
}

/* It goes although its gateway is well, or there is no answer. */
static void leave(struct workload *w, int actor)
{
	workload_give_up(w, actor);
	state_of(w)->followers[actor - WRITERS].breaks++;
	workload_rest(w, actor, 800);
}

static void follower_step(struct workload *w, int actor)
{
	if (w->actors[actor].request != 0)
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
	buf_append_byte(&answer->body, 0);
	if (answer->kind == SIM_ANSWER_WHOLE && answer->status >= 400 && answer->status < 500 &&
	    answer->status != 404 && answer->status != 429)
		sim_violation(w->sim, "follower %d is refused: %d %s", actor, answer->status,
			      (const char *)answer->body.data);
	if (answer->kind == SIM_ANSWER_PART || answer->status == 200)
		take_lines(w, actor, &answer->body);
	if (w->actors[actor].request != 0) /* it goes on */
		return;
	workload_rest(w, actor, 500);
}

/* ---- hooks ---- */

static void step(struct workload *w, int actor)
{
	if (actor < WRITERS)
		writers_step(&state_of(w)->writers, w, actor);
	else
		follower_step(w, actor);
}

static void on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	if (!workload_answered(w, actor, answer))
		return;
	if (actor < WRITERS)
		writers_answered(&state_of(w)->writers, w, actor, answer);
	else
		heard(w, actor, (struct sim_answer *)answer);
}

static bool done(struct workload *w, struct buf *why)
{
	const struct state *s = state_of(w);
	if (!writers_are_done(&s->writers, w, why))
		return false;
	for (int i = 0; i < FOLLOWERS; i++)
		for (int d = 0; d < DOCUMENTS; d++) {
			uint64_t seen = s->followers[i].seen[d];
			if (seen < writers_acknowledged(&s->writers, d) ||
			    seen != s->followers[0].seen[d]) {
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
	sim_log(w->sim, "changes writes=%d rows=%d breaks=%d", s->writers.count, rows, breaks);
}

const struct workload_ops changes_workload = {
    .name = "changes",
    .actors = ACTORS,
    .state_bytes = sizeof(struct state),
    .one_in = 2,
    .start = start,
    .step = step,
    .on_answer = on_answer,
    .done = done,
    .check = check,
};
