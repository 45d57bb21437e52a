/* GET /_/arbiter/_stream: conflicts as Server-Sent Events, as many at a time as the client has
 * credit for. Each stream takes for itself, as a client with a long poll would; what it was given
 * counts until its lease is answered over this gateway, or has ended. */
#include "gateway/arbiter_stream.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "gateway/native.h"
#include "gateway/notify/notify.h"
#include "gateway/routes.h"
#include "gateway/url.h"
#include "proto/msgpack.h"

enum { STREAM_WAIT_MS = 20000, KEEP_ALIVE_MS = 15000 };

struct arbiter_stream *arbiter_stream_new(struct turn *t, uint64_t id, struct problem *p)
{
	struct arbiters *a = t->gw->arbiters;
	if (a->streams.count >= ARBITER_STREAMS_MAX) {
		problem_limit(p, STATUS_TOO_MANY_ARBITERS, "streams", ARBITER_STREAMS_MAX,
			      ARBITER_STREAMS_MAX + 1);
		return NULL;
	}
	struct arbiter_stream *s = mem_alloc_zero(sizeof *s);
	s->id = id;
	s->lease_ms = ARBITER_STREAM_LEASE_MS;
	s->keep_alive_ms = t->now_ms + KEEP_ALIVE_MS;
	map_put_u64(&a->streams, id, s);
	return s;
}

struct arbiter_stream *arbiter_stream_find(const struct gateway *gw, uint64_t id)
{
	return map_get_u64(&gw->arbiters->streams, id);
}

void arbiter_stream_free(struct turn *t, struct arbiter_stream *s)
{
	map_remove_u64(&t->gw->arbiters->streams, s->id);
	t->gw->arbiters->sockets -= s->is_socket;
	for (uint32_t i = 0; i < LIMIT_OFFERS; i++)
		buf_close(&s->given[i].lease);
	buf_close(&s->body);
	buf_close(&s->principal);
	free(s);
}

void arbiters_close(struct gateway *gw)
{
	struct arbiters *a = gw->arbiters;
	struct turn t = {.gw = gw};
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&a->streams, &at));)
		arbiter_stream_free(&t, e->value);
	map_close(&a->streams);
	free(a);
}

/* ---- what it was given ---- */

static uint32_t room_of(const struct arbiter_stream *s)
{
	uint32_t used = 0;
	for (uint32_t i = 0; i < LIMIT_OFFERS; i++)
		used += s->given[i].lease.len > 0;
	return used < s->credit ? s->credit - used : 0;
}

static void remember(struct turn *t, struct arbiter_stream *s, struct slice lease)
{
	for (uint32_t i = 0; i < LIMIT_OFFERS; i++) {
		if (s->given[i].lease.len > 0)
			continue;
		buf_append_slice(&s->given[i].lease, lease);
		s->given[i].until_ms = t->now_ms + (int64_t)s->lease_ms;
		s->given[i].answering = false;
		return;
	}
}

static void forget_ended(struct turn *t, struct arbiter_stream *s)
{
	for (uint32_t i = 0; i < LIMIT_OFFERS; i++)
		if (s->given[i].lease.len > 0 && s->given[i].until_ms <= t->now_ms)
			buf_clear(&s->given[i].lease);
}

struct given *arbiter_stream_given(struct arbiter_stream *s, struct slice lease)
{
	for (uint32_t i = 0; i < LIMIT_OFFERS; i++)
		if (lease.len > 0 && slice_equal(buf_slice(&s->given[i].lease), lease))
			return &s->given[i];
	return NULL;
}

void arbiter_stream_answers(struct gateway *gw, const struct arbiter_lease *lease, bool under_way)
{
	struct buf text = {0};
	size_t at = 0;
	arbiter_lease_print(lease, &text);
	for (struct map_entry *e; (e = map_next(&gw->arbiters->streams, &at));) {
		struct given *given = arbiter_stream_given(e->value, buf_slice(&text));
		if (given)
			given->answering = under_way;
	}
	buf_close(&text);
}

void arbiter_stream_lease_lasts(struct turn *t, const struct arbiter_lease *lease, uint64_t ms)
{
	struct arbiters *a = t->gw->arbiters;
	struct buf text = {0};
	size_t at = 0;
	if (a->streams.count == 0)
		return;
	arbiter_lease_print(lease, &text);
	for (struct map_entry *e; (e = map_next(&a->streams, &at));) {
		struct given *given = arbiter_stream_given(e->value, buf_slice(&text));
		if (!given)
			continue;
		given->until_ms = t->now_ms + (int64_t)ms;
		if (ms == 0)
			buf_clear(&given->lease);
	}
	a->tick_ms = t->now_ms;
	buf_close(&text);
}

/* ---- taking ---- */

/* {"lease":"...", and so on: the lease needs no escapes. */
static struct slice lease_text(struct slice line)
{
	size_t start = sizeof "{\"lease\":\"" - 1;
	size_t end = start;
	while (end < line.len && line.data[end] != '"')
		end++;
	return end > start ? slice_of(line.data + start, end - start) : slice_of(NULL, 0);
}

static void send_line(struct turn *t, struct arbiter_stream *s, struct slice line)
{
	struct buf *out = &t->gw->scratch;
	line.len -= line.data[line.len - 1] == ',';
	remember(t, s, lease_text(line));
	if (s->is_socket) {
		arbiter_socket_conflict(t, s, line);
		return;
	}
	buf_clear(out);
	buf_append_text(out, "event: conflict\ndata: ");
	buf_append_slice(out, line);
	buf_append_text(out, "\n\n");
	fx_stream_send(t->fx, &s->id, 1, buf_slice(out));
}

static void taken(struct turn *t, struct request *r, const struct reply *reply)
{
	uint64_t id = be64_read(r->origin.data);
	struct arbiter_stream *s = arbiter_stream_find(t->gw, id);
	struct slice rest = buf_slice(&reply->body);
	if (!s)
		return;
	s->request = 0;
	s->ask_ms = reply->status == 200 ? t->now_ms : t->now_ms + ARBITER_STREAM_RETRY_MS;
	t->gw->arbiters->tick_ms = t->now_ms;
	while (reply->status == 200 && rest.len > 0) {
		const uint8_t *end = memchr(rest.data, '\n', rest.len);
		size_t len = end ? (size_t)(end - rest.data) : rest.len;
		if (len > 2) /* neither bracket */
			send_line(t, s, slice_of(rest.data, len));
		rest = slice_of(rest.data + len + (end != NULL), rest.len - len - (end != NULL));
	}
}

static void stream_ask(struct turn *t, struct arbiter_stream *s, uint32_t room)
{
	struct arbiters *a = t->gw->arbiters;
	struct buf body = {0};
	struct buf origin = {0};
	buf_printf(&body, "{\"limit\":%u,\"waitMs\":%d,", room, STREAM_WAIT_MS);
	buf_append_slice(&body, buf_slice(&s->body));
	buf_append_be64(&origin, s->id);
	struct http_request http = {.id = ++a->next_request,
				    .method = HTTP_POST,
				    .path = slice_text("/_/arbiter/_take"),
				    .body = buf_slice(&body),
				    .roles = HTTP_ROLE_ARBITER};
	s->request = http.id;
	request_internal(t, &http, taken, buf_slice(&origin));
	buf_close(&body);
	buf_close(&origin);
}

void arbiter_streams_tick(struct turn *t)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&t->gw->arbiters->streams, &at));) {
		struct arbiter_stream *s = e->value;
		if (s->closing)
			continue;
		forget_ended(t, s);
		if (!s->is_socket && t->now_ms >= s->keep_alive_ms) {
			s->keep_alive_ms = t->now_ms + KEEP_ALIVE_MS;
			fx_stream_send(t->fx, &s->id, 1, slice_text(": still here\n\n"));
		}
		uint32_t room = room_of(s);
		if (s->request == 0 && room > 0 && t->now_ms >= s->ask_ms)
			stream_ask(t, s, room);
	}
}

/* ---- beginning and end ---- */

/* Its client is not there to decide: others shall, but for what it has decided. */
static void give_all_back(struct turn *t, const struct arbiter_stream *s)
{
	for (uint32_t i = 0; i < LIMIT_OFFERS; i++) {
		struct arbiter_lease lease;
		struct request scratch = {0};
		if (s->given[i].lease.len > 0 && !s->given[i].answering &&
		    arbiter_lease_parse(&scratch, buf_slice(&s->given[i].lease), &lease))
			arbiter_give_back(t, &lease, LEASE_RELEASE, 0);
		arena_close(&scratch.arena);
	}
}

void arbiters_stream_gone(struct turn *t, uint64_t stream)
{
	struct arbiter_stream *s = arbiter_stream_find(t->gw, stream);
	if (!s)
		return;
	if (s->request)
		request_gone(t, s->request);
	give_all_back(t, s);
	arbiter_stream_free(t, s);
}

void arbiters_drain(struct turn *t)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&t->gw->arbiters->streams, &at));) {
		struct arbiter_stream *s = e->value;
		if (!s->closing)
			fx_stream_close(t->fx, s->id, NOTIFY_CODE_LEAVING, "draining");
		s->closing = true;
	}
}

static bool take_number(struct turn *t, struct request *r, const char *name, uint64_t most,
			uint64_t *number, struct problem *p)
{
	struct slice value;
	if (!native_json_parameter(t, r, name, &value, p))
		return false;
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	if (value.len == 0)
		return true;
	if (token.type != MP_UINT || token.u64 == 0 || token.u64 > most)
		return problem_limit(p, STATUS_BAD_PARAMETER, name, most, token.u64);
	*number = token.u64;
	return true;
}

void arbiter_stream_wants(struct turn *t, struct arbiter_stream *s, const struct slice *names,
			  uint32_t count)
{
	buf_clear(&s->body);
	buf_printf(&s->body, "\"leaseMs\":%llu,\"collections\":[", (unsigned long long)s->lease_ms);
	for (uint32_t i = 0; i < count; i++) {
		buf_append_text(&s->body, i > 0 ? "," : "");
		json_string(names[i], &s->body);
	}
	buf_append_text(&s->body, "]}");
	s->ask_ms = t->now_ms;
	t->gw->arbiters->tick_ms = t->now_ms;
}

static bool take_parameters(struct turn *t, struct request *r, struct arbiter_stream *s,
			    struct problem *p)
{
	static const char *const known[] = {"collections", "credit", "leaseMs", NULL};
	struct slice names;
	struct slice list[ARBITER_COLLECTIONS_MAX];
	uint32_t count = 0;
	uint64_t credit = 1;
	struct slice lease_ms;
	if (!native_parameters(r, known, p) ||
	    !take_number(t, r, "credit", LIMIT_OFFERS, &credit, p) ||
	    !native_json_parameter(t, r, "leaseMs", &lease_ms, p) ||
	    !arbiter_take_ms(lease_ms, "leaseMs", &s->lease_ms, p))
		return false;
	if (!request_parameter(r, "collections", &names))
		names = slice_of(NULL, 0);
	else if (names.len == 0)
		return problem_set(p, STATUS_BAD_PARAMETER, "collections");
	while (names.len > 0) {
		const uint8_t *comma = memchr(names.data, ',', names.len);
		struct slice name =
		    slice_of(names.data, comma ? (size_t)(comma - names.data) : names.len);
		names = slice_of(names.data + name.len + (comma != NULL),
				 names.len - name.len - (comma != NULL));
		if (!collection_name_valid(name) || count == ARBITER_COLLECTIONS_MAX)
			return problem_set(p, STATUS_BAD_NAME, "collections");
		list[count++] = name;
	}
	s->credit = (uint32_t)credit;
	arbiter_stream_wants(t, s, list, count);
	return true;
}

void native_arbiter_stream(struct turn *t, struct request *r)
{
	struct problem problem = {0};
	struct arbiter_stream *s = NULL;
	bool fine = arbiter_allowed(r, &problem) && (s = arbiter_stream_new(t, r->id, &problem)) &&
		    take_parameters(t, r, s, &problem);
	bool begins = fine && r->method != HTTP_HEAD && !r->reply;
	if (s && !begins)
		arbiter_stream_free(t, s);
	if (begins)
		answer_events(t, r, slice_text(": open\n\n"));
	else if (fine)
		reply_send(t, r, reply_begin(t, 200));
	else
		answer_problem(t, r, &problem);
}
