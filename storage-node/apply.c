/* Applying a settled entry: documents, conflicts and counters change in one batch, alike on every
 * replica. */
#include "common/doc/graph.h"
#include "common/doc/revision.h"
#include "storage-node/applying.h"
#include "storage-node/attachment.h"
#include "storage-node/checkpoint.h"
#include "storage-node/conflict.h"
#include "storage-node/digest.h"
#include "storage-node/epochs.h"
#include "storage-node/feed.h"
#include "storage-node/history.h"
#include "storage-node/index.h"
#include "storage-node/internal.h"
#include "storage-node/lock.h"
#include "storage-node/operations.h"
#include "storage-node/purge.h"
#include "storage-node/refusals.h"
#include "storage-node/reopen.h"
#include "storage-node/sequence.h"
#include "storage-node/shard_edit.h"
#include "storage-node/view.h"

static void put_conflict(struct storage *s, struct shard_copy *c, struct slice key,
			 const struct conflict *conflict)
{
	buf_clear(&s->value);
	schema_encode(&schema_conflict, conflict, &s->value);
	digest_put(s, c, STORE_CONFLICTS, key, buf_slice(&s->value));
}

/* The document's open conflict as it was before; false: there is none. */
static bool load_open(struct storage *s, struct shard_copy *c, struct slice id,
		      struct conflict *out)
{
	struct slice value;
	return store_get(s->store, STORE_CONFLICTS, key_conflict_open(&s->key, c->id, id),
			 &value) == STORE_OK &&
	       schema_decode(&schema_conflict, arena_copy(&s->arena, value), &s->arena, out);
}

/* An open conflict lists some of its leaves for people; the record has them all. */
static void open_conflict(struct storage *s, struct shard_copy *c, struct document_view *v,
			  const struct change *change, uint64_t number, bool late)
{
	uint32_t *leaves;
	uint32_t listed = graph_top_sides(&v->doc, OPEN_CONFLICT_LEAVES_LISTED, &s->arena, &leaves);
	struct conflict conflict = {.state = CONFLICT_OPEN, .number = number};
	struct conflict before;
	bool was_open = load_open(s, c, v->id, &before);
	conflict.since_ms = was_open ? before.since_ms : change->wall_ms;
	conflict.held = late || (was_open && before.held) || reopen_is_held(&v->doc, &s->arena);
	conflict.leaves = arena_alloc(&s->arena, (listed + 1) * sizeof *conflict.leaves);
	for (uint32_t i = 0; i < listed; i++)
		conflict.leaves[conflict.leaves_count++] = graph_name(&v->doc, leaves[i]);
	uint32_t *all;
	uint32_t *bases;
	uint32_t count = graph_sides_set(&v->doc, &s->arena, &all);
	conflict.leaves_all = count > listed ? count : 0;
	if (graph_common_ancestors(&v->doc, all, count, &s->arena, &bases) == 0)
		conflict.kind = CONFLICT_ROOTS;
	if (!graph_is_live(&v->doc, leaves[0]))
		conflict.kind = CONFLICT_DELETE;
	else if (conflict.kind == CONFLICT_EDITS && /* one edit, all others deletions */
		 !graph_is_live(&v->doc, leaves[1]))
		conflict.kind = CONFLICT_DELETE;
	if (conflict.kind == CONFLICT_DELETE)
		REACHED(deletion_meets_edit);
	put_conflict(s, c, key_conflict_open(&s->key, c->id, v->id), &conflict);
}

static void keep_resolution(struct storage *s, struct shard_copy *c, const struct change *change,
			    const struct document_edit *edit, uint64_t number)
{
	struct conflict open;
	bool was_open = load_open(s, c, change->id, &open);
	struct conflict conflict = {
	    .state = CONFLICT_RESOLVED,
	    .since_ms = was_open ? open.since_ms : 0,
	    .kind = was_open ? open.kind : CONFLICT_EDITS,
	    .number = number,
	    .leaves = edit->losers,
	    .leaves_count = edit->losers_count,
	    .pinned = edit->pinned,
	    .pinned_count = edit->pinned_count,
	    .result = change->revision,
	    .resolution_id = change->resolution_id,
	    .policy = change->policy,
	    .detail = change->detail,
	    .resolved_ms = change->wall_ms,
	};
	put_conflict(s, c, key_conflict_resolved(&s->key, c->id, change->id, change->resolution_id),
		     &conflict);
	history_add(s, c, change, &conflict, false);
	s->resolved_total++;
}

static void keep_undo(struct storage *s, struct shard_copy *c, const struct change *change)
{
	struct conflict conflict = {
	    .leaves = change->parents,
	    .leaves_count = change->parents_count,
	    .result = change->closed_count > 0 ? change->closed[0] : (struct revision){0},
	    .resolution_id = change->resolution_id,
	    .policy = change->policy,
	};
	history_add(s, c, change, &conflict, true);
	if (!conflict_load_resolved(s, c, change->id, change->resolution_id, &conflict))
		return;
	conflict.undone = true;
	put_conflict(s, c, key_conflict_resolved(&s->key, c->id, change->id, change->resolution_id),
		     &conflict);
}

static void count_document(struct shard_copy *c, const struct document_edit *edit)
{
	struct shard_position *p = &c->position;
	p->documents += edit->is_live;
	p->documents -= edit->was_live;
	p->deleted += !edit->is_live && !edit->purged && !edit->erased;
	if (!MUTATION(count_of_deleted))
		p->deleted -= edit->existed && !edit->was_live;
	p->conflicts += edit->is_conflict;
	p->conflicts -= edit->was_conflict;
}

static void put_bodies(struct storage *s, struct shard_copy *c, struct slice id,
		       const struct document_edit *edit)
{
	for (uint32_t i = 0; i < edit->bodies_count; i++) {
		struct slice key = key_body(&s->key, c->id, id, &edit->bodies[i].revision);
		if (edit->bodies[i].body.len > 0)
			digest_put(s, c, STORE_DOCUMENTS, key, edit->bodies[i].body);
		else
			digest_remove(s, c, STORE_DOCUMENTS, key);
	}
}

/* What it did to the document's conflict. before: the open one, if there was. */
static struct feed_effect effect_of(struct storage *s, struct shard_copy *c,
				    const struct change *change, const struct document_edit *edit,
				    const struct conflict *before, const struct conflict *resolved)
{
	struct feed_effect effect = {.changed = edit->changed, .kind = (uint8_t)before->kind};
	struct conflict now = {0};
	if (edit->is_conflict && load_open(s, c, change->id, &now))
		effect.kind = (uint8_t)now.kind;
	if (edit->resolution_gone.len > 0) {
		effect.conflict = CONFLICT_CLEANED;
		effect.kind = (uint8_t)resolved->kind;
	} else if (edit->resolved) {
		effect.conflict = CONFLICT_DECIDED;
	} else if (change->kind == CHANGE_REOPEN) {
		effect.conflict = CONFLICT_REOPENED;
	} else if (edit->is_conflict) {
		effect.conflict = edit->was_conflict ? CONFLICT_CHANGED : CONFLICT_OPENED;
	} else if (edit->was_conflict) {
		effect.conflict = CONFLICT_ENDED;
	}
	return effect;
}

/* Nothing of it stays: neither its record nor what stands beside it. */
static void remove_document(struct storage *s, struct shard_copy *c, const struct change *change,
			    struct document_view *view, const struct document_edit *edit)
{
	uint64_t changed = view->doc.changed;
	attachments_apply(s, c, change, edit, view->doc.body, slice_of(NULL, 0));
	put_bodies(s, c, change->id, edit);
	operations_drop(view);
	digest_remove(s, c, STORE_DOCUMENTS, key_document(&s->key, c->id, change->id));
	sequence_move(s, c, change->id, changed, 0);
	count_document(c, edit);
	purge_note(s, c, change, edit->was_live ? 0 : changed, 0);
}

static void purge_document(struct storage *s, struct shard_copy *c, uint64_t number,
			   const struct change *change, struct document_view *view,
			   const struct document_edit *edit)
{
	if (!MUTATION(view_row_of_purged))
		view_forget_deleted(s, c, change->id, view->doc.changed);
	remove_document(s, c, change, view, edit);
	purge_applied(s, c, change, number, &edit->deletion);
}

/* It may have been live, or in conflict. Resolutions of it go with their own cleanup. */
static void erase_document(struct storage *s, struct shard_copy *c, uint64_t number,
			   const struct change *change, struct document_view *view,
			   const struct document_edit *edit)
{
	struct feed_effect effect = {.changed = true};
	remove_document(s, c, change, view, edit);
	if (edit->was_live)
		index_change(s, c, change->id, view->doc.body, slice_of(NULL, 0));
	view_forget(s, c, change->id);
	if (edit->was_conflict) {
		digest_remove(s, c, STORE_CONFLICTS, key_conflict_open(&s->key, c->id, change->id));
		effect.conflict = CONFLICT_ENDED;
	}
	feed_applied(s, c, number, change, &effect);
}

/* The cleanup of a resolution whose document was erased. */
static void drop_resolution(struct storage *s, struct shard_copy *c, uint64_t number,
			    const struct change *change, const struct conflict *resolved)
{
	struct feed_effect effect = {
	    .changed = true, .conflict = CONFLICT_CLEANED, .kind = (uint8_t)resolved->kind};
	digest_remove(s, c, STORE_CONFLICTS,
		      key_conflict_resolved(&s->key, c->id, change->id, change->resolution_id));
	s->cleaned_total++;
	REACHED(cleanup_after_erase);
	feed_applied(s, c, number, change, &effect);
}

static void note_rare(const struct change *change, const struct document_edit *edit)
{
	bool import = change->kind == CHANGE_IMPORT;
	bool opens = edit->is_conflict && !edit->was_conflict;
	if (edit->late && import)
		REACHED(import_after_purge);
	else if (edit->late)
		REACHED(branch_after_purge);
	if (change->kind == CHANGE_BRANCH && opens)
		REACHED(branch_makes_conflict);
	if (import && opens)
		REACHED(import_makes_conflict);
}

static void conflicts_apply(struct document_view *view, const struct change *change,
			    uint64_t number, const struct document_edit *edit)
{
	struct storage *s = view->storage;
	struct shard_copy *c = view->copy;
	if (edit->resolved)
		keep_resolution(s, c, change, edit, number);
	if (change->kind == CHANGE_REOPEN)
		keep_undo(s, c, change);
	if (edit->is_conflict && !MUTATION(conflict_hidden))
		open_conflict(s, c, view, change, number, edit->late);
	else if (edit->was_conflict)
		digest_remove(s, c, STORE_CONFLICTS, key_conflict_open(&s->key, c->id, change->id));
	if (edit->resolution_gone.len > 0) {
		digest_remove(
		    s, c, STORE_CONFLICTS,
		    key_conflict_resolved(&s->key, c->id, change->id, edit->resolution_gone));
		s->cleaned_total++;
	}
}

static void apply_document(struct storage *s, struct shard_copy *c, uint64_t number,
			   const struct change *change)
{
	struct document_view view;
	struct document_edit edit;
	struct conflict resolved = {0};
	struct conflict before = {0};
	bool has_resolution =
	    change->kind == CHANGE_CLEANUP &&
	    conflict_load_resolved(s, c, change->id, change->resolution_id, &resolved);
	applying_load(s, c, change->id, &view);
	if (has_resolution && !view.exists) { /* it was erased */
		drop_resolution(s, c, number, change, &resolved);
		return;
	}
	struct slice body_before = view.exists ? view.doc.body : (struct slice){0};
	uint64_t changed_before = view.exists ? view.doc.changed : 0;
	document_find_mark(&view, change);
	edit_apply(&view, change, number, has_resolution ? &resolved : NULL, &edit);
	if (!edit.changed) {
		feed_applied(s, c, number, change, &(struct feed_effect){0});
		return;
	}
	if (edit.was_conflict && !load_open(s, c, change->id, &before))
		before = (struct conflict){0};
	if (edit.purged) {
		purge_document(s, c, number, change, &view, &edit);
		return;
	}
	c->position.erased += change->kind == CHANGE_ERASE;
	if (edit.erased) {
		erase_document(s, c, number, change, &view, &edit);
		return;
	}
	note_rare(change, &edit);
	attachments_apply(s, c, change, &edit, body_before, view.doc.body);
	put_bodies(s, c, change->id, &edit);
	operations_apply(&view, change, &edit);
	if (MUTATION(tombstone_dropped) && edit.was_live && !edit.is_live)
		view.doc.revisions_count = 0;
	applying_put(&view, &edit);
	index_change(s, c, change->id, edit.was_live ? body_before : (struct slice){0},
		     edit.is_live ? view.doc.body : (struct slice){0});
	count_document(c, &edit);
	sequence_move(s, c, change->id, changed_before, number);
	purge_note(s, c, change, edit.existed && !edit.was_live ? changed_before : 0,
		   edit.is_live ? 0 : number);
	conflicts_apply(&view, change, number, &edit);
	struct feed_effect effect = effect_of(s, c, change, &edit, &before, &resolved);
	feed_applied(s, c, number, change, &effect);
}

static void apply_settings(struct storage *s, struct shard_copy *c, uint64_t number,
			   const struct change *change)
{
	bool was_available = shard_is_available(c);
	if (change->policy <= c->position.settings_version)
		return;
	store_put(s->store, STORE_META, key_shard(&s->key, 'g', c->id), change->body);
	shard_use_settings(s, c, change->body);
	c->position.settings_version = change->policy;
	if (was_available && !shard_is_available(c))
		c->position.branches_until = number;
}

void apply_change(struct storage *s, struct shard_copy *c, uint64_t number, struct slice encoded,
		  struct effects *fx)
{
	struct change change;
	if (!schema_decode(&schema_change, encoded, &s->arena, &change)) {
		fx_exit(fx, "an entry of the stream can't be read: upgrade this node");
		return;
	}
	if (change.stamp > c->position.stamp)
		c->position.stamp = change.stamp;
	if (change.kind != CHANGE_WRITE && change.kind != CHANGE_BRANCH &&
	    change.kind != CHANGE_IMPORT)
		applying_forget(s);
	if (change.kind == CHANGE_SETTINGS)
		apply_settings(s, c, number, &change);
	else if (change.kind == CHANGE_LOCK || change.kind == CHANGE_UNLOCK)
		lock_apply(s, c, number, &change);
	else if (change.kind == CHANGE_CHECKPOINT)
		checkpoint_apply(s, c, &change);
	else if (change.kind == CHANGE_CHUNK)
		attachment_apply_chunk(s, c, number, &change);
	else if (change.kind == CHANGE_CHUNK_DROP)
		attachment_apply_drop(s, c, &change);
	else if (change.kind == CHANGE_EPOCH)
		epochs_apply(s, c, number);
	else if (change.kind == CHANGE_REFUSAL)
		refusal_keep(s, c, number, &change, encoded);
	else if (change.id.len > 0)
		apply_document(s, c, number, &change);
	if (change.edit_id.len > 0)
		edits_apply(s, c, &change);
	outbox_applied(s, c, &change);
}
