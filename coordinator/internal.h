/* The coordinator core's own state. Only files of this folder include it. */
#ifndef PARLEY_COORDINATOR_INTERNAL_H
#define PARLEY_COORDINATOR_INTERNAL_H

#include "common/base/map.h"
#include "common/base/rng.h"
#include "common/probe.h"
#include "common/timing.h"
#include "coordinator/coordinator.h"
#include "coordinator/placement.h"

enum {
	TICK_MS = 50,
	MAP_PUSH_MS = 500, /* to a member that shows an old map, at most so often */
	ARBITER_LEASE_MS = 2000,
	AVOID_MS =
	    30000, /* a replica that failed to take over is not preferred again for so long */
	ASLEEP_MS = 2 * HEARTBEAT_MS, /* no event for so long: silence was ours, not the members' */
	BEHIND_JOINS = 4,  /* joins of an older life before it is called a restored copy */
	BEHIND_MS = 1500,  /* and the time that they must span: late messages don't */
	ROUTES_MAX = 64,   /* connections of one member */
	REVOKED_MAX = 256, /* past incarnations remembered per member; the oldest go */
	MOVES_BACK_PER_TICK = 8,
	DROPS_TOLD = LIMIT_DROPS,
	ASKED_MAX = 1024,
	POLICIES_BYTES_MAX =
	    8 * 1024 * 1024 /* of all collections: the map must fit into a message */
};

/* One connection of a member. */
struct member_route {
	uint32_t route;
	uint64_t map_version; /* as it says */
	int64_t seen_ms;
	int64_t pushed_ms;
};

/* A member of the list, or one that was. */
struct member_row {
	uint64_t id;
	uint8_t name[LIMIT_NAME_BYTES];
	size_t name_len;
	enum role role;
	bool listed;
	bool joined; /* in this life of the coordinator */
	bool disk_full;
	bool fatal;        /* told that its incarnation is revoked */
	bool other_logged; /* another incarnation knocked while this one is alive */
	enum health health;
	uint64_t incarnation;            /* durable; 0: never joined */
	uint64_t boot;                   /* durable */
	uint64_t life;                   /* of that start, durable */
	uint64_t trail_number, trail_id; /* newest step heard of, durable; 0: none */
	bool draining;                   /* durable: its replicas move to others */
	uint64_t replaced_by;            /* durable: all to this one; 0: to any */
	uint64_t *revoked;               /* past incarnations, durable, oldest first */
	uint32_t revoked_count;
	int64_t seen_ms;
	int64_t ran_full_ms;  /* a move to it was called off for that; 0: never */
	int64_t seen_wall_ms; /* 0: never in this life of the coordinator */
	/* joins of a past incarnation or an earlier boot */
	uint64_t behind_incarnation;
	uint64_t behind_boot;
	uint64_t behind_life;
	uint32_t behind_count;
	int64_t behind_since_ms;
	int64_t behind_last_ms;
	struct member_route routes[ROUTES_MAX];
	uint32_t routes_count;
	/* for one pass over the shards */
	bool catching_up;
	bool lost_shard;
	bool moving;     /* a replica joins or leaves it */
	uint64_t placed; /* replicas listed */
};

/* What a listed replica's node said of it last; `known` is false until then. */
struct replica_view {
	bool known;
	bool vouching;
	bool damaged;       /* what is there is wrong, and it knows */
	int64_t damaged_ms; /* when `damaged` changed */
	bool in_sync;       /* says the serving lead, of the incarnation that is listed */
	uint64_t epoch;
	enum shard_state state;
	uint64_t outbox; /* branches that wait there */
	struct position last;
	int64_t in_sync_since_ms;
	int64_t failed_ms; /* named lead, and did not get there; NO_TIME: never */
};

#define NO_TIME (-INT64_MAX)

struct shard_row {
	struct placement placement;
	struct replica_view views[LIMIT_REPLICAS]; /* same order as the placement's list */
	bool serving;                              /* the lead says so, of this epoch */
	int64_t named_ms;                          /* when this epoch began for us */
	int64_t waiting_since_ms;                  /* while not serving: since when */
	int64_t quorum_since_ms; /* enough voting replicas alive for a take-over since then */
	uint32_t slow;           /* leads replaced since it last served, as they took too long */
	/* recovery */
	uint64_t promised_max;
	bool raise; /* adopted, or in doubt: begin a new epoch */
	bool heard; /* since our start enough have spoken to know its newest epoch */
};

struct collection_row {
	struct buf bytes; /* encoded; `collection` borrows from it */
	struct arena arena;
	struct collection collection;
};

enum recovery_state { RECOVERY_WAITING, RECOVERY_DONE, RECOVERY_REFUSED };

struct coordinator {
	struct coordinator_options options; /* members is NULL: see below */
	struct store *store;
	struct rng rng;
	struct map members;              /* id -> struct member_row* */
	struct map shards;               /* id -> struct shard_row* */
	struct map collections;          /* id -> struct collection_row* */
	struct map dropped;              /* id of a shard or collection -> struct drop* */
	uint64_t drops_last[DROPS_TOLD]; /* ring */
	uint64_t drops_count;
	struct map asked;               /* operation -> struct asked* */
	uint64_t asked_last[ASKED_MAX]; /* ring of those that are not on disk */
	uint64_t asked_count;
	uint64_t life;                  /* random number of this start */
	struct coordinator_state state; /* durable counters */
	struct locks *locks;            /* lock_rows.h */
	struct map notifys;             /* gateway -> struct notify_rows* */
	bool map_changed;               /* map_version was raised in this turn: push at its end */
	bool map_waits;                 /* it is to be raised once recovered */
	bool members_changed;           /* by a reload */
	bool review_wanted;
	bool started;
	bool draining;
	bool disk_full;
	int64_t now_ms;
	int64_t wall_ms;
	int64_t tick_ms; /* next */
	uint64_t failovers;
	uint64_t moved;       /* replicas, to another node */
	int64_t rebalance_ms; /* not before */
	enum recovery_state recovery;
	int64_t recovery_patient_ms; /* until then whoever is away is waited for */
	struct buf refused_text;     /* why */
	struct arena arena;          /* of one step */
	struct buf key;
	struct buf value;
};

struct member_row *coordinator_member_row(const struct coordinator *c, uint64_t id);
struct shard_row *coordinator_shard_row(const struct coordinator *c, uint64_t id);

/* OK, or why it decides nothing. */
static inline enum status coordinator_decides(const struct coordinator *c)
{
	if (c->recovery == RECOVERY_DONE)
		return STATUS_OK;
	return c->recovery == RECOVERY_WAITING ? STATUS_STARTING : STATUS_COORDINATOR_UNAVAILABLE;
}

static inline struct slice member_name(const struct member_row *m)
{
	return slice_of(m->name, m->name_len);
}

#endif
