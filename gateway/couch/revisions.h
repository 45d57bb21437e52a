/* What `open_revs` and `_bulk_get` answer: JSON, or a part for each revision. */
#ifndef PARLEY_GATEWAY_COUCH_REVISIONS_H
#define PARLEY_GATEWAY_COUCH_REVISIONS_H

#include "gateway/couch/multipart.h"

/* A request for revisions; its items are the documents that it names. All is the request's. */
struct reading {
	struct revs_asked *asked;
	struct slice *ids;
	struct slice *printed;   /* of each item */
	struct problem *refused; /* _bulk_get: of items that can't be asked; status OK: of none */
	uint32_t count;
	bool bulk; /* _bulk_get */
	bool latest;
	bool revs;
	bool data;                       /* attachments with theirs */
	const char *mixed;               /* the type of several parts; NULL: it is JSON */
	struct flow **flows;             /* mixed: of each item */
	char outer[PART_BOUNDARY_BYTES]; /* its boundary */
	char inner[PART_BOUNDARY_BYTES]; /* of documents with attachments */
	struct reading_part *parts;      /* of op_revisions.c */
	uint32_t left;                   /* parts without their last answer */
	size_t bytes;                    /* printed */
};

/* Prints what was found of an item: as JSON, the revisions separated by commas, or into its flow,
 * and what is appended to `out` then only says how much it is. False: it can't be printed. */
bool couch_revisions_item(struct request *r, const struct reading *op, uint32_t index,
			  const struct document_read *found, struct buf *out);
/* Answers the request with all items. */
void couch_revisions_answer(struct turn *t, struct request *r, const struct reading *op);

#endif
