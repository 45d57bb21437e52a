#include "gateway/http/tls.h"

#include <errno.h>
#include <gnutls/x509.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include "common/base/memory.h"

/* TLS 1.2 and later. AES-128-GCM first: the cheapest on processors of today. */
#define TLS_PRIORITIES                                                                             \
	"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:"        \
	"+CHACHA20-POLY1305:%SERVER_PRECEDENCE"

struct tls_credentials {
	unsigned references;
	bool asks_client;
	int64_t expiry_s;
	gnutls_certificate_credentials_t certificates;
	gnutls_priority_t priorities;
	gnutls_datum_t ticket_key; /* of this process: a reload makes old tickets void */
};

static gnutls_datum_t datum_of(struct slice s)
{
	return (gnutls_datum_t){(unsigned char *)(uintptr_t)s.data, (unsigned)s.len};
}

static int64_t expiry_of(struct slice pem)
{
	gnutls_x509_crt_t certificate;
	gnutls_datum_t text = datum_of(pem);
	int64_t expiry_s = -1;
	if (gnutls_x509_crt_init(&certificate) != 0)
		return -1;
	if (gnutls_x509_crt_import(certificate, &text, GNUTLS_X509_FMT_PEM) == 0)
		expiry_s = gnutls_x509_crt_get_expiration_time(certificate);
	gnutls_x509_crt_deinit(certificate);
	return expiry_s;
}

/* 0, or the error of GnuTLS; *what names the step. */
static int credentials_fill(struct tls_credentials *c, struct slice certificate, struct slice key,
			    struct slice authority, const char **what)
{
	gnutls_datum_t certificate_text = datum_of(certificate);
	gnutls_datum_t key_text = datum_of(key);
	gnutls_datum_t authority_text = datum_of(authority);
	*what = "credentials";
	int result = gnutls_certificate_allocate_credentials(&c->certificates);
	if (result < 0)
		return result;
	*what = "certificate and key";
	result = gnutls_certificate_set_x509_key_mem(c->certificates, &certificate_text, &key_text,
						     GNUTLS_X509_FMT_PEM);
	if (result < 0)
		return result;
	*what = "client authority";
	c->asks_client = authority.len > 0;
	if (c->asks_client) {
		result = gnutls_certificate_set_x509_trust_mem(c->certificates, &authority_text,
							       GNUTLS_X509_FMT_PEM);
		if (result <= 0)
			return result < 0 ? result : GNUTLS_E_NO_CERTIFICATE_FOUND;
	}
	*what = "priorities";
	result = gnutls_priority_init(&c->priorities, TLS_PRIORITIES, NULL);
	if (result < 0)
		return result;
	*what = "ticket key";
	return gnutls_session_ticket_key_generate(&c->ticket_key);
}

struct tls_credentials *tls_credentials_new(struct slice certificate, struct slice key,
					    struct slice authority, struct buf *problem)
{
	struct tls_credentials *c = mem_alloc_zero(sizeof *c);
	const char *what;
	c->references = 1;
	int result = credentials_fill(c, certificate, key, authority, &what);
	if (result < 0) {
		buf_printf(problem, "TLS %s: %s", what, gnutls_strerror(result));
		tls_credentials_release(c);
		return NULL;
	}
	c->expiry_s = expiry_of(certificate);
	return c;
}

struct tls_credentials *tls_credentials_hold(struct tls_credentials *c)
{
	c->references++;
	return c;
}

void tls_credentials_release(struct tls_credentials *c)
{
	if (!c || --c->references > 0)
		return;
	if (c->certificates)
		gnutls_certificate_free_credentials(c->certificates);
	if (c->priorities)
		gnutls_priority_deinit(c->priorities);
	if (c->ticket_key.data) {
		gnutls_memset(c->ticket_key.data, 0, c->ticket_key.size);
		gnutls_free(c->ticket_key.data);
	}
	free(c);
}

int64_t tls_credentials_expiry(const struct tls_credentials *c)
{
	return c->expiry_s;
}

bool tls_session_prepare(struct tls_credentials *c, gnutls_session_t session)
{
	gnutls_certificate_request_t ask =
	    c->asks_client ? GNUTLS_CERT_REQUEST : GNUTLS_CERT_IGNORE;
	if (gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, c->certificates) < 0 ||
	    gnutls_priority_set(session, c->priorities) < 0 ||
	    gnutls_session_ticket_enable_server(session, &c->ticket_key) < 0)
		return false;
	gnutls_certificate_server_set_request(session, ask);
	return true;
}

/* ---- the client's certificate ---- */

static bool uri_name(gnutls_x509_crt_t certificate, char principal[TLS_PRINCIPAL_BYTES])
{
	for (unsigned i = 0; i < 64; i++) {
		size_t size = TLS_PRINCIPAL_BYTES - 1;
		int type =
		    gnutls_x509_crt_get_subject_alt_name(certificate, i, principal, &size, NULL);
		if (type == GNUTLS_SAN_URI) {
			principal[size] = 0;
			return true;
		}
		if (type == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			break;
	}
	return false;
}

static bool has_name(gnutls_x509_crt_t certificate, const char *oid, const char *name)
{
	char value[TLS_PRINCIPAL_BYTES];
	for (unsigned i = 0; i < 64; i++) {
		size_t size = sizeof value;
		int result = gnutls_x509_crt_get_dn_by_oid(certificate, oid, i, 0, value, &size);
		if (result == GNUTLS_E_SHORT_MEMORY_BUFFER)
			continue;
		if (result < 0)
			return false;
		if (size == strlen(name) && memcmp(value, name, size) == 0)
			return true;
	}
	return false;
}

static bool has_role(gnutls_x509_crt_t certificate, const char *role)
{
	return has_name(certificate, GNUTLS_OID_X520_ORGANIZATIONAL_UNIT_NAME, role) ||
	       has_name(certificate, GNUTLS_OID_X520_ORGANIZATION_NAME, role);
}

static bool read_client(const gnutls_datum_t *der, char principal[TLS_PRINCIPAL_BYTES],
			struct tls_roles *roles)
{
	gnutls_x509_crt_t certificate;
	size_t size = TLS_PRINCIPAL_BYTES;
	bool found = false;
	if (gnutls_x509_crt_init(&certificate) < 0)
		return false;
	if (gnutls_x509_crt_import(certificate, der, GNUTLS_X509_FMT_DER) >= 0) {
		found = uri_name(certificate, principal) ||
			gnutls_x509_crt_get_dn_by_oid(certificate, GNUTLS_OID_X520_COMMON_NAME, 0,
						      0, principal, &size) >= 0;
		roles->arbiter = has_role(certificate, "arbiter");
		roles->reader = has_role(certificate, "reader");
	}
	gnutls_x509_crt_deinit(certificate);
	return found;
}

bool tls_client_verified(gnutls_session_t session, char principal[TLS_PRINCIPAL_BYTES],
			 struct tls_roles *roles)
{
	gnutls_typed_vdata_st purpose = {
	    .type = GNUTLS_DT_KEY_PURPOSE_OID,
	    .data = (unsigned char *)(uintptr_t)GNUTLS_KP_TLS_WWW_CLIENT,
	};
	unsigned count = 0;
	unsigned status = GNUTLS_CERT_INVALID;
	principal[0] = 0;
	*roles = (struct tls_roles){0};
	const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &count);
	if (!chain || count == 0)
		return false;
	/* The return code tells only whether there was something to check; the status, what came of
	 * it. */
	if (gnutls_certificate_verify_peers(session, &purpose, 1, &status) != 0 || status != 0)
		return false;
	return read_client(&chain[0], principal, roles);
}

/* ---- one packet per answer ---- */

static ssize_t send_both(struct tls_transport *transport, const void *data, size_t len)
{
	struct buf *held = &transport->held;
	struct iovec parts[2] = {
	    {.iov_base = held->data, .iov_len = held->len},
	    {.iov_base = (void *)(uintptr_t)data, .iov_len = len},
	};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
	ssize_t sent = sendmsg(transport->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0)
		return -1;
	transport->traffic->moved++;
	if ((size_t)sent > held->len) {
		sent -= (ssize_t)held->len;
		buf_clear(held);
		return sent;
	}
	/* None of the new bytes has gone: GnuTLS shall offer them again. */
	memmove(held->data, held->data + sent, held->len - (size_t)sent);
	held->len -= (size_t)sent;
	errno = EAGAIN;
	return -1;
}

static ssize_t push(gnutls_transport_ptr_t at, const void *data, size_t len)
{
	struct tls_transport *transport = at;
	if (transport->hold > 0) {
		transport->hold--;
		transport->traffic->moved++;
		buf_append(&transport->held, data, len);
		return (ssize_t)len;
	}
	if (transport->held.len > 0)
		return send_both(transport, data, len);
	ssize_t sent = send(transport->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	transport->traffic->moved += sent > 0;
	return sent;
}

static ssize_t pull(gnutls_transport_ptr_t at, void *data, size_t len)
{
	struct tls_transport *transport = at;
	struct tls_traffic *traffic = transport->traffic;
	ssize_t got = recv(transport->fd, data, len, MSG_DONTWAIT);
	if (got <= 0)
		return got;
	traffic->moved++;
	if (!transport->listed && traffic->read_count < TLS_READ_MAX) {
		transport->listed = true;
		traffic->read[traffic->read_count++] = transport;
	}
	return got;
}

static int pull_timeout(gnutls_transport_ptr_t at, unsigned ms)
{
	const struct tls_transport *transport = at;
	struct pollfd look = {.fd = transport->fd, .events = POLLIN};
	return poll(&look, 1, (int)ms);
}

static void unlist(struct tls_traffic *traffic, unsigned i)
{
	traffic->read[i]->listed = false;
	traffic->read[i] = traffic->read[--traffic->read_count];
}

bool tls_traffic_pending(struct tls_traffic *traffic)
{
	for (unsigned i = traffic->read_count; i-- > 0;)
		if (gnutls_record_check_pending(traffic->read[i]->session) == 0)
			unlist(traffic, i);
	return traffic->read_count > 0;
}

void tls_transport_install(struct tls_transport *transport, gnutls_session_t session, int fd,
			   struct tls_traffic *traffic)
{
	transport->fd = fd;
	transport->session = session;
	transport->traffic = traffic;
	gnutls_transport_set_ptr(session, transport);
	gnutls_transport_set_push_function(session, push);
	gnutls_transport_set_pull_function(session, pull);
	gnutls_transport_set_pull_timeout_function(session, pull_timeout);
}

void tls_transport_close(struct tls_transport *transport)
{
	for (unsigned i = 0; transport->listed && i < transport->traffic->read_count; i++)
		if (transport->traffic->read[i] == transport)
			unlist(transport->traffic, i);
	buf_close(&transport->held);
}
