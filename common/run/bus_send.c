/* The sending side of the bus: messages wait here for the end of the turn, then leave together. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <zmq.h>

#include "common/base/memory.h"
#include "common/run/bus_private.h"
#include "common/run/clock.h"

enum {
	ROUTE_BYTES = 5,   /* what ZeroMQ calls a connection: a zero byte and four of number */
	ROUTES_KEPT = 256, /* buffers of routes kept for reuse */
	BUFFER_KEPT_BYTES = 256 * 1024,
	LONG_FRAME_BYTES = 64 * 1024 /* of shorter ones their number is bound enough */
};

struct given {
	struct bus_queued *queued;
	size_t bytes;
};

/* Called by ZeroMQ's thread, too. */
static void has_left(void *data, void *hint)
{
	struct given *g = hint;
	atomic_fetch_sub(&g->queued->bytes, g->bytes);
	free(g);
	free(data);
}

static struct bus_queued *queued_for(struct bus *b, uint64_t member)
{
	struct bus_queued *q = map_get_u64(&b->queued, member);
	if (!q) {
		q = mem_alloc_zero(sizeof *q);
		map_put_u64(&b->queued, member, q);
	}
	return q;
}

static bool is_long(const struct buf *frame)
{
	return frame->len > LONG_FRAME_BYTES;
}

static bool has_room(struct bus *b, uint64_t member, const struct buf *frame)
{
	return !is_long(frame) ||
	       atomic_load(&queued_for(b, member)->bytes) + frame->len <= BUS_QUEUE_BYTES;
}

/* Gives a long frame away. */
static int send_long(struct bus *b, void *zmq, uint64_t member, struct buf *frame)
{
	zmq_msg_t m;
	struct given *g = mem_alloc(sizeof *g);
	*g = (struct given){queued_for(b, member), frame->len};
	atomic_fetch_add(&g->queued->bytes, g->bytes);
	CHECK(zmq_msg_init_data(&m, frame->data, frame->len, has_left, g) == 0);
	*frame = (struct buf){0};
	int sent = zmq_msg_send(&m, zmq, ZMQ_DONTWAIT);
	int error = errno;
	if (sent < 0)
		zmq_msg_close(&m);
	errno = error;
	return sent;
}

static int send_frame(struct bus *b, void *zmq, uint64_t member, struct buf *frame)
{
	return is_long(frame) ? send_long(b, zmq, member, frame)
			      : zmq_send(zmq, frame->data, frame->len, ZMQ_DONTWAIT);
}

static int send_routed(struct bus *b, uint32_t route, uint64_t member, struct buf *frame)
{
	const uint8_t name[ROUTE_BYTES] = {0, (uint8_t)(route >> 24), (uint8_t)(route >> 16),
					   (uint8_t)(route >> 8), (uint8_t)route};
	int sent = zmq_send(b->router.zmq, name, sizeof name, ZMQ_DONTWAIT | ZMQ_SNDMORE);
	return sent < 0 ? sent : send_frame(b, b->router.zmq, member, frame);
}

static void count_drop(struct bus *b, enum bus_drop why)
{
	b->counters.dropped[why]++;
}

/* A peer that is away is waited for a little: it may only be starting. Past that nothing more is
 * taken for it: a dead peer would cost memory without end. */
static bool is_waited_for(const struct bus_peer *peer)
{
	return clock_boot_ms() - peer->down_since_ms < BUS_WAIT_MS;
}

static bool keep_waiting(struct bus_peer *peer, struct buf *frame)
{
	if (!is_waited_for(peer) || peer->waiting_count >= BUS_QUEUE_FRAMES ||
	    peer->waiting_bytes + frame->len > BUS_WAIT_BYTES)
		return false;
	if (!peer->waiting)
		peer->waiting = mem_alloc_zero(BUS_QUEUE_FRAMES * sizeof *peer->waiting);
	peer->waiting_bytes += frame->len;
	peer->waiting[peer->waiting_count++] =
	    (struct bus_waiting){.frame = *frame, .since_ms = clock_boot_ms()};
	*frame = (struct buf){0};
	return true;
}

static uint64_t receiver_of(const struct bus *b, const struct bus_peer *peer, uint32_t route)
{
	const struct bus_route *r = peer ? NULL : map_get_u64(&b->routes, route);
	return peer ? peer->member : r ? r->member : 0;
}

static void send_now(struct bus *b, struct bus_peer *peer, uint32_t route, struct buf *frame)
{
	struct bus_socket *socket = peer ? &peer->socket : &b->router;
	uint64_t member = receiver_of(b, peer, route);
	size_t bytes = frame->len;
	if (!has_room(b, member, frame)) {
		count_drop(b, DROPPED_FULL);
		return;
	}
	int sent =
	    peer ? send_frame(b, socket->zmq, member, frame) : send_routed(b, route, member, frame);
	socket->hot = true;
	if (sent < 0) {
		count_drop(b, errno == EHOSTUNREACH ? DROPPED_AWAY : DROPPED_FULL);
	} else {
		b->counters.frames_out++;
		b->counters.bytes_out += bytes;
	}
}

void bus_end_waiting(struct bus *b, struct bus_peer *peer)
{
	int64_t now_ms = clock_boot_ms();
	for (uint32_t i = 0; i < peer->waiting_count; i++) {
		struct bus_waiting *w = &peer->waiting[i];
		/* what is older its sender may have given up */
		if (peer->up && now_ms - w->since_ms < BUS_WAIT_MS)
			send_now(b, peer, 0, &w->frame);
		else
			count_drop(b, DROPPED_AWAY);
		buf_close(&w->frame);
	}
	peer->waiting_count = 0;
	peer->waiting_bytes = 0;
}

void bus_send_frame(struct bus *b, struct bus_peer *peer, uint32_t route, struct buf *frame)
{
	if (!peer || peer->up)
		send_now(b, peer, route, frame);
	else if (!keep_waiting(peer, frame))
		count_drop(b, DROPPED_AWAY);
	if (frame->cap > BUFFER_KEPT_BYTES)
		buf_close(frame);
	buf_clear(frame);
}

static struct bus_route *route_of(struct bus *b, uint32_t route, uint64_t member)
{
	struct bus_route *r = map_get_u64(&b->routes, route);
	if (!r) {
		r = mem_alloc_zero(sizeof *r);
		r->route = route;
		r->member = member;
		map_put_u64(&b->routes, route, r);
	}
	return r;
}

static struct bus_peer *peer_of(struct bus *b, uint64_t member)
{
	for (uint32_t i = 0; i < b->peers_count; i++)
		if (b->peers[i].member == member)
			return &b->peers[i];
	const struct member_row *row = members_by_id(b->options.members, member);
	return row && row->address[0] ? bus_connect(b, row) : NULL;
}

/* Never so much in one frame that the other side would refuse it. */
static void append(struct bus *b, struct bus_peer *peer, uint32_t route, const struct effect *e)
{
	struct buf *out = peer ? &peer->out : &route_of(b, route, e->send.member)->out;
	if (out->len > 0 && out->len + e->send.body.len > BUS_FRAME_BYTES)
		bus_send_frame(b, peer, route, out);
	if (out->len == 0)
		frame_begin(out, b->options.members->cluster);
	frame_append_raw(out, &e->send.envelope, e->send.body);
	b->counters.messages_out++;
}

/* Its receiver would end the connection, and with it lose all else that is under way. */
static bool is_too_long(struct bus *b, const struct effect *effect)
{
	uint16_t type = effect->send.envelope.type;
	char key[64];
	char line[160];
	if (effect->send.body.len <= LIMIT_MESSAGE_BYTES + BUS_FRAME_BYTES)
		return false;
	snprintf(key, sizeof key, "too_long %u", type);
	snprintf(line, sizeof line, "message_too_long message=%s bytes=%zu",
		 schema_of_message(type)->name, effect->send.body.len);
	bus_tell_once(b, key, line);
	count_drop(b, DROPPED_TOO_LONG);
	return true;
}

bool bus_send(struct bus *b, const struct effect *effect)
{
	CHECK(effect->kind == EFFECT_SEND);
	if (is_too_long(b, effect))
		return true;
	uint32_t route = effect->send.route;
	struct bus_peer *peer = route ? NULL : peer_of(b, effect->send.member);
	if (!route && !peer)
		route = (uint32_t)(uintptr_t)map_get_u64(&b->member_route, effect->send.member);
	if (peer && !peer->up && !is_waited_for(peer)) {
		if (clock_boot_ms() - peer->down_since_ms >= 2 * BUS_WAIT_MS)
			bus_end_waiting(b, peer); /* all of it is too old by now */
		count_drop(b, DROPPED_AWAY);
		return false;
	}
	if (peer || (route && b->router.zmq))
		append(b, peer, route, effect);
	else
		count_drop(b, DROPPED_NO_ROUTE);
	return true;
}

void bus_forget_routes(struct bus *b)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&b->routes, &at));) {
		buf_close(&((struct bus_route *)e->value)->out);
		free(e->value);
	}
	map_clear(&b->routes);
}

void bus_flush(struct bus *b)
{
	for (uint32_t i = 0; i < b->peers_count; i++)
		if (b->peers[i].out.len > 0)
			bus_send_frame(b, &b->peers[i], 0, &b->peers[i].out);
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&b->routes, &at));) {
		struct bus_route *r = e->value;
		if (r->out.len > 0)
			bus_send_frame(b, NULL, r->route, &r->out);
	}
	if (b->routes.count > ROUTES_KEPT)
		bus_forget_routes(b);
}
