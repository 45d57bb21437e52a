#include "gateway/served.h"

#include "common/probe.h"
#include "gateway/call.h"

struct served {
	served_step *done;
	uint32_t left;
	bool all;
};

static void heard(struct turn *t, struct request *r, uint32_t index, enum status status,
		  const void *body)
{
	struct served *w = r->served;
	(void)index;
	w->all &= body && status == STATUS_OK;
	if (--w->left > 0)
		return;
	if (!w->all)
		REACHED(made_not_served);
	w->done(t, r, w->all);
}

void served_await(struct turn *t, struct request *r, const struct map_collection *c,
		  int64_t within_ms, served_step *done)
{
	struct served *w = arena_alloc(&r->arena, sizeof *w);
	*w = (struct served){.done = done, .left = c->shards_count, .all = true};
	r->served = w;
	if (MUTATION(creation_not_awaited)) {
		done(t, r, true);
		return;
	}
	for (uint32_t i = 0; i < c->shards_count; i++) {
		struct msg_shard_served *ask = arena_alloc(&r->arena, sizeof *ask);
		ask->shard = c->shards[i]->shard.id;
		struct call_spec spec = {
		    .reach = REACH_LEAD,
		    .shard = ask->shard,
		    .type = MSG_shard_served,
		    .answer = MSG_shard_served_ack,
		    .message = ask,
		    .repeatable = true,
		    .until_ms = t->now_ms + within_ms,
		    .done = heard,
		};
		if (!call_open(t, r, &spec))
			heard(t, r, 0, STATUS_OVERLOADED, NULL);
	}
}
