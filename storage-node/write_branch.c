/* A write that a replica takes as a branch in place of its lead. */
#include "common/doc/graph.h"
#include "common/probe.h"
#include "storage-node/attachment.h"
#include "storage-node/placed.h"
#include "storage-node/purge.h"
#include "storage-node/write.h"

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

static enum status branch_refused(const struct storage *s, const struct shard_copy *c)
{
	if (!shard_is_available(c) || !placed_takes_branches(s, c))
		return STATUS_NO_LEAD;
	if (s->disk_full)
		return STATUS_DISK_FULL;
	if (c->outbox_count >= BOUND(outbox_entries, OUTBOX_ENTRIES_MAX) ||
	    c->outbox_bytes >= BOUND(outbox_bytes, OUTBOX_BYTES_MAX))
		return STATUS_OVERLOADED;
	return STATUS_OK;
}

static void add_to_outbox(struct storage *s, struct shard_copy *c, const struct document_view *view,
			  struct decision *d, struct effects *fx)
{
	struct purged mark;
	d->change.kind = CHANGE_BRANCH;
	if (!view->exists && !d->late && purge_mark(s, c, view->id, &mark))
		d->change.seen_number = mark.number;
	d->change.stamp = write_stamp(s, c);
	d->change.wall_ms = (uint64_t)s->wall_ms;
	outbox_add(s, c, &d->change, NULL, fx);
	c->outbox_pushed_ms = 0;
	c->turn_dirty = true;
	s->writes_total++;
}

void write_as_branch(struct storage *s, struct shard_copy *c, const struct event *e,
		     struct effects *fx)
{
	const struct msg_doc_write *m = e->message.body;
	enum status refused = branch_refused(s, c);
	if (refused != STATUS_OK) {
		write_refuse(s, c, e, WHEN_NOW, refused, fx);
		return;
	}
	if (write_again_standing(s, c, e, false, fx))
		return;
	struct document_view view;
	struct decision d = {.status = STATUS_OK};
	document_load_outbox(s, c, m->id, &view);
	decision_make(&view, m, &d);
	if (d.ordered && !attachments_stay(s, c, &d.change)) {
		d.ordered = false;
		d.status = STATUS_NO_LEAD;
	}
	if (d.ordered)
		add_to_outbox(s, c, &view, &d, fx);
	if (d.ordered || !stands_applied(s, c, m->id, &d))
		d.status = STATUS_ACCEPTED;
	/* this replica may not have heard of the writer's lock yet */
	if (d.status == STATUS_LOCK_LOST)
		d.status = STATUS_NO_LEAD;
	write_answer(s, e, MUTATION(branch_before_sync) ? WHEN_NOW : WHEN_DURABLE, d.status, &d,
		     fx);
	decision_close(&d);
}
