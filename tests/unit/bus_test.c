/* Two or three buses in one process, over loopback TCP and CURVE: who gets in, what is refused, how
 * messages are batched. */
#include "common/run/bus_zmq.h"

#include <dlfcn.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#include <cmocka.h>

#include "common/base/memory.h"
#include "common/run/clock.h"

enum { COORDINATOR, GATEWAY, STORAGE, STORAGE_2, NODES, RECEIVED_MAX = 512, DEADLINE_MS = 10000 };
enum { STALL_MS_MAX = 700 };

/* For ZeroMQ: a name server that does not answer. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
		struct addrinfo **out)
{
	static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	if (name && strcmp(name, "slow.test") == 0) {
		usleep(2 * STALL_MS_MAX * 1000);
		return EAI_AGAIN;
	}
	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	return real(name, service, hints, out);
}

static const enum role roles[NODES] = {ROLE_COORDINATOR, ROLE_GATEWAY, ROLE_STORAGE, ROLE_STORAGE};

struct received {
	struct peer from;
	struct envelope envelope;
	size_t body_bytes; /* of an outbox_push */
};

struct node {
	struct bus *bus;
	struct logger logger;
	struct members members; /* this node's own copy of the list */
	char secret[MEMBER_KEY_CHARS + 1];
	struct received received[RECEIVED_MAX];
	uint32_t count;
};

struct cluster {
	struct node nodes[NODES];
	struct effects fx;
	struct buf problem;
};

static uint64_t id_of(int i)
{
	return (uint64_t)i + 1;
}

static struct member_row *row_of(struct node *in, int i)
{
	return &in->members.rows[i];
}

static int cluster_open(void **state)
{
	struct cluster *c = mem_alloc_zero(sizeof *c);
	struct member_row rows[NODES] = {0};
	for (int i = 0; i < NODES; i++) {
		rows[i].id = id_of(i);
		rows[i].role = roles[i];
		snprintf(rows[i].name, sizeof rows[i].name, "node-%d", i);
		assert_int_equal(zmq_curve_keypair(rows[i].public_key, c->nodes[i].secret), 0);
	}
	for (int i = 0; i < NODES; i++) {
		struct node *n = &c->nodes[i];
		n->members = (struct members){.cluster = 7, .count = NODES};
		n->members.rows = mem_alloc(sizeof rows);
		memcpy(n->members.rows, rows, sizeof rows);
		logger_open(&n->logger, role_name(roles[i]), rows[i].name, LOG_LEVEL_FATAL);
	}
	*state = c;
	return 0;
}

static int cluster_close(void **state)
{
	struct cluster *c = *state;
	for (int i = 0; i < NODES; i++) {
		if (c->nodes[i].bus)
			bus_free(c->nodes[i].bus, 0);
		members_close(&c->nodes[i].members);
		logger_close(&c->nodes[i].logger);
	}
	effects_close(&c->fx);
	buf_close(&c->problem);
	free(c);
	return 0;
}

/* Starts node i on a port of its own choice and tells all others, unless they have been told. */
static void start(struct cluster *c, int i)
{
	struct node *n = &c->nodes[i];
	bool listens = roles[i] != ROLE_GATEWAY;
	const char *known = row_of(n, i)->address;
	struct bus_options options = {.members = &n->members,
				      .self = id_of(i),
				      .secret_key = n->secret,
				      .logger = &n->logger,
				      .bind = listens,
				      .bind_to = known[0] ? known : "tcp://127.0.0.1:*"};
	n->bus = bus_new(&options, &c->problem);
	if (!n->bus)
		fail_msg("bus_new: %s", buf_cstr(&c->problem));
	for (int k = 0; listens && k < NODES; k++)
		snprintf(row_of(&c->nodes[k], i)->address, MEMBER_ADDRESS_BYTES, "%s",
			 bus_endpoint(n->bus));
}

static void on_message(void *context, struct event *event)
{
	struct node *n = context;
	assert_true(n->count < RECEIVED_MAX);
	struct received *r = &n->received[n->count++];
	*r = (struct received){event->message.from, event->message.envelope, 0};
	if (r->envelope.type == MSG_outbox_push)
		r->body_bytes = ((const struct msg_outbox_push *)event->message.body)->change.len;
}

/* One round of every loop; waits a little if there was nothing to do. */
static void round_of(struct cluster *c)
{
	struct pollfd fds[NODES];
	int count = 0;
	bool busy = false;
	for (int i = 0; i < NODES; i++) {
		struct node *n = &c->nodes[i];
		if (!n->bus)
			continue;
		busy |= bus_receive(n->bus, 64, INT64_MAX, on_message, n);
		busy |= bus_has_input(n->bus);
		fds[count++] = (struct pollfd){.fd = bus_fd(n->bus), .events = POLLIN};
	}
	if (!busy)
		poll(fds, (nfds_t)count, 20);
}

#define RUN_UNTIL(c, condition)                                                                    \
	do {                                                                                       \
		int64_t end_ms = clock_boot_ms() + DEADLINE_MS;                                    \
		while (!(condition)) {                                                             \
			if (clock_boot_ms() > end_ms)                                              \
				fail_msg("not reached in time: %s", #condition);                   \
			round_of(c);                                                               \
		}                                                                                  \
	} while (0)

static void send_route(struct cluster *c, int from, int to, uint32_t route, uint16_t type,
		       const void *message)
{
	struct envelope envelope = {.type = type, .request_id = 99, .epoch = 5, .trace_id = {1, 2}};
	effects_clear(&c->fx);
	fx_send(&c->fx, WHEN_NOW, id_of(to), route, &envelope, message);
	bus_send(c->nodes[from].bus, &c->fx.items[0]);
}

static void send_join(struct cluster *c, int from)
{
	struct msg_member_join join = {.version = slice_text("test")};
	send_route(c, from, COORDINATOR, 0, MSG_member_join, &join);
	bus_flush(c->nodes[from].bus);
}

static void send_join_ack(struct cluster *c, int to, uint32_t route)
{
	struct msg_member_join_ack ack = {.status = STATUS_OK};
	send_route(c, COORDINATOR, to, route, MSG_member_join_ack, &ack);
	bus_flush(c->nodes[COORDINATOR].bus);
}

static uint64_t refused(struct cluster *c, int i, enum bus_refusal why)
{
	return bus_counters(c->nodes[i].bus)->refused[why];
}

/* ---- who gets in ---- */

static void a_known_key_gives_member_and_role(void **state)
{
	struct cluster *c = *state;
	start(c, COORDINATOR);
	start(c, GATEWAY);
	send_join(c, GATEWAY);
	struct node *k = &c->nodes[COORDINATOR];
	RUN_UNTIL(c, k->count == 1);
	assert_int_equal(k->received[0].from.member, id_of(GATEWAY));
	assert_int_equal(k->received[0].from.role, ROLE_GATEWAY);
	assert_int_equal(k->received[0].envelope.type, MSG_member_join);
	assert_int_equal(k->received[0].envelope.request_id, 99);
	assert_int_equal(k->received[0].envelope.epoch, 5);
	assert_int_equal(k->received[0].envelope.trace_id[1], 2);
	assert_int_equal(bus_connected(c->nodes[GATEWAY].bus), 1);
}

static void answers_go_back_over_the_route(void **state)
{
	struct cluster *c = *state;
	start(c, COORDINATOR);
	start(c, GATEWAY);
	send_join(c, GATEWAY);
	struct node *k = &c->nodes[COORDINATOR], *g = &c->nodes[GATEWAY];
	RUN_UNTIL(c, k->count == 1);
	assert_int_not_equal(k->received[0].from.route, 0);
	send_join_ack(c, GATEWAY, k->received[0].from.route);
	RUN_UNTIL(c, g->count == 1);
	assert_int_equal(g->received[0].from.member, id_of(COORDINATOR));
	assert_int_equal(g->received[0].from.role, ROLE_COORDINATOR);
	/* a member without an address is reached over the connection that it made */
	send_join_ack(c, GATEWAY, 0);
	RUN_UNTIL(c, g->count == 2);
}

static void an_unknown_key_is_refused_and_counted(void **state)
{
	struct cluster *c = *state;
	start(c, COORDINATOR);
	char other_public[MEMBER_KEY_CHARS + 1];
	char other_secret[MEMBER_KEY_CHARS + 1];
	assert_int_equal(zmq_curve_keypair(other_public, other_secret), 0);
	/* the coordinator's list has another key for the gateway */
	memcpy(row_of(&c->nodes[COORDINATOR], GATEWAY)->public_key, other_public,
	       sizeof other_public);
	start(c, GATEWAY);
	send_join(c, GATEWAY);
	RUN_UNTIL(c, refused(c, COORDINATOR, REFUSED_KEY) > 0);
	assert_int_equal(c->nodes[COORDINATOR].count, 0);
	assert_int_equal(bus_connected(c->nodes[GATEWAY].bus), 0);
	assert_int_equal(c->nodes[COORDINATOR].logger.lines[LOG_LEVEL_ERROR], 1);
}

/* His socket, when he has sent that. */
static int connect_as_stranger(struct cluster *c, int to, const char *text, size_t len)
{
	const char *port = strrchr(bus_endpoint(c->nodes[to].bus), ':') + 1;
	struct sockaddr_in at = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(send(fd, text, len, 0), len);
	return fd;
}

static bool has_ended(int fd)
{
	char bytes[256];
	return recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) == 0;
}

/* Who does not say who he is keeps his descriptor here for some seconds only, wherever he stops. */
static void who_says_nothing_is_not_waited_for(void **state)
{
	static const char greeting[64] = "\xff\0\0\0\0\0\0\0\0\x7f\x03\0CURVE";
	struct cluster *c = *state;
	start(c, COORDINATOR);
	int silent = connect_as_stranger(c, COORDINATOR, greeting, 0);
	int stops = connect_as_stranger(c, COORDINATOR, greeting, 5);
	int greets = connect_as_stranger(c, COORDINATOR, greeting, sizeof greeting);
	RUN_UNTIL(c, has_ended(silent));
	RUN_UNTIL(c, has_ended(stops));
	RUN_UNTIL(c, has_ended(greets));
	close(silent);
	close(stops);
	close(greets);
}

static void a_server_with_another_key_gets_nothing(void **state)
{
	struct cluster *c = *state;
	start(c, COORDINATOR);
	char other_secret[MEMBER_KEY_CHARS + 1];
	assert_int_equal(
	    zmq_curve_keypair(row_of(&c->nodes[GATEWAY], COORDINATOR)->public_key, other_secret),
	    0);
	start(c, GATEWAY);
	send_join(c, GATEWAY);
	RUN_UNTIL(c, c->nodes[GATEWAY].logger.lines[LOG_LEVEL_ERROR] > 0);
	assert_int_equal(c->nodes[COORDINATOR].count, 0);
	assert_int_equal(bus_connected(c->nodes[GATEWAY].bus), 0);
}

static void a_key_file_of_another_member_refuses_to_start(void **state)
{
	struct cluster *c = *state;
	struct node *n = &c->nodes[GATEWAY];
	struct bus_options options = {.members = &n->members,
				      .self = id_of(GATEWAY),
				      .secret_key = c->nodes[STORAGE].secret,
				      .logger = &n->logger};
	assert_null(bus_new(&options, &c->problem));
	assert_non_null(strstr(buf_cstr(&c->problem), "node-1"));
	buf_clear(&c->problem);
	options.secret_key = "short";
	assert_null(bus_new(&options, &c->problem));
	assert_non_null(strstr(buf_cstr(&c->problem), "CURVE"));
}

static void a_member_that_leaves_the_list_is_refused(void **state)
{
	struct cluster *c = *state;
	start(c, COORDINATOR);
	start(c, GATEWAY);
	send_join(c, GATEWAY);
	struct node *k = &c->nodes[COORDINATOR];
	RUN_UNTIL(c, k->count == 1);
	char before[MEMBER_KEY_CHARS + 1];
	memcpy(before, row_of(k, GATEWAY)->public_key, sizeof before);
	memcpy(row_of(k, GATEWAY)->public_key, row_of(k, STORAGE)->public_key, sizeof before);
	bus_members_changed(k->bus);
	send_join(c, GATEWAY); /* over the connection that the old key opened */
	RUN_UNTIL(c, refused(c, COORDINATOR, REFUSED_KEY) == 1);
	assert_int_equal(k->count, 1);
	memcpy(row_of(k, GATEWAY)->public_key, before, sizeof before);
	bus_members_changed(k->bus);
	send_join(c, GATEWAY);
	RUN_UNTIL(c, k->count == 2);
}

/* ---- what is refused ---- */

static void a_message_of_another_role_is_refused(void **state)
{
	struct cluster *c = *state;
	start(c, COORDINATOR);
	start(c, GATEWAY);
	struct msg_lease_renew lease = {.sent_ms = 1, .boot = 1};
	send_route(c, GATEWAY, COORDINATOR, 0, MSG_lease_renew, &lease);
	send_join(c, GATEWAY);
	struct node *k = &c->nodes[COORDINATOR];
	RUN_UNTIL(c, k->count == 1); /* what follows in the frame is still read */
	assert_int_equal(k->received[0].envelope.type, MSG_member_join);
	assert_int_equal(refused(c, COORDINATOR, REFUSED_ROLE), 1);
	send_route(c, GATEWAY, COORDINATOR, 0, MSG_lease_renew, &lease);
	bus_flush(c->nodes[GATEWAY].bus);
	RUN_UNTIL(c, refused(c, COORDINATOR, REFUSED_ROLE) == 2);
	assert_int_equal(k->logger.lines[LOG_LEVEL_ERROR], 1); /* counted twice, told once */
}

static void another_cluster_is_refused(void **state)
{
	struct cluster *c = *state;
	c->nodes[GATEWAY].members.cluster = 8;
	start(c, COORDINATOR);
	start(c, GATEWAY);
	send_join(c, GATEWAY);
	RUN_UNTIL(c, refused(c, COORDINATOR, REFUSED_CLUSTER) == 1);
	assert_int_equal(c->nodes[COORDINATOR].count, 0);
	/* the gateway hears of it too, and neither answers the other for ever */
	RUN_UNTIL(c, refused(c, GATEWAY, REFUSED_CLUSTER) == 1);
	send_join(c, GATEWAY);
	RUN_UNTIL(c, refused(c, GATEWAY, REFUSED_CLUSTER) == 2);
	assert_int_equal(refused(c, COORDINATOR, REFUSED_CLUSTER), 2);
	assert_int_equal(c->nodes[COORDINATOR].logger.lines[LOG_LEVEL_ERROR], 1);
}

/* A peer that speaks ZeroMQ and CURVE with the gateway's key, but frames of its own. */
struct raw_peer {
	void *context;
	void *socket;
};

static struct raw_peer raw_open(struct cluster *c)
{
	struct raw_peer raw = {.context = zmq_ctx_new()};
	struct node *g = &c->nodes[GATEWAY];
	int zero = 0;
	raw.socket = zmq_socket(raw.context, ZMQ_DEALER);
	zmq_setsockopt(raw.socket, ZMQ_LINGER, &zero, sizeof zero);
	zmq_setsockopt(raw.socket, ZMQ_CURVE_SECRETKEY, g->secret, sizeof g->secret);
	zmq_setsockopt(raw.socket, ZMQ_CURVE_PUBLICKEY, row_of(g, GATEWAY)->public_key,
		       MEMBER_KEY_CHARS + 1);
	zmq_setsockopt(raw.socket, ZMQ_CURVE_SERVERKEY, row_of(g, COORDINATOR)->public_key,
		       MEMBER_KEY_CHARS + 1);
	assert_int_equal(zmq_connect(raw.socket, row_of(g, COORDINATOR)->address), 0);
	return raw;
}

static void raw_close(struct raw_peer *raw)
{
	zmq_close(raw->socket);
	zmq_ctx_term(raw->context);
}

static void another_major_is_refused_in_words(void **state)
{
	struct cluster *c = *state;
	start(c, COORDINATOR);
	struct raw_peer raw = raw_open(c);
	uint8_t frame[FRAME_HEADER_BYTES] = {'P', 'Y', PROTOCOL_MAJOR + 1, 0};
	uint8_t answer[1024];
	int len = -1;
	zmq_send(raw.socket, frame, sizeof frame, 0);
	RUN_UNTIL(c, (len = zmq_recv(raw.socket, answer, sizeof answer, ZMQ_DONTWAIT)) >= 0);
	assert_int_equal(refused(c, COORDINATOR, REFUSED_VERSION), 1);

	struct frame_reader reader;
	struct envelope envelope;
	struct slice body;
	struct arena arena = {0};
	struct msg_member_join_ack ack;
	assert_int_equal(frame_open(&reader, slice_of(answer, (size_t)len), 7), FRAME_OK);
	assert_int_equal(frame_next(&reader, &envelope, &body), FRAME_OK);
	assert_int_equal(envelope.type, MSG_member_join_ack);
	assert_true(schema_decode(&schema_msg_member_join_ack, body, &arena, &ack));
	assert_int_equal(ack.status, STATUS_VERSION_REFUSED);
	assert_non_null(memmem(ack.text.data, ack.text.len, "upgrade", 7));
	arena_close(&arena);
	raw_close(&raw);
}

static void rubbish_is_refused_and_counted(void **state)
{
	struct cluster *c = *state;
	start(c, COORDINATOR);
	struct raw_peer raw = raw_open(c);
	struct buf frame = {0};
	struct envelope envelope = {.type = MSG_member_join};
	zmq_send(raw.socket, "rubbish", 7, 0);
	zmq_send(raw.socket, "", 0, 0);
	frame_begin(&frame, 7);
	frame_append_raw(&frame, &envelope, slice_text("no map"));
	zmq_send(raw.socket, frame.data, frame.len, 0);
	buf_clear(&frame);
	frame_begin(&frame, 7);
	buf_append_text(&frame, "no message");
	zmq_send(raw.socket, frame.data, frame.len, 0);
	RUN_UNTIL(c, refused(c, COORDINATOR, REFUSED_MALFORMED) == 4);
	/* more parts than one: only the first is a frame */
	struct msg_member_join join = {0};
	buf_clear(&frame);
	frame_begin(&frame, 7);
	frame_append(&frame, &envelope, &join);
	zmq_send(raw.socket, frame.data, frame.len, ZMQ_SNDMORE);
	zmq_send(raw.socket, frame.data, frame.len, 0);
	zmq_send(raw.socket, frame.data, frame.len, 0);
	RUN_UNTIL(c, c->nodes[COORDINATOR].count == 2);
	assert_int_equal(refused(c, COORDINATOR, REFUSED_MALFORMED), 4);
	buf_close(&frame);
	raw_close(&raw);
}

/* ---- batching and bounds ---- */

static void a_turn_travels_in_one_frame(void **state)
{
	struct cluster *c = *state;
	enum { MESSAGES = 100 };
	start(c, COORDINATOR);
	start(c, GATEWAY);
	struct msg_member_join join = {0};
	for (int i = 0; i < MESSAGES; i++)
		send_route(c, GATEWAY, COORDINATOR, 0, MSG_member_join, &join);
	assert_int_equal(bus_counters(c->nodes[GATEWAY].bus)->frames_out, 0);
	bus_flush(c->nodes[GATEWAY].bus);
	RUN_UNTIL(c, c->nodes[COORDINATOR].count == MESSAGES);
	const struct bus_counters *in = bus_counters(c->nodes[COORDINATOR].bus);
	assert_int_equal(bus_counters(c->nodes[GATEWAY].bus)->frames_out, 1);
	assert_int_equal(in->frames_in, 1);
	assert_int_equal(in->messages_in, MESSAGES);
	bus_flush(c->nodes[GATEWAY].bus); /* nothing new: nothing leaves */
	assert_int_equal(bus_counters(c->nodes[GATEWAY].bus)->frames_out, 1);
}

static void take_long(void *context, struct event *event)
{
	int64_t end_ms = clock_boot_ms() + 2;
	while (clock_boot_ms() < end_ms)
		;
	on_message(context, event);
}

/* In a turn that has time for no more. */
static void take_one(struct node *n)
{
	uint32_t before = n->count;
	int64_t end_ms = clock_boot_ms() + DEADLINE_MS;
	while (n->count == before && clock_boot_ms() < end_ms)
		assert_true(bus_receive(n->bus, 64, clock_boot_ms() + 1, take_long, n) ||
			    n->count == before);
	assert_int_equal(n->count, before + 1);
}

/* However much a peer asks for at once, others must not wait for all of it; and of who has left
 * nothing more is heard. */
static void what_a_turn_has_no_time_for_is_left_for_the_next(void **state)
{
	struct cluster *c = *state;
	struct node *k = &c->nodes[COORDINATOR];
	struct msg_member_join join = {0};
	start(c, COORDINATOR);
	start(c, GATEWAY);
	for (int left = 0; left < 2; left++) {
		for (int i = 0; i < 4; i++)
			send_route(c, GATEWAY, COORDINATOR, 0, MSG_member_join, &join);
		bus_flush(c->nodes[GATEWAY].bus);
		RUN_UNTIL(c, bus_connected(c->nodes[GATEWAY].bus) == 1);
		k->count = 0;
		for (int i = 0; i < 3; i++)
			take_one(k);
		assert_true(bus_has_input(k->bus));
		row_of(k, GATEWAY)->id += (uint64_t)left * 100;
		if (left)
			bus_members_changed(k->bus);
		assert_false(bus_receive(k->bus, 64, INT64_MAX, on_message, k));
		assert_int_equal(k->count, left ? 3 : 4);
		assert_int_equal(bus_counters(k->bus)->frames_in, left + 1);
	}
}

static void send_bytes(struct cluster *c, int from, int to, size_t bytes)
{
	uint8_t *change = mem_alloc_zero(bytes);
	struct msg_outbox_push push = {.shard = 1, .change = slice_of(change, bytes)};
	send_route(c, from, to, 0, MSG_outbox_push, &push);
	free(change);
}

static void large_messages_split_the_frame(void **state)
{
	struct cluster *c = *state;
	start(c, STORAGE);
	start(c, STORAGE_2);
	for (int i = 0; i < 3; i++)
		send_bytes(c, STORAGE, STORAGE_2, BUS_FRAME_BYTES - 100 * 1024);
	bus_flush(c->nodes[STORAGE].bus);
	struct node *to = &c->nodes[STORAGE_2];
	RUN_UNTIL(c, to->count == 3);
	assert_int_equal(bus_counters(to->bus)->frames_in, 3);
	send_bytes(c, STORAGE, STORAGE_2, 1); /* before the largest message that there may be */
	send_bytes(c, STORAGE, STORAGE_2, LIMIT_MESSAGE_BYTES);
	bus_flush(c->nodes[STORAGE].bus);
	RUN_UNTIL(c, to->count == 5);
	assert_int_equal(to->received[4].body_bytes, LIMIT_MESSAGE_BYTES);
}

/* Its receiver would end the connection, and so lose all else that is on it. */
static void what_nobody_takes_is_not_sent(void **state)
{
	struct cluster *c = *state;
	start(c, STORAGE);
	start(c, STORAGE_2);
	size_t bytes = LIMIT_MESSAGE_BYTES + 2 * BUS_FRAME_BYTES;
	uint8_t *body = mem_alloc_zero(bytes);
	send_bytes(c, STORAGE, STORAGE_2, 1);
	c->fx.items[0].send.body = slice_of(body, bytes);
	assert_true(bus_send(c->nodes[STORAGE].bus, &c->fx.items[0]));
	send_bytes(c, STORAGE, STORAGE_2, 2);
	bus_flush(c->nodes[STORAGE].bus);
	free(body);
	struct node *to = &c->nodes[STORAGE_2];
	RUN_UNTIL(c, to->count == 2);
	assert_int_equal(to->received[1].body_bytes, 2);
	assert_int_equal(bus_counters(c->nodes[STORAGE].bus)->dropped[DROPPED_TOO_LONG], 1);
	assert_int_equal(c->nodes[STORAGE].logger.lines[LOG_LEVEL_ERROR], 1);
}

static void what_waits_for_an_absent_peer_is_bounded(void **state)
{
	struct cluster *c = *state;
	start(c, STORAGE);
	/* a port on which nobody listens any more */
	start(c, STORAGE_2);
	bus_free(c->nodes[STORAGE_2].bus, 0);
	c->nodes[STORAGE_2].bus = NULL;
	const struct bus_counters *out = bus_counters(c->nodes[STORAGE].bus);
	for (int i = 0; i < 20; i++) {
		send_bytes(c, STORAGE, STORAGE_2, BUS_FRAME_BYTES / 2 + 1);
		bus_flush(c->nodes[STORAGE].bus);
	}
	uint64_t kept = 20 - out->dropped[DROPPED_AWAY];
	assert_in_range(kept, 1, BUS_WAIT_BYTES / (BUS_FRAME_BYTES / 2));
	assert_int_equal(out->frames_out, 0);
	/* when it comes, it gets what was kept, and what is sent from then on */
	start(c, STORAGE_2);
	struct node *to = &c->nodes[STORAGE_2];
	RUN_UNTIL(c, to->count == kept);
	send_bytes(c, STORAGE, STORAGE_2, 10);
	bus_flush(c->nodes[STORAGE].bus);
	RUN_UNTIL(c, to->count == kept + 1);
	assert_int_equal(to->received[to->count - 1].body_bytes, 10);
}

static void a_restarted_peer_is_found_again(void **state)
{
	struct cluster *c = *state;
	start(c, COORDINATOR);
	start(c, GATEWAY);
	send_join(c, GATEWAY);
	RUN_UNTIL(c, c->nodes[COORDINATOR].count == 1);
	bus_free(c->nodes[COORDINATOR].bus, 0);
	c->nodes[COORDINATOR].bus = NULL;
	RUN_UNTIL(c, bus_connected(c->nodes[GATEWAY].bus) == 0);
	start(c, COORDINATOR);
	RUN_UNTIL(c, bus_connected(c->nodes[GATEWAY].bus) == 1);
	send_join(c, GATEWAY);
	RUN_UNTIL(c, c->nodes[COORDINATOR].count == 2);
}

static void a_peer_is_found_by_its_name(void **state)
{
	struct cluster *c = *state;
	start(c, COORDINATOR);
	start(c, GATEWAY);
	struct member_row *row = row_of(&c->nodes[GATEWAY], COORDINATOR);
	const char *port = strrchr(bus_endpoint(c->nodes[COORDINATOR].bus), ':');
	snprintf(row->address, sizeof row->address, "tcp://localhost%s", port);
	int64_t end_ms = clock_boot_ms() + DEADLINE_MS;
	while (c->nodes[COORDINATOR].count == 0 && clock_boot_ms() < end_ms) {
		send_join(c, GATEWAY);
		round_of(c);
	}
	assert_true(c->nodes[COORDINATOR].count > 0);
}

static void who_is_looked_up_in_vain_stops_nobody(void **state)
{
	struct cluster *c = *state;
	start(c, COORDINATOR);
	start(c, GATEWAY);
	snprintf(row_of(&c->nodes[GATEWAY], STORAGE)->address, MEMBER_ADDRESS_BYTES,
		 "tcp://slow.test:7000");
	send_join(c, GATEWAY);
	RUN_UNTIL(c, c->nodes[COORDINATOR].count == 1);
	struct msg_map_request request = {0};
	send_route(c, GATEWAY, STORAGE, 0, MSG_map_request, &request);
	bus_flush(c->nodes[GATEWAY].bus);
	int64_t longest_ms = 0;
	for (uint32_t i = 2; i < 50; i++) {
		int64_t start_ms = clock_boot_ms();
		send_join(c, GATEWAY);
		RUN_UNTIL(c, c->nodes[COORDINATOR].count == i);
		int64_t took_ms = clock_boot_ms() - start_ms;
		longest_ms = took_ms > longest_ms ? took_ms : longest_ms;
		usleep(10000);
	}
	assert_in_range(longest_ms, 0, STALL_MS_MAX);
}

/* Asks again and again, as members do, until the coordinator has heard that many. */
static void join_until_heard(struct cluster *c, uint32_t count)
{
	int64_t end_ms = clock_boot_ms() + DEADLINE_MS;
	while (c->nodes[COORDINATOR].count < count && clock_boot_ms() < end_ms) {
		send_join(c, GATEWAY);
		for (int i = 0; i < 5; i++)
			round_of(c);
	}
	assert_true(c->nodes[COORDINATOR].count >= count);
}

/* A member that starts before the others have read of it. */
static void who_was_refused_gets_in_when_known(void **state)
{
	struct cluster *c = *state;
	struct node *k = &c->nodes[COORDINATOR];
	char key[MEMBER_KEY_CHARS + 1];
	start(c, COORDINATOR);
	memcpy(key, row_of(k, GATEWAY)->public_key, sizeof key);
	memset(row_of(k, GATEWAY)->public_key, 'x', MEMBER_KEY_CHARS);
	start(c, GATEWAY);
	send_join(c, GATEWAY);
	RUN_UNTIL(c, refused(c, COORDINATOR, REFUSED_KEY) > 0);
	for (int i = 0; i < 20; i++)
		round_of(c);
	memcpy(row_of(k, GATEWAY)->public_key, key, sizeof key);
	bus_members_changed(k->bus);
	join_until_heard(c, 1);
}

/* A socket that listens where the coordinator will. */
static int listen_in_its_place(struct cluster *c)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof at;
	int one = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(fd, 5), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	for (int i = 0; i < NODES; i++)
		snprintf(row_of(&c->nodes[i], COORDINATOR)->address, MEMBER_ADDRESS_BYTES,
			 "tcp://127.0.0.1:%u", ntohs(at.sin_port));
	return fd;
}

static void a_stranger_in_its_place_is_got_over(void **state)
{
	static const char words[] = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
				    "<html>this is something else altogether</html>\r\n\r\n";
	struct cluster *c = *state;
	int listener = listen_in_its_place(c);
	start(c, GATEWAY);
	send_join(c, GATEWAY);
	int fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	assert_int_equal(send(fd, words, sizeof words - 1, 0), sizeof words - 1);
	for (int i = 0; i < 20; i++)
		round_of(c);
	close(fd);
	close(listener);
	start(c, COORDINATOR);
	join_until_heard(c, 1);
}

/* So many more descriptors may be opened; gives what the limit was. */
static struct rlimit limit_descriptors(rlim_t spare)
{
	struct rlimit before;
	int next = dup(STDERR_FILENO);
	assert_true(next >= 0 && getrlimit(RLIMIT_NOFILE, &before) == 0);
	close(next);
	struct rlimit now = {(rlim_t)next + spare, before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
	return before;
}

static void who_has_no_descriptor_left_goes_on(void **state)
{
	struct cluster *c = *state;
	start(c, COORDINATOR);
	start(c, GATEWAY);
	const struct bus_counters *counters = bus_counters(c->nodes[GATEWAY].bus);
	for (rlim_t spare = 0; spare < 3; spare++) { /* a connection takes three at once */
		struct rlimit before = limit_descriptors(spare);
		send_join(c, GATEWAY);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
		assert_int_equal(counters->dropped[DROPPED_NO_ROUTE], spare + 1);
	}
	send_join(c, GATEWAY);
	RUN_UNTIL(c, c->nodes[COORDINATOR].count == 1);
}

static void nowhere_to_send_is_counted(void **state)
{
	struct cluster *c = *state;
	start(c, COORDINATOR);
	send_join_ack(c, GATEWAY, 0); /* it never connected, and has no address */
	const struct bus_counters *out = bus_counters(c->nodes[COORDINATOR].bus);
	assert_int_equal(out->dropped[DROPPED_NO_ROUTE], 1);
	send_join_ack(c, GATEWAY, 12345); /* a connection that is gone */
	assert_int_equal(out->dropped[DROPPED_AWAY], 1);
	assert_int_equal(out->frames_out, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, cluster_open, cluster_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_known_key_gives_member_and_role),
	    TEST(answers_go_back_over_the_route),
	    TEST(an_unknown_key_is_refused_and_counted),
	    TEST(who_says_nothing_is_not_waited_for),
	    TEST(a_server_with_another_key_gets_nothing),
	    TEST(a_key_file_of_another_member_refuses_to_start),
	    TEST(a_member_that_leaves_the_list_is_refused),
	    TEST(a_message_of_another_role_is_refused),
	    TEST(another_cluster_is_refused),
	    TEST(another_major_is_refused_in_words),
	    TEST(rubbish_is_refused_and_counted),
	    TEST(a_turn_travels_in_one_frame),
	    TEST(what_a_turn_has_no_time_for_is_left_for_the_next),
	    TEST(large_messages_split_the_frame),
	    TEST(what_nobody_takes_is_not_sent),
	    TEST(what_waits_for_an_absent_peer_is_bounded),
	    TEST(a_restarted_peer_is_found_again),
	    TEST(a_peer_is_found_by_its_name),
	    TEST(who_is_looked_up_in_vain_stops_nobody),
	    TEST(who_was_refused_gets_in_when_known),
	    TEST(a_stranger_in_its_place_is_got_over),
	    TEST(who_has_no_descriptor_left_goes_on),
	    TEST(nowhere_to_send_is_counted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
