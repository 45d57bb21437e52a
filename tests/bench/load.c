/* A load of HTTPS requests over N keep-alive connections, for a product and for a prototype alike.
 *   load HOST PORT PREFIX OP CONNECTIONS SECONDS [CA CERT KEY [RATE]]
 * OP: fill (PUT of doc-0 .. doc-19999 in turn), put (random id of a million), get (random id of the
 * filled ones), batch (POST of 500 documents), bulk (the same in CouchDB's form), list (GET
 * ?limit=100), path (GET of PREFIX as it is). Prints one line: RESULT n=<answers> errors=<not 2xx>
 * seconds=<s> p50_ms=<n> p99_ms=<n>
 *
 * Without RATE each connection asks again when it is answered. With it so many requests a second
 * fall due, whatever becomes of them; one that finds no idle connection waits for one. Then a line
 * for each second, SECOND ok=<2xx> refused=<429 or 503 with Retry-After> other=<n> p99_ms=<of the
 * 2xx, from when they were sent>, and at the end the same of all, with the connections that were
 * lost and the requests that never found one. */
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
	BUCKETS = 200000, /* of 10 us: up to 2 s; of an open load of 100 us, up to 20 s */
	BUCKET_US = 10,
	OPEN_BUCKET_US = 100,
	ANSWER_BYTES = 1 << 20
};

struct connection {
	int fd;
	SSL *tls;
	struct buf request;
	size_t sent;
	struct buf answer;
	int64_t start_us;
	bool busy; /* of an open load: a request is under way here */
	struct connection *next_idle;
};

/* What came of requests, in a second or in all. */
struct outcome {
	uint64_t ok, refused, other;
	uint64_t latency[BUCKETS]; /* of what was accepted */
};

struct target {
	SSL_CTX *ctx;
	const char *host;
	int port;
	int epoll;
};

struct load {
	struct target target;
	const char *op;
	const char *prefix;
	struct rng rng;
	uint64_t next;
	struct buf body; /* of one document, without the closing brace */
	uint8_t
	    read[65536]; /* one for all connections: thousands of them would not stay in a cache */
	uint64_t answers, errors;
	uint64_t *latency;
	int64_t end_us;
	struct {
		uint64_t rate; /* 0: each connection for itself */
		uint64_t started, lost;
		struct connection *idle;
		struct outcome second, all;
	} open;
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

static void append_body(struct load *l, bool batch, bool bulk)
{
	buf_clear(&l->body);
	if (!batch && !bulk) {
		append_document(l, &l->body);
		return;
	}
	buf_append_text(&l->body, bulk ? "{\"docs\":" : "");
	for (int i = 0; i < BATCH; i++) {
		buf_append_byte(&l->body, i == 0 ? '[' : ',');
		append_document(l, &l->body);
	}
	buf_append_text(&l->body, bulk ? "]}" : "]");
}

static void build(struct load *l, struct buf *out)
{
	bool fill = strcmp(l->op, "fill") == 0;
	bool batch = strcmp(l->op, "batch") == 0;
	bool bulk = strcmp(l->op, "bulk") == 0;
	buf_clear(out);
	if (strcmp(l->op, "get") == 0) {
		buf_printf(out, "GET %s/doc-%llu", l->prefix,
			   (unsigned long long)rng_below(&l->rng, FILLED));
	} else if (strcmp(l->op, "list") == 0) {
		buf_printf(out, "GET %s?limit=%d", l->prefix, LIST);
	} else if (strcmp(l->op, "path") == 0) {
		buf_printf(out, "GET %s", l->prefix);
	} else if (batch || bulk) {
		buf_printf(out, "POST %s%s", l->prefix, bulk ? "/_bulk_docs" : "");
	} else {
		uint64_t id = fill ? l->next++ % FILLED : rng_below(&l->rng, IDS);
		buf_printf(out, "PUT %s/doc-%llu", l->prefix, (unsigned long long)id);
	}
	buf_append_text(out, " HTTP/1.1\r\nHost: localhost\r\n");
	if (out->data[0] != 'G') {
		append_body(l, batch, bulk);
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

static bool is_status(const struct connection *c, const char *status)
{
	return c->answer.len >= 12 && memcmp(c->answer.data + 9, status, strlen(status)) == 0;
}

static void count(struct outcome *o, struct connection *c, int64_t took_us)
{
	uint64_t bucket = (uint64_t)(took_us / OPEN_BUCKET_US);
	bool busy = is_status(c, "429") || is_status(c, "503");
	if (is_status(c, "2")) {
		o->ok++;
		o->latency[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
	} else if (busy && strcasestr(buf_cstr(&c->answer), "\r\nretry-after:")) {
		o->refused++;
	} else {
		o->other++;
	}
}

static void now_idle(struct load *l, struct connection *c)
{
	c->busy = false;
	c->next_idle = l->open.idle;
	l->open.idle = c;
}

static void finished(struct load *l, struct connection *c)
{
	int64_t took = now_us() - c->start_us;
	if (l->open.rate > 0) {
		count(&l->open.second, c, took);
		count(&l->open.all, c, took);
		buf_clear(&c->answer);
		buf_clear(&c->request);
		c->sent = 0;
		now_idle(l, c);
		return;
	}
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
		int n = SSL_read(c->tls, l->read, sizeof l->read);
		if (n <= 0)
			return SSL_get_error(c->tls, n) == SSL_ERROR_WANT_READ;
		buf_append(&c->answer, l->read, (size_t)n);
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

static void open_connection(const struct target *t, struct connection *c)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)t->port)};
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
	int one = 1;
	c->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (inet_pton(AF_INET, t->host, &at.sin_addr) != 1 ||
	    connect(c->fd, (struct sockaddr *)&at, sizeof at) != 0)
		fail("connect");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	c->tls = SSL_new(t->ctx);
	SSL_set_fd(c->tls, c->fd);
	if (SSL_connect(c->tls) != 1)
		fail("handshake");
	fcntl(c->fd, F_SETFL, O_NONBLOCK);
	epoll_ctl(t->epoll, EPOLL_CTL_ADD, c->fd, &event);
}

static double percentile_ms(const uint64_t *latency, uint64_t total, int bucket_us, double share)
{
	uint64_t wanted = (uint64_t)((double)total * share);
	uint64_t seen = 0;
	for (int i = 0; i < BUCKETS; i++) {
		seen += latency[i];
		if (seen > wanted)
			return (double)i * bucket_us / 1000.0;
	}
	return 0;
}

static void run(struct load *l, struct connection *connections, int count)
{
	struct epoll_event events[256];
	for (int i = 0; i < count; i++) {
		build(l, &connections[i].request);
		connections[i].start_us = now_us();
		if (!advance(l, &connections[i]))
			fail("the peer has gone");
	}
	while (now_us() < l->end_us && !(strcmp(l->op, "fill") == 0 && l->answers >= FILLED)) {
		int ready = epoll_wait(l->target.epoll, events, 256, 100);
		for (int i = 0; i < ready; i++)
			if (!advance(l, events[i].data.ptr))
				fail("the peer has gone");
	}
}

/* ---- an open load ---- */

static void print_outcome(const char *what, const struct outcome *o)
{
	printf("%s ok=%llu refused=%llu other=%llu p50_ms=%.1f p99_ms=%.1f", what,
	       (unsigned long long)o->ok, (unsigned long long)o->refused,
	       (unsigned long long)o->other, percentile_ms(o->latency, o->ok, OPEN_BUCKET_US, 0.50),
	       percentile_ms(o->latency, o->ok, OPEN_BUCKET_US, 0.99));
}

/* The peer has gone. What was asked here and not answered is nobody's any more. */
static void lost(struct load *l, struct connection *c)
{
	SSL_free(c->tls);
	close(c->fd);
	c->tls = NULL;
	l->open.lost++;
	if (c->busy)
		now_idle(l, c);
}

/* Starts what is due, as far as there are idle connections. */
static void start_due(struct load *l, int64_t start_us)
{
	uint64_t due = (uint64_t)(now_us() - start_us) * l->open.rate / 1000000;
	while (l->open.started < due && l->open.idle) {
		struct connection *c = l->open.idle;
		l->open.idle = c->next_idle;
		if (!c->tls)
			open_connection(&l->target, c);
		buf_clear(&c->answer);
		c->sent = 0;
		c->busy = true;
		c->start_us = now_us();
		l->open.started++;
		build(l, &c->request);
		if (!advance(l, c))
			lost(l, c);
	}
}

static void next_second(struct load *l)
{
	print_outcome("SECOND", &l->open.second);
	puts("");
	fflush(stdout);
	memset(&l->open.second, 0, sizeof l->open.second);
}

static void run_open(struct load *l, struct connection *connections, int count, int64_t start_us)
{
	struct epoll_event events[256];
	int64_t second_us = start_us + 1000000;
	for (int i = 0; i < count; i++)
		now_idle(l, &connections[i]);
	while (now_us() < l->end_us) {
		start_due(l, start_us);
		int ready = epoll_wait(l->target.epoll, events, 256, 1);
		for (int i = 0; i < ready; i++) {
			struct connection *c = events[i].data.ptr;
			if (c->tls && !advance(l, c))
				lost(l, c);
		}
		if (now_us() >= second_us) {
			next_second(l);
			second_us += 1000000;
		}
	}
	uint64_t due = (uint64_t)(l->end_us - start_us) * l->open.rate / 1000000;
	print_outcome("RESULT", &l->open.all);
	printf(" due=%llu unsent=%llu lost=%llu\n", (unsigned long long)due,
	       (unsigned long long)(due - l->open.started), (unsigned long long)l->open.lost);
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
	if (argc != 7 && argc != 10 && argc != 11)
		fail("usage: load HOST PORT PREFIX OP CONNECTIONS SECONDS [CA CERT KEY [RATE]]");
	static struct load l; /* its tables are too great for a stack */
	int count = number_of(argv[5], 20000);
	struct connection *connections = mem_alloc_zero((size_t)count * sizeof *connections);
	l.op = argv[4];
	l.prefix = argv[3];
	l.target = (struct target){.ctx = tls_context(argc > 7 ? argv + 7 : NULL),
				   .host = argv[1],
				   .port = number_of(argv[2], 65535),
				   .epoll = epoll_create1(0)};
	l.open.rate = argc == 11 ? (uint64_t)number_of(argv[10], 1000000) : 0;
	l.latency = mem_alloc_zero(BUCKETS * sizeof *l.latency);
	rng_init(&l.rng, (uint64_t)now_us());
	for (int i = 0; i < count; i++)
		open_connection(&l.target, &connections[i]);
	int64_t start = now_us();
	l.end_us = start + (int64_t)number_of(argv[6], 86400) * 1000000;
	if (l.open.rate > 0) {
		run_open(&l, connections, count, start);
		return 0;
	}
	run(&l, connections, count);
	printf("RESULT n=%llu errors=%llu seconds=%.3f p50_ms=%.2f p99_ms=%.2f\n",
	       (unsigned long long)l.answers, (unsigned long long)l.errors,
	       (double)(now_us() - start) / 1e6,
	       percentile_ms(l.latency, l.answers, BUCKET_US, 0.50),
	       percentile_ms(l.latency, l.answers, BUCKET_US, 0.99));
	return 0;
}
