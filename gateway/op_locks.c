/* Locking, renewing, unlocking. */
#include <inttypes.h>
#include <stdio.h>

#include "common/doc/revision.h"
#include "common/doc/value.h"
#include "gateway/lock.h"
#include "gateway/native.h"
#include "gateway/routes.h"

struct acquire {
	struct msg_lock_acquire message;
	struct lock_parsed keys[LIMIT_LOCK_PATHS];
	uint32_t count;
	bool own_session; /* it belongs to the connection */
	bool named;       /* by an Idempotency-Key: it may be asked for again */
	bool sent;
	int64_t again_ms; /* from then on it is asked a second time */
	bool answered;
	uint32_t creating; /* index of the key whose collection is being made */
	struct msg_collection_create make;
};

/* ---- what is asked ---- */

static bool take_ms(struct slice value, const char *place, uint32_t max, const char *key,
		    uint64_t *out, struct problem *p)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	if (token.type != MP_UINT)
		return problem_detail(p, STATUS_WRONG_TYPE, place,
				      "Milliseconds: a whole number, not negative.");
	if (token.u64 > max) {
		problem_limit(p, STATUS_BAD_PARAMETER, key, max, token.u64);
		snprintf(p->place, sizeof p->place, "%s", place);
		return false;
	}
	*out = token.u64;
	return true;
}

static bool take_keys(struct request *r, struct acquire *op, struct slice array, const char *place,
		      struct problem *p)
{
	struct mp_reader reader = mp_reader_of(array);
	struct mp_token head = mp_read(&reader);
	char where[PLACE_BYTES];
	if (head.type != MP_ARRAY)
		return problem_detail(p, STATUS_WRONG_TYPE, place, "An array of keys.");
	if (head.count > LIMIT_LOCK_PATHS)
		return problem_limit(p, STATUS_BAD_PARAMETER, "keys", LIMIT_LOCK_PATHS, head.count);
	for (uint32_t i = 0; i < head.count; i++) {
		struct mp_token token = mp_read(&reader);
		snprintf(where, sizeof where, "%s/%u", place, (unsigned)i);
		if (token.type != MP_STR)
			return problem_detail(p, STATUS_WRONG_TYPE, where, "A key is a string.");
		if (!lock_key_parse(r, token.bytes, where, &op->keys[op->count++], p))
			return false;
	}
	return true;
}

static bool take_session(struct slice value, struct acquire *op, struct problem *p)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	op->own_session = token.type == MP_STR && slice_is(token.bytes, "connection");
	return op->own_session || token.type == MP_NIL ||
	       problem_detail(p, STATUS_BAD_PARAMETER, "/session", "connection, or left out.");
}

static bool take_member(struct turn *t, struct request *r, struct slice name, struct slice value,
			struct problem *p)
{
	const struct gateway_limits *limits = &t->gw->options.limits;
	struct acquire *op = r->op;
	if (slice_is(name, "keys"))
		return take_keys(r, op, value, "/keys", p);
	if (slice_is(name, "session"))
		return take_session(value, op, p);
	if (slice_is(name, "ttlMs"))
		return take_ms(value, "/ttlMs", limits->lock_ttl_max_ms, "max_lock_ttl_ms",
			       &op->message.ttl_ms, p);
	if (slice_is(name, "waitMs"))
		return take_ms(value, "/waitMs", limits->lock_wait_max_ms, "max_lock_wait_ms",
			       &op->message.wait_ms, p);
	char place[PLACE_BYTES];
	snprintf(place, sizeof place, "/%.*s",
		 (int)(name.len < PLACE_BYTES ? name.len : PLACE_BYTES), (const char *)name.data);
	return problem_detail(p, STATUS_BAD_PARAMETER, place,
			      "Members are keys, ttlMs, waitMs, session.");
}

static bool take_body(struct turn *t, struct request *r, struct problem *p)
{
	struct slice body;
	if (!native_body(t, r, &body, p))
		return false;
	struct mp_reader reader = mp_reader_of(body);
	if (mp_peek(&reader) == MP_ARRAY)
		return take_keys(r, r->op, body, "", p);
	struct mp_token head = mp_read(&reader);
	if (head.type != MP_MAP || value_member(body, slice_text("keys")).len == 0)
		return problem_detail(p, STATUS_WRONG_TYPE, "",
				      "An array of keys, or an object with keys.");
	for (uint32_t i = 0; i < head.count; i++) {
		struct mp_token name = mp_read(&reader);
		if (name.type != MP_STR || !take_member(t, r, name.bytes, mp_value(&reader), p))
			return false;
	}
	return true;
}

/* From Idempotency-Key, so that a retry finds the lock of the first try, or random. Two clients
 * that hit on the same key have two locks. */
static bool choose_id(struct turn *t, struct request *r, struct acquire *op, struct problem *p)
{
	struct native_operation operation;
	uint8_t *id = arena_alloc(&r->arena, LOCK_ID_BYTES);
	if (!native_operation(t, r, &operation, p))
		return false;
	op->named = operation.key.len > 0;
	if (op->named) {
		struct buf text = {0};
		buf_append_text(&text, "lock");
		buf_append_slice(&text, r->http->principal);
		buf_append_byte(&text, 0);
		buf_append_slice(&text, operation.key);
		digest16(buf_slice(&text), id);
		buf_close(&text);
	} else {
		rng_fill(&t->gw->rng, id, LOCK_ID_BYTES);
	}
	id[6] = (uint8_t)((id[6] & 0x0f) | 0x40);
	id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
	op->message.id = slice_of(id, LOCK_ID_BYTES);
	return true;
}

static bool join_session(struct turn *t, struct request *r, struct acquire *op, struct problem *p)
{
	if (!op->own_session) {
		if (op->message.ttl_ms == 0) /* a lease of its own must end */
			op->message.ttl_ms = t->gw->options.limits.lock_ttl_ms;
		return true;
	}
	if (r->http->connection == 0)
		return problem_detail(p, STATUS_BAD_PARAMETER, "/session",
				      "This connection can't hold a session.");
	struct slice session = lock_session(t->gw, r->http->connection);
	if (session.len == 0)
		return problem_limit(p, STATUS_LIMIT_REACHED, "sessions", LOCK_SESSIONS_MAX,
				     LOCK_SESSIONS_MAX + 1);
	op->message.session = arena_copy(&r->arena, session);
	return true;
}

/* ---- asking ---- */

static void answer_lock(struct turn *t, struct request *r, const struct msg_lock_acquire_ack *ack)
{
	const struct acquire *op = r->op;
	struct reply *reply = reply_begin(t, 200);
	buf_append_text(&reply->body, "{\"id\":\"");
	lock_id_print(ack->id, &reply->body);
	buf_printf(&reply->body, "\",\"token\":%" PRIu64 ",\"ttlMs\":%" PRIu64 "}", ack->token,
		   ack->ttl_ms);
	reply->tell_if_lost = !op->named;
	if (reply->tell_if_lost)
		lock_answered(t->gw, r->id, op->message.id);
	reply_send(t, r, reply);
}

static void acquired(struct turn *t, struct request *r, uint32_t index, enum status status,
		     const void *body)
{
	const struct msg_lock_acquire_ack *ack = body;
	struct acquire *op = r->op;
	struct problem problem;
	(void)index;
	/* who is refused is forgotten: a copy that comes after that would get the lock for nobody
	 */
	bool copied = status != STATUS_OK && t->now_ms >= op->again_ms;
	op->answered = ack != NULL;
	if ((!ack || copied) && !op->named)
		lock_abandon(t, op->message.id);
	if (ack && status == STATUS_OK) {
		answer_lock(t, r, ack);
		return;
	}
	problem_set(&problem, status, "");
	if (ack && ack->text.len > 0)
		snprintf(problem.detail, sizeof problem.detail, "%.*s",
			 (int)(ack->text.len < PLACE_BYTES ? ack->text.len : PLACE_BYTES - 1),
			 (const char *)ack->text.data);
	answer_problem(t, r, &problem);
}

/* Its client went away: nobody could unlock it. One that it gave a name to is left to its next try;
 * who does not come is forgotten by the coordinator. */
static void acquire_gone(struct turn *t, struct request *r)
{
	const struct acquire *op = r->op;
	if (op->sent && !op->answered && !op->named)
		lock_abandon(t, op->message.id);
}

static void acquire_send(struct turn *t, struct request *r)
{
	struct acquire *op = r->op;
	struct msg_lock_acquire *m = &op->message;
	m->keys = arena_alloc(&r->arena, (op->count + 1) * sizeof *m->keys);
	for (uint32_t i = 0; i < op->count; i++)
		m->keys[m->keys_count++] = op->keys[i].key;
	struct call_spec spec = {
	    .reach = REACH_COORDINATOR,
	    .type = MSG_lock_acquire,
	    .answer = MSG_lock_acquire_ack,
	    .message = m,
	    .repeatable = true,
	    .done = acquired,
	};
	if (m->wait_ms > 0 && !lock_wait_begin(t, r)) {
		answer_status(t, r, STATUS_TOO_MANY_REQUESTS, "max_lock_waiters");
		return;
	}
	timers_set(&t->gw->timers, &r->deadline,
		   t->now_ms + (int64_t)m->wait_ms + t->gw->options.limits.deadline_ms);
	op->sent = true;
	op->again_ms = t->now_ms + CALL_COORDINATOR_MS;
	if (!call_open(t, r, &spec))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

static void collections_make(struct turn *t, struct request *r);

static void collection_made(struct turn *t, struct request *r, uint32_t index, enum status status,
			    const void *body)
{
	struct acquire *op = r->op;
	(void)index;
	/* another gateway may have made it with other settings: that is as good */
	if (!body || (!status_is_success(status) && status != STATUS_EXISTS)) {
		answer_status(t, r, status, "collection");
		return;
	}
	op->creating++;
	collections_make(t, r);
}

/* As by a write: a collection that is locked exists. */
static void collections_make(struct turn *t, struct request *r)
{
	struct acquire *op = r->op;
	for (; op->creating < op->count; op->creating++) {
		const struct lock_key *key = &op->keys[op->creating].key;
		if (key->advisory || cluster_map_collection(&t->gw->map, key->name))
			continue;
		op->make = (struct msg_collection_create){.collection = {.name = key->name}};
		collection_change(t, r, &op->make, collection_made);
		return;
	}
	acquire_send(t, r);
}

static void resolve(struct turn *t, struct request *r, uint32_t index, enum status status,
		    const void *body)
{
	struct acquire *op = r->op;
	struct problem problem;
	char place[32];
	(void)index;
	(void)status;
	(void)body;
	for (uint32_t i = 0; i < op->count; i++) {
		snprintf(place, sizeof place, "/keys/%u", (unsigned)i);
		if (!lock_key_resolve(t->gw, place, &op->keys[i], &problem)) {
			answer_problem(t, r, &problem);
			return;
		}
	}
	collections_make(t, r);
}

void native_lock(struct turn *t, struct request *r)
{
	struct acquire *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	bool dotted = false;
	*op = (struct acquire){.message = {.wait_ms = t->gw->options.limits.lock_wait_ms,
					   .owner = arena_copy(&r->arena, r->http->principal)}};
	if (op->message.owner.len > LIMIT_TEXT_BYTES)
		op->message.owner.len = LIMIT_TEXT_BYTES;
	r->op = op;
	r->gone = acquire_gone;
	if (!choose_id(t, r, op, &problem) || !take_body(t, r, &problem) ||
	    !join_session(t, r, op, &problem)) {
		answer_problem(t, r, &problem);
		return;
	}
	if (r->lock_fail)
		op->message.wait_ms = 0;
	for (uint32_t i = 0; i < op->count; i++)
		dotted |= op->keys[i].dotted;
	if (dotted)
		map_refresh(t, r, resolve);
	else
		collections_make(t, r);
}

/* ---- unlock ---- */

static void answer_unknown(struct turn *t, struct request *r)
{
	struct problem problem;
	problem_detail(&problem, STATUS_NOT_FOUND, "lock",
		       "No lock has this id: it has ended, or there never was one.");
	answer_problem(t, r, &problem);
}

static void released(struct turn *t, struct request *r, uint32_t index, enum status status,
		     const void *body)
{
	(void)index;
	if (status == STATUS_NOT_FOUND) {
		answer_unknown(t, r);
		return;
	}
	if (!body || status != STATUS_OK) {
		answer_status(t, r, status, "");
		return;
	}
	struct reply *reply = reply_begin(t, 200);
	buf_append_text(&reply->body, "{}");
	reply_send(t, r, reply);
}

void native_unlock(struct turn *t, struct request *r)
{
	struct msg_lock_release *m = arena_alloc(&r->arena, sizeof *m);
	uint8_t *id = arena_alloc(&r->arena, 2 * LOCK_ID_BYTES);
	if (!lock_id_parse(r->resource, id)) {
		answer_unknown(t, r);
		return;
	}
	rng_fill(&t->gw->rng, id + LOCK_ID_BYTES, LOCK_ID_BYTES);
	*m = (struct msg_lock_release){.id = slice_of(id, LOCK_ID_BYTES),
				       .request = slice_of(id + LOCK_ID_BYTES, LOCK_ID_BYTES)};
	struct call_spec spec = {
	    .reach = REACH_COORDINATOR,
	    .type = MSG_lock_release,
	    .answer = MSG_lock_release_ack,
	    .message = m,
	    .repeatable = true,
	    .done = released,
	};
	if (!call_open(t, r, &spec))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

/* ---- renew ---- */

static void renewed(struct turn *t, struct request *r, uint32_t index, enum status status,
		    const void *body)
{
	const struct msg_lock_renew_ack *ack = body;
	const struct msg_lock_renew *m = r->op;
	(void)index;
	if (ack && status == STATUS_OK && ack->unknown_count > 0) {
		answer_unknown(t, r);
		return;
	}
	if (!ack || status != STATUS_OK) {
		answer_status(t, r, status, "lock");
		return;
	}
	struct reply *reply = reply_begin(t, 200);
	buf_append_text(&reply->body, "{\"id\":\"");
	lock_id_print(m->ids[0], &reply->body);
	buf_printf(&reply->body, "\",\"ttlMs\":%" PRIu64 "}", ack->ttl_ms);
	reply_send(t, r, reply);
}

static bool take_renewal(struct turn *t, struct request *r, struct msg_lock_renew *m,
			 struct problem *p)
{
	struct slice body;
	if (r->http->body.len == 0)
		return true;
	if (!native_body(t, r, &body, p))
		return false;
	struct mp_reader reader = mp_reader_of(body);
	struct mp_token head = mp_read(&reader);
	struct slice ttl = value_member(body, slice_text("ttlMs"));
	if (head.type != MP_MAP || head.count > 1 || (head.count == 1 && ttl.len == 0))
		return problem_detail(p, STATUS_WRONG_TYPE, "",
				      "An object with ttlMs, or nothing.");
	return ttl.len == 0 || take_ms(ttl, "/ttlMs", t->gw->options.limits.lock_ttl_max_ms,
				       "max_lock_ttl_ms", &m->ttl_ms, p);
}

void native_lock_renew(struct turn *t, struct request *r)
{
	struct msg_lock_renew *m = arena_alloc(&r->arena, sizeof *m);
	uint8_t *id = arena_alloc(&r->arena, LOCK_ID_BYTES);
	struct problem problem;
	*m = (struct msg_lock_renew){.ids = arena_alloc(&r->arena, sizeof *m->ids), .ids_count = 1};
	m->ids[0] = slice_of(id, LOCK_ID_BYTES);
	r->op = m;
	if (!lock_id_parse(r->resource, id)) {
		answer_unknown(t, r);
		return;
	}
	if (!take_renewal(t, r, m, &problem)) {
		answer_problem(t, r, &problem);
		return;
	}
	struct call_spec spec = {
	    .reach = REACH_COORDINATOR,
	    .type = MSG_lock_renew,
	    .answer = MSG_lock_renew_ack,
	    .message = m,
	    .repeatable = true,
	    .done = renewed,
	};
	if (!call_open(t, r, &spec))
		answer_status(t, r, STATUS_OVERLOADED, "");
}
