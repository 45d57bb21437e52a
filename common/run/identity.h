/* Who a data directory is: made with it, kept in it, counted at every start (DESIGN 3). */
#ifndef PARLEY_RUN_IDENTITY_H
#define PARLEY_RUN_IDENTITY_H

#include "common/store/store.h"
#include "proto/schema.h"

/* Reads the identity, or makes one in an empty store; counts this start and syncs it. False: the
 * directory is another member's or cluster's, or of a format that this version can't read; *problem
 * says so. */
bool identity_take(struct store *store, uint64_t cluster, uint64_t member,
		   struct node_identity *out, struct buf *problem) MUST_CHECK;

#endif
