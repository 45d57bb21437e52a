/* Scripts of policies at the gateway: compiled when a policy is written. */
#ifndef PARLEY_GATEWAY_POLICY_SCRIPT_H
#define PARLEY_GATEWAY_POLICY_SCRIPT_H

#include "gateway/script_runs.h"

typedef void script_checked(struct turn *t, struct request *r);

/* Refuses the request if the policy has a script that is none, at place + "/script"; else goes on
 * with next, which may be at once. While all workers are busy nothing is taken untried; where none
 * can be started, the arbiter finds out. */
void policy_check_script(struct turn *t, struct request *r, struct slice policy, const char *place,
			 script_checked *next);

#endif
