/* Reading revisions of many documents with one message, as CouchDB's clients know them
 * (common/doc/graph_line.h); and telling which are not here. */
#ifndef PARLEY_STORAGE_REVISIONS_H
#define PARLEY_STORAGE_REVISIONS_H

#include "storage-node/internal.h"

void revisions_on_read(struct storage *s, const struct event *e, struct effects *fx);
void revisions_on_diff(struct storage *s, const struct event *e, struct effects *fx);

/* For reading one document: of what a revision that is no leaf has become the first leaf, by
 * winning. */
int revisions_latest(struct document_view *v, uint32_t index);
/* The line of ancestors of a node, with what is kept of each. */
void revisions_list_line(struct document_view *v, uint32_t of, struct msg_doc_read_ack *ack);
/* Leaves but for `shown`: live ones, and deleted ones. */
void revisions_list_leaves(struct document_view *v, const struct revision *shown,
			   struct msg_doc_read_ack *ack);

#endif
