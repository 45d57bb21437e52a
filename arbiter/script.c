#include "arbiter/script.h"

#include "arbiter/internal.h"
#include "common/doc/script_decide.h"
#include "common/probe.h"

enum {
	/* Runs wait for each other; an answer that is not there by then is not counted on. */
	SCRIPT_PATIENCE_MS = 30000,
	SCRIPT_CRASHES_MAX = 2
};

/* ---- asking ---- */

static void digest_of(const struct decision *d, uint8_t out[32])
{
	digest16(d->policy.script, out);
	digest16(d->input, out + 16);
}

static void start(struct arbiter *a, struct task *t, const struct decision *d,
		  uint64_t policy_version, struct effects *fx)
{
	const struct arbiter_options *o = &a->options;
	struct script_request request = {
	    .id = ++a->last_request,
	    .group = shard_row(a, t->shard)->placement.collection,
	    .time_ms = o->script_time_ms ? o->script_time_ms : SCRIPT_TIME_MS,
	    .memory_bytes = o->script_memory_bytes ? o->script_memory_bytes : SCRIPT_MEMORY_BYTES,
	    .source = d->policy.script,
	    .arguments = d->input};
	t->scripted = true;
	t->script.done = false;
	t->script.policy_version = policy_version;
	digest_of(d, t->script.digest);
	t->state = TASK_SCRIPTING;
	t->request = request.id;
	t->due_ms = a->now_ms + SCRIPT_PATIENCE_MS;
	fx_script(fx, &request);
}

/* As far as this process knows. */
static uint64_t version_in_force(struct arbiter *a, const struct task *t)
{
	const struct shard_row *row = shard_row(a, t->shard);
	const struct collection_row *c =
	    row ? map_get_u64(&a->collections, row->placement.collection) : NULL;
	return c ? c->version : 0;
}

void arbiter_script_policy_moved(struct arbiter *a, uint64_t collection, struct effects *fx)
{
	for (uint32_t i = 0; i < TASKS_MAX; i++) {
		struct task *t = &a->tasks[i];
		const struct shard_row *row =
		    t->state == TASK_SCRIPTING ? shard_row(a, t->shard) : NULL;
		if (!row || row->placement.collection != collection ||
		    t->script.policy_version >= version_in_force(a, t))
			continue;
		REACHED(script_dropped);
		fx_script_drop(fx, t->request);
		arbiter_task_read(a, t, fx);
	}
}

/* ---- what it said ---- */

bool arbiter_script_decide(struct arbiter *a, struct task *t, const struct msg_conflict_read_ack *m,
			   struct decision *d, struct effects *fx)
{
	uint8_t digest[32];
	digest_of(d, digest);
	bool same = t->script.done && memcmp(digest, t->script.digest, sizeof digest) == 0;
	if (t->script.done && !same)
		REACHED(script_asked_again);
	if (!same && m->policy_version < version_in_force(a, t)) {
		REACHED(script_policy_is_old);
		arbiter_task_wait(a, t, fx);
		return false;
	}
	if (!same) {
		start(a, t, d, m->policy_version, fx);
		return false;
	}
	struct script_end end = {t->script.status, buf_slice(&t->script.output)};
	if (!a->json)
		a->json = json_parser_new();
	a->counters.scripts_failed +=
	    script_decide(m, buf_slice(&t->id), &end, a->json, &a->arena, d);
	return true;
}

/* ---- its end ---- */

static struct task *task_of(struct arbiter *a, uint64_t request)
{
	for (uint32_t i = 0; i < TASKS_MAX; i++)
		if (a->tasks[i].state == TASK_SCRIPTING && a->tasks[i].request == request)
			return &a->tasks[i];
	return NULL;
}

/* Not the script's doing, perhaps: once more. */
static bool tries_again(const struct task *t, enum script_status status)
{
	return status == SCRIPT_BUSY ||
	       (status == SCRIPT_CRASHED && t->attempts + 1 < SCRIPT_CRASHES_MAX);
}

/* Under this version of its policy the collection may have fewer at work. */
static void note_slow(struct arbiter *a, const struct task *t)
{
	const struct shard_row *row = shard_row(a, t->shard);
	struct collection_row *c =
	    row ? map_get_u64(&a->collections, row->placement.collection) : NULL;
	if (!c)
		return;
	REACHED(script_slow);
	c->slow = true;
	c->slow_version = c->version;
}

bool arbiter_script_was_costly(const struct script_run *run)
{
	return run->done && (run->status == SCRIPT_TIME || run->status == SCRIPT_MEMORY ||
			     run->status == SCRIPT_CRASHED);
}

void arbiter_script_on_end(struct arbiter *a, const struct event *e, struct effects *fx)
{
	struct task *t = task_of(a, e->script.id);
	if (!t)
		return;
	if (tries_again(t, e->script.status)) {
		REACHED(script_run_again);
		arbiter_task_wait(a, t, fx);
		return;
	}
	t->script.done = true;
	t->script.status = e->script.status;
	if (arbiter_script_was_costly(&t->script))
		note_slow(a, t);
	buf_clear(&t->script.output);
	buf_append_slice(&t->script.output, e->script.output);
	arbiter_task_read(a, t, fx);
}

bool arbiter_script_has_room(struct arbiter *a, const struct shard_row *row)
{
	const struct collection_row *c = map_get_u64(&a->collections, row->placement.collection);
	bool slow = c && c->slow && c->slow_version == c->version;
	uint32_t all = 0;
	uint32_t same = 0;
	for (uint32_t i = 0; row->scripted && i < TASKS_MAX; i++) {
		const struct task *t = &a->tasks[i];
		if (t->state == TASK_FREE || !t->scripted)
			continue;
		const struct shard_row *other = shard_row(a, t->shard);
		all++;
		same += other && other->placement.collection == row->placement.collection;
	}
	return all < SCRIPT_TASKS_MAX && same < (slow ? SCRIPT_TASKS_OF_SLOW : SCRIPT_TASKS_OF_ONE);
}
