/* The arbiter's core: pulls the conflicts of the shards leased to it, resolves them by policy, and
 * has the evidence deleted once every replica has acknowledged. It keeps nothing: a crash loses no
 * more than time. */
#ifndef PARLEY_ARBITER_ARBITER_H
#define PARLEY_ARBITER_ARBITER_H

#include "common/core.h"

struct arbiter_options {
	uint64_t self;                /* member id */
	uint64_t coordinator;         /* member id */
	uint64_t poll_ms;             /* pause between looks at a shard's queue; 0: 200 */
	uint64_t script_time_ms;      /* of one run; 0: 500 */
	uint64_t script_memory_bytes; /* of one run; 0: 64 MiB */
	uint64_t tasks_max; /* documents worked on at once; 0: 64, which is also the most */
};

struct arbiter; /* private: arbiter/internal.h */

/* `options` is copied. */
struct arbiter *arbiter_new(const struct arbiter_options *options, uint64_t seed);
void arbiter_free(struct arbiter *a);

extern const struct core_ops arbiter_ops;

#endif
