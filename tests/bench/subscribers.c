/* Many idle subscribers of one gateway, and how soon an event is with those it is for.
 *   subscribers HOST PORT CA CERT KEY KIND SUBSCRIBERS MATCHING EVENTS [GATEWAY_PID]
 * KIND: websocket (client protocol of canhazdb) or events (Server-Sent Events). MATCHING of the
 * subscribers want POSTs to /hot, each other one those to a collection of its own. Then EVENTS
 * documents are posted to /hot, one after the other; the clock runs from before the request leaves.
 * Prints one line: RESULT subscribers=<n> rss_mib=<n of the gateway> open_s=<n> events=<n>
 * delivered=<n> missing=<n> unwanted=<n> p50_ms=<n> p99_ms=<n> last_p50_ms=<n> last_p99_ms=<n>
 * (p: of all deliveries; last: until all of them had the event) */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/memory.h"

enum {
	READ_BYTES = 16384,
	READY = 512,
	PATIENCE_US = 5000000,
	PAUSE_US = 50000,
	OPEN_TRIES = 50,
	OPEN_AT_ONCE = 64
};

struct subscriber {
	int fd;
	SSL *tls;
	bool wants;
	struct buf in;
};

struct bench {
	const char *host;
	int port;
	bool websocket;
	SSL_CTX *ctx;
	int epoll;
	struct subscriber *all;
	int count;
	int matching;
	int64_t start_us;
	int had;          /* deliveries of the current event */
	int64_t *took_us; /* of all deliveries */
	int64_t *last_us; /* per event */
	size_t delivered;
	size_t delivered_max;
	int unwanted;
};

static int64_t now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void fail(const char *what)
{
	fprintf(stderr, "subscribers: %s\n", what);
	exit(1);
}

/* ---- connections ---- */

static SSL_CTX *tls_context(char **files)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	if (SSL_CTX_load_verify_locations(ctx, files[0], NULL) != 1 ||
	    SSL_CTX_use_certificate_chain_file(ctx, files[1]) != 1 ||
	    SSL_CTX_use_PrivateKey_file(ctx, files[2], SSL_FILETYPE_PEM) != 1)
		fail("certificates");
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	return ctx;
}

static void connect_tls(const struct bench *b, struct subscriber *s)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)b->port)};
	int one = 1;
	s->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (s->fd < 0 || inet_pton(AF_INET, b->host, &at.sin_addr) != 1 ||
	    connect(s->fd, (struct sockaddr *)&at, sizeof at) != 0)
		fail("connect: is RLIMIT_NOFILE large enough?");
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	s->tls = SSL_new(b->ctx);
	SSL_set_fd(s->tls, s->fd);
	if (SSL_connect(s->tls) != 1)
		fail("handshake");
}

static void write_all(struct subscriber *s, const struct buf *bytes)
{
	if (SSL_write(s->tls, bytes->data, (int)bytes->len) != (int)bytes->len)
		fail("write");
}

/* Blocks until there is more. */
static void read_more(struct subscriber *s)
{
	int n = SSL_read(s->tls, buf_reserve(&s->in, READ_BYTES), READ_BYTES);
	if (n <= 0)
		fail("a connection was closed");
	s->in.len += (size_t)n;
}

static void read_head(struct subscriber *s, const char *status)
{
	while (!strstr(buf_cstr(&s->in), "\r\n\r\n"))
		read_more(s);
	if (strncmp(buf_cstr(&s->in), status, strlen(status)) != 0) {
		fprintf(stderr, "%s\n", buf_cstr(&s->in));
		fail("refused");
	}
	buf_clear(&s->in);
}

static void read_answer(struct subscriber *s, const char *status)
{
	const char *end;
	while (!(end = strstr(buf_cstr(&s->in), "\r\n\r\n")))
		read_more(s);
	const char *length = strstr(buf_cstr(&s->in), "\r\nContent-Length: ");
	size_t whole = (size_t)(end - (const char *)s->in.data) + 4 +
		       (length ? strtoul(length + 18, NULL, 10) : 0);
	while (s->in.len < whole)
		read_more(s);
	read_head(s, status);
}

/* Masked with zeros. */
static void append_frame(const char *text, struct buf *out)
{
	buf_append_byte(out, 0x81);
	buf_append_byte(out, 0x80 | (uint8_t)strlen(text));
	buf_append(out, "\0\0\0\0", 4);
	buf_append_text(out, text);
}

static void subscribe_websocket(struct subscriber *s, const char *pattern, struct buf *out)
{
	char message[100];
	buf_append_text(out, "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
			     "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
			     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
	write_all(s, out);
	read_head(s, "HTTP/1.1 101 ");
	buf_clear(out);
	snprintf(message, sizeof message, "[1,\"NOTIFY\",\"%s\"]", pattern);
	append_frame(message, out);
	write_all(s, out);
	while (!strstr(buf_cstr(&s->in), "[\"A\",1]"))
		read_more(s);
}

static void subscribe(struct bench *b, int i)
{
	struct subscriber *s = &b->all[i];
	char pattern[60];
	struct buf out = {0};
	s->wants = i < b->matching;
	connect_tls(b, s);
	if (s->wants)
		snprintf(pattern, sizeof pattern, "POST:/hot/.*");
	else
		snprintf(pattern, sizeof pattern, "POST:/cold%d/.*", i);
	if (b->websocket) {
		subscribe_websocket(s, pattern, &out);
	} else {
		buf_printf(&out, "GET /_/notify?path=%s HTTP/1.1\r\nHost: localhost\r\n\r\n",
			   pattern);
		write_all(s, &out);
		read_head(s, "HTTP/1.1 200 ");
	}
	buf_close(&s->in);
	buf_close(&out);
	fcntl(s->fd, F_SETFL, O_NONBLOCK);
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = s};
	epoll_ctl(b->epoll, EPOLL_CTL_ADD, s->fd, &event);
}

/* ---- events ---- */

/* Messages; pings are answered. */
static int count_frames(struct subscriber *s)
{
	static const uint8_t pong[] = {0x8A, 0x80, 0, 0, 0, 0};
	struct buf *in = &s->in;
	int events = 0;
	size_t at = 0;
	while (in->len - at >= 2) {
		size_t head = 2;
		size_t len = in->data[at + 1] & 127;
		int opcode = in->data[at] & 15;
		if (len == 126 && in->len - at >= 4) {
			head = 4;
			len = (size_t)in->data[at + 2] << 8 | in->data[at + 3];
		}
		if (in->len - at < head + len)
			break;
		if (opcode == 9 && SSL_write(s->tls, pong, sizeof pong) <= 0)
			fail("pong");
		events += opcode == 1;
		at += head + len;
	}
	memmove(in->data, in->data + at, in->len - at);
	in->len -= at;
	return events;
}

static int count_events(struct buf *in)
{
	int events = 0;
	const char *at = buf_cstr(in);
	const char *data;
	while ((data = strstr(at, "\ndata:")) && strstr(data, "\n\n")) {
		events++;
		at = strstr(data, "\n\n") + 1;
	}
	size_t gone = (size_t)(at - (const char *)in->data);
	memmove(in->data, in->data + gone, in->len - gone);
	in->len -= gone;
	return events;
}

static void take(struct bench *b, struct subscriber *s)
{
	for (;;) {
		int n = SSL_read(s->tls, buf_reserve(&s->in, READ_BYTES), READ_BYTES);
		if (n <= 0) {
			if (SSL_get_error(s->tls, n) != SSL_ERROR_WANT_READ)
				fail("a subscriber was cut off");
			break;
		}
		s->in.len += (size_t)n;
	}
	int events = b->websocket ? count_frames(s) : count_events(&s->in);
	if (s->in.len == 0)
		buf_close(&s->in);
	if (!s->wants) {
		b->unwanted += events;
		return;
	}
	for (; events > 0 && b->delivered < b->delivered_max; events--) {
		b->took_us[b->delivered++] = now_us() - b->start_us;
		b->had++;
	}
}

static void wait_for(struct bench *b, int wanted, int64_t us)
{
	struct epoll_event events[READY];
	int64_t end_us = now_us() + us;
	int ready;
	do {
		ready = epoll_wait(b->epoll, events, READY, us > 0 ? 20 : 0);
		for (int i = 0; i < ready; i++)
			take(b, events[i].data.ptr);
	} while (b->had < wanted && (now_us() < end_us || ready == READY));
}

static void post(struct subscriber *poster, int n)
{
	struct buf out = {0};
	char body[40];
	snprintf(body, sizeof body, "{\"n\":%d}", n);
	buf_printf(&out,
		   "POST /hot HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
		   "Content-Length: %zu\r\n\r\n%s",
		   strlen(body), body);
	write_all(poster, &out);
	buf_close(&out);
}

static void run(struct bench *b, int events)
{
	struct subscriber poster = {0};
	connect_tls(b, &poster);
	/* the collection is made by the first, and the gateway hears of it */
	for (int i = 0; i <= events; i++) {
		b->had = 0;
		b->start_us = now_us();
		post(&poster, i);
		wait_for(b, b->matching, PATIENCE_US);
		if (i == 0)
			b->delivered = 0;
		else
			b->last_us[i - 1] = now_us() - b->start_us;
		read_answer(&poster, "HTTP/1.1 201 ");
		wait_for(b, b->matching + 1, PAUSE_US);
	}
	SSL_free(poster.tls);
	close(poster.fd);
}

/* ---- results ---- */

static int order(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a;
	int64_t y = *(const int64_t *)b;
	return x < y ? -1 : x > y;
}

static double percentile_ms(int64_t *values, size_t count, double share)
{
	if (count == 0)
		return 0;
	qsort(values, count, sizeof *values, order);
	size_t at = (size_t)((double)count * share);
	return (double)values[at < count ? at : count - 1] / 1000.0;
}

static double resident_mib(const char *pid)
{
	char path[64];
	char line[256];
	unsigned long kib = 0;
	snprintf(path, sizeof path, "/proc/%s/status", pid);
	FILE *f = fopen(path, "r");
	while (f && fgets(line, sizeof line, f))
		if (strncmp(line, "VmRSS:", 6) == 0)
			kib = strtoul(line + 6, NULL, 10);
	if (f)
		fclose(f);
	return (double)kib / 1024;
}

int main(int argc, char **argv)
{
	if (argc < 10)
		fail("HOST PORT CA CERT KEY KIND SUBSCRIBERS MATCHING EVENTS [GATEWAY_PID]");
	struct bench b = {.host = argv[1], .port = (int)strtol(argv[2], NULL, 10)};
	struct rlimit files = {0};
	const char *pid = argc > 10 ? argv[10] : "self";
	signal(SIGPIPE, SIG_IGN);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files);
	b.websocket = strcmp(argv[6], "websocket") == 0;
	b.count = (int)strtol(argv[7], NULL, 10);
	b.matching = (int)strtol(argv[8], NULL, 10);
	int events = (int)strtol(argv[9], NULL, 10);
	b.ctx = tls_context(argv + 3);
	b.epoll = epoll_create1(0);
	b.all = mem_alloc_zero((size_t)b.count * sizeof *b.all);
	b.delivered_max = (size_t)b.matching * (size_t)(events + 1);
	b.took_us = mem_alloc_zero((b.delivered_max + 1) * sizeof *b.took_us);
	b.last_us = mem_alloc_zero(((size_t)events + 1) * sizeof *b.last_us);
	double before = resident_mib(pid);
	int64_t start_us = now_us();
	for (int i = 0; i < b.count; i++) {
		subscribe(&b, i);
		if (i % OPEN_AT_ONCE == 0)
			wait_for(&b, 1, 0); /* pings */
	}
	double open_s = (double)(now_us() - start_us) / 1e6;
	double idle = resident_mib(pid);
	run(&b, events);
	size_t wanted = (size_t)b.matching * (size_t)events;
	printf(
	    "RESULT subscribers=%d rss_before_mib=%.1f rss_mib=%.1f rss_after_mib=%.1f open_s=%.1f "
	    "events=%d delivered=%zu missing=%zu unwanted=%d p50_ms=%.2f p99_ms=%.2f "
	    "last_p50_ms=%.2f last_p99_ms=%.2f\n",
	    b.count, before, idle, resident_mib(pid), open_s, events, b.delivered,
	    wanted - b.delivered, b.unwanted, percentile_ms(b.took_us, b.delivered, 0.5),
	    percentile_ms(b.took_us, b.delivered, 0.99),
	    percentile_ms(b.last_us, (size_t)events, 0.5),
	    percentile_ms(b.last_us, (size_t)events, 0.99));
	return b.delivered == wanted && b.unwanted == 0 ? 0 : 1;
}
