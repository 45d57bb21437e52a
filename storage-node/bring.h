/* Attachments of a branch on a node that was replaced while it was away.
 *
 * A lead keeps what a branch may name until it has heard of the outbox of each replica; of a node
 * that has lost its place it hears no more. When that one comes back and pushes its branch, the
 * bytes may be gone from all others: the lead orders no such branch, says that it lacks them, and
 * the node sends them as uploads, which are held for long enough, and pushes again.
 *
 * If it gets a place again meanwhile, it takes no entries and no copies at first: what they remove
 * it may be the last to have. */
#ifndef PARLEY_STORAGE_BRING_H
#define PARLEY_STORAGE_BRING_H

#include "storage-node/internal.h"

/* Lead: a branch of a node without a place can't be ordered yet, and the node was told why. False:
 * all is there that it names. */
bool bring_lacks(struct storage *s, struct shard_copy *c, const struct event *e,
		 const struct change *change, struct effects *fx);

/* Such a node that has a place again: what its lead sends is to wait, but not for ever, as the
 * others may need this replica to settle anything. */
bool bring_first(struct storage *s, struct shard_copy *c);

/* Such a node, of one branch at a time. What can't be brought leaves its branch bare: it is pushed
 * without. */
void bring_on_lacks(struct storage *s, const struct event *e, struct effects *fx);
void bring_on_chunk_ack(struct storage *s, const struct event *e, struct effects *fx);
void bring_free(struct storage *s);

#endif
