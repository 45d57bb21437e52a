#include "tests/sim/storage_bench.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/revision.h"
#include "common/timing.h"

enum { STEP_MS = 50, SEED = 42, WALL_MS = 1700000000 };

/* ---- the trace ---- */

static void print_change(struct storage_bench *b, struct slice encoded)
{
	static const char *const kinds[] = {
	    "?",      "epoch",  "write",      "branch", "resolve", "cleanup", "settings",
	    "lock",   "unlock", "edit",       "reopen", "purge",   "?",       "checkpoint",
	    "import", "chunk",  "chunk_drop", "erase",  "refusal"};
	_Static_assert(ARRAY_LEN(kinds) == CHANGE_KIND_MAX + 1, "each kind of change has a name");
	struct change change;
	if (!schema_decode(&schema_change, encoded, &b->arena, &change)) {
		buf_append_text(&b->trace, " unreadable"); /* damaged on its disk */
		return;
	}
	buf_printf(&b->trace, " %s", kinds[change.kind]);
	if (change.id.len == 0)
		return;
	buf_printf(&b->trace, ":%.*s", (int)change.id.len, (const char *)change.id.data);
	if (change.revision.generation > 0)
		buf_printf(&b->trace, ":%llu", (unsigned long long)change.revision.generation);
}

static void print_append(struct storage_bench *b, const struct msg_stream_append *m)
{
	buf_printf(&b->trace, "append after=%llu.%llu settled=%llu acked=%llu",
		   (unsigned long long)m->previous.epoch, (unsigned long long)m->previous.number,
		   (unsigned long long)m->settled, (unsigned long long)m->acked);
	for (uint32_t i = 0; i < m->entries_count; i++)
		print_change(b, m->entries[i].change);
}

static void print_message(struct storage_bench *b, const struct effect *e, const void *message)
{
	uint16_t type = e->send.envelope.type;
	buf_printf(&b->trace, "-> %llu e%llu ", (unsigned long long)e->send.member,
		   (unsigned long long)e->send.envelope.epoch);
	if (type == MSG_stream_append) {
		print_append(b, message);
	} else if (type == MSG_promise_request) {
		buf_append_text(&b->trace, "promise_request");
	} else if (type == MSG_shard_newer) {
		const struct msg_shard_newer *m = message;
		buf_printf(&b->trace, "shard_newer epoch=%llu lead=%llu",
			   (unsigned long long)m->shard.epoch, (unsigned long long)m->shard.lead);
	} else if (type == MSG_outbox_push) {
		const struct msg_outbox_push *m = message;
		buf_append_text(&b->trace, m->follows ? "outbox_push follows" : "outbox_push");
		print_change(b, m->change);
	} else {
		schema_print(schema_of_message(type), message, &b->trace);
	}
	buf_append_text(&b->trace, "\n");
}

#define KEEP(type, field)                                                                          \
	case MSG_##type:                                                                           \
		CHECK(schema_decode(&schema_msg_##type, body, &b->arena, &b->field));              \
		break

static void keep_answer(struct storage_bench *b, uint16_t type, struct slice body)
{
	switch (type) {
		KEEP(doc_write_ack, written);
		KEEP(doc_read_ack, was_read);
		KEEP(shard_changes_ack, changed);
		KEEP(shard_query_ack, queried);
		KEEP(doc_import_ack, imported);
		KEEP(doc_erase_ack, erased);
		KEEP(doc_revisions_ack, revisions);
		KEEP(revs_diff_ack, missing);
		KEEP(shard_edit_ack, edited);
		KEEP(conflict_resolve_ack, resolved);
		KEEP(conflict_list_ack, listed);
		KEEP(conflict_undo_ack, undone);
		KEEP(conflict_read_ack, graph);
		KEEP(conflict_take_ack, taken);
		KEEP(conflict_lease_ack, leased);
		KEEP(cleanup_prepare_ack, prepared);
		KEEP(cleanup_commit_ack, cleaned);
		KEEP(attachment_chunk_ack, chunk_taken);
		KEEP(attachment_read_ack, chunk_read);
		KEEP(attachment_chunk, brought);
		KEEP(heartbeat, beat);
		KEEP(member_join, join);
		KEEP(outbox_push, pushed);
		KEEP(stream_append_ack, appended);
		KEEP(checkpoint_set_ack, registered);
		KEEP(feed_events, fed);
		KEEP(lock_set_ack, set);
		KEEP(view_query_ack, viewed);
	default:
		break;
	}
}

static void note_spared(struct storage_bench *b, const struct effect *e, const void *message)
{
	const struct msg_lease_renew *m = message;
	for (uint32_t i = 0; i < m->shards_count; i++)
		if (m->shards[i].spare)
			b->spared |= 1u << e->send.member;
}

static void on_send(struct storage_bench *b, const struct effect *e)
{
	uint16_t type = e->send.envelope.type;
	const struct schema *schema = schema_of_message(type);
	struct slice body = arena_copy(&b->arena, e->send.body);
	void *message = arena_alloc(&b->arena, schema->size);
	CHECK(schema_decode(schema, body, &b->arena, message));
	keep_answer(b, type, body);
	if (type == MSG_lease_renew)
		note_spared(b, e, message);
	if (type == MSG_member_join)
		b->join_request = e->send.envelope.request_id;
	if (type == MSG_attachment_chunk)
		b->chunk_request = e->send.envelope.request_id;
	if (type == MSG_stream_append)
		b->append_request = e->send.envelope.request_id;
	if (e->send.member == GATEWAY || e->send.member == ARBITER)
		b->answers += type != MSG_shard_newer;
	else if (type != MSG_heartbeat && type != MSG_member_join && type != MSG_lease_renew)
		print_message(b, e, message);
}

/* ---- the shell's part ---- */

static void keep_script(struct storage_bench *b, const struct script_request *request)
{
	b->script = *request;
	b->script.arguments = arena_copy(&b->arena, request->arguments);
	b->scripts++;
}

static void run_effects(struct storage_bench *b, enum effect_when when)
{
	for (uint32_t i = 0; i < b->fx.count; i++) {
		const struct effect *e = &b->fx.items[i];
		if (e->when == when && e->kind == EFFECT_SEND)
			on_send(b, e);
		if (e->when == when && e->kind == EFFECT_SCRIPT)
			keep_script(b, &e->script);
		if (when == WHEN_NOW && (e->kind == EFFECT_EXIT || e->kind == EFFECT_RESET))
			buf_printf(&b->trace, "%s: %.*s\n",
				   e->kind == EFFECT_EXIT ? "exit" : "reset", (int)e->reason.len,
				   (const char *)e->reason.data);
	}
}

void storage_bench_step(struct storage_bench *b, struct event *e)
{
	e->now_ms = b->now_ms;
	e->wall_ms = WALL_MS + b->now_ms;
	storage_ops.step(b->core, e, &b->fx);
}

static bool finish_turn(struct storage_bench *b)
{
	run_effects(b, WHEN_NOW);
	bool works = store_dirty(b->store);
	if (works)
		CHECK(store_commit(b->store, b->fx.sync) == STORE_OK);
	run_effects(b, WHEN_DURABLE);
	effects_clear(&b->fx);
	return works;
}

void storage_bench_turn(struct storage_bench *b)
{
	struct event turn = {.kind = EVENT_TURN};
	storage_bench_step(b, &turn);
	while (finish_turn(b)) {
		struct event stored = {.kind = EVENT_STORED};
		storage_bench_step(b, &stored);
	}
}

void storage_bench_advance(struct storage_bench *b, int64_t ms)
{
	for (int64_t end = b->now_ms + ms; b->now_ms < end;) {
		b->now_ms += end - b->now_ms < STEP_MS ? end - b->now_ms : STEP_MS;
		struct event timer = {.kind = EVENT_TIMER};
		storage_bench_step(b, &timer);
		storage_bench_turn(b);
	}
}

static enum role role_of(uint64_t member)
{
	if (member == COORDINATOR)
		return ROLE_COORDINATOR;
	if (member == GATEWAY)
		return ROLE_GATEWAY;
	return member == ARBITER ? ROLE_ARBITER : ROLE_STORAGE;
}

void storage_bench_deliver(struct storage_bench *b, uint64_t from, uint16_t type, uint64_t epoch,
			   const void *message)
{
	const struct schema *schema = schema_of_message(type);
	struct arena arena = {0};
	struct buf bytes = {0};
	void *decoded = arena_alloc(&arena, schema->size);
	CHECK(message_allowed(type, role_of(from), ROLE_STORAGE));
	schema_encode(schema, message, &bytes);
	CHECK(schema_decode(schema, buf_slice(&bytes), &arena, decoded));
	struct event e = {.kind = EVENT_MESSAGE};
	e.message.from = (struct peer){.member = from, .role = role_of(from)};
	e.message.envelope =
	    (struct envelope){.type = type, .request_id = b->request, .epoch = epoch};
	e.message.body = decoded;
	storage_bench_step(b, &e);
	buf_close(&bytes);
	arena_close(&arena); /* what is kept must have been copied */
	if (!b->gathers)
		storage_bench_turn(b);
}

/* ---- life ---- */

void storage_bench_start(struct storage_bench *b)
{
	b->store = disk_open(b->disk, NULL);
	b->options.self = SELF;
	b->options.coordinator = COORDINATOR;
	b->options.incarnation = INCARNATION + SELF;
	b->options.boot = ++b->boot;
	b->core = storage_new(&b->options, b->store, SEED + b->boot);
	CHECK(b->core != NULL);
	struct event start = {.kind = EVENT_START};
	storage_bench_step(b, &start);
	storage_bench_turn(b);
	if (!b->strange)
		storage_bench_admit(b);
}

void storage_bench_admit(struct storage_bench *b)
{
	struct event timer = {.kind = EVENT_TIMER};
	storage_bench_step(b, &timer);
	storage_bench_turn(b);
	struct msg_member_join_ack ack = {.status = STATUS_OK};
	struct event e = {.kind = EVENT_MESSAGE};
	e.message.from = (struct peer){.member = COORDINATOR, .role = ROLE_COORDINATOR};
	e.message.envelope =
	    (struct envelope){.type = MSG_member_join_ack, .request_id = b->join_request};
	e.message.body = &ack;
	storage_bench_step(b, &e);
	storage_bench_turn(b);
}

void storage_bench_stop(struct storage_bench *b, bool power)
{
	struct rng rng;
	rng_init(&rng, SEED);
	storage_free(b->core);
	effects_clear(&b->fx);
	store_close(b->store);
	if (power)
		disk_crash(b->disk, &rng);
}

void storage_bench_clear(struct storage_bench *b)
{
	buf_clear(&b->trace);
	b->answers = 0;
	b->scripts = 0;
	b->spared = 0;
}

void storage_bench_init(struct storage_bench *b)
{
	*b = (struct storage_bench){.now_ms = 100000, .request = 1};
	b->disk = disk_new();
	storage_bench_start(b);
}

void storage_bench_close(struct storage_bench *b)
{
	storage_bench_stop(b, false);
	disk_free(b->disk);
	effects_close(&b->fx);
	arena_close(&b->arena);
	buf_close(&b->trace);
}

int storage_bench_setup(void **state)
{
	struct storage_bench *b = mem_alloc(sizeof *b);
	storage_bench_init(b);
	*state = b;
	return 0;
}

int storage_bench_teardown(void **state)
{
	storage_bench_close(*state);
	free(*state);
	return 0;
}
