/* One document with thousands of leaves at the storage node's core: made, read, written, resolved
 * in one step, cleaned up; leaves pushed many at once; and a document that is written over and over
 * with operation ids. The node's messages stay within their limit, and what it keeps within what
 * was given to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "common/doc/decide.h"
#include "common/doc/value.h"
#include "common/timing.h"
#include "proto/msgpack.h"
#include "storage-node/keys.h"
#include "tests/sim/storage_peers.h"

enum { LEAVES = 2500, FIRST_ENTRY = 3, NODE_BYTES_MAX = 96, ROUND = 50 };

static uint32_t leaves_wanted(void)
{
	const char *text = getenv("LEAVES");
	return text ? (uint32_t)strtoul(text, NULL, 10) : LEAVES;
}

static double cpu_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* What a part of the test took, for one call. */
static void tell(const char *what, double since_ms, uint32_t calls)
{
	printf("%s: %.2f ms of CPU\n", what, (cpu_ms() - since_ms) / calls);
}

struct fixture {
	struct storage_bench *b;
	uint64_t number; /* of the last entry */
	uint64_t operations;
	char root_hash[REVISION_HASH_CHARS];
	struct revision root;
	struct slice policy;
};

/* {"l<n>": 1} */
static struct slice leaf_body(struct fixture *f, uint32_t n)
{
	char name[16];
	struct buf bytes = {0};
	snprintf(name, sizeof name, "l%u", n);
	mp_write_map(&bytes, 1);
	mp_write_text(&bytes, name);
	mp_write_u64(&bytes, 1);
	struct slice kept = arena_copy(&f->b->arena, buf_slice(&bytes));
	buf_close(&bytes);
	return kept;
}

static struct msg_doc_write put(struct fixture *f, uint32_t n, const struct revision *parent)
{
	struct msg_doc_write m = peers_put(f->b, "d", n);
	m.operation_id = peers_operation(f->b, ++f->operations);
	m.body = leaf_body(f, n);
	if (parent) {
		m.expect = EXPECT_REVISION;
		m.expected = arena_alloc(&f->b->arena, sizeof *m.expected);
		m.expected[0] = *parent;
		m.expected_count = 1;
		m.keep_as_branch = true;
	}
	return m;
}

static void settle(struct fixture *f)
{
	peers_ack(f->b, PEER_B, 1, f->number);
	peers_grant(f->b, PEER_B, 1, false);
}

/* All have applied it: what only late branches could need is no longer kept. */
static void settle_everywhere(struct fixture *f)
{
	static const uint64_t peers[] = {PEER_B, PEER_C};
	settle(f);
	for (size_t i = 0; i < 2; i++) {
		struct msg_stream_append_ack m = {.shard = SHARD,
						  .incarnation = INCARNATION + peers[i],
						  .last = {.epoch = 1, .number = f->number},
						  .applied = f->number};
		storage_bench_deliver(f->b, peers[i], MSG_stream_append_ack, 1, &m);
	}
}

static void write(struct fixture *f, const struct msg_doc_write *m)
{
	peers_write(f->b, 1, m);
	f->number++;
}

static void begin(struct fixture *f, struct storage_bench *b)
{
	*f = (struct fixture){.b = b, .number = FIRST_ENTRY - 1};
	peers_lead(b, MODE_AVAILABLE);
	struct msg_doc_write m = put(f, 0, NULL);
	write(f, &m);
	settle(f);
	assert_int_equal(b->written.status, STATUS_CREATED);
	memcpy(f->root_hash, b->written.revision.hash.data, sizeof f->root_hash);
	f->root =
	    (struct revision){.generation = 1, .hash = slice_of(f->root_hash, REVISION_HASH_CHARS)};
}

static void make_leaves(struct fixture *f, uint32_t from, uint32_t to)
{
	for (uint32_t n = from; n <= to; n++) {
		struct msg_doc_write m = put(f, n, &f->root);
		write(f, &m);
		if (n % ROUND == 0 || n == to) {
			settle(f);
			assert_int_equal(f->b->written.status, STATUS_OK);
			storage_bench_clear(f->b);
		}
	}
}

static size_t encoded(const struct schema *schema, const void *message)
{
	struct buf bytes = {0};
	schema_encode(schema, message, &bytes);
	size_t len = bytes.len;
	buf_close(&bytes);
	return len;
}

static void read_them(struct fixture *f, uint32_t leaves)
{
	struct storage_bench *b = f->b;
	double since = cpu_ms();
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	tell("a read of all leaves' names", since, 1);
	assert_int_equal(b->was_read.conflicts, leaves - 1);
	assert_int_equal(b->was_read.leaves_count, leaves);
	assert_true(encoded(&schema_msg_doc_read_ack, &b->was_read) < leaves * NODE_BYTES_MAX);
	struct revision last = b->was_read.leaves[leaves - 1];
	struct msg_doc_read m = {.shard = SHARD, .id = slice_text("d"), .revision = last};
	since = cpu_ms();
	storage_bench_deliver(b, GATEWAY, MSG_doc_read, 1, &m);
	tell("a read of one leaf", since, 1);
	assert_int_equal(b->was_read.status, STATUS_OK);
	assert_int_equal(b->was_read.leaves_count, 0);
	storage_bench_clear(b);
}

/* The leaves' number stays: each write takes the place of its parent. */
static void write_on(struct fixture *f, uint32_t leaves)
{
	struct storage_bench *b = f->b;
	peers_read(b, 1, "d", false);
	struct revision *names = b->was_read.leaves;
	double since = cpu_ms();
	for (uint32_t i = 0; i < 20; i++) {
		struct msg_doc_write m = put(f, leaves + 1 + i, &names[leaves - 1 - i]);
		write(f, &m);
		settle(f);
		assert_int_equal(b->written.status, STATUS_OK);
	}
	tell("a write", since, 20);
	storage_bench_clear(b);
}

static void resolve(struct fixture *f, uint32_t leaves)
{
	static struct decision d;
	struct storage_bench *b = f->b;
	struct msg_conflict_read read = {.shard = SHARD, .id = slice_text("d")};
	double since = cpu_ms();
	storage_bench_deliver(b, ARBITER, MSG_conflict_read, 1, &read);
	tell("the graph", since, 1);
	assert_int_equal(b->graph.status, STATUS_OK);
	assert_true(encoded(&schema_msg_conflict_read_ack, &b->graph) < LIMIT_MESSAGE_BYTES);
	struct arena arena = {0};
	since = cpu_ms();
	decide_conflict(&b->graph, slice_text("d"), &arena, &d);
	tell("the merge", since, 1);
	assert_int_equal(d.kind, DECISION_RESOLVE);
	assert_int_equal(d.resolve.leaves_count, leaves);
	assert_true(encoded(&schema_msg_conflict_resolve, &d.resolve) <
		    3 * leaves * NODE_BYTES_MAX);
	since = cpu_ms();
	storage_bench_deliver(b, ARBITER, MSG_conflict_resolve, 1, &d.resolve);
	f->number++;
	settle(f);
	tell("the resolution", since, 1);
	assert_int_equal(b->resolved.status, STATUS_OK);
	arena_close(&arena);
	storage_bench_clear(b);
}

static void clean_up(struct fixture *f)
{
	struct storage_bench *b = f->b;
	struct msg_conflict_list list = {.shard = SHARD};
	storage_bench_deliver(b, ARBITER, MSG_conflict_list, 1, &list);
	assert_int_equal(b->listed.rows_count, 1);
	const struct conflict *row = &b->listed.rows[0].conflict;
	assert_int_equal(row->state, CONFLICT_RESOLVED);
	struct cleanup_item item = {
	    .id = slice_text("d"), .resolution_id = row->resolution_id, .number = row->number};
	struct cleanup_ack_row acks[3] = {{SELF, INCARNATION + SELF, f->number},
					  {PEER_B, INCARNATION + PEER_B, f->number},
					  {PEER_C, INCARNATION + PEER_C, f->number}};
	struct msg_cleanup_commit commit = {
	    .shard = SHARD, .items = &item, .items_count = 1, .acks = acks, .acks_count = 3};
	double since = cpu_ms();
	storage_bench_deliver(b, ARBITER, MSG_cleanup_commit, 1, &commit);
	f->number++;
	settle(f);
	tell("the cleanup", since, 1);
	assert_int_equal(b->cleaned.cleaned, 1);
	storage_bench_clear(b);
}

static uint32_t members_of(struct slice body)
{
	struct mp_reader r = mp_reader_of(body);
	return mp_read(&r).count;
}

static void test_thousands_of_leaves(void **state)
{
	struct fixture f;
	uint32_t leaves = leaves_wanted();
	begin(&f, *state);
	double since = cpu_ms();
	make_leaves(&f, 1, leaves);
	tell("a branch, on the way there", since, leaves);
	read_them(&f, leaves);
	write_on(&f, leaves);
	resolve(&f, leaves);
	assert_int_equal(peers_read(f.b, 1, "d", false), STATUS_OK);
	assert_int_equal(f.b->was_read.conflicts, 0);
	assert_true(value_is_document(f.b->was_read.body));
	/* 20 of them were written over, by others with a member of their own each */
	assert_int_equal(members_of(f.b->was_read.body), leaves);
	assert_true(peers_pairs(f.b, STORE_DOCUMENTS, 'd') > (int)leaves);
	clean_up(&f);
	/* what was superseded a few generations ago goes, with its body */
	for (uint32_t i = 0; i < 40; i++) {
		struct msg_doc_write m = put(&f, i, NULL);
		write(&f, &m);
		settle_everywhere(&f);
	}
	assert_int_equal(f.b->written.status, STATUS_OK);
	assert_in_range(peers_pairs(f.b, STORE_DOCUMENTS, 'd'), 1, 20);
	struct msg_conflict_read read = {.shard = SHARD, .id = slice_text("d")};
	storage_bench_deliver(f.b, ARBITER, MSG_conflict_read, 1, &read);
	assert_in_range(f.b->graph.nodes_count, 1, 200);
}

/* ---- many at once ---- */

enum { PUSHED = 1200, MESSAGE_ITEMS = 100 };

/* One of many on a root of its own kind; every fifth goes on from the one before. */
static struct import_item pushed(struct fixture *f, uint32_t n)
{
	struct arena *arena = &f->b->arena;
	struct slice *line = arena_alloc(arena, 3 * sizeof *line);
	uint32_t names[3] = {n, n % 5 == 4 ? n - 1 : 0, 0};
	uint32_t count = n % 5 == 4 ? 3 : 2;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t mixed = names[i] * 2654435761u;
		char text[9];
		snprintf(text, sizeof text, "%08x", i + 1 == count ? 0 : mixed);
		line[i] = arena_copy(arena, slice_text(text));
	}
	return (struct import_item){.id = slice_text("d"),
				    .generation = count,
				    .hashes = line,
				    .hashes_count = count,
				    .deleted = n % 50 == 49,
				    .body = n % 50 == 49 ? (struct slice){0} : leaf_body(f, n)};
}

static void push(struct fixture *f, uint32_t first, uint32_t count)
{
	struct import_item items[MESSAGE_ITEMS];
	for (uint32_t i = 0; i < count; i++)
		items[i] = pushed(f, first + i);
	struct msg_doc_import m = {.shard = SHARD, .items = items, .items_count = count};
	storage_bench_deliver(f->b, GATEWAY, MSG_doc_import, 1, &m);
	f->number += count;
}

/* So many a message, settled after so many. */
static void push_all(struct fixture *f, uint32_t at_once, uint32_t settled_after)
{
	for (uint32_t n = 0; n < PUSHED; n += at_once) {
		push(f, n, at_once);
		if ((n + at_once) % settled_after == 0) {
			settle(f);
			assert_int_equal(f->b->imported.status, STATUS_OK);
			assert_int_equal(f->b->imported.refused_count, 0);
			storage_bench_clear(f->b);
		}
	}
}

static uint64_t contents(struct fixture *f, enum store_family family)
{
	return disk_digest(f->b->disk, family, slice_of(NULL, 0));
}

/* How entries come together in turns is another on each replica; what comes of them is not. */
static void test_however_they_come_together(void **state)
{
	static const uint32_t ways[][2] = {{1, 1}, {100, 100}, {100, 600}, {50, PUSHED}};
	uint64_t documents = 0;
	uint64_t conflicts = 0;
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
		struct storage_bench b;
		storage_bench_init(&b);
		struct fixture f = {.b = &b, .number = FIRST_ENTRY - 1};
		peers_lead(&b, MODE_CONSISTENT);
		push_all(&f, ways[i][0], ways[i][1]);
		assert_int_equal(peers_read(&b, 1, "d", false), STATUS_OK);
		assert_in_range(b.was_read.conflicts, PUSHED * 3 / 4, PUSHED);
		if (i == 0) {
			documents = contents(&f, STORE_DOCUMENTS);
			conflicts = contents(&f, STORE_CONFLICTS);
		}
		assert_true(contents(&f, STORE_DOCUMENTS) == documents);
		assert_true(contents(&f, STORE_CONFLICTS) == conflicts);
		storage_bench_close(&b);
	}
}

/* What is put for a branch does not grow with the document, if they come together. */
static void test_a_record_is_put_for_many(void **state)
{
	struct fixture f = {.b = *state, .number = FIRST_ENTRY - 1};
	peers_lead(f.b, MODE_CONSISTENT);
	double since = cpu_ms();
	push_all(&f, MESSAGE_ITEMS, 400);
	tell("a pushed branch", since, PUSHED);
	assert_true(disk_put_max(f.b->disk) > 0);
	assert_true(disk_put_max(f.b->disk) < 4 * 1024 * 1024);
}

static struct slice stored(struct fixture *f, struct buf *key)
{
	struct slice record;
	struct storage_bench *b = f->b;
	assert_int_equal(store_get(b->store, STORE_DOCUMENTS,
				   key_document(key, SHARD, slice_text("d")), &record),
			 STORE_OK);
	return arena_copy(&b->arena, record);
}

static uint64_t conflicts(struct fixture *f)
{
	assert_int_equal(peers_read(f->b, 1, "d", false), STATUS_OK);
	return f->b->was_read.conflicts;
}

/* The document stays decoded from one write to the next; but if its record is another by then, as
 * after a copy, that is what counts. */
static void test_what_is_stored_counts(void **state)
{
	enum { FEW = 300, MORE = 310 };
	struct fixture f;
	struct buf key = {0};
	begin(&f, *state);
	make_leaves(&f, 1, FEW);
	struct slice before = stored(&f, &key);
	for (uint32_t n = FEW + 1; n <= MORE; n++)
		make_leaves(&f, n, n);
	assert_int_equal(conflicts(&f), MORE - 1);
	store_put(f.b->store, STORE_DOCUMENTS, key_document(&key, SHARD, slice_text("d")), before);
	assert_int_equal(store_commit(f.b->store, true), STORE_OK);
	make_leaves(&f, MORE + 1, MORE + 1);
	assert_int_equal(conflicts(&f), FEW);
	buf_close(&key);
}

/* As if it had been written so often since C was heard of, each time on the version before. */
static void put_line(struct fixture *f, uint32_t count)
{
	struct storage_bench *b = f->b;
	struct buf key = {0};
	struct buf record = {0};
	struct document doc;
	assert_true(schema_decode(&schema_document, stored(f, &key), &b->arena, &doc));
	struct revision_node *nodes = arena_alloc(&b->arena, count * sizeof *nodes);
	uint64_t *parents = arena_alloc(&b->arena, count * sizeof *parents);
	for (uint32_t i = 0; i < count; i++) {
		parents[i] = i - 1;
		nodes[i] = (struct revision_node){.generation = i + 1,
						  .hash = peers_operation(b, i),
						  .flags = REVISION_HAS_BODY,
						  .superseded = f->number,
						  .parents = &parents[i],
						  .parents_count = i > 0};
	}
	nodes[count - 1].flags |= REVISION_LEAF;
	nodes[count - 1].superseded = 0;
	doc.revisions = nodes;
	doc.revisions_count = count;
	schema_encode(&schema_document, &doc, &record);
	store_put(b->store, STORE_DOCUMENTS, buf_slice(&key), buf_slice(&record));
	assert_int_equal(store_commit(b->store, true), STORE_OK);
	buf_close(&record);
	buf_close(&key);
}

/* While a replica is away, what its branches may rest on is kept, but writes go on. */
static void test_written_on_while_one_is_away(void **state)
{
	enum { FULL = LIMIT_REVISIONS - 1024 };
	struct fixture f;
	begin(&f, *state);
	put_line(&f, FULL - 1);
	for (uint32_t n = 1; n <= 2; n++) {
		struct msg_doc_write m = put(&f, n, NULL);
		write(&f, &m);
		settle(&f);
		assert_int_equal(f.b->written.status, STATUS_OK);
		assert_int_equal(f.b->written.revision.generation, FULL - 1 + n);
	}
	struct msg_conflict_read read = {.shard = SHARD, .id = slice_text("d")};
	storage_bench_deliver(f.b, ARBITER, MSG_conflict_read, 1, &read);
	assert_in_range(f.b->graph.nodes_count, LIMIT_REVISIONS / 8, LIMIT_REVISIONS / 2);
}

/* ---- operation ids ---- */

static void write_keyed(struct fixture *f, uint64_t n, uint64_t operation, uint64_t digest)
{
	struct msg_doc_write m = peers_put(f->b, "k", n);
	m.operation_id = peers_operation(f->b, operation);
	m.operation_digest = peers_operation(f->b, digest);
	peers_write(f->b, 1, &m);
}

static void write_many(struct fixture *f, uint64_t first, uint64_t last)
{
	for (uint64_t n = first; n <= last; n++) {
		write_keyed(f, n, n, n);
		f->number++;
		if (n % 5 == 0 || n == last) { /* some meet what is under way */
			settle_everywhere(f);
			storage_bench_clear(f->b);
		}
	}
}

/* The same node, as if it had started anew: nothing is known but what is on its disk. */
static void lead_again(struct fixture *f)
{
	struct storage_bench *b = f->b;
	storage_bench_stop(b, false);
	storage_bench_start(b);
	storage_bench_advance(b, LEASE_HELD_MS); /* the life before may have granted one */
	peers_place(b, 2, SELF, MODE_AVAILABLE);
	peers_promise(b, PEER_B, 2, STATUS_OK);
	peers_ack(b, PEER_B, 2, ++f->number);
	peers_grant(b, PEER_B, 2, false);
	storage_bench_advance(b, 3 * REQUEST_DEADLINE_MS);
	peers_grant(b, PEER_B, 2, false);
}

static uint64_t asked_again(struct fixture *f, uint64_t operation, uint64_t digest)
{
	struct msg_doc_write m = peers_put(f->b, "k", operation);
	m.operation_id = peers_operation(f->b, operation);
	m.operation_digest = peers_operation(f->b, digest);
	peers_write(f->b, 2, &m);
	storage_bench_clear(f->b);
	return f->b->written.status;
}

static void test_operation_ids_have_keys(void **state)
{
	struct fixture f = {.b = *state, .number = FIRST_ENTRY - 1};
	enum { MANY = LIMIT_OPERATION_IDS + 40, KEPT = 2 * LIMIT_OPERATION_IDS + 40 };
	peers_lead(f.b, MODE_AVAILABLE);
	write_many(&f, 1, 100);
	double since = cpu_ms();
	write_many(&f, 101, MANY);
	tell("a write with an operation id", since, MANY - 100);
	assert_in_range(peers_pairs(f.b, STORE_DOCUMENTS, 'd'), 2 * LIMIT_OPERATION_IDS - 100,
			KEPT);
	lead_again(&f);
	assert_int_equal(asked_again(&f, MANY, MANY), STATUS_OK); /* in the record */
	assert_int_equal(f.b->written.revision.generation, MANY);
	assert_int_equal(asked_again(&f, 500, 500), STATUS_OK); /* under a key */
	assert_int_equal(f.b->written.revision.generation, 500);
	assert_int_equal(asked_again(&f, 500, 501), STATUS_OPERATION_ID_REUSED);
	assert_int_equal(asked_again(&f, MANY - LIMIT_OPERATION_IDS + 1, 9),
			 STATUS_OPERATION_ID_REUSED);
	/* the oldest of all is forgotten: it is taken for a new one, and waits */
	assert_int_equal(asked_again(&f, MANY - LIMIT_OPERATION_IDS, 9), 999);
}

static void test_old_operation_ids_go(void **state)
{
	struct fixture f = {.b = *state, .number = FIRST_ENTRY - 1};
	peers_lead(f.b, MODE_AVAILABLE);
	write_many(&f, 1, 40);
	int many = peers_pairs(f.b, STORE_DOCUMENTS, 'd');
	assert_true(many > 2 * 30);
	f.b->now_ms += OPERATION_KEEP_MS + 1000;
	peers_grant(f.b, PEER_B, 1, false);
	write_many(&f, 41, 60); /* twenty more keys, and up to eight go with each of them */
	assert_in_range(peers_pairs(f.b, STORE_DOCUMENTS, 'd'), 1, 2 * 20 + 20);
}

#define CASE(name)                                                                                 \
	cmocka_unit_test_setup_teardown(name, storage_bench_setup, storage_bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_thousands_of_leaves),
	    cmocka_unit_test(test_however_they_come_together),
	    CASE(test_a_record_is_put_for_many),
	    CASE(test_what_is_stored_counts),
	    CASE(test_written_on_while_one_is_away),
	    CASE(test_operation_ids_have_keys),
	    CASE(test_old_operation_ids_go),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
