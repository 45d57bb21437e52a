/* A person who splits ids, takes the split apart, deletes what it made, and splits again, by hand
 * and asking as long as there is no answer. Both documents of an id are pushed as replicators do;
 * the first has a picture, since its second generation, and of every other id two versions that
 * conflict. One is split once only. Checked, of each id that was split, when all is quiet, and of
 * which no removal went unanswered (its gateway may have it still, and take what came since):
 * - whom the stub names is there, with its picture
 * - of versions that conflict both are there, nothing else, and readers are told */
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/workload.h"

enum { DOCUMENTS = 6, LEAVES_BYTES = 600, TIMEOUT_US = 9000000, RETRY_US = 250000 };

#define FIRST_PART  "~aaaaaaaaaaaaaaaa"
#define SECOND_PART "~bbbbbbbbbbbbbbbb"
#define PICTURE     "\"_attachments\":{\"p\":{\"content_type\":\"a/b\",\"data\":\"cGljdHVyZQ==\"}}"

enum parts_step {
	PARTS_COLLECTION,
	PARTS_PUSH,
	PARTS_LOOK, /* is it split, or in conflict? */
	PARTS_SPLIT,
	PARTS_FIND, /* the resolution to be undone */
	PARTS_UNDO,
	PARTS_REMOVE,
	PARTS_WAIT, /* for the end */
	PARTS_CHECK_STUB,
	PARTS_CHECK_PART,
	PARTS_END_LOOK, /* nothing is to be left in people's hands */
	PARTS_END,
	PARTS_SETTLE
};

struct parts_state {
	enum parts_step step;
	int document;
	int wanted;                /* splits of this document so far that were seen */
	char leaves[LEAVES_BYTES]; /* "1-a","2-b" */
	char resolution[64];
	bool lost;             /* a removal of this document that may be carried out yet */
	bool ready[DOCUMENTS]; /* split for the last time */
};

static struct parts_state *state_of(struct workload *w)
{
	return w->state;
}

static bool is_divided(int document)
{
	return document % 2 == 1;
}

/* The others are split, undone, removed and split again. */
static bool is_split_once(int document)
{
	return document % 4 == 3;
}

/* ---- asking ---- */

static void ask_push(struct workload *w)
{
	int document = state_of(w)->document;
	struct sim_http *r = workload_couch_request(w, 0, HTTP_POST, "/parts/_bulk_docs");
	buf_printf(&r->body,
		   "{\"new_edits\":false,\"docs\":[{\"_id\":\"s%d\",\"kind\":\"a\",\"n\":0,"
		   "\"_revisions\":{\"start\":2,\"ids\":[\"c0\",\"aaaaaaaaaaaaaaaa\"]}," PICTURE
		   "},",
		   document);
	for (int n = 1; n <= 2 && is_divided(document); n++)
		buf_printf(&r->body,
			   "{\"_id\":\"s%d\",\"kind\":\"a\",\"n\":%d,\"_revisions\":{\"start\":3,"
			   "\"ids\":[\"c%d\",\"c0\",\"aaaaaaaaaaaaaaaa\"]}," PICTURE "},",
			   document, n, n);
	buf_printf(&r->body,
		   "{\"_id\":\"s%d\",\"kind\":\"b\",\"n\":0,"
		   "\"_revisions\":{\"start\":1,\"ids\":[\"bbbbbbbbbbbbbbbb\"]}}]}",
		   document);
	workload_ask(w, 0, r, TIMEOUT_US);
}

static void ask_read(struct workload *w, const char *part)
{
	struct sim_http *r = workload_request(w, 0, HTTP_GET, "");
	buf_printf(&r->path, "/parts/s%d%s", state_of(w)->document, part);
	buf_append_text(&r->query, "conflicts=true");
	workload_ask(w, 0, r, TIMEOUT_US);
}

static void ask_decision(struct workload *w, const char *verb)
{
	const struct parts_state *s = state_of(w);
	struct sim_http *r = workload_request(w, 0, HTTP_POST, "");
	buf_printf(&r->path, "/_/conflicts/parts/s%d/%s", s->document, verb);
	if (s->step == PARTS_SPLIT || s->step == PARTS_END)
		buf_printf(&r->body, "{\"leaves\":[%s],\"%s\":true}", s->leaves,
			   s->step == PARTS_END ? "delete" : "split");
	else
		buf_printf(&r->body, "{\"resolutionId\":\"%s\"}", s->resolution);
	workload_ask(w, 0, r, TIMEOUT_US);
}

static void ask_any(struct workload *w)
{
	struct parts_state *s = state_of(w);
	struct sim_http *r;
	switch (s->step) {
	case PARTS_COLLECTION:
		r = workload_request(w, 0, HTTP_POST, "/_/collections");
		buf_append_text(&r->body,
				"{\"name\":\"parts\",\"shards\":3,\"retainMs\":3600000,"
				"\"keepAncestors\":8,\"policy\":{\"strategy\":\"none\"}}");
		workload_ask(w, 0, r, TIMEOUT_US);
		return;
	case PARTS_FIND:
		r = workload_request(w, 0, HTTP_GET, "/_/conflicts");
		buf_append_text(&r->query, "collection=parts&state=resolved");
		workload_ask(w, 0, r, TIMEOUT_US);
		return;
	case PARTS_REMOVE:
		r = workload_request(w, 0, HTTP_DELETE, "");
		buf_printf(&r->path, "/parts/s%d" FIRST_PART, s->document);
		workload_ask(w, 0, r, TIMEOUT_US);
		return;
	case PARTS_PUSH:
		ask_push(w);
		return;
	case PARTS_SETTLE:
		r = workload_request(w, 0, HTTP_PATCH, "/_/collections/parts");
		buf_append_text(&r->body, "{\"retainMs\":0,\"policy\":{\"strategy\":\"newest\"}}");
		workload_ask(w, 0, r, TIMEOUT_US);
		return;
	case PARTS_LOOK:
	case PARTS_CHECK_STUB:
	case PARTS_END_LOOK:
		ask_read(w, "");
		return;
	case PARTS_SPLIT:
	case PARTS_END:
		ask_decision(w, "resolve");
		return;
	case PARTS_UNDO:
		ask_decision(w, "undo");
		return;
	case PARTS_CHECK_PART:
		ask_read(w, FIRST_PART);
		return;
	case PARTS_WAIT:
		workload_sleep(w, 0, RETRY_US);
	}
}

/* ---- answers ---- */

/* The leaves, as a resolution names them; false: there is one only. */
static bool read_leaves(struct parts_state *s, const struct sim_answer *answer, const char *text)
{
	const char *at = strstr(text, "\"_conflicts\":[\"");
	const char *end = at ? strchr(at, ']') : NULL;
	if (!end)
		return false;
	at = strchr(at, '[') + 1;
	snprintf(s->leaves, sizeof s->leaves, "\"%s\",%.*s", answer->etag, (int)(end - at), at);
	return true;
}

static bool read_resolution(struct parts_state *s, const char *text)
{
	char name[32];
	snprintf(name, sizeof name, "\"id\":\"s%d\"", s->document);
	const char *at = strstr(text, name);
	at = at ? strstr(at, "\"resolutionId\":\"") : NULL;
	if (!at)
		return false;
	snprintf(s->resolution, sizeof s->resolution, "%.32s", at + 16);
	return true;
}

static void next_document(struct workload *w)
{
	struct parts_state *s = state_of(w);
	s->document++;
	s->wanted = 0;
	s->lost = false;
	s->step = s->document < DOCUMENTS && !w->sim->healed ? PARTS_PUSH : PARTS_WAIT;
}

/* One split, which is taken apart; then what it made goes, and another one. */
static void have_looked(struct workload *w, const struct sim_answer *answer, const char *text)
{
	struct parts_state *s = state_of(w);
	bool open = answer->status == 200 && read_leaves(s, answer, text);
	bool split = answer->status == 200 && !open && strstr(text, "\"_split\":[");
	if (open && s->wanted == 1) {
		s->wanted = 2;
		s->step = PARTS_REMOVE;
	} else if (open) {
		s->step = PARTS_SPLIT;
	} else if (split && s->wanted < 2 && !is_split_once(s->document)) {
		s->wanted = 1;
		s->step = PARTS_FIND;
	} else if (split) {
		s->ready[s->document] = !s->lost;
		next_document(w);
	}
}

static void check_stub(struct workload *w, const char *text)
{
	const struct parts_state *s = state_of(w);
	if (!strstr(text, FIRST_PART "\"") || !strstr(text, SECOND_PART "\""))
		sim_violation(w->sim, "parts: s%d is no stub: %s", s->document, text);
}

static void check_part(struct workload *w, const char *text)
{
	const struct parts_state *s = state_of(w);
	bool divided = is_divided(s->document);
	const char *others = strstr(text, "\"_conflicts\":[\"");
	const char *more = others ? strchr(others + 15, ',') : NULL;
	if (!strstr(text, "\"digest\":\"md5-"))
		sim_violation(w->sim, "parts: s%d has no picture: %s", s->document, text);
	else if (divided != (others != NULL) || divided == (strstr(text, "\"n\":0") != NULL))
		sim_violation(w->sim, "parts: s%d lacks a version: %s", s->document, text);
	else if (more)
		sim_violation(w->sim, "parts: s%d has more than its versions: %s", s->document,
			      text);
}

/* All that was split is looked at, then all that is in conflict yet ends. */
static void next_check(struct parts_state *s)
{
	bool check = s->step != PARTS_END_LOOK;
	for (s->document++; check && s->document < DOCUMENTS; s->document++)
		if (s->ready[s->document])
			break;
	s->step = check ? PARTS_CHECK_STUB : PARTS_END_LOOK;
	if (s->document < DOCUMENTS)
		return;
	s->document = 0;
	s->step = check ? PARTS_END_LOOK : PARTS_SETTLE;
}

static void have_checked(struct workload *w, const struct sim_answer *answer, const char *text)
{
	struct parts_state *s = state_of(w);
	if (answer->status != 200 && answer->status != 404)
		return;
	if (s->step == PARTS_END_LOOK) {
		if (answer->status == 200 && read_leaves(s, answer, text))
			s->step = PARTS_END;
		else
			next_check(s);
		return;
	}
	if (answer->status == 404)
		sim_violation(w->sim, "parts: s%d%s is not there", s->document,
			      s->step == PARTS_CHECK_PART ? FIRST_PART : "");
	else if (s->step == PARTS_CHECK_STUB)
		check_stub(w, text);
	else
		check_part(w, text);
	if (s->step == PARTS_CHECK_STUB)
		s->step = PARTS_CHECK_PART;
	else
		next_check(s);
}

static void advance(struct workload *w, const struct sim_answer *answer, const char *text)
{
	struct parts_state *s = state_of(w);
	bool stored = answer->status >= 200 && answer->status < 300;
	switch (s->step) {
	case PARTS_COLLECTION:
		s->step = stored || answer->status == 409 ? PARTS_PUSH : PARTS_COLLECTION;
		return;
	case PARTS_PUSH: /* rows: what was not taken */
		s->step = stored && answer->body.len <= 3 ? PARTS_LOOK : PARTS_PUSH;
		return;
	case PARTS_LOOK:
		have_looked(w, answer, text);
		return;
	case PARTS_FIND:
		if (answer->status == 200)
			s->step = read_resolution(s, text) ? PARTS_UNDO : PARTS_LOOK;
		return;
	case PARTS_REMOVE: /* a version at a time */
		if (answer->status == 404)
			s->step = PARTS_LOOK;
		return;
	case PARTS_CHECK_STUB:
	case PARTS_CHECK_PART:
	case PARTS_END_LOOK:
		have_checked(w, answer, text);
		return;
	case PARTS_END:
		s->step = PARTS_END_LOOK;
		return;
	case PARTS_SETTLE:
		w->actors[0].done = stored;
		return;
	default: /* whatever was answered: what is there? */
		s->step = PARTS_LOOK;
	}
}

static void parts_step(struct workload *w, int actor)
{
	struct parts_state *s = state_of(w);
	if (workload_give_up(w, actor) && s->step == PARTS_REMOVE)
		s->lost = true;
	if (w->sim->healed && s->step == PARTS_COLLECTION) {
		w->actors[0].done = true;
		return;
	}
	if (w->sim->healed && s->step < PARTS_CHECK_STUB) {
		s->step = PARTS_CHECK_PART;
		s->document = -1;
		next_check(s);
	}
	ask_any(w);
}

static void parts_on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct buf text = {0};
	if (!workload_answered(w, actor, answer))
		return;
	buf_append_slice(&text, buf_slice(&answer->body));
	advance(w, answer, buf_cstr(&text));
	buf_close(&text);
	if (!w->actors[actor].done)
		workload_rest(w, actor, 1 + w->sim->settings.think_max_ms);
}

static void parts_check(struct workload *w)
{
	const struct parts_state *s = state_of(w);
	int count = 0;
	for (int i = 0; i < DOCUMENTS; i++)
		count += s->ready[i];
	sim_log(w->sim, "parts: %d split", count);
}

const struct workload_ops parts_workload = {
    .name = "parts",
    .actors = 1,
    .state_bytes = sizeof(struct parts_state),
    .one_in = 8,
    .drawn = 3,
    .start_ms = 400,
    .step = parts_step,
    .on_answer = parts_on_answer,
    .check = parts_check,
};
