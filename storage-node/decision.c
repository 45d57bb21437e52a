#include "storage-node/decision.h"

#include "common/base/memory.h"
#include "common/doc/attachment.h"
#include "common/doc/graph.h"
#include "common/doc/utf8.h"
#include "common/doc/value.h"
#include "common/probe.h"
#include "storage-node/attachment.h"
#include "storage-node/derived.h"
#include "storage-node/lock.h"
#include "storage-node/operations.h"

static int leaf_among(const struct document *doc, const struct revision *expected, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		int index = graph_find(doc, &expected[i]);
		if (index != GRAPH_NONE && graph_is_live(doc, (uint32_t)index))
			return index;
	}
	return GRAPH_NONE;
}

static int known_among(const struct document *doc, const struct revision *expected, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		int index = graph_find(doc, &expected[i]);
		if (index != GRAPH_NONE)
			return index;
	}
	return GRAPH_NONE;
}

static bool choose_derived(struct document_view *v, const struct msg_doc_write *m,
			   struct decision *d, int *parent, bool *branch)
{
	struct derived derived;
	derived_decide(v->exists ? &v->doc : NULL, m, &v->storage->arena, &derived);
	d->status = derived.status;
	*parent = derived.parent;
	*branch = derived.branch;
	if (derived.done)
		d->answer = derived.made;
	return derived.status == STATUS_OK && !derived.done;
}

/* An edit that was made offline of a document that was purged since: it becomes an open conflict
 * with the deletion (purge.h). A patch or an update can't be made without what it changes. */
static bool takes_late(struct document_view *v, const struct msg_doc_write *m, struct decision *d)
{
	struct purged mark;
	if (!m->keep_as_branch || m->op != WRITE_PUT || m->expected_count == 0 ||
	    !document_mark(v, &mark))
		return false;
	d->parent[0] = m->expected[0];
	d->late = true;
	return true;
}

/* Finds the parent; false: refused with d->status, or done with it. *branch: the parent is no leaf.
 */
static bool choose_parent(struct document_view *v, const struct msg_doc_write *m,
			  struct decision *d, int *parent, bool *branch)
{
	int winner = v->exists ? graph_winner(&v->doc) : GRAPH_NONE;
	bool live = winner != GRAPH_NONE && graph_is_live(&v->doc, (uint32_t)winner);
	*parent = winner;
	*branch = false;
	if (m->expect == EXPECT_DERIVED)
		return choose_derived(v, m, d, parent, branch);
	bool changes = m->op == WRITE_PATCH || m->op == WRITE_UPDATE || m->op == WRITE_DELETE;
	if (!live && changes && m->expect != EXPECT_REVISION)
		d->status = STATUS_NOT_FOUND;
	else if (m->expect == EXPECT_PRESENT && !live)
		d->status = STATUS_NOT_FOUND;
	else if (m->expect == EXPECT_ABSENT && live)
		d->status = STATUS_PRECONDITION_FAILED;
	if (m->expect == EXPECT_REVISION) {
		*parent =
		    v->exists ? leaf_among(&v->doc, m->expected, m->expected_count) : GRAPH_NONE;
		if (*parent == GRAPH_NONE && m->keep_as_branch && v->exists) {
			*parent = known_among(&v->doc, m->expected, m->expected_count);
			*branch = true;
		}
		if (*parent == GRAPH_NONE && !v->exists && takes_late(v, m, d))
			*branch = true;
		else if (*parent == GRAPH_NONE)
			d->status = v->exists ? STATUS_CONFLICT : STATUS_NOT_FOUND;
	}
	return d->status == STATUS_OK;
}

/* An error lives in the arena until the end of the step. */
static bool make_update(struct document_view *v, const struct msg_doc_write *m, struct slice base,
			struct decision *d)
{
	struct arena *arena = &v->storage->arena;
	struct update_error *error = arena_alloc(arena, sizeof *error);
	const struct update *update = update_compile(m->body, arena, error);
	if (update && update_apply(update, base, &d->body, error)) {
		d->accumulates = update_accumulates(update);
		d->change.body = buf_slice(&d->body);
		return true;
	}
	d->status = error->status;
	d->why = error->place[0] ? error : NULL;
	return false;
}

static bool make_body(struct document_view *v, const struct msg_doc_write *m, int parent,
		      struct decision *d)
{
	d->change.deleted = m->op == WRITE_DELETE;
	if (m->op == WRITE_DELETE)
		return true;
	if (!value_is_document(m->body)) {
		d->status = STATUS_WRONG_TYPE;
		return false;
	}
	if (m->op != WRITE_PATCH && m->op != WRITE_UPDATE) {
		d->change.body = m->body;
		return true;
	}
	struct slice base = document_body(v, (uint32_t)parent);
	if (base.len == 0) {
		d->status = STATUS_CONFLICT; /* a branch of a revision whose body is no longer kept
						can't be patched */
		return false;
	}
	if (m->op == WRITE_UPDATE)
		return make_update(v, m, base, d);
	value_merge_patch(base, m->body, &d->body);
	if (d->body.len > LIMIT_BODY_BYTES) {
		d->status = STATUS_BODY_TOO_LARGE; /* each patch may be small, what they make not */
		return false;
	}
	d->change.body = buf_slice(&d->body);
	return true;
}

/* What the body says of attachments becomes what is stored. */
static bool take_attachments(struct document_view *v, int parent, struct decision *d)
{
	struct attachments_taken taken;
	if (attachments_of(d->change.body).len == 0)
		return true;
	bool known = parent != GRAPH_NONE;
	/* its body may go before this is applied, and attachments with it */
	if (known && !graph_is_leaf(&v->doc, (uint32_t)parent) && shard_settings_pending(v->copy)) {
		d->status = STATUS_NO_LEAD;
		return false;
	}
	uint64_t before = known     ? v->doc.revisions[parent].generation
			  : d->late ? d->parent[0].generation
				    : 0;
	struct slice base = known ? document_body(v, (uint32_t)parent) : slice_of(NULL, 0);
	d->status = attachments_take(v, d->change.body, base, before + 1, &taken);
	d->change.body = taken.body;
	d->change.uploads = taken.uploads;
	d->change.uploads_count = taken.uploads_count;
	if (taken.wrong.len > 0) {
		d->why = arena_alloc(&v->storage->arena, sizeof *d->why);
		size_t most = sizeof d->why->place - 1;
		size_t len = taken.wrong.len < most ? taken.wrong.len : most;
		len = utf8_valid_prefix(slice_of(taken.wrong.data, len));
		memcpy(d->why->place, taken.wrong.data, len);
	}
	return d->status == STATUS_OK;
}

static void current_revision(struct document_view *v, struct decision *d)
{
	d->answer = (struct revision){0};
	d->conflicts = 0;
	if (!v->exists)
		return;
	int winner = graph_winner(&v->doc);
	if (winner != GRAPH_NONE)
		d->answer = graph_name(&v->doc, (uint32_t)winner);
	d->conflicts = graph_conflicts(&v->doc);
}

/* The same operation id: the same answer, or 422 if it was another request. */
static bool seen_operation(struct document_view *v, const struct msg_doc_write *m,
			   struct decision *d)
{
	struct operation o;
	if (m->operation_digest.len == 0 || !v->exists || MUTATION(key_forgotten) ||
	    !operations_find(v, m->operation_id, &o))
		return false;
	bool same = slice_equal(o.digest, m->operation_digest);
	d->status = same ? (enum status)o.status : STATUS_OPERATION_ID_REUSED;
	d->answer = same ? o.revision : (struct revision){0};
	if (same && m->anew && !derived_stands(&v->doc, &o.revision, &v->storage->arena))
		d->status = STATUS_PRECONDITION_FAILED;
	REACHED(repeat_answered_from_record);
	return true;
}

static void name_revision(const struct document_view *v, const struct msg_doc_write *m, int parent,
			  struct decision *d)
{
	struct revision_content content = {.deleted = d->change.deleted, .body = d->change.body};
	if (d->accumulates) /* two of the same on two branches are two revisions */
		content.operation_id = m->operation_id;
	if (parent != GRAPH_NONE)
		d->parent[0] = graph_name(&v->doc, (uint32_t)parent);
	if (parent != GRAPH_NONE || d->late) {
		content.parents = d->parent;
		content.parents_count = 1;
	}
	d->change.parents_count = content.parents_count;
	revision_name(&content, d->hash, &d->change.revision);
}

/* Was the very same split off before, and deleted since? */
static bool was_deleted(const struct document_view *v, const struct revision *name)
{
	return graph_find(&v->doc, name) != GRAPH_NONE &&
	       !derived_stands(&v->doc, name, &v->storage->arena);
}

/* What is to be appended, unless the very same edit is there already. */
static void order_change(const struct document_view *v, const struct msg_doc_write *m, bool branch,
			 struct decision *d)
{
	d->answer = d->change.revision;
	d->conflicts += branch;
	if (v->exists && graph_find(&v->doc, &d->change.revision) != GRAPH_NONE)
		return;
	d->change.kind = branch ? CHANGE_BRANCH : CHANGE_WRITE;
	if (d->late)
		REACHED(edit_of_purged);
	d->change.id = m->id;
	d->change.parents = d->parent;
	d->change.operation_id = m->operation_id;
	d->change.operation_digest = m->operation_digest;
	d->change.status = d->status;
	d->change.op = m->op;
	d->ordered = true;
}

/* What a patch is made on, which locks ask for; empty: there is nothing, or there are none. */
static struct slice patched(struct document_view *v, const struct msg_doc_write *m)
{
	struct decision d = {.status = STATUS_OK};
	int parent;
	bool branch;
	if (m->op != WRITE_PATCH || lock_count(v->copy) == 0 ||
	    !choose_parent(v, m, &d, &parent, &branch))
		return slice_of(NULL, 0);
	return document_body(v, (uint32_t)parent);
}

void decision_make(struct document_view *v, const struct msg_doc_write *m, struct decision *d)
{
	int parent;
	bool branch;
	d->status = STATUS_OK;
	if (seen_operation(v, m, d))
		return;
	d->status = lock_check_write(v->copy, m, patched(v, m));
	if (d->status != STATUS_OK)
		return;
	current_revision(v, d);
	if (!choose_parent(v, m, d, &parent, &branch) || !make_body(v, m, parent, d) ||
	    !take_attachments(v, parent, d))
		return;
	if (v->exists && (d->status = document_room(&v->doc, branch)) != STATUS_OK)
		return;
	if (parent != GRAPH_NONE && v->doc.revisions[parent].generation >= GENERATION_MAX) {
		d->status = STATUS_LIMIT_REACHED;
		return;
	}
	bool parent_live =
	    parent != GRAPH_NONE && !(v->doc.revisions[parent].flags & REVISION_DELETED);
	d->status = m->op == WRITE_POST || (m->op == WRITE_PUT && !parent_live) ? STATUS_CREATED
										: STATUS_OK;
	name_revision(v, m, parent, d);
	if (v->exists && m->anew && was_deleted(v, &d->change.revision)) {
		parent = derived_end(&v->doc, &d->change.revision, &v->storage->arena);
		branch = false;
		if (parent == GRAPH_NONE) {
			d->status = STATUS_PRECONDITION_FAILED;
			return;
		}
		name_revision(v, m, parent, d);
	}
	order_change(v, m, branch, d);
}

void decision_close(struct decision *d)
{
	buf_close(&d->body);
}
