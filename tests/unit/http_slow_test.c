/* Clients that do not take the answers that come to them in pieces. */
#include "gateway/http/mhd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <poll.h>
#include <signal.h>

#include "common/base/memory.h"
#include "tests/unit/surfer.h"

enum { CLIENTS = 4, PIECE_BYTES = 32 << 20 /* more than sockets hold */ };

static struct identity authority, server_identity, alice;

struct fixture {
	struct http_server *server;
	uint64_t streams[CLIENTS];
	int streams_count;
	int gone;
	uint64_t first_gone;
};

static void on_request(void *context, const struct http_request *r)
{
	struct fixture *f = context;
	f->streams[f->streams_count++] = r->id;
}

static void on_gone(void *context, uint64_t request)
{
	(void)context;
	(void)request;
}

static void on_refused(void *context, enum http_refusal why)
{
	(void)context;
	(void)why;
}

static void on_closed(void *context, uint64_t connection)
{
	(void)context;
	(void)connection;
}

static void on_stream_taken(void *context, uint64_t stream)
{
	(void)context;
	(void)stream;
}

static void on_stream_gone(void *context, uint64_t stream, enum stream_end why, uint64_t queued)
{
	struct fixture *f = context;
	(void)queued;
	if (why == STREAM_SLOW && f->gone++ == 0)
		f->first_gone = stream;
}

void fixture_turn(struct fixture *f, int client_fd)
{
	struct http_response response = {
	    .status = 200, .kind = HTTP_STREAM, .paced = true, .body = slice_text("begins")};
	int before = f->streams_count;
	struct pollfd fds[] = {{http_server_fd(f->server), POLLIN, 0},
			       {http_server_stream_fd(f->server), POLLIN, 0},
			       {client_fd, POLLIN, 0}};
	(void)poll(fds, 3, http_server_timeout_ms(f->server) == 0 ? 0 : 5);
	http_server_run(f->server);
	http_server_run_streams(f->server);
	for (int i = before; i < f->streams_count; i++)
		http_server_respond(f->server, f->streams[i], &response);
	http_server_flush(f->server);
}

static int setup(void **state)
{
	struct fixture *f = mem_alloc_zero(sizeof *f);
	struct buf problem = {0};
	const struct http_options options = {
	    .address = "127.0.0.1",
	    .certificate = slice_text(server_identity.certificate_pem),
	    .key = slice_text(server_identity.key_pem),
	    .authority = slice_text(authority.certificate_pem),
	    .request_bytes_max = 1000,
	    .bodies_bytes_max = 100000,
	    .connections_max = 16,
	    .idle_timeout_s = 30,
	    .connection_memory_bytes = 32 * 1024,
	    .streams = {.streams_max = CLIENTS,
			.message_bytes_max = 1000,
			.queue_bytes_max = 1000,
			.total_bytes_max = PIECE_BYTES,
			.ping_ms = 60000,
			.close_ms = 300},
	    .callbacks = {f, on_request, NULL, NULL, on_gone, on_refused, on_closed, NULL,
			  on_stream_taken, on_stream_gone},
	};
	f->server = http_server_new(&options, &problem);
	assert_non_null(f->server);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	http_server_free(f->server);
	free(f);
	return 0;
}

static void listen_in(struct fixture *f, struct surfer *p)
{
	static const char request[] = "GET /c/_changes HTTP/1.1\r\nHost: h\r\n\r\n";
	surfer_connect(f, p, http_server_port(f->server), &alice);
	peer_send(p, request, sizeof request - 1);
	EXPECT_TEXT(p, "begins");
}

/* Each holds no more than a piece, but all of them together could hold any number of these. */
static void test_who_waits_longest_gives_way(void **state)
{
	struct fixture *f = *state;
	struct surfer clients[CLIENTS];
	struct stream_counts counts;
	uint8_t *piece = mem_alloc_zero(PIECE_BYTES);
	for (int i = 0; i < CLIENTS; i++)
		listen_in(f, &clients[i]);
	for (int i = 0; i < CLIENTS; i++) {
		http_server_stream_send(f->server, &f->streams[i], 1, slice_of(piece, PIECE_BYTES));
		for (int turn = 0; turn < 5; turn++)
			fixture_turn(f, -1);
		http_server_count_streams(f->server, &counts);
		assert_in_range(counts.bytes, 1, PIECE_BYTES + 1000);
	}
	assert_int_equal(f->gone, CLIENTS - 1);
	assert_int_equal(f->first_gone, f->streams[0]);
	EXPECT_END(&clients[0]);
	for (int i = 0; i < CLIENTS; i++)
		peer_close(&clients[i]);
	free(piece);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_who_waits_longest_gives_way, setup, teardown),
	};
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, make_identities, close_identities);
}
