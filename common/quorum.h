/* Which replicas decide, also while a placement is changing.
 *
 * N replicas have places. A node that is to take over a place is listed beside them as `joining`;
 * the one whose place it gets is `leaving`. So long as the joining replica learns, it counts for
 * nothing. Once it votes, the placement is joint: two sets of N decide, the old one (all but the
 * joining) and the new one (all but the leaving), and whatever needs a quorum needs it in both:
 * W for settling and for leases, N-W+1 for a take-over.
 *
 * Why each step is safe (it is the joint consensus of Raft, Ongaro and Ousterhout 2014, section 6,
 * with other sizes of quorums). A take-over of epoch E is safe if its N-W+1 promises meet, in one
 * set, every W that settled something, or may still settle or lease something, in an older epoch.
 *   - Naming a joining replica that learns, or taking it out again, changes no set.
 *   - Old to joint: leads of older epochs need W of the old set, and the take-over has N-W+1 of it.
 *   - Joint back to old: joint leads needed W of the old set as well. Nothing need be awaited.
 *   - Joint to new: only after a lead has served in the joint epoch that is current. Its promises
 *     took W of the old set from all older leads that know only that one, for ever; and its own
 *     entry has W copies in the new set, so all that was settled before lies there. Joint leads
 *     need W of the new set, of which the take-over has N-W+1.
 * Replacing the place in one step would not do: A and B settle, Y takes A's place, C and Y are
 * N-W+1 and know nothing of it. */
#ifndef PARLEY_QUORUM_H
#define PARLEY_QUORUM_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/schema.h"

enum quorum_set { QUORUM_OLD, QUORUM_NEW };

/* Of a listed replica, whether or not it votes. */
bool quorum_has(const struct replica *r, enum quorum_set set);
/* N: the places. */
uint32_t quorum_places(const struct shard *s);
/* Both sets decide. */
bool quorum_joint(const struct shard *s);
/* The last set that decides; the first is QUORUM_OLD. */
enum quorum_set quorum_last(const struct shard *s);
/* N-W+1: voting replicas that a take-over needs, the successor included. */
uint32_t quorum_takeover(const struct shard *s);
/* At least `needed` of each set that decides; here[i] says whether replica i of the list counts. */
bool quorum_reached(const struct shard *s, const bool *here, uint32_t needed);
/* NULL, or what is wrong with the marks: at most one joins, in the place of at most one. */
const char *quorum_problem(const struct shard *s);

#endif
