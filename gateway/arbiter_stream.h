/* A stream of conflicts to one client: Server-Sent Events (arbiter_stream.c), or a WebSocket over
 * which it answers, too (arbiter_socket.c). */
#ifndef PARLEY_GATEWAY_ARBITER_STREAM_H
#define PARLEY_GATEWAY_ARBITER_STREAM_H

#include "gateway/arbiter.h"

enum { ARBITER_STREAM_LEASE_MS = 30000, ARBITER_STREAM_RETRY_MS = 1000 };

/* A lease that counts against the credit. */
struct given {
	struct buf lease; /* as printed; empty: free */
	int64_t until_ms;
	bool answering; /* an answer is under way */
};

struct arbiter_stream {
	uint64_t id;
	uint64_t request; /* its take that is under way; 0: none */
	struct buf body;  /* of its takes, but for the limit */
	struct given given[LIMIT_OFFERS];
	uint32_t credit; /* 0: it wants nothing (yet) */
	uint64_t lease_ms;
	int64_t ask_ms;
	int64_t keep_alive_ms;
	bool closing;
	/* WebSockets */
	bool is_socket;
	uint32_t roles;
	struct buf principal;
	uint32_t requests; /* answers and renewals under way */
	uint32_t bad_frames;
};

/* NULL with *p: there are too many. */
struct arbiter_stream *arbiter_stream_new(struct turn *t, uint64_t id, struct problem *p);
struct arbiter_stream *arbiter_stream_find(const struct gateway *gw, uint64_t id);
void arbiter_stream_free(struct turn *t, struct arbiter_stream *s);
/* What its takes ask for from now on. A name for each collection; none: all. */
void arbiter_stream_wants(struct turn *t, struct arbiter_stream *s, const struct slice *names,
			  uint32_t count);
/* NULL: it does not count (any more). */
struct given *arbiter_stream_given(struct arbiter_stream *s, struct slice lease);

/* ---- arbiter_socket.c ---- */

/* {"lease":...} as a take prints it. */
void arbiter_socket_conflict(struct turn *t, const struct arbiter_stream *s, struct slice line);

#endif
