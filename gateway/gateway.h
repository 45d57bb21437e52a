/* The gateway's core: HTTP requests in, messages to the leads of shards out, answers merged and
 * sent back. It keeps nothing that a restart could lose.
 *
 * One request is one small state machine in a bounded table; it ends by its answer, by its deadline
 * or because the client went away. See README.md for the files. */
#ifndef PARLEY_GATEWAY_GATEWAY_H
#define PARLEY_GATEWAY_GATEWAY_H

#include "common/core.h"

#define GATEWAY_VERSION "0.1.0"

struct gateway;

/* Zero means the default of limits.def. document_bytes_max is of the encoded body;
 * request_bytes_max is enforced by the shell, told by the core. */
struct gateway_limits {
#define LIMIT(field, name, value, least, greatest, doc) uint32_t field;
#include "gateway/limits.def"
#undef LIMIT
};

/* Of the couch listener: how its clients show who they are. Texts must outlive the gateway; NULL is
 * as good as empty. */
struct couch_options {
	bool passwords;           /* beside certificates */
	const char *cors_origins; /* comma-separated, or *; empty: no CORS */
	const char *cors_methods; /* as in the headers */
	const char *cors_headers;
	bool cors_credentials;
};

struct gateway_options {
	uint64_t self; /* member ids */
	uint64_t coordinator;
	const uint64_t *storage; /* copied */
	uint32_t storage_count;
	const char
	    *version; /* release, for GET / and the coordinator's log; must outlive the gateway */
	const char *name;            /* of this gateway; copied; NULL: it has none */
	uint64_t cluster;            /* its id, as CouchDB's clients see it */
	const char *replicate_hosts; /* that jobs may ask; must outlive the gateway */
	struct gateway_limits limits;
	struct couch_options couch;
};

struct gateway *gateway_new(const struct gateway_options *options, uint64_t seed);
void gateway_free(struct gateway *gw);
/* After the member list was read again. */
void gateway_set_storage(struct gateway *gw, const uint64_t *storage, uint32_t count);
/* Lines that session cookies are signed with: the first, and all are believed. Needed for
 * passwords. False: nothing changed, *problem says why. */
bool gateway_set_couch_secrets(struct gateway *gw, struct slice text,
			       struct buf *problem) MUST_CHECK;
/* While it drains: nobody waits for anything that is its own. */
bool gateway_has_left(const struct gateway *gw);
/* Of the head of a couch client's request: its body shall come in pieces, as it may be long. */
bool gateway_wants_pieces(const struct http_request *head);
/* Effective values. */
const struct gateway_limits *gateway_limits(const struct gateway *gw);
/* The shell refused a request before the core saw it. */
enum gateway_rejection {
	REJECT_CERTIFICATE,
	REJECT_OVERLOAD,
	REJECT_DRAINING,
	REJECT_MALFORMED,
	REJECT_KINDS
};
void gateway_count_rejection(struct gateway *gw, enum gateway_rejection why);

extern const struct core_ops gateway_ops;

#endif
