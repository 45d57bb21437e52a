/* The list of effects, as cores fill it. */
#include <stdarg.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/core.h"

enum { EFFECTS_FIRST = 64 };

void effects_clear(struct effects *fx)
{
	fx->count = 0;
	fx->sync = false;
	arena_reset(&fx->arena);
}

void effects_close(struct effects *fx)
{
	free(fx->items);
	arena_close(&fx->arena);
	buf_close(&fx->scratch);
	*fx = (struct effects){0};
}

static struct effect *effect_add(struct effects *fx, enum effect_kind kind, enum effect_when when)
{
	if (fx->count == fx->cap) {
		fx->cap = fx->cap ? fx->cap * 2 : EFFECTS_FIRST;
		fx->items = mem_realloc(fx->items, fx->cap * sizeof *fx->items);
	}
	struct effect *e = &fx->items[fx->count++];
	*e = (struct effect){.kind = kind, .when = when};
	return e;
}

void fx_send(struct effects *fx, enum effect_when when, uint64_t member, uint32_t route,
	     const struct envelope *envelope, const void *message)
{
	const struct schema *schema = schema_of_message(envelope->type);
	CHECK(schema != NULL);
	buf_clear(&fx->scratch);
	schema_encode(schema, message, &fx->scratch);
	struct effect *e = effect_add(fx, EFFECT_SEND, when);
	e->send.member = member;
	e->send.route = route;
	e->send.envelope = *envelope;
	e->send.body = arena_copy(&fx->arena, buf_slice(&fx->scratch));
}

void fx_reply(struct effects *fx, enum effect_when when, const struct event *to, uint16_t type,
	      const void *message)
{
	CHECK(to->kind == EVENT_MESSAGE);
	struct envelope envelope = to->message.envelope;
	envelope.type = type;
	fx_send(fx, when, to->message.from.member, to->message.from.route, &envelope, message);
}

static const struct http_field *copy_fields(struct effects *fx, const struct http_field *fields,
					    uint32_t count)
{
	struct http_field *copy = count ? arena_alloc(&fx->arena, count * sizeof *copy) : NULL;
	for (uint32_t i = 0; i < count; i++) {
		copy[i].name = arena_copy(&fx->arena, fields[i].name);
		copy[i].value = arena_copy(&fx->arena, fields[i].value);
	}
	return copy;
}

void fx_respond(struct effects *fx, uint64_t request, const struct http_response *response)
{
	struct effect *e = effect_add(fx, EFFECT_RESPOND, WHEN_NOW);
	e->respond.request = request;
	struct http_response *copy = &e->respond.response;
	*copy = *response;
	copy->content_type = arena_copy(&fx->arena, response->content_type);
	copy->body = arena_copy(&fx->arena, response->body);
	copy->headers = copy_fields(fx, response->headers, response->headers_count);
}

void fx_body_credit(struct effects *fx, uint64_t request, uint32_t bytes)
{
	struct effect *e = effect_add(fx, EFFECT_BODY_CREDIT, WHEN_NOW);
	e->body_credit.request = request;
	e->body_credit.bytes = bytes;
}

void fx_stream_send(struct effects *fx, const uint64_t *streams, uint32_t count, struct slice body)
{
	if (count == 0)
		return;
	struct effect *e = effect_add(fx, EFFECT_STREAM_SEND, WHEN_NOW);
	uint64_t *ids = arena_alloc(&fx->arena, count * sizeof *ids);
	memcpy(ids, streams, count * sizeof *ids);
	e->stream_send.streams = ids;
	e->stream_send.count = count;
	e->stream_send.body = arena_copy(&fx->arena, body);
}

void fx_stream_close(struct effects *fx, uint64_t stream, uint16_t code, const char *reason)
{
	struct effect *e = effect_add(fx, EFFECT_STREAM_CLOSE, WHEN_NOW);
	e->stream_close.stream = stream;
	e->stream_close.code = code;
	e->stream_close.reason = arena_copy(&fx->arena, slice_text(reason));
}

void fx_script(struct effects *fx, const struct script_request *request)
{
	struct script_request *copy = &effect_add(fx, EFFECT_SCRIPT, WHEN_NOW)->script;
	*copy = *request;
	copy->source = arena_copy(&fx->arena, request->source);
	copy->arguments = arena_copy(&fx->arena, request->arguments);
}

void fx_script_drop(struct effects *fx, uint64_t id)
{
	effect_add(fx, EFFECT_SCRIPT_DROP, WHEN_NOW)->script.id = id;
}

void fx_fetch(struct effects *fx, const struct http_fetch *fetch)
{
	struct http_fetch *copy = &effect_add(fx, EFFECT_FETCH, WHEN_NOW)->fetch;
	*copy = *fetch;
	copy->url = arena_copy(&fx->arena, fetch->url);
	copy->headers = copy_fields(fx, fetch->headers, fetch->headers_count);
	copy->body = arena_copy(&fx->arena, fetch->body);
}

void fx_fetch_body(struct effects *fx, uint64_t id, struct slice bytes)
{
	struct http_fetch *fetch = &effect_add(fx, EFFECT_FETCH_BODY, WHEN_NOW)->fetch;
	*fetch = (struct http_fetch){.id = id, .body = arena_copy(&fx->arena, bytes)};
}

void fx_fetch_more(struct effects *fx, uint64_t id)
{
	effect_add(fx, EFFECT_FETCH_MORE, WHEN_NOW)->fetch.id = id;
}

void fx_fetch_end(struct effects *fx, uint64_t id)
{
	effect_add(fx, EFFECT_FETCH_END, WHEN_NOW)->fetch.id = id;
}

void fx_password(struct effects *fx, const struct password_request *request)
{
	struct password_request *copy = &effect_add(fx, EFFECT_PASSWORD, WHEN_NOW)->password;
	*copy = *request;
	copy->password = arena_copy(&fx->arena, request->password);
	copy->salt = arena_copy(&fx->arena, request->salt);
}

void fx_log(struct effects *fx, enum log_level level, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	buf_clear(&fx->scratch);
	buf_vprintf(&fx->scratch, format, args);
	va_end(args);
	struct effect *e = effect_add(fx, EFFECT_LOG, WHEN_NOW);
	e->log.level = level;
	e->log.text = arena_copy(&fx->arena, buf_slice(&fx->scratch));
}

void fx_sync(struct effects *fx)
{
	fx->sync = true;
}

void fx_reset(struct effects *fx, const char *reason)
{
	effect_add(fx, EFFECT_RESET, WHEN_NOW)->reason = arena_copy(&fx->arena, slice_text(reason));
}

void fx_exit(struct effects *fx, const char *reason)
{
	effect_add(fx, EFFECT_EXIT, WHEN_NOW)->reason = arena_copy(&fx->arena, slice_text(reason));
}
