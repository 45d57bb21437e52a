#include "gateway/http/api.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/run/clock.h"
#include "common/run/descriptors.h"
#include "common/run/file.h"
#include "gateway/gateway.h"
#include "gateway/http/access.h"
#include "gateway/http/fetch.h"
#include "gateway/http/mhd.h"

enum {
	PEM_BYTES = 1024 * 1024,
	CONNECTION_MEMORY_BYTES = 32 * 1024,
	IDLE_RUN_MS = 1000,
	STREAM_CLOSE_MS = 3000,
	SPARE_DESCRIPTORS = 256,
	TRIM_CONNECTIONS = 1000
};

/* In the ids that the core is told of what came to the couch listener: those of two servers must
 * differ. Their own don't reach this bit. */
#define COUCH_MARK (UINT64_C(1) << 61)

struct http_listener {
	struct http_api *api;
	const char *name;
	struct http_server *server; /* NULL: not configured */
	uint64_t mark;
	enum dialect dialect;
};

enum { LISTENERS = 2 };

struct http_api {
	struct daemon *daemon;
	struct http_listener listeners[LISTENERS]; /* api, couch */
	struct fetcher *fetcher;
	struct http_access *access;
	int64_t run_ms;     /* timeouts of connections are seen only when it runs */
	uint32_t closed;    /* connections since memory was given back */
	uint32_t open;      /* streams then */
	struct buf streams; /* scratch: their ids */
	bool draining;
};

struct pem_files {
	struct buf certificate;
	struct buf key;
	struct buf authority;
};

static void pem_close(struct pem_files *pem)
{
	if (pem->key.data)
		explicit_bzero(pem->key.data, pem->key.cap);
	buf_close(&pem->certificate);
	buf_close(&pem->key);
	buf_close(&pem->authority);
}

static bool pem_read(const struct daemon *d, struct pem_files *pem, struct buf *problem)
{
	const struct config *c = daemon_config(d);
	return file_read(config_text(c, "tls_cert"), PEM_BYTES, &pem->certificate, problem) &&
	       file_read_secret(config_text(c, "tls_key"), PEM_BYTES, &pem->key, problem) &&
	       file_read(config_text(c, "client_ca"), PEM_BYTES, &pem->authority, problem);
}

/* ---- from the listener to the core ---- */

static void on_request(void *context, const struct http_request *request)
{
	const struct http_listener *l = context;
	struct http_request told = *request;
	struct event event = {.kind = EVENT_HTTP_REQUEST, .http = &told};
	told.id |= l->mark;
	told.connection |= told.connection ? l->mark : 0;
	told.dialect = l->dialect;
	daemon_inject(l->api->daemon, &event);
}

static bool in_pieces(void *context, const struct http_request *head)
{
	const struct http_listener *l = context;
	return l->dialect == DIALECT_COUCH && gateway_wants_pieces(head);
}

static void on_body(void *context, uint64_t request, struct slice bytes, bool last)
{
	const struct http_listener *l = context;
	struct event event = {.kind = EVENT_HTTP_BODY,
			      .http_body = {request | l->mark, bytes, last}};
	daemon_inject(l->api->daemon, &event);
}

static void on_gone(void *context, uint64_t request)
{
	const struct http_listener *l = context;
	struct event event = {.kind = EVENT_HTTP_GONE, .http_gone = request | l->mark};
	daemon_inject(l->api->daemon, &event);
}

static void on_refused(void *context, enum http_refusal why)
{
	static const enum gateway_rejection rejections[] = {
	    [HTTP_REFUSED_CERTIFICATE] = REJECT_CERTIFICATE,
	    [HTTP_REFUSED_OVERLOAD] = REJECT_OVERLOAD,
	    [HTTP_REFUSED_MALFORMED] = REJECT_MALFORMED,
	};
	const struct http_listener *l = context;
	gateway_count_rejection(daemon_core(l->api->daemon), rejections[why]);
}

static void on_closed(void *context, uint64_t connection)
{
	const struct http_listener *l = context;
	struct event event = {.kind = EVENT_HTTP_CLOSED, .http_closed = connection | l->mark};
	l->api->closed++;
	daemon_inject(l->api->daemon, &event);
}

static void on_stream_message(void *context, uint64_t stream, struct slice bytes, bool text)
{
	const struct http_listener *l = context;
	struct event event = {.kind = EVENT_STREAM_MESSAGE,
			      .stream = {.stream = stream | l->mark, .bytes = bytes, .text = text}};
	daemon_inject(l->api->daemon, &event);
}

static void on_stream_taken(void *context, uint64_t stream)
{
	const struct http_listener *l = context;
	struct event event = {.kind = EVENT_STREAM_TAKEN, .stream = {.stream = stream | l->mark}};
	daemon_inject(l->api->daemon, &event);
}

static void on_stream_gone(void *context, uint64_t stream, enum stream_end why, uint64_t queued)
{
	const struct http_listener *l = context;
	struct event event = {.kind = EVENT_STREAM_GONE, .stream = {.stream = stream | l->mark}};
	if (why == STREAM_SLOW || why == STREAM_BAD || why == STREAM_REFUSED)
		logger_printf(daemon_logger(l->api->daemon), LOG_LEVEL_WARN,
			      "stream_ended stream=%" PRIu64 " reason=%s queued_bytes=%" PRIu64,
			      stream, stream_end_names[why], queued);
	daemon_inject(l->api->daemon, &event);
}

static void on_streams(void *context)
{
	const struct http_listener *l = context;
	http_server_run_streams(l->server);
}

static void on_ready(void *context)
{
	const struct http_listener *l = context;
	l->api->run_ms = clock_boot_ms();
	http_server_run(l->server);
}

/* ---- other servers ---- */

static void on_fetched(void *context, const struct http_fetched *fetched)
{
	struct http_api *api = context;
	struct event event = {.kind = EVENT_FETCHED, .fetched = *fetched};
	daemon_inject(api->daemon, &event);
}

static void on_room(void *context, const struct http_credit *room)
{
	struct http_api *api = context;
	struct event event = {.kind = EVENT_FETCH_ROOM, .fetch_room = *room};
	daemon_inject(api->daemon, &event);
}

static void on_piece(void *context, const struct http_body *piece)
{
	struct http_api *api = context;
	struct event event = {.kind = EVENT_FETCH_PIECE, .http_body = *piece};
	daemon_inject(api->daemon, &event);
}

static void on_fetches(void *context)
{
	fetcher_run(context);
}

/* A job asks for a page and for documents at once, or gets an attachment while it sends it on: what
 * one waits for must not hold up others. */
static uint32_t fetches_max(const struct http_api *api)
{
	return 3 * gateway_limits(daemon_core(api->daemon))->replications_max;
}

/* libcurl reads it by its name, whoever else may. */
static bool replicate_key_is_secret(const struct config *c, struct buf *problem)
{
	const char *path = config_text(c, "replicate_key");
	struct buf key = {0};
	bool ok = !path[0] || file_read_secret(path, PEM_BYTES, &key, problem);
	if (key.data)
		explicit_bzero(key.data, key.cap);
	buf_close(&key);
	return ok;
}

static bool fetcher_open(struct http_api *api, struct buf *problem)
{
	const struct config *c = daemon_config(api->daemon);
	if (!replicate_key_is_secret(c, problem))
		return false;
	const struct fetch_options options = {
	    .ca = config_text(c, "replicate_ca"),
	    .cert = config_text(c, "replicate_cert"),
	    .key = config_text(c, "replicate_key"),
	    .connections_max = fetches_max(api),
	    .context = api,
	    .room = on_room,
	    .piece = on_piece,
	    .fetched = on_fetched,
	};
	api->fetcher = fetcher_new(&options, problem);
	if (api->fetcher)
		loop_add(daemon_loop(api->daemon), fetcher_fd(api->fetcher), on_fetches,
			 api->fetcher);
	return api->fetcher != NULL;
}

static void fetcher_close(struct http_api *api)
{
	if (!api->fetcher)
		return;
	loop_remove(daemon_loop(api->daemon), fetcher_fd(api->fetcher));
	fetcher_free(api->fetcher);
}

/* ---- hooks of the daemon ---- */

/* The core decides who gets in. */
static bool is_open(const struct http_listener *l)
{
	const struct config *c = daemon_config(l->api->daemon);
	return l->dialect == DIALECT_COUCH &&
	       (config_bool(c, "couch_passwords") || config_text(c, "couch_cors_origins")[0] != 0);
}

static struct http_server *open_server(struct http_listener *l, const char *address, uint64_t port,
				       struct buf *problem)
{
	struct http_api *api = l->api;
	const struct config *c = daemon_config(api->daemon);
	struct pem_files pem = {0};
	struct http_server *server = NULL;
	if (pem_read(api->daemon, &pem, problem)) {
		struct http_options options = {
		    .address = address,
		    .port = (uint16_t)port,
		    .certificate = buf_slice(&pem.certificate),
		    .key = buf_slice(&pem.key),
		    .authority = buf_slice(&pem.authority),
		    .request_bytes_max =
			gateway_limits(daemon_core(api->daemon))->request_bytes_max,
		    .bodies_bytes_max = config_number(c, "max_bodies_bytes"),
		    .connections_max = (uint32_t)config_number(c, "max_connections"),
		    .idle_timeout_s = (uint32_t)config_number(c, "idle_timeout_s"),
		    .connection_memory_bytes = CONNECTION_MEMORY_BYTES,
		    .streams =
			{
			    .streams_max = (uint32_t)config_number(c, "max_streams"),
			    .message_bytes_max = (uint32_t)config_number(c, "max_ws_message_bytes"),
			    .queue_bytes_max = config_number(c, "max_stream_queue_bytes"),
			    .total_bytes_max = config_number(c, "max_streams_bytes"),
			    .ping_ms = (uint32_t)config_number(c, "stream_ping_s") * 1000,
			    .close_ms = STREAM_CLOSE_MS,
			},
		    .certificate_optional = is_open(l),
		    .callbacks = {l, on_request, in_pieces, on_body, on_gone, on_refused, on_closed,
				  on_stream_message, on_stream_taken, on_stream_gone},
		};
		if (options.authority.len == 0)
			buf_append_text(problem, "client_ca is an empty file");
		else
			server = http_server_new(&options, problem);
	}
	pem_close(&pem);
	return server;
}

/* A connection takes one descriptor, and each listener takes as many connections. */
static void reserve_descriptors(struct http_api *api)
{
	struct daemon *d = api->daemon;
	uint64_t wanted = SPARE_DESCRIPTORS + fetches_max(api);
	for (int i = 0; i < LISTENERS; i++)
		if (api->listeners[i].server)
			wanted += config_number(daemon_config(d), "max_connections");
	descriptors_want(daemon_logger(d), wanted);
}

/* False: *problem says why. */
static bool listener_open(struct http_api *api, int index, const char *name, enum dialect dialect,
			  struct buf *problem)
{
	const struct config *c = daemon_config(api->daemon);
	struct http_listener *l = &api->listeners[index];
	char address[32], port[32];
	(void)snprintf(address, sizeof address, "%s_address", name);
	(void)snprintf(port, sizeof port, "%s_port", name);
	*l = (struct http_listener){.api = api,
				    .name = name,
				    .mark = dialect == DIALECT_COUCH ? COUCH_MARK : 0,
				    .dialect = dialect};
	if (config_number(c, port) == 0)
		return true;
	l->server = open_server(l, config_text(c, address), config_number(c, port), problem);
	if (!l->server)
		return false;
	loop_add(daemon_loop(api->daemon), http_server_fd(l->server), on_ready, l);
	loop_add(daemon_loop(api->daemon), http_server_stream_fd(l->server), on_streams, l);
	logger_printf(daemon_logger(api->daemon), LOG_LEVEL_INFO,
		      "listening listener=%s address=%s port=%u", name, config_text(c, address),
		      http_server_port(l->server));
	return true;
}

static void listener_close(struct http_listener *l)
{
	if (!l->server)
		return;
	loop_remove(daemon_loop(l->api->daemon), http_server_stream_fd(l->server));
	loop_remove(daemon_loop(l->api->daemon), http_server_fd(l->server));
	http_server_free(l->server);
}

bool http_api_setup(struct daemon *d, struct buf *problem)
{
	struct http_api *api = mem_alloc_zero(sizeof *api);
	api->daemon = d;
	bool ok = listener_open(api, 0, "api", DIALECT_NATIVE, problem) &&
		  listener_open(api, 1, "couch", DIALECT_COUCH, problem) &&
		  fetcher_open(api, problem);
	if (!ok) {
		for (int i = 0; i < LISTENERS; i++)
			listener_close(&api->listeners[i]);
		free(api);
		return false;
	}
	api->access = http_access_open(d);
	daemon_set_user(d, api);
	reserve_descriptors(api);
	return true;
}

void http_api_teardown(struct daemon *d)
{
	struct http_api *api = daemon_user(d);
	if (!api)
		return;
	for (int i = 0; i < LISTENERS; i++)
		listener_close(&api->listeners[i]);
	fetcher_close(api);
	http_access_close(api->access);
	buf_close(&api->streams);
	free(api);
}

/* Whose request, or stream, that is; NULL: none that listens. */
static struct http_server *server_of(struct http_api *api, uint64_t id)
{
	return api->listeners[id & COUCH_MARK ? 1 : 0].server;
}

/* Those of each listener, by the names that it knows. */
static void send_streams(struct http_api *api, const struct effect *effect)
{
	const uint64_t *all = effect->stream_send.streams;
	for (int i = 0; i < LISTENERS; i++) {
		const struct http_listener *l = &api->listeners[i];
		buf_clear(&api->streams);
		for (uint32_t k = 0; k < effect->stream_send.count; k++) {
			uint64_t id = all[k] & ~COUCH_MARK;
			if ((all[k] & COUCH_MARK) == l->mark)
				buf_append(&api->streams, &id, sizeof id);
		}
		uint32_t count = (uint32_t)(api->streams.len / sizeof(uint64_t));
		if (l->server && count > 0)
			http_server_stream_send(l->server, (const uint64_t *)api->streams.data,
						count, effect->stream_send.body);
	}
}

void http_api_respond(struct daemon *d, const struct effect *effect)
{
	struct http_api *api = daemon_user(d);
	struct http_server *server;
	if (!api)
		return;
	if (effect->kind == EFFECT_PASSWORD) {
		http_access_hash(api->access, &effect->password);
	} else if (effect->kind == EFFECT_RESPOND) {
		server = server_of(api, effect->respond.request);
		if (server)
			http_server_respond(server, effect->respond.request & ~COUCH_MARK,
					    &effect->respond.response);
	} else if (effect->kind == EFFECT_BODY_CREDIT) {
		server = server_of(api, effect->body_credit.request);
		if (server)
			http_server_body_credit(server, effect->body_credit.request & ~COUCH_MARK,
						effect->body_credit.bytes);
	} else if (effect->kind == EFFECT_STREAM_SEND) {
		send_streams(api, effect);
	} else if (effect->kind == EFFECT_STREAM_CLOSE) {
		server = server_of(api, effect->stream_close.stream);
		if (server)
			http_server_stream_close(server, effect->stream_close.stream & ~COUCH_MARK,
						 effect->stream_close.code,
						 effect->stream_close.reason);
	} else if (effect->kind == EFFECT_FETCH) {
		fetcher_start(api->fetcher, &effect->fetch);
	} else if (effect->kind == EFFECT_FETCH_BODY) {
		fetcher_give(api->fetcher, effect->fetch.id, effect->fetch.body);
	} else if (effect->kind == EFFECT_FETCH_MORE) {
		fetcher_more(api->fetcher, effect->fetch.id);
	} else if (effect->kind == EFFECT_FETCH_END) {
		fetcher_end(api->fetcher, effect->fetch.id);
	}
}

/* Of all listeners. */
static uint32_t count_streams(const struct http_api *api, struct stream_counts *sum)
{
	uint32_t connections = 0;
	*sum = (struct stream_counts){0};
	for (int i = 0; i < LISTENERS; i++) {
		struct stream_counts one;
		if (!api->listeners[i].server)
			continue;
		http_server_count_streams(api->listeners[i].server, &one);
		connections += http_server_connections(api->listeners[i].server);
		sum->open += one.open;
		sum->websockets += one.websockets;
		sum->bytes += one.bytes;
		for (int k = 0; k < STREAM_ENDS; k++)
			sum->ended[k] += one.ended[k];
	}
	return connections;
}

void http_api_metrics(struct daemon *d, struct buf *out)
{
	struct http_api *api = daemon_user(d);
	struct stream_counts counts;
	if (!api)
		return;
	buf_printf(out, "parley_http_connections %u\n", count_streams(api, &counts));
	buf_printf(out, "parley_streams{kind=\"websocket\"} %u\n", counts.websockets);
	buf_printf(out, "parley_streams{kind=\"events\"} %u\n", counts.open - counts.websockets);
	buf_printf(out, "parley_streams_held_bytes %" PRIu64 "\n", counts.bytes);
	for (int i = 0; i < STREAM_ENDS; i++)
		buf_printf(out, "parley_streams_ended_total{reason=\"%s\"} %" PRIu64 "\n",
			   stream_end_names[i], counts.ended[i]);
}

/* What beginnings and ends of connections leave is free, but lies between what lives on. */
static void give_memory_back(struct http_api *api)
{
	struct stream_counts counts;
	(void)count_streams(api, &counts);
	if (counts.open < api->open) /* ends are counted as closed connections */
		api->open = counts.open;
	if (api->closed + counts.open - api->open < TRIM_CONNECTIONS)
		return;
	api->closed = 0;
	api->open = counts.open;
	(void)malloc_trim(0);
}

void http_api_turn_end(struct daemon *d)
{
	struct http_api *api = daemon_user(d);
	if (!api)
		return;
	bool idle = clock_boot_ms() - api->run_ms >= IDLE_RUN_MS;
	for (int i = 0; i < LISTENERS; i++) {
		struct http_listener *l = &api->listeners[i];
		if (!l->server)
			continue;
		http_server_flush(l->server);
		if (idle)
			on_ready(l);
		if (http_server_timeout_ms(l->server) == 0) {
			on_ready(l);
			daemon_again(d);
		}
	}
	give_memory_back(api);
}

void http_api_reload(struct daemon *d)
{
	struct http_api *api = daemon_user(d);
	struct pem_files pem = {0};
	struct buf problem = {0};
	bool ok = api && pem_read(d, &pem, &problem) && pem.authority.len > 0;
	for (int i = 0; ok && i < LISTENERS; i++)
		ok = !api->listeners[i].server ||
		     http_server_reload(api->listeners[i].server, buf_slice(&pem.certificate),
					buf_slice(&pem.key), buf_slice(&pem.authority), &problem);
	ok = ok && http_access_secrets(d, daemon_core(d), &problem);
	if (!ok)
		logger_printf(daemon_logger(d), LOG_LEVEL_ERROR,
			      "reload_failed what=api_tls reason=\"%s\"", buf_cstr(&problem));
	pem_close(&pem);
	buf_close(&problem);
}

bool http_api_drained(struct daemon *d)
{
	struct http_api *api = daemon_user(d);
	if (!api)
		return true;
	uint32_t inflight = 0;
	for (int i = 0; i < LISTENERS; i++) {
		struct http_server *server = api->listeners[i].server;
		if (server && !api->draining)
			http_server_drain(server);
		inflight += server ? http_server_inflight(server) : 0;
	}
	api->draining = true;
	struct stream_counts counts;
	(void)count_streams(api, &counts);
	return inflight == 0 && counts.open == 0 && gateway_has_left(daemon_core(d));
}
