#include "arbiter/task.h"

#include "arbiter/internal.h"
#include "common/doc/script_decide.h"
#include "common/probe.h"
#include "proto/msgpack.h"

static const char *const how_names[] = {
    [HOW_MERGE] = "merge",   [HOW_NEWEST] = "newest", [HOW_OLDEST] = "oldest",
    [HOW_SINGLE] = "single", [HOW_SCRIPT] = "script", [HOW_EXTERNAL] = "external",
    [HOW_SPLIT] = "split",
};

static void forget_parts(struct arbiter *a, const struct task *t)
{
	if (a->large.task != t)
		return;
	arena_close(&a->large.arena);
	a->large = (struct large){0};
}

static void task_end(struct arbiter *a, struct task *t)
{
	struct shard_row *row = shard_row(a, t->shard);
	forget_parts(a, t);
	t->state = TASK_FREE;
	buf_close(&t->script.output);
	arbiter_split_end(t);
	if (!row)
		return;
	row->tasks--;
	/* more of the queue fits in; half empty, so that a page is not fetched for each one */
	if (buf_slice(&row->after).len > 0 && row->tasks <= TASKS_PER_SHARD / 2)
		arbiter_queue_wake(a, row);
}

/* What is large or comes from far away takes its time, and counts only as the answer to the last
 * asking. */
int64_t arbiter_task_answer_due_ms(const struct arbiter *a, const struct task *t)
{
	return a->now_ms + backoff_ms(REQUEST_MS, REQUEST_LONGEST_MS, t->attempts);
}

void arbiter_task_read(struct arbiter *a, struct task *t, struct effects *fx)
{
	struct shard_row *row = shard_row(a, t->shard);
	if (!row || !row->placement.lead) {
		task_end(a, t);
		return;
	}
	struct msg_conflict_read read = {
	    .shard = t->shard, .id = buf_slice(&t->id), .from = t->from};
	struct envelope envelope = request_new(a, MSG_conflict_read, row->placement.epoch);
	fx_send(fx, WHEN_NOW, row->placement.lead, 0, &envelope, &read);
	t->state = TASK_READING;
	t->request = envelope.request_id;
	t->due_ms = arbiter_task_answer_due_ms(a, t);
}

static bool task_may_retry(struct arbiter *a, struct task *t, struct effects *fx)
{
	a->counters.retries++;
	if (++t->attempts < BOUND(arbiter_attempts, ATTEMPTS_MAX))
		return true;
	a->counters.given_up++;
	fx_log(fx, LOG_LEVEL_WARN, "conflict_given_up shard=%016llx attempts=%u",
	       (unsigned long long)t->shard, t->attempts);
	task_end(a, t);
	return false;
}

void arbiter_task_wait(struct arbiter *a, struct task *t, struct effects *fx)
{
	if (!task_may_retry(a, t, fx))
		return;
	t->state = TASK_WAITING;
	t->request = 0;
	t->due_ms = a->now_ms + backoff_ms(RETRY_MS, BACKOFF_MS, t->attempts - 1);
}

/* ---- from outside ---- */

bool arbiter_task_exists(const struct arbiter *a, uint64_t shard, struct slice id)
{
	for (uint32_t i = 0; i < TASKS_MAX; i++) {
		const struct task *t = &a->tasks[i];
		if (t->state != TASK_FREE && t->shard == shard &&
		    slice_equal(buf_slice(&t->id), id))
			return true;
	}
	return false;
}

bool arbiter_task_start(struct arbiter *a, struct shard_row *row, struct slice id,
			struct effects *fx)
{
	uint64_t room = a->options.tasks_max;
	uint64_t most = BOUND(arbiter_tasks, TASKS_MAX);
	if (room == 0 || room > most)
		room = most;
	if (row->tasks >= TASKS_PER_SHARD || !arbiter_script_has_room(a, row))
		return false;
	for (uint32_t i = 0; i < room; i++) {
		struct task *t = &a->tasks[i];
		if (t->state != TASK_FREE)
			continue;
		t->shard = row->placement.id;
		t->attempts = 0;
		t->from = 0;
		t->scripted = row->scripted;
		t->script.done = false;
		t->refusal = (struct refusal){0};
		buf_clear(&t->id);
		buf_append_slice(&t->id, id);
		row->tasks++;
		arbiter_task_read(a, t, fx);
		return true;
	}
	return false;
}

void arbiter_task_timer(struct arbiter *a, struct effects *fx)
{
	for (uint32_t i = 0; i < TASKS_MAX; i++) {
		struct task *t = &a->tasks[i];
		if (t->state == TASK_FREE || t->due_ms > a->now_ms)
			continue;
		if (t->state == TASK_SCRIPTING) /* else it would keep others waiting, for nothing */
			fx_script_drop(fx, t->request);
		if (t->state == TASK_WAITING)
			arbiter_task_read(a, t, fx);
		else
			arbiter_task_wait(a, t, fx);
	}
}

int64_t arbiter_task_deadline(const struct arbiter *a)
{
	int64_t at = NO_DEADLINE;
	for (uint32_t i = 0; i < TASKS_MAX; i++)
		if (a->tasks[i].state != TASK_FREE)
			at = earlier(at, a->tasks[i].due_ms);
	return at;
}

void arbiter_task_lead_moved(struct arbiter *a, const struct shard_row *row)
{
	for (uint32_t i = 0; i < TASKS_MAX; i++) {
		struct task *t = &a->tasks[i];
		/* what a script says stays good: its graph is read again in any case */
		if (t->state == TASK_FREE || t->state == TASK_SCRIPTING ||
		    t->shard != row->placement.id)
			continue;
		t->state = TASK_WAITING;
		t->request = 0;
		t->due_ms = a->now_ms + RETRY_MS;
	}
}

void arbiter_task_drop(struct arbiter *a, uint64_t shard, struct effects *fx)
{
	for (uint32_t i = 0; i < TASKS_MAX; i++) {
		struct task *t = &a->tasks[i];
		if (t->state == TASK_FREE || t->shard != shard)
			continue;
		if (t->state == TASK_SCRIPTING)
			fx_script_drop(fx, t->request);
		task_end(a, t);
	}
}

void arbiter_task_close(struct arbiter *a)
{
	for (uint32_t i = 0; i < TASKS_MAX; i++) {
		buf_close(&a->tasks[i].id);
		buf_close(&a->tasks[i].script.output);
		arbiter_split_end(&a->tasks[i]);
	}
	arena_close(&a->large.arena);
}

/* ---- answers ---- */

/* The task that waits for this answer from this member, in this state. */
static struct task *task_of(struct arbiter *a, const struct event *e, enum task_state state)
{
	uint64_t request = e->message.envelope.request_id;
	for (uint32_t i = 0; request != 0 && i < TASKS_MAX; i++) {
		struct task *t = &a->tasks[i];
		if (t->state != state || t->request != request)
			continue;
		const struct shard_row *row = shard_row(a, t->shard);
		return row && row->placement.lead == e->message.from.member ? t : NULL;
	}
	return NULL;
}

static void send_resolve(struct arbiter *a, struct task *t, const struct shard_row *row,
			 const struct decision *d, struct effects *fx)
{
	struct envelope envelope = request_new(a, MSG_conflict_resolve, row->placement.epoch);
	fx_send(fx, WHEN_NOW, row->placement.lead, 0, &envelope, &d->resolve);
	t->state = TASK_RESOLVING;
	t->how = d->how;
	memcpy(t->resolution, d->resolution_id, sizeof t->resolution);
	t->request = envelope.request_id;
	t->due_ms = arbiter_task_answer_due_ms(a, t);
}

static void send_note(struct arbiter *a, struct task *t, const struct shard_row *row,
		      const struct decision *d, struct effects *fx)
{
	struct envelope envelope = {.type = MSG_conflict_note, .epoch = row->placement.epoch};
	fx_send(fx, WHEN_NOW, row->placement.lead, 0, &envelope, &d->note);
	a->counters.noted++;
	task_end(a, t);
}

/* How long clients still have for it, by the lead's clock; 0: their time is over. */
static int64_t clients_ms(const struct msg_conflict_read_ack *m, const struct decision *d)
{
	if (d->policy.deadline_ms == 0 || m->conflict.since_ms == 0)
		return KNOWN_MS;
	if (m->age_ms >= d->policy.deadline_ms)
		return 0;
	uint64_t left_ms = d->policy.deadline_ms - m->age_ms;
	return left_ms < KNOWN_MS ? (int64_t)left_ms : KNOWN_MS;
}

/* The lead has refused just this: no use in asking again. A script has failed then, anything else
 * leaves the conflict open. */
static void heed_refusal(struct arbiter *a, const struct task *t,
			 const struct msg_conflict_read_ack *m, struct decision *d)
{
	struct slice id = buf_slice(&t->id);
	struct slice why = slice_text(status_row(t->refusal.status)->code);
	if (t->refusal.status == 0 || d->kind != DECISION_RESOLVE ||
	    memcmp(d->resolution_id, t->refusal.resolution, sizeof d->resolution_id) != 0)
		return;
	if (d->how == HOW_SCRIPT && (t->refusal.hows & 1u << HOW_SCRIPT))
		(void)script_instead(m, id, why, &a->arena, d);
	struct decide_why refused = {.reason = "refused", .text = why, .instead_of = d->instead_of};
	if (d->kind == DECISION_RESOLVE && (t->refusal.hows & 1u << d->how))
		decide_open(m, id, &refused, &a->arena, d);
}

static void act_on_graph(struct arbiter *a, struct task *t, const struct msg_conflict_read_ack *m,
			 struct effects *fx)
{
	struct shard_row *row = shard_row(a, t->shard);
	struct slice id = buf_slice(&t->id);
	struct decision d;
	decide_conflict(m, id, &a->arena, &d);
	decision_heed_held(&d, m->conflict.held, &a->arena);
	if (d.kind == DECISION_EXTERNAL && clients_ms(m, &d) == 0) {
		REACHED(external_deadline);
		decide_fallback(m, id, "deadline", (struct slice){0}, &a->arena, &d);
	}
	row->scripted = d.kind == DECISION_SCRIPT;
	if (d.kind == DECISION_SCRIPT && !arbiter_script_decide(a, t, m, &d, fx))
		return;
	heed_refusal(a, t, m, &d);
	if (d.kind == DECISION_RESOLVE && !arbiter_split_decide(a, t, &d, fx))
		return;
	d.resolve.shard = t->shard;
	d.note.shard = t->shard;
	switch (d.kind) {
	case DECISION_RESOLVE:
		send_resolve(a, t, row, &d, fx);
		return;
	case DECISION_NOTE:
		arbiter_queue_remember(a, row, id, m, arbiter_script_was_costly(&t->script));
		send_note(a, t, row, &d, fx);
		return;
	case DECISION_SCRIPT:
	case DECISION_EXTERNAL:
		/* clients' business; it is looked at again */
		arbiter_queue_remember(a, row, id, m, false);
		arbiter_queue_remind(a, row, id, clients_ms(m, &d));
		break;
	case DECISION_BROKEN:
		fx_log(fx, LOG_LEVEL_ERROR, "graph_invalid shard=%016llx",
		       (unsigned long long)t->shard);
		arbiter_queue_remember(a, row, id, m, false);
		break;
	case DECISION_NOTHING:
		arbiter_queue_forget(a, row, id);
		break;
	}
	task_end(a, t);
}

static void take_part(struct arbiter *a, struct task *t, const struct msg_conflict_read_ack *m,
		      struct effects *fx)
{
	struct msg_conflict_read_ack whole;
	if (a->large.task && a->large.task != t) {
		arbiter_task_wait(a, t, fx);
		return;
	}
	REACHED(graph_in_parts);
	a->large.task = t;
	if (!graph_parts_take(&a->large.parts, &a->large.arena, m, &whole, &t->from)) {
		arbiter_task_read(a, t, fx);
		return;
	}
	t->from = 0;
	act_on_graph(a, t, &whole, fx);
	forget_parts(a, t);
}

void arbiter_task_on_graph(struct arbiter *a, const struct event *e, struct effects *fx)
{
	const struct msg_conflict_read_ack *m = e->message.body;
	struct task *t = task_of(a, e, TASK_READING);
	if (!t)
		return;
	if (m->status == STATUS_OK && (a->large.task == t || graph_parts_are_left(m)))
		take_part(a, t, m, fx);
	else if (m->status == STATUS_OK)
		act_on_graph(a, t, m, fx);
	else if (m->status == STATUS_NOT_FOUND)
		task_end(a, t);
	else
		arbiter_task_wait(a, t, fx);
}

static void note_refusal(struct task *t, uint64_t status)
{
	if (memcmp(t->refusal.resolution, t->resolution, sizeof t->resolution) != 0)
		t->refusal.hows = 0;
	memcpy(t->refusal.resolution, t->resolution, sizeof t->resolution);
	t->refusal.status = status;
	t->refusal.hows |= 1u << t->how;
}

void arbiter_task_on_resolved(struct arbiter *a, const struct event *e, struct effects *fx)
{
	const struct msg_conflict_resolve_ack *m = e->message.body;
	struct task *t = task_of(a, e, TASK_RESOLVING);
	if (!t)
		return;
	switch (m->status) {
	case STATUS_OK:
		a->counters.resolved[t->how]++;
		arbiter_queue_forget(a, shard_row(a, t->shard), buf_slice(&t->id));
		fx_log(fx, LOG_LEVEL_DEBUG, "conflict_resolved shard=%016llx how=%s",
		       (unsigned long long)t->shard, how_names[t->how]);
		task_end(a, t);
		break;
	case STATUS_LEAVES_MOVED:
	case STATUS_POLICY_MOVED:
		if (task_may_retry(a, t, fx))
			arbiter_task_read(a, t, fx);
		break;
	case STATUS_BAD_MESSAGE:
	case STATUS_BODY_TOO_LARGE:
	case STATUS_LIMIT_REACHED:
	case STATUS_MISSING_ATTACHMENT:
		note_refusal(t, m->status);
		if (task_may_retry(a, t, fx))
			arbiter_task_read(a, t, fx);
		break;
	default:
		arbiter_task_wait(a, t, fx);
	}
}
