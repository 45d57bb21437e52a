/* The couch listener's clients: who they are, and what they may do. Certificates are checked by the
 * shell; passwords and cookies here, against the documents of _users. */
#ifndef PARLEY_GATEWAY_COUCH_AUTH_H
#define PARLEY_GATEWAY_COUCH_AUTH_H

#include "gateway/internal.h"

#define COUCH_USER_PREFIX "org.couchdb.user:"

enum {
	COUCH_NAME_BYTES = 256,
	COUCH_PASSWORD_BYTES = 1024,
	COUCH_SALT_BYTES = 64,
	COUCH_SECRETS_MAX = 4,
	COUCH_SECRET_BYTES = 32, /* at least */
	COUCH_SECRET_BYTES_MAX = 512,
	COUCH_ROLES_MAX = 256
};

struct couch_user {
	struct slice name;
	const struct slice *roles;
	uint32_t roles_count;
	bool admin;    /* of everything */
	bool db_admin; /* of the database that it asks for */
	bool reader;   /* a certificate's that may read every database, and no more */
	const char *by;
	/* of one with a password */
	struct revision revision; /* of the document that says all this */
	struct slice salt;
	uint32_t cost;
	uint8_t hash[PASSWORD_HASH_BYTES];
};

/* ---- auth.c ---- */

struct couch_auth *couch_auth_new(uint64_t seed);
void couch_auth_close(struct gateway *gw);
/* A request of the dialect: finds out who sends it, and goes on with request_route. */
void couch_enter(struct turn *t, struct request *r);
/* Name, roles and where he comes from. */
struct couch_user *couch_user_copy(const struct couch_user *from, struct arena *arena);
/* Adds what answers of the dialect have beyond their own: cookie, CORS. */
void couch_reply_headers(struct turn *t, struct request *r, struct reply *reply);
void couch_auth_metrics(const struct gateway *gw, struct buf *out);

/* ---- login.c: passwords ---- */

typedef void couch_login_done(struct turn *t, struct request *r, const struct couch_user *user);
/* done: NULL, if name and password don't fit. It may come at once; who tries too often is answered
 * here. */
void couch_login(struct turn *t, struct request *r, struct slice name, struct slice password,
		 couch_login_done *done);
/* This password has been hashed for a document that is to be written: with it, once it is, who logs
 * in need not try. Only salt and hash of *user count. */
void couch_login_expect(struct turn *t, struct slice name, struct slice password,
			const struct couch_user *user);
/* Hashes a password; done is called with the result. Answers by itself if too many wait. */
typedef void couch_hashed(struct turn *t, struct request *r, const struct password_reply *reply);
void couch_hash(struct turn *t, struct request *r, const struct password_request *request,
		couch_hashed *done);
void couch_password_event(struct turn *t);
/* False: no document of a user who could log in. body is borrowed. */
struct couch_known;
bool couch_user_parse(struct request *r, struct slice name, const struct couch_known *known,
		      struct couch_user *out) MUST_CHECK;

/* ---- cookie.c: what credentials look like; no state ---- */

/* "Basic base64(name:password)". The parts live in the arena. */
bool couch_basic_parse(struct slice header, struct arena *arena, struct slice *name,
		       struct slice *password) MUST_CHECK;
struct couch_cookie {
	struct slice name;
	uint64_t expiry_s; /* since 1970 */
	const uint8_t *mac;
	struct slice text; /* what the code is of */
};
/* The cookie AuthSession of a Cookie header. */
bool couch_cookie_parse(struct slice header, struct arena *arena,
			struct couch_cookie *out) MUST_CHECK;
/* Its value. salt: of the user, so that a new password ends sessions. */
void couch_cookie_print(struct slice secret, struct slice salt, struct slice name,
			uint64_t expiry_s, struct buf *out);
bool couch_cookie_signed(struct slice secret, struct slice salt,
			 const struct couch_cookie *cookie) MUST_CHECK;

/* ---- known.c: documents that say who may do what, remembered for a moment ---- */

enum { COUCH_KNOWN_MS = 2000 };
struct couch_known {
	bool there;
	int64_t asked_ms;
	struct revision revision;
	struct slice body;
};
typedef void couch_known_step(struct turn *t, struct request *r, const struct couch_known *known);
/* next may come at once; r->op stays as it is. Answers by itself if it can't be read. */
void couch_known_want(struct turn *t, struct request *r, struct slice collection, struct slice id,
		      couch_known_step *next);
/* It has been written here. */
void couch_known_forget(struct gateway *gw, struct slice collection, struct slice id);
/* A document of the request's database was written, or may have been: what this gateway remembers
 * of users and functions, or does by jobs, follows at once. */
void couch_wrote(struct turn *t, struct request *r, struct slice id);
/* Makes room for one more: the oldest goes. */
void couch_bound(struct map *m, size_t max);

/* ---- rights.c ---- */

/* Calls the route's handler, if the user may. */
void couch_permit(struct turn *t, struct request *r);
/* Is this the database _users, or _replicator? */
bool couch_is_users(const struct request *r);
bool couch_is_replicator(const struct request *r);
/* Of a user with a password whom _replicator's _security names: he may do what he asks for, if it
 * is about a job of his own (op_replicator.c). */
void couch_replicator_permit(struct turn *t, struct request *r);
/* Is it one of those that begin with an underscore? */
bool couch_is_system(const struct request *r);
/* May the user write this document, beyond what the route asks for? */
struct couch_document;
bool couch_may_write(struct request *r, const struct couch_document *d,
		     struct problem *p) MUST_CHECK;
/* The id of a database's _security, among _local documents. */
struct slice couch_security_id(struct request *r, const struct map_collection *c);

/* ---- cors.c ---- */

/* Whether the couch listener takes clients without certificates. */
bool couch_is_open(const struct gateway *gw);
/* Remembers the origin if it is allowed. False: a preflight, answered. */
bool couch_cors_begin(struct turn *t, struct request *r);
void couch_cors_headers(struct turn *t, struct request *r, struct reply *reply);
/* A request with a cookie that a page of another site sent. */
bool couch_cors_foreign(const struct request *r);
/* Of either dialect. Browsers show a client's certificate to whatever a page of any site asks for
 * without asking CORS first: such a page must not change anything, nor talk over a WebSocket. */
bool cors_allows(const struct gateway *gw, const struct request *r);

/* ---- op_session.c ---- */

/* A new cookie goes out with the answer. */
void couch_cookie_set(struct turn *t, struct request *r, const struct couch_user *user);

/* ---- op_users.c ---- */

/* One document of _users that is to be written. True: there is a password in it, couch_write comes
 * again when r->value has its hash instead (or it is answered). */
bool couch_users_hash(struct turn *t, struct request *r) MUST_CHECK;
bool couch_user_check(struct request *r, const struct couch_document *d,
		      struct problem *p) MUST_CHECK;

#endif
