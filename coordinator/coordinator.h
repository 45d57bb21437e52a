/* The coordinator's core: who is a member, where shards live, who leads them. It sees no document
 * and stands in no read's or write's way; when it is down, only fail-over and new collections wait.
 */
#ifndef PARLEY_COORDINATOR_COORDINATOR_H
#define PARLEY_COORDINATOR_COORDINATOR_H

#include "common/core.h"
#include "common/store/store.h"

enum { COORDINATOR_REPLICAS = 3, COORDINATOR_SHARDS = 3 };
#define COORDINATOR_RETAIN_MS (7 * 24 * 60 * 60 * 1000ull)

/* A row of the member list. The name is copied, and cut at LIMIT_NAME_BYTES. */
struct coordinator_member {
	uint64_t id; /* not 0 */
	const char *name;
	enum role role;
};

struct coordinator_options {
	uint64_t self;                            /* member id */
	uint64_t cluster;                         /* cluster id */
	const struct coordinator_member *members; /* all roles, this coordinator included */
	uint32_t members_count;                   /* at most LIMIT_MEMBERS; more are ignored */
	bool
	    recover_from_nodes; /* own state is lost or old: adopt the newest that the nodes know */
	/* settings of collections that don't choose */
	uint64_t replicas;       /* N; 0: COORDINATOR_REPLICAS */
	uint64_t shards;         /* per collection; 0: COORDINATOR_SHARDS */
	uint64_t mode;           /* enum availability_mode */
	uint64_t retain_ms;      /* as given: 0 is 0 */
	bool rebalance;          /* replicas move to nodes that have fewer */
	uint64_t evict_after_ms; /* away for so long, a node loses its replicas; 0: never */
};

struct coordinator; /* private: coordinator/internal.h */

/* Reads its state from the store, which it borrows and which must outlive it. NULL: the store holds
 * what this version can't read, or another cluster's state. `options` is copied. */
struct coordinator *coordinator_new(const struct coordinator_options *options, struct store *store,
				    uint64_t seed);
void coordinator_free(struct coordinator *c);

/* The member list was read again. Takes effect with the next event; between steps only. */
void coordinator_members_set(struct coordinator *c, const struct coordinator_member *members,
			     uint32_t count);

/* When it wants a TIMER event (scale of now_ms). */
int64_t coordinator_deadline(const void *core);

extern const struct core_ops coordinator_ops;

#endif
