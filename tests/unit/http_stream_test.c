/* WebSockets and event streams over real sockets of the loopback. */
#include "gateway/http/mhd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/run/clock.h"
#include "gateway/http/ws.h"
#include "tests/unit/surfer.h"

enum {
	REQUESTS_MAX = 256,
	QUEUE_BYTES = 64 * 1024,
	MESSAGE_BYTES = 4096,
};

static struct identity authority, server_identity, alice;

/* ---- the server under test ---- */

struct fixture {
	struct http_server *server;
	struct {
		uint64_t id;
		bool websocket;
	} requests[REQUESTS_MAX];
	int requests_count;
	uint64_t streams[REQUESTS_MAX]; /* all that were opened */
	int streams_count;
	struct buf messages; /* of clients, each followed by a newline */
	bool whole;          /* answers are */
	bool echo;
	uint64_t echo_to[REQUESTS_MAX];
	struct buf echoes[REQUESTS_MAX];
	int echo_count;
	int gone;
	int gone_why[STREAM_ENDS];
	int request_gone;
	int closed;
	bool paced;
	int taken;
	uint64_t connection;
};

static void on_request(void *context, const struct http_request *r)
{
	struct fixture *f = context;
	assert_true(f->requests_count < REQUESTS_MAX);
	f->requests[f->requests_count].id = r->id;
	f->requests[f->requests_count++].websocket = r->websocket;
	f->connection = r->connection;
}

static void on_gone(void *context, uint64_t request)
{
	(void)request;
	((struct fixture *)context)->request_gone++;
}

static void on_refused(void *context, enum http_refusal why)
{
	(void)context;
	(void)why;
}

static void on_closed(void *context, uint64_t connection)
{
	(void)connection;
	((struct fixture *)context)->closed++;
}

static void on_stream_message(void *context, uint64_t stream, struct slice bytes, bool text)
{
	struct fixture *f = context;
	buf_append_text(&f->messages, text ? "" : "binary ");
	buf_append_slice(&f->messages, bytes);
	buf_append_byte(&f->messages, '\n');
	if (!f->echo)
		return;
	f->echo_to[f->echo_count] = stream;
	buf_append_slice(&f->echoes[f->echo_count++], bytes);
}

static void on_stream_gone(void *context, uint64_t stream, enum stream_end why, uint64_t queued)
{
	struct fixture *f = context;
	(void)queued;
	for (int i = 0; i < f->streams_count; i++)
		if (f->streams[i] == stream)
			f->streams[i] = 0;
	f->gone++;
	f->gone_why[why]++;
}

static void on_stream_taken(void *context, uint64_t stream)
{
	(void)stream;
	((struct fixture *)context)->taken++;
}

static void answer(struct fixture *f)
{
	for (int i = 0; i < f->requests_count; i++) {
		struct http_field header = {slice_text("X-Request-Id"), slice_text("r1")};
		struct http_response response = {
		    .status = 200,
		    .kind = f->requests[i].websocket ? HTTP_WEBSOCKET : HTTP_STREAM,
		    .content_type = slice_text("text/event-stream"),
		    .headers = &header,
		    .headers_count = 1,
		    .paced = f->paced,
		    .body = f->requests[i].websocket ? slice_of(NULL, 0) : slice_text(": hi\n\n")};
		static char large[100000];
		if (f->whole) {
			memset(large, 'x', sizeof large);
			response.kind = HTTP_WHOLE;
			response.body = slice_of(large, sizeof large);
		}
		http_server_respond(f->server, f->requests[i].id, &response);
		if (f->whole)
			continue;
		f->streams[f->streams_count++] = f->requests[i].id;
	}
	f->requests_count = 0;
	for (int i = 0; i < f->echo_count; i++) {
		http_server_stream_send(f->server, &f->echo_to[i], 1, buf_slice(&f->echoes[i]));
		buf_close(&f->echoes[i]);
	}
	f->echo_count = 0;
}

void fixture_turn(struct fixture *f, int client_fd)
{
	struct pollfd fds[] = {{http_server_fd(f->server), POLLIN, 0},
			       {http_server_stream_fd(f->server), POLLIN, 0},
			       {client_fd, POLLIN, 0}};
	(void)poll(fds, 3, http_server_timeout_ms(f->server) == 0 ? 0 : 5);
	http_server_run(f->server);
	http_server_run_streams(f->server);
	answer(f);
	http_server_flush(f->server);
}

static void send_to_all(struct fixture *f, const char *text)
{
	http_server_stream_send(f->server, f->streams, (uint32_t)f->streams_count,
				slice_text(text));
	http_server_flush(f->server);
}

static struct stream_counts counts(struct fixture *f)
{
	struct stream_counts c;
	http_server_count_streams(f->server, &c);
	return c;
}

static struct http_options options_of(struct fixture *f)
{
	return (struct http_options){
	    .address = "127.0.0.1",
	    .certificate = slice_text(server_identity.certificate_pem),
	    .key = slice_text(server_identity.key_pem),
	    .authority = slice_text(authority.certificate_pem),
	    .request_bytes_max = 1000,
	    .bodies_bytes_max = 100000,
	    .connections_max = 200,
	    .idle_timeout_s = 1,
	    .connection_memory_bytes = 32 * 1024,
	    .streams = {.streams_max = 110,
			.message_bytes_max = MESSAGE_BYTES,
			.queue_bytes_max = QUEUE_BYTES,
			.total_bytes_max = 1024 * 1024,
			.ping_ms = 60000,
			.close_ms = 300},
	    .callbacks = {f, on_request, NULL, NULL, on_gone, on_refused, on_closed,
			  on_stream_message, on_stream_taken, on_stream_gone},
	};
}

static struct fixture *fixture_new(uint32_t ping_ms)
{
	struct fixture *f = mem_alloc_zero(sizeof *f);
	struct buf problem = {0};
	struct http_options options = options_of(f);
	if (ping_ms)
		options.streams.ping_ms = ping_ms;
	f->server = http_server_new(&options, &problem);
	assert_non_null(f->server);
	buf_close(&problem);
	return f;
}

static int setup(void **state)
{
	*state = fixture_new(0);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	http_server_free(f->server);
	buf_close(&f->messages);
	free(f);
	return 0;
}

/* ---- its clients ---- */

static void peer_open(struct fixture *f, struct surfer *p)
{
	surfer_connect(f, p, http_server_port(f->server), &alice);
}

static void peer_ask(struct surfer *p, const char *extra)
{
	struct buf request = {0};
	buf_printf(&request, "GET /_/notify?path=x HTTP/1.1\r\nHost: h\r\n%s\r\n", extra);
	peer_send(p, request.data, request.len);
	buf_close(&request);
}

#define HANDSHAKE(version)                                                                         \
	"Upgrade: h2c, WebSocket\r\nConnection: keep-alive, upgrade\r\n"                           \
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: " version "\r\n"

static void peer_websocket(struct fixture *f, struct surfer *p)
{
	int before = f->streams_count;
	peer_open(f, p);
	peer_ask(p, HANDSHAKE("13"));
	EXPECT_TEXT(p, "\r\n\r\n");
	assert_int_equal(f->streams_count, before + 1);
	assert_non_null(strstr(buf_cstr(&p->in), "HTTP/1.1 101 "));
	assert_non_null(
	    strstr(buf_cstr(&p->in), "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
	buf_clear(&p->in);
}

static void peer_events(struct fixture *f, struct surfer *p)
{
	peer_open(f, p);
	peer_ask(p, "");
	EXPECT_TEXT(p, "6\r\n: hi\n\n\r\n");
	assert_non_null(strstr(buf_cstr(&p->in), "HTTP/1.1 200 OK\r\n"));
	assert_non_null(strstr(buf_cstr(&p->in), "Content-Type: text/event-stream\r\n"));
	assert_non_null(strstr(buf_cstr(&p->in), "X-Request-Id: r1\r\n"));
	buf_clear(&p->in);
}

/* ---- tests ---- */

static void test_messages_go_both_ways(void **state)
{
	struct fixture *f = *state;
	struct surfer p;
	f->echo = true;
	peer_websocket(f, &p);
	frame_send(&p, TEXT, "hello");
	expect_frame(&p, TEXT, "hello");
	frame_send(&p, BINARY, "bytes");
	expect_frame(&p, TEXT, "bytes");
	/* in three parts, with a ping between them */
	frame_raw(&p, TEXT, "one ", 4, true);
	frame_raw(&p, 0, "two ", 4, true);
	frame_send(&p, PING, "p");
	frame_raw(&p, 0x80, "three", 5, true);
	expect_frame(&p, PONG, "p");
	expect_frame(&p, TEXT, "one two three");
	assert_string_equal(buf_cstr(&f->messages), "hello\nbinary bytes\none two three\n");
	frame_raw(&p, 0x88, "\x03\xe8", 2, true);
	expect_close(&p, 1000);
	EXPECT_END(&p);
	UNTIL(f, p.fd, f->closed == 1);
	assert_int_equal(f->gone_why[STREAM_CLIENT_LEFT], 1);
	assert_int_equal(f->request_gone, 0);
	assert_int_equal(counts(f).open, 0);
	assert_int_equal(counts(f).bytes, 0);
	peer_close(&p);
}

static void test_a_message_arrives_in_any_pieces(void **state)
{
	struct fixture *f = *state;
	struct surfer p;
	static const uint8_t frames[] = {0x81, 0x83, 0, 0, 0, 0, 'a', 'b', 'c',
					 0x81, 0x82, 0, 0, 0, 0, 'd', 'e'};
	peer_websocket(f, &p);
	for (size_t i = 0; i < sizeof frames; i++) {
		peer_send(&p, frames + i, 1);
		fixture_turn(f, p.fd);
	}
	UNTIL(f, p.fd, strcmp(buf_cstr(&f->messages), "abc\nde\n") == 0);
	peer_close(&p);
}

static void test_wrong_handshakes(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *headers;
		const char *status;
	} cases[] = {
	    {HANDSHAKE("8"), " 426 "},
	    {"Upgrade: websocket\r\nConnection: upgrade\r\n", " 400 "},
	    {"Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n"
	     "Sec-WebSocket-Key: short\r\n",
	     " 400 "},
	    {"Upgrade: websocket\r\nConnection: close\r\nSec-WebSocket-Version: 13\r\n"
	     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
	     " 400 "},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct surfer p;
		peer_open(f, &p);
		peer_ask(&p, cases[i].headers);
		EXPECT_TEXT(&p, "\r\n\r\n");
		assert_non_null(strstr(buf_cstr(&p.in), cases[i].status));
		if (i == 0)
			assert_non_null(strstr(buf_cstr(&p.in), "Sec-WebSocket-Version: 13\r\n"));
		peer_close(&p);
	}
	assert_int_equal(f->streams_count, 0);
}

static void test_bad_frames_end_their_connection_alone(void **state)
{
	struct fixture *f = *state;
	struct surfer other;
	char large[MESSAGE_BYTES + 1];
	memset(large, 'x', sizeof large);
	const struct {
		uint8_t first;
		const char *payload;
		size_t len;
		bool masked;
		uint16_t code;
	} cases[] = {
	    {0x81, "a", 1, false, 1002},             /* not masked */
	    {0x83, "a", 1, true, 1002},              /* an opcode of nothing */
	    {0xC1, "a", 1, true, 1002},              /* a reserved bit */
	    {0x80, "a", 1, true, 1002},              /* goes on with nothing */
	    {0x09, "a", 1, true, 1002},              /* a control frame in parts */
	    {0x81, "\xff\xfe", 2, true, 1007},       /* no UTF-8 */
	    {0x88, "\x03", 1, true, 1002},           /* half a code */
	    {0x81, large, sizeof large, true, 1009}, /* too large */
	};
	peer_websocket(f, &other);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct surfer p;
		peer_websocket(f, &p);
		frame_raw(&p, cases[i].first, cases[i].payload, cases[i].len, cases[i].masked);
		expect_close(&p, cases[i].code);
		EXPECT_END(&p); /* although this client says no goodbye */
		peer_close(&p);
	}
	assert_int_equal(f->gone_why[STREAM_BAD], ARRAY_LEN(cases));
	assert_int_equal(f->messages.len, 0);
	send_to_all(f, "still here");
	expect_frame(&other, TEXT, "still here");
	peer_close(&other);
}

/* Parts that are each small enough. */
static void test_fragments_add_up(void **state)
{
	struct fixture *f = *state;
	struct surfer p;
	char part[1024];
	memset(part, 'x', sizeof part);
	peer_websocket(f, &p);
	frame_raw(&p, TEXT, part, sizeof part, true);
	for (int i = 0; i < MESSAGE_BYTES / (int)sizeof part; i++)
		frame_raw(&p, 0, part, sizeof part, true);
	expect_close(&p, 1009);
	peer_close(&p);
}

/* Each takes memory of its own, however short it is. */
static void test_short_fragments_add_up(void **state)
{
	struct fixture *f = *state;
	struct surfer p;
	peer_websocket(f, &p);
	frame_raw(&p, TEXT, "x", 1, true);
	for (int i = 0; i < MESSAGE_BYTES / 8; i++)
		frame_raw(&p, 0, "x", 1, true);
	expect_close(&p, 1009);
	peer_close(&p);
	UNTIL(f, -1, counts(f).bytes == 0);
}

static void test_events(void **state)
{
	struct fixture *f = *state;
	struct surfer p, second;
	struct buf lines = {0};
	peer_events(f, &p);
	peer_events(f, &second);
	send_to_all(f, "data: 1\n\n");
	send_to_all(f, "data: 22\n\n");
	EXPECT_TEXT(&p, "9\r\ndata: 1\n\n\r\na\r\ndata: 22\n\n\r\n");
	EXPECT_TEXT(&second, "9\r\ndata: 1\n\n\r\na\r\ndata: 22\n\n\r\n");
	uint64_t first = f->streams[0];
	http_server_stream_close(f->server, first, 1000, slice_text("enough"));
	http_server_stream_send(f->server, &first, 1, slice_text("data: too late\n\n"));
	EXPECT_END(&p);
	assert_null(strstr(buf_cstr(&p.in), "too late"));
	assert_true(p.in.len > 5 && memcmp(p.in.data + p.in.len - 5, "0\r\n\r\n", 5) == 0);
	assert_int_equal(f->gone_why[STREAM_CORE_CLOSED], 1);
	peer_close(&p);
	/* the other goes without a word */
	peer_close(&second);
	UNTIL(f, -1, f->gone == 2 && f->closed == 2);
	buf_close(&lines);
}

static void test_http_1_0_has_no_chunks(void **state)
{
	struct fixture *f = *state;
	struct surfer p;
	peer_open(f, &p);
	peer_send(&p, "GET / HTTP/1.0\r\n\r\n", 18);
	EXPECT_TEXT(&p, "\r\n\r\n: hi\n\n");
	assert_null(strstr(buf_cstr(&p.in), "chunked"));
	send_to_all(f, "data: 1\n\n");
	EXPECT_TEXT(&p, "\r\n\r\n: hi\n\ndata: 1\n\n");
	http_server_stream_close(f->server, f->streams[0], 1000, slice_of(NULL, 0));
	EXPECT_END(&p);
	peer_close(&p);
}

/* What it does not read is held up to the limit; then its stream ends, and nobody else's. */
static void slow(struct fixture *f, struct surfer *other)
{
	static char text[16000];
	memset(text, 'e', sizeof text - 1);
	int64_t give_up_ms = clock_boot_ms() + PATIENCE_MS;
	while (f->gone == 0) {
		assert_true(clock_boot_ms() < give_up_ms);
		send_to_all(f, text);
		peer_read(other);
		buf_clear(&other->in);
		assert_true(counts(f).bytes < 2 * QUEUE_BYTES);
		fixture_turn(f, other->fd);
	}
	assert_int_equal(f->gone_why[STREAM_SLOW], 1);
	send_to_all(f, "after");
	EXPECT_TEXT(other, "after");
}

static void test_slow_websocket(void **state)
{
	struct fixture *f = *state;
	struct surfer p, other;
	peer_websocket(f, &p);
	peer_websocket(f, &other);
	slow(f, &other);
	/* it wakes up: whole frames, then the reason */
	uint8_t opcode = TEXT;
	struct buf payload = {0};
	while (opcode == TEXT)
		UNTIL(f, p.fd, frame_take(&p, &opcode, &payload));
	assert_int_equal(opcode, CLOSE);
	assert_int_equal(payload.data[0] << 8 | payload.data[1], 1013);
	assert_string_equal(buf_cstr(&payload) + 2, "slow consumer");
	buf_close(&payload);
	peer_close(&p);
	peer_close(&other);
}

static void test_slow_events(void **state)
{
	struct fixture *f = *state;
	struct surfer p, other;
	peer_events(f, &p);
	peer_events(f, &other);
	slow(f, &other);
	EXPECT_TEXT(&p, "event: error\ndata: {\"error\":");
	EXPECT_TEXT(&p, "\"code\":\"slow_subscriber\"}\n\n\r\n0\r\n\r\n");
	EXPECT_END(&p);
	peer_close(&p);
	peer_close(&other);
}

/* It is told when all has left, not before, and is never cut off. */
static void test_paced(void **state)
{
	static char large[8 * QUEUE_BYTES];
	struct fixture *f = *state;
	struct surfer p;
	memset(large, 'x', sizeof large);
	f->paced = true;
	peer_events(f, &p);
	UNTIL(f, -1, f->taken == 1);
	send_to_all(f, "a");
	EXPECT_TEXT(&p, "1\r\na\r\n");
	UNTIL(f, -1, f->taken == 2);
	http_server_stream_send(f->server, &f->streams[0], 1, slice_of(large, sizeof large));
	while (f->taken == 2) {
		fixture_turn(f, p.fd);
		peer_read(&p);
	}
	UNTIL(f, p.fd, (peer_read(&p), p.in.len > sizeof large));
	assert_int_equal(f->gone, 0);
	peer_close(&p);
}

static bool ends_well(const struct surfer *p)
{
	return p->in.len >= 5 && memcmp(p->in.data + p->in.len - 5, "0\r\n\r\n", 5) == 0;
}

/* What is read as a whole has its end only if all of it was sent. */
static void test_paced_breaks_off(void **state)
{
	struct fixture *f = *state;
	struct surfer whole, broken, drained;
	f->paced = true;
	peer_events(f, &whole);
	peer_events(f, &broken);
	peer_events(f, &drained);
	http_server_stream_close(f->server, f->streams[0], WS_GOING_AWAY, slice_text("end"));
	EXPECT_END(&whole);
	assert_true(ends_well(&whole));
	peer_close(&whole);
	uint64_t second = f->streams[1];
	http_server_stream_send(f->server, &second, 1, slice_text("half"));
	http_server_stream_close(f->server, second, WS_INTERNAL_ERROR, slice_text("broken"));
	EXPECT_END(&broken);
	assert_non_null(strstr(buf_cstr(&broken.in), "4\r\nhalf\r\n"));
	assert_false(ends_well(&broken));
	peer_close(&broken);
	http_server_drain(f->server);
	EXPECT_END(&drained);
	assert_false(ends_well(&drained));
	peer_close(&drained);
}

static void test_silent_clients_go(void **state)
{
	struct fixture *f = *state;
	http_server_free(f->server);
	free(f);
	*state = f = fixture_new(100);
	struct surfer silent, alive;
	peer_websocket(f, &silent);
	peer_websocket(f, &alive);
	int pings = 0;
	struct buf payload = {0};
	UNTIL(f, alive.fd, ({
		      uint8_t opcode = 0;
		      if (frame_take(&alive, &opcode, &payload)) {
			      assert_int_equal(opcode, PING);
			      frame_send(&alive, PONG, "");
			      pings++;
		      }
		      pings > 4;
	      }));
	assert_int_equal(f->gone_why[STREAM_SILENT], 1);
	assert_int_equal(f->gone, 1);
	expect_frame(&silent, PING, "");
	EXPECT_END(&silent);
	buf_close(&payload);
	peer_close(&silent);
	peer_close(&alive);
}

static void test_a_hundred_streams(void **state)
{
	struct fixture *f = *state;
	static struct surfer peers[100];
	for (int i = 0; i < 100; i++)
		i % 2 ? peer_websocket(f, &peers[i]) : peer_events(f, &peers[i]);
	assert_int_equal(counts(f).open, 100);
	assert_int_equal(counts(f).websockets, 50);
	send_to_all(f, "data: to everybody\n\n");
	for (int i = 0; i < 100; i++)
		EXPECT_TEXT(&peers[i], "data: to everybody\n\n");
	assert_int_equal(counts(f).bytes, 0);
	/* half of them vanish, in the middle of a frame */
	for (int i = 1; i < 100; i += 2) {
		peer_send(&peers[i], "\x81\xfe", 2);
		peer_close(&peers[i]);
	}
	UNTIL(f, -1, f->gone == 50 && f->closed == 50);
	send_to_all(f, "data: rest\n\n");
	for (int i = 0; i < 100; i += 2) {
		EXPECT_TEXT(&peers[i], "data: rest\n\n");
		peer_close(&peers[i]);
	}
	UNTIL(f, -1, f->gone == 100 && counts(f).open == 0);
	assert_int_equal(counts(f).bytes, 0);
	assert_int_equal(http_server_connections(f->server), 0);
}

static void test_too_many_streams(void **state)
{
	struct fixture *f = *state;
	static struct surfer peers[111];
	for (int i = 0; i < 110; i++)
		peer_websocket(f, &peers[i]);
	struct surfer *last = &peers[110];
	peer_open(f, last);
	peer_ask(last, "");
	EXPECT_TEXT(last, "\"code\":\"overloaded\"");
	assert_non_null(strstr(buf_cstr(&last->in), "HTTP/1.1 503 "));
	assert_int_equal(f->gone_why[STREAM_REFUSED], 1);
	/* whole answers go on */
	buf_clear(&last->in);
	for (int i = 0; i < 111; i++)
		peer_close(&peers[i]);
}

/* Not longer than the end takes, whether a client takes part in it or not. */
static void test_drain(void **state)
{
	struct fixture *f = *state;
	struct surfer polite, rude, events;
	peer_websocket(f, &polite);
	peer_websocket(f, &rude);
	peer_events(f, &events);
	http_server_drain(f->server);
	expect_close(&polite, 1001);
	frame_raw(&polite, 0x88, "\x03\xe9", 2, true);
	EXPECT_END(&polite);
	EXPECT_END(&events);
	assert_true(events.in.len >= 5 &&
		    memcmp(events.in.data + events.in.len - 5, "0\r\n\r\n", 5) == 0);
	UNTIL(f, rude.fd, counts(f).open == 0);
	assert_int_equal(f->gone_why[STREAM_DRAINED], 3);
	peer_close(&polite);
	peer_close(&rude);
	peer_close(&events);
}

static void test_end_with_open_streams(void **state)
{
	struct fixture *f = *state;
	struct surfer ws, events;
	peer_websocket(f, &ws);
	peer_events(f, &events);
	http_server_free(f->server);
	f->server = NULL;
	assert_int_equal(f->gone, 2);
	assert_int_equal(f->closed, 2);
	peer_close(&ws);
	peer_close(&events);
}

static void test_idle_timeout_and_reload_spare_streams(void **state)
{
	struct fixture *f = *state;
	struct buf problem = {0};
	struct surfer idle, ws;
	peer_open(f, &idle);
	peer_websocket(f, &ws);
	assert_true(http_server_reload(f->server, slice_text(server_identity.certificate_pem),
				       slice_text(server_identity.key_pem),
				       slice_text(authority.certificate_pem), &problem));
	buf_close(&problem);
	EXPECT_END(&idle); /* a second of silence */
	send_to_all(f, "on");
	expect_frame(&ws, TEXT, "on");
	peer_close(&idle);
	peer_close(&ws);
}

/* Whatever comes, in whatever order: the others' streams live. */
static void test_garbage(void **state)
{
	struct fixture *f = *state;
	struct surfer other;
	unsigned random = 1;
	peer_websocket(f, &other);
	for (int round = 0; round < 50; round++) {
		struct surfer p;
		uint8_t bytes[200];
		for (size_t i = 0; i < sizeof bytes; i++)
			bytes[i] = (uint8_t)((random = random * 1103515245 + 12345) >> 16);
		peer_websocket(f, &p);
		if (round % 3 == 0)
			(void)!write(p.fd, bytes, sizeof bytes); /* beneath TLS */
		else
			peer_send(&p, bytes, sizeof bytes);
		fixture_turn(f, p.fd);
		if (round % 3 == 1)
			(void)shutdown(p.fd, SHUT_WR);
		if (round % 5 == 2)
			gnutls_alert_send(p.session, GNUTLS_AL_FATAL, GNUTLS_A_INTERNAL_ERROR);
		fixture_turn(f, p.fd);
		peer_close(&p);
	}
	UNTIL(f, -1, f->gone == 50 && f->closed == 50);
	send_to_all(f, "still here");
	expect_frame(&other, TEXT, "still here");
	peer_close(&other);
}

/* The server runs only when there is something to read or it asks for it: that must be enough,
 * without its timeouts, for large heads, bodies and answers, too. */
static void test_nothing_waits_for_time(void **state)
{
	struct fixture *f = *state;
	struct surfer p;
	struct buf request = {0};
	f->whole = true;
	peer_open(f, &p);
	buf_append_text(&request, "POST /c HTTP/1.1\r\nHost: h\r\nX-Large: ");
	for (int i = 0; i < 9000; i++)
		buf_append_byte(&request, 'h');
	buf_append_text(&request, "\r\nContent-Length: 60000\r\n\r\n");
	for (int i = 0; i < 60000; i++)
		buf_append_byte(&request, 'b');
	for (int round = 0; round < 20; round++) {
		peer_send(&p, request.data, request.len);
		buf_clear(&p.in);
		for (int idle = 0; p.in.len < 100000;) {
			struct pollfd look = {http_server_fd(f->server), POLLIN, 0};
			bool wanted = http_server_timeout_ms(f->server) == 0;
			if (poll(&look, 1, 0) > 0 || wanted) {
				http_server_run(f->server);
				answer(f);
				http_server_flush(f->server);
			}
			size_t before = p.in.len;
			peer_read(&p);
			idle = p.in.len == before && !wanted && look.revents == 0 ? idle + 1 : 0;
			assert_true(idle < 1000);
		}
		assert_non_null(strstr(buf_cstr(&p.in), "HTTP/1.1 200 OK\r\n"));
	}
	buf_close(&request);
	peer_close(&p);
}

static int make_identities(void **state)
{
	(void)state;
	identity_make(&authority, "authority", NULL, NULL, NULL);
	identity_make(&server_identity, "localhost", GNUTLS_KP_TLS_WWW_SERVER, NULL, &authority);
	identity_make(&alice, "alice", GNUTLS_KP_TLS_WWW_CLIENT, NULL, &authority);
	return 0;
}

static int close_identities(void **state)
{
	(void)state;
	identity_close(&authority);
	identity_close(&server_identity);
	identity_close(&alice);
	return 0;
}

#define TEST_OF(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST_OF(test_messages_go_both_ways),
	    TEST_OF(test_a_message_arrives_in_any_pieces),
	    TEST_OF(test_wrong_handshakes),
	    TEST_OF(test_bad_frames_end_their_connection_alone),
	    TEST_OF(test_fragments_add_up),
	    TEST_OF(test_short_fragments_add_up),
	    TEST_OF(test_events),
	    TEST_OF(test_http_1_0_has_no_chunks),
	    TEST_OF(test_slow_websocket),
	    TEST_OF(test_slow_events),
	    TEST_OF(test_paced),
	    TEST_OF(test_paced_breaks_off),
	    TEST_OF(test_silent_clients_go),
	    TEST_OF(test_a_hundred_streams),
	    TEST_OF(test_too_many_streams),
	    TEST_OF(test_drain),
	    TEST_OF(test_end_with_open_streams),
	    TEST_OF(test_idle_timeout_and_reload_spare_streams),
	    TEST_OF(test_garbage),
	    TEST_OF(test_nothing_waits_for_time),
	};
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, make_identities, close_identities);
}
