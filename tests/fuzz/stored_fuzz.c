/* A store that holds anything, as it would be read by a node that starts on it. The first byte
 * chooses: 'I' the bytes of the data directory's identity; 'S' a storage node that lived a little,
 * then rows of its store are replaced, damaged or added: a number of them, each with a byte for how
 * and what it needs; then the node is started again, follows or leads, and is asked for everything.
 * It may refuse to start, or end itself; it may not fail otherwise. The offline look at the store
 * stands all that, too. */
#include <stdlib.h>

#include "common/run/identity.h"
#include "storage-node/verify.h"
#include "tests/fuzz/draw.h"
#include "tests/sim/storage_peers.h"

enum { ROWS_MAX = 6, KEY_BYTES = 64, PAIRS_MAX = 64, CLUSTER = 5 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct pair {
	enum store_family family;
	struct slice key, value;
};

struct world {
	struct storage_bench bench;
	struct draw draw;
	struct arena arena;
	struct pair pairs[PAIRS_MAX]; /* of the store, before */
	uint32_t pairs_count;
	enum store_family walking;
	struct verify *verify;
};

#define TEXT(t)                                                                                    \
	{                                                                                          \
		(const uint8_t *)(t), sizeof(t) - 1                                                \
	}

static const struct draw_texts texts[] = {
    {"id", 16, {TEXT("0123456789abcdef"), TEXT("")}, 2},
    {"id", 0, {TEXT("a"), TEXT("b")}, 2},
    {"body", 0, {TEXT("\x81\xa1v\x01"), TEXT("\x80"), TEXT("\x81")}, 3},
    {"hash", 0, {TEXT("a"), TEXT("b"), TEXT("c")}, 3},
    {"fields", 0, {TEXT("v"), TEXT("v.w")}, 2},
    {"name", 0, {TEXT("c"), TEXT("v")}, 2},
};
static const struct draw_numbers numbers[] = {
    {"flags",
     {REVISION_LEAF | REVISION_HAS_BODY, REVISION_HAS_BODY, REVISION_LEAF | REVISION_DELETED,
      REVISION_LEAF | REVISION_RESOLVED},
     4},
    {"id", {SHARD, COLLECTION, 1}, 3},
    {"node", {SELF, PEER_B, PEER_C}, 3},
    {"lead", {SELF, PEER_B, 0}, 3},
    {"incarnation", {INCARNATION + SELF, INCARNATION + PEER_B}, 2},
    {"hash_last", {UINT64_MAX}, 1},
    {"collection", {COLLECTION, 6}, 2},
    {"format", {1, 2}, 2},
    {"write_quorum", {2, 1}, 2},
};

/* ---- the node's life before ---- */

static void live(struct storage_bench *b)
{
	peers_lead(b, MODE_AVAILABLE);
	for (uint64_t i = 1; i <= 3; i++) {
		struct msg_doc_write m = peers_put(b, i == 3 ? "b" : "a", i);
		struct revision none = {1, slice_text("other")};
		if (i == 2) { /* a branch of what is not there: a conflict */
			m.expect = EXPECT_REVISION;
			m.expected = &none;
			m.expected_count = 1;
			m.keep_as_branch = true;
		}
		peers_write(b, 1, &m);
		peers_ack(b, PEER_B, 1, 2 + i);
	}
	storage_bench_advance(b, 1000);
}

static void remember(void *context, struct slice key, struct slice value)
{
	struct world *w = context;
	if (w->pairs_count < PAIRS_MAX)
		w->pairs[w->pairs_count++] = (struct pair){w->walking, arena_copy(&w->arena, key),
							   arena_copy(&w->arena, value)};
}

static void walk(struct world *w, disk_visit *visit)
{
	for (int family = 0; family < STORE_FAMILIES; family++) {
		w->walking = (enum store_family)family;
		disk_walk(w->bench.disk, w->walking, slice_of(NULL, 0), visit, w);
	}
}

/* ---- what becomes of its rows ---- */

static const struct schema *schema_of(const struct pair *p)
{
	static const struct {
		enum store_family family;
		char letter;
		const struct schema *schema;
	} rows[] = {
	    {STORE_META, 'c', &schema_collection},    {STORE_META, 's', &schema_shard},
	    {STORE_META, 'p', &schema_shard_promise}, {STORE_META, 'x', &schema_shard_position},
	    {STORE_META, 'g', &schema_collection},    {STORE_META, 't', &schema_trail},
	    {STORE_META, 'n', &schema_index_state},   {STORE_META, 'w', &schema_view_state},
	    {STORE_META, 'r', &schema_change},        {STORE_DOCUMENTS, 'd', &schema_document},
	    {STORE_STREAM, 'e', &schema_change},      {STORE_STREAM, 'o', &schema_outbox_entry},
	    {STORE_CONFLICTS, 'd', &schema_conflict}};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].family == p->family && p->key.len > 0 &&
		    (char)p->key.data[0] == rows[i].letter)
			return rows[i].schema;
	return &schema_shard_lock;
}

/* Entries have their epoch in front. */
static struct slice drawn_value(struct world *w, const struct pair *p)
{
	struct buf value = {0};
	const struct schema *schema = schema_of(p);
	if (schema == &schema_change)
		buf_append_be64(&value, draw_below(&w->draw, 3));
	buf_append_slice(&value, draw_encoded(&w->draw, schema));
	struct slice copy = arena_copy(&w->arena, buf_slice(&value));
	buf_close(&value);
	return copy;
}

static struct slice damaged(struct world *w, struct slice bytes)
{
	struct slice copy = arena_copy(&w->arena, bytes);
	uint8_t *at = (uint8_t *)(uintptr_t)copy.data;
	if (copy.len == 0)
		return copy;
	at[draw_below(&w->draw, copy.len)] ^= (uint8_t)(1 + draw_below(&w->draw, 255));
	return draw_below(&w->draw, 4) ? copy : slice_of(copy.data, draw_below(&w->draw, copy.len));
}

static void change_row(struct world *w, struct store *store)
{
	struct pair p = w->pairs[draw_below(&w->draw, w->pairs_count)];
	switch (draw_below(&w->draw, 6)) {
	case 0:
		store_remove(store, p.family, p.key);
		return;
	case 1:
		p.value = draw_raw(&w->draw, KEY_BYTES);
		break;
	case 2:
		p.value = damaged(w, p.value);
		break;
	case 3: /* beside it */
		p.key = damaged(w, p.key);
		break;
	default:
		p.value = drawn_value(w, &p);
		break;
	}
	store_put(store, p.family, p.key, p.value);
}

static void change_rows(struct world *w)
{
	struct store *store = disk_open(w->bench.disk, NULL);
	uint64_t rows = draw_below(&w->draw, ROWS_MAX + 1);
	for (uint64_t i = 0; i < rows; i++)
		change_row(w, store);
	CHECK(store_commit(store, true) == STORE_OK);
	store_close(store);
}

/* ---- and after ---- */

static bool starts(struct world *w)
{
	struct store *store = disk_open(w->bench.disk, NULL);
	struct storage *core = storage_new(&w->bench.options, store, 1);
	if (core)
		storage_free(core);
	store_close(store);
	return core != NULL;
}

static bool has_ended(const struct storage_bench *b)
{
	return b->trace.len > 0 && (memmem(b->trace.data, b->trace.len, "reset: ", 7) ||
				    memmem(b->trace.data, b->trace.len, "exit: ", 6));
}

static void ask(struct storage_bench *b, uint16_t type, const void *message)
{
	if (!has_ended(b))
		storage_bench_deliver(b, GATEWAY, type, 9, message);
}

static void ask_for_everything(struct storage_bench *b)
{
	static const char *const ids[] = {"a", "b"};
	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		struct msg_doc_read read = {
		    .shard = SHARD, .id = slice_text(ids[i]), .any = true, .want_leaves = true};
		struct msg_conflict_read graph = {.shard = SHARD, .id = slice_text(ids[i])};
		struct msg_doc_write write = peers_put(b, ids[i], 7 + i);
		ask(b, MSG_doc_read, &read);
		ask(b, MSG_conflict_read, &graph);
		ask(b, MSG_doc_write, &write);
		if (!has_ended(b))
			peers_ack(b, PEER_B, 9, 20);
	}
	struct msg_shard_query query = {.shard = SHARD, .any = true};
	struct msg_conflict_list list = {.shard = SHARD};
	struct msg_shard_edit edit = {.shard = SHARD,
				      .op = WRITE_DELETE,
				      .operation_id = peers_operation(b, 9),
				      .operation_digest = peers_operation(b, 9)};
	ask(b, MSG_shard_query, &query);
	ask(b, MSG_conflict_list, &list);
	ask(b, MSG_shard_edit, &edit);
	for (int i = 0; i < 10 && !has_ended(b); i++)
		storage_bench_advance(b, 500);
}

static void live_again(struct world *w)
{
	struct storage_bench *b = &w->bench;
	bool lead = draw_below(&w->draw, 2);
	storage_bench_clear(b);
	storage_bench_start(b);
	if (!has_ended(b))
		peers_place(b, 9, lead ? SELF : PEER_B, MODE_AVAILABLE);
	if (lead && !has_ended(b))
		storage_bench_advance(b, 2000); /* leases given before may still run */
	for (uint64_t i = 0; lead && i < 2 && !has_ended(b); i++)
		peers_promise(b, PEER_B, 9, STATUS_OK);
	for (uint64_t n = 0; lead && n < 10 && !has_ended(b); n++)
		peers_ack(b, PEER_B, 9, n);
	if (!has_ended(b))
		peers_grant(b, PEER_B, 9, false);
	ask_for_everything(b);
	storage_bench_stop(b, false);
}

static void verify(void *context, struct slice key, struct slice value)
{
	struct world *w = context;
	verify_pair(w->verify, w->walking, key, value);
}

static void look_through(struct world *w)
{
	struct buf report = {0};
	w->verify = verify_new();
	walk(w, verify);
	(void)verify_report(w->verify, &report);
	CHECK(report.len > 0);
	verify_free(w->verify);
	buf_close(&report);
}

static void run_storage(struct world *w)
{
	storage_bench_init(&w->bench);
	w->bench.options.scrub_bytes_per_second = 1024 * 1024;
	live(&w->bench);
	storage_bench_stop(&w->bench, false);
	walk(w, remember);
	change_rows(w);
	look_through(w);
	if (starts(w))
		live_again(w);
	disk_free(w->bench.disk);
	effects_close(&w->bench.fx);
	arena_close(&w->bench.arena);
	buf_close(&w->bench.trace);
}

static void try_identity(struct slice value)
{
	struct disk *disk = disk_new();
	struct store *store = disk_open(disk, NULL);
	struct node_identity identity;
	struct buf problem = {0};
	store_put(store, STORE_META, slice_text("identity"), value);
	if (identity_take(store, CLUSTER, SELF, &identity, &problem))
		CHECK(identity.cluster == CLUSTER && identity.member == SELF);
	else
		CHECK(problem.len > 0);
	buf_close(&problem);
	store_close(store);
	disk_free(disk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world *w = calloc(1, sizeof *w);
	CHECK(w);
	w->draw = (struct draw){.rest = slice_of(data + 1, size ? size - 1 : 0),
				.arena = &w->arena,
				.numbers = numbers,
				.numbers_count = ARRAY_LEN(numbers),
				.texts = texts,
				.texts_count = ARRAY_LEN(texts)};
	if (size > 0 && data[0] == 'I')
		try_identity(w->draw.rest);
	else if (size > 0 && data[0] == 'S')
		run_storage(w);
	arena_close(&w->arena);
	free(w);
	return 0;
}
