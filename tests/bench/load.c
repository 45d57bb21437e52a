/* A load of HTTPS requests over N keep-alive connections, for a product and for a prototype alike.
 *   load HOST PORT PREFIX OP CONNECTIONS SECONDS [CA CERT KEY]
 * OP: fill (PUT of doc-0 .. doc-19999 in turn), put (random id of a million), get (random id of the
 * filled ones), batch (POST of 500 documents), list (GET ?limit=100), path (GET of PREFIX as it
 * is). Prints one line: RESULT n=<answers> errors=<not 2xx> seconds=<s> p50_ms=<n> p99_ms=<n> */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/memory.h"
#include "common/base/rng.h"

enum {
	FILLED = 20000,
	IDS = 1000000,
	BATCH = 500,
	LIST = 100,
	BODY_BYTES = 300,
	BUCKETS = 200000, /* of 10 us: up to 2 s */
	BUCKET_US = 10,
	ANSWER_BYTES = 1 << 20
};

struct connection {
	int fd;
	SSL *tls;
	struct buf request;
	size_t sent;
	struct buf answer;
	int64_t start_us;
};

struct load {
	const char *op;
	const char *prefix;
	struct rng rng;
	uint64_t next;
	struct buf body; /* of one document, without the closing brace */
	uint64_t answers, errors;
	uint64_t *latency;
	int64_t end_us;
};

static int64_t now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void fail(const char *what)
{
	fprintf(stderr, "load: %s\n", what);
	exit(1);
}

/* ---- requests ---- */

static void append_document(struct load *l, struct buf *out)
{
	size_t from = out->len;
	buf_printf(
	    out,
	    "{\"type\":\"a\",\"n\":%llu,\"pi\":3.14159,\"ok\":true,\"tags\":[\"x\",\"y\",\"z\"],"
	    "\"name\":\"Some Person\",\"pad\":\"",
	    (unsigned long long)rng_below(&l->rng, IDS));
	while (out->len - from < BODY_BYTES - 2)
		buf_append_byte(out, 'p');
	buf_append_text(out, "\"}");
}

static void append_body(struct load *l, bool batch)
{
	buf_clear(&l->body);
	if (!batch) {
		append_document(l, &l->body);
		return;
	}
	for (int i = 0; i < BATCH; i++) {
		buf_append_byte(&l->body, i == 0 ? '[' : ',');
		append_document(l, &l->body);
	}
	buf_append_byte(&l->body, ']');
}

static void build(struct load *l, struct buf *out)
{
	bool fill = strcmp(l->op, "fill") == 0;
	bool batch = strcmp(l->op, "batch") == 0;
	buf_clear(out);
	if (strcmp(l->op, "get") == 0) {
		buf_printf(out, "GET %s/doc-%llu", l->prefix,
			   (unsigned long long)rng_below(&l->rng, FILLED));
	} else if (strcmp(l->op, "list") == 0) {
		buf_printf(out, "GET %s?limit=%d", l->prefix, LIST);
	} else if (strcmp(l->op, "path") == 0) {
		buf_printf(out, "GET %s", l->prefix);
	} else if (batch) {
		buf_printf(out, "POST %s", l->prefix);
	} else {
		uint64_t id = fill ? l->next++ % FILLED : rng_below(&l->rng, IDS);
		buf_printf(out, "PUT %s/doc-%llu", l->prefix, (unsigned long long)id);
	}
	buf_append_text(out, " HTTP/1.1\r\nHost: localhost\r\n");
	if (out->data[0] != 'G') {
		append_body(l, batch);
		buf_printf(out, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
			   l->body.len);
		buf_append_slice(out, buf_slice(&l->body));
	} else {
		buf_append_text(out, "\r\n");
	}
}

/* ---- answers ---- */

/* Length of the whole answer, once its head is there; 0: not yet. */
static size_t answer_length(struct buf *answer)
{
	const char *text = buf_cstr(answer);
	const char *end = strstr(text, "\r\n\r\n");
	if (!end)
		return 0;
	const char *length = strcasestr(text, "\r\ncontent-length:");
	size_t body = length && length < end ? strtoull(length + 17, NULL, 10) : 0;
	return (size_t)(end - text) + 4 + body;
}

static void finished(struct load *l, struct connection *c)
{
	int64_t took = now_us() - c->start_us;
	uint64_t bucket = (uint64_t)(took / BUCKET_US);
	l->latency[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
	l->answers++;
	l->errors += c->answer.len < 12 || c->answer.data[9] != '2';
	buf_clear(&c->answer);
	c->sent = 0;
	build(l, &c->request);
	c->start_us = now_us();
}

/* Writes and reads what can be; false: the peer has gone. */
static bool advance(struct load *l, struct connection *c)
{
	for (;;) {
		while (c->sent < c->request.len) {
			int n = SSL_write(c->tls, c->request.data + c->sent,
					  (int)(c->request.len - c->sent));
			if (n <= 0)
				return SSL_get_error(c->tls, n) == SSL_ERROR_WANT_WRITE ||
				       SSL_get_error(c->tls, n) == SSL_ERROR_WANT_READ;
			c->sent += (size_t)n;
		}
		int n = SSL_read(c->tls, buf_reserve(&c->answer, 65536), 65536);
		if (n <= 0)
			return SSL_get_error(c->tls, n) == SSL_ERROR_WANT_READ;
		c->answer.len += (size_t)n;
		if (c->answer.len > 16 * ANSWER_BYTES)
			fail("an answer without end");
		size_t length = answer_length(&c->answer);
		if (length > 0 && c->answer.len >= length)
			finished(l, c);
	}
}

/* ---- connections ---- */

static SSL_CTX *tls_context(char **files)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	if (files && (SSL_CTX_load_verify_locations(ctx, files[0], NULL) != 1 ||
		      SSL_CTX_use_certificate_chain_file(ctx, files[1]) != 1 ||
		      SSL_CTX_use_PrivateKey_file(ctx, files[2], SSL_FILETYPE_PEM) != 1))
		fail("certificates");
	if (files)
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	return ctx;
}

static void open_connection(struct connection *c, SSL_CTX *ctx, const char *host, int port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int one = 1;
	c->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (inet_pton(AF_INET, host, &at.sin_addr) != 1 ||
	    connect(c->fd, (struct sockaddr *)&at, sizeof at) != 0)
		fail("connect");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	c->tls = SSL_new(ctx);
	SSL_set_fd(c->tls, c->fd);
	if (SSL_connect(c->tls) != 1)
		fail("handshake");
	fcntl(c->fd, F_SETFL, O_NONBLOCK);
}

static double percentile_ms(const struct load *l, double share)
{
	uint64_t wanted = (uint64_t)((double)l->answers * share);
	uint64_t seen = 0;
	for (int i = 0; i < BUCKETS; i++) {
		seen += l->latency[i];
		if (seen > wanted)
			return (double)i * BUCKET_US / 1000.0;
	}
	return 0;
}

static void run(struct load *l, struct connection *connections, int count, int epoll)
{
	struct epoll_event events[256];
	for (int i = 0; i < count; i++) {
		build(l, &connections[i].request);
		connections[i].start_us = now_us();
		if (!advance(l, &connections[i]))
			fail("the peer has gone");
	}
	while (now_us() < l->end_us && !(strcmp(l->op, "fill") == 0 && l->answers >= FILLED)) {
		int ready = epoll_wait(epoll, events, 256, 100);
		for (int i = 0; i < ready; i++)
			if (!advance(l, events[i].data.ptr))
				fail("the peer has gone");
	}
}

/* A whole number from 1 to max; else the end. */
static int number_of(const char *text, long max)
{
	char *end;
	long number = strtol(text, &end, 10);
	if (end == text || *end != '\0' || number < 1 || number > max)
		fail("a port, a count or a time is no number or out of its range");
	return (int)number;
}

int main(int argc, char **argv)
{
	if (argc != 7 && argc != 10)
		fail("usage: load HOST PORT PREFIX OP CONNECTIONS SECONDS [CA CERT KEY]");
	int port = number_of(argv[2], 65535);
	int count = number_of(argv[5], 10000);
	struct load l = {.op = argv[4], .prefix = argv[3]};
	struct connection *connections = mem_alloc_zero((size_t)count * sizeof *connections);
	SSL_CTX *ctx = tls_context(argc == 10 ? argv + 7 : NULL);
	int epoll = epoll_create1(0);
	l.latency = mem_alloc_zero(BUCKETS * sizeof *l.latency);
	rng_init(&l.rng, (uint64_t)now_us());
	for (int i = 0; i < count; i++) {
		open_connection(&connections[i], ctx, argv[1], port);
		struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET,
					    .data.ptr = &connections[i]};
		epoll_ctl(epoll, EPOLL_CTL_ADD, connections[i].fd, &event);
	}
	int64_t start = now_us();
	l.end_us = start + (int64_t)number_of(argv[6], 86400) * 1000000;
	run(&l, connections, count, epoll);
	printf("RESULT n=%llu errors=%llu seconds=%.3f p50_ms=%.2f p99_ms=%.2f\n",
	       (unsigned long long)l.answers, (unsigned long long)l.errors,
	       (double)(now_us() - start) / 1e6, percentile_ms(&l, 0.50), percentile_ms(&l, 0.99));
	return 0;
}
