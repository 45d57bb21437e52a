#include "gateway/lock.h"

#include <stdlib.h>

#include "common/base/memory.h"

/* Marks the keeper's own request ids; those of calls never come so far. */
#define LOCK_RENEWAL (1ull << 63)

struct lock_session {
	uint8_t id[LOCK_ID_BYTES];
};

/* Something to be said until it is answered, or for a while. */
struct lock_errand {
	uint8_t id[LOCK_ID_BYTES];
	uint32_t tries;
	uint64_t renewal; /* of a session: the first that says so */
};

struct lock_errands {
	struct lock_errand *items;
	uint32_t count;
	uint32_t cap;
};

/* A grant that was answered. */
struct lock_answer {
	uint64_t request; /* 0: none */
	uint8_t id[LOCK_ID_BYTES];
};

struct lock_keeper {
	struct map sessions;                           /* connection -> struct lock_session* */
	struct lock_errands ended;                     /* sessions */
	struct lock_errands abandoned;                 /* locks */
	bool ends;                                     /* some have ended in this turn */
	int64_t tick_ms;                               /* next; NO_DEADLINE: nothing to say */
	uint32_t waiting;                              /* requests */
	uint64_t renewals;                             /* sent */
	struct lock_answer answers[LOCK_ANSWERS_KEPT]; /* the latest: a ring */
	uint32_t answers_next;
};

void lock_keeper_init(struct gateway *gw)
{
	gw->locks = mem_alloc_zero(sizeof *gw->locks);
	gw->locks->tick_ms = NO_DEADLINE;
}

void lock_keeper_close(struct gateway *gw)
{
	map_close_owned(&gw->locks->sessions);
	free(gw->locks->ended.items);
	free(gw->locks->abandoned.items);
	free(gw->locks);
}

int64_t lock_keeper_deadline(const struct gateway *gw)
{
	return gw->locks->tick_ms;
}

/* ---- errands ---- */

static void errand_add(struct lock_errands *list, const uint8_t *id, uint64_t renewal)
{
	if (list->count == LIMIT_LOCKS)
		return; /* the coordinator forgets them by itself, only later */
	if (list->count == list->cap) {
		list->cap = list->cap ? list->cap * 2 : 16;
		list->items = mem_realloc(list->items, list->cap * sizeof *list->items);
	}
	struct lock_errand *errand = &list->items[list->count++];
	*errand = (struct lock_errand){.renewal = renewal};
	memcpy(errand->id, id, sizeof errand->id);
}

static void errand_done(struct lock_errands *list, struct slice id)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < list->count; i++)
		if (!slice_equal(slice_of(list->items[i].id, LOCK_ID_BYTES), id))
			list->items[kept++] = list->items[i];
	list->count = kept;
}

/* The coordinator has heard this renewal, and so all that were to be told by then. */
static void errands_told(struct lock_errands *list, uint64_t renewal)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < list->count; i++)
		if (list->items[i].renewal > renewal)
			list->items[kept++] = list->items[i];
	list->count = kept;
}

static void errands_tried(struct lock_errands *list)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < list->count; i++)
		if (++list->items[i].tries < LOCK_RELEASE_TRIES)
			list->items[kept++] = list->items[i];
	list->count = kept;
}

/* ---- sessions ---- */

struct slice lock_session(struct gateway *gw, uint64_t connection)
{
	struct lock_keeper *k = gw->locks;
	struct lock_session *session = map_get_u64(&k->sessions, connection);
	if (!session) {
		if (k->sessions.count >= LOCK_SESSIONS_MAX)
			return slice_of(NULL, 0);
		session = mem_alloc_zero(sizeof *session);
		rng_fill(&gw->rng, session->id, sizeof session->id);
		map_put_u64(&k->sessions, connection, session);
		if (k->tick_ms == NO_DEADLINE)
			k->tick_ms = 0; /* soon */
	}
	return slice_of(session->id, sizeof session->id);
}

static void send_renewal(struct turn *t)
{
	struct lock_keeper *k = t->gw->locks;
	struct msg_lock_renew m = {0};
	struct arena arena = {0};
	size_t at = 0;
	k->ends = false;
	if (k->sessions.count == 0 && k->ended.count == 0)
		return;
	m.sessions = arena_alloc(&arena, (k->sessions.count + 1) * sizeof *m.sessions);
	m.ended = arena_alloc(&arena, (k->ended.count + 1) * sizeof *m.ended);
	for (struct map_entry *e; (e = map_next(&k->sessions, &at));)
		m.sessions[m.sessions_count++] =
		    slice_of(((struct lock_session *)e->value)->id, LOCK_ID_BYTES);
	for (uint32_t i = 0; i < k->ended.count; i++)
		m.ended[m.ended_count++] = slice_of(k->ended.items[i].id, LOCK_ID_BYTES);
	struct envelope envelope = {.type = MSG_lock_renew,
				    .request_id = LOCK_RENEWAL | ++k->renewals};
	fx_send(t->fx, WHEN_NOW, t->gw->options.coordinator, 0, &envelope, &m);
	arena_close(&arena);
}

static void send_release(struct turn *t, const uint8_t *id)
{
	struct msg_lock_release m = {.id = slice_of(id, LOCK_ID_BYTES)};
	struct envelope envelope = {.type = MSG_lock_release};
	fx_send(t->fx, WHEN_NOW, t->gw->options.coordinator, 0, &envelope, &m);
}

/* There is something to say again. What was before is not put off. */
static void wake(struct turn *t)
{
	if (t->gw->locks->tick_ms == NO_DEADLINE)
		t->gw->locks->tick_ms = t->now_ms + LOCK_RENEW_MS;
}

void lock_keeper_tick(struct turn *t)
{
	struct lock_keeper *k = t->gw->locks;
	if (t->now_ms < k->tick_ms)
		return;
	send_renewal(t);
	for (uint32_t i = 0; i < k->abandoned.count; i++)
		send_release(t, k->abandoned.items[i].id);
	errands_tried(&k->ended);
	errands_tried(&k->abandoned);
	bool idle = k->sessions.count == 0 && k->ended.count == 0 && k->abandoned.count == 0;
	k->tick_ms = idle ? NO_DEADLINE : t->now_ms + LOCK_RENEW_MS;
}

/* Of all that end in a turn, as where a client with many connections goes, in one message. */
void lock_keeper_turn(struct turn *t)
{
	if (t->gw->locks->ends)
		send_renewal(t);
}

void lock_session_end(struct turn *t, uint64_t connection)
{
	struct lock_keeper *k = t->gw->locks;
	struct lock_session *session = map_remove_u64(&k->sessions, connection);
	if (!session)
		return;
	errand_add(&k->ended, session->id, k->renewals + 1);
	free(session);
	k->ends = true;
	wake(t);
}

void lock_abandon(struct turn *t, struct slice id)
{
	errand_add(&t->gw->locks->abandoned, id.data, 0);
	send_release(t, id.data);
	wake(t);
}

void lock_answered(struct gateway *gw, uint64_t request, struct slice id)
{
	struct lock_keeper *k = gw->locks;
	struct lock_answer *answer = &k->answers[k->answers_next++ % LOCK_ANSWERS_KEPT];
	answer->request = request;
	memcpy(answer->id, id.data, sizeof answer->id);
}

void lock_answer_lost(struct turn *t, uint64_t request)
{
	struct lock_answer *answers = t->gw->locks->answers;
	for (uint32_t i = 0; i < LOCK_ANSWERS_KEPT; i++) {
		if (answers[i].request != request)
			continue;
		answers[i].request = 0;
		lock_abandon(t, slice_of(answers[i].id, LOCK_ID_BYTES));
		return;
	}
}

bool lock_keeper_message(struct turn *t)
{
	const struct envelope *envelope = &t->event->message.envelope;
	struct lock_keeper *k = t->gw->locks;
	if (envelope->type == MSG_lock_renew_ack && (envelope->request_id & LOCK_RENEWAL)) {
		const struct msg_lock_renew_ack *ack = t->event->message.body;
		if (ack->status == STATUS_OK)
			errands_told(&k->ended, envelope->request_id & ~LOCK_RENEWAL);
		return true;
	}
	if (envelope->type != MSG_lock_release_ack || envelope->request_id != 0)
		return false;
	const struct msg_lock_release_ack *ack = t->event->message.body;
	if (ack->status == STATUS_OK || ack->status == STATUS_NOT_FOUND)
		errand_done(&k->abandoned, ack->id);
	return true;
}

/* ---- writes ---- */

/* The header, or the parameter of the older clients; empty: neither. */
static struct slice named(const struct request *r, const char *header, const char *parameter)
{
	struct slice value = request_header(r, header);
	if (value.len == 0 && !request_parameter(r, parameter, &value))
		return slice_of(NULL, 0);
	return value;
}

static struct slice next_item(struct slice *rest)
{
	size_t end = 0;
	while (end < rest->len && rest->data[end] != ',')
		end++;
	struct slice item = slice_of(rest->data, end);
	size_t used = end < rest->len ? end + 1 : end;
	*rest = slice_of(rest->data + used, rest->len - used);
	while (item.len > 0 && (item.data[0] == ' ' || item.data[0] == '\t'))
		item = slice_of(item.data + 1, item.len - 1);
	while (item.len > 0 && (item.data[item.len - 1] == ' ' || item.data[item.len - 1] == '\t'))
		item.len--;
	return item;
}

static bool take_ids(struct request *r, struct slice list, struct problem *p)
{
	r->lock_ids = arena_alloc(&r->arena, LIMIT_LOCK_IDS * sizeof *r->lock_ids);
	while (list.len > 0) {
		struct slice item = next_item(&list);
		if (item.len == 0)
			continue;
		if (r->lock_ids_count == LIMIT_LOCK_IDS)
			return problem_limit(p, STATUS_BAD_PARAMETER, "x-lock-id", LIMIT_LOCK_IDS,
					     LIMIT_LOCK_IDS + 1);
		uint8_t *id = arena_alloc(&r->arena, LOCK_ID_BYTES);
		if (!lock_id_parse(item, id))
			return problem_detail(
			    p, STATUS_BAD_PARAMETER, "x-lock-id",
			    "The id that POST /_/locks answered, or several with commas between.");
		r->lock_ids[r->lock_ids_count++] = slice_of(id, LOCK_ID_BYTES);
	}
	return true;
}

bool lock_take_headers(struct turn *t, struct request *r, struct problem *p)
{
	struct slice strategy = named(r, "x-lock-strategy", "lockStrategy");
	struct slice ids = named(r, "x-lock-id", "lockId");
	r->lock_fail = slice_is(strategy, "fail");
	r->lock_until_ms = t->now_ms + t->gw->options.limits.lock_wait_ms;
	if (strategy.len > 0 && !r->lock_fail && !slice_is(strategy, "wait"))
		return problem_detail(p, STATUS_BAD_PARAMETER, "x-lock-strategy", "wait or fail.");
	return ids.len == 0 || take_ids(r, ids, p);
}

bool lock_wait_begin(struct turn *t, struct request *r)
{
	if (r->lock_waits)
		return true;
	if (t->gw->locks->waiting >= t->gw->options.limits.lock_waiters_max)
		return false;
	r->lock_waits = true;
	t->gw->locks->waiting++;
	return true;
}

uint32_t lock_waiting(const struct gateway *gw)
{
	return gw->locks->waiting;
}

void lock_wait_end(struct gateway *gw, struct request *r)
{
	if (r->lock_waits)
		gw->locks->waiting--;
	r->lock_waits = false;
}

bool lock_wait(struct turn *t, struct request *r, uint32_t tries, int64_t *delay_ms)
{
	*delay_ms = tries < 5 ? LOCK_BACKOFF_MS << tries : LOCK_BACKOFF_MAX_MS;
	if (r->lock_fail || t->now_ms + *delay_ms > r->lock_until_ms || !lock_wait_begin(t, r))
		return false;
	int64_t at_ms = t->now_ms + *delay_ms + t->gw->options.limits.deadline_ms;
	if (at_ms > r->deadline.at_ms) /* what others were sent counts on it */
		timers_set(&t->gw->timers, &r->deadline, at_ms);
	return true;
}
