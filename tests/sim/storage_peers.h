/* What the peers and clients of a storage node say in its scenarios. Shard SHARD has replicas SELF,
 * PEER_B and PEER_C and W = 2. */
#ifndef PARLEY_SIM_STORAGE_PEERS_H
#define PARLEY_SIM_STORAGE_PEERS_H

#include "tests/sim/storage_bench.h"

/* The coordinator pushes a map: this placement, and the collection with version 1 of its settings.
 */
void peers_place(struct storage_bench *b, uint64_t epoch, uint64_t lead,
		 enum availability_mode mode);
/* Likewise, with other replicas. */
void peers_place_among(struct storage_bench *b, uint64_t epoch, uint64_t lead,
		       enum availability_mode mode, struct replica *replicas, uint32_t count);
void peers_promise(struct storage_bench *b, uint64_t node, uint64_t epoch, enum status status);
/* Entries up to this number are synced there. */
void peers_ack(struct storage_bench *b, uint64_t node, uint64_t epoch, uint64_t number);
void peers_grant(struct storage_bench *b, uint64_t node, uint64_t epoch, bool disk_full);
/* SELF leads epoch 1 under a lease with B in sync: EPOCH and SETTINGS are entries 1 and 2. */
void peers_lead(struct storage_bench *b, enum availability_mode mode);
/* SELF takes over from who led before, once no lease of that holds, with this peer in sync: EPOCH
 * is the entry behind `last`. */
void peers_take_over(struct storage_bench *b, uint64_t epoch, uint64_t peer, uint64_t last);
/* B, as the lead, sends one entry, or none. */
void peers_append(struct storage_bench *b, uint64_t epoch, uint64_t previous_epoch,
		  uint64_t previous, uint64_t settled, const struct change *change);
/* SELF follows B in epoch 1, and has applied EPOCH and SETTINGS. */
void peers_follow(struct storage_bench *b, enum availability_mode mode);
/* {"v": v}, and 16 bytes that stand for n; in the bench's arena. */
struct slice peers_body(struct storage_bench *b, uint64_t v);
struct slice peers_operation(struct storage_bench *b, uint64_t n);
struct msg_doc_write peers_put(struct storage_bench *b, const char *id, uint64_t v);
/* From the gateway. The status stays 999 while there is no answer. */
void peers_write(struct storage_bench *b, uint64_t epoch, const struct msg_doc_write *m);
enum status peers_read(struct storage_bench *b, uint64_t epoch, const char *id, bool any);
/* Committed pairs of the shard under this letter, but for where epochs begin. */
int peers_pairs(struct storage_bench *b, enum store_family family, char letter);

#endif
