/* Clients: each asks one thing at a time through a random gateway, over HTTP as it reaches the
 * gateway's core, and writes down what it asked and what it got. */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/json.h"
#include "tests/sim/history.h"

enum { CLIENT_TIMEOUT_US = 8000000, CLIENT_ATTEMPTS = 40 };

const char *const collection_names[COLLECTION_KINDS] = {"strict", "open", "newest"};

struct client {
	int setup;        /* collections still to be made by client 0 */
	int current;      /* index of the op under way, or -1 */
	uint64_t request; /* id under way; answers to others are late */
	int64_t deadline_us;
	bool done;
	char known[COLLECTION_KINDS][16][128]; /* last revision seen of each document */
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

static struct op *op_of(struct sim *sim, struct client *c)
{
	return c->current < 0 ? NULL : &sim->history->ops[c->current];
}

static void add_header(struct sim_http *r, const char *name, const char *value)
{
	struct buf *text = &r->header_text[r->headers_count];
	buf_append_text(text, value);
	r->headers[r->headers_count++] = (struct http_field){slice_text(name), buf_slice(text)};
}

static int index_of_client(const struct sim *sim, const struct client *c)
{
	return (int)(c - sim->clients);
}

static void post(struct sim *sim, struct client *c, struct sim_http *r)
{
	int gateway = 1 + sim->settings.storage_nodes +
		      (int)rng_below(&sim->client_rng, (uint64_t)sim->settings.gateways);
	r->id = (uint64_t)(index_of_client(sim, c) + 1) << 32 | ++sim->sequence;
	c->request = r->id;
	c->deadline_us = sim->now_us + CLIENT_TIMEOUT_US;
	net_request(sim, gateway, r);
	sim_schedule(sim, c->deadline_us, SIM_CLIENT, index_of_client(sim, c), 0, NULL);
}

/* ---- making collections ---- */

static const char *const setup_bodies[COLLECTION_KINDS] = {
    "{\"name\":\"strict\",\"retainMs\":0}",
    ("{\"name\":\"open\",\"mode\":\"available\",\"retainMs\":0,"
     "\"policy\":{\"strategy\":\"merge\",\"paths\":{\"f0\":\"newest\",\"f1\":\"max\","
     "\"f2\":\"min\",\"f3\":\"newest\",\"v\":\"max\",\"text\":\"newest\"}}}"),
    ("{\"name\":\"newest\",\"mode\":\"available\",\"retainMs\":0,"
     "\"policy\":{\"strategy\":\"newest\"}}"),
};

static void send_setup(struct sim *sim, struct client *c)
{
	struct sim_http *r = mem_alloc_zero(sizeof *r);
	r->method = HTTP_POST;
	buf_append_text(&r->path, "/_/collections");
	buf_append_text(&r->body, setup_bodies[COLLECTION_KINDS - c->setup]);
	add_header(r, "content-type", "application/json");
	post(sim, c, r);
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

static void draw_op(struct sim *sim, struct client *c)
{
	struct rng *r = &sim->client_rng;
	struct op *op = history_add(sim);
	c->current = sim->history->count - 1;
	op->client = index_of_client(sim, c);
	op->collection = rng_below(r, 2)
			     ? COLLECTION_STRICT
			     : (enum collection_kind)(1 + rng_below(r, COLLECTION_KINDS - 1));
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
		struct json_parser *parser = json_parser_new();
		struct json_error error;
		json_body(op, &json);
		CHECK(json_to_msgpack(parser, buf_slice(&json), &op->body, &error));
		json_parser_free(parser);
		buf_close(&json);
	}
}

static void fill_request(const struct op *op, struct sim_http *r)
{
	static const enum http_method methods[] = {HTTP_GET,    HTTP_PUT, HTTP_PUT, HTTP_PATCH,
						   HTTP_DELETE, HTTP_PUT, HTTP_GET};
	char text[160];
	r->method = methods[op->kind];
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
		add_header(r, "if-none-match", "*");
	if (op->conditional) {
		snprintf(text, sizeof text, "\"%s\"", op->expected);
		add_header(r, "if-match", text);
	}
	if (op->keyed) {
		snprintf(text, sizeof text, "key-%d", op->number);
		add_header(r, "idempotency-key", text);
	}
	if (op_writes(op) && op->kind != OP_DELETE) {
		add_header(r, "content-type",
			   op->kind == OP_PATCH ? "application/merge-patch+json"
						: "application/json");
		json_body(op, &r->body);
	}
}

static void send_op(struct sim *sim, struct client *c)
{
	struct op *op = op_of(sim, c);
	struct sim_http *r = mem_alloc_zero(sizeof *r);
	op->attempts++;
	fill_request(op, r);
	post(sim, c, r);
}

static void think(struct sim *sim, struct client *c)
{
	c->current = -1;
	c->request = 0;
	c->deadline_us =
	    sim->now_us + rng_between(&sim->client_rng, 1, sim->settings.think_max_ms) * 1000;
	sim_schedule(sim, c->deadline_us, SIM_CLIENT, index_of_client(sim, c), 0, NULL);
}

static void next_op(struct sim *sim, struct client *c)
{
	if (c->setup > 0) {
		send_setup(sim, c);
		return;
	}
	if (sim->clients[0].setup > 0) {
		think(sim, c);
		return;
	}
	if (sim->healed || sim->history->count >= sim->settings.operations) {
		c->done = true;
		return;
	}
	draw_op(sim, c);
	send_op(sim, c);
}

void client_wake(struct sim *sim, int index)
{
	struct client *c = &sim->clients[index];
	if (c->done || sim->now_us < c->deadline_us)
		return;
	struct op *op = op_of(sim, c);
	if (c->request != 0 && op && !(op->keyed && op->attempts < CLIENT_ATTEMPTS)) {
		think(sim, c); /* no answer: it may have been done, or may yet be */
		return;
	}
	if (op)
		send_op(sim, c); /* once more: the same key, the same answer */
	else
		next_op(sim, c);
}

static uint64_t count_in(struct slice body)
{
	uint64_t n = 0;
	for (size_t i = 0; i < body.len; i++)
		if (body.data[i] >= '0' && body.data[i] <= '9')
			n = n * 10 + (uint64_t)(body.data[i] - '0');
	return n;
}

static void finish_op(struct sim *sim, struct client *c, struct op *op, struct sim_answer *answer)
{
	op->end_us = sim->now_us;
	op->status = answer->status;
	snprintf(op->revision, sizeof op->revision, "%s", answer->etag);
	if (op->kind == OP_COUNT)
		op->count = count_in(buf_slice(&answer->body));
	if (op_succeeded(op) && op->revision[0] && op->kind != OP_COUNT)
		snprintf(c->known[op->collection][op->document], sizeof op->revision, "%s",
			 op->revision);
	think(sim, c);
}

static void retry_soon(struct sim *sim, struct client *c)
{
	c->request = 0;
	c->deadline_us = sim->now_us + 200000;
	sim_schedule(sim, c->deadline_us, SIM_CLIENT, index_of_client(sim, c), 0, NULL);
}

void client_answer(struct sim *sim, struct sim_answer *answer)
{
	struct client *c = &sim->clients[(answer->id >> 32) - 1];
	struct op *op = op_of(sim, c);
	sim_log(sim, "client %d gets %d %s %.*s", index_of_client(sim, c), answer->status,
		answer->etag, (int)(answer->body.len < 100 ? answer->body.len : 100),
		(const char *)answer->body.data);
	bool expected = answer->id == c->request;
	if (expected && c->setup > 0) {
		if (answer->status == 200 || answer->status == 201)
			c->setup--;
		retry_soon(sim, c);
	} else if (expected && op) {
		if (answer->status < 500)
			finish_op(sim, c, op, answer);
		else if (op->keyed && op->attempts < CLIENT_ATTEMPTS)
			retry_soon(sim, c);
		else
			think(sim, c);
	}
	buf_close(&answer->body);
	free(answer);
}

void client_start_all(struct sim *sim)
{
	sim->clients = mem_alloc_zero((size_t)sim->settings.clients * sizeof *sim->clients);
	sim->history = mem_alloc_zero(sizeof *sim->history);
	for (int i = 0; i < sim->settings.clients; i++) {
		struct client *c = &sim->clients[i];
		c->current = -1;
		c->setup = i == 0 ? COLLECTION_KINDS : 0;
		c->deadline_us = sim->now_us + 300000;
		sim_schedule(sim, c->deadline_us, SIM_CLIENT, i, 0, NULL);
	}
}

bool client_all_done(const struct sim *sim)
{
	for (int i = 0; i < sim->settings.clients; i++)
		if (!sim->clients[i].done)
			return false;
	return true;
}

void client_free_all(struct sim *sim)
{
	for (int i = 0; i < sim->history->count; i++)
		buf_close(&sim->history->ops[i].body);
	free(sim->history->ops);
	free(sim->history);
	free(sim->clients);
}
