/* Index equals documents: on a replica's disk an index has exactly the keys that its live documents
 * give, of those that its build has passed. */
#ifndef PARLEY_SIM_INDEX_CHECKER_H
#define PARLEY_SIM_INDEX_CHECKER_H

#include "common/base/buf.h"
#include "tests/sim/disk.h"

struct index_counts {
	uint32_t indexes; /* that the settings of the shard name */
	uint32_t ready;
	uint64_t keys;
};

/* Of all that the check depends on: as long as it stays, the answer does. */
uint64_t index_checker_digest(const struct disk *disk, uint64_t shard);
/* What is committed on the disk of this shard. False: *why says what is wrong. counts may be NULL.
 */
bool index_checker_run(const struct disk *disk, uint64_t shard, struct index_counts *counts,
		       struct buf *why);

#endif
