/* Rounds of acknowledged cleanup: one per shard at a time. */
#ifndef PARLEY_ARBITER_CLEANUP_H
#define PARLEY_ARBITER_CLEANUP_H

#include "common/base/arena.h"
#include "common/core.h"

struct arbiter;
struct shard_row;

enum cleanup_state {
	CLEANUP_COLLECTING, /* items come in from the list */
	CLEANUP_PREPARING,  /* every replica is asked */
	CLEANUP_COMMITTING  /* all have answered; the lead is to order it */
};

struct cleanup_replica {
	uint64_t node;
	uint64_t incarnation;
	uint64_t request; /* the same in every try, so that a late answer counts */
	int64_t retry_ms;
	uint32_t attempts;
	bool acked;
	int64_t acked_ms;
	uint64_t number;
};

/* One round of one shard; everything in it belongs to one epoch. */
struct cleanup {
	enum cleanup_state state;
	struct arena arena;
	struct cleanup_item *items; /* room for LIMIT_CLEANUP_ITEMS, in the arena */
	uint8_t *acks;              /* per item: bit i = replicas[i] has acknowledged it */
	uint32_t items_count;
	struct cleanup_replica replicas[LIMIT_REPLICAS];
	uint32_t replicas_count;
	uint64_t commit_request;
	int64_t commit_retry_ms;
	uint32_t commit_attempts;
	int64_t not_before_ms; /* after a round that achieved nothing */
	int64_t pause_ms;
	int64_t since_wall_ms; /* something is due, and not done; 0: nothing is */
};

bool arbiter_cleanup_collects(const struct arbiter *a, const struct shard_row *row);
/* Copies the item; false: the batch is full. */
bool arbiter_cleanup_collect(struct shard_row *row, const struct cleanup_item *item);
/* Starts a round if there are items. */
void arbiter_cleanup_start(struct arbiter *a, struct shard_row *row, struct effects *fx);
/* The round is void: another epoch, or another arbiter's shard. */
void arbiter_cleanup_abort(struct arbiter *a, struct shard_row *row, struct effects *fx);
/* Names of those whose acknowledgement it waits for; the names are the arbiter's. */
uint32_t arbiter_cleanup_waits_for(const struct arbiter *a, const struct shard_row *row,
				   struct slice names[LIMIT_REPLICAS]);
void arbiter_cleanup_timer(struct arbiter *a, struct shard_row *row, struct effects *fx);
int64_t arbiter_cleanup_deadline(const struct shard_row *row);
void arbiter_cleanup_on_prepared(struct arbiter *a, const struct event *e, struct effects *fx);
void arbiter_cleanup_on_committed(struct arbiter *a, const struct event *e, struct effects *fx);

#endif
