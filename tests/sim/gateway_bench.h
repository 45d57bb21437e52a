/* The gateway's core on a bench: requests as text in, effects as text out, answers of the cluster
 * by hand. */
#ifndef PARLEY_TESTS_SIM_GATEWAY_BENCH_H
#define PARLEY_TESTS_SIM_GATEWAY_BENCH_H

#include "gateway/gateway.h"

enum {
	BENCH_COORDINATOR = 1,
	BENCH_NODE = 11,
	BENCH_SENT_MAX = 256,
	BENCH_RULES_MAX = 64,
	BENCH_SERVED_MAX = 64
};

struct bench_sent {
	uint64_t member;
	struct envelope envelope;
	struct slice body; /* encoded; until the next clearing */
};

struct gateway_bench {
	struct gateway *gw;
	struct effects fx;
	struct arena arena; /* of the event */
	int64_t now_ms;
	uint64_t requests;
	uint32_t map_shards;
	struct buf trace;
	struct bench_sent
	    sent[BENCH_SENT_MAX]; /* since the last clearing, without member traffic */
	uint32_t sent_count;
	uint32_t maps_asked; /* of the coordinator, without being waited for */
	struct arena sent_bodies;
	enum dialect dialect; /* of clients */
	uint32_t roles;
	const char *principal; /* of their certificates; NULL: none */
	const char *policy;    /* of the collection: JSON; NULL: the default */
	const char *name;      /* of the collection; NULL: "c" */
	const char *rule; /* validate_doc_update of a design document of "c"; NULL: none has one.
			     Questions for it are answered here, and stand in no trace */
	struct bench_sent rule_asked[BENCH_RULES_MAX];
	uint32_t rule_asked_count;
	bool rules_held;                                  /* they are not answered */
	struct bench_sent served_asked[BENCH_SERVED_MAX]; /* likewise whether shards are served */
	uint32_t served_asked_count;
	bool served_held;   /* not answered */
	int status;         /* of the last answer */
	bool tell_if_lost;  /* it */
	struct buf body;    /* of the last answer */
	struct buf headers; /* of the last answer, "Name: value\n" */
};

/* Three storage nodes (11, 12, 13). limits may be NULL. */
void gateway_bench_open(struct gateway_bench *b, const struct gateway_limits *limits);
void gateway_bench_open_couch(struct gateway_bench *b, const struct gateway_limits *limits,
			      const struct couch_options *couch);
void gateway_bench_close(struct gateway_bench *b);
/* The end of a test whose *state is a bench on the heap. */
int gateway_bench_teardown(void **state);
/* "METHOD target\nheader: value\n...\n\nbody"; returns the request's number. */
uint64_t gateway_bench_http(struct gateway_bench *b, const char *text);
void gateway_bench_request(struct gateway_bench *b, const struct http_request *request);
/* The coordinator welcomes and sends a map of one collection "c": shard i (from 1) covers an equal
 * part of the hashes, is led by node 11 + (i - 1) % 3 and has the others as replicas. */
void gateway_bench_map(struct gateway_bench *b, uint32_t shards, uint64_t mode);
/* The same shard under another epoch and lead, as a refusal brings it. */
void gateway_bench_newer(struct gateway_bench *b, uint64_t shard, uint64_t epoch, uint64_t lead);
/* Answers message `index` of sent; the struct is encoded and decoded as on the wire. */
void gateway_bench_answer(struct gateway_bench *b, uint32_t index, uint16_t type,
			  const void *message);
void gateway_bench_message(struct gateway_bench *b, const struct peer *from,
			   const struct envelope *envelope, const void *message);
void gateway_bench_event(struct gateway_bench *b, struct event *event);
/* Lets time pass, with timers. */
void gateway_bench_advance(struct gateway_bench *b, int64_t ms);
/* MessagePack of a JSON text; lives in the bench's arena until the next event. */
struct slice gateway_bench_document(struct gateway_bench *b, const char *json);
void gateway_bench_clear(struct gateway_bench *b);

#endif
