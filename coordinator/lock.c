/* What gateways ask: acquire, release, renew. */
#include "common/probe.h"
#include "coordinator/collections.h"
#include "coordinator/lock_rows.h"

/* ---- acquire ---- */

static void refuse(const struct event *e, enum status status, struct effects *fx)
{
	const struct msg_lock_acquire *m = e->message.body;
	struct msg_lock_acquire_ack ack = {.status = status, .id = m->id};
	fx_reply(fx, WHEN_DURABLE, e, MSG_lock_acquire_ack, &ack);
}

/* Names with a dot between each two; empty is the whole document. */
static bool field_valid(struct slice field)
{
	uint8_t before = '.';
	for (size_t i = 0; i < field.len; i++) {
		if (field.data[i] == '.' && before == '.')
			return false;
		before = field.data[i];
	}
	return field.len == 0 || before != '.';
}

static bool keys_valid(const struct msg_lock_acquire *m)
{
	for (uint32_t i = 0; i < m->keys_count; i++) {
		const struct lock_key *key = &m->keys[i];
		bool path = key->path.document.len > 0 || key->path.field.len > 0;
		if (key->advisory ? path || key->name.len == 0 : !collections_name_valid(key->name))
			return false;
		if (key->path.field.len > 0 && key->path.document.len == 0)
			return false;
		if (!field_valid(key->path.field))
			return false;
	}
	return true;
}

static bool same_keys(const struct lock_row *row, const struct msg_lock_acquire *m)
{
	struct lock_record asked = {
	    .id = row->record.id, .keys = m->keys, .keys_count = m->keys_count};
	struct lock_record has = {
	    .id = row->record.id, .keys = row->record.keys, .keys_count = row->record.keys_count};
	return schema_same(&schema_lock_record, &asked, &has);
}

static void note_asker(struct coordinator *c, struct lock_row *row, const struct event *e)
{
	row->acquire = (struct lock_asker){
	    .peer = e->message.from, .envelope = e->message.envelope, .wanted = true};
	row->heard_ms = c->now_ms;
}

static bool session_ended(const struct coordinator *c, const struct msg_lock_acquire *m)
{
	return m->session.len == LOCK_ID_BYTES && lock_ended_find(c, m->session);
}

/* Who asks over another connection has lost the one before, or the gateway that had it: the lock is
 * to last as long as the one that is answered. */
static void acquire_again(struct coordinator *c, struct lock_row *row, const struct event *e,
			  struct effects *fx)
{
	const struct msg_lock_acquire *m = e->message.body;
	if (!same_keys(row, m)) {
		refuse(e, STATUS_OPERATION_ID_REUSED, fx);
		return;
	}
	if (row->state == LOCK_RELEASING || session_ended(c, m)) {
		refuse(e, STATUS_LOCK_LOST, fx);
		return;
	}
	if (m->session.len > 0 && !slice_equal(m->session, row->record.session)) {
		lock_row_move(c, row, m->session);
		if (row->state != LOCK_WAITING)
			lock_row_put(c, row, fx);
	}
	note_asker(c, row, e);
	if (row->state == LOCK_HELD)
		lock_answer_acquire(c, row, STATUS_OK, slice_of(NULL, 0), fx);
}

static uint64_t at_most(uint64_t value, uint64_t max)
{
	return value < max ? value : max;
}

static bool owner_has_all(const struct coordinator *c, const struct msg_lock_acquire *m)
{
	const struct lock_owner *owner = lock_owner_find(c, m->owner);
	return owner && (owner->locks >= LOCK_OWNER_LOCKS ||
			 owner->paths + m->keys_count > LOCK_OWNER_PATHS);
}

static void acquire_first(struct coordinator *c, const struct event *e, struct effects *fx)
{
	const struct msg_lock_acquire *m = e->message.body;
	enum status status = STATUS_OK;
	if (lock_ended_find(c, m->id) || session_ended(c, m))
		status = STATUS_LOCK_LOST;
	else if (owner_has_all(c, m))
		status = STATUS_TOO_MANY_LOCKS;
	else if (c->locks->by_id.count >= LIMIT_LOCKS)
		status = STATUS_LIMIT_REACHED;
	if (status != STATUS_OK) {
		refuse(e, status, fx);
		return;
	}
	uint64_t ttl = at_most(m->ttl_ms, LOCK_TTL_MAX_MS);
	struct lock_record record = {.id = m->id,
				     .keys = m->keys,
				     .keys_count = m->keys_count,
				     .ttl_ms = ttl || m->session.len ? ttl : LOCK_TTL_MS,
				     .session = m->session,
				     .owner = m->owner,
				     .since_ms = c->wall_ms > 0 ? (uint64_t)c->wall_ms : 0};
	struct lock_row *row = lock_row_add(c, &record);
	row->wait_until_ms = c->now_ms + (int64_t)at_most(m->wait_ms, LOCK_WAIT_MAX_MS);
	note_asker(c, row, e);
}

void lock_on_acquire(struct coordinator *c, const struct event *e, struct effects *fx)
{
	const struct msg_lock_acquire *m = e->message.body;
	enum status status = coordinator_decides(c);
	bool valid = m->id.len == LOCK_ID_BYTES &&
		     (m->session.len == 0 || m->session.len == LOCK_ID_BYTES) && keys_valid(m);
	if (status == STATUS_OK && !valid)
		status = STATUS_BAD_MESSAGE;
	struct lock_row *row = lock_row_find(c, m->id);
	if (status != STATUS_OK)
		refuse(e, status, fx);
	else if (row)
		acquire_again(c, row, e, fx);
	else
		acquire_first(c, e, fx);
}

/* ---- release ---- */

static void answer_release(const struct event *e, enum status status, struct effects *fx)
{
	const struct msg_lock_release *m = e->message.body;
	struct msg_lock_release_ack ack = {.status = status, .id = m->id};
	fx_reply(fx, WHEN_DURABLE, e, MSG_lock_release_ack, &ack);
}

static bool released_by_this(const struct coordinator *c, const struct msg_lock_release *m)
{
	const struct lock_ended *ended = lock_ended_find(c, m->id);
	return ended && slice_equal(slice_of(ended->request, sizeof ended->request), m->request);
}

void lock_on_release(struct coordinator *c, const struct event *e, struct effects *fx)
{
	const struct msg_lock_release *m = e->message.body;
	enum status status = coordinator_decides(c);
	struct lock_row *row = lock_row_find(c, m->id);
	if (status == STATUS_OK && !row) {
		status = released_by_this(c, m) ? STATUS_OK : STATUS_NOT_FOUND;
		/* given up by its gateway; what still comes for it comes late */
		if (m->request.len == 0 && m->id.len == LOCK_ID_BYTES && !lock_ended_find(c, m->id))
			lock_ended_add(c, m->id, m->request);
	}
	if (status != STATUS_OK || !row) {
		answer_release(e, status, fx);
		return;
	}
	if (row->releases < BOUND(lock_askers, LOCK_ASKERS_MAX)) {
		struct lock_asker *asker = &row->release[row->releases++];
		*asker =
		    (struct lock_asker){.peer = e->message.from, .envelope = e->message.envelope};
		if (m->request.len == sizeof asker->request)
			memcpy(asker->request, m->request.data, sizeof asker->request);
	}
	lock_begin_release(c, row, fx);
}

/* ---- renew ---- */

static bool renew_lock(struct coordinator *c, struct slice id, uint64_t ttl_ms, uint64_t *in_force,
		       struct effects *fx)
{
	struct lock_row *row = lock_row_find(c, id);
	if (!row || row->state == LOCK_RELEASING)
		return false;
	uint64_t ttl = at_most(ttl_ms, LOCK_TTL_MAX_MS);
	bool changed = ttl > 0 && ttl != row->record.ttl_ms;
	if (changed)
		row->record.ttl_ms = ttl;
	if (changed && row->state != LOCK_WAITING)
		lock_row_put(c, row, fx);
	lock_row_renew(c, row);
	*in_force = row->record.ttl_ms;
	return true;
}

static bool renew_session(struct coordinator *c, struct slice id)
{
	struct lock_session *session = map_get(&c->locks->sessions, id);
	if (session)
		session->seen_ms = c->now_ms;
	return session != NULL;
}

static void end_session(struct coordinator *c, struct slice id, struct effects *fx)
{
	struct lock_row *next;
	if (id.len != LOCK_ID_BYTES || lock_ended_find(c, id))
		return;
	/* a lock of it that comes late finds that it is over */
	lock_ended_add(c, id, slice_of(NULL, 0));
	for (struct lock_row *row = c->locks->first; row; row = next) {
		next = row->next;
		if (slice_equal(row->record.session, id))
			lock_begin_release(c, row, fx);
	}
}

void lock_on_renew(struct coordinator *c, const struct event *e, struct effects *fx)
{
	const struct msg_lock_renew *m = e->message.body;
	struct msg_lock_renew_ack ack = {.status = coordinator_decides(c)};
	uint32_t most = m->ids_count + m->sessions_count;
	ack.unknown = arena_alloc(&c->arena, (most + 1) * sizeof *ack.unknown);
	for (uint32_t i = 0; ack.status == STATUS_OK && i < m->ended_count; i++)
		end_session(c, m->ended[i], fx);
	for (uint32_t i = 0; ack.status == STATUS_OK && i < m->ids_count; i++)
		if (!renew_lock(c, m->ids[i], m->ttl_ms, &ack.ttl_ms, fx) &&
		    ack.unknown_count < LIMIT_LOCKS)
			ack.unknown[ack.unknown_count++] = m->ids[i];
	for (uint32_t i = 0; ack.status == STATUS_OK && i < m->sessions_count; i++)
		if (!renew_session(c, m->sessions[i]) && ack.unknown_count < LIMIT_LOCKS)
			ack.unknown[ack.unknown_count++] = m->sessions[i];
	fx_reply(fx, WHEN_DURABLE, e, MSG_lock_renew_ack, &ack);
}
