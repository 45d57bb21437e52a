/* Versions taken out of documents for good, as somebody wishes it (CouchDB's _purge). Unlike a
 * purge of what was deleted it waits for nobody, neither for clients that sync nor for the cleanup
 * of resolutions, and leaves no mark: who pushes such a version later brings it back. */
#ifndef PARLEY_STORAGE_ERASE_H
#define PARLEY_STORAGE_ERASE_H

#include "storage-node/internal.h"

void erase_on_doc_erase(struct storage *s, const struct event *e, struct effects *fx);

/* ---- what is still on its way ----
 * A copy of a push that the network delivers late must not bring back what was erased since. So
 * each replica notes, for as long as its process lives, when and by which entry documents were
 * erased, of many documents together: who is refused for another one's sake asks again. A message
 * for an earlier process or epoch is refused anyway. */

void erase_note(struct storage *s, struct shard_copy *c, struct slice id, uint64_t number);
void erase_forget(struct shard_copy *c);
/* True of a message that was sent at this time of our clock, or before, if `id` may have been
 * erased since. 0: not known. */
bool erase_is_since(const struct shard_copy *c, struct slice id, uint64_t sent_ms);
/* True if an entry that stands behind this number may have erased `id`. */
bool erase_is_behind(const struct shard_copy *c, struct slice id, uint64_t number);

#endif
