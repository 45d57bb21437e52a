/* The pinned hash that places documents: XXH3, 64 bits, seed 0, over the bytes of the document id.
 * It is part of the store format (STORE_FORMAT): changing it would lose every document. */
#ifndef PARLEY_DOC_SHARD_HASH_H
#define PARLEY_DOC_SHARD_HASH_H

#include <stdint.h>

#include "common/base/slice.h"

uint64_t shard_hash(struct slice document_id);

#endif
