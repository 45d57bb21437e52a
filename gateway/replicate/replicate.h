/* Replication that the gateway runs itself: from a source to a target, each a database of this
 * cluster or of another server that speaks CouchDB's protocol.
 *
 * A job is a state machine that asks one of its sides and goes on with the answer. To it both are
 * alike: what is asked of a database of this cluster becomes a request in the gateway's own table,
 * what is asked of another server leaves as EFFECT_FETCH. How far it has come stands in a _local
 * document on either side, so that it is found again after a crash, by whichever gateway. */
#ifndef PARLEY_GATEWAY_REPLICATE_REPLICATE_H
#define PARLEY_GATEWAY_REPLICATE_REPLICATE_H

#include "gateway/internal.h"

struct replicator;

void replicator_init(struct gateway *gw);
void replicator_close(struct gateway *gw);
/* Of another server that is asked. */
void replicator_event(struct turn *t);
/* There is room for more of a question's body that comes in pieces, on either side. */
void replicator_room(struct turn *t, const struct http_credit *room);
/* Answers that came in this step are taken at its end, as one may bring the next at once. */
void replicator_step(struct turn *t);
/* Asks again what failed a while ago. */
void replicator_tick(struct turn *t);
int64_t replicator_deadline(const struct gateway *gw);
/* The gateway is about to stop: jobs end where they are. */
void replicator_drain(struct turn *t);

#endif
