/* A client of streams for tests in which clients and server share one thread: whoever waits for
 * something lets the server run meanwhile, by fixture_turn, which the test defines. */
#ifndef PARLEY_TESTS_UNIT_SURFER_H
#define PARLEY_TESTS_UNIT_SURFER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/run/clock.h"
#include "tests/unit/tls_identity.h"

enum { PATIENCE_MS = 20000, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };
struct fixture;
/* One turn of the server; waits a little for client_fd if there is nothing to do. */
void fixture_turn(struct fixture *f, int client_fd);

/* Waits for something, while the server runs. */
#define UNTIL(f, fd, condition)                                                                    \
	do {                                                                                       \
		int64_t until_ms = clock_boot_ms() + PATIENCE_MS;                                  \
		while (!(condition)) {                                                             \
			assert_true(clock_boot_ms() < until_ms);                                   \
			fixture_turn((f), (fd));                                                   \
		}                                                                                  \
	} while (0)

struct surfer {
	struct fixture *f;
	int fd;
	gnutls_certificate_credentials_t credentials;
	gnutls_session_t session;
	struct buf in;
	bool ended;
};

static inline gnutls_datum_t datum(const char *text)
{
	return (gnutls_datum_t){(unsigned char *)(uintptr_t)text, (unsigned)strlen(text)};
}

static inline void surfer_connect(struct fixture *f, struct surfer *p, uint16_t port,
				  const struct identity *identity)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	gnutls_datum_t certificate = datum(identity->certificate_pem);
	gnutls_datum_t key = datum(identity->key_pem);
	int result;
	*p = (struct surfer){.f = f};
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	p->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_true(p->fd >= 0);
	(void)setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	(void)connect(p->fd, (struct sockaddr *)&at, sizeof at);
	gnutls_certificate_allocate_credentials(&p->credentials);
	gnutls_certificate_set_x509_key_mem(p->credentials, &certificate, &key,
					    GNUTLS_X509_FMT_PEM);
	gnutls_init(&p->session, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
	gnutls_set_default_priority(p->session);
	gnutls_credentials_set(p->session, GNUTLS_CRD_CERTIFICATE, p->credentials);
	gnutls_transport_set_int(p->session, p->fd);
	UNTIL(f, p->fd, (result = gnutls_handshake(p->session)) != GNUTLS_E_AGAIN);
	assert_int_equal(result, 0);
}

static inline void peer_close(struct surfer *p)
{
	gnutls_deinit(p->session);
	gnutls_certificate_free_credentials(p->credentials);
	close(p->fd);
	buf_close(&p->in);
}

static inline void peer_send(struct surfer *p, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	while (len > 0) {
		ssize_t sent;
		UNTIL(p->f, p->fd,
		      (sent = gnutls_record_send(p->session, at, len)) != GNUTLS_E_AGAIN);
		if (sent < 0)
			return; /* the server has had enough */
		at += sent;
		len -= (size_t)sent;
	}
}

static inline void peer_read(struct surfer *p)
{
	uint8_t bytes[16384];
	while (!p->ended) {
		ssize_t got = gnutls_record_recv(p->session, bytes, sizeof bytes);
		if (got == GNUTLS_E_AGAIN)
			return;
		if (got < 0 && !gnutls_error_is_fatal((int)got))
			continue;
		if (got <= 0)
			p->ended = true;
		else
			buf_append(&p->in, bytes, (size_t)got);
	}
}

static inline bool peer_has(struct surfer *p, const char *text)
{
	peer_read(p);
	return strstr(buf_cstr(&p->in), text) != NULL;
}

static inline bool peer_ended(struct surfer *p)
{
	peer_read(p);
	return p->ended;
}

#define EXPECT_TEXT(p, text) UNTIL((p)->f, (p)->fd, peer_has((p), (text)))
#define EXPECT_END(p)        UNTIL((p)->f, (p)->fd, peer_ended(p))

/* first: FIN, RSV and opcode. Masked with a key of one byte four times. */
static inline void frame_raw(struct surfer *p, uint8_t first, const void *payload, size_t len,
			     bool masked)
{
	struct buf frame = {0};
	uint8_t mask = masked ? 0x80 : 0;
	buf_append_byte(&frame, first);
	if (len < 126) {
		buf_append_byte(&frame, mask | (uint8_t)len);
	} else {
		buf_append_byte(&frame, mask | 126);
		buf_append_byte(&frame, (uint8_t)(len >> 8));
		buf_append_byte(&frame, (uint8_t)len);
	}
	for (int i = 0; i < 4 && masked; i++)
		buf_append_byte(&frame, 0x55);
	for (size_t i = 0; i < len; i++)
		buf_append_byte(&frame, ((const uint8_t *)payload)[i] ^ (masked ? 0x55 : 0));
	peer_send(p, frame.data, frame.len);
	buf_close(&frame);
}

static inline void frame_send(struct surfer *p, uint8_t opcode, const char *text)
{
	frame_raw(p, 0x80 | opcode, text, strlen(text), true);
}

/* The next frame: its opcode, its payload in *payload. */
static inline bool frame_take(struct surfer *p, uint8_t *opcode, struct buf *payload)
{
	peer_read(p);
	if (p->in.len < 2)
		return false;
	size_t head = 2;
	size_t len = p->in.data[1];
	if (len == 126) {
		head = 4;
		if (p->in.len < head)
			return false;
		len = (size_t)p->in.data[2] << 8 | p->in.data[3];
	}
	assert_true(len < 65536 && p->in.data[1] != 127);
	if (p->in.len < head + len)
		return false;
	*opcode = p->in.data[0] & 15;
	buf_clear(payload);
	buf_append(payload, p->in.data + head, len);
	p->in.len -= head + len;
	memmove(p->in.data, p->in.data + head + len, p->in.len);
	return true;
}

static inline void expect_frame(struct surfer *p, uint8_t opcode, const char *text)
{
	uint8_t got = 0;
	struct buf payload = {0};
	UNTIL(p->f, p->fd, frame_take(p, &got, &payload));
	assert_int_equal(got, opcode);
	assert_string_equal(buf_cstr(&payload), text);
	buf_close(&payload);
}

static inline void expect_close(struct surfer *p, uint16_t code)
{
	uint8_t got = 0;
	struct buf payload = {0};
	UNTIL(p->f, p->fd, frame_take(p, &got, &payload));
	assert_int_equal(got, CLOSE);
	assert_true(payload.len >= 2);
	assert_int_equal(payload.data[0] << 8 | payload.data[1], code);
	buf_close(&payload);
}

#endif
