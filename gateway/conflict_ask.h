/* Requests about one conflict: the collection is found, its lead asked. In op_conflict.c. */
#ifndef PARLEY_GATEWAY_CONFLICT_ASK_H
#define PARLEY_GATEWAY_CONFLICT_ASK_H

#include "common/doc/decide.h"
#include "gateway/graph_read.h"
#include "gateway/native.h"
#include "gateway/split.h"

/* The beginning of what r->op points to. */
struct conflict_ask {
	struct graph_read read; /* first */
	collection_step *go;
	struct split_writes split;
};

/* Finds the shard of r->resource in r->collection, then calls go. */
void conflict_begin(struct turn *t, struct request *r, collection_step *go);
/* Sends a message of which doing it again does nothing to the shard's lead. */
void conflict_call(struct turn *t, struct request *r, struct call_spec *spec);
void conflict_ask_graph(struct turn *t, struct request *r, call_done *done);
/* The lead's answer; NULL: it was none, and the client has been told. */
const struct msg_conflict_read_ack *conflict_graph(struct turn *t, struct request *r,
						   enum status status, const void *body);
/* As if the policy were this one; another one than that in force would be the next version. */
void graph_under(struct msg_conflict_read_ack *graph, struct slice policy);

/* op_resolve.c */

/* Exactly one of pick, document, delete and split of a body. */
bool conflict_take_answer(struct turn *t, struct request *r, struct slice body,
			  struct answer *answer, struct problem *p) MUST_CHECK;
/* The answer can't be followed: where, and why. */
void conflict_answer_wrong(struct request *r, const struct decision *d, enum answer_kind kind,
			   struct problem *p);
/* The lead refused what was made of the answer, and it is not that the leaves moved. */
void conflict_resolve_problem(enum status status, const struct answer *answer,
			      const struct msg_conflict_resolve_ack *ack, struct problem *p);
/* It is not split; id: that another document has, or empty. */
void conflict_split_refused(struct turn *t, struct request *r, enum status status, struct slice id);
/* Copies what the decision borrows from the graph's message, which ends with this step. */
void conflict_keep(struct request *r, const struct decision *d, struct msg_conflict_resolve *m);

#endif
