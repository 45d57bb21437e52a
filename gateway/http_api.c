#include "gateway/http_api.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "common/base/memory.h"
#include "common/run/clock.h"
#include "common/run/file.h"
#include "gateway/gateway.h"
#include "gateway/http_mhd.h"

enum {
	PEM_BYTES = 1024 * 1024,
	CONNECTION_MEMORY_BYTES = 32 * 1024,
	IDLE_RUN_MS = 1000,
	STREAM_CLOSE_MS = 3000,
	SPARE_DESCRIPTORS = 256,
	TRIM_CONNECTIONS = 1000
};

struct http_api {
	struct daemon *daemon;
	struct http_server *server;
	int64_t run_ms;  /* timeouts of connections are seen only when it runs */
	uint32_t closed; /* connections since memory was given back */
	uint32_t open;   /* streams then */
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
	struct http_api *api = context;
	struct event event = {.kind = EVENT_HTTP_REQUEST, .http = request};
	daemon_inject(api->daemon, &event);
}

static void on_gone(void *context, uint64_t request)
{
	struct http_api *api = context;
	struct event event = {.kind = EVENT_HTTP_GONE, .http_gone = request};
	daemon_inject(api->daemon, &event);
}

static void on_refused(void *context, enum http_refusal why)
{
	struct http_api *api = context;
	bool certificate = why == HTTP_REFUSED_CERTIFICATE;
	gateway_count_rejection(daemon_core(api->daemon),
				certificate ? REJECT_CERTIFICATE : REJECT_OVERLOAD);
}

static void on_closed(void *context, uint64_t connection)
{
	struct http_api *api = context;
	struct event event = {.kind = EVENT_HTTP_CLOSED, .http_closed = connection};
	api->closed++;
	daemon_inject(api->daemon, &event);
}

static void on_stream_message(void *context, uint64_t stream, struct slice bytes, bool text)
{
	struct http_api *api = context;
	struct event event = {.kind = EVENT_STREAM_MESSAGE,
			      .stream = {.stream = stream, .bytes = bytes, .text = text}};
	daemon_inject(api->daemon, &event);
}

static void on_stream_gone(void *context, uint64_t stream, enum stream_end why, uint64_t queued)
{
	struct http_api *api = context;
	struct event event = {.kind = EVENT_STREAM_GONE, .stream = {.stream = stream}};
	if (why == STREAM_SLOW || why == STREAM_BAD || why == STREAM_REFUSED)
		logger_printf(daemon_logger(api->daemon), LOG_LEVEL_WARN,
			      "stream_ended stream=%" PRIu64 " reason=%s queued_bytes=%" PRIu64,
			      stream, stream_end_names[why], queued);
	daemon_inject(api->daemon, &event);
}

static void on_streams(void *context)
{
	struct http_api *api = context;
	http_server_run_streams(api->server);
}

static void on_ready(void *context)
{
	struct http_api *api = context;
	api->run_ms = clock_boot_ms();
	http_server_run(api->server);
}

/* ---- hooks of the daemon ---- */

static struct http_server *open_server(struct http_api *api, struct buf *problem)
{
	const struct config *c = daemon_config(api->daemon);
	struct pem_files pem = {0};
	struct http_server *server = NULL;
	if (pem_read(api->daemon, &pem, problem)) {
		struct http_options options = {
		    .address = config_text(c, "api_address"),
		    .port = (uint16_t)config_number(c, "api_port"),
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
		    .callbacks = {api, on_request, on_gone, on_refused, on_closed,
				  on_stream_message, on_stream_gone},
		};
		if (options.authority.len == 0)
			buf_append_text(problem, "client_ca is an empty file");
		else
			server = http_server_new(&options, problem);
	}
	pem_close(&pem);
	return server;
}

/* A connection takes one descriptor. */
static void reserve_descriptors(struct daemon *d)
{
	uint64_t wanted =
	    config_number(daemon_config(d), "max_connections") + (uint64_t)SPARE_DESCRIPTORS;
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
		return;
	limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted)
		logger_printf(daemon_logger(d), LOG_LEVEL_WARN,
			      "descriptors_short limit=%llu wanted=%llu",
			      (unsigned long long)limit.rlim_cur, (unsigned long long)wanted);
}

bool http_api_setup(struct daemon *d, struct buf *problem)
{
	struct http_api *api = mem_alloc_zero(sizeof *api);
	api->daemon = d;
	api->server = open_server(api, problem);
	if (!api->server) {
		free(api);
		return false;
	}
	daemon_set_user(d, api);
	reserve_descriptors(d);
	loop_add(daemon_loop(d), http_server_fd(api->server), on_ready, api);
	loop_add(daemon_loop(d), http_server_stream_fd(api->server), on_streams, api);
	logger_printf(daemon_logger(d), LOG_LEVEL_INFO, "listening listener=api address=%s port=%u",
		      config_text(daemon_config(d), "api_address"), http_server_port(api->server));
	return true;
}

void http_api_teardown(struct daemon *d)
{
	struct http_api *api = daemon_user(d);
	if (!api)
		return;
	loop_remove(daemon_loop(d), http_server_stream_fd(api->server));
	loop_remove(daemon_loop(d), http_server_fd(api->server));
	http_server_free(api->server);
	free(api);
}

void http_api_respond(struct daemon *d, const struct effect *effect)
{
	struct http_api *api = daemon_user(d);
	if (!api)
		return;
	if (effect->kind == EFFECT_RESPOND)
		http_server_respond(api->server, effect->respond.request,
				    &effect->respond.response);
	else if (effect->kind == EFFECT_STREAM_SEND)
		http_server_stream_send(api->server, effect->stream_send.streams,
					effect->stream_send.count, effect->stream_send.body);
	else if (effect->kind == EFFECT_STREAM_CLOSE)
		http_server_stream_close(api->server, effect->stream_close.stream,
					 effect->stream_close.code, effect->stream_close.reason);
}

void http_api_metrics(struct daemon *d, struct buf *out)
{
	struct http_api *api = daemon_user(d);
	struct stream_counts counts;
	if (!api)
		return;
	http_server_count_streams(api->server, &counts);
	buf_printf(out, "parley_http_connections %u\n", http_server_connections(api->server));
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
	http_server_count_streams(api->server, &counts);
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
	http_server_flush(api->server);
	if (clock_boot_ms() - api->run_ms >= IDLE_RUN_MS)
		on_ready(api);
	if (http_server_timeout_ms(api->server) == 0) {
		on_ready(api);
		daemon_again(d);
	}
	give_memory_back(api);
}

void http_api_reload(struct daemon *d)
{
	struct http_api *api = daemon_user(d);
	struct pem_files pem = {0};
	struct buf problem = {0};
	bool ok = api && pem_read(d, &pem, &problem) && pem.authority.len > 0 &&
		  http_server_reload(api->server, buf_slice(&pem.certificate), buf_slice(&pem.key),
				     buf_slice(&pem.authority), &problem);
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
	if (!api->draining)
		http_server_drain(api->server);
	api->draining = true;
	struct stream_counts counts;
	http_server_count_streams(api->server, &counts);
	return http_server_inflight(api->server) == 0 && counts.open == 0;
}
