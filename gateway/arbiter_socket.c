/* GET /_/arbiter/_socket: conflicts, answers and renewals over one WebSocket.
 *
 *   {"ref":1,"listen":{"collections":[...],"credit":8,"leaseMs":30000}}    {"ref":1,"status":200}
 *                                                        {"conflict":{"lease":"...", ...}}
 *   {"ref":2,"lease":"...","answer":{"pick":"2-..."}}    {"ref":2,"status":200,"body":{...}}
 *   {"ref":3,"lease":"...","renew":{}}                   {"ref":3,"status":200,"body":{...}}
 *
 * Answers and renewals become the requests that they are over HTTP, and have their answers. */
#include "common/doc/value.h"
#include "common/probe.h"
#include "gateway/arbiter_stream.h"
#include "gateway/native.h"
#include "gateway/notify/notify.h"
#include "gateway/routes.h"
#include "gateway/url.h"

enum {
	REF_BYTES = 256,
	REQUESTS_MAX = 64, /* under way, of one socket */
	BAD_FRAMES_MAX = 10,
	LEASE_TEXT_BYTES = 1024
};

/* One message. Members that are absent are empty. */
struct frame {
	struct arena arena;
	struct slice ref; /* JSON */
	struct slice lease;
	struct slice listen, answer, renew;
};

/* ---- what is sent ---- */

void arbiter_socket_conflict(struct turn *t, const struct arbiter_stream *s, struct slice line)
{
	struct buf *out = &t->gw->scratch;
	buf_clear(out);
	buf_append_text(out, "{\"conflict\":");
	buf_append_slice(out, line);
	buf_append_byte(out, '}');
	fx_stream_send(t->fx, &s->id, 1, buf_slice(out));
}

static void send_answer(struct turn *t, const struct arbiter_stream *s, struct slice ref,
			int status, struct slice body)
{
	struct buf out = {0};
	buf_append_text(&out, "{\"ref\":");
	buf_append_slice(&out, ref.len > 0 ? ref : slice_text("null"));
	buf_printf(&out, ",\"status\":%d", status);
	if (body.len > 0) {
		buf_append_text(&out, ",\"body\":");
		buf_append_slice(&out, body);
	}
	buf_append_byte(&out, '}');
	fx_stream_send(t->fx, &s->id, 1, buf_slice(&out));
	buf_close(&out);
}

static void send_problem(struct turn *t, const struct arbiter_stream *s, struct slice ref,
			 const struct problem *p)
{
	struct buf body = {0};
	problem_print(p, slice_of(NULL, 0), &body);
	send_answer(t, s, ref, status_row(p->status)->http, buf_slice(&body));
	buf_close(&body);
}

static void socket_close(struct turn *t, struct arbiter_stream *s, enum status status)
{
	if (!s->closing)
		fx_stream_close(t->fx, s->id, NOTIFY_CODE_BAD, status_row(status)->code);
	s->closing = true;
}

/* ---- answers and renewals ---- */

/* Its origin: the stream, and the reference that the answer repeats. */
static void request_answered(struct turn *t, struct request *r, const struct reply *reply)
{
	struct slice ref = slice_of(r->origin.data + 8, r->origin.len - 8);
	struct arbiter_stream *s = arbiter_stream_find(t->gw, be64_read(r->origin.data));
	if (!s)
		return;
	s->requests--;
	if (!s->closing)
		send_answer(t, s, ref, reply->status, buf_slice(&reply->body));
}

static void frame_request(struct turn *t, struct arbiter_stream *s, const struct frame *f)
{
	bool answers = f->answer.len > 0;
	struct problem problem;
	struct buf path = {0}, body = {0}, origin = {0};
	if (s->requests >= BOUND(socket_requests, REQUESTS_MAX)) {
		problem_limit(&problem, STATUS_TOO_MANY_REQUESTS, "requests", REQUESTS_MAX,
			      s->requests + 1);
		send_problem(t, s, f->ref, &problem);
		return;
	}
	s->requests++;
	buf_append_text(&path, "/_/arbiter/");
	url_encode(f->lease, &path);
	buf_append_text(&path, answers ? "/answer" : "");
	if (!json_from_msgpack(answers ? f->answer : f->renew, &body))
		buf_clear(&body); /* refused as empty */
	buf_append_be64(&origin, s->id);
	buf_append_slice(&origin, f->ref);
	struct http_request http = {.id = ++t->gw->arbiters->next_request,
				    .method = answers ? HTTP_POST : HTTP_PUT,
				    .path = buf_slice(&path),
				    .body = buf_slice(&body),
				    .principal = buf_slice(&s->principal),
				    .roles = s->roles};
	request_internal(t, &http, request_answered, buf_slice(&origin));
	buf_close(&path);
	buf_close(&body);
	buf_close(&origin);
}

/* ---- listening ---- */

static bool listen_credit(struct slice value, uint64_t *out, struct problem *p)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	if (value.len == 0)
		return true;
	if (token.type != MP_UINT || token.u64 > LIMIT_OFFERS)
		return problem_limit(p, STATUS_BAD_PARAMETER, "/listen/credit", LIMIT_OFFERS,
				     token.type == MP_UINT ? token.u64 : 0);
	*out = token.u64;
	return true;
}

static bool listen_names(struct frame *f, struct slice *names, uint32_t *count, struct problem *p)
{
	struct slice list = value_member(f->listen, slice_text("collections"));
	struct mp_reader reader = mp_reader_of(list);
	struct mp_token head = mp_read(&reader);
	*count = 0;
	if (list.len == 0)
		return true;
	if (head.type != MP_ARRAY || head.count > ARBITER_COLLECTIONS_MAX)
		return problem_detail(p, STATUS_BAD_PARAMETER, "/listen/collections",
				      "An array of at most 64 names.");
	for (; *count < head.count; (*count)++) {
		struct mp_token name = mp_read(&reader);
		if (name.type != MP_STR || !collection_name_valid(name.bytes))
			return problem_set(p, STATUS_BAD_NAME, "/listen/collections");
		names[*count] = name.bytes;
	}
	return true;
}

/* Also while conflicts are out: a smaller credit counts from the next one on; 0 takes no more. */
static void frame_listen(struct turn *t, struct arbiter_stream *s, struct frame *f)
{
	struct slice names[ARBITER_COLLECTIONS_MAX];
	struct problem problem;
	uint32_t count;
	uint64_t credit = 1;
	uint64_t lease_ms = ARBITER_STREAM_LEASE_MS;
	static const char *const members[] = {"collections", "credit", "leaseMs", NULL};
	if (!native_members_at("/listen", f->listen, members, &problem) ||
	    !listen_credit(value_member(f->listen, slice_text("credit")), &credit, &problem) ||
	    !arbiter_take_ms(value_member(f->listen, slice_text("leaseMs")), "/listen/leaseMs",
			     &lease_ms, &problem) ||
	    !listen_names(f, names, &count, &problem)) {
		send_problem(t, s, f->ref, &problem);
		return;
	}
	s->credit = (uint32_t)credit;
	s->lease_ms = lease_ms;
	arbiter_stream_wants(t, s, names, count);
	send_answer(t, s, f->ref, 200, slice_of(NULL, 0));
}

/* ---- messages ---- */

static bool take_ref(struct frame *f, struct slice value)
{
	struct buf text = {0};
	enum value_rank rank = value_rank(value);
	bool fine = rank != RANK_MAP && rank != RANK_ARRAY && value.len <= REF_BYTES &&
		    (value.len == 0 || json_from_msgpack(value, &text));
	f->ref = fine ? arena_copy(&f->arena, buf_slice(&text)) : slice_of(NULL, 0);
	buf_close(&text);
	return fine;
}

static bool take_frame(struct turn *t, struct slice bytes, struct frame *f, struct problem *p)
{
	struct json_error error = {0};
	struct buf *scratch = &t->gw->scratch;
	buf_clear(scratch);
	if (!json_to_msgpack(t->gw->json, bytes, scratch, &error))
		return problem_detail(p, error.status, error.place, "A frame is a JSON object.");
	struct slice whole = arena_copy(&f->arena, buf_slice(scratch));
	if (value_rank(whole) != RANK_MAP)
		return problem_detail(p, STATUS_BAD_MESSAGE, "", "A frame is a JSON object.");
	static const char *const members[] = {"ref", "lease", "listen", "answer", "renew", NULL};
	if (!take_ref(f, value_member(whole, slice_text("ref"))))
		return problem_detail(p, STATUS_BAD_MESSAGE, "/ref",
				      "A number or a short text, which the answer repeats.");
	if (!native_members(whole, members, p))
		return false;
	struct mp_reader lease = mp_reader_of(value_member(whole, slice_text("lease")));
	struct mp_token token = mp_read(&lease);
	if (token.type == MP_STR && token.bytes.len > 0 && token.bytes.len <= LEASE_TEXT_BYTES)
		f->lease = token.bytes;
	f->listen = value_member(whole, slice_text("listen"));
	f->answer = value_member(whole, slice_text("answer"));
	f->renew = value_member(whole, slice_text("renew"));
	if ((f->listen.len > 0) + (f->answer.len > 0) + (f->renew.len > 0) != 1)
		return problem_detail(p, STATUS_BAD_MESSAGE, "",
				      "Exactly one of listen, answer and renew.");
	return f->listen.len > 0 || f->lease.len > 0 ||
	       problem_detail(p, STATUS_BAD_MESSAGE, "/lease", "The lease of a conflict.");
}

bool arbiter_socket_message(struct turn *t)
{
	struct arbiter_stream *s = arbiter_stream_find(t->gw, t->event->stream.stream);
	struct frame frame = {0};
	struct problem problem;
	if (!s || s->closing)
		return s != NULL;
	if (!take_frame(t, t->event->stream.bytes, &frame, &problem)) {
		send_problem(t, s, frame.ref, &problem);
		if (++s->bad_frames > BAD_FRAMES_MAX) /* it goes on like that */
			socket_close(t, s, problem.status);
	} else if (frame.listen.len > 0) {
		frame_listen(t, s, &frame);
	} else {
		frame_request(t, s, &frame);
	}
	arena_close(&frame.arena);
	return true;
}

void native_arbiter_socket(struct turn *t, struct request *r)
{
	struct problem problem = {0};
	struct arbiter_stream *s = NULL;
	bool fine = arbiter_allowed(r, &problem);
	if (fine && !r->http->websocket)
		fine = problem_detail(&problem, STATUS_BAD_PARAMETER, "Upgrade",
				      "This path takes a WebSocket.");
	if (!fine || !(s = arbiter_stream_new(t, r->id, &problem))) {
		answer_problem(t, r, &problem);
		return;
	}
	s->is_socket = true;
	s->roles = r->http->roles;
	buf_append_slice(&s->principal, r->http->principal);
	t->gw->arbiters->sockets++;
	struct http_response response = {.status = 101, .kind = HTTP_WEBSOCKET};
	fx_respond(t->fx, r->id, &response);
	metrics_answered(t->gw, r, 101, t->now_ms);
	request_finish(t, r);
}
