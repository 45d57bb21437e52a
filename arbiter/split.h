/* Documents that share an id get ids of their own: the new ones are written first, wherever they
 * lie; then the graph is read again, and if it is as it was, the old id may become a stub.
 *
 *   CHECK --> CARRY --> WRITE --> VERSIONS --> DONE
 *
 * Nothing is written before all leads have said that they would take it; where attachments are
 * lacking they are brought, a chunk at a time. Between two stages the graph is read again: bodies
 * are not kept, and other documents begin with CHECK. */
#ifndef PARLEY_ARBITER_SPLIT_H
#define PARLEY_ARBITER_SPLIT_H

#include "common/core.h"
#include "common/doc/content_carry.h"
#include "common/doc/decide.h"

struct arbiter;
struct task;

enum split_stage {
	SPLIT_CHECK, /* would they be taken? */
	SPLIT_CARRY, /* attachments of the parts in `lacking` */
	SPLIT_WRITE,
	SPLIT_VERSIONS, /* those of the documents that conflict, made on what is written */
	SPLIT_DONE      /* all are written, or one was refused */
};

struct split_run {
	enum split_stage stage; /* under way, or the next one */
	uint8_t digest[16];     /* of what was asked for */
	enum status refused;    /* not OK: for good, because of `part` */
	uint32_t part;
	uint64_t lacking; /* a bit for each part whose lead lacks attachments */
	uint64_t carried; /* for each that names uploads */
	bool versions;    /* some parts are */
	uint64_t waiting; /* a bit for each request without an answer */
	uint64_t requests[SPLIT_PARTS_MAX];
	uint64_t leads[SPLIT_PARTS_MAX];
	bool carries; /* there is a carry, of `part` */
	struct content_carry carry;
	uint64_t target;    /* shard of the part that is carried to */
	struct arena arena; /* of the carry */
};

/* *d is a DECISION_RESOLVE. True: it may be ordered, or has become a note. False: the task waits.
 */
bool arbiter_split_decide(struct arbiter *a, struct task *t, struct decision *d,
			  struct effects *fx);
/* Answers to checks and writes. */
void arbiter_split_on_written(struct arbiter *a, const struct event *e, struct effects *fx);
void arbiter_split_on_chunk_read(struct arbiter *a, const struct event *e, struct effects *fx);
void arbiter_split_on_chunk_sent(struct arbiter *a, const struct event *e, struct effects *fx);
/* The task has ended. */
void arbiter_split_end(struct task *t);

#endif
