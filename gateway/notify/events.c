/* Server-Sent Events: GET /_/notify?path=PATTERN, and going on after an event that was seen.
 *
 * The id of an event is where its subscriber stands in the streams of all shards that it follows
 * (position.h). */
#include <inttypes.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "gateway/native.h"
#include "gateway/notify/events.h"
#include "gateway/notify/feed.h"
#include "gateway/routes.h"
#include "gateway/url.h"

static uint64_t own_number(const struct subscriber *sub, const struct feed *live)
{
	for (uint32_t i = 0; i < sub->replays_count; i++)
		if (sub->replays[i] && sub->replays[i]->shard == live->shard)
			return sub->replays[i]->position;
	for (uint32_t i = 0; i < sub->skips_count; i++)
		if (sub->skips[i].shard == live->shard && sub->skips[i].number > live->position)
			return sub->skips[i].number;
	return live->position;
}

static bool add_position(const struct subscriber *sub, const struct feed *live, uint32_t max,
			 struct position_of *list, uint32_t *count)
{
	if (*count == max)
		return false;
	list[(*count)++] = (struct position_of){live->shard, own_number(sub, live)};
	return true;
}

/* The collection that all its patterns fix; NULL: none, or several. */
static const struct map_collection *only_collection(const struct gateway *gw,
						    const struct subscriber *sub)
{
	const struct interest *first = sub->count ? sub->items[0]->pattern->interest : NULL;
	for (uint32_t i = 0; i < sub->count; i++)
		if (sub->items[i]->pattern->interest != first)
			return NULL;
	if (!first || first->name_len == 0)
		return NULL;
	return map_get(&gw->map.collections, slice_of(first->name, first->name_len));
}

void events_position(struct turn *t, const struct subscriber *sub, uint32_t shards_max,
		     struct buf *out)
{
	struct position_of list[NOTIFY_ID_SHARDS_MAX];
	const struct gateway *gw = t->gw;
	const struct map_collection *c = only_collection(gw, sub);
	uint32_t count = 0;
	bool fits = true;
	buf_clear(out);
	for (uint32_t i = 0; c && fits && i < c->shards_count; i++) {
		const struct feed *live = feed_of_shard(gw, c->shards[i]->shard.id);
		fits = !live || add_position(sub, live, shards_max, list, &count);
	}
	size_t at = 0;
	for (struct map_entry *e; !c && fits && (e = map_next(&gw->notify->live, &at));) {
		const struct feed *live = e->value;
		if (subscriber_follows(gw, sub, live->collection))
			fits = add_position(sub, live, shards_max, list, &count);
	}
	if (fits)
		position_print(list, count, out);
}

/* ---- a request ---- */

static bool take_position(struct subscriber *sub, struct slice text, struct problem *p)
{
	struct buf list = {0};
	bool fine = position_parse(text, &list);
	if (fine) {
		sub->resumes = true;
		sub->resume_count = position_count(&list);
		sub->resume = mem_alloc_zero((sub->resume_count + 1) * sizeof *sub->resume);
		for (uint32_t i = 0; i < sub->resume_count; i++)
			sub->resume[i] = position_at(&list, i);
	}
	buf_close(&list);
	return fine || problem_detail(p, STATUS_BAD_PARAMETER, "Last-Event-ID",
				      "Send the id of an event unchanged.");
}

bool events_take_path(struct turn *t, struct subscriber *sub, struct slice text, struct problem *p)
{
	if (subscription_find(sub, text))
		return true;
	if (sub->count == NOTIFY_PATTERNS_MAX)
		return problem_limit(p, STATUS_BAD_PATTERN, "path", NOTIFY_PATTERNS_MAX,
				     sub->count + 1);
	struct pattern *pattern = pattern_get(t, text, p);
	if (pattern)
		subscription_add(t, sub, pattern);
	return pattern != NULL;
}

static bool take_paths(struct turn *t, struct request *r, struct subscriber *sub, struct problem *p)
{
	for (uint32_t i = 0; i < r->parameters_count; i++)
		if (slice_is(r->parameters[i].name, "path") &&
		    !events_take_path(t, sub, r->parameters[i].value, p))
			return false;
	return sub->count > 0 ||
	       problem_detail(p, STATUS_BAD_PATTERN, "path",
			      "Name what to listen to, as in path=POST:/tests/.*");
}

static bool take_since(struct request *r, struct subscriber *sub, struct problem *p)
{
	struct slice since = request_header(r, "last-event-id");
	if (since.len == 0 && !request_parameter(r, "since", &since))
		return true;
	return since.len == 0 || take_position(sub, since, p);
}

/* An ended request leaves no subscriber behind that has not begun. */
struct events_op {
	struct gateway *gw;
};

static void events_close(struct request *r)
{
	const struct events_op *op = r->op;
	struct effects fx = {0};
	struct turn t = {.gw = op->gw, .fx = &fx};
	struct subscriber *sub = subscriber_find(op->gw, r->id);
	if (sub && !sub->answered)
		subscriber_free(&t, sub);
	effects_close(&fx);
}

/* What the newest map does not know was dropped, and is passed over. If it knows nothing of the
 * position, that is of another cluster, or made up. Without the coordinator the map may yet come.
 */
static void map_looked(struct turn *t, struct request *r, uint32_t index, enum status status,
		       const void *body)
{
	struct subscriber *sub = subscriber_find(t->gw, r->id);
	(void)index;
	(void)status;
	if (!body || !sub)
		return;
	if (resume_known(t->gw, sub) == 0) {
		answer_status(t, r, STATUS_EVENTS_GONE, "");
		return;
	}
	sub->newest = true;
	waiters_look(t, sub);
	notify_finish(t);
}

static void begin_waiting(struct turn *t, struct request *r, struct subscriber *sub)
{
	notify_wait(t, sub, NULL, slice_of(NULL, 0));
	if (sub->resumes && !sub->newest)
		map_refresh(t, r, map_looked);
}

void events_listen(struct turn *t, struct request *r, enum subscriber_kind kind, events_take *take)
{
	struct events_op *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	if (!notify_room(t->gw, &problem)) {
		answer_problem(t, r, &problem);
		return;
	}
	op->gw = t->gw;
	r->op = op;
	r->close = events_close;
	struct subscriber *sub = subscriber_new(t, r->id, kind);
	if (!take(t, r, sub, &problem) || !take_since(r, sub, &problem))
		answer_problem(t, r, &problem);
	else if (r->method == HTTP_HEAD)
		reply_send(t, r, reply_begin(t, 200));
	else
		begin_waiting(t, r, sub);
	notify_finish(t);
}

void native_notify(struct turn *t, struct request *r)
{
	events_listen(t, r, SUBSCRIBER_EVENTS, take_paths);
}

void events_begin(struct turn *t, struct subscriber *sub)
{
	struct notify *n = t->gw->notify;
	struct request *r = map_get_u64(&t->gw->requests, sub->stream);
	CHECK(r && !r->finished); /* else its close has freed the subscriber */
	if (sub->refusal != STATUS_OK) {
		answer_status(t, r, sub->refusal, "");
		return;
	}
	sub->answered = true;
	for (uint32_t i = 0; i < sub->count; i++)
		subscription_activate(sub->items[i]);
	buf_clear(&n->frame);
	buf_append_text(&n->frame, ": open\n");
	events_position(t, sub, NOTIFY_ID_SHARDS_MAX, &n->id);
	if (n->id.len > 0) {
		buf_append_text(&n->frame, "id: ");
		buf_append_slice(&n->frame, buf_slice(&n->id));
		buf_append_byte(&n->frame, '\n');
	}
	buf_append_byte(&n->frame, '\n');
	answer_events(t, r, buf_slice(&n->frame));
	replays_start(t, sub);
}

/* ---- time ---- */

static void forget_skips(struct notify *n, struct subscriber *sub)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < sub->skips_count; i++) {
		const struct feed *live = map_get_u64(&n->live, sub->skips[i].shard);
		if (live && live->position < sub->skips[i].number)
			sub->skips[kept++] = sub->skips[i];
	}
	sub->skips_count = kept;
}

/* A comment that keeps the connection open, and where the subscriber stands, though nothing
 * matched: else it would name a place that is no longer kept. */
static void keep_alive(struct turn *t, struct subscriber *sub, bool comment)
{
	struct notify *n = t->gw->notify;
	events_position(t, sub, NOTIFY_ID_SHARDS_MAX, &n->id);
	buf_clear(&n->frame);
	if (comment)
		buf_append_text(&n->frame, ": still here\n");
	if (n->id.len > 0) {
		buf_append_text(&n->frame, "id: ");
		buf_append_slice(&n->frame, buf_slice(&n->id));
		buf_append_byte(&n->frame, '\n');
	}
	if (n->frame.len == 0)
		return;
	buf_append_byte(&n->frame, '\n');
	fx_stream_send(t->fx, &sub->stream, 1, buf_slice(&n->frame));
}

void events_tick(struct turn *t)
{
	struct notify *n = t->gw->notify;
	bool comment = t->now_ms >= n->keep_alive_ms;
	bool ids = t->now_ms >= n->ids_ms && n->live.count > NOTIFY_ID_SHARDS;
	if (comment)
		n->keep_alive_ms = t->now_ms + NOTIFY_KEEP_ALIVE_MS;
	if (t->now_ms >= n->ids_ms)
		n->ids_ms = t->now_ms + NOTIFY_IDS_MS;
	if (n->counts[SUBSCRIBER_EVENTS] + n->counts[SUBSCRIBER_CONFLICTS] == 0)
		return;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&n->subscribers, &at));) {
		struct subscriber *sub = e->value;
		if (sub->kind == SUBSCRIBER_SOCKET || !sub->answered || sub->closing)
			continue;
		if (sub->skips_count > 0)
			forget_skips(n, sub);
		if (comment || (ids && !only_collection(t->gw, sub)))
			keep_alive(t, sub, comment);
	}
}
