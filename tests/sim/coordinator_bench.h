/* The coordinator's core alone among model members, on a disk in memory: for its scenarios. A model
 * storage node adopts what it is pushed and leads what it is told to lead, unless the test says
 * otherwise. Messages cross as encoded bytes; what the core says before it is durable fails a
 * CHECK. */
#ifndef PARLEY_SIM_COORDINATOR_BENCH_H
#define PARLEY_SIM_COORDINATOR_BENCH_H

#include "coordinator/coordinator.h"
#include "coordinator/placement.h"
#include "tests/sim/disk.h"

/* Member ids. */
enum { COORDINATOR = 1, NODE_A = 11, NODES = 3, GATEWAY = 21, ARBITER_A = 31, ARBITER_B = 32 };

enum { BENCH_MEMBERS = 7, BENCH_MORE = 2, BENCH_SHARDS_MAX = 16, BENCH_SETS_MAX = 256 };
#define BENCH_NONE UINT64_MAX
/* The last BENCH_MORE are storage nodes that join with bench_grow. */
extern const struct coordinator_member bench_members[BENCH_MEMBERS + BENCH_MORE];

/* A replica as its node sees it. */
struct copy {
	struct placement placement;
	enum shard_state state;
	struct position last;
	uint64_t promised;
	bool damaged;
};

struct model {
	uint64_t id;
	enum role role;
	bool up;
	bool joined;
	bool never_serves; /* named lead, it stays PROMISING */
	bool out_of_sync;  /* what a lead says of it */
	bool disk_full;    /* what it says of itself */
	uint64_t incarnation;
	uint64_t boot;
	uint64_t life;
	struct trail trail; /* empty at first */
	uint64_t trail_ids[LIMIT_TRAIL];
	uint64_t map_version;
	uint64_t *dropped; /* collections that it knows to be dropped */
	uint32_t dropped_count;
	struct collection *collections; /* settings that it tells of when it joins */
	uint32_t collections_count;
	uint64_t lock_token; /* greatest that it has seen */
	enum status refused; /* of the latest join */
	struct copy copies[BENCH_SHARDS_MAX];
	uint32_t copies_count;
};

/* A lock_set as it was sent. */
struct bench_set {
	uint64_t node, epoch, shard, token;
	uint32_t paths;
	uint8_t id; /* its first byte */
	bool release;
};

struct bench {
	struct disk *disk;
	struct store *store;
	struct coordinator *core;
	struct effects fx;
	struct arena arena;
	struct buf trace; /* log lines, and maps as the gateway gets them */
	int64_t now_ms;
	uint32_t members_count; /* listed: the first of bench_members */
	bool rebalance;         /* options, from the next bench_start on */
	uint64_t evict_after_ms;
	struct model models[BENCH_MEMBERS + BENCH_MORE];
	/* latest answers to the gateway */
	uint64_t created;
	uint64_t updated; /* of a node */
	struct {
		uint64_t clock_ms, life;
	} told; /* with it */
	struct buf rows;
	bool rows_cut;
	uint64_t leased[2][BENCH_SHARDS_MAX];
	uint32_t leased_count[2];
	/* what it said of locks: by the first byte of their ids */
	struct bench_set sets[BENCH_SETS_MAX];
	uint32_t sets_count;
	uint64_t acquired[256]; /* status; BENCH_NONE: no answer */
	uint64_t tokens[256];
	uint64_t released[256];
	uint32_t unknown;  /* of the latest renewal */
	bool lose_commits; /* the process dies before its next commit */
};

/* A fresh disk, a started core, all members about to join. */
void bench_init(struct bench *b);
void bench_close(struct bench *b);
/* The beginning and the end of a test whose *state is a bench on the heap. */
int bench_setup(void **state);
int bench_teardown(void **state);

struct model *bench_model(struct bench *b, uint64_t id);
/* The newest placement of the only shard. */
const struct shard *bench_placement(struct bench *b);

/* The core's life: a kill is bench_stop, then bench_start. */
void bench_start(struct bench *b, bool recover_from_nodes);
void bench_stop(struct bench *b);
void bench_restart(struct bench *b);

/* Two storage nodes more, 14 and 15, are listed and up. */
void bench_grow(struct bench *b);

/* A member's life: a new start, silence, another data directory. */
void bench_boot(struct bench *b, uint64_t id);
void bench_down(struct bench *b, uint64_t id);
void bench_wipe(struct bench *b, uint64_t id);

void bench_step(struct bench *b, struct event *e);
/* Ends a turn as the shell does: commit, then what waited for it. */
void bench_turn(struct bench *b);
/* Time passes, with heartbeats, timers and turns. */
void bench_advance(struct bench *b, int64_t ms);
void bench_deliver(struct bench *b, const struct model *from, uint16_t type, const void *message);
void bench_join(struct bench *b, struct model *m);
/* From the gateway; returns the status of the answer, UINT64_MAX: none came. */
uint64_t bench_create(struct bench *b, struct msg_collection_create m);
/* The usual beginning: everybody up, one collection "t" with one shard, nothing traced so far.
 * Returns who leads it. */
uint64_t bench_begin(struct bench *b);

#endif
