#include "common/run/bus_zmq.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <zmq.h>

#include "common/base/memory.h"
#include "common/run/bus_private.h"
#include "common/run/clock.h"

enum { TOLD_MAX = 1024 /* refusals logged once each; then the memory is cleared */ };

const char *const bus_refusal_names[REFUSAL_KINDS] = {"unknown_key", "wrong_role", "other_version",
						      "other_cluster", "malformed"};
const char *const bus_drop_names[DROP_KINDS] = {"queue_full", "peer_away", "no_route", "too_long"};

static bool check_keys(struct bus *b, const struct member_row *self, struct buf *problem)
{
	if (strlen(b->options.secret_key) != MEMBER_KEY_CHARS ||
	    zmq_curve_public(b->public, b->secret) != 0) {
		buf_append_text(problem, "the key file holds no CURVE secret key");
		return false;
	}
	if (strcmp(b->public, self->public_key) == 0)
		return true;
	buf_printf(problem,
		   "the key file is not that of member %s: the list has another public key",
		   self->name);
	return false;
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
	bool ok = check_keys(b, self, problem);
	if (ok && !zap_open(&b->zap, b->context, options->members)) {
		buf_append_text(problem, "can't open the authentication handler");
		ok = false;
	}
	if (ok) {
		b->authenticator.zmq = b->zap.socket;
		bus_watch(b, &b->authenticator);
		ok = bus_open_router(b, self, problem);
	}
	b->options.secret_key = NULL; /* the caller's; ours is in b->secret */
	if (ok)
		return b;
	bus_free(b, 0);
	return NULL;
}

void bus_free(struct bus *b, int linger_ms)
{
	for (uint32_t i = 0; i < b->peers_count; i++)
		bus_disconnect(b, &b->peers[i], linger_ms);
	bus_names_look(b); /* what is still looked up then is left to its thread */
	bus_close_socket(b, &b->router, linger_ms);
	zap_close(&b->zap);
	zmq_ctx_term(b->context);
	bus_forget_routes(b);
	map_close(&b->routes);
	map_close(&b->member_route);
	map_close_owned(&b->queued);
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

const char *bus_endpoint(const struct bus *b)
{
	return b->endpoint;
}

const struct bus_counters *bus_counters(const struct bus *b)
{
	return &b->counters;
}

uint32_t bus_connected(const struct bus *b)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < b->peers_count; i++)
		count += b->peers[i].up;
	return count;
}

void bus_members_changed(struct bus *b)
{
	for (uint32_t i = 0; i < b->peers_count; i++) {
		struct bus_peer *peer = &b->peers[i];
		const struct member_row *row = members_by_id(b->options.members, peer->member);
		if (peer->member && (!row || strcmp(row->address, peer->address) != 0 ||
				     strcmp(row->public_key, peer->key) != 0))
			bus_disconnect(b, peer, 0);
	}
	bus_close_frame(&b->router.frame); /* of whom it is may have left */
	map_clear(&b->told); /* what was wrong may have been put right, or be wrong anew */
}

bool bus_tell_once(struct bus *b, const char *key, const char *line)
{
	if (map_get(&b->told, slice_text(key)))
		return false;
	if (b->told.count >= TOLD_MAX)
		map_clear(&b->told);
	map_put(&b->told, slice_text(key), b);
	logger_text(b->options.logger, LOG_LEVEL_ERROR, slice_text(line));
	return true;
}

/* ---- receiving ---- */

/* Logged once for each peer and reason, counted always. */
static void refuse(struct bus *b, enum bus_refusal why, const char *who, const char *detail)
{
	char key[160];
	char line[512];
	b->counters.refused[why]++;
	snprintf(key, sizeof key, "%s %s", bus_refusal_names[why], who);
	snprintf(line, sizeof line, "peer_refused reason=%s peer=\"%s\" detail=\"%s\"",
		 bus_refusal_names[why], who, detail);
	bus_tell_once(b, key, line);
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
		bus_send_frame(b, NULL, to->route, &frame);
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
		refuse(b, REFUSED_VERSION, name, text);
		answer_refusal(b, from, STATUS_VERSION_REFUSED, text);
	} else if (problem == FRAME_OTHER_CLUSTER) {
		snprintf(text, sizeof text, "cluster %016llx here, %016llx there",
			 (unsigned long long)b->options.members->cluster,
			 (unsigned long long)r->cluster);
		refuse(b, REFUSED_CLUSTER, name, text);
		answer_refusal(b, from, STATUS_CLUSTER_REFUSED, text);
	} else {
		refuse(b, REFUSED_MALFORMED, name, "not a frame of messages");
	}
}

/* event: of the message, but for what `body` decodes to. */
static void take_message(struct bus *b, const char *name, struct event *event, struct slice body,
			 bus_handler *handler, void *context)
{
	uint16_t type = event->message.envelope.type;
	const struct schema *schema = schema_of_message(type);
	if (!schema || !message_allowed(type, event->message.from.role, b->role)) {
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
	event->message.body = message;
	b->counters.messages_in++;
	handler(context, event);
}

/* Until it ends, or the time is over: one may hold all that a busy peer asks for at once. */
static void take_frame(struct bus *b, struct bus_frame *f, int64_t until_ms, bus_handler *handler,
		       void *context)
{
	const struct member_row *row = members_by_id(b->options.members, f->from.member);
	const char *name = row ? row->name : "unknown";
	struct envelope envelope;
	struct slice body;
	enum frame_problem problem;
	while ((problem = frame_next(&f->reader, &envelope, &body)) == FRAME_OK) {
		struct event event = {.kind = EVENT_MESSAGE};
		event.message.from = f->from;
		event.message.envelope = envelope;
		take_message(b, name, &event, body, handler, context);
		if (clock_boot_ms() >= until_ms)
			return;
	}
	if (problem != FRAME_END)
		refuse_frame(b, &f->from, name, problem, &f->reader);
	bus_close_frame(f);
}

static void open_frame(struct bus *b, struct bus_frame *f, const struct member_row *row,
		       uint32_t route)
{
	struct slice bytes = slice_of(zmq_msg_data(&f->bytes), zmq_msg_size(&f->bytes));
	f->open = true;
	f->from = (struct peer){.member = row->id, .role = row->role, .route = route};
	b->counters.frames_in++;
	b->counters.bytes_in += bytes.len;
	enum frame_problem problem = frame_open(&f->reader, bytes, b->options.members->cluster);
	if (problem == FRAME_OK)
		return;
	refuse_frame(b, &f->from, row->name, problem, &f->reader);
	bus_close_frame(f);
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

/* The number in the name that ZeroMQ gave the connection; names that peers choose are refused. */
static uint32_t route_number(const zmq_msg_t *name)
{
	const uint8_t *bytes = zmq_msg_data((zmq_msg_t *)(uintptr_t)name);
	return zmq_msg_size(name) == 5 && bytes[0] == 0 ? be32_read(bytes + 1) : 0;
}

/* The handler noted member and key when the connection came; both must still be in the list. */
static const struct member_row *sender_of(const struct bus *b, const zmq_msg_t *m)
{
	const char *user = zmq_msg_gets(m, "User-Id");
	char *key = NULL;
	uint64_t id = user ? strtoull(user, &key, 10) : 0;
	const struct member_row *row = id ? members_by_id(b->options.members, id) : NULL;
	return row && *key == ' ' && strcmp(key + 1, row->public_key) == 0 ? row : NULL;
}

static bool receive_routed(struct bus *b)
{
	struct bus_frame *f = &b->router.frame;
	zmq_msg_t name;
	if (!receive_part(b->router.zmq, &name, ZMQ_DONTWAIT))
		return false;
	uint32_t route = route_number(&name);
	zmq_msg_close(&name);
	if (!receive_part(b->router.zmq, &f->bytes, 0))
		return true;
	skip_rest(b->router.zmq);
	const struct member_row *row = sender_of(b, &f->bytes);
	if (row && route) {
		map_put_u64(&b->member_route, row->id, (void *)(uintptr_t)route);
		open_frame(b, f, row, route);
	} else {
		const char *user = zmq_msg_gets(&f->bytes, "User-Id");
		refuse(b, REFUSED_KEY, user ? user : "unknown", "no longer in the member list");
		zmq_msg_close(&f->bytes);
	}
	return true;
}

static bool receive_from_peer(struct bus *b, struct bus_peer *peer)
{
	struct bus_frame *f = &peer->socket.frame;
	if (!receive_part(peer->socket.zmq, &f->bytes, ZMQ_DONTWAIT))
		return false;
	skip_rest(peer->socket.zmq);
	const struct member_row *row = members_by_id(b->options.members, peer->member);
	if (row)
		open_frame(b, f, row, 0);
	else
		zmq_msg_close(&f->bytes);
	return true;
}

static void answer_zap(struct bus *b)
{
	char refused[64];
	while (zap_answer(&b->zap, refused))
		if (refused[0])
			refuse(b, REFUSED_KEY, refused, "its public key is not in the member list");
	b->authenticator.hot = false;
}

/* One frame of the socket, if it may have one, or what was left of the last. */
static bool receive_one(struct bus *b, uint32_t i, int64_t until_ms, bus_handler *handler,
			void *context)
{
	bool routed = i == b->peers_count;
	struct bus_socket *socket = routed ? &b->router : &b->peers[i].socket;
	if (!socket->zmq || !socket->hot)
		return false;
	if (!socket->frame.open)
		socket->hot = routed ? receive_routed(b) : receive_from_peer(b, &b->peers[i]);
	if (socket->frame.open)
		take_frame(b, &socket->frame, until_ms, handler, context);
	return socket->hot;
}

bool bus_receive(struct bus *b, uint32_t max, int64_t until_ms, bus_handler *handler, void *context)
{
	uint32_t sources = b->peers_count + 1;
	uint32_t idle = 0;
	bus_look(b);
	bus_names_look(b);
	if (b->authenticator.hot)
		answer_zap(b);
	for (uint32_t i = 0; i < b->peers_count; i++)
		bus_peer_look(b, &b->peers[i]);
	/* one frame from each in turn, so that a busy peer can't starve the others */
	while (max > 0 && idle < sources) {
		if (clock_boot_ms() >= until_ms)
			return true;
		bool got = receive_one(b, b->next_socket++ % sources, until_ms, handler, context);
		idle = got ? 0 : idle + 1;
		max -= got;
	}
	return max == 0;
}

/* Only ZeroMQ itself knows what lies behind a hot socket. */
static bool socket_has_input(struct bus_socket *socket)
{
	int events = 0;
	size_t size = sizeof events;
	if (socket->frame.open)
		return true;
	if (!socket->hot || zmq_getsockopt(socket->zmq, ZMQ_EVENTS, &events, &size) != 0)
		return false;
	socket->hot = (events & ZMQ_POLLIN) != 0;
	return socket->hot;
}

bool bus_has_input(struct bus *b)
{
	bool input = b->authenticator.hot || socket_has_input(&b->router);
	for (uint32_t i = 0; i < b->peers_count; i++)
		input = socket_has_input(&b->peers[i].socket) || b->peers[i].monitor.hot || input;
	return input;
}
