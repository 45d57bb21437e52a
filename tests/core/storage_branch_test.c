/* Branches, conflicts and their cleanup at the storage node's core. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#include "common/doc/attachment.h"
#include "common/doc/revision.h"
#include "common/timing.h"
#include "storage-node/internal.h"
#include "tests/core/storage_case.h"

/* ---- branches ---- */

static void test_branch(void **state)
{
	struct storage_bench *b = *state;
	peers_follow(b, MODE_AVAILABLE);
	struct msg_doc_write m = peers_put(b, "d", 1);
	m.branch = true;
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_ACCEPTED);
	assert_int_equal(peers_pairs(b, STORE_STREAM, 'o'), 1);
	peers_write(b, 1, &m); /* again */
	assert_int_equal(b->written.status, STATUS_ACCEPTED);
	assert_int_equal(peers_pairs(b, STORE_STREAM, 'o'), 1);
	m.operation_id =
	    peers_operation(b, 9); /* the same edit in another request is not settled either */
	m.expect = EXPECT_ABSENT;
	peers_write(b, 1, &m);
	assert_int_not_equal(b->written.status, STATUS_CREATED);
	assert_int_equal(peers_read(b, 1, "d", true), STATUS_NOT_FOUND);
	storage_bench_stop(b, true);
	storage_bench_start(b);
	storage_bench_clear(b);
	storage_bench_advance(b, OUTBOX_RETRY_MS + 50);
	expect(b, "-> 12 e1 outbox_push branch:d:1\n");
	struct change change;
	CHECK(schema_decode(&schema_change, b->pushed.change, &b->arena, &change));
	peers_append(b, 1, 1, 2, 2, &change);
	peers_append(b, 1, 1, 3, 3, NULL);
	assert_int_equal(peers_pairs(b, STORE_STREAM, 'o'), 0);
	assert_int_equal(peers_read(b, 1, "d", true), STATUS_OK);
}

static struct slice numbered(struct storage_bench *b, uint64_t n)
{
	char id[32];
	snprintf(id, sizeof id, "document-%06u", (unsigned)n);
	return arena_copy(&b->arena, slice_text(id));
}

/* CPU time of an acknowledgement of so many resolutions; the least of three. */
static clock_t cost_of_prepare(struct storage_bench *b, uint32_t count)
{
	struct cleanup_item *items = arena_alloc(&b->arena, count * sizeof *items);
	clock_t least = 0;
	for (uint32_t i = 0; i < count; i++)
		items[i] = (struct cleanup_item){.id = numbered(b, 100000 + i),
						 .resolution_id = peers_operation(b, i),
						 .number = 1};
	struct msg_cleanup_prepare m = {.shard = SHARD, .items = items, .items_count = count};
	for (int i = 0; i < 3; i++) {
		clock_t from = clock();
		storage_bench_deliver(b, ARBITER, MSG_cleanup_prepare, 1, &m);
		clock_t took = clock() - from;
		least = i == 0 || took < least ? took : least;
		assert_int_equal(b->prepared.items_count, count);
	}
	return least;
}

static void branch_of_each(struct storage_bench *b, uint64_t first, uint64_t last)
{
	for (uint64_t v = first; v <= last; v++) {
		struct msg_doc_write m = peers_put(b, "", v);
		m.id = numbered(b, v);
		m.branch = true;
		peers_write(b, 1, &m);
		assert_int_equal(b->written.status, STATUS_ACCEPTED);
		storage_bench_clear(b);
	}
}

/* A node with many branches is not deaf while it looks for documents among them. */
static void test_cleanup_with_many_branches(void **state)
{
	enum { BRANCHES = 8000, FEW = 64, MANY = 16 * FEW };
	struct storage_bench *b = *state;
	peers_follow(b, MODE_AVAILABLE);
	branch_of_each(b, 1, BRANCHES);
	clock_t few = cost_of_prepare(b, FEW);
	assert_true(cost_of_prepare(b, MANY) < 8 * few);
}

/* CPU time of following so many entries of a document, and of as many branches of others; they are
 * named from `first` on. */
static clock_t cost_of_following(struct storage_bench *b, uint64_t first, uint64_t count)
{
	clock_t from = clock();
	for (uint64_t n = first; n < first + count; n++) {
		struct change change = {.kind = CHANGE_WRITE,
					.id = slice_text("d"),
					.revision = {n, slice_text("a")},
					.body = peers_body(b, n),
					.operation_id = peers_operation(b, 2000000 + n)};
		peers_append(b, 1, 1, n - 1, n, &change);
		branch_of_each(b, 1000000 + n, 1000000 + n);
	}
	return clock() - from;
}

/* Nor while it follows its lead, or takes more of them. */
static void test_following_with_many_branches(void **state)
{
	enum { COUNT = 400, FIRST = 3, BRANCHES = 30000 };
	struct storage_bench *b = *state;
	peers_follow(b, MODE_AVAILABLE);
	clock_t few = cost_of_following(b, FIRST, COUNT);
	branch_of_each(b, 1, BRANCHES);
	assert_true(cost_of_following(b, FIRST + COUNT, COUNT) < 8 * few);
	assert_int_equal(peers_pairs(b, STORE_STREAM, 'o'), BRANCHES + 2 * COUNT);
}

/* The branches 1 to `count` of a document, each made on the one before. Returns `count` + 1 entries
 * that hold them, from the second on; in the bench's arena. */
static struct change *overwrite(struct storage_bench *b, uint64_t count)
{
	struct change *branches = arena_alloc(&b->arena, (count + 1) * sizeof *branches);
	for (uint64_t v = 1; v <= count; v++) {
		struct msg_doc_write m = peers_put(b, "d", v);
		m.branch = true;
		peers_write(b, 1, &m);
		assert_int_equal(b->written.status, STATUS_ACCEPTED);
		const struct revision made = b->written.revision;
		branches[v] =
		    (struct change){.kind = CHANGE_BRANCH,
				    .id = slice_text("d"),
				    .revision = {made.generation, arena_copy(&b->arena, made.hash)},
				    .parents = &branches[v - 1].revision,
				    .parents_count = v > 1,
				    .body = peers_body(b, v),
				    .operation_id = peers_operation(b, v)};
	}
	storage_bench_clear(b);
	return branches;
}

static void test_branch_of_a_branch_follows(void **state)
{
	struct storage_bench *b = *state;
	peers_follow(b, MODE_AVAILABLE);
	const struct change *branches = overwrite(b, 2);
	storage_bench_advance(b, 50);
	expect(b, "-> 12 e1 outbox_push branch:d:1\n"
		  "-> 12 e1 outbox_push follows branch:d:2\n");
	peers_append(b, 1, 1, 2, 3, &branches[1]);
	storage_bench_clear(b);
	storage_bench_advance(b, 50);
	expect(b, "-> 12 e1 outbox_push branch:d:2\n");
}

/* More of them than go at once: the next ones go when their parents stand, and hold up no other. */
static void test_many_branches_of_branches(void **state)
{
	enum { BRANCHES = 3 * OUTBOX_PUSH_MAX };
	struct storage_bench *b = *state;
	peers_follow(b, MODE_AVAILABLE);
	const struct change *branches = overwrite(b, BRANCHES);
	branch_of_each(b, 1, 1);
	storage_bench_advance(b, 50);
	for (uint64_t v = 1; v <= BRANCHES; v++) {
		assert_int_equal(peers_pairs(b, STORE_STREAM, 'o'), BRANCHES + 2 - v);
		peers_append(b, 1, 1, 1 + v, 2 + v, &branches[v]);
		if (v % OUTBOX_PUSH_MAX != 0)
			continue;
		storage_bench_clear(b);
		storage_bench_advance(b, 50);
		const char *other = "outbox_push branch:document-000001:1\n";
		assert_non_null(strstr(buf_cstr(&b->trace), other));
		char next[80];
		snprintf(next, sizeof next, "outbox_push branch:d:%llu\n",
			 (unsigned long long)v + 1);
		assert_true(v == BRANCHES || strstr(buf_cstr(&b->trace), next));
	}
}

/* A client has replicated a child of its branch, and so the branch. The lead takes neither that any
 * more, nor those that were made before it. */
static void test_known_branch_goes_behind_others(void **state)
{
	struct storage_bench *b = *state;
	peers_follow(b, MODE_AVAILABLE);
	for (uint64_t v = 0; v <= OUTBOX_PUSH_MAX; v++) {
		struct msg_doc_write m = peers_put(b, "", v);
		m.id = numbered(b, v);
		m.branch = true;
		peers_write(b, 1, &m);
		assert_int_equal(b->written.status, STATUS_ACCEPTED);
	}
	struct change child = {.kind = CHANGE_IMPORT,
			       .id = numbered(b, OUTBOX_PUSH_MAX),
			       .revision = {2, slice_text("a")},
			       .parents = &b->written.revision,
			       .parents_count = 1,
			       .body = peers_body(b, 1)};
	peers_append(b, 1, 1, 2, 3, &child);
	storage_bench_advance(b, 3 * OUTBOX_RETRY_MS);
	assert_int_equal(peers_pairs(b, STORE_STREAM, 'o'), OUTBOX_PUSH_MAX);
}

/* What the lead has done with an earlier sending is not known here. */
static void test_refused_branch_leaves_a_gap(void **state)
{
	struct storage_bench *b = *state;
	peers_follow(b, MODE_AVAILABLE);
	struct msg_doc_write m = peers_put(b, "d", 1);
	m.branch = true;
	m.expect = EXPECT_PRESENT;
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_NOT_FOUND);
	assert_true(b->written.gap);
	m.operation_id = peers_operation(b, 2);
	m.operation_digest = m.operation_id;
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_NOT_FOUND);
	assert_true(b->written.gap);
}

/* B offers a branch that this lead has not heard of. */
static struct change push_first(struct storage_bench *b, struct buf *bytes)
{
	struct change change = {.kind = CHANGE_BRANCH,
				.id = slice_text("d"),
				.revision = {1, slice_text("a")},
				.body = peers_body(b, 1),
				.operation_id = peers_operation(b, 1)};
	schema_encode(&schema_change, &change, bytes);
	struct msg_outbox_push m = {.shard = SHARD, .change = buf_slice(bytes)};
	storage_bench_deliver(b, PEER_B, MSG_outbox_push, 1, &m);
	expect(b, "-> 12 e1 append after=1.2 settled=2 acked=2 branch:d:1\n");
	return change;
}

static void test_lead_orders_a_push_once(void **state)
{
	struct storage_bench *b = *state;
	struct buf bytes = {0};
	peers_lead(b, MODE_AVAILABLE);
	struct change change = push_first(b, &bytes);
	struct msg_outbox_push m = {.shard = SHARD, .change = buf_slice(&bytes)};
	storage_bench_deliver(b, PEER_B, MSG_outbox_push, 1, &m);
	expect(b, "");
	m.change = slice_text("what is this");
	storage_bench_deliver(b, PEER_B, MSG_outbox_push, 1, &m);
	buf_clear(&bytes);
	change.revision =
	    (struct revision){0xffffffff, slice_text("b")}; /* no child could follow */
	schema_encode(&schema_change, &change, &bytes);
	m.change = buf_slice(&bytes);
	storage_bench_deliver(b, PEER_B, MSG_outbox_push, 1, &m);
	expect(b, "");
	buf_close(&bytes);
}

/* The network, or the lead itself, has dropped what was sent before. */
static void test_lead_orders_a_branch_after_its_parent(void **state)
{
	struct storage_bench *b = *state;
	struct buf bytes = {0};
	struct change child = {.kind = CHANGE_BRANCH,
			       .id = slice_text("d"),
			       .revision = {2, slice_text("b")},
			       .parents = &(struct revision){1, slice_text("a")},
			       .parents_count = 1,
			       .body = peers_body(b, 2),
			       .operation_id = peers_operation(b, 2)};
	peers_lead(b, MODE_AVAILABLE);
	schema_encode(&schema_change, &child, &bytes);
	struct msg_outbox_push m = {.shard = SHARD, .change = buf_slice(&bytes), .follows = true};
	storage_bench_deliver(b, PEER_B, MSG_outbox_push, 1, &m);
	expect(b, "");
	struct buf parent = {0};
	(void)push_first(b, &parent);
	storage_bench_deliver(b, PEER_B, MSG_outbox_push, 1, &m);
	expect(b, "-> 12 e1 append after=1.3 settled=2 acked=2 branch:d:2\n");
	buf_close(&parent);
	buf_close(&bytes);
}

/* It was taken while the collection was an available one. */
static void test_consistent_lead_orders_a_push(void **state)
{
	struct storage_bench *b = *state;
	struct buf bytes = {0};
	peers_lead(b, MODE_CONSISTENT);
	(void)push_first(b, &bytes);
	buf_close(&bytes);
}

/* It has no place any more, and a tail of which it has not heard whether it was settled: it says
 * which entry that was, and lets go of it when the lead knows. */
static void test_a_tail_is_offered_with_its_place(void **state)
{
	struct storage_bench *b = *state;
	struct change change = first_write(b);
	struct replica replicas[] = {{.node = PEER_B, .incarnation = INCARNATION + PEER_B},
				     {.node = PEER_C, .incarnation = INCARNATION + PEER_C},
				     {.node = 14, .incarnation = INCARNATION + 14}};
	struct msg_shard_newer newer = {.shard = {.id = SHARD,
						  .collection = COLLECTION,
						  .hash_last = UINT64_MAX,
						  .epoch = 2,
						  .lead = PEER_B,
						  .replicas = replicas,
						  .replicas_count = 3,
						  .write_quorum = 2}};
	peers_follow(b, MODE_AVAILABLE);
	peers_append(b, 1, 1, 2, 2, &change);
	storage_bench_deliver(b, PEER_B, MSG_shard_newer, 2, &newer);
	storage_bench_advance(b, 50);
	storage_bench_stop(b, true);
	storage_bench_start(b);
	storage_bench_clear(b);
	storage_bench_advance(b, OUTBOX_RETRY_MS + 50);
	expect(b, "-> 12 e2 outbox_push branch:d:1\n");
	assert_int_equal(b->pushed.entry.epoch, 1);
	assert_int_equal(b->pushed.entry.number, 3);
	struct msg_outbox_push_ack ack = {
	    .shard = SHARD, .id = slice_text("d"), .revision = {1, slice_text("a")}};
	storage_bench_deliver(b, PEER_B, MSG_outbox_push_ack, 2, &ack);
	assert_int_equal(peers_pairs(b, STORE_STREAM, 'o'), 0);
}

/* Asked by a node without a place. */
static void test_settled_is_told(void **state)
{
	struct storage_bench *b = *state;
	struct buf bytes = {0};
	peers_lead(b, MODE_AVAILABLE);
	struct msg_doc_write put = peers_put(b, "d", 1);
	peers_write(b, 1, &put);
	peers_ack(b, PEER_B, 1, 3);
	storage_bench_clear(b);
	struct change change = {.kind = CHANGE_BRANCH,
				.id = slice_text("e"), /* whatever is known of the document */
				.revision = {1, slice_text("a")},
				.body = peers_body(b, 1),
				.operation_id = peers_operation(b, 1)};
	schema_encode(&schema_change, &change, &bytes);
	struct msg_outbox_push m = {
	    .shard = SHARD, .change = buf_slice(&bytes), .entry = {.epoch = 1, .number = 3}};
	storage_bench_deliver(b, 14, MSG_outbox_push, 1, &m);
	assert_non_null(strstr(buf_cstr(&b->trace), "-> 14 e1 outbox_push_ack{shard=7 id=\"e\""));
	storage_bench_clear(b);
	m.entry.number = 4; /* not settled */
	storage_bench_deliver(b, 14, MSG_outbox_push, 1, &m);
	expect(b, "-> 12 e1 append after=1.3 settled=3 acked=3 branch:e:1\n");
	buf_close(&bytes);
}

static void ack_applied(struct storage_bench *b, uint64_t node, uint64_t number)
{
	struct msg_stream_append_ack m = {.shard = SHARD,
					  .incarnation = INCARNATION + node,
					  .last = {.epoch = 1, .number = number},
					  .applied = number};
	storage_bench_deliver(b, node, MSG_stream_append_ack, 1, &m);
}

/* B has said that its outbox is empty when it had applied nothing. It may have taken a branch on
 * that before it heard with a lease what is settled. */
static void test_bodies_stay_for_branches_not_heard_of(void **state)
{
	enum { WRITES = 15, FIRST = 3, LAST = FIRST + WRITES - 1 };
	struct storage_bench *b = *state;
	peers_lead(b, MODE_AVAILABLE);
	for (uint64_t v = 0; v < WRITES; v++) {
		struct msg_doc_write m = peers_put(b, "d", v + 1);
		peers_write(b, 1, &m);
		peers_ack(b, PEER_B, 1, FIRST + v);
	}
	assert_int_equal(peers_pairs(b, STORE_DOCUMENTS, 'd'), WRITES);
	struct shard_epoch shard = {.shard = SHARD, .epoch = 1, .settled = LAST};
	struct msg_lease_grant grant = {.sent_ms = (uint64_t)b->now_ms,
					.boot = b->boot,
					.incarnation = INCARNATION + PEER_B,
					.shards = &shard,
					.shards_count = 1};
	storage_bench_deliver(b, PEER_B, MSG_lease_grant, 0, &grant);
	ack_applied(b, PEER_C, LAST);
	struct msg_doc_write m = peers_put(b, "d", WRITES + 1);
	peers_write(b, 1, &m);
	ack_applied(b, PEER_B, LAST + 1);
	assert_int_equal(peers_pairs(b, STORE_DOCUMENTS, 'd'), WRITES + 1);
}

/* The collection has become a consistent one. What was superseded since stays until both have said
 * with empty outboxes that they have heard so. */
static void test_bodies_go_when_no_branch_can_come(void **state)
{
	struct storage_bench *b = *state;
	struct collection collection = {.id = COLLECTION,
					.name = slice_text("c"),
					.version = 2,
					.replicas = 3,
					.write_quorum = 2};
	struct msg_map_push push = {
	    .map_version = 2, .collections = &collection, .collections_count = 1};
	peers_lead(b, MODE_AVAILABLE);
	storage_bench_deliver(b, COORDINATOR, MSG_map_push, 0, &push);
	peers_ack(b, PEER_B, 1, 3);
	for (uint64_t v = 4; v < 9; v++) {
		struct msg_doc_write m = peers_put(b, "d", v);
		peers_write(b, 1, &m);
		peers_ack(b, PEER_B, 1, v);
	}
	assert_int_equal(peers_pairs(b, STORE_DOCUMENTS, 'd'), 5);
	ack_applied(b, PEER_B, 8);
	ack_applied(b, PEER_C, 3);
	struct msg_doc_write m = peers_put(b, "d", 9);
	peers_write(b, 1, &m);
	peers_ack(b, PEER_B, 1, 9);
	assert_int_equal(peers_pairs(b, STORE_DOCUMENTS, 'd'), 1);
}

/* Nobody else takes branches: what is superseded goes with the next change, but for the ten that
 * are asked for. */
static void test_bodies_go_where_there_is_one_copy(void **state)
{
	enum { WRITES = 40, KEPT = 10 };
	struct storage_bench *b = *state;
	struct replica self = {.node = SELF, .incarnation = INCARNATION + SELF};
	struct shard shard = {.id = SHARD,
			      .collection = COLLECTION,
			      .hash_last = UINT64_MAX,
			      .epoch = 1,
			      .lead = SELF,
			      .replicas = &self,
			      .replicas_count = 1,
			      .write_quorum = 1};
	struct collection collection = {.id = COLLECTION,
					.name = slice_text("c"),
					.version = 1,
					.replicas = 1,
					.write_quorum = 1,
					.mode = MODE_AVAILABLE,
					.keep_ancestors = KEPT};
	struct msg_map_push push = {.map_version = 1,
				    .collections = &collection,
				    .collections_count = 1,
				    .shards = &shard,
				    .shards_count = 1};
	storage_bench_deliver(b, COORDINATOR, MSG_map_push, 0, &push);
	for (uint64_t v = 0; v < WRITES; v++) {
		struct msg_doc_write m = peers_put(b, "d", v + 1);
		m.operation_id = peers_operation(b, v);
		peers_write(b, 1, &m);
		assert_int_equal(b->written.status, v == 0 ? STATUS_CREATED : STATUS_OK);
		storage_bench_advance(b, 50);
	}
	assert_in_range(peers_pairs(b, STORE_DOCUMENTS, 'd'), 1, KEPT + 2);
}

static void test_any_needs_a_copy(void **state)
{
	struct storage_bench *b = *state;
	struct replica replicas[] = {
	    {.node = SELF, .incarnation = INCARNATION + SELF, .learning = true},
	    {.node = PEER_B, .incarnation = INCARNATION + PEER_B},
	    {.node = PEER_C, .incarnation = INCARNATION + PEER_C}};
	struct msg_shard_newer newer = {.shard = {.id = SHARD,
						  .collection = COLLECTION,
						  .hash_last = UINT64_MAX,
						  .epoch = 4,
						  .lead = PEER_B,
						  .replicas = replicas,
						  .replicas_count = 3,
						  .write_quorum = 2}};
	storage_bench_deliver(b, PEER_B, MSG_shard_newer, 4, &newer);
	assert_int_equal(peers_read(b, 4, "d", true), STATUS_NOT_VOUCHING);
	struct msg_shard_query query = {.shard = SHARD, .count = true, .any = true};
	storage_bench_deliver(b, GATEWAY, MSG_shard_query, 4, &query);
	assert_int_equal(b->queried.status, STATUS_NOT_VOUCHING);
}

/* ---- conflicts ---- */

/* Two roots of document d, settled; their names. */
static void conflict(struct storage_bench *b, struct revision leaves[2])
{
	two_roots(b);
	leaves[0] = (struct revision){1, slice_text("a")};
	leaves[1] = (struct revision){1, slice_text("b")};
}

static struct msg_conflict_resolve resolution(struct storage_bench *b, struct revision leaves[2],
					      char *hash)
{
	struct msg_conflict_resolve m = {.shard = SHARD,
					 .id = slice_text("d"),
					 .leaves = leaves,
					 .leaves_count = 2,
					 .parents = leaves,
					 .parents_count = 2,
					 .body = peers_body(b, 5),
					 .policy_version = 1,
					 .resolution_id = peers_operation(b, 77)};
	struct revision_content content = {
	    .parents = leaves, .parents_count = 2, .body = m.body, .policy = 1};
	revision_name(&content, hash, &m.revision);
	return m;
}

static enum status resolve(struct storage_bench *b, const struct msg_conflict_resolve *m)
{
	b->resolved = (struct msg_conflict_resolve_ack){.status = 999};
	storage_bench_deliver(b, ARBITER, MSG_conflict_resolve, 1, m);
	return b->resolved.status;
}

/* {"_attachments": {"a/b": a content that nobody has}}. */
static struct slice body_with_attachment(struct storage_bench *b)
{
	struct buf out = {0};
	struct attachment_stub stub = {.digest = slice_text("md5-x"), .length = 1, .revpos = 1};
	mp_write_map(&out, 1);
	mp_write_text(&out, ATTACHMENTS_MEMBER);
	mp_write_map(&out, 1);
	mp_write_text(&out, "a/b");
	attachment_write(&stub, &out);
	struct slice copy = arena_copy(&b->arena, buf_slice(&out));
	buf_close(&out);
	return copy;
}

static void test_resolve_with_an_attachment_that_is_not_there(void **state)
{
	struct storage_bench *b = *state;
	struct revision leaves[2];
	char hash[REVISION_HASH_CHARS];
	conflict(b, leaves);
	struct msg_conflict_resolve m = resolution(b, leaves, hash);
	m.body = body_with_attachment(b);
	struct revision_content content = {
	    .parents = leaves, .parents_count = 2, .body = m.body, .policy = 1};
	revision_name(&content, hash, &m.revision);
	assert_int_equal(resolve(b, &m), STATUS_MISSING_ATTACHMENT);
	assert_true(slice_is(b->resolved.place, "a/b"));
}

static void test_resolve_refused(void **state)
{
	struct storage_bench *b = *state;
	struct revision leaves[2];
	char hash[REVISION_HASH_CHARS];
	conflict(b, leaves);
	struct msg_conflict_resolve m = resolution(b, leaves, hash);
	struct revision_content other_policy = {
	    .parents = leaves, .parents_count = 2, .body = m.body, .policy = 2};
	m.policy_version = 2;
	revision_name(&other_policy, hash, &m.revision);
	assert_int_equal(resolve(b, &m), STATUS_POLICY_MOVED);
	m = resolution(b, leaves, hash);
	m.revision.generation++;
	assert_int_equal(resolve(b, &m), STATUS_BAD_MESSAGE);
	m = resolution(b, leaves, hash);
	m.body = peers_body(b, 6); /* the name does not cover it */
	assert_int_equal(resolve(b, &m), STATUS_BAD_MESSAGE);
	m = resolution(b, leaves, hash);
	struct revision twice[2] = {leaves[0], leaves[0]}; /* would close the other one unseen */
	m.leaves = twice;
	assert_int_equal(resolve(b, &m), STATUS_LEAVES_MOVED);
	struct revision other[2] = {leaves[0], {1, slice_text("c")}};
	m.leaves = other;
	assert_int_equal(resolve(b, &m), STATUS_LEAVES_MOVED);
	expect(b, "");
}

static void test_resolve_and_cleanup(void **state)
{
	struct storage_bench *b = *state;
	struct revision leaves[2];
	char hash[REVISION_HASH_CHARS];
	conflict(b, leaves);
	struct msg_conflict_resolve m = resolution(b, leaves, hash);
	assert_int_equal(resolve(b, &m), 999); /* not settled yet */
	peers_ack(b, PEER_B, 1, 5);
	assert_int_equal(b->resolved.status, STATUS_OK);
	struct cleanup_item item = {
	    .id = slice_text("d"), .resolution_id = m.resolution_id, .number = 5};
	struct cleanup_ack_row acks[] = {{SELF, INCARNATION + SELF, 5},
					 {PEER_B, INCARNATION + PEER_B, 5},
					 {PEER_C, INCARNATION + PEER_C, 4}};
	struct msg_cleanup_commit commit = {
	    .shard = SHARD, .items = &item, .items_count = 1, .acks = acks, .acks_count = 2};
	storage_bench_deliver(b, ARBITER, MSG_cleanup_commit, 1, &commit);
	assert_int_equal(b->cleaned.cleaned, 0); /* C said nothing */
	commit.acks_count = 3;
	storage_bench_deliver(b, ARBITER, MSG_cleanup_commit, 1, &commit);
	assert_int_equal(b->cleaned.cleaned, 0); /* C is not that far */
	acks[2].number = 5;
	acks[2].incarnation++;
	storage_bench_deliver(b, ARBITER, MSG_cleanup_commit, 1, &commit);
	assert_int_equal(b->cleaned.cleaned, 0); /* it was another C */
	acks[2].incarnation--;
	storage_bench_clear(b);
	storage_bench_deliver(b, ARBITER, MSG_cleanup_commit, 1, &commit);
	expect(b, "-> 12 e1 append after=1.5 settled=5 acked=5 cleanup:d\n");
	assert_int_equal(peers_pairs(b, STORE_CONFLICTS, 'd'), 3);
	peers_ack(b, PEER_B, 1, 6);
	assert_int_equal(b->cleaned.cleaned, 1);
	assert_int_equal(peers_pairs(b, STORE_CONFLICTS, 'd'),
			 2);                         /* the history; the latest change */
	assert_int_equal(resolve(b, &m), STATUS_OK); /* its answer may have been lost */
}

/* The answer was lost, and the policy has been changed since. */
static void test_resolved_under_an_earlier_policy(void **state)
{
	struct storage_bench *b = *state;
	struct revision leaves[2];
	char hash[REVISION_HASH_CHARS];
	struct collection collection = {.id = COLLECTION,
					.name = slice_text("c"),
					.version = 2,
					.replicas = 3,
					.write_quorum = 2,
					.mode = MODE_AVAILABLE};
	struct msg_map_push push = {
	    .map_version = 2, .collections = &collection, .collections_count = 1};
	conflict(b, leaves);
	struct msg_conflict_resolve m = resolution(b, leaves, hash);
	assert_int_equal(resolve(b, &m), 999);
	storage_bench_deliver(b, COORDINATOR, MSG_map_push, 0, &push);
	peers_ack(b, PEER_B, 1, 6);
	assert_int_equal(resolve(b, &m), STATUS_OK);
}

/* Each version keeps its own content, whichever is shown. */
static void test_the_winner_goes(void **state)
{
	struct storage_bench *b = *state;
	struct revision leaves[2];
	conflict(b, leaves);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_true(revision_equal(&b->was_read.revision, &leaves[1]));
	assert_true(slice_equal(b->was_read.body, peers_body(b, 1)));
	struct msg_doc_write gone = {.shard = SHARD,
				     .op = WRITE_DELETE,
				     .id = slice_text("d"),
				     .expect = EXPECT_REVISION,
				     .expected = &leaves[1],
				     .expected_count = 1,
				     .operation_id = peers_operation(b, 9)};
	peers_write(b, 1, &gone);
	peers_ack(b, PEER_B, 1, 5);
	assert_int_equal(b->written.status, STATUS_OK);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_true(revision_equal(&b->was_read.revision, &leaves[0]));
	assert_true(slice_equal(b->was_read.body, peers_body(b, 0)));
	assert_int_equal(b->was_read.conflicts, 0);
}

/* A result that stands below the leaves would leave the document without any. */
static void test_resolve_to_an_ancestor(void **state)
{
	struct storage_bench *b = *state;
	struct revision leaves[2];
	char hash[REVISION_HASH_CHARS];
	struct buf bytes = {0};
	conflict(b, leaves);
	struct msg_conflict_resolve m = resolution(b, leaves, hash);
	resolve(b, &m);
	peers_ack(b, PEER_B, 1, 5);
	struct msg_doc_write next = peers_put(b, "d", 8);
	peers_write(b, 1, &next);
	peers_ack(b, PEER_B, 1, 6);
	struct change change = {.kind = CHANGE_BRANCH,
				.id = slice_text("d"),
				.revision = {1, slice_text("c")},
				.body = peers_body(b, 3),
				.operation_id = peers_operation(b, 3)};
	schema_encode(&schema_change, &change, &bytes);
	struct msg_outbox_push push = {.shard = SHARD, .change = buf_slice(&bytes)};
	storage_bench_deliver(b, PEER_B, MSG_outbox_push, 1, &push);
	peers_ack(b, PEER_B, 1, 7);
	struct revision now[2] = {b->written.revision, {1, slice_text("c")}};
	m.leaves = now;
	peers_grant(b, PEER_B, 1, false);
	assert_int_equal(resolve(b, &m), STATUS_BAD_MESSAGE);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_int_equal(b->was_read.leaves_count, 2);
	buf_close(&bytes);
}

static void test_prepare_speaks_of_this_epoch(void **state)
{
	struct storage_bench *b = *state;
	peers_follow(b, MODE_AVAILABLE);
	struct cleanup_item items[] = {
	    {.id = slice_text("d"), .resolution_id = peers_operation(b, 1), .number = 2},
	    {.id = slice_text("e"), .resolution_id = peers_operation(b, 2), .number = 3}};
	struct msg_cleanup_prepare m = {.shard = SHARD, .items = items, .items_count = 2};
	storage_bench_deliver(b, ARBITER, MSG_cleanup_prepare, 1, &m);
	assert_int_equal(b->prepared.status, STATUS_OK);
	assert_int_equal(b->prepared.items_count, 1); /* entry 3 is not applied here */
	storage_bench_deliver(b, ARBITER, MSG_cleanup_prepare, 2, &m);
	assert_int_equal(b->prepared.status, STATUS_OLD_EPOCH);
	struct msg_doc_write write = peers_put(b, "d", 1);
	write.branch = true;
	peers_write(b, 1, &write);
	storage_bench_deliver(b, ARBITER, MSG_cleanup_prepare, 1, &m);
	assert_int_equal(b->prepared.items_count, 0); /* its outbox holds a branch of d */
}

/* What an earlier lead sent last may become branches: nothing goes before that is known. */
static void test_prepare_waits_for_the_tail(void **state)
{
	struct storage_bench *b = *state;
	struct change change = first_write(b);
	struct change epoch = {.kind = CHANGE_EPOCH};
	struct cleanup_item items[] = {
	    {.id = slice_text("d"), .resolution_id = peers_operation(b, 1), .number = 2},
	    {.id = slice_text("e"), .resolution_id = peers_operation(b, 2), .number = 2}};
	struct msg_cleanup_prepare m = {.shard = SHARD, .items = items, .items_count = 2};
	peers_follow(b, MODE_AVAILABLE);
	peers_append(b, 1, 1, 2, 2, &change);
	storage_bench_deliver(b, ARBITER, MSG_cleanup_prepare, 1, &m);
	assert_int_equal(b->prepared.items_count, 2); /* the lead has it, too */
	peers_place(b, 2, PEER_B, MODE_AVAILABLE);
	storage_bench_deliver(b, ARBITER, MSG_cleanup_prepare, 2, &m);
	assert_int_equal(b->prepared.status, STATUS_OK);
	assert_int_equal(b->prepared.items_count, 0);
	peers_append(b, 2, 1, 2, 2, NULL);
	assert_int_equal(b->appended.last.number, 2);
	assert_int_equal(b->appended.outbox, 1); /* as good as there */
	peers_append(b, 2, 1, 2, 2, &epoch);
	assert_int_equal(b->appended.outbox, 1);
	assert_int_equal(peers_pairs(b, STORE_STREAM, 'o'), 1);
	storage_bench_deliver(b, ARBITER, MSG_cleanup_prepare, 2, &m);
	assert_int_equal(b->prepared.items_count, 1); /* its outbox holds a branch of d */
	assert_true(slice_is(b->prepared.items[0].id, "e"));
}

#define CASE(name)                                                                                 \
	cmocka_unit_test_setup_teardown(name, storage_bench_setup, storage_bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_branch),
	    CASE(test_cleanup_with_many_branches),
	    CASE(test_following_with_many_branches),
	    CASE(test_branch_of_a_branch_follows),
	    CASE(test_many_branches_of_branches),
	    CASE(test_lead_orders_a_branch_after_its_parent),
	    CASE(test_known_branch_goes_behind_others),
	    CASE(test_refused_branch_leaves_a_gap),
	    CASE(test_lead_orders_a_push_once),
	    CASE(test_consistent_lead_orders_a_push),
	    CASE(test_a_tail_is_offered_with_its_place),
	    CASE(test_settled_is_told),
	    CASE(test_bodies_stay_for_branches_not_heard_of),
	    CASE(test_bodies_go_when_no_branch_can_come),
	    CASE(test_bodies_go_where_there_is_one_copy),
	    CASE(test_any_needs_a_copy),
	    CASE(test_resolve_refused),
	    CASE(test_resolve_with_an_attachment_that_is_not_there),
	    CASE(test_resolve_and_cleanup),
	    CASE(test_resolved_under_an_earlier_policy),
	    CASE(test_the_winner_goes),
	    CASE(test_resolve_to_an_ancestor),
	    CASE(test_prepare_speaks_of_this_epoch),
	    CASE(test_prepare_waits_for_the_tail),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
