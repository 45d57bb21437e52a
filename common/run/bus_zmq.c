#include "common/run/bus_zmq.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <zmq.h>

#include "common/base/map.h"
#include "common/base/memory.h"
#include "common/run/zap.h"

enum {
	BUS_QUEUE_MESSAGES = 4096,
	BUS_FRAME_BYTES = 1024 * 1024, /* a frame is sent early when it passes this */
	BUS_RECONNECT_MS = 50,
	BUS_RECONNECT_MAX_MS = 1000,
	BUS_HEARTBEAT_MS = 1000,
	BUS_HANDSHAKE_MS = 5000,
	BUS_TOLD_MAX = 1024 /* refusals logged once each; then the memory is cleared */
};

/* A peer that this member connects to. */
struct bus_peer {
	uint64_t member;
	void *socket;
	struct buf out;
};

/* A connection that came in: its answers go back over it. */
struct bus_route {
	uint32_t route;
	struct buf out;
};

struct bus {
	struct bus_options options;
	char secret[MEMBER_KEY_CHARS + 1];
	char public[MEMBER_KEY_CHARS + 1];
	enum role role;
	void *context;
	void *router; /* NULL: this member only connects */
	struct zap zap;
	int epoll;
	struct bus_peer peers[LIMIT_MEMBERS];
	uint32_t peers_count;
	struct map routes;       /* route -> struct bus_route*, those with something to send */
	struct map member_route; /* member -> its newest route, as a pointer-sized number */
	struct map told;         /* what has been logged once */
	struct arena arena;
	struct bus_counters counters;
	uint32_t next_socket; /* whose turn it is to be read first */
};

const char *const bus_refusal_names[REFUSAL_KINDS] = {"unknown_key", "wrong_role", "other_version",
						      "other_cluster", "malformed"};

/* ---- sockets ---- */

static void set_int(void *socket, int option, int value)
{
	CHECK(zmq_setsockopt(socket, option, &value, sizeof value) == 0);
}

static void watch(struct bus *b, void *socket)
{
	int fd;
	size_t size = sizeof fd;
	CHECK(zmq_getsockopt(socket, ZMQ_FD, &fd, &size) == 0);
	struct epoll_event event = {.events = EPOLLIN};
	CHECK(epoll_ctl(b->epoll, EPOLL_CTL_ADD, fd, &event) == 0);
}

static void *make_socket(struct bus *b, int type)
{
	void *socket = zmq_socket(b->context, type);
	CHECK(socket != NULL);
	set_int(socket, ZMQ_LINGER, 0);
	set_int(socket, ZMQ_SNDHWM, BUS_QUEUE_MESSAGES);
	set_int(socket, ZMQ_RCVHWM, BUS_QUEUE_MESSAGES);
	set_int(socket, ZMQ_RECONNECT_IVL, BUS_RECONNECT_MS);
	set_int(socket, ZMQ_RECONNECT_IVL_MAX, BUS_RECONNECT_MAX_MS);
	set_int(socket, ZMQ_HEARTBEAT_IVL, BUS_HEARTBEAT_MS);
	set_int(socket, ZMQ_HEARTBEAT_TIMEOUT, 5 * BUS_HEARTBEAT_MS);
	set_int(socket, ZMQ_HANDSHAKE_IVL, BUS_HANDSHAKE_MS);
	set_int(socket, ZMQ_CONNECT_TIMEOUT, BUS_HANDSHAKE_MS);
	int64_t bytes_max = LIMIT_MESSAGE_BYTES + 2 * BUS_FRAME_BYTES;
	CHECK(zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &bytes_max, sizeof bytes_max) == 0);
	CHECK(zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, b->secret, sizeof b->secret) == 0);
	return socket;
}

static bool bind_router(struct bus *b, const struct member_row *self, struct buf *problem)
{
	b->router = make_socket(b, ZMQ_ROUTER);
	set_int(b->router, ZMQ_CURVE_SERVER, 1);
	set_int(b->router, ZMQ_ROUTER_MANDATORY, 1);
	if (zmq_bind(b->router, self->address) != 0) {
		buf_printf(problem, "can't listen on %s: %s", self->address, zmq_strerror(errno));
		return false;
	}
	watch(b, b->router);
	return true;
}

static struct bus_peer *connect_peer(struct bus *b, const struct member_row *to)
{
	const struct member_row *self = members_by_id(b->options.members, b->options.self);
	char endpoint[2 * MEMBER_ADDRESS_BYTES + 16];
	if (b->peers_count == LIMIT_MEMBERS)
		return NULL;
	struct bus_peer *peer = &b->peers[b->peers_count++];
	*peer = (struct bus_peer){.member = to->id, .socket = make_socket(b, ZMQ_DEALER)};
	CHECK(zmq_setsockopt(peer->socket, ZMQ_CURVE_PUBLICKEY, b->public, sizeof b->public) == 0);
	CHECK(zmq_setsockopt(peer->socket, ZMQ_CURVE_SERVERKEY, to->public_key,
			     sizeof to->public_key) == 0);
	const char *host = to->address + strlen("tcp://");
	if (self->source[0])
		snprintf(endpoint, sizeof endpoint, "tcp://%s:0;%s", self->source, host);
	else
		snprintf(endpoint, sizeof endpoint, "tcp://%s", host);
	if (zmq_connect(peer->socket, endpoint) != 0)
		logger_printf(b->options.logger, LOG_LEVEL_ERROR,
			      "connect_failed peer=%s endpoint=\"%s\" error=\"%s\"", to->name,
			      endpoint, zmq_strerror(errno));
	watch(b, peer->socket);
	return peer;
}

struct bus *bus_new(const struct bus_options *options, struct buf *problem)
{
	const struct member_row *self = members_by_id(options->members, options->self);
	struct bus *b = mem_alloc_zero(sizeof *b);
	CHECK(self != NULL);
	b->options = *options;
	b->role = self->role;
	snprintf(b->secret, sizeof b->secret, "%s", options->secret_key);
	b->epoll = epoll_create1(EPOLL_CLOEXEC);
	b->context = zmq_ctx_new();
	CHECK(b->context != NULL && b->epoll >= 0);
	zmq_ctx_set(b->context, ZMQ_IO_THREADS, 1);
	if (strlen(options->secret_key) != MEMBER_KEY_CHARS ||
	    zmq_curve_public(b->public, b->secret) != 0) {
		buf_append_text(problem, "the key file holds no CURVE secret key");
	} else if (strcmp(b->public, self->public_key) != 0) {
		buf_printf(problem,
			   "the key file is not that of member %s: the list has another public key",
			   self->name);
	} else if (!zap_open(&b->zap, b->context, options->members)) {
		buf_append_text(problem, "can't open the authentication handler");
	} else {
		watch(b, b->zap.socket);
		if (!options->bind || !self->address[0] || bind_router(b, self, problem))
			return b;
	}
	bus_free(b);
	return NULL;
}

void bus_free(struct bus *b)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&b->routes, &at));) {
		buf_close(&((struct bus_route *)e->value)->out);
		free(e->value);
	}
	for (uint32_t i = 0; i < b->peers_count; i++) {
		zmq_close(b->peers[i].socket);
		buf_close(&b->peers[i].out);
	}
	if (b->router)
		zmq_close(b->router);
	zap_close(&b->zap);
	zmq_ctx_term(b->context);
	map_close(&b->routes);
	map_close(&b->member_route);
	map_close(&b->told);
	arena_close(&b->arena);
	close(b->epoll);
	explicit_bzero(b->secret, sizeof b->secret);
	free(b);
}

int bus_fd(const struct bus *b)
{
	return b->epoll;
}

const struct bus_counters *bus_counters(const struct bus *b)
{
	return &b->counters;
}

/* ---- sending ---- */

static void send_frame(struct bus *b, void *socket, uint32_t route, struct buf *frame)
{
	uint8_t identity[5] = {0};
	b->counters.frames_out++;
	b->counters.bytes_out += frame->len;
	int flags = ZMQ_DONTWAIT;
	bool sent = true;
	if (route) {
		identity[1] = (uint8_t)(route >> 24);
		identity[2] = (uint8_t)(route >> 16);
		identity[3] = (uint8_t)(route >> 8);
		identity[4] = (uint8_t)route;
		sent = zmq_send(socket, identity, sizeof identity, flags | ZMQ_SNDMORE) >= 0;
	}
	if (!sent || zmq_send(socket, frame->data, frame->len, flags) < 0)
		b->counters.dropped++;
	buf_clear(frame);
}

static struct bus_route *route_of(struct bus *b, uint32_t route)
{
	struct bus_route *r = map_get_u64(&b->routes, route);
	if (!r) {
		r = mem_alloc_zero(sizeof *r);
		r->route = route;
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
	return row && row->address[0] ? connect_peer(b, row) : NULL;
}

void bus_send(struct bus *b, const struct effect *effect)
{
	CHECK(effect->kind == EFFECT_SEND);
	struct bus_peer *peer = effect->send.route ? NULL : peer_of(b, effect->send.member);
	uint32_t route = effect->send.route;
	if (!route && !peer)
		route = (uint32_t)(uintptr_t)map_get_u64(&b->member_route, effect->send.member);
	if (!peer && (!route || !b->router)) {
		b->counters.dropped++;
		return;
	}
	struct buf *out = peer ? &peer->out : &route_of(b, route)->out;
	if (out->len == 0)
		frame_begin(out, b->options.members->cluster);
	frame_append_raw(out, &effect->send.envelope, effect->send.body);
	b->counters.messages_out++;
	if (out->len >= BUS_FRAME_BYTES)
		send_frame(b, peer ? peer->socket : b->router, peer ? 0 : route, out);
}

void bus_flush(struct bus *b)
{
	for (uint32_t i = 0; i < b->peers_count; i++)
		if (b->peers[i].out.len > 0)
			send_frame(b, b->peers[i].socket, 0, &b->peers[i].out);
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&b->routes, &at));) {
		struct bus_route *r = e->value;
		if (r->out.len > 0)
			send_frame(b, b->router, r->route, &r->out);
		/* routes come and go with connections: keep none that is idle */
		buf_close(&r->out);
		free(r);
	}
	map_clear(&b->routes);
}

/* ---- receiving ---- */

/* Logged once for each peer and reason, counted always. */
static bool refuse(struct bus *b, enum bus_refusal why, const char *who, const char *detail)
{
	struct buf key = {0};
	b->counters.refused[why]++;
	buf_printf(&key, "%s %s", bus_refusal_names[why], who);
	bool first = map_get(&b->told, buf_slice(&key)) == NULL;
	if (first) {
		if (b->told.count >= BUS_TOLD_MAX)
			map_clear(&b->told);
		map_put(&b->told, buf_slice(&key), b);
		logger_printf(b->options.logger, LOG_LEVEL_ERROR,
			      "peer_refused reason=%s peer=\"%s\" detail=\"%s\"",
			      bus_refusal_names[why], who, detail);
	}
	buf_close(&key);
	return first;
}

/* Says why in the only words that every major version reads: a frame with our own version in its
 * header. */
static void answer_refusal(struct bus *b, const struct peer *to, enum status status,
			   const char *text)
{
	struct buf frame = {0};
	struct msg_member_join_ack ack = {.status = status, .text = slice_text(text)};
	struct envelope envelope = {.type = MSG_member_join_ack};
	frame_begin(&frame, b->options.members->cluster);
	frame_append(&frame, &envelope, &ack);
	if (to->route)
		send_frame(b, b->router, to->route, &frame);
	buf_close(&frame);
}

static void refuse_frame(struct bus *b, const struct peer *from, const char *name,
			 enum frame_problem problem, const struct frame_reader *r)
{
	char text[200];
	if (problem == FRAME_OTHER_MAJOR) {
		snprintf(text, sizeof text,
			 "protocol version %d.%d here, %u.%u there: upgrade one of the two",
			 PROTOCOL_MAJOR, PROTOCOL_MINOR, r->major, r->minor);
		if (refuse(b, REFUSED_VERSION, name, text))
			answer_refusal(b, from, STATUS_VERSION_REFUSED, text);
	} else if (problem == FRAME_OTHER_CLUSTER) {
		snprintf(text, sizeof text, "cluster %016llx here, %016llx there",
			 (unsigned long long)b->options.members->cluster,
			 (unsigned long long)r->cluster);
		if (refuse(b, REFUSED_CLUSTER, name, text))
			answer_refusal(b, from, STATUS_CLUSTER_REFUSED, text);
	} else {
		refuse(b, REFUSED_MALFORMED, name, "not a frame of messages");
	}
}

static void take_message(struct bus *b, const struct peer *from, const char *name,
			 const struct envelope *envelope, struct slice body, bus_handler *handler,
			 void *context)
{
	const struct schema *schema = schema_of_message(envelope->type);
	if (!schema || !message_allowed(envelope->type, from->role, b->role)) {
		refuse(b, REFUSED_ROLE, name,
		       schema ? schema->name : "a message of unknown number");
		return;
	}
	arena_reset(&b->arena);
	void *message = arena_alloc(&b->arena, schema->size);
	if (!schema_decode(schema, body, &b->arena, message)) {
		refuse(b, REFUSED_MALFORMED, name, schema->name);
		return;
	}
	struct event event = {.kind = EVENT_MESSAGE};
	event.message.from = *from;
	event.message.envelope = *envelope;
	event.message.body = message;
	b->counters.messages_in++;
	handler(context, &event);
}

static void take_frame(struct bus *b, const struct peer *from, struct slice bytes,
		       bus_handler *handler, void *context)
{
	const struct member_row *row = members_by_id(b->options.members, from->member);
	const char *name = row ? row->name : "unknown";
	struct frame_reader reader;
	struct envelope envelope;
	struct slice body;
	b->counters.frames_in++;
	b->counters.bytes_in += bytes.len;
	enum frame_problem problem = frame_open(&reader, bytes, b->options.members->cluster);
	while (problem == FRAME_OK && (problem = frame_next(&reader, &envelope, &body)) == FRAME_OK)
		take_message(b, from, name, &envelope, body, handler, context);
	if (problem != FRAME_END)
		refuse_frame(b, from, name, problem, &reader);
}

/* The part after an identity; false: nothing (more) to read. */
static bool receive_part(void *socket, zmq_msg_t *m, int flags)
{
	zmq_msg_init(m);
	if (zmq_msg_recv(m, socket, flags) >= 0)
		return true;
	zmq_msg_close(m);
	return false;
}

static void skip_rest(void *socket)
{
	zmq_msg_t m;
	int more = 1;
	size_t size = sizeof more;
	while (zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &size) == 0 && more &&
	       receive_part(socket, &m, 0))
		zmq_msg_close(&m);
}

static bool receive_routed(struct bus *b, bus_handler *handler, void *context)
{
	zmq_msg_t identity;
	zmq_msg_t m;
	if (!receive_part(b->router, &identity, ZMQ_DONTWAIT))
		return false;
	uint32_t route = zmq_msg_size(&identity) == 5
			     ? be32_read((const uint8_t *)zmq_msg_data(&identity) + 1)
			     : 0;
	zmq_msg_close(&identity);
	if (!receive_part(b->router, &m, 0))
		return true;
	const char *user = zmq_msg_gets(&m, "User-Id");
	const struct member_row *row =
	    user ? members_by_id(b->options.members, strtoull(user, NULL, 10)) : NULL;
	if (row && route) {
		struct peer from = {.member = row->id, .role = row->role, .route = route};
		map_put_u64(&b->member_route, row->id, (void *)(uintptr_t)route);
		take_frame(b, &from, slice_of(zmq_msg_data(&m), zmq_msg_size(&m)), handler,
			   context);
	} else {
		refuse(b, REFUSED_KEY, user ? user : "unknown", "no longer in the member list");
	}
	zmq_msg_close(&m);
	skip_rest(b->router);
	return true;
}

static bool receive_from_peer(struct bus *b, struct bus_peer *peer, bus_handler *handler,
			      void *context)
{
	zmq_msg_t m;
	if (!receive_part(peer->socket, &m, ZMQ_DONTWAIT))
		return false;
	const struct member_row *row = members_by_id(b->options.members, peer->member);
	if (row) {
		struct peer from = {.member = row->id, .role = row->role};
		take_frame(b, &from, slice_of(zmq_msg_data(&m), zmq_msg_size(&m)), handler,
			   context);
	}
	zmq_msg_close(&m);
	skip_rest(peer->socket);
	return true;
}

static void answer_zap(struct bus *b)
{
	char refused[64];
	while (zap_answer(&b->zap, refused))
		if (refused[0])
			refuse(b, REFUSED_KEY, refused, "its public key is not in the member list");
}

bool bus_receive(struct bus *b, uint32_t max, bus_handler *handler, void *context)
{
	uint32_t sources = b->peers_count + 1;
	uint32_t idle = 0;
	answer_zap(b);
	/* one frame from each in turn, so that a busy peer can't starve the others */
	while (max > 0 && idle < sources) {
		uint32_t i = b->next_socket++ % sources;
		bool got = i == b->peers_count
			       ? b->router && receive_routed(b, handler, context)
			       : receive_from_peer(b, &b->peers[i], handler, context);
		idle = got ? 0 : idle + 1;
		max -= got;
	}
	return max == 0;
}

static bool socket_has_input(void *socket)
{
	int events = 0;
	size_t size = sizeof events;
	return socket && zmq_getsockopt(socket, ZMQ_EVENTS, &events, &size) == 0 &&
	       (events & ZMQ_POLLIN);
}

bool bus_has_input(struct bus *b)
{
	bool input = socket_has_input(b->zap.socket);
	input = socket_has_input(b->router) || input;
	for (uint32_t i = 0; i < b->peers_count; i++)
		input = socket_has_input(b->peers[i].socket) || input;
	return input;
}
