/* Entries that are in the stream but not applied, and the answers that wait for them. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "storage-node/erase.h"
#include "storage-node/import.h"

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

/* The body buffer holds the answer but for its status. */
static void answer_lock(struct waiter *w, const struct envelope *envelope, struct effects *fx)
{
	struct arena arena = {0};
	struct msg_lock_set_ack ack;
	CHECK(schema_decode(&schema_msg_lock_set_ack, buf_slice(&w->body), &arena, &ack));
	ack.status = w->ack.status;
	fx_send(fx, WHEN_NOW, w->peer.member, w->peer.route, envelope, &ack);
	arena_close(&arena);
}

void waiter_answer(struct waiter *w, struct effects *fx)
{
	struct envelope envelope = w->envelope;
	envelope.type = w->type;
	struct slice body = buf_slice(&w->body);
	if (w->type == MSG_conflict_resolve_ack) {
		/* the body buffer holds shard id and document id of the echo */
		struct msg_conflict_resolve_ack ack = {.status = w->ack.status};
		ack.shard = be64_read(body.data);
		ack.id = slice_of(body.data + 8, body.len - 8);
		fx_send(fx, WHEN_NOW, w->peer.member, w->peer.route, &envelope, &ack);
	} else if (w->type == MSG_cleanup_commit_ack) {
		struct msg_cleanup_commit_ack ack = {.status = w->ack.status,
						     .cleaned = w->cleaned};
		ack.shard = be64_read(body.data);
		fx_send(fx, WHEN_NOW, w->peer.member, w->peer.route, &envelope, &ack);
	} else if (w->type == MSG_conflict_undo_ack) {
		struct msg_conflict_undo_ack ack = {.status = w->ack.status};
		fx_send(fx, WHEN_NOW, w->peer.member, w->peer.route, &envelope, &ack);
	} else if (w->type == MSG_checkpoint_set_ack) {
		struct msg_checkpoint_set_ack ack = {
		    .status = w->ack.status, .clock_ms = w->ack.clock_ms, .life = w->ack.life};
		fx_send(fx, WHEN_NOW, w->peer.member, w->peer.route, &envelope, &ack);
	} else if (w->type == MSG_attachment_chunk_ack) {
		struct msg_attachment_chunk_ack ack = {.status = w->ack.status};
		fx_send(fx, WHEN_NOW, w->peer.member, w->peer.route, &envelope, &ack);
	} else if (w->type == MSG_lock_set_ack) {
		answer_lock(w, &envelope, fx);
	} else if (w->type == MSG_doc_import_ack) {
		import_answer(w, &envelope, fx);
	} else if (w->type == MSG_doc_erase_ack) {
		erase_answer(w, &envelope, fx);
	} else {
		answer_write(w, &envelope, fx);
	}
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
