/* The coordinator's durable state. Format, STORE_FORMAT 2; integers in keys are big endian:
 *
 *   family  key                          value
 *   META    "coordinator"                coordinator_state
 *   META    'c' collection id            collection
 *   META    's' shard id                 shard
 *   META    'd' shard or collection id  collection id (8 bytes): dropped, never to come back; of a
 *                                        collection also the operations that made and dropped it
 *   META    'm' member id                member: incarnation and boot last accepted, and whether it
 *                                        is to be emptied, for whom (health is not kept)
 *   META    'l' lock id                  lock_record: granted, or not yet let go of by all shards
 *   META    'r' member id, incarnation   order (8 bytes): a past incarnation of this member, never
 *                                        accepted again
 *
 * Every put asks for a sync; whoever tells others of a change does so WHEN_DURABLE. */
#ifndef PARLEY_COORDINATOR_STATE_H
#define PARLEY_COORDINATOR_STATE_H

#include "coordinator/internal.h"

/* False: unreadable, or another cluster's. */
bool state_load(struct coordinator *c) MUST_CHECK;

/* Raises map_version, once per turn, and marks it for being put and pushed at the turn's end.
 * Before recovery the version must stay what the members are compared with: then it is raised when
 * recovery is done. */
void state_map_changed(struct coordinator *c);
void state_put_counters(struct coordinator *c, struct effects *fx);
void state_put_member(struct coordinator *c, const struct member_row *m, struct effects *fx);
/* Moves the member's incarnation, if it has one, to the past ones. */
void state_revoke(struct coordinator *c, struct member_row *m, struct effects *fx);
/* Replaces what was known of the shard; keeps the views of replicas whose node and incarnation
 * stay. */
struct shard_row *state_put_shard(struct coordinator *c, const struct shard *shard,
				  struct effects *fx);
void state_put_collection(struct coordinator *c, const struct collection *collection,
			  struct effects *fx);
/* Forgets it, and puts down that it was dropped with that collection. */
void state_drop_shard(struct coordinator *c, uint64_t id, uint64_t collection, struct effects *fx);
/* Puts down that a collection was dropped of which nothing else is known. */
void state_put_dropped(struct coordinator *c, uint64_t collection, struct effects *fx);
/* By this operation; 0: none. `collection` is gone afterwards. */
void state_drop_collection(struct coordinator *c, const struct collection *collection,
			   uint64_t operation, struct effects *fx);
/* NULL when there is none of that name in database 0. */
const struct collection *state_collection(const struct coordinator *c, struct slice name);

struct member_row *state_member_add(struct coordinator *c, uint64_t id);
bool state_is_revoked(const struct member_row *m, uint64_t incarnation);
void state_close(struct coordinator *c);

#endif
