/* Feeds: opened at the leads, kept open, opened again where they stopped. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "gateway/notify/feed.h"

struct feed *feed_of_shard(const struct gateway *gw, uint64_t shard)
{
	return map_get_u64(&gw->notify->live, shard);
}

/* ---- opening and closing ---- */

static void send_to_lead(struct turn *t, const struct feed *f, uint16_t type, const void *message)
{
	struct envelope envelope = {.type = type, .request_id = f->id, .epoch = f->epoch};
	fx_send(t->fx, WHEN_NOW, f->lead, 0, &envelope, message);
}

/* Told, as leads drop silent ones only after a while. */
static void close_at_lead(struct turn *t, const struct feed *f)
{
	struct msg_feed_close m = {.shard = f->shard, .feed = f->id};
	if (f->lead != 0 && t->fx)
		send_to_lead(t, f, MSG_feed_close, &m);
}

static void feed_rename(struct notify *n, struct feed *f)
{
	if (f->id != 0)
		map_remove_u64(&n->feeds, f->id);
	f->id = ++n->next_feed;
	map_put_u64(&n->feeds, f->id, f);
}

/* Under a new id: what still comes to an older one is void. */
static void feed_open(struct turn *t, struct feed *f)
{
	const struct map_shard *s = cluster_map_shard(&t->gw->map, f->shard);
	f->open = false;
	f->retry_ms = t->now_ms + FEED_OPEN_MS;
	if (!s || s->shard.dropped || s->shard.lead == 0)
		return;
	close_at_lead(t, f);
	feed_rename(t->gw->notify, f);
	f->lead = s->shard.lead;
	f->epoch = s->shard.epoch;
	struct msg_feed_open m = {.shard = f->shard,
				  .feed = f->id,
				  .after = f->positioned ? f->position : 0,
				  .tail = !f->positioned};
	send_to_lead(t, f, MSG_feed_open, &m);
}

static struct feed *feed_new(struct turn *t, const struct shard *shard, struct subscriber *only)
{
	struct notify *n = t->gw->notify;
	struct feed *f = mem_alloc_zero(sizeof *f);
	f->shard = shard->id;
	f->collection = shard->collection;
	f->only = only;
	if (only)
		n->replays++;
	else
		map_put_u64(&n->live, f->shard, f);
	return f;
}

void feed_close(struct turn *t, struct feed *f)
{
	struct notify *n = t->gw->notify;
	close_at_lead(t, f);
	if (f->id != 0)
		map_remove_u64(&n->feeds, f->id);
	if (f->only)
		n->replays--;
	else
		map_remove_u64(&n->live, f->shard);
	free(f);
}

/* ---- what is followed ---- */

/* Whoever listens to all collections doesn't listen to hidden ones. */
static bool wanted_by_all(const struct notify *n, const struct map_collection *c)
{
	return n->all.users > 0 && !map_collection_hidden(c);
}

static bool collection_wanted(const struct notify *n, const struct map_collection *c)
{
	return wanted_by_all(n, c) || map_get(&n->interests, c->settings.name);
}

/* from_start: the shard is new, and so is all that it holds. */
static void follow_shard(struct turn *t, const struct shard *shard, bool from_start)
{
	if (shard->dropped || feed_of_shard(t->gw, shard->id))
		return;
	struct feed *f = feed_new(t, shard, NULL);
	f->positioned = from_start;
	if (from_start)
		t->gw->notify->recheck = true;
	feed_open(t, f);
}

/* listened: before the map changed, too, so that of collections made since nothing may be missed.
 * Shards of others may come late: not each map has all. */
static void follow_all(struct turn *t, bool listened)
{
	const struct cluster_map *map = &t->gw->map;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&map->shards, &at));) {
		const struct map_shard *s = e->value;
		const struct map_collection *c =
		    map_get_u64(&map->collections_by_id, s->shard.collection);
		if (c && collection_wanted(t->gw->notify, c))
			follow_shard(t, &s->shard, listened && c->fresh);
	}
}

static struct map_collection *interest_collection(const struct gateway *gw,
						  const struct interest *interest)
{
	return map_get(&gw->map.collections, slice_of(interest->name, interest->name_len));
}

void feeds_follow(struct turn *t, struct interest *interest)
{
	if (interest->name_len == 0) {
		follow_all(t, false);
		return;
	}
	const struct map_collection *c = interest_collection(t->gw, interest);
	for (uint32_t i = 0; c && i < c->shards_count; i++)
		follow_shard(t, &c->shards[i]->shard, false);
}

/* The interest has no users any more. */
void feeds_unfollow(struct turn *t, struct interest *interest)
{
	struct notify *n = t->gw->notify;
	/* of one that is gone, whatever nobody else wants */
	const struct map_collection *c =
	    interest->name_len > 0 ? interest_collection(t->gw, interest) : NULL;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&n->live, &at));) {
		struct feed *f = e->value;
		const struct map_collection *own =
		    map_get_u64(&t->gw->map.collections_by_id, f->collection);
		const struct interest *other =
		    own ? map_get(&n->interests, own->settings.name) : NULL;
		bool theirs = (other && other != interest && other->users > 0) ||
			      (interest != &n->all && own && wanted_by_all(n, own));
		if (theirs || (c && f->collection != c->settings.id))
			continue;
		feed_close(t, f);
	}
}

static bool collection_ready(const struct gateway *gw, const struct map_collection *c)
{
	for (uint32_t i = 0; i < c->shards_count; i++) {
		const struct feed *f = feed_of_shard(gw, c->shards[i]->shard.id);
		if (!f || !f->positioned)
			return false;
	}
	return map_collection_whole(c);
}

bool feeds_ready(struct turn *t, const struct interest *interest)
{
	const struct gateway *gw = t->gw;
	if (gw->map.version == 0)
		return false;
	if (interest->name_len > 0) {
		const struct map_collection *c = interest_collection(gw, interest);
		return !c || collection_ready(gw, c);
	}
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&gw->map.collections, &at));)
		if (!map_collection_hidden(e->value) && !collection_ready(gw, e->value))
			return false;
	return true;
}

void notify_map_changed(struct turn *t)
{
	struct notify *n = t->gw->notify;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&n->feeds, &at));) {
		struct feed *f = e->value;
		const struct map_shard *s = cluster_map_shard(&t->gw->map, f->shard);
		if (!s || s->shard.epoch > f->epoch || s->shard.dropped)
			f->retry_ms = t->now_ms; /* opened by the tick, which may change the map */
	}
	n->recheck = true;
	if (n->all.users > 0 || n->interests.count > 0)
		follow_all(t, true);
	feeds_tick(t);
}

/* ---- replays ---- */

bool subscriber_follows(const struct gateway *gw, const struct subscriber *sub, uint64_t collection)
{
	const struct map_collection *c = map_get_u64(&gw->map.collections_by_id, collection);
	for (uint32_t i = 0; c && !map_collection_hidden(c) && i < sub->count; i++) {
		const struct interest *interest = sub->items[i]->pattern->interest;
		if (interest->name_len == 0 ||
		    slice_equal(c->settings.name, slice_of(interest->name, interest->name_len)))
			return true;
	}
	return false;
}

/* A shard that its position does not name is younger than that. */
static uint64_t resume_number(const struct subscriber *sub, uint64_t shard)
{
	for (uint32_t i = 0; i < sub->resume_count; i++)
		if (sub->resume[i].shard == shard)
			return sub->resume[i].number;
	return 0;
}

uint32_t resume_known(const struct gateway *gw, const struct subscriber *sub)
{
	uint32_t known = 0;
	for (uint32_t i = 0; i < sub->resume_count; i++) {
		const struct map_shard *s = cluster_map_shard(&gw->map, sub->resume[i].shard);
		known += s && map_get_u64(&gw->map.collections_by_id, s->shard.collection);
	}
	return known;
}

static bool has_replay(const struct subscriber *sub, uint64_t shard)
{
	for (uint32_t i = 0; i < sub->replays_count; i++)
		if (sub->replays[i] && sub->replays[i]->shard == shard)
			return true;
	return false;
}

static void replay_add(struct turn *t, struct subscriber *sub, const struct feed *live)
{
	struct shard shard = {.id = live->shard, .collection = live->collection};
	struct feed *f = feed_new(t, &shard, sub);
	sub->replays[sub->replays_count++] = f;
	sub->replays_left++;
	f->positioned = true;
	f->held = true;
	f->position = resume_number(sub, f->shard);
	feed_open(t, f);
}

bool replays_open(struct turn *t, struct subscriber *sub)
{
	struct notify *n = t->gw->notify;
	size_t at = 0;
	/* the places of those whose shards were dropped since stay in the list */
	size_t cap = sub->replays_count + n->live.count + 1;
	sub->replays = mem_realloc(sub->replays, cap * sizeof(struct feed *));
	sub->skips = mem_realloc(sub->skips, cap * sizeof *sub->skips);
	for (struct map_entry *e; (e = map_next(&n->live, &at));) {
		const struct feed *live = e->value;
		if (!subscriber_follows(t->gw, sub, live->collection) ||
		    has_replay(sub, live->shard))
			continue;
		if (n->replays >= NOTIFY_REPLAYS_MAX)
			return false;
		replay_add(t, sub, live);
	}
	return true;
}

/* All have been answered: what they ask for is still kept. */
bool replays_ready(const struct subscriber *sub)
{
	for (uint32_t i = 0; i < sub->replays_count; i++)
		if (sub->replays[i] && !sub->replays[i]->open)
			return false;
	return true;
}

void replays_start(struct turn *t, struct subscriber *sub)
{
	for (uint32_t i = 0; i < sub->replays_count; i++) {
		if (!sub->replays[i])
			continue;
		sub->replays[i]->held = false;
		feed_open(t, sub->replays[i]);
	}
}

static void replay_end(struct turn *t, struct feed *f)
{
	struct subscriber *sub = f->only;
	for (uint32_t i = 0; i < sub->replays_count; i++)
		if (sub->replays[i] == f)
			sub->replays[i] = NULL;
	sub->replays_left--;
	feed_close(t, f);
}

/* It has met the live feed: from `position` on that one tells. */
static void replay_meets(struct turn *t, struct feed *f)
{
	struct subscriber *sub = f->only;
	const struct feed *live = feed_of_shard(t->gw, f->shard);
	if (!live || !live->positioned || f->position < live->position)
		return;
	if (f->position > live->position)
		sub->skips[sub->skips_count++] = (struct position_of){f->shard, f->position};
	replay_end(t, f);
}

/* ---- what leads say ---- */

/* Changes are missing that are no longer kept: whoever wanted them must know. A stream of events
 * that has not begun has missed none: it begins here, or with replays of its own. */
static void feed_lost(struct turn *t, struct feed *f)
{
	struct gateway *gw = t->gw;
	size_t at = 0;
	gw->notify->gaps++;
	if (f->only) {
		subscriber_cut(t, f->only, NOTIFY_CODE_LATER, STATUS_EVENTS_GONE);
		return;
	}
	fx_log(t->fx, LOG_LEVEL_WARN, "feed_gap shard=%016llx after=%llu",
	       (unsigned long long)f->shard, (unsigned long long)f->position);
	uint64_t collection = f->collection;
	f->positioned = false;
	f->retry_ms = t->now_ms;
	for (struct map_entry *e; (e = map_next(&gw->notify->subscribers, &at));) {
		struct subscriber *sub = e->value;
		bool told = sub->kind == SUBSCRIBER_SOCKET || sub->answered;
		if (told && subscriber_follows(gw, sub, collection))
			subscriber_cut(t, sub, NOTIFY_CODE_LATER, STATUS_EVENTS_GONE);
	}
}

static void feed_refused(struct turn *t, struct feed *f, uint64_t status)
{
	if (status == STATUS_STREAM_TRIMMED) {
		feed_lost(t, f);
		return;
	}
	f->open = false;
	const struct map_shard *s = cluster_map_shard(&t->gw->map, f->shard);
	bool newer = s && s->shard.epoch > f->epoch;
	int64_t wait_ms = status == STATUS_OVERLOADED ? FEED_OPEN_MS : FEED_REFUSED_MS;
	f->retry_ms = t->now_ms + (newer ? 0 : wait_ms);
}

/* Events in order; each brings the position along, so that what is told of it names its place. */
static void feed_take(struct turn *t, struct feed *f, const struct msg_feed_events *m)
{
	struct notify *n = t->gw->notify;
	uint64_t id = f->id;
	uint64_t told = f->told;
	for (uint32_t i = 0; i < m->events_count; i++) {
		if (m->events[i].number <= f->position)
			continue;
		f->position = f->told = m->events[i].number;
		if (f->only)
			tell_one(t, f, &m->events[i]);
		else
			tell_all(t, f, &m->events[i]);
		if (map_get_u64(&n->feeds, id) != f)
			return; /* its last subscriber was cut off meanwhile */
	}
	if (m->last > f->position)
		f->position = m->last;
	if (f->told > told)
		watchers_wake(t, f->collection);
}

static void feed_answer(struct turn *t, struct feed *f, const struct msg_feed_events *m)
{
	struct notify *n = t->gw->notify;
	uint64_t id = f->id;
	bool lost = !f->positioned; /* what came before, if it had been open already */
	if (!f->positioned) {
		f->position = f->told = m->previous;
		f->positioned = true;
	}
	bool opened = !f->open;
	f->open = true;
	if (opened && f->only)
		waiters_look(t, f->only);
	else if (opened)
		n->recheck = true;
	if (lost && !f->only) {
		watchers_wake(t, f->collection);
		if (map_get_u64(&n->feeds, id) != f)
			return; /* its last watcher is content */
	}
	f->heard_ms = t->now_ms;
	f->retry_ms = t->now_ms + FEED_SILENCE_MS;
	if (f->held)
		return;
	if (m->previous > f->position) { /* never: one message follows the other */
		fx_log(t->fx, LOG_LEVEL_ERROR, "feed_gap shard=%016llx position=%llu previous=%llu",
		       (unsigned long long)f->shard, (unsigned long long)f->position,
		       (unsigned long long)m->previous);
		feed_open(t, f);
		return;
	}
	feed_take(t, f, m);
	if (map_get_u64(&n->feeds, id) != f)
		return;
	struct msg_feed_ack ack = {.shard = f->shard, .feed = f->id, .last = m->last};
	send_to_lead(t, f, MSG_feed_ack, &ack);
	if (f->only)
		replay_meets(t, f);
}

bool notify_message(struct turn *t)
{
	const struct msg_feed_events *m = t->event->message.body;
	if (t->event->message.envelope.type != MSG_feed_events)
		return false;
	struct feed *f = map_get_u64(&t->gw->notify->feeds, m->feed);
	if (!f || f->shard != m->shard || f->lead != t->event->message.from.member)
		return true;
	if (m->status == STATUS_OK)
		feed_answer(t, f, m);
	else
		feed_refused(t, f, m->status);
	notify_finish(t);
	return true;
}

/* ---- time ---- */

static bool is_gone(const struct turn *t, const struct feed *f)
{
	return !cluster_map_has_shard(&t->gw->map, f->shard);
}

static void replays_tick(struct turn *t, const struct subscriber *sub)
{
	for (uint32_t i = 0; i < sub->replays_count; i++) {
		struct feed *f = sub->replays[i];
		if (f && is_gone(t, f)) {
			replay_end(t, f);
			t->gw->notify->recheck = true; /* perhaps nothing else was waited for */
		} else if (f && f->retry_ms <= t->now_ms) {
			feed_open(t, f);
		}
	}
}

void feeds_tick(struct turn *t)
{
	struct notify *n = t->gw->notify;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&n->live, &at));) {
		struct feed *f = e->value;
		if (is_gone(t, f)) {
			feed_close(t, f);
		} else if (f->retry_ms <= t->now_ms) {
			n->reopened += f->open;
			feed_open(t, f);
		}
	}
	at = 0;
	for (struct map_entry *e; n->replays > 0 && (e = map_next(&n->subscribers, &at));)
		replays_tick(t, e->value);
	notify_finish(t);
}
