/* From a collection's name to what the map knows of it. A name that is not in the map may be new: a
 * read asks the coordinator for a newer map before it says so, a write has the collection made. */
#include "gateway/native.h"
#include "gateway/served.h"

/* Of a request's time: where another shard than its own is slow to be served, it goes on. */
enum { SERVED_PART = 2 };

struct finding {
	collection_step *found;
	void *op;    /* of the operation that waits */
	bool create; /* it has the collection made */
	bool exists; /* which somebody else had done before */
};

static void finding_done(struct turn *t, struct request *r, struct map_collection *c)
{
	struct finding *f = r->op;
	collection_step *found = f->found;
	call_forget_all(t->gw, r);
	request_wait_end(t, r);
	r->op = f->op;
	found(t, r, c);
}

/* As well as it will be within the time. */
static void finding_served(struct turn *t, struct request *r, bool served)
{
	struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	(void)served;
	if (c)
		finding_done(t, r, c);
	else /* dropped meanwhile */
		answer_status(t, r, STATUS_NO_LEAD, "collection");
}

static void map_moved(struct turn *t, struct request *r)
{
	const struct finding *f = r->op;
	struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	if (!c)
		return;
	if (!f->create || f->exists) {
		finding_done(t, r, c);
		return;
	}
	call_forget_all(t->gw, r);
	request_wait_end(t, r);
	served_await(t, r, c, t->gw->options.limits.deadline_ms / SERVED_PART, finding_served);
}

static void looked(struct turn *t, struct request *r, uint32_t index, enum status status,
		   const void *body)
{
	(void)index;
	if (t->gw->map.version == 0)
		answer_status(t, r, STATUS_STARTING, "");
	else if (!body) /* only the coordinator can say that a collection does not exist */
		answer_status(
		    t, r, status_is_success(status) ? STATUS_COORDINATOR_UNAVAILABLE : status, "");
	else
		finding_done(t, r, cluster_map_collection(&t->gw->map, r->collection));
}

static void created(struct turn *t, struct request *r, uint32_t index, enum status status,
		    const void *body)
{
	const struct msg_collection_create_ack *ack = body;
	(void)index;
	if (!ack || !status_is_success(status)) {
		answer_status(t, r, status, "collection");
		return;
	}
	/* The map with it follows; should it be lost, the next heartbeat tells. */
	((struct finding *)r->op)->exists = status == STATUS_OK;
}

void collection_change(struct turn *t, struct request *r, struct msg_collection_create *message,
		       call_done *done)
{
	struct call_spec spec = {
	    .reach = REACH_COORDINATOR,
	    .type = MSG_collection_create,
	    .answer = MSG_collection_create_ack,
	    .message = message,
	    .repeatable = true,
	    .done = done,
	};
	if (!call_open(t, r, &spec))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

void map_refresh(struct turn *t, struct request *r, call_done *done)
{
	if (t->gw->map.version > 0 && !member_coordinator_alive(t->gw, t->now_ms)) {
		done(t, r, 0, STATUS_COORDINATOR_UNAVAILABLE, NULL);
		return;
	}
	struct msg_map_request *ask = arena_alloc(&r->arena, sizeof *ask);
	ask->map_version = t->gw->map.version;
	struct call_spec spec = {
	    .reach = REACH_COORDINATOR,
	    .type = MSG_map_request,
	    .answer = MSG_map_push,
	    .message = ask,
	    .repeatable = true,
	    .done = done,
	};
	if (!call_open(t, r, &spec))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

bool map_refreshed(struct turn *t, struct request *r, const void *body)
{
	r->unconfirmed = body == NULL;
	if (t->gw->map.version == 0)
		answer_status(t, r, STATUS_STARTING, "");
	return t->gw->map.version > 0;
}

void collection_find(struct turn *t, struct request *r, bool create, collection_step *found)
{
	struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	if (c) {
		found(t, r, c);
		return;
	}
	struct finding *f = arena_alloc(&r->arena, sizeof *f);
	f->found = found;
	f->op = r->op;
	f->create = create;
	r->op = f;
	request_wait(t, r, map_moved);
	if (!create) {
		map_refresh(t, r, looked);
		return;
	}
	struct msg_collection_create *make = arena_alloc(&r->arena, sizeof *make);
	make->collection.name = r->collection;
	collection_change(t, r, make, created);
}
