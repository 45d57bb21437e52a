/* The lead's side: what goes to each other replica, and what it acknowledges. */
#include "common/probe.h"
#include "storage-node/internal.h"

static void send_append(struct storage *s, struct shard_copy *c, struct follower *f,
			bool with_entries, struct effects *fx)
{
	struct msg_stream_append m = {.shard = c->id, .settled = c->settled, .acked = f->acked};
	m.previous.number = f->next - 1;
	if (!stream_epoch_at(s, c, m.previous.number, &m.previous.epoch)) {
		snapshot_start(s, c, f, fx);
		return;
	}
	if (with_entries)
		m.entries_count = stream_entries(s, c, f->next, &m.entries);
	if (with_entries && f->next == c->unreadable && c->unreadable <= c->position.applied) {
		snapshot_start(s, c, f, fx); /* what was made of it may well be sound */
		return;
	}
	struct envelope envelope = {
	    .type = MSG_stream_append, .request_id = s->next_request++, .epoch = c->lead_epoch};
	fx_send(fx, WHEN_NOW, f->node, 0, &envelope, &m);
	f->next += m.entries_count;
	for (uint32_t i = 0; i < m.entries_count; i++)
		f->window_bytes += m.entries[i].change.len;
	f->settled_sent = m.settled;
	f->sent_ms = s->now_ms;
}

/* A replica that has not answered in this epoch may not know the placement. */
static void send_probe(struct storage *s, struct shard_copy *c, struct follower *f,
		       struct effects *fx)
{
	if (!f->heard) {
		struct msg_shard_newer newer = {.shard = c->placement};
		struct envelope envelope = {.type = MSG_shard_newer, .epoch = c->placement.epoch};
		fx_send(fx, WHEN_NOW, f->node, 0, &envelope, &newer);
	}
	send_append(s, c, f, false, fx);
}

/* A replica that begins with nothing: what was written over and over is cheaper to copy than to
 * replay. One that votes is replayed to, as it must not stop vouching. */
static bool copy_is_cheaper(const struct storage *s, const struct shard_copy *c,
			    const struct follower *f)
{
	const struct shard_position *p = &c->position;
	return f->learning && f->mode == FOLLOW_STREAM && f->next == 1 &&
	       p->last > s->options.copy_entries_min && p->last / 2 > p->documents + p->deleted;
}

static void stream_to(struct storage *s, struct shard_copy *c, struct follower *f,
		      struct effects *fx)
{
	if (copy_is_cheaper(s, c, f)) {
		snapshot_start(s, c, f, fx);
		return;
	}
	if (f->acked + 1 >= f->window_end) {
		f->window_bytes = 0;
		f->window_end = UINT64_MAX;
	}
	while (f->mode == FOLLOW_STREAM && f->next <= c->position.last &&
	       f->next - f->acked <= BOUND(flight_entries, FLIGHT_ENTRIES_MAX) &&
	       f->window_bytes < BOUND(flight_bytes, FLIGHT_BYTES_MAX)) {
		uint64_t before = f->next;
		if (s->catch_up_reads >= CATCH_UP_READS_TURN && !ring_at(&c->pending, before)) {
			c->turn_dirty = true;
			s->catch_up_rest = true;
			return;
		}
		send_append(s, c, f, true, fx);
		f->window_end = f->next;
		if (f->next == before)
			return;
	}
}

void stream_nudge(struct storage *s, struct shard_copy *c, struct follower *f, struct effects *fx)
{
	bool idle = f->mode == FOLLOW_STREAM && f->acked == c->position.last;
	if (idle && f->applied < c->settled && s->now_ms - f->sent_ms >= RESEND_MS)
		send_append(s, c, f, false, fx);
}

void stream_turn(struct storage *s, struct shard_copy *c, struct effects *fx)
{
	c->turn_dirty = false;
	if (shard_is_lead(c))
		for (uint32_t i = 0; i < c->followers_count; i++)
			stream_to(s, c, &c->followers[i], fx);
	if (c->position_dirty)
		shard_save_position(s, c);
}

/* A lease that it grants says what it has applied since, but not what it branched off before. */
static void update_floor(struct shard_copy *c)
{
	uint64_t floor = c->position.applied;
	bool clear = c->outbox_count == 0;
	for (uint32_t i = 0; i < c->followers_count; i++) {
		const struct follower *f = &c->followers[i];
		clear = clear && f->heard && f->outbox == 0;
		if (f->cleared < floor)
			floor = f->cleared;
	}
	if (clear && floor > c->floor)
		c->floor = floor;
}

/* Nobody knows whether it ever comes back: a copy that waits for it would hold on to all that the
 * disk could free meanwhile. */
static bool is_away(const struct storage *s, const struct follower *f)
{
	return s->now_ms - f->heard_ms >= BOUND(copy_silent_ms, COPY_SILENT_MS);
}

void stream_tick(struct storage *s, struct shard_copy *c, struct effects *fx)
{
	if (c->followers_count == 0) /* nobody acknowledges anything */
		update_floor(c);
	for (uint32_t i = 0; i < c->followers_count; i++) {
		struct follower *f = &c->followers[i];
		if (is_away(s, f))
			snapshot_stop(s, f);
		if (f->mode == FOLLOW_SNAPSHOT) {
			snapshot_tick(s, c, f, fx);
			continue;
		}
		/* one that grants no lease may have come back with an older disk: it must see what
		 * it acknowledged, though there is nothing new to send */
		bool silent = s->now_ms - f->heard_ms >= OFFLINE_MS;
		bool waiting = f->mode == FOLLOW_PROBE || f->acked < c->position.last || silent;
		if (!waiting || s->now_ms - f->sent_ms < RESEND_MS)
			continue;
		f->mode = FOLLOW_PROBE;
		if (f->heard)
			f->next = f->acked + 1;
		if (is_away(s, f) && f->next <= c->position.trimmed)
			f->next = c->position.trimmed + 1; /* copied to when it has answered */
		send_probe(s, c, f, fx);
	}
}

/* ---- acknowledgements ---- */

/* A copy is of what is applied here, and takes all else away. Until our own entry is applied that
 * may be less than what the replica was counted for, and holds: it is asked first whether it agrees
 * with us where our stream begins. */
static bool copy_may_lack(const struct shard_copy *c)
{
	return c->position.applied < c->epoch_start;
}

static void ack_gap(struct storage *s, struct shard_copy *c, struct follower *f,
		    const struct position *last, struct effects *fx)
{
	uint64_t next = last->number + 1;
	if (next > c->position.last + 1)
		next = c->position.last + 1;
	if (f->heard && next <= f->acked) /* what it synced in this epoch, it has */
		next = f->acked + 1;
	uint64_t begins = c->position.trimmed + 1;
	if (next < begins && f->next > begins && copy_may_lack(c))
		next = begins;
	f->mode = FOLLOW_PROBE;
	f->next = next;
	f->gap_request = s->next_request;
	send_probe(s, c, f, fx);
}

static void ack_ok(struct shard_copy *c, struct follower *f, const struct msg_stream_append_ack *m)
{
	if (m->last.number > c->position.last)
		return; /* an echo of an older life of the stream */
	if (m->last.number > f->acked || !f->heard)
		f->acked = m->last.number;
	if (f->mode == FOLLOW_PROBE) {
		f->mode = FOLLOW_STREAM;
		f->next = f->acked + 1;
		f->window_bytes = 0;
	}
	if (f->next <= f->acked)
		f->next = f->acked + 1;
	f->heard = true;
	f->applied = m->applied;
	f->outbox = m->outbox;
	if (m->outbox == 0)
		f->cleared = m->applied;
	c->turn_dirty = true;
}

void stream_on_ack(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_stream_append_ack *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	if (!c || !shard_is_lead(c) || e->message.envelope.epoch != c->lead_epoch)
		return;
	struct follower *f = shard_follower(c, e->message.from.member);
	if (!f || m->incarnation != f->incarnation ||
	    e->message.envelope.request_id < f->copied_request)
		return;
	f->heard_ms = s->now_ms;
	switch (m->status) {
	case STATUS_OK:
		if (f->mode == FOLLOW_SNAPSHOT)
			break; /* from before the copy, which replaces what it speaks of */
		/* likewise, of one that was ended; or that may still come, and replace it then */
		if (f->copy_begun) {
			REACHED(ended_copy_begun_anew);
			snapshot_start(s, c, f, fx);
			break;
		}
		ack_ok(c, f, m);
		update_floor(c);
		stream_settle(s, c, fx);
		break;
	case STATUS_STREAM_GAP:
		/* behind a message that was lost all others of the flight are refused: the first
		 * refusal says it all. What the tick sends does not count: answers may take longer
		 * than its pause. */
		if (f->mode != FOLLOW_SNAPSHOT && e->message.envelope.request_id >= f->gap_request)
			ack_gap(s, c, f, &m->last, fx);
		break;
	case STATUS_NOT_VOUCHING:
		if (f->mode != FOLLOW_SNAPSHOT)
			snapshot_start(s, c, f, fx);
		break;
	default:
		break; /* asked again by the tick */
	}
}
