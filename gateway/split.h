/* What must be there before an id is split: the documents that take its place. Shared by people's
 * and clients' answers; arbiters do the same on their own. */
#ifndef PARLEY_GATEWAY_SPLIT_H
#define PARLEY_GATEWAY_SPLIT_H

#include "common/doc/content_carry.h"
#include "common/doc/decide.h"
#include "gateway/contents.h"
#include "gateway/internal.h"

/* place: the id that another document has (SPLIT_TAKEN), or empty. */
typedef void split_done(struct turn *t, struct request *r, enum status status, struct slice place);

/* A part on its way: one message at a time. */
struct split_document {
	struct split_part part;
	uint64_t shard;
	bool carried; /* it names uploads */
	union {
		struct msg_derived_check check;
		struct msg_doc_write write;
	} message;
};

struct split_writes {
	struct split_document *documents;
	uint32_t count;
	uint32_t left;    /* without an answer */
	uint64_t lacking; /* a bit for each whose lead lacks attachments */
	bool only_check;
	enum status status;
	struct slice taken;
	split_done *done;
	uint64_t shard; /* of the old id */
	struct contents carried;
};

/* Copies what is needed of a decision, whose graph may go then; shard: that of the old id. */
void split_prepare(struct request *r, uint64_t shard, const struct decision *d,
		   struct split_writes *out);
/* Asks whether the parts would be taken, and changes nothing. r->op begins with a struct
 * conflict_ask, which keeps the state. done comes at once if there are none. */
void split_check(struct turn *t, struct request *r, const struct split_writes *prepared,
		 split_done *done);
/* What was to be split stays open, if it is not OK what a check came to. */
void split_heed_check(struct request *r, struct decision *d, enum status status,
		      struct slice place);
/* Writes the parts of the decision beside the shard given, with their attachments, if all of them
 * would be taken; then calls done. */
void split_write(struct turn *t, struct request *r, uint64_t shard, const struct decision *d,
		 split_done *done);

#endif
