/* A gateway's core in a cluster that answers anything valid: what the fuzzers of what clients and
 * other servers say share. */
#ifndef PARLEY_TESTS_FUZZ_GATEWAY_WORLD_H
#define PARLEY_TESTS_FUZZ_GATEWAY_WORLD_H

#include "common/base/rng.h"
#include "gateway/gateway.h"

enum { WORLD_START_MS = 1000, WORLD_SENT_MAX = 64, WORLD_REQUESTS_MAX = 8, WORLD_COORDINATOR = 1 };

struct world_sent {
	uint64_t member;
	struct envelope envelope;
};

struct world {
	struct gateway *gw;
	struct effects fx;
	struct arena arena; /* of the step */
	struct rng rng;
	int64_t now_ms;
	struct world_sent sent[WORLD_SENT_MAX]; /* not answered yet */
	uint32_t sent_count;
	uint64_t asked; /* ids count from 1, and are those of their connections, too */
	uint32_t left;  /* asked, not answered, not gone */
	bool waiting[WORLD_REQUESTS_MAX + 1];
	bool streaming[WORLD_REQUESTS_MAX + 1];
	bool closing[WORLD_REQUESTS_MAX + 1]; /* a stream that the core has closed */
	/* Of a million answers of the cluster so many are a success, whatever else they hold. */
	uint32_t success_ppm;
	/* Sees each effect; NULL: nobody does. */
	void (*look)(struct world *w, const struct effect *e);
};

/* A zeroed one. A collection "c" in two shards, of a drawn mode. Who the gateway and its peers are
 * is added to the options. */
void world_open(struct world *w, const struct gateway_options *options, uint64_t seed);
void world_close(struct world *w);
void world_step(struct world *w, struct event *event);
/* To its next deadline. */
void world_tick(struct world *w);
/* Takes a number; at most WORLD_REQUESTS_MAX in all. */
void world_request(struct world *w, struct http_request *request);
/* The client of the last request goes, if it waits. */
void world_gone(struct world *w);
/* One of what was sent, in any order; there must be one. */
void world_answer(struct world *w);

#endif
