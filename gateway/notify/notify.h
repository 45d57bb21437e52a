/* Notifications: who is told of which changes.
 *
 * A subscriber is a stream (a WebSocket, or Server-Sent Events) with some patterns: regular
 * expressions on METHOD:/collection/id. Equal patterns are one, matched once for an event. A
 * pattern that fixes the collection has an interest in that one, any other in all. Each shard that
 * somebody has an interest in has one live feed from its lead (storage-node/feed.h); a subscriber
 * that goes on after an event it has seen has replays besides, until these meet the live ones.
 *
 * A subscription is answered once all its feeds have a position: from then on no change can be
 * missed, as a feed that breaks is opened again at its position. */
#ifndef PARLEY_GATEWAY_NOTIFY_NOTIFY_H
#define PARLEY_GATEWAY_NOTIFY_NOTIFY_H

#include "gateway/internal.h"

enum {
	NOTIFY_PATTERNS_MAX = 64, /* of one subscriber */
	NOTIFY_PATTERN_BYTES = 1024,
	NOTIFY_COMPILED_BYTES = 2048, /* of a pattern, on average of all */
	NOTIFY_CODE_BAD = 1008,       /* close codes of RFC 6455: policy violation */
	NOTIFY_CODE_LEAVING = 1001,   /* going away */
	NOTIFY_CODE_BROKEN = 1011,    /* what was begun can't be ended */
	NOTIFY_CODE_LATER = 1013      /* try again later */
};

struct notify;

void notify_init(struct gateway *gw);
void notify_close(struct gateway *gw);
void notify_tick(struct turn *t);
int64_t notify_deadline(const struct gateway *gw);
/* True if the message was of a feed. */
bool notify_message(struct turn *t);
/* First: there was no map before. */
void notify_map_changed(struct turn *t);
void notify_stream_message(struct turn *t);
void notify_stream_gone(struct turn *t, uint64_t stream);
/* The gateway is about to stop: all streams end. */
void notify_drain(struct turn *t);
void notify_metrics(const struct gateway *gw, struct buf *out);
/* Conflicts are asked for as a stream of events: answers the request. */
void conflict_events(struct turn *t, struct request *r);
/* A WebSocket is asked for: answers the request. */
void notify_socket_open(struct turn *t, struct request *r);

#endif
