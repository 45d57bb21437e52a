#include "common/run/health.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/run/clock.h"

enum {
	HEALTH_CONNECTIONS_MAX = 64,
	HEALTH_TIMEOUT_S = 5, /* of a connection, from its beginning to its end */
	HEALTH_MEMORY_BYTES = 16 * 1024,
	HEALTH_ROUNDS_MAX = 8
};

/* Anybody may ask, but not stay: places are few, and who checks whether this daemon lives must find
 * one. So a connection is for one question, however busy it looks. */
struct health_client {
	int fd; /* 0: a free place */
	int64_t end_ms;
};

struct health_listener {
	struct MHD_Daemon *mhd;
	struct health_client clients[HEALTH_CONNECTIONS_MAX];
	int listener;
	struct health_source source;
	struct buf text;
};

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, struct slice body,
			      const char *type)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(
	    body.len, (void *)(uintptr_t)body.data, MHD_RESPMEM_MUST_COPY);
	if (!r)
		return MHD_NO;
	MHD_add_response_header(r, "Content-Type", type);
	MHD_add_response_header(r, "Cache-Control", "no-store");
	MHD_add_response_header(r, "Connection", "close");
	enum MHD_Result result = MHD_queue_response(connection, status, r);
	MHD_destroy_response(r);
	return result;
}

static bool from_loopback(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	const struct sockaddr *address = info ? info->client_addr : NULL;
	if (!address)
		return false;
	if (address->sa_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(
		    &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
	return address->sa_family == AF_INET &&
	       ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24 ==
		   IN_LOOPBACKNET;
}

static enum MHD_Result route(struct health_listener *h, struct MHD_Connection *connection,
			     const char *url)
{
	static const char plain[] = "text/plain; charset=utf-8";
	buf_clear(&h->text);
	if (strcmp(url, "/livez") == 0)
		return answer(connection, MHD_HTTP_OK, slice_text("ok\n"), plain);
	if (strcmp(url, "/readyz") == 0) {
		bool ready = h->source.ready(h->source.context, &h->text);
		bool verbose = MHD_lookup_connection_value_n(connection, MHD_GET_ARGUMENT_KIND,
							     "verbose", 7, NULL, NULL);
		struct slice brief =
		    slice_text(ready ? "ok\n" : "not ready; see /readyz?verbose\n");
		return answer(connection, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE,
			      verbose ? buf_slice(&h->text) : brief, plain);
	}
	if (strcmp(url, "/metrics") == 0 && from_loopback(connection)) {
		h->source.metrics(h->source.context, &h->text);
		return answer(connection, MHD_HTTP_OK, buf_slice(&h->text),
			      "text/plain; version=0.0.4");
	}
	return answer(connection, MHD_HTTP_NOT_FOUND, slice_text("not found\n"), plain);
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url,
				  const char *method, const char *version, const char *upload,
				  size_t *upload_len, void **state)
{
	(void)version;
	(void)upload;
	if (!*state) {
		*state = context; /* the headers alone: wait for the whole request */
		return MHD_YES;
	}
	if (*upload_len > 0) {
		*upload_len = 0; /* a body has no business here */
		return MHD_YES;
	}
	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
		return answer(connection, MHD_HTTP_METHOD_NOT_ALLOWED, slice_text("GET only\n"),
			      "text/plain");
	return route(context, connection, url);
}

/* ---- connections ---- */

static void client_changed(void *context, struct MHD_Connection *connection, void **at,
			   enum MHD_ConnectionNotificationCode code)
{
	struct health_listener *h = context;
	const union MHD_ConnectionInfo *fd =
	    MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (*at)
			*(struct health_client *)*at = (struct health_client){0};
		return;
	}
	for (int i = 0; fd && i < HEALTH_CONNECTIONS_MAX; i++) {
		if (h->clients[i].fd != 0)
			continue;
		*at = &h->clients[i];
		h->clients[i].fd = fd->connect_fd;
		h->clients[i].end_ms = clock_boot_ms() + HEALTH_TIMEOUT_S * 1000;
		return;
	}
}

static void end_overdue(struct health_listener *h)
{
	int64_t now_ms = clock_boot_ms();
	for (int i = 0; i < HEALTH_CONNECTIONS_MAX; i++)
		if (h->clients[i].fd != 0 && h->clients[i].end_ms <= now_ms)
			(void)shutdown(h->clients[i].fd, SHUT_RDWR);
}

/* ---- life ---- */

/* The socket is ours, so that a new certificate does not interrupt listening. */
static int open_socket(const char *address, unsigned port, struct buf *problem)
{
	char service[16];
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
				 .ai_socktype = SOCK_STREAM};
	struct addrinfo *at = NULL;
	int one = 1;
	snprintf(service, sizeof service, "%u", port);
	if (getaddrinfo(address, service, &hints, &at) != 0) {
		buf_printf(problem, "health_address %s is not an IP address", address);
		return -1;
	}
	int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	bool ok = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
		  bind(fd, at->ai_addr, at->ai_addrlen) == 0 &&
		  listen(fd, HEALTH_CONNECTIONS_MAX) == 0;
	if (!ok)
		buf_printf(problem, "can't listen on %s port %u: %s", address, port,
			   strerror(errno));
	freeaddrinfo(at);
	if (!ok && fd >= 0)
		close(fd);
	return ok ? fd : -1;
}

/* A server on a copy of the listening socket. NULL: the certificate or the key is no good. */
static struct MHD_Daemon *start_server(struct health_listener *h, const char *cert, const char *key)
{
	int fd = fcntl(h->listener, F_DUPFD_CLOEXEC, 0);
	struct MHD_Daemon *mhd = MHD_start_daemon(
	    MHD_USE_EPOLL | MHD_USE_TLS, 0, NULL, NULL, on_request, h, MHD_OPTION_LISTEN_SOCKET, fd,
	    MHD_OPTION_HTTPS_MEM_CERT, cert, MHD_OPTION_HTTPS_MEM_KEY, key,
	    MHD_OPTION_HTTPS_PRIORITIES, "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2",
	    MHD_OPTION_CONNECTION_LIMIT, (unsigned)HEALTH_CONNECTIONS_MAX,
	    MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)HEALTH_TIMEOUT_S,
	    MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEALTH_MEMORY_BYTES,
	    MHD_OPTION_NOTIFY_CONNECTION, client_changed, h, MHD_OPTION_END);
	if (!mhd)
		close(fd);
	return mhd;
}

/* Without shutting the socket down, of which there may be other copies. */
static void stop_server(struct MHD_Daemon *mhd)
{
	int fd = MHD_quiesce_daemon(mhd);
	MHD_stop_daemon(mhd);
	if (fd >= 0)
		close(fd);
}

struct health_listener *health_open(const char *address, unsigned port, const char *cert,
				    const char *key, const struct health_source *source,
				    struct buf *problem)
{
	int listener = open_socket(address, port, problem);
	if (listener < 0)
		return NULL;
	struct health_listener *h = mem_alloc_zero(sizeof *h);
	h->source = *source;
	h->listener = listener;
	if (health_reload(h, cert, key, problem))
		return h;
	health_close(h);
	return NULL;
}

bool health_reload(struct health_listener *h, const char *cert, const char *key,
		   struct buf *problem)
{
	struct MHD_Daemon *fresh = start_server(h, cert, key);
	if (!fresh) {
		buf_append_text(problem, "tls_cert and tls_key are not a certificate and its key");
		return false;
	}
	if (h->mhd)
		stop_server(h->mhd);
	h->mhd = fresh;
	return true;
}

unsigned health_port(const struct health_listener *h)
{
	/* of an IPv6 address this gets the start, where the port stands at the same place */
	struct sockaddr_in at = {0};
	socklen_t len = sizeof at;
	if (getsockname(h->listener, (struct sockaddr *)&at, &len) != 0)
		return 0;
	return ntohs(at.sin_port);
}

void health_close(struct health_listener *h)
{
	if (!h)
		return;
	if (h->mhd)
		stop_server(h->mhd);
	close(h->listener);
	buf_close(&h->text);
	free(h);
}

int health_fd(const struct health_listener *h)
{
	return MHD_get_daemon_info(h->mhd, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
}

/* What GnuTLS has read already does not show on the descriptor: go on until nothing is left. */
void health_run(struct health_listener *h)
{
	MHD_UNSIGNED_LONG_LONG wait_ms = 0;
	end_overdue(h);
	for (int i = 0; i < HEALTH_ROUNDS_MAX; i++) {
		MHD_run(h->mhd);
		if (MHD_get_timeout(h->mhd, &wait_ms) != MHD_YES || wait_ms > 0)
			return;
	}
}
