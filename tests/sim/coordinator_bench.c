#include "tests/sim/coordinator_bench.h"

#include <ctype.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/quorum.h"
#include "common/timing.h"
#include "proto/msgpack.h"

enum { SETTLE_MS = 2000, STEP_MS = 50, ID_DIGITS = 16, SEED = 42, CLUSTER = 5 };

const struct coordinator_member bench_members[BENCH_MEMBERS + BENCH_MORE] = {
    {COORDINATOR, "coordinator", ROLE_COORDINATOR},
    {11, "a", ROLE_STORAGE},
    {12, "b", ROLE_STORAGE},
    {13, "c", ROLE_STORAGE},
    {GATEWAY, "gateway", ROLE_GATEWAY},
    {ARBITER_A, "arbiter-a", ROLE_ARBITER},
    {ARBITER_B, "arbiter-b", ROLE_ARBITER},
    {14, "d", ROLE_STORAGE},
    {15, "e", ROLE_STORAGE}};

struct model *bench_model(struct bench *b, uint64_t id)
{
	for (size_t i = 0; i < ARRAY_LEN(b->models); i++)
		if (b->models[i].id == id)
			return &b->models[i];
	CHECK(false);
	return NULL;
}

static struct copy *copy_of(struct model *m, uint64_t shard)
{
	for (uint32_t i = 0; i < m->copies_count; i++)
		if (m->copies[i].placement.shard.id == shard)
			return &m->copies[i];
	return NULL;
}

/* Ids are random: they read as # in a trace. Incarnations of the model are small and stay. */
static void trace_text(struct bench *b, struct slice text)
{
	for (size_t i = 0; i < text.len; i++) {
		size_t digits = 0;
		while (i + digits < text.len && isxdigit(text.data[i + digits]))
			digits++;
		if (digits == ID_DIGITS && text.data[i] != '0') {
			buf_append_text(&b->trace, "#");
			i += digits - 1;
		} else {
			buf_append_byte(&b->trace, text.data[i]);
		}
	}
	buf_append_text(&b->trace, "\n");
}

/* What the gateway is pushed stands for what everybody is. */
static void trace_push(struct bench *b, const struct msg_map_push *push)
{
	buf_printf(&b->trace, "map %llu\n", (unsigned long long)push->map_version);
	for (uint32_t i = 0; i < push->shards_count; i++) {
		struct shard s = push->shards[i];
		s.id = s.collection = 0;
		s.hash_first = s.hash_last = 0;
		buf_append_text(&b->trace, "  ");
		schema_print(&schema_shard, &s, &b->trace);
		buf_append_text(&b->trace, "\n");
	}
}

static void model_adopt(struct model *m, const struct shard *shard)
{
	struct copy *copy = copy_of(m, shard->id);
	if (!copy && placement_index(shard, m->id) == shard->replicas_count)
		return;
	if (!copy) {
		CHECK(m->copies_count < BENCH_SHARDS_MAX);
		copy = &m->copies[m->copies_count++];
		*copy = (struct copy){0};
	}
	if (shard->epoch == copy->placement.shard.epoch)
		CHECK(placement_equal(shard, &copy->placement.shard));
	if (shard->epoch <= copy->placement.shard.epoch)
		return;
	placement_copy(&copy->placement, shard);
	copy->promised = shard->epoch;
	copy->state = SHARD_REPLICA;
	if (quorum_joint(shard)) /* the lead's entry has come */
		copy->last.epoch = shard->epoch;
	if (shard->lead == m->id)
		copy->state = m->never_serves ? SHARD_PROMISING : SHARD_SERVING;
}

static void model_push(struct bench *b, struct model *m, const struct msg_map_push *push)
{
	if (m->id == GATEWAY)
		trace_push(b, push);
	m->map_version = push->map_version > m->map_version ? push->map_version : m->map_version;
	for (uint32_t i = 0; m->role == ROLE_STORAGE && i < push->shards_count; i++)
		model_adopt(m, &push->shards[i]);
}

static void model_joined(struct model *m, const struct msg_member_join_ack *ack)
{
	m->refused = ack->status;
	m->joined = ack->status == STATUS_OK;
}

static void model_leased(struct bench *b, struct model *m, const struct msg_arbiter_lease_ack *ack)
{
	size_t i = m->id - ARBITER_A;
	CHECK(ack->ttl_ms == 2000);
	b->leased_count[i] = ack->shards_count;
	for (uint32_t k = 0; k < ack->shards_count; k++)
		b->leased[i][k] = ack->shards[k];
}

static void model_listed(struct bench *b, const struct msg_system_list_ack *ack)
{
	buf_clear(&b->rows);
	b->rows_cut = ack->cut;
	CHECK(ack->status == STATUS_OK);
	for (uint32_t i = 0; i < ack->rows_count; i++) {
		CHECK(mp_valid(ack->rows[i]));
		buf_append_slice(&b->rows, ack->rows[i]);
	}
}

static void take_set(struct bench *b, const struct effect *e, const struct msg_lock_set *m)
{
	CHECK(b->sets_count < BENCH_SETS_MAX);
	b->sets[b->sets_count++] = (struct bench_set){.node = e->send.member,
						      .epoch = e->send.envelope.epoch,
						      .shard = m->shard,
						      .token = m->lock.token,
						      .paths = m->lock.paths_count,
						      .id = m->lock.id.data[0],
						      .release = m->release};
}

/* True if it is about locks. */
static bool model_locks(struct bench *b, const struct effect *e, const void *body)
{
	const struct msg_lock_acquire_ack *acquired = body;
	const struct msg_lock_release_ack *released = body;
	switch (e->send.envelope.type) {
	case MSG_lock_set:
		take_set(b, e, body);
		return true;
	case MSG_lock_acquire_ack:
		b->acquired[acquired->id.data[0]] = acquired->status;
		b->tokens[acquired->id.data[0]] = acquired->token;
		return true;
	case MSG_lock_release_ack:
		b->released[released->id.data[0]] = released->status;
		return true;
	case MSG_lock_renew_ack:
		b->unknown = ((const struct msg_lock_renew_ack *)body)->unknown_count;
		return true;
	default:
		return false;
	}
}

static void model_updated(struct bench *b, const struct msg_node_update_ack *ack)
{
	b->updated = ack->status;
	b->told.clock_ms = ack->clock_ms;
	b->told.life = ack->life;
}

static void model_receive(struct bench *b, const struct effect *e)
{
	struct model *m = bench_model(b, e->send.member);
	const struct schema *schema = schema_of_message(e->send.envelope.type);
	void *body = arena_alloc(&b->arena, schema->size);
	CHECK(message_allowed(e->send.envelope.type, ROLE_COORDINATOR, m->role));
	CHECK(schema_decode(schema, e->send.body, &b->arena, body));
	/* nobody may hear of what is not on the disk */
	CHECK(e->when == WHEN_DURABLE);
	if (!m->up || model_locks(b, e, body))
		return;
	switch (e->send.envelope.type) {
	case MSG_map_push:
		model_push(b, m, body);
		break;
	case MSG_member_join_ack:
		model_joined(m, body);
		break;
	case MSG_heartbeat_ack:
		if (((struct msg_heartbeat_ack *)body)->status == STATUS_NOT_FOUND)
			m->joined = false;
		break;
	case MSG_collection_create_ack:
		b->created = ((struct msg_collection_create_ack *)body)->status;
		break;
	case MSG_node_update_ack:
		model_updated(b, body);
		break;
	case MSG_arbiter_lease_ack:
		model_leased(b, m, body);
		break;
	case MSG_system_list_ack:
		model_listed(b, body);
		break;
	default:
		CHECK(false);
	}
}

void bench_step(struct bench *b, struct event *e)
{
	e->now_ms = b->now_ms;
	e->wall_ms = 1000000 + b->now_ms;
	coordinator_ops.step(b->core, e, &b->fx);
}

void bench_turn(struct bench *b)
{
	bench_step(b, &(struct event){.kind = EVENT_TURN});
	if (b->lose_commits)
		b->fx.count = 0;
	else if (store_dirty(b->store))
		CHECK(store_commit(b->store, b->fx.sync) == STORE_OK);
	for (uint32_t i = 0; i < b->fx.count; i++) {
		const struct effect *e = &b->fx.items[i];
		if (e->kind == EFFECT_LOG && e->log.level != LOG_LEVEL_DEBUG)
			trace_text(b, e->log.text);
		else if (e->kind == EFFECT_SEND)
			model_receive(b, e);
	}
	effects_clear(&b->fx);
	arena_reset(&b->arena);
}

/* As encoded bytes, so that a message that could not travel fails here. */
void bench_deliver(struct bench *b, const struct model *from, uint16_t type, const void *message)
{
	struct buf bytes = {0};
	const struct schema *schema = schema_of_message(type);
	CHECK(message_allowed(type, from->role, ROLE_COORDINATOR));
	schema_encode(schema, message, &bytes);
	struct slice copy = arena_copy(&b->arena, buf_slice(&bytes));
	buf_close(&bytes);
	void *body = arena_alloc(&b->arena, schema->size);
	CHECK(schema_decode(schema, copy, &b->arena, body));
	bench_step(b, &(struct event){.kind = EVENT_MESSAGE,
				      .message = {.from = {.member = from->id, .role = from->role},
						  .envelope = {.type = type, .request_id = 1},
						  .body = body}});
}

/* In sync is who is up with the data that is listed. */
static void report_progress(struct bench *b, const struct shard *s, struct shard_report *r)
{
	r->replicas = arena_alloc(&b->arena, s->replicas_count * sizeof *r->replicas);
	for (uint32_t i = 0; i < s->replicas_count; i++) {
		const struct model *m = bench_model(b, s->replicas[i].node);
		if (m->up && m->incarnation == s->replicas[i].incarnation)
			r->replicas[r->replicas_count++] =
			    (struct replica_progress){.node = m->id,
						      .incarnation = m->incarnation,
						      .in_sync = !m->out_of_sync};
	}
}

static struct shard_report *reports(struct bench *b, struct model *m)
{
	struct shard_report *list = arena_alloc(&b->arena, BENCH_SHARDS_MAX * sizeof *list);
	for (uint32_t i = 0; i < m->copies_count; i++) {
		struct copy *copy = &m->copies[i];
		const struct shard *s = &copy->placement.shard;
		list[i] = (struct shard_report){.shard = s->id,
						.epoch = s->epoch,
						.promised = copy->promised,
						.state = copy->state,
						.last = copy->last,
						.vouching = true,
						.damaged = copy->damaged};
		if (copy->state == SHARD_SERVING)
			report_progress(b, s, &list[i]);
	}
	return list;
}

void bench_join(struct bench *b, struct model *m)
{
	struct shard *shards = arena_alloc(&b->arena, BENCH_SHARDS_MAX * sizeof *shards);
	for (uint32_t i = 0; i < m->copies_count; i++)
		shards[i] = m->copies[i].placement.shard;
	struct msg_member_join j = {.boot = m->boot,
				    .life = m->life,
				    .incarnation = m->incarnation,
				    .map_version = m->map_version,
				    .shards = shards,
				    .shards_count = m->copies_count,
				    .reports = reports(b, m),
				    .reports_count = m->copies_count,
				    .collections = m->collections,
				    .collections_count = m->collections_count,
				    .dropped = m->dropped,
				    .dropped_count = m->dropped_count,
				    .lock_token = m->lock_token,
				    .trail = m->trail};
	bench_deliver(b, m, MSG_member_join, &j);
}

static void beat(struct bench *b, struct model *m)
{
	if (!m->up)
		return;
	if (!m->joined) {
		bench_join(b, m);
		return;
	}
	struct msg_heartbeat h = {.boot = m->boot,
				  .life = m->life,
				  .incarnation = m->incarnation,
				  .map_version = m->map_version,
				  .disk_full = m->disk_full,
				  .shards = reports(b, m),
				  .shards_count = m->copies_count};
	bench_deliver(b, m, MSG_heartbeat, &h);
}

void bench_advance(struct bench *b, int64_t ms)
{
	for (int64_t end = b->now_ms + ms; b->now_ms < end;) {
		b->now_ms += STEP_MS;
		for (size_t i = 0; i < b->members_count; i++)
			if (b->models[i].id != COORDINATOR && b->now_ms % HEARTBEAT_MS == 0)
				beat(b, &b->models[i]);
		if (coordinator_ops.deadline(b->core) <= b->now_ms)
			bench_step(b, &(struct event){.kind = EVENT_TIMER});
		bench_turn(b);
	}
}

void bench_start(struct bench *b, bool recover)
{
	struct coordinator_options options = {.self = COORDINATOR,
					      .cluster = CLUSTER,
					      .members = bench_members,
					      .members_count = b->members_count,
					      .rebalance = b->rebalance,
					      .evict_after_ms = b->evict_after_ms,
					      .recover_from_nodes = recover,
					      .retain_ms = 1};
	b->store = disk_open(b->disk, NULL);
	b->core = coordinator_new(&options, b->store, SEED);
	CHECK(b->core);
	bench_step(b, &(struct event){.kind = EVENT_START});
	bench_turn(b);
}

void bench_stop(struct bench *b)
{
	coordinator_free(b->core);
	store_close(b->store);
	effects_clear(&b->fx);
}

void bench_restart(struct bench *b)
{
	bench_stop(b);
	bench_start(b, false);
}

void bench_grow(struct bench *b)
{
	b->members_count = BENCH_MEMBERS + BENCH_MORE;
	coordinator_members_set(b->core, bench_members, b->members_count);
	bench_boot(b, 14);
	bench_boot(b, 15);
}

void bench_boot(struct bench *b, uint64_t id)
{
	struct model *m = bench_model(b, id);
	m->up = true;
	m->joined = false;
	m->map_version = 0;
	m->boot++;
	m->life += 1000;
	for (uint32_t i = 0; i < m->copies_count; i++)
		m->copies[i].state = SHARD_REPLICA;
}

void bench_down(struct bench *b, uint64_t id)
{
	bench_model(b, id)->up = false;
}

void bench_wipe(struct bench *b, uint64_t id)
{
	struct model *m = bench_model(b, id);
	m->copies_count = 0;
	m->incarnation += 100;
	m->boot = 0;
}

uint64_t bench_create(struct bench *b, struct msg_collection_create m)
{
	b->created = UINT64_MAX;
	bench_deliver(b, bench_model(b, GATEWAY), MSG_collection_create, &m);
	bench_turn(b);
	return b->created;
}

uint64_t bench_begin(struct bench *b)
{
	struct msg_collection_create one = {.collection = {.name = slice_text("t")}, .shards = 1};
	bench_advance(b, SETTLE_MS);
	CHECK(bench_create(b, one) == STATUS_CREATED);
	bench_advance(b, SETTLE_MS);
	buf_clear(&b->trace);
	return bench_placement(b)->lead;
}

const struct shard *bench_placement(struct bench *b)
{
	const struct shard *newest = NULL;
	for (uint64_t id = NODE_A; id < NODE_A + NODES + BENCH_MORE; id++) {
		const struct shard *s = &bench_model(b, id)->copies[0].placement.shard;
		if (!newest || s->epoch > newest->epoch)
			newest = s;
	}
	return newest;
}

void bench_init(struct bench *b)
{
	*b = (struct bench){.disk = disk_new(), .members_count = BENCH_MEMBERS};
	for (size_t i = 0; i < ARRAY_LEN(b->models); i++) {
		b->models[i].id = bench_members[i].id;
		b->models[i].role = bench_members[i].role;
		if (bench_members[i].role == ROLE_STORAGE)
			b->models[i].incarnation = 0x100 + bench_members[i].id;
	}
	bench_start(b, false);
	for (size_t i = 1; i < BENCH_MEMBERS; i++)
		bench_boot(b, bench_members[i].id);
}

void bench_close(struct bench *b)
{
	bench_stop(b);
	disk_free(b->disk);
	effects_close(&b->fx);
	arena_close(&b->arena);
	buf_close(&b->trace);
	buf_close(&b->rows);
}

int bench_setup(void **state)
{
	struct bench *b = mem_alloc_zero(sizeof *b);
	bench_init(b);
	*state = b;
	return 0;
}

int bench_teardown(void **state)
{
	bench_close(*state);
	free(*state);
	return 0;
}
