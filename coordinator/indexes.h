/* Secondary indexes as settings of a collection: the coordinator names them and gives them ids; the
 * storage nodes build them. */
#ifndef PARLEY_COORDINATOR_INDEXES_H
#define PARLEY_COORDINATOR_INDEXES_H

#include "coordinator/internal.h"

enum { INDEX_PATHS_BYTES_MAX = 1024 * 1024 /* of all collections, since the map carries them */ };

/* Checks the indexes that a new collection is to have, and gives them ids. They move to the arena.
 */
enum status indexes_make(struct coordinator *c, struct collection *settings);
/* True if the collection has exactly those asked for, or none was. */
bool indexes_agree(const struct collection *asked, const struct collection *has);
/* index_add or index_drop: CREATED, OK (it is there, just so; it is gone), EXISTS with other
 * fields, NOT_FOUND, or why not. */
enum status indexes_change(struct coordinator *c, const struct msg_collection_create *m,
			   const struct collection *has, struct effects *fx);

#endif
