/* The HTTPS listener of an API: the only user of libmicrohttpd for it.
 *
 * It runs in the loop's thread: the loop watches http_server_fd, calls http_server_run when it is
 * readable or http_server_timeout_ms has passed, and hands answers in by http_server_respond. A
 * request is collected whole, told by on_request, and its connection suspended until the answer.
 * One whose body may be long is told when its head is there; what follows is read only as far as
 * http_server_body_credit allows, and told by on_body as it comes. Borrowed slices live until the
 * callback returns. */
#ifndef PARLEY_GATEWAY_HTTP_MHD_H
#define PARLEY_GATEWAY_HTTP_MHD_H

#include "common/core.h"
#include "gateway/http/stream.h"

struct http_server;

enum http_refusal { HTTP_REFUSED_CERTIFICATE, HTTP_REFUSED_OVERLOAD, HTTP_REFUSED_MALFORMED };

struct http_callbacks {
	void *context;
	void (*on_request)(void *context, const struct http_request *request);
	/* Of a head: shall the body come in pieces? NULL: none shall. */
	bool (*in_pieces)(void *context, const struct http_request *head);
	void (*on_body)(void *context, uint64_t request, struct slice bytes, bool last);
	/* The client is gone before the answer: it is not wanted any more. Or it did not take one
	 * that has tell_if_lost. */
	void (*on_gone)(void *context, uint64_t request);
	/* Answered here, without the core. */
	void (*on_refused)(void *context, enum http_refusal why);
	/* A connection over which requests were told has ended. */
	void (*on_closed)(void *context, uint64_t connection);
	void (*on_stream_message)(void *context, uint64_t stream, struct slice bytes, bool text);
	/* All that a paced one was sent has left. */
	void (*on_stream_taken)(void *context, uint64_t stream);
	/* Told once, whoever ended it. queued: bytes that its client did not take. */
	void (*on_stream_gone)(void *context, uint64_t stream, enum stream_end why,
			       uint64_t queued);
};

struct http_options {
	const char *address; /* numeric */
	uint16_t port;       /* 0: the kernel chooses */
	/* PEM; authority empty: no client certificate is asked for and none is needed */
	struct slice certificate;
	struct slice key;
	struct slice authority;
	bool certificate_optional; /* clients without a good one are let in, without a principal */
	uint32_t request_bytes_max;
	/* Of all requests being collected, and of all answers being taken; past it 503. */
	uint64_t bodies_bytes_max;
	uint32_t connections_max;
	uint32_t idle_timeout_s;
	uint32_t connection_memory_bytes; /* bounds a request's head */
	struct stream_limits streams;
	struct http_callbacks callbacks;
};

/* NULL: *problem says why. */
struct http_server *http_server_new(const struct http_options *options, struct buf *problem);
/* Closes all connections; requests under way are told gone. */
void http_server_free(struct http_server *s);
/* New connections get these; those that live keep theirs. False: nothing changed, *problem says
 * why. */
bool http_server_reload(struct http_server *s, struct slice certificate, struct slice key,
			struct slice authority, struct buf *problem) MUST_CHECK;
/* No new connections from now on, and all streams end. */
void http_server_drain(struct http_server *s);

int http_server_fd(const struct http_server *s);
uint16_t http_server_port(const struct http_server *s);
/* Accepts, reads, writes what can be; may call back. */
void http_server_run(struct http_server *s);
/* How long the loop may sleep; -1: until the descriptor is readable. */
int http_server_timeout_ms(const struct http_server *s);
/* The same for its streams: a descriptor to watch, too, and what to call then. */
int http_server_stream_fd(const struct http_server *s);
void http_server_run_streams(struct http_server *s);
/* Copies. An unknown request is one that has gone meanwhile. */
void http_server_respond(struct http_server *s, uint64_t request,
			 const struct http_response *response);
/* So many bytes more of the body of a request in pieces are wanted. */
void http_server_body_credit(struct http_server *s, uint64_t request, uint32_t bytes);
/* Copies. The same to many; unknown streams are those that have gone meanwhile. */
void http_server_stream_send(struct http_server *s, const uint64_t *streams, uint32_t count,
			     struct slice body);
void http_server_stream_close(struct http_server *s, uint64_t stream, uint16_t code,
			      struct slice reason);
/* Ends a turn: the answers given in it go out, and what has ended is told. */
void http_server_flush(struct http_server *s);
/* Requests told and not answered yet. */
uint32_t http_server_inflight(const struct http_server *s);
void http_server_count_streams(const struct http_server *s, struct stream_counts *counts);
uint32_t http_server_connections(const struct http_server *s);
int64_t http_server_certificate_expiry_s(const struct http_server *s);

#endif
