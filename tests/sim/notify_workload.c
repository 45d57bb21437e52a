/* Clients that write, and others that listen: over streams of events, which go on elsewhere after
 * the last id when they break, and over WebSockets, which begin anew. The collection is
 * `consistent`, so the generations of a document's revisions count its changes. Checked:
 *
 * - once, in order: of each document a listener hears of consecutive generations, also across
 * breaks
 *
 * - none lost: every acknowledged write that began after the listener had its answer is among them
 *
 * - a WebSocket hears of no fewer changes than acknowledged writes that began after its answer, and
 *   of no more than were written at all */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "tests/sim/writers.h"

enum {
	LISTENERS = 4,
	ACTORS = WRITERS + LISTENERS,
	DOCUMENTS = 4,
	TIMEOUT_US = 12 * 1000 * 1000,
	ID_BYTES = 2048
};

#define COLLECTION "watched"

static const struct writers_plan plan = {
    .collection = COLLECTION,
    .documents = DOCUMENTS,
    .methods = {HTTP_PUT, HTTP_PUT, HTTP_PATCH, HTTP_DELETE},
};

enum listening { AWAY, ASKED, OPEN };

struct listener {
	bool socket;
	enum listening listening;
	int pattern;
	char id[ID_BYTES]; /* of the last event; empty: none */
	int64_t began_us;  /* its answer; 0: none yet */
	uint64_t first[DOCUMENTS];
	uint64_t last[DOCUMENTS];
	uint64_t named[DOCUMENTS]; /* last, as of `id`: with many shards few events have one */
	uint64_t count[DOCUMENTS]; /* sockets */
	int breaks;
	int events;
};

struct state {
	struct writers writers;
	struct listener listeners[ACTORS]; /* by actor; the writers' are not used */
};

static const char *const queries[] = {
    "path=.*:/" COLLECTION "/.*",
    "path=/" COLLECTION "/",
    "path=PUT:/" COLLECTION "/&path=(PATCH|DELETE):/" COLLECTION "/&path=" COLLECTION,
};

static struct state *state_of(struct workload *w)
{
	return w->state;
}

static void start(struct workload *w)
{
	struct state *s = state_of(w);
	writers_init(&s->writers, &plan);
	for (int i = 0; i < ACTORS; i++) {
		s->listeners[i].socket = i == ACTORS - 1;
		s->listeners[i].pattern = workload_below(w, ARRAY_LEN(queries));
		workload_sleep(w, i, (300 + workload_below(w, 6000)) * 1000);
	}
}

/* ---- listeners ---- */

static void begin_anew(struct listener *a)
{
	a->id[0] = 0;
	a->began_us = 0;
	memset(a->first, 0, sizeof a->first);
	memset(a->last, 0, sizeof a->last);
	memset(a->named, 0, sizeof a->named);
	memset(a->count, 0, sizeof a->count);
}

static void send_listen(struct workload *w, int actor)
{
	struct listener *a = &state_of(w)->listeners[actor];
	struct sim_http *r = workload_request(w, actor, HTTP_GET, a->socket ? "/" : "/_/notify");
	if (a->socket || a->id[0] == 0)
		begin_anew(a);
	memcpy(a->last, a->named, sizeof a->last); /* what came since comes again */
	r->websocket = a->socket;
	if (!a->socket)
		buf_append_text(&r->query, queries[a->pattern]);
	if (a->id[0])
		workload_header(r, "last-event-id", a->id);
	a->listening = ASKED;
	workload_ask(w, actor, r, TIMEOUT_US);
}

/* Its gateway is well, and yet it goes; or there is no answer. */
static void leave(struct workload *w, int actor)
{
	struct listener *a = &state_of(w)->listeners[actor];
	workload_give_up(w, actor);
	a->listening = AWAY;
	a->breaks++;
	workload_rest(w, actor, 1500);
}

static void listener_step(struct workload *w, int actor)
{
	struct state *s = state_of(w);
	struct listener *a = &s->listeners[actor];
	if (a->listening == AWAY)
		send_listen(w, actor);
	else if (a->listening == ASKED)
		leave(w, actor);
	else if (!w->sim->healed)
		leave(w, actor);
}

static void hear(struct workload *w, int actor, int document, uint64_t generation)
{
	struct listener *a = &state_of(w)->listeners[actor];
	if (document < 0 || document >= DOCUMENTS)
		return;
	a->events++;
	if (a->last[document] != 0 && generation != a->last[document] + 1)
		sim_violation(w->sim, "listener %d hears of generation %llu of d%d after %llu",
			      actor, (unsigned long long)generation, document,
			      (unsigned long long)a->last[document]);
	if (a->first[document] == 0)
		a->first[document] = generation;
	a->last[document] = generation;
}

static void take_event(struct workload *w, int actor, const char *text)
{
	const char *document = strstr(text, ",\"id\":\"d");
	const char *revision = strstr(text, ",\"revision\":\"");
	struct listener *a = &state_of(w)->listeners[actor];
	if (document && revision)
		hear(w, actor, (int)strtol(document + 8, NULL, 10),
		     strtoull(revision + 13, NULL, 10));
	if (workload_event_id(text, a->id, ID_BYTES))
		memcpy(a->named, a->last, sizeof a->last);
}

static void stays(struct workload *w, int actor)
{
	state_of(w)->listeners[actor].listening = OPEN;
	workload_sleep(w, actor, (200 + workload_below(w, 12000)) * 1000);
}

static void take_frame(struct workload *w, int actor, const char *text)
{
	struct listener *a = &state_of(w)->listeners[actor];
	const char *document = strstr(text, "/d");
	if (strcmp(text, "[\"A\",1]") == 0) {
		a->began_us = w->sim->now_us;
		stays(w, actor);
	} else if (strncmp(text, "[\"T\"", 4) == 0 && document && a->listening == OPEN) {
		a->count[strtol(document + 2, NULL, 10) % DOCUMENTS]++;
	}
}

static void opened(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct listener *a = &state_of(w)->listeners[actor];
	struct buf text = {0};
	if (!answer->streaming) {
		if (answer->status == 410)
			begin_anew(a);
		else if (answer->status < 500)
			sim_violation(w->sim, "listener %d is refused: %d", actor, answer->status);
		a->listening = AWAY;
		workload_sleep(w, actor, (100 + workload_below(w, 500)) * 1000);
	} else if (a->socket) {
		workload_stream_send(w, w->actors[actor].request,
				     slice_text("[1,\"NOTIFY\",\".*:/" COLLECTION "/.*\"]"));
	} else {
		buf_append_slice(&text, buf_slice(&answer->body));
		(void)workload_event_id(buf_cstr(&text), a->id, ID_BYTES);
		if (a->began_us == 0)
			a->began_us = w->sim->now_us;
		stays(w, actor);
	}
	buf_close(&text);
}

static void heard(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct listener *a = &state_of(w)->listeners[actor];
	struct buf text = {0};
	buf_append_slice(&text, buf_slice(&answer->body));
	if (answer->kind == SIM_ANSWER_WHOLE) {
		opened(w, actor, answer);
	} else if (answer->kind == SIM_ANSWER_PART && a->socket) {
		take_frame(w, actor, buf_cstr(&text));
	} else if (answer->kind == SIM_ANSWER_PART) {
		take_event(w, actor, buf_cstr(&text));
	} else {
		if (answer->status == 1013) /* changes are missing, and it was told so */
			begin_anew(a);
		a->listening = AWAY;
		a->breaks++;
		workload_rest(w, actor, 1000);
	}
	buf_close(&text);
}

/* ---- hooks ---- */

static void step(struct workload *w, int actor)
{
	if (actor < WRITERS)
		writers_step(&state_of(w)->writers, w, actor);
	else
		listener_step(w, actor);
}

static void on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	if (!workload_answered(w, actor, answer))
		return;
	if (actor < WRITERS)
		writers_answered(&state_of(w)->writers, w, actor, answer);
	else
		heard(w, actor, answer);
}

/* The first write that the listener should have heard of and has not; NULL: none. */
static const struct write *missing(const struct state *s, const struct listener *a)
{
	for (int i = 0; i < s->writers.count; i++) {
		const struct write *op = &s->writers.writes[i];
		if (op->generation == 0 || op->start_us <= a->began_us)
			continue;
		if (a->first[op->document] == 0 || op->generation < a->first[op->document] ||
		    op->generation > a->last[op->document])
			return op;
	}
	return NULL;
}

/* Acknowledged writes of the document that began after its answer. */
static uint64_t least_count(const struct state *s, const struct listener *a, int document)
{
	uint64_t n = 0;
	for (int i = 0; i < s->writers.count; i++)
		n += s->writers.writes[i].document == document &&
		     s->writers.writes[i].generation > 0 &&
		     s->writers.writes[i].start_us > a->began_us;
	return n;
}

static bool hears_too_little(const struct state *s, const struct listener *a)
{
	for (int d = 0; d < DOCUMENTS; d++)
		if (a->count[d] < least_count(s, a, d))
			return true;
	return false;
}

/* All that may have been done: what lay in a feed when it asked is told, too. */
static uint64_t most_count(const struct state *s, int document)
{
	uint64_t n = 0;
	for (int i = 0; i < s->writers.count; i++) {
		const struct write *op = &s->writers.writes[i];
		bool refused = op->generation == 0 && !op->unknown && op->end_us > 0;
		n += op->document == document && !refused;
	}
	return n;
}

static bool done(struct workload *w, struct buf *why)
{
	struct state *s = state_of(w);
	if (!writers_are_done(&s->writers, w, why))
		return false;
	for (int i = WRITERS; i < ACTORS; i++) {
		const struct listener *a = &s->listeners[i];
		const struct write *lost = a->socket ? NULL : missing(s, a);
		if (a->listening != OPEN) {
			buf_printf(why, "listener %d is not connected", i);
			return false;
		}
		if (lost) {
			buf_printf(why, "listener %d has not heard of generation %llu of d%d", i,
				   (unsigned long long)lost->generation, lost->document);
			return false;
		}
		if (a->socket && hears_too_little(s, a)) {
			buf_printf(why, "listener %d has not heard of all changes", i);
			return false;
		}
	}
	return true;
}

static void check_socket(struct workload *w, int actor)
{
	const struct state *s = state_of(w);
	const struct listener *a = &s->listeners[actor];
	for (int d = 0; d < DOCUMENTS; d++)
		if (a->count[d] < least_count(s, a, d) || a->count[d] > most_count(s, d))
			sim_violation(w->sim,
				      "listener %d heard of %llu changes of d%d, not %llu to %llu",
				      actor, (unsigned long long)a->count[d], d,
				      (unsigned long long)least_count(s, a, d),
				      (unsigned long long)most_count(s, d));
}

static void check(struct workload *w)
{
	int events = 0;
	int breaks = 0;
	for (int i = WRITERS; i < ACTORS; i++) {
		if (state_of(w)->listeners[i].socket)
			check_socket(w, i);
		events += state_of(w)->listeners[i].events;
		breaks += state_of(w)->listeners[i].breaks;
	}
	sim_log(w->sim, "notify writes=%d events=%d breaks=%d", state_of(w)->writers.count, events,
		breaks);
}

const struct workload_ops notify_workload = {
    .name = "notify",
    .actors = ACTORS,
    .state_bytes = sizeof(struct state),
    .one_in = 2,
    .start = start,
    .step = step,
    .on_answer = on_answer,
    .done = done,
    .check = check,
};
