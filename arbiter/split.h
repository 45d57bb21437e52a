/* Documents that share an id get ids of their own: the new ones are written first, wherever they
 * lie; then the graph is read again, and if it is as it was, the old id may become a stub. */
#ifndef PARLEY_ARBITER_SPLIT_H
#define PARLEY_ARBITER_SPLIT_H

#include "common/core.h"
#include "common/doc/decide.h"

struct arbiter;
struct task;

struct split_run {
	bool done;          /* all are written, or one was refused */
	uint8_t digest[16]; /* of what was asked for */
	bool refused;       /* there is another document in the place of part `taken` */
	uint32_t taken;
	uint64_t first_request; /* of part 0; the others follow */
	uint64_t waiting;       /* a bit for each part without an answer */
	uint64_t leads[SPLIT_PARTS_MAX];
};

/* *d is a DECISION_RESOLVE. True: it may be ordered, or has become a note. False: the task waits.
 */
bool arbiter_split_decide(struct arbiter *a, struct task *t, const struct msg_conflict_read_ack *m,
			  struct decision *d, struct effects *fx);
void arbiter_split_on_written(struct arbiter *a, const struct event *e, struct effects *fx);

#endif
