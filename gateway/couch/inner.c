#include "gateway/couch/inner.h"

#include "gateway/http_answer.h"

/* Ids of the shell's requests are smaller. */
static uint64_t inner_id(struct turn *t)
{
	return (UINT64_C(9) << 60) + ++t->gw->inner_asked;
}

void couch_inner_of(struct request *r, struct couch_inner *out)
{
	*out = (struct couch_inner){.method = HTTP_POST,
				    .query = arena_copy(&r->arena, r->http->query),
				    .principal = arena_copy(&r->arena, r->http->principal),
				    .roles = r->http->roles};
}

void couch_inner_ask(struct turn *t, struct request *r, const struct couch_inner *what,
		     request_reply *done)
{
	uint8_t origin[8];
	struct http_request http = {.id = inner_id(t),
				    .dialect = DIALECT_COUCH,
				    .method = what->method,
				    .path = what->path,
				    .query = what->query,
				    .body = what->body,
				    .principal = what->principal,
				    .roles = what->roles};
	be64_write(origin, r->id);
	request_internal(t, &http, done, slice_of(origin, sizeof origin));
}

struct request *couch_inner_around(struct turn *t, const struct request *inner)
{
	return map_get_u64(&t->gw->requests, be64_read(inner->origin.data));
}

void couch_inner_refused(struct turn *t, struct request *r, const struct reply *from)
{
	struct slice why = arena_copy(&r->arena, buf_slice(&from->body));
	struct reply *reply = reply_begin(t, from->status);
	buf_append_slice(&reply->body, why);
	reply_send(t, r, reply);
}

void couch_inner_leave(struct turn *t, enum http_method method, struct slice path,
		       request_reply *done)
{
	const struct http_request http = {
	    .id = inner_id(t), .dialect = DIALECT_NATIVE, .method = method, .path = path};
	request_internal(t, &http, done, slice_of(NULL, 0));
}
