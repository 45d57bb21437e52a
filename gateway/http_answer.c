#include "gateway/http_answer.h"

#include <inttypes.h>

#include "common/doc/revision.h"
#include "gateway/couch/auth.h"
#include "gateway/couch/couch.h"
#include "gateway/routes.h"
#include "gateway/url.h"

struct reply *reply_begin(struct turn *t, int http_status)
{
	struct reply *reply = &t->gw->reply;
	reply->status = http_status;
	reply->headers_count = 0;
	reply->content_type = slice_of(NULL, 0);
	reply->tell_if_lost = false;
	reply->cut = false;
	reply->length = 0;
	buf_clear(&reply->body);
	return reply;
}

void reply_header(struct request *r, struct reply *reply, const char *name, struct slice value)
{
	CHECK(reply->headers_count < REPLY_HEADERS_MAX);
	struct http_field *field = &reply->headers[reply->headers_count++];
	field->name = slice_text(name);
	field->value = arena_copy(&r->arena, value);
}

static void header_buf(struct request *r, struct reply *reply, const char *name, struct buf *value)
{
	reply_header(r, reply, name, buf_slice(value));
	buf_close(value);
}

void reply_etag(struct request *r, struct reply *reply, const struct revision *revision)
{
	if (revision->generation == 0)
		return;
	struct buf text = {0};
	buf_append_byte(&text, '"');
	revision_print(revision, &text);
	buf_append_byte(&text, '"');
	header_buf(r, reply, "ETag", &text);
}

void reply_conflicts(struct request *r, struct reply *reply, uint64_t conflicts)
{
	if (conflicts == 0)
		return;
	struct buf text = {0};
	buf_printf(&text, "%" PRIu64, conflicts);
	header_buf(r, reply, "X-Parley-Conflicts", &text);
}

void reply_location(struct request *r, struct reply *reply, struct slice id)
{
	struct buf text = {0};
	buf_append_byte(&text, '/');
	url_encode(r->collection, &text);
	buf_append_byte(&text, '/');
	url_encode(id, &text);
	header_buf(r, reply, "Location", &text);
}

void reply_send(struct turn *t, struct request *r, struct reply *reply)
{
	if (r->reply) {
		r->reply(t, r, reply);
		request_finish(t, r);
		return;
	}
	reply_header(r, reply, "X-Request-Id", r->request_id);
	if (r->dialect == DIALECT_COUCH)
		couch_reply_headers(t, r, reply);
	if (r->unconfirmed)
		reply_header(r, reply, "X-Parley-Unconfirmed", slice_text("map"));
	if (t->gw->draining)
		reply_header(r, reply, "Connection", slice_text("close"));
	struct slice type = reply->content_type;
	if (type.len == 0 && (reply->body.len > 0 || reply->length > 0))
		type = slice_text("application/json");
	struct http_response response = {
	    .status = reply->status,
	    .content_type = type,
	    .headers = reply->headers,
	    .headers_count = reply->headers_count,
	    .body = buf_slice(&reply->body),
	    .length = reply->length,
	    .tell_if_lost = reply->tell_if_lost,
	};
	fx_respond(t->fx, r->id, &response);
	metrics_answered(t->gw, r, reply->status, t->now_ms);
	request_finish(t, r);
}

/* The hash of a foreign revision may hold a backslash. */
void json_revision(const struct revision *revision, struct buf *out)
{
	struct buf text = {0};
	revision_print(revision, &text);
	json_string(buf_slice(&text), out);
	buf_close(&text);
}

static void member_text(struct buf *out, const char *name, const char *value)
{
	if (*value == 0)
		return;
	buf_printf(out, ",\"%s\":", name);
	json_string(slice_text(value), out);
}

void problem_print(const struct problem *p, struct slice request_id, struct buf *out)
{
	const struct status_row *row = status_row(p->status);
	buf_append_text(out, "{\"error\":");
	json_string(slice_text(row->text), out);
	member_text(out, "code", row->code);
	buf_printf(out, ",\"status\":%d", row->http);
	member_text(out, "place", p->place);
	member_text(out, "detail", p->detail);
	if (p->limit_key) {
		member_text(out, "key", p->limit_key);
		buf_printf(out, ",\"limit\":%" PRIu64 ",\"size\":%" PRIu64, p->limit, p->actual);
	}
	if (p->current.generation > 0) {
		buf_append_text(out, ",\"current\":");
		json_revision(&p->current, out);
	}
	if (p->partial) {
		buf_printf(out, ",\"changes\":%" PRIu64, p->changes);
		if (p->document.len > 0) {
			buf_append_text(out, ",\"id\":");
			json_string(p->document, out);
		}
	}
	if (request_id.len > 0) {
		buf_append_text(out, ",\"requestId\":");
		json_string(request_id, out);
	}
	buf_append_byte(out, '}');
}

/* What INTERNAL says to its client sends whoever looks into it to the log. */
static void log_internal(struct turn *t, const struct request *r, const struct problem *p)
{
	if (p->status == STATUS_INTERNAL)
		fx_log(t->fx, LOG_LEVEL_ERROR, "request_failed request=%.*s method=%s route=\"%s\"",
		       (int)r->request_id.len, (const char *)r->request_id.data,
		       http_method_name(r->method), r->route ? r->route->pattern : "");
}

static void send_problem(struct turn *t, struct request *r, const struct problem *p,
			 struct slice allow)
{
	const struct status_row *row = status_row(p->status);
	bool couch = r->dialect == DIALECT_COUCH;
	log_internal(t, r, p);
	struct reply *reply = reply_begin(t, couch ? couch_http(p) : row->http);
	if (couch)
		couch_error_print(p, &reply->body);
	else
		problem_print(p, r->request_id, &reply->body);
	if (row->retry == RETRY_LATER)
		reply_header(r, reply, "Retry-After", slice_text("1"));
	if (allow.len > 0)
		reply_header(r, reply, "Allow", allow);
	if (p->current.generation > 0 && !couch)
		reply_etag(r, reply, &p->current);
	reply_send(t, r, reply);
}

void answer_problem(struct turn *t, struct request *r, const struct problem *p)
{
	send_problem(t, r, p, slice_of(NULL, 0));
}

void answer_status(struct turn *t, struct request *r, enum status status, const char *place)
{
	struct problem p;
	problem_set(&p, status, place);
	answer_problem(t, r, &p);
}

void answer_not_found(struct turn *t, struct request *r, const char *place, const char *detail)
{
	struct problem p;
	problem_detail(&p, STATUS_NOT_FOUND, place, detail);
	answer_problem(t, r, &p);
}

void answer_no_collection(struct turn *t, struct request *r, const char *place)
{
	answer_not_found(t, r, place, "There is no collection of this name.");
}

void answer_not_allowed(struct turn *t, struct request *r, struct slice allow)
{
	struct problem p;
	problem_set(&p, STATUS_METHOD_NOT_ALLOWED, http_method_name(r->method));
	if (r->dialect == DIALECT_COUCH)
		couch_allowed(&p, allow);
	send_problem(t, r, &p, allow);
}

void answer_options(struct turn *t, struct request *r, struct slice allow)
{
	struct reply *reply = reply_begin(t, 204);
	reply_header(r, reply, "Allow", allow);
	reply_send(t, r, reply);
}

void answer_events(struct turn *t, struct request *r, struct slice first)
{
	struct http_field headers[] = {
	    {slice_text("Cache-Control"), slice_text("no-store")},
	    {slice_text("X-Accel-Buffering"), slice_text("no")},
	    {slice_text("X-Request-Id"), r->request_id},
	};
	struct http_response response = {
	    .status = 200,
	    .kind = HTTP_STREAM,
	    .content_type = slice_text("text/event-stream"),
	    .headers = headers,
	    .headers_count = ARRAY_LEN(headers),
	    .body = first,
	};
	fx_respond(t->fx, r->id, &response);
	metrics_answered(t->gw, r, 200, t->now_ms);
	request_finish(t, r);
}
