/* Requests to make, change and drop collections, and to empty nodes, that were answered. One that
 * comes again, since its answer was lost or the network delivered it twice, gets the same answer
 * and is not done again: what made or dropped a collection is known for ever, by the records on
 * disk; of the others, those of this start, the newest ASKED_MAX. Older copies are refused by their
 * time. */
#ifndef PARLEY_COORDINATOR_ASKED_H
#define PARLEY_COORDINATOR_ASKED_H

#include "coordinator/internal.h"

/* How a request says which it is, and until when it may be done. */
struct asking {
	uint64_t operation;
	uint64_t until_ms;
	uint64_t life;
};

/* From the disk; operation 0 is none. */
void asked_load(struct coordinator *c, uint64_t operation, enum status status);
/* STALE: too late, or for an earlier start; else how it was answered before; false: it is new. */
bool asked_before(const struct coordinator *c, struct asking asking, enum status *status);
void asked_note(struct coordinator *c, struct asking asking, enum status status);
void asked_close(struct coordinator *c);

#endif
