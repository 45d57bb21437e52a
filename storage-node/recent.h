/* What became of operations lately, so that a request that comes twice, or is tried twice, is done
 * once. Every replica knows those of the newest entries of its stream, so that a successor, or a
 * lead that restarted, knows what was taken; a lead also knows what it refused in its epoch.
 *
 * A refusal under a client's key is an entry, too (CHANGE_REFUSAL): other attempts under the key
 * may be on their way when its client is told, and no lead to come may do one of them. These are
 * kept apart, as no document's record knows them, and as long as an attempt may be on its way: on
 * the disk, too (refusals.h). */
#ifndef PARLEY_STORAGE_RECENT_H
#define PARLEY_STORAGE_RECENT_H

#include "common/base/map.h"
#include "proto/schema.h"
#include "proto/status.h"

enum { RECENT_OPERATIONS = 512, RECENT_REFUSALS = 4096 };

struct storage;
struct shard_copy;

struct recent {
	uint64_t number; /* entry, or 0: refused without one */
	int64_t added_ms;
	uint64_t epoch; /* in which it was decided */
	uint64_t status;
	uint64_t generation;
	uint8_t hash_len;
	uint8_t hash[LIMIT_REV_HASH_BYTES];
	uint8_t operation_id[16];
	uint8_t digest[16]; /* of the request; empty: the gateway chose the id */
	uint8_t digest_len;
	bool used;
};

/* All zero is valid, and empty. */
struct recent_table {
	struct map by_id;    /* operation id -> struct recent* */
	struct recent *ring; /* what lies behind `next` was never written */
	uint64_t next;
	int64_t until_ms; /* all go then; 0: as of the next tick */
};

struct recents {
	struct recent_table taken;   /* ring of RECENT_OPERATIONS */
	struct recent_table refused; /* ring of RECENT_REFUSALS */
	bool gap;                    /* operations that were taken before this start, or until */
	int64_t gap_ms;              /* then, may not be known */
};

/* NULL: not known. */
struct recent *recent_find(const struct shard_copy *c, struct slice operation_id);
/* By an entry of the stream. */
struct recent *recent_refusal(const struct shard_copy *c, struct slice operation_id);
struct revision recent_revision(const struct recent *r);
bool recent_is_of(const struct recent *r, struct slice digest);
/* Does its entry still stand in the stream? Not known of one that was trimmed since. */
bool recent_stands(struct storage *s, struct shard_copy *c, const struct recent *r);
/* Of the entry that this operation became, if it stands in the stream; 0: not known. */
uint64_t recent_number(struct storage *s, struct shard_copy *c, struct slice operation_id);

/* Operations that were taken until now may not be known: their entries were not read, or never came
 * here. */
void recent_gap(const struct storage *s, struct shard_copy *c);
/* May one be unknown of which a copy, or another sending, is still under way? */
bool recent_has_gap(const struct storage *s, const struct shard_copy *c);

/* `what`: number, epoch and status. */
void recent_add(const struct storage *s, struct shard_copy *c, struct slice operation_id,
		struct slice digest, const struct recent *what, const struct revision *revision);
void recent_forget(struct shard_copy *c, struct slice operation_id);
/* Notes the operation of an entry of the stream; the entry is cut from it. */
void recent_entry(struct storage *s, struct shard_copy *c, uint64_t number, uint64_t epoch,
		  const struct change *change);
void recent_cut(struct shard_copy *c, uint64_t number, const struct change *change);
/* They outlive the lead's epoch for as long as a request may be under way. */
void recent_tick(struct storage *s, struct shard_copy *c);
void recent_clear(struct shard_copy *c);

#endif
