/* The document that was changed last, if it is large: it stays decoded from one entry to the next,
 * those of later turns included. Its record is put when there is no further entry of it, or
 * something else is to look at it: before anybody else reads documents or digests. */
#ifndef PARLEY_STORAGE_APPLYING_H
#define PARLEY_STORAGE_APPLYING_H

#include "common/base/buf.h"
#include "storage-node/large.h"

struct document_edit;
struct document_view;
struct shard_copy;
struct storage;

struct applying {
	struct shard_copy *copy; /* whose record is yet to be put; NULL: it is there */
	uint64_t shard;
	struct buf id;
	struct buf record; /* as in the store; `large` counts while it is just this */
	struct large large;
};

/* As applied. The view may borrow from what is kept, until the next one is loaded. */
void applying_load(struct storage *s, struct shard_copy *c, struct slice id,
		   struct document_view *out);
/* What an edit made of a view that was loaded so. */
void applying_put(struct document_view *view, const struct document_edit *edit);
/* Puts the record that is yet to be put. */
void applying_flush(struct storage *s);
/* The same, and nothing is kept. */
void applying_forget(struct storage *s);
/* As applied, for reading only, if it is what is kept: false, if it is not. */
bool applying_lend(struct storage *s, struct shard_copy *c, struct slice id,
		   struct document_view *out);
void applying_close(struct applying *a);

#endif
