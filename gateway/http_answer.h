/* Answers: JSON bodies, the headers that each one has, errors from the table of statuses. */
#ifndef PARLEY_GATEWAY_HTTP_ANSWER_H
#define PARLEY_GATEWAY_HTTP_ANSWER_H

#include "gateway/internal.h"

/* Starts the answer of a request: the gateway's one reply, emptied. The body is appended to
 * reply->body. */
struct reply *reply_begin(struct turn *t, int http_status);
/* value is copied into the request. */
void reply_header(struct request *r, struct reply *reply, const char *name, struct slice value);
/* ETag: "rev" */
void reply_etag(struct request *r, struct reply *reply, const struct revision *revision);
/* X-Parley-Conflicts, if there are any. */
void reply_conflicts(struct request *r, struct reply *reply, uint64_t conflicts);
/* Location of a document. */
void reply_location(struct request *r, struct reply *reply, struct slice id);
/* Adds what every answer has, sends it and finishes the request. */
void reply_send(struct turn *t, struct request *r, struct reply *reply);

/* The JSON error object of a problem; with it whole answers are made, and items of batches. */
void problem_print(const struct problem *p, struct slice request_id, struct buf *out);
void answer_problem(struct turn *t, struct request *r, const struct problem *p);
void answer_status(struct turn *t, struct request *r, enum status status, const char *place);
/* 404: what of that which the request names is not there. */
void answer_not_found(struct turn *t, struct request *r, const char *place, const char *detail);
void answer_no_collection(struct turn *t, struct request *r, const char *place);
/* 405 and 204 */
void answer_not_allowed(struct turn *t, struct request *r, struct slice allow);
void answer_options(struct turn *t, struct request *r, struct slice allow);
/* Begins a stream of events (text/event-stream), with these bytes. */
void answer_events(struct turn *t, struct request *r, struct slice first);
/* A revision as a JSON string. */
void json_revision(const struct revision *revision, struct buf *out);

#endif
