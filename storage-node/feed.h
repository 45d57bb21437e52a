/* Feeds: a gateway that has subscribers is told of every settled change of a shard's documents.
 *
 * A position is a number of the stream, which no change of lead alters. Feeds that are up to date
 * are told from what was just applied; others read the kept stream until they are. Each has one
 * message under way: what comes meanwhile goes into the next one. Only a lead under its lease
 * opens feeds and shows signs of life; a gateway that hears none opens anew, at its position. */
#ifndef PARLEY_STORAGE_FEED_H
#define PARLEY_STORAGE_FEED_H

#include "storage-node/internal.h"

enum {
	FEEDS_SHARD_MAX = 256,
	FEEDS_NODE_MAX = 16384,
	FEED_EVENTS_MAX = 1024,    /* of one message */
	FEED_NOTES_MAX = 4096,     /* of a shard, kept for feeds whose message is under way */
	FEED_READ_ENTRIES = 2048,  /* looked at for one message */
	FEED_READ_BYTES = 4 << 20, /* likewise */
	FEED_LIFE_MS = 1000,       /* between signs of life; an unanswered message is repeated */
	FEED_DROP_MS = 5 * FEED_LIFE_MS /* without an acknowledgement */
};

void feed_on_open(struct storage *s, const struct event *e, struct effects *fx);
void feed_on_ack(struct storage *s, const struct event *e, struct effects *fx);
void feed_on_close(struct storage *s, const struct event *e, struct effects *fx);
enum { FEED_MARK_BYTES = 2 }; /* of an entry that does something to a conflict */

/* What an entry did. */
struct feed_effect {
	bool changed;
	uint8_t conflict; /* enum conflict_event; 0: none */
	uint8_t kind;     /* enum conflict_kind */
};

/* The entry is being applied. One without an effect, or with one on a conflict, is marked on disk,
 * so that those who read the stream later tell the same. */
void feed_applied(struct storage *s, struct shard_copy *c, uint64_t number,
		  const struct change *change, const struct feed_effect *effect);
void feed_turn(struct storage *s, struct shard_copy *c, struct effects *fx);
void feed_tick(struct storage *s, struct shard_copy *c, struct effects *fx);
void feed_free(struct shard_copy *c);
uint64_t feed_count(const struct shard_copy *c);
uint64_t feed_lag(const struct shard_copy *c);

#endif
