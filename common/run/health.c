#include "common/run/health.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "common/base/memory.h"

enum { HEALTH_CONNECTIONS_MAX = 64, HEALTH_TIMEOUT_S = 10, HEALTH_MEMORY_BYTES = 16 * 1024 };

struct health_listener {
	struct MHD_Daemon *mhd;
	struct health_source source;
	char *cert;
	char *key;
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
	enum MHD_Result result = MHD_queue_response(connection, status, r);
	MHD_destroy_response(r);
	return result;
}

static bool from_loopback(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	const struct sockaddr *address = info ? info->client_addr : NULL;
	return address && address->sa_family == AF_INET &&
	       ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24 ==
		   127;
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

struct health_listener *health_open(const char *address, unsigned port, const char *cert,
				    const char *key, const struct health_source *source,
				    struct buf *problem)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	if (inet_pton(AF_INET, address, &at.sin_addr) != 1) {
		buf_printf(problem, "health_address %s is not an IPv4 address", address);
		return NULL;
	}
	struct health_listener *h = mem_alloc_zero(sizeof *h);
	h->source = *source;
	h->cert = mem_strdup(cert);
	h->key = mem_strdup(key);
	h->mhd = MHD_start_daemon(
	    MHD_USE_EPOLL | MHD_USE_TLS, (uint16_t)port, NULL, NULL, on_request, h,
	    MHD_OPTION_SOCK_ADDR, &at, MHD_OPTION_HTTPS_MEM_CERT, h->cert, MHD_OPTION_HTTPS_MEM_KEY,
	    h->key, MHD_OPTION_HTTPS_PRIORITIES, "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2",
	    MHD_OPTION_CONNECTION_LIMIT, (unsigned)HEALTH_CONNECTIONS_MAX,
	    MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)HEALTH_TIMEOUT_S,
	    MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEALTH_MEMORY_BYTES, MHD_OPTION_END);
	if (h->mhd)
		return h;
	buf_printf(
	    problem,
	    "can't serve health on https://%s:%u: is the port free, are certificate and key right?",
	    address, port);
	health_close(h);
	return NULL;
}

void health_close(struct health_listener *h)
{
	if (!h)
		return;
	if (h->mhd)
		MHD_stop_daemon(h->mhd);
	free(h->cert);
	if (h->key)
		explicit_bzero(h->key, strlen(h->key));
	free(h->key);
	buf_close(&h->text);
	free(h);
}

int health_fd(const struct health_listener *h)
{
	return MHD_get_daemon_info(h->mhd, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
}

void health_run(struct health_listener *h)
{
	MHD_run(h->mhd);
}
