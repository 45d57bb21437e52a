#include "gateway/routes.h"

#include "gateway/url.h"

static const struct route routes[] = {
#define ROUTE(dialect, method, pattern, handler, doc)                                              \
	{DIALECT_##dialect, method, pattern, handler, doc},
#include "gateway/routes.def"
#undef ROUTE
};

const char *http_method_name(enum http_method method)
{
	static const char *const names[HTTP_METHODS] = {"GET",   "HEAD",   "POST",    "PUT",
							"PATCH", "DELETE", "OPTIONS", "OTHER"};
	return (unsigned)method < HTTP_METHODS ? names[method] : "OTHER";
}

/* Collections whose names begin so are the cluster's own: only routes that name them reach them. */
static bool is_system_name(struct slice segment)
{
	return segment.len >= 7 && memcmp(segment.data, "system.", 7) == 0;
}

static bool is_reserved(struct slice segment)
{
	return is_system_name(segment) || (segment.len > 0 && segment.data[0] == '_');
}

static bool pattern_fits(const char *pattern, const struct slice *segments, int count)
{
	struct slice wanted[URL_SEGMENTS_MAX];
	if (url_segments(slice_text(pattern), wanted) != count)
		return false;
	for (int i = 0; i < count; i++) {
		bool open = wanted[i].data[0] == '{';
		if (!open && !slice_equal(wanted[i], segments[i]))
			return false;
		if (open && i == 0 && is_reserved(segments[0]))
			return false;
	}
	return true;
}

static const struct route *first_fit(const struct slice *segments, int count)
{
	for (size_t i = 0; i < ARRAY_LEN(routes); i++)
		if (pattern_fits(routes[i].pattern, segments, count))
			return &routes[i];
	return NULL;
}

static void fill_allow(const char *pattern, struct buf *allow)
{
	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		if (strcmp(routes[i].pattern, pattern) != 0)
			continue;
		buf_append_text(allow, http_method_name(routes[i].method));
		buf_append_text(allow, routes[i].method == HTTP_GET ? ", HEAD, " : ", ");
	}
	buf_append_text(allow, "OPTIONS");
}

/* Decodes what the pattern leaves open. */
static bool take_open(struct request *r, const char *pattern, const struct slice *segments,
		      struct problem *problem)
{
	struct slice wanted[URL_SEGMENTS_MAX];
	int count = url_segments(slice_text(pattern), wanted);
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
	if (count > 0 && is_system_name(segments[0]) && !reads) {
		buf_append_text(allow, "GET, HEAD, OPTIONS");
		problem_set(problem, STATUS_METHOD_NOT_ALLOWED, "path");
	} else {
		problem_set(problem, STATUS_NO_ROUTE, "path");
	}
	return ROUTE_REFUSED;
}

enum route_result route_find(struct request *r, struct slice path, struct buf *allow,
			     struct problem *problem)
{
	struct slice segments[URL_SEGMENTS_MAX];
	int count = url_segments(path, segments);
	const struct route *fit = count < 0 ? NULL : first_fit(segments, count);
	if (!fit)
		return refuse_unknown(r, segments, count, allow, problem);
	enum http_method method = r->method == HTTP_HEAD ? HTTP_GET : r->method;
	if (method == HTTP_OPTIONS) {
		fill_allow(fit->pattern, allow);
		return ROUTE_OPTIONS;
	}
	for (size_t i = 0; i < ARRAY_LEN(routes); i++)
		if (routes[i].method == method && strcmp(routes[i].pattern, fit->pattern) == 0)
			r->route = &routes[i];
	if (!r->route) {
		fill_allow(fit->pattern, allow);
		problem_set(problem, STATUS_METHOD_NOT_ALLOWED, "path");
		return ROUTE_REFUSED;
	}
	return take_open(r, fit->pattern, segments, problem) ? ROUTE_FOUND : ROUTE_REFUSED;
}
