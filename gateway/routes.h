/* The table of routes (routes.def) and the search in it. */
#ifndef PARLEY_GATEWAY_ROUTES_H
#define PARLEY_GATEWAY_ROUTES_H

#include "gateway/internal.h"

struct route {
	enum dialect dialect;
	enum http_method method;
	const char *pattern;
	request_step *handler;
};

/* One handler for each row. */
#define ROUTE(dialect, method, pattern, handler, doc)                                              \
	void handler(struct turn *t, struct request *r);
#include "gateway/routes.def"
#undef ROUTE

const char *http_method_name(enum http_method method);

/* Finds the route of r->method and the path; fills r->route, r->collection, r->resource (decoded).
 * False with *problem; of METHOD_NOT_ALLOWED and for OPTIONS *allow holds the methods that the path
 * takes. */
enum route_result { ROUTE_FOUND, ROUTE_OPTIONS, ROUTE_REFUSED };
enum route_result route_find(struct request *r, struct slice path, struct buf *allow,
			     struct problem *problem);

/* Does the route of a couch client's head take a body that can come in pieces? */
bool route_takes_pieces(const struct http_request *head, bool multipart);

/* False with *problem: the client may only read, and this is another thing, or about conflicts. */
bool route_allowed(const struct request *r, struct problem *problem) MUST_CHECK;

#endif
