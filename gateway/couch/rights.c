/* What a client with a password may do. Certificates may do everything, or read everything. A
 * database's _security names its members and admins; without one, no one with a password is any of
 * them. */
#include <inttypes.h>

#include "common/doc/value.h"
#include "gateway/couch/auth_private.h"
#include "gateway/routes.h"

enum need { NEED_USER, NEED_MEMBER, NEED_DB_ADMIN, NEED_ADMIN };

bool couch_is_users(const struct request *r)
{
	return slice_is(r->collection, COLLECTION_USERS);
}

bool couch_is_replicator(const struct request *r)
{
	return slice_is(r->collection, COLLECTION_REPLICATOR);
}

static bool is_replications(const struct request *r)
{
	return slice_is(r->collection, COLLECTION_REPLICATIONS);
}

bool couch_is_system(const struct request *r)
{
	return couch_is_users(r) || couch_is_replicator(r) || is_replications(r);
}

static bool begins(struct slice text, const char *with)
{
	size_t len = strlen(with);
	return text.len >= len && memcmp(text.data, with, len) == 0;
}

/* ---- what a route needs ---- */

static bool is_one_of(const char *pattern, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(pattern, list[i]) == 0)
			return true;
	return false;
}

/* What is not listed is the server's, or for members. */
static enum need need_of(const struct request *r)
{
	static const char *const users[] = {"/", "/_up", "/_uuids", "/_session", "/_replicate"};
	static const char *const changed_by_admins[] = {
	    "/{db}/_security",          "/{db}/_revs_limit",     "/{db}/_purge",
	    "/{db}/_compact",           "/{db}/_compact/{ddoc}", "/{db}/_view_cleanup",
	    "/{db}/_purged_infos_limit"};
	const struct route *route = r->route;
	const char *pattern = route->pattern;
	bool changes = route->method != HTTP_GET && route->method != HTTP_COPY;
	bool posts = route->method == HTTP_POST;
	if (is_one_of(pattern, users, ARRAY_LEN(users)))
		return NEED_USER;
	if (strncmp(pattern, "/{db}", 5) != 0)
		return NEED_ADMIN;
	/* what an update function writes is looked at when it is written */
	if (strncmp(pattern, "/{db}/_design/{name}/_update/", 29) == 0)
		return NEED_MEMBER;
	if (strcmp(pattern, "/{db}") == 0 && changes && !posts)
		return NEED_ADMIN;
	if (changes && is_one_of(pattern, changed_by_admins, ARRAY_LEN(changed_by_admins)))
		return NEED_DB_ADMIN;
	if (changes && strncmp(pattern, "/{db}/_index", 12) == 0)
		return NEED_DB_ADMIN;
	/* views are asked by POST, too; and an id may be written in ways that only look like
	 * another
	 */
	if (changes && !posts &&
	    (strncmp(pattern, "/{db}/_design/", 14) == 0 || begins(r->resource, "_design/")))
		return NEED_DB_ADMIN;
	return NEED_MEMBER;
}

/* ---- _security ---- */

static bool list_has(struct slice list, struct slice text)
{
	struct mp_reader reader = mp_reader_of(list);
	struct mp_token head = mp_read(&reader);
	for (uint32_t i = 0; head.type == MP_ARRAY && i < head.count; i++) {
		struct mp_token item = mp_read(&reader);
		if (item.type != MP_STR)
			return false;
		if (slice_equal(item.bytes, text))
			return true;
	}
	return false;
}

static uint32_t list_count(struct slice list)
{
	struct mp_reader reader = mp_reader_of(list);
	struct mp_token head = mp_read(&reader);
	return head.type == MP_ARRAY ? head.count : 0;
}

static bool named_in(struct slice security, const char *group, const struct couch_user *user)
{
	struct slice who = value_member(security, slice_text(group));
	struct slice roles = value_member(who, slice_text("roles"));
	if (list_has(value_member(who, slice_text("names")), user->name))
		return true;
	for (uint32_t i = 0; i < user->roles_count; i++)
		if (list_has(roles, user->roles[i]))
			return true;
	return false;
}

static bool everybody(struct slice security)
{
	struct slice who = value_member(security, slice_text("members"));
	return list_count(value_member(who, slice_text("names"))) == 0 &&
	       list_count(value_member(who, slice_text("roles"))) == 0;
}

struct slice couch_security_id(struct request *r, const struct map_collection *c)
{
	struct buf id = {0};
	buf_printf(&id, "%016" PRIx64 "/_security", c->settings.id);
	struct slice copy = arena_copy(&r->arena, buf_slice(&id));
	buf_close(&id);
	return copy;
}

/* The same user with what the database makes of him. */
static const struct couch_user *as_db_admin(struct request *r)
{
	struct couch_user *user = arena_alloc(&r->arena, sizeof *user);
	*user = *r->couch.user;
	user->db_admin = true;
	return user;
}

static void have_security(struct turn *t, struct request *r, const struct couch_known *known)
{
	bool admin = known->there && named_in(known->body, "admins", r->couch.user);
	bool member = known->there &&
		      (everybody(known->body) || named_in(known->body, "members", r->couch.user));
	enum need need = need_of(r);
	if (couch_is_replicator(r) && (admin || member)) {
		couch_replicator_permit(t, r);
		return;
	}
	if (admin)
		r->couch.user = as_db_admin(r);
	if (admin || (member && need == NEED_MEMBER))
		r->route->handler(t, r);
	else
		couch_answer_error(t, r, member ? COUCH_NOT_DB_ADMIN : COUCH_NOT_MEMBER);
}

static void have_database(struct turn *t, struct request *r, struct map_collection *c)
{
	if (c)
		couch_known_want(t, r, slice_text(COLLECTION_LOCAL), couch_security_id(r, c),
				 have_security);
	else
		couch_answer_error(t, r, COUCH_DB_MISSING);
}

static void look_at_security(struct turn *t, struct request *r)
{
	if (!cluster_map_collection(&t->gw->map, r->collection) && !request_keep(t->gw, r))
		answer_status(t, r, STATUS_OVERLOADED, "");
	else
		collection_find(t, r, false, have_database);
}

/* ---- _users ---- */

/* Others see their own document, and may change it. */
static bool is_own_document(const struct request *r)
{
	size_t prefix = sizeof COUCH_USER_PREFIX - 1;
	struct slice id = r->resource;
	struct slice flag;
	return strcmp(r->route->pattern, "/{db}/{doc}") == 0 && r->method != HTTP_COPY &&
	       !request_parameter(r, "new_edits", &flag) && begins(id, COUCH_USER_PREFIX) &&
	       slice_equal(slice_of(id.data + prefix, id.len - prefix), r->couch.user->name);
}

static void permit_users(struct turn *t, struct request *r)
{
	bool drops = strcmp(r->route->pattern, "/{db}") == 0 && r->method == HTTP_DELETE;
	if (!t->gw->options.couch.passwords)
		couch_answer_error(t, r, COUCH_DB_MISSING);
	else if (!r->couch.user || drops || r->method == HTTP_COPY)
		couch_answer_error(t, r, COUCH_FORBIDDEN);
	else if (r->couch.user->admin || is_own_document(r))
		r->route->handler(t, r);
	else
		couch_answer_error(t, r, COUCH_NOT_MEMBER);
}

/* ---- _replicator ---- */

/* Its documents hold passwords of other servers. What it is copied to, and attached to, nobody
 * would look after. */
static void permit_replicator(struct turn *t, struct request *r)
{
	bool drops = strcmp(r->route->pattern, "/{db}") == 0 && r->method == HTTP_DELETE;
	enum http_method method = r->route->method;
	bool attaches = r->part.len > 0 && method != HTTP_GET && method != HTTP_POST;
	if (drops || attaches || method == HTTP_COPY)
		couch_answer_error(t, r, COUCH_FORBIDDEN);
	else if (r->couch.user && r->couch.user->admin)
		r->route->handler(t, r);
	else if (r->couch.user && !r->couch.user->reader)
		look_at_security(t, r);
	else
		couch_answer_error(t, r, COUCH_NOT_MEMBER);
}

/* ---- all ---- */

void couch_permit(struct turn *t, struct request *r)
{
	const struct couch_user *user = r->couch.user;
	enum need need = need_of(r);
	bool inside = r->reply != NULL;
	if (couch_is_users(r)) {
		permit_users(t, r);
		return;
	}
	if (is_replications(r) && !inside) {
		couch_answer_error(t, r, COUCH_DB_MISSING);
		return;
	}
	if (couch_is_replicator(r) && !inside && begins(slice_text(r->route->pattern), "/{db}")) {
		permit_replicator(t, r);
		return;
	}
	if (!user || user->admin || user->reader || need == NEED_USER) {
		r->route->handler(t, r);
		return;
	}
	if (need == NEED_ADMIN) {
		couch_answer_error(t, r, COUCH_NOT_ADMIN);
		return;
	}
	look_at_security(t, r);
}

bool couch_may_write(struct request *r, const struct couch_document *d, struct problem *p)
{
	const struct couch_user *user = r->couch.user;
	bool admin = !user || user->admin || user->db_admin;
	if (begins(d->id, "_design/") && !admin)
		return couch_problem(p, COUCH_NOT_DB_ADMIN, "");
	/* they have ways of their own (couch/local.h); as a document one would be replicated, and
	 * refused */
	if (begins(d->id, "_local/"))
		return couch_problem(p, COUCH_RESERVED_ID, "");
	return !couch_is_users(r) || couch_user_check(r, d, p);
}
