#include "gateway/http_mhd.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/run/clock.h"
#include "gateway/http_head.h"
#include "gateway/http_listen.h"
#include "gateway/http_stream.h"
#include "gateway/http_tls.h"
#include "gateway/http_ws.h"

enum { SLOT_BITS = 24, SLOTS_FIRST = 64, LOOK_MS = 500 };

/* One connection. */
struct client {
	struct http_server *server;
	uint64_t id;
	struct tls_credentials *credentials;
	struct tls_transport transport;
	bool told; /* a request of it */
	bool checked;
	bool verified;
	char principal[TLS_PRINCIPAL_BYTES];
};

/* One request on it, from its first line to the end of its answer. */
struct exchange {
	struct http_server *server;
	struct MHD_Connection *connection;
	uint32_t slot;
	uint32_t generation;
	struct exchange *next_free;
	bool used;
	bool begun;   /* the head is complete */
	bool told;    /* waits for the answer */
	bool left;    /* its client went before it: to be told at the end of the turn */
	bool watched; /* whether its answer is taken is to be told */
	bool parked;  /* suspended */
	bool too_large;
	bool http_1_1;
	bool ended;          /* the connection shall be closed */
	enum status refused; /* OK: not */
	int refused_status;  /* other than the table's */
	enum http_method method;
	struct buf uri; /* path?query as sent */
	struct buf body;
	struct MHD_Response *response;
	int status;
	size_t answer_bytes;
	char accept[WS_ACCEPT_BYTES]; /* of a WebSocket's handshake */
	struct http_stream *stream;   /* it has the connection */
};

struct http_server {
	struct http_options options;
	struct MHD_Daemon *daemon;
	struct tls_credentials *credentials;
	bool asks_client;
	int listen_fd;
	int epoll_fd;
	uint16_t port;
	struct exchange **slots;
	uint32_t slots_count;
	uint32_t slots_cap;
	struct exchange *free;
	uint64_t bodies_bytes;
	uint32_t inflight;
	uint32_t connections;
	uint64_t connection_ids;
	struct http_streams *streams;
	struct tls_traffic traffic;
	bool answered;     /* libmicrohttpd has answers to fetch */
	bool left;         /* some exchange's client has */
	bool busy;         /* it has not come to the end of its work */
	bool moved;        /* something, when it ran last */
	int64_t looked_ms; /* when it was looked who is gone */
	struct header_list headers;
	struct buf scratch;
};

/* ---- the table of exchanges ---- */

static struct exchange *exchange_take(struct http_server *s)
{
	struct exchange *x = s->free;
	if (x) {
		s->free = x->next_free;
	} else {
		if (s->slots_count == s->slots_cap) {
			s->slots_cap = s->slots_cap ? s->slots_cap * 2 : SLOTS_FIRST;
			s->slots = mem_realloc(s->slots, s->slots_cap * sizeof(struct exchange *));
		}
		x = mem_alloc_zero(sizeof *x);
		x->slot = s->slots_count;
		s->slots[s->slots_count++] = x;
	}
	struct buf uri = x->uri;
	*x = (struct exchange){.server = s,
			       .slot = x->slot,
			       .generation = x->generation + 1,
			       .used = true,
			       .uri = uri};
	buf_clear(&x->uri);
	return x;
}

static void body_drop(struct exchange *x)
{
	x->server->bodies_bytes -= x->body.len;
	buf_close(&x->body);
}

static void exchange_release(struct exchange *x)
{
	body_drop(x);
	if (x->response)
		MHD_destroy_response(x->response);
	x->response = NULL;
	x->used = false;
	x->next_free = x->server->free;
	x->server->free = x;
}

static uint64_t exchange_id(const struct exchange *x)
{
	return (uint64_t)x->generation << SLOT_BITS | x->slot;
}

static struct exchange *exchange_at(const struct http_server *s, uint64_t id)
{
	uint64_t slot = id & ((1u << SLOT_BITS) - 1);
	if (slot >= s->slots_count)
		return NULL;
	struct exchange *x = s->slots[slot];
	return x->used && exchange_id(x) == id ? x : NULL;
}

/* ---- answers made here ---- */

static struct MHD_Response *refusal(enum status status)
{
	const struct status_row *row = status_row(status);
	struct buf body = {0};
	buf_printf(&body, "{\"error\":\"%s\",\"code\":\"%s\",\"status\":%d}", row->text, row->code,
		   row->http);
	struct MHD_Response *response =
	    MHD_create_response_from_buffer(body.len, body.data, MHD_RESPMEM_MUST_COPY);
	buf_close(&body);
	CHECK(response != NULL);
	(void)MHD_add_response_header(response, "Content-Type", "application/json");
	if (row->retry == RETRY_LATER)
		(void)MHD_add_response_header(response, "Retry-After", "1");
	return response;
}

static struct client *client_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	return info ? info->socket_context : NULL;
}

/* The headers wait for the body, if one follows, and leave with it. */
static enum MHD_Result queue(struct exchange *x, int status, struct MHD_Response *response,
			     size_t len)
{
	struct client *client = client_of(x->connection);
	if (client)
		client->transport.hold = x->method != HTTP_HEAD && len > 0;
	return MHD_queue_response(x->connection, (unsigned)status, response);
}

static enum MHD_Result answer_refusal(struct exchange *x)
{
	struct http_server *s = x->server;
	bool certificate = x->refused == STATUS_CERTIFICATE_REQUIRED;
	struct MHD_Response *response = refusal(x->refused);
	s->options.callbacks.on_refused(s->options.callbacks.context, certificate
									  ? HTTP_REFUSED_CERTIFICATE
									  : HTTP_REFUSED_OVERLOAD);
	int status = x->refused_status ? x->refused_status : status_row(x->refused)->http;
	if (status == MHD_HTTP_UPGRADE_REQUIRED)
		(void)MHD_add_response_header(response, "Sec-WebSocket-Version", "13");
	enum MHD_Result result = queue(x, status, response, 1);
	MHD_destroy_response(response);
	return result;
}

/* ---- a request is whole ---- */

/* False: it is refused. */
static bool check_handshake(struct exchange *x, const struct header_list *list, bool *websocket)
{
	struct slice key;
	enum ws_handshake asked =
	    ws_handshake_check(x->method, x->http_1_1, list->fields, list->count, &key);
	*websocket = asked == WS_VALID;
	if (asked == WS_VALID)
		ws_accept_print(key, x->accept);
	if (asked != WS_BAD_REQUEST && asked != WS_BAD_VERSION)
		return true;
	x->refused = STATUS_BAD_MESSAGE;
	if (asked == WS_BAD_VERSION)
		x->refused_status = MHD_HTTP_UPGRADE_REQUIRED;
	return false;
}

static void tell_request(struct exchange *x)
{
	struct http_server *s = x->server;
	struct client *client = client_of(x->connection);
	struct header_list *list = &s->headers;
	bool websocket;
	header_list_read(list, x->connection, 4 * (size_t)s->options.connection_memory_bytes);
	if (list->overflow)
		/* A precondition may be among those that did not fit: it must not be lost. */
		x->refused = STATUS_BAD_MESSAGE;
	if (x->refused || !check_handshake(x, list, &websocket))
		return;
	size_t path = 0;
	while (path < x->uri.len && x->uri.data[path] != '?')
		path++;
	size_t query = path < x->uri.len ? path + 1 : path;
	struct http_request request = {
	    .id = exchange_id(x),
	    .method = x->method,
	    .path = slice_of(x->uri.data, path),
	    .query = slice_of(x->uri.data + query, x->uri.len - query),
	    .headers = list->fields,
	    .headers_count = list->count,
	    .body = x->too_large ? slice_of(NULL, 0) : buf_slice(&x->body),
	    .body_too_large = x->too_large,
	    .websocket = websocket,
	    .connection = client ? client->id : 0,
	    .principal = client ? slice_text(client->principal) : slice_of(NULL, 0),
	};
	if (client)
		client->told = true;
	x->told = true;
	s->inflight++;
	s->options.callbacks.on_request(s->options.callbacks.context, &request);
	body_drop(x);
}

/* ---- libmicrohttpd calls ---- */

static bool client_allowed(struct http_server *s, struct MHD_Connection *connection)
{
	struct client *client = client_of(connection);
	if (!s->asks_client)
		return true;
	if (!client)
		return false;
	if (!client->checked) {
		const union MHD_ConnectionInfo *info =
		    MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
		client->checked = true;
		client->verified =
		    info && tls_client_verified(info->tls_session, client->principal);
	}
	return client->verified;
}

static void take_upload(struct exchange *x, const char *data, size_t len)
{
	struct http_server *s = x->server;
	if (x->refused || x->too_large)
		return;
	if (len > s->options.request_bytes_max - x->body.len) {
		x->too_large = true;
		body_drop(x);
		return;
	}
	if (len > s->options.bodies_bytes_max - s->bodies_bytes) {
		x->refused = STATUS_OVERLOADED;
		body_drop(x);
		return;
	}
	buf_append(&x->body, data, len);
	s->bodies_bytes += len;
}

static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *url,
			      const char *method, const char *version, const char *upload,
			      size_t *upload_len, void **at)
{
	struct http_server *s = context;
	struct exchange *x = *at;
	(void)url;
	if (!x || x->ended)
		return MHD_NO;
	if (x->told)
		return MHD_YES;
	s->traffic.moved++;
	if (!x->begun) {
		x->begun = true;
		x->http_1_1 = strcmp(version, MHD_HTTP_VERSION_1_1) == 0;
		x->connection = connection;
		x->method = http_method_of(method);
		if (!client_allowed(s, connection))
			x->refused = STATUS_CERTIFICATE_REQUIRED;
		return MHD_YES;
	}
	if (*upload_len > 0) {
		take_upload(x, upload, *upload_len);
		*upload_len = 0;
		return MHD_YES;
	}
	if (x->response)
		return queue(x, x->status, x->response, x->answer_bytes);
	if (!x->refused)
		tell_request(x);
	return x->refused ? answer_refusal(x) : MHD_YES;
}

/* The first that is known of a request: its address as it was sent. */
static void *uri_seen(void *context, const char *uri, struct MHD_Connection *connection)
{
	struct exchange *x = exchange_take(context);
	(void)connection;
	buf_append_text(&x->uri, uri);
	return x;
}

/* Paths are decoded by the core, once. */
static size_t keep_escaped(void *context, struct MHD_Connection *connection, char *text)
{
	(void)context;
	(void)connection;
	return strlen(text);
}

static void completed(void *context, struct MHD_Connection *connection, void **at,
		      enum MHD_RequestTerminationCode why)
{
	struct http_server *s = context;
	struct exchange *x = *at;
	(void)connection;
	if (!x)
		return;
	*at = NULL;
	bool lost = x->watched && why != MHD_REQUEST_TERMINATED_COMPLETED_OK;
	if (x->told)
		s->inflight--;
	if (x->told || lost)
		s->options.callbacks.on_gone(s->options.callbacks.context, exchange_id(x));
	x->told = false;
	exchange_release(x);
}

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

static void connection_changed(void *context, struct MHD_Connection *connection, void **at,
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
	tls_transport_close(&client->transport);
	tls_credentials_release(client->credentials);
	if (client->told)
		s->options.callbacks.on_closed(s->options.callbacks.context, client->id);
	free(client);
}

/* ---- waiting for answers ---- */

/* Resuming walks over all that are suspended, so only those are that wait long. For the others
 * libmicrohttpd asks each time it runs. */
static void park(struct exchange *x)
{
	if (!x->parked)
		MHD_suspend_connection(x->connection);
	x->parked = true;
}

static void unpark(struct exchange *x)
{
	x->server->answered = true;
	if (x->parked)
		MHD_resume_connection(x->connection);
	x->parked = false;
}

static void answered(struct exchange *x)
{
	x->told = false;
	x->server->inflight--;
	unpark(x);
}

/* ---- streams ---- */

static void stream_message_told(void *context, uint64_t stream, struct slice bytes, bool text)
{
	const struct http_callbacks *to = &((struct http_server *)context)->options.callbacks;
	to->on_stream_message(to->context, stream, bytes, text);
}

static void stream_gone_told(void *context, uint64_t stream, enum stream_end why, uint64_t queued)
{
	const struct http_callbacks *to = &((struct http_server *)context)->options.callbacks;
	to->on_stream_gone(to->context, stream, why, queued);
}

static void release_stream(void *context, void *connection)
{
	struct exchange *x = connection;
	(void)context;
	x->stream = NULL;
	x->ended = true;
	unpark(x);
}

static void open_stream(struct exchange *x, const struct http_response *response, int64_t now_ms)
{
	struct http_server *s = x->server;
	const union MHD_ConnectionInfo *session =
	    MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	const union MHD_ConnectionInfo *fd =
	    MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct stream_start start = {
	    .id = exchange_id(x),
	    .kind = response->kind,
	    .chunked = x->http_1_1,
	    .session = session->tls_session,
	    .fd = fd->connect_fd,
	    .connection = x,
	    .body = response->body,
	};
	buf_clear(&s->scratch);
	stream_head_print(response, x->accept, x->http_1_1, &s->scratch);
	start.head = buf_slice(&s->scratch);
	x->stream = http_stream_open(s->streams, &start, now_ms);
	if (x->stream) {
		x->told = false;
		s->inflight--;
		park(x);
	} else {
		x->refused = STATUS_OVERLOADED;
		answered(x);
	}
}

static struct http_stream *stream_find(const struct http_server *s, uint64_t id)
{
	const struct exchange *x = exchange_at(s, id);
	return x ? x->stream : NULL;
}

void http_server_stream_send(struct http_server *s, const uint64_t *streams, uint32_t count,
			     struct slice body)
{
	struct stream_message message = {.body = body};
	int64_t now_ms = clock_boot_ms();
	for (uint32_t i = 0; i < count; i++) {
		struct http_stream *st = stream_find(s, streams[i]);
		if (st)
			http_stream_send(st, &message, now_ms);
	}
	stream_message_close(&message);
}

void http_server_stream_close(struct http_server *s, uint64_t stream, uint16_t code,
			      struct slice reason)
{
	struct http_stream *st = stream_find(s, stream);
	if (st)
		http_stream_close(st, code, reason, clock_boot_ms());
}

/* ---- life ---- */

static bool start_daemon(struct http_server *s, const struct http_options *o, struct buf *problem)
{
	struct buf certificate = {0};
	struct buf key = {0};
	buf_append_slice(&certificate, o->certificate);
	buf_append_slice(&key, o->key);
	/* Every connection gets credentials of ours instead, which can be swapped; these let it
	 * start. */
	s->daemon =
	    MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_TLS | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
			     handle, s, MHD_OPTION_LISTEN_SOCKET, s->listen_fd,
			     MHD_OPTION_HTTPS_MEM_CERT, buf_cstr(&certificate),
			     MHD_OPTION_HTTPS_MEM_KEY, buf_cstr(&key), MHD_OPTION_CONNECTION_LIMIT,
			     (unsigned)o->connections_max, MHD_OPTION_CONNECTION_TIMEOUT,
			     (unsigned)o->idle_timeout_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
			     (size_t)o->connection_memory_bytes, MHD_OPTION_NOTIFY_COMPLETED,
			     completed, s, MHD_OPTION_NOTIFY_CONNECTION, connection_changed, s,
			     MHD_OPTION_URI_LOG_CALLBACK, uri_seen, s, MHD_OPTION_UNESCAPE_CALLBACK,
			     keep_escaped, s, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
	if (key.data)
		gnutls_memset(key.data, 0, key.cap);
	buf_close(&key);
	buf_close(&certificate);
	if (!s->daemon) {
		buf_append_text(problem, "the HTTP library did not start");
		return false;
	}
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	CHECK(info != NULL);
	s->epoll_fd = info->epoll_fd;
	return true;
}

struct http_server *http_server_new(const struct http_options *options, struct buf *problem)
{
	struct http_server *s = mem_alloc_zero(sizeof *s);
	s->options = *options;
	s->options.certificate = s->options.key = s->options.authority = slice_of(NULL, 0);
	s->asks_client = options->authority.len > 0;
	s->listen_fd = -1;
	struct stream_callbacks callbacks = {s, stream_message_told, stream_gone_told,
					     release_stream};
	s->streams = http_streams_new(&options->streams, &callbacks);
	s->credentials =
	    tls_credentials_new(options->certificate, options->key, options->authority, problem);
	if (s->credentials)
		s->listen_fd = http_listen(options->address, options->port, &s->port, problem);
	if (s->listen_fd >= 0 && start_daemon(s, options, problem))
		return s;
	if (s->listen_fd >= 0)
		(void)close(s->listen_fd);
	s->listen_fd = -1;
	http_server_free(s);
	return NULL;
}

bool http_server_reload(struct http_server *s, struct slice certificate, struct slice key,
			struct slice authority, struct buf *problem)
{
	if ((authority.len > 0) != s->asks_client) {
		buf_append_text(problem,
				"whether clients need certificates changes only with a restart");
		return false;
	}
	struct tls_credentials *fresh = tls_credentials_new(certificate, key, authority, problem);
	if (!fresh)
		return false;
	tls_credentials_release(s->credentials);
	s->credentials = fresh;
	return true;
}

void http_server_drain(struct http_server *s)
{
	MHD_socket fd = MHD_quiesce_daemon(s->daemon);
	if (fd != MHD_INVALID_SOCKET)
		(void)close(fd);
	s->listen_fd = -1;
	http_streams_drain(s->streams, clock_boot_ms());
}

/* libmicrohttpd must not be stopped while a connection is suspended. */
static void resume_all(struct http_server *s)
{
	for (uint32_t i = 0; i < s->slots_count; i++) {
		struct exchange *x = s->slots[i];
		if (!x->used || !x->told || !x->parked)
			continue;
		x->told = false;
		s->inflight--;
		x->refused = STATUS_DRAINING;
		s->options.callbacks.on_gone(s->options.callbacks.context, exchange_id(x));
		unpark(x);
	}
}

void http_server_free(struct http_server *s)
{
	if (!s)
		return;
	http_streams_free(s->streams);
	if (s->daemon) {
		resume_all(s);
		MHD_stop_daemon(s->daemon);
	}
	for (uint32_t i = 0; i < s->slots_count; i++) {
		buf_close(&s->slots[i]->uri);
		free(s->slots[i]);
	}
	free(s->slots);
	tls_credentials_release(s->credentials);
	buf_close(&s->headers.text);
	buf_close(&s->scratch);
	free(s);
}

/* ---- the loop ---- */

int http_server_fd(const struct http_server *s)
{
	return s->epoll_fd;
}

int http_server_stream_fd(const struct http_server *s)
{
	return http_streams_fd(s->streams);
}

void http_server_run_streams(struct http_server *s)
{
	http_streams_run(s->streams, clock_boot_ms());
}

void http_server_count_streams(const struct http_server *s, struct stream_counts *counts)
{
	http_streams_count(s->streams, counts);
}

uint16_t http_server_port(const struct http_server *s)
{
	return s->port;
}

void http_server_run(struct http_server *s)
{
	uint64_t before = s->traffic.moved;
	s->answered = false;
	(void)MHD_run(s->daemon);
	/* One run that moves nothing may be a change of state between two that do. */
	bool moved = tls_traffic_pending(&s->traffic) || s->traffic.moved != before;
	s->busy = moved || s->moved;
	s->moved = moved;
}

int http_server_timeout_ms(const struct http_server *s)
{
	MHD_UNSIGNED_LONG_LONG ms;
	if (MHD_get_timeout(s->daemon, &ms) != MHD_YES)
		return -1;
	/* It would ask again and again whether there are answers, and whether more of a handshake
	 * has come. */
	if (ms == 0 && !s->busy && !s->answered)
		return LOOK_MS;
	return ms > 60000 ? 60000 : (int)ms;
}

static void add_header(struct MHD_Response *out, struct buf *text, const struct http_field *field)
{
	buf_clear(text);
	buf_append_slice(text, field->name);
	buf_append_byte(text, 0);
	size_t at = text->len;
	buf_append_slice(text, field->value);
	buf_append_byte(text, 0);
	(void)MHD_add_response_header(out, (const char *)text->data, (const char *)text->data + at);
}

static bool has_left(const struct exchange *x)
{
	const union MHD_ConnectionInfo *fd =
	    MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct pollfd look = {.fd = fd->connect_fd, .events = POLLRDHUP};
	return poll(&look, 1, 0) > 0 && (look.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

void http_server_respond(struct http_server *s, uint64_t request,
			 const struct http_response *response)
{
	struct exchange *x = exchange_at(s, request);
	if (!x || !x->told)
		return;
	if (response->kind != HTTP_WHOLE) {
		open_stream(x, response, clock_boot_ms());
		return;
	}
	if (response->tell_if_lost && has_left(x)) {
		x->left = s->left = true;
		return;
	}
	x->watched = response->tell_if_lost;
	struct MHD_Response *out = MHD_create_response_from_buffer(
	    response->body.len, (void *)(uintptr_t)response->body.data, MHD_RESPMEM_MUST_COPY);
	CHECK(out != NULL);
	if (response->content_type.len > 0) {
		struct http_field type = {slice_text("Content-Type"), response->content_type};
		add_header(out, &s->scratch, &type);
	}
	for (uint32_t i = 0; i < response->headers_count; i++)
		add_header(out, &s->scratch, &response->headers[i]);
	x->response = out;
	x->status = response->status;
	x->answer_bytes = response->body.len;
	answered(x);
}

/* Those that wait for longer than a moment are suspended: they are not asked after then, and have
 * no time limit. Nor does libmicrohttpd look whether their clients are still there. Who has gone
 * shall not be waited for: his locks would be nobody's. */
static void look_who_waits(struct http_server *s)
{
	int64_t now_ms = clock_boot_ms();
	if (s->inflight == 0 || (!s->left && now_ms - s->looked_ms < LOOK_MS))
		return;
	s->looked_ms = now_ms;
	s->left = false;
	for (uint32_t i = 0; i < s->slots_count; i++) {
		struct exchange *x = s->slots[i];
		if (!x->used || !x->told)
			continue;
		if (!x->parked && !x->left) {
			park(x);
		} else if (x->left || has_left(x)) {
			x->refused = STATUS_TIMED_OUT;
			s->options.callbacks.on_gone(s->options.callbacks.context, exchange_id(x));
			answered(x);
		}
	}
}

void http_server_flush(struct http_server *s)
{
	look_who_waits(s);
	http_streams_turn(s->streams, clock_boot_ms());
	if (s->answered)
		http_server_run(s);
}

uint32_t http_server_inflight(const struct http_server *s)
{
	return s->inflight;
}

uint32_t http_server_connections(const struct http_server *s)
{
	return s->connections;
}

int64_t http_server_certificate_expiry_s(const struct http_server *s)
{
	return tls_credentials_expiry(s->credentials);
}
