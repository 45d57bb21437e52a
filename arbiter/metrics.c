#include "arbiter/internal.h"

static void counter(struct buf *out, const char *name, uint64_t value)
{
	buf_printf(out, "# TYPE %s counter\n%s %llu\n", name, name, (unsigned long long)value);
}

static void gauge(struct buf *out, const char *name, uint64_t value)
{
	buf_printf(out, "# TYPE %s gauge\n%s %llu\n", name, name, (unsigned long long)value);
}

static void print_resolved(const struct arbiter *a, struct buf *out)
{
	static const char *const how[] = {"merge",  "newest",   "oldest", "single",
					  "script", "external", "split"};
	_Static_assert(ARRAY_LEN(how) == HOW_KINDS, "a name for each way");
	buf_append_text(out, "# TYPE parley_conflicts_resolved_total counter\n");
	for (uint32_t i = 0; i < HOW_KINDS; i++)
		buf_printf(out, "parley_conflicts_resolved_total{how=\"%s\"} %llu\n", how[i],
			   (unsigned long long)a->counters.resolved[i]);
}

/* How many items wait for each node: a replica that is down shows here. */
static uint64_t pending_of(const struct arbiter *a, uint64_t node)
{
	uint64_t pending = 0;
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&a->shards, &at));) {
		const struct cleanup *c = &((struct shard_row *)entry->value)->cleanup;
		for (uint32_t i = 0; c->state == CLEANUP_PREPARING && i < c->replicas_count; i++)
			if (c->replicas[i].node == node && !c->replicas[i].acked)
				pending += c->items_count;
	}
	return pending;
}

static void print_pending(const struct arbiter *a, struct buf *out)
{
	buf_append_text(out, "# TYPE parley_cleanup_pending_acks gauge\n");
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&a->members, &at));)
		buf_printf(out, "parley_cleanup_pending_acks{node=\"%s\"} %llu\n",
			   (const char *)entry->value,
			   (unsigned long long)pending_of(a, map_key_u64(entry)));
}

static uint64_t leased_count(const struct arbiter *a)
{
	uint64_t leased = 0;
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&a->shards, &at));)
		leased += ((struct shard_row *)entry->value)->leased;
	return leased;
}

/* Those looked at lately; what was resolved otherwise runs out. */
static uint64_t open_seen(const struct arbiter *a)
{
	uint64_t open = 0;
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&a->known, &at));)
		open += ((struct known *)entry->value)->until_ms > a->now_ms;
	return open;
}

void arbiter_metrics_print(const void *core, struct buf *out)
{
	const struct arbiter *a = core;
	uint64_t tasks = 0;
	for (uint32_t i = 0; i < TASKS_MAX; i++)
		tasks += a->tasks[i].state != TASK_FREE;
	print_resolved(a, out);
	gauge(out, "parley_conflicts_open_seen", open_seen(a));
	counter(out, "parley_conflicts_noted_total", a->counters.noted);
	counter(out, "parley_conflicts_scripts_failed_total", a->counters.scripts_failed);
	counter(out, "parley_conflicts_retries_total", a->counters.retries);
	counter(out, "parley_conflicts_given_up_total", a->counters.given_up);
	gauge(out, "parley_arbiter_tasks", tasks);
	gauge(out, "parley_arbiter_shards", leased_count(a));
	counter(out, "parley_cleanup_rounds_total", a->counters.cleanup_rounds);
	counter(out, "parley_cleanup_restarts_total", a->counters.cleanup_restarts);
	counter(out, "parley_cleanup_items_total", a->counters.cleanup_items);
	counter(out, "parley_cleanup_refused_acks_total", a->counters.cleanup_refused);
	print_pending(a, out);
}

bool arbiter_metrics_ready(const void *core, int64_t now_ms, struct buf *out)
{
	const struct arbiter *a = core;
	bool leased = a->lease_until_ms > now_ms;
	buf_append_text(out, a->joined ? "coordinator ok\n" : "coordinator failed: not joined\n");
	buf_append_text(out, leased ? "lease ok\n" : "lease failed: not renewed in time\n");
	buf_append_text(out, a->draining ? "draining failed: about to stop\n" : "draining ok\n");
	return a->joined && leased && !a->draining;
}
