/* Secondary indexes of a shard's copy.
 *
 * Each replica keeps the keys of its own live documents, in the batch that changes the document. A
 * new index is built in the background, in steps, in order of document id: documents up to where
 * the build has come (index_state.after, written with the keys) are kept up by apply.c, those
 * behind are still to be passed. No query uses an index before its last step is committed here. A
 * copy that begins anew, from a snapshot, builds anew.
 *
 * Which indexes there are says the stream: they stand in the collection's settings. Ids are never
 * reused, so a dropped index leaves nothing that another could take for its own. */
#ifndef PARLEY_STORAGE_INDEX_H
#define PARLEY_STORAGE_INDEX_H

#include "common/doc/index_key.h"
#include "storage-node/internal.h"

enum { INDEX_STEP_DOCUMENTS = 500 /* passed in one step, by all builds together */ };

struct shard_index {
	struct arena arena; /* of name, paths and fields */
	struct slice name;
	struct slice *paths;
	struct index_fields fields;
	uint64_t has; /* INDEX_HAS_*: only grows; may be ahead of the last commit */
	bool usable;  /* ready, and committed so */
	bool ready;
	uint64_t id;
	struct buf after; /* the build has passed documents up to this id */
	uint64_t documents;
	uint64_t keys;
};

/* The settings that count have changed, or were loaded: makes and drops indexes accordingly. */
void index_use_settings(struct storage *s, struct shard_copy *c);
/* NULL: there is none of that name. */
const struct shard_index *index_named(const struct shard_copy *c, struct slice name);
/* A document changes from one body to another; empty: it is not live. */
void index_change(struct storage *s, struct shard_copy *c, struct slice id, struct slice before,
		  struct slice after);
/* All documents go: so do all keys, and the builds start anew. */
void index_reset(struct storage *s, struct shard_copy *c);
void index_free(struct shard_copy *c);
/* One step of the builds, at the next moment when nothing is pending in the store, so that what
 * iterators show is all there is: at once, or when this turn is committed. */
void index_run_now(struct storage *s, struct effects *fx);
/* The turn is committed. */
void index_run_stored(struct storage *s, struct effects *fx);
void index_on_status(struct storage *s, const struct event *e, struct effects *fx);

#endif
