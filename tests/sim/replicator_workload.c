/* Clients that replicate: they make revisions of their own, know each other's, and push them with
 * their histories through any gateway, in batches, again and again until they are acknowledged, and
 * some of them once more. Now and then one writes as CouchDB's clients do, on a leaf that it names.
 *
 * Checked when all has healed:
 * - nothing that was pushed is missing, a gateway says
 * - where the policy leaves conflicts alone, the leaves are those of all that was pushed, a gateway
 *   says: nothing is there twice, nothing was made up; then a policy ends these conflicts
 * - on every replica each revision that was pushed is there, as a child of its parent */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/graph.h"
#include "common/doc/revision.h"
#include "storage-node/keys.h"
#include "tests/sim/records.h"
#include "tests/sim/workload.h"

enum {
	ACTORS = 3,
	DOCUMENTS = 5,
	MADE_MAX = 36, /* of a document: its graph is never stemmed */
	BATCH_MAX = 6,
	PUSHES = 24, /* of an actor */
	HASH_BYTES = REVISION_HASH_CHARS + 1,
	TIMEOUT_US = 9000000,
	RETRY_US = 250000
};

/* A revision as its maker knows it. */
struct made {
	int parent; /* index, or -1 */
	uint64_t generation;
	char hash[HASH_BYTES];
	bool deleted;
	bool acknowledged;
};

struct tree {
	struct made made[MADE_MAX];
	int count;
	bool unsure; /* a write on a leaf may have been done: nobody knows what it made */
};

enum replicator_step { STEP_PUSH, STEP_WRITE, STEP_DIFF, STEP_LEAVES, STEP_POLICY };

struct replicator {
	enum replicator_step step;
	struct {
		int tree;
		int made;
		int names; /* so many of its line are told, its own included */
	} batch[BATCH_MAX];
	int batch_count; /* 0: it has nothing to push */
	int pushes;
};

struct replicator_state {
	struct tree trees[DOCUMENTS];
	struct replicator actors[ACTORS];
	bool ready;
	bool none; /* policy */
	bool available;
	enum replicator_step last; /* of the first one, after the healing */
	int looked;                /* trees whose leaves were asked for */
	bool complete;
};

static struct replicator_state *state_of(struct workload *w)
{
	return w->state;
}

static bool is_leaf(const struct tree *tree, int made)
{
	for (int i = 0; i < tree->count; i++)
		if (tree->made[i].parent == made)
			return false;
	return true;
}

/* ---- revisions ---- */

/* On any that is known; 1: none is, or it has nothing to do with the others. */
static int make(struct workload *w, int actor, struct tree *tree)
{
	struct made *m = &tree->made[tree->count];
	bool root = tree->count == 0 || rng_below(&w->rng, 12) == 0;
	*m = (struct made){.parent = root ? -1 : (int)rng_below(&w->rng, (uint64_t)tree->count)};
	m->generation = root ? 1 : tree->made[m->parent].generation + 1;
	m->deleted = rng_below(&w->rng, 6) == 0;
	snprintf(m->hash, sizeof m->hash, "r%d-%d", actor, tree->count);
	return tree->count++;
}

/* All of its line, or only as much as connects it with what is there. */
static int names_of(struct workload *w, const struct tree *tree, int made)
{
	bool whole = rng_below(&w->rng, 2) == 0;
	int names = 1;
	for (int at = tree->made[made].parent; at >= 0; at = tree->made[at].parent) {
		names++;
		if (tree->made[at].acknowledged && !whole)
			break;
	}
	return names;
}

static void fill_batch(struct workload *w, int actor)
{
	struct replicator_state *s = state_of(w);
	struct replicator *a = &s->actors[actor];
	bool again = rng_below(&w->rng, 3) == 0;
	int count = (int)rng_between(&w->rng, 1, BATCH_MAX);
	a->batch_count = 0;
	a->step = STEP_PUSH;
	for (int i = 0; i < count; i++) {
		int t = (int)rng_below(&w->rng, DOCUMENTS);
		struct tree *tree = &s->trees[t];
		int made = -1;
		if (!again && tree->count < MADE_MAX)
			made = make(w, actor, tree);
		else if (tree->count > 0)
			made = (int)rng_below(&w->rng, (uint64_t)tree->count);
		if (made < 0)
			continue;
		a->batch[a->batch_count].tree = t;
		a->batch[a->batch_count].made = made;
		a->batch[a->batch_count++].names = names_of(w, tree, made);
	}
}

/* ---- asking ---- */

static void ask_collection(struct workload *w)
{
	struct replicator_state *s = state_of(w);
	struct sim_http *r = workload_request(w, 0, HTTP_POST, "/_/collections");
	buf_printf(&r->body,
		   "{\"name\":\"trees\",\"mode\":\"%s\",\"shards\":2,\"retainMs\":0,"
		   "\"policy\":{\"strategy\":\"%s\"}}",
		   s->available ? "available" : "consistent", s->none ? "none" : "newest");
	workload_ask(w, 0, r, TIMEOUT_US);
}

static void print_document(const struct tree *tree, int made, int names, int id, struct buf *out)
{
	const struct made *m = &tree->made[made];
	buf_printf(out, "{\"_id\":\"tree-%d\",\"_revisions\":{\"start\":%d,\"ids\":[", id,
		   (int)m->generation);
	for (int at = made; names > 0; names--, at = tree->made[at].parent)
		buf_printf(out, "%s\"%s\"", at == made ? "" : ",", tree->made[at].hash);
	buf_append_text(out, "]}");
	if (m->deleted)
		buf_append_text(out, ",\"_deleted\":true}");
	else
		buf_printf(out, ",\"made\":\"%s\"}", m->hash);
}

static void ask_push(struct workload *w, int actor)
{
	struct replicator_state *s = state_of(w);
	struct replicator *a = &s->actors[actor];
	struct sim_http *r = workload_couch_request(w, actor, HTTP_POST, "/trees/_bulk_docs");
	buf_append_text(&r->body, "{\"new_edits\":false,\"docs\":[");
	for (int i = 0; i < a->batch_count; i++) {
		if (i > 0)
			buf_append_byte(&r->body, ',');
		print_document(&s->trees[a->batch[i].tree], a->batch[i].made, a->batch[i].names,
			       a->batch[i].tree, &r->body);
	}
	buf_append_text(&r->body, "]}");
	workload_ask(w, actor, r, TIMEOUT_US);
}

/* On a leaf, as far as its writer knows. */
static void ask_write(struct workload *w, int actor)
{
	struct replicator_state *s = state_of(w);
	struct replicator *a = &s->actors[actor];
	int t = (int)rng_below(&w->rng, DOCUMENTS);
	struct tree *tree = &s->trees[t];
	int leaf = tree->count > 0 ? (int)rng_below(&w->rng, (uint64_t)tree->count) : -1;
	/* of what no gateway has acknowledged nobody knows */
	if (leaf < 0 || tree->count == MADE_MAX || !is_leaf(tree, leaf) ||
	    tree->made[leaf].deleted || !tree->made[leaf].acknowledged) {
		workload_sleep(w, actor, 1000);
		return;
	}
	a->step = STEP_WRITE;
	a->batch[0].tree = t;
	a->batch[0].made = leaf;
	struct sim_http *r = workload_couch_request(w, actor, HTTP_PUT, "");
	buf_printf(&r->path, "/trees/tree-%d", t);
	buf_printf(&r->body, "{\"_rev\":\"%d-%s\",\"by\":%d}", (int)tree->made[leaf].generation,
		   tree->made[leaf].hash, actor);
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void ask_diff(struct workload *w, int actor)
{
	struct replicator_state *s = state_of(w);
	struct sim_http *r = workload_couch_request(w, actor, HTTP_POST, "/trees/_revs_diff");
	s->actors[actor].step = STEP_DIFF;
	buf_append_byte(&r->body, '{');
	for (int t = 0; t < DOCUMENTS; t++) {
		const struct tree *tree = &s->trees[t];
		buf_printf(&r->body, "%s\"tree-%d\":[", t > 0 ? "," : "", t);
		for (int i = 0; i < tree->count; i++)
			buf_printf(&r->body, "%s\"%d-%s\"", i > 0 ? "," : "",
				   (int)tree->made[i].generation, tree->made[i].hash);
		buf_append_byte(&r->body, ']');
	}
	buf_append_byte(&r->body, '}');
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void ask_leaves(struct workload *w, int actor)
{
	struct replicator_state *s = state_of(w);
	struct sim_http *r = workload_couch_request(w, actor, HTTP_GET, "");
	s->actors[actor].step = STEP_LEAVES;
	buf_printf(&r->path, "/trees/tree-%d", s->looked);
	buf_append_text(&r->query, "open_revs=all");
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void ask_policy(struct workload *w, int actor)
{
	struct sim_http *r = workload_request(w, actor, HTTP_PATCH, "/_/collections/trees");
	state_of(w)->actors[actor].step = STEP_POLICY;
	buf_append_text(&r->body, "{\"policy\":{\"strategy\":\"newest\"}}");
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void ask_last(struct workload *w, int actor)
{
	struct replicator_state *s = state_of(w);
	if (s->last < STEP_LEAVES)
		ask_diff(w, actor);
	else if (s->last == STEP_LEAVES)
		ask_leaves(w, actor);
	else
		ask_policy(w, actor);
}

/* A write without an answer may still be done, too. */
static bool all_pushed(struct workload *w)
{
	for (int i = 0; i < ACTORS; i++)
		if (state_of(w)->actors[i].batch_count > 0 || w->actors[i].request != 0)
			return false;
	return true;
}

/* After all has healed only what was begun is brought to its end; then the first one asks. */
static void go_on(struct workload *w, int actor)
{
	struct replicator_state *s = state_of(w);
	struct replicator *a = &s->actors[actor];
	bool ends = w->sim->healed || a->pushes >= PUSHES;
	if (a->batch_count == 0 && !ends && rng_below(&w->rng, 4) == 0) {
		a->pushes++;
		ask_write(w, actor);
		return;
	}
	if (a->batch_count == 0 && !ends) {
		a->pushes++;
		fill_batch(w, actor);
	}
	if (a->batch_count > 0)
		ask_push(w, actor);
	else if (w->sim->healed && actor == 0 && !s->complete && all_pushed(w))
		ask_last(w, actor);
	else if (w->sim->healed && (actor > 0 || s->complete))
		w->actors[actor].done = true;
	else
		workload_sleep(w, actor, RETRY_US);
}

static void replicator_step(struct workload *w, int actor)
{
	struct replicator_state *s = state_of(w);
	struct replicator *a = &s->actors[actor];
	if (workload_give_up(w, actor) && s->ready && a->step == STEP_WRITE)
		s->trees[a->batch[0].tree].unsure = true;
	if (workload_is_opened(w, actor, s->ready, ask_collection, RETRY_US))
		go_on(w, actor);
}

/* ---- answers ---- */

/* What stands below it is there, too: it came with it. */
static void acknowledge(struct tree *tree, int made, int names)
{
	for (int at = made; at >= 0 && names > 0; names--, at = tree->made[at].parent)
		tree->made[at].acknowledged = true;
}

static void pushed(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct replicator_state *s = state_of(w);
	struct replicator *a = &s->actors[actor];
	if (answer->status == 503 || answer->status == 404 || answer->status == 507 ||
	    answer->status == 429)
		return;
	if (answer->status != 201 || !slice_is(buf_slice(&answer->body), "[]"))
		sim_violation(w->sim, "replicator: a push was answered %d %.*s", answer->status,
			      (int)answer->body.len, (const char *)answer->body.data);
	for (int i = 0; i < a->batch_count; i++)
		acknowledge(&s->trees[a->batch[i].tree], a->batch[i].made, a->batch[i].names);
	/* some of them once more */
	if (w->sim->healed || rng_below(&w->rng, 3) > 0)
		a->batch_count = 0;
}

/* One of its own, on the leaf; a 202 promises no name. */
static void wrote(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct replicator_state *s = state_of(w);
	const struct replicator *a = &s->actors[actor];
	struct tree *tree = &s->trees[a->batch[0].tree];
	struct revision made;
	if (answer->status == 409 || answer->status == 404)
		return;
	if (answer->status != 201 || tree->count == MADE_MAX ||
	    !revision_parse(slice_text(answer->etag), &made) || made.hash.len >= HASH_BYTES) {
		tree->unsure = true;
		return;
	}
	struct made *m = &tree->made[tree->count++];
	*m = (struct made){
	    .parent = a->batch[0].made, .generation = made.generation, .acknowledged = true};
	memcpy(m->hash, made.hash.data, made.hash.len);
}

static void compared(struct workload *w, const struct sim_answer *answer)
{
	struct replicator_state *s = state_of(w);
	if (answer->status != 200)
		return;
	s->last = STEP_LEAVES;
	s->complete = !s->none;
	if (!slice_is(buf_slice(&answer->body), "{}"))
		sim_violation(w->sim, "replicator: pushed and missing: %.*s", (int)answer->body.len,
			      (const char *)answer->body.data);
}

/* Those that the gateway names, against those that were made. */
static void check_leaves(struct workload *w, const struct tree *tree, const char *text)
{
	struct buf name = {0};
	uint32_t named = 0;
	uint32_t leaves = 0;
	for (const char *at = text; (at = strstr(at, "\"_rev\":")); at++)
		named++;
	for (int i = 0; i < tree->count; i++) {
		const struct made *m = &tree->made[i];
		buf_clear(&name);
		buf_printf(&name, "\"_rev\":\"%d-%s\"", (int)m->generation, m->hash);
		leaves += is_leaf(tree, i);
		if (is_leaf(tree, i) != (strstr(text, buf_cstr(&name)) != NULL))
			sim_violation(w->sim, "replicator: %s is %s leaf of %s", buf_cstr(&name),
				      is_leaf(tree, i) ? "no" : "a", text);
	}
	if (named != leaves)
		sim_violation(w->sim, "replicator: %u leaves, not %u: %s", named, leaves, text);
	buf_close(&name);
}

static void shown(struct workload *w, const struct sim_answer *answer)
{
	struct replicator_state *s = state_of(w);
	const struct tree *tree = &s->trees[s->looked];
	struct buf text = {0};
	bool there = answer->status == 200;
	if (!there && (answer->status != 404 || tree->count > 0))
		return;
	buf_append_slice(&text, buf_slice(&answer->body));
	if (there && !tree->unsure)
		check_leaves(w, tree, buf_cstr(&text));
	buf_close(&text);
	if (++s->looked == DOCUMENTS)
		s->last = STEP_POLICY;
}

static void replicator_on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct replicator_state *s = state_of(w);
	struct replicator *a = &s->actors[actor];
	if (!workload_answered(w, actor, answer))
		return;
	if (!s->ready)
		s->ready = answer->status < 300;
	else if (a->step == STEP_PUSH)
		pushed(w, actor, answer);
	else if (a->step == STEP_WRITE)
		wrote(w, actor, answer);
	else if (a->step == STEP_DIFF)
		compared(w, answer);
	else if (a->step == STEP_LEAVES)
		shown(w, answer);
	else
		s->complete = answer->status < 300;
	workload_rest(w, actor, 1 + w->sim->settings.think_max_ms);
}

/* ---- the end ---- */

static void check_tree(struct workload *w, const struct tree *tree, struct slice id,
		       const struct document *doc)
{
	for (int i = 0; i < tree->count; i++) {
		const struct made *m = &tree->made[i];
		struct revision name = {m->generation, slice_text(m->hash)};
		int found = graph_find(doc, &name);
		int parent = GRAPH_NONE;
		if (m->parent >= 0) {
			const struct made *p = &tree->made[m->parent];
			struct revision above = {p->generation, slice_text(p->hash)};
			parent = graph_find(doc, &above);
		}
		if (found == GRAPH_NONE ||
		    (m->parent >= 0 && (parent == GRAPH_NONE ||
					!graph_descends(doc, (uint32_t)found, (uint32_t)parent)))) {
			sim_violation(
			    w->sim, "replicator: %.*s: %d-%s is not there, or has lost its parent",
			    (int)id.len, (const char *)id.data, (int)m->generation, m->hash);
		}
	}
}

static void look_at_record(void *context, struct slice key, struct slice value)
{
	struct workload *w = context;
	struct document doc;
	struct slice id;
	struct slice rest;
	if (!key_split(key, &id, &rest) || rest.len > 0 || id.len != 6 ||
	    memcmp(id.data, "tree-", 5) != 0 ||
	    !schema_decode(&schema_document, value, &w->sim->arena, &doc))
		return;
	check_tree(w, &state_of(w)->trees[id.data[5] - '0'], id, &doc);
}

static void look_at_copy(void *context, const struct shard *shard, struct sim_node *node)
{
	each_document(node, shard->id, look_at_record, context);
}

static void replicator_check(struct workload *w)
{
	each_copy(w->sim, 0, look_at_copy, w);
}

static void replicator_start(struct workload *w)
{
	struct replicator_state *s = state_of(w);
	s->none = rng_below(&w->rng, 3) > 0;
	s->available = rng_below(&w->rng, 2) == 0;
}

const struct workload_ops replicator_workload = {
    .name = "replicator",
    .actors = ACTORS,
    .state_bytes = sizeof(struct replicator_state),
    .one_in = 5,
    .drawn = 2,
    .start = replicator_start,
    .start_ms = 300,
    .step = replicator_step,
    .on_answer = replicator_on_answer,
    .check = replicator_check,
};
