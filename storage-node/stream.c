/* A shard's stream: numbering, settling, applying, trimming, cutting; sending is in stream_send.c.
 * The shape is that of Raft's log replication (Ongaro and Ousterhout 2014, section 5.3 and 5.4.2):
 * a lead settles nothing of older epochs before an entry of its own has W copies. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/quorum.h"
#include "storage-node/discarded.h"
#include "storage-node/erase.h"
#include "storage-node/internal.h"
#include "storage-node/lock.h"

bool stream_epoch_at(struct storage *s, struct shard_copy *c, uint64_t number, uint64_t *epoch)
{
	*epoch = 0;
	if (number < c->position.trimmed || number > c->position.last)
		return false;
	if (number == 0)
		return true;
	if (number == c->position.last) {
		*epoch = c->position.last_epoch;
		return true;
	}
	if (number == c->position.trimmed) {
		*epoch = c->position.trimmed_epoch;
		return true;
	}
	struct pending *p = ring_at(&c->pending, number);
	if (p) {
		*epoch = p->epoch;
		return true;
	}
	struct slice value;
	if (store_get(s->store, STORE_STREAM, key_number(&s->key, 'e', c->id, number), &value) !=
		STORE_OK ||
	    value.len < 8)
		return false;
	*epoch = be64_read(value.data);
	return true;
}

uint64_t stream_epoch_of(struct storage *s, struct shard_copy *c, uint64_t number)
{
	uint64_t epoch;
	CHECK(number >= c->position.trimmed && number <= c->position.last);
	return stream_epoch_at(s, c, number, &epoch) ? epoch : 0;
}

bool stream_readable(struct storage *s, struct slice encoded, struct change *change)
{
	struct collection settings;
	if (!schema_decode(&schema_change, encoded, &s->arena, change))
		return false;
	return change->kind != CHANGE_SETTINGS ||
	       schema_decode(&schema_collection, change->body, &s->arena, &settings);
}

/* Its bytes are not those that were checked when it came: the disk has changed them. */
static bool unreadable(struct storage *s, struct shard_copy *c, uint64_t number,
		       struct slice encoded)
{
	struct arena_mark mark = arena_mark(&s->arena);
	struct change change;
	bool fine = stream_readable(s, encoded, &change);
	arena_rewind(&s->arena, mark);
	if (!fine && c->unreadable == 0)
		c->unreadable = number;
	if (!fine)
		REACHED(unreadable_entry);
	return !fine;
}

void stream_note_entry(struct storage *s, struct shard_copy *c, uint64_t number)
{
	struct pending *p = ring_at(&c->pending, number);
	struct arena_mark mark = arena_mark(&s->arena);
	struct change change;
	CHECK(p != NULL);
	if (schema_decode(&schema_change, p->change, &s->arena, &change)) {
		p->id = change.id;
		recent_entry(s, c, number, p->epoch, &change);
		if (change.kind == CHANGE_CHUNK_DROP)
			c->upload_dropped = number;
		else if (change.kind == CHANGE_SETTINGS)
			c->settings_entry = number;
		else if (change.kind == CHANGE_ERASE)
			erase_note(s, c, change.id, number);
	} else if (c->unreadable == 0) {
		c->unreadable = number;
	}
	arena_rewind(&s->arena, mark);
}

/* Not with each entry: a restart forgets the last few bytes. But if it forgot all, a node that is
 * restarted now and then would never find that they are too many. */
static void save_kept(struct storage *s, struct shard_copy *c)
{
	struct stream_kept kept = {
	    .bytes = c->stream_bytes, .marks = c->stream_marks, .marks_count = STREAM_MARKS};
	buf_clear(&s->value);
	schema_encode(&schema_stream_kept, &kept, &s->value);
	store_put(s->store, STORE_META, key_shard(&s->key, 'b', c->id), buf_slice(&s->value));
}

void stream_load_kept(struct storage *s, struct shard_copy *c)
{
	struct slice value;
	struct stream_kept kept;
	if (store_get(s->store, STORE_META, key_shard(&s->key, 'b', c->id), &value) != STORE_OK ||
	    !schema_decode(&schema_stream_kept, arena_copy(&s->arena, value), &s->arena, &kept))
		return;
	c->stream_bytes = kept.bytes;
	if (kept.marks_count == STREAM_MARKS)
		memcpy(c->stream_marks, kept.marks, sizeof c->stream_marks);
}

static void count_bytes(struct storage *s, struct shard_copy *c, size_t more)
{
	uint64_t step = s->options.stream_keep_bytes / STREAM_STEPS + 1;
	uint64_t steps = c->stream_bytes / step;
	c->stream_bytes += more;
	if (c->stream_bytes / step > steps)
		save_kept(s, c);
}

void stream_put_entry(struct storage *s, struct shard_copy *c, uint64_t epoch, struct slice change)
{
	uint64_t number = c->position.last + 1;
	buf_clear(&s->value);
	buf_append_be64(&s->value, epoch);
	buf_append_slice(&s->value, change);
	store_put(s->store, STORE_STREAM, key_number(&s->key, 'e', c->id, number),
		  buf_slice(&s->value));
	ring_push(&c->pending, epoch, change);
	stream_note_entry(s, c, number);
	c->position.last = number;
	c->position.last_epoch = epoch;
	c->position.vouched = shard_lacks_vouched(&c->position);
	c->position_dirty = true;
	count_bytes(s, c, change.len);
	c->turn_dirty = true;
}

bool stream_has_room(const struct storage *s, const struct shard_copy *c)
{
	return !waiters_full(c) && c->pending.count < s->options.pending_entries_max &&
	       c->pending.bytes < s->options.pending_bytes_max &&
	       s->pending_bytes < PENDING_BYTES_NODE_MAX;
}

uint64_t stream_append_change(struct storage *s, struct shard_copy *c, const struct change *change,
			      struct effects *fx)
{
	CHECK(shard_is_lead(c));
	struct buf encoded = {0};
	schema_encode(&schema_change, change, &encoded);
	stream_put_entry(s, c, c->lead_epoch, buf_slice(&encoded));
	buf_close(&encoded);
	fx_sync(fx);
	return c->position.last;
}

/* Entries that are applied are read from the store, newer ones from memory. What can't be read is
 * passed on to nobody. */
uint32_t stream_entries(struct storage *s, struct shard_copy *c, uint64_t first,
			struct stream_entry **out)
{
	struct stream_entry *list =
	    arena_alloc(&s->arena, LIMIT_STREAM_ENTRIES / 16 * sizeof *list);
	uint32_t cap = LIMIT_STREAM_ENTRIES / 16;
	uint32_t count = 0;
	size_t bytes = 0;
	for (uint64_t n = first;
	     n <= c->position.last && count < cap && bytes < BOUND(append_bytes, APPEND_BYTES_MAX);
	     n++) {
		struct pending *p = ring_at(&c->pending, n);
		if (n == c->unreadable)
			break;
		if (p) {
			list[count++] = (struct stream_entry){p->epoch, p->change};
			bytes += p->change.len;
			continue;
		}
		struct slice value;
		if (store_get(s->store, STORE_STREAM, key_number(&s->key, 'e', c->id, n), &value) !=
			STORE_OK ||
		    value.len < 8 || unreadable(s, c, n, slice_of(value.data + 8, value.len - 8)))
			break;
		s->catch_up_reads++;
		uint64_t epoch = be64_read(value.data);
		struct slice change =
		    arena_copy(&s->arena, slice_of(value.data + 8, value.len - 8));
		list[count++] = (struct stream_entry){epoch, change};
		bytes += change.len;
	}
	*out = list;
	return count;
}

/* ---- settling ---- */

/* The greatest number that at least W voting replicas of this set have synced, this node included
 * if it is one of them. */
static uint64_t set_number(const struct storage *s, const struct shard_copy *c, enum quorum_set set)
{
	uint64_t numbers[LIMIT_REPLICAS + 1];
	uint32_t count = 0;
	const struct replica *self = shard_self(s, c);
	uint64_t needed = c->placement.write_quorum;
	if (shard_vouching(s, c) && quorum_has(self, set))
		numbers[count++] = c->durable;
	for (uint32_t i = 0; i < c->followers_count; i++) {
		const struct follower *f = &c->followers[i];
		if ((!f->learning || MUTATION(learner_votes)) && f->heard &&
		    quorum_has(&c->placement.replicas[f->place], set))
			numbers[count++] = f->acked;
	}
	if (needed == 0 || count < needed)
		return 0;
	for (uint32_t i = 1; i < count; i++)
		for (uint32_t j = i; j > 0 && numbers[j] > numbers[j - 1]; j--) {
			uint64_t swap = numbers[j];
			numbers[j] = numbers[j - 1];
			numbers[j - 1] = swap;
		}
	return numbers[needed - 1 - (MUTATION(settled_by_one_less) && needed > 1)];
}

static uint64_t quorum_number(const struct storage *s, const struct shard_copy *c)
{
	uint64_t number = set_number(s, c, QUORUM_OLD);
	uint64_t joint = quorum_joint(&c->placement) ? set_number(s, c, QUORUM_NEW) : number;
	if (c->durable < c->position.last)
		REACHED(counted_before_own_sync);
	return joint < number ? joint : number;
}

void stream_settle(struct storage *s, struct shard_copy *c, struct effects *fx)
{
	if (!shard_is_lead(c))
		return;
	uint64_t number = quorum_number(s, c);
	bool own = number >= c->epoch_start || MUTATION(own_entry_not_awaited);
	if (!own || (number <= c->settled && c->position.applied >= c->settled))
		return;
	stream_apply(s, c, number, fx);
	if (c->state == SHARD_PREPARING && c->position.applied >= number)
		takeover_settled(s, c, fx);
}

/* An entry may have been settled by another lead long before we hear of it: what was decided on it
 * without a change may be out of date by then. */
static void answer_waiters(const struct storage *s, const struct shard_copy *c, struct pending *p,
			   struct effects *fx)
{
	while (p->waiters) {
		struct waiter *w = p->waiters;
		p->waiters = w->next;
		if (w->needs_lead && !MUTATION(late_answer) &&
		    (c->lead_epoch != w->envelope.epoch || !lease_held(s, c))) {
			REACHED(answer_after_lead_lost);
			w->ack.status = STATUS_NO_LEAD;
			w->ack.revision = (struct revision){0};
		}
		w->ack.clock_ms = (uint64_t)s->now_ms;
		w->ack.life = s->options.life;
		waiter_answer(w, fx);
	}
}

void stream_apply(struct storage *s, struct shard_copy *c, uint64_t settled, struct effects *fx)
{
	if (settled > c->settled)
		c->settled = settled;
	uint64_t target = settled < c->position.last ? settled : c->position.last;
	while (c->position.applied < target) {
		if (s->applied_bytes >= s->options.apply_bytes_turn) {
			REACHED(applied_in_parts);
			s->apply_rest = true;
			break;
		}
		uint64_t number = c->position.applied + 1;
		struct pending *p = ring_at(&c->pending, number);
		CHECK(p != NULL);
		if (number == c->unreadable) {
			if (c->state != SHARD_REPLICA)
				c->state = SHARD_STUCK;
			break;
		}
		c->position.applied = number;
		struct arena_mark mark = arena_mark(&s->arena);
		apply_change(s, c, number, p->change, fx);
		if (number % DIGEST_EVERY == 0)
			applying_flush(s);
		digest_mark(c);
		arena_rewind(&s->arena, mark);
		if (p->id.len && shard_is_lead(c))
			overlay_forget(c, p->id, number);
		answer_waiters(s, c, p, fx);
		ring_pop_first(&c->pending);
		c->position_dirty = true;
		c->turn_dirty = true;
		s->applied_total++;
	}
	applying_flush(s);
	stream_trim(s, c);
}

void stream_apply_rest(struct storage *s, struct effects *fx)
{
	s->apply_rest = false;
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&s->shards, &at));) {
		struct shard_copy *c = entry->value;
		if (c->position.applied >= c->settled)
			continue;
		if (shard_is_lead(c))
			stream_settle(s, c, fx);
		else
			stream_apply(s, c, c->settled, fx);
	}
}

/* Large entries: fewer are kept, and of these no more bytes than came since the oldest mark. */
static uint64_t trim_for_bytes(struct storage *s, struct shard_copy *c)
{
	uint64_t keep = s->options.stream_keep_entries / 10;
	uint64_t applied = c->position.applied;
	uint64_t target = applied > keep ? applied - keep : 0;
	/* not one of a copy that was begun anew since */
	if (c->stream_marks[0] > target && c->stream_marks[0] < applied)
		target = c->stream_marks[0];
	memmove(c->stream_marks, c->stream_marks + 1, sizeof c->stream_marks - sizeof applied);
	c->stream_marks[STREAM_MARKS - 1] = applied;
	c->stream_bytes = 0;
	c->stream_holds++;
	save_kept(s, c);
	return target;
}

/* What comes while a replica is copied to is its way on: if that went before it gets there, it
 * would be copied to for ever under load. */
static uint64_t keep_for_copies(const struct storage *s, struct shard_copy *c, uint64_t target)
{
	uint64_t least = target;
	for (uint32_t i = 0; i < c->followers_count; i++) {
		const struct follower *f = &c->followers[i];
		if (s->now_ms - f->heard_ms < BOUND(copy_silent_ms, COPY_SILENT_MS) &&
		    snapshot_has(f) < least)
			least = snapshot_has(f);
	}
	if (least == target)
		c->stream_holds = 0;
	if (s->disk_full || c->stream_holds > COPY_KEEPS ||
	    c->position.applied - least > s->options.stream_keep_entries * COPY_KEEPS)
		return target;
	if (least < target)
		REACHED(stream_kept_for_copy);
	return least;
}

void stream_trim(struct storage *s, struct shard_copy *c)
{
	uint64_t keep = s->options.stream_keep_entries;
	uint64_t target = 0;
	uint64_t epoch;
	if (c->stream_bytes > s->options.stream_keep_bytes)
		target = trim_for_bytes(s, c);
	else if (c->position.applied - c->position.trimmed >= keep + keep / 8 + 1)
		target = c->position.applied - keep;
	if (target > c->position.trimmed)
		target = keep_for_copies(s, c, target);
	if (target <= c->position.trimmed || !stream_epoch_at(s, c, target, &epoch))
		return;
	REACHED(stream_trimmed);
	struct buf end = {0};
	store_remove_range(s->store, STORE_STREAM, key_number(&s->key, 'e', c->id, 0),
			   key_number(&end, 'e', c->id, target + 1));
	store_remove_range(s->store, STORE_STREAM, key_number(&s->key, 'v', c->id, 0),
			   key_number(&end, 'v', c->id, target + 1));
	buf_close(&end);
	c->position.trimmed = target;
	c->position.trimmed_epoch = epoch;
	c->position_dirty = true;
	c->stream_bytes = 0;
	save_kept(s, c);
}

/* ---- cutting back a departing suffix ---- */

static void cut_entry(struct storage *s, struct shard_copy *c, uint64_t number, struct pending *p,
		      struct effects *fx)
{
	struct change change;
	if (!schema_decode(&schema_change, p->change, &s->arena, &change))
		return;
	recent_cut(c, number, &change);
	if (change.kind != CHANGE_WRITE && change.kind != CHANGE_BRANCH)
		return;
	/* part of a write by query is done again by whoever goes on with that; nobody was told of
	 * it
	 */
	struct position entry = {.epoch = p->epoch, .number = number};
	bool accepted = shard_is_available(c) && change.edit_id.len == 0;
	/* contents may be gone by the time that it is ordered, and nobody was told of it either */
	if (change.uploads_count > 0)
		accepted = false;
	if (accepted) {
		REACHED(cut_becomes_branch);
		change.kind = CHANGE_BRANCH;
		outbox_add(s, c, &change, &entry, fx);
	} else {
		REACHED(cut_is_discarded);
		discarded_keep(s, c, number, p);
	}
}

void stream_cut(struct storage *s, struct shard_copy *c, uint64_t after, struct effects *fx)
{
	if (after >= c->position.last)
		return;
	if (after < c->position.applied) {
		fx_exit(fx, "a settled entry would be cut: this is a bug");
		return;
	}
	fx_log(fx, LOG_LEVEL_WARN, "stream_cut shard=%016llx after=%llu last=%llu",
	       (unsigned long long)c->id, (unsigned long long)after,
	       (unsigned long long)c->position.last);
	uint64_t epoch = stream_epoch_of(s, c, after);
	discarded_trim(s, c);
	for (uint64_t n = after + 1; n <= c->position.last; n++) {
		struct pending *p = ring_at(&c->pending, n);
		CHECK(p != NULL);
		cut_entry(s, c, n, p, fx);
		waiters_fail(p, STATUS_OUTCOME_UNKNOWN, fx);
		store_remove(s->store, STORE_STREAM, key_number(&s->key, 'e', c->id, n));
	}
	while (c->position.last > after) {
		ring_pop_last(&c->pending);
		c->position.last--;
	}
	c->position.last_epoch = epoch;
	if (c->unreadable > after)
		c->unreadable = 0;
	c->position_dirty = true;
	c->turn_dirty = true;
	if (c->durable > after)
		c->durable = after;
	overlays_clear(c);
	lock_cut(c, after);
	fx_sync(fx);
}
