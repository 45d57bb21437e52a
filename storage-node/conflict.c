/* The conflict queue: listing, showing, and "these leaves, exactly, become this". */
#include "storage-node/conflict.h"
#include "storage-node/attachment.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/attachment.h"
#include "common/doc/decide.h"
#include "common/doc/graph.h"
#include "common/doc/revision.h"
#include "common/doc/utf8.h"
#include "common/doc/value.h"
#include "storage-node/history.h"
#include "storage-node/lock.h"
#include "storage-node/offer.h"
#include "storage-node/purge.h"
#include "storage-node/reopen.h"

enum {
	CONFLICT_LIST_DEFAULT = 100,
	CONFLICT_LIST_BYTES = 1024 * 1024,
	CONFLICT_LIST_DOCUMENT_BYTES = 8 * 1024 * 1024, /* rows of one document alone */
	CONFLICT_NOTES_MAX = 10000
};

enum status conflict_must_lead(struct storage *s, struct shard_copy *c, const struct event *e,
			       struct effects *fx)
{
	if (!c)
		return STATUS_NO_SHARD;
	if (e->message.envelope.epoch < c->placement.epoch) {
		map_send_newer(c, e, fx);
		return STATUS_OLD_EPOCH;
	}
	if (c->state != SHARD_SERVING || e->message.envelope.epoch != c->lead_epoch)
		return STATUS_NOT_LEAD;
	return lease_held(s, c) ? STATUS_OK : STATUS_NO_LEAD;
}

bool conflict_load_resolved(struct storage *s, struct shard_copy *c, struct slice id,
			    struct slice resolution_id, struct conflict *out)
{
	struct slice value;
	return store_get(s->store, STORE_CONFLICTS,
			 key_conflict_resolved(&s->key, c->id, id, resolution_id),
			 &value) == STORE_OK &&
	       schema_decode(&schema_conflict, arena_copy(&s->arena, value), &s->arena, out);
}

/* ---- listing ---- */

/* Why an arbiter left it open: said of the conflict as it was at this entry, under this policy. */
struct note {
	uint64_t number;
	uint64_t policy;
	struct buf detail;
};

static void note_free(struct note *note)
{
	buf_close(&note->detail);
	free(note);
}

static void complete(struct shard_copy *c, struct slice id, struct conflict *conflict)
{
	struct note *note = map_get(&c->notes, id);
	if (conflict->state != CONFLICT_OPEN)
		return;
	conflict->policy = c->settings.version;
	if (note && note->number == conflict->number && note->policy == c->settings.version)
		conflict->detail = buf_slice(&note->detail);
}

static void list_rows(struct storage *s, struct shard_copy *c, const struct msg_conflict_list *m,
		      struct msg_conflict_list_ack *ack)
{
	uint64_t limit = m->limit ? m->limit : CONFLICT_LIST_DEFAULT;
	size_t bytes = 0;
	struct store_iterator *it = store_iterate(s->store, STORE_CONFLICTS);
	store_seek(s->store, it,
		   m->after.len > 0 ? key_document_end(&s->key, c->id, m->after)
				    : key_conflicts(&s->key, c->id));
	for (; store_valid(s->store, it); store_next(s->store, it)) {
		struct slice key = store_key(s->store, it);
		struct slice id;
		struct slice rest;
		if (key.len < KEY_SHARD_BYTES || be64_read(key.data + 1) != c->id ||
		    !key_split(key, &id, &rest))
			break;
		bool same =
		    ack->rows_count > 0 && slice_equal(ack->rows[ack->rows_count - 1].id, id);
		/* a page ends between documents, since the next one starts after an id */
		if (!same && (ack->rows_count >= limit / 2 + 1 ||
			      bytes > BOUND(conflict_list_bytes, CONFLICT_LIST_BYTES))) {
			ack->more = true;
			break;
		}
		if (ack->rows_count >= limit || bytes > CONFLICT_LIST_DOCUMENT_BYTES)
			continue;
		if (!ack->rows) /* most lists are empty */
			ack->rows = arena_alloc(&s->arena, (limit + 1) * sizeof *ack->rows);
		struct conflict_row *row = &ack->rows[ack->rows_count];
		struct slice value = arena_copy(&s->arena, store_value(s->store, it));
		if (!schema_decode(&schema_conflict, value, &s->arena, &row->conflict))
			continue;
		row->id = arena_copy(&s->arena, id);
		complete(c, row->id, &row->conflict);
		bytes += key.len + value.len + row->conflict.detail.len;
		ack->rows_count++;
	}
	store_iterator_free(s->store, it);
}

void conflict_on_list(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_conflict_list *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	struct msg_conflict_list_ack ack = {.shard = m->shard,
					    .status = conflict_must_lead(s, c, e, fx)};
	if (ack.status == STATUS_OK && e->message.from.role == ROLE_ARBITER) {
		cleanup_take_wait(s, c, m);
		if (m->after.len == 0)
			purge_list(s, c, &ack);
	}
	if (ack.status == STATUS_OK && m->history) {
		history_list(s, c, m, &ack);
	} else if (ack.status == STATUS_OK) {
		list_rows(s, c, m, &ack);
		cleanup_tell_wait(s, c, &ack);
	}
	fx_reply(fx, WHEN_NOW, e, MSG_conflict_list_ack, &ack);
}

/* ---- reading ---- */

/* With the bodies from this node on, as far as they fit. */
static void read_graph(struct document_view *v, uint64_t from_node,
		       struct msg_conflict_read_ack *ack)
{
	struct arena *arena = &v->storage->arena;
	size_t bytes = 0;
	bool full = false;
	int winner = graph_winner(&v->doc);
	ack->nodes = arena_alloc(arena, (v->doc.revisions_count + 1) * sizeof *ack->nodes);
	for (uint32_t i = 0; i < v->doc.revisions_count; i++) {
		const struct revision_node *from = &v->doc.revisions[i];
		struct graph_node *to = &ack->nodes[ack->nodes_count++];
		*to = (struct graph_node){.revision = graph_name(&v->doc, i),
					  .parents = from->parents,
					  .parents_count = from->parents_count,
					  .stamp = from->stamp,
					  .flags = from->flags & ~(uint64_t)REVISION_HAS_BODY};
		if (!(from->flags & REVISION_HAS_BODY))
			continue;
		struct slice body = {0};
		if (!full && i >= from_node) {
			body = document_body_beside(v, i, winner);
			if (body.len == 0)
				continue;
		}
		full |= bytes + body.len > LIMIT_BODY_BYTES;
		if (full || i < from_node) {
			to->flags |= REVISION_BODY_LEFT;
			continue;
		}
		bytes += body.len;
		to->body = body;
		to->flags |= REVISION_HAS_BODY;
	}
}

void conflict_on_read(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_conflict_read *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	struct msg_conflict_read_ack ack = {
	    .shard = m->shard, .id = m->id, .status = conflict_must_lead(s, c, e, fx)};
	if (ack.status == STATUS_OK) {
		struct document_view view;
		struct slice value;
		document_load(s, c, m->id, &view);
		if (view.exists)
			read_graph(&view, m->from, &ack);
		else
			ack.status = STATUS_NOT_FOUND;
		ack.policy_version = c->settings.version;
		ack.policy = c->settings.policy;
		if (store_get(s->store, STORE_CONFLICTS, key_conflict_open(&s->key, c->id, m->id),
			      &value) == STORE_OK &&
		    !schema_decode(&schema_conflict, arena_copy(&s->arena, value), &s->arena,
				   &ack.conflict))
			ack.conflict = (struct conflict){0};
		uint64_t wall_ms = s->wall_ms > 0 ? (uint64_t)s->wall_ms : 0;
		if (ack.conflict.since_ms > 0 && wall_ms > ack.conflict.since_ms)
			ack.age_ms = wall_ms - ack.conflict.since_ms;
	}
	fx_reply(fx, WHEN_NOW, e, MSG_conflict_read_ack, &ack);
}

/* ---- resolving ---- */

/* Does the name cover what it claims to? A resolution is refused rather than believed. */
static bool name_is_true(const struct msg_conflict_resolve *m)
{
	char hash[REVISION_HASH_CHARS];
	struct revision name;
	struct revision_content content = {.parents = m->parents,
					   .parents_count = m->parents_count,
					   .deleted = m->deleted,
					   .body = m->body,
					   .policy = m->policy_version};
	revision_name(&content, hash, &name);
	return revision_equal(&name, &m->revision);
}

/* What people took apart only people put together again. */
static bool is_held(struct storage *s, struct shard_copy *c, struct slice id)
{
	struct slice value;
	struct conflict open;
	return store_get(s->store, STORE_CONFLICTS, key_conflict_open(&s->key, c->id, id),
			 &value) == STORE_OK &&
	       schema_decode(&schema_conflict, arena_copy(&s->arena, value), &s->arena, &open) &&
	       open.held;
}

/* What a person decides is a write of that person's. Arbiters ask no lock, nor do clients that
 * decide in their place. */
static enum status check_locks(const struct shard_copy *c, const struct event *e)
{
	const struct msg_conflict_resolve *m = e->message.body;
	struct lock_question question = {.id = m->id,
					 .op = WRITE_PUT,
					 .lock_ids = m->lock_ids,
					 .lock_ids_count = m->lock_ids_count};
	bool by_hand = e->message.from.role == ROLE_GATEWAY && m->lease.len == 0;
	return by_hand ? lock_check(c, &question) : STATUS_OK;
}

/* *wrong: the name of the attachment that is not there. */
static enum status check_resolve(struct storage *s, struct shard_copy *c, const struct event *e,
				 struct document_view *v, struct slice *wrong)
{
	const struct msg_conflict_resolve *m = e->message.body;
	if (m->resolution_id.len != 16 || m->leaves_count < 2 || m->parents_count < 1 ||
	    m->revision.generation > GENERATION_MAX || !name_is_true(m) ||
	    !(m->deleted ? m->body.len == 0 : value_is_document(m->body)) ||
	    (m->split && !split_is_list(m->body)))
		return STATUS_BAD_MESSAGE;
	document_load_pending(s, c, m->id, v);
	if (!v->exists || !document_leaves_are(&v->doc, m->leaves, m->leaves_count, &s->arena)) {
		REACHED(resolution_too_late);
		return STATUS_LEAVES_MOVED;
	}
	/* only now: it may have been done before the policy moved */
	if (m->policy_version != c->settings.version)
		return STATUS_POLICY_MOVED;
	if (e->message.from.role == ROLE_ARBITER &&
	    (reopen_is_held(&v->doc, &s->arena) || is_held(s, c, m->id)))
		return STATUS_LEAVES_MOVED;
	enum status status = offer_check(s, c, m);
	if (status == STATUS_OK)
		status = check_locks(c, e);
	if (status != STATUS_OK)
		return status;
	int result = graph_find(&v->doc, &m->revision);
	if (result != GRAPH_NONE && !graph_is_leaf(&v->doc, (uint32_t)result))
		return STATUS_BAD_MESSAGE; /* it stands below the leaves: nothing would be left */
	if (result == GRAPH_NONE && v->doc.revisions_count >= LIMIT_REVISIONS)
		return STATUS_LIMIT_REACHED;
	const int *parents = graph_find_all(&v->doc, m->parents, m->parents_count, &s->arena);
	for (uint32_t i = 0; i < m->parents_count; i++)
		if (parents[i] == GRAPH_NONE)
			return STATUS_BAD_MESSAGE;
	if (attachments_of(m->body).len > 0 && shard_settings_pending(c))
		return STATUS_NO_LEAD; /* versions that have them may be about to go */
	if (!attachments_known(v, m->body, wrong))
		return STATUS_MISSING_ATTACHMENT;
	if (s->disk_full)
		return STATUS_DISK_FULL;
	return stream_has_room(s, c) ? STATUS_OK : STATUS_OVERLOADED;
}

/* Not one of them is a side any more, but for the result itself. */
static bool leaves_ended(struct storage *s, const struct document *doc,
			 const struct msg_conflict_resolve *m, int result)
{
	const int *leaves = graph_find_all(doc, m->leaves, m->leaves_count, &s->arena);
	for (uint32_t i = 0; i < m->leaves_count; i++)
		if (leaves[i] == GRAPH_NONE ||
		    (leaves[i] != result && graph_is_side(doc, (uint32_t)leaves[i])))
			return false;
	return true;
}

/* Asked again, since the answer was lost. Its name covers all of it: if the revision is there, this
 * was ordered, be its traces cleaned up by now. Taken apart again, it is closed. */
static bool is_resolved(struct storage *s, struct shard_copy *c,
			const struct msg_conflict_resolve *m)
{
	struct document_view view;
	document_load(s, c, m->id, &view);
	int result = view.exists ? graph_find(&view.doc, &m->revision) : GRAPH_NONE;
	return result != GRAPH_NONE && !(view.doc.revisions[result].flags & REVISION_CLOSED) &&
	       leaves_ended(s, &view.doc, m, result);
}

/* The answer waits until the entry is applied; at once if it is. Where too many wait it is as
 * unknown as the entry, and asked for again. */
static void answer_after(struct shard_copy *c, const struct event *e, uint64_t number,
			 struct effects *fx)
{
	const struct msg_conflict_resolve *m = e->message.body;
	struct msg_conflict_resolve_ack ack = {.status = STATUS_OK, .shard = c->id, .id = m->id};
	if (ring_at(&c->pending, number) && waiters_full(c))
		ack.status = STATUS_TIMED_OUT;
	else if (waiter_await(c, e, number, MSG_conflict_resolve_ack, &ack))
		return;
	fx_reply(fx, WHEN_NOW, e, MSG_conflict_resolve_ack, &ack);
}

static void order_resolution(struct storage *s, struct shard_copy *c, const struct event *e,
			     struct document_view *v, struct effects *fx)
{
	const struct msg_conflict_resolve *m = e->message.body;
	uint64_t stamp =
	    0; /* the greatest of the inputs': a resolution is no newer than what went into it */
	const int *parents = graph_find_all(&v->doc, m->parents, m->parents_count, &s->arena);
	for (uint32_t i = 0; i < m->parents_count; i++)
		if (v->doc.revisions[parents[i]].stamp > stamp)
			stamp = v->doc.revisions[parents[i]].stamp;
	struct change change = {
	    .kind = CHANGE_RESOLVE,
	    .id = m->id,
	    .revision = m->revision,
	    .parents = m->parents,
	    .parents_count = m->parents_count,
	    .deleted = m->deleted,
	    .body = m->body,
	    .stamp = stamp,
	    .floor = c->floor,
	    .leaves = m->leaves,
	    .leaves_count = m->leaves_count,
	    .policy = m->policy_version,
	    .resolution_id = m->resolution_id,
	    .detail = m->detail,
	    .wall_ms = (uint64_t)s->wall_ms,
	    .split = m->split,
	    /* a split is done again with what comes later */
	    .decided = e->message.from.role == ROLE_GATEWAY && !m->split,
	};
	uint64_t number = stream_append_change(s, c, &change, fx);
	overlay_touch(s, c, m->id, number);
	answer_after(c, e, number, fx);
	offer_answered(c, m, number);
}

/* Asked again while it is under way: the leaves named are gone, and this very resolution is among
 * what took them. */
static bool is_under_way(struct shard_copy *c, const struct event *e, struct document_view *v,
			 struct effects *fx)
{
	struct storage *s = v->storage;
	const struct msg_conflict_resolve *m = e->message.body;
	struct pending *p = v->overlay ? ring_at(&c->pending, v->overlay->last_number) : NULL;
	int result = v->exists ? graph_find(&v->doc, &m->revision) : GRAPH_NONE;
	if (!p || result == GRAPH_NONE || !leaves_ended(s, &v->doc, m, result))
		return false;
	REACHED(resolution_asked_again);
	answer_after(c, e, v->overlay->last_number, fx);
	return true;
}

/* A client's answer asked for again: it waits for the entry of the first time. */
static bool was_answered(struct shard_copy *c, const struct event *e, struct effects *fx)
{
	const struct msg_conflict_resolve *m = e->message.body;
	uint64_t number = offer_answer_number(c, m);
	if (number == 0)
		return false;
	answer_after(c, e, number, fx);
	return true;
}

void conflict_on_resolve(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_conflict_resolve *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	struct document_view view = {.overlay = NULL};
	struct msg_conflict_resolve_ack ack = {
	    .shard = m->shard, .id = m->id, .status = conflict_must_lead(s, c, e, fx)};
	if (ack.status == STATUS_OK && m->lease.len > 0 && was_answered(c, e, fx))
		return;
	if (ack.status == STATUS_OK)
		ack.status = check_resolve(s, c, e, &view, &ack.place);
	if (ack.place.len > LIMIT_TEXT_BYTES)
		ack.place.len = utf8_valid_prefix(slice_of(ack.place.data, LIMIT_TEXT_BYTES));
	if (ack.status == STATUS_LEAVES_MOVED && m->lease.len > 0)
		offer_moved(c, m);
	if (ack.status == STATUS_LEAVES_MOVED && name_is_true(m) && is_under_way(c, e, &view, fx))
		return;
	if (ack.status == STATUS_LEAVES_MOVED && name_is_true(m) && is_resolved(s, c, m)) {
		ack.status = STATUS_OK;
		fx_reply(fx, WHEN_NOW, e, MSG_conflict_resolve_ack, &ack);
		return;
	}
	if (ack.status == STATUS_OK)
		order_resolution(s, c, e, &view, fx);
	else if (!waiter_refuse(c, e, view.overlay, MSG_conflict_resolve_ack, &ack, &ack.status))
		fx_reply(fx, WHEN_NOW, e, MSG_conflict_resolve_ack, &ack);
}

/* ---- notes ---- */

void conflict_notes_clear(struct shard_copy *c)
{
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&c->notes, &at));)
		note_free(entry->value);
	map_clear(&c->notes);
}

static bool is_among(const struct revision *name, const struct revision *names, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (revision_equal(name, &names[i]))
			return true;
	return false;
}

/* Is it said of the conflict that there is now? Its row lists the first of its leaves. */
static bool note_is_of(const struct msg_conflict_note *m, const struct conflict *open)
{
	for (uint32_t i = 0; i < open->leaves_count; i++)
		if (!is_among(&open->leaves[i], m->leaves, m->leaves_count))
			return false;
	return true;
}

void conflict_on_note(struct storage *s, const struct event *e, struct effects *fx)
{
	(void)fx;
	const struct msg_conflict_note *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	struct slice value;
	struct conflict open;
	if (!c || c->state != SHARD_SERVING ||
	    store_get(s->store, STORE_CONFLICTS, key_conflict_open(&s->key, c->id, m->id),
		      &value) != STORE_OK ||
	    !schema_decode(&schema_conflict, arena_copy(&s->arena, value), &s->arena, &open) ||
	    !note_is_of(m, &open))
		return;
	if (c->notes.count >= BOUND(conflict_notes, CONFLICT_NOTES_MAX))
		conflict_notes_clear(c); /* arbiters say it again */
	struct note *note = mem_alloc_zero(sizeof *note);
	note->number = open.number;
	note->policy = c->settings.version;
	buf_append_slice(&note->detail, m->detail);
	struct note *before = map_put(&c->notes, m->id, note);
	if (before)
		note_free(before);
}
