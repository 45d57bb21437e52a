/* Which arbiter looks after which shard: each shard goes to the live arbiter that weighs most for
 * it. Efficiency only: two that look after the same shard do each other no harm. */
#ifndef PARLEY_COORDINATOR_ARBITERS_H
#define PARLEY_COORDINATOR_ARBITERS_H

#include "coordinator/internal.h"

void arbiters_on_lease(struct coordinator *c, const struct event *e, struct effects *fx);

#endif
