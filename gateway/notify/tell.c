/* One change, told to those whose patterns it matches: encoded once for each pattern. */
#include <inttypes.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/json.h"
#include "common/doc/query_plan.h"
#include "gateway/http_answer.h"
#include "gateway/notify/events.h"
#include "gateway/notify/feed.h"

/* What all encodings of an event are made of. */
struct telling {
	const struct feed *feed;
	const struct feed_event *event;
	struct slice collection;
	struct slice path; /* METHOD:/collection/id; of conflicts: KIND:/collection/id */
	bool conflict;
};

static const char *const methods[WRITE_OP_MAX + 1] = {"",      "POST",   "PUT",
						      "PATCH", "DELETE", "PATCH"};

/* False: it tells nothing of this kind. Of hidden collections only watchers learn. */
static bool telling_begin(struct turn *t, const struct feed *f, const struct feed_event *event,
			  bool conflict, struct telling *out)
{
	struct notify *n = t->gw->notify;
	const struct map_collection *c = map_get_u64(&t->gw->map.collections_by_id, f->collection);
	if (!c || map_collection_hidden(c) || event->op > WRITE_OP_MAX ||
	    (conflict ? event->conflict : event->op) == 0)
		return false;
	buf_clear(&n->path);
	if (conflict) {
		conflict_path(event, c->settings.name, &n->path);
	} else {
		buf_append_text(&n->path, methods[event->op]);
		buf_append_text(&n->path, ":/");
		buf_append_slice(&n->path, c->settings.name);
		buf_append_byte(&n->path, '/');
		buf_append_slice(&n->path, event->id);
	}
	*out = (struct telling){f, event, c->settings.name, buf_slice(&n->path), conflict};
	n->seq++;
	return true;
}

static bool matches(struct notify *n, struct pattern *p, struct slice path)
{
	bool costly = false;
	bool hit = !p->costly && query_regex_matches(p->regex, path, &costly);
	if (costly)
		p->costly = n->costly = true;
	return hit && !costly;
}

/* ---- encodings ---- */

static void print_socket(struct buf *out, const struct telling *e, const struct pattern *p)
{
	buf_clear(out);
	buf_append_text(out, "[\"T\",[");
	json_string(e->path, out);
	buf_append_byte(out, ',');
	json_string(e->collection, out);
	buf_append_byte(out, ',');
	json_string(e->event->id, out);
	buf_append_byte(out, ',');
	json_string(p->text, out);
	buf_append_text(out, "]]");
}

/* What follows the id of an event. */
static void print_data(struct buf *out, const struct telling *e, const struct pattern *p)
{
	buf_clear(out);
	if (e->conflict) {
		conflict_event_print(e->event, e->collection, out);
		return;
	}
	buf_append_text(out, "data: {\"path\":");
	json_string(e->path, out);
	buf_append_text(out, ",\"collection\":");
	json_string(e->collection, out);
	buf_append_text(out, ",\"id\":");
	json_string(e->event->id, out);
	buf_append_text(out, ",\"revision\":");
	json_revision(&e->event->revision, out);
	buf_append_text(out, ",\"pattern\":");
	json_string(p->text, out);
	buf_append_text(out, "}\n\n");
}

static void frame_with_id(struct notify *n, struct slice id)
{
	buf_clear(&n->frame);
	if (id.len > 0) {
		buf_append_text(&n->frame, "id: ");
		buf_append_slice(&n->frame, id);
		buf_append_byte(&n->frame, '\n');
	}
	buf_append_slice(&n->frame, buf_slice(&n->json));
}

/* ---- Server-Sent Events ---- */

static void send_own(struct turn *t, const struct subscriber *sub)
{
	struct notify *n = t->gw->notify;
	events_position(t, sub, NOTIFY_ID_SHARDS, &n->id);
	frame_with_id(n, buf_slice(&n->id));
	fx_stream_send(t->fx, &sub->stream, 1, buf_slice(&n->frame));
	n->sent++;
}

/* It has been told of this change by a replay, or will be. */
static bool is_hidden(const struct subscriber *sub, const struct feed *f)
{
	for (uint32_t i = 0; i < sub->replays_count; i++)
		if (sub->replays[i] && sub->replays[i]->shard == f->shard)
			return true;
	for (uint32_t i = 0; i < sub->skips_count; i++)
		if (sub->skips[i].shard == f->shard && f->position <= sub->skips[i].number)
			return true;
	return false;
}

/* Only what this pattern's interest covers, and nothing of its own: it shares the id. */
static bool is_plain(const struct subscriber *sub)
{
	return sub->count == 1 && sub->replays_left == 0 && sub->skips_count == 0;
}

static struct slice shared_id(struct turn *t, struct pattern *p)
{
	struct interest *interest = p->interest;
	struct subscription any = {.pattern = p};
	struct subscription *one = &any;
	struct subscriber plain = {.items = &one, .count = 1};
	if (interest->id_seq != t->gw->notify->seq)
		events_position(t, &plain, NOTIFY_ID_SHARDS, &interest->id);
	interest->id_seq = t->gw->notify->seq;
	return buf_slice(&interest->id);
}

static void tell_events(struct turn *t, const struct telling *e, struct pattern *p)
{
	struct notify *n = t->gw->notify;
	const struct audience *a =
	    &p->audience[e->conflict ? SUBSCRIBER_CONFLICTS : SUBSCRIBER_EVENTS];
	uint32_t shared = 0;
	if (a->count == 0)
		return;
	if (n->streams_cap < a->count) {
		n->streams_cap = 2 * a->count;
		n->streams = mem_realloc(n->streams, n->streams_cap * sizeof *n->streams);
	}
	print_data(&n->json, e, p);
	for (uint32_t i = 0; i < a->count; i++) {
		struct subscriber *sub = a->items[i]->owner;
		if (sub->told_seq == n->seq || is_hidden(sub, e->feed))
			continue;
		sub->told_seq = n->seq;
		if (is_plain(sub))
			n->streams[shared++] = sub->stream;
		else
			send_own(t, sub);
	}
	if (shared == 0)
		return;
	frame_with_id(n, shared_id(t, p));
	fx_stream_send(t->fx, n->streams, shared, buf_slice(&n->frame));
	n->sent += shared;
}

/* ---- all ---- */

static void tell_pattern(struct turn *t, const struct telling *e, struct pattern *p)
{
	struct notify *n = t->gw->notify;
	const struct audience *sockets = &p->audience[SUBSCRIBER_SOCKET];
	uint32_t sockets_count = e->conflict ? 0 : sockets->count;
	uint32_t streams_count =
	    p->audience[e->conflict ? SUBSCRIBER_CONFLICTS : SUBSCRIBER_EVENTS].count;
	if (sockets_count + streams_count == 0 || !matches(n, p, e->path))
		return;
	if (sockets_count > 0) {
		print_socket(&n->frame, e, p);
		fx_stream_send(t->fx, sockets->streams, sockets->count, buf_slice(&n->frame));
		n->sent += sockets->count;
	}
	tell_events(t, e, p);
}

void tell_all(struct turn *t, const struct feed *f, const struct feed_event *event)
{
	struct notify *n = t->gw->notify;
	for (int conflict = 0; conflict < 2; conflict++) {
		struct telling e;
		if (!telling_begin(t, f, event, conflict, &e))
			continue;
		n->events += !conflict;
		const struct interest *own = map_get(&n->interests, e.collection);
		for (struct pattern *p = n->all.patterns; p; p = p->next)
			tell_pattern(t, &e, p);
		for (struct pattern *p = own ? own->patterns : NULL; p; p = p->next)
			tell_pattern(t, &e, p);
	}
}

static bool covers(const struct interest *interest, struct slice collection)
{
	return interest->name_len == 0 ||
	       slice_equal(collection, slice_of(interest->name, interest->name_len));
}

void tell_one(struct turn *t, const struct feed *f, const struct feed_event *event)
{
	struct notify *n = t->gw->notify;
	struct subscriber *sub = f->only;
	struct telling e;
	if (!telling_begin(t, f, event, sub->kind == SUBSCRIBER_CONFLICTS, &e))
		return;
	for (uint32_t i = 0; i < sub->count; i++) {
		struct pattern *p = sub->items[i]->pattern;
		if (!covers(p->interest, e.collection) || !matches(n, p, e.path))
			continue;
		print_data(&n->json, &e, p);
		send_own(t, sub);
		return;
	}
}

static bool has_costly(const struct subscriber *sub)
{
	for (uint32_t i = 0; i < sub->count; i++)
		if (sub->items[i]->pattern->costly)
			return true;
	return false;
}

void tell_costly(struct turn *t)
{
	struct notify *n = t->gw->notify;
	size_t at = 0;
	n->costly = false;
	for (struct map_entry *e; (e = map_next(&n->subscribers, &at));)
		if (has_costly(e->value))
			subscriber_cut(t, e->value, NOTIFY_CODE_BAD, STATUS_SUBSCRIPTION_COSTLY);
}
