/* Clients that count: increments of one document, of all that match, and collections of documents
 * made and deleted by query. Each operation puts its number into every document it changes, so
 * what was done twice, or only in part, is seen in the documents.
 *
 * Checked: {"changes":n} is exact; an operation that was answered stands in each of its documents
 * once; one that was refused in none; one without an answer in each at most once; a counter equals
 * the length of its list; what was deleted by query is gone. */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/json.h"
#include "common/doc/value.h"
#include "tests/sim/workload.h"

enum {
	ACTORS = 3,
	OPERATIONS = 40,
	DOCUMENTS_MAX = 240,
	ROUNDS_MOST = 20, /* that it may take to make them, at a second each */
	GROUPS = 3,
	TIMEOUT_US = 8000000,
	RETRY_US = 250000
};

enum count_kind { COUNT_ONE, COUNT_GROUP, COUNT_NONE, MAKE, REMOVE, GONE };

struct count_op {
	enum count_kind kind;
	int target; /* document, group, or the number of the MAKE */
	int documents;
	bool keyed;
	int status; /* 0: no answer */
	bool ended;
};

enum actor_stage { STAGE_COLLECTION, STAGE_DOCUMENTS, STAGE_WORK, STAGE_READ };

struct actor {
	enum actor_stage stage;
	int op; /* under way, or -1 */
	int attempts;
};

struct edit_state {
	struct actor actors[ACTORS];
	struct count_op ops[OPERATIONS + 2 * ACTORS];
	int count;
	int documents;
	bool ready;      /* the documents are there */
	struct buf list; /* JSON of all of them, at the end */
};

static struct edit_state *state_of(struct workload *w)
{
	return w->state;
}

/* ---- asking ---- */

static void think(struct workload *w, int actor)
{
	workload_rest(w, actor, w->sim->settings.think_max_ms);
}

static void post(struct workload *w, int actor, struct sim_http *r)
{
	state_of(w)->actors[actor].attempts++;
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void set_key(struct sim_http *r, const char *what, int number)
{
	char text[40];
	snprintf(text, sizeof text, "%s-%d", what, number);
	workload_header(r, "idempotency-key", text);
}

static void ask_collection(struct workload *w, int actor)
{
	struct sim_http *r = workload_request(w, actor, HTTP_POST, "/_/collections");
	buf_append_text(&r->body, "{\"name\":\"edits\",\"retainMs\":0}");
	post(w, actor, r);
}

static void ask_documents(struct workload *w, int actor)
{
	struct sim_http *r = workload_request(w, actor, HTTP_POST, "/edits");
	for (int i = 0; i < state_of(w)->documents; i++)
		buf_printf(&r->body, "%s{\"id\":\"e%d\",\"n\":0,\"g\":%d,\"log\":[]}",
			   i ? "," : "[", i, i % GROUPS);
	buf_append_text(&r->body, "]");
	set_key(r, "documents", 0);
	post(w, actor, r);
}

static void ask_list(struct workload *w, int actor)
{
	post(w, actor, workload_request(w, actor, HTTP_GET, "/edits"));
}

static void fill_count(struct sim_http *r, const struct count_op *op, int number)
{
	if (op->kind == COUNT_ONE)
		buf_printf(&r->path, "/e%d", op->target);
	else
		buf_printf(&r->query, "query={\"g\":%d}", op->target);
	workload_header(r, "content-type", "application/vnd.parley.update+json");
	buf_printf(&r->body, "{\"$inc\":{\"n\":1},\"$push\":{\"log\":%d}}", number);
}

static void ask_op(struct workload *w, int actor)
{
	static const enum http_method methods[] = {HTTP_PATCH, HTTP_PATCH,  HTTP_PATCH,
						   HTTP_POST,  HTTP_DELETE, HTTP_GET};
	int number = state_of(w)->actors[actor].op;
	const struct count_op *op = &state_of(w)->ops[number];
	struct sim_http *r = workload_request(w, actor, methods[op->kind], "/edits");
	if (op->kind == MAKE) {
		for (int i = 0; i < op->documents; i++)
			buf_printf(&r->body, "%s{\"id\":\"t%d-%d\",\"tag\":%d}", i ? "," : "[",
				   number, i, number);
		buf_append_text(&r->body, "]");
	} else if (op->kind == REMOVE) {
		buf_printf(&r->query, "query={\"tag\":%d}", op->target);
	} else if (op->kind == GONE) {
		buf_printf(&r->query, "count=true&query={\"tag\":%d}", op->target);
	} else {
		fill_count(r, op, number);
	}
	if (op->keyed)
		set_key(r, "op", number);
	post(w, actor, r);
}

/* ---- drawing ---- */

static void begin(struct workload *w, int actor, const struct count_op *op)
{
	struct edit_state *s = state_of(w);
	s->ops[s->count] = *op;
	s->actors[actor].op = s->count++;
	s->actors[actor].attempts = 0;
	ask_op(w, actor);
}

static int group_size(const struct edit_state *s, int group)
{
	return (s->documents - group + GROUPS - 1) / GROUPS;
}

static void draw(struct workload *w, int actor)
{
	struct edit_state *s = state_of(w);
	static const enum count_kind kinds[] = {COUNT_ONE,   COUNT_ONE,  COUNT_ONE, COUNT_GROUP,
						COUNT_GROUP, COUNT_NONE, MAKE};
	struct count_op op = {.kind = kinds[rng_below(&w->rng, ARRAY_LEN(kinds))]};
	op.keyed = rng_below(&w->rng, 2) == 0;
	op.target = (int)rng_below(&w->rng, (uint64_t)s->documents);
	op.documents = 1;
	if (op.kind == COUNT_GROUP) {
		op.target %= GROUPS;
		op.documents = group_size(s, op.target);
	} else if (op.kind == COUNT_NONE) {
		op.target = GROUPS;
		op.documents = 0;
	} else if (op.kind == MAKE) {
		op.keyed = true;
		op.documents = (int)rng_between(&w->rng, 2, 30);
	}
	begin(w, actor, &op);
}

/* What was made is removed by the same actor, which then looks. */
static bool follow_up(struct workload *w, int actor)
{
	struct edit_state *s = state_of(w);
	int number = s->actors[actor].op;
	const struct count_op *op = &s->ops[number];
	if (op->kind != MAKE && op->kind != REMOVE)
		return false;
	struct count_op next = {.kind = op->kind == MAKE ? REMOVE : GONE,
				.target = op->kind == MAKE ? number : op->target,
				.documents = op->documents,
				.keyed = op->kind == MAKE};
	begin(w, actor, &next);
	return true;
}

/* ---- steps ---- */

static void work(struct workload *w, int actor)
{
	struct edit_state *s = state_of(w);
	struct actor *a = &s->actors[actor];
	if (!s->ready) {
		think(w, actor);
	} else if (w->sim->healed || s->count >= OPERATIONS) {
		a->stage = STAGE_READ;
		w->actors[actor].done = actor > 0;
		if (actor == 0)
			think(w, actor);
	} else {
		draw(w, actor);
	}
}

/* No answer in time: with a key, and where nothing is written, it is asked again. */
static bool may_repeat(const struct edit_state *s, const struct actor *a)
{
	if (a->stage != STAGE_WORK)
		return true;
	const struct count_op *op = &s->ops[a->op];
	return op->keyed || op->kind == GONE;
}

static void edit_step(struct workload *w, int actor)
{
	struct edit_state *s = state_of(w);
	struct actor *a = &s->actors[actor];
	workload_give_up(w, actor);
	if (a->op >= 0 && !may_repeat(s, a))
		a->op = -1;
	if (a->stage == STAGE_COLLECTION)
		ask_collection(w, actor);
	else if (a->stage == STAGE_DOCUMENTS)
		ask_documents(w, actor);
	else if (a->stage == STAGE_READ && w->sim->healed &&
		 workload_are_done(w, 1, ACTORS - 1, NULL))
		ask_list(w, actor);
	else if (a->stage == STAGE_READ)
		think(w, actor);
	else if (a->op >= 0)
		ask_op(w, actor);
	else
		work(w, actor);
}

/* ---- answers ---- */

static bool contains(const struct buf *body, const char *text)
{
	return memmem(body->data, body->len, text, strlen(text)) != NULL;
}

static void check_count(struct workload *w, int number, const struct buf *body)
{
	const struct count_op *op = &state_of(w)->ops[number];
	char expected[48];
	if (op->kind == MAKE || op->kind == COUNT_ONE)
		return;
	if (op->kind == GONE)
		snprintf(expected, sizeof expected, "{\"documentCount\":0}");
	else
		snprintf(expected, sizeof expected, "{\"changes\":%d}", op->documents);
	if (!slice_is(buf_slice(body), expected))
		sim_violation(w->sim, "edit %d: %.*s, not %s", number, (int)body->len,
			      (const char *)body->data, expected);
}

static void op_answered(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct edit_state *s = state_of(w);
	struct actor *a = &s->actors[actor];
	struct count_op *op = &s->ops[a->op];
	bool partly = op->kind == MAKE && contains(&answer->body, "\"error\"");
	if (answer->status >= 500 || partly) {
		if (!may_repeat(s, a))
			a->op = -1;
		workload_sleep(w, actor, RETRY_US);
		return;
	}
	op->status = answer->status;
	op->ended = true;
	if (answer->status >= 300)
		sim_violation(w->sim, "edit %d of kind %d refused: %.*s", a->op, op->kind,
			      (int)answer->body.len, (const char *)answer->body.data);
	else
		check_count(w, a->op, &answer->body);
	if (follow_up(w, actor))
		return;
	a->op = -1;
	think(w, actor);
}

static void edit_on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct edit_state *s = state_of(w);
	struct actor *a = &s->actors[actor];
	if (!workload_answered(w, actor, answer))
		return;
	bool fine = answer->status < 300 && !contains(&answer->body, "\"error\"");
	if (a->stage == STAGE_WORK && a->op >= 0) {
		op_answered(w, actor, answer);
		return;
	}
	workload_sleep(w, actor, RETRY_US);
	if (!fine)
		return;
	if (a->stage == STAGE_COLLECTION) {
		a->stage = STAGE_DOCUMENTS;
	} else if (a->stage == STAGE_DOCUMENTS) {
		a->stage = STAGE_WORK;
		s->ready = true;
	} else if (a->stage == STAGE_READ) {
		buf_append_slice(&s->list, buf_slice(&answer->body));
		w->actors[actor].done = true;
	}
}

/* ---- life ---- */

/* Where few answers can wait, so few documents are made each time that all are asked for. */
static int documents_most(const struct workload *w)
{
	int rows = (int)w->sim->settings.bounds[BOUND_waiters];
	return rows > 0 && rows * ROUNDS_MOST < DOCUMENTS_MAX ? rows * ROUNDS_MOST : DOCUMENTS_MAX;
}

static void edit_start(struct workload *w)
{
	struct edit_state *s = state_of(w);
	s->documents = (int)rng_between(&w->rng, 3, rng_below(&w->rng, 3) ? 20 : documents_most(w));
	for (int i = 0; i < ACTORS; i++) {
		s->actors[i].op = -1;
		s->actors[i].stage = i == 0 ? STAGE_COLLECTION : STAGE_WORK;
	}
}

static void edit_free(struct workload *w)
{
	buf_close(&state_of(w)->list);
}

/* ---- the documents at the end ---- */

static bool changes_document(const struct count_op *op, int document)
{
	return (op->kind == COUNT_ONE && op->target == document) ||
	       (op->kind == COUNT_GROUP && op->target == document % GROUPS);
}

static uint64_t number_of(struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	struct mp_token t = mp_read(&r);
	return t.type == MP_UINT ? t.u64 : UINT64_MAX;
}

static void check_document(struct workload *w, int document, struct slice body)
{
	struct edit_state *s = state_of(w);
	int seen[OPERATIONS + 2 * ACTORS] = {0};
	struct mp_reader r = mp_reader_of(value_member(body, slice_text("log")));
	uint32_t length = mp_read(&r).count;
	for (uint32_t i = 0; i < length; i++) {
		uint64_t number = number_of(mp_value(&r));
		if (number < (uint64_t)s->count)
			seen[number]++;
		else
			sim_violation(w->sim, "e%d: unknown entry in its list", document);
	}
	if (number_of(value_member(body, slice_text("n"))) != length)
		sim_violation(w->sim, "e%d: its counter is not the length of its list", document);
	for (int i = 0; i < s->count; i++) {
		bool may = changes_document(&s->ops[i], document);
		if (seen[i] > may || seen[i] < (may && s->ops[i].ended))
			sim_violation(w->sim, "e%d: edit %d stands in it %d times (status %d)",
				      document, i, seen[i], s->ops[i].status);
	}
}

static void edit_check(struct workload *w)
{
	struct edit_state *s = state_of(w);
	struct json_parser *parser = json_parser_new();
	struct json_error error;
	struct buf all = {0};
	CHECK(json_to_msgpack(parser, buf_slice(&s->list), &all, &error));
	struct mp_reader r = mp_reader_of(buf_slice(&all));
	uint32_t count = mp_read(&r).count;
	int found = 0;
	for (uint32_t i = 0; i < count; i++) {
		struct slice body = mp_value(&r);
		struct mp_reader id = mp_reader_of(value_member(body, slice_text("id")));
		struct slice name = mp_read(&id).bytes;
		if (name.len == 0 || name.data[0] != 'e')
			continue; /* made, and not removed before the end */
		int document = 0;
		for (size_t k = 1; k < name.len; k++)
			document = document * 10 + (name.data[k] - '0');
		check_document(w, document, body);
		found++;
	}
	if (found != s->documents)
		sim_violation(w->sim, "edits: %d documents of %d", found, s->documents);
	buf_close(&all);
	json_parser_free(parser);
}

const struct workload_ops edit_workload = {
    .name = "edit",
    .actors = ACTORS,
    .state_bytes = sizeof(struct edit_state),
    .one_in = 2,
    .start = edit_start,
    .start_ms = 300,
    .step = edit_step,
    .on_answer = edit_on_answer,
    .check = edit_check,
    .free = edit_free,
};
