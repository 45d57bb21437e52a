/* Bodies that come to gateways in pieces: as far as they are asked for, now and then slowly, and
 * some of them break off in the middle. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "gateway/gateway.h"
#include "tests/sim/workload.h"

enum { PIECE_MAX = 400000, PIECE_DELAY_US = 2000, PAUSE_MAX_US = 3000000, ENDS_IN = 16 };

struct sim_body {
	struct buf bytes;
	size_t at;
	size_t breaks_at; /* the connection does; behind the end: it does not */
	int64_t credit;
	bool moves; /* a piece is on its way */
};

void http_body_free(struct sim_body *body)
{
	if (!body)
		return;
	buf_close(&body->bytes);
	free(body);
}

void http_body_begin(struct sim *sim, struct sim_open *open, struct http_request *request)
{
	if (request->dialect != DIALECT_COUCH || !gateway_wants_pieces(request))
		return;
	struct sim_body *body = mem_alloc_zero(sizeof *body);
	buf_append_slice(&body->bytes, request->body);
	body->breaks_at = SIZE_MAX;
	if (!sim->healed && rng_below(&sim->body_rng, ENDS_IN) == 0)
		body->breaks_at = (size_t)rng_below(&sim->body_rng, request->body.len + 1);
	open->body = body;
	request->body = slice_of(NULL, 0);
	request->in_pieces = true;
}

static void move(struct sim *sim, int index, uint64_t id, struct sim_body *body)
{
	struct sim_http *r = mem_alloc_zero(sizeof *r);
	int64_t at_us = sim->now_us + rng_between(&sim->body_rng, 1, PIECE_DELAY_US);
	if (!sim->healed && rng_below(&sim->body_rng, 50) == 0)
		at_us += rng_between(&sim->body_rng, 1, PAUSE_MAX_US);
	r->kind = SIM_HTTP_PIECE;
	r->id = id;
	body->moves = true;
	sim_schedule(sim, at_us, SIM_HTTP, index, sim->nodes[index].life, r);
}

void http_body_credit(struct sim *sim, int index, const struct effect *effect)
{
	struct sim_open *open = http_open(&sim->nodes[index], effect->body_credit.request);
	if (!open || !open->body)
		return;
	open->body->credit += effect->body_credit.bytes;
	if (!open->body->moves)
		move(sim, index, open->id, open->body);
}

static void break_off(struct sim_node *node, struct event *event, struct sim_open *open)
{
	uint64_t connection = open->connection;
	event->kind = EVENT_HTTP_GONE;
	event->http_gone = open->id;
	http_open_end(node, open);
	node->ops->step(node->core, event, &node->fx);
	event->kind = EVENT_HTTP_CLOSED;
	event->http_closed = connection;
	node->ops->step(node->core, event, &node->fx);
}

static void tell(struct sim_node *node, struct event *event, uint64_t id, struct slice bytes,
		 bool last)
{
	event->kind = EVENT_HTTP_BODY;
	event->http_body = (struct http_body){id, bytes, last};
	node->ops->step(node->core, event, &node->fx);
}

void http_body_feed(struct sim *sim, struct sim_node *node, struct event event,
		    const struct sim_http *r)
{
	struct sim_open *open = http_open(node, r->id);
	struct sim_body *body = open ? open->body : NULL;
	if (!body)
		return;
	size_t most = (size_t)rng_between(&sim->body_rng, 1, PIECE_MAX);
	size_t left = body->bytes.len - body->at;
	size_t count = left < most ? left : most;
	if (body->credit <= 0)
		count = 0;
	else if (count > (size_t)body->credit)
		count = (size_t)body->credit;
	body->moves = false;
	if (body->at + count >= body->breaks_at) {
		break_off(node, &event, open);
		return;
	}
	struct slice bytes = slice_part(buf_slice(&body->bytes), body->at, count);
	body->at += count;
	body->credit -= (int64_t)count;
	if (body->at == body->bytes.len) {
		open->body = NULL;
		if (count > 0)
			tell(node, &event, r->id, bytes, false);
		tell(node, &event, r->id, slice_of(NULL, 0), true);
		http_body_free(body);
		return;
	}
	if (body->credit > 0)
		move(sim, (int)(node - sim->nodes), r->id, body);
	tell(node, &event, r->id, bytes, false);
}
