/* The replica's side of the stream: takes only what continues its own, acknowledges only what is
 * synced. */
#include "storage-node/bring.h"
#include "storage-node/internal.h"

static void refuse(struct storage *s, const struct event *e, uint64_t shard, enum status status,
		   const struct position *last, struct effects *fx)
{
	struct msg_stream_append_ack ack = {
	    .shard = shard, .status = status, .incarnation = s->options.incarnation};
	if (last)
		ack.last = *last;
	fx_reply(fx, WHEN_DURABLE, e, MSG_stream_append_ack, &ack);
}

/* Where both streams surely agree: all that is applied here is settled, so the lead has it too. */
static struct position agreed(struct storage *s, struct shard_copy *c)
{
	uint64_t number = c->position.applied;
	return (struct position){.number = number, .epoch = stream_epoch_of(s, c, number)};
}

enum status follow_take(struct storage *s, struct shard_copy *c, const struct position *previous,
			const struct stream_entry *entries, uint32_t count, struct effects *fx)
{
	uint64_t epoch;
	if (previous->number > c->position.last && !MUTATION(gap_accepted))
		return STATUS_STREAM_GAP;
	if (previous->number > c->position.applied && !MUTATION(gap_accepted) &&
	    (!stream_epoch_at(s, c, previous->number, &epoch) || epoch != previous->epoch))
		return STATUS_STREAM_GAP;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t number = previous->number + 1 + i;
		if (number <= c->position.applied)
			continue;
		if (number <= c->position.last) {
			epoch = stream_epoch_of(s, c, number);
			if (epoch == entries[i].epoch || MUTATION(tail_kept))
				continue;
			REACHED(departing_tail_cut);
			stream_cut(s, c, number - 1, fx);
		}
		stream_put_entry(s, c, entries[i].epoch, entries[i].change);
		fx_sync(fx);
	}
	return STATUS_OK;
}

/* Is the sender the lead of this epoch, and may this replica follow it? */
static enum status check_lead(struct storage *s, struct shard_copy *c, const struct event *e,
			      struct effects *fx)
{
	uint64_t epoch = e->message.envelope.epoch;
	if (epoch < c->placement.epoch || epoch < c->promise.epoch)
		return MUTATION(old_epoch_accepted) ? STATUS_OK : STATUS_OLD_EPOCH;
	if (epoch > c->placement.epoch)
		return STATUS_NO_SHARD; /* the placement is on its way */
	const struct replica *self = shard_self(s, c);
	if (!self || self->incarnation != s->options.incarnation)
		return STATUS_NO_SHARD;
	if (e->message.from.member != c->placement.lead)
		return STATUS_NOT_LEAD;
	if (c->promise.epoch < epoch) {
		c->promise = (struct shard_promise){.epoch = epoch, .lead = c->placement.lead};
		shard_save_promise(s, c, fx);
	}
	return STATUS_OK;
}

static void accept(struct storage *s, struct shard_copy *c, const struct event *e,
		   struct effects *fx)
{
	const struct msg_stream_append *m = e->message.body;
	if (c->matched_epoch != c->placement.epoch) {
		c->matched_epoch = c->placement.epoch;
		c->matched = 0;
	}
	uint64_t reached = m->previous.number + m->entries_count;
	if (reached > c->matched)
		c->matched = reached;
	if (c->matched < c->position.applied)
		c->matched = c->position.applied;
	bool all = m->settled < c->matched || MUTATION(settled_beyond_match);
	stream_apply(s, c, all ? m->settled : c->matched, fx);
	c->ack_wanted = true;
	c->ack_peer = e->message.from;
	c->ack_envelope = e->message.envelope;
	c->turn_dirty = true;
}

enum status follow_check_entries(struct storage *s, uint64_t previous, uint64_t epoch,
				 const struct stream_entry *entries, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct arena_mark mark = arena_mark(&s->arena);
		struct change change;
		bool ok = stream_readable(s, entries[i].change, &change);
		bool small = ok && (change.kind == CHANGE_EPOCH || change.kind == CHANGE_SETTINGS ||
				    change.kind == CHANGE_CLEANUP);
		arena_rewind(&s->arena, mark);
		if (!ok || entries[i].epoch < previous || entries[i].epoch > epoch)
			return STATUS_BAD_MESSAGE;
		if (s->disk_exhausted && !small)
			return STATUS_DISK_FULL;
		if (s->disk_full && !small)
			REACHED(full_replica_follows);
		previous = entries[i].epoch;
	}
	return STATUS_OK;
}

void follow_on_append(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_stream_append *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	/* a copy that was put back has forgotten newer epochs: what it took of an older lead would
	   count, although another lead has settled something else; the sender repeats it */
	if (!s->admitted) {
		REACHED(append_before_admitted);
		return;
	}
	if (!c) {
		refuse(s, e, m->shard, STATUS_NO_SHARD, NULL, fx);
		return;
	}
	enum status status = check_lead(s, c, e, fx);
	if (status == STATUS_OLD_EPOCH) {
		REACHED(append_of_old_lead);
		map_send_newer(c, e, fx);
	}
	if (status == STATUS_OK && bring_first(s, c))
		return;
	if (status == STATUS_OK && c->position.copying)
		status = STATUS_NOT_VOUCHING;
	if (status == STATUS_OK)
		status = follow_check_entries(s, m->previous.epoch, e->message.envelope.epoch,
					      m->entries, m->entries_count);
	if (status != STATUS_OK) {
		refuse(s, e, m->shard, status, NULL, fx);
		return;
	}
	if (m->acked > c->position.last && !MUTATION(old_disk_trusted)) {
		REACHED(lead_remembers_more);
		fx_reset(
		    fx,
		    "the lead remembers acknowledgements that this data directory does not hold");
		return;
	}
	status = follow_take(s, c, &m->previous, m->entries, m->entries_count, fx);
	if (status == STATUS_STREAM_GAP) {
		struct position last = {.number = c->position.last,
					.epoch = c->position.last_epoch};
		if (m->previous.number <= c->position.last)
			last = agreed(s, c);
		refuse(s, e, m->shard, status, &last, fx);
		return;
	}
	accept(s, c, e, fx);
}

/* One acknowledgement a turn, however many messages came. */
void follow_turn(struct storage *s, struct shard_copy *c, struct effects *fx)
{
	if (!c->ack_wanted)
		return;
	c->ack_wanted = false;
	if (c->matched_epoch != c->placement.epoch || c->position.copying)
		return;
	struct msg_stream_append_ack ack = {
	    .shard = c->id,
	    .status = STATUS_OK,
	    .incarnation = s->options.incarnation,
	    .applied = c->position.applied,
	    .outbox = c->outbox_count + shard_tail_may_depart(c),
	};
	ack.last.number = c->matched;
	ack.last.epoch = stream_epoch_of(s, c, c->matched);
	struct envelope envelope = c->ack_envelope;
	envelope.type = MSG_stream_append_ack;
	enum effect_when when = MUTATION(ack_before_sync) ? WHEN_NOW : WHEN_DURABLE;
	fx_send(fx, when, c->ack_peer.member, c->ack_peer.route, &envelope, &ack);
}
