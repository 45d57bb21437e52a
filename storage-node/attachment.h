/* Attachments on a storage node. Gateways send contents as uploads, chunk by chunk, each chunk an
 * entry of the shard's stream; a write then names uploads and thereby takes them over. A content
 * is kept once, however many bodies name it: a count of references changes in the batch that
 * changes the bodies, so contents go when the last body goes that names them, as bodies do. An
 * upload that nobody comes for is dropped by an entry of its own, so on all replicas alike. */
#ifndef PARLEY_STORAGE_ATTACHMENT_H
#define PARLEY_STORAGE_ATTACHMENT_H

#include "storage-node/internal.h"

enum {
	UPLOAD_BYTES = 16,       /* of an id */
	UPLOADS_MAX = 4096,      /* of a shard */
	UPLOAD_KEEP_MIN = 60,    /* minutes after its newest chunk; options.upload_keep_ms */
	UPLOAD_SWEEP_MS = 1000,  /* between two looks for old ones */
	UPLOAD_DROPS_SWEEP = 256 /* ordered by one look */
};

/* ---- attachment.c: as applied ---- */

void attachment_apply_chunk(struct storage *s, struct shard_copy *c, uint64_t number,
			    const struct change *change);
void attachment_apply_drop(struct storage *s, struct shard_copy *c, const struct change *change);
/* Before the bodies of the edit are put: counts what they name. before, after: the winner's body
 * in the record; empty: none. */
void attachments_apply(struct storage *s, struct shard_copy *c, const struct change *change,
		       const struct document_edit *edit, struct slice before, struct slice after);
bool attachment_load_upload(struct storage *s, struct shard_copy *c, struct slice id,
			    struct upload *out);
bool attachment_load(struct storage *s, struct shard_copy *c, struct slice content,
		     struct attachment *out);

/* ---- attachment_serve.c: at the lead ---- */

void attachment_on_chunk(struct storage *s, const struct event *e, struct effects *fx);
void attachment_on_forget(struct storage *s, const struct event *e, struct effects *fx);
void attachment_on_read(struct storage *s, const struct event *e, struct effects *fx);
/* An upload may be gone soon: a drop of one is in the stream, and not applied yet. */
bool attachment_drop_pending(const struct shard_copy *c);
void attachment_tick(struct storage *s, struct shard_copy *c, struct effects *fx);
void attachment_metrics(const struct storage *s, struct buf *out);

/* ---- attachment_take.c: what a write says of attachments, made into what is stored ---- */

struct attachments_taken {
	struct slice body;     /* in the arena, or the one given */
	struct slice *uploads; /* whose contents it names */
	uint32_t uploads_count;
	struct slice wrong; /* of a refusal: the name */
};

/* Each member of `_attachments` names an upload, is a stub as it is stored, or is {"stub": true}:
 * the last two must be in the parent's body, a stub as it is stored in the current one if that is
 * gone. generation: of the revision that is made. */
enum status attachments_take(struct document_view *v, struct slice body, struct slice parent,
			     uint64_t generation, struct attachments_taken *out);
/* May it lie in an outbox? What it brings is held by the stream only; what it names must be named
 * by a leaf that is applied here: no lead lets go of that before it has heard of all outboxes. */
bool attachments_stay(struct storage *s, struct shard_copy *c, const struct change *change);
/* Of a resolution: each attachment that it names is one of some version that is kept. False: *wrong
 * is the name of the first that is not, or empty; borrows from body. */
bool attachments_known(struct document_view *v, struct slice body, struct slice *wrong);

#endif
