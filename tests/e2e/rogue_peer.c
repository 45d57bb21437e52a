/* rogue_peer ADDRESS SERVER_KEY SECRET_FILE SOURCE CLUSTER KIND: a peer that does not belong, for
 * the end-to-end tests. Connects to a member's bus and sends two frames of one kind, then prints
 * one line: "refused" if the handshake failed, "answer STATUS TEXT" for an answer in words,
 * "silence" otherwise. SECRET_FILE holds a member's CURVE secret; "new" makes a pair that nobody
 * knows. KIND:
 *   join      a member's first message, as it should be
 *   role      a message that only a coordinator may send
 *   version   a frame of the next major version
 *   garbage   no frame at all
 * CLUSTER is what the frames say, hexadecimal. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "proto/schema.h"

enum { KEY_CHARS = 40, FRAMES = 2, WAIT_MS = 1500, ANSWER_BYTES = 4096, MAJOR_AT = 2 };

struct rogue {
	void *context;
	void *socket;
	void *monitor;
	char secret[KEY_CHARS + 1];
	char public[KEY_CHARS + 1];
};

static bool secret_read(struct rogue *r, const char *path)
{
	if (strcmp(path, "new") == 0)
		return zmq_curve_keypair(r->public, r->secret) == 0;
	FILE *file = fopen(path, "r");
	if (!file)
		return false;
	bool ok = fread(r->secret, 1, KEY_CHARS, file) == KEY_CHARS;
	fclose(file);
	return ok && zmq_curve_public(r->public, r->secret) == 0;
}

static bool rogue_connect(struct rogue *r, const char *address, const char *server_key,
			  const char *source)
{
	static const int linger = 0;
	char endpoint[256];
	r->context = zmq_ctx_new();
	r->socket = zmq_socket(r->context, ZMQ_DEALER);
	r->monitor = zmq_socket(r->context, ZMQ_PAIR);
	zmq_setsockopt(r->socket, ZMQ_CURVE_SERVERKEY, server_key, KEY_CHARS + 1);
	zmq_setsockopt(r->socket, ZMQ_CURVE_PUBLICKEY, r->public, KEY_CHARS + 1);
	zmq_setsockopt(r->socket, ZMQ_CURVE_SECRETKEY, r->secret, KEY_CHARS + 1);
	zmq_setsockopt(r->socket, ZMQ_LINGER, &linger, sizeof linger);
	zmq_setsockopt(r->monitor, ZMQ_LINGER, &linger, sizeof linger);
	if (zmq_socket_monitor(r->socket, "inproc://events", ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) ||
	    zmq_connect(r->monitor, "inproc://events") != 0)
		return false;
	if (strncmp(address, "tcp://", 6) != 0)
		return false;
	snprintf(endpoint, sizeof endpoint, "tcp://%s:0;%s", source, address + 6);
	return zmq_connect(r->socket, endpoint) == 0;
}

static void rogue_close(struct rogue *r)
{
	if (r->monitor)
		zmq_close(r->monitor);
	if (r->socket)
		zmq_close(r->socket);
	if (r->context)
		zmq_ctx_term(r->context);
}

static void frame_fill(struct buf *frame, const char *kind, uint64_t cluster)
{
	struct envelope join = {.type = MSG_member_join, .request_id = 1};
	struct envelope push = {.type = MSG_map_push};
	struct msg_member_join join_body = {.version = slice_text("rogue")};
	struct msg_map_push push_body = {.map_version = UINT32_MAX};
	frame_begin(frame, cluster);
	if (strcmp(kind, "role") == 0)
		frame_append(frame, &push, &push_body);
	else
		frame_append(frame, &join, &join_body);
	if (strcmp(kind, "version") == 0)
		frame->data[MAJOR_AT] = PROTOCOL_MAJOR + 1;
	if (strcmp(kind, "garbage") == 0)
		memset(frame->data, 0xff, frame->len);
}

/* Leads write to a member without being asked; only a word about joining is an answer to us. */
static bool answer_print(const uint8_t *data, size_t len)
{
	struct frame_reader reader;
	struct envelope envelope;
	struct slice body;
	struct arena arena = {0};
	struct msg_member_join_ack ack;
	bool found = false;
	if (frame_open(&reader, slice_of(data, len), 0) != FRAME_OK)
		return false;
	while (!found && frame_next(&reader, &envelope, &body) == FRAME_OK)
		found = envelope.type == MSG_member_join_ack &&
			schema_decode(schema_of_message(envelope.type), body, &arena, &ack);
	if (found)
		printf("answer %" PRIu64 " %.*s\n", ack.status, (int)ack.text.len,
		       (const char *)ack.text.data);
	arena_close(&arena);
	return found;
}

static void answer_wait(struct rogue *r)
{
	zmq_pollitem_t items[] = {{.socket = r->socket, .events = ZMQ_POLLIN},
				  {.socket = r->monitor, .events = ZMQ_POLLIN}};
	uint8_t data[ANSWER_BYTES];
	while (zmq_poll(items, 2, WAIT_MS) > 0) {
		if (items[1].revents) {
			puts("refused");
			return;
		}
		int len = zmq_recv(r->socket, data, sizeof data, 0);
		if (len > 0 && (size_t)len <= sizeof data && answer_print(data, (size_t)len))
			return;
	}
	puts("silence");
}

static bool rogue_run(struct rogue *r, char **argv)
{
	struct buf frame = {0};
	bool ok = secret_read(r, argv[3]) && rogue_connect(r, argv[1], argv[2], argv[4]);
	frame_fill(&frame, argv[6], strtoull(argv[5], NULL, 16));
	for (int i = 0; ok && i < FRAMES; i++)
		ok = zmq_send(r->socket, frame.data, frame.len, 0) >= 0;
	buf_close(&frame);
	if (ok)
		answer_wait(r);
	return ok;
}

int main(int argc, char **argv)
{
	struct rogue rogue = {0};
	if (argc != 7) {
		fputs("usage: rogue_peer ADDRESS SERVER_KEY SECRET_FILE SOURCE CLUSTER KIND\n",
		      stderr);
		return 2;
	}
	bool ok = rogue_run(&rogue, argv);
	if (!ok)
		fprintf(stderr, "rogue_peer: %s\n", zmq_strerror(zmq_errno()));
	rogue_close(&rogue);
	return ok ? 0 : 1;
}
