/* Functions of design documents: what they are given, and what becomes of it when they fail. */
#ifndef PARLEY_GATEWAY_COUCH_FUNCTION_H
#define PARLEY_GATEWAY_COUCH_FUNCTION_H

#include "gateway/couch/couch.h"
#include "gateway/script_runs.h"

/* The object `req`, but for what is looked up later. */
struct function_request {
	struct slice pairs; /* MessagePack */
	uint32_t count;
};
/* Only in the step in which the request has come. What carries credentials is left out. with_body:
 * `body` and `form`, too. */
void function_request_take(struct turn *t, struct request *r, bool with_body,
			   struct function_request *out);
/* id: of a document; empty: null. */
void function_request_write(struct turn *t, struct request *r, const struct function_request *from,
			    struct slice id, struct slice security, struct buf *out);
/* userCtx of whoever sends the request. */
void function_user_write(const struct request *r, struct buf *out);
/* secObj. security: as it is stored; empty: there is none. */
void function_security_write(struct slice security, struct buf *out);

/* A design document, read with what its functions need beside. */
struct function_design {
	struct slice id; /* given */
	struct slice body;
	struct slice security;
	/* private */
	struct msg_doc_read read;
	request_step *next;
	void *op;
};
/* next comes later, r->op stays as it is. Answers by itself if the design document can't be read.
 * design lives as long as the request. */
void function_load(struct turn *t, struct request *r, const struct map_collection *c,
		   struct function_design *design, request_step *next);
/* The source of a function, of "shows", "updates" or "lists". False: 404 in CouchDB's words. */
bool function_find_named(const struct function_design *design, const char *group, struct slice name,
			 struct slice *source, struct problem *p) MUST_CHECK;
/* The source of a member of a group, as of "filters". False: 404 in CouchDB's words. */
bool function_find(struct slice design, const char *group, struct slice name, struct slice *source,
		   struct problem *p) MUST_CHECK;

/* False: it has returned nothing, for a reason that *p says. */
bool function_returned(const struct script_end *end, struct problem *p) MUST_CHECK;
/* It took more than it may: with fewer documents it may do. */
bool function_exhausted(enum script_status status);

/* ---- response.c ---- */

/* What it says is the answer. w: what was written beside; NULL: nothing. */
void function_answer(struct turn *t, struct request *r, struct slice response,
		     const struct couch_write *w);

#endif
