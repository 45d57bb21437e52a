/* Deletions against edits, and the feed that tells what happens to conflicts. Editors add entries
 * to documents, on what they read now or long ago; each document is deleted once, at most,
 * likewise. Under the policy the edit wins. One client listens to what happens to conflicts, breaks
 * off and goes on behind the last id.
 *
 * Checked:
 * - kept: an acknowledged entry that the deletion had not seen is in the document in the end
 * - told: where a deletion and an edit were made on the same revision, a conflict was opened
 * - in order: a conflict is opened before it changes and ends; none is opened twice
 * - none lost: the client has heard of exactly the resolutions that are on record */
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "common/base/memory.h"
#include "tests/sim/workload.h"

enum {
	EDITORS = 3,
	LISTENER = EDITORS,
	ACTORS,
	DOCUMENTS = 10,
	ENTRIES_MAX = 30, /* of a document */
	PACE_MS = 700,
	TIMEOUT_US = 9000000,
	RETRY_US = 300000,
	ETAG_BYTES = 128,
	ID_BYTES = 2048
};

enum dispute_step { STEP_IDLE, STEP_READ, STEP_WRITE, STEP_DELETE, STEP_LOOK, STEP_HISTORY };
enum listening { AWAY, ASKED, OPEN };

/* What an editor has read of a document. */
struct version {
	char etag[ETAG_BYTES]; /* empty: nothing */
	uint8_t log[ENTRIES_MAX];
};

struct dispute_actor {
	enum dispute_step step;
	int document;
	int entry;
	struct version read[DOCUMENTS];
};

struct dispute_document {
	int entries;
	uint8_t kept[ENTRIES_MAX]; /* acknowledged */
	uint8_t seen[ENTRIES_MAX]; /* by who asked for the deletion */
	uint64_t on[ENTRIES_MAX];  /* digest of the revision edited */
	bool deletion_asked;
	bool deleted;
	uint64_t deleted_on;
	bool disputed; /* deleted against an edit */
	/* as the listener was told */
	bool open;
	int opened;
};

/* Resolutions, in whatever order. */
struct tally {
	int count;
	uint64_t sum;
};

struct dispute_state {
	struct dispute_actor actors[ACTORS];
	struct dispute_document documents[DOCUMENTS];
	bool made;
	bool listens;
	enum listening listening;
	char id[ID_BYTES]; /* of the last event */
	bool gap;          /* it was told that it missed something */
	int breaks;
	int events;
	struct tally told;
	struct tally recorded;
	bool history_read;
};

static struct dispute_state *state_of(struct workload *w)
{
	return w->state;
}

static void rest(struct workload *w, int actor)
{
	state_of(w)->actors[actor].step = STEP_IDLE;
	workload_rest(w, actor, PACE_MS);
}

static uint64_t digest(const char *text)
{
	return XXH3_64bits(text, strlen(text));
}

/* ---- editors ---- */

static void make(struct workload *w, int actor)
{
	struct sim_http *r = workload_request(w, actor, HTTP_POST, "/_/collections");
	buf_printf(&r->body,
		   "{\"name\":\"dispute\",\"mode\":\"available\",\"retainMs\":%lld,"
		   "\"policy\":{\"paths\":{\"log\":\"set\"}}}",
		   (long long)w->sim->settings.retain_ms);
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void ask_read(struct workload *w, int actor, enum dispute_step step)
{
	struct dispute_actor *a = &state_of(w)->actors[actor];
	struct sim_http *r = workload_request(w, actor, HTTP_GET, "");
	a->step = step;
	buf_printf(&r->path, "/dispute/d%d", a->document);
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void take_version(struct version *v, const struct sim_answer *answer)
{
	const char *at = NULL;
	struct buf text = {0};
	*v = (struct version){{0}, {0}};
	if (answer->status == 200) {
		snprintf(v->etag, sizeof v->etag, "%s", answer->etag);
		buf_append_slice(&text, buf_slice(&answer->body));
		at = strstr(buf_cstr(&text), "\"log\":[");
	}
	for (at = at ? at + 7 : NULL; at && *at >= '0' && *at <= '9';) {
		char *end;
		unsigned long entry = strtoul(at, &end, 10);
		if (entry < ENTRIES_MAX)
			v->log[entry] = 1;
		at = end + (*end == ',');
	}
	buf_close(&text);
}

static void ask_write(struct workload *w, int actor)
{
	struct dispute_state *s = state_of(w);
	struct dispute_actor *a = &s->actors[actor];
	struct dispute_document *d = &s->documents[a->document];
	struct version *v = &a->read[a->document];
	struct sim_http *r = workload_request(w, actor, HTTP_PUT, "");
	a->step = STEP_WRITE;
	a->entry = d->entries++;
	d->on[a->entry] = digest(v->etag);
	buf_printf(&r->path, "/dispute/d%d", a->document);
	buf_append_text(&r->body, "{\"log\":[");
	for (int i = 0; i < ENTRIES_MAX; i++)
		if (v->log[i])
			buf_printf(&r->body, "%d,", i);
	buf_printf(&r->body, "%d]}", a->entry);
	if (v->etag[0]) {
		buf_append_text(&r->query, "branch=true");
		workload_header(r, "if-match", v->etag);
	} else {
		workload_header(r, "if-none-match", "*");
	}
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void ask_delete(struct workload *w, int actor)
{
	struct dispute_state *s = state_of(w);
	struct dispute_actor *a = &s->actors[actor];
	struct dispute_document *d = &s->documents[a->document];
	const struct version *v = &a->read[a->document];
	struct sim_http *r = workload_request(w, actor, HTTP_DELETE, "");
	a->step = STEP_DELETE;
	d->deletion_asked = true;
	d->deleted_on = digest(v->etag);
	memcpy(d->seen, v->log, sizeof d->seen);
	buf_printf(&r->path, "/dispute/d%d", a->document);
	buf_append_text(&r->query, "branch=true");
	workload_header(r, "if-match", v->etag);
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void change(struct workload *w, int actor)
{
	struct dispute_state *s = state_of(w);
	struct dispute_actor *a = &s->actors[actor];
	struct dispute_document *d = &s->documents[a->document];
	bool there = a->read[a->document].etag[0] != 0;
	if (there && !d->deletion_asked && rng_below(&w->rng, 4) == 0)
		ask_delete(w, actor);
	else if (d->entries < ENTRIES_MAX)
		ask_write(w, actor);
	else
		rest(w, actor);
}

static void begin(struct workload *w, int actor)
{
	struct dispute_actor *a = &state_of(w)->actors[actor];
	a->document = (int)rng_below(&w->rng, DOCUMENTS);
	if (a->read[a->document].etag[0] && rng_below(&w->rng, 3) == 0)
		change(w, actor); /* on what it read long ago */
	else
		ask_read(w, actor, STEP_READ);
}

/* ---- the end ---- */

static void check_document(struct workload *w, int document, const struct sim_answer *answer)
{
	struct dispute_state *s = state_of(w);
	struct dispute_document *d = &s->documents[document];
	struct version v;
	take_version(&v, answer);
	for (int i = 0; i < d->entries; i++) {
		d->disputed |= d->deleted && d->kept[i] && d->on[i] == d->deleted_on;
		if (d->kept[i] && !d->seen[i] && !v.log[i])
			sim_violation(w->sim, "dispute: d%d lacks entry %d: %d %.*s", document, i,
				      answer->status, (int)answer->body.len,
				      (const char *)answer->body.data);
	}
}

static void ask_history(struct workload *w, int actor)
{
	struct sim_http *r = workload_request(w, actor, HTTP_POST, "/system.resolutions/_query");
	buf_append_text(&r->body, "{\"query\":{\"collection\":\"dispute\"},\"limit\":10000}");
	state_of(w)->actors[actor].step = STEP_HISTORY;
	workload_ask(w, actor, r, TIMEOUT_US);
}

/* Every resolution that the text names. */
static void tally_all(struct tally *t, const char *text)
{
	static const char name[] = "\"resolutionId\":\"";
	for (const char *at = text; (at = strstr(at, name)) != NULL;) {
		at += sizeof name - 1;
		t->count++;
		t->sum += XXH3_64bits(at, strcspn(at, "\""));
	}
}

static bool is_over(struct workload *w)
{
	return workload_is_over(w, 1, EDITORS - 1);
}

/* The first editor has the last look: at each document, then at the record. */
static void last_look(struct workload *w, int actor)
{
	struct dispute_state *s = state_of(w);
	struct dispute_actor *a = &s->actors[actor];
	if (actor != 0 || s->history_read)
		w->actors[actor].done = true;
	else if (a->step != STEP_LOOK && !is_over(w))
		workload_sleep(w, actor, RETRY_US);
	else if (a->step != STEP_LOOK)
		a->document = 0;
	if (w->actors[actor].done || (a->step != STEP_LOOK && !is_over(w)))
		return;
	if (a->document < DOCUMENTS)
		ask_read(w, actor, STEP_LOOK);
	else
		ask_history(w, actor);
}

static void editor_step(struct workload *w, int actor)
{
	struct dispute_state *s = state_of(w);
	struct dispute_actor *a = &s->actors[actor];
	workload_give_up(w, actor);
	if (w->sim->healed && !s->listens)
		w->actors[actor].done = true;
	else if (w->sim->healed)
		last_look(w, actor);
	else if (!s->made && actor == 0)
		make(w, actor);
	else if (!s->listens)
		workload_sleep(w, actor, RETRY_US);
	else if (a->step == STEP_READ)
		change(w, actor);
	else
		begin(w, actor);
}

static void looked(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct dispute_state *s = state_of(w);
	struct dispute_actor *a = &s->actors[actor];
	bool known = answer->status == 200 || answer->status == 404;
	struct buf text = {0};
	if (a->step == STEP_LOOK && known) {
		check_document(w, a->document++, answer);
	} else if (a->step == STEP_HISTORY && answer->status == 200) {
		buf_append_slice(&text, buf_slice(&answer->body));
		tally_all(&s->recorded, buf_cstr(&text));
		s->history_read = true;
	}
	a->step = STEP_LOOK;
	buf_close(&text);
	workload_sleep(w, actor, RETRY_US);
}

static void editor_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct dispute_state *s = state_of(w);
	struct dispute_actor *a = &s->actors[actor];
	struct dispute_document *d = &s->documents[a->document];
	/* a branch on one disk, 202, may go with it */
	bool kept = answer->status == 200 || answer->status == 201;
	if (a->step == STEP_LOOK || a->step == STEP_HISTORY) {
		looked(w, actor, answer);
		return;
	}
	if (!s->made) {
		s->made = kept || answer->status == 409;
	} else if (a->step == STEP_READ && (answer->status == 200 || answer->status == 404)) {
		take_version(&a->read[a->document], answer);
		workload_rest(w, actor, 2 * PACE_MS);
		return;
	} else if (a->step == STEP_WRITE) {
		d->kept[a->entry] = kept;
	} else if (a->step == STEP_DELETE) {
		d->deleted = kept;
	}
	rest(w, actor);
}

/* ---- the listener ---- */

static int document_of(const char *event)
{
	const char *at = strstr(event, ",\"id\":\"d");
	return at ? (int)strtol(at + 8, NULL, 10) : -1;
}

static void hear(struct workload *w, const char *event)
{
	struct dispute_state *s = state_of(w);
	int document = document_of(event);
	bool opens = strstr(event, "\"event\":\"opened\"") != NULL;
	bool resolved = strstr(event, "\"event\":\"resolved\"") != NULL;
	bool ended = resolved || strstr(event, "\"event\":\"ended\"") != NULL;
	bool changed = strstr(event, "\"event\":\"changed\"") != NULL;
	if (document < 0 || document >= DOCUMENTS)
		return;
	struct dispute_document *d = &s->documents[document];
	s->events++;
	if (!s->gap && (opens ? d->open : (ended || changed) && !d->open))
		sim_violation(w->sim, "dispute: a conflict that is %s: %s",
			      d->open ? "open opens" : "none goes on", event);
	d->opened += opens;
	d->open = opens || (d->open && !ended);
	if (resolved)
		tally_all(&s->told, event);
}

static void hear_all(struct workload *w, const struct sim_answer *answer)
{
	struct dispute_state *s = state_of(w);
	struct buf text = {0};
	buf_append_slice(&text, buf_slice(&answer->body));
	for (char *at = (char *)(uintptr_t)buf_cstr(&text); *at;) {
		char *end = strstr(at, "\n\n");
		if (end)
			*end = 0;
		workload_event_id(at, s->id, sizeof s->id);
		hear(w, at);
		at = end ? end + 2 : at + strlen(at);
	}
	buf_close(&text);
}

static void listen(struct workload *w)
{
	struct dispute_state *s = state_of(w);
	struct sim_http *r = workload_request(w, LISTENER, HTTP_GET, "/_/conflicts");
	buf_append_text(&r->query, "collection=dispute");
	workload_header(r, "accept", "text/event-stream");
	if (s->id[0])
		workload_header(r, "last-event-id", s->id);
	s->listening = ASKED;
	workload_ask(w, LISTENER, r, TIMEOUT_US);
}

static void listener_step(struct workload *w)
{
	struct dispute_state *s = state_of(w);
	w->actors[LISTENER].done = w->sim->healed && !s->listens;
	if (w->actors[LISTENER].done || (s->listening == OPEN && w->sim->healed))
		return;
	if (s->listening != AWAY) { /* it is well, and yet the client goes; or there is no answer */
		workload_give_up(w, LISTENER);
		s->listening = AWAY;
		s->breaks++;
		workload_rest(w, LISTENER, 1500);
	} else if (s->made) {
		listen(w);
	} else {
		workload_sleep(w, LISTENER, RETRY_US);
	}
}

/* What came meanwhile it will not hear of. */
static void begin_anew(struct dispute_state *s)
{
	s->id[0] = 0;
	s->gap = s->listens;
}

static void listener_answer(struct workload *w, const struct sim_answer *answer)
{
	struct dispute_state *s = state_of(w);
	if (answer->kind == SIM_ANSWER_PART) {
		hear_all(w, answer);
		return;
	}
	if (answer->kind == SIM_ANSWER_WHOLE && answer->streaming) {
		hear_all(w, answer);
		s->listening = OPEN;
		s->listens = true;
		workload_sleep(w, LISTENER, rng_between(&w->rng, 200, 12000) * 1000);
		return;
	}
	if (answer->status == 410 || answer->status == 1013)
		begin_anew(s);
	s->listening = AWAY;
	workload_sleep(w, LISTENER, RETRY_US);
}

/* ---- life ---- */

static void dispute_step(struct workload *w, int actor)
{
	if (actor == LISTENER)
		listener_step(w);
	else
		editor_step(w, actor);
}

static void dispute_on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	if (!workload_answered(w, actor, answer))
		return;
	if (actor == LISTENER)
		listener_answer(w, answer);
	else
		editor_answer(w, actor, answer);
}

static bool dispute_done(struct workload *w, struct buf *why)
{
	const struct dispute_state *s = state_of(w);
	if (!workload_are_done(w, 0, EDITORS - 1, why))
		return false;
	if (s->listens && s->listening != OPEN) {
		buf_append_text(why, "dispute: the listener is not connected");
		return false;
	}
	if (s->listens && !s->gap && s->told.count < s->recorded.count) {
		buf_printf(why, "dispute: the listener has heard of %d resolutions of %d",
			   s->told.count, s->recorded.count);
		return false;
	}
	return true;
}

static void dispute_check(struct workload *w)
{
	const struct dispute_state *s = state_of(w);
	/* the listener has caught up by now */
	for (int i = 0; i < DOCUMENTS && !s->gap; i++)
		if (s->documents[i].disputed && s->documents[i].opened == 0)
			sim_violation(
			    w->sim, "dispute: d%d was deleted against an edit, and nobody told", i);
	if (!s->gap && (s->told.count != s->recorded.count || s->told.sum != s->recorded.sum))
		sim_violation(w->sim, "dispute: %d resolutions were told, %d are on record",
			      s->told.count, s->recorded.count);
	sim_log(w->sim, "dispute: %d events, %d resolutions, %d breaks%s", s->events,
		s->recorded.count, s->breaks, s->gap ? ", with a gap" : "");
}

const struct workload_ops dispute_workload = {
    .name = "dispute",
    .actors = ACTORS,
    .state_bytes = sizeof(struct dispute_state),
    .one_in = 6,
    .start_ms = 400,
    .step = dispute_step,
    .on_answer = dispute_on_answer,
    .done = dispute_done,
    .check = dispute_check,
};
