/* What canhazdb-client says over a WebSocket:
 *
 *   [acceptId, "GET" | "POST" | "NOTIFY" | "UNNOTIFY", data]
 *   ["A", acceptId, answer]   ["T", [path, collection, id, pattern]]
 *   ["R", acceptId, "COMMAND_NOT_FOUND"]   ["E", acceptId or null, {error, code, ...}]
 *
 * Members of data and answers are numbers as strings (WIRE_*). GET and POST become requests as
 * they come over HTTP. NOTIFY and UNNOTIFY are answered also when they change nothing,
 * and what can't be done with the error in the answer: the client waits for no other kind. */
#include <inttypes.h>

#include "common/base/memory.h"
#include "common/doc/value.h"
#include "gateway/http_answer.h"
#include "gateway/notify/feed.h"
#include "gateway/url.h"

#define WIRE_STATUS        "1"
#define WIRE_DOCUMENT      "2"
#define WIRE_DOCUMENTS     "3"
#define WIRE_DATA          "4"
#define WIRE_LOCK_ID       "16"
#define WIRE_LOCK_STRATEGY "17"
#define WIRE_COLLECTION    "20"
#define WIRE_RESOURCE      "21"
#define WIRE_QUERY         "22"
#define WIRE_FIELDS        "23"
#define WIRE_LIMIT         "24"
#define WIRE_ORDER         "25"

enum { WIRE_STRATEGY_FAIL = 18 };

/* One message: [accept, command, data], each as MessagePack. */
struct frame {
	struct slice accept; /* JSON */
	struct slice command;
	struct slice data;
	struct arena *arena;
};

void notify_socket_open(struct turn *t, struct request *r)
{
	struct problem problem;
	if (!notify_room(t->gw, &problem)) {
		answer_problem(t, r, &problem);
		return;
	}
	struct http_response response = {.status = 101, .kind = HTTP_WEBSOCKET};
	subscriber_new(t, r->id, SUBSCRIBER_SOCKET);
	fx_respond(t->fx, r->id, &response);
	metrics_answered(t->gw, r, 101, t->now_ms);
	request_finish(t, r);
}

/* ---- answers ---- */

static void socket_send(struct turn *t, uint64_t stream, const struct buf *frame)
{
	fx_stream_send(t->fx, &stream, 1, buf_slice(frame));
}

/* ["kind",accept and what follows is the caller's. */
static struct buf *wire_begin(struct turn *t, const char *kind, struct slice accept)
{
	struct buf *out = &t->gw->notify->frame;
	buf_clear(out);
	buf_printf(out, "[\"%s\",", kind);
	if (accept.len > 0)
		buf_append_slice(out, accept);
	else
		buf_append_text(out, "null");
	return out;
}

void socket_accept(struct turn *t, struct subscriber *sub, struct slice accept)
{
	struct buf *out = wire_begin(t, "A", accept);
	buf_append_byte(out, ']');
	socket_send(t, sub->stream, out);
}

static void socket_error(struct turn *t, struct subscriber *sub, struct slice accept,
			 const struct problem *p)
{
	struct buf *out = wire_begin(t, "E", accept);
	buf_append_byte(out, ',');
	problem_print(p, slice_of(NULL, 0), out);
	buf_append_byte(out, ']');
	socket_send(t, sub->stream, out);
}

/* The client goes on sending what can't be read: it is cut off some time. */
static void bad_frame(struct turn *t, struct subscriber *sub, struct slice accept,
		      const struct problem *p)
{
	socket_error(t, sub, accept, p);
	if (++sub->bad_frames > NOTIFY_BAD_FRAMES)
		subscriber_cut(t, sub, NOTIFY_CODE_BAD, p->status);
}

/* ---- GET and POST ---- */

/* What a request of a frame must remember for its answer. */
enum origin_kind { ORIGIN_LIST, ORIGIN_ONE, ORIGIN_POST };

static void append_member(struct buf *out, const char *name, struct slice value)
{
	if (value.len == 0)
		return;
	buf_printf(out, "%s\"%s\":", out->data[out->len - 1] == '{' ? "" : ",", name);
	if (!json_from_msgpack(value, out))
		buf_append_text(out, "null");
}

static struct slice data_member(const struct frame *f, const char *name)
{
	struct slice value = value_member(f->data, slice_text(name));
	struct mp_reader reader = mp_reader_of(value);
	return value.len == 0 || mp_peek(&reader) == MP_NIL ? slice_of(NULL, 0) : value;
}

static struct slice data_text(const struct frame *f, const char *name)
{
	struct mp_reader reader = mp_reader_of(data_member(f, name));
	struct mp_token token = mp_read(&reader);
	return token.type == MP_STR ? token.bytes : slice_of(NULL, 0);
}

/* Stream, kind, accept id, and the members that an error repeats: type, collectionId, query and
 * limit. */
static void print_origin(struct buf *out, const struct subscriber *sub, const struct frame *f,
			 enum origin_kind kind)
{
	buf_append_be64(out, sub->stream);
	buf_append_byte(out, (uint8_t)kind);
	buf_append_be32(out, (uint32_t)f->accept.len);
	buf_append_slice(out, f->accept);
	buf_append_text(out, kind == ORIGIN_POST ? ",\"type\":\"POST\"" : ",\"type\":\"GET\"");
	append_member(out, "collectionId", data_member(f, WIRE_COLLECTION));
	if (kind == ORIGIN_POST)
		return;
	append_member(out, "query", data_member(f, WIRE_QUERY));
	append_member(out, "fields", data_member(f, WIRE_FIELDS));
	append_member(out, "order", data_member(f, WIRE_ORDER));
	append_member(out, "limit", data_member(f, WIRE_LIMIT));
}

/* Nothing of what a socket's client understands would say that there are more. */
static const char *const cut_text = "This list is longer than one answer (max_list_rows, "
				    "max_list_bytes): give a limit, or ask over "
				    "HTTP, where it goes on with X-Parley-Cursor.";

/* The sentence of a refusal, and its detail. */
static void print_error(struct turn *t, struct slice body, struct buf *out)
{
	struct json_error error;
	struct buf value = {0};
	struct buf text = {0};
	static const char *const names[] = {"error", "place", "detail"};
	if (json_to_msgpack(t->gw->json, body, &value, &error)) {
		for (size_t i = 0; i < ARRAY_LEN(names); i++) {
			struct slice member = value_member(buf_slice(&value), slice_text(names[i]));
			struct mp_reader reader = mp_reader_of(member);
			struct mp_token token = mp_read(&reader);
			if (token.type != MP_STR)
				continue;
			buf_append_text(&text, text.len ? " " : "");
			buf_append_slice(&text, token.bytes);
		}
	}
	json_string(buf_slice(&text), out);
	buf_close(&text);
	buf_close(&value);
}

static void print_answer(struct buf *out, enum origin_kind kind, int status, struct slice body)
{
	bool list = kind != ORIGIN_POST;
	bool wrap = kind == ORIGIN_ONE;
	buf_printf(out, ",{\"" WIRE_STATUS "\":%d,\"%s\":", status,
		   list ? WIRE_DOCUMENTS : WIRE_DOCUMENT);
	buf_append_text(out, wrap ? "[" : "");
	buf_append_slice(out, body);
	buf_append_text(out, wrap ? "]}]" : "}]");
}

static void frame_answered(struct turn *t, struct request *r, const struct reply *reply)
{
	const uint8_t *at = r->origin.data;
	uint64_t stream = be64_read(at);
	enum origin_kind kind = at[8];
	size_t accept_len = be32_read(at + 9);
	struct slice accept = slice_of(at + 13, accept_len);
	struct slice repeated = slice_of(at + 13 + accept_len, r->origin.len - 13 - accept_len);
	struct subscriber *sub = subscriber_find(t->gw, stream);
	if (!sub)
		return;
	sub->requests--;
	if (sub->closing)
		return;
	struct buf *out = wire_begin(t, "A", accept);
	if (reply->cut) {
		buf_printf(out, ",{\"" WIRE_STATUS "\":413,\"" WIRE_DATA "\":{\"error\":");
		json_string(slice_text(cut_text), out);
		buf_append_slice(out, repeated);
		buf_append_text(out, "}}]");
	} else if (reply->status < 300) {
		print_answer(out, kind, reply->status, buf_slice(&reply->body));
	} else if (kind == ORIGIN_ONE && reply->status == 404) {
		print_answer(out, kind, 200, slice_of(NULL, 0));
	} else {
		buf_printf(out,
			   ",{\"" WIRE_STATUS "\":%d,\"" WIRE_DATA "\":{\"error\":", reply->status);
		print_error(t, buf_slice(&reply->body), out);
		buf_append_slice(out, repeated);
		buf_append_text(out, "}}]");
	}
	socket_send(t, stream, out);
}

/* A command that can't be carried out is answered all the same: who asked waits for that. */
static void frame_refuse(struct turn *t, struct subscriber *sub, const struct frame *f,
			 const char *type, const struct problem *p)
{
	struct buf body = {0};
	struct buf *out = wire_begin(t, "A", f->accept);
	problem_print(p, slice_of(NULL, 0), &body);
	buf_printf(out, ",{\"" WIRE_STATUS "\":%d,\"" WIRE_DATA "\":{\"error\":",
		   status_row(p->status)->http);
	print_error(t, buf_slice(&body), out);
	buf_printf(out, ",\"type\":\"%s\"", type);
	append_member(out, "collectionId", data_member(f, WIRE_COLLECTION));
	buf_append_text(out, "}}]");
	socket_send(t, sub->stream, out);
	buf_close(&body);
}

static bool may_request(const struct subscriber *sub, struct slice collection, struct problem *p)
{
	if (sub->requests >= NOTIFY_REQUESTS_MAX)
		return problem_limit(p, STATUS_TOO_MANY_REQUESTS, "requests", NOTIFY_REQUESTS_MAX,
				     sub->requests + 1);
	return collection.len > 0 || problem_set(p, STATUS_BAD_NAME, WIRE_COLLECTION);
}

/* x-lock-id and x-lock-strategy of a POST. */
static uint32_t lock_headers(const struct frame *f, struct http_field out[2])
{
	struct mp_reader reader = mp_reader_of(data_member(f, WIRE_LOCK_STRATEGY));
	struct mp_token strategy = mp_read(&reader);
	struct slice id = data_text(f, WIRE_LOCK_ID);
	uint32_t count = 0;
	if (id.len > 0)
		out[count++] = (struct http_field){slice_text("x-lock-id"), id};
	if (strategy.type == MP_UINT && strategy.u64 == WIRE_STRATEGY_FAIL)
		out[count++] =
		    (struct http_field){slice_text("x-lock-strategy"), slice_text("fail")};
	return count;
}

static void frame_request(struct turn *t, struct subscriber *sub, const struct frame *f,
			  enum origin_kind kind)
{
	struct slice collection = data_text(f, WIRE_COLLECTION);
	struct http_request http = {.id = ++t->gw->notify->next_request, .method = HTTP_POST};
	struct problem problem;
	struct buf path = {0};
	struct buf body = {0};
	struct buf origin = {0};
	struct http_field headers[2];
	if (!may_request(sub, collection, &problem)) {
		frame_refuse(t, sub, f, kind == ORIGIN_POST ? "POST" : "GET", &problem);
		return;
	}
	sub->requests++;
	buf_append_byte(&path, '/');
	url_encode(collection, &path);
	if (kind == ORIGIN_ONE) {
		http.method = HTTP_GET;
		buf_append_byte(&path, '/');
		url_encode(data_text(f, WIRE_RESOURCE), &path);
	} else if (kind == ORIGIN_LIST) {
		buf_append_text(&path, "/_query");
		buf_append_byte(&body, '{');
		append_member(&body, "query", data_member(f, WIRE_QUERY));
		append_member(&body, "fields", data_member(f, WIRE_FIELDS));
		append_member(&body, "order", data_member(f, WIRE_ORDER));
		append_member(&body, "limit", data_member(f, WIRE_LIMIT));
		buf_append_byte(&body, '}');
	} else if (!json_from_msgpack(value_member(f->data, slice_text(WIRE_DOCUMENT)), &body)) {
		buf_clear(&body); /* refused as empty */
	}
	print_origin(&origin, sub, f, kind);
	http.headers = headers;
	http.headers_count = kind == ORIGIN_POST ? lock_headers(f, headers) : 0;
	http.path = buf_slice(&path);
	http.body = buf_slice(&body);
	request_internal(t, &http, frame_answered, buf_slice(&origin));
	buf_close(&path);
	buf_close(&body);
	buf_close(&origin);
}

/* ---- subscriptions ---- */

static void frame_notify(struct turn *t, struct subscriber *sub, const struct frame *f)
{
	struct mp_reader reader = mp_reader_of(f->data);
	struct mp_token text = mp_read(&reader);
	struct problem problem;
	struct subscription *s = text.type == MP_STR ? subscription_find(sub, text.bytes) : NULL;
	if (sub->waits == NOTIFY_WAITS_MAX) { /* no lead, and the client asks and asks */
		problem_limit(&problem, STATUS_TOO_MANY_REQUESTS, "requests", NOTIFY_WAITS_MAX,
			      sub->waits + 1);
		frame_refuse(t, sub, f, "NOTIFY", &problem);
		return;
	}
	if (!s) {
		struct pattern *pattern = NULL;
		if (text.type != MP_STR)
			problem_detail(&problem, STATUS_BAD_PATTERN, "path",
				       "A pattern is a string.");
		else if (sub->count == NOTIFY_PATTERNS_MAX)
			problem_limit(&problem, STATUS_BAD_PATTERN, "path", NOTIFY_PATTERNS_MAX,
				      sub->count + 1);
		else
			pattern = pattern_get(t, text.bytes, &problem);
		if (!pattern) {
			frame_refuse(t, sub, f, "NOTIFY", &problem);
			return;
		}
		s = subscription_add(t, sub, pattern);
	}
	if (s->active)
		socket_accept(t, sub, f->accept);
	else
		notify_wait(t, sub, s, f->accept);
}

static void frame_unnotify(struct turn *t, struct subscriber *sub, const struct frame *f)
{
	struct mp_reader reader = mp_reader_of(f->data);
	struct mp_token text = mp_read(&reader);
	struct subscription *s = text.type == MP_STR ? subscription_find(sub, text.bytes) : NULL;
	if (s) {
		waiters_accept(t, sub, s);
		subscription_remove(t, s);
	}
	socket_accept(t, sub, f->accept);
}

/* ---- frames ---- */

static bool take_frame(struct turn *t, struct slice bytes, struct frame *f, struct problem *p)
{
	struct json_error error = {0};
	struct buf *scratch = &t->gw->scratch;
	struct buf accept = {0};
	buf_clear(scratch);
	if (!json_to_msgpack(t->gw->json, bytes, scratch, &error))
		return problem_detail(p, error.status, error.place, "A frame is JSON text.");
	struct mp_reader reader = mp_reader_of(arena_copy(f->arena, buf_slice(scratch)));
	struct mp_token head = mp_read(&reader);
	if (head.type != MP_ARRAY || head.count < 2 || head.count > 3)
		return problem_detail(p, STATUS_BAD_MESSAGE, "",
				      "A frame is [acceptId, command, data].");
	struct slice id = mp_value(&reader);
	bool fine = id.len <= NOTIFY_ACCEPT_BYTES && json_from_msgpack(id, &accept);
	f->accept = fine ? arena_copy(f->arena, buf_slice(&accept)) : slice_of(NULL, 0);
	buf_close(&accept);
	if (!fine)
		return problem_limit(p, STATUS_BAD_MESSAGE, "acceptId", NOTIFY_ACCEPT_BYTES,
				     id.len);
	f->command = mp_value(&reader);
	if (head.count == 3)
		f->data = mp_value(&reader);
	return true;
}

static void frame_run(struct turn *t, struct subscriber *sub, const struct frame *f)
{
	struct mp_reader reader = mp_reader_of(f->command);
	struct mp_token token = mp_read(&reader);
	struct slice command = token.type == MP_STR ? token.bytes : slice_of(NULL, 0);
	if (slice_is(command, "GET")) {
		bool one = data_text(f, WIRE_RESOURCE).len > 0;
		frame_request(t, sub, f, one ? ORIGIN_ONE : ORIGIN_LIST);
	} else if (slice_is(command, "POST")) {
		frame_request(t, sub, f, ORIGIN_POST);
	} else if (slice_is(command, "NOTIFY")) {
		frame_notify(t, sub, f);
	} else if (slice_is(command, "UNNOTIFY")) {
		frame_unnotify(t, sub, f);
	} else {
		struct buf *out = wire_begin(t, "R", f->accept);
		buf_append_text(out, ",\"COMMAND_NOT_FOUND\"]");
		socket_send(t, sub->stream, out);
	}
}

void notify_stream_message(struct turn *t)
{
	struct subscriber *sub = subscriber_find(t->gw, t->event->stream.stream);
	struct arena arena = {0};
	struct frame frame = {.arena = &arena};
	struct problem problem;
	if (!sub || sub->kind != SUBSCRIBER_SOCKET || sub->closing)
		return;
	if (take_frame(t, t->event->stream.bytes, &frame, &problem))
		frame_run(t, sub, &frame);
	else
		bad_frame(t, sub, frame.accept, &problem);
	arena_close(&arena);
	notify_finish(t);
}
