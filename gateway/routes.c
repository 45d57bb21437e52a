#include "gateway/routes.h"

#include <string.h>

#include "gateway/couch/couch.h"
#include "gateway/url.h"

static const struct route routes[] = {
#define ROUTE(dialect, method, pattern, handler, doc) {DIALECT_##dialect, method, pattern, handler},
#include "gateway/routes.def"
#undef ROUTE
};

const char *http_method_name(enum http_method method)
{
	static const char *const names[HTTP_METHODS] = {
	    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "COPY", "OTHER"};
	return (unsigned)method < HTTP_METHODS ? names[method] : "OTHER";
}

/* Collections whose names begin so are the cluster's own: only routes that name them reach them. */
static bool is_system_name(struct slice segment)
{
	return segment.len >= 7 && memcmp(segment.data, "system.", 7) == 0;
}

/* Of CouchDB's paths: an endpoint. */
static bool is_reserved_word(struct slice segment)
{
	return segment.len > 0 && segment.data[0] == '_';
}

static bool is_reserved(struct slice segment)
{
	return is_system_name(segment) || is_reserved_word(segment);
}

static bool route_fits(const struct route *route, enum dialect dialect,
		       const struct slice *segments, int count)
{
	struct slice wanted[URL_SEGMENTS_MAX];
	if (route->dialect != dialect || url_segments(slice_text(route->pattern), wanted) != count)
		return false;
	for (int i = 0; i < count; i++) {
		bool open = wanted[i].data[0] == '{';
		if (!open && !slice_equal(wanted[i], segments[i]))
			return false;
		if (open && i == 0 && is_reserved(segments[0]) &&
		    (dialect == DIALECT_NATIVE || !couch_is_system_database(segments[0])))
			return false;
		if (slice_is(wanted[i], "{doc}") && is_reserved_word(segments[i]))
			return false;
	}
	return true;
}

/* The methods that the path takes; false if it takes none: there is no such path. Several patterns
 * may fit, as an id may look like a word of the API. */
static bool fill_allow(enum dialect dialect, const struct slice *segments, int count,
		       struct buf *allow)
{
	bool taken[HTTP_METHODS] = {false};
	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		const struct route *route = &routes[i];
		if (taken[route->method] || !route_fits(route, dialect, segments, count))
			continue;
		taken[route->method] = true;
		buf_append_text(allow, http_method_name(route->method));
		buf_append_text(allow, route->method == HTTP_GET ? ", HEAD, " : ", ");
	}
	if (allow->len == 0)
		return false;
	buf_append_text(allow, "OPTIONS");
	return true;
}

/* Decodes what the pattern leaves open. */
static bool take_open(struct request *r, const char *pattern, const struct slice *segments,
		      struct problem *problem)
{
	struct slice wanted[URL_SEGMENTS_MAX];
	int count = url_segments(slice_text(pattern), wanted);
	if (r->dialect == DIALECT_COUCH)
		return couch_take_path(r, wanted, segments, count, problem);
	for (int i = 0; i < count; i++) {
		bool collection = slice_is(wanted[i], "{collection}");
		if (wanted[i].data[0] != '{')
			continue;
		struct slice *to = collection ? &r->collection : &r->resource;
		struct slice text = arena_copy(&r->arena, segments[i]);
		if (!url_decode(text, false, &r->arena, to))
			return problem_detail(problem, STATUS_BAD_PARAMETER, "path",
					      "A % needs two hexadecimal digits behind it.");
		if (collection && !collection_name_valid(*to))
			return problem_set(problem, STATUS_BAD_NAME, "path");
		if (slice_is(wanted[i], "{id}") && !document_id_valid(*to))
			return problem_set(problem, STATUS_BAD_ID, "path");
	}
	return true;
}

static enum route_result refuse_unknown(struct request *r, const struct slice *segments, int count,
					struct buf *allow, struct problem *problem)
{
	bool reads = r->method == HTTP_GET || r->method == HTTP_HEAD;
	if (r->dialect == DIALECT_COUCH) {
		couch_no_route(r, segments, count, problem);
		return ROUTE_REFUSED;
	}
	if (count > 0 && is_system_name(segments[0]) && !reads) {
		buf_append_text(allow, "GET, HEAD, OPTIONS");
		problem_set(problem, STATUS_METHOD_NOT_ALLOWED, "path");
	} else {
		problem_set(problem, STATUS_NO_ROUTE, "path");
	}
	return ROUTE_REFUSED;
}

/* NULL: none. */
static const struct route *route_of(enum dialect dialect, enum http_method method,
				    const struct slice *segments, int count)
{
	for (size_t i = 0; i < ARRAY_LEN(routes); i++)
		if (routes[i].method == method && route_fits(&routes[i], dialect, segments, count))
			return &routes[i];
	return NULL;
}

/* Of a path that no pattern fits as it is: all behind a document names an attachment. */
static const struct route *attachment_route(enum http_method method, struct slice path,
					    struct slice parts[URL_SEGMENTS_MAX], int *count)
{
	*count = couch_attachment_segments(path, parts);
	return *count > 0 ? route_of(DIALECT_COUCH, method, parts, *count) : NULL;
}

bool route_takes_pieces(const struct http_request *head, bool multipart)
{
	struct slice segments[URL_SEGMENTS_MAX];
	int count = couch_segments(segments, url_segments(head->path, segments));
	const struct route *route =
	    count < 0 ? NULL : route_of(DIALECT_COUCH, head->method, segments, count);
	if (!route)
		route = attachment_route(head->method, head->path, segments, &count);
	return route && head->method == HTTP_PUT &&
	       (route->handler == couch_attachment_write ||
		(multipart && route->handler == couch_write));
}

static enum route_result refuse_unbuilt(struct problem *problem)
{
	couch_problem(problem, COUCH_NOT_BUILT, "");
	return ROUTE_REFUSED;
}

enum route_result route_find(struct request *r, struct slice path, struct buf *allow,
			     struct problem *problem)
{
	struct slice segments[URL_SEGMENTS_MAX];
	int count = url_segments(path, segments);
	if (r->dialect == DIALECT_COUCH) {
		if (couch_not_built(path))
			return refuse_unbuilt(problem);
		count = couch_segments(segments, count);
	}
	enum http_method method = r->method == HTTP_HEAD ? HTTP_GET : r->method;
	r->route = count < 0 ? NULL : route_of(r->dialect, method, segments, count);
	if (!r->route && r->dialect == DIALECT_COUCH) {
		struct slice parts[URL_SEGMENTS_MAX];
		int parts_count;
		r->route = attachment_route(method, path, parts, &parts_count);
		if (r->route)
			return take_open(r, r->route->pattern, parts, problem) ? ROUTE_FOUND
									       : ROUTE_REFUSED;
	}
	if (r->route)
		return take_open(r, r->route->pattern, segments, problem) ? ROUTE_FOUND
									  : ROUTE_REFUSED;
	if (count < 0 || !fill_allow(r->dialect, segments, count, allow))
		return refuse_unknown(r, segments, count, allow, problem);
	if (method == HTTP_OPTIONS)
		return ROUTE_OPTIONS;
	problem_set(problem, STATUS_METHOD_NOT_ALLOWED, "path");
	return ROUTE_REFUSED;
}

/* ---- who may only read ---- */

static bool begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

/* What is for those who run the cluster, or decide conflicts: of system collections a reader needs
 * no more than to know which lists there are. */
static bool is_closed(const char *pattern)
{
	static const char *const closed[] = {"/_/conflicts", "/_/arbiter", "/_/checkpoints"};
	for (size_t i = 0; i < ARRAY_LEN(closed); i++)
		if (begins(pattern, closed[i]))
			return true;
	return begins(pattern, "/system.") && !begins(pattern, "/system.collections");
}

/* Questions that are too long for a query string. */
static bool is_question(const char *pattern)
{
	static const char *const ends[] = {
	    "/_query",     "/_all_docs",    "/_find",    "/_explain",      "/_bulk_get",
	    "/_revs_diff", "/_dbs_info",    "/_changes", "/_missing_revs", "/_view/{view}",
	    "/queries",    "/_design_docs", "/{rows}"};
	size_t length = strlen(pattern);
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		size_t end = strlen(ends[i]);
		if (length >= end && strcmp(pattern + length - end, ends[i]) == 0)
			return true;
	}
	return false;
}

bool route_allowed(const struct request *r, struct problem *problem)
{
	const struct route *route = r->route;
	bool reads = route && (route->method == HTTP_GET ||
			       (route->method == HTTP_POST && is_question(route->pattern)));
	if (!(r->http->roles & HTTP_ROLE_READER) || (reads && !is_closed(route->pattern)))
		return true;
	return problem_detail(problem, STATUS_FORBIDDEN, "",
			      "With OU=reader it may read documents, and nothing else.");
}
