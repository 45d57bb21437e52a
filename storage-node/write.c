/* Deciding a client's write: at the lead into the stream, or on any replica of an available
 * collection as a branch. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/attachment.h"
#include "common/doc/graph.h"
#include "common/doc/revision.h"
#include "common/doc/update.h"
#include "common/doc/utf8.h"
#include "common/doc/value.h"
#include "common/probe.h"
#include "storage-node/attachment.h"
#include "storage-node/conflict.h"
#include "storage-node/derived.h"
#include "storage-node/internal.h"
#include "storage-node/lock.h"
#include "storage-node/operations.h"
#include "storage-node/placed.h"
#include "storage-node/purge.h"
#include "storage-node/recent.h"
#include "storage-node/shard_edit.h"

/* What became of a write before it is ordered. */
struct decision {
	enum status status;
	bool ordered; /* `change` is to be appended */
	bool late;    /* on `parent`, of a document that was purged */
	struct change change;
	struct revision parent[1];
	char hash[REVISION_HASH_CHARS];
	struct revision answer; /* revision of the answer; borrows */
	uint64_t conflicts;
	struct buf body;          /* of a patch or an update */
	bool accumulates;         /* done twice it would not be what it is done once */
	struct update_error *why; /* of an update that is refused */
};

uint64_t write_stamp(struct storage *s, struct shard_copy *c)
{
	uint64_t wall = (uint64_t)s->wall_ms << 16;
	c->position.stamp = wall > c->position.stamp ? wall : c->position.stamp + 1;
	c->position_dirty = true;
	return c->position.stamp;
}

/* ---- answers ---- */

/* Its client is told, not somebody else asked. */
static bool is_final(enum status refused)
{
	return refused == STATUS_DISK_FULL || refused == STATUS_OVERLOADED;
}

bool write_is_stale(const struct storage *s, uint64_t until_ms, uint64_t life)
{
	return !MUTATION(late_write_taken) && until_ms > 0 &&
	       (life != s->options.life || (uint64_t)s->now_ms > until_ms);
}

static void answer(const struct storage *s, const struct event *e, enum effect_when when,
		   enum status status, const struct decision *d, struct effects *fx)
{
	struct msg_doc_write_ack ack = {
	    .status = status, .clock_ms = (uint64_t)s->now_ms, .life = s->options.life};
	if (d) {
		ack.revision = d->answer;
		ack.conflicts = d->conflicts;
	}
	if (d && d->why) {
		ack.place = slice_text(d->why->place);
		ack.detail = slice_text(d->why->text);
	}
	fx_reply(fx, when, e, MSG_doc_write_ack, &ack);
}

static void answer_when_applied(struct storage *s, struct shard_copy *c, const struct event *e,
				uint64_t number, const struct decision *d, struct effects *fx)
{
	const struct msg_doc_write *m = e->message.body;
	struct pending *p = ring_at(&c->pending, number);
	if (!p) {
		answer(s, e, WHEN_NOW, d->status, d, fx);
		return;
	}
	struct waiter *w = waiter_new(e, MSG_doc_write_ack);
	w->needs_lead = !d->ordered;
	w->ack.status = d->status;
	w->ack.conflicts = d->conflicts;
	waiter_set_revision(w, &d->answer);
	if (d->why) {
		buf_append_text(&w->body, d->why->place);
		w->place_len = w->body.len;
		buf_append_text(&w->body, d->why->text);
	} else if (d->ordered && m->want_body) {
		buf_append_slice(&w->body, d->change.body);
	}
	waiter_add(&c->pending, p, w);
}

/* Of two attempts under a client's key one may be refused, and its client told, while the other is
 * still on its way, maybe to the next lead. Who splits asks under keys of its own making. */
static bool binds_successors(const struct msg_doc_write *m, enum status status)
{
	return !status_is_success(status) && status < STATUS_NOT_LEAD &&
	       status != STATUS_OPERATION_ID_REUSED && m->operation_digest.len > 0 &&
	       m->expect != EXPECT_DERIVED;
}

static uint64_t order_refusal(struct storage *s, struct shard_copy *c,
			      const struct msg_doc_write *m, const struct decision *d,
			      struct effects *fx)
{
	struct change change = {.kind = CHANGE_REFUSAL,
				.operation_id = m->operation_id,
				.operation_digest = m->operation_digest,
				.status = d->status,
				.revision = d->answer};
	return stream_append_change(s, c, &change, fx);
}

/* An answer that changes nothing: it may show only settled state, and only under a lease. */
static void answer_unchanged(struct storage *s, struct shard_copy *c, const struct event *e,
			     struct document_view *v, const struct decision *d, struct effects *fx)
{
	uint64_t number = v->overlay && !MUTATION(refusal_at_once) ? v->overlay->last_number : 0;
	if (number == 0 && !lease_held(s, c)) {
		answer(s, e, WHEN_NOW, STATUS_NO_LEAD, NULL, fx);
		return;
	}
	const struct msg_doc_write *m = e->message.body;
	if (binds_successors(m, d->status)) {
		struct decision told = *d;
		told.ordered = true;
		number = order_refusal(s, c, m, d, fx);
		answer_when_applied(s, c, e, number, &told, fx);
		return;
	}
	struct recent what = {.number = number, .epoch = c->lead_epoch, .status = d->status};
	/* what a split writes may be taken later, when its attachments have come; a key that came
	 * with another request is that one's */
	if (m->expect != EXPECT_DERIVED && d->status != STATUS_OPERATION_ID_REUSED)
		recent_add(c, m->operation_id, m->operation_digest, &what, &d->answer);
	answer_when_applied(s, c, e, number, d, fx);
}

/* ---- deciding ---- */

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
	    !purge_mark(v->storage, v->copy, v->id, &mark))
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

static void decide(struct document_view *v, const struct msg_doc_write *m, struct decision *d)
{
	int parent;
	bool branch;
	d->status = STATUS_OK;
	if (seen_operation(v, m, d))
		return;
	d->status = lock_check_write(v->copy, m);
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
	d->answer = d->change.revision;
	d->conflicts += branch;
	if (v->exists && graph_find(&v->doc, &d->change.revision) != GRAPH_NONE)
		return; /* the very same edit is there already */
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

/* ---- at the lead ---- */

/* True if the request is dealt with. One that an earlier epoch took gets no refusal, which its
 * gateway would believe and do it again: it is answered if its entry stands and this is the lead,
 * else not at all. */
static bool repeat_recent(struct storage *s, struct shard_copy *c, const struct event *e,
			  struct effects *fx)
{
	const struct msg_doc_write *m = e->message.body;
	if (m->anew) /* what it made may be deleted since: the record knows */
		return false;
	struct recent *r = recent_find(c, m->operation_id);
	if (!r || (r->number == 0 && r->epoch != c->lead_epoch) || MUTATION(doubled_write))
		return false;
	/* what was refused was not done: without a lease, or in another epoch, it is decided anew.
	 * So a message for a later epoch gets no answer from this one: a copy of it may come then
	 */
	if (!status_is_success(r->status) &&
	    (r->epoch != c->lead_epoch || e->message.envelope.epoch != r->epoch ||
	     !lease_held(s, c)))
		return false;
	if (c->state == SHARD_SERVING && r->number > c->position.trimmed &&
	    !recent_stands(s, c, r)) {
		REACHED(repeat_of_what_was_cut);
		recent_forget(c, m->operation_id); /* it was cut: as if it never came */
		return false;
	}
	bool unknown = r->epoch != c->lead_epoch && r->number <= c->position.trimmed;
	if (unknown && c->state == SHARD_SERVING && m->operation_digest.len > 0)
		return false; /* the document's record knows a client's key */
	if (c->state != SHARD_SERVING || unknown || c->pending.waiters >= WAITERS_MAX)
		return r->number > 0;
	struct decision d = {.status = (enum status)r->status,
			     .ordered = status_is_success(r->status)};
	d.answer = recent_revision(r);
	if (!recent_is_of(r, m->operation_digest))
		d = (struct decision){.status = STATUS_OPERATION_ID_REUSED};
	REACHED(repeat_answered_from_memory);
	answer_when_applied(s, c, e, r->number, &d, fx);
	return true;
}

/* True if a refusal stands in the stream and the request is dealt with. Its client may have been
 * told, whoever led then. */
static bool repeat_refused(struct storage *s, struct shard_copy *c, const struct event *e,
			   struct effects *fx)
{
	const struct msg_doc_write *m = e->message.body;
	const struct recent *r = recent_refusal(c, m->operation_id);
	bool leads = c->state == SHARD_SERVING && e->message.envelope.epoch == c->lead_epoch;
	bool applied = r && r->number <= c->position.applied;
	if (!r || (!applied && !leads && !m->branch))
		return false;
	if (!applied && c->pending.waiters >= WAITERS_MAX)
		return true;
	REACHED(attempt_after_refusal);
	if (!applied && !leads) { /* nobody knows yet whether its client is told */
		answer(s, e, WHEN_NOW, STATUS_NO_LEAD, NULL, fx);
		return true;
	}
	struct decision d = {
	    .status = (enum status)r->status, .ordered = true, .answer = recent_revision(r)};
	if (!recent_is_of(r, m->operation_digest))
		d = (struct decision){.status = STATUS_OPERATION_ID_REUSED, .ordered = true};
	answer_when_applied(s, c, e, r->number, &d, fx);
	return true;
}

/* Fewer than W replicas have room: a write could only wait for its deadline. */
bool write_disks_full(const struct storage *s, const struct shard_copy *c)
{
	uint32_t room = 1;
	for (uint32_t i = 0; i < c->followers_count; i++)
		room += !c->followers[i].learning && !c->followers[i].disk_full;
	return s->disk_full || room < c->placement.write_quorum;
}

enum status write_lead_refuses(const struct storage *s, const struct shard_copy *c,
			       const struct event *e)
{
	uint64_t epoch = e->message.envelope.epoch;
	if (epoch < c->placement.epoch)
		return STATUS_OLD_EPOCH;
	if (c->state != SHARD_SERVING || epoch != c->lead_epoch || c->serving_unseen)
		return c->placement.lead == s->options.self ? STATUS_NO_LEAD : STATUS_NOT_LEAD;
	return write_disks_full(s, c) ? STATUS_DISK_FULL : STATUS_OK;
}

static enum status lead_refuses(const struct storage *s, const struct shard_copy *c,
				const struct event *e)
{
	enum status refused = write_lead_refuses(s, c, e);
	if (refused == STATUS_OK && !stream_has_room(s, c))
		return STATUS_OVERLOADED;
	return refused;
}

/* A lead that is cut off from its replicas can't settle what it takes. On its disk that is as safe
 * as a branch, and becomes one when a successor has it cut: asked for a branch it accepts. */
static bool lead_is_alone(struct storage *s, struct shard_copy *c, const struct msg_doc_write *m)
{
	return m->branch && shard_is_available(c) && placed_takes_branches(s, c) &&
	       !lease_held(s, c);
}

/* The document tells of what is no longer kept in the stream. */
static bool recent_was_applied(struct storage *s, struct shard_copy *c, struct slice id,
			       const struct recent *r)
{
	struct document_view applied;
	struct revision made = recent_revision(r);
	if (r->number == 0 || r->number > c->position.trimmed)
		return false;
	document_load(s, c, id, &applied);
	return applied.exists && graph_find(&applied.doc, &made) != GRAPH_NONE;
}

/* True if the write stands in the stream here already: it is as safe as a branch, as which it would
 * go on if it were cut, unless it brings contents. Made into a branch as well it could land on what
 * came after it. */
static bool accept_standing(struct storage *s, struct shard_copy *c, const struct event *e,
			    struct effects *fx)
{
	const struct msg_doc_write *m = e->message.body;
	const struct recent *r = recent_find(c, m->operation_id);
	if (!r || !status_is_success((enum status)r->status) ||
	    !recent_is_of(r, m->operation_digest) ||
	    !(recent_stands(s, c, r) || recent_was_applied(s, c, m->id, r)))
		return false;
	bool applied = r->number <= c->position.applied;
	if (r->content && !applied)
		return false;
	REACHED(pending_accepted_as_branch);
	struct decision d = {.answer = recent_revision(r)};
	answer(s, e, WHEN_DURABLE, applied ? (enum status)r->status : STATUS_ACCEPTED, &d, fx);
	return true;
}

static uint64_t order(struct storage *s, struct shard_copy *c, struct change *change,
		      struct effects *fx)
{
	change->floor = c->floor;
	change->stamp = write_stamp(s, c);
	change->wall_ms = (uint64_t)s->wall_ms;
	uint64_t number = stream_append_change(s, c, change, fx);
	overlay_touch(s, c, change->id, number);
	s->writes_total++;
	return number;
}

enum status write_edit_document(struct document_view *v, const struct msg_doc_write *m,
				const struct edit_part *part, struct edit_written *out,
				struct effects *fx)
{
	struct decision d = {.status = STATUS_OK};
	*out = (struct edit_written){0};
	decide(v, m, &d);
	out->why = d.why;
	if (d.ordered) {
		d.change.edit_id = part->id;
		d.change.edit_count = part->count;
		d.change.operation_digest = part->digest;
		out->number = order(v->storage, v->copy, &d.change, fx);
		out->bytes = d.change.body.len;
	}
	buf_close(&d.body);
	return d.status;
}

static void write_at_lead(struct storage *s, struct shard_copy *c, const struct event *e,
			  struct effects *fx)
{
	const struct msg_doc_write *m = e->message.body;
	struct document_view view;
	struct decision d = {.status = STATUS_OK};
	document_load_pending(s, c, m->id, &view);
	decide(&view, m, &d);
	if (lock_is_refusal(d.status)) {
		lock_refuse_write(s, c, e, d.status, fx);
	} else if (!d.ordered) {
		answer_unchanged(s, c, e, &view, &d, fx);
	} else if (d.change.uploads_count > 0 && lead_is_alone(s, c, m)) {
		answer(s, e, WHEN_NOW, STATUS_NO_LEAD, NULL, fx);
	} else {
		uint64_t number = order(s, c, &d.change, fx);
		if (lead_is_alone(s, c, m))
			answer(s, e, WHEN_DURABLE, STATUS_ACCEPTED, &d, fx);
		else
			answer_when_applied(s, c, e, number, &d, fx);
	}
	buf_close(&d.body);
}

/* ---- on any replica: a branch ---- */

static bool in_outbox(struct storage *s, struct shard_copy *c, const struct event *e,
		      struct effects *fx)
{
	const struct msg_doc_write *m = e->message.body;
	for (uint32_t i = 0; i < c->outbox_count; i++) {
		if (slice_equal(c->outbox[i].operation_id, m->operation_id)) {
			struct decision d = {.answer = c->outbox[i].revision};
			answer(s, e, WHEN_DURABLE, STATUS_ACCEPTED, &d, fx);
			return true;
		}
	}
	return false;
}

/* False: success rests on what stands in the outbox only, which is accepted, not settled. */
static bool stands_applied(struct storage *s, struct shard_copy *c, struct slice id,
			   const struct decision *d)
{
	struct document_view applied;
	if (d->status != STATUS_OK && d->status != STATUS_CREATED)
		return true;
	document_load(s, c, id, &applied);
	return applied.exists && graph_find(&applied.doc, &d->answer) != GRAPH_NONE;
}

static void write_branch(struct storage *s, struct shard_copy *c, const struct event *e,
			 struct effects *fx)
{
	const struct msg_doc_write *m = e->message.body;
	enum status refused = STATUS_OK;
	if (!shard_is_available(c) || !placed_takes_branches(s, c))
		refused = STATUS_NO_LEAD;
	else if (s->disk_full)
		refused = STATUS_DISK_FULL;
	else if (c->outbox_count >= OUTBOX_ENTRIES_MAX || c->outbox_bytes >= OUTBOX_BYTES_MAX)
		refused = STATUS_OVERLOADED;
	if (refused != STATUS_OK) {
		if (is_final(refused))
			attempt_refused(s, c, m, refused);
		answer(s, e, WHEN_NOW, refused, NULL, fx);
		return;
	}
	if (accept_standing(s, c, e, fx))
		return;
	struct document_view view;
	struct purged mark;
	struct decision d = {.status = STATUS_OK};
	document_load_outbox(s, c, m->id, &view);
	decide(&view, m, &d);
	/* contents are held where the stream says so, not by outboxes */
	if (d.ordered && d.change.uploads_count > 0) {
		d.ordered = false;
		d.status = STATUS_NO_LEAD;
	}
	if (d.ordered) {
		d.change.kind = CHANGE_BRANCH;
		if (!view.exists && !d.late && purge_mark(s, c, m->id, &mark))
			d.change.seen_number = mark.number;
		d.change.stamp = write_stamp(s, c);
		d.change.wall_ms = (uint64_t)s->wall_ms;
		outbox_add(s, c, &d.change, NULL, fx);
		c->outbox_pushed_ms = 0;
		c->turn_dirty = true;
		s->writes_total++;
	}
	if (d.ordered || !stands_applied(s, c, m->id, &d))
		d.status = STATUS_ACCEPTED;
	/* this replica may not have heard of the writer's lock yet */
	if (d.status == STATUS_LOCK_LOST)
		d.status = STATUS_NO_LEAD;
	answer(s, e, MUTATION(branch_before_sync) ? WHEN_NOW : WHEN_DURABLE, d.status, &d, fx);
	buf_close(&d.body);
}

void write_on_doc_write(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_doc_write *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	if (!c) {
		answer(s, e, WHEN_NOW, STATUS_NO_SHARD, NULL, fx);
		return;
	}
	bool may =
	    e->message.from.role != ROLE_ARBITER || (m->expect == EXPECT_DERIVED && !m->branch &&
						     (m->op == WRITE_PUT || m->op == WRITE_DELETE));
	if (m->operation_id.len != 16 || !document_id_ok(m->id) || !may) {
		answer(s, e, WHEN_NOW, STATUS_BAD_MESSAGE, NULL, fx);
		return;
	}
	/* its client was told that nobody knows, or that it is a branch: it must not land on what
	 * came since */
	if (write_is_stale(s, m->until_ms, m->life)) {
		s->stale_total++;
		answer(s, e, WHEN_NOW, STATUS_STALE, NULL, fx);
		return;
	}
	/* again, or to one that has become the lead since */
	if (in_outbox(s, c, e, fx))
		return;
	enum status refused = attempt_status(s, c, m);
	if (refused != STATUS_OK) {
		REACHED(refused_attempt_came_again);
		answer(s, e, WHEN_NOW, refused, NULL, fx);
		return;
	}
	if (repeat_refused(s, c, e, fx))
		return;
	refused = lead_refuses(s, c, e);
	if (m->branch && refused != STATUS_OK) {
		write_branch(s, c, e, fx);
		return;
	}
	bool alone = refused == STATUS_OK && lead_is_alone(s, c, m);
	if ((alone && accept_standing(s, c, e, fx)) || repeat_recent(s, c, e, fx))
		return;
	if (refused == STATUS_OLD_EPOCH || refused == STATUS_NOT_LEAD)
		map_send_newer(c, e, fx);
	if (is_final(refused))
		attempt_refused(s, c, m, refused);
	if (refused != STATUS_OK) {
		s->refused_total++;
		answer(s, e, WHEN_DURABLE, refused, NULL, fx);
		return;
	}
	write_at_lead(s, c, e, fx);
}

void write_on_derived_check(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_derived_check *m = e->message.body;
	struct msg_doc_write write = {.shard = m->shard,
				      .op = m->deleted ? WRITE_DELETE : WRITE_PUT,
				      .id = m->id,
				      .body = m->body,
				      .expect = EXPECT_DERIVED,
				      .keep_as_branch = m->keep_as_branch,
				      .anew = m->anew,
				      .operation_id = m->operation_id,
				      .operation_digest = m->operation_digest};
	struct shard_copy *c = shard_get(s, m->shard);
	struct decision d = {.status = conflict_must_lead(s, c, e, fx)};
	if (m->operation_id.len != 16 || !document_id_ok(m->id))
		d.status = STATUS_BAD_MESSAGE;
	if (d.status == STATUS_OK) {
		struct document_view view;
		document_load_pending(s, c, m->id, &view);
		decide(&view, &write, &d);
	}
	answer(s, e, WHEN_NOW, d.status, &d, fx);
	buf_close(&d.body);
}
