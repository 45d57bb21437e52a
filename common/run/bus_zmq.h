/* The ZeroMQ bus: one bound ROUTER for members with an address, one DEALER for each peer that is
 * written to, CURVE on all of them. The ZAP handler admits only keys of the member list, and the
 * key gives the peer's identity and role.
 *
 * Messages of one turn for one peer travel in one ZeroMQ message. Nothing blocks: what a full queue
 * does not take, or what waits for a peer that has been away for BUS_WAIT_MS, is dropped and
 * counted, and the cores ask again by their timers. A bus belongs to one thread; several may live
 * in one process. */
#ifndef PARLEY_RUN_BUS_ZMQ_H
#define PARLEY_RUN_BUS_ZMQ_H

#include "common/core.h"
#include "common/run/logger.h"
#include "common/run/members.h"

struct bus;

enum {
	BUS_QUEUE_FRAMES = 1000,             /* per connection and direction */
	BUS_QUEUE_BYTES = 256 * 1024 * 1024, /* of long ones, for a member */
	BUS_FRAME_BYTES = 1024 * 1024,       /* a frame that passes this is sent early */
	BUS_WAIT_MS = 2000,              /* a peer that is not connected is waited for so long, */
	BUS_WAIT_BYTES = 8 * 1024 * 1024 /* and with so much */
};

struct bus_options {
	const struct members *members; /* borrowed; must outlive the bus */
	uint64_t self;
	const char *secret_key; /* Z85; copied */
	struct logger *logger;
	bool bind;           /* listen at the own address, if the list has one, */
	const char *bind_to; /* or here instead; NULL or empty: at the own address */
};

enum bus_refusal {
	REFUSED_KEY,       /* not in the member list */
	REFUSED_ROLE,      /* the role may not send this message */
	REFUSED_VERSION,   /* another major version */
	REFUSED_CLUSTER,   /* another cluster */
	REFUSED_MALFORMED, /* not a frame, or not the message that it says */
	REFUSAL_KINDS
};

enum bus_drop {
	DROPPED_FULL,     /* the queue of the connection is full */
	DROPPED_AWAY,     /* the peer can't be reached */
	DROPPED_NO_ROUTE, /* there is neither an address nor a connection to send it to */
	DROPPED_TOO_LONG, /* longer than anybody takes */
	DROP_KINDS
};

struct bus_counters {
	uint64_t frames_in, frames_out, messages_in, messages_out, bytes_in, bytes_out;
	uint64_t dropped[DROP_KINDS]; /* frames; of NO_ROUTE and TOO_LONG messages */
	uint64_t refused[REFUSAL_KINDS];
};

/* NULL: *problem says why. */
struct bus *bus_new(const struct bus_options *options, struct buf *problem);
/* What is queued may take linger_ms to leave; then it is lost. */
void bus_free(struct bus *b, int linger_ms);
/* Readable when bus_receive may have something to do. */
int bus_fd(const struct bus *b);
/* Where it listens, as ZeroMQ writes it; empty: nowhere. */
const char *bus_endpoint(const struct bus *b);

/* Called for each message with kind, message.from, .envelope and .body filled; the rest is the
 * caller's. */
typedef void bus_handler(void *context, struct event *event);
/* Takes at most `max` frames, and no message after `until_ms` (clock_boot_ms), but for one. True:
 * there may be more. */
bool bus_receive(struct bus *b, uint32_t max, int64_t until_ms, bus_handler *handler,
		 void *context);
/* Queues an effect of kind SEND until bus_flush. False: its receiver has been away for too long,
 * and nothing was kept. */
bool bus_send(struct bus *b, const struct effect *effect);
void bus_flush(struct bus *b);
/* True if something can be received without waiting: look here before sleeping, since ZMQ_FD is
 * edge-triggered. */
bool bus_has_input(struct bus *b);
/* The member list has other rows: connections to members that moved, changed keys or left are
 * closed. */
void bus_members_changed(struct bus *b);
/* How many of the peers that this member connects to are connected. */
uint32_t bus_connected(const struct bus *b);
const struct bus_counters *bus_counters(const struct bus *b);
extern const char *const bus_refusal_names[REFUSAL_KINDS];
extern const char *const bus_drop_names[DROP_KINDS];

#endif
