/* What functions of design documents answer. It goes to browsers as pages of this server: so it may
 * set no cookie, and is sandboxed. */
#include "common/doc/base64.h"
#include "common/doc/revision.h"
#include "common/doc/value.h"
#include "gateway/couch/function.h"

enum { RESPONSE_HEADERS_MAX = 6, HEADER_BYTES_MAX = 1024 };

/* What this server says itself, or what would speak for it. */
static bool is_own_header(struct slice lower)
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
	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		if (slice_is(lower, own[i]))
			return true;
	return lower.len >= sizeof cors - 1 && memcmp(lower.data, cors, sizeof cors - 1) == 0;
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

static const char *name_text(struct request *r, struct slice name)
{
	struct buf text = {0};
	buf_append_slice(&text, name);
	buf_append_byte(&text, 0);
	struct slice copy = arena_copy(&r->arena, buf_slice(&text));
	buf_close(&text);
	return (const char *)copy.data;
}

static struct slice in_lower_case(struct request *r, struct slice name)
{
	uint8_t *text = arena_alloc(&r->arena, name.len + 1);
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.data[i];
		text[i] = (uint8_t)(c >= 'A' && c <= 'Z' ? c + 32 : c);
	}
	return slice_of(text, name.len);
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
		struct slice lower = in_lower_case(r, name);
		if (slice_is(lower, "content-type")) {
			reply->content_type = arena_copy(&r->arena, value.bytes);
			continue;
		}
		if (is_own_header(lower))
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

void function_answer(struct turn *t, struct request *r, struct slice response,
		     const struct couch_write *w)
{
	int code = w ? (w->status == STATUS_ACCEPTED ? 202 : 201) : 200;
	struct mp_reader reader = mp_reader_of(response);
	struct buf text = {0};
	enum mp_type type = mp_peek(&reader);
	bool fine = (type == MP_MAP || type == MP_NIL) && take_code(response, &code);
	struct reply *reply = reply_begin(t, code);
	fine = fine && put_body(response, reply) &&
	       put_headers(r, value_member(response, slice_text("headers")), reply);
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
