/* _session: who one is, logging in and out. */
#include <inttypes.h>

#include "common/doc/value.h"
#include "gateway/couch/auth_private.h"
#include "gateway/routes.h"
#include "gateway/url.h"

/* As HTTP has dates (RFC 9110, 5.6.7). Days are counted from 1 March of the year 0, so that the day
 * of a leap year is the last. */
static void print_date(uint64_t at_s, struct buf *out)
{
	static const char days[] = "ThuFriSatSunMonTueWed";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	uint64_t day = at_s / 86400;
	uint64_t count = day + 719468;
	uint64_t era = count / 146097;
	uint64_t of_era = count % 146097;
	uint64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	uint64_t of_year = of_era - (365 * year + year / 4 - year / 100);
	uint64_t from_march = (5 * of_year + 2) / 153;
	uint64_t month = from_march < 10 ? from_march + 2 : from_march - 10;
	buf_printf(
	    out,
	    "%.3s, %02" PRIu64 " %.3s %04" PRIu64 " %02" PRIu64 ":%02" PRIu64 ":%02" PRIu64 " GMT",
	    days + 3 * (day % 7), of_year - (153 * from_march + 2) / 5 + 1, months + 3 * month,
	    year + era * 400 + (month < 2), at_s / 3600 % 24, at_s / 60 % 60, at_s % 60);
}

static void set_cookie(struct turn *t, struct request *r, struct slice value, uint64_t age_s)
{
	struct buf text = {0};
	/* a page of another site gets it sent along only where CORS says so */
	const char *same_site = t->gw->options.couch.cors_credentials ? "None" : "Strict";
	buf_append_text(&text, "AuthSession=");
	buf_append_slice(&text, value);
	buf_append_text(&text, "; Version=1; Expires=");
	print_date((uint64_t)(t->event->wall_ms / 1000) + age_s, &text);
	buf_printf(&text, "; Max-Age=%" PRIu64 "; Path=/; HttpOnly; Secure; SameSite=%s", age_s,
		   same_site);
	r->couch.cookie = arena_copy(&r->arena, buf_slice(&text));
	buf_close(&text);
}

void couch_cookie_set(struct turn *t, struct request *r, const struct couch_user *user)
{
	struct buf value = {0};
	uint64_t age_s = t->gw->options.limits.couch_session_s;
	uint64_t now_s = (uint64_t)(t->event->wall_ms / 1000);
	couch_cookie_print(t->gw->auth->secrets[0], user->salt, user->name, now_s + age_s, &value);
	set_cookie(t, r, buf_slice(&value), age_s);
	buf_close(&value);
}

static void print_roles(const struct couch_user *user, struct buf *out)
{
	buf_append_text(out, ",\"roles\":[");
	for (uint32_t i = 0; user && i < user->roles_count; i++) {
		if (i > 0)
			buf_append_byte(out, ',');
		json_string(user->roles[i], out);
	}
	buf_append_byte(out, ']');
}

void couch_session(struct turn *t, struct request *r)
{
	const struct couch_user *user = r->couch.user;
	struct reply *reply = reply_begin(t, 200);
	struct buf *out = &reply->body;
	buf_append_text(out, "{\"ok\":true,\"userCtx\":{\"name\":");
	if (user)
		json_string(user->name, out);
	else
		buf_append_text(out, "null");
	print_roles(user, out);
	buf_append_text(out, "},\"info\":{\"authentication_handlers\":[\"certificate\"");
	if (t->gw->options.couch.passwords)
		buf_append_text(out, ",\"cookie\",\"default\"");
	buf_append_byte(out, ']');
	if (user)
		buf_printf(out, ",\"authenticated\":\"%s\"", user->by);
	buf_append_text(out, "}}");
	reply_send(t, r, reply);
}

static void logged_in(struct turn *t, struct request *r, const struct couch_user *user)
{
	if (!user) {
		couch_answer_error(t, r, COUCH_BAD_LOGIN);
		return;
	}
	couch_cookie_set(t, r, user);
	struct reply *reply = reply_begin(t, 200);
	buf_append_text(&reply->body, "{\"ok\":true,\"name\":");
	json_string(user->name, &reply->body);
	print_roles(user, &reply->body);
	buf_append_byte(&reply->body, '}');
	reply_send(t, r, reply);
}

/* A form, or JSON. */
static bool take_form(struct request *r, struct slice *name, struct slice *password,
		      struct problem *p)
{
	struct slice rest = arena_copy(&r->arena, r->http->body);
	struct http_field pair;
	for (int i = 0; i < PARAMETERS_MAX && url_parameter_next(&rest, &pair); i++) {
		struct slice *to = slice_is(pair.name, "name")       ? name
				   : slice_is(pair.name, "password") ? password
								     : NULL;
		if (to && !url_decode(pair.value, true, &r->arena, to))
			return couch_problem(p, COUCH_BAD_REQUEST, "");
	}
	return true;
}

static bool take_json(struct turn *t, struct request *r, struct slice *name, struct slice *password,
		      struct problem *p)
{
	struct slice value;
	if (!native_body(t, r, &value, p))
		return false;
	struct mp_reader names = mp_reader_of(value_member(value, slice_text("name")));
	struct mp_reader words = mp_reader_of(value_member(value, slice_text("password")));
	struct mp_token named = mp_read(&names);
	struct mp_token word = mp_read(&words);
	if (named.type != MP_STR || word.type != MP_STR)
		return couch_problem(p, COUCH_BAD_REQUEST, "It needs a name and a password.");
	*name = named.bytes;
	*password = word.bytes;
	return true;
}

static bool is_form(const struct request *r)
{
	static const char form[] = "application/x-www-form-urlencoded";
	struct slice type = request_header(r, "content-type");
	return type.len >= sizeof form - 1 && memcmp(type.data, form, sizeof form - 1) == 0;
}

void couch_session_begin(struct turn *t, struct request *r)
{
	struct slice name = {0};
	struct slice password = {0};
	struct problem problem;
	if (!t->gw->options.couch.passwords) {
		couch_problem(&problem, COUCH_NOT_BUILT, "Passwords are off (couch_passwords).");
		answer_problem(t, r, &problem);
	} else if (is_form(r) ? !take_form(r, &name, &password, &problem)
			      : !take_json(t, r, &name, &password, &problem)) {
		answer_problem(t, r, &problem);
	} else if (name.len == 0 || name.len > COUCH_NAME_BYTES ||
		   password.len > COUCH_PASSWORD_BYTES) {
		couch_answer_error(t, r, COUCH_BAD_LOGIN);
	} else {
		couch_login(t, r, name, password, logged_in);
	}
}

void couch_session_end(struct turn *t, struct request *r)
{
	set_cookie(t, r, slice_of(NULL, 0), 0);
	struct reply *reply = reply_begin(t, 200);
	buf_append_text(&reply->body, "{\"ok\":true}");
	reply_send(t, r, reply);
}
