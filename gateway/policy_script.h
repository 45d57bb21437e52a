/* Scripts of policies at the gateway: tried when a policy is written, and run for who asks what one
 * would do. The workers are the gateway's own (common/run/script_pool.h), started when first
 * needed. */
#ifndef PARLEY_GATEWAY_POLICY_SCRIPT_H
#define PARLEY_GATEWAY_POLICY_SCRIPT_H

#include "common/doc/script_decide.h"
#include "gateway/internal.h"

enum {
	SCRIPT_RUNS_MAX = 32,     /* under way */
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
int64_t script_runs_deadline(const struct gateway *gw);

/* Calls done later, with UNAVAILABLE if nobody answers in time; not at all if the request has ended
 * by then. False: too many are under way. source and arguments are copied, context lives as long as
 * the request. */
struct script_asked {
	struct slice source;
	struct slice arguments;
	script_done *done;
	const void *context;
};
bool script_run(struct turn *t, struct request *r, const struct script_asked *asked) MUST_CHECK;

typedef void script_checked(struct turn *t, struct request *r);

/* Refuses the request if the policy has a script that is none, at place + "/script"; else goes on
 * with next, which may be at once. Where no worker can be asked, the arbiter finds out. */
void policy_check_script(struct turn *t, struct request *r, struct slice policy, const char *place,
			 script_checked *next);

#endif
