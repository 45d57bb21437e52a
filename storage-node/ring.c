/* Entries that are in the stream but not applied, and the answers that wait for them. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "storage-node/internal.h"

enum { RING_FIRST = 64 };

static void ring_grow(struct pending_ring *r)
{
	uint64_t cap = r->cap ? r->cap * 2 : RING_FIRST;
	struct pending *slots = mem_alloc_zero(cap * sizeof *slots);
	for (uint64_t n = r->first; n < r->first + r->count; n++)
		slots[n & (cap - 1)] = r->slots[n & (r->cap - 1)];
	free(r->slots);
	r->slots = slots;
	r->cap = cap;
}

void ring_push(struct pending_ring *r, uint64_t epoch, struct slice change)
{
	if (r->count == r->cap)
		ring_grow(r);
	uint8_t *copy = mem_alloc(change.len);
	memcpy(copy, change.data, change.len);
	struct pending *p = &r->slots[(r->first + r->count) & (r->cap - 1)];
	*p = (struct pending){.epoch = epoch, .change = slice_of(copy, change.len)};
	r->count++;
	r->bytes += change.len;
}

struct pending *ring_at(const struct pending_ring *r, uint64_t number)
{
	if (number < r->first || number - r->first >= r->count)
		return NULL;
	return &r->slots[number & (r->cap - 1)];
}

static void ring_release(struct pending_ring *r, struct pending *p)
{
	CHECK(p->waiters == NULL);
	r->bytes -= p->change.len;
	r->waiters -= p->waiters_count;
	free((void *)(uintptr_t)p->change.data);
	*p = (struct pending){0};
	r->count--;
}

void ring_pop_first(struct pending_ring *r)
{
	CHECK(r->count > 0);
	ring_release(r, ring_at(r, r->first));
	r->first++;
}

void ring_pop_last(struct pending_ring *r)
{
	CHECK(r->count > 0);
	ring_release(r, ring_at(r, r->first + r->count - 1));
}

void ring_close(struct pending_ring *r)
{
	while (r->count > 0) {
		struct pending *p = ring_at(r, r->first);
		while (p->waiters) {
			struct waiter *w = p->waiters;
			p->waiters = w->next;
			buf_close(&w->body);
			free(w);
		}
		ring_pop_first(r);
	}
	free(r->slots);
	*r = (struct pending_ring){0};
}

struct waiter *waiter_new(const struct event *e, uint16_t type)
{
	struct waiter *w = mem_alloc_zero(sizeof *w);
	w->peer = e->message.from;
	w->envelope = e->message.envelope;
	w->type = type;
	return w;
}

void waiter_set_revision(struct waiter *w, const struct revision *r)
{
	CHECK(r->hash.len <= sizeof w->hash);
	if (r->hash.len)
		memcpy(w->hash, r->hash.data, r->hash.len);
	w->ack.revision.generation = r->generation;
	w->ack.revision.hash = slice_of(w->hash, r->hash.len);
}

void waiter_add(struct pending_ring *r, struct pending *p, struct waiter *w)
{
	*(p->waiters_end ? p->waiters_end : &p->waiters) = w;
	p->waiters_end = &w->next;
	p->waiters_count++;
	r->waiters++;
}

static void answer_write(struct waiter *w, const struct envelope *envelope, struct effects *fx)
{
	struct slice held = buf_slice(&w->body);
	if (w->place_len > 0) {
		w->ack.place = slice_of(held.data, w->place_len);
		w->ack.detail = slice_of(held.data + w->place_len, held.len - w->place_len);
	} else {
		w->ack.body = held;
	}
	fx_send(fx, WHEN_NOW, w->peer.member, w->peer.route, envelope, &w->ack);
}

static void set_number(const struct schema *schema, void *answer, const char *name, uint64_t value)
{
	for (uint32_t i = 0; i < schema->fields_count; i++)
		if (schema->fields[i].type == SCHEMA_U64 &&
		    strcmp(schema->fields[i].name, name) == 0)
			memcpy((char *)answer + schema->fields[i].offset, &value, sizeof value);
}

static void empty_lists(const struct schema *schema, void *answer)
{
	const uint32_t none = 0;
	for (uint32_t i = 0; i < schema->fields_count; i++)
		if (schema->fields[i].type == SCHEMA_LIST)
			memcpy((char *)answer + schema->fields[i].count_offset, &none, sizeof none);
}

/* The body buffer holds the answer but for what has become of the entry, and when. */
static void answer_encoded(struct waiter *w, const struct envelope *envelope, struct effects *fx)
{
	const struct schema *schema = schema_of_message(w->type);
	struct arena arena = {0};
	void *answer = arena_alloc(&arena, schema->size);
	CHECK(schema_decode(schema, buf_slice(&w->body), &arena, answer));
	set_number(schema, answer, "status", w->ack.status);
	set_number(schema, answer, "clock_ms", w->ack.clock_ms);
	set_number(schema, answer, "life", w->ack.life);
	if (!status_is_success((enum status)w->ack.status))
		empty_lists(schema, answer);
	fx_send(fx, WHEN_NOW, w->peer.member, w->peer.route, envelope, answer);
	arena_close(&arena);
}

bool waiters_full(const struct shard_copy *c)
{
	return c->pending.waiters >= BOUND(waiters, WAITERS_MAX);
}

struct waiter *waiter_await(struct shard_copy *c, const struct event *e, uint64_t number,
			    uint16_t type, const void *answer)
{
	struct pending *p = number > 0 ? ring_at(&c->pending, number) : NULL;
	if (!p)
		return NULL;
	struct waiter *w = waiter_new(e, type);
	w->ack.status = STATUS_OK;
	schema_encode(schema_of_message(type), answer, &w->body);
	waiter_add(&c->pending, p, w);
	return w;
}

bool waiter_refuse(struct shard_copy *c, const struct event *e, const struct overlay *o,
		   uint16_t type, const void *answer, uint64_t *status)
{
	bool rests = o && ring_at(&c->pending, o->last_number);
	if (!rests || *status == STATUS_OVERLOADED || *status >= STATUS_NOT_LEAD)
		return false;
	if (waiters_full(c)) {
		*status = STATUS_TIMED_OUT;
		return false;
	}
	struct waiter *w = waiter_await(c, e, o->last_number, type, answer);
	w->ack.status = *status;
	w->needs_lead = true;
	return true;
}

void waiter_answer(struct waiter *w, struct effects *fx)
{
	struct envelope envelope = w->envelope;
	envelope.type = w->type;
	if (w->type == MSG_doc_write_ack)
		answer_write(w, &envelope, fx);
	else
		answer_encoded(w, &envelope, fx);
	buf_close(&w->body);
	free(w);
}

void waiters_fail(struct pending *p, enum status status, struct effects *fx)
{
	while (p->waiters) {
		struct waiter *w = p->waiters;
		p->waiters = w->next;
		w->ack.status = status;
		w->ack.revision = (struct revision){0};
		waiter_answer(w, fx);
	}
}
