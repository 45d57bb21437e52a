/* Connections: their TLS session, and who the client is. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "common/base/memory.h"
#include "common/run/clock.h"
#include "gateway/http/mhd_private.h"

struct client *client_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	return info ? info->socket_context : NULL;
}

bool client_allowed(struct http_server *s, struct MHD_Connection *connection)
{
	struct client *client = client_of(connection);
	if (!s->asks_client)
		return true;
	if (!client)
		return false;
	if (!client->checked) {
		const union MHD_ConnectionInfo *info =
		    MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
		struct tls_roles roles = {0};
		client->checked = true;
		client->verified =
		    info && tls_client_verified(info->tls_session, client->principal, &roles);
		if (!client->verified)
			client->principal[0] = 0;
		client->roles =
		    (roles.arbiter ? HTTP_ROLE_ARBITER : 0) | (roles.reader ? HTTP_ROLE_READER : 0);
	}
	return client->verified || s->options.certificate_optional;
}

/* Of IPv6 the network: a client has all of its addresses. */
static void take_address(struct client *client, const struct sockaddr *from)
{
	if (from->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)from;
		client->address_bytes = sizeof in->sin_addr;
		memcpy(client->address, &in->sin_addr, sizeof in->sin_addr);
	} else if (from->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)from;
		bool mapped = IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr);
		client->address_bytes = mapped ? 4 : sizeof client->address;
		memcpy(client->address, in6->sin6_addr.s6_addr + (mapped ? 12 : 0),
		       client->address_bytes);
	}
}

/* ---- those that are slow ---- */

/* libmicrohttpd ends connections that are silent. Who sends a byte now and then never is: so a head
 * must be complete after twice the time of silence, and a body may not come slower than
 * HTTP_RATE_MIN, for longer than that. */
static int64_t patience_ms(const struct http_server *s)
{
	return (int64_t)s->options.idle_timeout_s * 2000;
}

void client_wait(struct client *client)
{
	if (client)
		client->due_ms = clock_boot_ms() + patience_ms(client->server);
}

void client_paid(struct client *client, size_t bytes)
{
	if (!client)
		return;
	int64_t latest_ms = clock_boot_ms() + patience_ms(client->server);
	int64_t due_ms = client->due_ms + (int64_t)bytes * 1000 / HTTP_RATE_MIN;
	client->due_ms = due_ms < latest_ms ? due_ms : latest_ms;
}

/* Is it the client whose turn it is? */
static bool client_owes(const struct client *client)
{
	const struct exchange *x = client->exchange;
	if (!x || !x->begun)
		return true;
	if (x->stream || x->ended || x->parked)
		return false;
	return x->pieces ? !x->whole : !x->told && !x->response;
}

void clients_look(struct http_server *s)
{
	int64_t now_ms = clock_boot_ms();
	if (now_ms - s->clients_looked_ms < HTTP_LOOK_MS || s->options.idle_timeout_s == 0)
		return;
	s->clients_looked_ms = now_ms;
	for (struct client *client = s->clients; client; client = client->next) {
		if (!client_owes(client))
			client_wait(client);
		else if (client->due_ms <= now_ms)
			(void)shutdown(client->transport.fd, SHUT_RDWR);
	}
}

static void list_join(struct http_server *s, struct client *client)
{
	client->next = s->clients;
	if (client->next)
		client->next->previous = client;
	s->clients = client;
}

static void list_leave(struct http_server *s, struct client *client)
{
	*(client->previous ? &client->previous->next : &s->clients) = client->next;
	if (client->next)
		client->next->previous = client->previous;
}

/* ---- beginning and end ---- */

static void client_begins(struct http_server *s, struct MHD_Connection *connection, void **at)
{
	const union MHD_ConnectionInfo *session =
	    MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	const union MHD_ConnectionInfo *fd =
	    MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct client *client = mem_alloc_zero(sizeof *client);
	int one = 1;
	client->server = s;
	client->id = ++s->connection_ids;
	client->credentials = tls_credentials_hold(s->credentials);
	*at = client;
	s->connections++;
	client->transport.fd = -1;
	list_join(s, client);
	client_wait(client);
	const union MHD_ConnectionInfo *address =
	    MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	if (address)
		take_address(client, address->client_addr);
	if (!session || !fd)
		return;
	if (!tls_session_prepare(client->credentials, session->tls_session)) {
		/* No handshake can succeed then; libmicrohttpd closes the connection. */
		(void)shutdown(fd->connect_fd, SHUT_RDWR);
		return;
	}
	(void)setsockopt(fd->connect_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	tls_transport_install(&client->transport, session->tls_session, fd->connect_fd,
			      &s->traffic);
}

void client_changed(void *context, struct MHD_Connection *connection, void **at,
		    enum MHD_ConnectionNotificationCode code)
{
	struct http_server *s = context;
	struct client *client = *at;
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		client_begins(s, connection, at);
		return;
	}
	if (!client)
		return;
	*at = NULL;
	s->connections--;
	list_leave(s, client);
	tls_transport_close(&client->transport);
	tls_credentials_release(client->credentials);
	if (client->told)
		s->options.callbacks.on_closed(s->options.callbacks.context, client->id);
	free(client);
}
