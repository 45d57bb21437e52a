/* Responses that go on: WebSockets and Server-Sent Events of a listener.
 *
 * A stream takes its connection over from libmicrohttpd, which has it suspended meanwhile:
 * descriptor and TLS session are used by nobody else until `release`. That costs one descriptor and
 * no copy, where libmicrohttpd's own upgrade takes three and two when there is TLS.
 *
 * The loop watches http_streams_fd, calls http_streams_run when it is readable, and
 * http_streams_turn at the end of each turn: nothing is written, told or freed elsewhere. Times are
 * the caller's, in milliseconds of one clock. */
#ifndef PARLEY_GATEWAY_HTTP_STREAM_H
#define PARLEY_GATEWAY_HTTP_STREAM_H

#include <gnutls/gnutls.h>

#include "common/base/buf.h"
#include "common/core.h"

struct http_streams;
struct http_stream;

enum stream_end {
	STREAM_CLIENT_LEFT, /* closed, or its connection broke */
	STREAM_CORE_CLOSED,
	STREAM_SLOW,    /* it did not take what it was sent */
	STREAM_SILENT,  /* it answered no ping */
	STREAM_BAD,     /* it broke the protocol */
	STREAM_REFUSED, /* there were too many */
	STREAM_DRAINED,
	STREAM_ENDS
};

struct stream_limits {
	uint32_t streams_max;
	uint32_t message_bytes_max; /* from a client */
	uint64_t queue_bytes_max;   /* to one client */
	uint64_t total_bytes_max;   /* held for all of them, both ways */
	uint32_t ping_ms;           /* a client that is silent for two of these is gone */
	uint32_t close_ms;          /* for the end of a stream to be taken */
};

struct stream_callbacks {
	void *context;
	void (*on_message)(void *context, uint64_t stream, struct slice bytes, bool text);
	/* By http_streams_turn, of those that are paced. */
	void (*on_taken)(void *context, uint64_t stream);
	/* Told once, by http_streams_turn or _free; queued: bytes that it did not take. */
	void (*on_gone)(void *context, uint64_t stream, enum stream_end why, uint64_t queued);
	/* The connection is not used any more, and shall be closed. */
	void (*release)(void *context, void *connection);
};

struct stream_start {
	uint64_t id;
	enum http_kind kind; /* HTTP_STREAM or HTTP_WEBSOCKET */
	bool chunked;        /* else a HTTP_STREAM ends with its connection */
	bool paced;          /* as in struct http_response */
	bool sized;          /* its length is known: nothing is put in between */
	gnutls_session_t session;
	int fd;
	void *connection;  /* for release */
	struct slice head; /* status line and headers */
	struct slice body; /* beginning; may be empty */
};

struct stream_counts {
	uint32_t open; /* all that have a connection */
	uint32_t websockets;
	uint64_t bytes; /* held */
	uint64_t ended[STREAM_ENDS];
};

extern const char *const stream_end_names[STREAM_ENDS];

struct http_streams *http_streams_new(const struct stream_limits *limits,
				      const struct stream_callbacks *callbacks);
/* Gives all connections back. */
void http_streams_free(struct http_streams *all);
int http_streams_fd(const struct http_streams *all);

/* NULL: there are too many; on_gone follows all the same. */
struct http_stream *http_stream_open(struct http_streams *all, const struct stream_start *start,
				     int64_t now_ms);
/* Ends it with a closing frame or a last chunk; on_gone follows. What is paced is read as a whole:
 * it breaks off with code WS_INTERNAL_ERROR, or if it is cut or drained, so that its client sees
 * that it lacks its end. */
void http_stream_close(struct http_stream *st, uint16_t code, struct slice reason, int64_t now_ms);

/* What is sent to many is framed once for each kind of them. */
struct stream_message {
	struct slice body;
	struct stream_payload *framed[3];
};
void http_stream_send(struct http_stream *st, struct stream_message *message, int64_t now_ms);
void stream_message_close(struct stream_message *message);

/* Reads what clients sent. */
void http_streams_run(struct http_streams *all, int64_t now_ms);
/* Writes, pings, tells of ends. */
void http_streams_turn(struct http_streams *all, int64_t now_ms);
/* Ends all of them, and each that opens later. */
void http_streams_drain(struct http_streams *all, int64_t now_ms);
void http_streams_count(const struct http_streams *all, struct stream_counts *counts);

#endif
