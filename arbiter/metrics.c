/* What an arbiter counts, as Prometheus reads it. */
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

/* ---- by collection ---- */

enum { COLLECTIONS_NAMED = 200 /* all others are one */ };

static void counts_add(struct queue_counts *sum, const struct queue_counts *counts)
{
	for (uint32_t i = 0; i <= CONFLICT_KIND_MAX; i++)
		sum->open[i] += counts->open[i];
	if (counts->oldest_ms > 0 && (sum->oldest_ms == 0 || counts->oldest_ms < sum->oldest_ms))
		sum->oldest_ms = counts->oldest_ms;
	sum->resolved += counts->resolved;
}

static bool counts_any(const struct queue_counts *counts)
{
	return counts->oldest_ms > 0 || counts->resolved > 0;
}

static struct queue_counts counts_of(const struct arbiter *a, uint64_t collection)
{
	struct queue_counts sum = {0};
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&a->shards, &at));) {
		const struct shard_row *row = entry->value;
		if (row->leased && row->placement.collection == collection)
			counts_add(&sum, &row->counted);
	}
	return sum;
}

static void print_counts(const struct arbiter *a, struct slice name,
			 const struct queue_counts *counts, struct buf *out)
{
	static const char *const kinds[] = {"edits", "roots", "delete"};
	_Static_assert(ARRAY_LEN(kinds) == CONFLICT_KIND_MAX + 1, "a name for each kind");
	uint64_t wall_ms = a->wall_ms > 0 ? (uint64_t)a->wall_ms : 0;
	uint64_t age_ms =
	    counts->oldest_ms > 0 && counts->oldest_ms < wall_ms ? wall_ms - counts->oldest_ms : 0;
	for (uint32_t i = 0; i < ARRAY_LEN(kinds); i++)
		buf_printf(out, "parley_conflicts{collection=\"%.*s\",kind=\"%s\"} %llu\n",
			   (int)name.len, (const char *)name.data, kinds[i],
			   (unsigned long long)counts->open[i]);
	buf_printf(out, "parley_conflicts_oldest_seconds{collection=\"%.*s\"} %llu\n",
		   (int)name.len, (const char *)name.data, (unsigned long long)(age_ms / 1000));
	buf_printf(out, "parley_cleanup_backlog{collection=\"%.*s\"} %llu\n", (int)name.len,
		   (const char *)name.data, (unsigned long long)counts->resolved);
}

/* Collections in which nothing was found are left out; of the rest, the first ones are named. */
static void print_collections(const struct arbiter *a, struct buf *out)
{
	struct queue_counts rest = {0};
	uint32_t named = 0;
	size_t at = 0;
	buf_append_text(out, "# TYPE parley_conflicts gauge\n"
			     "# TYPE parley_conflicts_oldest_seconds gauge\n"
			     "# TYPE parley_cleanup_backlog gauge\n");
	for (struct map_entry *entry; (entry = map_next(&a->collections, &at));) {
		const struct collection_row *row = entry->value;
		struct queue_counts counts = counts_of(a, map_key_u64(entry));
		if (!counts_any(&counts))
			continue;
		if (named++ < COLLECTIONS_NAMED)
			print_counts(a, slice_of(row->name, row->name_len), &counts, out);
		else
			counts_add(&rest, &counts);
	}
	/* no collection has such a name */
	print_counts(a, slice_text("_other"), &rest, out);
}

static uint64_t waiting_rounds(const struct arbiter *a, uint64_t *oldest_ms)
{
	uint64_t rounds = 0;
	size_t at = 0;
	*oldest_ms = 0;
	for (struct map_entry *entry; (entry = map_next(&a->shards, &at));) {
		const struct cleanup *c = &((struct shard_row *)entry->value)->cleanup;
		uint64_t since_ms = c->since_wall_ms > 0 ? (uint64_t)c->since_wall_ms : 0;
		if (c->state != CLEANUP_PREPARING || since_ms == 0)
			continue;
		rounds++;
		if (*oldest_ms == 0 || since_ms < *oldest_ms)
			*oldest_ms = since_ms;
	}
	return rounds;
}

static void print_waiting(const struct arbiter *a, struct buf *out)
{
	uint64_t wall_ms = a->wall_ms > 0 ? (uint64_t)a->wall_ms : 0;
	uint64_t oldest_ms;
	gauge(out, "parley_cleanup_rounds_waiting", waiting_rounds(a, &oldest_ms));
	gauge(out, "parley_cleanup_waiting_seconds",
	      oldest_ms > 0 && oldest_ms < wall_ms ? (wall_ms - oldest_ms) / 1000 : 0);
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
	print_waiting(a, out);
	print_collections(a, out);
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
