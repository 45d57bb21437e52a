/* From waiting to held to gone: what is granted when, and what the leads of shards must settle for
 * it. */
#include "coordinator/drops.h"
#include "coordinator/lock_rows.h"
#include "coordinator/state.h"

static void log_row(const struct lock_row *row, const char *what, struct effects *fx)
{
	const uint8_t *id = row->record.id.data;
	fx_log(fx, LOG_LEVEL_INFO, "%s lock=%02x%02x%02x%02x token=%llu shards=%u", what, id[0],
	       id[1], id[2], id[3], (unsigned long long)row->record.token, row->shards_count);
}

void lock_answer_acquire(struct coordinator *c, struct lock_row *row, enum status status,
			 struct slice text, struct effects *fx)
{
	struct msg_lock_acquire_ack ack = {.status = status, .id = row->record.id, .text = text};
	struct envelope envelope = row->acquire.envelope;
	if (!row->acquire.wanted)
		return;
	row->acquire.wanted = false;
	envelope.type = MSG_lock_acquire_ack;
	if (status == STATUS_OK) {
		ack.token = row->record.token;
		ack.ttl_ms = row->record.ttl_ms;
	} else {
		c->locks->refused++;
	}
	fx_send(fx, WHEN_DURABLE, row->acquire.peer.member, row->acquire.peer.route, &envelope,
		&ack);
}

static void answer_releases(struct lock_row *row, struct effects *fx)
{
	struct msg_lock_release_ack ack = {.status = STATUS_OK, .id = row->record.id};
	for (uint32_t i = 0; i < row->releases; i++) {
		struct envelope envelope = row->release[i].envelope;
		envelope.type = MSG_lock_release_ack;
		fx_send(fx, WHEN_DURABLE, row->release[i].peer.member, row->release[i].peer.route,
			&envelope, &ack);
	}
}

/* ---- shards ---- */

/* The paths of the lock that lie in the shard. */
static void shard_paths(struct coordinator *c, const struct lock_row *row, const struct shard *s,
			struct shard_lock *out)
{
	out->paths = arena_alloc(&c->arena, (row->record.keys_count + 1) * sizeof *out->paths);
	for (uint32_t i = 0; i < row->record.keys_count; i++) {
		const struct lock_key *key = &row->record.keys[i];
		const struct collection *collection =
		    key->advisory ? NULL : state_collection(c, key->name);
		if (collection && collection->id == s->collection)
			out->paths[out->paths_count++] = key->path;
	}
}

static void send_set(struct coordinator *c, struct lock_row *row, struct lock_shard *to,
		     struct effects *fx)
{
	const struct shard_row *shard = coordinator_shard_row(c, to->id);
	if (!shard || shard->placement.shard.lead == 0)
		return;
	const struct shard *s = &shard->placement.shard;
	if (to->epoch == s->epoch && c->now_ms - to->sent_ms < LOCK_RESEND_MS)
		return;
	struct msg_lock_set m = {.shard = to->id, .release = row->state == LOCK_RELEASING};
	m.lock = (struct shard_lock){.id = row->record.id, .token = row->record.token};
	if (!m.release)
		shard_paths(c, row, s, &m.lock);
	struct envelope envelope = {.type = MSG_lock_set, .epoch = s->epoch};
	fx_send(fx, WHEN_DURABLE, s->lead, 0, &envelope, &m);
	to->epoch = s->epoch;
	to->sent_ms = c->now_ms;
}

static void send_sets(struct coordinator *c, struct lock_row *row, struct effects *fx)
{
	for (uint32_t i = 0; i < row->shards_count; i++) {
		struct lock_shard *to = &row->shards[i];
		/* a dropped shard has no locks any more; the next tick counts it */
		if (!to->settled && drops_has(c, to->id) && row->state == LOCK_RELEASING) {
			to->settled = true;
			row->unsettled--;
		}
	}
	for (uint32_t i = 0; i < row->shards_count; i++)
		if (!row->shards[i].settled)
			send_set(c, row, &row->shards[i], fx);
}

/* All shards are to be told of the row's new state or token. */
static void tell_shards(struct coordinator *c, struct lock_row *row, struct effects *fx)
{
	row->unsettled = row->shards_count;
	for (uint32_t i = 0; i < row->shards_count; i++)
		row->shards[i] = (struct lock_shard){.id = row->shards[i].id};
	lock_row_put(c, row, fx);
	send_sets(c, row, fx);
}

/* So that a late question does not lock again, nor a release that comes twice find nothing. */
static void note_ended(struct coordinator *c, const struct lock_row *row)
{
	lock_ended_add(c, row->record.id,
		       row->releases ? slice_of(row->release[0].request, LOCK_ID_BYTES)
				     : slice_of(NULL, 0));
}

/* All of them have settled it. */
static void settled(struct coordinator *c, struct lock_row *row, struct effects *fx)
{
	if (row->state == LOCK_GRANTING) {
		row->state = LOCK_HELD;
		lock_row_renew(c, row);
		c->locks->granted++;
		log_row(row, "lock_held", fx);
		lock_answer_acquire(c, row, STATUS_OK, slice_of(NULL, 0), fx);
		return;
	}
	log_row(row, "lock_released", fx);
	lock_row_remove(c, row, fx);
	answer_releases(row, fx);
	note_ended(c, row);
	lock_row_drop(c, row);
}

/* False: it can't be had, and is gone. */
static bool begin_grant(struct coordinator *c, struct lock_row *row, struct effects *fx)
{
	enum status why = STATUS_DISK_FULL;
	if (c->disk_full || !lock_row_shards(c, row, &why)) {
		lock_answer_acquire(c, row, why, slice_of(NULL, 0), fx);
		lock_row_drop(c, row);
		return false;
	}
	row->record.token = ++c->state.token;
	row->record.since_ms = c->wall_ms > 0 ? (uint64_t)c->wall_ms : 0;
	row->state = LOCK_GRANTING;
	lock_row_renew(c, row);
	tell_shards(c, row, fx);
	if (row->unsettled == 0)
		settled(c, row, fx);
	return true;
}

void lock_begin_release(struct coordinator *c, struct lock_row *row, struct effects *fx)
{
	if (row->state == LOCK_RELEASING)
		return;
	lock_answer_acquire(c, row, STATUS_LOCK_LOST, slice_of(NULL, 0), fx);
	if (row->state == LOCK_WAITING) {
		answer_releases(row, fx);
		note_ended(c, row);
		lock_row_drop(c, row);
		return;
	}
	row->record.releasing = true;
	row->state = LOCK_RELEASING;
	tell_shards(c, row, fx);
	if (row->unsettled == 0)
		settled(c, row, fx);
}

static bool has_dropped(const struct coordinator *c, const struct lock_row *row)
{
	for (uint32_t i = 0; i < row->shards_count; i++)
		if (drops_has(c, row->shards[i].id))
			return true;
	return false;
}

/* What comes under the name of a dropped collection is another one, whose leads know nothing of the
 * lock. */
static void end_dropped(struct coordinator *c, struct effects *fx)
{
	struct lock_row *next;
	if (c->locks->drops_seen == c->drops_count)
		return;
	c->locks->drops_seen = c->drops_count;
	for (struct lock_row *row = c->locks->first; row; row = next) {
		next = row->next;
		if (row->state == LOCK_WAITING || row->state == LOCK_RELEASING ||
		    !has_dropped(c, row))
			continue;
		log_row(row, "lock_of_dropped", fx);
		lock_begin_release(c, row, fx);
	}
}

/* ---- answers of shards ---- */

/* A lock that this coordinator never gave, or that its lost disk knew. */
static void release_stray(const struct event *e, struct effects *fx)
{
	const struct msg_lock_set_ack *m = e->message.body;
	if (m->release || m->status != STATUS_OK || m->id.len != LOCK_ID_BYTES)
		return;
	struct msg_lock_set release = {
	    .shard = m->shard, .lock = {.id = m->id, .token = m->token}, .release = true};
	struct envelope envelope = {.type = MSG_lock_set, .epoch = e->message.envelope.epoch};
	fx_send(fx, WHEN_DURABLE, e->message.from.member, e->message.from.route, &envelope,
		&release);
}

/* The shard has seen a greater token. A grant that nobody knows of gets another one, if there is
 * one; any other is no lock any more. */
static void passed(struct coordinator *c, struct lock_row *row, bool beyond, struct effects *fx)
{
	if (row->loaded || beyond) {
		log_row(row, "lock_lost", fx);
		lock_begin_release(c, row, fx);
		return;
	}
	row->record.token = ++c->state.token;
	tell_shards(c, row, fx);
}

static struct lock_shard *shard_of(struct lock_row *row, uint64_t id)
{
	for (uint32_t i = 0; i < row->shards_count; i++)
		if (row->shards[i].id == id)
			return &row->shards[i];
	return NULL;
}

void lock_on_set_ack(struct coordinator *c, const struct event *e, struct effects *fx)
{
	const struct msg_lock_set_ack *m = e->message.body;
	if (c->recovery != RECOVERY_DONE)
		return;
	bool beyond = m->greatest > COUNTER_MAX;     /* damage */
	if (m->greatest > c->state.token && !beyond) /* durable with the next grant */
		c->state.token = m->greatest;
	struct lock_row *row = lock_row_find(c, m->id);
	if (!row) {
		release_stray(e, fx);
		return;
	}
	struct lock_shard *shard = shard_of(row, m->shard);
	bool grants = row->state == LOCK_GRANTING && !m->release;
	bool releases = row->state == LOCK_RELEASING && m->release;
	if (!shard || shard->settled || m->token != row->record.token || (!grants && !releases))
		return;
	if (m->status == STATUS_LOCK_LOST && grants) {
		passed(c, row, beyond, fx);
	} else if (m->status == STATUS_OK) {
		shard->settled = true;
		if (--row->unsettled == 0)
			settled(c, row, fx);
	}
}

/* ---- time ---- */

void lock_slept(struct coordinator *c, int64_t ms)
{
	size_t at = 0;
	for (struct lock_row *row = c->locks->first; row; row = row->next) {
		row->expires_ms += ms;
		row->heard_ms += ms;
	}
	for (struct map_entry *e; (e = map_next(&c->locks->sessions, &at));)
		((struct lock_session *)e->value)->seen_ms += ms;
}

void lock_start(struct coordinator *c)
{
	for (struct lock_row *row = c->locks->first; row; row = row->next)
		lock_row_renew(c, row);
}

static void tick_waiting(struct coordinator *c, struct lock_row *row, struct effects *fx)
{
	bool silent = c->now_ms - row->heard_ms >= LOCK_SILENT_MS;
	/* What came in this very turn is looked at at its end, and refused there if need be. */
	if (!silent && (c->locks->dirty || c->now_ms < row->wait_until_ms))
		return;
	lock_answer_acquire(c, row, STATUS_LOCKED,
			    slice_text("Others were first, and it was not waited longer."), fx);
	lock_row_drop(c, row);
}

void lock_review_time(struct coordinator *c, struct effects *fx)
{
	struct lock_row *next;
	if (c->recovery != RECOVERY_DONE) {
		lock_start(c); /* while it does not decide, nobody can renew */
		return;
	}
	for (struct lock_row *row = c->locks->first; row; row = next) {
		next = row->next;
		if (row->state == LOCK_WAITING) {
			tick_waiting(c, row, fx);
		} else if (row->state != LOCK_RELEASING && lock_row_expired(c, row)) {
			log_row(row, "lock_expired", fx);
			c->locks->expired++;
			lock_begin_release(c, row, fx);
		} else if (row->unsettled > 0) {
			send_sets(c, row, fx);
		} else if (row->state != LOCK_HELD) {
			settled(c, row, fx); /* as loaded, without any shard */
		}
	}
}

static void review_waiting(struct coordinator *c, struct lock_row *row, struct effects *fx)
{
	const struct lock_key *taken = lock_claims_overlap(c->locks, &row->record);
	if (taken && c->now_ms >= row->wait_until_ms) {
		struct buf text = {0};
		lock_key_print(taken, &text);
		struct slice key = buf_slice(&text);
		if (key.len > LIMIT_TEXT_BYTES)
			key.len = LIMIT_TEXT_BYTES;
		lock_answer_acquire(c, row, STATUS_LOCKED, key, fx);
		buf_close(&text);
		lock_row_drop(c, row);
		return;
	}
	if (taken || begin_grant(c, row, fx))
		lock_claims_add(c->locks, &row->record);
}

void lock_turn(struct coordinator *c, struct effects *fx)
{
	struct locks *l = c->locks;
	struct lock_row *next;
	if (c->recovery != RECOVERY_DONE)
		return;
	end_dropped(c, fx);
	if (!l->dirty)
		return;
	l->dirty = false;
	lock_claims_clear(l);
	for (struct lock_row *row = l->first; row; row = row->next)
		if (row->state != LOCK_WAITING)
			lock_claims_add(l, &row->record);
	for (struct lock_row *row = l->first; row; row = next) {
		next = row->next;
		if (row->state == LOCK_WAITING)
			review_waiting(c, row, fx);
	}
	lock_claims_clear(l);
}
