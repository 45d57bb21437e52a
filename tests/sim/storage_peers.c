#include "tests/sim/storage_peers.h"

#include "common/timing.h"
#include "proto/msgpack.h"
#include "storage-node/keys.h"

/* ---- what peers say ---- */

void peers_place_among(struct storage_bench *b, uint64_t epoch, uint64_t lead,
		       enum availability_mode mode, struct replica *replicas, uint32_t count)
{
	struct shard shard = {.id = SHARD,
			      .collection = COLLECTION,
			      .hash_last = UINT64_MAX,
			      .epoch = epoch,
			      .lead = lead,
			      .replicas = replicas,
			      .replicas_count = count,
			      .write_quorum = 2};
	struct collection collection = {.id = COLLECTION,
					.name = slice_text("c"),
					.version = 1,
					.replicas = 3,
					.write_quorum = 2,
					.mode = mode,
					.policy = b->policy,
					.keep_ancestors = mode == MODE_AVAILABLE ? 10 : 0};
	struct msg_map_push push = {.map_version = epoch,
				    .collections = &collection,
				    .collections_count = 1,
				    .shards = &shard,
				    .shards_count = 1};
	storage_bench_deliver(b, COORDINATOR, MSG_map_push, 0, &push);
}

void peers_place(struct storage_bench *b, uint64_t epoch, uint64_t lead,
		 enum availability_mode mode)
{
	struct replica replicas[] = {{.node = SELF, .incarnation = INCARNATION + SELF},
				     {.node = PEER_B, .incarnation = INCARNATION + PEER_B},
				     {.node = PEER_C, .incarnation = INCARNATION + PEER_C}};
	peers_place_among(b, epoch, lead, mode, replicas, ARRAY_LEN(replicas));
}

void peers_promise(struct storage_bench *b, uint64_t node, uint64_t epoch, enum status status)
{
	struct msg_promise_ack m = {
	    .shard = SHARD, .status = status, .incarnation = INCARNATION + node};
	storage_bench_deliver(b, node, MSG_promise_ack, epoch, &m);
}

void peers_ack(struct storage_bench *b, uint64_t node, uint64_t epoch, uint64_t number)
{
	struct msg_stream_append_ack m = {.shard = SHARD,
					  .incarnation = INCARNATION + node,
					  .last = {.epoch = epoch, .number = number}};
	storage_bench_deliver(b, node, MSG_stream_append_ack, epoch, &m);
}

void peers_grant(struct storage_bench *b, uint64_t node, uint64_t epoch, bool disk_full)
{
	struct shard_epoch shard = {.shard = SHARD, .epoch = epoch};
	struct msg_lease_grant m = {.sent_ms = (uint64_t)b->now_ms,
				    .boot = b->boot,
				    .incarnation = INCARNATION + node,
				    .shards = &shard,
				    .shards_count = 1,
				    .disk_full = disk_full};
	storage_bench_deliver(b, node, MSG_lease_grant, 0, &m);
}

void peers_lead(struct storage_bench *b, enum availability_mode mode)
{
	peers_place(b, 1, SELF, mode);
	peers_promise(b, PEER_B, 1, STATUS_OK);
	peers_ack(b, PEER_B, 1, 0);
	peers_ack(b, PEER_B, 1, 1);
	peers_ack(b, PEER_B, 1, 2);
	peers_grant(b, PEER_B, 1, false);
	storage_bench_clear(b);
}

void peers_take_over(struct storage_bench *b, uint64_t epoch, uint64_t peer, uint64_t last)
{
	peers_place(b, epoch, SELF, MODE_CONSISTENT);
	storage_bench_advance(b, LEASE_HELD_MS);
	peers_promise(b, peer, epoch, STATUS_OK);
	storage_bench_advance(b, 50);
	peers_ack(b, peer, epoch, last);
	peers_ack(b, peer, epoch, last + 1);
	peers_grant(b, peer, epoch, false);
	storage_bench_clear(b);
}

void peers_append(struct storage_bench *b, uint64_t epoch, uint64_t previous_epoch,
		  uint64_t previous, uint64_t settled, const struct change *change)
{
	struct buf bytes = {0};
	struct stream_entry entry = {.epoch = epoch};
	struct msg_stream_append m = {.shard = SHARD,
				      .previous = {previous_epoch, previous},
				      .settled = settled,
				      .entries = &entry};
	if (change) {
		schema_encode(&schema_change, change, &bytes);
		entry.change = buf_slice(&bytes);
		m.entries_count = 1;
	}
	storage_bench_deliver(b, PEER_B, MSG_stream_append, epoch, &m);
	buf_close(&bytes);
}

void peers_follow(struct storage_bench *b, enum availability_mode mode)
{
	struct buf settings = {0};
	struct collection collection = {.id = COLLECTION,
					.name = slice_text("c"),
					.version = 1,
					.replicas = 3,
					.write_quorum = 2,
					.mode = mode,
					.keep_ancestors = mode == MODE_AVAILABLE ? 10 : 0};
	schema_encode(&schema_collection, &collection, &settings);
	struct change epoch = {.kind = CHANGE_EPOCH};
	struct change change = {.kind = CHANGE_SETTINGS, .policy = 1, .body = buf_slice(&settings)};
	peers_place(b, 1, PEER_B, mode);
	peers_append(b, 1, 0, 0, 0, &epoch);
	peers_append(b, 1, 1, 1, 2, &change);
	peers_append(b, 1, 1, 2, 2, NULL);
	buf_close(&settings);
	storage_bench_clear(b);
}

/* ---- what clients ask ---- */

struct slice peers_body(struct storage_bench *b, uint64_t v)
{
	struct buf bytes = {0};
	mp_write_map(&bytes, 1);
	mp_write_text(&bytes, "v");
	mp_write_u64(&bytes, v);
	struct slice kept = arena_copy(&b->arena, buf_slice(&bytes));
	buf_close(&bytes);
	return kept;
}

struct slice peers_operation(struct storage_bench *b, uint64_t n)
{
	struct buf bytes = {0};
	buf_append_be64(&bytes, n);
	buf_append_be64(&bytes, n);
	struct slice kept = arena_copy(&b->arena, buf_slice(&bytes));
	buf_close(&bytes);
	return kept;
}

struct msg_doc_write peers_put(struct storage_bench *b, const char *id, uint64_t v)
{
	return (struct msg_doc_write){.shard = SHARD,
				      .op = WRITE_PUT,
				      .id = slice_text(id),
				      .body = peers_body(b, v),
				      .operation_id = peers_operation(b, v)};
}

void peers_write(struct storage_bench *b, uint64_t epoch, const struct msg_doc_write *m)
{
	b->written = (struct msg_doc_write_ack){.status = 999};
	storage_bench_deliver(b, GATEWAY, MSG_doc_write, epoch, m);
}

enum status peers_read(struct storage_bench *b, uint64_t epoch, const char *id, bool any)
{
	struct msg_doc_read m = {
	    .shard = SHARD, .id = slice_text(id), .any = any, .want_leaves = true};
	storage_bench_deliver(b, GATEWAY, MSG_doc_read, epoch, &m);
	return b->was_read.status;
}

int peers_pairs(struct storage_bench *b, enum store_family family, char letter)
{
	struct slice epochs;
	struct buf key = {0};
	int count = (int)disk_count(b->disk, family, key_shard(&key, letter, SHARD));
	if (family == STORE_CONFLICTS && letter == 'd')
		count -= disk_get(b->disk, family, key_epochs(&key, SHARD), &epochs);
	buf_close(&key);
	return count;
}
