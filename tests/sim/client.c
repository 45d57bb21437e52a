/* Clients: each asks one thing at a time through a random gateway, over HTTP as it reaches the
 * gateway's core, and writes down what it asked and what it got. */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/json.h"
#include "tests/sim/history.h"
#include "tests/sim/workload.h"

enum { CLIENT_TIMEOUT_US = 8000000, RETRY_US = 200000, CLIENT_ATTEMPTS = 40, ONE_IN_SCRIPTED = 7 };

const char *const collection_names[COLLECTION_KINDS] = {"strict", "open", "newest"};

struct client {
	int index;
	int setup;    /* collections still to be made by client 0 */
	int current;  /* index of the op under way, or -1 */
	int repeated; /* index of an old op that is sent once more, or -1 */
	char known[COLLECTION_KINDS][SIM_DOCUMENTS_MAX]
		  [128]; /* last revision seen of each document */
};

bool op_succeeded(const struct op *op)
{
	return op->status >= 200 && op->status < 300;
}

bool op_refused(const struct op *op)
{
	return op->status >= 400 && op->status < 500;
}

bool op_writes(const struct op *op)
{
	return op->kind != OP_GET && op->kind != OP_COUNT;
}

void op_describe(const struct op *op, char *out, size_t size)
{
	static const char *const kinds[] = {"GET",    "PUT",    "CREATE", "PATCH",
					    "DELETE", "BRANCH", "COUNT"};
	snprintf(
	    out, size, "op %d client %d %s %s/d%d expected=%s status=%d rev=%s at %lld..%lld ms",
	    op->number, op->client, kinds[op->kind], collection_names[op->collection], op->document,
	    op->expected, op->status, op->revision, (long long)(op->start_us / 1000),
	    (long long)(op->end_us == INT64_MAX ? -1 : op->end_us / 1000));
}

struct clients {
	struct client all[SIM_CLIENTS_MAX];
	struct json_parser *parser;
};

static struct client *client_at(struct workload *w, int index)
{
	return &((struct clients *)w->state)->all[index];
}

static struct op *op_of(struct workload *w, struct client *c)
{
	return c->current < 0 ? NULL : &w->sim->history->ops[c->current];
}

/* ---- making collections ---- */

static const char *const setup_settings[COLLECTION_KINDS] = {
    "\"name\":\"strict\"",
    ("\"name\":\"open\",\"mode\":\"available\","
     "\"policy\":{\"strategy\":\"merge\",\"paths\":{\"f0\":\"newest\",\"f1\":\"max\","
     "\"f2\":\"min\",\"f3\":\"newest\",\"v\":\"max\",\"text\":\"newest\"}}"),
    "\"name\":\"newest\",\"mode\":\"available\",\"policy\":{\"strategy\":\"newest\"}",
};

/* In some seeds a script picks the one to be kept. */
static const char *setting_of(const struct workload *w, int kind)
{
	if (kind == COLLECTION_NEWEST &&
	    w->sim->settings.seed % ONE_IN_SCRIPTED == ONE_IN_SCRIPTED - 1)
		return "\"name\":\"newest\",\"mode\":\"available\",\"policy\":{"
		       "\"strategy\":\"script\",\"script\":\"pick\",\"fallback\":\"newest\"}";
	return setup_settings[kind];
}

static void send_setup(struct workload *w, struct client *c)
{
	struct sim_http *r = workload_request(w, c->index, HTTP_POST, "/_/collections");
	const struct sim_settings *set = &w->sim->settings;
	buf_printf(&r->body, "{%s,\"retainMs\":%lld,\"replicas\":%d,\"writeQuorum\":%d}",
		   setting_of(w, COLLECTION_KINDS - c->setup), (long long)set->retain_ms,
		   set->replicas, set->write_quorum);
	workload_ask(w, c->index, r, CLIENT_TIMEOUT_US);
}

/* ---- operations ---- */

static struct op *history_add(struct sim *sim)
{
	struct history *h = sim->history;
	if (h->count == h->cap) {
		h->cap = h->cap ? h->cap * 2 : 256;
		h->ops = mem_realloc(h->ops, (size_t)h->cap * sizeof *h->ops);
	}
	CHECK(h->ops);
	struct op *op = &h->ops[h->count];
	memset(op, 0, sizeof *op);
	op->number = ++h->count;
	return op;
}

static enum op_kind draw_kind(struct rng *r, enum collection_kind collection)
{
	static const enum op_kind strict[] = {OP_GET,    OP_GET,   OP_GET,   OP_PUT,    OP_PUT,
					      OP_CREATE, OP_PATCH, OP_PATCH, OP_DELETE, OP_COUNT};
	static const enum op_kind open[] = {OP_GET,    OP_PUT,    OP_PATCH,  OP_PATCH, OP_PATCH,
					    OP_BRANCH, OP_BRANCH, OP_DELETE, OP_GET,   OP_CREATE};
	return collection == COLLECTION_STRICT ? strict[rng_below(r, ARRAY_LEN(strict))]
					       : open[rng_below(r, ARRAY_LEN(open))];
}

static void json_body(const struct op *op, struct buf *json)
{
	if (op->kind == OP_PATCH)
		buf_printf(json, "{\"f%d\":%d}", op->number % 4, op->number);
	else
		buf_printf(json, "{\"v\":%d,\"f%d\":%d,\"text\":\"value of %d\"}", op->number,
			   op->number % 4, op->number, op->number);
}

static void draw_op(struct workload *w, struct client *c)
{
	struct sim *sim = w->sim;
	struct rng *r = &w->rng;
	struct op *op = history_add(sim);
	c->current = sim->history->count - 1;
	op->client = c->index;
	op->collection = rng_below(r, 2)
			     ? COLLECTION_STRICT
			     : (enum collection_kind)(1 + rng_below(r, COLLECTION_KINDS - 1));
	if (rng_below(r, 3) != 0) /* the first one is hot */
		op->document = (int)rng_below(r, (uint64_t)sim->settings.documents);
	op->kind = draw_kind(r, op->collection);
	op->start_us = sim->now_us;
	op->end_us = INT64_MAX;
	const char *known = c->known[op->collection][op->document];
	if (op->kind == OP_BRANCH && known[0] == 0)
		op->kind = OP_GET;
	bool writes = op_writes(op) && op->kind != OP_CREATE;
	op->conditional = op->kind == OP_BRANCH || (writes && known[0] && rng_below(r, 2));
	if (op->conditional)
		snprintf(op->expected, sizeof op->expected, "%s", known);
	op->keyed = op_writes(op) && rng_below(r, 3) == 0;
	op->any = op->kind == OP_GET && op->collection != COLLECTION_STRICT && rng_below(r, 3) == 0;
	if (op_writes(op) && op->kind != OP_DELETE) {
		struct buf json = {0};
		struct json_parser *parser = ((struct clients *)w->state)->parser;
		struct json_error error;
		json_body(op, &json);
		CHECK(json_to_msgpack(parser, buf_slice(&json), &op->body, &error));
		buf_close(&json);
	}
}

static void fill_request(const struct op *op, struct sim_http *r)
{
	char text[160];
	buf_printf(&r->path, "/%s", collection_names[op->collection]);
	if (op->kind != OP_COUNT)
		buf_printf(&r->path, "/d%d", op->document);
	else
		buf_append_text(&r->query, "count=true");
	if (op->any)
		buf_append_text(&r->query, "consistency=any");
	if (op->kind == OP_BRANCH)
		buf_append_text(&r->query, "branch=true");
	if (op->kind == OP_CREATE)
		workload_header(r, "if-none-match", "*");
	if (op->conditional) {
		snprintf(text, sizeof text, "\"%s\"", op->expected);
		workload_header(r, "if-match", text);
	}
	if (op->keyed) {
		snprintf(text, sizeof text, "key-%d", op->number);
		workload_header(r, "idempotency-key", text);
	}
	if (op_writes(op) && op->kind != OP_DELETE) {
		workload_header(r, "content-type",
				op->kind == OP_PATCH ? "application/merge-patch+json"
						     : "application/json");
		json_body(op, &r->body);
	}
}

static enum http_method method_of(const struct op *op)
{
	static const enum http_method methods[] = {HTTP_GET,    HTTP_PUT, HTTP_PUT, HTTP_PATCH,
						   HTTP_DELETE, HTTP_PUT, HTTP_GET};
	return methods[op->kind];
}

static void send_op(struct workload *w, struct client *c)
{
	struct op *op = op_of(w, c);
	struct sim_http *r = workload_request(w, c->index, method_of(op), "");
	op->attempts++;
	fill_request(op, r);
	workload_ask(w, c->index, r, CLIENT_TIMEOUT_US);
}

static void think(struct workload *w, struct client *c)
{
	c->current = -1;
	workload_forget(w, c->index);
	workload_sleep(w, c->index, rng_between(&w->rng, 1, w->sim->settings.think_max_ms) * 1000);
}

/* A client that goes on after a long time, with the key that it used then. */
static int draw_repeat(struct workload *w, const struct client *c)
{
	const struct history *h = w->sim->history;
	if (!h->ops || h->count == 0 || rng_below(&w->rng, 12) != 0)
		return -1;
	int i = (int)rng_below(&w->rng, (uint64_t)h->count);
	const struct op *op = &h->ops[i];
	bool settled = op->collection == COLLECTION_STRICT && op_succeeded(op);
	return op->client == c->index && op->keyed && settled ? i : -1;
}

static void send_repeat(struct workload *w, struct client *c)
{
	const struct op *op = &w->sim->history->ops[c->repeated];
	struct sim_http *r = workload_request(w, c->index, method_of(op), "");
	fill_request(op, r);
	workload_ask(w, c->index, r, CLIENT_TIMEOUT_US);
}

static void check_repeat(struct workload *w, struct client *c, const struct sim_answer *answer)
{
	const struct op *op = &w->sim->history->ops[c->repeated];
	c->repeated = -1;
	if (answer->status < 500 &&
	    (answer->status != op->status || strcmp(answer->etag, op->revision) != 0))
		sim_violation(w->sim, "operation %d was answered %d %s, repeated it is %d %s",
			      op->number, op->status, op->revision, answer->status, answer->etag);
}

static void next_op(struct workload *w, struct client *c)
{
	if (c->setup > 0) {
		send_setup(w, c);
		return;
	}
	if (client_at(w, 0)->setup > 0) {
		think(w, c);
		return;
	}
	if (w->sim->healed || w->sim->history->count >= w->sim->settings.operations) {
		w->actors[c->index].done = true;
		return;
	}
	c->repeated = draw_repeat(w, c);
	if (c->repeated >= 0) {
		send_repeat(w, c);
		return;
	}
	draw_op(w, c);
	send_op(w, c);
}

static void client_step(struct workload *w, int actor)
{
	struct client *c = client_at(w, actor);
	struct op *op = op_of(w, c);
	if (c->repeated >= 0) {
		c->repeated = -1;
		think(w, c);
		return;
	}
	if (w->actors[actor].request != 0 && op && !(op->keyed && op->attempts < CLIENT_ATTEMPTS)) {
		think(w, c); /* no answer: it may have been done, or may yet be */
		return;
	}
	if (op)
		send_op(w, c); /* once more: the same key, the same answer */
	else
		next_op(w, c);
}

static uint64_t count_in(struct slice body)
{
	uint64_t n = 0;
	for (size_t i = 0; i < body.len; i++)
		if (body.data[i] >= '0' && body.data[i] <= '9')
			n = n * 10 + (uint64_t)(body.data[i] - '0');
	return n;
}

static void finish_op(struct workload *w, struct client *c, struct op *op,
		      const struct sim_answer *answer)
{
	op->end_us = w->sim->now_us;
	op->status = answer->status;
	snprintf(op->revision, sizeof op->revision, "%s", answer->etag);
	if (op->kind == OP_COUNT)
		op->count = count_in(buf_slice(&answer->body));
	if (op_succeeded(op) && op->revision[0] && op->kind != OP_COUNT)
		snprintf(c->known[op->collection][op->document], sizeof op->revision, "%s",
			 op->revision);
	think(w, c);
}

static void client_on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct client *c = client_at(w, actor);
	struct op *op = op_of(w, c);
	if (!workload_answered(w, actor, answer))
		return;
	if (c->setup > 0) {
		if (answer->status == 200 || answer->status == 201)
			c->setup--;
		workload_sleep(w, actor, RETRY_US);
	} else if (c->repeated >= 0) {
		check_repeat(w, c, answer);
		think(w, c);
	} else if (op) {
		if (answer->status < 500)
			finish_op(w, c, op, answer);
		else if (op->keyed && op->attempts < CLIENT_ATTEMPTS)
			workload_sleep(w, actor, RETRY_US);
		else
			think(w, c);
	}
}

static void client_start(struct workload *w)
{
	struct sim *sim = w->sim;
	sim->history = mem_alloc_zero(sizeof *sim->history);
	((struct clients *)w->state)->parser = json_parser_new();
	for (int i = 0; i < sim->settings.clients; i++) {
		struct client *c = client_at(w, i);
		c->index = i;
		c->current = -1;
		c->repeated = -1;
		c->setup = i == 0 ? COLLECTION_KINDS : 0;
		workload_sleep(w, i, 300000);
	}
}

static bool client_done(struct workload *w, struct buf *why)
{
	return workload_are_done(w, 0, w->sim->settings.clients - 1, why);
}

static void client_free(struct workload *w)
{
	struct history *h = w->sim->history;
	for (int i = 0; i < h->count; i++)
		buf_close(&h->ops[i].body);
	free(h->ops);
	free(h);
	json_parser_free(((struct clients *)w->state)->parser);
}

const struct workload_ops client_workload = {
    .name = "client",
    .actors = SIM_CLIENTS_MAX,
    .state_bytes = sizeof(struct clients),
    .start = client_start,
    .step = client_step,
    .on_answer = client_on_answer,
    .done = client_done,
    .free = client_free,
};
