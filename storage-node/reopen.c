#include "storage-node/reopen.h"

#include "common/doc/graph.h"
#include "common/doc/revision.h"
#include "proto/msgpack.h"
#include "storage-node/conflict.h"
#include "storage-node/lock.h"
#include "storage-node/write.h"

/* ---- what becomes of the losers ---- */

/* Something else that readers see, and that did not come late. */
static bool other_is_seen(const struct document *doc, int than)
{
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		if ((int)i != than && graph_is_live(doc, i) &&
		    !(doc->revisions[i].flags & REVISION_LATE))
			return true;
	return false;
}

/* What the undoing of another resolution made of this revision: the same again, by nobody's hand.
 */
static bool is_copy(const struct document *doc, uint32_t index, int of)
{
	const struct revision_node *node = &doc->revisions[index];
	return (node->flags & REVISION_REOPENED) && node->parents_count == 1 &&
	       node->parents[0] == (uint64_t)of;
}

int reopen_result(const struct document *doc, const struct change *change)
{
	int result = change->closed_count > 0 ? graph_find(doc, &change->closed[0]) : GRAPH_NONE;
	if (result == GRAPH_NONE)
		return result;
	for (uint32_t i = (uint32_t)result + 1; i < doc->revisions_count; i++)
		if (is_copy(doc, i, result))
			result = (int)i;
	return result;
}

/* What a loser was in the conflict it is again. The tombstone of a purged document hides what came
 * late, as before; but nothing that readers see, and that stays when the resolution has ended. */
static uint64_t flags_again(const struct document *doc, const struct change *change)
{
	int winner = graph_winner(doc);
	bool seen = winner != GRAPH_NONE && graph_is_live(doc, (uint32_t)winner);
	bool ends = change->parents_count > 1;
	int result = ends ? reopen_result(doc, change) : GRAPH_NONE;
	uint64_t again = REVISION_SPLIT | REVISION_LATE;
	return seen && other_is_seen(doc, result) ? again : again | REVISION_PURGED;
}

/* The name covers the resolution's id: an edit of a client with the same content is another one. */
static void name_reopened(const struct document *doc, uint32_t loser, const struct change *change,
			  struct arena *arena, struct reopened *out)
{
	struct revision parent = graph_name(doc, loser);
	bool deleted = doc->revisions[loser].flags & REVISION_DELETED;
	struct revision_content content = {.parents = &parent,
					   .parents_count = 1,
					   .deleted = deleted,
					   .body = out->body,
					   .operation_id = change->resolution_id};
	struct revision name;
	revision_name(&content, arena_alloc(arena, REVISION_HASH_CHARS), &name);
	out->node = (struct revision_node){
	    .generation = name.generation,
	    .hash = name.hash,
	    .flags = REVISION_REOPENED |
		     (deleted ? REVISION_DELETED | REVISION_AGAINST : REVISION_HAS_BODY),
	    .stamp = doc->revisions[loser].stamp};
	out->node.parents = arena_alloc(arena, sizeof *out->node.parents);
	out->node.parents[0] = loser;
	out->node.parents_count = 1;
}

uint32_t reopen_list(struct document_view *view, const struct change *change, struct reopened **out)
{
	struct arena *arena = &view->storage->arena;
	*out = arena_alloc(arena, (change->parents_count + 1) * sizeof **out);
	uint64_t again = flags_again(&view->doc, change);
	const int *losers =
	    graph_find_all(&view->doc, change->parents, change->parents_count, arena);
	for (uint32_t i = 0; i < change->parents_count; i++) {
		int loser = losers[i];
		if (loser == GRAPH_NONE)
			return 0;
		(*out)[i].body = document_body(view, (uint32_t)loser);
		if ((*out)[i].body.len == 0 &&
		    !(view->doc.revisions[loser].flags & REVISION_DELETED))
			return 0;
		name_reopened(&view->doc, (uint32_t)loser, change, arena, &(*out)[i]);
		(*out)[i].node.flags |= view->doc.revisions[loser].flags & again;
	}
	return change->parents_count;
}

/* ---- sets that are held ---- */

static void leaves_digest(const struct document *doc, struct arena *arena, uint8_t digest[16])
{
	uint32_t *leaves;
	uint32_t count = graph_sides(doc, arena, &leaves);
	struct revision *names = arena_alloc(arena, (count + 1) * sizeof *names);
	for (uint32_t i = 0; i < count; i++)
		names[i] = graph_name(doc, leaves[i]);
	revision_sort(names, count);
	struct buf form = {0};
	for (uint32_t i = 0; i < count; i++) {
		revision_print(&names[i], &form);
		buf_append_byte(&form, ',');
	}
	digest16(buf_slice(&form), digest);
	buf_close(&form);
}

void reopen_hold(struct document *doc, struct arena *arena)
{
	uint32_t skip = doc->held_count >= LIMIT_HELD_SETS ? 1 : 0;
	struct slice *sets = arena_alloc(arena, (doc->held_count + 1) * sizeof *sets);
	uint32_t count = 0;
	for (uint32_t i = skip; i < doc->held_count; i++)
		sets[count++] = doc->held[i];
	uint8_t *digest = arena_alloc(arena, 16);
	leaves_digest(doc, arena, digest);
	sets[count++] = slice_of(digest, 16);
	doc->held = sets;
	doc->held_count = count;
}

bool reopen_is_held(const struct document *doc, struct arena *arena)
{
	uint8_t digest[16];
	if (doc->held_count == 0)
		return false;
	leaves_digest(doc, arena, digest);
	for (uint32_t i = 0; i < doc->held_count; i++)
		if (slice_equal(doc->held[i], slice_of(digest, sizeof digest)))
			return true;
	return false;
}

/* ---- the lead ---- */

/* The leaves as they are now: on these it was decided. */
static void name_leaves(struct document_view *view, struct change *change)
{
	uint32_t *leaves;
	struct arena *arena = &view->storage->arena;
	uint32_t count = graph_sides(&view->doc, arena, &leaves);
	struct revision *names = arena_alloc(arena, (count + 1) * sizeof *names);
	for (uint32_t i = 0; i < count; i++)
		names[i] = graph_name(&view->doc, leaves[i]);
	change->leaves = names;
	change->leaves_count = count;
}

/* Undone before, whoever asked, the first of them is there. EXISTS while it is so, LEAVES_MOVED
 * when people have resolved what came of it. */
static enum status was_undone(const struct document *doc, const struct reopened *list,
			      uint32_t count)
{
	bool stands = false;
	for (uint32_t i = 0; i < count; i++) {
		struct revision name = {list[i].node.generation, list[i].node.hash};
		int index = graph_find(doc, &name);
		if (index == GRAPH_NONE && i == 0)
			return STATUS_OK;
		stands |= index != GRAPH_NONE && !(doc->revisions[index].flags & REVISION_CLOSED);
	}
	return stands && graph_conflicts(doc) > 0 ? STATUS_EXISTS : STATUS_LEAVES_MOVED;
}

static enum status prepare(struct storage *s, struct shard_copy *c,
			   const struct msg_conflict_undo *m, struct document_view *view,
			   struct change *change)
{
	struct conflict row;
	struct reopened *list;
	struct lock_question question = {.id = m->id,
					 .op = WRITE_PUT,
					 .lock_ids = m->lock_ids,
					 .lock_ids_count = m->lock_ids_count};
	document_load_pending(s, c, m->id, view);
	if (!view->exists || m->resolution_id.len != 16 ||
	    !conflict_load_resolved(s, c, m->id, m->resolution_id, &row))
		return STATUS_NOT_FOUND;
	change->parents = row.leaves;
	change->parents_count = row.leaves_count;
	change->closed = arena_alloc(&s->arena, sizeof *change->closed);
	change->closed[0] = row.result;
	change->closed_count = 1;
	change->policy = row.policy;
	uint32_t count = reopen_list(view, change, &list);
	if (count == 0)
		return STATUS_NOT_FOUND;
	enum status status = was_undone(&view->doc, list, count);
	if (status == STATUS_OK)
		status = lock_check(c, &question);
	if (status != STATUS_OK)
		return status;
	change->revision = (struct revision){list[0].node.generation, list[0].node.hash};
	/* more sides than that no entry and no message can name */
	if (view->doc.revisions_count + change->parents_count > LIMIT_REVISIONS ||
	    graph_conflicts(&view->doc) + change->parents_count >= LIMIT_LEAVES)
		return STATUS_LIMIT_REACHED;
	if (s->disk_full)
		return STATUS_DISK_FULL;
	return stream_has_room(s, c) ? STATUS_OK : STATUS_OVERLOADED;
}

/* When this entry is applied, or at once. Where too many wait it is as unknown as the entry, and
 * asked for again. */
static void answer_after(struct shard_copy *c, const struct event *e, uint64_t number,
			 struct effects *fx)
{
	struct msg_conflict_undo_ack ack = {.status = STATUS_OK};
	if (ring_at(&c->pending, number) && waiters_full(c))
		ack.status = STATUS_TIMED_OUT;
	else if (waiter_await(c, e, number, MSG_conflict_undo_ack, &ack))
		return;
	fx_reply(fx, WHEN_NOW, e, MSG_conflict_undo_ack, &ack);
}

void reopen_on_undo(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_conflict_undo *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	struct document_view view = {.overlay = NULL};
	struct change change = {.kind = CHANGE_REOPEN,
				.id = m->id,
				.resolution_id = m->resolution_id,
				.detail = m->detail,
				.wall_ms = (uint64_t)s->wall_ms};
	struct msg_conflict_undo_ack ack = {.status = conflict_must_lead(s, c, e, fx)};
	if (ack.status == STATUS_OK)
		ack.status = prepare(s, c, m, &view, &change);
	/* asked again: what was ordered may still be under way */
	if (ack.status == STATUS_EXISTS) {
		answer_after(c, e, view.overlay ? view.overlay->last_number : 0, fx);
		return;
	}
	if (ack.status != STATUS_OK) {
		if (!waiter_refuse(c, e, view.overlay, MSG_conflict_undo_ack, &ack, &ack.status))
			fx_reply(fx, WHEN_NOW, e, MSG_conflict_undo_ack, &ack);
		return;
	}
	name_leaves(&view, &change);
	change.stamp = write_stamp(s, c);
	change.floor = c->floor;
	uint64_t number = stream_append_change(s, c, &change, fx);
	overlay_touch(s, c, m->id, number);
	answer_after(c, e, number, fx);
}
