/* A write that came before: answered as then, done once. */
#include "common/doc/graph.h"
#include "common/probe.h"
#include "storage-node/attachment.h"
#include "storage-node/recent.h"
#include "storage-node/write.h"

/* One that an earlier epoch took gets no refusal, which its
 * gateway would believe and do it again: it is answered if its entry stands and this is the lead,
 * else not at all. */
bool write_again_recent(struct storage *s, struct shard_copy *c, const struct event *e,
			struct effects *fx)
{
	const struct msg_doc_write *m = e->message.body;
	if (m->anew) /* what it made may be deleted since: the record knows */
		return false;
	struct recent *r = recent_find(c, m->operation_id);
	if (!r || (r->number == 0 && r->epoch != c->lead_epoch) || MUTATION(doubled_write))
		return false;
	/* what another epoch refused is decided anew. So a message for a later epoch gets no answer
	 * from this one: a copy of it may come then */
	if (!status_is_success(r->status) &&
	    (r->epoch != c->lead_epoch || e->message.envelope.epoch != r->epoch))
		return false;
	/* Of what this one refused its client may have been told: a copy that comes when the lease
	 * is lost is neither done, nor sent on to another lead. */
	if (!status_is_success(r->status) && (c->state != SHARD_SERVING || !lease_held(s, c))) {
		REACHED(refused_came_again_without_lease);
		return true;
	}
	if (c->state == SHARD_SERVING && r->number > c->position.trimmed &&
	    !recent_stands(s, c, r)) {
		REACHED(repeat_of_what_was_cut);
		recent_forget(c, m->operation_id); /* it was cut: as if it never came */
		return false;
	}
	bool unknown = r->epoch != c->lead_epoch && r->number <= c->position.trimmed;
	if (unknown && c->state == SHARD_SERVING && m->operation_digest.len > 0)
		return false; /* the document's record knows a client's key */
	if (c->state != SHARD_SERVING || unknown || waiters_full(c))
		return r->number > 0;
	struct decision d = {.status = (enum status)r->status,
			     .ordered = status_is_success(r->status)};
	d.answer = recent_revision(r);
	if (!recent_is_of(r, m->operation_digest))
		d = (struct decision){.status = STATUS_OPERATION_ID_REUSED};
	REACHED(repeat_answered_from_memory);
	write_answer_applied(s, c, e, r->number, &d, fx);
	return true;
}

bool write_again_refused(struct storage *s, struct shard_copy *c, const struct event *e,
			 struct effects *fx)
{
	const struct msg_doc_write *m = e->message.body;
	const struct recent *r = recent_refusal(c, m->operation_id);
	bool leads = c->state == SHARD_SERVING && e->message.envelope.epoch == c->lead_epoch;
	bool applied = r && r->number <= c->position.applied;
	if (!r || (!applied && !leads && !m->branch))
		return false;
	if (!applied && waiters_full(c))
		return true;
	REACHED(attempt_after_refusal);
	if (!applied && !leads) { /* nobody knows yet whether its client is told */
		write_answer(s, e, WHEN_NOW, STATUS_NO_LEAD, NULL, fx);
		return true;
	}
	struct decision d = {
	    .status = (enum status)r->status, .ordered = true, .answer = recent_revision(r)};
	if (!recent_is_of(r, m->operation_digest))
		d = (struct decision){.status = STATUS_OPERATION_ID_REUSED, .ordered = true};
	write_answer_applied(s, c, e, r->number, &d, fx);
	return true;
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

/* An entry that is not applied yet. */
static bool could_be_branch(struct storage *s, struct shard_copy *c, uint64_t number)
{
	struct change change;
	const struct pending *p = ring_at(&c->pending, number);
	return p && shard_stays_available(c) &&
	       schema_decode(&schema_change, p->change, &s->arena, &change) &&
	       attachments_stay(s, c, &change);
}

bool write_again_standing(struct storage *s, struct shard_copy *c, const struct event *e,
			  bool can_wait, struct effects *fx)
{
	const struct msg_doc_write *m = e->message.body;
	const struct recent *r = recent_find(c, m->operation_id);
	if (!r || !status_is_success((enum status)r->status) ||
	    !recent_is_of(r, m->operation_digest) ||
	    !(recent_stands(s, c, r) || recent_was_applied(s, c, m->id, r)))
		return false;
	bool applied = r->number <= c->position.applied;
	if (!applied && !could_be_branch(s, c, r->number)) {
		if (!can_wait)
			write_answer(s, e, WHEN_NOW, STATUS_NO_LEAD, NULL, fx);
		return !can_wait;
	}
	REACHED(pending_accepted_as_branch);
	if (!applied && r->number > c->accepted_entry)
		c->accepted_entry = r->number;
	struct decision d = {.answer = recent_revision(r)};
	write_answer(s, e, WHEN_DURABLE, applied ? (enum status)r->status : STATUS_ACCEPTED, &d,
		     fx);
	return true;
}

bool write_again_in_outbox(struct storage *s, struct shard_copy *c, const struct event *e,
			   struct effects *fx)
{
	const struct msg_doc_write *m = e->message.body;
	if (!outbox_holds(c, m->id))
		return false;
	for (uint32_t i = 0; i < c->outbox_count; i++) {
		if (slice_equal(c->outbox[i].operation_id, m->operation_id)) {
			struct decision d = {.answer = c->outbox[i].revision};
			write_answer(s, e, WHEN_DURABLE, STATUS_ACCEPTED, &d, fx);
			return true;
		}
	}
	return false;
}
