/* Who is there: joins, heartbeats, health.
 *
 * A storage node is known by incarnation (its data) and boot (its life). Of each member the newest
 * accepted pair is remembered durably. A pair that lies behind it (a past incarnation, or fewer
 * starts of the current one) is either a late message of an earlier life, or a copy of the data
 * directory that was put back. Only the second goes on asking: it is told INCARNATION_REVOKED after
 * BEHIND_JOINS joins that span BEHIND_MS, late messages get no answer. A new incarnation is let in
 * when the current one has been silent for OFFLINE_MS, so that of two processes with one key at
 * most one is a member.
 *
 * Health: offline (silent for OFFLINE_MS); fatal (revoked, or it lost data that no majority is left
 * to give back); unhealthy (a replica of it is learning or behind, or its disk is full); healthy.
 */
#ifndef PARLEY_COORDINATOR_MEMBERSHIP_H
#define PARLEY_COORDINATOR_MEMBERSHIP_H

#include "coordinator/internal.h"

void membership_set(struct coordinator *c, const struct coordinator_member *members,
		    uint32_t count);
/* Silence before now says nothing of those who have not joined yet: they get OFFLINE_MS to be heard
 * of. */
void membership_grace(struct coordinator *c);
/* This process stood still since `before_ms`: who was recent then is so now. */
void membership_slept(struct coordinator *c, int64_t before_ms);
void membership_on_join(struct coordinator *c, const struct event *e, struct effects *fx);
void membership_on_heartbeat(struct coordinator *c, const struct event *e, struct effects *fx);
/* Works out everybody's health anew; changes to and from offline are changes of the map. */
void membership_review(struct coordinator *c, struct effects *fx);
/* Heard of within OFFLINE_MS, and listed. */
bool membership_alive(const struct coordinator *c, const struct member_row *m);
/* The replica's node is alive and holds the data that the placement lists. */
bool membership_replica_alive(const struct coordinator *c, const struct replica *replica);
/* Storage members of the list. */
uint32_t membership_storage_listed(const struct coordinator *c);
/* Those of them that have joined since the coordinator's start. */
uint32_t membership_storage_joined(const struct coordinator *c);

#endif
