/* From a document's graph to a resolution: pure, and the same on every arbiter. */
#ifndef PARLEY_ARBITER_DECIDE_H
#define PARLEY_ARBITER_DECIDE_H

#include "common/base/arena.h"
#include "common/doc/revision.h"
#include "proto/schema.h"

enum decision_kind {
	DECISION_NOTHING, /* there is no conflict (any more) */
	DECISION_RESOLVE, /* `resolve` is what the lead shall order */
	DECISION_NOTE,    /* it stays open; `note` says why */
	DECISION_BROKEN   /* the graph is none; nothing can be said */
};

enum decision_how { HOW_MERGE, HOW_NEWEST, HOW_OLDEST, HOW_SINGLE, HOW_KINDS };

struct decision {
	enum decision_kind kind;
	enum decision_how how; /* RESOLVE */
	struct msg_conflict_resolve resolve;
	struct msg_conflict_note note;
	char hash[REVISION_HASH_CHARS]; /* borrowed by resolve.revision */
	uint8_t resolution_id[16];      /* borrowed by resolve.resolution_id */
};

/* `graph` is an answer with status OK. *out borrows from it, from the arena and from itself. */
void arbiter_decide(const struct msg_conflict_read_ack *graph, struct slice id, struct arena *arena,
		    struct decision *out);

#endif
