/* What the gateway's own files share. */
#ifndef PARLEY_GATEWAY_INTERNAL_H
#define PARLEY_GATEWAY_INTERNAL_H

#include "common/base/rng.h"
#include "common/doc/json.h"
#include "gateway/admission.h"
#include "gateway/call_table.h"
#include "gateway/cluster_map.h"
#include "gateway/couch/request.h"
#include "gateway/gateway.h"
#include "gateway/reply.h"
#include "gateway/timers.h"
#include "proto/enums.h"

enum {
	REQUEST_ID_BYTES = 128,
	PARAMETERS_MAX = 64,
	PLACE_BYTES = 192,
	TIMER_REQUEST = 1,
	TIMER_CALL = 2,
	LATENCY_BUCKETS = 13,
	HTTP_CODES = 600,
	HTTP_METHODS = HTTP_OTHER + 1
};

/* One step: what every function of the core needs. */
struct turn {
	struct gateway *gw;
	const struct event *event;
	struct effects *fx;
	int64_t now_ms;
};

/* Why a request is refused. */
struct problem {
	enum status status;
	char place[PLACE_BYTES];  /* a JSON pointer, a header's or parameter's name, or empty */
	char detail[PLACE_BYTES]; /* beyond the sentence of the status; may be empty */
	const char *limit_key;    /* NULL, or the option that bounds it */
	uint64_t limit;
	uint64_t actual;
	struct revision current; /* generation 0: none */
	bool partial;            /* a write by query that stopped */
	uint64_t changes;        /* partial: documents changed all the same */
	struct slice document;   /* partial: id of the one it stopped at; borrowed */
	uint32_t couch;          /* enum couch_error; 0: as the status says */
	struct slice reason;     /* couch: MessagePack in place of the text; borrowed; or empty */
};

struct request;
struct reply;
typedef void request_step(struct turn *t, struct request *r);
typedef void request_reply(struct turn *t, struct request *r, const struct reply *reply);

struct request {
	struct timer deadline; /* first: timers lead back here */
	uint64_t id;
	struct arena arena; /* everything that the request keeps */
	const struct route *route;
	enum dialect dialect;
	enum http_method method;
	const struct http_request *http; /* only in the step in which it arrived */
	struct slice collection;         /* decoded, from the path */
	struct slice resource;           /* decoded: document id, or name */
	struct slice part;               /* decoded: a view or an attachment of it */
	struct http_field *parameters;   /* decoded */
	uint32_t parameters_count;
	struct slice request_id; /* X-Request-Id */
	uint8_t trace_id[16];
	int64_t started_ms;
	struct call *calls;               /* under way */
	void *op;                         /* the operation's state, in the arena */
	void (*close)(struct request *r); /* frees what op holds outside the arena; may be NULL */
	request_step *gone;               /* its client went away before the answer; may be NULL */
	request_step *due;                /* at its deadline, in place of giving up; may be NULL */
	request_step *taken; /* its answer is a paced stream, of which all has left; else NULL */
	request_step *wait;  /* called at every change of the map while set */
	struct request *wait_prev, *wait_next;
	struct request *next;      /* among finished or free ones */
	request_reply *reply;      /* made inside: its answer goes there, not to the shell */
	struct slice origin;       /* for it */
	struct contents *contents; /* contents.h: under way; NULL: none */
	struct intake *intake;     /* intake.h: what its body is taken with, or NULL */
	struct carry *carry;       /* carry.h: contents that it carries elsewhere, or NULL */
	struct flow *flow;         /* flow.h: its answer, as contents are read for it, or NULL */
	struct served *served;     /* served.h: what it waits for, or NULL */
	struct slice *lock_ids;    /* writes: locks that the client holds (lock.h) */
	uint32_t lock_ids_count;
	bool lock_fail;        /* it does not wait for locks of others */
	bool lock_waits;       /* it does, and is counted */
	int64_t lock_until_ms; /* at most so long */
	uint32_t script_runs;  /* script_runs.h: under way */
	bool unconfirmed;      /* map_refreshed: nobody could say whether the map is the newest */
	bool finished, transfers; /* it is counted in gateway.transfers */
	bool kept;                /* http lives as long as the request */
	struct couch_request couch;
};

struct member_state {
	int64_t heard_ms; /* of the coordinator */
	int64_t storage_heard_ms;
	int64_t tick_ms;       /* when to send next */
	uint32_t storage_next; /* whom to ask for a map */
	bool joined, heard, storage_heard;
};

struct gateway_metrics {
	uint64_t requests[DIALECTS][HTTP_METHODS][HTTP_CODES];
	uint64_t latency[LATENCY_BUCKETS + 1];
	uint64_t latency_ms_sum;
	uint64_t rejected[REJECT_KINDS];
	uint64_t calls_retried, calls_stray;
};

struct gateway {
	struct gateway_options options;
	uint64_t *storage;
	struct rng rng;
	struct cluster_map map;
	struct member_state member;
	struct timers timers;
	struct call_table calls;
	struct map requests;     /* by id */
	struct request *waiting; /* for the map */
	struct request *finished;
	struct request *spare;
	uint32_t spare_count;
	struct admission admission;
	struct lock_keeper *locks; /* lock.h */
	struct json_parser *json;
	struct buf scratch;
	struct reply reply;
	struct gateway_metrics metrics;
	struct notify *notify;         /* notify/internal.h */
	struct arbiters *arbiters;     /* arbiter.h */
	struct script_runs *scripts;   /* script_runs.h */
	struct couch_auth *auth;       /* couch/auth_private.h */
	uint64_t kept_bytes;           /* bodies of requests that are kept */
	struct request *graph_reader;  /* the one that reads a graph in parts, or NULL */
	struct replicator *replicator; /* replicate/replicate.h */
	struct schedule *schedule;     /* replicate/schedule.h */
	uint64_t inner_asked;          /* couch/inner.c */
	uint32_t transfers;            /* bodies and answers that come or go in pieces */
	uint32_t feeds_open;  /* requests whose answer is a stream that goes on: changes.h */
	uint64_t feeds_bytes; /* pages that they hold */
	bool draining;
};
/* ---- request.c ---- */

void request_arrived(struct turn *t, const struct http_request *http);
/* A request that did not come over HTTP: the same code, but its answer goes to `reply`. origin is
 * copied into r->origin. */
void request_internal(struct turn *t, const struct http_request *http, request_reply *reply,
		      struct slice origin);
/* The same of the couch dialect, with no more rights than this user has. NULL: all. */
void request_internal_as(struct turn *t, const struct http_request *http,
			 const struct couch_user *user, request_reply *reply, struct slice origin);
/* Goes on with one whose user is known. */
void request_route(struct turn *t, struct request *r);
/* Keeps what it came with (r->http) beyond this step. False: too much is kept already. */
bool request_keep(struct gateway *gw, struct request *r) MUST_CHECK;
/* Ends it: its calls are forgotten, its memory goes at the end of the step. */
void request_finish(struct turn *t, struct request *r);
void request_deadline(struct turn *t, struct request *r);
void request_gone(struct turn *t, uint64_t id);
void request_taken(struct turn *t, uint64_t id);
void request_sweep(struct gateway *gw);
/* step is called at the next change of the map, and again until request_wait_end. */
void request_wait(struct turn *t, struct request *r, request_step *step);
void request_wait_end(struct turn *t, struct request *r);
void request_map_changed(struct turn *t);
/* Empty if absent. Header names are lower-case. */
struct slice request_header(const struct request *r, const char *name);
bool request_parameter(const struct request *r, const char *name, struct slice *value);
/* absent, "", "null", "false" and "0" are false. */
bool request_flag(const struct request *r, const char *name);

/* ---- member.c: joining, heartbeats, maps ---- */

void member_start(struct turn *t);
void member_tick(struct turn *t);
bool member_coordinator_alive(const struct gateway *gw, int64_t now_ms);
/* True if the message was one of membership. */
bool member_message(struct turn *t);

/* ---- metrics.c ---- */

void metrics_answered(struct gateway *gw, const struct request *r, int code, int64_t now_ms);
void metrics_print(const void *core, struct buf *out);

/* ---- problem.c ---- */

/* All return false, for `return problem_...`. */
bool problem_set(struct problem *p, enum status status, const char *place);
bool problem_detail(struct problem *p, enum status status, const char *place, const char *detail);
bool problem_limit(struct problem *p, enum status status, const char *key, uint64_t limit,
		   uint64_t actual);

#endif
