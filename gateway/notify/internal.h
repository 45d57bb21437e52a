/* What the files of notifications share. */
#ifndef PARLEY_GATEWAY_NOTIFY_INTERNAL_H
#define PARLEY_GATEWAY_NOTIFY_INTERNAL_H

#include "gateway/notify/notify.h"
#include "gateway/notify/watch.h"
#include "gateway/position.h"

enum {
	NOTIFY_TICK_MS = 100,
	NOTIFY_ID_SHARDS = 64, /* more: an id only once a second */
	NOTIFY_ID_SHARDS_MAX = POSITION_SHARDS_MAX,
	NOTIFY_REPLAYS_MAX = 8192,
	NOTIFY_BAD_FRAMES = 10,
	NOTIFY_REQUESTS_MAX = 64,                   /* of one WebSocket, under way */
	NOTIFY_WAITS_MAX = 2 * NOTIFY_PATTERNS_MAX, /* of one WebSocket, for feeds to open */
	NOTIFY_ACCEPT_BYTES = 256,
	NOTIFY_KEEP_ALIVE_MS = 15000,
	NOTIFY_IDS_MS = 1000,
	NOTIFY_REPORT_MS = 1000,
	NOTIFY_REPORT_AGAIN_MS = 5000 /* unchanged ones, as the coordinator may have restarted */
};

enum subscriber_kind {
	SUBSCRIBER_SOCKET,
	SUBSCRIBER_EVENTS,    /* Server-Sent Events of changes */
	SUBSCRIBER_CONFLICTS, /* Server-Sent Events of conflicts */
	SUBSCRIBER_KINDS
};

struct waiter; /* wait.c */
struct feed;   /* feed.h */

/* A collection that somebody follows, or all of them. */
struct interest {
	uint8_t name[LIMIT_NAME_BYTES];
	size_t name_len; /* 0: all */
	uint32_t users;  /* patterns and watchers */
	struct pattern *patterns;
	struct watcher *watchers;
	uint64_t looked; /* the look at all who wait that `ready` is of */
	bool ready;      /* all its feeds have a position */
	uint64_t id_seq; /* of the event that `id` was made for */
	struct buf id;   /* position of its shards, for Server-Sent Events */
};

struct subscription {
	struct subscriber *owner;
	struct pattern *pattern;
	uint32_t place; /* in the pattern's list */
	bool active;
};

/* The subscriptions of a pattern that are told, of one kind. */
struct audience {
	struct subscription **items;
	uint64_t *streams; /* the same, as effects take them */
	uint32_t count;
	uint32_t cap;
};

struct pattern {
	struct slice text; /* in the arena */
	struct interest *interest;
	struct arena arena;
	struct query_regex *regex;
	struct pattern *prev, *next; /* of the interest */
	uint32_t users;
	struct audience audience[SUBSCRIBER_KINDS];
	int64_t since_wall_ms;
	bool costly;
};

struct subscriber {
	uint64_t stream;
	enum subscriber_kind kind;
	struct subscription **items;
	uint32_t count;
	uint32_t cap;
	uint32_t bad_frames;
	uint32_t requests;      /* under way */
	uint32_t waits;         /* answers that wait for feeds */
	struct waiter *waiters; /* these */
	bool answered;          /* Server-Sent Events: the stream has begun */
	bool closing;
	enum status refusal;   /* of one that has no answer yet; OK: none */
	uint64_t told_seq;     /* the last event it was sent */
	struct feed **replays; /* NULL where one is done */
	uint32_t replays_count;
	uint32_t replays_left;
	struct position_of *skips; /* live changes up to there have been sent */
	uint32_t skips_count;
	struct position_of *resume; /* where it wants to go on */
	uint32_t resume_count;
	bool resumes;
	bool newest; /* the map was no older than `resume`: what it did not know was dropped */
};

struct waiter_list {
	struct waiter *first, *last;
};

struct notify {
	struct map subscribers; /* stream -> struct subscriber* */
	uint32_t counts[SUBSCRIBER_KINDS];
	struct map patterns;     /* text -> struct pattern* */
	uint64_t patterns_bytes; /* compiled */
	struct arena arena;
	struct query_regex *lender; /* patterns match in its memory */
	struct map interests;       /* name -> struct interest* */
	struct interest all;
	struct map live;  /* shard -> struct feed* */
	struct map feeds; /* feed id -> struct feed*, replays too */
	uint32_t replays;
	uint32_t watchers;
	struct waiter_list waiting;
	struct waiter_list due; /* are answered at the end of the step */
	uint64_t looks;
	bool recheck; /* a feed got its position */
	bool costly;  /* a pattern was given up */
	uint64_t seq; /* of events */
	uint64_t next_feed;
	uint64_t next_request;
	int64_t tick_ms;
	int64_t keep_alive_ms;
	int64_t ids_ms;
	int64_t report_ms;
	bool report_due;
	struct buf path, frame, json, id;
	uint64_t *streams; /* scratch */
	uint32_t streams_cap;
	uint64_t events, sent, cut_off, reopened, gaps;
};

/* ---- notify.c ---- */

/* False with *p: there are too many. */
bool notify_room(const struct gateway *gw, struct problem *p);

/* ---- wait.c ---- */

/* What a step leaves to its end: subscriptions that can be answered now, costly patterns. */
void notify_finish(struct turn *t);
/* The subscriber is answered, by accept or refusal, once its feeds are open. */
void notify_wait(struct turn *t, struct subscriber *sub, struct subscription *s,
		 struct slice accept);
/* Something has changed for this subscriber alone: it may be answered. */
void waiters_look(struct turn *t, struct subscriber *sub);
/* Those of the subscription of a WebSocket have their answers now. */
void waiters_accept(struct turn *t, struct subscriber *sub, const struct subscription *s);
/* Waiters of the subscription, or all of the subscriber if that is NULL. */
void waiters_drop(struct subscriber *sub, const struct subscription *s);

/* ---- watch.c ---- */
void watchers_wake(struct turn *t, uint64_t collection);

/* ---- pattern.c ---- */

/* One user more of what is told of a collection, or of all of them if the name is empty: its feeds
 * are opened; and one less. */
struct interest *interest_use(struct turn *t, struct slice name);
void interest_release(struct turn *t, struct interest *interest);

/* The pattern of this text, made if there is none; NULL with *p. Used by pattern_use. */
struct pattern *pattern_get(struct turn *t, struct slice text, struct problem *p);
/* One user less; nobody's pattern goes. */
void pattern_drop(struct turn *t, struct pattern *pattern);
struct subscription *subscription_add(struct turn *t, struct subscriber *sub,
				      struct pattern *pattern);
struct subscription *subscription_find(const struct subscriber *sub, struct slice text);
/* From now on it is told. */
void subscription_activate(struct subscription *s);
void subscription_remove(struct turn *t, struct subscription *s);
/* All that this subscriber has: subscriptions, replays, waiters. */
void subscriber_clear(struct turn *t, struct subscriber *sub);
struct subscriber *subscriber_new(struct turn *t, uint64_t stream, enum subscriber_kind kind);
void subscriber_free(struct turn *t, struct subscriber *sub);
struct subscriber *subscriber_find(const struct gateway *gw, uint64_t stream);
/* Tells why, and ends the stream. */
void subscriber_cut(struct turn *t, struct subscriber *sub, uint16_t code, enum status status);
/* The collection that a pattern fixes; empty: none. Exported for its test. */
struct slice pattern_collection(struct slice pattern);

/* ---- tell.c ---- */

void tell_all(struct turn *t, const struct feed *f, const struct feed_event *event);
void tell_one(struct turn *t, const struct feed *f, const struct feed_event *event);
/* Patterns that took too many steps: their subscribers are cut off. */
void tell_costly(struct turn *t);

/* ---- socket.c ---- */

/* A NOTIFY is answered. */
void socket_accept(struct turn *t, struct subscriber *sub, struct slice accept);

/* ---- report.c ---- */

void report_tick(struct turn *t);

#endif
