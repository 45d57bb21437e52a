/* Requests and answers as a gateway's core sees them. The shell (gateway/http_*) parses and prints.
 */
#ifndef PARLEY_HTTP_TYPES_H
#define PARLEY_HTTP_TYPES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/slice.h"

enum http_method {
	HTTP_GET,
	HTTP_HEAD,
	HTTP_POST,
	HTTP_PUT,
	HTTP_PATCH,
	HTTP_DELETE,
	HTTP_OPTIONS,
	HTTP_COPY,
	HTTP_OTHER
};

/* How a listener is spoken to; see gateway/routes.def. */
enum dialect { DIALECT_NATIVE, DIALECT_COUCH };
enum { DIALECTS = 2 };

/* What a client certificate says beyond who it is. */
enum {
	HTTP_ROLE_ARBITER = 1 << 0, /* may take conflicts, too */
	HTTP_ROLE_READER = 1 << 1   /* may only read documents */
};

/* One name and value; names are lower-case for headers, decoded for query parameters. */
struct http_field {
	struct slice name;
	struct slice value;
};

/* All slices are borrowed for the step. */
struct http_request {
	uint64_t id;          /* names the request in effects */
	enum dialect dialect; /* of the listener that it came to */
	enum http_method method;
	struct slice path;  /* as sent: percent-encoded, without the query string */
	struct slice query; /* as sent: percent-encoded, without '?' */
	const struct http_field *headers;
	uint32_t headers_count;
	struct slice body;
	bool body_too_large; /* it passed max_request_bytes; body is empty */
	bool in_pieces;      /* body is empty; it comes by EVENT_HTTP_BODY, once it is asked for */
	bool websocket;      /* a valid opening handshake: may be answered HTTP_WEBSOCKET */
	uint64_t connection; /* over which it came; never reused */
	struct slice principal; /* who the verified client certificate names */
	uint32_t roles;         /* HTTP_ROLE_* of it */
	struct slice address;   /* of the client: 4 bytes, or the first 8 of IPv6 */
};

/* More of the body of a request in pieces; borrowed for the step. */
struct http_body {
	uint64_t request;
	struct slice bytes;
	bool last;
};

/* So much more of it is wanted. Without the first not even the end of an empty one comes. */
struct http_credit {
	uint64_t request;
	uint32_t bytes;
};

/* A stream is a response that goes on: it is named by the id of its request and lives until
 * EVENT_STREAM_GONE. What its client does not take is held up to a limit of the shell's, past which
 * the shell ends it with a reason. */
enum http_kind {
	HTTP_WHOLE,
	HTTP_STREAM,   /* body is its beginning; more follows by EFFECT_STREAM_SEND */
	HTTP_WEBSOCKET /* switch protocols: each EFFECT_STREAM_SEND is one text message */
};

struct http_response {
	int status;
	enum http_kind kind;
	struct slice content_type;
	const struct http_field *headers;
	uint32_t headers_count;
	struct slice body;
	/* STREAM: its core sends no more than its client takes. STREAM_TAKEN follows each time that
	 * all has left; a line break keeps it alive, in place of a comment. */
	bool paced;
	/* STREAM: so long in all, and any bytes: nothing is put in between. WHOLE: of a body that a
	 * HEAD does not show, so that it need not be there. 0: not known, or as long as `body`. */
	uint64_t length;
	bool tell_if_lost; /* WHOLE: HTTP_GONE follows when its client is seen not to take it */
};

/* More of streams. */
struct http_sending {
	const uint64_t *streams; /* in the arena */
	uint32_t count;
	struct slice body; /* once for all of them */
};

struct http_closing {
	uint64_t stream;
	uint16_t code;       /* WebSocket close code; else only told to the log */
	struct slice reason; /* at most 123 bytes */
};

/* Of the body of a question that comes in pieces, so much is wanted from the beginning on. */
enum { HTTP_FETCH_WINDOW = 1 << 20 };

/* A question to another server. Bodies are JSON, both ways, unless they come in pieces. */
struct http_fetch {
	uint64_t id;
	enum http_method method;
	struct slice url; /* http or https, without credentials */
	const struct http_field *headers;
	uint32_t headers_count;
	struct slice body; /* empty: none */
	uint64_t length;   /* not 0: the body has so many bytes and comes by EFFECT_FETCH_BODY */
	uint64_t answer_bytes_max;
	int64_t timeout_ms; /* for all of it; 0: as long as it takes */
	int64_t silence_ms; /* in which nothing moves, either way; 0: its asker ends it */
	bool plain;         /* no certificate is shown */
	/* Of a 200 the body comes by EVENT_FETCH_PIECE, each after EFFECT_FETCH_MORE asked for it
	 * (the first unasked), what is left at its end with EVENT_FETCHED. */
	bool answer_in_pieces;
};

/* Slices are borrowed for the step. */
struct http_fetched {
	uint64_t id;
	int status;  /* 0: no answer came, error says why */
	bool nobody; /* then: and none will, as nobody is there, or nobody to be trusted */
	bool too_large;
	struct slice body;
	struct slice error;
	struct slice session; /* the cookie AuthSession that came with it, "AuthSession=..." */
};

#endif
