#include "storage-node/write.h"

#include "common/probe.h"
#include "storage-node/attachment.h"
#include "storage-node/attempt.h"
#include "storage-node/conflict.h"
#include "storage-node/lock.h"
#include "storage-node/placed.h"

uint64_t write_stamp(struct storage *s, struct shard_copy *c)
{
	uint64_t wall = (uint64_t)s->wall_ms << 16;
	c->position.stamp = wall > c->position.stamp ? wall : c->position.stamp + 1;
	c->position_dirty = true;
	return c->position.stamp;
}

bool write_is_stale(const struct storage *s, uint64_t until_ms, uint64_t life)
{
	return !MUTATION(late_write_taken) && until_ms > 0 &&
	       (life != s->options.life || (uint64_t)s->now_ms > until_ms);
}

bool write_disks_full(const struct storage *s, const struct shard_copy *c)
{
	uint32_t room = 1;
	for (uint32_t i = 0; i < c->followers_count; i++)
		room += !c->followers[i].learning && !c->followers[i].disk_full;
	return s->disk_full || room < c->placement.write_quorum;
}

/* OK: this is the lead of the epoch that the message names, and has disks to write on. */
static enum status lead_refuses(const struct storage *s, const struct shard_copy *c,
				const struct event *e)
{
	uint64_t epoch = e->message.envelope.epoch;
	if (epoch < c->placement.epoch)
		return STATUS_OLD_EPOCH;
	if (c->state != SHARD_SERVING || epoch != c->lead_epoch || c->serving_unseen)
		return c->placement.lead == s->options.self ? STATUS_NO_LEAD : STATUS_NOT_LEAD;
	return write_disks_full(s, c) ? STATUS_DISK_FULL : STATUS_OK;
}

enum status write_taken_by_lead(struct storage *s, struct shard_copy *c, const struct event *e,
				uint64_t until_ms, uint64_t life, struct effects *fx)
{
	if (!c)
		return STATUS_NO_SHARD;
	if (write_is_stale(s, until_ms, life)) {
		s->stale_total++;
		return STATUS_STALE;
	}
	enum status refused = lead_refuses(s, c, e);
	if (refused == STATUS_OLD_EPOCH || refused == STATUS_NOT_LEAD)
		map_send_newer(c, e, fx);
	return refused;
}

/* A lead that is cut off from its replicas can't settle what it takes. On its disk that is as safe
 * as a branch, and becomes one when a successor has it cut: asked for a branch it accepts. */
static bool lead_is_alone(struct storage *s, struct shard_copy *c, const struct msg_doc_write *m)
{
	return m->branch && shard_stays_available(c) && placed_takes_branches(s, c) &&
	       !lease_held(s, c);
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
	decision_make(v, m, &d);
	out->why = d.why;
	if (d.ordered) {
		d.change.edit_id = part->id;
		d.change.edit_count = part->count;
		d.change.operation_digest = part->digest;
		out->number = order(v->storage, v->copy, &d.change, fx);
		out->bytes = d.change.body.len;
	}
	decision_close(&d);
	return d.status;
}

static void write_at_lead(struct storage *s, struct shard_copy *c, const struct event *e,
			  struct effects *fx)
{
	const struct msg_doc_write *m = e->message.body;
	struct document_view view;
	struct decision d = {.status = STATUS_OK};
	document_load_pending(s, c, m->id, &view);
	decision_make(&view, m, &d);
	if (lock_is_refusal(d.status)) {
		lock_refuse_write(s, c, e, d.status, fx);
	} else if (!d.ordered) {
		write_answer_unchanged(s, c, e, &view, &d, fx);
	} else if (lead_is_alone(s, c, m) && !attachments_stay(s, c, &d.change)) {
		write_answer(s, e, WHEN_NOW, STATUS_NO_LEAD, NULL, fx);
	} else {
		uint64_t number = order(s, c, &d.change, fx);
		if (lead_is_alone(s, c, m)) {
			c->accepted_entry = number;
			write_answer(s, e, WHEN_DURABLE, STATUS_ACCEPTED, &d, fx);
		} else {
			write_answer_applied(s, c, e, number, &d, fx);
		}
	}
	decision_close(&d);
}

/* What a split brings is whole: there may be nothing yet that a patch or an update could change.
 * Of an arbiter only such. */
static bool is_well_formed(const struct msg_doc_write *m, enum role from)
{
	bool derived = m->expect == EXPECT_DERIVED;
	if (derived && m->op != WRITE_PUT && m->op != WRITE_DELETE)
		return false;
	if (from == ROLE_ARBITER && (!derived || m->branch))
		return false;
	return m->operation_id.len == 16 && document_id_ok(m->id);
}

void write_on_doc_write(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_doc_write *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	if (!c) {
		write_answer(s, e, WHEN_NOW, STATUS_NO_SHARD, NULL, fx);
		return;
	}
	if (!is_well_formed(m, e->message.from.role)) {
		write_answer(s, e, WHEN_NOW, STATUS_BAD_MESSAGE, NULL, fx);
		return;
	}
	if (s->starting_anew) { /* what is here goes at the next tick */
		write_answer(s, e, WHEN_NOW, STATUS_NO_LEAD, NULL, fx);
		return;
	}
	/* its client was told that nobody knows, or that it is a branch: it must not land on what
	 * came since */
	if (write_is_stale(s, m->until_ms, m->life)) {
		s->stale_total++;
		write_answer(s, e, WHEN_NOW, STATUS_STALE, NULL, fx);
		return;
	}
	/* again, or to one that has become the lead since */
	if (write_again_in_outbox(s, c, e, fx))
		return;
	enum status refused = attempt_status(s, c, m);
	if (refused != STATUS_OK) {
		REACHED(refused_attempt_came_again);
		write_answer(s, e, WHEN_NOW, refused, NULL, fx);
		return;
	}
	if (write_again_refused(s, c, e, fx))
		return;
	refused = lead_refuses(s, c, e);
	if (refused == STATUS_OK && !stream_has_room(s, c))
		refused = STATUS_OVERLOADED;
	if (m->branch && refused != STATUS_OK) {
		write_as_branch(s, c, e, fx);
		return;
	}
	bool alone = refused == STATUS_OK && lead_is_alone(s, c, m);
	if ((alone && write_again_standing(s, c, e, true, fx)) || write_again_recent(s, c, e, fx))
		return;
	if (refused == STATUS_OLD_EPOCH || refused == STATUS_NOT_LEAD)
		map_send_newer(c, e, fx);
	if (refused != STATUS_OK) {
		s->refused_total++;
		write_refuse(s, c, e, WHEN_DURABLE, refused, fx);
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
		decision_make(&view, &write, &d);
	}
	write_answer(s, e, WHEN_NOW, d.status, &d, fx);
	decision_close(&d);
}
