/* Clients that push versions as replicators do, sometimes two beside each other, and then have some
 * of them, or all, taken out for good (_purge), asking as long as they are not answered.
 *
 * Checked, on the disk of each replica in the end:
 * - of a document that was erased nothing is left, nor of a version that was
 * - a document of which nothing was erased is there
 * Where a client does not know whether a version was taken, it leaves that document alone. */
#include <stdio.h>
#include <stdlib.h>

#include "common/doc/graph.h"
#include "storage-node/keys.h"
#include "tests/sim/records.h"
#include "tests/sim/workload.h"

enum {
	ACTORS = 3,
	DOCUMENTS = 12, /* of an actor */
	REVS_MAX = 16,
	TIMEOUT_US = 9000000,
	RETRY_US = 250000
};

enum erase_step {
	ERASE_MAKE,
	ERASE_EDIT,
	ERASE_BRANCH,
	ERASE_LOOK,
	ERASE_ALL,
	ERASE_ONE,
	ERASE_SETTLE
};
/* What a document must be in the end. */
enum erase_fate { FATE_UNKNOWN, FATE_THERE, FATE_GONE, FATE_HALF };

struct erase_actor {
	enum erase_step step;
	int document;
	struct buf revs; /* that are to go: "1-a","2-b" */
};

struct erase_state {
	struct erase_actor actors[ACTORS];
	enum erase_fate fates[ACTORS][DOCUMENTS];
	bool seen[ACTORS][DOCUMENTS];
	bool ready, resolves;
	uint64_t collection;
};

static struct erase_state *state_of(struct workload *w)
{
	return w->state;
}

/* ---- asking ---- */

static void ask_collection(struct workload *w)
{
	struct erase_state *s = state_of(w);
	struct sim_http *r = workload_request(w, 0, HTTP_POST, "/_/collections");
	buf_printf(&r->body,
		   "{\"name\":\"erase\",\"shards\":2,\"retainMs\":0,\"keepAncestors\":3,"
		   "\"policy\":{\"strategy\":\"%s\"}}",
		   s->resolves ? "newest" : "none");
	workload_ask(w, 0, r, TIMEOUT_US);
}

static void ask_push(struct workload *w, int actor)
{
	static const char *const lines[] = {"1,\"ids\":[\"a\"]", "2,\"ids\":[\"b\",\"a\"]",
					    "2,\"ids\":[\"c\",\"a\"]"};
	struct erase_actor *a = &state_of(w)->actors[actor];
	struct sim_http *r = workload_couch_request(w, actor, HTTP_POST, "/erase/_bulk_docs");
	CHECK((size_t)a->step < ARRAY_LEN(lines));
	buf_printf(&r->body,
		   "{\"new_edits\":false,\"docs\":[{\"_id\":\"e%d-%d\",\"step\":%d,"
		   "\"_revisions\":{\"start\":%s}}]}",
		   actor, a->document, (int)a->step, lines[a->step]);
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void ask_leaves(struct workload *w, int actor)
{
	struct erase_actor *a = &state_of(w)->actors[actor];
	struct sim_http *r = workload_couch_request(w, actor, HTTP_GET, "");
	buf_printf(&r->path, "/erase/e%d-%d", actor, a->document);
	buf_append_text(&r->query, "open_revs=all");
	workload_header(r, "accept", "application/json");
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void ask_purge(struct workload *w, int actor)
{
	struct erase_actor *a = &state_of(w)->actors[actor];
	struct sim_http *r = workload_couch_request(w, actor, HTTP_POST, "/erase/_purge");
	buf_printf(&r->body, "{\"e%d-%d\":[", actor, a->document);
	buf_append_slice(&r->body, buf_slice(&a->revs));
	buf_append_text(&r->body, "]}");
	workload_ask(w, actor, r, TIMEOUT_US);
}

/* Conflicts that were left alone are to be resolved in the end. */
static void ask_policy(struct workload *w)
{
	struct sim_http *r = workload_request(w, 0, HTTP_PATCH, "/_/collections/erase");
	buf_append_text(&r->body, "{\"policy\":{\"strategy\":\"newest\"}}");
	workload_ask(w, 0, r, TIMEOUT_US);
}

/* ---- one after the other ---- */

static void next_document(struct workload *w, int actor, enum erase_fate fate)
{
	struct erase_state *s = state_of(w);
	struct erase_actor *a = &s->actors[actor];
	s->fates[actor][a->document++] = fate;
	a->step = ERASE_MAKE;
	if (a->document < DOCUMENTS && !w->sim->healed)
		return;
	w->actors[actor].done = actor > 0;
	a->step = ERASE_SETTLE;
}

static void erase_one(struct workload *w, int actor, const struct erase_actor *a)
{
	if (a->step == ERASE_LOOK)
		ask_leaves(w, actor);
	else if (a->step == ERASE_ALL || a->step == ERASE_ONE)
		ask_purge(w, actor);
	else if (a->step == ERASE_SETTLE && workload_are_done(w, 1, ACTORS - 1, NULL))
		ask_policy(w);
	else if (a->step == ERASE_SETTLE)
		workload_sleep(w, actor, RETRY_US);
	else
		ask_push(w, actor);
}

static void erase_step(struct workload *w, int actor)
{
	const struct erase_state *s = state_of(w);
	const struct erase_actor *a = &s->actors[actor];
	bool lost = workload_give_up(w, actor);
	if (!workload_is_opened(w, actor, s->ready, ask_collection, RETRY_US))
		return;
	if (lost && a->step <= ERASE_BRANCH) /* nobody knows what became of it */
		next_document(w, actor, FATE_UNKNOWN);
	if (!w->actors[actor].done)
		erase_one(w, actor, a);
}

/* What is to become of a document whose versions are all there. */
static void decide(struct workload *w, int actor)
{
	struct erase_state *s = state_of(w);
	struct erase_actor *a = &s->actors[actor];
	bool branched = a->step == ERASE_BRANCH;
	uint64_t wish = rng_below(&w->rng, 4);
	buf_clear(&a->revs);
	if (wish == 0) {
		next_document(w, actor, FATE_THERE);
	} else if (wish == 1 && branched && !s->resolves) {
		buf_append_text(&a->revs, "\"2-c\"");
		a->step = ERASE_ONE;
	} else {
		a->step = ERASE_LOOK;
	}
}

/* All versions that the answer names; false: there are none. */
static bool take_revs(struct erase_actor *a, const struct sim_answer *answer)
{
	static const char name[] = "\"_rev\":";
	struct slice rest = buf_slice(&answer->body);
	buf_clear(&a->revs);
	for (int i = 0; i < REVS_MAX && rest.len > 0; i++) {
		const uint8_t *at = memmem(rest.data, rest.len, name, sizeof name - 1);
		if (!at)
			break;
		at += sizeof name - 1;
		size_t left = rest.len - (size_t)(at - rest.data);
		const uint8_t *end = left > 1 ? memchr(at + 1, '"', left - 1) : NULL;
		if (!end)
			break;
		if (a->revs.len > 0)
			buf_append_byte(&a->revs, ',');
		buf_append(&a->revs, at, (size_t)(end + 1 - at));
		rest = slice_of(end + 1, left - (size_t)(end + 1 - at));
	}
	return a->revs.len > 0;
}

static void advance(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct erase_actor *a = &state_of(w)->actors[actor];
	bool good = answer->status == 200 || answer->status == 201;
	bool refused = answer->body.len > 2; /* rows of what was not taken */
	if (a->step == ERASE_LOOK) {
		if (good && take_revs(a, answer))
			a->step = ERASE_ALL;
		else if (good || answer->status == 404)
			next_document(w, actor, FATE_GONE);
	} else if (a->step == ERASE_ALL) {
		a->step = ERASE_LOOK; /* a resolution may have come in between */
	} else if (a->step == ERASE_SETTLE) {
		w->actors[actor].done = good;
	} else if (a->step == ERASE_ONE) {
		if (good)
			next_document(w, actor, FATE_HALF);
	} else if (!good || refused) {
		next_document(w, actor, FATE_UNKNOWN);
	} else if (a->step == ERASE_MAKE) {
		a->step = ERASE_EDIT;
	} else if (a->step == ERASE_EDIT && rng_below(&w->rng, 2) == 0) {
		a->step = ERASE_BRANCH;
	} else {
		decide(w, actor);
	}
}

static void erase_on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct erase_state *s = state_of(w);
	if (!workload_answered(w, actor, answer))
		return;
	int64_t pause_us = rng_between(&w->rng, 1, 1 + w->sim->settings.think_max_ms) * 1000;
	if (s->ready) {
		advance(w, actor, answer);
	} else if (answer->status >= 200 && answer->status < 300) {
		s->collection = workload_collection_id(buf_slice(&answer->body));
		s->ready = s->collection != 0;
	}
	if (!w->actors[actor].done)
		workload_sleep(w, actor, pause_us);
}

static void erase_start(struct workload *w)
{
	struct erase_state *s = state_of(w);
	s->resolves = rng_below(&w->rng, 2) == 0;
}

/* ---- the end ---- */

static bool which(struct slice id, int *actor, int *document)
{
	char text[24];
	char *end;
	if (id.len < 4 || id.len >= sizeof text || id.data[0] != 'e')
		return false;
	memcpy(text, id.data, id.len);
	text[id.len] = 0;
	*actor = (int)strtol(text + 1, &end, 10);
	*document = *end == '-' ? (int)strtol(end + 1, NULL, 10) : -1;
	return *actor >= 0 && *actor < ACTORS && *document >= 0 && *document < DOCUMENTS;
}

static bool tells_of(struct sim *sim, struct slice rest, struct slice value, const char *rev)
{
	struct document doc;
	struct revision name = {2, slice_text("c")};
	if (rest.len > 0)
		return memmem(rest.data, rest.len, rev, strlen(rev)) != NULL;
	return schema_decode(&schema_document, value, &sim->arena, &doc) &&
	       graph_find(&doc, &name) != GRAPH_NONE;
}

static void look_at(void *context, struct slice key, struct slice value)
{
	struct workload *w = context;
	struct erase_state *s = state_of(w);
	struct slice id, rest;
	int actor, document;
	if (!key_split(key, &id, &rest) || !which(id, &actor, &document))
		return;
	enum erase_fate fate = s->fates[actor][document];
	s->seen[actor][document] |= rest.len == 0;
	if (fate == FATE_GONE)
		sim_violation(w->sim, "erase: something is left of %.*s", (int)id.len,
			      (const char *)id.data);
	if (fate == FATE_HALF && tells_of(w->sim, rest, value, "2-c"))
		sim_violation(w->sim, "erase: 2-c is left of %.*s", (int)id.len,
			      (const char *)id.data);
}

static void look_at_copy(void *context, const struct shard *shard, struct sim_node *node)
{
	each_document(node, shard->id, look_at, context);
}

static void erase_check(struct workload *w)
{
	const struct erase_state *s = state_of(w);
	uint32_t gone = 0;
	if (!s->ready)
		return;
	each_copy(w->sim, s->collection, look_at_copy, w);
	for (int a = 0; a < ACTORS; a++)
		for (int d = 0; d < DOCUMENTS; d++) {
			enum erase_fate fate = s->fates[a][d];
			gone += fate == FATE_GONE || fate == FATE_HALF;
			if (fate != FATE_UNKNOWN && fate != FATE_GONE && !s->seen[a][d])
				sim_violation(w->sim, "erase: e%d-%d is not there", a, d);
		}
	sim_log(w->sim, "erase: %u documents", gone);
}

static void erase_free(struct workload *w)
{
	struct erase_state *s = state_of(w);
	for (int i = 0; i < ACTORS; i++)
		buf_close(&s->actors[i].revs);
}

const struct workload_ops erase_workload = {
    .name = "erase",
    .actors = ACTORS,
    .state_bytes = sizeof(struct erase_state),
    .one_in = 4,
    .drawn = 2,
    .start = erase_start,
    .start_ms = 400,
    .step = erase_step,
    .on_answer = erase_on_answer,
    .check = erase_check,
    .free = erase_free,
};
