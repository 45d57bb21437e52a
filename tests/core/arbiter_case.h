/* One arbiter in a scripted cluster: what its scenarios share. Each gives a `note`, which
 * keeps what it wants of the effects. */
#ifndef PARLEY_TESTS_CORE_ARBITER_CASE_H
#define PARLEY_TESTS_CORE_ARBITER_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arbiter/arbiter.h"
#include "common/doc/json.h"

enum { COORDINATOR = 1, SELF = 9, NODE_A = 11, SHARD = 81, COLLECTION = 7, EPOCH = 4 };
enum { SENT_MAX = 256 };

struct sent {
	uint64_t request;
	uint64_t member;
	uint16_t type;
	uint64_t epoch;
};

struct world;
typedef void noter(struct world *w, const struct effect *effect);

struct world {
	struct arbiter *arbiter;
	noter *note;
	struct json_parser *parser;
	struct effects fx;
	struct arena arena;
	struct buf trace;
	struct buf scratch;
	int64_t now_ms;
	int64_t wall_ms; /* at 0 */
	struct sent sent[SENT_MAX];
	uint32_t sent_count;
	struct replica replicas[3];
	/* as a scenario needs them */
	struct slice policy;   /* of the map */
	uint64_t leads_policy; /* version that the lead lists conflicts with */
	struct envelope last;  /* message to the lead */
	struct buf last_body;  /* encoded */
	uint64_t script;       /* the last that was asked for */
};

static inline void keep_sent(struct world *w, const struct effect *effect)
{
	const struct envelope *envelope = &effect->send.envelope;
	assert_true(w->sent_count < SENT_MAX);
	w->sent[w->sent_count++] = (struct sent){envelope->request_id, effect->send.member,
						 envelope->type, envelope->epoch};
}

static inline void step(struct world *w, struct event *event)
{
	event->now_ms = w->now_ms;
	event->wall_ms = w->wall_ms + w->now_ms;
	arbiter_ops.step(w->arbiter, event, &w->fx);
	for (uint32_t i = 0; i < w->fx.count; i++)
		w->note(w, &w->fx.items[i]);
	effects_clear(&w->fx);
}

static inline void feed(struct world *w, enum event_kind kind)
{
	struct event event = {.kind = kind};
	step(w, &event);
}

static inline void run_until(struct world *w, int64_t until_ms)
{
	for (int64_t at; (at = arbiter_ops.deadline(w->arbiter)) <= until_ms;) {
		w->now_ms = at > w->now_ms ? at : w->now_ms;
		feed(w, EVENT_TIMER);
	}
	w->now_ms = until_ms;
}

static inline void deliver(struct world *w, uint64_t from, const struct envelope *envelope,
			   const void *body)
{
	struct event event = {.kind = EVENT_MESSAGE};
	event.message.from = (struct peer){
	    .member = from, .role = from == COORDINATOR ? ROLE_COORDINATOR : ROLE_STORAGE};
	event.message.envelope = *envelope;
	event.message.body = body;
	step(w, &event);
}

static inline void coordinator_says(struct world *w, uint16_t type, const void *body)
{
	struct envelope envelope = {.type = type};
	deliver(w, COORDINATOR, &envelope, body);
}

static inline void trace_is(struct world *w, const char *expected)
{
	assert_string_equal(buf_cstr(&w->trace), expected);
	buf_clear(&w->trace);
}

/* From JSON; in the arena. */
static inline struct slice body(struct world *w, const char *json)
{
	struct json_error error;
	buf_clear(&w->scratch);
	assert_true(json_to_msgpack(w->parser, slice_text(json), &w->scratch, &error));
	return arena_copy(&w->arena, buf_slice(&w->scratch));
}

static inline struct revision rev(uint64_t generation, const char *hash)
{
	return (struct revision){.generation = generation, .hash = slice_text(hash)};
}

/* 1-o {a:1,b:1} with children 2-b {a:2,b:1} and 2-a, whose body is given. */
static inline struct msg_conflict_read_ack graph(struct world *w, const char *second,
						 const char *policy)
{
	static uint64_t root[] = {0};
	struct graph_node *nodes = arena_alloc(&w->arena, 3 * sizeof *nodes);
	nodes[0] = (struct graph_node){.revision = rev(1, "o"),
				       .flags = REVISION_HAS_BODY,
				       .body = body(w, "{\"a\":1,\"b\":1}")};
	nodes[1] = (struct graph_node){.revision = rev(2, "b"),
				       .parents = root,
				       .parents_count = 1,
				       .flags = REVISION_LEAF | REVISION_HAS_BODY,
				       .body = body(w, "{\"a\":2,\"b\":1}")};
	nodes[2] = nodes[1];
	nodes[2].revision = rev(2, "a");
	nodes[2].body = body(w, second);
	return (struct msg_conflict_read_ack){.status = STATUS_OK,
					      .shard = SHARD,
					      .nodes = nodes,
					      .nodes_count = 3,
					      .policy_version = 3,
					      .policy = body(w, policy)};
}

/* The shard with its first `count` replicas on NODE_A and the nodes after it. */
static inline struct shard placement(struct world *w, uint64_t epoch, uint64_t lead, uint32_t count)
{
	for (uint64_t i = 0; i < count; i++)
		w->replicas[i] =
		    (struct replica){.node = NODE_A + i, .incarnation = 100 + NODE_A + i};
	return (struct shard){.id = SHARD,
			      .collection = COLLECTION,
			      .hash_last = UINT64_MAX,
			      .epoch = epoch,
			      .lead = lead,
			      .replicas = w->replicas,
			      .replicas_count = count,
			      .write_quorum = count / 2 + 1};
}

static inline void lease(struct world *w, bool granted)
{
	uint64_t shard = SHARD;
	struct msg_arbiter_lease_ack ack = {
	    .shards = &shard, .shards_count = granted, .ttl_ms = 2000};
	coordinator_says(w, MSG_arbiter_lease_ack, &ack);
}

/* Started and joined; it has no map yet. */
static inline struct world *world_open(void **state, int64_t wall_ms, noter *note)
{
	static struct world w;
	struct arbiter_options options = {.self = SELF, .coordinator = COORDINATOR};
	struct msg_member_join_ack joined = {.status = STATUS_OK};
	w = (struct world){.arbiter = arbiter_new(&options, 1),
			   .parser = json_parser_new(),
			   .note = note,
			   .wall_ms = wall_ms};
	feed(&w, EVENT_START);
	coordinator_says(&w, MSG_member_join_ack, &joined);
	*state = &w;
	return &w;
}

static inline int world_close(void **state)
{
	struct world *w = *state;
	arbiter_free(w->arbiter);
	json_parser_free(w->parser);
	effects_close(&w->fx);
	arena_close(&w->arena);
	buf_close(&w->trace);
	buf_close(&w->scratch);
	buf_close(&w->last_body);
	return 0;
}

#endif
