/* Sockets of the bus: their options, and the comings and goings of connections. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <zmq.h>

#include "common/run/bus_private.h"
#include "common/run/clock.h"

enum {
	RECONNECT_MS = 50,
	RECONNECT_MAX_MS = 1000,
	HEARTBEAT_IVL_MS = 1000,
	HEARTBEAT_TIMEOUT_MS = 5000,
	HANDSHAKE_MS = 5000,
	EPOLL_EVENTS = 64,
	MONITOR_EVENTS = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED |
			 ZMQ_EVENT_CONNECT_RETRIED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
			 ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH
};

static void set_int(void *zmq, int option, int value)
{
	CHECK(zmq_setsockopt(zmq, option, &value, sizeof value) == 0);
}

void bus_watch(struct bus *b, struct bus_socket *socket)
{
	size_t size = sizeof socket->fd;
	CHECK(zmq_getsockopt(socket->zmq, ZMQ_FD, &socket->fd, &size) == 0);
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = socket};
	CHECK(epoll_ctl(b->epoll, EPOLL_CTL_ADD, socket->fd, &event) == 0);
	socket->hot = true;
}

void bus_close_frame(struct bus_frame *frame)
{
	if (frame->open)
		zmq_msg_close(&frame->bytes);
	frame->open = false;
}

void bus_close_socket(struct bus *b, struct bus_socket *socket, int linger_ms)
{
	if (!socket->zmq)
		return;
	epoll_ctl(b->epoll, EPOLL_CTL_DEL, socket->fd, NULL);
	bus_close_frame(&socket->frame);
	set_int(socket->zmq, ZMQ_LINGER, linger_ms);
	zmq_close(socket->zmq);
	*socket = (struct bus_socket){0};
}

void bus_look(struct bus *b)
{
	struct epoll_event events[EPOLL_EVENTS];
	int count = epoll_wait(b->epoll, events, EPOLL_EVENTS, 0);
	for (int i = 0; i < count; i++)
		((struct bus_socket *)events[i].data.ptr)->hot = true;
}

/* NULL: there are no descriptors left, as errno says. */
static void *make_socket(struct bus *b, int type)
{
	void *zmq = zmq_socket(b->context, type);
	if (!zmq)
		return NULL;
	set_int(zmq, ZMQ_LINGER, 0);
	set_int(zmq, ZMQ_IPV6, 1);
	set_int(zmq, ZMQ_SNDHWM, BUS_QUEUE_FRAMES);
	set_int(zmq, ZMQ_RCVHWM, BUS_QUEUE_FRAMES);
	set_int(zmq, ZMQ_RECONNECT_IVL, RECONNECT_MS);
	set_int(zmq, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS);
	set_int(zmq, ZMQ_HEARTBEAT_IVL, HEARTBEAT_IVL_MS);
	set_int(zmq, ZMQ_HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS);
	set_int(zmq, ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS);
	set_int(zmq, ZMQ_CONNECT_TIMEOUT, HANDSHAKE_MS);
	int64_t bytes_max = LIMIT_MESSAGE_BYTES + 2 * BUS_FRAME_BYTES;
	CHECK(zmq_setsockopt(zmq, ZMQ_MAXMSGSIZE, &bytes_max, sizeof bytes_max) == 0);
	CHECK(zmq_setsockopt(zmq, ZMQ_CURVE_SECRETKEY, b->secret, sizeof b->secret) == 0);
	return zmq;
}

bool bus_open_router(struct bus *b, const struct member_row *self, struct buf *problem)
{
	const char *to =
	    b->options.bind_to && b->options.bind_to[0] ? b->options.bind_to : self->address;
	if (!b->options.bind || to[0] == '\0')
		return true;
	b->router.zmq = make_socket(b, ZMQ_ROUTER);
	if (!b->router.zmq) {
		buf_printf(problem, "can't listen on %s: %s", to, zmq_strerror(errno));
		return false;
	}
	set_int(b->router.zmq, ZMQ_CURVE_SERVER, 1);
	set_int(b->router.zmq, ZMQ_ROUTER_MANDATORY, 1);
	CHECK(zmq_setsockopt(b->router.zmq, ZMQ_ZAP_DOMAIN, "parley", 6) == 0);
	bus_watch(b, &b->router);
	if (zmq_bind(b->router.zmq, to) != 0) {
		buf_printf(problem, "can't listen on %s: %s", to, zmq_strerror(errno));
		return false;
	}
	size_t size = sizeof b->endpoint;
	CHECK(zmq_getsockopt(b->router.zmq, ZMQ_LAST_ENDPOINT, b->endpoint, &size) == 0);
	return true;
}

static bool open_monitor(struct bus *b, struct bus_peer *peer)
{
	char name[64];
	snprintf(name, sizeof name, "inproc://monitor-%llu", (unsigned long long)b->monitors++);
	if (zmq_socket_monitor(peer->socket.zmq, name, MONITOR_EVENTS) != 0)
		return false;
	peer->monitor.zmq = zmq_socket(b->context, ZMQ_PAIR);
	if (!peer->monitor.zmq)
		return false;
	CHECK(zmq_connect(peer->monitor.zmq, name) == 0);
	bus_watch(b, &peer->monitor);
	return true;
}

static struct bus_peer *free_place(struct bus *b)
{
	for (uint32_t i = 0; i < b->peers_count; i++)
		if (b->peers[i].member == 0)
			return &b->peers[i];
	return b->peers_count < LIMIT_MEMBERS ? &b->peers[b->peers_count++] : NULL;
}

static void open_failed(struct bus *b, struct bus_peer *peer)
{
	char key[MEMBER_ADDRESS_BYTES + 32];
	char line[512];
	snprintf(key, sizeof key, "socket %s", peer->address);
	snprintf(line, sizeof line, "connect_failed peer=%s address=%s error=\"%s\"",
		 bus_peer_name(b, peer), peer->address, zmq_strerror(errno));
	bus_tell_once(b, key, line);
	bus_disconnect(b, peer, 0);
}

struct bus_peer *bus_connect(struct bus *b, const struct member_row *to)
{
	struct bus_peer *peer = free_place(b);
	if (!peer)
		return NULL;
	*peer = (struct bus_peer){.member = to->id, .down_since_ms = clock_boot_ms()};
	snprintf(peer->address, sizeof peer->address, "%s", to->address);
	snprintf(peer->key, sizeof peer->key, "%s", to->public_key);
	void *zmq = peer->socket.zmq = make_socket(b, ZMQ_DEALER);
	if (!zmq || !open_monitor(b, peer)) {
		open_failed(b, peer);
		return NULL;
	}
	/* what a broken connection did not take is gone, not kept for the next one */
	set_int(zmq, ZMQ_IMMEDIATE, 1);
	CHECK(zmq_setsockopt(zmq, ZMQ_CURVE_PUBLICKEY, b->public, sizeof b->public) == 0);
	CHECK(zmq_setsockopt(zmq, ZMQ_CURVE_SERVERKEY, peer->key, sizeof peer->key) == 0);
	bus_name_connect(b, peer);
	bus_watch(b, &peer->socket);
	return peer;
}

void bus_disconnect(struct bus *b, struct bus_peer *peer, int linger_ms)
{
	if (peer->socket.zmq)
		zmq_socket_monitor(peer->socket.zmq, NULL, 0);
	bus_close_socket(b, &peer->monitor, 0);
	bus_name_leave(b, peer);
	peer->up = false;
	bus_end_waiting(b, peer);
	bus_close_socket(b, &peer->socket, linger_ms);
	buf_close(&peer->out);
	free(peer->waiting);
	*peer = (struct bus_peer){0};
}

/* ---- comings and goings ---- */

static void peer_is_up(struct bus *b, struct bus_peer *peer)
{
	peer->up = true;
	peer->ended_ms = 0;
	bus_end_waiting(b, peer);
	logger_printf(b->options.logger, LOG_LEVEL_INFO, "peer_connected peer=%s address=%s",
		      bus_peer_name(b, peer), peer->address);
}

static void peer_is_down(struct bus *b, struct bus_peer *peer)
{
	peer->ended_ms = clock_boot_ms();
	if (!peer->up)
		return;
	peer->up = false;
	peer->down_since_ms = clock_boot_ms();
	logger_printf(b->options.logger, LOG_LEVEL_WARN, "peer_disconnected peer=%s address=%s",
		      bus_peer_name(b, peer), peer->address);
}

static void handshake_failed(struct bus *b, struct bus_peer *peer, bool refused)
{
	char key[MEMBER_ADDRESS_BYTES + 32];
	char line[512];
	snprintf(key, sizeof key, "handshake %s", peer->address);
	snprintf(line, sizeof line, "handshake_failed peer=%s address=%s detail=\"%s\"",
		 bus_peer_name(b, peer), peer->address,
		 refused ? "it does not admit this member's key: is its member list up to date?"
			 : "it broke off: is it that member, and its key the one in the member "
			   "list?");
	bus_tell_once(b, key, line);
}

static void take_monitor_event(struct bus *b, struct bus_peer *peer, uint16_t event)
{
	if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED)
		peer_is_up(b, peer);
	else if (event == ZMQ_EVENT_DISCONNECTED)
		peer_is_down(b, peer);
	else if (event == ZMQ_EVENT_CONNECT_RETRIED)
		peer->ended_ms = 0;
	else
		handshake_failed(b, peer, event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH);
}

/* Two parts each: number and value of the event, then the endpoint. */
static void read_monitor(struct bus *b, struct bus_peer *peer)
{
	uint8_t head[16];
	char endpoint[BUS_ENDPOINT_BYTES];
	uint16_t event;
	while (zmq_recv(peer->monitor.zmq, head, sizeof head, ZMQ_DONTWAIT) >= (int)sizeof event) {
		if (zmq_recv(peer->monitor.zmq, endpoint, sizeof endpoint, ZMQ_DONTWAIT) < 0)
			break;
		memcpy(&event, head, sizeof event);
		if (event & MONITOR_EVENTS)
			take_monitor_event(b, peer, event);
	}
	peer->monitor.hot = false;
}

/* Whom the other side refuses, or whom it tells what makes no sense, ZeroMQ gives up for good. But
 * the other one may read of this member, or be another one, or itself again, a little later. */
void bus_peer_look(struct bus *b, struct bus_peer *peer)
{
	if (peer->monitor.hot)
		read_monitor(b, peer);
	if (peer->ended_ms != 0 && clock_boot_ms() - peer->ended_ms >= RECONNECT_MAX_MS)
		bus_connect_again(b, peer);
}
