/* Becoming the lead of a shard: promises from N - W others, the most advanced stream among them, W
 * copies of an entry under the own epoch; only then it serves (DESIGN 6). */
#include "common/quorum.h"
#include "storage-node/internal.h"
#include "storage-node/placed.h"
#include "storage-node/scrub.h"

static void followers_begin(struct storage *s, struct shard_copy *c)
{
	for (uint32_t i = 0; i < c->followers_count; i++)
		snapshot_stop(s, &c->followers[i]);
	c->followers_count = 0;
	for (uint32_t i = 0; i < c->placement.replicas_count; i++) {
		const struct replica *r = &c->placement.replicas[i];
		if (r->node == s->options.self)
			continue;
		c->followers[c->followers_count++] =
		    (struct follower){.node = r->node,
				      .incarnation = r->incarnation,
				      .place = i,
				      .learning = r->learning,
				      .next = c->position.last + 1,
				      .sent_ms = s->now_ms - RESEND_MS,
				      .heard_ms = s->now_ms - RESEND_MS,
				      .spared_until_ms = s->now_ms + SPARED_MS};
	}
}

void takeover_start(struct storage *s, struct shard_copy *c, struct effects *fx)
{
	if (!shard_vouching(s, c) || c->unreadable > c->position.applied) {
		c->state = SHARD_STUCK;
		fx_log(fx, LOG_LEVEL_WARN, "cannot_lead shard=%016llx reason=%s",
		       (unsigned long long)c->id, c->unreadable ? "damaged" : "not_vouching");
		return;
	}
	c->state = SHARD_PROMISING;
	c->lead_epoch = c->placement.epoch;
	c->ack_wanted = false;
	c->retry_ms = s->now_ms;
	s->takeovers_total++;
	followers_begin(s, c);
	takeover_tick(s, c, fx);
}

static void ask_promises(struct storage *s, struct shard_copy *c, struct effects *fx)
{
	struct msg_promise_request m = {
	    .shard = c->placement,
	    .boot = s->options.boot,
	    .last = {.epoch = c->position.last_epoch, .number = c->position.last}};
	struct envelope envelope = {
	    .type = MSG_promise_request, .request_id = s->next_request++, .epoch = c->lead_epoch};
	for (uint32_t i = 0; i < c->followers_count; i++)
		if (!c->followers[i].promised &&
		    (!c->followers[i].learning || MUTATION(learner_votes)))
			fx_send(fx, WHEN_DURABLE, c->followers[i].node, 0, &envelope, &m);
}

static void begin_epoch(struct storage *s, struct shard_copy *c, struct effects *fx)
{
	c->state = SHARD_PREPARING;
	for (uint32_t i = 0; i < c->followers_count; i++)
		c->followers[i].next = c->position.last + 1;
	struct change change = {.kind = CHANGE_EPOCH, .wall_ms = (uint64_t)s->wall_ms};
	c->epoch_start = stream_append_change(s, c, &change, fx);
	c->floor = 0;
	c->purge_wait.ordered = 0; /* checkpoints wait for those before it */
	s->lease_ms = s->now_ms;
	fx_log(fx, LOG_LEVEL_INFO, "preparing shard=%016llx epoch=%llu number=%llu",
	       (unsigned long long)c->id, (unsigned long long)c->lead_epoch,
	       (unsigned long long)c->epoch_start);
}

static bool more_advanced(const struct position *a, const struct position *b)
{
	return a->epoch > b->epoch || (a->epoch == b->epoch && a->number > b->number);
}

static void send_fetch(struct storage *s, struct shard_copy *c, struct effects *fx)
{
	struct msg_stream_fetch m = {.shard = c->id};
	m.previous = (struct position){.epoch = c->position.last_epoch, .number = c->position.last};
	struct envelope envelope = {
	    .type = MSG_stream_fetch, .request_id = s->next_request++, .epoch = c->lead_epoch};
	fx_send(fx, WHEN_NOW, c->fetch_from, 0, &envelope, &m);
	c->retry_ms = s->now_ms + PROMISE_RETRY_MS;
}

/* Enough have promised: is any of them further than this node? */
static void choose_source(struct storage *s, struct shard_copy *c, struct effects *fx)
{
	struct position best = {.epoch = c->position.last_epoch, .number = c->position.last};
	c->fetch_from = 0;
	for (uint32_t i = 0; i < c->followers_count; i++) {
		const struct follower *f = &c->followers[i];
		if (f->promised && !MUTATION(own_stream_trusted) &&
		    more_advanced(&f->promised_last, &best)) {
			best = f->promised_last;
			c->fetch_from = f->node;
		}
	}
	if (!c->fetch_from) {
		begin_epoch(s, c, fx);
		return;
	}
	REACHED(takeover_fetches);
	c->state = SHARD_FETCHING;
	send_fetch(s, c, fx);
}

static void promise_self(struct storage *s, struct shard_copy *c, struct effects *fx)
{
	c->promise = (struct shard_promise){.epoch = c->lead_epoch, .lead = s->options.self};
	shard_save_promise(s, c, fx);
}

static bool has_promised(const struct storage *s, const struct follower *f)
{
	(void)s;
	return f->promised;
}

static void count_promises(struct storage *s, struct shard_copy *c, struct effects *fx)
{
	uint32_t needed = quorum_takeover(&c->placement) - MUTATION(promise_too_few);
	if (placed_quorum(s, c, has_promised, needed))
		choose_source(s, c, fx);
}

/* 0: this replica may promise to `lead` now. */
static int64_t promise_wait_ms(const struct storage *s, const struct shard_copy *c, uint64_t lead,
			       uint64_t boot)
{
	if (!s->admitted) /* a copy put back has forgotten what it promised and acknowledged */
		return PROMISE_RETRY_MS;
	return lease_wait_ms(s, c, lead, boot);
}

static void promising_tick(struct storage *s, struct shard_copy *c, struct effects *fx)
{
	if (c->promise.epoch > c->lead_epoch) {
		c->state = SHARD_STUCK;
		return;
	}
	if (c->promise.epoch < c->lead_epoch || c->promise.lead != s->options.self) {
		int64_t wait = promise_wait_ms(s, c, s->options.self, s->options.boot);
		if (wait > 0) {
			c->retry_ms =
			    s->now_ms + (wait < PROMISE_RETRY_MS ? wait : PROMISE_RETRY_MS);
			return;
		}
		promise_self(s, c, fx);
	}
	c->retry_ms = s->now_ms + PROMISE_RETRY_MS;
	ask_promises(s, c, fx);
	count_promises(s, c, fx);
}

void takeover_tick(struct storage *s, struct shard_copy *c, struct effects *fx)
{
	if (s->now_ms < c->retry_ms)
		return;
	if (c->state == SHARD_PROMISING)
		promising_tick(s, c, fx);
	else if (c->state == SHARD_FETCHING)
		send_fetch(s, c, fx);
}

/* ---- the replica that is asked ---- */

/* In the middle of a copy, or after one that held less, it has too little to show. But what it was
 * counted for it knows, and a lead that has as much misses nothing of it. */
static bool may_promise_from_memory(const struct storage *s, const struct shard_copy *c,
				    const struct position *last)
{
	const struct replica *self = shard_self(s, c);
	const struct shard_position *p = &c->position;
	if (!self || self->incarnation != s->options.incarnation || self->learning || !p->vouched)
		return false;
	bool as_much = last->epoch > p->vouched_epoch ||
		       (last->epoch == p->vouched_epoch && last->number >= p->vouched_number);
	if (as_much)
		REACHED(promise_from_memory);
	return as_much;
}

static enum status may_promise(struct storage *s, struct shard_copy *c, const struct event *e,
			       int64_t *wait_ms)
{
	const struct msg_promise_request *m = e->message.body;
	uint64_t epoch = e->message.envelope.epoch;
	*wait_ms = 0;
	if (epoch < c->placement.epoch || epoch < c->promise.epoch)
		return STATUS_OLD_EPOCH;
	if (c->placement.epoch != epoch || c->placement.lead != e->message.from.member)
		return STATUS_NO_SHARD;
	if (c->promise.epoch == epoch && c->promise.lead != e->message.from.member)
		return STATUS_OLD_EPOCH;
	if (!shard_vouching(s, c) && !may_promise_from_memory(s, c, &m->last))
		return STATUS_NOT_VOUCHING;
	*wait_ms = promise_wait_ms(s, c, e->message.from.member, m->boot);
	return *wait_ms > 0 ? STATUS_LEASED : STATUS_OK;
}

void takeover_on_promise_request(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_promise_request *m = e->message.body;
	uint64_t id = m->shard.id;
	map_adopt(s, &m->shard, fx);
	struct shard_copy *c = shard_get(s, id);
	struct msg_promise_ack ack = {
	    .shard = id, .status = STATUS_NO_SHARD, .incarnation = s->options.incarnation};
	if (c) {
		int64_t wait;
		ack.status = may_promise(s, c, e, &wait);
		ack.wait_ms = (uint64_t)wait;
		ack.last =
		    (struct position){.epoch = c->position.last_epoch, .number = c->position.last};
		ack.settled = c->settled;
		if (ack.status == STATUS_OK && c->promise.epoch < e->message.envelope.epoch) {
			c->promise = (struct shard_promise){.epoch = e->message.envelope.epoch,
							    .lead = e->message.from.member};
			shard_save_promise(s, c, fx);
		}
		if (ack.status == STATUS_NOT_VOUCHING)
			REACHED(promise_refused_learning);
		if (ack.status == STATUS_OLD_EPOCH)
			map_send_newer(c, e, fx);
	}
	fx_reply(fx, WHEN_DURABLE, e, MSG_promise_ack, &ack);
}

void takeover_on_promise_ack(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_promise_ack *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	if (!c || c->state != SHARD_PROMISING || e->message.envelope.epoch != c->lead_epoch)
		return;
	struct follower *f = shard_follower(c, e->message.from.member);
	if (!f || f->incarnation != m->incarnation)
		return;
	/* before its own promise it asks for none: this is an answer to an earlier life */
	if (c->promise.epoch < c->lead_epoch) {
		REACHED(promise_of_earlier_life);
		return;
	}
	if (m->status == STATUS_OLD_EPOCH) {
		REACHED(takeover_outbid);
		c->state = SHARD_STUCK;
		return;
	}
	if (m->status == STATUS_LEASED) {
		REACHED(takeover_waits_for_lease);
		int64_t wait =
		    (int64_t)m->wait_ms < PROMISE_RETRY_MS ? (int64_t)m->wait_ms : PROMISE_RETRY_MS;
		if (c->retry_ms > s->now_ms + wait)
			c->retry_ms = s->now_ms + wait;
		return;
	}
	if (m->status != STATUS_OK)
		return;
	f->promised = true;
	f->promised_last = m->last;
	count_promises(s, c, fx);
}

/* ---- reading the most advanced stream ---- */

void takeover_on_fetch(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_stream_fetch *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	struct msg_stream_fetch_ack ack = {
	    .shard = m->shard, .status = STATUS_OLD_EPOCH, .previous = m->previous};
	uint64_t epoch = 0;
	if (c && c->promise.epoch == e->message.envelope.epoch &&
	    c->promise.lead == e->message.from.member) {
		ack.last =
		    (struct position){.epoch = c->position.last_epoch, .number = c->position.last};
		if (m->previous.number < c->position.trimmed) {
			REACHED(takeover_source_trimmed);
			ack.status = STATUS_STREAM_TRIMMED;
		} else if (m->previous.number > c->position.last ||
			   !stream_epoch_at(s, c, m->previous.number, &epoch) ||
			   epoch != m->previous.epoch) {
			/* go back by one: the asker walks down to where both agree, never below
			 * what it applied */
			ack.status = STATUS_STREAM_GAP;
			ack.last.number = m->previous.number > c->position.last
					      ? c->position.last
					      : m->previous.number - 1;
			if (!stream_epoch_at(s, c, ack.last.number, &ack.last.epoch))
				ack.status = STATUS_STREAM_TRIMMED;
		} else {
			ack.status = STATUS_OK;
			ack.entries_count =
			    stream_entries(s, c, m->previous.number + 1, &ack.entries);
		}
	}
	fx_reply(fx, WHEN_DURABLE, e, MSG_stream_fetch_ack, &ack);
}

static void fetched(struct storage *s, struct shard_copy *c, const struct msg_stream_fetch_ack *m,
		    struct effects *fx)
{
	if (m->previous.number != c->position.last || m->previous.epoch != c->position.last_epoch)
		return; /* an answer to an older question */
	if (follow_check_entries(s, m->previous.epoch, c->lead_epoch, m->entries,
				 m->entries_count) == STATUS_BAD_MESSAGE) {
		fx_log(fx, LOG_LEVEL_ERROR, "fetched_unreadable shard=%016llx from=%llu",
		       (unsigned long long)c->id, (unsigned long long)c->fetch_from);
		c->state = SHARD_STUCK;
		return;
	}
	if (follow_take(s, c, &m->previous, m->entries, m->entries_count, fx) != STATUS_OK)
		return;
	struct position mine = {.epoch = c->position.last_epoch, .number = c->position.last};
	if (!more_advanced(&m->last, &mine)) {
		begin_epoch(s, c, fx);
	} else if (m->entries_count > 0) {
		send_fetch(s, c, fx);
	} else { /* its disk has damaged the next one: another lead may not need that */
		fx_log(fx, LOG_LEVEL_WARN, "cannot_fetch shard=%016llx from=%llu number=%llu",
		       (unsigned long long)c->id, (unsigned long long)c->fetch_from,
		       (unsigned long long)mine.number + 1);
		c->state = SHARD_STUCK;
	}
}

void takeover_on_fetch_ack(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_stream_fetch_ack *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	if (!c || c->state != SHARD_FETCHING || e->message.envelope.epoch != c->lead_epoch ||
	    e->message.from.member != c->fetch_from)
		return;
	if (m->status == STATUS_OK) {
		fetched(s, c, m, fx);
	} else if (m->status == STATUS_STREAM_GAP) {
		if (m->previous.number != c->position.last)
			return;
		if (c->position.last == c->position.applied) {
			fx_log(fx, LOG_LEVEL_ERROR, "settled_differs shard=%016llx number=%llu",
			       (unsigned long long)c->id, (unsigned long long)c->position.last);
			c->state = SHARD_STUCK;
			return;
		}
		REACHED(takeover_cuts_own_tail);
		uint64_t back =
		    m->last.number > c->position.applied ? m->last.number : c->position.applied;
		stream_cut(s, c, back, fx);
		send_fetch(s, c, fx);
	} else if (m->status == STATUS_STREAM_TRIMMED || m->status == STATUS_OLD_EPOCH) {
		c->state = SHARD_STUCK;
	}
}

/* ---- serving ---- */

void takeover_settled(struct storage *s, struct shard_copy *c, struct effects *fx)
{
	c->state = SHARD_SERVING;
	c->serving_unseen = true;
	fx_log(fx, LOG_LEVEL_INFO, "serving shard=%016llx epoch=%llu applied=%llu",
	       (unsigned long long)c->id, (unsigned long long)c->lead_epoch,
	       (unsigned long long)c->position.applied);
	takeover_order_settings(s, c, fx);
}

/* Settings take effect where they stand in the stream, so that every replica applies a change under
 * the same ones. */
void takeover_order_settings(struct storage *s, struct shard_copy *c, struct effects *fx)
{
	if (c->state != SHARD_SERVING)
		return;
	const struct collection *wanted = map_collection(s, c->placement.collection);
	if (!wanted || wanted->version <= c->position.settings_version)
		return;
	for (uint64_t n = c->position.applied + 1; n <= c->position.last; n++) {
		struct change pending;
		struct pending *p = ring_at(&c->pending, n);
		if (schema_decode(&schema_change, p->change, &s->arena, &pending) &&
		    pending.kind == CHANGE_SETTINGS && pending.policy >= wanted->version)
			return;
	}
	struct buf encoded = {0};
	schema_encode(&schema_collection, wanted, &encoded);
	struct change change = {.kind = CHANGE_SETTINGS,
				.body = buf_slice(&encoded),
				.policy = wanted->version,
				.wall_ms = (uint64_t)s->wall_ms};
	stream_append_change(s, c, &change, fx);
	buf_close(&encoded);
}
