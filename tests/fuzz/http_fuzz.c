/* Any bytes as requests of clients, with any answers of the cluster. Input: texts separated by a
 * byte 0: requests, "METHOD target\nname: value\n...\n\nbody"; "WS target" is a GET that opens a
 * WebSocket, "COUCH METHOD target" a request of the other dialect, "SAY\n\nbytes" a message of the
 * last stream, "GONE" and "CLOSED" the end of the last request and of its connection. Each message
 * that the core sends is answered by a random valid one, drawn from a seed that is the input's
 * first byte; whatever comes, every request ends, and by then nothing is left but streams, which
 * end when their clients go. */
#include <stdlib.h>

#include "common/timing.h"
#include "tests/fuzz/gateway_world.h"
#include "tests/fuzz/texts.h"

enum {
	HEADERS_MAX = 16,
	TEXTS_MAX = 24,
	ROUNDS_MAX = 400,
	LOCK_WAIT_MS = 3000,
	EDIT_MS = 8000,
	/* the longest that a request may live on */
	WAIT_MAX_MS = EDIT_MS + LOCK_WAIT_MS + REQUEST_DEADLINE_MS
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- clients ---- */

static enum http_method method_of(struct slice name)
{
	static const char *const names[] = {"GET",   "HEAD",   "POST",    "PUT",
					    "PATCH", "DELETE", "OPTIONS", "COPY"};
	for (int i = 0; i < (int)ARRAY_LEN(names); i++)
		if (slice_is(name, names[i]))
			return (enum http_method)i;
	return HTTP_OTHER;
}

static void stream_event(struct world *w, enum event_kind kind, uint64_t stream, struct slice bytes)
{
	struct event event = {.kind = kind};
	event.stream.stream = stream;
	event.stream.bytes = bytes;
	event.stream.text = true;
	world_step(w, &event);
}

/* The core closed it, or its client went. */
static void end_streams(struct world *w, bool all)
{
	for (uint64_t id = 1; id <= w->asked; id++) {
		if (!w->streaming[id] || !(all || w->closing[id]))
			continue;
		w->streaming[id] = false;
		stream_event(w, EVENT_STREAM_GONE, id, slice_of(NULL, 0));
	}
}

static void say(struct world *w, struct slice text)
{
	uint64_t id = w->asked;
	while (id > 0 && !w->streaming[id])
		id--;
	while (text.len > 0 && take_until(&text, '\n').len > 0)
		;
	if (id > 0)
		stream_event(w, EVENT_STREAM_MESSAGE, id, text);
}

static void closed(struct world *w)
{
	struct event event = {.kind = EVENT_HTTP_CLOSED, .http_closed = w->asked};
	world_gone(w);
	if (w->asked > 0 && !w->streaming[w->asked])
		world_step(w, &event);
}

static void request(struct world *w, struct slice line, struct slice text, bool websocket,
		    enum dialect dialect)
{
	struct http_field headers[HEADERS_MAX];
	struct http_request r = {.dialect = dialect, .headers = headers, .websocket = websocket};
	r.method = method_of(take_until(&line, ' '));
	if (websocket)
		r.method = HTTP_GET;
	r.path = take_until(&line, '?');
	r.query = line;
	while (text.len > 0 && (line = take_until(&text, '\n')).len > 0 &&
	       r.headers_count < HEADERS_MAX) {
		struct http_field *field = &headers[r.headers_count++];
		field->name = take_until(&line, ':');
		take_until(&line, ' ');
		field->value = line;
	}
	r.body = text;
	world_request(w, &r);
}

static void client(struct world *w, struct slice text)
{
	struct slice rest = text;
	struct slice line = take_until(&rest, '\n');
	if (slice_is(line, "SAY"))
		say(w, rest);
	else if (slice_is(line, "GONE"))
		world_gone(w);
	else if (slice_is(line, "CLOSED"))
		closed(w);
	else if (w->asked < WORLD_REQUESTS_MAX) {
		bool couch = line.len > 6 && memcmp(line.data, "COUCH ", 6) == 0;
		bool websocket = line.len > 3 && memcmp(line.data, "WS ", 3) == 0;
		if (couch)
			line = slice_of(line.data + 6, line.len - 6);
		request(w, line, rest, websocket, couch ? DIALECT_COUCH : DIALECT_NATIVE);
	}
	end_streams(w, false);
}

/* ---- the end ---- */

static void answer_all(struct world *w)
{
	for (int i = 0; i < ROUNDS_MAX && w->sent_count > 0; i++) {
		world_answer(w);
		end_streams(w, false);
	}
}

/* Every request ends by its own deadline, whatever the cluster says or does not say. */
static void run_out(struct world *w)
{
	while (w->left > 0) {
		world_tick(w);
		CHECK(w->now_ms <= WORLD_START_MS + WAIT_MAX_MS);
	}
	end_streams(w, true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gateway_options options = {.limits = {.edit_ms_max = EDIT_MS,
						     .lock_wait_ms = LOCK_WAIT_MS,
						     .lock_wait_max_ms = LOCK_WAIT_MS}};
	struct world w = {0};
	struct slice rest = slice_of(data, size);
	uint8_t seed = size ? data[0] : 0;
	take_until(&rest, seed);
	world_open(&w, &options, seed);
	for (int i = 0; i < TEXTS_MAX && rest.len > 0; i++)
		client(&w, take_until(&rest, 0));
	answer_all(&w);
	run_out(&w);
	world_close(&w);
	return 0;
}
