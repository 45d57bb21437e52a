/* What scenarios of a storage node begin with, and how their traces are compared. */
#ifndef PARLEY_TESTS_CORE_STORAGE_CASE_H
#define PARLEY_TESTS_CORE_STORAGE_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/sim/storage_peers.h"

static inline void expect(struct storage_bench *b, const char *trace)
{
	assert_string_equal(buf_cstr(&b->trace), trace);
	storage_bench_clear(b);
}

/* The entry that makes document d. */
static inline struct change first_write(struct storage_bench *b)
{
	return (struct change){.kind = CHANGE_WRITE,
			       .id = slice_text("d"),
			       .revision = {1, slice_text("a")},
			       .body = peers_body(b, 1),
			       .operation_id = peers_operation(b, 1)};
}

/* SELF leads epoch 1, and has refused this write of a document that is not there. */
static inline struct msg_doc_write refused(struct storage_bench *b)
{
	peers_lead(b, MODE_CONSISTENT);
	peers_grant(b, PEER_B, 1, false);
	struct msg_doc_write m = peers_put(b, "d", 1);
	m.expect = EXPECT_PRESENT;
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_NOT_FOUND);
	return m;
}

/* Epoch 2: SELF leads, and C, which has lost its disk, learns. */
static inline void place_with_learner(struct storage_bench *b)
{
	struct replica replicas[] = {
	    {.node = SELF, .incarnation = INCARNATION + SELF},
	    {.node = PEER_B, .incarnation = INCARNATION + PEER_B},
	    {.node = PEER_C, .incarnation = INCARNATION + PEER_C, .learning = true}};
	struct msg_shard_newer newer = {.shard = {.id = SHARD,
						  .collection = COLLECTION,
						  .hash_last = UINT64_MAX,
						  .epoch = 2,
						  .lead = SELF,
						  .replicas = replicas,
						  .replicas_count = 3,
						  .write_quorum = 2}};
	storage_bench_deliver(b, PEER_B, MSG_shard_newer, 2, &newer);
}

/* SELF leads, and document d has the roots 1-a and 1-b, settled as entries 3 and 4. */
static inline void two_roots_in(struct storage_bench *b, enum availability_mode mode)
{
	static const char *const names[] = {"a", "b"};
	peers_lead(b, mode);
	for (uint64_t i = 0; i < 2; i++) {
		struct buf bytes = {0};
		struct change change = {.kind = CHANGE_BRANCH,
					.id = slice_text("d"),
					.revision = {1, slice_text(names[i])},
					.body = peers_body(b, i),
					.operation_id = peers_operation(b, i)};
		schema_encode(&schema_change, &change, &bytes);
		struct msg_outbox_push m = {.shard = SHARD, .change = buf_slice(&bytes)};
		storage_bench_deliver(b, PEER_B, MSG_outbox_push, 1, &m);
		peers_ack(b, PEER_B, 1, 3 + i);
		buf_close(&bytes);
	}
	storage_bench_clear(b);
}

static inline void two_roots(struct storage_bench *b)
{
	two_roots_in(b, MODE_AVAILABLE);
}

#endif
