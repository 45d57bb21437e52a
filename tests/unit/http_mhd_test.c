/* The HTTPS listener over real sockets of the loopback: a client with GnuTLS in a thread of its
 * own, certificates made on the spot. */
#include "gateway/http/mhd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "tests/unit/tls_identity.h"

enum { BODY_MAX = 100000, ANSWER_MAX = 8192, ANSWERS_MAX = 16, STEP_MS = 50 };
enum { LARGE_BYTES = 16 << 20 /* more than sockets hold */ };

/* ---- certificates ---- */

static struct identity authority, stranger, server, alice, service, foreign;

static int make_identities(void **state)
{
	(void)state;
	identity_make(&authority, "authority", NULL, NULL, NULL);
	identity_make(&stranger, "stranger", NULL, NULL, NULL);
	identity_make(&server, "localhost", GNUTLS_KP_TLS_WWW_SERVER, NULL, &authority);
	identity_make(&alice, "alice", GNUTLS_KP_TLS_WWW_CLIENT, NULL, &authority);
	identity_make(&service, "service", GNUTLS_KP_TLS_WWW_CLIENT, "urn:parley:app", &authority);
	identity_make(&foreign, "alice", GNUTLS_KP_TLS_WWW_CLIENT, NULL, &stranger);
	return 0;
}

static int close_identities(void **state)
{
	(void)state;
	struct identity *all[] = {&authority, &stranger, &server, &alice, &service, &foreign};
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		identity_close(all[i]);
	return 0;
}

/* ---- the client: one connection, one request after the other ---- */

struct client {
	uint16_t port;
	const struct identity *identity; /* NULL: none */
	const char *requests[4];         /* ended by NULL */
	size_t first_bytes;              /* of the first; 0: up to its NUL */
	char answers[4][ANSWER_MAX];     /* up to the end of the body */
	gnutls_datum_t session;          /* in: to resume; out: to be resumed */
	size_t a_step;                   /* so many bytes are sent at a time; 0: all */
	int reads_fd;                    /* not 0: the answer is read when this says so */
	bool bodiless;                   /* no answer has a body, whatever it says of one */
	bool leaves;                     /* before the answer, and says so by left_fd */
	int left_fd;
	bool resumed;
	bool failed; /* no handshake */
	int done_fd;
};

static int connect_to(uint16_t port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static bool answer_complete(const char *text, bool head)
{
	const char *end = strstr(text, "\r\n\r\n");
	const char *length = strstr(text, "Content-Length: ");
	if (!end)
		return false;
	if (head || !length || length > end)
		return true;
	return strlen(end + 4) >= strtoul(length + 16, NULL, 10);
}

static bool send_all(gnutls_session_t session, const char *text, size_t left, size_t a_step)
{
	while (left > 0) {
		size_t part = a_step > 0 && a_step < left ? a_step : left;
		ssize_t sent = gnutls_record_send(session, text, part);
		if (sent < 0)
			return false;
		if (a_step > 0)
			usleep(STEP_MS * 1000);
		text += sent;
		left -= (size_t)sent;
	}
	return true;
}

static void talk(struct client *c, gnutls_session_t session)
{
	for (int i = 0; i < 4 && c->requests[i]; i++) {
		size_t len = 0;
		bool head = c->bodiless || strncmp(c->requests[i], "HEAD", 4) == 0;
		size_t bytes = i == 0 && c->first_bytes ? c->first_bytes : strlen(c->requests[i]);
		if (!send_all(session, c->requests[i], bytes, c->a_step) || c->leaves)
			return;
		if (c->reads_fd != 0)
			(void)!read(c->reads_fd, c->answers[i], 1);
		while (!answer_complete(c->answers[i], head)) {
			ssize_t got =
			    gnutls_record_recv(session, c->answers[i] + len, ANSWER_MAX - 1 - len);
			if (got == GNUTLS_E_AGAIN || got == GNUTLS_E_INTERRUPTED)
				continue;
			if (got <= 0)
				return;
			len += (size_t)got;
		}
	}
}

/* No more will come of it, nor is anything read; the server closes the connection some time. */
static void leave(struct client *c, int fd)
{
	char rest[ANSWER_MAX];
	shutdown(fd, SHUT_WR);
	(void)!write(c->left_fd, "x", 1);
	while (recv(fd, rest, sizeof rest, 0) > 0)
		;
}

static void *client_thread(void *context)
{
	struct client *c = context;
	gnutls_certificate_credentials_t credentials;
	gnutls_session_t session;
	int fd = connect_to(c->port);
	gnutls_certificate_allocate_credentials(&credentials);
	if (c->identity) {
		gnutls_datum_t certificate = {
		    (unsigned char *)(uintptr_t)c->identity->certificate_pem,
		    (unsigned)strlen(c->identity->certificate_pem)};
		gnutls_datum_t key = {(unsigned char *)(uintptr_t)c->identity->key_pem,
				      (unsigned)strlen(c->identity->key_pem)};
		gnutls_certificate_set_x509_key_mem(credentials, &certificate, &key,
						    GNUTLS_X509_FMT_PEM);
	}
	/* Whoever signed it: a client with a foreign certificate sends it all the same. */
	gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_FORCE_CLIENT_CERT | GNUTLS_NO_SIGNAL);
	gnutls_set_default_priority(session);
	gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials);
	if (c->session.data)
		gnutls_session_set_data(session, c->session.data, c->session.size);
	gnutls_transport_set_int(session, fd);
	c->failed = fd < 0 || gnutls_handshake(session) < 0;
	if (!c->failed) {
		c->resumed = gnutls_session_is_resumed(session);
		talk(c, session);
		if (!c->session.data)
			gnutls_session_get_data2(session, &c->session);
	}
	if (c->leaves)
		leave(c, fd);
	gnutls_deinit(session);
	gnutls_certificate_free_credentials(credentials);
	if (fd >= 0)
		close(fd);
	(void)!write(c->done_fd, "x", 1);
	return NULL;
}

/* ---- the server under test: it tells the request back ---- */

struct told {
	uint64_t id;
	char text[1024];
};

struct fixture {
	struct http_server *server;
	struct told told[ANSWERS_MAX];
	int told_count;
	int told_ever;
	int refused[3]; /* by reason */
	int gone;
	int closed;
	int status;    /* 0: 200 */
	bool silent;   /* gives no answers */
	char *large;   /* gives these */
	bool watching; /* wants to know whether they are taken */
};

static void on_request(void *context, const struct http_request *r)
{
	struct fixture *f = context;
	struct told *t = &f->told[f->told_count++];
	assert_true(f->told_count <= ANSWERS_MAX);
	f->told_ever++;
	t->id = r->id;
	assert_true(r->connection != 0);
	int at = snprintf(t->text, sizeof t->text, "%d %.*s ? %.*s body %zu%s by %.*s", r->method,
			  (int)r->path.len, (const char *)r->path.data, (int)r->query.len,
			  r->query.len ? (const char *)r->query.data : "", r->body.len,
			  r->body_too_large ? " too large" : "", (int)r->principal.len,
			  r->principal.len ? (const char *)r->principal.data : "");
	for (uint32_t i = 0; i < r->headers_count; i++)
		if (slice_is(r->headers[i].name, "if-match"))
			snprintf(t->text + at, sizeof t->text - (size_t)at, " if %.*s",
				 (int)r->headers[i].value.len,
				 (const char *)r->headers[i].value.data);
}

static void on_gone(void *context, uint64_t request)
{
	(void)request;
	((struct fixture *)context)->gone++;
}

static void on_refused(void *context, enum http_refusal why)
{
	((struct fixture *)context)->refused[why]++;
}

static void on_closed(void *context, uint64_t connection)
{
	assert_true(connection != 0);
	((struct fixture *)context)->closed++;
}

static void give_answers(struct fixture *f)
{
	for (int i = 0; i < f->told_count && !f->silent; i++) {
		struct http_field header = {slice_text("X-Test"), slice_text("yes")};
		struct http_response response = {.status = f->status ? f->status : 200,
						 .content_type = slice_text("text/plain"),
						 .headers = &header,
						 .headers_count = 1,
						 .body = f->large ? slice_of(f->large, LARGE_BYTES)
								  : slice_text(f->told[i].text),
						 .tell_if_lost = f->watching};
		http_server_respond(f->server, f->told[i].id, &response);
	}
	if (!f->silent)
		f->told_count = 0;
	http_server_flush(f->server);
}

/* Serves until the client has ended (or, silent, until its request was told). Who leaves is
 * answered after that. */
static void serve(struct fixture *f, struct client *c)
{
	int done[2];
	int left[2];
	pthread_t thread;
	assert_int_equal(pipe(done), 0);
	assert_int_equal(pipe(left), 0);
	c->port = http_server_port(f->server);
	c->done_fd = done[1];
	c->left_fd = left[1];
	assert_int_equal(pthread_create(&thread, NULL, client_thread, c), 0);
	for (bool over = false; !over;) {
		struct pollfd fds[] = {{http_server_fd(f->server), POLLIN, 0},
				       {done[0], POLLIN, 0},
				       {left[0], POLLIN, 0}};
		(void)poll(fds, 3, http_server_timeout_ms(f->server));
		http_server_run(f->server);
		if (!c->leaves || (fds[2].revents & POLLIN))
			give_answers(f);
		over = (fds[1].revents & POLLIN) || (f->silent && f->told_count > 0);
	}
	if (f->silent) {
		http_server_free(f->server);
		f->server = NULL;
	}
	pthread_join(thread, NULL);
	for (int i = 0; i < 2; i++) {
		close(done[i]);
		close(left[i]);
	}
}

/* Serves all of them at once until the last has ended. */
static void serve_all(struct fixture *f, struct client *clients, int count)
{
	int done[2];
	int left = count;
	pthread_t threads[8];
	assert_int_equal(pipe(done), 0);
	for (int i = 0; i < count; i++) {
		clients[i].port = http_server_port(f->server);
		clients[i].done_fd = done[1];
		assert_int_equal(pthread_create(&threads[i], NULL, client_thread, &clients[i]), 0);
	}
	while (left > 0) {
		char told[8];
		struct pollfd fds[] = {{http_server_fd(f->server), POLLIN, 0},
				       {done[0], POLLIN, 0}};
		(void)poll(fds, 2, STEP_MS);
		http_server_run(f->server);
		give_answers(f);
		if (fds[1].revents & POLLIN)
			left -= (int)read(done[0], told, sizeof told);
	}
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	close(done[0]);
	close(done[1]);
}

static int setup_patient(void **state, uint32_t idle_timeout_s)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct buf problem = {0};
	struct http_options options = {
	    .address = "127.0.0.1",
	    .certificate = slice_text(server.certificate_pem),
	    .key = slice_text(server.key_pem),
	    .authority = slice_text(authority.certificate_pem),
	    .request_bytes_max = BODY_MAX,
	    .bodies_bytes_max = 10 * BODY_MAX,
	    .connections_max = 16,
	    .idle_timeout_s = idle_timeout_s,
	    .connection_memory_bytes = 32 * 1024,
	    .callbacks = {f, on_request, NULL, NULL, on_gone, on_refused, on_closed, NULL, NULL,
			  NULL},
	};
	f->server = http_server_new(&options, &problem);
	assert_non_null(f->server);
	buf_close(&problem);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	return setup_patient(state, 30);
}

static int setup_impatient(void **state)
{
	return setup_patient(state, 1);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	http_server_free(f->server);
	free(f);
	return 0;
}

static void client_close(struct client *c)
{
	gnutls_free(c->session.data);
	c->session.data = NULL;
}

/* ---- tests ---- */

static void test_requests_arrive_whole(void **state)
{
	struct client c = {
	    .identity = &alice,
	    .requests = {"GET /a%20b/c?x=%7B&y HTTP/1.1\r\nHost: h\r\nIf-Match: \"1-a\"\r\n"
			 "if-match: \"2-b\"\r\n\r\n",
			 "PUT /c/d HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n12345",
			 "HEAD /e HTTP/1.1\r\nHost: h\r\n\r\n",
			 "GET /f HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"}};
	serve(*state, &c);
	assert_non_null(strstr(c.answers[0], "HTTP/1.1 200 OK\r\n"));
	assert_non_null(strstr(c.answers[0], "Content-Type: text/plain\r\n"));
	assert_non_null(strstr(c.answers[0], "X-Test: yes\r\n"));
	assert_non_null(strstr(c.answers[0],
			       "\r\n\r\n0 /a%20b/c ? x=%7B&y body 0 by alice if \"1-a\", \"2-b\""));
	assert_non_null(strstr(c.answers[1], "\r\n\r\n3 /c/d ?  body 5 by alice"));
	assert_non_null(strstr(c.answers[2], "HTTP/1.1 200 OK\r\n"));
	assert_null(strstr(c.answers[2], "/e"));
	assert_non_null(strstr(c.answers[3], "\r\n\r\n0 /f ?  body 0 by alice"));
	client_close(&c);
}

/* A body is given, which HTTP has no place for. */
static void test_answers_without_a_body_leave_at_once(void **state)
{
	static const int statuses[] = {204, 304};
	struct fixture *f = *state;
	for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
		char line[32];
		struct client c = {.identity = &alice,
				   .bodiless = true,
				   .requests = {"GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
						"GET /b HTTP/1.1\r\nHost: h\r\n\r\n"}};
		f->status = statuses[i];
		snprintf(line, sizeof line, "HTTP/1.1 %d ", f->status);
		serve(f, &c);
		for (int k = 0; k < 2; k++) {
			assert_true(strncmp(c.answers[k], line, strlen(line)) == 0);
			assert_null(strstr(c.answers[k], "body 0"));
		}
		client_close(&c);
	}
}

static void test_uri_names_the_principal(void **state)
{
	struct client c = {.identity = &service, .requests = {"GET / HTTP/1.1\r\nHost: h\r\n\r\n"}};
	serve(*state, &c);
	assert_non_null(strstr(c.answers[0], "by urn:parley:app"));
	client_close(&c);
}

/* None, one for servers, one of a stranger: the handshake passes, the request does not. */
static void test_certificates_are_checked(void **state)
{
	const struct identity *wrong[] = {NULL, &server, &foreign};
	struct fixture *f = *state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct client c = {
		    .identity = wrong[i],
		    .requests = {"POST /c HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"}};
		serve(f, &c);
		assert_non_null(strstr(c.answers[0], "HTTP/1.1 403 Forbidden\r\n"));
		assert_non_null(strstr(c.answers[0], "\"code\":\"certificate_required\""));
		client_close(&c);
	}
	assert_int_equal(f->refused[HTTP_REFUSED_CERTIFICATE], 3);
}

static void test_sessions_resume(void **state)
{
	struct client c = {.identity = &alice, .requests = {"GET / HTTP/1.1\r\nHost: h\r\n\r\n"}};
	serve(*state, &c);
	assert_false(c.resumed);
	memset(c.answers, 0, sizeof c.answers);
	serve(*state, &c);
	assert_true(c.resumed);
	assert_non_null(strstr(c.answers[0], "by alice"));
	client_close(&c);
}

/* Refused at once, and what follows is nobody's request. */
static void test_unclear_ends_are_refused(void **state)
{
	static const char *const heads[] = {
	    "Content-Length: 3\r\nContent-Length: 30",
	    "Content-Length: 3\r\nTransfer-Encoding: chunked",
	    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
	    "Transfer-Encoding: gzip, chunked",
	    "Content-Length: 3\r\nTransfer-Encoding : chunked",
	    "Content-Length: 3\r\nHost: other",
	};
	struct fixture *f = *state;
	for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
		struct buf request = {0};
		buf_printf(&request,
			   "%s /c HTTP/1.1\r\nHost: h\r\n%s\r\n\r\n0\r\n\r\n"
			   "GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n",
			   i % 2 ? "POST" : "GET", heads[i]);
		struct client c = {.identity = &alice, .requests = {buf_cstr(&request), "\r\n"}};
		serve(f, &c);
		assert_non_null(strstr(c.answers[0], "HTTP/1.1 400 Bad Request\r\n"));
		assert_non_null(strstr(c.answers[0], "Connection: close\r\n"));
		buf_close(&request);
		client_close(&c);
	}
	assert_int_equal(f->told_ever, 0);
}

/* libmicrohttpd ends it at a NUL: another document would be meant. */
static void test_no_address_is_cut(void **state)
{
	char request[] = "DELETE /c?d\0x HTTP/1.1\r\nHost: h\r\n\r\n";
	struct fixture *f = *state;
	for (int i = 0; i < 2; i++) {
		struct client c = {
		    .identity = &alice, .requests = {request}, .first_bytes = sizeof request - 1};
		serve(f, &c);
		assert_non_null(strstr(c.answers[0], "HTTP/1.1 400 Bad Request\r\n"));
		assert_non_null(strstr(c.answers[0], "\"code\":\"bad_message\""));
		client_close(&c);
		request[9] = '/';
	}
	assert_int_equal(f->refused[HTTP_REFUSED_MALFORMED], 2);
	assert_int_equal(f->refused[HTTP_REFUSED_OVERLOAD], 0);
	assert_int_equal(f->told_ever, 0);
}

#define TEXT(literal)                                                                              \
	{                                                                                          \
		(const uint8_t *)(literal), sizeof(literal) - 1                                    \
	}

/* A NUL, or a second line, of a header is not told by libmicrohttpd: what was asked for would be
 * less than the client said, or a header of another name. */
static void test_no_header_is_cut(void **state)
{
	static const struct slice cut[] = {
	    TEXT("If-Match: \"1-a\"\0, \"1-b\"\r\nAccept: *\r\n"),
	    TEXT("Accept: *\r\nIf-Match: \"1-a\"\0, \"1-b\"\r\n"),
	    TEXT("Accept: *\r\nIf-Match: \"1-a\",\r\n \"1-b\"\r\n"),
	    TEXT("If-Match: \"1-a\",\r\n\t\"1-b\"\r\nAccept: *\r\n"),
	    TEXT("Content-: 3\r\n Length\r\n"),
	};
	struct fixture *f = *state;
	for (size_t i = 0; i < ARRAY_LEN(cut); i++) {
		struct buf request = {0};
		buf_append_text(&request, "PUT /c/d HTTP/1.1\r\nHost: h\r\n");
		buf_append_slice(&request, cut[i]);
		buf_append_text(&request, "\r\n");
		struct client c = {.identity = &alice,
				   .requests = {buf_cstr(&request)},
				   .first_bytes = request.len};
		serve(f, &c);
		assert_non_null(strstr(c.answers[0], "HTTP/1.1 400 Bad Request\r\n"));
		client_close(&c);
		buf_close(&request);
	}
	assert_int_equal(f->told_ever, 0);
}

/* However it comes, and however its lines end. */
static void test_a_clear_head_is_taken(void **state)
{
	struct buf long_one = {0};
	buf_append_text(&long_one, "GET /long HTTP/1.1\r\nHost: h\r\nIf-Match: 1\r\n");
	for (int i = 0; i < 50; i++)
		buf_printf(&long_one, "X-%d: %0400d  \r\n", i, i);
	buf_append_text(&long_one, "Empty:\r\n\r\n");
	struct client c = {
	    .identity = &alice,
	    .requests = {"GET /bare HTTP/1.1\nHost: h\nIf-Match:2\n\n", buf_cstr(&long_one),
			 "GET /more HTTP/1.1\r\nHost: h\r\nCookie: a=1; b=2\r\n\r\n"},
	    .a_step = 3000};
	serve(*state, &c);
	assert_non_null(strstr(c.answers[0], "/bare ?  body 0 by alice if 2"));
	assert_non_null(strstr(c.answers[1], "/long ?  body 0 by alice if 1"));
	assert_non_null(strstr(c.answers[2], "/more ?  body 0 by alice"));
	client_close(&c);
	buf_close(&long_one);
}

/* One byte now and then is no silence, but nobody waits for ever. */
static void test_slow_clients_are_not_waited_for(void **state)
{
	struct fixture *f = *state;
	struct buf body = {0};
	struct buf slow = {0};
	struct buf steady = {0};
	for (int i = 0; i < 6000; i++)
		buf_append_byte(&body, 'x');
	buf_printf(&slow, "POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 6000\r\n\r\n%s",
		   buf_cstr(&body));
	buf_printf(&steady, "POST /steady HTTP/1.1\r\nHost: h\r\nContent-Length: 6000\r\n\r\n%s",
		   buf_cstr(&body));
	struct client clients[] = {
	    {.requests = {buf_cstr(&body)}, .a_step = 1},  /* a stranger's head */
	    {.requests = {buf_cstr(&slow)}, .a_step = 20}, /* his body */
	    {.identity = &alice, .requests = {buf_cstr(&slow)}, .a_step = 20},
	    {.identity = &alice,
	     .requests = {buf_cstr(&steady), "GET /more HTTP/1.1\r\nHost: h\r\n\r\n"},
	     .a_step = 100},
	};
	serve_all(f, clients, ARRAY_LEN(clients));
	for (int i = 0; i < 3; i++)
		assert_string_equal(clients[i].answers[0], "");
	assert_non_null(strstr(clients[3].answers[0], "/steady ?  body 6000 by alice"));
	assert_non_null(strstr(clients[3].answers[1], "/more ?  body 0 by alice"));
	assert_int_equal(f->told_ever, 2);
	for (size_t i = 0; i < ARRAY_LEN(clients); i++)
		client_close(&clients[i]);
	buf_close(&body);
	buf_close(&slow);
	buf_close(&steady);
}

static void test_large_bodies_are_dropped(void **state)
{
	struct buf request = {0};
	buf_printf(&request, "PUT /c/a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n",
		   BODY_MAX + 1);
	for (int i = 0; i <= BODY_MAX; i++)
		buf_append_byte(&request, 'x');
	struct client c = {.identity = &alice, .requests = {buf_cstr(&request)}};
	serve(*state, &c);
	assert_non_null(strstr(c.answers[0], "body 0 too large by alice"));
	buf_close(&request);
	client_close(&c);
}

static void run_until_all_have_left(struct fixture *f)
{
	while (http_server_connections(f->server) > 0) {
		struct pollfd fd = {http_server_fd(f->server), POLLIN, 0};
		(void)poll(&fd, 1, STEP_MS);
		http_server_run(f->server);
		give_answers(f);
	}
}

static void expect_answer(struct fixture *f, const char *method, const char *part)
{
	char request[64];
	snprintf(request, sizeof request, "%s /other HTTP/1.1\r\nHost: h\r\n\r\n", method);
	struct client c = {.identity = &alice, .requests = {request}};
	serve(f, &c);
	assert_non_null(strstr(c.answers[0], part));
	client_close(&c);
}

/* What can be asked for again waits until others have taken theirs; what was done is told. */
static void test_answers_that_are_not_taken_are_bounded(void **state)
{
	struct fixture *f = *state;
	struct client slow = {.identity = &alice,
			      .requests = {"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n"}};
	int done[2], reads[2];
	pthread_t thread;
	assert_int_equal(pipe(done), 0);
	assert_int_equal(pipe(reads), 0);
	f->large = mem_alloc_zero(LARGE_BYTES);
	slow.port = http_server_port(f->server);
	slow.done_fd = done[1];
	slow.reads_fd = reads[0];
	assert_int_equal(pthread_create(&thread, NULL, client_thread, &slow), 0);
	while (f->told_ever == 0) {
		http_server_run(f->server);
		give_answers(f);
	}
	expect_answer(f, "GET", " 503 ");
	expect_answer(f, "GET", "Retry-After: 1\r\n");
	expect_answer(f, "DELETE", " 200 ");
	assert_int_equal(write(reads[1], "x", 1), 1);
	run_until_all_have_left(f);
	pthread_join(thread, NULL);
	expect_answer(f, "GET", " 200 ");
	client_close(&slow);
	for (int i = 0; i < 2; i++)
		assert_true(close(done[i]) == 0 && close(reads[i]) == 0);
	free(f->large);
}

static void test_reload(void **state)
{
	struct fixture *f = *state;
	struct buf problem = {0};
	struct slice pem = slice_text(server.certificate_pem);
	assert_false(http_server_reload(f->server, pem, slice_text("nonsense"),
					slice_text(authority.certificate_pem), &problem));
	assert_true(problem.len > 0);
	assert_true(http_server_reload(f->server, pem, slice_text(server.key_pem),
				       slice_text(stranger.certificate_pem), &problem));
	buf_close(&problem);
	struct client old = {.identity = &alice, .requests = {"GET / HTTP/1.1\r\nHost: h\r\n\r\n"}};
	serve(f, &old);
	assert_non_null(strstr(old.answers[0], " 403 "));
	client_close(&old);
	struct client fresh = {.identity = &foreign,
			       .requests = {"GET / HTTP/1.1\r\nHost: h\r\n\r\n"}};
	serve(f, &fresh);
	assert_non_null(strstr(fresh.answers[0], "by alice"));
	client_close(&fresh);
}

static void test_end_with_requests_under_way(void **state)
{
	struct fixture *f = *state;
	struct client c = {.identity = &alice, .requests = {"GET / HTTP/1.1\r\nHost: h\r\n\r\n"}};
	f->silent = true;
	serve(f, &c);
	assert_int_equal(f->told_count, 1);
	assert_int_equal(f->gone, 1);
	assert_int_equal(f->closed, 1);
	assert_null(strstr(c.answers[0], " 200 "));
	client_close(&c);
}

static void test_an_answer_that_nobody_takes(void **state)
{
	struct fixture *f = *state;
	struct client c = {
	    .identity = &alice, .requests = {"GET / HTTP/1.1\r\nHost: h\r\n\r\n"}, .leaves = true};
	serve(f, &c);
	assert_int_equal(f->gone, 0); /* nobody asked */
	client_close(&c);
	f->watching = true;
	serve(f, &c);
	assert_int_equal(f->gone, 1);
	client_close(&c);
	c.leaves = false;
	serve(f, &c);
	assert_int_equal(f->gone, 1);
	assert_non_null(strstr(c.answers[0], " 200 "));
	assert_int_equal(http_server_inflight(f->server), 0);
	client_close(&c);
}

static void test_wrong_options(void **state)
{
	struct buf problem = {0};
	struct http_options options = {.address = "nowhere",
				       .certificate = slice_text(server.certificate_pem),
				       .key = slice_text(server.key_pem)};
	(void)state;
	assert_null(http_server_new(&options, &problem));
	assert_string_equal(buf_cstr(&problem), "nowhere is no IP address");
	buf_clear(&problem);
	options.key = slice_text(alice.key_pem);
	assert_null(http_server_new(&options, &problem));
	assert_non_null(strstr(buf_cstr(&problem), "certificate and key"));
	buf_close(&problem);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_requests_arrive_whole),
	    cmocka_unit_test_setup_teardown(test_answers_without_a_body_leave_at_once,
					    setup_impatient, teardown),
	    TEST(test_uri_names_the_principal),
	    TEST(test_certificates_are_checked),
	    TEST(test_sessions_resume),
	    TEST(test_unclear_ends_are_refused),
	    TEST(test_no_address_is_cut),
	    TEST(test_no_header_is_cut),
	    TEST(test_a_clear_head_is_taken),
	    cmocka_unit_test_setup_teardown(test_slow_clients_are_not_waited_for, setup_impatient,
					    teardown),
	    TEST(test_large_bodies_are_dropped),
	    TEST(test_answers_that_are_not_taken_are_bounded),
	    TEST(test_reload),
	    TEST(test_end_with_requests_under_way),
	    TEST(test_an_answer_that_nobody_takes),
	    cmocka_unit_test(test_wrong_options),
	};
	return cmocka_run_group_tests(tests, make_identities, close_identities);
}
