/* What leads tell a gateway that has opened feeds. */
#ifndef PARLEY_TESTS_CORE_NOTIFY_STEPS_H
#define PARLEY_TESTS_CORE_NOTIFY_STEPS_H

#include "gateway/notify/events.h"
#include "gateway/notify/feed.h"
#include "tests/core/gateway_case.h"

/* The lead of the feed that was opened by `open` says this: events after `previous` up to `last`.
 */
static inline void feed_sends(struct gateway_bench *b, const struct bench_sent *open,
			      struct msg_feed_events *m)
{
	assert_non_null(open);
	struct peer from = {open->member, ROLE_STORAGE, 1};
	struct envelope envelope = {.type = MSG_feed_events, .epoch = open->envelope.epoch};
	m->feed = open->envelope.request_id;
	gateway_bench_message(b, &from, &envelope, m);
}

static inline void feed_says(struct gateway_bench *b, const struct bench_sent *open, uint64_t shard,
			     uint64_t previous, uint64_t last, const struct feed_event *event)
{
	struct msg_feed_events m = {.shard = shard,
				    .previous = previous,
				    .last = last,
				    .events = (struct feed_event *)event,
				    .events_count = event != NULL};
	feed_sends(b, open, &m);
}

static inline void feed_says_two(struct gateway_bench *b, const struct bench_sent *open,
				 uint64_t previous, uint64_t last, const struct feed_event *events)
{
	struct msg_feed_events m = {.shard = 1,
				    .previous = previous,
				    .last = last,
				    .events = (struct feed_event *)events,
				    .events_count = 2};
	feed_sends(b, open, &m);
}

static inline void feed_is_trimmed(struct gateway_bench *b, const struct bench_sent *open,
				   uint64_t shard)
{
	struct msg_feed_events m = {.status = STATUS_STREAM_TRIMMED, .shard = shard, .last = 100};
	feed_sends(b, open, &m);
}

static inline struct feed_event event_of(uint64_t number, uint64_t op, const char *id)
{
	return (struct feed_event){
	    .number = number, .op = op, .id = slice_text(id), .revision = {1, slice_text("r")}};
}

#endif
