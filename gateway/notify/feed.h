/* Feeds of the gateway: opened at the leads of shards, kept open, opened again where they stopped.
 */
#ifndef PARLEY_GATEWAY_NOTIFY_FEED_H
#define PARLEY_GATEWAY_NOTIFY_FEED_H

#include "gateway/notify/internal.h"

enum {
	FEED_OPEN_MS = 1000, /* without an answer it is opened again */
	FEED_SILENCE_MS = 3000,
	FEED_REFUSED_MS = 100
};

/* Changes of a shard. Live, or the replay of one subscriber. */
struct feed {
	uint64_t id; /* a new one each time that it is opened */
	uint64_t shard;
	uint64_t collection;
	struct subscriber *only; /* NULL: live */
	uint64_t position;
	uint64_t told;   /* live: number of the last change that it told of, or may have missed */
	bool positioned; /* else it is opened at the end */
	bool open;       /* its lead has answered */
	bool held;       /* replay: answered, but its subscriber has no answer yet */
	uint64_t lead;
	uint64_t epoch;
	int64_t heard_ms;
	int64_t retry_ms; /* when to open again, unless something comes */
};

void feeds_follow(struct turn *t, struct interest *interest);
void feeds_unfollow(struct turn *t, struct interest *interest);
/* All its shards have a position. */
bool feeds_ready(struct turn *t, const struct interest *interest);
void feeds_tick(struct turn *t);
void feed_close(struct turn *t, struct feed *f);
struct feed *feed_of_shard(const struct gateway *gw, uint64_t shard);
/* Replays of all its shards that have none yet, as `resume` says. False: too many. */
bool replays_open(struct turn *t, struct subscriber *sub);
/* So many shards of `resume` does the map know, with their collections. */
uint32_t resume_known(const struct gateway *gw, const struct subscriber *sub);
bool replays_ready(const struct subscriber *sub);
void replays_start(struct turn *t, struct subscriber *sub);
bool subscriber_follows(const struct gateway *gw, const struct subscriber *sub,
			uint64_t collection);

#endif
