/* Secondary indexes: making and dropping them, and how far they are. The coordinator keeps which
 * there are; the leads say how far each shard's is. */
#include <inttypes.h>

#include "gateway/index_params.h"
#include "gateway/routes.h"
#include "gateway/url.h"

/* ---- making and dropping ---- */

struct change_op {
	struct msg_collection_create message;
	struct index_definition index;
	uint64_t map_version; /* the map that shows it */
	int http;             /* of the answer, 0 while the coordinator has not said */
};

/* Both must have come: the coordinator's word and the map that shows it. */
static void change_look(struct turn *t, struct request *r)
{
	const struct change_op *op = r->op;
	if (op->http == 0 || t->gw->map.version < op->map_version)
		return;
	struct reply *reply = reply_begin(t, op->http);
	buf_append_byte(&reply->body, '{');
	if (op->message.index_add_count > 0) {
		index_print(&op->index, &reply->body);
	} else {
		buf_append_text(&reply->body, "\"name\":");
		json_string(op->message.index_drop, &reply->body);
	}
	buf_append_byte(&reply->body, '}');
	reply_send(t, r, reply);
}

static void change_done(struct turn *t, struct request *r, uint32_t index, enum status status,
			const void *body)
{
	struct change_op *op = r->op;
	(void)index;
	if (!body || !status_is_success(status)) {
		answer_status(t, r, status, status == STATUS_NOT_FOUND ? "path" : "");
		return;
	}
	op->http = status == STATUS_CREATED ? 201 : 200;
	op->map_version = ((const struct msg_collection_create_ack *)body)->map_version;
	change_look(t, r);
}

static void change_send(struct turn *t, struct request *r)
{
	struct change_op *op = r->op;
	op->message.update = true;
	op->message.collection.name = r->collection;
	request_wait(t, r, change_look);
	collection_change(t, r, &op->message, change_done);
}

void native_index_create(struct turn *t, struct request *r)
{
	struct change_op *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	struct slice value;
	r->op = op;
	if (!native_body(t, r, &value, &problem) ||
	    !index_take(r, value, "", &op->index, &problem)) {
		answer_problem(t, r, &problem);
		return;
	}
	op->message.index_add = &op->index;
	op->message.index_add_count = 1;
	change_send(t, r);
}

void native_index_drop(struct turn *t, struct request *r)
{
	struct change_op *op = arena_alloc(&r->arena, sizeof *op);
	r->op = op;
	if (!collection_name_valid(r->resource)) {
		answer_status(t, r, STATUS_NOT_FOUND, "path");
		return;
	}
	op->message.index_drop = r->resource;
	change_send(t, r);
}

/* ---- how far they are ---- */

struct progress {
	uint64_t documents, total, keys;
	uint32_t known; /* shards that have heard of it */
	uint32_t ready;
};

struct progress_op {
	struct msg_index_status *asked; /* one per shard */
	uint32_t left;
	struct progress sums[LIMIT_INDEXES]; /* in the order of the settings */
};

static void progress_answer(struct turn *t, struct request *r, const struct map_collection *c)
{
	const struct progress_op *op = r->op;
	struct reply *reply = reply_begin(t, 200);
	struct buf *out = &reply->body;
	buf_append_byte(out, '[');
	for (uint32_t i = 0; i < c->settings.indexes_count && i < LIMIT_INDEXES; i++) {
		const struct progress *sum = &op->sums[i];
		bool ready = c->shards_count > 0 && sum->ready == c->shards_count;
		buf_append_text(out, i > 0 ? ",{" : "{");
		index_print(&c->settings.indexes[i], out);
		buf_printf(out,
			   ",\"ready\":%s,\"documents\":%" PRIu64 ",\"total\":%" PRIu64
			   ",\"keys\":%" PRIu64 "}",
			   ready ? "true" : "false", sum->documents, sum->total, sum->keys);
	}
	buf_append_byte(out, ']');
	reply_send(t, r, reply);
}

static void add_up(struct progress_op *op, const struct map_collection *c,
		   const struct index_progress *from)
{
	for (uint32_t i = 0; i < c->settings.indexes_count && i < LIMIT_INDEXES; i++) {
		struct progress *sum = &op->sums[i];
		if (c->settings.indexes[i].id != from->id)
			continue;
		sum->ready += from->ready;
		sum->documents += from->documents;
		sum->total += from->total;
		sum->keys += from->keys;
	}
}

static void progress_came(struct turn *t, struct request *r, uint32_t index, enum status status,
			  const void *body)
{
	struct progress_op *op = r->op;
	const struct msg_index_status_ack *ack = body;
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	(void)index;
	if (!ack || status != STATUS_OK || !c) {
		answer_status(t, r, status >= STATUS_NOT_LEAD || !c ? STATUS_NO_LEAD : status, "");
		return;
	}
	for (uint32_t i = 0; i < ack->indexes_count; i++)
		add_up(op, c, &ack->indexes[i]);
	if (--op->left == 0)
		progress_answer(t, r, c);
}

void index_ask_progress(struct turn *t, struct request *r, struct msg_index_status *asked,
			uint32_t count, call_done *done)
{
	for (uint32_t i = 0; i < count && !r->finished; i++) {
		struct call_spec spec = {.reach = REACH_LEAD,
					 .shard = asked[i].shard,
					 .type = MSG_index_status,
					 .answer = MSG_index_status_ack,
					 .message = &asked[i],
					 .repeatable = true,
					 .index = i,
					 .done = done};
		if (!call_open(t, r, &spec))
			answer_status(t, r, STATUS_OVERLOADED, "");
	}
}

static void progress_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct progress_op *op = r->op;
	if (!c) {
		answer_no_collection(t, r, "path");
		return;
	}
	if (c->settings.indexes_count == 0) {
		progress_answer(t, r, c);
		return;
	}
	op->left = c->shards_count;
	op->asked = arena_alloc(&r->arena, c->shards_count * sizeof *op->asked);
	for (uint32_t i = 0; i < c->shards_count; i++)
		op->asked[i].shard = c->shards[i]->shard.id;
	index_ask_progress(t, r, op->asked, c->shards_count, progress_came);
}

/* An index may have been made through another gateway a moment ago: the coordinator is asked for a
 * newer map. */
static void progress_map(struct turn *t, struct request *r, uint32_t index, enum status status,
			 const void *body)
{
	(void)index;
	(void)status;
	(void)body;
	if (t->gw->map.version == 0)
		answer_status(t, r, STATUS_STARTING, "");
	else
		progress_go(t, r, cluster_map_collection(&t->gw->map, r->collection));
}

void native_indexes(struct turn *t, struct request *r)
{
	r->op = arena_alloc(&r->arena, sizeof(struct progress_op));
	map_refresh(t, r, progress_map);
}
