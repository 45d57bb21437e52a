/* The ZeroMQ bus: one bound ROUTER for members with an address, one DEALER for each peer that is
 * written to, CURVE on all of them. The ZAP handler admits only keys of the member list, and the
 * key gives the peer's identity and role.
 *
 * Messages of one turn for one peer travel in one ZeroMQ message. Nothing blocks: what a full queue
 * does not take is dropped and counted, and the cores ask again by their timers. A bus belongs to
 * one thread. */
#ifndef PARLEY_RUN_BUS_ZMQ_H
#define PARLEY_RUN_BUS_ZMQ_H

#include "common/core.h"
#include "common/run/logger.h"
#include "common/run/members.h"

struct bus;

struct bus_options {
	const struct members *members; /* borrowed; must outlive the bus */
	uint64_t self;
	const char *secret_key; /* Z85; copied */
	struct logger *logger;
	bool bind; /* bind the own address */
};

enum bus_refusal {
	REFUSED_KEY,       /* not in the member list */
	REFUSED_ROLE,      /* the role may not send this message */
	REFUSED_VERSION,   /* another major version */
	REFUSED_CLUSTER,   /* another cluster */
	REFUSED_MALFORMED, /* not a frame, or not the message that it says */
	REFUSAL_KINDS
};

struct bus_counters {
	uint64_t frames_in, frames_out, messages_in, messages_out, bytes_in, bytes_out, dropped;
	uint64_t refused[REFUSAL_KINDS];
};

/* NULL: *problem says why. */
struct bus *bus_new(const struct bus_options *options, struct buf *problem);
void bus_free(struct bus *b);
/* Readable when bus_receive may have something to do. */
int bus_fd(const struct bus *b);

/* Called for each message with kind, message.from, .envelope and .body filled; the rest is the
 * caller's. */
typedef void bus_handler(void *context, struct event *event);
/* Takes at most `max` frames. True: there may be more. */
bool bus_receive(struct bus *b, uint32_t max, bus_handler *handler, void *context);
/* Queues an effect of kind SEND until bus_flush. */
void bus_send(struct bus *b, const struct effect *effect);
void bus_flush(struct bus *b);
/* True if something can be received without waiting: look here before sleeping, since ZMQ_FD is
 * edge-triggered. */
bool bus_has_input(struct bus *b);
const struct bus_counters *bus_counters(const struct bus *b);
extern const char *const bus_refusal_names[REFUSAL_KINDS];

#endif
