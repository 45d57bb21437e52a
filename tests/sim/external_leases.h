/* A lead leases a conflict to one client at a time: seen from the messages alone. */
#ifndef PARLEY_SIM_EXTERNAL_LEASES_H
#define PARLEY_SIM_EXTERNAL_LEASES_H

#include "tests/sim/sim.h"

struct external_leases;

struct external_leases *external_leases_new(void);
void external_leases_free(struct external_leases *l);
void external_leases_on_send(struct external_leases *l, struct sim *sim, int from,
			     const struct effect *effect);
/* When the lease, as its client knows it, has ended for sure, however slow the lead's clock: a late
 * copy of the request may have made it begin anew. */
int64_t external_leases_over_us(const struct external_leases *l, struct slice lease);

#endif
