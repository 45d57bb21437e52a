/* After a start the coordinator does not trust its own disk: it may have been lost, or put back
 * from an old copy.
 *
 *   WAITING   decides nothing. It waits until of every shard it knows N-W+1 voting replicas
 *             have joined (any that many share a node with every quorum that settled
 *             something), or all of them; while it knows no shard, until more than half of the
 *             listed storage nodes have, and with recover_from_nodes for all of these. Nodes may
 *             be gone for good: after RECOVERY_PATIENCE_MS more than half are enough in any case.
 *   DONE      decides, but of no shard of which too few have joined yet.
 *   REFUSED   a member knew a higher epoch, promise or map version, another content of an epoch,
 *             or a shard or collection that is not ours, a newer version of its settings, or that
 *             it was dropped: this state is not the newest there was. Decides nothing, pushes no
 *             map, says so once in the log and in the readiness check.
 *
 * WAITING and DONE go to REFUSED whenever such a report comes. With recover_from_nodes they adopt
 * what is newer instead, and begin a new epoch above every promise seen wherever the adopted
 * placement may not be the newest. */
#ifndef PARLEY_COORDINATOR_RECOVERY_H
#define PARLEY_COORDINATOR_RECOVERY_H

#include "coordinator/internal.h"

enum { RECOVERY_PATIENCE_MS = 10000 };

void recovery_start(struct coordinator *c);
/* The process stood still for so long: nobody had that time to join. */
void recovery_slept(struct coordinator *c, int64_t ms);
void recovery_on_join(struct coordinator *c, const struct member_row *m,
		      const struct msg_member_join *j, struct effects *fx);
void recovery_on_heartbeat(struct coordinator *c, const struct member_row *m,
			   const struct msg_heartbeat *h, struct effects *fx);
/* WAITING to DONE, when it is time; which shards are known well enough to decide on. */
void recovery_review(struct coordinator *c, struct effects *fx);

#endif
