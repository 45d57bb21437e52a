/* The table of requests: from arrival to answer. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "gateway/arbiter.h"
#include "gateway/call.h"
#include "gateway/carry.h"
#include "gateway/couch/auth.h"
#include "gateway/couch/couch.h"
#include "gateway/couch/rules.h"
#include "gateway/graph_read.h"
#include "gateway/http_answer.h"
#include "gateway/intake.h"
#include "gateway/lock.h"
#include "gateway/notify/notify.h"
#include "gateway/routes.h"
#include "gateway/script_runs.h"
#include "gateway/url.h"

enum { SPARE_MAX = 1024, TRACEPARENT_BYTES = 55, KEPT_BYTES_MAX = 256 << 20 };

static struct request *request_take(struct gateway *gw, uint64_t id)
{
	struct request *r = gw->spare;
	if (r) {
		gw->spare = r->next;
		gw->spare_count--;
	} else {
		r = mem_alloc_zero(sizeof *r);
	}
	struct arena arena = r->arena;
	*r = (struct request){.id = id, .arena = arena};
	r->deadline.kind = TIMER_REQUEST;
	map_put_u64(&gw->requests, id, r);
	return r;
}

struct slice request_header(const struct request *r, const char *name)
{
	for (uint32_t i = 0; i < r->http->headers_count; i++)
		if (slice_is(r->http->headers[i].name, name))
			return r->http->headers[i].value;
	return slice_of(NULL, 0);
}

bool request_parameter(const struct request *r, const char *name, struct slice *value)
{
	for (uint32_t i = 0; i < r->parameters_count; i++) {
		if (!slice_is(r->parameters[i].name, name))
			continue;
		*value = r->parameters[i].value;
		return true;
	}
	return false;
}

bool request_flag(const struct request *r, const char *name)
{
	struct slice value;
	return request_parameter(r, name, &value) && value.len > 0 && !slice_is(value, "false") &&
	       !slice_is(value, "0") && !slice_is(value, "null");
}

static bool request_id_safe(struct slice text)
{
	if (text.len == 0 || text.len > REQUEST_ID_BYTES)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.data[i];
		bool word =
		    (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
		if (!word && (c == 0 || !strchr("-_.:/+=", c)))
			return false;
	}
	return true;
}

static void take_request_id(struct turn *t, struct request *r)
{
	struct slice given = request_header(r, "x-request-id");
	if (request_id_safe(given)) {
		r->request_id = arena_copy(&r->arena, given);
		return;
	}
	uint8_t random[16];
	rng_fill(&t->gw->rng, random, sizeof random);
	buf_clear(&t->gw->scratch);
	buf_append_hex(&t->gw->scratch, random, sizeof random);
	r->request_id = arena_copy(&r->arena, buf_slice(&t->gw->scratch));
}

static int lower_hex(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* W3C: version-trace id-parent id-flags; anything else is left out, as the specification asks. */
static void take_trace_id(struct request *r)
{
	struct slice text = request_header(r, "traceparent");
	uint8_t id[16];
	if (text.len < TRACEPARENT_BYTES || text.data[2] != '-' || text.data[35] != '-')
		return;
	for (size_t i = 0; i < sizeof id; i++) {
		int high = lower_hex(text.data[3 + 2 * i]);
		int low = lower_hex(text.data[4 + 2 * i]);
		if (high < 0 || low < 0)
			return;
		id[i] = (uint8_t)(high << 4 | low);
	}
	memcpy(r->trace_id, id, sizeof id);
}

static bool take_parameters(struct request *r, struct problem *problem)
{
	struct slice rest = arena_copy(&r->arena, r->http->query);
	struct http_field pair;
	if (rest.len == 0)
		return true;
	r->parameters = arena_alloc(&r->arena, PARAMETERS_MAX * sizeof *r->parameters);
	while (url_parameter_next(&rest, &pair)) {
		struct http_field *to = &r->parameters[r->parameters_count];
		if (r->parameters_count == PARAMETERS_MAX)
			return problem_limit(problem, STATUS_BAD_PARAMETER, "parameters",
					     PARAMETERS_MAX, PARAMETERS_MAX + 1);
		if (!url_decode(pair.name, true, &r->arena, &to->name) ||
		    !url_decode(pair.value, true, &r->arena, &to->value))
			return problem_detail(problem, STATUS_BAD_PARAMETER, "query string",
					      "A % needs two hexadecimal digits behind it.");
		r->parameters_count++;
	}
	return true;
}

static bool starts_with(struct slice text, const char *start)
{
	size_t len = strlen(start);
	return text.len >= len && memcmp(text.data, start, len) == 0;
}

/* Those that wait for a lock, for changes or for conflicts keep nobody busy. */
static uint64_t idle_requests(const struct gateway *gw)
{
	return lock_waiting(gw) + gw->feeds_open + gw->arbiters->waiting_count;
}

/* Whoever looks after an overloaded cluster must get through. */
static bool admitted(struct turn *t, const struct request *r)
{
	struct gateway *gw = t->gw;
	if (starts_with(r->http->path, "/_/") || starts_with(r->http->path, "/system."))
		return true;
	uint64_t under_way = gw->requests.count - 1 - idle_requests(gw);
	return admission_admit(&gw->admission, under_way, gw->options.limits.inflight_max,
			       t->now_ms);
}

static bool check_bounds(struct turn *t, struct request *r, struct problem *problem)
{
	const struct gateway_limits *limits = &t->gw->options.limits;
	size_t uri = r->http->path.len + r->http->query.len;
	if (t->gw->draining) {
		t->gw->metrics.rejected[REJECT_DRAINING]++;
		return problem_set(problem, STATUS_DRAINING, "");
	}
	uint64_t inflight = t->gw->requests.count - t->gw->feeds_open;
	if (inflight > limits->inflight_max) {
		t->gw->metrics.rejected[REJECT_OVERLOAD]++;
		return problem_limit(problem, STATUS_TOO_MANY_REQUESTS, "max_inflight",
				     limits->inflight_max, inflight);
	}
	if (!admitted(t, r)) {
		t->gw->metrics.rejected[REJECT_OVERLOAD]++;
		return problem_set(problem, STATUS_OVERLOADED, "");
	}
	if (uri > limits->uri_bytes_max)
		return problem_limit(problem, STATUS_URI_TOO_LONG, "max_uri_bytes",
				     limits->uri_bytes_max, uri);
	if (r->http->body_too_large || r->http->body.len > limits->request_bytes_max)
		return problem_limit(
		    problem, STATUS_BODY_TOO_LARGE, "max_request_bytes", limits->request_bytes_max,
		    r->http->body_too_large ? limits->request_bytes_max + 1ull : r->http->body.len);
	return true;
}

void request_route(struct turn *t, struct request *r)
{
	struct problem problem = {0};
	struct buf allow = {0};
	enum route_result found = route_find(r, r->http->path, &allow, &problem);
	if (found == ROUTE_OPTIONS)
		answer_options(t, r, buf_slice(&allow));
	else if (found == ROUTE_REFUSED && problem.status == STATUS_METHOD_NOT_ALLOWED)
		answer_not_allowed(t, r, buf_slice(&allow));
	else if (found == ROUTE_REFUSED || !route_allowed(r, &problem) ||
		 !take_parameters(r, &problem))
		answer_problem(t, r, &problem);
	else if (r->dialect == DIALECT_COUCH && !couch_type_allowed(r))
		couch_answer_error(t, r, COUCH_BAD_TYPE);
	else if (r->dialect == DIALECT_COUCH && !couch_body_decode(t, r, &problem))
		answer_problem(t, r, &problem);
	else if (r->dialect == DIALECT_COUCH)
		couch_permit(t, r);
	else
		r->route->handler(t, r);
	buf_close(&allow);
}

bool request_keep(struct gateway *gw, struct request *r)
{
	const struct http_request *from = r->http;
	if (r->kept || !from)
		return true;
	if (from->body.len > KEPT_BYTES_MAX - gw->kept_bytes)
		return false;
	struct http_request *to = arena_alloc(&r->arena, sizeof *to);
	struct http_field *headers =
	    arena_alloc(&r->arena, (from->headers_count + 1) * sizeof *headers);
	*to = *from;
	to->path = arena_copy(&r->arena, from->path);
	to->query = arena_copy(&r->arena, from->query);
	to->body = arena_copy(&r->arena, from->body);
	to->principal = arena_copy(&r->arena, from->principal);
	to->address = arena_copy(&r->arena, from->address);
	for (uint32_t i = 0; i < from->headers_count; i++) {
		headers[i].name = arena_copy(&r->arena, from->headers[i].name);
		headers[i].value = arena_copy(&r->arena, from->headers[i].value);
	}
	to->headers = headers;
	r->http = to;
	r->kept = true;
	gw->kept_bytes += to->body.len;
	return true;
}

bool request_body_replace(struct gateway *gw, struct request *r, struct slice body)
{
	if (!request_keep(gw, r) || body.len > KEPT_BYTES_MAX - gw->kept_bytes)
		return false;
	struct http_request *to = arena_alloc(&r->arena, sizeof *to);
	*to = *r->http;
	to->body = arena_copy(&r->arena, body);
	gw->kept_bytes += to->body.len;
	gw->kept_bytes -= r->http->body.len;
	r->http = to;
	return true;
}

static void request_begin(struct turn *t, struct request *r, const struct http_request *http)
{
	struct problem problem = {0};
	r->http = http;
	r->dialect = http->dialect;
	r->method = http->method;
	r->started_ms = t->now_ms;
	take_request_id(t, r);
	take_trace_id(r);
	timers_set(&t->gw->timers, &r->deadline, t->now_ms + t->gw->options.limits.deadline_ms);
	bool socket = http->websocket && r->dialect == DIALECT_NATIVE &&
		      !slice_is(http->path, ARBITER_SOCKET_PATH);
	if (!check_bounds(t, r, &problem) || (socket && !route_allowed(r, &problem)))
		answer_problem(t, r, &problem);
	else if (!cors_allows(t->gw, r))
		answer_status(t, r, STATUS_FOREIGN_ORIGIN, "");
	else if (socket)
		notify_socket_open(t, r);
	else if (r->dialect == DIALECT_COUCH && !r->reply)
		couch_enter(t, r);
	else
		request_route(t, r);
	if (!r->kept)
		r->http = NULL;
}

void request_arrived(struct turn *t, const struct http_request *http)
{
	request_begin(t, request_take(t->gw, http->id), http);
}

void request_internal_as(struct turn *t, const struct http_request *http,
			 const struct couch_user *user, request_reply *reply, struct slice origin)
{
	struct request *r = request_take(t->gw, http->id);
	r->reply = reply;
	r->origin = arena_copy(&r->arena, origin);
	r->couch.user = user ? couch_user_copy(user, &r->arena) : NULL;
	request_begin(t, r, http);
}

void request_internal(struct turn *t, const struct http_request *http, request_reply *reply,
		      struct slice origin)
{
	request_internal_as(t, http, NULL, reply, origin);
}

void request_finish(struct turn *t, struct request *r)
{
	CHECK(!r->finished);
	r->finished = true;
	if (r->kept)
		t->gw->kept_bytes -= r->http->body.len;
	call_forget_all(t->gw, r);
	request_wait_end(t, r);
	lock_wait_end(t->gw, r);
	intake_end(t, r);
	carry_end(t, r);
	script_runs_end(t, r);
	couch_rules_release(t->gw, r);
	t->gw->transfers -= r->transfers;
	graph_read_end(t->gw, r);
	if (r->close)
		r->close(r);
	timers_clear(&t->gw->timers, &r->deadline);
	map_remove_u64(&t->gw->requests, r->id);
	r->next = t->gw->finished;
	t->gw->finished = r;
}

void request_deadline(struct turn *t, struct request *r)
{
	bool waited = r->wait != NULL;
	timers_clear(&t->gw->timers, &r->deadline);
	if (r->due) {
		r->due(t, r);
		return;
	}
	call_expire_all(t, r);
	if (r->finished)
		return;
	bool coordinator = waited && !member_coordinator_alive(t->gw, t->now_ms);
	answer_status(t, r, coordinator ? STATUS_COORDINATOR_UNAVAILABLE : STATUS_TIMED_OUT, "");
}

void request_gone(struct turn *t, uint64_t id)
{
	struct request *r = map_get_u64(&t->gw->requests, id);
	if (!r)
		return;
	if (r->gone)
		r->gone(t, r);
	request_finish(t, r);
}

void request_taken(struct turn *t, uint64_t id)
{
	struct request *r = map_get_u64(&t->gw->requests, id);
	if (r && r->taken)
		r->taken(t, r);
}

void request_sweep(struct gateway *gw)
{
	while (gw->finished) {
		struct request *r = gw->finished;
		gw->finished = r->next;
		if (gw->spare_count == SPARE_MAX) {
			arena_close(&r->arena);
			free(r);
			continue;
		}
		arena_reset(&r->arena);
		r->next = gw->spare;
		gw->spare = r;
		gw->spare_count++;
	}
}

void request_wait(struct turn *t, struct request *r, request_step *step)
{
	struct gateway *gw = t->gw;
	if (!r->wait) {
		r->wait_prev = NULL;
		r->wait_next = gw->waiting;
		if (gw->waiting)
			gw->waiting->wait_prev = r;
		gw->waiting = r;
	}
	r->wait = step;
}

void request_wait_end(struct turn *t, struct request *r)
{
	if (!r->wait)
		return;
	r->wait = NULL;
	if (r->wait_prev)
		r->wait_prev->wait_next = r->wait_next;
	else
		t->gw->waiting = r->wait_next;
	if (r->wait_next)
		r->wait_next->wait_prev = r->wait_prev;
}

void request_map_changed(struct turn *t)
{
	struct request *next;
	for (struct request *r = t->gw->waiting; r; r = next) {
		next = r->wait_next;
		r->wait(t, r);
	}
}
