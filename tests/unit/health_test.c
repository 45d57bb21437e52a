/* The health listener, asked by a TLS client in a thread of its own. */
#include "common/run/health.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/run/clock.h"
#include "tests/unit/certificate.h"

enum { DEADLINE_MS = 10000, ANSWER_BYTES = 4096 };

struct bench {
	struct health_listener *health;
	struct buf cert, key, problem;
	bool ready;
	int asked;
};

struct question {
	unsigned port;
	const char *request;
	bool trickles; /* a byte now and then, without an end */
	char answer[ANSWER_BYTES];
	atomic_bool done;
};

static bool ready(void *context, struct buf *out)
{
	struct bench *b = context;
	b->asked++;
	buf_printf(out, "joined %s\n", b->ready ? "ok" : "failed: no coordinator");
	return b->ready;
}

static void metrics(void *context, struct buf *out)
{
	(void)context;
	for (int i = 0; i < 100; i++)
		buf_printf(out, "parley_test{i=\"%d\"} 1\n", i);
}

static struct health_source source_of(struct bench *b)
{
	return (struct health_source){ready, metrics, b};
}

static int open_bench(void **state)
{
	static struct bench b;
	b = (struct bench){.ready = true};
	certificate_make(&b.cert, &b.key);
	struct health_source source = source_of(&b);
	b.health =
	    health_open("127.0.0.1", 0, buf_cstr(&b.cert), buf_cstr(&b.key), &source, &b.problem);
	*state = &b;
	return b.health ? 0 : -1;
}

static int close_bench(void **state)
{
	struct bench *b = *state;
	health_close(b->health);
	buf_close(&b->cert);
	buf_close(&b->key);
	buf_close(&b->problem);
	return 0;
}

static int dial(const struct question *q)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)q->port)};
	struct timeval patience = {.tv_sec = DEADLINE_MS / 1000};
	inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void talk(struct question *q, int fd, gnutls_certificate_credentials_t credentials)
{
	gnutls_session_t session;
	size_t len = 0;
	ssize_t got = 0;
	gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL);
	gnutls_set_default_priority(session);
	gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials);
	gnutls_transport_set_int(session, fd);
	if (gnutls_handshake(session) == 0) {
		while (q->trickles && gnutls_record_send(session, "G", 1) == 1)
			usleep(50000);
		gnutls_record_send(session, q->request, strlen(q->request));
		while (len < ANSWER_BYTES - 1 &&
		       (got = gnutls_record_recv(session, q->answer + len,
						 ANSWER_BYTES - 1 - len)) > 0)
			len += (size_t)got;
	}
	q->answer[len] = '\0';
	gnutls_deinit(session);
}

static void *client(void *context)
{
	struct question *q = context;
	gnutls_certificate_credentials_t credentials;
	gnutls_certificate_allocate_credentials(&credentials);
	int fd = dial(q);
	if (fd >= 0) {
		talk(q, fd, credentials);
		close(fd);
	}
	gnutls_certificate_free_credentials(credentials);
	q->done = true;
	return NULL;
}

/* Runs the listener until the client has its answer. */
static void run_with(struct bench *b, struct question *q)
{
	pthread_t thread;
	int64_t end_ms = clock_boot_ms() + DEADLINE_MS;
	assert_int_equal(pthread_create(&thread, NULL, client, q), 0);
	while (!q->done && clock_boot_ms() < end_ms) {
		struct pollfd fd = {.fd = health_fd(b->health), .events = POLLIN};
		poll(&fd, 1, 20);
		health_run(b->health);
	}
	if (!q->done)
		fail_msg("the client is not let go");
	pthread_join(thread, NULL);
}

static void ask(struct bench *b, struct question *q, const char *request)
{
	*q = (struct question){.port = health_port(b->health), .request = request};
	run_with(b, q);
}

static void expect(struct bench *b, const char *path, const char *status, const char *body)
{
	struct question q;
	char request[256];
	snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		 path);
	ask(b, &q, request);
	if (!strstr(q.answer, status) || !strstr(q.answer, body))
		fail_msg("%s: expected %s and %s, got: %s", path, status, body, q.answer);
}

static void live_and_ready(void **state)
{
	struct bench *b = *state;
	expect(b, "/livez", "200 OK", "ok\n");
	assert_int_equal(b->asked, 0);
	expect(b, "/readyz", "200 OK", "ok\n");
	expect(b, "/readyz?verbose", "200 OK", "joined ok\n");
	b->ready = false;
	expect(b, "/livez", "200 OK", "ok\n");
	expect(b, "/readyz", "503 Service Unavailable", "not ready");
	expect(b, "/readyz?verbose", "503 Service Unavailable", "joined failed: no coordinator\n");
}

static void metrics_for_loopback(void **state)
{
	struct bench *b = *state;
	expect(b, "/metrics", "200 OK", "parley_test{i=\"99\"} 1\n");
}

static void nothing_else(void **state)
{
	struct bench *b = *state;
	struct question q;
	expect(b, "/", "404 Not Found", "not found");
	expect(b, "/metrics/x", "404 Not Found", "not found");
	ask(b, &q,
	    "POST /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc");
	assert_non_null(strstr(q.answer, "405 "));
	ask(b, &q, "rubbish\r\n\r\n");
	assert_null(strstr(q.answer, "200 OK"));
	expect(b, "/livez", "200 OK", "ok\n");
}

/* There are 64 places: who holds them all would make this daemon look dead. */
static void nobody_stays(void **state)
{
	struct bench *b = *state;
	struct question q = {.port = health_port(b->health), .request = "", .trickles = true};
	run_with(b, &q);
	assert_string_equal(q.answer, "");
	ask(b, &q, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_non_null(strstr(q.answer, "200 OK"));
	assert_non_null(strstr(q.answer, "Connection: close\r\n"));
}

static void a_new_certificate_keeps_the_port(void **state)
{
	struct bench *b = *state;
	struct buf cert = {0}, key = {0};
	unsigned port = health_port(b->health);
	certificate_make(&cert, &key);
	assert_true(health_reload(b->health, buf_cstr(&cert), buf_cstr(&key), &b->problem));
	assert_int_equal(health_port(b->health), port);
	expect(b, "/livez", "200 OK", "ok\n");
	/* the key of one and the certificate of the other: the old pair stays */
	assert_false(health_reload(b->health, buf_cstr(&b->cert), buf_cstr(&key), &b->problem));
	assert_true(b->problem.len > 0);
	expect(b, "/livez", "200 OK", "ok\n");
	assert_false(health_reload(b->health, "", "", &b->problem));
	expect(b, "/livez", "200 OK", "ok\n");
	buf_close(&cert);
	buf_close(&key);
}

static void what_is_taken_or_wrong_is_said(void **state)
{
	struct bench *b = *state;
	struct health_source source = source_of(b);
	const char *cert = buf_cstr(&b->cert), *key = buf_cstr(&b->key);
	assert_null(
	    health_open("127.0.0.1", health_port(b->health), cert, key, &source, &b->problem));
	assert_non_null(strstr(buf_cstr(&b->problem), "Address already in use"));
	buf_clear(&b->problem);
	assert_null(health_open("localhost", 0, cert, key, &source, &b->problem));
	assert_non_null(strstr(buf_cstr(&b->problem), "is not an IP address"));
	buf_clear(&b->problem);
	assert_null(health_open("127.0.0.1", 0, key, cert, &source, &b->problem));
	assert_non_null(strstr(buf_cstr(&b->problem), "certificate"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_bench, close_bench)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(live_and_ready),
	    TEST(metrics_for_loopback),
	    TEST(nothing_else),
	    TEST(nobody_stays),
	    TEST(a_new_certificate_keeps_the_port),
	    TEST(what_is_taken_or_wrong_is_said),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
