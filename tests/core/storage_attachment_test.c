/* Attachments at the storage node's core: contents come in chunks, are counted as bodies name them,
 * and go with the last. */
#include "common/doc/revision.h"
#include "tests/core/attachment_steps.h"

enum { KEEP_MS = 60 * 60 * 1000 };

static int pairs(struct storage_bench *b)
{
	return peers_pairs(b, STORE_ATTACHMENTS, 'd');
}

static void test_comes_and_goes(void **state)
{
	struct storage_bench *b = *state;
	struct attachment_stub stub = {0};
	peers_lead(b, MODE_CONSISTENT);
	assert_int_equal(chunk(b, 1, 0, true, slice_text("hello")), 999);
	settle(b, 3);
	assert_int_equal(b->chunk_taken.status, STATUS_OK);
	assert_int_equal(pairs(b), 3); /* the chunk, the upload, the content */
	assert_int_equal(write(b, "d", body_of(b, 1, 1), 4), STATUS_CREATED);
	assert_int_equal(pairs(b), 2);
	assert_true(stub_of(b, "d", &stub));
	assert_int_equal(stub.length, 5);
	assert_int_equal(stub.revpos, 1);
	assert_true(slice_is(stub.digest, "md5-XUFAKrxLKna5cZ2REBfFkg=="));
	assert_int_equal(read_chunk(b, &stub, 0), STATUS_OK);
	assert_true(slice_is(b->chunk_read.body, "hello"));
	assert_int_equal(read_chunk(b, &stub, 1), STATUS_NOT_FOUND);
	/* a stub keeps it, with where it came in */
	assert_int_equal(write(b, "d", body_of(b, 2, 0), 5), STATUS_OK);
	assert_true(stub_of(b, "d", &stub));
	assert_int_equal(stub.revpos, 1);
	/* the same by another upload, for another document: kept once */
	assert_int_equal(chunk(b, 2, 0, true, slice_text("hello")), 999);
	settle(b, 6);
	assert_int_equal(write(b, "e", body_of(b, 1, 2), 7), STATUS_CREATED);
	assert_int_equal(pairs(b), 2);
	assert_int_equal(write(b, "d", peers_body(b, 3), 8), STATUS_OK);
	assert_int_equal(write(b, "d", peers_body(b, 4), 9), STATUS_OK);
	assert_int_equal(read_chunk(b, &stub, 0), STATUS_OK);
	for (uint64_t v = 3; v < 6; v++)
		assert_int_equal(write(b, "e", peers_body(b, v), 7 + v), STATUS_OK);
	assert_int_equal(read_chunk(b, &stub, 0), STATUS_NOT_FOUND);
	assert_int_equal(pairs(b), 0);
}

/* As a client puts an attachment under a name that another one has. */
static void test_is_replaced(void **state)
{
	struct storage_bench *b = *state;
	struct attachment_stub stub = {0};
	lead_with_hello(b, MODE_CONSISTENT);
	assert_int_equal(chunk(b, 2, 0, true, slice_text("goodbye")), 999);
	settle(b, 5);
	struct msg_doc_write patch = peers_put(b, "d", 0);
	patch.op = WRITE_PATCH;
	patch.body = body_of(b, 2, 2);
	patch.operation_id = peers_operation(b, next_operation());
	peers_write(b, 1, &patch);
	settle(b, 6);
	assert_int_equal(b->written.status, STATUS_OK);
	assert_true(stub_of(b, "d", &stub));
	assert_int_equal(stub.length, 7);
	assert_int_equal(read_chunk(b, &stub, 0), STATUS_OK);
	assert_true(slice_is(b->chunk_read.body, "goodbye"));
}

/* Of a version whose content is gone: what the current one has may be kept, nothing else. */
static void test_late_edit_keeps_it(void **state)
{
	struct storage_bench *b = *state;
	struct attachment_stub stub = {0};
	lead_with_hello(b, MODE_CONSISTENT);
	assert_true(stub_of(b, "d", &stub));
	struct revision edited = {b->written.revision.generation,
				  arena_copy(&b->arena, b->written.revision.hash)};
	for (uint64_t v = 2; v < 7; v++)
		assert_int_equal(write(b, "d", body_of(b, v, 0), 3 + v), STATUS_OK);
	struct msg_doc_write late = peers_put(b, "d", 0);
	late.expect = EXPECT_REVISION;
	late.expected = &edited;
	late.expected_count = 1;
	late.keep_as_branch = true;
	struct attachment_stub other = stub;
	other.content[0] ^= 1;
	late.body = body_with(b, &other);
	late.operation_id = peers_operation(b, next_operation());
	peers_write(b, 1, &late);
	assert_int_equal(b->written.status, STATUS_MISSING_ATTACHMENT);
	late.body = body_with(b, &stub);
	late.operation_id = peers_operation(b, next_operation());
	peers_write(b, 1, &late);
	assert_int_equal(b->written.status, 999);
	settle(b, 10);
	assert_true(status_is_success((enum status)b->written.status));
}

static struct revision name_written(struct storage_bench *b)
{
	return (struct revision){b->written.revision.generation,
				 arena_copy(&b->arena, b->written.revision.hash)};
}

static enum status edit(struct storage_bench *b, struct revision *expected, struct slice body,
			uint64_t settles)
{
	struct msg_doc_write m = peers_put(b, "d", 0);
	m.expect = EXPECT_REVISION;
	m.expected = expected;
	m.expected_count = 1;
	m.keep_as_branch = true;
	m.body = body;
	m.operation_id = peers_operation(b, next_operation());
	peers_write(b, 1, &m);
	if (b->written.status == 999)
		settle(b, settles);
	return (enum status)b->written.status;
}

/* Document d is in conflict; one of the versions has the attachment, what they become has none. */
static struct revision loser_with_it(struct storage_bench *b, struct cleanup_item *resolved)
{
	char hash[REVISION_HASH_CHARS];
	struct revision leaves[2];
	peers_lead(b, MODE_CONSISTENT);
	assert_int_equal(write(b, "d", peers_body(b, 1), 3), STATUS_CREATED);
	struct revision base = name_written(b);
	assert_int_equal(chunk(b, 1, 0, true, slice_text("hello")), 999);
	settle(b, 4);
	assert_int_equal(edit(b, &base, body_of(b, 2, 1), 5), STATUS_OK);
	struct revision loser = leaves[0] = name_written(b);
	assert_int_equal(edit(b, &base, peers_body(b, 3), 6), STATUS_OK);
	leaves[1] = name_written(b);
	revision_sort(leaves, 2);
	*resolved = (struct cleanup_item){
	    .id = slice_text("d"), .resolution_id = peers_operation(b, 77), .number = 7};
	struct msg_conflict_resolve m = {.shard = SHARD,
					 .id = resolved->id,
					 .leaves = leaves,
					 .leaves_count = 2,
					 .parents = leaves,
					 .parents_count = 2,
					 .body = peers_body(b, 4),
					 .policy_version = 1,
					 .resolution_id = resolved->resolution_id};
	struct revision_content content = {
	    .parents = leaves, .parents_count = 2, .body = m.body, .policy = 1};
	revision_name(&content, hash, &m.revision);
	storage_bench_deliver(b, ARBITER, MSG_conflict_resolve, 1, &m);
	settle(b, 7);
	assert_int_equal(b->resolved.status, STATUS_OK);
	return loser;
}

/* The loser's traces are about to go, and its attachment with them: a late edit may not count on
 * it. */
static void test_goes_with_a_loser(void **state)
{
	struct storage_bench *b = *state;
	struct cleanup_item item;
	struct revision loser = loser_with_it(b, &item);
	struct cleanup_ack_row acks[] = {{SELF, INCARNATION + SELF, 7},
					 {PEER_B, INCARNATION + PEER_B, 7},
					 {PEER_C, INCARNATION + PEER_C, 7}};
	struct msg_cleanup_commit m = {
	    .shard = SHARD, .items = &item, .items_count = 1, .acks = acks, .acks_count = 3};
	assert_int_equal(pairs(b), 2);
	storage_bench_deliver(b, ARBITER, MSG_cleanup_commit, 1, &m);
	assert_int_equal(edit(b, &loser, body_of(b, 5, 0), 8), STATUS_MISSING_ATTACHMENT);
	assert_int_equal(pairs(b), 0);
}

/* SELF follows B. Entries 3 and 4: an upload, and document d with it. */
static void follow_with_it(struct storage_bench *b, const struct revision *name)
{
	uint8_t md5[MD5_BYTES], chain[CONTENT_BYTES] = {0};
	struct slice bytes = slice_text("hello");
	struct slice upload = peers_operation(b, 1);
	struct attachment_stub stub = {.digest = slice_text("md5-x"), .length = 5, .revpos = 1};
	attachment_md5(bytes, md5);
	content_chain(chain, bytes);
	content_name(chain, bytes.len, stub.content);
	struct chunk chunk = {.upload = upload, .last = true, .md5 = slice_of(md5, sizeof md5)};
	struct change comes = {
	    .kind = CHANGE_CHUNK, .chunks = &chunk, .chunks_count = 1, .body = bytes};
	struct change with = {.kind = CHANGE_WRITE,
			      .id = slice_text("d"),
			      .revision = *name,
			      .body = body_with(b, &stub),
			      .uploads = &upload,
			      .uploads_count = 1};
	peers_follow(b, MODE_AVAILABLE);
	peers_append(b, 1, 1, 2, 2, &comes);
	peers_append(b, 1, 1, 3, 3, &with);
	peers_append(b, 1, 1, 4, 4, NULL);
	assert_int_equal(pairs(b), 2);
}

/* Of that version, and it keeps what that has. */
static enum status branch_of(struct storage_bench *b, struct revision *version)
{
	struct msg_doc_write m = peers_put(b, "d", 0);
	m.expect = EXPECT_REVISION;
	m.expected = version;
	m.expected_count = 1;
	m.keep_as_branch = true;
	m.branch = true;
	m.body = body_of(b, 3, 0);
	peers_write(b, 1, &m);
	return (enum status)b->written.status;
}

static void test_branch_keeps_it(void **state)
{
	struct storage_bench *b = *state;
	struct revision name = {1, slice_text("a")};
	follow_with_it(b, &name);
	assert_int_equal(branch_of(b, &name), STATUS_ACCEPTED);
}

/* What is superseded may go before the lead hears of a branch, and its attachments with it. */
static void test_no_branch_counts_on_what_may_go(void **state)
{
	struct storage_bench *b = *state;
	struct revision name = {1, slice_text("a")};
	struct change without = {.kind = CHANGE_WRITE,
				 .id = slice_text("d"),
				 .revision = {2, slice_text("b")},
				 .parents = &name,
				 .parents_count = 1,
				 .body = peers_body(b, 2)};
	follow_with_it(b, &name);
	peers_append(b, 1, 1, 4, 4, &without);
	peers_append(b, 1, 1, 5, 5, NULL);
	assert_int_equal(pairs(b), 2); /* it is there still */
	assert_int_equal(branch_of(b, &name), STATUS_NO_LEAD);
}

/* The settings from now on: of a consistent collection that keeps so many ancestors. They become an
 * entry. */
static void push_settings(struct storage_bench *b, uint64_t version, uint64_t keep_ancestors)
{
	struct collection collection = {.id = COLLECTION,
					.name = slice_text("c"),
					.version = version,
					.replicas = 3,
					.write_quorum = 2,
					.mode = MODE_CONSISTENT,
					.keep_ancestors = keep_ancestors};
	struct msg_map_push push = {
	    .map_version = version, .collections = &collection, .collections_count = 1};
	storage_bench_deliver(b, COORDINATOR, MSG_map_push, 0, &push);
}

/* A late edit that names what only an ancestor has, while settings are under way by which that one
 * goes with the next entry: nobody may be told that it was taken, and the content be gone. */
static void test_settings_under_way_let_it_go(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	push_settings(b, 2, 10);
	settle(b, 3);
	assert_int_equal(chunk(b, 1, 0, true, slice_text("hello")), 999);
	settle(b, 4);
	assert_int_equal(write(b, "d", body_of(b, 1, 1), 5), STATUS_CREATED);
	struct revision ancestor = name_written(b);
	assert_int_equal(write(b, "d", peers_body(b, 2), 6), STATUS_OK);
	push_settings(b, 3, 0);
	assert_int_equal(write(b, "d", peers_body(b, 3), 6), 999); /* not settled yet */
	assert_int_equal(edit(b, &ancestor, body_of(b, 4, 0), 6), 999);
	settle(b, 8);
	settle(b, 9); /* if it was taken */
	assert_int_equal(b->written.status, STATUS_NO_LEAD);
	assert_int_equal(edit(b, &ancestor, body_of(b, 4, 0), 8), STATUS_MISSING_ATTACHMENT);
	assert_int_equal(pairs(b), 0);
}

/* B has taken a branch of the version with the attachment before it heard that the collection is a
 * consistent one. */
static void test_stays_for_a_branch_of_before(void **state)
{
	struct storage_bench *b = *state;
	struct attachment_stub stub = {0};
	struct buf bytes = {0};
	lead_with_hello(b, MODE_AVAILABLE);
	struct revision first = name_written(b);
	assert_true(stub_of(b, "d", &stub));
	struct change branch = {.kind = CHANGE_BRANCH,
				.id = slice_text("d"),
				.revision = {2, slice_text("a")},
				.parents = &first,
				.parents_count = 1,
				.body = body_with(b, &stub),
				.operation_id = peers_operation(b, 9)};
	schema_encode(&schema_change, &branch, &bytes);
	push_settings(b, 2, 0);
	settle(b, 5);
	for (uint64_t v = 6; v < 8; v++)
		assert_int_equal(write(b, "d", peers_body(b, v), v), STATUS_OK);
	struct msg_outbox_push m = {.shard = SHARD, .change = buf_slice(&bytes), .applied = 4};
	storage_bench_deliver(b, PEER_B, MSG_outbox_push, 1, &m);
	settle(b, 8);
	assert_int_equal(read_chunk(b, &stub, 0), STATUS_OK);
	assert_true(slice_is(b->chunk_read.body, "hello"));
	buf_close(&bytes);
}

static void test_what_is_not_there(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	assert_int_equal(write(b, "d", body_of(b, 1, 0), 0), STATUS_MISSING_ATTACHMENT);
	assert_true(slice_is(b->written.place, "a"));
	assert_int_equal(write(b, "d", body_of(b, 1, 77), 0), STATUS_TIMED_OUT);
	/* half of it is not enough */
	struct buf large = {0};
	memset(buf_reserve(&large, LIMIT_CHUNK_BYTES), 'x', LIMIT_CHUNK_BYTES);
	large.len = LIMIT_CHUNK_BYTES;
	assert_int_equal(chunk(b, 1, 0, false, buf_slice(&large)), 999);
	settle(b, 3);
	assert_int_equal(write(b, "d", body_of(b, 1, 1), 0), STATUS_TIMED_OUT);
	assert_int_equal(chunk(b, 1, 2, true, slice_text("x")), STATUS_NOT_FOUND);
	assert_int_equal(chunk(b, 1, 1, false, slice_text("short")), STATUS_BAD_MESSAGE);
	assert_int_equal(chunk(b, 1, 0, false, buf_slice(&large)), STATUS_CREATED);
	assert_int_equal(chunk(b, 1, 1, true, slice_text("end")), 999);
	settle(b, 4);
	assert_int_equal(chunk(b, 1, 2, true, slice_text("x")), STATUS_NOT_FOUND);
	assert_int_equal(write(b, "d", body_of(b, 1, 1), 5), STATUS_CREATED);
	struct attachment_stub stub = {0};
	assert_true(stub_of(b, "d", &stub));
	assert_int_equal(stub.length, LIMIT_CHUNK_BYTES + 3);
	assert_int_equal(read_chunk(b, &stub, 1), STATUS_OK);
	assert_true(slice_is(b->chunk_read.body, "end"));
	buf_close(&large);
}

/* A copy of its first chunk that comes after a document has it: an upload of its own, that touches
 * nothing. */
static void test_late_copy(void **state)
{
	struct storage_bench *b = *state;
	struct attachment_stub stub = {0};
	lead_with_hello(b, MODE_CONSISTENT);
	assert_int_equal(chunk(b, 1, 0, true, slice_text("hello")), 999);
	settle(b, 5);
	assert_true(stub_of(b, "d", &stub));
	storage_bench_advance(b, KEEP_MS + 5000);
	peers_grant(b, PEER_B, 1, false);
	storage_bench_advance(b, 2000);
	settle(b, 6);
	assert_int_equal(pairs(b), 2);
	peers_grant(b, PEER_B, 1, false);
	assert_int_equal(read_chunk(b, &stub, 0), STATUS_OK);
}

static void test_nobody_comes_for_it(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	assert_int_equal(chunk(b, 1, 0, true, slice_text("hello")), 999);
	settle(b, 3);
	storage_bench_advance(b, KEEP_MS - 5000);
	assert_int_equal(pairs(b), 3);
	storage_bench_advance(b, 10000);
	/* it is about to go: a write that wants it waits, as it may come too late */
	peers_grant(b, PEER_B, 1, false);
	assert_int_equal(write(b, "d", body_of(b, 1, 1), 4), STATUS_NO_LEAD);
	settle(b, 4);
	assert_int_equal(pairs(b), 0);
	assert_int_equal(write(b, "d", body_of(b, 1, 1), 4), STATUS_TIMED_OUT);
}

/* Nor does it stay where no turn is without a write. */
static void test_nobody_comes_for_it_under_load(void **state)
{
	struct storage_bench *b = *state;
	uint64_t number = 3;
	peers_lead(b, MODE_CONSISTENT);
	assert_int_equal(chunk(b, 1, 0, true, slice_text("hello")), 999);
	settle(b, number);
	storage_bench_advance(b, KEEP_MS - 5000);
	for (int i = 0; i < 200; i++) {
		struct msg_doc_write put = peers_put(b, "d", 0);
		put.operation_id = peers_operation(b, next_operation());
		b->gathers = true;
		peers_write(b, 1, &put);
		b->gathers = false;
		storage_bench_advance(b, 50);
		settle(b, ++number);
	}
	settle(b, ++number); /* the entry that drops it */
	assert_int_equal(pairs(b), 0);
}

static void forget(struct storage_bench *b, uint64_t upload)
{
	struct msg_attachment_forget m = {.shard = SHARD, .upload = peers_operation(b, upload)};
	storage_bench_deliver(b, GATEWAY, MSG_attachment_forget, 1, &m);
}

/* A client that breaks off: what came of it goes at once, but not what a document names. */
static void test_forgotten(void **state)
{
	struct storage_bench *b = *state;
	struct attachment_stub stub = {0};
	peers_lead(b, MODE_CONSISTENT);
	assert_int_equal(chunk(b, 1, 0, true, slice_text("hello")), 999);
	settle(b, 3);
	forget(b, 2); /* nobody knows it */
	forget(b, 1);
	assert_int_equal(write(b, "d", body_of(b, 1, 1), 4), STATUS_NO_LEAD);
	settle(b, 4);
	assert_int_equal(pairs(b), 0);
	assert_int_equal(chunk(b, 3, 0, true, slice_text("hello")), 999);
	settle(b, 5);
	assert_int_equal(write(b, "d", body_of(b, 1, 3), 6), STATUS_CREATED);
	forget(b, 3);
	assert_true(stub_of(b, "d", &stub));
	assert_int_equal(read_chunk(b, &stub, 0), STATUS_OK);
	assert_int_equal(pairs(b), 2);
}

/* What cannot be taken leaves what has come as it was: the next try goes on from there. */
static void test_disk_full_in_the_middle(void **state)
{
	struct storage_bench *b = *state;
	struct attachment_stub stub = {0};
	struct buf large = {0};
	struct event e = {.kind = EVENT_DISK};
	peers_lead(b, MODE_CONSISTENT);
	memset(buf_reserve(&large, LIMIT_CHUNK_BYTES), 'x', LIMIT_CHUNK_BYTES);
	large.len = LIMIT_CHUNK_BYTES;
	assert_int_equal(chunk(b, 1, 0, false, buf_slice(&large)), 999);
	settle(b, 3);
	e.disk.full = true;
	storage_bench_step(b, &e);
	storage_bench_turn(b);
	assert_int_equal(chunk(b, 1, 1, true, slice_text("end")), STATUS_DISK_FULL);
	assert_int_equal(chunk(b, 2, 0, true, slice_text("new")), STATUS_DISK_FULL);
	assert_int_equal(chunk(b, 1, 0, false, buf_slice(&large)), STATUS_CREATED);
	assert_int_equal(pairs(b), 2);
	e.disk.full = false;
	storage_bench_step(b, &e);
	assert_int_equal(chunk(b, 1, 1, true, slice_text("end")), 999);
	settle(b, 4);
	assert_int_equal(write(b, "d", body_of(b, 1, 1), 5), STATUS_CREATED);
	assert_true(stub_of(b, "d", &stub));
	assert_int_equal(stub.length, LIMIT_CHUNK_BYTES + 3);
	buf_close(&large);
}

/* While the disk is full, what nobody came for goes all the same, and forgetting is possible. */
static void test_disk_full_lets_go(void **state)
{
	struct storage_bench *b = *state;
	struct event e = {.kind = EVENT_DISK};
	peers_lead(b, MODE_CONSISTENT);
	assert_int_equal(chunk(b, 1, 0, true, slice_text("hello")), 999);
	settle(b, 3);
	e.disk.full = true;
	storage_bench_step(b, &e);
	storage_bench_turn(b);
	forget(b, 1);
	settle(b, 4);
	assert_int_equal(pairs(b), 0);
}

static void test_limits(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	assert_int_equal(chunk(b, 1, LIMIT_CHUNKS, true, slice_text("x")), STATUS_BAD_MESSAGE);
	assert_int_equal(chunk(b, 1, LIMIT_CHUNKS - 1, true, slice_text("x")), STATUS_NOT_FOUND);
	/* uploads of a shard */
	for (uint64_t i = 1; i <= UPLOADS_MAX; i++) {
		assert_int_equal(chunk(b, i, 0, true, slice_text("x")), 999);
		settle(b, 2 + i);
	}
	assert_int_equal(chunk(b, UPLOADS_MAX + 1, 0, true, slice_text("x")), STATUS_OVERLOADED);
	forget(b, 7);
	settle(b, 3 + UPLOADS_MAX);
	assert_int_equal(chunk(b, UPLOADS_MAX + 1, 0, true, slice_text("x")), 999);
}

/* Large entries: so many bytes are kept, whatever their number. */
static void test_stream_is_bounded_in_bytes(void **state)
{
	struct storage_bench *b = *state;
	struct buf large = {0};
	storage_bench_stop(b, false);
	b->options.stream_keep_bytes = 2 * LIMIT_CHUNK_BYTES;
	storage_bench_start(b);
	peers_lead(b, MODE_CONSISTENT);
	memset(buf_reserve(&large, LIMIT_CHUNK_BYTES), 'x', LIMIT_CHUNK_BYTES);
	large.len = LIMIT_CHUNK_BYTES;
	for (uint64_t i = 0; i < 60; i++) {
		assert_int_equal(chunk(b, 1, i, false, buf_slice(&large)), 999);
		settle(b, 3 + i);
		assert_true(peers_pairs(b, STORE_STREAM, 'e') <= 20);
	}
	assert_true(peers_pairs(b, STORE_STREAM, 'e') >= 8);
	buf_close(&large);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_is_replaced, storage_bench_setup,
					    storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_comes_and_goes, storage_bench_setup,
					    storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_what_is_not_there, storage_bench_setup,
					    storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_late_edit_keeps_it, storage_bench_setup,
					    storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_goes_with_a_loser, storage_bench_setup,
					    storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_branch_keeps_it, storage_bench_setup,
					    storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_no_branch_counts_on_what_may_go,
					    storage_bench_setup, storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_late_copy, storage_bench_setup,
					    storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_nobody_comes_for_it, storage_bench_setup,
					    storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_nobody_comes_for_it_under_load,
					    storage_bench_setup, storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_settings_under_way_let_it_go, storage_bench_setup,
					    storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_stays_for_a_branch_of_before, storage_bench_setup,
					    storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_forgotten, storage_bench_setup,
					    storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_disk_full_in_the_middle, storage_bench_setup,
					    storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_disk_full_lets_go, storage_bench_setup,
					    storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_limits, storage_bench_setup,
					    storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_stream_is_bounded_in_bytes, storage_bench_setup,
					    storage_bench_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
