/* TLS of a listener: credentials that can be swapped while connections live, session tickets, and
 * the check of client certificates, which libmicrohttpd does not make. */
#ifndef PARLEY_GATEWAY_HTTP_TLS_H
#define PARLEY_GATEWAY_HTTP_TLS_H

#include <gnutls/gnutls.h>
#include <stdbool.h>

#include "common/base/buf.h"
#include "common/base/check.h"
#include "common/base/slice.h"

enum { TLS_PRINCIPAL_BYTES = 256 };

/* Reference-counted: every connection holds the ones it was accepted with. */
struct tls_credentials;

/* PEM texts. authority empty: no client certificate is asked for. NULL: *problem says what is
 * wrong. */
struct tls_credentials *tls_credentials_new(struct slice certificate, struct slice key,
					    struct slice authority, struct buf *problem);
struct tls_credentials *tls_credentials_hold(struct tls_credentials *c);
void tls_credentials_release(struct tls_credentials *c);
/* Seconds since 1970 after which the certificate is void; -1: unknown. */
int64_t tls_credentials_expiry(const struct tls_credentials *c);

/* Before the handshake. */
bool tls_session_prepare(struct tls_credentials *c, gnutls_session_t session) MUST_CHECK;

/* Named by a unit (OU) or organization (O) of a certificate's subject. */
struct tls_roles {
	bool arbiter;
	bool reader;
};

/* After it: true if the client has presented a certificate of our authority, valid now and made for
 * client authentication. principal: its first URI name, else its common name. */
bool tls_client_verified(gnutls_session_t session, char principal[TLS_PRINCIPAL_BYTES],
			 struct tls_roles *roles) MUST_CHECK;

enum { TLS_READ_MAX = 256 };

/* What the sessions of a listener have done. */
struct tls_traffic {
	uint64_t moved; /* reads and writes that moved bytes */
	struct tls_transport *read[TLS_READ_MAX];
	unsigned read_count;
};
/* Some session has decrypted bytes that nobody has taken yet. */
bool tls_traffic_pending(struct tls_traffic *traffic);

/* What a session reads and writes by. It holds the record of the headers back until the record of
 * the body comes, so that an answer is one packet and one system call. */
struct tls_transport {
	int fd;
	gnutls_session_t session;
	struct tls_traffic *traffic;
	bool listed;   /* in traffic->read */
	unsigned hold; /* so many records more */
	struct buf held;
};
void tls_transport_install(struct tls_transport *transport, gnutls_session_t session, int fd,
			   struct tls_traffic *traffic);
void tls_transport_close(struct tls_transport *transport);

#endif
