/* Clients that write while others of their workload listen: each puts or deletes one document after
 * another, d0 and so on, of a `consistent` collection, so the generations of a document's revisions
 * count its changes. What became of each write is kept. They are a workload's first actors. */
#ifndef PARLEY_SIM_WRITERS_H
#define PARLEY_SIM_WRITERS_H

#include "tests/sim/workload.h"

enum { WRITERS = 2, WRITERS_WRITES_MAX = 400, WRITERS_METHODS = 4 };

struct writers_plan {
	const char *collection;
	int documents;
	enum http_method methods[WRITERS_METHODS]; /* each as likely */
};

struct write {
	int document;
	int64_t start_us;
	int64_t end_us;
	uint64_t generation; /* 0: refused, or without an answer */
	bool unknown;        /* it may have been done */
};

struct writers {
	const struct writers_plan *plan;
	struct write writes[WRITERS_WRITES_MAX];
	int count;              /* of writes */
	int under_way[WRITERS]; /* index of a write; -1: none */
};

void writers_init(struct writers *s, const struct writers_plan *plan);
void writers_step(struct writers *s, struct workload *w, int actor);
/* To a request that was under way. */
void writers_answered(struct writers *s, struct workload *w, int actor,
		      const struct sim_answer *answer);
/* No answer is awaited; else it says who waits. */
bool writers_are_done(const struct writers *s, const struct workload *w, struct buf *why);
/* The greatest generation that anybody was told of; 0: none. */
uint64_t writers_acknowledged(const struct writers *s, int document);

#endif
