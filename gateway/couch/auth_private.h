/* What the files of auth.h share. */
#ifndef PARLEY_GATEWAY_COUCH_AUTH_PRIVATE_H
#define PARLEY_GATEWAY_COUCH_AUTH_PRIVATE_H

#include "gateway/couch/auth.h"
#include "gateway/couch/couch.h"

enum { LOGIN_OK, LOGIN_WRONG, LOGIN_LIMITED, LOGIN_RESULTS };

struct couch_auth {
	struct map known;    /* collection/id -> struct known_entry */
	size_t known_bytes;  /* of these */
	struct map attempts; /* 'n' name or 'a' address -> struct attempts */
	struct map rules;    /* rules.h */
	size_t rules_bytes;  /* of their texts */
	size_t copied_bytes; /* likewise, held by requests */
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
