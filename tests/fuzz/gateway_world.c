#include "tests/fuzz/gateway_world.h"

#include "proto/schema_random.h"

enum { NODES = 3 };

/* ---- the core ---- */

static void take_answer(struct world *w, uint64_t request, const struct http_response *response)
{
	CHECK(request > 0 && request <= w->asked && w->waiting[request]);
	CHECK(response->status >= 101 && response->status < 600);
	w->waiting[request] = false;
	w->left--;
	w->streaming[request] = response->kind != HTTP_WHOLE;
}

/* Whatever clients say, peers understand it. */
static void check_sent(struct world *w, const struct effect *e)
{
	const struct schema *schema = schema_of_message(e->send.envelope.type);
	void *decoded = arena_alloc(&w->arena, schema->size);
	CHECK(schema_decode(schema, e->send.body, &w->arena, decoded));
}

static void take_effects(struct world *w)
{
	for (uint32_t i = 0; i < w->fx.count; i++) {
		const struct effect *e = &w->fx.items[i];
		bool room = w->sent_count < WORLD_SENT_MAX;
		if (e->kind == EFFECT_SEND && e->send.envelope.request_id != 0 && room)
			w->sent[w->sent_count++] =
			    (struct world_sent){e->send.member, e->send.envelope};
		if (e->kind == EFFECT_SEND)
			check_sent(w, e);
		if (e->kind == EFFECT_RESPOND)
			take_answer(w, e->respond.request, &e->respond.response);
		if (e->kind == EFFECT_STREAM_CLOSE && e->stream_close.stream <= w->asked)
			w->closing[e->stream_close.stream] = true;
		if (w->look)
			w->look(w, e);
	}
	effects_clear(&w->fx);
}

void world_step(struct world *w, struct event *event)
{
	event->now_ms = w->now_ms;
	event->wall_ms = w->now_ms;
	gateway_ops.step(w->gw, event, &w->fx);
	take_effects(w);
	arena_reset(&w->arena);
}

/* ---- the cluster ---- */

static void message(struct world *w, uint64_t member, enum role role,
		    const struct envelope *envelope, void *value)
{
	const struct schema *schema = schema_of_message(envelope->type);
	struct buf bytes = {0};
	struct event event = {.kind = EVENT_MESSAGE};
	schema_encode(schema, value, &bytes);
	struct slice copy = arena_copy(&w->arena, buf_slice(&bytes));
	buf_close(&bytes);
	void *decoded = arena_alloc(&w->arena, schema->size);
	CHECK(schema_decode(schema, copy, &w->arena, decoded));
	event.message.from = (struct peer){member, role, 1};
	event.message.envelope = *envelope;
	event.message.body = decoded;
	world_step(w, &event);
}

static void send_map(struct world *w, uint64_t request)
{
	struct replica replicas[NODES] = {{.node = 2, .incarnation = 1},
					  {.node = 3, .incarnation = 1},
					  {.node = 4, .incarnation = 1, .learning = true}};
	struct shard shards[2] = {
	    {.id = 1, .collection = 7, .hash_last = UINT64_MAX / 2, .epoch = 1, .lead = 2},
	    {.id = 2,
	     .collection = 7,
	     .hash_first = UINT64_MAX / 2 + 1,
	     .hash_last = UINT64_MAX,
	     .epoch = 1,
	     .lead = 3},
	};
	struct collection c = {.id = 7,
			       .name = slice_text("c"),
			       .version = 1,
			       .replicas = 3,
			       .write_quorum = 2,
			       .mode = rng_below(&w->rng, MODE_MAX + 1)};
	struct msg_map_push push = {.map_version = 1,
				    .collections = &c,
				    .collections_count = 1,
				    .shards = shards,
				    .shards_count = 2};
	struct envelope envelope = {.type = MSG_map_push, .request_id = request};
	for (int i = 0; i < 2; i++) {
		shards[i].replicas = replicas;
		shards[i].replicas_count = NODES;
		shards[i].write_quorum = 2;
	}
	message(w, WORLD_COORDINATOR, ROLE_COORDINATOR, &envelope, &push);
}

static uint16_t answer_of(uint16_t type)
{
	switch (type) {
	case MSG_doc_write:
	case MSG_derived_check:
		return MSG_doc_write_ack;
	case MSG_doc_read:
		return MSG_doc_read_ack;
	case MSG_shard_query:
		return MSG_shard_query_ack;
	case MSG_conflict_list:
		return MSG_conflict_list_ack;
	case MSG_collection_create:
		return MSG_collection_create_ack;
	case MSG_system_list:
		return MSG_system_list_ack;
	case MSG_shard_edit:
		return MSG_shard_edit_ack;
	case MSG_view_query:
		return MSG_view_query_ack;
	case MSG_index_status:
		return MSG_index_status_ack;
	case MSG_shard_changes:
		return MSG_shard_changes_ack;
	case MSG_doc_import:
		return MSG_doc_import_ack;
	case MSG_doc_revisions:
		return MSG_doc_revisions_ack;
	case MSG_doc_erase:
		return MSG_doc_erase_ack;
	case MSG_revs_diff:
		return MSG_revs_diff_ack;
	case MSG_attachment_chunk:
		return MSG_attachment_chunk_ack;
	case MSG_attachment_read:
		return MSG_attachment_read_ack;
	case MSG_lock_acquire:
		return MSG_lock_acquire_ack;
	case MSG_lock_release:
		return MSG_lock_release_ack;
	case MSG_lock_renew:
		return MSG_lock_renew_ack;
	case MSG_feed_open:
		return MSG_feed_events;
	default:
		return MSG_map_push;
	}
}

/* Often a success, with whatever else it holds. */
static void settle_status(struct world *w, uint16_t type, void *value)
{
	static const enum status likely[] = {STATUS_OK,       STATUS_CREATED,  STATUS_ACCEPTED,
					     STATUS_NOT_LEAD, STATUS_CONFLICT, STATUS_LOCKED};
	uint64_t *status = type == MSG_map_push ? NULL : (uint64_t *)value;
	if (type == MSG_conflict_list_ack)
		status = &((struct msg_conflict_list_ack *)value)->status;
	if (status && rng_chance(&w->rng, w->success_ppm))
		*status = STATUS_OK;
	else if (status && rng_chance(&w->rng, 800000))
		*status = likely[rng_below(&w->rng, ARRAY_LEN(likely))];
}

void world_answer(struct world *w)
{
	uint32_t index = (uint32_t)rng_below(&w->rng, w->sent_count);
	struct world_sent sent = w->sent[index];
	w->sent[index] = w->sent[--w->sent_count];
	if (sent.envelope.type == MSG_map_request && rng_chance(&w->rng, w->success_ppm)) {
		send_map(w, sent.envelope.request_id);
		return;
	}
	sent.envelope.type = answer_of(sent.envelope.type);
	const struct schema *schema = schema_of_message(sent.envelope.type);
	void *value = arena_alloc(&w->arena, schema->size);
	schema_random(schema, &w->rng, &w->arena, value);
	settle_status(w, sent.envelope.type, value);
	message(w, sent.member, sent.member == WORLD_COORDINATOR ? ROLE_COORDINATOR : ROLE_STORAGE,
		&sent.envelope, value);
}

/* ---- all of it ---- */

void world_request(struct world *w, struct http_request *request)
{
	struct event event = {.kind = EVENT_HTTP_REQUEST, .http = request};
	request->id = request->connection = ++w->asked;
	CHECK(w->asked <= WORLD_REQUESTS_MAX);
	w->waiting[request->id] = true;
	w->left++;
	world_step(w, &event);
}

void world_gone(struct world *w)
{
	struct event event = {.kind = EVENT_HTTP_GONE, .http_gone = w->asked};
	if (w->asked == 0 || !w->waiting[w->asked])
		return;
	w->waiting[w->asked] = false;
	w->left--;
	world_step(w, &event);
}

void world_tick(struct world *w)
{
	int64_t next_ms = gateway_ops.deadline(w->gw);
	struct event timer = {.kind = EVENT_TIMER};
	w->now_ms = next_ms > w->now_ms ? next_ms : w->now_ms;
	world_step(w, &timer);
}

void world_open(struct world *w, const struct gateway_options *options, uint64_t seed)
{
	static const uint64_t nodes[NODES] = {2, 3, 4};
	struct gateway_options all = *options;
	struct event start = {.kind = EVENT_START};
	all.self = 9;
	all.coordinator = WORLD_COORDINATOR;
	all.storage = nodes;
	all.storage_count = NODES;
	all.version = "fuzz";
	w->now_ms = WORLD_START_MS;
	rng_init(&w->rng, seed);
	w->gw = gateway_new(&all, 1);
	world_step(w, &start);
	send_map(w, 0);
}

void world_close(struct world *w)
{
	gateway_free(w->gw);
	effects_close(&w->fx);
	arena_close(&w->arena);
}
