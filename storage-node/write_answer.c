/* What the client of a write is told, and when. */
#include "common/probe.h"
#include "storage-node/attempt.h"
#include "storage-node/recent.h"
#include "storage-node/write.h"

/* Its client is told, not somebody else asked. */
static bool is_final(enum status refused)
{
	return refused == STATUS_DISK_FULL || refused == STATUS_OVERLOADED;
}

/* Its gateway may have sent it before, to a lead whose operations are not all known here: then the
 * refusal may come of that. Documents know the operations under clients' keys, but those of a
 * replica that is asked in the lead's place may be older than what the lead has done, and who has
 * no room does not look at them. */
static bool has_gap(const struct storage *s, const struct event *e, enum status status)
{
	if (e->message.envelope.type != MSG_doc_write || status_is_success(status))
		return false;
	const struct msg_doc_write *m = e->message.body;
	const struct shard_copy *c = map_get_u64(&s->shards, m->shard);
	bool looked = m->operation_digest.len > 0 && !is_final(status);
	return c && (m->branch || (!looked && recent_has_gap(s, c)));
}

void write_answer(const struct storage *s, const struct event *e, enum effect_when when,
		  enum status status, const struct decision *d, struct effects *fx)
{
	struct msg_doc_write_ack ack = {.status = status,
					.gap = has_gap(s, e, status),
					.clock_ms = (uint64_t)s->now_ms,
					.life = s->options.life};
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

void write_answer_applied(struct storage *s, struct shard_copy *c, const struct event *e,
			  uint64_t number, const struct decision *d, struct effects *fx)
{
	const struct msg_doc_write *m = e->message.body;
	struct pending *p = ring_at(&c->pending, number);
	if (!p) {
		write_answer(s, e, WHEN_NOW, d->status, d, fx);
		return;
	}
	struct waiter *w = waiter_new(e, MSG_doc_write_ack);
	w->needs_lead = !d->ordered;
	w->ack.status = d->status;
	w->ack.gap = has_gap(s, e, d->status);
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

void write_answer_unchanged(struct storage *s, struct shard_copy *c, const struct event *e,
			    struct document_view *v, const struct decision *d, struct effects *fx)
{
	uint64_t number = v->overlay && !MUTATION(refusal_at_once) ? v->overlay->last_number : 0;
	if (number == 0 && !lease_held(s, c)) {
		write_answer(s, e, WHEN_NOW, STATUS_NO_LEAD, NULL, fx);
		return;
	}
	const struct msg_doc_write *m = e->message.body;
	if (binds_successors(m, d->status)) {
		struct decision told = *d;
		told.ordered = true;
		number = order_refusal(s, c, m, d, fx);
		write_answer_applied(s, c, e, number, &told, fx);
		return;
	}
	struct recent what = {.number = number, .epoch = c->lead_epoch, .status = d->status};
	/* what a split writes may be taken later, when its attachments have come; a key that came
	 * with another request is that one's */
	if (m->expect != EXPECT_DERIVED && d->status != STATUS_OPERATION_ID_REUSED)
		recent_add(s, c, m->operation_id, m->operation_digest, &what, &d->answer);
	write_answer_applied(s, c, e, number, d, fx);
}

void write_refuse(struct storage *s, struct shard_copy *c, const struct event *e,
		  enum effect_when when, enum status refused, struct effects *fx)
{
	if (is_final(refused))
		attempt_refused(s, c, e->message.body, refused);
	write_answer(s, e, when, refused, NULL, fx);
}
