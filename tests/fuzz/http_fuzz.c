/* Any bytes as requests of clients, with any answers of the cluster. Input: texts separated by a
 * byte 0: requests, "METHOD target\nname: value\n...\n\nbody"; "WS target" is a GET that opens a
 * WebSocket, "COUCH METHOD target" a request of the other dialect, "SAY\n\nbytes" a message of the
 * last stream, "GONE" and "CLOSED" the end of the last request and of its connection. Each message
 * that the core sends is answered by a random valid one, drawn from a seed that is the input's
 * first byte; whatever comes, every request ends, and by then nothing is left but streams, which
 * end when their clients go. */
#include <stdlib.h>

#include "common/base/rng.h"
#include "common/timing.h"
#include "gateway/gateway.h"
#include "proto/schema_random.h"
#include "tests/fuzz/texts.h"

enum {
	HEADERS_MAX = 16,
	SENT_MAX = 64,
	REQUESTS_MAX = 8,
	TEXTS_MAX = 24,
	ROUNDS_MAX = 400,
	NODES = 3,
	START_MS = 1000,
	LOCK_WAIT_MS = 3000,
	EDIT_MS = 8000,
	/* the longest that a request may live on */
	WAIT_MAX_MS = EDIT_MS + LOCK_WAIT_MS + REQUEST_DEADLINE_MS
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sent {
	uint64_t member;
	struct envelope envelope;
};

struct world {
	struct gateway *gw;
	struct effects fx;
	struct arena arena;
	struct rng rng;
	int64_t now_ms;
	struct sent sent[SENT_MAX]; /* not answered yet */
	uint32_t sent_count;
	uint64_t asked; /* ids count from 1, and are those of their connections, too */
	uint32_t left;  /* asked, not answered, not gone */
	bool waiting[REQUESTS_MAX + 1];
	bool streaming[REQUESTS_MAX + 1];
	bool closing[REQUESTS_MAX + 1]; /* a stream that the core has closed */
};

static void take_answer(struct world *w, uint64_t request, const struct http_response *response)
{
	CHECK(request > 0 && request <= w->asked && w->waiting[request]);
	CHECK(response->status >= 101 && response->status < 600);
	w->waiting[request] = false;
	w->left--;
	w->streaming[request] = response->kind != HTTP_WHOLE;
}

static void take_effects(struct world *w)
{
	for (uint32_t i = 0; i < w->fx.count; i++) {
		const struct effect *e = &w->fx.items[i];
		bool room = w->sent_count < SENT_MAX;
		if (e->kind == EFFECT_SEND && e->send.envelope.request_id != 0 && room)
			w->sent[w->sent_count++] = (struct sent){e->send.member, e->send.envelope};
		if (e->kind == EFFECT_RESPOND)
			take_answer(w, e->respond.request, &e->respond.response);
		if (e->kind == EFFECT_STREAM_CLOSE && e->stream_close.stream <= w->asked)
			w->closing[e->stream_close.stream] = true;
	}
	effects_clear(&w->fx);
}

static void step(struct world *w, struct event *event)
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
	step(w, &event);
}

static void send_map(struct world *w)
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
	struct envelope envelope = {.type = MSG_map_push};
	for (int i = 0; i < 2; i++) {
		shards[i].replicas = replicas;
		shards[i].replicas_count = NODES;
		shards[i].write_quorum = 2;
	}
	message(w, 1, ROLE_COORDINATOR, &envelope, &push);
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
	if (status && rng_chance(&w->rng, 800000))
		*status = likely[rng_below(&w->rng, ARRAY_LEN(likely))];
}

static void answer_one(struct world *w)
{
	uint32_t index = (uint32_t)rng_below(&w->rng, w->sent_count);
	struct sent sent = w->sent[index];
	w->sent[index] = w->sent[--w->sent_count];
	sent.envelope.type = answer_of(sent.envelope.type);
	const struct schema *schema = schema_of_message(sent.envelope.type);
	void *value = arena_alloc(&w->arena, schema->size);
	schema_random(schema, &w->rng, &w->arena, value);
	settle_status(w, sent.envelope.type, value);
	message(w, sent.member, sent.member == 1 ? ROLE_COORDINATOR : ROLE_STORAGE, &sent.envelope,
		value);
}

/* ---- clients ---- */

static enum http_method method_of(struct slice name)
{
	static const char *const names[] = {"GET",   "HEAD",   "POST",    "PUT",
					    "PATCH", "DELETE", "OPTIONS", "COPY"};
	for (int i = 0; i < (int)ARRAY_LEN(names); i++)
		if (slice_is(name, names[i]))
			return (enum http_method)i;
	return HTTP_OTHER;
}

static void stream_event(struct world *w, enum event_kind kind, uint64_t stream, struct slice bytes)
{
	struct event event = {.kind = kind};
	event.stream.stream = stream;
	event.stream.bytes = bytes;
	event.stream.text = true;
	step(w, &event);
}

/* The core closed it, or its client went. */
static void end_streams(struct world *w, bool all)
{
	for (uint64_t id = 1; id <= w->asked; id++) {
		if (!w->streaming[id] || !(all || w->closing[id]))
			continue;
		w->streaming[id] = false;
		stream_event(w, EVENT_STREAM_GONE, id, slice_of(NULL, 0));
	}
}

static void say(struct world *w, struct slice text)
{
	uint64_t id = w->asked;
	while (id > 0 && !w->streaming[id])
		id--;
	while (text.len > 0 && take_until(&text, '\n').len > 0)
		;
	if (id > 0)
		stream_event(w, EVENT_STREAM_MESSAGE, id, text);
}

static void gone(struct world *w)
{
	struct event event = {.kind = EVENT_HTTP_GONE, .http_gone = w->asked};
	if (w->asked == 0 || !w->waiting[w->asked])
		return;
	w->waiting[w->asked] = false;
	w->left--;
	step(w, &event);
}

static void closed(struct world *w)
{
	struct event event = {.kind = EVENT_HTTP_CLOSED, .http_closed = w->asked};
	gone(w);
	if (w->asked > 0 && !w->streaming[w->asked])
		step(w, &event);
}

static void request(struct world *w, struct slice line, struct slice text, bool websocket,
		    enum dialect dialect)
{
	struct http_field headers[HEADERS_MAX];
	struct http_request r = {
	    .id = ++w->asked, .dialect = dialect, .headers = headers, .websocket = websocket};
	struct event event = {.kind = EVENT_HTTP_REQUEST, .http = &r};
	r.connection = r.id;
	r.method = method_of(take_until(&line, ' '));
	if (websocket)
		r.method = HTTP_GET;
	r.path = take_until(&line, '?');
	r.query = line;
	while (text.len > 0 && (line = take_until(&text, '\n')).len > 0 &&
	       r.headers_count < HEADERS_MAX) {
		struct http_field *field = &headers[r.headers_count++];
		field->name = take_until(&line, ':');
		take_until(&line, ' ');
		field->value = line;
	}
	r.body = text;
	w->waiting[r.id] = true;
	w->left++;
	step(w, &event);
}

static void client(struct world *w, struct slice text)
{
	struct slice rest = text;
	struct slice line = take_until(&rest, '\n');
	if (slice_is(line, "SAY"))
		say(w, rest);
	else if (slice_is(line, "GONE"))
		gone(w);
	else if (slice_is(line, "CLOSED"))
		closed(w);
	else if (w->asked < REQUESTS_MAX) {
		bool couch = line.len > 6 && memcmp(line.data, "COUCH ", 6) == 0;
		bool websocket = line.len > 3 && memcmp(line.data, "WS ", 3) == 0;
		if (couch)
			line = slice_of(line.data + 6, line.len - 6);
		request(w, line, rest, websocket, couch ? DIALECT_COUCH : DIALECT_NATIVE);
	}
	end_streams(w, false);
}

/* ---- the end ---- */

static void answer_all(struct world *w)
{
	for (int i = 0; i < ROUNDS_MAX && w->sent_count > 0; i++) {
		answer_one(w);
		end_streams(w, false);
	}
}

/* Every request ends by its own deadline, whatever the cluster says or does not say. */
static void run_out(struct world *w)
{
	while (w->left > 0) {
		int64_t next_ms = gateway_ops.deadline(w->gw);
		struct event timer = {.kind = EVENT_TIMER};
		w->now_ms = next_ms > w->now_ms ? next_ms : w->now_ms;
		CHECK(w->now_ms <= START_MS + WAIT_MAX_MS);
		step(w, &timer);
	}
	end_streams(w, true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint64_t nodes[NODES] = {2, 3, 4};
	struct gateway_options options = {.self = 9,
					  .coordinator = 1,
					  .storage = nodes,
					  .storage_count = NODES,
					  .version = "fuzz",
					  .limits = {.edit_ms_max = EDIT_MS,
						     .lock_wait_ms = LOCK_WAIT_MS,
						     .lock_wait_max_ms = LOCK_WAIT_MS}};
	struct world w = {.now_ms = START_MS};
	struct event start = {.kind = EVENT_START};
	struct slice rest = slice_of(data, size);
	rng_init(&w.rng, size ? data[0] : 0);
	take_until(&rest, size ? data[0] : 0);
	w.gw = gateway_new(&options, 1);
	step(&w, &start);
	send_map(&w);
	for (int i = 0; i < TEXTS_MAX && rest.len > 0; i++)
		client(&w, take_until(&rest, 0));
	answer_all(&w);
	run_out(&w);
	gateway_free(w.gw);
	effects_close(&w.fx);
	arena_close(&w.arena);
	return 0;
}
