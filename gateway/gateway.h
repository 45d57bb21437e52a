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

/* Zero means the default given. */
struct gateway_limits {
	uint32_t document_bytes_max; /* 8,000,000; of the encoded body, at most LIMIT_BODY_BYTES */
	uint32_t request_bytes_max;  /* 64 MiB; enforced by the shell, told by the core */
	uint32_t uri_bytes_max;      /* 16 KiB; path and query string */
	uint32_t inflight_max;       /* 10,000 requests */
	uint32_t batch_items_max;    /* 1,000 documents in one POST */
	uint32_t list_rows_max;      /* 10,000 documents in one answer; more come with the cursor */
	uint32_t list_bytes_max;     /* 16 MiB of JSON in one answer */
	uint32_t deadline_ms;        /* REQUEST_DEADLINE_MS */
};

struct gateway_options {
	uint64_t self; /* member ids */
	uint64_t coordinator;
	const uint64_t *storage; /* copied */
	uint32_t storage_count;
	const char
	    *version; /* release, for GET / and the coordinator's log; must outlive the gateway */
	struct gateway_limits limits;
};

struct gateway *gateway_new(const struct gateway_options *options, uint64_t seed);
void gateway_free(struct gateway *gw);
/* After the member list was read again. */
void gateway_set_storage(struct gateway *gw, const uint64_t *storage, uint32_t count);
/* Effective values. */
const struct gateway_limits *gateway_limits(const struct gateway *gw);
/* The shell refused a request before the core saw it. */
enum gateway_rejection { REJECT_CERTIFICATE, REJECT_OVERLOAD, REJECT_DRAINING, REJECT_KINDS };
void gateway_count_rejection(struct gateway *gw, enum gateway_rejection why);

extern const struct core_ops gateway_ops;

#endif
