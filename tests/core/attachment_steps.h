/* Attachments at a storage node's core, step by step: contents in chunks, documents that name them.
 */
#ifndef PARLEY_TESTS_CORE_ATTACHMENT_STEPS_H
#define PARLEY_TESTS_CORE_ATTACHMENT_STEPS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/doc/attachment.h"
#include "common/doc/value.h"
#include "storage-node/attachment.h"
#include "tests/sim/storage_peers.h"

static inline uint64_t next_operation(void)
{
	static uint64_t operation = 100;
	return ++operation;
}

/* Everything ordered so far is settled and applied. */
static inline void settle(struct storage_bench *b, uint64_t number)
{
	peers_ack(b, PEER_B, 1, number);
}

static inline enum status chunk(struct storage_bench *b, uint64_t upload, uint64_t number,
				bool last, struct slice bytes)
{
	uint8_t md5[MD5_BYTES];
	attachment_md5(bytes, md5);
	struct msg_attachment_chunk m = {.shard = SHARD, .body = bytes};
	m.chunk =
	    (struct chunk){.upload = peers_operation(b, upload), .number = number, .last = last};
	if (last)
		m.chunk.md5 = slice_of(md5, sizeof md5);
	b->chunk_taken.status = 999;
	storage_bench_deliver(b, GATEWAY, MSG_attachment_chunk, 1, &m);
	return (enum status)b->chunk_taken.status;
}

/* {"v": v, "_attachments": {"a": ...}}: `member` is hexadecimal digits of an upload, "stub", or
 * what is stored. */
static inline struct slice body_of(struct storage_bench *b, uint64_t v, uint64_t upload)
{
	struct buf out = {0};
	struct buf id = {0};
	mp_write_map(&out, 2);
	mp_write_text(&out, "v");
	mp_write_u64(&out, v);
	mp_write_text(&out, ATTACHMENTS_MEMBER);
	mp_write_map(&out, 1);
	mp_write_text(&out, "a");
	mp_write_map(&out, 2);
	mp_write_text(&out, "content_type");
	mp_write_text(&out, "text/plain");
	if (upload > 0) {
		struct slice bytes = peers_operation(b, upload);
		buf_append_hex(&id, bytes.data, bytes.len);
		mp_write_text(&out, "upload");
		mp_write_str(&out, buf_slice(&id));
	} else {
		mp_write_text(&out, "stub");
		mp_write_bool(&out, true);
	}
	struct slice copy = arena_copy(&b->arena, buf_slice(&out));
	buf_close(&out);
	buf_close(&id);
	return copy;
}

static inline enum status write(struct storage_bench *b, const char *id, struct slice body,
				uint64_t settles)
{
	struct msg_doc_write put = peers_put(b, id, 0);
	put.body = body;
	put.operation_id = peers_operation(b, next_operation());
	peers_write(b, 1, &put);
	if (b->written.status == 999)
		settle(b, settles);
	return (enum status)b->written.status;
}

static inline bool stub_of(struct storage_bench *b, const char *id, struct attachment_stub *out)
{
	return peers_read(b, 1, id, false) == STATUS_OK &&
	       attachment_find(attachments_of(b->was_read.body), slice_text("a"), out);
}

static inline enum status read_chunk(struct storage_bench *b, const struct attachment_stub *stub,
				     uint64_t number)
{
	struct msg_attachment_read m = {
	    .shard = SHARD, .content = slice_of(stub->content, CONTENT_BYTES), .number = number};
	b->chunk_read.status = 999;
	storage_bench_deliver(b, GATEWAY, MSG_attachment_read, 1, &m);
	return (enum status)b->chunk_read.status;
}

/* SELF leads, and document d has an attachment that says hello: entries 3 and 4. */
static inline void lead_with_hello(struct storage_bench *b, enum availability_mode mode)
{
	peers_lead(b, mode);
	assert_int_equal(chunk(b, 1, 0, true, slice_text("hello")), 999);
	settle(b, 3);
	assert_int_equal(write(b, "d", body_of(b, 1, 1), 4), STATUS_CREATED);
}

/* {"v": 9, "_attachments": {"a": the attachment as it is stored}}. */
static inline struct slice body_with(struct storage_bench *b, const struct attachment_stub *stub)
{
	struct buf out = {0};
	mp_write_map(&out, 2);
	mp_write_text(&out, "v");
	mp_write_u64(&out, 9);
	mp_write_text(&out, ATTACHMENTS_MEMBER);
	mp_write_map(&out, 1);
	mp_write_text(&out, "a");
	attachment_write(stub, &out);
	struct slice copy = arena_copy(&b->arena, buf_slice(&out));
	buf_close(&out);
	return copy;
}

#endif
