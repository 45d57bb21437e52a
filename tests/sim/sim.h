/* The whole cluster in one process, from a seed: the real cores, and in place of sockets, clocks
 * and disks a heap of events, a network that drops, doubles, delays and reorders real encoded
 * bytes, and disks that lose what was not synced. The same seed gives the same trace.
 *
 * A run has two phases. Safety: faults go on, clients work. Liveness: faults stop, everything is up
 * again, and all must finish and agree. Then the checkers look at the history of the clients and at
 * the disks. */
#ifndef PARLEY_SIM_SIM_H
#define PARLEY_SIM_SIM_H

#include "common/base/map.h"
#include "common/base/rng.h"
#include "common/core.h"
#include "common/probe.h"
#include "tests/sim/disk.h"

enum {
	SIM_NODES_MAX = 32,
	SIM_CLIENTS_MAX = 16,
	SIM_DOCUMENTS_MAX = 32,
	SIM_COORDINATOR = 1,
	SIM_STORAGE_FIRST = 11,
	SIM_GATEWAY_FIRST = 41,
	SIM_ARBITER_FIRST = 71,
	SIM_CLUSTER = 77,
	SIM_HEADERS_MAX = 8
};

/* What the seed draws; printed with every violation. Chances are in a million. */
struct sim_settings {
	uint64_t seed;
	bool deep; /* at least a minute and 500 operations */
	int storage_nodes;
	int gateways;
	int arbiters;
	int clients;
	int replicas;
	int write_quorum;
	int shards;     /* per collection */
	int documents;  /* per collection */
	int operations; /* all clients together */
	int64_t safety_ms;
	uint32_t drop, duplicate;
	int64_t delay_min_us, delay_max_us, delay_tail_us;
	uint32_t delay_tail;
	int64_t sync_min_us, sync_max_us;
	int64_t nemesis_every_ms; /* 0: no faults of nodes and links */
	bool crashes, pauses, partitions, power_cuts, disks, slow_disks;
	int64_t pause_max_ms;
	uint32_t links; /* which kinds of trouble links have: nemesis.c */
	int losses;     /* of disks, one after another */
	uint32_t commit_broken, commit_full, get_broken;
	bool flips;        /* a bit of a follower's disk, unnoticed, after all else has healed */
	bool put_back;     /* a copy of a disk is put back while others are away */
	bool forgets;      /* the coordinator loses its disk after all else has healed */
	bool rebalance;    /* the coordinator moves replicas to nodes that have fewer */
	int64_t drift_ppm; /* how fast or slow clocks may be */
	int64_t retain_ms;
	uint64_t stream_keep, chunk_bytes, pending_max;
	int64_t think_max_ms;
	uint32_t stragglers; /* second copies of messages that come tens of seconds late */
	bool holds;          /* messages of one kind wait, others pass them */
	bool ambushes;       /* a node fails as a message of a kind that is drawn is sent */
	uint32_t bounds[BOUNDS_COUNT]; /* limits that are lowered; 0: as in the daemons */
};

enum sim_event_kind {
	SIM_WAKE,
	SIM_STORED,
	SIM_DELIVER,
	SIM_HTTP,
	SIM_ANSWER,
	SIM_WORKLOAD,
	SIM_NEMESIS,
	SIM_RESTART,
	SIM_WATCH,
	SIM_SCRIPT
};

/* Index of a SIM_NEMESIS event; its `life` is the node. */
enum { LINK_TROUBLES = 7, LATE_ISLAND = 6 };
enum nemesis_action {
	NEMESIS_DRAW,
	NEMESIS_CUT,
	NEMESIS_JOIN,
	NEMESIS_ISLAND,
	NEMESIS_FLIP,
	NEMESIS_FORGET,
	NEMESIS_PUT_BACK,
	NEMESIS_TRAP,
	NEMESIS_HOLD,
	NEMESIS_HEAL,
	NEMESIS_AMBUSH,
	NEMESIS_SPRING
};

struct sim_message {
	struct sim_message *next;
	uint64_t from;
	enum role from_role;
	struct envelope envelope;
	size_t len;
	uint8_t bytes[];
};

enum sim_http_kind {
	SIM_HTTP_REQUEST,
	SIM_HTTP_MESSAGE, /* on a WebSocket: body */
	SIM_HTTP_PIECE,   /* more of a body, as far as its gateway asked for it: http_body.c */
	SIM_HTTP_HANG_UP  /* the client has gone, and its connection with it */
};

/* What a client sends, on its way to a gateway or in its hands. */
struct sim_http {
	struct sim_http *next;
	enum sim_http_kind kind;
	uint64_t id;
	uint64_t connection;
	bool websocket; /* the opening handshake of one */
	enum dialect dialect;
	enum http_method method;
	struct buf path, query, body;
	struct http_field headers[SIM_HEADERS_MAX];
	struct buf header_text[SIM_HEADERS_MAX];
	uint32_t headers_count;
};

enum sim_answer_kind {
	SIM_ANSWER_WHOLE, /* or the beginning of a stream */
	SIM_ANSWER_PART,  /* more of a stream: body; one message of a WebSocket */
	SIM_ANSWER_END    /* the stream has ended; status: close code, 0 if the gateway crashed */
};

/* What a client gets. */
struct sim_answer {
	enum sim_answer_kind kind;
	uint64_t id;
	int status;
	bool streaming;  /* WHOLE: parts follow, then the end */
	uint64_t length; /* WHOLE: of all of them, if it is known */
	bool dropped;    /* its client hung up */
	char etag[128];
	struct buf body;
};

/* A script that has ended. */
struct sim_script {
	struct sim_script *next;
	uint64_t id;
	enum script_status status;
	struct buf output;
};

/* A request that a gateway has not answered to its end. */
struct sim_open {
	uint64_t id;
	uint64_t connection;
	bool streaming;
	bool paced;
	bool sent;             /* something, since it was told that all was taken */
	bool closing;          /* the gateway has closed the stream */
	bool deaf;             /* the client has gone */
	struct sim_body *body; /* which comes in pieces, and is not whole yet; else NULL */
	int64_t in_us, out_us; /* of the last thing sent each way: they stay in order */
};

struct sim_event {
	int64_t at_us;
	uint64_t sequence;
	enum sim_event_kind kind;
	int index;     /* of node or workload */
	uint64_t life; /* of the node: later lives ignore it; of a workload the actor */
	void *payload;
};

struct sim_node {
	uint64_t member;
	enum role role;
	char name[32];
	const struct core_ops *ops;
	void *core;        /* NULL: down */
	struct disk *disk; /* storage nodes and the coordinator */
	struct store *store;
	uint64_t incarnation;
	uint64_t boot;
	uint64_t life;
	int64_t busy_until_us;
	int64_t paused_until_us;
	int64_t heard_us; /* when it last sent something, or somebody got that */
	int64_t wake_us;
	bool sync_wanted; /* of the commit under way */
	bool committing;
	int64_t clock_skew_ms; /* of wall time */
	int64_t clock_base_ms; /* of the clock that only counts */
	int64_t drift_ppm;
	int64_t slow_until_us; /* its disk */
	struct disk *copy;     /* of its disk, made earlier; may be NULL */
	uint64_t copy_incarnation, copy_boot;
	uint64_t flipped; /* incarnation whose disk has a flipped bit */
	uint64_t flipped_shard;
	enum store_family flipped_family;
	struct buf flipped_key;   /* empty: another kind of damage */
	struct buf flipped_value; /* what it was made */
	uint64_t aged;  /* incarnation whose disk was put back: it lacks what it acknowledged */
	int disk_short; /* 1: less space than the reserve; 2: than a quarter of it */
	int disk_short_told;
	struct sim_message *inbox, **inbox_end;
	struct sim_http *requests, **requests_end;
	struct sim_script *scripts; /* have ended */
	struct sim_open *open;      /* gateways */
	uint32_t open_count, open_cap;
	struct effects fx;
};

/* A bit of its disk was flipped, and it is still the same data directory. */
static inline bool sim_node_flipped(const struct sim_node *node)
{
	return node->flipped != 0 && node->flipped == node->incarnation;
}

struct history;
struct shard_list;

struct workload;
struct workload_ops;
struct sim_trap;
struct faults_met;

/* Messages of this type wait, from or to this node. */
struct net_hold {
	uint16_t types[64]; /* that were sent so far; for ambushes, too */
	uint32_t types_count;
	uint16_t type;
	int node;
	int64_t until_us;
};

/* Whoever sends the next but so many of this type, or gets it, fails. */
struct ambush {
	uint16_t type; /* 0: nobody is waited for */
	uint32_t skip;
};

struct sim {
	struct sim_settings settings;
	struct rng net_rng, disk_rng, nemesis_rng, core_rng, body_rng, late_rng, ambush_rng;
	struct rng refusal_rng, away_rng;
	int64_t now_us;
	struct sim_event *heap;
	size_t heap_len, heap_cap;
	uint64_t sequence;
	struct sim_node nodes[SIM_NODES_MAX];
	int nodes_count;
	bool cut[SIM_NODES_MAX][SIM_NODES_MAX]; /* [from][to]: nothing passes */
	int64_t clogged_until_us[SIM_NODES_MAX][SIM_NODES_MAX];
	struct net_hold hold;
	struct ambush ambush;
	bool healed; /* liveness phase */
	bool verbose;
	uint64_t trace; /* hash over everything that happened */
	uint64_t steps, messages, asked;
	struct workload *workloads; /* WORKLOADS_MAX */
	struct history *history;
	int violations;
	int losses;          /* of disks */
	uint32_t faults_met; /* faults.h */
	bool recovers; /* the coordinator has lost its disk, and asks the nodes what it knew */
	bool put_back_planned;
	const struct sim_trap *trap; /* NULL: none */
	int trap_seen, trap_sprung;
	int64_t trap_again_us;
	bool rotten;              /* a disk was damaged where it may not have been read since */
	struct map cleanups_seen; /* resolution id -> anything */
	struct map operation_of_request; /* request id -> operation id, document id */
	struct map
	    operation_of_branch; /* revision answered with 202, document id -> operation id */
	struct map ordered_as;   /* operation id, document id -> revision in the stream */
	struct map entries_seen; /* shard, epoch, number -> digest of the entry */
	struct map copied;       /* copies.c */
	struct map spared;       /* spares.c */
	struct map entries_applied, copies_watched, shards_watched; /* watch.c */
	struct map contents;       /* shard, document id, revision -> digest of its body */
	struct shard_list *shards; /* records.c: as they were last asked for; may be NULL */
	struct arena arena;
	struct arena message; /* that is being handled */
};

/* settings.c */
void sim_settings_draw(struct sim_settings *out, uint64_t seed, bool deep);
void sim_settings_print(const struct sim_settings *settings);

/* sim.c */
struct sim_options {
	bool verbose;
	bool deep;
	const struct sim_trap *trap; /* trap.h; NULL: what the seed draws */
	int *trap_sprung;            /* if there is one: how often it sprang */
	struct faults_met *met;      /* faults.h; NULL: not wanted */
	uint64_t *asked;             /* requests of clients, all workloads; NULL: not wanted */
};
/* Runs one seed to its end; returns violations. */
int sim_run(uint64_t seed, const struct sim_options *options, uint64_t *trace,
	    uint64_t *simulated_ms);
void sim_schedule(struct sim *sim, int64_t at_us, enum sim_event_kind kind, int index,
		  uint64_t life, void *payload);
void sim_trace(struct sim *sim, const void *data, size_t len);
void sim_violation(struct sim *sim, const char *format, ...) PRINTF_LIKE(2, 3);
void sim_log(struct sim *sim, const char *format, ...) PRINTF_LIKE(2, 3);
struct sim_node *sim_node_of(struct sim *sim, uint64_t member);

/* node.c */
void node_build(struct sim *sim);
void node_start(struct sim *sim, int index);
/* power: what was not synced is lost. */
void node_crash(struct sim *sim, int index, bool power);
void node_wake(struct sim *sim, int index, int64_t at_us);
void node_turn(struct sim *sim, int index);
void node_stored(struct sim *sim, int index, uint64_t life);
void node_free_all(struct sim *sim);

/* net.c */
void net_send(struct sim *sim, int from, const struct effect *effect);
void net_deliver(struct sim *sim, const struct sim_event *event);
int64_t net_delay_us(struct sim *sim);
/* For so long, of a type that is drawn of those that were sent so far. */
void net_hold(struct sim *sim, int node, int64_t ms);

/* http.c: gateway is an index in sim->nodes */
void http_send(struct workload *w, int gateway, struct sim_http *r); /* takes it */
void http_arrive(struct sim *sim, const struct sim_event *event);
void http_request_free(struct sim_http *r);
void http_feed(struct sim *sim, struct sim_node *node, struct event event,
	       const struct sim_http *r);
void http_feed_closed(struct sim_node *node, struct event event);
void http_feed_taken(struct sim_node *node, struct event event);
void http_respond(struct sim *sim, int index, const struct effect *effect);
void http_stream_send(struct sim *sim, int index, const struct effect *effect);
void http_stream_close(struct sim *sim, int index, const struct effect *effect);
/* Drops what is on its way to the client of this request, and what comes later. */
struct sim_open *http_open(struct sim_node *node, uint64_t id); /* NULL: it has ended */
void http_open_end(struct sim_node *node, struct sim_open *open);
void http_forget(struct sim *sim, int index, uint64_t id);
void http_gateway_down(struct sim *sim, int index);
/* ---- http_body.c ---- */

/* Shall the request come in pieces? Then its body is kept for them. */
void http_body_begin(struct sim *sim, struct sim_open *open, struct http_request *request);
void http_body_credit(struct sim *sim, int index, const struct effect *effect);
void http_body_feed(struct sim *sim, struct sim_node *node, struct event event,
		    const struct sim_http *r);
void http_body_free(struct sim_body *body);

/* script.c */
void script_submit(struct sim *sim, int index, const struct script_request *request);
void script_arrive(struct sim *sim, const struct sim_event *event);
void script_free(struct sim_script *s);

/* nemesis.c */
void nemesis_step(struct sim *sim, enum nemesis_action action, int node);
void nemesis_heal(struct sim *sim);
/* Of a message that is lain in wait for. */
void nemesis_on_send(struct sim *sim, int from, int to);

/* quiet.c */
/* Everything has settled: shards led, replicas alike, outboxes empty, nothing left to resolve or
 * clean. */
bool checker_quiet(struct sim *sim, struct buf *why);
/* No replica is missing: each may be behind, but votes. */
bool checker_whole(struct sim *sim);
/* A shard that it has a replica of, does not lead, and is not to lead again; 0: none. */
uint64_t checker_followed(struct sim *sim, uint64_t member);

/* sent.c */
/* Called for every message sent: a cleanup must have been acknowledged by all replicas. */
void checker_on_send(struct sim *sim, const struct effect *effect);
void checker_close(struct sim *sim);

/* checker.c */
void checker_final(struct sim *sim);

/* watch.c */
enum { WATCH_EVERY_MS = 400 };
void watch(struct sim *sim);
void watch_last(struct sim *sim);
void watch_close(struct sim *sim);

/* contents.c: an applied entry as it is stored; a pair of a shard's documents, decoded if it is a
 * record */
void contents_note(struct sim *sim, uint64_t shard, struct slice entry);
void contents_check(struct sim *sim, const struct sim_node *node, uint64_t shard, struct slice key,
		    struct slice value, const struct document *doc);

/* copies.c */
void copies_on_send(struct sim *sim, const struct sim_node *from, const struct effect *effect);
void copies_on_message(struct sim *sim, const struct sim_node *lead,
		       const struct sim_message *message, const void *body);

/* spares.c */
void spares_on_send(struct sim *sim, const struct effect *effect);
void spares_on_reset(struct sim *sim, const struct sim_node *node, struct slice reason);

/* entries.c */
/* Entries after number `after` are sent. */
void entries_note(struct sim *sim, uint64_t shard, uint64_t after,
		  const struct stream_entry *entries, uint32_t count);

#endif
