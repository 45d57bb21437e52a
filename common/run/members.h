/* The member list: who may take part, in which role, with which key, at which address. Written by
 * the operator (or by deploy/make-keys), the same file on every machine; read again on SIGHUP. */
#ifndef PARLEY_RUN_MEMBERS_H
#define PARLEY_RUN_MEMBERS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "proto/enums.h"

enum { MEMBER_KEY_CHARS = 40, MEMBER_ADDRESS_BYTES = 128 };

struct member_row {
	uint64_t id;
	char name[LIMIT_NAME_BYTES + 1];
	enum role role;
	char public_key[MEMBER_KEY_CHARS + 1]; /* Z85 */
	char address[MEMBER_ADDRESS_BYTES];    /* tcp://host:port; empty: it only connects */
	char source[MEMBER_ADDRESS_BYTES]; /* local IP address that it connects from; empty: any */
};

struct members {
	uint64_t cluster;
	struct member_row *rows;
	uint32_t count;
};

/* On failure *problem says what is wrong, with file and line where known, and *out is empty. */
bool members_load(const char *path, struct members *out, struct buf *problem) MUST_CHECK;
void members_close(struct members *m);
const struct member_row *members_by_id(const struct members *m, uint64_t id);
const struct member_row *members_by_name(const struct members *m, const char *name);
const struct member_row *members_by_key(const struct members *m, const char *public_key);
const char *role_name(enum role role);

#endif
