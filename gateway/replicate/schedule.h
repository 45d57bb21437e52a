/* Jobs that documents of _replicator ask for. Gateways share them out among themselves by rows of a
 * collection that only they read: a row for each gateway that runs jobs, its sign of life, and one
 * for each job, which says who runs it. A row is written on the revision that was read, so of two
 * that want a job one gets it.
 *
 * A gateway's lease runs from sending the last sign of life that was taken. Who takes over waits
 * for twice as long as that, and then removes the other's row: if that succeeds, no later sign of
 * life is taken. So a job is never acted upon by two. */
#ifndef PARLEY_GATEWAY_REPLICATE_SCHEDULE_H
#define PARLEY_GATEWAY_REPLICATE_SCHEDULE_H

#include "gateway/internal.h"

struct job;
struct schedule;

/* node: the name of this gateway; copied; NULL: it has none. */
struct schedule *schedule_new(uint64_t seed, const char *node);
void schedule_close(struct gateway *gw);
/* This gateway's name, as lists of nodes and jobs have it. */
struct slice schedule_node(const struct gateway *gw);
/* Answers that came in this step. */
void schedule_step(struct turn *t);
void schedule_tick(struct turn *t);
int64_t schedule_deadline(const struct gateway *gw);
/* The gateway is about to stop: its jobs are anybody's. */
void schedule_drain(struct turn *t);
/* Then: others know. */
bool schedule_has_left(const struct gateway *gw);
void schedule_metrics(const struct gateway *gw, struct buf *out);
/* A document of _replicator was written here: it is looked at now. */
void schedule_hint(struct gateway *gw);

/* May this job ask or tell its sides anything? Not without a lease, if it is of a document. */
bool schedule_allows(const struct gateway *gw, const struct job *job, int64_t now_ms);
int64_t schedule_lease_left(const struct gateway *gw, int64_t now_ms);
/* A job of a document has ended; error NULL: done. */
void schedule_ended(struct turn *t, struct job *job, const char *error, const char *reason);

/* step is called once all that was written before is known here; at once if there is nothing to
 * know. False: too many wait. */
bool schedule_await(struct turn *t, struct request *r, request_step *step) MUST_CHECK;

#endif
