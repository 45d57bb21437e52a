/* Policies that change while documents are in conflict; in some seeds the collection's mode changes
 * instead, or nothing does, and no base is kept but those that branches need. Editors count up and
 * write an entry into a list, on whatever revision they saw last, as a branch; a lawmaker replaces
 * the policy all the time, and asks what others would do. Every policy makes n a counter and the
 * log a list that grows, so whatever arbiters do under whichever version: checked at the end, when
 * all is quiet,
 * - complete: what was acknowledged by a quorum is in the log; where no disk was lost, what was
 * taken as a branch, too
 * - once: no entry is in it twice, or by nobody
 * - exact: n is the number of entries */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "tests/sim/workload.h"

enum {
	EDITORS = 4,
	LAWMAKER = EDITORS,
	ACTORS,
	DOCUMENTS = 2,
	ENTRIES_MAX = 40, /* of a document: all bases stay, as keepAncestors is more */
	START_US = 400000,
	PACE_MS = 700,
	TIMEOUT_US = 9000000,
	RETRY_US = 300000
};

/* What the lawmaker changes. Where it is nothing, nobody edits old versions. */
enum { CHANGES_LAWS, CHANGES_MODE, CHANGES_NOTHING, CHANGES_KINDS };

enum policy_step { POLICY_MAKE, POLICY_BEGIN, POLICY_READ, POLICY_WRITE, POLICY_CHANGE };

struct policy_actor {
	enum policy_step step;
	int document;
	int entry;
};

struct policy_state {
	struct policy_actor actors[ACTORS];
	int kind;
	int made;      /* the collection, then each document */
	char law[128]; /* ETag of the policy, as last seen */
	int entries[DOCUMENTS];
	bool settled[DOCUMENTS]; /* it was made by a quorum; else it may go with a disk */
	bool acknowledged[DOCUMENTS][ENTRIES_MAX];
	bool taken[DOCUMENTS][ENTRIES_MAX]; /* as a branch, on one disk: it is gone with it */
	bool checked[DOCUMENTS];
	int changes, tests, refused;
};

static struct policy_state *state_of(struct workload *w)
{
	return w->state;
}

static void rest(struct workload *w, int actor)
{
	workload_rest(w, actor, PACE_MS);
}

/* ---- asking ---- */

#define RULES "\"paths\":{\"n\":\"counter\",\"log\":\"append\""

enum { LAW_NONE, LAW_LAST };
static const char *const laws[] = {
    [LAW_NONE] = "{\"strategy\":\"none\"}",
    /* unlike all before, so that no late message fits its version */
    [LAW_LAST] = "{" RULES "},\"fallback\":\"newest\",\"leaseMs\":777}",
    "{" RULES ",\"by\":\"max\"}}",
    "{" RULES "},\"fallback\":\"newest\"}",
    "{" RULES "},\"fallback\":\"oldest\",\"deletes\":\"delete-wins\"}",
};

/* None but those that branches need; a node that was replaced while it was away brings branches
 * that nobody could wait for. */
static int ancestors_kept(struct workload *w)
{
	bool replaced = w->sim->settings.rebalance || workload_takes_part(w->sim, "moves");
	return state_of(w)->kind == CHANGES_NOTHING && !replaced ? 0 : 64;
}

static void ask_collection(struct workload *w)
{
	struct sim_http *r = workload_request(w, 0, HTTP_POST, "/_/collections");
	buf_printf(&r->body,
		   "{\"name\":\"tally\",\"mode\":\"available\",\"keepAncestors\":%d,"
		   "\"retainMs\":%lld,\"replicas\":%d,\"writeQuorum\":%d,\"policy\":%s}",
		   ancestors_kept(w), (long long)w->sim->settings.retain_ms,
		   w->sim->settings.replicas, w->sim->settings.write_quorum, laws[LAW_LAST + 1]);
	workload_ask(w, 0, r, TIMEOUT_US);
}

static void make(struct workload *w)
{
	const struct policy_state *s = state_of(w);
	char path[32];
	snprintf(path, sizeof path, "/tally/t%d", s->made - 1);
	if (s->made == 0)
		ask_collection(w);
	else
		workload_ask_document(w, 0, path, "{\"n\":0,\"log\":[]}", TIMEOUT_US);
}

static void read_one(struct workload *w, int actor)
{
	struct policy_actor *a = &state_of(w)->actors[actor];
	struct sim_http *r = workload_request(w, actor, HTTP_GET, "");
	buf_printf(&r->path, "/tally/t%d", a->document);
	a->step = POLICY_READ;
	workload_ask(w, actor, r, TIMEOUT_US);
}

/* One more than what was read, in a log with one entry more. */
static void write_one(struct workload *w, int actor, const struct sim_answer *seen)
{
	struct policy_state *s = state_of(w);
	struct policy_actor *a = &s->actors[actor];
	struct buf text = {0};
	buf_append_slice(&text, buf_slice(&seen->body));
	const char *n = strstr(buf_cstr(&text), "\"n\":");
	const char *log = strstr(buf_cstr(&text), "\"log\":[");
	const char *end = log ? strchr(log, ']') : NULL;
	if (!n || !end) {
		sim_violation(w->sim, "policy: t%d is %s", a->document, buf_cstr(&text));
	} else {
		struct sim_http *r = workload_request(w, actor, HTTP_PUT, "");
		a->entry = s->entries[a->document]++;
		a->step = POLICY_WRITE;
		buf_printf(&r->path, "/tally/t%d", a->document);
		if (s->kind != CHANGES_NOTHING)
			buf_append_text(&r->query, "branch=true");
		buf_printf(&r->body, "{\"n\":%ld,%.*s%s%d],\"by\":%d}", strtol(n + 4, NULL, 10) + 1,
			   (int)(end - log), log, end[-1] == '[' ? "" : ",", a->entry, actor);
		workload_header(r, "if-match", seen->etag);
		workload_ask(w, actor, r, TIMEOUT_US);
	}
	buf_close(&text);
}

/* In the end it is any. */
static void change_mode(struct workload *w)
{
	struct sim_http *r = workload_request(w, LAWMAKER, HTTP_PATCH, "/_/collections/tally");
	buf_printf(&r->body, "{\"mode\":\"%s\"}",
		   workload_below(w, 2) ? "available" : "consistent");
	workload_header(r, "content-type", "application/merge-patch+json");
	state_of(w)->actors[LAWMAKER].step = POLICY_CHANGE;
	workload_ask(w, LAWMAKER, r, TIMEOUT_US);
}

static void change(struct workload *w)
{
	struct policy_state *s = state_of(w);
	bool last = w->sim->healed;
	const char *law = laws[LAW_LAST + 1 + rng_below(&w->rng, ARRAY_LEN(laws) - 2)];
	if (last)
		law = laws[LAW_LAST];
	else if (s->law[0] && rng_below(&w->rng, 4) == 0)
		law = laws[LAW_NONE];
	bool test = !last && rng_below(&w->rng, 3) == 0;
	bool match = !last && s->law[0] && (law == laws[LAW_NONE] || rng_below(&w->rng, 2));
	struct sim_http *r =
	    workload_request(w, LAWMAKER, test ? HTTP_POST : HTTP_PUT,
			     test ? "/_/policies/_test" : "/system.policies/tally");
	if (test)
		buf_printf(&r->body, "{\"collection\":\"tally\",\"policy\":%s}", law);
	else
		buf_append_text(&r->body, law);
	if (!test && match)
		workload_header(r, "if-match", s->law);
	s->tests += test;
	s->actors[LAWMAKER].step = test ? POLICY_BEGIN : POLICY_CHANGE;
	workload_ask(w, LAWMAKER, r, TIMEOUT_US);
}

/* ---- the end ---- */

static void check_tally(struct workload *w, int document, const struct sim_answer *answer)
{
	struct policy_state *s = state_of(w);
	struct buf text = {0};
	int seen[ENTRIES_MAX] = {0};
	int count = 0;
	buf_append_slice(&text, buf_slice(&answer->body));
	const char *n = strstr(buf_cstr(&text), "\"n\":");
	const char *at = strstr(buf_cstr(&text), "\"log\":[");
	for (at = at ? at + 7 : ""; *at && *at != ']'; count++) {
		char *end;
		long entry = strtol(at, &end, 10);
		if (end == at || entry < 0 || entry >= s->entries[document])
			break;
		if (seen[entry]++ > 0)
			sim_violation(w->sim, "policy: t%d has entry %ld twice: %s", document,
				      entry, buf_cstr(&text));
		at = *end == ',' ? end + 1 : end;
	}
	if (!n || *at != ']' || strtol(n + 4, NULL, 10) != count)
		sim_violation(w->sim, "policy: t%d does not add up: %s", document, buf_cstr(&text));
	for (int i = 0; i < s->entries[document]; i++)
		if ((s->acknowledged[document][i] ||
		     (s->taken[document][i] && w->sim->losses == 0)) &&
		    !seen[i])
			sim_violation(w->sim, "policy: t%d lacks entry %d: %s", document, i,
				      buf_cstr(&text));
	buf_close(&text);
	s->checked[document] = true;
}

/* Nobody writes any more, and nothing is in conflict. */
static bool is_over(struct workload *w)
{
	return workload_is_over(w, 1, LAWMAKER);
}

static void last_look(struct workload *w, int actor)
{
	struct policy_state *s = state_of(w);
	int documents = s->made > DOCUMENTS ? DOCUMENTS : 0;
	int next = workload_last_look(w, actor, LAWMAKER, s->checked, documents);
	if (next < 0)
		return;
	s->actors[actor].document = next;
	read_one(w, actor);
}

/* ---- steps ---- */

static void begin_edit(struct workload *w, int actor)
{
	struct policy_state *s = state_of(w);
	struct policy_actor *a = &s->actors[actor];
	a->document = (int)rng_below(&w->rng, DOCUMENTS);
	if (s->entries[a->document] + EDITORS < ENTRIES_MAX)
		read_one(w, actor);
	else
		rest(w, actor);
}

static void policy_step(struct workload *w, int actor)
{
	struct policy_state *s = state_of(w);
	workload_forget(w, actor);
	if (s->made <= DOCUMENTS && !w->sim->healed) {
		if (actor == 0)
			make(w);
		else
			rest(w, actor);
	} else if (actor == LAWMAKER) {
		w->actors[actor].done = s->made <= DOCUMENTS || s->kind == CHANGES_NOTHING ||
					(s->kind == CHANGES_MODE && w->sim->healed);
		if (!w->actors[actor].done && s->kind == CHANGES_MODE)
			change_mode(w);
		else if (!w->actors[actor].done)
			change(w);
	} else if (w->sim->healed) {
		last_look(w, actor);
	} else {
		begin_edit(w, actor);
	}
}

/* What was made on one disk only may be gone, if nothing that a quorum acknowledged went with it.
 */
static bool may_be_gone(const struct policy_state *s, int document)
{
	bool gone = !s->settled[document];
	for (int i = 0; i < s->entries[document]; i++)
		gone = gone && !s->acknowledged[document][i];
	return gone;
}

static void edit_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct policy_state *s = state_of(w);
	struct policy_actor *a = &s->actors[actor];
	if (a->step == POLICY_READ && answer->status == 200 && w->sim->healed && actor == 0 &&
	    is_over(w)) {
		check_tally(w, a->document, answer);
		a->step = POLICY_BEGIN;
		rest(w, actor);
	} else if (a->step == POLICY_READ && answer->status == 404 && w->sim->healed &&
		   may_be_gone(s, a->document)) {
		s->checked[a->document] = true;
		a->step = POLICY_BEGIN;
		rest(w, actor);
	} else if (a->step == POLICY_READ && answer->status == 200 && !w->sim->healed) {
		write_one(w, actor, answer);
	} else {
		if (a->step == POLICY_WRITE && (answer->status == 200 || answer->status == 201))
			s->acknowledged[a->document][a->entry] = true;
		else if (a->step == POLICY_WRITE && answer->status == 202)
			s->taken[a->document][a->entry] = true;
		rest(w, actor);
	}
}

static void policy_on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct policy_state *s = state_of(w);
	struct policy_actor *a = &s->actors[actor];
	if (!workload_answered(w, actor, answer))
		return;
	if (s->made <= DOCUMENTS) {
		/* what was there already was made by a request whose answer was lost; a 202 lies on
		 * one disk only, and may go with it */
		if (s->made > 0 && answer->status == 201)
			s->settled[s->made - 1] = true;
		s->made += workload_is_made(answer);
		workload_sleep(w, actor, RETRY_US);
	} else if (actor == LAWMAKER) {
		bool changed = a->step == POLICY_CHANGE && answer->status == 200;
		s->changes += changed;
		s->refused += answer->status == 409;
		if (changed)
			snprintf(s->law, sizeof s->law, "%s", answer->etag);
		w->actors[actor].done = changed && w->sim->healed;
		rest(w, actor);
	} else {
		edit_answer(w, actor, answer);
	}
}

static void policy_check(struct workload *w)
{
	struct policy_state *s = state_of(w);
	sim_log(w->sim, "policy: entries %d and %d, %d changes of policy, %d too late, %d tests",
		s->entries[0], s->entries[1], s->changes, s->refused, s->tests);
}

static void policy_start(struct workload *w)
{
	state_of(w)->kind = workload_below(w, CHANGES_KINDS);
	for (int i = 0; i < ACTORS; i++)
		workload_sleep(w, i, START_US);
}

const struct workload_ops policy_workload = {
    .name = "policy",
    .actors = ACTORS,
    .state_bytes = sizeof(struct policy_state),
    .one_in = 2,
    .start = policy_start,
    .step = policy_step,
    .on_answer = policy_on_answer,
    .check = policy_check,
};
