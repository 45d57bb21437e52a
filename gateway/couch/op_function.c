/* Functions that make answers: _update, which makes a document, too, and _show. What they say goes
 * to browsers as pages of this server: so it may set no cookie, and is sandboxed. */
#include <stdio.h>

#include "common/doc/base64.h"
#include "common/doc/function_script.h"
#include "common/doc/revision.h"
#include "common/doc/script_document.h"
#include "common/doc/utf8.h"
#include "common/doc/value.h"
#include "gateway/couch/function.h"
#include "gateway/routes.h"

enum { RESPONSE_HEADERS_MAX = 6, HEADER_BYTES_MAX = 1024 };

struct calling {
	struct function_design design;
	struct function_request request;
	bool update; /* else a show function */
	struct msg_doc_read read;
	struct slice document; /* MessagePack; empty: none */
	struct slice source;
	struct slice response; /* MessagePack */
};

/* ---- the answer ---- */

/* What this server says itself, or what would speak for it. */
static bool is_own_header(struct slice name)
{
	static const char *const own[] = {"cache-control",
					  "connection",
					  "content-length",
					  "content-security-policy",
					  "date",
					  "keep-alive",
					  "server",
					  "set-cookie",
					  "trailer",
					  "upgrade",
					  "transfer-encoding",
					  "x-couch-id",
					  "x-request-id",
					  "proxy-status",
					  "x-couch-update-newrev"};
	static const char cors[] = "access-control-";
	char lower[HEADER_BYTES_MAX];
	size_t len = name.len < sizeof lower ? name.len : sizeof lower;
	for (size_t i = 0; i < len; i++)
		lower[i] = (char)(name.data[i] >= 'A' && name.data[i] <= 'Z' ? name.data[i] + 32
									     : name.data[i]);
	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		if (slice_is(slice_of(lower, len), own[i]))
			return true;
	return len >= sizeof cors - 1 && memcmp(lower, cors, sizeof cors - 1) == 0;
}

static bool name_is_fit(struct slice name)
{
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.data[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
		if (!letter && !(c >= '0' && c <= '9') && c != '-' && c != '_')
			return false;
	}
	return name.len > 0;
}

static bool value_is_fit(struct slice value)
{
	for (size_t i = 0; i < value.len; i++)
		if (value.data[i] < ' ' || value.data[i] == 0x7f)
			return false;
	return true;
}

static bool is_content_type(struct slice name)
{
	return slice_is(name, "Content-Type") || slice_is(name, "content-type");
}

static const char *name_text(struct request *r, struct slice name)
{
	struct buf text = {0};
	buf_append_slice(&text, name);
	buf_append_byte(&text, 0);
	struct slice copy = arena_copy(&r->arena, buf_slice(&text));
	buf_close(&text);
	return (const char *)copy.data;
}

static bool put_headers(struct request *r, struct slice headers, struct reply *reply)
{
	struct mp_reader reader = mp_reader_of(headers);
	struct mp_token head = mp_read(&reader);
	uint32_t kept = 0;
	for (uint32_t i = 0; head.type == MP_MAP && i < head.count; i++) {
		struct slice name = mp_read(&reader).bytes;
		struct mp_token value = mp_read(&reader);
		if (value.type != MP_STR || !name_is_fit(name) || !value_is_fit(value.bytes) ||
		    name.len + value.bytes.len > HEADER_BYTES_MAX)
			return false;
		if (is_content_type(name)) {
			reply->content_type = arena_copy(&r->arena, value.bytes);
			continue;
		}
		if (is_own_header(name))
			continue;
		if (kept++ == RESPONSE_HEADERS_MAX)
			return false;
		reply_header(r, reply, name_text(r, name), value.bytes);
	}
	return headers.len == 0 || head.type == MP_MAP;
}

/* One of json, body, base64; none of them is an empty body. */
static bool put_body(struct slice response, struct reply *reply)
{
	struct slice json = value_member(response, slice_text("json"));
	struct mp_reader bodies = mp_reader_of(value_member(response, slice_text("body")));
	struct mp_reader datas = mp_reader_of(value_member(response, slice_text("base64")));
	struct mp_token body = mp_read(&bodies);
	struct mp_token data = mp_read(&datas);
	if (json.len > 0) {
		reply->content_type = slice_text("application/json");
		return json_from_msgpack(json, &reply->body);
	}
	if (data.type == MP_STR) {
		reply->content_type = slice_text("application/binary");
		return base64_decode(data.bytes, &reply->body);
	}
	reply->content_type = slice_text("text/html; charset=utf-8");
	if (body.type == MP_STR)
		buf_append_slice(&reply->body, body.bytes);
	return body.type == MP_STR || body.type == MP_NIL || body.type == MP_INVALID;
}

static bool take_code(struct slice response, int *code)
{
	struct mp_reader reader = mp_reader_of(value_member(response, slice_text("code")));
	struct mp_token token = mp_read(&reader);
	if (token.type == MP_INVALID || token.type == MP_NIL)
		return true;
	if (token.type == MP_UINT && token.u64 >= 200 && token.u64 <= 599)
		*code = (int)token.u64;
	return token.type == MP_UINT && token.u64 >= 200 && token.u64 <= 599;
}

/* w: what was written; NULL: nothing. */
static void answer(struct turn *t, struct request *r, const struct couch_write *w)
{
	const struct calling *op = r->op;
	int code = w ? (w->status == STATUS_ACCEPTED ? 202 : 201) : 200;
	struct mp_reader reader = mp_reader_of(op->response);
	struct buf text = {0};
	enum mp_type type = mp_peek(&reader);
	bool fine = (type == MP_MAP || type == MP_NIL) && take_code(op->response, &code);
	struct reply *reply = reply_begin(t, code);
	fine = fine && put_body(op->response, reply) &&
	       put_headers(r, value_member(op->response, slice_text("headers")), reply);
	if (!fine) {
		couch_answer_error(t, r, COUCH_BAD_RESPONSE);
		return;
	}
	reply_header(r, reply, "Content-Security-Policy", slice_text("sandbox"));
	if (w) {
		revision_print(&w->revision, &text);
		reply_header(r, reply, "X-Couch-Update-NewRev", buf_slice(&text));
		buf_clear(&text);
		url_encode(w->write.id, &text);
		reply_header(r, reply, "X-Couch-Id", buf_slice(&text));
		buf_close(&text);
	}
	reply_send(t, r, reply);
}

/* ---- the run ---- */

static void ran(struct turn *t, struct request *r, const void *context,
		const struct script_end *end)
{
	struct calling *op = r->op;
	struct problem problem;
	(void)context;
	if (!function_returned(end, &problem)) {
		answer_problem(t, r, &problem);
		return;
	}
	struct slice output = arena_copy(&r->arena, end->output);
	struct slice made = value_element(output, 0);
	struct mp_reader reader = mp_reader_of(made);
	op->response = value_element(output, 1);
	if (op->response.len == 0)
		couch_answer_error(t, r, COUCH_BAD_RESPONSE);
	else if (op->update && mp_peek(&reader) == MP_MAP)
		couch_write_value(t, r, made, answer);
	else
		answer(t, r, NULL);
}

static void run(struct turn *t, struct request *r)
{
	const struct calling *op = r->op;
	struct buf arguments = {0};
	mp_write_array(&arguments, 4);
	mp_write_str(&arguments, op->source);
	buf_append_slice(&arguments, op->design.body);
	if (op->document.len > 0)
		buf_append_slice(&arguments, op->document);
	else
		mp_write_nil(&arguments);
	function_request_write(t, r, &op->request, r->couch.target, op->design.security,
			       &arguments);
	struct script_asked asked = {
	    .source = slice_text(op->update ? function_update_source : function_show_source),
	    .arguments = buf_slice(&arguments),
	    .done = ran,
	    .patience_ms = t->gw->options.limits.deadline_ms};
	if (!script_run(t, r, &asked))
		answer_status(t, r, STATUS_OVERLOADED, "");
	buf_close(&arguments);
}

/* ---- what it is given ---- */

static void have_document(struct turn *t, struct request *r, uint32_t index, enum status status,
			  const void *body)
{
	struct calling *op = r->op;
	const struct msg_doc_read_ack *ack = body;
	struct buf *out = &t->gw->scratch;
	(void)index;
	if (!ack || (!status_is_success(status) && status != STATUS_NOT_FOUND)) {
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
		return;
	}
	if (status_is_success(status) && !ack->deleted) {
		struct script_document d = {
		    .id = r->couch.target, .revision = ack->revision, .body = ack->body};
		buf_clear(out);
		script_document_write(&d, out);
		op->document = arena_copy(&r->arena, buf_slice(out));
	}
	run(t, r);
}

static bool find_function(const struct request *r, struct calling *op, struct problem *p)
{
	char text[PLACE_BYTES];
	const char *group = op->update ? "updates" : "shows";
	if (function_find(op->design.body, group, r->part, &op->source, p))
		return true;
	if (p->couch != COUCH_MISSING)
		return false;
	snprintf(text, sizeof text, "missing %s function %.*s on design doc %.*s", group,
		 (int)(r->part.len < 60 ? r->part.len : 60), (const char *)r->part.data,
		 (int)(r->resource.len < 60 ? r->resource.len : 60),
		 (const char *)r->resource.data);
	return couch_problem(p, COUCH_MISSING, text);
}

static void have_design(struct turn *t, struct request *r)
{
	struct calling *op = r->op;
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	struct problem problem;
	op->read.id = r->couch.target;
	if (!find_function(r, op, &problem))
		answer_problem(t, r, &problem);
	else if (op->read.id.len == 0)
		run(t, r);
	else if (!c)
		couch_answer_error(t, r, COUCH_DB_MISSING);
	else if (!couch_read_send(t, r, c, &op->read, have_document))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

static void call_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct calling *op = r->op;
	function_load(t, r, c, &op->design, have_design);
}

void couch_function_call(struct turn *t, struct request *r)
{
	struct calling *op = arena_alloc(&r->arena, sizeof *op);
	op->update = r->route->method != HTTP_GET;
	op->design.id = r->resource;
	function_request_take(t, r, true, &op->request);
	r->op = op;
	couch_find(t, r, call_go);
}
