/* Documents of _users. A password that is written is replaced by salt and hash before it goes
 * anywhere; nothing with a password in it is ever stored. */
#include "common/doc/revision.h"
#include "common/doc/value.h"
#include "gateway/couch/auth_private.h"
#include "gateway/routes.h"

enum { SALT_RANDOM = 16 };

/* What says how a password is checked: made here, all at once. */
static const char *const made[] = {"password", "password_scheme", "salt",      "derived_key",
				   "cost",     "iterations",      "pbkdf2_prf"};

struct user_write {
	struct slice value; /* the document as it came, without the above */
	struct slice salt;
	struct slice password;
};

static bool is_made(struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(made); i++)
		if (slice_is(name, made[i]))
			return true;
	return false;
}

static void write_text(struct buf *out, const char *name, struct slice text)
{
	mp_write_text(out, name);
	mp_write_str(out, text);
}

static void let_in(struct turn *t, const struct user_write *op, const struct password_reply *reply)
{
	struct couch_user user = {.salt = op->salt};
	memcpy(user.hash, reply->hash, sizeof user.hash);
	couch_login_expect(t, value_text_member(op->value, "name"), op->password, &user);
}

static void have_hash(struct turn *t, struct request *r, const struct password_reply *reply)
{
	const struct user_write *op = r->op;
	struct buf out = {0};
	struct buf hex = {0};
	struct mp_reader reader = mp_reader_of(op->value);
	struct mp_token head = mp_read(&reader);
	uint32_t kept = 0;
	for (uint32_t i = 0; i < head.count; i++) {
		struct mp_token name = mp_read(&reader);
		kept += !is_made(name.bytes);
		(void)mp_value(&reader);
	}
	mp_write_map(&out, kept + 4);
	reader = mp_reader_of(op->value);
	(void)mp_read(&reader);
	for (uint32_t i = 0; i < head.count; i++) {
		struct mp_token name = mp_read(&reader);
		struct slice value = mp_value(&reader);
		if (is_made(name.bytes))
			continue;
		mp_write_str(&out, name.bytes);
		buf_append_slice(&out, value);
	}
	buf_append_hex(&hex, reply->hash, sizeof reply->hash);
	write_text(&out, "password_scheme", slice_text("scrypt"));
	write_text(&out, "salt", op->salt);
	write_text(&out, "derived_key", buf_slice(&hex));
	mp_write_text(&out, "cost");
	mp_write_u64(&out, PASSWORD_COST);
	r->couch.value = arena_copy(&r->arena, buf_slice(&out));
	buf_close(&out);
	buf_close(&hex);
	let_in(t, op, reply);
	couch_write(t, r);
}

bool couch_users_hash(struct turn *t, struct request *r)
{
	struct slice value;
	struct problem problem;
	if (r->method == HTTP_DELETE || r->couch.value.len > 0 ||
	    !native_body(t, r, &value, &problem))
		return false;
	struct mp_reader reader = mp_reader_of(value_member(value, slice_text("password")));
	struct mp_token password = mp_read(&reader);
	if (password.type != MP_STR)
		return false;
	if (password.bytes.len == 0 || password.bytes.len > COUCH_PASSWORD_BYTES) {
		couch_problem(&problem, COUCH_FORBIDDEN, "A password has 1 to 1024 bytes.");
		answer_problem(t, r, &problem);
		return true;
	}
	struct user_write *op = arena_alloc(&r->arena, sizeof *op);
	uint8_t random[SALT_RANDOM];
	rng_fill(&t->gw->rng, random, sizeof random);
	buf_clear(&t->gw->scratch);
	buf_append_hex(&t->gw->scratch, random, sizeof random);
	op->value = value;
	op->salt = arena_copy(&r->arena, buf_slice(&t->gw->scratch));
	op->password = password.bytes;
	r->op = op;
	struct password_request request = {
	    .cost = PASSWORD_COST, .password = password.bytes, .salt = op->salt};
	couch_hash(t, r, &request, have_hash);
	return true;
}

static bool refuse(struct problem *p, const char *why)
{
	return couch_problem(p, COUCH_FORBIDDEN, why);
}

/* doc.name must be what the id says, and roles a list of names. */
static bool check_form(const struct couch_document *d, struct text_list *roles, struct problem *p)
{
	size_t prefix = sizeof COUCH_USER_PREFIX - 1;
	struct mp_reader names = mp_reader_of(value_member(d->body, slice_text("name")));
	struct mp_reader types = mp_reader_of(value_member(d->body, slice_text("type")));
	struct mp_token name = mp_read(&names);
	struct mp_token type = mp_read(&types);
	bool fits = d->id.len > prefix && d->id.len <= prefix + COUCH_NAME_BYTES &&
		    memcmp(d->id.data, COUCH_USER_PREFIX, prefix) == 0 && name.type == MP_STR &&
		    slice_equal(slice_of(d->id.data + prefix, d->id.len - prefix), name.bytes);
	if (type.type != MP_STR || !slice_is(type.bytes, "user"))
		return refuse(p, "doc.type must be user");
	if (!fits || memchr(name.bytes.data, ':', name.bytes.len))
		return refuse(p, "Doc ID must be of the form org.couchdb.user:name, without colons "
				 "in the name");
	if (value_member(d->body, slice_text("password")).len > 0)
		return refuse(p, "doc.password must be a string, in a document that is written "
				 "alone");
	for (uint32_t i = 0; i < roles->count; i++)
		if (roles->texts[i].data[0] == '_')
			return refuse(p, "No system roles (starting with underscore) in users db.");
	return true;
}

static bool same_roles(const struct text_list *roles, const struct couch_user *user)
{
	bool same = roles->count == user->roles_count;
	for (uint32_t i = 0; same && i < roles->count; i++)
		same = slice_equal(roles->texts[i], user->roles[i]);
	return same;
}

/* What was allowed rests on the revision that the user was known by. */
bool couch_user_check(struct request *r, const struct couch_document *d, struct problem *p)
{
	struct text_list roles = {0};
	bool own = r->couch.user && !r->couch.user->admin;
	if (own && !revision_equal(&d->revision, &r->couch.user->revision))
		return couch_problem(p, COUCH_CONFLICT, "");
	if (d->deleted)
		return true;
	struct slice list = value_member(d->body, slice_text("roles"));
	if (list.len == 0 || !native_text_list(r, list, COUCH_ROLES_MAX, COUCH_NAME_BYTES, &roles))
		return refuse(p, "doc.roles must be an array of strings");
	return check_form(d, &roles, p) && (!own || same_roles(&roles, r->couch.user) ||
					    refuse(p, "Only _admin may set roles"));
}
