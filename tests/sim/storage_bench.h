/* The storage node's core alone, on a disk in memory, for its scenarios: tests play its peers. What
 * it sends is traced, one line a message; heartbeats and lease renewals are left out. Messages
 * cross as encoded bytes. */
#ifndef PARLEY_SIM_STORAGE_BENCH_H
#define PARLEY_SIM_STORAGE_BENCH_H

#include "storage-node/storage.h"
#include "tests/sim/disk.h"

/* Member ids; the core under test is SELF. The incarnation of node n is 200 + n. */
enum { COORDINATOR = 1, SELF = 11, PEER_B = 12, PEER_C = 13, GATEWAY = 21, ARBITER = 31 };
enum { SHARD = 7, COLLECTION = 5, INCARNATION = 200 };

struct storage_bench {
	struct disk *disk;
	struct store *store;
	struct storage *core;
	struct effects fx;
	struct arena arena; /* of the answers below; cleared with the trace */
	struct buf trace;
	int64_t now_ms;
	uint64_t boot;
	uint64_t join_request;   /* of the last one sent */
	uint64_t chunk_request;  /* likewise, of an attachment */
	uint64_t append_request; /* likewise, of the stream */
	uint64_t request;        /* that messages answer, or ask with */
	bool strange;            /* the coordinator does not answer a start */
	bool gathers;            /* what is delivered is of one turn, which does not end yet */
	struct storage_options options;
	struct slice policy; /* of the collection; borrowed */
	/* the latest of each */
	struct msg_doc_write_ack written;
	struct msg_doc_read_ack was_read;
	struct msg_shard_query_ack queried;
	struct msg_shard_changes_ack changed;
	struct msg_doc_import_ack imported;
	struct msg_doc_erase_ack erased;
	struct msg_doc_revisions_ack revisions;
	struct msg_revs_diff_ack missing;
	struct msg_shard_edit_ack edited;
	struct msg_conflict_resolve_ack resolved;
	struct msg_conflict_list_ack listed;
	struct msg_conflict_undo_ack undone;
	struct msg_conflict_read_ack graph;
	struct msg_conflict_take_ack taken;
	struct msg_conflict_lease_ack leased;
	struct msg_cleanup_prepare_ack prepared;
	struct msg_cleanup_commit_ack cleaned;
	struct msg_attachment_chunk_ack chunk_taken;
	struct msg_attachment_read_ack chunk_read;
	struct msg_attachment_chunk brought;
	struct msg_heartbeat beat;
	struct msg_member_join join;
	struct msg_outbox_push pushed;
	struct msg_stream_append_ack appended;
	struct msg_checkpoint_set_ack registered;
	struct msg_feed_events fed;
	struct msg_lock_set_ack set;
	struct msg_view_query_ack viewed;
	struct script_request script; /* the last one that was asked for */
	uint32_t scripts;             /* of them since the trace was cleared */
	uint32_t spared;  /* replicas that were told since then that they can go: 1 << PEER_B ... */
	uint32_t answers; /* of all these to gateway and arbiter since the trace was cleared */
};

void storage_bench_init(struct storage_bench *b);
void storage_bench_close(struct storage_bench *b);
/* The same as a test's set-up and its end: *state is a bench of its own. */
int storage_bench_setup(void **state);
int storage_bench_teardown(void **state);
/* The coordinator lets it in; a start does that by itself unless it is `strange`. */
void storage_bench_admit(struct storage_bench *b);
void storage_bench_start(struct storage_bench *b);
/* power: what was not synced is lost. */
void storage_bench_stop(struct storage_bench *b, bool power);
void storage_bench_clear(struct storage_bench *b);

void storage_bench_step(struct storage_bench *b, struct event *e);
/* Ends a turn as the shell does: commit, then what waited for it. */
void storage_bench_turn(struct storage_bench *b);
/* Time passes with timers and turns. */
void storage_bench_advance(struct storage_bench *b, int64_t ms);
/* One message and, unless it `gathers`, the end of the turn that takes it. */
void storage_bench_deliver(struct storage_bench *b, uint64_t from, uint16_t type, uint64_t epoch,
			   const void *message);

#endif
