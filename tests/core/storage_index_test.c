/* Secondary indexes at the storage node's core: a replica takes random changes while indexes are
 * built, dropped and used, and is killed meanwhile. Whatever a query reads, it answers as if it had
 * read everything, and the keys on disk are those that the documents give. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "proto/msgpack.h"
#include "tests/sim/index_checker.h"
#include "tests/sim/storage_peers.h"

enum { DOCUMENTS = 60, STEPS = 1500, INDEXES = 6 };

struct bench {
	struct storage_bench b;
	struct rng rng;
	uint64_t last;     /* number of the stream's newest entry */
	uint64_t settings; /* version */
	uint64_t revisions;
	bool wanted[INDEXES];
	uint64_t ids[INDEXES];
	uint32_t indexed; /* queries that used an index */
	uint32_t ordered; /* and its order */
};

static const char *const index_fields[INDEXES][3] = {
    {"a"}, {"b"}, {"a", "b"}, {"c.d"}, {"b", "c.d", "a"}, {"c.d", "id"}};

static int setup(void **state)
{
	struct bench *t = calloc(1, sizeof *t);
	assert_non_null(t);
	storage_bench_init(&t->b);
	storage_bench_stop(&t->b, false);
	t->b.options.index_step_documents = 7; /* builds take a while */
	storage_bench_start(&t->b);
	peers_follow(&t->b, MODE_AVAILABLE);
	t->last = 2;
	t->settings = 1;
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct bench *t = *state;
	storage_bench_close(&t->b);
	free(t);
	return 0;
}

static void append(struct bench *t, const struct change *change)
{
	peers_append(&t->b, 1, 1, t->last, t->last + 1, change);
	t->last++;
	storage_bench_clear(&t->b);
}

/* ---- settings ---- */

static void order_settings(struct bench *t)
{
	struct index_definition list[INDEXES];
	struct slice fields[INDEXES][3];
	char names[INDEXES][16];
	struct collection c = {.id = COLLECTION,
			       .name = slice_text("c"),
			       .version = ++t->settings,
			       .replicas = 3,
			       .write_quorum = 2,
			       .mode = MODE_AVAILABLE,
			       .keep_ancestors = 10,
			       .indexes = list};
	for (int i = 0; i < INDEXES; i++) {
		if (!t->wanted[i])
			continue;
		struct index_definition *d = &list[c.indexes_count++];
		snprintf(names[i], sizeof names[i], "i%d", i);
		*d = (struct index_definition){.id = t->ids[i], .name = slice_text(names[i])};
		for (int k = 0; k < 3 && index_fields[i][k]; k++)
			fields[i][d->fields_count++] = slice_text(index_fields[i][k]);
		d->fields = fields[i];
	}
	struct buf bytes = {0};
	schema_encode(&schema_collection, &c, &bytes);
	struct change change = {
	    .kind = CHANGE_SETTINGS, .policy = t->settings, .body = buf_slice(&bytes)};
	append(t, &change);
	buf_close(&bytes);
}

static void toggle(struct bench *t, int index)
{
	t->wanted[index] = !t->wanted[index];
	if (t->wanted[index])
		t->ids[index] = t->settings + 1;
	order_settings(t);
}

/* ---- documents ---- */

static void write_scalar(struct bench *t, struct buf *out)
{
	switch (rng_below(&t->rng, 6)) {
	case 0:
		mp_write_nil(out);
		break;
	case 1:
		mp_write_bool(out, rng_below(&t->rng, 2));
		break;
	case 2:
		mp_write_str(out, slice_of(&"abc"[rng_below(&t->rng, 3)], 1));
		break;
	case 3:
		mp_write_double(out, (double)rng_below(&t->rng, 6) / 2);
		break;
	default:
		mp_write_i64(out, (int64_t)rng_below(&t->rng, 6) - 2);
		break;
	}
}

static void write_value(struct bench *t, struct buf *out, bool arrays)
{
	uint64_t kind = rng_below(&t->rng, 20);
	if (kind == 0 && arrays) {
		uint32_t count = (uint32_t)rng_below(&t->rng, 4);
		mp_write_array(out, count);
		for (uint32_t i = 0; i < count; i++)
			write_scalar(t, out);
	} else if (kind == 1) {
		mp_write_map(out, 1);
		mp_write_text(out, "d");
		write_scalar(t, out);
	} else {
		write_scalar(t, out);
	}
}

/* Any of the members a, b, c: {"d"}; arrays are allowed past the half of a run, so that indexes
 * have an order at first. */
static struct slice random_body(struct bench *t)
{
	struct buf out = {0};
	bool arrays = t->last > STEPS / 2;
	uint64_t members = rng_below(&t->rng, 8);
	mp_write_map(&out, (uint32_t)__builtin_popcountll(members));
	for (int i = 0; i < 3; i++) {
		if (!(members & (1u << i)))
			continue;
		mp_write_str(&out, slice_of(&"abc"[i], 1));
		if (i < 2) {
			write_value(t, &out, arrays);
			continue;
		}
		mp_write_map(&out, 1);
		mp_write_text(&out, "d");
		write_value(t, &out, arrays);
	}
	struct slice kept = arena_copy(&t->b.arena, buf_slice(&out));
	buf_close(&out);
	return kept;
}

static struct revision new_revision(struct bench *t, uint64_t generation)
{
	struct slice hash = peers_operation(&t->b, ++t->revisions * 0x9e3779b97f4a7c15u);
	return (struct revision){.generation = generation, .hash = hash};
}

/* Document `id` with this body, which is closed. */
static void append_document(struct bench *t, const char *id, struct buf *body)
{
	struct change change = {.kind = CHANGE_WRITE,
				.id = slice_text(id),
				.revision = new_revision(t, 1),
				.body = buf_slice(body)};
	append(t, &change);
	buf_close(body);
}

/* A write on the winner, a branch beside it, a deletion, or a resolution of all leaves. */
static void random_change(struct bench *t)
{
	char id[16];
	snprintf(id, sizeof id, "d%02d", (int)rng_below(&t->rng, DOCUMENTS));
	(void)peers_read(&t->b, 1, id, true);
	struct msg_doc_read_ack now = t->b.was_read;
	bool exists = now.revision.generation > 0;
	uint64_t kind = rng_below(&t->rng, 10);
	struct revision parents[64];
	struct change change = {.kind = CHANGE_WRITE, .id = slice_text(id)};
	if (exists && now.leaves_count > 1 && now.leaves_count < 64 && kind < 4) {
		memcpy(parents, now.leaves, now.leaves_count * sizeof *parents);
		change.kind = CHANGE_RESOLVE;
		change.leaves = parents;
		change.leaves_count = now.leaves_count;
		change.resolution_id = peers_operation(&t->b, t->revisions + 1);
	} else if (kind < 7 || !exists) {
		parents[0] = now.revision;
	} else {
		change.kind = CHANGE_BRANCH;
		exists = false;
	}
	change.parents = parents;
	change.parents_count = !exists ? 0 : change.kind == CHANGE_RESOLVE ? now.leaves_count : 1;
	change.revision = new_revision(t, exists ? now.revision.generation + 1 : 1);
	change.deleted = rng_below(&t->rng, 6) == 0;
	if (!change.deleted)
		change.body = random_body(t);
	append(t, &change);
}

/* ---- queries ---- */

static void write_condition(struct bench *t, bool id, struct buf *out)
{
	static const char *const operators[] = {"$gt", "$gte", "$lt", "$lte", "$ne", "$eq"};
	uint64_t kind = rng_below(&t->rng, 10);
	if (kind < 3) {
		write_value(t, out, true);
	} else if (kind == 3) {
		uint32_t count = (uint32_t)rng_below(&t->rng, 4);
		mp_write_map(out, 1);
		mp_write_text(out, rng_below(&t->rng, 4) ? "$in" : "$nin");
		mp_write_array(out, count);
		for (uint32_t i = 0; i < count; i++)
			write_scalar(t, out);
	} else if (kind == 4 && id) {
		char name[8];
		mp_write_map(out, 1);
		mp_write_text(out, "$in");
		mp_write_array(out, 12);
		for (int i = 0; i < 12; i++) {
			snprintf(name, sizeof name, "d%02d", (int)rng_below(&t->rng, DOCUMENTS));
			mp_write_text(out, name);
		}
	} else if (kind == 4) {
		mp_write_map(out, 1);
		mp_write_text(out, "$exists");
		mp_write_bool(out, rng_below(&t->rng, 2));
	} else {
		uint32_t first = (uint32_t)rng_below(&t->rng, 5);
		mp_write_map(out, 2);
		for (uint32_t i = first; i < first + 2; i++) {
			mp_write_text(out, operators[i % ARRAY_LEN(operators)]);
			write_scalar(t, out);
		}
	}
}

static struct slice random_filter(struct bench *t)
{
	static const char *const paths[] = {"a", "b", "c.d", "a.d", "id"};
	struct buf out = {0};
	uint64_t members = rng_below(&t->rng, 4) ? rng_below(&t->rng, 8) : rng_below(&t->rng, 32);
	mp_write_map(&out, (uint32_t)__builtin_popcountll(members));
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		if (!(members & (1u << i)))
			continue;
		mp_write_text(&out, paths[i]);
		write_condition(t, i + 1 == ARRAY_LEN(paths), &out);
	}
	struct slice kept = arena_copy(&t->b.arena, buf_slice(&out));
	buf_close(&out);
	return kept;
}

static struct msg_shard_query_ack ask(struct bench *t, const struct msg_shard_query *m)
{
	t->b.queried = (struct msg_shard_query_ack){.status = 999};
	storage_bench_deliver(&t->b, GATEWAY, MSG_shard_query, 1, m);
	for (int i = 0; i < 100 && t->b.queried.status == 999; i++)
		storage_bench_advance(&t->b, 5);
	assert_int_equal(t->b.queried.status, STATUS_OK);
	return t->b.queried;
}

static void rows_are_alike(const struct msg_shard_query_ack *a, const struct msg_shard_query_ack *b)
{
	assert_int_equal(a->count, b->count);
	assert_int_equal(a->rows_count, b->rows_count);
	for (uint32_t i = 0; i < a->rows_count; i++) {
		assert_true(slice_equal(a->rows[i].id, b->rows[i].id));
		assert_true(slice_equal(a->rows[i].body, b->rows[i].body));
		assert_true(slice_equal(a->rows[i].revision.hash, b->rows[i].revision.hash));
		assert_int_equal(a->rows[i].conflicts, b->rows[i].conflicts);
	}
}

/* Whoever sorts knows that nothing follows; whoever reads in order stops at the limit, and may say
 * that there is more where there is none. */
static struct slice more_of(const struct msg_shard_query_ack *a,
			    const struct msg_shard_query_ack *b, bool *end)
{
	*end = a->more_after.len == 0 || b->more_after.len == 0;
	if (!*end)
		assert_true(slice_equal(a->more_after, b->more_after));
	return a->more_after.len > 0 ? a->more_after : b->more_after;
}

static void random_query(struct bench *t)
{
	static const char *const orders[] = {"asc(a)",  "desc(a)",   "asc(b)",  "desc(b)",
					     "asc(id)", "desc(c.d)", "asc(c.d)"};
	struct slice order[3];
	struct msg_shard_query m = {.shard = SHARD, .any = true, .order = order};
	m.filter = random_filter(t);
	m.count = rng_below(&t->rng, 6) == 0;
	m.limit = rng_below(&t->rng, 2) ? rng_below(&t->rng, 12) + 1 : 0;
	m.order_count = (uint32_t)rng_below(&t->rng, 4);
	for (uint32_t i = 0; i < m.order_count; i++)
		order[i] = slice_text(orders[rng_below(&t->rng, ARRAY_LEN(orders))]);
	bool end = false;
	for (int page = 0; page < 3; page++) {
		struct msg_shard_query_ack planned = ask(t, &m);
		m.no_index = true;
		struct msg_shard_query_ack scanned = ask(t, &m);
		m.no_index = false;
		assert_int_equal(scanned.index.len, 0);
		rows_are_alike(&planned, &scanned);
		assert_true(!end || planned.rows_count == 0);
		t->indexed += planned.index.len > 0;
		t->ordered += planned.index.len > 0 && m.order_count > 0 && !planned.sorted;
		struct slice more = more_of(&planned, &scanned, &end);
		if (more.len == 0)
			break;
		struct row *last = &planned.rows[planned.rows_count - 1];
		m.after = more;
		m.after_keys = last->order_key;
		m.after_keys_count = last->order_key_count;
	}
	storage_bench_clear(&t->b);
}

/* ---- */

static struct index_counts check_keys(struct bench *t)
{
	struct buf why = {0};
	struct index_counts counts;
	if (!index_checker_run(t->b.disk, SHARD, &counts, &why))
		fail_msg("after entry %llu: %s", (unsigned long long)t->last, buf_cstr(&why));
	buf_close(&why);
	return counts;
}

static void restart(struct bench *t)
{
	bool power = rng_below(&t->rng, 2);
	storage_bench_stop(&t->b, power);
	if (!power)
		check_keys(t);
	storage_bench_start(&t->b);
	peers_append(&t->b, 1, 1, t->last, t->last, NULL);
	storage_bench_clear(&t->b);
}

static void run(struct bench *t, uint64_t seed)
{
	rng_init(&t->rng, seed);
	for (int step = 0; step < STEPS; step++) {
		arena_reset(&t->b.arena);
		uint64_t what = rng_below(&t->rng, 1000);
		if (what < 500)
			random_change(t);
		else if (what < 950)
			random_query(t);
		else if (what < 970)
			restart(t);
		else if (what < 990)
			toggle(t, (int)rng_below(&t->rng, INDEXES));
		else
			storage_bench_advance(&t->b, 50);
		if (step % 20 == 0)
			check_keys(t);
	}
	storage_bench_advance(&t->b, 30000);
	struct index_counts counts = check_keys(t);
	assert_int_equal(counts.ready, counts.indexes);
	assert_true(t->indexed > 100);
}

static void test_queries_answer_as_without_an_index(void **state)
{
	run(*state, 1);
}

static void test_queries_answer_as_without_an_index_again(void **state)
{
	struct bench *t = *state;
	run(t, 2);
	assert_true(t->ordered > 20);
}

/* ---- what is read ---- */

/* {"a": v, "b": [0, 1, ... elements-1]} */
static void put(struct bench *t, int number, uint32_t elements)
{
	char id[16];
	struct buf body = {0};
	snprintf(id, sizeof id, "d%02d", number);
	mp_write_map(&body, 2);
	mp_write_text(&body, "a");
	mp_write_u64(&body, (uint64_t)number / 2);
	mp_write_text(&body, "b");
	mp_write_array(&body, elements);
	for (uint32_t i = 0; i < elements; i++)
		mp_write_u64(&body, i);
	append_document(t, id, &body);
}

static struct slice equals(struct bench *t, const char *name, uint64_t value)
{
	struct buf out = {0};
	mp_write_map(&out, 1);
	mp_write_text(&out, name);
	mp_write_u64(&out, value);
	struct slice kept = arena_copy(&t->b.arena, buf_slice(&out));
	buf_close(&out);
	return kept;
}

static void test_only_what_is_asked_for_is_read(void **state)
{
	struct bench *t = *state;
	struct slice order = slice_text("desc(a)");
	for (int i = 0; i < DOCUMENTS; i++)
		put(t, i, 0);
	toggle(t, 0);
	struct msg_shard_query m = {.shard = SHARD, .any = true, .filter = equals(t, "a", 4)};
	struct msg_shard_query_ack building = ask(t, &m);
	assert_int_equal(building.rows_count, 2);
	assert_int_equal(building.index.len, 0); /* never before it is ready */
	storage_bench_advance(&t->b, 1000);
	struct msg_shard_query_ack found = ask(t, &m);
	assert_int_equal(found.rows_count, 2);
	assert_true(slice_is(found.index, "i0"));
	assert_int_equal(found.keys_read, 2);
	assert_int_equal(found.documents_read, 2);
	m.filter = (struct slice){0};
	m.order = &order;
	m.order_count = 1;
	m.limit = 3;
	found = ask(t, &m);
	assert_false(found.sorted);
	assert_int_equal(found.documents_read, 3);
	assert_true(slice_is(found.rows[0].id, "d58"));
	assert_true(slice_is(found.rows[1].id, "d59"));
	assert_true(slice_is(found.rows[2].id, "d56"));
	m.index = slice_text("other");
	storage_bench_deliver(&t->b, GATEWAY, MSG_shard_query, 1, &m);
	assert_int_equal(t->b.queried.status, STATUS_BAD_QUERY);
}

static void test_ids_are_looked_up(void **state)
{
	struct bench *t = *state;
	for (int i = 0; i < DOCUMENTS; i++)
		put(t, i, 0);
	struct buf filter = {0};
	mp_write_map(&filter, 1);
	mp_write_text(&filter, "id");
	mp_write_map(&filter, 1);
	mp_write_text(&filter, "$in");
	mp_write_array(&filter, 4);
	mp_write_text(&filter, "d07");
	mp_write_text(&filter, "nobody");
	mp_write_u64(&filter, 7);
	mp_write_text(&filter, "d03");
	struct msg_shard_query m = {.shard = SHARD, .any = true, .filter = buf_slice(&filter)};
	struct msg_shard_query_ack found = ask(t, &m);
	assert_true(slice_is(found.index, "id"));
	assert_int_equal(found.documents_read, 2);
	assert_int_equal(found.rows_count, 2);
	assert_true(slice_is(found.rows[0].id, "d03"));
	m.after = slice_text("d03");
	found = ask(t, &m);
	assert_int_equal(found.rows_count, 1);
	assert_true(slice_is(found.rows[0].id, "d07"));
	m.no_index = true;
	assert_int_equal(ask(t, &m).rows_count, 1);
	buf_close(&filter);
}

/* {"a":{"x":n,"y":n}}, n a number of 900 digits, most of them 0: as a key it is short, in an order
 * it is too long to travel. */
static void put_long(struct bench *t, int number)
{
	char id[16];
	char digits[900];
	struct buf body = {0};
	memset(digits, '0', sizeof digits);
	digits[0] = (char)('9' - number);
	snprintf(id, sizeof id, "d%02d", number);
	mp_write_map(&body, 1);
	mp_write_text(&body, "a");
	mp_write_map(&body, 2);
	for (int i = 0; i < 2; i++) {
		mp_write_str(&body, slice_of(&"xy"[i], 1));
		mp_write_ext(&body, MP_EXT_NUMBER, slice_of(digits, sizeof digits));
	}
	append_document(t, id, &body);
}

static void test_pages_of_long_values_lose_no_document(void **state)
{
	struct bench *t = *state;
	struct slice order = slice_text("asc(a)");
	struct msg_shard_query m = {
	    .shard = SHARD, .any = true, .order = &order, .order_count = 1, .limit = 2};
	uint32_t rows = 0;
	toggle(t, 0);
	for (int i = 0; i < 6; i++)
		put_long(t, i);
	storage_bench_advance(&t->b, 1000);
	for (int page = 0; page < 3; page++) {
		struct msg_shard_query_ack planned = ask(t, &m);
		m.no_index = true;
		struct msg_shard_query_ack scanned = ask(t, &m);
		m.no_index = false;
		rows_are_alike(&planned, &scanned);
		rows += planned.rows_count;
		struct row *last = &planned.rows[planned.rows_count - 1];
		m.after = last->id;
		m.after_keys = last->order_key;
		m.after_keys_count = last->order_key_count;
	}
	assert_int_equal(rows, 6);
}

/* One document has more values than keys are kept of. */
static void test_too_many_values_lose_no_document(void **state)
{
	struct bench *t = *state;
	toggle(t, 1);
	for (int i = 0; i < 10; i++)
		put(t, i, i == 3 ? 5000 : (uint32_t)i);
	storage_bench_advance(&t->b, 1000);
	struct msg_shard_query m = {.shard = SHARD, .any = true, .filter = equals(t, "b", 8)};
	struct msg_shard_query_ack found = ask(t, &m);
	assert_true(slice_is(found.index, "i1"));
	assert_int_equal(found.rows_count, 2);
	assert_true(slice_is(found.rows[0].id, "d03"));
	assert_true(slice_is(found.rows[1].id, "d09"));
	check_keys(t);
	assert_int_equal(peers_pairs(&t->b, STORE_INDEXES, 'i'), 55 - 4 + 1);
}

static void test_an_unchanged_field_writes_no_key(void **state)
{
	struct bench *t = *state;
	toggle(t, 0);
	storage_bench_advance(&t->b, 1000);
	put(t, 1, 0);
	uint64_t before = disk_digest(t->b.disk, STORE_INDEXES, (struct slice){0});
	struct change change = {.kind = CHANGE_WRITE, .id = slice_text("d01")};
	(void)peers_read(&t->b, 1, "d01", true);
	struct revision parent = t->b.was_read.revision;
	struct buf body = {0};
	mp_write_map(&body, 2);
	mp_write_text(&body, "a");
	mp_write_double(&body, 0.0);
	mp_write_text(&body, "z");
	mp_write_bool(&body, true);
	change.parents = &parent;
	change.parents_count = 1;
	change.revision = new_revision(t, 2);
	change.body = buf_slice(&body);
	append(t, &change);
	buf_close(&body);
	assert_true(before == disk_digest(t->b.disk, STORE_INDEXES, (struct slice){0}));
	assert_int_equal(peers_pairs(&t->b, STORE_INDEXES, 'i'), 1);
	check_keys(t);
}

/* A copy from the lead brings other documents: the keys of the old ones are gone, and no query uses
 * the index before it is built from the new ones. */
static void test_a_copy_is_indexed_anew(void **state)
{
	struct bench *t = *state;
	toggle(t, 0);
	for (int i = 0; i < DOCUMENTS; i++)
		put(t, i, 0);
	storage_bench_advance(&t->b, 1000);
	struct revision_node node = {.generation = 1,
				     .hash = peers_operation(&t->b, 1),
				     .flags = REVISION_LEAF | REVISION_HAS_BODY};
	struct buf body = {0}, record = {0}, key = {0};
	mp_write_map(&body, 1);
	mp_write_text(&body, "a");
	mp_write_u64(&body, 4);
	struct document doc = {.format = DOCUMENT_FORMAT,
			       .revisions = &node,
			       .revisions_count = 1,
			       .changed = 3,
			       .body = buf_slice(&body)};
	schema_encode(&schema_document, &doc, &record);
	buf_append(&key, "new", 4);
	struct key_value pair = {
	    .family = STORE_DOCUMENTS, .key = buf_slice(&key), .value = buf_slice(&record)};
	struct msg_snapshot_chunk chunk = {
	    .shard = SHARD, .snapshot = 1, .pairs = &pair, .pairs_count = 1};
	storage_bench_deliver(&t->b, PEER_B, MSG_snapshot_chunk, 1, &chunk);
	storage_bench_advance(&t->b, 200);
	assert_int_equal(peers_pairs(&t->b, STORE_INDEXES, 'i'), 0);
	chunk =
	    (struct msg_snapshot_chunk){.shard = SHARD, .snapshot = 1, .sequence = 1, .last = true};
	chunk.position = (struct shard_position){.last = t->last,
						 .last_epoch = 1,
						 .applied = t->last,
						 .trimmed = t->last,
						 .trimmed_epoch = 1,
						 .documents = 1};
	storage_bench_deliver(&t->b, PEER_B, MSG_snapshot_chunk, 1, &chunk);
	storage_bench_advance(&t->b, 200);
	struct msg_shard_query m = {.shard = SHARD, .any = true, .filter = equals(t, "a", 4)};
	struct msg_shard_query_ack found = ask(t, &m);
	assert_true(slice_is(found.index, "i0"));
	assert_int_equal(found.rows_count, 1);
	assert_true(slice_is(found.rows[0].id, "new"));
	assert_int_equal(check_keys(t).ready, 1);
	buf_close(&body);
	buf_close(&record);
	buf_close(&key);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_queries_answer_as_without_an_index),
	    CASE(test_queries_answer_as_without_an_index_again),
	    CASE(test_only_what_is_asked_for_is_read),
	    CASE(test_ids_are_looked_up),
	    CASE(test_pages_of_long_values_lose_no_document),
	    CASE(test_too_many_values_lose_no_document),
	    CASE(test_an_unchanged_field_writes_no_key),
	    CASE(test_a_copy_is_indexed_anew),
	};
	return cmocka_run_group_tests_name("storage_index", tests, NULL, NULL);
}
