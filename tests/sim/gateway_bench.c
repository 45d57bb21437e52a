#include "tests/sim/gateway_bench.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/doc/json.h"
#include "common/doc/revision.h"
#include "proto/msgpack.h"

enum { HEADERS_MAX = 32, START_MS = 1000000, CLUSTER_COLLECTION = 7 };

static const char *const method_names[] = {"GET",   "HEAD",   "POST",    "PUT",
					   "PATCH", "DELETE", "OPTIONS", "COPY"};
static const char *const op_names[] = {"?", "post", "put", "patch", "delete", "update"};

/* ---- effects as text ---- */

static void print_json(struct buf *out, const char *name, struct slice value)
{
	if (value.len == 0)
		return;
	buf_append_text(out, name);
	if (!json_from_msgpack(value, out))
		buf_append_text(out, "?");
}

static void print_texts(struct buf *out, const char *name, const struct slice *texts,
			uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		buf_append_text(out, i == 0 ? name : ",");
		buf_append_slice(out, texts[i]);
	}
}

/* Before a clock is known nothing is said. */
static void print_until(struct buf *out, uint64_t until_ms, uint64_t life)
{
	if (life > 0)
		buf_printf(out, " until=%" PRIu64, until_ms);
}

/* Their first bytes. */
static void print_locks(struct buf *out, const struct slice *ids, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		buf_printf(out, "%s%02x", i == 0 ? " locks=" : ",", ids[i].data[0]);
}

static void print_write(struct buf *out, const struct msg_doc_write *m)
{
	static const char *const expects[] = {"", "", " absent", " present"};
	buf_printf(out, "%s ", op_names[m->op]);
	buf_append_slice(out, m->id);
	print_json(out, " ", m->body);
	buf_append_text(out, expects[m->expect]);
	for (uint32_t i = 0; i < m->expected_count; i++) {
		buf_append_text(out, i == 0 ? " if=" : ",");
		revision_print(&m->expected[i], out);
	}
	buf_append_text(out, m->operation_digest.len ? " key" : "");
	buf_append_text(out, m->branch ? " branch" : "");
	buf_append_text(out, m->keep_as_branch ? " keep" : "");
	print_locks(out, m->lock_ids, m->lock_ids_count);
	print_until(out, m->until_ms, m->life);
}

static void print_edit(struct buf *out, const struct msg_shard_edit *m)
{
	buf_printf(out, "edit %" PRIu64 " %s", m->shard, op_names[m->op]);
	print_json(out, " filter=", m->filter);
	print_json(out, " ", m->body);
	buf_append_text(out, slice_equal(m->operation_id, m->operation_digest) ? "" : " key");
	print_locks(out, m->lock_ids, m->lock_ids_count);
	print_until(out, m->until_ms, m->life);
}

static void print_query(struct buf *out, const struct msg_shard_query *m)
{
	buf_printf(out, "query %" PRIu64, m->shard);
	buf_append_text(out, m->count ? " count" : "");
	print_json(out, " filter=", m->filter);
	print_texts(out, " fields=", m->fields, m->fields_count);
	print_texts(out, " order=", m->order, m->order_count);
	if (m->limit > 0)
		buf_printf(out, " limit=%" PRIu64, m->limit);
	print_texts(out, " after=", &m->after, m->after.len > 0);
	for (uint32_t i = 0; i < m->after_keys_count; i++)
		print_json(out, i == 0 ? " after_keys=" : ",", m->after_keys[i]);
	print_texts(out, " index=", &m->index, m->index.len > 0);
	buf_append_text(out, m->no_index ? " no_index" : "");
	buf_append_text(out, m->any ? " any" : "");
}

static void print_read(struct buf *out, const struct msg_doc_read *m)
{
	buf_append_text(out, "read ");
	buf_append_slice(out, m->id);
	if (m->revision.generation > 0) {
		buf_append_text(out, " rev=");
		revision_print(&m->revision, out);
	}
	buf_append_text(out, m->want_leaves ? " leaves" : "");
	buf_append_text(out, m->any ? " any" : "");
}

/* Random numbers left out. */
static void print_creation(struct buf *out, struct msg_collection_create m)
{
	uint64_t until_ms = m.until_ms;
	uint64_t life = m.life;
	m.operation = m.until_ms = m.life = 0;
	schema_print(&schema_msg_collection_create, &m, out);
	print_until(out, until_ms, life);
}

static void print_message(struct gateway_bench *b, const struct effect *e)
{
	const struct schema *schema = schema_of_message(e->send.envelope.type);
	struct arena arena = {0};
	void *message = arena_alloc(&arena, schema->size);
	CHECK(schema_decode(schema, e->send.body, &arena, message));
	buf_printf(&b->trace, "-> %" PRIu64 "@%" PRIu64 " ", e->send.member,
		   e->send.envelope.epoch);
	switch (e->send.envelope.type) {
	case MSG_doc_write:
		print_write(&b->trace, message);
		break;
	case MSG_shard_edit:
		print_edit(&b->trace, message);
		break;
	case MSG_doc_read:
		print_read(&b->trace, message);
		break;
	case MSG_shard_query:
		print_query(&b->trace, message);
		break;
	case MSG_collection_create:
		print_creation(&b->trace, *(const struct msg_collection_create *)message);
		break;
	default:
		schema_print(schema, message, &b->trace);
	}
	buf_append_byte(&b->trace, '\n');
	arena_close(&arena);
}

static bool is_member_traffic(const struct envelope *envelope)
{
	bool own = envelope->type == MSG_lock_renew || envelope->type == MSG_lock_release ||
		   envelope->type == MSG_conflict_lease;
	return envelope->request_id == 0 && !own;
}

/* A question for the functions that look at all writes. */
static bool is_rule_question(const struct effect *e)
{
	struct arena arena = {0};
	struct msg_shard_query m = {0};
	bool is = e->send.envelope.type == MSG_shard_query &&
		  schema_decode(&schema_msg_shard_query, e->send.body, &arena, &m) &&
		  m.fields_count == 2 && slice_is(m.fields[1], "validate_doc_update");
	arena_close(&arena);
	return is;
}

static void note_send(struct gateway_bench *b, const struct effect *e)
{
	if (is_member_traffic(&e->send.envelope)) {
		b->maps_asked +=
		    e->send.envelope.type == MSG_map_request && e->send.member == BENCH_COORDINATOR;
		return;
	}
	if (is_rule_question(e)) {
		CHECK(b->rule_asked_count < BENCH_RULES_MAX);
		b->rule_asked[b->rule_asked_count++] =
		    (struct bench_sent){.member = e->send.member, .envelope = e->send.envelope};
		return;
	}
	if (e->send.envelope.type == MSG_shard_served) {
		CHECK(b->served_asked_count < BENCH_SERVED_MAX);
		b->served_asked[b->served_asked_count++] =
		    (struct bench_sent){.member = e->send.member, .envelope = e->send.envelope};
		return;
	}
	print_message(b, e);
	if (b->sent_count < BENCH_SENT_MAX)
		b->sent[b->sent_count++] = (struct bench_sent){
		    e->send.member, e->send.envelope, arena_copy(&b->sent_bodies, e->send.body)};
}

static void note_answer(struct gateway_bench *b, const struct effect *e)
{
	const struct http_response *response = &e->respond.response;
	b->status = response->status;
	b->tell_if_lost = response->tell_if_lost;
	buf_clear(&b->body);
	buf_append_slice(&b->body, response->body);
	buf_clear(&b->headers);
	buf_printf(&b->trace, "<- %" PRIu64 " %d", e->respond.request, response->status);
	for (uint32_t i = 0; i < response->headers_count; i++) {
		const struct http_field *field = &response->headers[i];
		buf_append_slice(&b->headers, field->name);
		buf_append_text(&b->headers, ": ");
		buf_append_slice(&b->headers, field->value);
		buf_append_byte(&b->headers, '\n');
		if (slice_is(field->name, "X-Request-Id"))
			continue;
		buf_append_byte(&b->trace, ' ');
		buf_append_slice(&b->trace, field->name);
		buf_append_byte(&b->trace, '=');
		buf_append_slice(&b->trace, field->value);
	}
	buf_append_byte(&b->trace, ' ');
	buf_append_slice(&b->trace, response->body);
	buf_append_byte(&b->trace, '\n');
}

/* << stream,stream: text */
static void note_stream(struct gateway_bench *b, const struct effect *e)
{
	for (uint32_t i = 0; i < e->stream_send.count; i++)
		buf_printf(&b->trace, "%s%" PRIu64, i == 0 ? "<< " : ",",
			   e->stream_send.streams[i]);
	buf_append_text(&b->trace, ": ");
	buf_append_slice(&b->trace, e->stream_send.body);
	buf_append_byte(&b->trace, '\n');
}

/* ?? id METHOD url header: value ... body */
static void note_fetch(struct gateway_bench *b, const struct http_fetch *f)
{
	buf_printf(&b->trace, "?? %" PRIu64 " %s ", f->id, method_names[f->method]);
	buf_append_slice(&b->trace, f->url);
	for (uint32_t i = 0; i < f->headers_count; i++) {
		buf_append_byte(&b->trace, ' ');
		buf_append_slice(&b->trace, f->headers[i].name);
		buf_append_text(&b->trace, ": ");
		buf_append_slice(&b->trace, f->headers[i].value);
	}
	buf_append_byte(&b->trace, ' ');
	buf_append_slice(&b->trace, f->body);
	buf_append_byte(&b->trace, '\n');
}

static void note_effects(struct gateway_bench *b)
{
	for (uint32_t i = 0; i < b->fx.count; i++) {
		const struct effect *e = &b->fx.items[i];
		if (e->kind == EFFECT_SEND)
			note_send(b, e);
		else if (e->kind == EFFECT_RESPOND)
			note_answer(b, e);
		else if (e->kind == EFFECT_LOG && e->log.level == LOG_LEVEL_ERROR)
			buf_printf(&b->trace, "! %.*s\n", (int)e->log.text.len,
				   (const char *)e->log.text.data);
		else if (e->kind == EFFECT_BODY_CREDIT)
			buf_printf(&b->trace, "++ %" PRIu64 " %u\n", e->body_credit.request,
				   e->body_credit.bytes);
		else if (e->kind == EFFECT_STREAM_SEND)
			note_stream(b, e);
		else if (e->kind == EFFECT_STREAM_CLOSE)
			buf_printf(&b->trace, "|| %" PRIu64 " %u %.*s\n", e->stream_close.stream,
				   e->stream_close.code, (int)e->stream_close.reason.len,
				   (const char *)e->stream_close.reason.data);
		else if (e->kind == EFFECT_PASSWORD)
			buf_printf(&b->trace, "## %" PRIu64 " cost=%u\n", e->password.id,
				   e->password.cost);
		else if (e->kind == EFFECT_SCRIPT)
			buf_printf(&b->trace, "$$ %" PRIu64 " %.*s\n", e->script.id,
				   (int)e->script.source.len, (const char *)e->script.source.data);
		else if (e->kind == EFFECT_SCRIPT_DROP)
			buf_printf(&b->trace, "$| %" PRIu64 "\n", e->script.id);
		else if (e->kind == EFFECT_FETCH)
			note_fetch(b, &e->fetch);
		else if (e->kind == EFFECT_FETCH_BODY)
			buf_printf(&b->trace, "?+ %" PRIu64 " %.*s\n", e->fetch.id,
				   (int)e->fetch.body.len, (const char *)e->fetch.body.data);
		else if (e->kind == EFFECT_FETCH_MORE)
			buf_printf(&b->trace, "?> %" PRIu64 "\n", e->fetch.id);
		else if (e->kind == EFFECT_FETCH_END)
			buf_printf(&b->trace, "?| %" PRIu64 "\n", e->fetch.id);
	}
	effects_clear(&b->fx);
	arena_reset(&b->arena);
}

/* ---- events ---- */

/* The first shard has the design document. */
static void answer_rule_questions(struct gateway_bench *b)
{
	struct buf body = {0};
	struct row row = {.id = slice_text("_design/r"), .revision = {1, slice_text("d")}};
	mp_write_map(&body, 1);
	mp_write_text(&body, "validate_doc_update");
	mp_write_text(&body, b->rule ? b->rule : "");
	row.body = buf_slice(&body);
	while (b->rule_asked_count > 0 && !b->rules_held) {
		struct bench_sent sent = b->rule_asked[--b->rule_asked_count];
		struct peer from = {sent.member, ROLE_STORAGE, 1};
		struct msg_shard_query_ack ack = {.status = STATUS_OK,
						  .rows = &row,
						  .rows_count =
						      b->rule && b->rule_asked_count == 0 ? 1 : 0};
		sent.envelope.type = MSG_shard_query_ack;
		gateway_bench_message(b, &from, &sent.envelope, &ack);
	}
	buf_close(&body);
}

/* All are. */
static void answer_served_questions(struct gateway_bench *b)
{
	while (b->served_asked_count > 0 && !b->served_held) {
		struct bench_sent sent = b->served_asked[--b->served_asked_count];
		struct peer from = {sent.member, ROLE_STORAGE, 1};
		struct msg_shard_served_ack ack = {.status = STATUS_OK};
		sent.envelope.type = MSG_shard_served_ack;
		gateway_bench_message(b, &from, &sent.envelope, &ack);
	}
}

void gateway_bench_event(struct gateway_bench *b, struct event *event)
{
	event->now_ms = b->now_ms;
	event->wall_ms = b->now_ms;
	gateway_ops.step(b->gw, event, &b->fx);
	note_effects(b);
	answer_rule_questions(b);
	answer_served_questions(b);
}

void gateway_bench_advance(struct gateway_bench *b, int64_t ms)
{
	int64_t end_ms = b->now_ms + ms;
	for (;;) {
		int64_t next_ms = gateway_ops.deadline(b->gw);
		if (next_ms > end_ms)
			break;
		if (next_ms > b->now_ms)
			b->now_ms = next_ms;
		struct event event = {.kind = EVENT_TIMER};
		gateway_bench_event(b, &event);
	}
	b->now_ms = end_ms;
}

void gateway_bench_message(struct gateway_bench *b, const struct peer *from,
			   const struct envelope *envelope, const void *message)
{
	const struct schema *schema = schema_of_message(envelope->type);
	struct buf bytes = {0};
	struct event event = {.kind = EVENT_MESSAGE};
	schema_encode(schema, message, &bytes);
	struct slice copy = arena_copy(&b->arena, buf_slice(&bytes));
	buf_close(&bytes);
	void *decoded = arena_alloc(&b->arena, schema->size);
	CHECK(schema_decode(schema, copy, &b->arena, decoded));
	event.message.from = *from;
	event.message.envelope = *envelope;
	event.message.body = decoded;
	gateway_bench_event(b, &event);
}

void gateway_bench_answer(struct gateway_bench *b, uint32_t index, uint16_t type,
			  const void *message)
{
	CHECK(index < b->sent_count);
	struct bench_sent sent = b->sent[index];
	bool coordinator = sent.member == BENCH_COORDINATOR;
	struct peer from = {sent.member, coordinator ? ROLE_COORDINATOR : ROLE_STORAGE, 1};
	sent.envelope.type = type;
	gateway_bench_message(b, &from, &sent.envelope, message);
}

static void fill_shard(struct shard *shard, struct replica *replicas, uint64_t id, uint64_t epoch,
		       uint64_t lead)
{
	*shard = (struct shard){.id = id,
				.collection = CLUSTER_COLLECTION,
				.epoch = epoch,
				.lead = lead,
				.replicas = replicas,
				.replicas_count = 3,
				.write_quorum = 2};
	for (uint64_t i = 0; i < 3; i++)
		replicas[i] = (struct replica){.node = BENCH_NODE + i, .incarnation = 100 + i};
}

static void fill_range(struct shard *shard, uint64_t index, uint64_t count)
{
	uint64_t width = UINT64_MAX / count;
	shard->hash_first = index * width;
	shard->hash_last = index + 1 == count ? UINT64_MAX : (index + 1) * width - 1;
}

void gateway_bench_map(struct gateway_bench *b, uint32_t shards, uint64_t mode)
{
	struct shard list[16];
	struct replica replicas[16][3];
	struct collection c = {.id = CLUSTER_COLLECTION,
			       .name = slice_text(b->name ? b->name : "c"),
			       .version = 1,
			       .replicas = 3,
			       .write_quorum = 2,
			       .mode = mode};
	struct msg_map_push push = {.map_version = 5,
				    .collections = &c,
				    .collections_count = 1,
				    .shards = list,
				    .shards_count = shards};
	struct msg_member_join_ack welcome = {.status = STATUS_OK};
	if (b->policy)
		c.policy = gateway_bench_document(b, b->policy);
	struct peer from = {BENCH_COORDINATOR, ROLE_COORDINATOR, 1};
	struct envelope joined = {.type = MSG_member_join_ack};
	struct envelope envelope = {.type = MSG_map_push};
	CHECK(shards <= 16);
	b->map_shards = shards;
	for (uint64_t i = 0; i < shards; i++) {
		fill_shard(&list[i], replicas[i], i + 1, 1, BENCH_NODE + i % 3);
		fill_range(&list[i], i, shards);
	}
	gateway_bench_message(b, &from, &joined, &welcome);
	gateway_bench_message(b, &from, &envelope, &push);
}

void gateway_bench_newer(struct gateway_bench *b, uint64_t shard, uint64_t epoch, uint64_t lead)
{
	struct replica replicas[3];
	struct msg_shard_newer newer;
	struct peer from = {BENCH_NODE, ROLE_STORAGE, 1};
	struct envelope envelope = {.type = MSG_shard_newer};
	fill_shard(&newer.shard, replicas, shard, epoch, lead);
	fill_range(&newer.shard, shard - 1, b->map_shards);
	gateway_bench_message(b, &from, &envelope, &newer);
}

/* ---- requests ---- */

void gateway_bench_request(struct gateway_bench *b, const struct http_request *request)
{
	struct event event = {.kind = EVENT_HTTP_REQUEST, .http = request};
	gateway_bench_event(b, &event);
}

static enum http_method method_of(struct slice name)
{
	for (int i = 0; i < (int)ARRAY_LEN(method_names); i++)
		if (slice_is(name, method_names[i]))
			return (enum http_method)i;
	return HTTP_OTHER;
}

static struct slice take_until(struct slice *rest, char stop)
{
	size_t end = 0;
	while (end < rest->len && rest->data[end] != (uint8_t)stop)
		end++;
	struct slice taken = slice_of(rest->data, end);
	size_t used = end < rest->len ? end + 1 : end;
	*rest = slice_of(rest->data + used, rest->len - used);
	return taken;
}

uint64_t gateway_bench_http(struct gateway_bench *b, const char *text)
{
	struct slice rest = slice_text(text);
	struct slice line = take_until(&rest, '\n');
	struct http_field headers[HEADERS_MAX];
	struct http_request request = {.id = ++b->requests, .headers = headers};
	request.connection = request.id;
	request.roles = b->roles;
	request.dialect = b->dialect;
	request.principal = slice_text(b->principal ? b->principal : "");
	request.address = slice_of("\x7f\0\0\1", 4);
	request.method = method_of(take_until(&line, ' '));
	request.path = take_until(&line, '?');
	request.query = line;
	while (rest.len > 0 && (line = take_until(&rest, '\n')).len > 0) {
		CHECK(request.headers_count < HEADERS_MAX);
		struct http_field *field = &headers[request.headers_count++];
		field->name = take_until(&line, ':');
		take_until(&line, ' ');
		field->value = line;
	}
	request.body = rest;
	gateway_bench_request(b, &request);
	return request.id;
}

struct slice gateway_bench_document(struct gateway_bench *b, const char *json)
{
	struct json_parser *parser = json_parser_new();
	struct json_error error;
	struct buf bytes = {0};
	CHECK(json_to_msgpack(parser, slice_text(json), &bytes, &error));
	struct slice out = arena_copy(&b->arena, buf_slice(&bytes));
	buf_close(&bytes);
	json_parser_free(parser);
	return out;
}

/* ---- life ---- */

void gateway_bench_open(struct gateway_bench *b, const struct gateway_limits *limits)
{
	struct couch_options couch = {0};
	gateway_bench_open_couch(b, limits, &couch);
}

void gateway_bench_open_couch(struct gateway_bench *b, const struct gateway_limits *limits,
			      const struct couch_options *couch)
{
	static const uint64_t nodes[] = {BENCH_NODE, BENCH_NODE + 1, BENCH_NODE + 2};
	struct gateway_options options = {.self = 21,
					  .coordinator = BENCH_COORDINATOR,
					  .storage = nodes,
					  .storage_count = 3,
					  .version = "0.0-test",
					  .replicate_hosts = "*.example, plain:5984",
					  .couch = *couch};
	struct event start = {.kind = EVENT_START};
	*b = (struct gateway_bench){.now_ms = START_MS};
	if (limits)
		options.limits = *limits;
	b->gw = gateway_new(&options, 42);
	gateway_bench_event(b, &start);
}

void gateway_bench_close(struct gateway_bench *b)
{
	gateway_free(b->gw);
	effects_close(&b->fx);
	arena_close(&b->arena);
	arena_close(&b->sent_bodies);
	buf_close(&b->trace);
	buf_close(&b->body);
	buf_close(&b->headers);
}

int gateway_bench_teardown(void **state)
{
	gateway_bench_close(*state);
	free(*state);
	return 0;
}

void gateway_bench_clear(struct gateway_bench *b)
{
	buf_clear(&b->trace);
	arena_reset(&b->sent_bodies);
	b->sent_count = 0;
	b->status = 0;
}
