#include "gateway/notify/events.h"
#include "gateway/notify/feed.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/query_plan.h"

void notify_init(struct gateway *gw)
{
	struct notify *n = mem_alloc_zero(sizeof *n);
	gw->notify = n;
	n->subscribers.seed = rng_next(&gw->rng);
	n->patterns.seed = rng_next(&gw->rng);
	n->interests.seed = rng_next(&gw->rng);
	/* what still comes to an earlier life of this gateway must find nothing */
	n->next_feed = rng_next(&gw->rng) >> 8;
	n->next_request = 1ull << 63;
	n->report_due = true; /* an earlier life may have had subscribers */
	char why[1];
	n->lender =
	    query_regex_compile(slice_of(NULL, 0), slice_of(NULL, 0), &n->arena, why, sizeof why);
	CHECK(n->lender != NULL);
}

void notify_close(struct gateway *gw)
{
	struct notify *n = gw->notify;
	struct turn t = {.gw = gw};
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&n->subscribers, &at));)
		subscriber_free(&t, e->value);
	map_close(&n->subscribers);
	map_close(&n->patterns);
	map_close(&n->interests);
	map_close(&n->live);
	map_close(&n->feeds);
	arena_close(&n->arena);
	buf_close(&n->all.id);
	buf_close(&n->path);
	buf_close(&n->frame);
	buf_close(&n->json);
	buf_close(&n->id);
	free(n->streams);
	free(n);
}

bool notify_room(const struct gateway *gw, struct problem *p)
{
	uint32_t max = gw->options.limits.subscribers_max;
	if (gw->notify->subscribers.count < max)
		return true;
	return problem_limit(p, STATUS_TOO_MANY_SUBSCRIBERS, "max_subscribers", max,
			     gw->notify->subscribers.count);
}

/* ---- events ---- */

void notify_stream_gone(struct turn *t, uint64_t stream)
{
	struct subscriber *sub = subscriber_find(t->gw, stream);
	if (sub)
		subscriber_free(t, sub);
}

void notify_drain(struct turn *t)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&t->gw->notify->subscribers, &at));) {
		struct subscriber *sub = e->value;
		if (sub->kind != SUBSCRIBER_SOCKET && !sub->answered)
			continue; /* a request under way is answered */
		subscriber_clear(t, sub);
		if (!sub->closing)
			fx_stream_close(t->fx, sub->stream, NOTIFY_CODE_LEAVING, "draining");
		sub->closing = true;
	}
}

void notify_tick(struct turn *t)
{
	struct notify *n = t->gw->notify;
	if (t->now_ms < n->tick_ms)
		return;
	n->tick_ms = t->now_ms + NOTIFY_TICK_MS;
	if (n->subscribers.count + n->watchers > 0) {
		feeds_tick(t);
		events_tick(t);
	}
	report_tick(t);
}

int64_t notify_deadline(const struct gateway *gw)
{
	const struct notify *n = gw->notify;
	return n->subscribers.count + n->watchers > 0 || n->report_due ? n->tick_ms : NO_DEADLINE;
}

void notify_metrics(const struct gateway *gw, struct buf *out)
{
	const struct notify *n = gw->notify;
	const struct {
		const char *name;
		const char *type;
		uint64_t value;
	} rows[] = {
	    {"parley_notify_patterns", "gauge", n->patterns.count},
	    {"parley_notify_feeds", "gauge", n->live.count},
	    {"parley_notify_replays", "gauge", n->replays},
	    {"parley_notify_watchers", "gauge", n->watchers},
	    {"parley_notify_events_total", "counter", n->events},
	    {"parley_notify_sent_total", "counter", n->sent},
	    {"parley_notify_cut_off_total", "counter", n->cut_off},
	    {"parley_notify_feeds_reopened_total", "counter", n->reopened},
	    {"parley_notify_gaps_total", "counter", n->gaps},
	};
	buf_printf(out,
		   "# TYPE parley_notify_subscribers gauge\n"
		   "parley_notify_subscribers{kind=\"websocket\"} %" PRIu32 "\n"
		   "parley_notify_subscribers{kind=\"events\"} %" PRIu32 "\n"
		   "parley_notify_subscribers{kind=\"conflicts\"} %" PRIu32 "\n",
		   n->counts[SUBSCRIBER_SOCKET], n->counts[SUBSCRIBER_EVENTS],
		   n->counts[SUBSCRIBER_CONFLICTS]);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		buf_printf(out, "# TYPE %s %s\n%s %" PRIu64 "\n", rows[i].name, rows[i].type,
			   rows[i].name, rows[i].value);
}
