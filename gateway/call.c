#include "gateway/call.h"

#include <stddef.h>
#include <stdlib.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "common/probe.h"
#include "common/timing.h"
#include "gateway/lock.h"

/* A wire id is the number of the sending and the slot of the call, so that an answer finds its call
 * without a search and an answer to an older life of the slot finds nothing. */
enum { SLOT_BITS = 20, SLOTS_FIRST = 64 };

enum call_state {
	CALL_SENT,    /* an answer to the last sending may come */
	CALL_REFUSED, /* the last sending was refused, or there was nobody to send to */
	CALL_HELD     /* answered, but another replica may take it yet */
};

struct call {
	struct timer timer; /* first: timers lead back here */
	uint32_t slot;
	struct call *next_free;
	struct call *prev; /* of the same request */
	struct call *next;
	struct request *request; /* NULL: free */
	struct call_spec spec;
	enum call_state state;
	bool orphaned; /* sent to a lead of an older epoch: its answer is not waited for long */
	bool lost; /* an earlier sending was given up without an answer: it may have been taken */
	uint64_t first; /* number of the first sending */
	uint64_t last;
	uint64_t epoch; /* of the last sending */
	uint64_t first_epoch;
	uint32_t attempts;
	int64_t branch_ms;        /* when to turn to another replica */
	int64_t taken_until_ms;   /* so long may the last sending be taken as a branch; 0: never */
	int64_t earlier_until_ms; /* likewise any of those before */
	enum status held_status;
	struct buf held; /* the answer, encoded */
	uint32_t lock_tries;
	enum status refusal;
};

void call_table_init(struct gateway *gw)
{
	/* A restarted gateway must not take answers to its former life for its own. */
	gw->calls.sequence = rng_next(&gw->rng) >> (SLOT_BITS + 1);
}

void call_table_close(struct gateway *gw)
{
	for (uint32_t i = 0; i < gw->calls.slots_count; i++)
		free(gw->calls.slots[i]);
	free(gw->calls.slots);
}

static struct call *call_take(struct gateway *gw)
{
	struct call_table *table = &gw->calls;
	struct call *c = table->free;
	if (c) {
		table->free = c->next_free;
		uint32_t slot = c->slot;
		*c = (struct call){.slot = slot};
		return c;
	}
	if (table->slots_count == CALLS_MAX)
		return NULL;
	if (table->slots_count == table->slots_cap) {
		table->slots_cap = table->slots_cap ? table->slots_cap * 2 : SLOTS_FIRST;
		table->slots = mem_realloc(table->slots, table->slots_cap * sizeof(struct call *));
	}
	c = mem_alloc_zero(sizeof *c);
	c->slot = table->slots_count;
	table->slots[table->slots_count++] = c;
	return c;
}

static void call_release(struct gateway *gw, struct call *c)
{
	struct request *r = c->request;
	CHECK(r); /* else released twice */
	timers_clear(&gw->timers, &c->timer);
	if (c->prev)
		c->prev->next = c->next;
	else
		r->calls = c->next;
	if (c->next)
		c->next->prev = c->prev;
	buf_close(&c->held);
	c->request = NULL;
	c->next_free = gw->calls.free;
	gw->calls.free = c;
}

static void call_end(struct turn *t, struct call *c, enum status status, const void *body)
{
	struct request *r = c->request;
	call_done *done = c->spec.done;
	uint32_t index = c->spec.index;
	call_release(t->gw, c);
	done(t, r, index, status, body);
}

/* A message to a lead is worth taking while its call waits for just this; as a branch, until the
 * next replica is asked. */
static void set_until(struct turn *t, struct call *c, uint64_t member, int64_t until_ms)
{
	peer_clock_bound(t, member, until_ms, c->spec.type, c->spec.message);
}

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static void transmit(struct turn *t, struct call *c, uint64_t member, uint64_t epoch)
{
	struct envelope envelope = {.type = c->spec.type, .epoch = epoch};
	c->earlier_until_ms = later(c->earlier_until_ms, c->taken_until_ms);
	c->taken_until_ms = 0;
	c->last = ++t->gw->calls.sequence;
	if (c->attempts++ == 0) {
		c->first = c->last;
		c->first_epoch = epoch;
	} else {
		t->gw->metrics.calls_retried++;
	}
	envelope.request_id = c->last << SLOT_BITS | c->slot;
	memcpy(envelope.trace_id, c->request->trace_id, sizeof envelope.trace_id);
	c->state = CALL_SENT;
	c->orphaned = false;
	c->epoch = epoch;
	fx_send(t->fx, WHEN_NOW, member, 0, &envelope, c->spec.message);
}

static void wait_again(struct turn *t, struct call *c, enum status refusal)
{
	c->state = CALL_REFUSED;
	c->refusal = refusal;
	timers_set(&t->gw->timers, &c->timer, t->now_ms + RETRY_MS);
}

/* The replica for this attempt: each in turn, those that learn and `except` left out. 0: none. */
static uint64_t pick_replica(struct turn *t, const struct call *c, const struct shard *s,
			     uint64_t except)
{
	uint64_t candidates[LIMIT_REPLICAS];
	uint32_t count = 0;
	for (uint32_t i = 0; i < s->replicas_count; i++)
		if (!s->replicas[i].learning && s->replicas[i].node != except)
			candidates[count++] = s->replicas[i].node;
	if (count == 0)
		return 0;
	uint64_t first = c->attempts ? c->first : t->gw->calls.sequence + 1;
	return candidates[(first + c->attempts) % count];
}

static void send_branch(struct turn *t, struct call *c, const struct shard *s)
{
	/* After each of the others the lead once more: it may be the only one in reach, and alone.
	 */
	bool lead = c->attempts > 0 && c->attempts % s->replicas_count == 0;
	uint64_t node = lead ? s->lead : pick_replica(t, c, s, s->lead);
	if (node == 0) {
		wait_again(t, c, STATUS_NO_LEAD);
		return;
	}
	c->lost |= c->state == CALL_SENT;
	struct msg_doc_write *m = c->spec.message;
	m->branch = true;
	int64_t next_ms = t->now_ms + CALL_RESEND_MS / 2;
	int64_t until_ms = c->request->deadline.at_ms;
	if (until_ms > next_ms)
		until_ms = next_ms;
	set_until(t, c, node, until_ms);
	transmit(t, c, node, s->epoch);
	if (m->until_ms > 1) /* else its clock is not known, and it refuses */
		c->taken_until_ms = until_ms;
	timers_set(&t->gw->timers, &c->timer, next_ms);
}

static void send_lead(struct turn *t, struct call *c, const struct shard *s)
{
	if (s->lead == 0) {
		wait_again(t, c, STATUS_NO_LEAD);
		return;
	}
	if (c->spec.type == MSG_doc_write)
		((struct msg_doc_write *)c->spec.message)->branch = false;
	/* until a branch is asked for, which a new lead puts off; never beyond the client's wait */
	int64_t until_ms = c->request->deadline.at_ms;
	if (c->spec.reach == REACH_BRANCH && c->branch_ms < until_ms)
		until_ms = c->branch_ms;
	set_until(t, c, s->lead, until_ms);
	transmit(t, c, s->lead, s->epoch);
	if (c->spec.repeatable)
		timers_set(&t->gw->timers, &c->timer, t->now_ms + CALL_RESEND_MS);
	else if (c->spec.reach == REACH_BRANCH)
		timers_set(&t->gw->timers, &c->timer, c->branch_ms);
	else
		timers_clear(&t->gw->timers, &c->timer);
}

static void send_any(struct turn *t, struct call *c, const struct shard *s)
{
	uint64_t node = pick_replica(t, c, s, 0);
	if (node == 0) {
		wait_again(t, c, STATUS_NO_LEAD);
		return;
	}
	transmit(t, c, node, s->epoch);
	timers_set(&t->gw->timers, &c->timer, t->now_ms + CALL_ANY_RESEND_MS);
}

static void call_send(struct turn *t, struct call *c)
{
	if (c->spec.reach == REACH_COORDINATOR) {
		c->lost |= c->attempts > 0;
		set_until(t, c, t->gw->options.coordinator, c->request->deadline.at_ms);
		transmit(t, c, t->gw->options.coordinator, 0);
		timers_set(&t->gw->timers, &c->timer, t->now_ms + CALL_COORDINATOR_MS);
		return;
	}
	const struct map_shard *s = cluster_map_shard(&t->gw->map, c->spec.shard);
	if (!s || s->shard.dropped) {
		wait_again(t, c, STATUS_NO_LEAD);
		return;
	}
	/* A new lead deserves its time before a branch is made, if nobody may have taken the write
	 * yet. */
	if (c->attempts > 0 && !c->lost && s->shard.epoch > c->epoch)
		c->branch_ms = t->now_ms + BRANCH_AFTER_MS;
	if (c->spec.reach == REACH_ANY)
		send_any(t, c, &s->shard);
	else if (c->spec.reach == REACH_BRANCH && t->now_ms >= c->branch_ms)
		send_branch(t, c, &s->shard);
	else
		send_lead(t, c, &s->shard);
}

bool call_open(struct turn *t, struct request *r, const struct call_spec *spec)
{
	struct call *c = call_take(t->gw);
	if (!c)
		return false;
	c->request = r;
	c->spec = *spec;
	c->timer.kind = TIMER_CALL;
	c->state = CALL_REFUSED;
	c->refusal = STATUS_NO_LEAD;
	c->branch_ms = t->now_ms + BRANCH_AFTER_MS;
	if (spec->type == MSG_collection_create)
		((struct msg_collection_create *)spec->message)->operation = rng_next(&t->gw->rng);
	if (spec->type == MSG_node_update)
		((struct msg_node_update *)spec->message)->operation = rng_next(&t->gw->rng);
	c->next = r->calls;
	if (c->next)
		c->next->prev = c;
	r->calls = c;
	call_send(t, c);
	return true;
}

/* Answers that say: somebody else, or later. Nothing was done. */
static bool is_refusal(enum status status)
{
	switch (status) {
	case STATUS_NOT_LEAD:
	case STATUS_OLD_EPOCH:
	case STATUS_NO_LEAD:
	case STATUS_NO_SHARD:
	case STATUS_NOT_VOUCHING:
	case STATUS_LEASED:
	case STATUS_STARTING:
	case STATUS_DRAINING:
	case STATUS_STALE:
		return true;
	default:
		return false;
	}
}

/* Answers after which the same may be asked again if that is harmless. */
static bool is_uncertain(enum status status)
{
	return status == STATUS_OUTCOME_UNKNOWN || status == STATUS_TIMED_OUT;
}

static void call_refused(struct turn *t, struct call *c, enum status status)
{
	const struct map_shard *s = cluster_map_shard(&t->gw->map, c->spec.shard);
	c->state = CALL_REFUSED;
	c->refusal = status;
	c->orphaned = false; /* it has answered */
	bool newer = s && s->shard.epoch > c->epoch;
	bool next_replica =
	    c->spec.reach == REACH_ANY && s && c->attempts < s->shard.replicas_count;
	/* it did not know our time; now we know its */
	bool told = status == STATUS_STALE && c->attempts == 1;
	if (newer || next_replica || told)
		call_send(t, c);
	else
		wait_again(t, c, status);
}

/* A lock of somebody else's is in the way: the write is tried again later, as another attempt. */
static bool call_locked(struct turn *t, struct call *c)
{
	int64_t delay_ms;
	if (!c->spec.write || !lock_wait(t, c->request, c->lock_tries, &delay_ms))
		return false;
	c->lock_tries++;
	c->state = CALL_REFUSED;
	c->orphaned = false;
	c->refusal = STATUS_LOCKED;
	c->branch_ms = t->now_ms + delay_ms + BRANCH_AFTER_MS;
	if (c->spec.type == MSG_doc_write)
		((struct msg_doc_write *)c->spec.message)->attempt = rng_next(&t->gw->rng);
	timers_set(&t->gw->timers, &c->timer, t->now_ms + delay_ms);
	return true;
}

/* Where an answer says what became of the message; 0: it is no answer. */
#define STATUS_OF(name) [MSG_##name] = 1 + offsetof(struct msg_##name, status)
static const size_t status_at[MSG_NUMBER_MAX + 1] = {
    STATUS_OF(doc_write_ack),       STATUS_OF(doc_read_ack),
    STATUS_OF(shard_query_ack),     STATUS_OF(attachment_chunk_ack),
    STATUS_OF(attachment_read_ack), STATUS_OF(view_query_ack),
    STATUS_OF(shard_served_ack),    STATUS_OF(index_status_ack),
    STATUS_OF(shard_edit_ack),      STATUS_OF(conflict_list_ack),
    STATUS_OF(conflict_read_ack),   STATUS_OF(conflict_resolve_ack),
    STATUS_OF(conflict_undo_ack),   STATUS_OF(conflict_take_ack),
    STATUS_OF(conflict_lease_ack),  STATUS_OF(collection_create_ack),
    STATUS_OF(node_update_ack),     STATUS_OF(system_list_ack),
    STATUS_OF(lock_acquire_ack),    STATUS_OF(lock_release_ack),
    STATUS_OF(lock_renew_ack),      STATUS_OF(checkpoint_set_ack),
    STATUS_OF(shard_changes_ack),   STATUS_OF(checkpoint_list_ack),
    STATUS_OF(doc_import_ack),      STATUS_OF(doc_erase_ack),
    STATUS_OF(doc_revisions_ack),   STATUS_OF(revs_diff_ack),
};
#undef STATUS_OF

static uint64_t answer_status(uint16_t type, const void *body)
{
	if (type == MSG_map_push)
		return STATUS_OK; /* it says none */
	if (type > MSG_NUMBER_MAX || status_at[type] == 0)
		return STATUS_INTERNAL;
	return *(const uint64_t *)((const uint8_t *)body + status_at[type] - 1);
}

static struct call *call_find(const struct gateway *gw, uint64_t wire_id, uint64_t *sending)
{
	uint32_t slot = (uint32_t)(wire_id & ((1u << SLOT_BITS) - 1));
	*sending = wire_id >> SLOT_BITS;
	if (slot >= gw->calls.slots_count)
		return NULL;
	struct call *c = gw->calls.slots[slot];
	if (!c->request || *sending < c->first || *sending > c->last || c->attempts == 0)
		return NULL;
	return c;
}

/* Whether a resolution was taken a lead knows; one that came after it may see only that the leaves
 * are gone. Likewise of a write, unless the lead knows all that was done lately. What else changes
 * something a lead without room refuses before it looks whether that was done. */
static bool may_be_ours(const struct call *c, enum status status, const void *body)
{
	if (!c->lost || status_is_success(status) || is_refusal(status))
		return false;
	if (c->spec.type == MSG_doc_write)
		return ((const struct msg_doc_write_ack *)body)->gap;
	if (c->spec.write && (status == STATUS_OVERLOADED || status == STATUS_DISK_FULL))
		return true;
	/* unlike an attempt to write, it is not remembered: a copy may come when the lock is gone
	 */
	if (status == STATUS_LOCKED)
		return c->spec.type == MSG_conflict_resolve || c->spec.type == MSG_conflict_undo;
	return c->spec.type == MSG_conflict_resolve && c->first_epoch != c->epoch &&
	       (status == STATUS_LEAVES_MOVED || status == STATUS_LEASE_LOST);
}

/* Takes about as long as another one, when all is well. */
static bool is_point(uint16_t answer)
{
	return answer == MSG_doc_write_ack || answer == MSG_doc_read_ack;
}

/* A branch stands at the one replica that took it. Where another one may take the same write yet,
 * its client must not hear that it is done: what it writes next could be there first, and this on
 * top of it. */
static bool call_hold(struct turn *t, struct call *c, uint64_t sending, enum status status)
{
	int64_t until_ms = c->earlier_until_ms;
	if (sending != c->last)
		until_ms = later(until_ms, c->taken_until_ms);
	if (!status_is_success(status) || until_ms <= t->now_ms)
		return false;
	REACHED(branch_answer_held);
	c->state = CALL_HELD;
	c->held_status = status;
	schema_encode(&schema_msg_doc_write_ack, t->event->message.body, &c->held);
	timers_set(&t->gw->timers, &c->timer, until_ms);
	return true;
}

static void call_give_held(struct turn *t, struct call *c)
{
	struct msg_doc_write_ack ack;
	struct arena arena = {0};
	struct buf held = c->held;
	c->held = (struct buf){0};
	CHECK(schema_decode(&schema_msg_doc_write_ack, buf_slice(&held), &arena, &ack));
	call_end(t, c, c->held_status, &ack);
	arena_close(&arena);
	buf_close(&held);
}

void call_answered(struct turn *t)
{
	const struct envelope *envelope = &t->event->message.envelope;
	peer_clock_learn(t);
	enum role role = t->event->message.from.role;
	uint64_t sending;
	struct call *c = call_find(t->gw, envelope->request_id, &sending);
	if (!c || c->spec.answer != envelope->type ||
	    (role == ROLE_COORDINATOR) != (c->spec.reach == REACH_COORDINATOR) ||
	    c->state == CALL_HELD) {
		t->gw->metrics.calls_stray++;
		return;
	}
	/* An unknown number is a newer peer's; the table reads it as INTERNAL. */
	uint64_t number = answer_status(envelope->type, t->event->message.body);
	enum status status = status_row(number)->status;
	bool refused = is_refusal(status);
	/* A write that was sent again may yet be done, whatever its first copy met. */
	if (c->spec.write && sending != c->last && !status_is_success(status))
		return;
	if (status == STATUS_LOCKED && (c->state != CALL_SENT || call_locked(t, c)))
		return;
	bool again = c->spec.repeatable && is_uncertain(status);
	if (may_be_ours(c, status, t->event->message.body)) {
		REACHED(refusal_may_be_ours);
		call_end(t, c, STATUS_OUTCOME_UNKNOWN, NULL);
		return;
	}
	if (!refused && !again) {
		if (call_hold(t, c, sending, status))
			return;
		if (c->attempts == 1 && is_point(envelope->type))
			admission_answered(&t->gw->admission, t->now_ms - c->request->started_ms,
					   t->now_ms);
		call_end(t, c, status, t->event->message.body);
		return;
	}
	/* Only the last sending's refusal counts, and that once. */
	if (sending != c->last || c->state != CALL_SENT)
		return;
	c->lost |= again;
	call_refused(t, c, status);
}

void call_unsent(struct turn *t)
{
	const struct envelope *envelope = &t->event->unsent.envelope;
	uint64_t sending;
	struct call *c = call_find(t->gw, envelope->request_id, &sending);
	if (c && c->spec.type == envelope->type && sending == c->last && c->state == CALL_SENT)
		call_refused(t, c, STATUS_NO_LEAD);
}

static enum status expiry_status(const struct call *c)
{
	bool taken = c->lost || c->state == CALL_SENT;
	if (c->spec.reach == REACH_COORDINATOR)
		return STATUS_COORDINATOR_UNAVAILABLE;
	if (!taken && (c->refusal == STATUS_STARTING || c->refusal == STATUS_LOCKED))
		return c->refusal;
	if (!taken)
		return STATUS_NO_LEAD;
	return c->spec.write ? STATUS_OUTCOME_UNKNOWN : STATUS_TIMED_OUT;
}

/* Its shard was dropped since it was sent there: nobody will ever answer. */
static bool is_gone(const struct turn *t, const struct call *c)
{
	return c->spec.reach != REACH_COORDINATOR && c->attempts > 0 &&
	       !cluster_map_has_shard(&t->gw->map, c->spec.shard);
}

void call_timer(struct turn *t, struct timer *timer)
{
	struct call *c = (struct call *)timer;
	timers_clear(&t->gw->timers, timer);
	c->lost |= c->state == CALL_SENT;
	if (c->state == CALL_HELD)
		call_give_held(t, c);
	else if (c->orphaned)
		call_end(t, c, STATUS_OUTCOME_UNKNOWN, NULL);
	else if (is_gone(t, c) || (c->spec.until_ms > 0 && t->now_ms >= c->spec.until_ms))
		call_end(t, c, expiry_status(c), NULL);
	else
		call_send(t, c);
}

/* The lead that got this write has been replaced. It may still answer, if it lives; if not, its
 * client shall hear soon that nobody knows, and not at the deadline. */
static void call_orphan(struct turn *t, struct call *c)
{
	if (c->orphaned || c->spec.reach != REACH_LEAD)
		return;
	c->orphaned = true;
	timers_set(&t->gw->timers, &c->timer, t->now_ms + CALL_ORPHAN_MS);
}

void call_map_changed(struct turn *t)
{
	for (uint32_t i = 0; i < t->gw->calls.slots_count; i++) {
		struct call *c = t->gw->calls.slots[i];
		if (!c->request || c->spec.reach == REACH_COORDINATOR || c->state == CALL_HELD)
			continue;
		const struct map_shard *s = cluster_map_shard(&t->gw->map, c->spec.shard);
		if (!s || s->shard.epoch <= c->epoch)
			continue;
		if (c->state == CALL_SENT && !c->spec.repeatable) {
			call_orphan(t, c);
			continue;
		}
		c->lost |= c->state == CALL_SENT;
		call_send(t, c);
	}
}

void call_expire_all(struct turn *t, struct request *r)
{
	while (r->calls && !r->finished) {
		if (r->calls->state == CALL_HELD)
			call_give_held(t, r->calls);
		else
			call_end(t, r->calls, expiry_status(r->calls), NULL);
	}
}

void call_forget_all(struct gateway *gw, struct request *r)
{
	while (r->calls)
		call_release(gw, r->calls);
}
