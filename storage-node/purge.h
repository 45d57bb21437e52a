/* Deleted documents. What is left of one, its tombstone, is kept for the collection's
 * retainDeletedMs; then, when every replica that the placement lists has passed the deletion and
 * holds no branch of the document (cleanup.c), and every client that syncs has seen it
 * (checkpoint.h), it goes by an entry of the stream. A mark stays for PURGED_KEEP_DAYS: a branch on
 * what came before is late. It does not bring the document back, but becomes an open conflict with
 * its deletion, which only people resolve. */
#ifndef PARLEY_STORAGE_PURGE_H
#define PARLEY_STORAGE_PURGE_H

#include "storage-node/internal.h"

enum {
	TOMBSTONES_LISTED = 256,   /* of one answer */
	TOMBSTONES_LOOKED = 1024,  /* at, for it */
	PURGED_MARKS_MAX = 1 << 20 /* of a shard; then the oldest go early */
};

/* A change was applied, to a document that was deleted as of `before` (0: it was not) and is now as
 * of `after` (0: it is not; else the number of the change). */
void purge_note(struct storage *s, struct shard_copy *c, const struct change *change,
		uint64_t before, uint64_t after);
/* The mark that an earlier document of this id left; false: none is known. *out in the arena. */
bool purge_mark(struct storage *s, struct shard_copy *c, struct slice id,
		struct purged *out) MUST_CHECK;
/* A PURGE was applied: leaves the mark, and lets old ones go. */
void purge_applied(struct storage *s, struct shard_copy *c, const struct change *change,
		   uint64_t number, const struct revision *deletion);
/* Is it a late push, seen from what is left of the document? */
bool purge_is_late(const struct document *doc, const struct purged *mark,
		   const struct change *change);
/* Is it the very deletion that was purged, from one who does not know of that? */
bool purge_is_again(const struct document *doc, const struct purged *mark,
		    const struct change *change);

/* The lead: which tombstones may go, as far as it can tell; the next ones with each call. */
void purge_list(struct storage *s, struct shard_copy *c, struct msg_conflict_list_ack *ack);
/* All replicas have acknowledged: orders it if the document is still the same. seen: as
 * checkpoint_seen says. */
bool purge_order(struct storage *s, struct shard_copy *c, const struct cleanup_item *item,
		 uint64_t seen, struct effects *fx);

void purge_metrics(const struct storage *s, struct buf *out);

#endif
