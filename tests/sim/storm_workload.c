/* A storm of conflicts: one document gets more than a thousand leaves, in a few seeds ten thousand.
 * Some clients push histories of their own in batches, others write branches on the first version,
 * each again until it is taken for good; one writes another document beside them. Then the conflict
 * gets a policy.
 *
 * Checked:
 * - each branch that was taken is there, a gateway says, before the policy
 * - the merge has what each of them brought, and was made in one step
 * - the other document is written, too
 * - what a turn puts on a disk is bounded, whatever the document has become */
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "common/doc/revision.h"
#include "tests/sim/workload.h"

enum {
	ASKER, /* makes all, writes the other document, asks in the end */
	PUSHERS = 2,
	WRITERS = 6,
	FIRST_WRITER = 1 + PUSHERS,
	ACTORS = FIRST_WRITER + WRITERS,
	BRANCHES_MAX = 10000,
	CHUNK_LEAST = 2500, /* else a copy of thousands takes a minute */
	BATCH_MAX = 300,
	NAMES_AT_ONCE = 1000,
	NAME_BYTES = 64,
	TURN_BYTES_MAX = 16 * 1024 * 1024,
	TIMEOUT_US = 9000000,
	RETRY_US = 250000
};

enum storm_step { MAKE, ROOT, OTHER, COMPARE, DECIDE, LOOK, HISTORY, END };

struct batch {
	int first;
	int count; /* 0: nothing to be done */
};

struct storm_state {
	enum storm_step step; /* of the asker */
	bool there;
	char root[NAME_BYTES]; /* first version; empty: not known */
	int total;
	int next; /* branches begun */
	int left; /* of them, not taken for good yet */
	int compared;
	bool others; /* the other document was written after the healing */
	struct batch batches[ACTORS];
	char names[BRANCHES_MAX][NAME_BYTES];
};

static struct storm_state *state_of(struct workload *w)
{
	return w->state;
}

static void pause(struct workload *w, int actor, int64_t most_ms)
{
	int64_t ms = w->sim->healed ? 50 : most_ms;
	workload_rest(w, actor, ms);
}

/* ---- branches ---- */

/* Its hash, for who pushes it: like a digest. */
static void name_of(const struct workload *w, int branch, char hash[17])
{
	snprintf(hash, 17, "%016llx",
		 (unsigned long long)XXH3_64bits_withSeed(&branch, sizeof branch,
							  w->sim->settings.seed));
}

static void take_more(struct workload *w, int actor)
{
	struct storm_state *s = state_of(w);
	struct batch *b = &s->batches[actor];
	int most = actor < FIRST_WRITER ? (int)rng_between(&w->rng, 1, BATCH_MAX) : 1;
	b->first = s->next;
	b->count = s->total - s->next < most ? s->total - s->next : most;
	s->next += b->count;
}

static void ask_push(struct workload *w, int actor)
{
	struct storm_state *s = state_of(w);
	const struct batch *b = &s->batches[actor];
	const char *root = strchr(s->root, '-') + 1;
	struct sim_http *r = workload_couch_request(w, actor, HTTP_POST, "/storm/_bulk_docs");
	buf_append_text(&r->body, "{\"new_edits\":false,\"docs\":[");
	for (int n = b->first; n < b->first + b->count; n++) {
		char hash[17];
		name_of(w, n, hash);
		buf_printf(&r->body,
			   "%s{\"_id\":\"d\",\"_revisions\":{\"start\":2,\"ids\":[\"%s\",\"%s\"]},"
			   "\"all\":[%d]}",
			   n > b->first ? "," : "", hash, root, n);
	}
	buf_append_text(&r->body, "]}");
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void ask_branch(struct workload *w, int actor)
{
	struct storm_state *s = state_of(w);
	int n = s->batches[actor].first;
	char text[NAME_BYTES + 2];
	struct sim_http *r = workload_request(w, actor, HTTP_PUT, "/storm/d");
	buf_append_text(&r->query, "branch=true");
	buf_printf(&r->body, "{\"all\":[%d]}", n);
	snprintf(text, sizeof text, "\"%s\"", s->root);
	workload_header(r, "if-match", text);
	snprintf(text, sizeof text, "storm-%d", n);
	workload_header(r, "idempotency-key", text);
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void branch_step(struct workload *w, int actor)
{
	struct storm_state *s = state_of(w);
	struct batch *b = &s->batches[actor];
	workload_give_up(w, actor);
	if (b->count == 0 && s->root[0])
		take_more(w, actor);
	if (b->count > 0 && actor < FIRST_WRITER)
		ask_push(w, actor);
	else if (b->count > 0)
		ask_branch(w, actor);
	else if (s->root[0] || w->sim->healed)
		w->actors[actor].done = true;
	else
		workload_sleep(w, actor, RETRY_US);
}

/* Nobody promises that one which is accepted, 202, outlives the only disk that has it: it is asked
 * for again. */
static void branch_answered(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct storm_state *s = state_of(w);
	struct batch *b = &s->batches[actor];
	bool pushes = actor < FIRST_WRITER;
	bool taken = pushes ? answer->status == 201 : answer->status == 200;
	if (!taken && answer->status != 202 && answer->status != 503 && answer->status != 404 &&
	    answer->status != 507 && answer->status != 429)
		sim_violation(w->sim, "storm: a branch was answered %d %.*s", answer->status,
			      (int)answer->body.len, (const char *)answer->body.data);
	if (taken && pushes && !slice_is(buf_slice(&answer->body), "[]"))
		sim_violation(w->sim, "storm: a push was refused: %.*s", (int)answer->body.len,
			      (const char *)answer->body.data);
	for (int n = b->first; taken && n < b->first + b->count; n++) {
		char hash[17];
		name_of(w, n, hash);
		if (pushes)
			snprintf(s->names[n], NAME_BYTES, "2-%s", hash);
		else
			snprintf(s->names[n], NAME_BYTES, "%.63s", answer->etag);
		s->left--;
	}
	if (taken)
		b->count = 0;
	pause(w, actor, pushes ? 4000 : 200);
}

/* ---- the asker ---- */

/* Nobody changes it before its first version is known. */
static void ask_root(struct workload *w)
{
	bool there = state_of(w)->there;
	struct sim_http *r = workload_request(w, ASKER, there ? HTTP_GET : HTTP_PUT, "/storm/d");
	if (!there) {
		buf_append_text(&r->body, "{\"all\":[]}");
		workload_header(r, "if-none-match", "*");
	}
	workload_ask(w, ASKER, r, TIMEOUT_US);
}

static void ask_other(struct workload *w)
{
	struct sim_http *r = workload_request(w, ASKER, HTTP_PUT, "/storm/other");
	buf_printf(&r->body, "{\"n\":%d}", state_of(w)->next);
	workload_ask(w, ASKER, r, TIMEOUT_US);
}

static void ask_compare(struct workload *w)
{
	struct storm_state *s = state_of(w);
	struct sim_http *r = workload_couch_request(w, ASKER, HTTP_POST, "/storm/_revs_diff");
	buf_append_text(&r->body, "{\"d\":[");
	for (int n = s->compared; n < s->total && n < s->compared + NAMES_AT_ONCE; n++)
		buf_printf(&r->body, "%s\"%s\"", n > s->compared ? "," : "", s->names[n]);
	buf_append_text(&r->body, "]}");
	workload_ask(w, ASKER, r, TIMEOUT_US);
}

static void ask_decide(struct workload *w)
{
	struct sim_http *r = workload_request(w, ASKER, HTTP_PATCH, "/_/collections/storm");
	buf_append_text(&r->body, "{\"policy\":{\"strategy\":\"merge\",\"fallback\":\"newest\","
				  "\"paths\":{\"all\":\"set\"}}}");
	workload_ask(w, ASKER, r, TIMEOUT_US);
}

static void ask_made(struct workload *w)
{
	struct sim_http *r = workload_request(w, ASKER, HTTP_POST, "/_/collections");
	buf_append_text(&r->body, "{\"name\":\"storm\",\"mode\":\"available\",\"retainMs\":0,"
				  "\"policy\":{\"strategy\":\"none\"}}");
	workload_ask(w, ASKER, r, TIMEOUT_US);
}

static void ask_look(struct workload *w)
{
	struct sim_http *r = workload_request(w, ASKER, HTTP_GET, "/storm/d");
	buf_append_text(&r->query, "conflicts=true");
	workload_ask(w, ASKER, r, TIMEOUT_US);
}

static void ask_history(struct workload *w)
{
	struct sim_http *r = workload_request(w, ASKER, HTTP_POST, "/system.resolutions/_query");
	buf_append_text(&r->body, "{\"query\":{\"collection\":\"storm\",\"documentId\":\"d\"}}");
	workload_ask(w, ASKER, r, TIMEOUT_US);
}

static void asker_step(struct workload *w)
{
	static void (*const asks[])(struct workload *) = {
	    [MAKE] = ask_made,       [ROOT] = ask_root,     [OTHER] = ask_other,
	    [COMPARE] = ask_compare, [DECIDE] = ask_decide, [LOOK] = ask_look,
	    [HISTORY] = ask_history,
	};
	struct storm_state *s = state_of(w);
	workload_give_up(w, ASKER);
	if (s->step == OTHER && s->left == 0 && s->others)
		s->step = COMPARE;
	if (s->step == END || (s->step < OTHER && w->sim->healed))
		w->actors[ASKER].done = true;
	else
		asks[s->step](w);
}

static void check_merge(struct workload *w, const char *text)
{
	struct storm_state *s = state_of(w);
	static bool there[BRANCHES_MAX];
	memset(there, 0, sizeof there);
	const char *at = strstr(text, "\"all\":[");
	for (at = at ? at + 7 : NULL; at && *at >= '0' && *at <= '9';) {
		char *end;
		unsigned long n = strtoul(at, &end, 10);
		if (n < BRANCHES_MAX)
			there[n] = true;
		at = end + (*end == ',');
	}
	int lacks = 0;
	int last = 0;
	for (int n = 0; n < s->total; n++) {
		lacks += !there[n];
		last = there[n] ? last : n;
	}
	if (lacks > 0)
		sim_violation(w->sim, "storm: the merge lacks what %d branches brought: %s", lacks,
			      s->names[last]);
}

static void count_steps(struct workload *w, const char *text)
{
	int steps = 0;
	for (const char *at = text; (at = strstr(at, "\"action\":\"resolved\"")); at++)
		steps++;
	if (steps != 1)
		sim_violation(w->sim, "storm: resolved in %d steps", steps);
}

/* One that comes after healing is left alone: who would write branches on it has gone. */
static void take_root(struct workload *w, const struct sim_answer *answer)
{
	struct storm_state *s = state_of(w);
	struct revision first;
	if (w->sim->healed)
		return;
	s->there |= answer->status == 412;
	bool is_first = revision_parse(slice_text(answer->etag), &first) && first.generation == 1;
	if ((answer->status == 200 || answer->status == 201) && is_first) {
		snprintf(s->root, sizeof s->root, "%.63s", answer->etag);
		s->step = OTHER;
	}
}

static void look_taken(struct workload *w, const char *text)
{
	if (strstr(text, "\"_conflicts\":[\""))
		return;
	check_merge(w, text);
	state_of(w)->step = HISTORY;
}

static void compared(struct storm_state *s, struct slice missing)
{
	if (slice_is(missing, "{}"))
		s->compared += NAMES_AT_ONCE;
	if (s->compared >= s->total)
		s->step = DECIDE;
}

static void asker_answered(struct workload *w, const struct sim_answer *answer)
{
	struct storm_state *s = state_of(w);
	struct buf text = {0};
	bool good = answer->status == 200 || answer->status == 201;
	buf_append_slice(&text, buf_slice(&answer->body));
	pause(w, ASKER, 1000);
	if (s->step == MAKE && (good || answer->status == 409)) {
		s->step = ROOT;
	} else if (s->step == ROOT) {
		take_root(w, answer);
	} else if (s->step == OTHER) {
		s->others |= good && w->sim->healed;
	} else if (s->step == COMPARE && good) {
		compared(s, buf_slice(&text));
	} else if (s->step == DECIDE && good) {
		s->step = LOOK;
	} else if (s->step == LOOK && good) {
		look_taken(w, buf_cstr(&text));
	} else if (s->step == HISTORY && good) {
		count_steps(w, buf_cstr(&text));
		s->step = END;
	}
	buf_close(&text);
}

/* ---- all ---- */

/* Where limits are lowered most is refused, and the greatest storm takes longer than a run may. */
static bool limits_are_lowered(const struct sim_settings *set)
{
	for (int i = 0; i < BOUNDS_COUNT; i++)
		if (set->bounds[i] > 0)
			return true;
	return false;
}

static void storm_start(struct workload *w)
{
	struct storm_state *s = state_of(w);
	const struct sim_settings *set = &w->sim->settings;
	bool slow = set->chunk_bytes > 0 && set->chunk_bytes < CHUNK_LEAST;
	bool great = rng_below(&w->rng, 30) == 0 && !limits_are_lowered(set) && !slow;
	s->total = great ? (int)rng_between(&w->rng, 4000, BRANCHES_MAX)
			 : (int)rng_between(&w->rng, 1100, 1500);
	s->left = s->total;
}

static void storm_step(struct workload *w, int actor)
{
	if (actor == ASKER)
		asker_step(w);
	else
		branch_step(w, actor);
}

static void storm_on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	if (!workload_answered(w, actor, answer))
		return;
	if (actor == ASKER)
		asker_answered(w, answer);
	else
		branch_answered(w, actor, answer);
}

static void storm_check(struct workload *w)
{
	for (int i = 0; i < w->sim->nodes_count; i++) {
		const struct sim_node *node = &w->sim->nodes[i];
		if (node->disk && disk_put_max(node->disk) > TURN_BYTES_MAX)
			sim_violation(w->sim, "storm: a turn of %s put %llu bytes", node->name,
				      (unsigned long long)disk_put_max(node->disk));
	}
}

const struct workload_ops storm_workload = {
    .name = "storm",
    .actors = ACTORS,
    .state_bytes = sizeof(struct storm_state),
    .one_in = 10,
    .start = storm_start,
    .start_ms = 300,
    .step = storm_step,
    .on_answer = storm_on_answer,
    .check = storm_check,
};
