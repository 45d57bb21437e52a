/* Documents that a split makes: done again, done too late, and beside what people did meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/doc/attachment.h"
#include "common/doc/revision.h"
#include "tests/sim/storage_peers.h"

enum { FIRST = 3 };

#define DOCUMENT (UINT64_C(0x1234) << 32)

static struct slice try_id(struct storage_bench *b, uint64_t number)
{
	struct buf id = {0};
	buf_append_be64(&id, DOCUMENT);
	buf_append_be64(&id, number);
	struct slice copy = arena_copy(&b->arena, buf_slice(&id));
	buf_close(&id);
	return copy;
}

/* The try with this number makes document d {"v": v}. */
static enum status split_as(struct storage_bench *b, uint64_t from, uint64_t number, uint64_t v,
			    uint64_t entry)
{
	struct msg_doc_write m = peers_put(b, "d", v);
	m.expect = EXPECT_DERIVED;
	m.operation_id = try_id(b, number);
	m.operation_digest = peers_operation(b, v);
	b->written = (struct msg_doc_write_ack){.status = 999};
	storage_bench_deliver(b, from, MSG_doc_write, 1, &m);
	if (b->written.status == 999 && entry > 0)
		peers_ack(b, PEER_B, 1, entry);
	return b->written.status;
}

static enum status split(struct storage_bench *b, uint64_t number, uint64_t v, uint64_t entry)
{
	return split_as(b, ARBITER, number, v, entry);
}

static void put(struct storage_bench *b, uint64_t v, uint64_t entry)
{
	struct msg_doc_write m = peers_put(b, "d", v);
	peers_write(b, 1, &m);
	peers_ack(b, PEER_B, 1, entry);
}

static void shows(struct storage_bench *b, uint64_t v, uint64_t conflicts)
{
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_true(slice_equal(b->was_read.body, peers_body(b, v)));
	assert_int_equal(b->was_read.conflicts, conflicts);
}

static void test_done_again(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	assert_int_equal(split(b, 20, 1, FIRST), STATUS_CREATED);
	assert_int_equal(split(b, 20, 1, 0), STATUS_CREATED);
	assert_int_equal(split(b, 20, 2, 0), STATUS_OPERATION_ID_REUSED);
	assert_int_equal(split(b, 21, 1, 0), STATUS_OK);
	shows(b, 1, 0);
	assert_int_equal(b->was_read.revision.generation, 1);
	assert_int_equal(split(b, 22, 2, FIRST + 1), STATUS_OK);
	shows(b, 2, 0);
	assert_int_equal(b->was_read.revision.generation, 2);
}

static void test_beside(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	assert_int_equal(split(b, 20, 1, FIRST), STATUS_CREATED);
	for (uint64_t i = 0; i < 2; i++) {
		struct msg_doc_write m = peers_put(b, "d", 2);
		m.expect = EXPECT_DERIVED;
		m.keep_as_branch = true;
		m.operation_id = try_id(b, 21 + i);
		m.operation_digest = peers_operation(b, 2);
		storage_bench_deliver(b, ARBITER, MSG_doc_write, 1, &m);
		peers_ack(b, PEER_B, 1, FIRST + 1);
		assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
		assert_int_equal(b->was_read.conflicts, 1);
		assert_int_equal(b->was_read.revision.generation, 1);
	}
}

static void test_too_late(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	assert_int_equal(split(b, 21, 2, FIRST), STATUS_CREATED);
	assert_int_equal(split(b, 20, 1, 0), STATUS_CONFLICT);
	shows(b, 2, 0);
}

static void test_what_people_did_stays(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	assert_int_equal(split(b, 20, 1, FIRST), STATUS_CREATED);
	put(b, 7, FIRST + 1);
	assert_int_equal(split(b, 21, 1, 0), STATUS_OK);
	shows(b, 7, 0);
	assert_int_equal(split(b, 22, 2, FIRST + 2), STATUS_OK);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_int_equal(b->was_read.conflicts, 1);
}

static void remove_it(struct storage_bench *b, uint64_t v, uint64_t entry)
{
	struct msg_doc_write m = peers_put(b, "d", v);
	m.op = WRITE_DELETE;
	m.body = (struct slice){0};
	peers_write(b, 1, &m);
	peers_ack(b, PEER_B, 1, entry);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_NOT_FOUND);
}

/* The name of {"v": v} without a parent. */
static struct revision root_name(struct storage_bench *b, uint64_t v)
{
	struct revision_content content = {.body = peers_body(b, v)};
	struct revision name;
	revision_name(&content, arena_alloc(&b->arena, REVISION_HASH_CHARS), &name);
	return name;
}

/* As long as no stub names the document. */
static enum status split_anew(struct storage_bench *b, uint64_t number, uint64_t v, uint64_t entry)
{
	uint8_t digest[16];
	struct msg_doc_write m = peers_put(b, "d", v);
	m.expect = EXPECT_DERIVED;
	m.anew = true;
	m.operation_id = try_id(b, number);
	digest16(root_name(b, v).hash, digest);
	m.operation_digest = slice_of(digest, sizeof digest);
	b->written = (struct msg_doc_write_ack){.status = 999};
	storage_bench_deliver(b, ARBITER, MSG_doc_write, 1, &m);
	if (b->written.status == 999 && entry > 0)
		peers_ack(b, PEER_B, 1, entry);
	return b->written.status;
}

static void test_another_split_brings_back_what_was_deleted(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	assert_int_equal(split_anew(b, 20, 1, FIRST), STATUS_CREATED);
	assert_int_equal(split_anew(b, 20, 1, 0), STATUS_CREATED);
	remove_it(b, 8, FIRST + 1);
	/* the same order: nobody knows whether it was before the deletion */
	assert_int_equal(split_anew(b, 20, 1, 0), STATUS_PRECONDITION_FAILED);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_NOT_FOUND);
	assert_int_equal(split_anew(b, 21, 1, FIRST + 2), STATUS_CREATED);
	shows(b, 1, 0);
	assert_int_equal(b->was_read.revision.generation, 3);
	assert_int_equal(split_anew(b, 21, 1, 0), STATUS_CREATED);
	assert_int_equal(split_anew(b, 20, 1, 0), STATUS_PRECONDITION_FAILED);
	/* it counts for there when somebody has edited it */
	put(b, 7, FIRST + 3);
	assert_int_equal(split_anew(b, 21, 1, 0), STATUS_CREATED);
	assert_int_equal(split_anew(b, 22, 1, 0), STATUS_OK);
	shows(b, 7, 0);
	/* but not when it is another document now */
	remove_it(b, 9, FIRST + 4);
	put(b, 6, FIRST + 5);
	assert_int_equal(split_anew(b, 23, 1, 0), STATUS_PRECONDITION_FAILED);
	assert_int_equal(split_anew(b, 22, 1, 0), STATUS_PRECONDITION_FAILED);
	shows(b, 6, 0);
}

static void test_deleted_after_the_split_it_stays_deleted(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	assert_int_equal(split(b, 20, 1, FIRST), STATUS_CREATED);
	remove_it(b, 8, FIRST + 1);
	assert_int_equal(split(b, 21, 1, 0), STATUS_OK);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_NOT_FOUND);
}

static enum status split_deletes(struct storage_bench *b, uint64_t number, uint64_t entry)
{
	struct msg_doc_write m = peers_put(b, "d", 0);
	m.op = WRITE_DELETE;
	m.body = (struct slice){0};
	m.expect = EXPECT_DERIVED;
	m.operation_id = try_id(b, number);
	m.operation_digest = peers_operation(b, 99);
	b->written = (struct msg_doc_write_ack){.status = 999};
	storage_bench_deliver(b, ARBITER, MSG_doc_write, 1, &m);
	if (b->written.status == 999 && entry > 0)
		peers_ack(b, PEER_B, 1, entry);
	return b->written.status;
}

static void test_a_late_deletion(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	assert_int_equal(split_deletes(b, 19, 0), STATUS_OK);
	assert_int_equal(split(b, 20, 1, FIRST), STATUS_CREATED);
	assert_int_equal(split_deletes(b, 21, FIRST + 1), STATUS_OK);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_NOT_FOUND);
	assert_int_equal(split_deletes(b, 21, 0), STATUS_OK);
	assert_int_equal(split_deletes(b, 22, 0), STATUS_OK);
	/* an edit after all */
	assert_int_equal(split(b, 23, 2, FIRST + 2), STATUS_CREATED);
	shows(b, 2, 0);
}

static void test_a_late_deletion_meets_an_edit(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	assert_int_equal(split(b, 20, 1, FIRST), STATUS_CREATED);
	put(b, 7, FIRST + 1);
	assert_int_equal(split_deletes(b, 21, FIRST + 2), STATUS_OK);
	shows(b, 7, 1);
}

static void test_taken(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	put(b, 7, FIRST);
	assert_int_equal(split_anew(b, 20, 1, 0), STATUS_PRECONDITION_FAILED);
	shows(b, 7, 0);
	/* but a stub names it: it was made so long ago that it knows nothing of it */
	assert_int_equal(split(b, 20, 1, FIRST + 1), STATUS_CREATED);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_int_equal(b->was_read.conflicts, 1);
}

/* A version {"v": v} of the document that was split off, made on the root {"v": on} if that is
 * there; each has a name of its own. */
struct version {
	uint64_t name;
	uint64_t v;
	uint64_t on;
	bool anew;
	uint64_t number; /* of the try */
};

static enum status named_version(struct storage_bench *b, const struct version *of, uint64_t entry)
{
	struct msg_doc_write m = peers_put(b, "d", of->v);
	struct revision base = root_name(b, of->on);
	struct buf id = {0};
	buf_append_be64(&id, DOCUMENT + of->name);
	buf_append_be64(&id, of->number);
	m.expect = EXPECT_DERIVED;
	m.expected = &base;
	m.expected_count = 1;
	m.keep_as_branch = true;
	m.anew = of->anew;
	m.operation_id = buf_slice(&id);
	m.operation_digest = peers_operation(b, of->v);
	b->written = (struct msg_doc_write_ack){.status = 999};
	storage_bench_deliver(b, ARBITER, MSG_doc_write, 1, &m);
	buf_close(&id);
	if (b->written.status == 999 && entry > 0)
		peers_ack(b, PEER_B, 1, entry);
	return b->written.status;
}

static enum status version(struct storage_bench *b, uint64_t v, uint64_t on, bool anew,
			   uint64_t number, uint64_t entry)
{
	return named_version(b, &(struct version){v, v, on, anew, number}, entry);
}

static void test_versions_on_what_they_have_in_common(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	assert_int_equal(version(b, 2, 1, true, 20, 0), STATUS_NO_LEAD); /* it comes too early */
	assert_int_equal(split_anew(b, 20, 1, FIRST), STATUS_CREATED);
	assert_int_equal(version(b, 2, 1, true, 20, FIRST + 1), STATUS_OK);
	assert_int_equal(version(b, 3, 1, true, 20, FIRST + 2), STATUS_OK);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_int_equal(b->was_read.revision.generation, 2);
	assert_int_equal(b->was_read.conflicts, 1);
	/* again, and as a later try */
	assert_int_equal(version(b, 2, 1, true, 20, 0), STATUS_OK);
	assert_int_equal(version(b, 3, 1, true, 21, 0), STATUS_OK);
	/* one whose base is not there: beside the others */
	assert_int_equal(version(b, 4, 9, true, 21, FIRST + 3), STATUS_CREATED);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_int_equal(b->was_read.conflicts, 2);
}

static void remove_leaf(struct storage_bench *b, uint64_t entry)
{
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	struct revision leaf = b->was_read.revision;
	struct msg_doc_write m = peers_put(b, "d", entry);
	m.op = WRITE_DELETE;
	m.body = (struct slice){0};
	m.expect = EXPECT_REVISION;
	m.expected = &leaf;
	m.expected_count = 1;
	peers_write(b, 1, &m);
	peers_ack(b, PEER_B, 1, entry);
}

static void test_versions_that_were_deleted_come_back_with_another_split(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	assert_int_equal(split_anew(b, 20, 1, FIRST), STATUS_CREATED);
	assert_int_equal(version(b, 2, 1, true, 20, FIRST + 1), STATUS_OK);
	assert_int_equal(version(b, 3, 1, true, 20, FIRST + 2), STATUS_OK);
	remove_leaf(b, FIRST + 3);
	remove_leaf(b, FIRST + 4);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_NOT_FOUND);
	assert_int_equal(version(b, 2, 1, true, 20, 0), STATUS_PRECONDITION_FAILED);
	assert_int_equal(version(b, 2, 1, true, 21, 0), STATUS_NO_LEAD);
	assert_int_equal(split_anew(b, 21, 1, FIRST + 5), STATUS_CREATED);
	/* on what came of their deletions; undoing a split gave them other names */
	const struct version other = {12, 2, 1, true, 21};
	assert_true(status_is_success(named_version(b, &other, FIRST + 6)));
	assert_true(status_is_success(version(b, 3, 1, true, 21, FIRST + 7)));
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_int_equal(b->was_read.conflicts, 1);
	bool two = slice_equal(b->was_read.body, peers_body(b, 2));
	remove_leaf(b, FIRST + 8);
	shows(b, two ? 3 : 2, 0);
}

/* Written anew on a deletion, what the versions have in common has another name than before. */
static void test_versions_on_what_was_written_anew(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	assert_int_equal(split_anew(b, 20, 1, FIRST), STATUS_CREATED);
	assert_int_equal(version(b, 2, 1, true, 20, FIRST + 1), STATUS_OK);
	remove_leaf(b, FIRST + 2);
	assert_int_equal(split_anew(b, 21, 1, FIRST + 3), STATUS_CREATED);
	shows(b, 1, 0);
	assert_int_equal(b->was_read.revision.generation, 4);
	/* one of the try before, which must change nothing now */
	assert_int_equal(version(b, 6, 1, true, 20, 0), STATUS_CONFLICT);
	assert_int_equal(version(b, 4, 1, true, 21, FIRST + 4), STATUS_OK);
	shows(b, 4, 0);
	assert_int_equal(version(b, 5, 1, true, 21, FIRST + 5), STATUS_OK);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_int_equal(b->was_read.revision.generation, 5);
	assert_int_equal(b->was_read.conflicts, 1);
}

/* What another body of the document was made on is not what this one is made on. */
static void test_versions_on_the_newest_body(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	assert_int_equal(split_anew(b, 20, 7, FIRST), STATUS_CREATED);
	assert_int_equal(split_anew(b, 21, 1, FIRST + 1), STATUS_OK);
	assert_int_equal(version(b, 2, 1, true, 21, FIRST + 2), STATUS_OK);
	assert_int_equal(version(b, 3, 1, true, 21, FIRST + 3), STATUS_OK);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	assert_int_equal(b->was_read.revision.generation, 3);
	assert_int_equal(b->was_read.conflicts, 1);
}

static enum status check_version(struct storage_bench *b, uint64_t v, uint64_t number)
{
	struct buf id = {0};
	buf_append_be64(&id, DOCUMENT + v);
	buf_append_be64(&id, number);
	struct msg_derived_check m = {.shard = SHARD,
				      .id = slice_text("d"),
				      .body = peers_body(b, v),
				      .keep_as_branch = true,
				      .anew = true,
				      .operation_id = buf_slice(&id),
				      .operation_digest = peers_operation(b, v)};
	b->written = (struct msg_doc_write_ack){.status = 999};
	storage_bench_deliver(b, ARBITER, MSG_derived_check, 1, &m);
	buf_close(&id);
	return b->written.status;
}

/* Asked again after half of it was done. */
static void test_a_deleted_version_may_follow_its_document(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	assert_int_equal(check_version(b, 2, 20), STATUS_CREATED);
	assert_int_equal(split_anew(b, 20, 1, FIRST), STATUS_CREATED);
	assert_int_equal(version(b, 2, 1, true, 20, FIRST + 1), STATUS_OK);
	remove_leaf(b, FIRST + 2);
	assert_int_equal(split_anew(b, 21, 1, FIRST + 3), STATUS_CREATED);
	assert_true(status_is_success(check_version(b, 2, 21)));
	assert_int_equal(version(b, 2, 1, true, 21, FIRST + 4), STATUS_OK);
	shows(b, 2, 0);
}

static enum status check(struct storage_bench *b, uint64_t number, struct slice body)
{
	struct msg_derived_check m = {.shard = SHARD,
				      .id = slice_text("d"),
				      .body = body,
				      .anew = true,
				      .operation_id = try_id(b, number),
				      .operation_digest = peers_operation(b, 1)};
	b->written = (struct msg_doc_write_ack){.status = 999};
	storage_bench_deliver(b, ARBITER, MSG_derived_check, 1, &m);
	return b->written.status;
}

static void test_a_check_changes_nothing(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	assert_int_equal(check(b, 20, peers_body(b, 1)), STATUS_CREATED);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_NOT_FOUND);
	put(b, 7, FIRST);
	assert_int_equal(check(b, 20, peers_body(b, 1)), STATUS_PRECONDITION_FAILED);
	shows(b, 7, 0);
}

/* {"_attachments": {"a": ...}}: the content "hello", which an upload brings if one is named. */
static struct slice pictured(struct storage_bench *b, const char *content, uint64_t upload)
{
	struct buf out = {0};
	struct buf hex = {0};
	mp_write_map(&out, 1);
	mp_write_text(&out, ATTACHMENTS_MEMBER);
	mp_write_map(&out, 1);
	mp_write_text(&out, "a");
	mp_write_map(&out, 2 + (upload > 0));
	mp_write_text(&out, "content_type");
	mp_write_text(&out, "text/plain");
	mp_write_text(&out, "content");
	mp_write_text(&out, content);
	if (upload > 0) {
		struct slice id = peers_operation(b, upload);
		buf_append_hex(&hex, id.data, id.len);
		mp_write_text(&out, "upload");
		mp_write_str(&out, buf_slice(&hex));
	}
	struct slice copy = arena_copy(&b->arena, buf_slice(&out));
	buf_close(&out);
	buf_close(&hex);
	return copy;
}

static enum status split_with(struct storage_bench *b, struct slice body, uint64_t entry)
{
	struct msg_doc_write m = peers_put(b, "d", 1);
	m.body = body;
	m.expect = EXPECT_DERIVED;
	m.operation_id = try_id(b, 20);
	m.operation_digest = peers_operation(b, 1);
	b->written = (struct msg_doc_write_ack){.status = 999};
	storage_bench_deliver(b, ARBITER, MSG_doc_write, 1, &m);
	if (b->written.status == 999)
		peers_ack(b, PEER_B, 1, entry);
	return b->written.status;
}

/* As an arbiter brings them: the refusal before binds nobody. */
static void test_attachments_are_brought(void **state)
{
	struct storage_bench *b = *state;
	char hello[CONTENT_CHARS + 1];
	char other[CONTENT_CHARS + 1];
	uint8_t chain[CONTENT_BYTES] = {0};
	uint8_t name[CONTENT_BYTES];
	struct buf hex = {0};
	content_chain(chain, slice_text("hello"));
	content_name(chain, 5, name);
	buf_append_hex(&hex, name, sizeof name);
	snprintf(hello, sizeof hello, "%s", buf_cstr(&hex));
	snprintf(other, sizeof other, "%064d", 0);
	buf_close(&hex);
	peers_lead(b, MODE_CONSISTENT);
	assert_int_equal(check(b, 20, pictured(b, hello, 0)), STATUS_MISSING_ATTACHMENT);
	assert_int_equal(split_with(b, pictured(b, hello, 0), 0), STATUS_MISSING_ATTACHMENT);
	struct msg_attachment_chunk m = {.shard = SHARD, .body = slice_text("hello")};
	m.chunk = (struct chunk){.upload = peers_operation(b, 5), .last = true};
	m.chunk.md5 = slice_of(name, 16);
	storage_bench_deliver(b, ARBITER, MSG_attachment_chunk, 1, &m);
	peers_ack(b, PEER_B, 1, FIRST);
	assert_int_equal(split_with(b, pictured(b, other, 5), 0), STATUS_BAD_ATTACHMENT);
	assert_int_equal(split_with(b, pictured(b, hello, 5), FIRST + 1), STATUS_CREATED);
	assert_int_equal(peers_read(b, 1, "d", false), STATUS_OK);
	struct attachment_stub stub;
	assert_true(attachment_find(attachments_of(b->was_read.body), slice_text("a"), &stub));
	assert_memory_equal(stub.content, name, sizeof name);
	assert_int_equal(split_with(b, pictured(b, hello, 5), 0), STATUS_CREATED);
}

static void test_arbiters_write_nothing_else(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_AVAILABLE);
	struct msg_doc_write m = peers_put(b, "d", 1);
	m.operation_digest = peers_operation(b, 1);
	storage_bench_deliver(b, ARBITER, MSG_doc_write, 1, &m);
	assert_int_equal(b->written.status, STATUS_BAD_MESSAGE);
	m.expect = EXPECT_DERIVED;
	m.branch = true;
	storage_bench_deliver(b, ARBITER, MSG_doc_write, 1, &m);
	assert_int_equal(b->written.status, STATUS_BAD_MESSAGE);
	assert_int_equal(split_as(b, GATEWAY, 20, 1, FIRST), STATUS_CREATED);
}

/* A patch has nothing to change where the document is not there yet. */
static void test_what_is_brought_is_whole(void **state)
{
	struct storage_bench *b = *state;
	const uint64_t partial[] = {WRITE_PATCH, WRITE_UPDATE};
	peers_lead(b, MODE_AVAILABLE);
	for (uint32_t i = 0; i < ARRAY_LEN(partial); i++) {
		struct msg_doc_write m = peers_put(b, "d", 1);
		m.expect = EXPECT_DERIVED;
		m.op = partial[i];
		m.operation_id = try_id(b, 30 + i);
		m.operation_digest = peers_operation(b, 1);
		storage_bench_deliver(b, GATEWAY, MSG_doc_write, 1, &m);
		assert_int_equal(b->written.status, STATUS_BAD_MESSAGE);
	}
	assert_int_equal(split_as(b, GATEWAY, 40, 1, FIRST), STATUS_CREATED);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, storage_bench_setup, storage_bench_teardown)
	const struct CMUnitTest tests[] = {
	    T(test_done_again),
	    T(test_beside),
	    T(test_too_late),
	    T(test_what_people_did_stays),
	    T(test_taken),
	    T(test_versions_on_what_they_have_in_common),
	    T(test_versions_on_what_was_written_anew),
	    T(test_versions_on_the_newest_body),
	    T(test_a_deleted_version_may_follow_its_document),
	    T(test_versions_that_were_deleted_come_back_with_another_split),
	    T(test_another_split_brings_back_what_was_deleted),
	    T(test_deleted_after_the_split_it_stays_deleted),
	    T(test_a_late_deletion),
	    T(test_a_late_deletion_meets_an_edit),
	    T(test_a_check_changes_nothing),
	    T(test_attachments_are_brought),
	    T(test_arbiters_write_nothing_else),
	    T(test_what_is_brought_is_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
