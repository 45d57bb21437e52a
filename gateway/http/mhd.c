/* The listener's life and loop, and what answers it is given: whole ones, and streams. */
#include "gateway/http/mhd.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/run/clock.h"
#include "gateway/http/listen.h"
#include "gateway/http/mhd_private.h"

/* ---- streams ---- */

static void stream_message_told(void *context, uint64_t stream, struct slice bytes, bool text)
{
	const struct http_callbacks *to = &((struct http_server *)context)->options.callbacks;
	to->on_stream_message(to->context, stream, bytes, text);
}

static void stream_taken_told(void *context, uint64_t stream)
{
	const struct http_callbacks *to = &((struct http_server *)context)->options.callbacks;
	to->on_stream_taken(to->context, stream);
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
	exchange_unpark(x);
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
	    .chunked = x->http_1_1 && response->length == 0,
	    .paced = response->paced,
	    .sized = response->length > 0,
	    .session = session->tls_session,
	    .fd = fd->connect_fd,
	    .connection = x,
	    .body = response->body,
	};
	buf_clear(&s->scratch);
	stream_head_print(response, x->accept, start.chunked, &s->scratch);
	start.head = buf_slice(&s->scratch);
	x->stream = http_stream_open(s->streams, &start, now_ms);
	if (x->stream) {
		x->told = false;
		s->inflight--;
		exchange_park(x);
	} else {
		x->refused = STATUS_OVERLOADED;
		exchange_answered(x);
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
	s->daemon = MHD_start_daemon(
	    MHD_USE_EPOLL | MHD_USE_TLS | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, exchange_handle,
	    s, MHD_OPTION_LISTEN_SOCKET, s->listen_fd, MHD_OPTION_HTTPS_MEM_CERT,
	    buf_cstr(&certificate), MHD_OPTION_HTTPS_MEM_KEY, buf_cstr(&key),
	    MHD_OPTION_CONNECTION_LIMIT, (unsigned)o->connections_max,
	    MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)o->idle_timeout_s,
	    MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)o->connection_memory_bytes,
	    MHD_OPTION_NOTIFY_COMPLETED, exchange_completed, s, MHD_OPTION_NOTIFY_CONNECTION,
	    client_changed, s, MHD_OPTION_URI_LOG_CALLBACK, exchange_begins, s,
	    MHD_OPTION_UNESCAPE_CALLBACK, exchange_keep_escaped, s, MHD_OPTION_STRICT_FOR_CLIENT, 1,
	    MHD_OPTION_END);
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
	struct stream_callbacks callbacks = {s, stream_message_told, stream_taken_told,
					     stream_gone_told, release_stream};
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

void http_server_free(struct http_server *s)
{
	if (!s)
		return;
	http_streams_free(s->streams);
	if (s->daemon) {
		exchanges_refuse(s);
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
		return HTTP_LOOK_MS;
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

/* Of a HEAD: nobody asks for the body. */
static ssize_t no_bytes(void *context, uint64_t at, char *out, size_t most)
{
	(void)context;
	(void)at;
	(void)out;
	(void)most;
	return MHD_CONTENT_READER_END_WITH_ERROR;
}

static struct MHD_Response *response_of(const struct exchange *x,
					const struct http_response *response)
{
	struct MHD_Response *out =
	    x->method == HTTP_HEAD && response->length > response->body.len
		? MHD_create_response_from_callback(response->length, 1024, no_bytes, NULL, NULL)
		: MHD_create_response_from_buffer(response->body.len,
						  (void *)(uintptr_t)response->body.data,
						  MHD_RESPMEM_MUST_COPY);
	CHECK(out != NULL);
	return out;
}

/* Who reads slowly, over many connections, would fill the memory with what he asks for. What was
 * only read can be asked for again; of what was done, its client must hear. */
static bool is_too_much(const struct exchange *x, size_t bytes)
{
	const struct http_server *s = x->server;
	return x->method == HTTP_GET && bytes > HTTP_ANSWER_SMALL && s->answers_bytes > 0 &&
	       s->answers_bytes + bytes > s->options.bodies_bytes_max;
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
	if (response->tell_if_lost && exchange_has_left(x)) {
		x->left = s->left = true;
		return;
	}
	if (is_too_much(x, response->body.len)) {
		x->refused = STATUS_OVERLOADED;
		exchange_answered(x);
		return;
	}
	x->watched = response->tell_if_lost;
	struct MHD_Response *out = response_of(x, response);
	if (response->content_type.len > 0) {
		struct http_field type = {slice_text("Content-Type"), response->content_type};
		add_header(out, &s->scratch, &type);
	}
	for (uint32_t i = 0; i < response->headers_count; i++)
		add_header(out, &s->scratch, &response->headers[i]);
	x->response = out;
	x->status = response->status;
	x->answer_bytes = response->body.len;
	s->answers_bytes += x->answer_bytes;
	exchange_answered(x);
}

void http_server_flush(struct http_server *s)
{
	exchanges_look(s);
	clients_look(s);
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
