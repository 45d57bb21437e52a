/* Asks other servers for the core (EFFECT_FETCH): the sole user of libcurl. Nothing blocks; names
 * are looked up in a thread of libcurl's. Redirects are not followed, proxies of the environment
 * not used, certificates always verified. */
#ifndef PARLEY_GATEWAY_HTTP_FETCH_H
#define PARLEY_GATEWAY_HTTP_FETCH_H

#include "common/core.h"

struct fetch_options {
	const char *ca;   /* authorities of servers (PEM file); "": the system's */
	const char *cert; /* what this gateway shows to them; "": nothing */
	const char *key;
	uint32_t connections_max; /* questions beyond wait */
	void *context;
	void (*room)(void *context, const struct http_credit *room);
	void (*piece)(void *context, const struct http_body *piece);
	void (*fetched)(void *context, const struct http_fetched *fetched);
};

struct fetcher;

/* NULL: *problem says why. The texts must outlive it. */
struct fetcher *fetcher_new(const struct fetch_options *options, struct buf *problem);
/* What was asked is not answered any more. */
void fetcher_free(struct fetcher *f);
/* Becomes readable when fetcher_run has something to do. */
int fetcher_fd(const struct fetcher *f);
void fetcher_run(struct fetcher *f);
/* Copies. Refusals are delivered like all else, by fetcher_run. */
void fetcher_start(struct fetcher *f, const struct http_fetch *fetch);
/* More of a body that comes in pieces. */
void fetcher_give(struct fetcher *f, uint64_t id, struct slice bytes);
/* The next piece of an answer, when there is one. */
void fetcher_more(struct fetcher *f, uint64_t id);
void fetcher_end(struct fetcher *f, uint64_t id);

#endif
