/* A place in a shard's stream is given out once: two leads of one epoch, or one that went on after
 * its start, would number different entries alike. */
#include <xxhash.h>

#include "tests/sim/sim.h"

static void note_entry(struct sim *sim, uint64_t shard, uint64_t number,
		       const struct stream_entry *entry)
{
	struct buf key = {0};
	buf_append_be64(&key, shard);
	buf_append_be64(&key, entry->epoch);
	buf_append_be64(&key, number);
	/* the value is not a pointer to anything; never 0 */
	uintptr_t digest = (uintptr_t)XXH3_64bits(entry->change.data, entry->change.len) | 1;
	uintptr_t before = (uintptr_t)map_get(&sim->entries_seen, buf_slice(&key));
	if (before == 0)
		map_put(&sim->entries_seen, buf_slice(&key), (void *)digest);
	else if (before != digest)
		sim_violation(sim, "shard %016llx has two entries %llu of epoch %llu",
			      (unsigned long long)shard, (unsigned long long)number,
			      (unsigned long long)entry->epoch);
	buf_close(&key);
}

void entries_note(struct sim *sim, uint64_t shard, uint64_t after,
		  const struct stream_entry *entries, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		note_entry(sim, shard, after + 1 + i, &entries[i]);
}
