/* A branch that names attachments, of a node that was replaced while it was away: the lead asks for
 * what it lacks, and the node brings it before the branch. */
#include <string.h>

#include "storage-node/bring.h"
#include "tests/core/attachment_steps.h"

enum { KEEP_MS = 60 * 60 * 1000, AWAY = 14 };

/* An attachment of these bytes, which nobody has yet. */
static void name_bytes(struct storage_bench *b, struct slice bytes, struct attachment_stub *out)
{
	uint8_t chain[CONTENT_BYTES] = {0};
	uint8_t md5[MD5_BYTES];
	struct buf digest = {0};
	content_chain(chain, bytes);
	content_name(chain, bytes.len, out->content);
	attachment_md5(bytes, md5);
	attachment_digest(md5, &digest);
	out->digest = arena_copy(&b->arena, buf_slice(&digest));
	out->length = bytes.len;
	out->revpos = 1;
	buf_close(&digest);
}

/* It pushes a new document that names the attachment. */
static void push_in_epoch(struct storage_bench *b, uint64_t epoch,
			  const struct attachment_stub *stub, bool bare)
{
	struct buf bytes = {0};
	struct change branch = {.kind = CHANGE_BRANCH,
				.id = slice_text("e"),
				.revision = {1, slice_text("a")},
				.body = body_with(b, stub),
				.operation_id = peers_operation(b, 9)};
	schema_encode(&schema_change, &branch, &bytes);
	struct msg_outbox_push m = {.shard = SHARD, .change = buf_slice(&bytes), .bare = bare};
	storage_bench_clear(b);
	storage_bench_deliver(b, AWAY, MSG_outbox_push, epoch, &m);
	buf_close(&bytes);
}

static void push_from_away(struct storage_bench *b, const struct attachment_stub *stub, bool bare)
{
	push_in_epoch(b, 1, stub, bare);
}

static bool traced(struct storage_bench *b, const char *text)
{
	return strstr(buf_cstr(&b->trace), text) != NULL;
}

static void test_lead_asks_for_what_a_branch_names(void **state)
{
	struct storage_bench *b = *state;
	struct attachment_stub stub = {0};
	uint8_t md5[MD5_BYTES];
	lead_with_hello(b, MODE_AVAILABLE);
	name_bytes(b, slice_text("goodbye"), &stub);
	push_from_away(b, &stub, false);
	assert_true(traced(b, "-> 14 e1 outbox_lacks{shard=7 id=\"e\""));
	assert_false(traced(b, "branch:e:1"));
	attachment_md5(slice_text("goodbye"), md5);
	struct msg_attachment_chunk m = {.shard = SHARD,
					 .body = slice_text("goodbye"),
					 .chunk = {.upload = peers_operation(b, 5),
						   .last = true,
						   .md5 = slice_of(md5, sizeof md5)}};
	storage_bench_deliver(b, AWAY, MSG_attachment_chunk, 1, &m);
	settle(b, 5);
	assert_int_equal(b->chunk_taken.status, STATUS_OK);
	push_from_away(b, &stub, false);
	assert_true(traced(b, "branch:e:1"));
	settle(b, 6);
	/* the upload goes, and the branch keeps it */
	storage_bench_advance(b, KEEP_MS + 5000);
	peers_grant(b, PEER_B, 1, false);
	storage_bench_advance(b, 2000);
	settle(b, 7);
	peers_grant(b, PEER_B, 1, false);
	assert_int_equal(read_chunk(b, &stub, 0), STATUS_OK);
	assert_true(slice_is(b->chunk_read.body, "goodbye"));
}

/* The upload has been held for long, and its drop is in the stream. */
static void test_lead_counts_on_nothing_that_goes(void **state)
{
	struct storage_bench *b = *state;
	struct attachment_stub stub = {0};
	lead_with_hello(b, MODE_AVAILABLE);
	name_bytes(b, slice_text("goodbye"), &stub);
	assert_int_equal(chunk(b, 5, 0, true, slice_text("goodbye")), 999);
	settle(b, 5);
	storage_bench_advance(b, KEEP_MS + 5000);
	push_from_away(b, &stub, false);
	assert_true(traced(b, "outbox_lacks"));
	assert_false(traced(b, "branch:e:1"));
}

static void test_lead_takes_what_can_not_be_brought(void **state)
{
	struct storage_bench *b = *state;
	struct attachment_stub stub = {0};
	lead_with_hello(b, MODE_AVAILABLE);
	name_bytes(b, slice_text("goodbye"), &stub);
	push_from_away(b, &stub, true);
	assert_true(traced(b, "branch:e:1"));
	settle(b, 5);
	assert_int_equal(read_chunk(b, &stub, 0), STATUS_NOT_FOUND);
}

/* It has a place again, and learns: what it was told of its outbox is over. */
static void test_lead_asks_who_learns(void **state)
{
	struct storage_bench *b = *state;
	struct attachment_stub stub = {0};
	struct replica replicas[] = {
	    {.node = SELF, .incarnation = INCARNATION + SELF},
	    {.node = PEER_B, .incarnation = INCARNATION + PEER_B},
	    {.node = AWAY, .incarnation = INCARNATION + AWAY, .learning = true}};
	lead_with_hello(b, MODE_AVAILABLE);
	peers_place_among(b, 2, SELF, MODE_AVAILABLE, replicas, ARRAY_LEN(replicas));
	storage_bench_advance(b, LEASE_HELD_MS);
	peers_promise(b, PEER_B, 2, STATUS_OK);
	storage_bench_advance(b, 50);
	peers_ack(b, PEER_B, 2, 4);
	peers_ack(b, PEER_B, 2, 5);
	peers_grant(b, PEER_B, 2, false);
	name_bytes(b, slice_text("goodbye"), &stub);
	push_in_epoch(b, 2, &stub, false);
	assert_true(traced(b, "-> 14 e2 outbox_lacks{shard=7 id=\"e\""));
	assert_false(traced(b, "branch:e:1"));
	push_in_epoch(b, 2, &stub, true);
	storage_bench_advance(b, 100);
	assert_true(traced(b, "branch:e:1"));
}

static void place_elsewhere(struct storage_bench *b)
{
	struct replica replicas[] = {{.node = PEER_B, .incarnation = INCARNATION + PEER_B},
				     {.node = PEER_C, .incarnation = INCARNATION + PEER_C},
				     {.node = AWAY, .incarnation = INCARNATION + AWAY}};
	peers_place_among(b, 2, PEER_B, MODE_AVAILABLE, replicas, ARRAY_LEN(replicas));
}

/* SELF led, was cut off and accepted a branch that keeps the attachment; B leads without it. */
static struct msg_outbox_lacks away_with_branch(struct storage_bench *b)
{
	struct msg_outbox_lacks lacks = {.shard = SHARD, .id = slice_text("d")};
	struct attachment_stub stub = {0};
	lead_with_hello(b, MODE_AVAILABLE);
	assert_true(stub_of(b, "d", &stub));
	storage_bench_advance(b, 2 * OFFLINE_MS);
	struct msg_doc_write put = peers_put(b, "d", 0);
	put.body = body_with(b, &stub);
	put.branch = true;
	put.operation_id = peers_operation(b, next_operation());
	peers_write(b, 1, &put);
	assert_int_equal(b->written.status, STATUS_ACCEPTED);
	lacks.revision = (struct revision){b->written.revision.generation,
					   arena_copy(&b->arena, b->written.revision.hash)};
	place_elsewhere(b);
	for (int i = 0; i < OUTBOX_RETRY_MS && !traced(b, "-> 12 e2 outbox_push"); i++)
		storage_bench_advance(b, 1); /* the next one would come after OUTBOX_RETRY_MS */
	assert_true(traced(b, "-> 12 e2 outbox_push"));
	storage_bench_clear(b);
	return lacks;
}

static void test_what_a_branch_names_is_brought(void **state)
{
	struct storage_bench *b = *state;
	struct msg_outbox_lacks lacks = away_with_branch(b);
	storage_bench_deliver(b, PEER_B, MSG_outbox_lacks, 2, &lacks);
	assert_true(slice_is(b->brought.body, "hello") && b->brought.chunk.last);
	assert_false(traced(b, "outbox_push"));
	b->request = b->chunk_request;
	struct msg_attachment_chunk_ack ack = {.status = STATUS_OK};
	storage_bench_deliver(b, PEER_B, MSG_attachment_chunk_ack, 2, &ack);
	storage_bench_advance(b, 50); /* at once: an upload is not held for ever */
	assert_true(traced(b, "-> 12 e2 outbox_push"));
	assert_false(b->pushed.bare);
}

/* A bit has flipped in it, say. */
static void test_what_is_not_here_is_not_brought(void **state)
{
	struct storage_bench *b = *state;
	struct msg_outbox_lacks lacks = away_with_branch(b);
	struct store *store = b->store;
	struct store_iterator *it = store_iterate(store, STORE_ATTACHMENTS);
	struct buf key = {0};
	for (store_seek(store, it, slice_text("")); store_valid(store, it); store_next(store, it)) {
		buf_clear(&key);
		buf_append_slice(&key, store_key(store, it));
		store_remove(store, STORE_ATTACHMENTS, buf_slice(&key));
	}
	store_iterator_free(store, it);
	buf_close(&key);
	storage_bench_deliver(b, PEER_B, MSG_outbox_lacks, 2, &lacks);
	storage_bench_advance(b, 100);
	assert_false(traced(b, "attachment_chunk"));
	assert_true(traced(b, "-> 12 e2 outbox_push") && b->pushed.bare);
}

static void place_again(struct storage_bench *b)
{
	struct replica replicas[] = {
	    {.node = PEER_B, .incarnation = INCARNATION + PEER_B},
	    {.node = PEER_C, .incarnation = INCARNATION + PEER_C},
	    {.node = SELF, .incarnation = INCARNATION + SELF, .learning = true}};
	peers_place_among(b, 3, PEER_B, MODE_AVAILABLE, replicas, ARRAY_LEN(replicas));
}

/* Does it take the beginning of a copy, or an entry? */
static bool takes_anything(struct storage_bench *b)
{
	struct msg_snapshot_chunk chunk = {.shard = SHARD, .snapshot = 1};
	storage_bench_clear(b);
	peers_append(b, 3, 1, 1, 1, NULL);
	storage_bench_deliver(b, PEER_B, MSG_snapshot_chunk, 3, &chunk);
	return traced(b, "stream_append_ack") || traced(b, "snapshot_chunk_ack");
}

static void test_a_place_anew_waits_for_branches(void **state)
{
	struct storage_bench *b = *state;
	struct msg_outbox_lacks lacks = away_with_branch(b);
	place_again(b);
	assert_false(takes_anything(b));
	storage_bench_advance(b, OUTBOX_RETRY_MS);
	assert_true(traced(b, "-> 12 e3 outbox_push"));
	storage_bench_deliver(b, PEER_B, MSG_outbox_lacks, 3, &lacks);
	assert_true(slice_is(b->brought.body, "hello"));
	struct msg_outbox_push_ack ack = {
	    .shard = SHARD, .id = lacks.id, .revision = lacks.revision};
	storage_bench_deliver(b, PEER_B, MSG_outbox_push_ack, 3, &ack);
	assert_true(takes_anything(b));
}

/* Without it nothing may be settled any more, not even what it waits for. */
static void test_a_place_anew_does_not_wait_for_ever(void **state)
{
	struct storage_bench *b = *state;
	away_with_branch(b);
	place_again(b);
	for (int i = 0; i < 60 && !takes_anything(b); i++)
		storage_bench_advance(b, 1000);
	assert_true(takes_anything(b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_lead_asks_for_what_a_branch_names,
					    storage_bench_setup, storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_lead_counts_on_nothing_that_goes,
					    storage_bench_setup, storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_lead_takes_what_can_not_be_brought,
					    storage_bench_setup, storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_what_a_branch_names_is_brought,
					    storage_bench_setup, storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_what_is_not_here_is_not_brought,
					    storage_bench_setup, storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_lead_asks_who_learns, storage_bench_setup,
					    storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_a_place_anew_waits_for_branches,
					    storage_bench_setup, storage_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_a_place_anew_does_not_wait_for_ever,
					    storage_bench_setup, storage_bench_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
