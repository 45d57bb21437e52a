/* Arbiter clients: programs that decide conflicts of collections whose policy is external.
 *
 * A client takes conflicts under a lease, by long poll (arbiter_take.c), as Server-Sent Events
 * (arbiter_stream.c) or over a WebSocket (arbiter_socket.c), and answers them (op_arbiter.c).
 * Leases live at the leads (storage-node/offer.h); a gateway remembers only who waits. */
#ifndef PARLEY_GATEWAY_ARBITER_H
#define PARLEY_GATEWAY_ARBITER_H

#include "gateway/internal.h"

enum {
	ARBITER_LEASE_BYTES = 16,
	ARBITER_WAITING_MAX = 256, /* takes that wait, those of streams included */
	ARBITER_STREAMS_MAX = 128,
	ARBITER_COLLECTIONS_MAX = 64, /* that a client may name */
	ARBITER_WAIT_MAX_MS = 60000,
	ARBITER_LEASE_MIN_MS = 100, /* of pauses, too */
	ARBITER_LEASE_MAX_MS = 3600000,
	ARBITER_POLL_MS = 200,   /* between looks of one who waits */
	ARBITER_SILENT_MS = 500, /* a shard whose lead says nothing is passed over */
	ARBITER_LATER_MS = 5000, /* until a conflict is offered again that can't be now */
	ARBITER_BYTES_MAX = 16 * 1024 * 1024, /* of one answer; more only for a single conflict */
	ARBITER_ANSWERS = 7
};

/* Other WebSockets are of notifications. */
#define ARBITER_SOCKET_PATH "/_/arbiter/_socket"

enum arbiter_answer {
	ARBITER_PICK,
	ARBITER_DOCUMENT,
	ARBITER_DELETE,
	ARBITER_SPLIT,
	ARBITER_DEFER,
	ARBITER_RELEASE,
	ARBITER_REFUSED
};

struct take_op;
struct arbiter_stream;

struct arbiters {
	struct take_op *waiting; /* oldest first */
	struct take_op **waiting_end;
	uint32_t waiting_count;
	struct map streams;    /* id -> struct arbiter_stream* */
	uint32_t sockets;      /* of these */
	uint64_t next_request; /* of streams */
	int64_t tick_ms;
	uint64_t taken;
	uint64_t renewed;
	uint64_t answers[ARBITER_ANSWERS];
};

/* A lease as its client knows it: shard, 16 bytes and document. */
struct arbiter_lease {
	uint64_t shard;
	uint8_t token[ARBITER_LEASE_BYTES];
	struct slice id;
};

void arbiters_init(struct gateway *gw);
void arbiters_close(struct gateway *gw);
void arbiters_tick(struct turn *t);
int64_t arbiters_deadline(const struct gateway *gw);
void arbiters_stream_gone(struct turn *t, uint64_t stream);
/* The gateway is about to stop. */
void arbiters_drain(struct turn *t);
void arbiters_metrics(const struct gateway *gw, struct buf *out);

/* False with *p: the client's certificate does not say that it is an arbiter. */
bool arbiter_allowed(const struct request *r, struct problem *p) MUST_CHECK;
/* The length of a lease or a pause; *ms stays as it is if the value is absent (empty). */
bool arbiter_take_ms(struct slice value, const char *place, uint64_t *ms,
		     struct problem *p) MUST_CHECK;
void arbiter_lease_print(const struct arbiter_lease *lease, struct buf *out);
/* Into the request's arena. */
bool arbiter_lease_parse(struct request *r, struct slice text,
			 struct arbiter_lease *out) MUST_CHECK;
/* Tells the lead without waiting for an answer: a lease that is not given back ends by itself. */
void arbiter_give_back(struct turn *t, const struct arbiter_lease *lease, uint64_t op, uint64_t ms);

/* ---- arbiter_take.c ---- */

/* The answer's items are each on a line of its own: "[", items with a comma at the end but for the
 * last, "]". */
void take_tick(struct turn *t);

/* ---- arbiter_stream.c ---- */

void arbiter_streams_tick(struct turn *t);
/* Whichever stream it was given to counts it for so long. 0: it is no longer its client's, and
 * makes room for another. */
void arbiter_stream_lease_lasts(struct turn *t, const struct arbiter_lease *lease, uint64_t ms);
/* While an answer is under way nobody gives its lease back, though the stream ends. */
void arbiter_stream_answers(struct gateway *gw, const struct arbiter_lease *lease, bool under_way);

/* ---- arbiter_socket.c ---- */

/* True if the message came over the WebSocket of an arbiter client. */
bool arbiter_socket_message(struct turn *t);

#endif
