#include "storage-node/feed.h"

#include <stdlib.h>

#include "common/base/memory.h"

struct feed {
	struct feed *next;
	struct peer peer;
	uint64_t id;
	uint64_t epoch;
	uint64_t acked; /* taken by the gateway up to here */
	uint64_t sent;
	bool flying; /* sent, not acknowledged */
	int64_t sent_ms;
	int64_t heard_ms;
};

/* One change, as it was applied. */
struct feed_note {
	uint64_t number;
	uint64_t op;
	uint64_t generation;
	size_t id_at; /* in `text`; the hash follows */
	uint32_t id_len;
	uint32_t hash_len;
	uint32_t resolution_len; /* its id follows the hash */
	uint8_t conflict;
	uint8_t kind;
};

struct feeds {
	struct feed *list;
	uint32_t count;
	uint64_t noted_after; /* all changes after this number are in `notes` */
	struct feed_note *notes;
	uint32_t notes_count;
	uint32_t notes_cap;
	struct buf text;
};

/* ---- what an entry tells ---- */

static bool is_told(const struct change *change)
{
	return change->id.len > 0 &&
	       (change->kind == CHANGE_WRITE || change->kind == CHANGE_BRANCH ||
		change->kind == CHANGE_IMPORT || change->kind == CHANGE_RESOLVE ||
		change->kind == CHANGE_REOPEN || change->kind == CHANGE_ERASE);
}

static uint64_t op_of(const struct change *change)
{
	if (change->deleted)
		return WRITE_DELETE;
	if (change->kind == CHANGE_RESOLVE || change->kind == CHANGE_REOPEN)
		return WRITE_PUT;
	if (change->op == WRITE_UPDATE)
		return WRITE_PATCH;
	if (change->op != 0)
		return change->op;
	return change->revision.generation == 1 ? WRITE_POST : WRITE_PUT;
}

static void notes_clear(struct feeds *feeds, uint64_t applied)
{
	feeds->notes_count = 0;
	feeds->noted_after = applied;
	buf_clear(&feeds->text);
}

void feed_applied(struct storage *s, struct shard_copy *c, uint64_t number,
		  const struct change *change, const struct feed_effect *effect)
{
	const uint8_t mark[FEED_MARK_BYTES] = {effect->conflict, effect->kind};
	bool told = is_told(change);
	if (effect->conflict || (told && !effect->changed))
		store_put(s->store, STORE_STREAM, key_number(&s->key, 'v', c->id, number),
			  slice_of(mark, effect->conflict ? sizeof mark : 0));
	struct feeds *feeds = c->feeds;
	if (!feeds || !effect->changed || (!told && !effect->conflict))
		return;
	if (feeds->notes_count >= BOUND(feed_notes, FEED_NOTES_MAX))
		notes_clear(feeds, number - 1); /* who is not that far reads the stream */
	if (feeds->notes_count == feeds->notes_cap) {
		feeds->notes_cap = feeds->notes_cap ? 2 * feeds->notes_cap : 16;
		feeds->notes = mem_realloc(feeds->notes, feeds->notes_cap * sizeof *feeds->notes);
	}
	struct feed_note *note = &feeds->notes[feeds->notes_count++];
	*note = (struct feed_note){
	    .number = number,
	    .op = told ? op_of(change) : 0,
	    .generation = change->revision.generation,
	    .id_at = feeds->text.len,
	    .id_len = (uint32_t)change->id.len,
	    .hash_len = (uint32_t)change->revision.hash.len,
	    .resolution_len = effect->conflict ? (uint32_t)change->resolution_id.len : 0,
	    .conflict = effect->conflict,
	    .kind = effect->kind,
	};
	buf_append_slice(&feeds->text, change->id);
	buf_append_slice(&feeds->text, change->revision.hash);
	if (effect->conflict)
		buf_append_slice(&feeds->text, change->resolution_id);
}

/* ---- one message ---- */

static uint32_t events_most(void)
{
	return BOUND(feed_events, FEED_EVENTS_MAX);
}

static void take_notes(struct storage *s, const struct feeds *feeds, struct msg_feed_events *m)
{
	m->events = arena_alloc(&s->arena, (feeds->notes_count + 1) * sizeof *m->events);
	for (uint32_t i = 0; i < feeds->notes_count; i++) {
		const struct feed_note *note = &feeds->notes[i];
		const uint8_t *text = feeds->text.data + note->id_at;
		if (note->number <= m->previous)
			continue;
		if (m->events_count == events_most()) {
			m->last = note->number - 1;
			return;
		}
		m->events[m->events_count++] = (struct feed_event){
		    .number = note->number,
		    .op = note->op,
		    .id = slice_of(text, note->id_len),
		    .revision = {note->generation, slice_of(text + note->id_len, note->hash_len)},
		    .conflict = note->conflict,
		    .kind = note->kind,
		    .resolution_id =
			slice_of(text + note->id_len + note->hash_len, note->resolution_len),
		};
	}
}

/* The names outlive the body, which may be large. */
static void keep_names(struct storage *s, struct arena_mark mark, struct feed_event *event)
{
	struct slice *const names[] = {&event->id, &event->revision.hash, &event->resolution_id};
	struct buf kept = {0};
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		buf_append_slice(&kept, *names[i]);
	arena_rewind(&s->arena, mark);
	const uint8_t *at = arena_copy(&s->arena, buf_slice(&kept)).data;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		names[i]->data = names[i]->len > 0 ? at : NULL;
		at += names[i]->len;
	}
	buf_close(&kept);
}

static bool read_entry(struct storage *s, struct shard_copy *c, uint64_t number,
		       struct feed_event *event, bool *told, size_t *bytes)
{
	struct slice value;
	struct change change;
	*told = false;
	if (store_get(s->store, STORE_STREAM, key_number(&s->key, 'e', c->id, number), &value) !=
		STORE_OK ||
	    value.len < 8)
		return false;
	struct arena_mark mark = arena_mark(&s->arena);
	struct slice encoded = arena_copy(&s->arena, slice_of(value.data + 8, value.len - 8));
	*bytes += encoded.len;
	if (!schema_decode(&schema_change, encoded, &s->arena, &change))
		return false;
	bool marked = store_get(s->store, STORE_STREAM, key_number(&s->key, 'v', c->id, number),
				&value) == STORE_OK;
	bool conflict = marked && value.len == FEED_MARK_BYTES && !MUTATION(conflict_not_told);
	*event =
	    (struct feed_event){.number = number, .id = change.id, .revision = change.revision};
	if (is_told(&change) && (conflict || !marked))
		event->op = op_of(&change);
	if (conflict) {
		event->conflict = value.data[0];
		event->kind = value.data[1];
		event->resolution_id = change.resolution_id;
	}
	*told = event->op != 0 || conflict;
	if (*told)
		keep_names(s, mark, event);
	else
		arena_rewind(&s->arena, mark);
	return true;
}

/* False: an entry that should be kept can't be read. */
static bool read_stream(struct storage *s, struct shard_copy *c, struct msg_feed_events *m)
{
	size_t bytes = 0;
	uint64_t number = m->previous;
	uint64_t end = c->position.applied;
	uint32_t entries = BOUND(feed_read, FEED_READ_ENTRIES);
	if (end - number > entries)
		end = number + entries;
	uint64_t most = end - number < events_most() ? end - number : events_most();
	m->events = arena_alloc(&s->arena, (most + 1) * sizeof *m->events);
	while (number < end && m->events_count < events_most() && bytes < FEED_READ_BYTES) {
		bool told;
		number++;
		if (!read_entry(s, c, number, &m->events[m->events_count], &told, &bytes))
			return false;
		m->events_count += told;
	}
	m->last = number;
	return true;
}

static void send_to(const struct feed *f, uint64_t shard, struct msg_feed_events *m,
		    struct effects *fx)
{
	struct envelope envelope = {.type = MSG_feed_events, .epoch = f->epoch};
	m->shard = shard;
	m->feed = f->id;
	fx_send(fx, WHEN_NOW, f->peer.member, f->peer.route, &envelope, m);
}

/* What follows the last acknowledgement, or nothing but that there is nothing. False: it is no
 * longer kept. */
static bool feed_send(struct storage *s, struct shard_copy *c, struct feed *f, struct effects *fx)
{
	struct msg_feed_events m = {
	    .status = STATUS_OK, .previous = f->acked, .last = c->position.applied};
	if (f->acked >= c->feeds->noted_after)
		take_notes(s, c->feeds, &m);
	else if (f->acked < c->position.trimmed || !read_stream(s, c, &m))
		return false;
	f->sent = m.last;
	f->flying = true;
	f->sent_ms = s->now_ms;
	send_to(f, c->id, &m, fx);
	return true;
}

static void refuse(const struct feed *f, uint64_t shard, enum status status, uint64_t last,
		   struct effects *fx)
{
	struct msg_feed_events m = {.status = status, .last = last};
	send_to(f, shard, &m, fx);
}

/* ---- the list ---- */

static struct feed *feed_find(const struct shard_copy *c, const struct peer *peer, uint64_t id)
{
	if (!c || !c->feeds)
		return NULL;
	for (struct feed *f = c->feeds->list; f; f = f->next)
		if (f->id == id && f->peer.member == peer->member)
			return f;
	return NULL;
}

static void feed_remove(struct shard_copy *c, struct feed *gone)
{
	struct feed **at = &c->feeds->list;
	while (*at != gone)
		at = &(*at)->next;
	*at = gone->next;
	free(gone);
	if (--c->feeds->count == 0)
		feed_free(c);
}

void feed_free(struct shard_copy *c)
{
	if (!c->feeds)
		return;
	while (c->feeds->list) {
		struct feed *f = c->feeds->list;
		c->feeds->list = f->next;
		free(f);
	}
	free(c->feeds->notes);
	buf_close(&c->feeds->text);
	free(c->feeds);
	c->feeds = NULL;
}

static struct feed *feed_add(struct storage *s, struct shard_copy *c)
{
	if (!c->feeds) {
		c->feeds = mem_alloc_zero(sizeof *c->feeds);
		notes_clear(c->feeds, c->position.applied);
	}
	struct feed *f = mem_alloc_zero(sizeof *f);
	f->next = c->feeds->list;
	c->feeds->list = f;
	c->feeds->count++;
	s->feeds_count++;
	return f;
}

/* ---- messages ---- */

static enum status may_open(struct storage *s, struct shard_copy *c, const struct event *e)
{
	const struct msg_feed_open *m = e->message.body;
	uint64_t epoch = e->message.envelope.epoch;
	if (!c)
		return STATUS_NO_SHARD;
	if (epoch < c->placement.epoch)
		return STATUS_OLD_EPOCH;
	if (c->state != SHARD_SERVING || epoch != c->lead_epoch)
		return c->placement.lead == s->options.self ? STATUS_NO_LEAD : STATUS_NOT_LEAD;
	if (!lease_held(s, c))
		return STATUS_NO_LEAD;
	if (!m->tail && (m->after < c->position.trimmed || m->after > c->position.applied))
		return STATUS_STREAM_TRIMMED;
	if (feed_find(c, &e->message.from, m->feed))
		return STATUS_OK;
	return s->feeds_count >= FEEDS_NODE_MAX || (c->feeds && c->feeds->count >= FEEDS_SHARD_MAX)
		   ? STATUS_OVERLOADED
		   : STATUS_OK;
}

void feed_on_open(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_feed_open *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	enum status status = may_open(s, c, e);
	struct feed asked = {.peer = e->message.from,
			     .id = m->feed,
			     .epoch = e->message.envelope.epoch,
			     .heard_ms = s->now_ms};
	if (status != STATUS_OK) {
		if (status == STATUS_OLD_EPOCH || status == STATUS_NOT_LEAD)
			map_send_newer(c, e, fx);
		refuse(&asked, m->shard, status,
		       status == STATUS_STREAM_TRIMMED ? c->position.trimmed : 0, fx);
		return;
	}
	struct feed *f = feed_find(c, &e->message.from, m->feed);
	if (!f)
		f = feed_add(s, c);
	asked.next = f->next;
	asked.acked = asked.sent = m->tail || MUTATION(feed_skips) ? c->position.applied : m->after;
	*f = asked;
	if (!feed_send(s, c, f, fx)) {
		refuse(f, c->id, STATUS_STREAM_TRIMMED, c->position.trimmed, fx);
		feed_remove(c, f);
	}
}

/* Is there anything to tell, or may there be? */
static bool has_news(const struct shard_copy *c, const struct feed *f)
{
	const struct feeds *feeds = c->feeds;
	if (f->acked < feeds->noted_after)
		return f->acked < c->position.applied;
	return feeds->notes_count > 0 && feeds->notes[feeds->notes_count - 1].number > f->acked;
}

static bool still_serves(const struct shard_copy *c, const struct feed *f)
{
	return c->state == SHARD_SERVING && c->lead_epoch == f->epoch;
}

void feed_on_ack(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_feed_ack *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	struct feed *f = feed_find(c, &e->message.from, m->feed);
	if (!f)
		return;
	f->heard_ms = s->now_ms;
	if (!f->flying || m->last != f->sent)
		return; /* of a message that was repeated */
	f->acked = f->sent;
	f->flying = false;
	(void)fx; /* the turn's end sends what follows */
}

void feed_on_close(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_feed_close *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	struct feed *f = feed_find(c, &e->message.from, m->feed);
	(void)fx;
	if (f)
		feed_remove(c, f);
}

/* ---- time ---- */

/* Notes that all feeds have taken go. */
static void notes_release(struct shard_copy *c)
{
	struct feeds *feeds = c->feeds;
	if (feeds->notes_count == 0)
		return;
	uint64_t last = feeds->notes[feeds->notes_count - 1].number;
	for (const struct feed *f = feeds->list; f; f = f->next)
		if (f->acked < last)
			return;
	notes_clear(feeds, last);
}

void feed_turn(struct storage *s, struct shard_copy *c, struct effects *fx)
{
	if (!c->feeds)
		return;
	struct feed *next;
	for (struct feed *f = c->feeds->list; f; f = next) {
		next = f->next;
		if (f->flying || !has_news(c, f) || !still_serves(c, f))
			continue;
		if (feed_send(s, c, f, fx))
			continue;
		refuse(f, c->id, STATUS_STREAM_TRIMMED, c->position.trimmed, fx);
		feed_remove(c, f);
	}
	if (c->feeds)
		notes_release(c);
}

/* False: it has ended. */
static bool feed_live(struct storage *s, struct shard_copy *c, struct feed *f, struct effects *fx)
{
	if (!still_serves(c, f)) {
		refuse(f, c->id, STATUS_NOT_LEAD, 0, fx);
		return false;
	}
	if (s->now_ms - f->heard_ms >= FEED_DROP_MS)
		return false;
	if (s->now_ms - f->sent_ms < FEED_LIFE_MS || !lease_held(s, c))
		return true;
	if (feed_send(s, c, f, fx))
		return true;
	refuse(f, c->id, STATUS_STREAM_TRIMMED, c->position.trimmed, fx);
	return false;
}

void feed_tick(struct storage *s, struct shard_copy *c, struct effects *fx)
{
	if (!c->feeds)
		return;
	struct feed *next;
	/* the table goes with its last feed */
	for (struct feed *f = c->feeds->list; c->feeds && f; f = next) {
		next = f->next;
		if (!feed_live(s, c, f, fx))
			feed_remove(c, f);
	}
}

uint64_t feed_count(const struct shard_copy *c)
{
	return c->feeds ? c->feeds->count : 0;
}

uint64_t feed_lag(const struct shard_copy *c)
{
	uint64_t lag = 0;
	for (const struct feed *f = c->feeds ? c->feeds->list : NULL; f; f = f->next)
		if (c->position.applied > f->acked + lag && has_news(c, f))
			lag = c->position.applied - f->acked;
	return lag;
}
