/* Cross-origin resource sharing: pages of which other sites may use the listener from a browser. */
#include <inttypes.h>

#include "gateway/couch/auth_private.h"

static const char exposed[] = "content-type, cache-control, accept-ranges, etag, location, "
			      "retry-after, x-parley-conflicts, x-request-id";

static bool is_empty(const char *text)
{
	return !text || *text == 0;
}

bool couch_is_open(const struct gateway *gw)
{
	return gw->options.couch.passwords || !is_empty(gw->options.couch.cors_origins);
}

static bool origin_listed(const struct couch_options *o, struct slice origin)
{
	struct slice rest =
	    is_empty(o->cors_origins) ? slice_of(NULL, 0) : slice_text(o->cors_origins);
	while (rest.len > 0) {
		const uint8_t *end = memchr(rest.data, ',', rest.len);
		struct slice one = slice_of(rest.data, end ? (size_t)(end - rest.data) : rest.len);
		size_t used = end ? one.len + 1 : one.len;
		rest = slice_of(rest.data + used, rest.len - used);
		while (one.len > 0 && one.data[0] == ' ')
			one = slice_of(one.data + 1, one.len - 1);
		while (one.len > 0 && one.data[one.len - 1] == ' ')
			one.len--;
		if (one.len > 0 && (slice_is(one, "*") || slice_equal(one, origin)))
			return true;
	}
	return false;
}

static void answer_preflight(struct turn *t, struct request *r)
{
	const struct gateway_options *o = &t->gw->options;
	struct buf age = {0};
	struct reply *reply = reply_begin(t, 204);
	reply_header(r, reply, "Access-Control-Allow-Methods", slice_text(o->couch.cors_methods));
	reply_header(r, reply, "Access-Control-Allow-Headers", slice_text(o->couch.cors_headers));
	buf_printf(&age, "%" PRIu32, o->limits.couch_cors_max_age_s);
	reply_header(r, reply, "Access-Control-Max-Age", buf_slice(&age));
	buf_close(&age);
	reply_send(t, r, reply);
}

bool couch_cors_begin(struct turn *t, struct request *r)
{
	struct slice origin = request_header(r, "origin");
	struct slice method = request_header(r, "access-control-request-method");
	if (origin.len == 0 || !origin_listed(&t->gw->options.couch, origin))
		return true;
	r->couch.origin = arena_copy(&r->arena, origin);
	if (r->method != HTTP_OPTIONS || method.len == 0)
		return true;
	answer_preflight(t, r);
	return false;
}

void couch_cors_headers(struct turn *t, struct request *r, struct reply *reply)
{
	const struct couch_options *o = &t->gw->options.couch;
	if (is_empty(o->cors_origins))
		return;
	reply_header(r, reply, "Vary", slice_text("Origin"));
	if (r->couch.origin.len == 0)
		return;
	reply_header(r, reply, "Access-Control-Allow-Origin", r->couch.origin);
	reply_header(r, reply, "Access-Control-Expose-Headers", slice_text(exposed));
	if (o->cors_credentials)
		reply_header(r, reply, "Access-Control-Allow-Credentials", slice_text("true"));
}

/* Browsers send cookies along with what other sites' pages ask for, and say where the page is from.
 */
bool couch_cors_foreign(const struct request *r)
{
	struct slice origin = request_header(r, "origin");
	struct slice host = request_header(r, "host");
	if (origin.len == 0 || r->couch.origin.len > 0)
		return false;
	return origin.len < 8 || memcmp(origin.data, "https://", 8) != 0 ||
	       !slice_equal(slice_of(origin.data + 8, origin.len - 8), host);
}

bool cors_allows(const struct gateway *gw, const struct request *r)
{
	bool reads = r->method == HTTP_GET || r->method == HTTP_HEAD || r->method == HTTP_OPTIONS;
	if (reads && !r->http->websocket)
		return true;
	return !couch_cors_foreign(r) ||
	       origin_listed(&gw->options.couch, request_header(r, "origin"));
}
