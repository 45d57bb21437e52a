#include "gateway/graph_read.h"

enum { PART_MS = 500 }; /* for the next one */

static bool ask(struct turn *t, struct request *r);

static void part_came(struct turn *t, struct request *r, uint32_t index, enum status status,
		      const void *body)
{
	struct graph_read *g = r->op;
	const struct msg_conflict_read_ack *part = body;
	struct msg_conflict_read_ack whole;
	if (!part || status != STATUS_OK || (g->parts.parts == 0 && !graph_parts_are_left(part))) {
		g->done(t, r, index, status, body);
		return;
	}
	if (t->gw->graph_reader && t->gw->graph_reader != r) {
		g->done(t, r, index, STATUS_OVERLOADED, NULL);
		return;
	}
	t->gw->graph_reader = r;
	if (graph_parts_take(&g->parts, &r->arena, part, &whole, &g->message.from)) {
		g->done(t, r, index, status, &whole);
		return;
	}
	if (g->silent_ms)
		*g->silent_ms = t->now_ms + PART_MS;
	if (!ask(t, r))
		g->done(t, r, index, STATUS_OVERLOADED, NULL);
}

static bool ask(struct turn *t, struct request *r)
{
	struct graph_read *g = r->op;
	struct call_spec spec = {.reach = REACH_LEAD,
				 .shard = g->message.shard,
				 .type = MSG_conflict_read,
				 .answer = MSG_conflict_read_ack,
				 .message = &g->message,
				 .repeatable = true,
				 .done = part_came};
	return call_open(t, r, &spec);
}

bool graph_read(struct turn *t, struct request *r, call_done *done)
{
	struct graph_read *g = r->op;
	g->done = done;
	g->message.from = 0;
	g->parts = (struct graph_parts){0};
	return ask(t, r);
}

void graph_read_end(struct gateway *gw, const struct request *r)
{
	if (gw->graph_reader == r)
		gw->graph_reader = NULL;
}
