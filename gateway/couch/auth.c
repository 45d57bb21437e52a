/* From a request of the couch listener to its user. A certificate is enough; then Basic, then the
 * cookie. What has none of them gets 401, but for _up and logging in and out. */
#include <inttypes.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "gateway/couch/auth_private.h"
#include "gateway/couch/rules.h"
#include "gateway/routes.h"

enum { RENEW_PART = 10 /* of a session's time, after which its cookie is made anew */ };

struct cookie_check {
	struct couch_cookie cookie;
};

/* ---- state ---- */

struct couch_auth *couch_auth_new(uint64_t seed)
{
	struct couch_auth *auth = mem_alloc_zero(sizeof *auth);
	auth->known.seed = seed;
	auth->rules.seed = seed;
	auth->attempts.seed = seed;
	auth->verified.seed = seed;
	return auth;
}

static void clear_secrets(struct couch_auth *auth)
{
	for (uint32_t i = 0; i < auth->secrets_count; i++) {
		explicit_bzero((void *)(uintptr_t)auth->secrets[i].data, auth->secrets[i].len);
		free((void *)(uintptr_t)auth->secrets[i].data);
	}
	auth->secrets_count = 0;
}

void couch_auth_close(struct gateway *gw)
{
	struct couch_auth *auth = gw->auth;
	couch_known_close(auth);
	couch_rules_close(&auth->rules);
	map_close_owned(&auth->attempts);
	map_close_owned(&auth->verified);
	clear_secrets(auth);
	buf_close(&auth->scratch);
	free(auth);
}

void couch_auth_metrics(const struct gateway *gw, struct buf *out)
{
	static const char *const results[LOGIN_RESULTS] = {"ok", "wrong", "limited"};
	buf_append_text(out, "# TYPE parley_couch_logins_total counter\n");
	for (int i = 0; i < LOGIN_RESULTS; i++)
		buf_printf(out, "parley_couch_logins_total{result=\"%s\"} %" PRIu64 "\n",
			   results[i], gw->auth->logins[i]);
	buf_printf(out,
		   "# TYPE parley_couch_password_hashes_total counter\n"
		   "parley_couch_password_hashes_total %" PRIu64 "\n",
		   gw->auth->hashes);
}

/* A line that begins with # is none. */
static struct slice next_line(struct slice *rest)
{
	struct slice line = *rest;
	const uint8_t *end = rest->len ? memchr(rest->data, '\n', rest->len) : NULL;
	line.len = end ? (size_t)(end - rest->data) : rest->len;
	size_t used = end ? line.len + 1 : line.len;
	*rest = slice_of(rest->data + used, rest->len - used);
	while (line.len > 0 && line.data[line.len - 1] <= ' ')
		line.len--;
	return line.len > 0 && line.data[0] == '#' ? slice_of(NULL, 0) : line;
}

bool gateway_set_couch_secrets(struct gateway *gw, struct slice text, struct buf *problem)
{
	struct slice found[COUCH_SECRETS_MAX];
	uint32_t count = 0;
	while (text.len > 0) {
		struct slice line = next_line(&text);
		if (line.len == 0)
			continue;
		if (line.len < COUCH_SECRET_BYTES || line.len > COUCH_SECRET_BYTES_MAX ||
		    count == COUCH_SECRETS_MAX) {
			buf_printf(problem, "couch_secret holds 1 to %d lines of %d to %d bytes",
				   COUCH_SECRETS_MAX, COUCH_SECRET_BYTES, COUCH_SECRET_BYTES_MAX);
			return false;
		}
		found[count++] = line;
	}
	if (count == 0) {
		buf_append_text(problem, "couch_secret has no line");
		return false;
	}
	clear_secrets(gw->auth);
	for (uint32_t i = 0; i < count; i++) {
		uint8_t *copy = mem_alloc(found[i].len);
		memcpy(copy, found[i].data, found[i].len);
		gw->auth->secrets[i] = slice_of(copy, found[i].len);
	}
	gw->auth->secrets_count = count;
	return true;
}

/* ---- who it is ---- */

struct couch_user *couch_user_copy(const struct couch_user *from, struct arena *arena)
{
	struct couch_user *user = arena_alloc(arena, sizeof *user);
	struct slice *roles = arena_alloc(arena, (from->roles_count + 1) * sizeof *roles);
	for (uint32_t i = 0; i < from->roles_count; i++)
		roles[i] = arena_copy(arena, from->roles[i]);
	*user = (struct couch_user){.name = arena_copy(arena, from->name),
				    .roles = roles,
				    .roles_count = from->roles_count,
				    .by = from->by};
	return user;
}

static void refuse(struct turn *t, struct request *r)
{
	couch_answer_error(t, r, COUCH_UNAUTHORIZED);
}

static void enter(struct turn *t, struct request *r, const struct couch_user *user)
{
	r->couch.user = user;
	request_route(t, r);
}

static void enter_certificate(struct turn *t, struct request *r)
{
	static const struct slice admin[] = {{(const uint8_t *)"_admin", 6}};
	struct couch_user *user = arena_alloc(&r->arena, sizeof *user);
	user->name = arena_copy(&r->arena, r->http->principal);
	user->reader = (r->http->roles & HTTP_ROLE_READER) != 0;
	user->admin = !user->reader;
	user->roles = admin;
	user->roles_count = user->admin ? 1 : 0;
	user->by = "certificate";
	enter(t, r, user);
}

static void basic_done(struct turn *t, struct request *r, const struct couch_user *user)
{
	if (user)
		enter(t, r, user);
	else
		couch_answer_error(t, r, COUCH_BAD_LOGIN);
}

static void cookie_user(struct turn *t, struct request *r, const struct couch_known *known)
{
	const struct couch_cookie *cookie = &((struct cookie_check *)r->op)->cookie;
	const struct couch_auth *auth = t->gw->auth;
	struct couch_user *user = arena_alloc(&r->arena, sizeof *user);
	uint64_t session_s = t->gw->options.limits.couch_session_s;
	uint64_t now_s = (uint64_t)(t->event->wall_ms / 1000);
	bool good = false;
	r->op = NULL;
	if (couch_user_parse(r, cookie->name, known, user))
		for (uint32_t i = 0; i < auth->secrets_count; i++)
			good |= couch_cookie_signed(auth->secrets[i], user->salt, cookie);
	if (!good) {
		refuse(t, r);
		return;
	}
	user->by = "cookie";
	if (cookie->expiry_s - now_s < session_s - session_s / RENEW_PART)
		couch_cookie_set(t, r, user);
	enter(t, r, user);
}

/* False: there is none that could be good. */
static bool enter_cookie(struct turn *t, struct request *r)
{
	struct cookie_check *op = arena_alloc(&r->arena, sizeof *op);
	struct slice header = request_header(r, "cookie");
	uint64_t now_s = (uint64_t)(t->event->wall_ms / 1000);
	if (!couch_cookie_parse(header, &r->arena, &op->cookie) || op->cookie.expiry_s <= now_s ||
	    couch_cors_foreign(r))
		return false;
	struct buf id = {0};
	buf_append_text(&id, COUCH_USER_PREFIX);
	buf_append_slice(&id, op->cookie.name);
	struct slice text = arena_copy(&r->arena, buf_slice(&id));
	buf_close(&id);
	if (!document_id_valid(text))
		return false;
	r->op = op;
	couch_known_want(t, r, slice_text(COLLECTION_USERS), text, cookie_user);
	return true;
}

/* Health, and what makes and ends sessions. */
static bool is_free(const struct request *r)
{
	bool reads = r->method == HTTP_GET || r->method == HTTP_HEAD;
	bool session = slice_is(r->http->path, "/_session");
	return (reads && slice_is(r->http->path, "/_up")) ||
	       (session && (r->method == HTTP_POST || r->method == HTTP_DELETE));
}

void couch_enter(struct turn *t, struct request *r)
{
	struct slice name, password;
	if (!couch_cors_begin(t, r))
		return;
	if (r->http->principal.len > 0)
		enter_certificate(t, r);
	else if (!couch_is_open(t->gw))
		request_route(t, r); /* the shell has checked it */
	else if (!t->gw->options.couch.passwords)
		answer_status(t, r, STATUS_CERTIFICATE_REQUIRED, "");
	else if (is_free(r))
		request_route(t, r);
	else if (couch_basic_parse(request_header(r, "authorization"), &r->arena, &name, &password))
		couch_login(t, r, name, password, basic_done);
	else if (!enter_cookie(t, r))
		refuse(t, r);
}

void couch_reply_headers(struct turn *t, struct request *r, struct reply *reply)
{
	reply_header(r, reply, "Cache-Control", slice_text("must-revalidate"));
	if (r->couch.cookie.len > 0)
		reply_header(r, reply, "Set-Cookie", r->couch.cookie);
	couch_cors_headers(t, r, reply);
}
