/* What the files of the final checks share. */
#ifndef PARLEY_SIM_CHECKER_PRIVATE_H
#define PARLEY_SIM_CHECKER_PRIVATE_H

#include "tests/sim/history.h"

/* A document as the disks have it in the end. */
struct final_document {
	bool exists;
	struct document doc;
};

/* Index of a revision in the graph, or GRAPH_NONE. */
int checker_find(const struct document *doc, const char *text);

/* sent.c: the revisions, each ended by a comma, as which leads ordered the operation that this
 * branch was made for. Empty: none did. */
struct slice checker_ordered_as(struct sim *sim, struct slice revision, struct slice id);

/* linearizable.c: looks at one document of COLLECTION_STRICT, and adds it to what each count may
 * have seen */
void checker_linearizable(struct sim *sim, int document, const struct final_document *final);
/* When all documents were added: does each count fit? */
void checker_count_answers(struct sim *sim);

#endif
