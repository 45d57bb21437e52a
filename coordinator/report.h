/* What storage nodes say of their replicas, kept beside the placements. Volatile: said again every
 * heartbeat. */
#ifndef PARLEY_COORDINATOR_REPORT_H
#define PARLEY_COORDINATOR_REPORT_H

#include "coordinator/internal.h"

/* Reports of shards that are not placed on this member, or of another incarnation, are ignored. */
void report_take(struct coordinator *c, const struct member_row *m,
		 const struct shard_report *reports, uint32_t count);
/* Is one of them of an older epoch than ours? A late message may bring a node a placement that
 * lists it, after the map that does so no more: it would keep it until the next map. */
bool report_is_old(const struct coordinator *c, const struct shard_report *reports, uint32_t count);
/* A new life of this member: nothing that the old one said holds. */
void report_forget(struct coordinator *c, uint64_t member);

#endif
