/* Requests: their table, from the first line to the end of the answer, as libmicrohttpd calls. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "gateway/http/mhd_private.h"

enum { SLOT_BITS = 24, SLOTS_FIRST = 64 };

/* ---- the table ---- */

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
	x->server->answers_bytes -= x->answer_bytes;
	if (x->response)
		MHD_destroy_response(x->response);
	x->response = NULL;
	x->used = false;
	x->next_free = x->server->free;
	x->server->free = x;
}

uint64_t exchange_id(const struct exchange *x)
{
	return (uint64_t)x->generation << SLOT_BITS | x->slot;
}

struct exchange *exchange_at(const struct http_server *s, uint64_t id)
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

/* libmicrohttpd drops the body of an answer that HTTP has no place for one in. */
static bool has_body(const struct exchange *x, int status, size_t len)
{
	return len > 0 && x->method != HTTP_HEAD && status != MHD_HTTP_NO_CONTENT &&
	       status != MHD_HTTP_NOT_MODIFIED;
}

/* The headers wait for the body, if one follows, and leave with it. */
static enum MHD_Result queue(struct exchange *x, int status, struct MHD_Response *response,
			     size_t len)
{
	struct client *client = client_of(x->connection);
	if (client)
		client->transport.hold = has_body(x, status, len);
	return MHD_queue_response(x->connection, (unsigned)status, response);
}

/* Who has left, or comes while all ends, was not refused for anything. */
static void tell_refusal(const struct exchange *x)
{
	const struct http_callbacks *to = &x->server->options.callbacks;
	if (x->refused == STATUS_CERTIFICATE_REQUIRED)
		to->on_refused(to->context, HTTP_REFUSED_CERTIFICATE);
	else if (x->refused == STATUS_OVERLOADED)
		to->on_refused(to->context, HTTP_REFUSED_OVERLOAD);
	else if (x->refused == STATUS_BAD_MESSAGE)
		to->on_refused(to->context, HTTP_REFUSED_MALFORMED);
}

static enum MHD_Result answer_refusal(struct exchange *x)
{
	bool certificate = x->refused == STATUS_CERTIFICATE_REQUIRED;
	struct MHD_Response *response = refusal(x->refused);
	tell_refusal(x);
	int status = x->refused_status ? x->refused_status : status_row(x->refused)->http;
	/* a stranger has no further business here, and after an unclear end nobody knows what is
	 * next
	 */
	if (certificate || x->unclear)
		(void)MHD_add_response_header(response, "Connection", "close");
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

static struct http_request request_of(struct exchange *x, bool websocket)
{
	const struct client *client = client_of(x->connection);
	const struct header_list *list = &x->server->headers;
	size_t path = 0;
	while (path < x->uri.len && x->uri.data[path] != '?')
		path++;
	size_t query = path < x->uri.len ? path + 1 : path;
	return (struct http_request){
	    .id = exchange_id(x),
	    .method = x->method,
	    .path = slice_of(x->uri.data, path),
	    .query = slice_of(x->uri.data + query, x->uri.len - query),
	    .headers = list->fields,
	    .headers_count = list->count,
	    .body = x->too_large ? slice_of(NULL, 0) : buf_slice(&x->body),
	    .body_too_large = x->too_large,
	    .in_pieces = x->pieces,
	    .websocket = websocket,
	    .connection = client ? client->id : 0,
	    .principal = client ? slice_text(client->principal) : slice_of(NULL, 0),
	    .roles = client && client->verified ? client->roles : 0,
	    .address =
		client ? slice_of(client->address, client->address_bytes) : slice_of(NULL, 0),
	};
}

static void tell(struct exchange *x, const struct http_request *request)
{
	struct http_server *s = x->server;
	struct client *client = client_of(x->connection);
	if (client)
		client->told = true;
	x->told = true;
	s->inflight++;
	s->options.callbacks.on_request(s->options.callbacks.context, request);
	body_drop(x);
}

/* False: there are more than are taken. */
static bool read_headers(struct exchange *x)
{
	struct header_list *list = &x->server->headers;
	header_list_read(list, x->connection,
			 4 * (size_t)x->server->options.connection_memory_bytes);
	return !list->overflow;
}

static void tell_request(struct exchange *x)
{
	bool websocket;
	if (!read_headers(x))
		/* A precondition may be among those that did not fit: it must not be lost. */
		x->refused = STATUS_BAD_MESSAGE;
	if (x->refused || !check_handshake(x, &x->server->headers, &websocket))
		return;
	struct http_request request = request_of(x, websocket);
	tell(x, &request);
}

/* ---- a request in pieces ---- */

static void begin_pieces(struct exchange *x)
{
	const struct http_callbacks *to = &x->server->options.callbacks;
	bool could = x->method == HTTP_PUT || x->method == HTTP_POST;
	if (!could || x->refused || !to->in_pieces || !read_headers(x))
		return;
	struct http_request head = request_of(x, false);
	x->pieces = head.in_pieces = to->in_pieces(to->context, &head);
	if (x->pieces)
		tell(x, &head);
}

/* libmicrohttpd takes no answer before a body's end. */
static enum MHD_Result pass_over(struct exchange *x, size_t *len)
{
	x->passed += *len;
	*len = 0;
	return x->passed <= HTTP_PASSED_MAX ? MHD_YES : MHD_NO;
}

static enum MHD_Result take_piece(struct exchange *x, const char *data, size_t *len)
{
	const struct http_callbacks *to = &x->server->options.callbacks;
	if (!x->told)
		return pass_over(x, len);
	if (x->credit > 0) {
		size_t bytes = *len;
		*len = 0;
		x->credit -= (int64_t)bytes;
		to->on_body(to->context, exchange_id(x), slice_of(data, bytes), false);
	}
	if (x->credit <= 0)
		exchange_park(x);
	return MHD_YES;
}

/* Its end has come. */
static void end_pieces(struct exchange *x)
{
	const struct http_callbacks *to = &x->server->options.callbacks;
	if (!x->told || x->whole)
		return;
	if (!x->wanted) {
		exchange_park(x);
		return;
	}
	x->whole = true;
	to->on_body(to->context, exchange_id(x), slice_of(NULL, 0), true);
}

void http_server_body_credit(struct http_server *s, uint64_t request, uint32_t bytes)
{
	struct exchange *x = exchange_at(s, request);
	if (!x || !x->told || !x->pieces || x->whole)
		return;
	x->wanted = true;
	x->credit += bytes;
	if (x->credit > 0)
		exchange_unpark(x);
}

/* ---- libmicrohttpd calls ---- */

/* libmicrohttpd 0.9 keeps a request's line as it came: the version stands right behind the address,
 * unless that was cut at a NUL. Where another one keeps it elsewhere, this says nothing. */
static bool address_is_cut(const struct exchange *x, const char *version)
{
	uintptr_t gap = (uintptr_t)version - (uintptr_t)x->uri_end;
	return gap > 1 && gap < x->server->options.connection_memory_bytes;
}

static enum MHD_Result begin(struct exchange *x, const char *method, const char *version)
{
	const struct head_place at = {method, version, x->server->options.connection_memory_bytes};
	x->begun = true;
	x->http_1_1 = strcmp(version, MHD_HTTP_VERSION_1_1) == 0;
	x->method = http_method_of(method);
	if (address_is_cut(x, version) || !head_is_clear(x->connection, &at, x->http_1_1)) {
		x->unclear = true;
		x->refused = STATUS_BAD_MESSAGE;
		return answer_refusal(x); /* what follows is not read */
	}
	if (client_allowed(x->server, x->connection))
		client_wait(client_of(x->connection));
	else
		x->refused = STATUS_CERTIFICATE_REQUIRED;
	begin_pieces(x);
	return MHD_YES;
}

/* Who brings most gives way to who brings less: else a few that are slow, and perhaps nobody, would
 * keep all others out. */
static bool make_room(struct exchange *x, size_t len)
{
	struct http_server *s = x->server;
	while (len > s->options.bodies_bytes_max - s->bodies_bytes) {
		struct exchange *most = x;
		for (uint32_t i = 0; i < s->slots_count; i++)
			if (s->slots[i]->body.len > most->body.len + (most == x ? len : 0))
				most = s->slots[i];
		most->refused = STATUS_OVERLOADED;
		body_drop(most);
		if (most == x)
			return false;
	}
	return true;
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
	if (!make_room(x, len))
		return;
	buf_append(&x->body, data, len);
	s->bodies_bytes += len;
}

enum MHD_Result exchange_handle(void *context, struct MHD_Connection *connection, const char *url,
				const char *method, const char *version, const char *upload,
				size_t *upload_len, void **at)
{
	struct http_server *s = context;
	struct exchange *x = *at;
	(void)url;
	if (!x || x->ended)
		return MHD_NO;
	if (x->told && (!x->pieces || x->whole))
		return MHD_YES;
	s->traffic.moved++;
	if (!x->begun)
		return begin(x, method, version);
	if (*upload_len > 0 && !x->refused)
		client_paid(client_of(connection), *upload_len);
	if (*upload_len > 0 && x->pieces)
		return take_piece(x, upload, upload_len);
	if (*upload_len > 0) {
		take_upload(x, upload, *upload_len);
		*upload_len = 0;
		return MHD_YES;
	}
	if (x->response)
		return queue(x, x->status, x->response, x->answer_bytes);
	if (x->pieces && !x->refused)
		end_pieces(x);
	else if (!x->refused)
		tell_request(x);
	return x->refused ? answer_refusal(x) : MHD_YES;
}

/* The first that is known of a request: its address as it was sent. */
void *exchange_begins(void *context, const char *uri, struct MHD_Connection *connection)
{
	struct exchange *x = exchange_take(context);
	struct client *client = client_of(connection);
	if (client)
		client->exchange = x;
	x->connection = connection;
	buf_append_text(&x->uri, uri);
	x->uri_end = uri + x->uri.len;
	return x;
}

/* Paths are decoded by the core, once. */
size_t exchange_keep_escaped(void *context, struct MHD_Connection *connection, char *text)
{
	(void)context;
	(void)connection;
	return strlen(text);
}

void exchange_completed(void *context, struct MHD_Connection *connection, void **at,
			enum MHD_RequestTerminationCode why)
{
	struct http_server *s = context;
	struct exchange *x = *at;
	struct client *client = client_of(connection);
	if (!x)
		return;
	*at = NULL;
	if (client)
		client->exchange = NULL;
	client_wait(client);
	bool lost = x->watched && why != MHD_REQUEST_TERMINATED_COMPLETED_OK;
	if (x->told)
		s->inflight--;
	if (x->told || lost)
		s->options.callbacks.on_gone(s->options.callbacks.context, exchange_id(x));
	x->told = false;
	exchange_release(x);
}
