#include "storage-node/purge.h"

#include "common/doc/graph.h"
#include "common/doc/revision.h"
#include "common/doc/shard_hash.h"
#include "common/retain.h"
#include "storage-node/checkpoint.h"
#include "storage-node/digest.h"

enum { PURGED_TRIM_MAX = 4 /* old marks that go with each new one */ };

/* ---- applying: alike on every replica ---- */

void purge_note(struct storage *s, struct shard_copy *c, const struct change *change,
		uint64_t before, uint64_t after)
{
	if (before > 0)
		digest_remove(s, c, STORE_CONFLICTS, key_tombstone(&s->key, c->id, before));
	if (after == 0)
		return;
	struct tombstone tombstone = {.id = change->id, .wall_ms = change->wall_ms};
	buf_clear(&s->value);
	schema_encode(&schema_tombstone, &tombstone, &s->value);
	digest_put(s, c, STORE_CONFLICTS, key_tombstone(&s->key, c->id, after),
		   buf_slice(&s->value));
}

static bool mark_of_hash(struct storage *s, struct shard_copy *c, uint64_t hash, struct purged *out)
{
	struct slice value;
	return store_get(s->store, STORE_CONFLICTS, key_purged_hash(&s->key, c->id, hash),
			 &value) == STORE_OK &&
	       schema_decode(&schema_purged, arena_copy(&s->arena, value), &s->arena, out);
}

bool purge_mark(struct storage *s, struct shard_copy *c, struct slice id, struct purged *out)
{
	return c->position.purged_next > c->position.purged_first &&
	       mark_of_hash(s, c, shard_hash(id), out);
}

/* The oldest mark goes, unless its document was purged again since. False: it is too young. */
static bool trim_one(struct storage *s, struct shard_copy *c, uint64_t forget_ms)
{
	struct shard_position *p = &c->position;
	struct slice value;
	struct purged mark;
	if (store_get(s->store, STORE_CONFLICTS,
		      key_purged_sequence(&s->key, c->id, p->purged_first), &value) == STORE_OK &&
	    value.len == sizeof(uint64_t)) {
		uint64_t hash = be64_read(value.data);
		bool found = mark_of_hash(s, c, hash, &mark) && mark.sequence == p->purged_first;
		if (found && mark.wall_ms >= forget_ms &&
		    p->purged_next - p->purged_first <= PURGED_MARKS_MAX)
			return false;
		if (found)
			digest_remove(s, c, STORE_CONFLICTS, key_purged_hash(&s->key, c->id, hash));
	}
	digest_remove(s, c, STORE_CONFLICTS, key_purged_sequence(&s->key, c->id, p->purged_first));
	p->purged_first++;
	return true;
}

void purge_applied(struct storage *s, struct shard_copy *c, const struct change *change,
		   uint64_t number, const struct revision *deletion)
{
	struct shard_position *p = &c->position;
	struct purged mark = {.sequence = p->purged_next++,
			      .number = number,
			      .wall_ms = change->wall_ms,
			      .revision = *deletion};
	struct buf hash = {0};
	if (p->purged_seen < change->seen_number)
		p->purged_seen = change->seen_number;
	buf_append_be64(&hash, shard_hash(change->id));
	buf_clear(&s->value);
	schema_encode(&schema_purged, &mark, &s->value);
	digest_put(s, c, STORE_CONFLICTS, key_purged(&s->key, c->id, change->id),
		   buf_slice(&s->value));
	digest_put(s, c, STORE_CONFLICTS, key_purged_sequence(&s->key, c->id, mark.sequence),
		   buf_slice(&hash));
	buf_close(&hash);
	for (int i = 0; i < PURGED_TRIM_MAX && p->purged_first < p->purged_next; i++)
		if (!trim_one(s, c, change->forget_ms))
			break;
	s->purged_total++;
}

bool purge_is_late(const struct document *doc, const struct purged *mark,
		   const struct change *change)
{
	if (change->seen_number >= mark->number || MUTATION(purged_forgotten))
		return false;
	for (uint32_t i = 0; i < change->parents_count; i++) {
		int known = graph_find(doc, &change->parents[i]);
		bool is_late = known != GRAPH_NONE && (doc->revisions[known].flags & REVISION_LATE);
		if (revision_equal(&change->parents[i], &mark->revision) ||
		    (known != GRAPH_NONE && !is_late))
			return false;
	}
	return true;
}

bool purge_is_again(const struct document *doc, const struct purged *mark,
		    const struct change *change)
{
	if (!revision_equal(&mark->revision, &change->revision) ||
	    !purge_is_late(doc, mark, change))
		return false;
	REACHED(purged_deletion_again);
	return true;
}

/* ---- the lead ---- */

/* Clients' operation ids must be known as long as they are promised to be, and what went into a
 * resolution until its own cleanup. */
static bool is_purgeable(const struct storage *s, const struct document *doc)
{
	int winner = graph_winner(doc);
	uint64_t now_ms = s->wall_ms > 0 ? (uint64_t)s->wall_ms : 0;
	if (winner == GRAPH_NONE || graph_is_live(doc, (uint32_t)winner) ||
	    graph_conflicts(doc) > 0)
		return false;
	if (doc->operations_count > 0 &&
	    (doc->operations[doc->operations_count - 1].stamp >> 16) + OPERATION_KEEP_MS >= now_ms)
		return false;
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		if (doc->revisions[i].pins > 0)
			return false;
	return true;
}

static bool is_due(const struct storage *s, const struct shard_copy *c, uint64_t deleted_ms)
{
	uint64_t now_ms = s->wall_ms > 0 ? (uint64_t)s->wall_ms : 0;
	uint64_t age_ms = now_ms > deleted_ms ? now_ms - deleted_ms : 0;
	return age_ms >= retain_deleted_ms(&c->settings);
}

static void list_one(struct storage *s, struct shard_copy *c, struct slice id, uint64_t number,
		     struct msg_conflict_list_ack *ack)
{
	struct document_view view;
	struct arena_mark mark = arena_mark(&s->arena);
	document_load(s, c, id, &view);
	bool fit = view.exists && view.doc.changed == number && is_purgeable(s, &view.doc);
	arena_rewind(&s->arena, mark);
	if (fit)
		ack->tombstones[ack->tombstones_count++] =
		    (struct cleanup_item){.id = id, .number = number, .purge = true};
}

/* In the order of their deletion: the first that is too young ends the walk. */
void purge_list(struct storage *s, struct shard_copy *c, struct msg_conflict_list_ack *ack)
{
	struct purge_wait *w = &c->purge_wait;
	uint32_t looked = 0;
	uint8_t prefix[KEY_BESIDE_BYTES];
	w->held_back = false;
	if (c->position.deleted == 0)
		return;
	uint64_t seen = checkpoint_seen(s, c, w->behind);
	ack->tombstones = arena_alloc(&s->arena, TOMBSTONES_LISTED * sizeof *ack->tombstones);
	struct store_iterator *it = store_iterate(s->store, STORE_CONFLICTS);
	memcpy(prefix, key_tombstone(&s->key, c->id, 0).data, sizeof prefix);
	store_seek(s->store, it, key_tombstone(&s->key, c->id, w->after));
	w->after = 0;
	for (; store_valid(s->store, it); store_next(s->store, it)) {
		struct slice key = store_key(s->store, it);
		struct tombstone row;
		if (key.len != KEY_BESIDE_BYTES + 8 || memcmp(key.data, prefix, sizeof prefix) != 0)
			break;
		uint64_t number = be64_read(key.data + KEY_BESIDE_BYTES);
		if (looked++ == TOMBSTONES_LOOKED || ack->tombstones_count == TOMBSTONES_LISTED) {
			w->after = number;
			break;
		}
		struct slice value = arena_copy(&s->arena, store_value(s->store, it));
		if (!schema_decode(&schema_tombstone, value, &s->arena, &row))
			continue;
		if (!is_due(s, c, row.wall_ms))
			break;
		w->held_back = number > seen;
		if (w->held_back) {
			REACHED(purge_awaits_checkpoint);
			break;
		}
		list_one(s, c, row.id, number, ack);
	}
	store_iterator_free(s->store, it);
}

bool purge_order(struct storage *s, struct shard_copy *c, const struct cleanup_item *item,
		 uint64_t seen, struct effects *fx)
{
	struct document_view view;
	uint64_t keep_ms = s->options.purged_keep_ms;
	uint64_t now_ms = s->wall_ms > 0 ? (uint64_t)s->wall_ms : 0;
	if (!document_id_ok(item->id) || item->number > seen)
		return false;
	document_load_pending(s, c, item->id, &view);
	if (!view.exists || view.doc.changed != item->number || !is_purgeable(s, &view.doc)) {
		REACHED(purge_cancelled);
		return false;
	}
	struct change change = {.kind = CHANGE_PURGE,
				.id = item->id,
				.floor = c->floor,
				.seen_number = item->number,
				.forget_ms = now_ms > keep_ms ? now_ms - keep_ms : 0,
				.wall_ms = now_ms};
	uint64_t number = stream_append_change(s, c, &change, fx);
	overlay_touch(s, c, item->id, number);
	if (item->number > c->purge_wait.ordered)
		c->purge_wait.ordered = item->number;
	return true;
}

/* ---- metrics ---- */

void purge_metrics(const struct storage *s, struct buf *out)
{
	uint64_t tombstones = 0;
	uint64_t marks = 0;
	uint64_t checkpoints = 0;
	uint64_t held_back = 0;
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&s->shards, &at));) {
		const struct shard_copy *c = entry->value;
		tombstones += c->position.deleted;
		marks += c->position.purged_next - c->position.purged_first;
		checkpoints += c->position.checkpoints;
		held_back += c->state == SHARD_SERVING && c->purge_wait.held_back;
	}
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
	    {"parley_tombstones", tombstones},
	    {"parley_tombstones_held_back_shards", held_back},
	    {"parley_purges_applied_total", s->purged_total},
	    {"parley_purged_marks", marks},
	    {"parley_checkpoints", checkpoints},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		buf_printf(out, "%s %llu\n", rows[i].name, (unsigned long long)rows[i].value);
}
