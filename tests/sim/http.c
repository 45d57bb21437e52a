/* Between clients and gateways: connections that keep order, and end when either side does. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "tests/sim/workload.h"

enum { CLIENT_DELAY_MIN_US = 100, CLIENT_DELAY_MAX_US = 2000 };

/* ---- what a gateway has under way ---- */

struct sim_open *http_open(struct sim_node *node, uint64_t id)
{
	for (uint32_t i = 0; i < node->open_count; i++)
		if (node->open[i].id == id)
			return &node->open[i];
	return NULL;
}

static void open_add(struct sim_node *node, uint64_t id, uint64_t connection)
{
	if (node->open_count == node->open_cap) {
		node->open_cap = node->open_cap ? node->open_cap * 2 : 16;
		node->open = mem_realloc(node->open, node->open_cap * sizeof *node->open);
	}
	node->open[node->open_count++] = (struct sim_open){.id = id, .connection = connection};
}

void http_open_end(struct sim_node *node, struct sim_open *open)
{
	http_body_free(open->body);
	uint32_t at = (uint32_t)(open - node->open);
	node->open_count--;
	memmove(open, open + 1, (node->open_count - at) * sizeof *open);
}

/* ---- towards the gateway ---- */

static int64_t delay_us(struct workload *w)
{
	return rng_between(&w->rng, CLIENT_DELAY_MIN_US, CLIENT_DELAY_MAX_US);
}

void http_send(struct workload *w, int gateway, struct sim_http *r)
{
	struct sim *sim = w->sim;
	struct sim_open *open = http_open(&sim->nodes[gateway], r->id);
	int64_t at_us = sim->now_us + delay_us(w);
	if (r->kind == SIM_HTTP_HANG_UP)
		at_us += CLIENT_DELAY_MAX_US; /* never before its request */
	if (open && at_us <= open->in_us)
		at_us = open->in_us + 1;
	if (open)
		open->in_us = at_us;
	sim_schedule(sim, at_us, SIM_HTTP, gateway, sim->nodes[gateway].life, r);
}

void http_request_free(struct sim_http *r)
{
	buf_close(&r->path);
	buf_close(&r->query);
	buf_close(&r->body);
	for (int i = 0; i < SIM_HEADERS_MAX; i++)
		buf_close(&r->header_text[i]);
	free(r);
}

/* To a gateway that is down: refused, which the client finds out by its timeout. To one that was
 * started since: only new requests are for it. */
void http_arrive(struct sim *sim, const struct sim_event *event)
{
	struct sim_node *node = &sim->nodes[event->index];
	struct sim_http *r = event->payload;
	if (!node->core || (r->kind != SIM_HTTP_REQUEST && node->life != event->life)) {
		http_request_free(r);
		return;
	}
	r->next = NULL;
	*node->requests_end = r;
	node->requests_end = &r->next;
	node_wake(sim, event->index, sim->now_us);
}

static void feed_request(struct sim *sim, struct sim_node *node, struct event *event,
			 const struct sim_http *r)
{
	struct http_request request = {.id = r->id,
				       .dialect = r->dialect,
				       .method = r->method,
				       .path = buf_slice(&r->path),
				       .query = buf_slice(&r->query),
				       .headers = r->headers,
				       .headers_count = r->headers_count,
				       .body = buf_slice(&r->body),
				       .websocket = r->websocket,
				       .connection = r->connection,
				       .principal = slice_text("sim"),
				       .roles = HTTP_ROLE_ARBITER};
	event->kind = EVENT_HTTP_REQUEST;
	event->http = &request;
	open_add(node, r->id, r->connection);
	http_body_begin(sim, http_open(node, r->id), &request);
	node->ops->step(node->core, event, &node->fx);
}

/* The order of the real shell: what the connection carried, then the connection. */
static void feed_hang_up(struct sim_node *node, struct event *event, const struct sim_http *r)
{
	struct sim_open *open = http_open(node, r->id);
	uint64_t connection = open ? open->connection : r->id;
	if (open && open->streaming) {
		event->kind = EVENT_STREAM_GONE;
		event->stream.stream = r->id;
		node->ops->step(node->core, event, &node->fx);
	} else if (open) {
		event->kind = EVENT_HTTP_GONE;
		event->http_gone = r->id;
		node->ops->step(node->core, event, &node->fx);
	}
	if (open)
		http_open_end(node, open);
	event->kind = EVENT_HTTP_CLOSED;
	event->http_closed = connection;
	node->ops->step(node->core, event, &node->fx);
}

void http_feed(struct sim *sim, struct sim_node *node, struct event event, const struct sim_http *r)
{
	const struct sim_open *open = http_open(node, r->id);
	if (r->kind == SIM_HTTP_REQUEST) {
		feed_request(sim, node, &event, r);
	} else if (r->kind == SIM_HTTP_PIECE) {
		http_body_feed(sim, node, event, r);
	} else if (r->kind == SIM_HTTP_HANG_UP) {
		feed_hang_up(node, &event, r);
	} else if (open && open->streaming && !open->closing) {
		event.kind = EVENT_STREAM_MESSAGE;
		event.stream.stream = r->id;
		event.stream.bytes = buf_slice(&r->body);
		event.stream.text = true;
		node->ops->step(node->core, &event, &node->fx);
	}
}

/* Clients take all at once. */
void http_feed_taken(struct sim_node *node, struct event event)
{
	for (uint32_t i = 0; i < node->open_count; i++) {
		if (!node->open[i].paced || !node->open[i].sent)
			continue;
		node->open[i].sent = false;
		event.stream.stream = node->open[i].id;
		node->ops->step(node->core, &event, &node->fx);
	}
}

/* Streams that the gateway closed itself are gone. */
void http_feed_closed(struct sim_node *node, struct event event)
{
	for (uint32_t i = 0; i < node->open_count;) {
		uint64_t id = node->open[i].id;
		if (!node->open[i].closing) {
			i++;
			continue;
		}
		http_open_end(node, &node->open[i]);
		event.kind = EVENT_STREAM_GONE;
		event.stream.stream = id;
		node->ops->step(node->core, &event, &node->fx);
	}
}

/* ---- towards the client ---- */

static void deliver(struct sim *sim, struct sim_open *open, struct sim_answer *answer)
{
	if (open->deaf) {
		buf_close(&answer->body);
		free(answer);
		return;
	}
	int64_t at_us = sim->now_us + delay_us(workload_of(sim, answer->id));
	if (at_us <= open->out_us)
		at_us = open->out_us + 1;
	open->out_us = at_us;
	sim_schedule(sim, at_us, SIM_ANSWER, 0, 0, answer);
}

static void take_etag(struct sim_answer *answer, struct slice value)
{
	if (value.len <= 2 || value.len >= sizeof answer->etag)
		return;
	memcpy(answer->etag, value.data + 1, value.len - 2); /* without the quotes */
	answer->etag[value.len - 2] = 0;
}

void http_respond(struct sim *sim, int index, const struct effect *effect)
{
	struct sim_node *node = &sim->nodes[index];
	const struct http_response *response = &effect->respond.response;
	struct sim_open *open = http_open(node, effect->respond.request);
	if (!open) { /* the client went away */
		sim_log(sim, "%s answers nobody", node->name);
		return;
	}
	struct sim_answer *answer = mem_alloc_zero(sizeof *answer);
	answer->id = effect->respond.request;
	answer->status = response->status;
	answer->streaming = response->kind != HTTP_WHOLE;
	answer->length = response->length;
	buf_append_slice(&answer->body, response->body);
	for (uint32_t i = 0; i < response->headers_count; i++)
		if (slice_equal(response->headers[i].name, slice_text("ETag")))
			take_etag(answer, response->headers[i].value);
	open->streaming = answer->streaming;
	open->paced = open->sent = response->paced;
	deliver(sim, open, answer);
	if (!open->streaming)
		http_open_end(node, open);
}

void http_stream_send(struct sim *sim, int index, const struct effect *effect)
{
	for (uint32_t i = 0; i < effect->stream_send.count; i++) {
		struct sim_open *open =
		    http_open(&sim->nodes[index], effect->stream_send.streams[i]);
		if (!open || !open->streaming || open->closing)
			continue;
		struct sim_answer *answer = mem_alloc_zero(sizeof *answer);
		answer->kind = SIM_ANSWER_PART;
		answer->id = open->id;
		buf_append_slice(&answer->body, effect->stream_send.body);
		deliver(sim, open, answer);
		open->sent = open->paced;
		if (open->paced)
			node_wake(sim, index, sim->now_us);
	}
}

static void send_end(struct sim *sim, struct sim_open *open, uint16_t code)
{
	struct sim_answer *answer = mem_alloc_zero(sizeof *answer);
	answer->kind = SIM_ANSWER_END;
	answer->id = open->id;
	answer->status = code;
	deliver(sim, open, answer);
}

void http_stream_close(struct sim *sim, int index, const struct effect *effect)
{
	struct sim_open *open = http_open(&sim->nodes[index], effect->stream_close.stream);
	if (!open || !open->streaming || open->closing)
		return;
	send_end(sim, open, effect->stream_close.code);
	open->closing = true;
	node_wake(sim, index, sim->now_us);
}

void http_forget(struct sim *sim, int index, uint64_t id)
{
	for (size_t i = 0; i < sim->heap_len; i++) {
		struct sim_answer *answer = sim->heap[i].payload;
		if (sim->heap[i].kind == SIM_ANSWER && answer->id == id)
			answer->dropped = true;
	}
	struct sim_open *open = http_open(&sim->nodes[index], id);
	if (open)
		open->deaf = true;
}

/* The process has ended, and its connections with it: clients of streams see that at once, others
 * wait for their timeout. */
void http_gateway_down(struct sim *sim, int index)
{
	struct sim_node *node = &sim->nodes[index];
	for (uint32_t i = 0; i < node->open_count; i++)
		if (node->open[i].streaming && !node->open[i].closing)
			send_end(sim, &node->open[i], 0);
	for (uint32_t i = 0; i < node->open_count; i++)
		http_body_free(node->open[i].body);
	node->open_count = 0;
}
