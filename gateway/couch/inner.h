/* Requests that are made inside of another one, one at a time: they have its rights, and their
 * answer goes to it. */
#ifndef PARLEY_GATEWAY_COUCH_INNER_H
#define PARLEY_GATEWAY_COUCH_INNER_H

#include "gateway/internal.h"

struct couch_inner {
	enum http_method method;
	struct slice path;
	struct slice query;
	struct slice body;
	/* private */
	struct slice principal;
	uint32_t roles;
};

/* Only in the step in which r has come. Query string and rights are its own. */
void couch_inner_of(struct request *r, struct couch_inner *out);
/* Copies all but path and query, which live as long as r. */
void couch_inner_ask(struct turn *t, struct request *r, const struct couch_inner *what,
		     request_reply *done);
/* Of one that is answered: what it was made in. NULL: that has ended. */
struct request *couch_inner_around(struct turn *t, const struct request *inner);
/* Answers r as it was answered itself: with a refusal. */
void couch_inner_refused(struct turn *t, struct request *r, const struct reply *from);

/* One that nobody waits for: of the native dialect, with all rights. Copies. */
void couch_inner_leave(struct turn *t, enum http_method method, struct slice path,
		       request_reply *done);

#endif
