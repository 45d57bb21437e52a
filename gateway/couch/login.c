/* Passwords. scrypt is slow on purpose, so what it said is remembered: under a code of name,
 * password and the hash in the user's document, so that another password in the document makes it
 * void. A name that nobody has takes as long as a wrong password. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/mac.h"
#include "common/base/memory.h"
#include "common/doc/value.h"
#include "gateway/couch/auth_private.h"

enum {
	ATTEMPTS_MAX = 8192,
	VERIFIED_MAX = 8192,
	VERIFIED_MS = 600000,
	HASHING_MAX = 64,
	WINDOW_MS = 300000,
	ADDRESS_TIMES = 10 /* many may share an address */
};

struct attempts {
	uint32_t count;
	int64_t end_ms;
};

struct login {
	struct slice name;
	struct slice password;
	struct slice address;
	couch_login_done *done;
	void *op; /* of the request */
	bool there;
	struct couch_user user;
	uint8_t code[MAC_BYTES];
};

/* ---- users' documents ---- */

static bool read_hex(struct slice text, uint8_t *out, size_t bytes)
{
	static const char digits[] = "0123456789abcdef";
	if (text.len != 2 * bytes)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		const char *at = text.data[i] ? strchr(digits, text.data[i]) : NULL;
		if (!at)
			return false;
		out[i / 2] = (uint8_t)(out[i / 2] << 4 | (at - digits));
	}
	return true;
}

static struct mp_token member(struct slice body, const char *name)
{
	struct mp_reader reader = mp_reader_of(value_member(body, slice_text(name)));
	return mp_read(&reader);
}

bool couch_user_parse(struct request *r, struct slice name, const struct couch_known *known,
		      struct couch_user *out)
{
	struct slice body = known->body;
	struct text_list roles;
	*out = (struct couch_user){.name = name};
	if (!known->there ||
	    !native_text_list(r, arena_copy(&r->arena, value_member(body, slice_text("roles"))),
			      COUCH_ROLES_MAX, COUCH_NAME_BYTES, &roles))
		return false;
	out->roles = roles.texts;
	out->roles_count = roles.count;
	out->revision = known->revision;
	out->revision.hash = arena_copy(&r->arena, known->revision.hash);
	struct mp_token type = member(body, "type");
	struct mp_token named = member(body, "name");
	struct mp_token scheme = member(body, "password_scheme");
	struct mp_token cost = member(body, "cost");
	struct mp_token salt = member(body, "salt");
	struct mp_token hash = member(body, "derived_key");
	if (type.type != MP_STR || !slice_is(type.bytes, "user") || named.type != MP_STR ||
	    !slice_equal(named.bytes, name) || scheme.type != MP_STR ||
	    !slice_is(scheme.bytes, "scrypt") || salt.type != MP_STR || hash.type != MP_STR ||
	    cost.type != MP_UINT)
		return false;
	out->salt = arena_copy(&r->arena, salt.bytes);
	out->cost = (uint32_t)cost.u64;
	return salt.bytes.len <= COUCH_SALT_BYTES && cost.u64 >= 2 &&
	       cost.u64 <= PASSWORD_COST_MAX && (cost.u64 & (cost.u64 - 1)) == 0 &&
	       read_hex(hash.bytes, out->hash, sizeof out->hash);
}

/* ---- who tries too often ---- */

static struct attempts *attempts_of(struct turn *t, uint8_t kind, struct slice who)
{
	struct couch_auth *auth = t->gw->auth;
	buf_clear(&auth->scratch);
	buf_append_byte(&auth->scratch, kind);
	buf_append_slice(&auth->scratch, who);
	struct attempts *a = map_get(&auth->attempts, buf_slice(&auth->scratch));
	if (!a) {
		couch_bound(&auth->attempts, ATTEMPTS_MAX);
		a = mem_alloc_zero(sizeof *a);
		(void)map_put(&auth->attempts, buf_slice(&auth->scratch), a);
	}
	if (t->now_ms >= a->end_ms)
		*a = (struct attempts){.end_ms = t->now_ms + WINDOW_MS};
	return a;
}

static void answer_limited(struct turn *t, struct request *r, int64_t wait_ms)
{
	struct problem p;
	char seconds[24];
	couch_problem(&p, COUCH_LOGINS_MANY, "");
	snprintf(seconds, sizeof seconds, "%" PRId64, (wait_ms + 999) / 1000);
	struct reply *reply = reply_begin(t, couch_http(&p));
	couch_error_print(&p, &reply->body);
	reply_header(r, reply, "Retry-After", slice_text(seconds));
	t->gw->auth->logins[LOGIN_LIMITED]++;
	reply_send(t, r, reply);
}

/* Each try counts until it has proved good, so that many at once are no way around. The first entry
 * may go to make room for the second: so they are looked at one by one. */
static bool attempt(struct turn *t, struct request *r, const struct login *op)
{
	uint32_t tries = t->gw->options.limits.couch_tries_max;
	struct attempts *a = attempts_of(t, 'a', op->address);
	if (a->count >= tries * ADDRESS_TIMES) {
		answer_limited(t, r, a->end_ms - t->now_ms);
		return false;
	}
	a->count++;
	struct attempts *n = attempts_of(t, 'n', op->name);
	if (n->count >= tries) {
		answer_limited(t, r, n->end_ms - t->now_ms);
		return false;
	}
	n->count++;
	return true;
}

static void take_back(struct turn *t, const struct login *op)
{
	struct attempts *a = attempts_of(t, 'a', op->address);
	a->count -= a->count > 0;
	a = attempts_of(t, 'n', op->name);
	a->count -= a->count > 0;
}

/* ---- hashing ---- */

void couch_hash(struct turn *t, struct request *r, const struct password_request *request,
		couch_hashed *done)
{
	struct couch_auth *auth = t->gw->auth;
	struct password_request asked = *request;
	if (auth->hashing >= HASHING_MAX || !request_keep(t->gw, r)) {
		answer_status(t, r, STATUS_OVERLOADED, "");
		return;
	}
	auth->hashing++;
	auth->hashes++;
	asked.id = r->id;
	r->couch.hashed = done;
	fx_password(t->fx, &asked);
}

void couch_password_event(struct turn *t)
{
	const struct password_reply *reply = t->event->password;
	struct request *r = map_get_u64(&t->gw->requests, reply->id);
	t->gw->auth->hashing--;
	if (!r || !r->couch.hashed)
		return;
	couch_hashed *done = r->couch.hashed;
	r->couch.hashed = NULL;
	if (reply->failed)
		answer_status(t, r, STATUS_OVERLOADED, "");
	else
		done(t, r, reply);
}

/* ---- logging in ---- */

/* Length before bytes: no two triples read the same. */
static void fill_code(struct gateway *gw, struct login *op)
{
	struct buf *all = &gw->auth->scratch;
	buf_clear(all);
	buf_append_be32(all, (uint32_t)op->name.len);
	buf_append_slice(all, op->name);
	buf_append_be32(all, (uint32_t)op->password.len);
	buf_append_slice(all, op->password);
	buf_append_slice(all, op->user.salt);
	buf_append(all, op->user.hash, sizeof op->user.hash);
	mac_sha256(gw->auth->secrets[0], buf_slice(all), op->code);
	explicit_bzero(all->data, all->len);
}

static bool is_verified(struct turn *t, const struct login *op)
{
	const int64_t *until_ms =
	    map_get(&t->gw->auth->verified, slice_of(op->code, sizeof op->code));
	return until_ms && t->now_ms < *until_ms;
}

static void remember_verified(struct turn *t, const struct login *op)
{
	struct map *verified = &t->gw->auth->verified;
	int64_t *until_ms = mem_alloc(sizeof *until_ms);
	*until_ms = t->now_ms + VERIFIED_MS;
	couch_bound(verified, VERIFIED_MAX);
	free(map_put(verified, slice_of(op->code, sizeof op->code), until_ms));
}

void couch_login_expect(struct turn *t, struct slice name, struct slice password,
			const struct couch_user *user)
{
	struct login op = {.name = name, .password = password, .user = *user};
	fill_code(t->gw, &op);
	remember_verified(t, &op);
}

static void finish(struct turn *t, struct request *r, struct login *op, bool good)
{
	r->op = op->op;
	op->user.by = "default";
	op->done(t, r, good ? &op->user : NULL);
}

static void have_hash(struct turn *t, struct request *r, const struct password_reply *reply)
{
	struct login *op = r->op;
	bool good = op->there && mac_equal(reply->hash, op->user.hash);
	if (good) {
		take_back(t, op);
		remember_verified(t, op);
	}
	t->gw->auth->logins[good ? LOGIN_OK : LOGIN_WRONG]++;
	finish(t, r, op, good);
}

static void have_user(struct turn *t, struct request *r, const struct couch_known *known)
{
	struct login *op = r->op;
	op->there = couch_user_parse(r, op->name, known, &op->user);
	if (!op->there)
		op->user = (struct couch_user){.salt = slice_text("nobody"), .cost = PASSWORD_COST};
	fill_code(t->gw, op);
	if (op->there && is_verified(t, op)) {
		finish(t, r, op, true);
		return;
	}
	if (!attempt(t, r, op))
		return;
	struct password_request request = {
	    .cost = op->user.cost, .password = op->password, .salt = op->user.salt};
	couch_hash(t, r, &request, have_hash);
}

void couch_login(struct turn *t, struct request *r, struct slice name, struct slice password,
		 couch_login_done *done)
{
	struct login *op = arena_alloc(&r->arena, sizeof *op);
	struct buf id = {0};
	*op = (struct login){.name = name,
			     .password = password,
			     .address = arena_copy(&r->arena, r->http->address),
			     .done = done,
			     .op = r->op};
	r->op = op;
	buf_append_text(&id, COUCH_USER_PREFIX);
	buf_append_slice(&id, name);
	struct slice text = arena_copy(&r->arena, buf_slice(&id));
	buf_close(&id);
	if (document_id_valid(text))
		couch_known_want(t, r, slice_text(COLLECTION_USERS), text, have_user);
	else
		finish(t, r, op, false);
}
