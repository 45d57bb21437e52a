/* What the files of couch_auth.h share. */
#ifndef PARLEY_GATEWAY_COUCH_AUTH_PRIVATE_H
#define PARLEY_GATEWAY_COUCH_AUTH_PRIVATE_H

#include "gateway/couch.h"
#include "gateway/couch_auth.h"

enum { LOGIN_OK, LOGIN_WRONG, LOGIN_LIMITED, LOGIN_RESULTS };

struct couch_auth {
	struct map known;    /* collection/id -> struct known_entry */
	struct map attempts; /* 'n' name or 'a' address -> struct attempts */
	struct map rules;    /* couch_rules.h */
	struct map verified; /* code of name, password and what it was checked against -> when */
	struct slice secrets[COUCH_SECRETS_MAX]; /* own; the first signs, all are believed */
	uint32_t secrets_count;
	uint32_t hashing; /* passwords under way */
	uint64_t logins[LOGIN_RESULTS];
	uint64_t hashes;
	struct buf scratch;
};

void couch_known_close(struct couch_auth *auth);

#endif
