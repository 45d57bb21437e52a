/* Copying a shard's settled state to a replica whose place in the stream is no longer kept. The
 * lead walks a store iterator, which shows one commit and nothing later; the stream then goes on
 * from that commit's position. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "storage-node/bring.h"
#include "storage-node/index.h"
#include "storage-node/internal.h"
#include "storage-node/lock.h"
#include "storage-node/recent.h"
#include "storage-node/refusals.h"
#include "storage-node/scrub.h"
#include "storage-node/shard_edit.h"
#include "storage-node/view.h"

struct snapshot_out {
	uint64_t id;
	struct store_iterator *its[DIGEST_FAMILIES]; /* opened at once: all show one commit */
	uint32_t at;                    /* which of them is read; DIGEST_FAMILIES: all were */
	struct shard_position position; /* of the commit shown */
	uint64_t sequence;
	uint64_t digest;    /* of the pairs sent */
	struct arena arena; /* of the chunk under way */
	struct msg_snapshot_chunk chunk;
};

static void take_position(struct storage *s, struct shard_copy *c, struct snapshot_out *out)
{
	uint64_t epoch = stream_epoch_of(s, c, c->position.applied);
	out->position = c->position;
	out->position.last = c->position.applied;
	out->position.last_epoch = epoch;
	out->position.trimmed = c->position.applied;
	out->position.trimmed_epoch = epoch;
	out->position.copying = false;
}

/* What was sent is what is there. If it does not add up, it goes only where there is nobody to give
 * better. */
static void end_with_position(struct storage *s, struct shard_copy *c, struct snapshot_out *out,
			      struct effects *fx)
{
	if (out->position.digested && out->digest != out->position.digest)
		damage_found(s, c, "what was copied does not add up to its digest", fx);
	out->position.digest = out->digest;
	out->position.digested = true;
	out->chunk.position = out->position;
}

/* What of a shard is not under keys of its own: settings, edits, refusals. */
static uint32_t first_pairs(struct storage *s, struct shard_copy *c, struct snapshot_out *out,
			    struct key_value *pairs)
{
	uint32_t count = 1;
	pairs[0] =
	    (struct key_value){.family = STORE_META,
			       .key = slice_text("g"),
			       .value = arena_copy(&out->arena, buf_slice(&c->settings_bytes))};
	count += edits_pairs(c, &out->arena, pairs + count, LIMIT_SNAPSHOT_PAIRS - count);
	count += refusals_pairs(s, c, &out->arena, pairs + count, LIMIT_SNAPSHOT_PAIRS - count);
	return count;
}

static void fill_chunk(struct storage *s, struct shard_copy *c, struct snapshot_out *out,
		       struct effects *fx)
{
	arena_reset(&out->arena);
	struct key_value *pairs = arena_alloc(&out->arena, LIMIT_SNAPSHOT_PAIRS * sizeof *pairs);
	size_t bytes = 0;
	uint8_t prefix[KEY_SHARD_BYTES];
	memcpy(prefix, key_shard(&s->key, 'd', c->id).data, sizeof prefix);
	uint32_t count = out->sequence == 0 ? first_pairs(s, c, out, pairs) : 0;
	while (count < LIMIT_SNAPSHOT_PAIRS && bytes < s->options.snapshot_chunk_bytes) {
		struct store_iterator *it = out->its[out->at];
		enum store_family family = digest_families[out->at];
		bool inside = store_valid(s->store, it);
		struct slice key = inside ? store_key(s->store, it) : (struct slice){0};
		if (!inside || key.len < sizeof prefix ||
		    memcmp(key.data, prefix, sizeof prefix) != 0) {
			if (++out->at == DIGEST_FAMILIES || MUTATION(snapshot_without_conflicts))
				break;
			continue;
		}
		struct slice value = store_value(s->store, it);
		struct slice rest = slice_of(key.data + sizeof prefix, key.len - sizeof prefix);
		pairs[count++] = (struct key_value){.family = family,
						    .key = arena_copy(&out->arena, rest),
						    .value = arena_copy(&out->arena, value)};
		out->digest += digest_pair(family, key, value);
		bytes += key.len + value.len;
		store_next(s->store, it);
	}
	bool complete = count < LIMIT_SNAPSHOT_PAIRS && bytes < s->options.snapshot_chunk_bytes;
	out->chunk = (struct msg_snapshot_chunk){.shard = c->id,
						 .snapshot = out->id,
						 .sequence = out->sequence,
						 .pairs = pairs,
						 .pairs_count = count,
						 .last = complete};
	if (complete)
		end_with_position(s, c, out, fx);
}

/* Others hold all that this copy should: the follower hears it from one of them, when this node has
 * begun anew. */
static void send_chunk(struct storage *s, struct shard_copy *c, struct follower *f,
		       struct effects *fx)
{
	if (damage_stays(s, c)) {
		REACHED(damage_not_copied);
		snapshot_stop(s, f);
		return;
	}
	struct envelope envelope = {
	    .type = MSG_snapshot_chunk, .request_id = s->next_request++, .epoch = c->lead_epoch};
	fx_send(fx, WHEN_NOW, f->node, 0, &envelope, &f->snapshot->chunk);
	f->sent_ms = s->now_ms;
	f->copy_begun = true;
}

/* The copy can begin only where memory and the last commit agree. */
static void open_iterators(struct storage *s, struct shard_copy *c, struct follower *f,
			   struct effects *fx)
{
	struct snapshot_out *out = f->snapshot;
	take_position(s, c, out);
	for (uint32_t i = 0; i < DIGEST_FAMILIES; i++) {
		out->its[i] = store_iterate(s->store, digest_families[i]);
		store_seek(s->store, out->its[i], key_shard(&s->key, 'd', c->id));
	}
	fill_chunk(s, c, out, fx);
}

void snapshot_start(struct storage *s, struct shard_copy *c, struct follower *f, struct effects *fx)
{
	snapshot_stop(s, f);
	f->heard = false;
	f->acked = 0;
	f->mode = FOLLOW_PROBE;
	if (damage_stays(s, c))
		return; /* it asks again */
	f->mode = FOLLOW_SNAPSHOT;
	f->snapshot = mem_alloc_zero(sizeof *f->snapshot);
	f->snapshot->id =
	    s->snapshots_total + 1; /* counts within this life; the epoch tells lives apart */
	f->sent_ms = s->now_ms;
	s->snapshots_total++;
	fx_log(fx, LOG_LEVEL_INFO, "snapshot_started shard=%016llx to=%llu",
	       (unsigned long long)c->id, (unsigned long long)f->node);
}

void snapshot_stop(struct storage *s, struct follower *f)
{
	if (!f->snapshot)
		return;
	for (uint32_t i = 0; i < DIGEST_FAMILIES; i++)
		if (f->snapshot->its[i])
			store_iterator_free(s->store, f->snapshot->its[i]);
	arena_close(&f->snapshot->arena);
	free(f->snapshot);
	f->snapshot = NULL;
	if (f->mode == FOLLOW_SNAPSHOT)
		f->mode = FOLLOW_PROBE;
}

uint64_t snapshot_has(const struct follower *f)
{
	if (f->snapshot)
		return f->snapshot->its[0] ? f->snapshot->position.applied : UINT64_MAX;
	return f->copied_request > 0 ? f->acked : UINT64_MAX;
}

void snapshot_tick(struct storage *s, struct shard_copy *c, struct follower *f, struct effects *fx)
{
	if (!f->snapshot->its[0]) {
		if (store_dirty(s->store)) {
			s->snapshots_due = true;
			return;
		}
		open_iterators(s, c, f, fx);
		send_chunk(s, c, f, fx);
	} else if (s->now_ms - f->sent_ms >= SNAPSHOT_RESEND_MS) {
		send_chunk(s, c, f, fx);
	}
}

/* Under load there is no turn in which messages have put nothing before the tick. */
void snapshot_stored(struct storage *s, struct effects *fx)
{
	if (!s->snapshots_due)
		return;
	s->snapshots_due = false;
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&s->shards, &at));) {
		struct shard_copy *c = entry->value;
		for (uint32_t i = 0; shard_is_lead(c) && i < c->followers_count; i++)
			if (c->followers[i].snapshot)
				snapshot_tick(s, c, &c->followers[i], fx);
	}
}

static void finished(struct storage *s, struct shard_copy *c, struct follower *f,
		     struct effects *fx)
{
	uint64_t reached = f->snapshot->position.applied;
	snapshot_stop(s, f);
	f->heard = true;
	f->acked = reached;
	f->applied = reached;
	f->next = reached + 1;
	f->copied_request = s->next_request;
	f->copy_begun = false;
	f->window_bytes = 0;
	f->mode = FOLLOW_STREAM;
	c->turn_dirty = true;
	fx_log(fx, LOG_LEVEL_INFO, "snapshot_done shard=%016llx to=%llu number=%llu",
	       (unsigned long long)c->id, (unsigned long long)f->node, (unsigned long long)reached);
	if (reached < c->position.applied)
		REACHED(snapshot_during_writes);
	stream_settle(s, c, fx);
}

void snapshot_on_chunk_ack(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_snapshot_chunk_ack *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	if (!c || !shard_is_lead(c) || e->message.envelope.epoch != c->lead_epoch)
		return;
	struct follower *f = shard_follower(c, e->message.from.member);
	if (!f || !f->snapshot || f->snapshot->id != m->snapshot ||
	    f->incarnation != m->incarnation)
		return;
	/* one that can't take it, as its disk is full, is as good as away: see stream_tick */
	if (m->status != STATUS_OK && m->status != STATUS_STREAM_GAP)
		return;
	f->heard_ms = s->now_ms;
	if (m->status == STATUS_STREAM_GAP) {
		REACHED(snapshot_begun_again);
		snapshot_start(s, c, f, fx);
		return;
	}
	if (m->sequence != f->snapshot->sequence || !f->snapshot->its[0])
		return;
	if (f->snapshot->chunk.last) {
		finished(s, c, f, fx);
		return;
	}
	f->snapshot->sequence++;
	fill_chunk(s, c, f->snapshot, fx);
	send_chunk(s, c, f, fx);
}

/* ---- the replica that is copied to ---- */

/* What this replica was counted for is remembered: it may still promise to a lead that has as much.
 */
static struct shard_position vouched_end(const struct storage *s, const struct shard_copy *c)
{
	const struct replica *self = shard_self(s, c);
	const struct shard_position *p = &c->position;
	if (shard_vouching(s, c))
		return (struct shard_position){
		    .vouched = true, .vouched_number = p->last, .vouched_epoch = p->last_epoch};
	return self && !self->learning ? *p : (struct shard_position){0};
}

/* What is there goes: unsettled writes are kept as stream_cut keeps them, settled ones come with
 * the copy. */
void snapshot_clear(struct storage *s, struct shard_copy *c, uint64_t snapshot, struct effects *fx)
{
	struct shard_position old = vouched_end(s, c);
	if (c->position.last > c->position.applied)
		REACHED(snapshot_over_tail);
	stream_cut(s, c, c->position.applied, fx);
	struct buf end = {0};
	for (uint32_t i = 0; i < DIGEST_FAMILIES; i++)
		store_remove_range(s->store, digest_families[i], key_shard(&s->key, 'd', c->id),
				   key_shard_end(&end, 'd', c->id));
	store_remove_range(s->store, STORE_STREAM, key_shard(&s->key, 'e', c->id),
			   key_shard_end(&end, 'e', c->id));
	store_remove_range(s->store, STORE_STREAM, key_shard(&s->key, 'v', c->id),
			   key_shard_end(&end, 'v', c->id));
	buf_close(&end);
	if (!MUTATION(index_survives_copy))
		index_reset(s, c);
	view_reset(s, c);
	edits_remove_all(s, c);
	c->position = (struct shard_position){.copying = true,
					      .stamp = c->position.stamp,
					      .copy_epoch = c->placement.epoch,
					      .copy_snapshot = snapshot,
					      .vouched = old.vouched,
					      .vouched_number = old.vouched_number,
					      .vouched_epoch = old.vouched_epoch};
	lock_clear(c);
	scrub_forget(s, c);
	c->unreadable = 0;
	digest_forget(c);
	c->copy_digest = 0;
	c->pending.first = 1;
	c->durable = 0;
	c->settled = 0;
	c->matched_epoch = 0;
	c->copy_snapshot = snapshot;
	c->copy_next = 0;
	c->position_dirty = true;
}

static void copy_pairs(struct storage *s, struct shard_copy *c, const struct msg_snapshot_chunk *m)
{
	for (uint32_t i = 0; i < m->pairs_count; i++) {
		const struct key_value *p = &m->pairs[i];
		if (p->family == STORE_META && slice_is(p->key, "g")) {
			store_put(s->store, STORE_META, key_shard(&s->key, 'g', c->id), p->value);
			shard_use_settings(s, c, p->value);
		}
		if (edits_take_pair(s, c, p) || refusals_take_pair(s, c, p))
			continue;
		if (p->family != STORE_DOCUMENTS && p->family != STORE_CONFLICTS &&
		    p->family != STORE_ATTACHMENTS)
			continue;
		key_shard(&s->key, 'd', c->id);
		buf_append_slice(&s->key, p->key);
		store_put(s->store, (enum store_family)p->family, buf_slice(&s->key), p->value);
		c->copy_digest +=
		    digest_pair((enum store_family)p->family, buf_slice(&s->key), p->value);
		if (p->family == STORE_CONFLICTS)
			lock_copied(c, p->key, p->value);
	}
}

static void copy_end(struct storage *s, struct shard_copy *c, const struct shard_position *position,
		     struct effects *fx)
{
	struct shard_position before = c->position;
	c->position = *position;
	c->position.copying = false;
	c->position.vouched_number = before.vouched_number;
	c->position.vouched_epoch = before.vouched_epoch;
	c->position.vouched = before.vouched;
	c->position.vouched = shard_lacks_vouched(&c->position);
	c->position.digest = c->copy_digest;
	c->position.digested = true;
	c->position.copy_epoch = c->placement.epoch;
	c->position.copy_snapshot = before.copy_snapshot;
	c->pending.first = position->applied + 1;
	c->durable = position->last;
	c->settled = position->applied;
	c->copy_snapshot = 0;
	recent_gap(s, c);
	c->position_dirty = true;
	fx_log(fx, LOG_LEVEL_INFO, "copy_done shard=%016llx number=%llu", (unsigned long long)c->id,
	       (unsigned long long)position->applied);
}

/* A copy is of what was applied, and nothing else. */
static bool position_fits(const struct shard_copy *c, const struct shard_position *p)
{
	return shard_position_sound(p) && p->trimmed == p->last &&
	       p->trimmed_epoch == p->last_epoch && p->last_epoch <= c->placement.epoch;
}

static enum status take_chunk(struct storage *s, struct shard_copy *c,
			      const struct msg_snapshot_chunk *m, struct effects *fx)
{
	if (s->disk_full)
		return STATUS_DISK_FULL;
	if (m->last && !position_fits(c, &m->position))
		return STATUS_BAD_MESSAGE;
	const struct shard_position *p = &c->position;
	uint64_t epoch = c->placement.epoch;
	bool newer = epoch > p->copy_epoch || m->snapshot > p->copy_snapshot;
	if (!p->copying && epoch == p->copy_epoch && m->snapshot == p->copy_snapshot)
		return STATUS_OK; /* complete, and told so again */
	/* ids begin anew with each life of a lead */
	bool same = c->copy_snapshot == m->snapshot && p->copy_epoch == epoch;
	if (m->sequence == 0 && !same && newer) {
		snapshot_clear(s, c, m->snapshot, fx);
		same = true;
	}
	/* restarted in its middle, it no longer knows how far the copy had come */
	bool lost = p->copying && c->copy_snapshot == 0;
	if (lost)
		REACHED(copy_interrupted);
	/* a late message must not throw away what came since */
	if (!same)
		return newer || lost ? STATUS_STREAM_GAP : STATUS_OLD_EPOCH;
	if (m->sequence < c->copy_next)
		return STATUS_OK; /* again */
	if (m->sequence != c->copy_next)
		return STATUS_STREAM_GAP;
	copy_pairs(s, c, m);
	c->copy_next++;
	if (m->last && m->position.digested && m->position.digest != c->copy_digest) {
		fx_log(fx, LOG_LEVEL_ERROR, "copy_differs shard=%016llx number=%llu",
		       (unsigned long long)c->id, (unsigned long long)m->position.applied);
		c->copy_snapshot = 0; /* whatever comes of it again is no part of a whole */
		return STATUS_STREAM_GAP;
	}
	if (m->last) {
		copy_end(s, c, &m->position, fx);
		s->indexes_building = true;
	}
	c->turn_dirty = true;
	fx_sync(fx);
	return STATUS_OK;
}

void snapshot_on_chunk(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_snapshot_chunk *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	struct msg_snapshot_chunk_ack ack = {.shard = m->shard,
					     .snapshot = m->snapshot,
					     .sequence = m->sequence,
					     .status = STATUS_OLD_EPOCH,
					     .incarnation = s->options.incarnation};
	if (!s->admitted) /* see follow_on_append */
		return;
	if (c && c->placement.epoch == e->message.envelope.epoch &&
	    c->promise.epoch <= e->message.envelope.epoch &&
	    c->placement.lead == e->message.from.member) {
		if (bring_first(s, c))
			return;
		ack.status = take_chunk(s, c, m, fx);
	}
	fx_reply(fx, WHEN_DURABLE, e, MSG_snapshot_chunk_ack, &ack);
}
