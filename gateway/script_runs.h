/* Runs of scripts at the gateway: policies, compiled or tried; functions of design documents. The
 * workers are the gateway's own (common/run/script_pool.h), started when first needed; collections
 * take turns there. */
#ifndef PARLEY_GATEWAY_SCRIPT_RUNS_H
#define PARLEY_GATEWAY_SCRIPT_RUNS_H

#include "common/doc/script_decide.h"
#include "gateway/internal.h"

enum {
	SCRIPT_RUNS_MAX = 512,    /* under way; of one collection half of it */
	SCRIPT_PATIENCE_MS = 2000 /* they wait for each other */
};

struct script_runs;

typedef void script_done(struct turn *t, struct request *r, const void *context,
			 const struct script_end *end);

void script_runs_init(struct gateway *gw);
void script_runs_close(struct gateway *gw);
/* A run has ended. */
void script_runs_event(struct turn *t);
void script_runs_tick(struct turn *t);
/* Those of a request that ends: nobody waits for them any more. */
void script_runs_end(struct turn *t, struct request *r);
int64_t script_runs_deadline(const struct gateway *gw);

/* Calls done later, with BUSY if nobody answers in time, and the run is dropped; not at all if the
 * request has ended by then. False: too many are under way, or its collection has more than it
 * leaves to others. source and arguments are copied, context lives as long as the request. */
struct script_asked {
	struct slice source;
	struct slice arguments;
	script_done *done;
	const void *context;
	int64_t patience_ms; /* 0: SCRIPT_PATIENCE_MS */
};
bool script_run(struct turn *t, struct request *r, const struct script_asked *asked) MUST_CHECK;

#endif
