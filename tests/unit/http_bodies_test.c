/* Bodies of requests as they arrive, over real sockets of the loopback. */
#include "gateway/http/mhd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <poll.h>
#include <signal.h>

#include "common/base/memory.h"
#include "tests/unit/surfer.h"

enum { BODIES_BYTES = 1500, REQUESTS_MAX = 8 };

static struct identity authority, server_identity, alice;

struct fixture {
	struct http_server *server;
	uint64_t requests[REQUESTS_MAX];
	int requests_count;
};

static void on_request(void *context, const struct http_request *r)
{
	struct fixture *f = context;
	assert_true(f->requests_count < REQUESTS_MAX);
	f->requests[f->requests_count++] = r->id;
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

void fixture_turn(struct fixture *f, int client_fd)
{
	struct http_response response = {.status = 200, .body = slice_text("taken")};
	struct pollfd fds[] = {{http_server_fd(f->server), POLLIN, 0}, {client_fd, POLLIN, 0}};
	(void)poll(fds, 2, http_server_timeout_ms(f->server) == 0 ? 0 : 5);
	http_server_run(f->server);
	for (int i = 0; i < f->requests_count; i++)
		http_server_respond(f->server, f->requests[i], &response);
	f->requests_count = 0;
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
	    .bodies_bytes_max = BODIES_BYTES,
	    .connections_max = 16,
	    .idle_timeout_s = 30,
	    .connection_memory_bytes = 32 * 1024,
	    .callbacks = {f, on_request, NULL, NULL, on_gone, on_refused, on_closed, NULL, NULL,
			  NULL},
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

/* A request of which so much of the body is sent, and has come. */
static void put(struct surfer *p, int length, int sent)
{
	struct buf request = {0};
	buf_printf(&request, "PUT /c/a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", length);
	for (int i = 0; i < sent; i++)
		buf_append_byte(&request, 'x');
	peer_send(p, request.data, request.len);
	for (int i = 0; i < 20; i++)
		fixture_turn(p->f, p->fd);
	buf_close(&request);
}

static void test_a_large_body_gives_way_to_a_small_one(void **state)
{
	struct fixture *f = *state;
	struct surfer large, small;
	surfer_connect(f, &large, http_server_port(f->server), &alice);
	surfer_connect(f, &small, http_server_port(f->server), &alice);
	put(&large, 1000, 999);
	put(&small, 600, 600);
	EXPECT_TEXT(&small, "HTTP/1.1 200 ");
	peer_send(&large, "x", 1);
	EXPECT_TEXT(&large, "HTTP/1.1 503 ");
	peer_close(&large);
	peer_close(&small);
}

static void test_a_small_body_stays(void **state)
{
	struct fixture *f = *state;
	struct surfer large, small;
	surfer_connect(f, &large, http_server_port(f->server), &alice);
	surfer_connect(f, &small, http_server_port(f->server), &alice);
	put(&small, 600, 599);
	put(&large, 1000, 1000);
	EXPECT_TEXT(&large, "HTTP/1.1 503 ");
	peer_send(&small, "x", 1);
	EXPECT_TEXT(&small, "HTTP/1.1 200 ");
	peer_close(&large);
	peer_close(&small);
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
	    TEST_OF(test_a_large_body_gives_way_to_a_small_one),
	    TEST_OF(test_a_small_body_stays),
	};
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, make_identities, close_identities);
}
