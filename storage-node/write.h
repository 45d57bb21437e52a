/* A client's write: decided at the lead into the stream, or on any replica of an available
 * collection as a branch. The same write may come again, to the same replica or to another, and is
 * done once. */
#ifndef PARLEY_STORAGE_WRITE_H
#define PARLEY_STORAGE_WRITE_H

#include "storage-node/decision.h"
#include "storage-node/internal.h"

/* ---- write.c: dispatch; at the lead ---- */

void write_on_doc_write(struct storage *s, const struct event *e, struct effects *fx);
void write_on_derived_check(struct storage *s, const struct event *e, struct effects *fx);
/* The next stamp of this shard. */
uint64_t write_stamp(struct storage *s, struct shard_copy *c);
/* OK: in time, and this is the lead of the epoch that the message names, with disks to write on.
 * c: NULL if there is no copy. Whoever asked the wrong one is sent the newer placement. */
enum status write_taken_by_lead(struct storage *s, struct shard_copy *c, const struct event *e,
				uint64_t until_ms, uint64_t life, struct effects *fx);
/* Fewer than W replicas have room on their disks: a write could only wait for its deadline. */
bool write_disks_full(const struct storage *s, const struct shard_copy *c);
/* True past the time by which its gateway wanted it taken, or if that is by another clock. */
bool write_is_stale(const struct storage *s, uint64_t until_ms, uint64_t life);

/* Where a document of a write by query stands in the whole; slices are borrowed. */
struct edit_part {
	struct slice id;     /* of the edit */
	struct slice digest; /* likewise */
	uint64_t count;      /* with this document */
};

struct edit_written {
	uint64_t number; /* of the entry; 0: none was needed */
	uint64_t bytes;
	const struct update_error *why; /* of a refusal; NULL: the status says all */
};

/* Decides and orders one document of an edit, like any write of the lead. OK, or why it can't be
 * done; then nothing was ordered. */
enum status write_edit_document(struct document_view *v, const struct msg_doc_write *m,
				const struct edit_part *part, struct edit_written *out,
				struct effects *fx);

/* ---- write_branch.c: on any replica ---- */

void write_as_branch(struct storage *s, struct shard_copy *c, const struct event *e,
		     struct effects *fx);

/* ---- write_again.c: a write that came before; true: it is dealt with ---- */

bool write_again_in_outbox(struct storage *s, struct shard_copy *c, const struct event *e,
			   struct effects *fx);
/* A refusal of it stands in the stream. Its client may have been told, whoever led then. */
bool write_again_refused(struct storage *s, struct shard_copy *c, const struct event *e,
			 struct effects *fx);
bool write_again_recent(struct storage *s, struct shard_copy *c, const struct event *e,
			struct effects *fx);
/* It stands in the stream here already: it is as safe as a branch, as which it would go on if it
 * were cut, unless its attachments could be lost then (attachments_stay). Made into a branch as
 * well it could land on what came after it. can_wait: such a one is left to who waits for the
 * entry. */
bool write_again_standing(struct storage *s, struct shard_copy *c, const struct event *e,
			  bool can_wait, struct effects *fx);

/* ---- write_answer.c ---- */

/* d: NULL: the status says all. */
void write_answer(const struct storage *s, const struct event *e, enum effect_when when,
		  enum status status, const struct decision *d, struct effects *fx);
/* When entry `number` is applied; at once if it is, or is 0. */
void write_answer_applied(struct storage *s, struct shard_copy *c, const struct event *e,
			  uint64_t number, const struct decision *d, struct effects *fx);
/* One that changes nothing: it may show only settled state, and only under a lease. */
void write_answer_unchanged(struct storage *s, struct shard_copy *c, const struct event *e,
			    struct document_view *v, const struct decision *d, struct effects *fx);
/* Refused without a look at the document. Copies that come later are refused, too, where the client
 * is told and nobody else asked. */
void write_refuse(struct storage *s, struct shard_copy *c, const struct event *e,
		  enum effect_when when, enum status refused, struct effects *fx);

#endif
