/* What was resolved and what was taken apart again, without bodies, longer than the conflict's own
 * entry: for people who ask later why a document is as it is. Bounded by number and age, alike on
 * every replica. */
#ifndef PARLEY_STORAGE_HISTORY_H
#define PARLEY_STORAGE_HISTORY_H

#include "storage-node/internal.h"

enum {
	HISTORY_RECORDS_MAX = 10000,      /* a shard's */
	HISTORY_KEEP_DAYS = 90,           /* by the wall clock of those who resolved */
	HISTORY_LEAVES_MAX = 64,          /* listed */
	HISTORY_DETAIL_BYTES_MAX = 16384, /* a longer one is cut */
	HISTORY_TRIM_MAX = 4              /* old records that go with each new one */
};

/* entry: the conflict's, resolved; copied but for what is too long. undone: it was taken apart. */
void history_add(struct storage *s, struct shard_copy *c, const struct change *change,
		 const struct conflict *entry, bool undone);
/* The newest first. */
void history_list(struct storage *s, struct shard_copy *c, const struct msg_conflict_list *m,
		  struct msg_conflict_list_ack *ack);

#endif
