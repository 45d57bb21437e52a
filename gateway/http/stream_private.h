/* What stream.c (life, reading, times) and stream_queue.c (what is to be written) share.
 */
#ifndef PARLEY_GATEWAY_HTTP_STREAM_PRIVATE_H
#define PARLEY_GATEWAY_HTTP_STREAM_PRIVATE_H

#include "gateway/http/stream.h"
#include "gateway/http/ws.h"

enum { TLS_RECORD_BYTES = 16384 };

/* The form that bytes take on the wire. */
enum stream_form { FORM_WEBSOCKET, FORM_CHUNKED, FORM_PLAIN };

/* Bytes as they go to the wire, held once for all streams that they wait for. */
struct stream_payload {
	struct http_streams *all;
	uint32_t references;
	size_t len;
	uint8_t bytes[];
};

struct stream_node {
	struct stream_node *next;
	struct stream_payload *payload;
};

enum stream_state {
	STREAM_OPEN,
	STREAM_CLOSING, /* its end is on the way; the core knows */
	STREAM_OVER     /* waits for http_streams_turn to be released */
};

struct stream_list {
	struct http_stream *first;
	struct http_stream *last;
};

struct http_stream {
	struct http_streams *all;
	uint64_t id;
	enum stream_form form;
	enum stream_state state;
	gnutls_session_t session;
	int fd;
	void *connection;
	struct stream_node *head;
	struct stream_node *tail;
	size_t offset; /* of head: gone */
	size_t record; /* GnuTLS holds a record of so many bytes that did not fit */
	uint64_t queued;
	uint32_t watched; /* epoll events */
	uint32_t credit;  /* answers that it may expect */
	struct ws_reader *reader;
	bool heard; /* a sign of life since the last ping */
	bool dirty; /* listed for writing */
	bool paced; /* http_response */
	bool sized; /* stream_start */
	bool deaf;  /* nothing it sends is of interest any more */
	bool done;  /* both sides have said that it ends */
	int64_t due_ms;
	int64_t sent_ms; /* paced: when the core sent what is queued */
	struct stream_list *in;
	struct http_stream *previous;
	struct http_stream *next;
	struct http_stream *next_dirty;
};

struct stream_gone {
	uint64_t id;
	uint64_t queued;
	enum stream_end why;
};

struct http_streams {
	struct stream_limits limits;
	struct stream_callbacks callbacks;
	int epoll_fd;
	/* All of one list wait equally long, so that the first is due first. */
	struct stream_list open;
	struct stream_list closing;
	struct stream_list over;
	struct http_stream *dirty;
	struct ws_reader *spare;
	struct buf gone;   /* of struct stream_gone */
	struct buf taken;  /* ids of paced streams */
	struct buf answer; /* of a reader */
	struct buf scratch;
	struct stream_counts counts;
	bool draining;
	uint8_t in[TLS_RECORD_BYTES];
	uint8_t out[TLS_RECORD_BYTES];
};

/* ---- stream.c ---- */

/* At once; on_gone and release follow in http_streams_turn. */
void stream_over(struct http_stream *st, enum stream_end why);
/* Tells the core, and waits for what is queued to be taken. */
void stream_closing(struct http_stream *st, enum stream_end why, int64_t now_ms);
/* Ends it with a reason, since it holds too much. */
void stream_cut(struct http_stream *st, int64_t now_ms);

/* ---- stream_queue.c ---- */

/* With one reference, the caller's. */
struct stream_payload *payload_new(struct http_streams *all, struct slice bytes);
void payload_release(struct stream_payload *payload);
/* The body in a form; appends. */
void stream_form_append(enum stream_form form, struct slice body, struct buf *out);
/* Queues, whatever is queued already. */
void stream_queue(struct http_stream *st, struct stream_payload *payload);
void stream_queue_bytes(struct http_stream *st, struct slice bytes);
/* Drops what has not begun to leave. */
void stream_queue_drop(struct http_stream *st);
void stream_queue_close(struct http_stream *st);
/* Writes what can be. */
void stream_flush(struct http_stream *st);
/* Whether it may be sent more. */
bool stream_has_room(struct http_stream *st);

#endif
