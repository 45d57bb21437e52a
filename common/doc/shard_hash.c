#include "common/doc/shard_hash.h"

#include <xxhash.h>

uint64_t shard_hash(struct slice document_id)
{
	return XXH3_64bits(document_id.data, document_id.len);
}
