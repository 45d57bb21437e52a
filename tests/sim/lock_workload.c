/* Clients that lock: they read and write under their locks, let them expire, forget them, hang up;
 * others write without one. Checked, in the order that the revisions of each document give:
 *
 * - exclusion: no write of anybody else's lies between the first and the last write of a hold where
 *   both touch the same; what was read under a lock is what the next write replaces
 *
 * - fencing: of writes that touch the same, those under locks have tokens that never fall
 *
 * - lifetime: no lease of its own ends before its time
 *
 * - tokens: each grant has its own; one asked for after another was answered has a greater one
 *
 * - the end: no lock stays on any disk (checker.c) */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "tests/sim/workload.h"

enum {
	ACTORS = 5,
	DOCUMENTS = 3,
	FIELDS = 3,
	OPS_MAX = 2000,
	HOLDS_MAX = 1000,
	OPS_PER_SEED = 250,
	TIMEOUT_US = 20 * 1000 * 1000,
	RELEASE_TRIES = 10,
	WHOLE = -1 /* of a document: all its fields; of a collection: all its documents */
};

#define COLLECTION "locked"

enum step { IDLE, ACQUIRE, READ, WRITE, RELEASE, FOREIGN };

struct hold {
	char id[40];
	uint64_t token;
	int document;   /* or WHOLE */
	int field;      /* or WHOLE */
	int64_t ttl_ms; /* 0: it has a session, which may end any time */
	int64_t asked_us;
	int64_t granted_us; /* 0: never */
};

struct op {
	int hold; /* index; -1: nobody's */
	int document;
	int field;
	uint64_t generation; /* of what it made; 0: unknown, or nothing */
	int64_t read;        /* generation read before, under the lock; -1: none */
};

struct actor {
	enum step step;
	uint64_t acquire; /* the request that the hold came by, and its connection */
	int hold;
	int op; /* the write asked for last */
	int document;
	int64_t read;
	int writes_left;
	int tries;
	bool session;
};

struct state {
	struct actor actors[ACTORS];
	struct hold holds[HOLDS_MAX];
	struct op ops[OPS_MAX];
	int holds_count;
	int ops_count;
};

static struct state *state_of(struct workload *w)
{
	return w->state;
}

static void sleep_ms(struct workload *w, int actor, int64_t ms)
{
	workload_forget(w, actor);
	workload_sleep(w, actor, ms * 1000);
}

static void start(struct workload *w)
{
	for (int i = 0; i < ACTORS; i++)
		sleep_ms(w, i, 2000 + workload_below(w, 500));
}

/* ---- what they ask ---- */

static void key_print(const struct hold *h, struct buf *out)
{
	buf_append_text(out, COLLECTION);
	if (h->document != WHOLE)
		buf_printf(out, "/d%d", h->document);
	if (h->field != WHOLE)
		buf_printf(out, "/f%d", h->field);
}

static void send_acquire(struct workload *w, int actor)
{
	struct state *s = state_of(w);
	struct actor *a = &s->actors[actor];
	struct hold *h = &s->holds[s->holds_count];
	struct buf key = {0};
	*h = (struct hold){
	    .document = workload_below(w, DOCUMENTS), .field = WHOLE, .asked_us = w->sim->now_us};
	a->hold = s->holds_count++;
	if (workload_below(w, 6) == 0)
		h->document = WHOLE;
	else if (workload_below(w, 3) == 0)
		h->field = workload_below(w, FIELDS);
	a->step = ACQUIRE;
	a->session = workload_below(w, 3) == 0;
	struct sim_http *r = workload_request(w, actor, HTTP_POST, "/_/locks");
	int64_t ttl_ms = a->session && workload_below(w, 2) ? 0 : 1000 + workload_below(w, 14000);
	h->ttl_ms = a->session ? 0 : ttl_ms;
	key_print(h, &key);
	buf_printf(&r->body, "{\"keys\":[\"%s\"],\"ttlMs\":%lld,\"waitMs\":%d%s}", buf_cstr(&key),
		   (long long)ttl_ms, workload_below(w, 4) ? 8000 : 0,
		   a->session ? ",\"session\":\"connection\"" : "");
	buf_close(&key);
	a->acquire = workload_ask(w, actor, r, TIMEOUT_US);
	if (workload_below(w, 5) == 0) /* an impatient one */
		workload_sleep(w, actor, (300 + workload_below(w, 3000)) * 1000);
}

static struct sim_http *document_request(struct workload *w, int actor, enum http_method method,
					 int document)
{
	char path[64];
	snprintf(path, sizeof path, "/" COLLECTION "/d%d", document);
	return workload_request(w, actor, method, path);
}

static void send_read(struct workload *w, int actor)
{
	struct actor *a = &state_of(w)->actors[actor];
	a->step = READ;
	workload_ask(w, actor, document_request(w, actor, HTTP_GET, a->document), TIMEOUT_US);
}

static struct op *op_add(struct state *s, struct actor *a, int hold, int document, int field)
{
	struct op *op = &s->ops[s->ops_count];
	a->op = s->ops_count++;
	*op = (struct op){.hold = hold, .document = document, .field = field, .read = -1};
	return op;
}

static struct sim_http *write_request(struct workload *w, int actor, const struct op *op)
{
	int number = state_of(w)->ops_count;
	bool whole = op->field == WHOLE;
	struct sim_http *r =
	    document_request(w, actor, whole ? HTTP_PUT : HTTP_PATCH, op->document);
	if (whole)
		buf_printf(&r->body, "{\"f0\":%d,\"f1\":%d,\"f2\":%d}", number, number, number);
	else
		buf_printf(&r->body, "{\"f%d\":%d}", op->field, number);
	workload_header(r, "content-type",
			whole ? "application/json" : "application/merge-patch+json");
	return r;
}

static void send_write(struct workload *w, int actor)
{
	struct state *s = state_of(w);
	struct actor *a = &s->actors[actor];
	const struct hold *h = &s->holds[a->hold];
	struct op *op = op_add(s, a, a->hold, a->document, h->field);
	op->read = h->field == WHOLE ? a->read : -1;
	struct sim_http *r = write_request(w, actor, op);
	workload_header(r, "x-lock-id", h->id);
	a->step = WRITE;
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void send_foreign(struct workload *w, int actor)
{
	struct state *s = state_of(w);
	int field = workload_below(w, 2) ? WHOLE : workload_below(w, FIELDS);
	struct op *op = op_add(s, &s->actors[actor], -1, workload_below(w, DOCUMENTS), field);
	struct sim_http *r = write_request(w, actor, op);
	workload_header(r, "x-lock-strategy", workload_below(w, 2) ? "fail" : "wait");
	s->actors[actor].step = FOREIGN;
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void send_release(struct workload *w, int actor)
{
	struct state *s = state_of(w);
	struct actor *a = &s->actors[actor];
	char path[80];
	snprintf(path, sizeof path, "/_/locks/%s", s->holds[a->hold].id);
	a->step = RELEASE;
	a->tries++;
	workload_ask(w, actor, workload_request(w, actor, HTTP_DELETE, path), TIMEOUT_US);
}

/* ---- what they do next ---- */

static void rest(struct workload *w, int actor)
{
	struct state *s = state_of(w);
	struct actor *a = &s->actors[actor];
	a->step = IDLE;
	w->actors[actor].done = w->sim->healed || s->ops_count >= OPS_PER_SEED;
	if (!w->actors[actor].done)
		sleep_ms(w, actor, 1 + workload_below(w, 800));
}

/* Some forget their lock, which ends by its lifetime. Those with a session end their connection. */
static void let_go(struct workload *w, int actor)
{
	struct actor *a = &state_of(w)->actors[actor];
	a->tries = 0;
	if (a->session)
		workload_hang_up(w, a->acquire);
	if (a->session || workload_below(w, 6) == 0)
		rest(w, actor);
	else
		send_release(w, actor);
}

static void begin(struct workload *w, int actor)
{
	struct state *s = state_of(w);
	if (w->sim->healed || s->ops_count >= OPS_PER_SEED || s->holds_count == HOLDS_MAX)
		rest(w, actor);
	else if (workload_below(w, 3) > 0)
		send_acquire(w, actor);
	else
		send_foreign(w, actor);
}

static void go_on(struct workload *w, int actor)
{
	struct state *s = state_of(w);
	struct actor *a = &s->actors[actor];
	if (a->writes_left-- <= 0 || s->ops_count >= OPS_MAX - ACTORS)
		let_go(w, actor);
	else
		send_read(w, actor);
}

static void give_up(struct workload *w, int actor)
{
	struct actor *a = &state_of(w)->actors[actor];
	if (a->step == ACQUIRE)
		workload_hang_up(w, a->acquire);
	rest(w, actor);
}

/* The time is over: an idle one begins, a thoughtful one writes, any other has had no answer. */
static void step(struct workload *w, int actor)
{
	struct actor *a = &state_of(w)->actors[actor];
	if (a->step == IDLE)
		begin(w, actor);
	else if (a->step == WRITE && w->actors[actor].request == 0)
		send_write(w, actor);
	else if (a->step == RELEASE && a->tries < RELEASE_TRIES)
		send_release(w, actor);
	else if (a->step == READ || a->step == WRITE)
		let_go(w, actor);
	else
		give_up(w, actor);
}

/* ---- what they are answered ---- */

static uint64_t number_after(const char *text, const char *name)
{
	const char *at = strstr(text, name);
	return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

static uint64_t generation_of(const struct sim_answer *answer)
{
	return strtoull(answer->etag, NULL, 10);
}

static void acquired(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct state *s = state_of(w);
	struct actor *a = &s->actors[actor];
	struct hold *h = &s->holds[a->hold];
	struct buf text = {0};
	buf_append_slice(&text, buf_slice(&answer->body));
	const char *id = strstr(buf_cstr(&text), "\"id\":\"");
	if (answer->status == 200 && id) {
		snprintf(h->id, sizeof h->id, "%.36s", id + strlen("\"id\":\""));
		h->token = number_after(buf_cstr(&text), "\"token\":");
		h->granted_us = w->sim->now_us;
		a->document = h->document == WHOLE ? workload_below(w, DOCUMENTS) : h->document;
		a->writes_left = 1 + workload_below(w, 4);
		go_on(w, actor);
	} else {
		give_up(w, actor);
	}
	buf_close(&text);
}

/* Now and then it takes longer than the lock lives. */
static void was_read(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct actor *a = &state_of(w)->actors[actor];
	if (answer->status != 200 && answer->status != 404) {
		let_go(w, actor);
		return;
	}
	a->read = answer->status == 200 ? (int64_t)generation_of(answer) : 0;
	a->step = WRITE;
	sleep_ms(w, actor,
		 workload_below(w, 5) ? 1 + workload_below(w, 100) : workload_below(w, 8000));
}

static void released(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct actor *a = &state_of(w)->actors[actor];
	if (answer->status >= 500 && a->tries < RELEASE_TRIES)
		sleep_ms(w, actor, 200);
	else
		rest(w, actor);
}

static void check_lifetime(struct workload *w, const struct hold *h, int status)
{
	if (w->sim->recovers) /* it forgot the locks, and shards were told to let go of them */
		return;
	/* the coordinator's clock, which counts it, may be fast */
	int64_t least_us = h->ttl_ms * (1000 - w->sim->settings.drift_ppm / 1000);
	if (status == 412 && h->ttl_ms > 0 && w->sim->now_us < h->asked_us + least_us)
		sim_violation(w->sim,
			      "locks: token %llu was to live for %lld ms, and was lost after %lld",
			      (unsigned long long)h->token, (long long)h->ttl_ms,
			      (long long)(w->sim->now_us - h->asked_us) / 1000);
}

static void on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct state *s = state_of(w);
	struct actor *a = &s->actors[actor];
	if (!workload_answered(w, actor, answer))
		return;
	bool fine = answer->status == 200 || answer->status == 201;
	if (fine && (a->step == WRITE || a->step == FOREIGN))
		s->ops[a->op].generation = generation_of(answer);
	if (a->step == WRITE)
		check_lifetime(w, &s->holds[a->hold], answer->status);
	switch (a->step) {
	case ACQUIRE:
		acquired(w, actor, answer);
		break;
	case READ:
		was_read(w, actor, answer);
		break;
	case WRITE:
		if (fine)
			go_on(w, actor);
		else
			let_go(w, actor);
		break;
	case RELEASE:
		released(w, actor, answer);
		break;
	default:
		rest(w, actor);
	}
}

static bool done(struct workload *w, struct buf *why)
{
	for (int i = 0; i < ACTORS; i++)
		if (!w->actors[i].done) {
			buf_printf(why, "lock client %d is in step %d", i,
				   (int)state_of(w)->actors[i].step);
			return false;
		}
	return true;
}

/* ---- checks ---- */

static bool overlap(const struct op *a, const struct op *b)
{
	return a->document == b->document &&
	       (a->field == WHOLE || b->field == WHOLE || a->field == b->field);
}

static int by_generation(const void *x, const void *y)
{
	const struct op *a = *(const struct op *const *)x;
	const struct op *b = *(const struct op *const *)y;
	return a->generation < b->generation ? -1 : a->generation > b->generation;
}

static void check_pair(struct workload *w, const struct op *first, const struct op *second)
{
	const struct state *s = w->state;
	if (first->hold < 0 || second->hold < 0 || first->hold == second->hold ||
	    !overlap(first, second))
		return;
	if (s->holds[first->hold].token > s->holds[second->hold].token)
		sim_violation(w->sim, "locks: d%d: token %llu writes after %llu", first->document,
			      (unsigned long long)s->holds[second->hold].token,
			      (unsigned long long)s->holds[first->hold].token);
}

/* Somebody else's write between two of one hold. */
static void check_between(struct workload *w, const struct op *const *list, int from, int to)
{
	for (int i = from + 1; i < to; i++)
		if (list[i]->hold != list[from]->hold && overlap(list[i], list[from]))
			sim_violation(
			    w->sim,
			    "locks: d%d: generation %llu was written inside the hold of token %llu",
			    list[i]->document, (unsigned long long)list[i]->generation,
			    (unsigned long long)((struct state *)w->state)
				->holds[list[from]->hold]
				.token);
}

static void check_document(struct workload *w, int document)
{
	struct state *s = state_of(w);
	const struct op **list = mem_alloc_zero(OPS_MAX * sizeof *list);
	int count = 0;
	for (int i = 0; i < s->ops_count; i++)
		if (s->ops[i].document == document && s->ops[i].generation > 0)
			list[count++] = &s->ops[i];
	qsort(list, (size_t)count, sizeof *list, by_generation);
	for (int i = 0; i < count; i++) {
		if (list[i]->read >= 0 && list[i]->generation != (uint64_t)list[i]->read + 1)
			sim_violation(
			    w->sim,
			    "locks: d%d: generation %lld was read under a lock, %llu was written",
			    document, (long long)list[i]->read,
			    (unsigned long long)list[i]->generation);
		for (int k = i + 1; k < count; k++) {
			check_pair(w, list[i], list[k]);
			if (list[i]->hold >= 0 && list[i]->hold == list[k]->hold)
				check_between(w, list, i, k);
		}
	}
	free(list);
}

static void check_tokens(struct workload *w)
{
	const struct state *s = w->state;
	for (int i = 0; i < s->holds_count; i++) {
		const struct hold *a = &s->holds[i];
		for (int k = 0; a->granted_us && k < s->holds_count; k++) {
			const struct hold *b = &s->holds[k];
			if (k == i || !b->granted_us)
				continue;
			if (a->token == b->token ||
			    (a->granted_us < b->asked_us && a->token > b->token))
				sim_violation(w->sim, "locks: token %llu was given, later %llu",
					      (unsigned long long)a->token,
					      (unsigned long long)b->token);
		}
	}
}

static void check(struct workload *w)
{
	for (int i = 0; i < DOCUMENTS && w->sim->violations == 0; i++)
		check_document(w, i);
	if (w->sim->violations == 0)
		check_tokens(w);
	const struct state *s = w->state;
	int granted = 0;
	int written = 0;
	for (int i = 0; i < s->holds_count; i++)
		granted += s->holds[i].granted_us > 0;
	for (int i = 0; i < s->ops_count; i++)
		written += s->ops[i].generation > 0;
	sim_log(w->sim, "locks: asked %d granted %d writes %d done %d", s->holds_count, granted,
		s->ops_count, written);
}

const struct workload_ops lock_workload = {
    .name = "locks",
    .actors = ACTORS,
    .state_bytes = sizeof(struct state),
    .one_in = 2,
    .start = start,
    .step = step,
    .on_answer = on_answer,
    .done = done,
    .check = check,
};
