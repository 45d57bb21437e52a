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
#include "tests/sim/workload.h"

enum {
	WRITERS = 2,
	LISTENERS = 4,
	ACTORS = WRITERS + LISTENERS,
	DOCUMENTS = 4,
	WRITES_MAX = 400,
	TIMEOUT_US = 12 * 1000 * 1000,
	ID_BYTES = 2048
};

#define COLLECTION "watched"

struct write {
	int document;
	int64_t start_us;
	int64_t end_us;
	uint64_t generation; /* 0: refused, or without an answer */
	bool unknown;        /* it may have been done */
};

enum listening { AWAY, ASKED, OPEN };

struct actor {
	/* writers */
	int write; /* -1: none under way */
	/* listeners */
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
	struct actor actors[ACTORS];
	struct write writes[WRITES_MAX];
	int writes_count;
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
	for (int i = 0; i < ACTORS; i++) {
		s->actors[i].write = -1;
		s->actors[i].socket = i == ACTORS - 1;
		s->actors[i].pattern = workload_below(w, ARRAY_LEN(queries));
		workload_sleep(w, i, (300 + workload_below(w, 6000)) * 1000);
	}
}

/* ---- writers ---- */

static void send_write(struct workload *w, int actor)
{
	static const enum http_method methods[] = {HTTP_PUT, HTTP_PUT, HTTP_PATCH, HTTP_DELETE};
	struct state *s = state_of(w);
	char path[64];
	s->actors[actor].write = s->writes_count;
	struct write *op = &s->writes[s->writes_count++];
	op->document = workload_below(w, DOCUMENTS);
	op->start_us = w->sim->now_us;
	snprintf(path, sizeof path, "/" COLLECTION "/d%d", op->document);
	struct sim_http *r =
	    workload_request(w, actor, methods[workload_below(w, ARRAY_LEN(methods))], path);
	if (r->method != HTTP_DELETE)
		buf_printf(&r->body, "{\"v\":%d}", s->writes_count);
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void write_answered(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct state *s = state_of(w);
	struct actor *a = &s->actors[actor];
	if (a->write < 0)
		return;
	struct write *op = &s->writes[a->write];
	op->end_us = w->sim->now_us;
	op->unknown = answer->status >= 500;
	if (answer->status >= 200 && answer->status < 300)
		op->generation = strtoull(answer->etag, NULL, 10);
	a->write = -1;
	workload_rest(w, actor, 200);
}

static void writer_step(struct workload *w, int actor)
{
	struct state *s = state_of(w);
	struct actor *a = &s->actors[actor];
	if (a->write >= 0) /* no answer: it may have been done, or may yet be */
		s->writes[a->write].unknown = true;
	a->write = -1;
	workload_forget(w, actor);
	if (!w->sim->healed && s->writes_count < WRITES_MAX)
		send_write(w, actor);
}

/* ---- listeners ---- */

static void begin_anew(struct actor *a)
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
	struct actor *a = &state_of(w)->actors[actor];
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
	struct actor *a = &state_of(w)->actors[actor];
	workload_give_up(w, actor);
	a->listening = AWAY;
	a->breaks++;
	workload_rest(w, actor, 1500);
}

static void listener_step(struct workload *w, int actor)
{
	struct state *s = state_of(w);
	struct actor *a = &s->actors[actor];
	if (a->listening == AWAY)
		send_listen(w, actor);
	else if (a->listening == ASKED)
		leave(w, actor);
	else if (!w->sim->healed)
		leave(w, actor);
}

static void hear(struct workload *w, int actor, int document, uint64_t generation)
{
	struct actor *a = &state_of(w)->actors[actor];
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
	struct actor *a = &state_of(w)->actors[actor];
	if (document && revision)
		hear(w, actor, (int)strtol(document + 8, NULL, 10),
		     strtoull(revision + 13, NULL, 10));
	if (workload_event_id(text, a->id, ID_BYTES))
		memcpy(a->named, a->last, sizeof a->last);
}

static void stays(struct workload *w, int actor)
{
	state_of(w)->actors[actor].listening = OPEN;
	workload_sleep(w, actor, (200 + workload_below(w, 12000)) * 1000);
}

static void take_frame(struct workload *w, int actor, const char *text)
{
	struct actor *a = &state_of(w)->actors[actor];
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
	struct actor *a = &state_of(w)->actors[actor];
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
	struct actor *a = &state_of(w)->actors[actor];
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
		writer_step(w, actor);
	else
		listener_step(w, actor);
}

static void on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	if (!workload_answered(w, actor, answer))
		return;
	if (actor < WRITERS)
		write_answered(w, actor, answer);
	else
		heard(w, actor, answer);
}

/* The first write that the listener should have heard of and has not; NULL: none. */
static const struct write *missing(const struct state *s, const struct actor *a)
{
	for (int i = 0; i < s->writes_count; i++) {
		const struct write *op = &s->writes[i];
		if (op->generation == 0 || op->start_us <= a->began_us)
			continue;
		if (a->first[op->document] == 0 || op->generation < a->first[op->document] ||
		    op->generation > a->last[op->document])
			return op;
	}
	return NULL;
}

/* Acknowledged writes of the document that began after its answer. */
static uint64_t least_count(const struct state *s, const struct actor *a, int document)
{
	uint64_t n = 0;
	for (int i = 0; i < s->writes_count; i++)
		n += s->writes[i].document == document && s->writes[i].generation > 0 &&
		     s->writes[i].start_us > a->began_us;
	return n;
}

static bool hears_too_little(const struct state *s, const struct actor *a)
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
	for (int i = 0; i < s->writes_count; i++) {
		const struct write *op = &s->writes[i];
		bool refused = op->generation == 0 && !op->unknown && op->end_us > 0;
		n += op->document == document && !refused;
	}
	return n;
}

static bool done(struct workload *w, struct buf *why)
{
	struct state *s = state_of(w);
	for (int i = 0; i < WRITERS; i++)
		if (s->actors[i].write >= 0) {
			buf_printf(why, "notify writer %d waits", i);
			return false;
		}
	for (int i = WRITERS; i < ACTORS; i++) {
		const struct actor *a = &s->actors[i];
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
	const struct actor *a = &s->actors[actor];
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
		if (state_of(w)->actors[i].socket)
			check_socket(w, i);
		events += state_of(w)->actors[i].events;
		breaks += state_of(w)->actors[i].breaks;
	}
	sim_log(w->sim, "notify writes=%d events=%d breaks=%d", state_of(w)->writes_count, events,
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
