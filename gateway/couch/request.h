/* What requests of the CouchDB dialect have beyond others (auth.h). All texts live in the
 * request's arena. */
#ifndef PARLEY_GATEWAY_COUCH_REQUEST_H
#define PARLEY_GATEWAY_COUCH_REQUEST_H

#include "common/core.h"

struct gateway;
struct problem;
struct turn;
struct request;

struct couch_request {
	const struct couch_user *user; /* whose it is; NULL: nobody's */
	struct slice value;            /* MessagePack in place of its body; or empty */
	struct slice target;           /* a document's id, for a function in the path */
	struct slice origin;           /* a page of this site may see the answer */
	struct slice cookie;           /* to be set */
	size_t rules_bytes;            /* copies of functions that it holds (rules.h) */
	void (*hashed)(struct turn *t, struct request *r, const struct password_reply *reply);
};

/* A body that came with gzip is the request's as it was before. False: it can't be read. */
bool couch_body_decode(struct turn *t, struct request *r, struct problem *p) MUST_CHECK;
/* request_keep, with a copy of this body in place of its own. */
bool request_body_replace(struct gateway *gw, struct request *r, struct slice body) MUST_CHECK;

#endif
