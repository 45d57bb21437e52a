/* _changes: the documents of a database in order of their latest change, once or for as long as
 * the client listens.
 *
 * A feed asks all shards for pages of rows and merges these by the time of the changes. Its place
 * is one number for each shard; each row moves that of its own. When there is nothing more, a feed
 * that waits is woken by notifications (notify/watch.h) and asks again: so what it is told comes
 * from the shards alone, and nothing is kept for it here. Waiting costs its request, and nothing
 * else. */
#ifndef PARLEY_GATEWAY_COUCH_CHANGES_H
#define PARLEY_GATEWAY_COUCH_CHANGES_H

#include "common/doc/script_document.h"
#include "gateway/content_reader.h"
#include "gateway/couch/couch.h"
#include "gateway/notify/watch.h"

enum {
	CHANGES_PAGE_ROWS = 500,
	CHANGES_REPLY_BYTES = 1024 * 1024, /* more than this is streamed */
	CHANGES_FLUSH_BYTES = 256 * 1024,  /* of a stream: no more until its client has taken it */
	CHANGES_TIMEOUT_MS = 60000,        /* without a change; no client can ask for more */
	CHANGES_HELD_BYTES = 128 << 20,    /* of pages; past it who waits for his client has none */
	CHANGES_HEARTBEAT_MIN_MS = 100,
	CHANGES_LOOK_MS = 30000,   /* of a long poll, for something that its filter lets pass */
	CHANGES_GIVE_UP_MS = 60000 /* without an answer of a shard */
};

enum changes_feed { FEED_NORMAL, FEED_LONGPOLL, FEED_CONTINUOUS, FEED_EVENTSOURCE };
enum changes_filter {
	FILTER_NONE,
	FILTER_DOC_IDS,
	FILTER_DESIGN,
	FILTER_SELECTOR,
	FILTER_FUNCTION
};

/* Rows of a shard that have come and are not told yet: printed, but for their sequence. */
struct changes_page {
	struct buf text;
	struct buf rows;      /* of struct changes_row */
	struct buf documents; /* FILTER_FUNCTION: what it is to see */
	uint32_t judged;      /* rows that it has seen */
	uint32_t at;          /* the next of them */
	uint64_t last;        /* where the shard is when all are told */
	uint64_t pending;
	bool more;   /* another page follows */
	size_t held; /* what it counts as in gateway.feeds_bytes */
};

struct changes_row {
	uint64_t number;
	uint64_t stamp;
	size_t text_at;
	size_t text_len;     /* 0: the filter leaves it out */
	size_t list_at;      /* its revisions, in the text */
	uint32_t revisions;  /* of them a filter sees: one, or with all_leaves each */
	size_t document_end; /* FILTER_FUNCTION: in the page's documents */
};

struct changes_function; /* changes_filter.c */

struct changes_shard {
	struct msg_shard_changes ask;
	bool asked;       /* until its rows are there, and the filter has seen them */
	uint32_t judging; /* rows that the filter sees now */
	bool queued;      /* its rows wait for the filter, which sees those of another one */
	bool ended;       /* nothing more is known of; a page may be left */
	bool dropped;     /* a part of its page was not told, and is asked for again */
	struct changes_page page;
};

/* What is read for the marks. */
struct changes_data {
	size_t at; /* of the feed's `out`: so much is ready */
	struct content_reader reader;
	struct buf document; /* id, for it */
	bool reads;          /* it has begun */
	bool asked;          /* a chunk */
};

struct changes {
	struct gateway *gw;
	uint64_t collection;
	enum changes_feed feed;
	enum changes_filter filter;
	bool descending, include_docs, conflicts, all_leaves;
	bool limited;
	uint64_t left; /* rows, if limited */
	uint64_t seq_interval;
	int64_t heartbeat_ms; /* 0: none */
	int64_t timeout_ms;
	bool data;                         /* attachments with theirs */
	struct query *selector;            /* FILTER_SELECTOR */
	struct changes_function *function; /* FILTER_FUNCTION */
	struct slice *ids;                 /* FILTER_DOC_IDS */
	uint32_t ids_count;
	bool since_now;
	struct position_of *since; /* in no order; empty: from the beginning */
	uint32_t since_count;
	/* under way */
	struct changes_shard *shards;
	struct position_of *positions; /* of each */
	uint32_t shards_count;
	uint64_t rows;    /* told */
	bool live;        /* all that was there when it began has been told */
	bool covered;     /* feeds were open when the last full look began: they tell of the rest */
	bool waiting;     /* it has looked, and waits to be woken */
	bool held;        /* made inside: its answer goes out as a whole */
	bool opened;      /* of JSON: the list has begun */
	bool streaming;   /* its answer has begun */
	bool flying;      /* something was sent, and is not taken yet */
	bool ending;      /* what is in `out` is the last */
	struct buf out;   /* not sent yet; with marks (attachments.h), if there is data */
	struct buf ready; /* data: the part of it that can be sent */
	struct changes_data data_read;
	int64_t heard_ms; /* of a shard */
	int64_t told_ms;  /* a row, or the beginning of the wait */
	int64_t beat_ms;  /* next heartbeat */
	struct watcher watcher;
	request_step *pump; /* goes on with whatever can be done now */
};

/* ---- op_changes.c ---- */

/* since, feed, timeout and heartbeat. */
bool changes_take_place(struct request *r, struct changes *op, struct problem *p) MUST_CHECK;

/* ---- changes.c ---- */

/* Begins at op->positions. */
void changes_start(struct turn *t, struct request *r, const struct map_collection *c);
/* Goes on with whatever can be done now. */
void changes_pump(struct turn *t, struct request *r);
/* Frees what lies outside the arena. */
void changes_close(struct request *r);

/* ---- changes_filter.c ---- */

/* A filter that is a function, or with `view` a map function, named ddoc/name. */
bool changes_function_take(struct turn *t, struct request *r, struct slice name, bool view,
			   struct problem *p) MUST_CHECK;
/* Reads it, then goes on with next. */
void changes_function_load(struct turn *t, struct request *r, const struct map_collection *c,
			   request_step *next);
bool changes_function_loaded(const struct changes *op);
/* It has judged rows. */
bool changes_function_judged(const struct changes *op);
/* And no run took too much. */
bool changes_function_works(const struct changes *op);
/* The version of a row that stands at a place of its list of revisions, the winner first. False:
 * its body did not fit into the answer. */
bool changes_version(const struct change_row *row, uint32_t index, struct script_document *out);
/* A row whose revisions have been looked at: those that do not pass go. passes: a byte for each. */
void changes_strike(struct changes_page *page, struct changes_row *row, const uint8_t *passes);
/* Adds what the function is to see of a row. */
void changes_function_add(const struct change_row *row, struct changes_page *page,
			  struct changes_row *out);
/* Shows it the rows of a page, then goes on with the feed. */
void changes_function_judge(struct turn *t, struct request *r, struct changes_shard *s);

/* ---- changes_data.c ---- */

/* Makes ready what can be; more when what it asks for has come. */
enum status changes_fill(struct turn *t, struct request *r) MUST_CHECK;
void changes_data_close(struct changes *op);

/* ---- changes_send.c ---- */

/* A row of this shard, without its sequence, which op->positions tells. */
void changes_emit(struct turn *t, struct request *r, struct slice row);
/* All feeds hold more than they should. */
bool changes_crowded(const struct changes *op);
/* No more rows fit before something is sent. */
bool changes_full(const struct changes *op);
/* Sends what has been collected, if the client has taken the last; begins the stream if it is too
 * much for a plain answer, or `stream`. */
void changes_flush(struct turn *t, struct request *r, bool stream);
/* The last rows are told: ends the answer as its form wants it. */
void changes_finish(struct turn *t, struct request *r);
/* It can't go on: an error if nothing was sent, else the client sees it break off. */
void changes_fail(struct turn *t, struct request *r, enum status status);
void changes_refuse(struct turn *t, struct request *r, const struct problem *problem);
/* Sets the timer for what comes next. */
void changes_schedule(struct turn *t, struct request *r);
void changes_due(struct turn *t, struct request *r);
void changes_taken(struct turn *t, struct request *r);
void changes_gone(struct turn *t, struct request *r);
/* The gateway is about to stop: feeds that wait end, as they would at their timeout. */
void changes_drain(struct turn *t);

#endif
