/* The coordinator's core among members that say anything their role allows, over a store that holds
 * anything. Input: a byte of options, a number of rows that lie in its store when it starts, then
 * one byte for each thing that happens, with what it needs behind it: a message drawn from the
 * input (tests/fuzz/draw.h), joins and heartbeats as members send them, time, restarts.
 *
 * Whatever they say: nothing is told before it is durable; placements are sound, and of one epoch
 * there is only one; the map's version and the fencing tokens only grow. */
#include <stdlib.h>

#include "common/timing.h"
#include "coordinator/coordinator.h"
#include "coordinator/placement.h"
#include "proto/msgpack.h"
#include "tests/fuzz/draw.h"
#include "tests/sim/disk.h"

enum { STEPS_MAX = 48, ROWS_MAX = 8, SHARDS_MAX = 64, TOKENS_MAX = 64, CLUSTER = 5, TICK_MS = 50 };
enum { COORDINATOR = 1, NODE_A = 11, NODE_B, NODE_C, NODE_D, GATEWAY = 21, ARBITER = 31 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum step {
	STEP_JOIN = 8, /* below: a message */
	STEP_BEAT,
	STEP_BEATS,
	STEP_TIME,
	STEP_CREATE,
	STEP_LOCKS, /* shards answer */
	STEP_RESTART,
	STEP_AWAY, /* a node goes, or comes back */
	STEP_NEW_DISK,
	STEP_MEMBERS,
	STEPS
};

enum { OPTION_RECOVER = 1, OPTION_REBALANCE = 2, OPTION_EVICT = 4 };

static const struct coordinator_member members[] = {
    {COORDINATOR, "coordinator", ROLE_COORDINATOR},
    {NODE_A, "a", ROLE_STORAGE},
    {NODE_B, "b", ROLE_STORAGE},
    {NODE_C, "c", ROLE_STORAGE},
    {NODE_D, "d", ROLE_STORAGE},
    {GATEWAY, "gateway", ROLE_GATEWAY},
    {ARBITER, "arbiter", ROLE_ARBITER},
};

struct node {
	bool away;
	uint64_t incarnation;
	uint64_t boot;
};

struct token {
	uint64_t token;
	uint8_t id[16];
};

struct world {
	struct disk *disk;
	struct store *store;
	struct coordinator *core;
	struct effects fx;
	struct draw draw;
	struct arena arena;
	struct draw_known known;
	struct draw_kind kinds[DRAW_KINDS_MAX];
	uint32_t kinds_count;
	struct coordinator_options options;
	int64_t now_ms;
	struct node nodes[NODE_D - NODE_A + 1];
	/* what it has told */
	uint64_t map_version;
	struct placement placements[SHARDS_MAX];
	uint32_t placements_count;
	uint64_t epoch; /* the last one told */
	uint64_t collection;
	struct token tokens[TOKENS_MAX];
	uint32_t tokens_count;
	struct msg_lock_set set; /* the last one */
	uint8_t set_id[16];
	uint64_t set_node;
	uint64_t set_epoch;
};

/* ---- what it tells ---- */

static struct placement *placement_of(struct world *w, uint64_t shard)
{
	for (uint32_t i = 0; i < w->placements_count; i++)
		if (w->placements[i].shard.id == shard)
			return &w->placements[i];
	return NULL;
}

static void take_shard(struct world *w, const struct shard *told)
{
	struct placement *p = placement_of(w, told->id);
	CHECK(placement_problem(told) == NULL);
	if (!p && w->placements_count == SHARDS_MAX)
		return;
	if (!p) {
		p = &w->placements[w->placements_count++];
		placement_copy(p, told);
	}
	CHECK(told->epoch >= p->shard.epoch);
	if (told->epoch == p->shard.epoch)
		CHECK(placement_equal(told, &p->shard));
	placement_copy(p, told);
	w->epoch = told->epoch;
	w->collection = told->collection;
}

static void take_map(struct world *w, const struct msg_map_push *push)
{
	if (push->map_version == 0) { /* it tells of drops alone */
		CHECK(push->dropped_count > 0 && push->shards_count + push->collections_count == 0);
		return;
	}
	CHECK(push->map_version >= w->map_version);
	w->map_version = push->map_version;
	for (uint32_t i = 0; i < push->shards_count; i++)
		take_shard(w, &push->shards[i]);
}

/* A grant's token is its own. */
static void take_set(struct world *w, const struct effect *e, const struct msg_lock_set *m)
{
	CHECK(m->lock.id.len == sizeof w->set_id);
	memcpy(w->set_id, m->lock.id.data, sizeof w->set_id);
	w->set = *m;
	w->set.lock.id = slice_of(w->set_id, sizeof w->set_id);
	w->set_node = e->send.member;
	w->set_epoch = e->send.envelope.epoch;
	for (uint32_t i = 0; i < w->tokens_count && !m->release; i++) {
		if (w->tokens[i].token != m->lock.token)
			continue;
		CHECK(memcmp(w->tokens[i].id, w->set_id, sizeof w->set_id) == 0);
		return;
	}
	if (m->release || w->tokens_count == TOKENS_MAX)
		return;
	struct token *t = &w->tokens[w->tokens_count++];
	t->token = m->lock.token;
	memcpy(t->id, w->set_id, sizeof t->id);
}

static enum role role_of(uint64_t member)
{
	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		if (members[i].id == member)
			return members[i].role;
	return ROLE_NONE;
}

static void take_effect(struct world *w, const struct effect *e)
{
	if (e->kind != EFFECT_SEND)
		return;
	const struct schema *schema = schema_of_message(e->send.envelope.type);
	void *body = arena_alloc(&w->arena, schema->size);
	CHECK(e->when == WHEN_DURABLE);
	CHECK(message_allowed(e->send.envelope.type, ROLE_COORDINATOR, role_of(e->send.member)));
	CHECK(schema_decode(schema, e->send.body, &w->arena, body));
	if (e->send.envelope.type == MSG_map_push)
		take_map(w, body);
	if (e->send.envelope.type == MSG_lock_set)
		take_set(w, e, body);
}

static void feed(struct world *w, struct event *e)
{
	e->now_ms = w->now_ms;
	e->wall_ms = w->now_ms;
	coordinator_ops.step(w->core, e, &w->fx);
}

static void turn(struct world *w)
{
	feed(w, &(struct event){.kind = EVENT_TURN});
	if (store_dirty(w->store))
		CHECK(store_commit(w->store, w->fx.sync) == STORE_OK);
	for (uint32_t i = 0; i < w->fx.count; i++)
		take_effect(w, &w->fx.items[i]);
	effects_clear(&w->fx);
}

/* ---- what members say ---- */

static void deliver(struct world *w, uint64_t from, uint64_t epoch, uint16_t type, void *value)
{
	const struct schema *schema = schema_of_message(type);
	struct buf bytes = {0};
	schema_encode(schema, value, &bytes);
	struct slice copy = arena_copy(&w->arena, buf_slice(&bytes));
	buf_close(&bytes);
	void *body = arena_alloc(&w->arena, schema->size);
	CHECK(schema_decode(schema, copy, &w->arena, body));
	struct event e = {.kind = EVENT_MESSAGE};
	e.message.from = (struct peer){.member = from, .role = role_of(from), .route = 1};
	e.message.envelope = (struct envelope){.type = type, .request_id = 1, .epoch = epoch};
	e.message.body = body;
	feed(w, &e);
	turn(w);
}

static uint64_t node_drawn(struct world *w)
{
	return NODE_A + draw_below(&w->draw, ARRAY_LEN(w->nodes));
}

static void message(struct world *w)
{
	struct draw_kind kind = w->kinds[draw_below(&w->draw, w->kinds_count)];
	uint64_t from = kind.sender == ROLE_GATEWAY ? GATEWAY : ARBITER;
	if (kind.sender == ROLE_STORAGE)
		from = node_drawn(w);
	deliver(w, from, w->epoch, kind.type, draw_new(&w->draw, schema_of_message(kind.type)));
}

static void report_of(struct world *w, uint64_t node, const struct shard *s,
		      struct shard_report *out)
{
	*out = (struct shard_report){.shard = s->id,
				     .epoch = s->epoch,
				     .promised = s->epoch,
				     .state = s->lead == node ? SHARD_SERVING : SHARD_REPLICA,
				     .last = {.epoch = s->epoch, .number = 1},
				     .vouching = true};
	if (s->lead != node)
		return;
	out->replicas = arena_alloc(&w->arena, LIMIT_REPLICAS * sizeof *out->replicas);
	for (uint32_t i = 0; i < s->replicas_count; i++)
		out->replicas[out->replicas_count++] =
		    (struct replica_progress){.node = s->replicas[i].node,
					      .incarnation = s->replicas[i].incarnation,
					      .in_sync = true};
}

static struct shard_report *reports_of(struct world *w, uint64_t node, uint32_t *count)
{
	struct shard_report *reports = arena_alloc(&w->arena, SHARDS_MAX * sizeof *reports);
	*count = 0;
	for (uint32_t i = 0; i < w->placements_count; i++) {
		const struct shard *s = &w->placements[i].shard;
		if (placement_index(s, node) < s->replicas_count)
			report_of(w, node, s, &reports[(*count)++]);
	}
	return reports;
}

static void join(struct world *w, uint64_t member)
{
	struct msg_member_join j = {.map_version = w->map_version};
	if (role_of(member) == ROLE_STORAGE) {
		const struct node *n = &w->nodes[member - NODE_A];
		j.boot = n->boot;
		j.life = n->boot;
		j.incarnation = n->incarnation;
		j.reports = reports_of(w, member, &j.reports_count);
	}
	deliver(w, member, 0, MSG_member_join, &j);
}

static void beat(struct world *w, uint64_t member)
{
	struct msg_heartbeat h = {.map_version = w->map_version};
	if (role_of(member) == ROLE_STORAGE) {
		const struct node *n = &w->nodes[member - NODE_A];
		h.boot = n->boot;
		h.life = n->boot;
		h.incarnation = n->incarnation;
		h.shards = reports_of(w, member, &h.shards_count);
	}
	deliver(w, member, 0, MSG_heartbeat, &h);
}

/* Time passes while all that are there send their heartbeats. */
static void beats(struct world *w, int64_t ms)
{
	for (int64_t end = w->now_ms + ms; w->now_ms < end;) {
		w->now_ms += HEARTBEAT_MS;
		for (size_t i = 0; i < ARRAY_LEN(members); i++) {
			uint64_t id = members[i].id;
			bool away = members[i].role == ROLE_STORAGE && w->nodes[id - NODE_A].away;
			if (id != COORDINATOR && !away)
				beat(w, id);
		}
		feed(w, &(struct event){.kind = EVENT_TIMER});
		turn(w);
	}
}

static void silence(struct world *w, int64_t ms)
{
	for (int64_t end = w->now_ms + ms; w->now_ms < end;) {
		w->now_ms += TICK_MS;
		feed(w, &(struct event){.kind = EVENT_TIMER});
		turn(w);
	}
}

static void create(struct world *w)
{
	static const char *const names[] = {"c", "d", "e"};
	struct msg_collection_create m = {
	    .collection = {.name = slice_text(names[draw_below(&w->draw, 3)])},
	    .shards = 1 + draw_below(&w->draw, 3)};
	deliver(w, GATEWAY, 0, MSG_collection_create, &m);
}

static void answer_set(struct world *w)
{
	struct msg_lock_set_ack ack = {.status = STATUS_OK,
				       .shard = w->set.shard,
				       .id = w->set.lock.id,
				       .release = w->set.release,
				       .token = w->set.lock.token,
				       .greatest = w->set.lock.token};
	if (w->set_node != 0)
		deliver(w, w->set_node, w->set_epoch, MSG_lock_set_ack, &ack);
}

/* ---- life ---- */

static bool start(struct world *w)
{
	w->store = disk_open(w->disk, NULL);
	w->core = coordinator_new(&w->options, w->store, 42);
	if (!w->core)
		return false;
	feed(w, &(struct event){.kind = EVENT_START});
	turn(w);
	return true;
}

static void stop(struct world *w)
{
	coordinator_free(w->core);
	effects_clear(&w->fx);
	store_close(w->store);
}

/* The disk loses nothing that was told: all of it was synced. */
static void restart(struct world *w)
{
	struct rng rng;
	rng_init(&rng, draw_byte(&w->draw));
	stop(w);
	disk_crash(w->disk, &rng);
	CHECK(start(w));
}

static void new_disk(struct world *w)
{
	struct node *n = &w->nodes[node_drawn(w) - NODE_A];
	if (draw_below(&w->draw, 2)) {
		n->boot++;
	} else {
		n->incarnation += 0x100;
		n->boot = 1;
	}
}

/* ---- the store at its start ---- */

static void put_row(struct world *w, struct store *store)
{
	static const struct {
		const char *letter;
		const struct schema *schema;
	} kinds[] = {{"c", &schema_collection},
		     {"s", &schema_shard},
		     {"m", &schema_member},
		     {"l", &schema_lock_record},
		     {"r", NULL},
		     {"coordinator", &schema_coordinator_state}};
	struct buf key = {0};
	uint64_t kind = draw_below(&w->draw, ARRAY_LEN(kinds));
	const struct schema *schema = kinds[kind].schema;
	struct slice value = draw_raw(&w->draw, 16);
	struct slice inner = draw_raw(&w->draw, 24);
	buf_append_text(&key, kinds[kind].letter);
	buf_append_slice(&key, inner);
	if (schema && draw_below(&w->draw, 8) < 7)
		value = draw_encoded(&w->draw, schema);
	store_put(store, STORE_META, buf_slice(&key), value);
	buf_close(&key);
}

/* The row whose key says what its value does, as the core writes it. */
static void put_fitting_row(struct world *w, struct store *store)
{
	struct buf key = {0}, value = {0};
	struct shard *shard = draw_new(&w->draw, &schema_shard);
	struct member *member = draw_new(&w->draw, &schema_member);
	struct lock_record *lock = draw_new(&w->draw, &schema_lock_record);
	switch (draw_below(&w->draw, 3)) {
	case 0:
		buf_append_byte(&key, 's');
		buf_append_be64(&key, shard->id);
		schema_encode(&schema_shard, shard, &value);
		break;
	case 1:
		buf_append_byte(&key, 'm');
		buf_append_be64(&key, member->id);
		schema_encode(&schema_member, member, &value);
		break;
	default:
		buf_append_byte(&key, 'l');
		buf_append_slice(&key, lock->id);
		schema_encode(&schema_lock_record, lock, &value);
		break;
	}
	store_put(store, STORE_META, buf_slice(&key), buf_slice(&value));
	buf_close(&key);
	buf_close(&value);
}

static void fill_store(struct world *w)
{
	struct store *store = disk_open(w->disk, NULL);
	uint64_t rows = draw_below(&w->draw, ROWS_MAX);
	for (uint64_t i = 0; i < rows; i++)
		if (draw_below(&w->draw, 2))
			put_row(w, store);
		else
			put_fitting_row(w, store);
	CHECK(store_commit(store, true) == STORE_OK);
	store_close(store);
}

/* ---- what the core knows ---- */

#define TEXT(t)                                                                                    \
	{                                                                                          \
		(const uint8_t *)(t), sizeof(t) - 1                                                \
	}

static const struct draw_texts texts[] = {
    {"id", 16, {TEXT("0123456789abcdef"), TEXT("0123456789abcdeg")}, 2},
    {"name", LIMIT_NAME_BYTES, {TEXT("c"), TEXT("d"), TEXT("a"), TEXT("b"), TEXT("v")}, 5},
    {"name", LIMIT_ID_BYTES, {TEXT("c"), TEXT("d"), TEXT("x")}, 3},
    {"collection",
     0,
     {TEXT("system.nodes"), TEXT("system.locks"), TEXT("system.notifys"), TEXT("x")},
     4},
    {"replaced_by", 0, {TEXT("d"), TEXT("a"), TEXT("")}, 3},
    {"index_drop", 0, {TEXT("v"), TEXT("")}, 2},
    {"fields", 0, {TEXT("v"), TEXT("w")}, 2},
    {"policy", 0, {TEXT(""), TEXT("\x81\xa8strategy\xa6newest"), TEXT("\x80")}, 3},
    {"rows", 0, {TEXT("\x81\xa2id\xa1x"), TEXT("\x80")}, 2},
    {"session", 0, {TEXT("session123456789"), TEXT("")}, 2},
    {"sessions", 0, {TEXT("session123456789")}, 1},
    {"ids", 0, {TEXT("0123456789abcdef"), TEXT("0123456789abcdeg")}, 2},
    {"ended", 0, {TEXT("session123456789")}, 1},
    {"document", 0, {TEXT("a"), TEXT("b"), TEXT("")}, 3},
    {"field", 0, {TEXT("v"), TEXT("")}, 2},
};

static void know_all(struct world *w)
{
	uint64_t first = w->placements_count ? w->placements[0].shard.id : 7;
	uint64_t last = w->placements_count ? w->placements[w->placements_count - 1].shard.id : 8;
	w->known.count = 0;
	DRAW_KNOW(&w->known, "shard", first, last, 7);
	DRAW_KNOW(&w->known, "id", first, last, 7, w->collection, 5, NODE_A, NODE_B);
	DRAW_KNOW(&w->known, "collection", w->collection, 5);
	DRAW_KNOW(&w->known, "epoch", w->epoch, w->epoch + 1, w->epoch - 1);
	DRAW_KNOW(&w->known, "promised", w->epoch, w->epoch + 1, w->epoch - 1);
	DRAW_KNOW(&w->known, "lead", NODE_A, NODE_B, NODE_C, 0);
	DRAW_KNOW(&w->known, "node", NODE_A, NODE_B, NODE_C, NODE_D);
	DRAW_KNOW(&w->known, "incarnation", w->nodes[0].incarnation, w->nodes[1].incarnation,
		  w->nodes[2].incarnation, w->nodes[3].incarnation);
	DRAW_KNOW(&w->known, "boot", 1, 2, 0);
	DRAW_KNOW(&w->known, "life", 1, 2, 0);
	DRAW_KNOW(&w->known, "map_version", w->map_version, w->map_version + 1, 0);
	DRAW_KNOW(&w->known, "hash_last", UINT64_MAX, UINT64_MAX / 2);
	DRAW_KNOW(&w->known, "write_quorum", 2, 1, 3);
	DRAW_KNOW(&w->known, "replicas", 3, 1, 2);
	DRAW_KNOW(&w->known, "format", STORE_FORMAT);
	DRAW_KNOW(&w->known, "cluster", CLUSTER);
	DRAW_KNOW(&w->known, "token", w->set.lock.token, w->set.lock.token + 1, 1);
	DRAW_KNOW(&w->known, "greatest", w->set.lock.token, w->set.lock.token + 1, 1);
	DRAW_KNOW(&w->known, "state", SHARD_SERVING, SHARD_STUCK, SHARD_REPLICA);
	DRAW_KNOW(&w->known, "ttl_ms", 0, 1000, 60000);
	DRAW_KNOW(&w->known, "wait_ms", 0, 1000, 60000);
	w->draw.numbers = w->known.numbers;
	w->draw.numbers_count = w->known.count;
}

/* ---- what happens ---- */

static void step(struct world *w)
{
	static const int64_t times_ms[] = {50, 1100, 3000, 10000};
	uint64_t kind = draw_below(&w->draw, STEPS);
	switch (kind) {
	case STEP_JOIN:
		join(w, members[1 + draw_below(&w->draw, ARRAY_LEN(members) - 1)].id);
		break;
	case STEP_BEAT:
		beat(w, members[1 + draw_below(&w->draw, ARRAY_LEN(members) - 1)].id);
		break;
	case STEP_BEATS:
		beats(w, times_ms[draw_below(&w->draw, 3)]);
		break;
	case STEP_TIME:
		silence(w, times_ms[draw_below(&w->draw, 4)]);
		break;
	case STEP_CREATE:
		create(w);
		break;
	case STEP_LOCKS:
		answer_set(w);
		break;
	case STEP_RESTART:
		restart(w);
		break;
	case STEP_AWAY:
		w->nodes[node_drawn(w) - NODE_A].away ^= true;
		break;
	case STEP_NEW_DISK:
		new_disk(w);
		break;
	case STEP_MEMBERS:
		coordinator_members_set(w->core, members,
					(uint32_t)(1 + draw_below(&w->draw, ARRAY_LEN(members))));
		break;
	default:
		message(w);
	}
}

static void run(struct world *w)
{
	for (size_t i = 1; i < ARRAY_LEN(members); i++)
		join(w, members[i].id);
	for (int i = 0; i < STEPS_MAX && w->draw.rest.len > 0; i++) {
		know_all(w);
		step(w);
		arena_reset(&w->arena);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world *w = calloc(1, sizeof *w);
	CHECK(w);
	w->disk = disk_new();
	w->now_ms = 1000;
	w->draw = (struct draw){.rest = slice_of(data, size),
				.arena = &w->arena,
				.texts = texts,
				.texts_count = ARRAY_LEN(texts)};
	uint8_t options = draw_byte(&w->draw);
	w->options =
	    (struct coordinator_options){.self = COORDINATOR,
					 .cluster = CLUSTER,
					 .members = members,
					 .members_count = ARRAY_LEN(members),
					 .recover_from_nodes = options & OPTION_RECOVER,
					 .rebalance = options & OPTION_REBALANCE,
					 .evict_after_ms = options & OPTION_EVICT ? 5000 : 0,
					 .retain_ms = 1};
	for (uint64_t i = 0; i < ARRAY_LEN(w->nodes); i++)
		w->nodes[i] = (struct node){.incarnation = 0x100 + i, .boot = 1};
	w->kinds_count = draw_kinds(ROLE_COORDINATOR, w->kinds);
	know_all(w);
	fill_store(w);
	if (start(w))
		run(w);
	stop(w);
	disk_free(w->disk);
	effects_close(&w->fx);
	arena_close(&w->arena);
	free(w);
	return 0;
}
