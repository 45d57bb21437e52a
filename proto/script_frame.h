/* What a daemon and its script worker say to each other over a socket: frames of a length (4 bytes,
 * big endian) and a MessagePack array. Nothing here knows what scripts are for.
 *
 *   request  [id, time_ms, memory_bytes, source, arguments]
 *   reply    [id, status, value or text, last]; id 0: the worker is ready
 *
 * `source` is an expression whose value is a function; `arguments` an array, or nil: then the
 * function is made, but not called, and the value is nil. A reply with status OK carries what the
 * function returned, any other a text that says why. After one that is `last` the worker ends. Each
 * side takes the other's bytes for hostile. */
#ifndef PARLEY_PROTO_SCRIPT_FRAME_H
#define PARLEY_PROTO_SCRIPT_FRAME_H

#include <stdbool.h>

#include "common/base/buf.h"
#include "common/base/check.h"
#include "common/base/slice.h"
#include "proto/enums.h"

enum {
	SCRIPT_FRAME_HEAD = 4,
	/* A document's leaves fit into a message. */
	SCRIPT_FRAME_BYTES_MAX = LIMIT_MESSAGE_BYTES + LIMIT_POLICY_BYTES + 4096,
	SCRIPT_OUTPUT_BYTES_MAX = LIMIT_BODY_BYTES + LIMIT_POLICY_BYTES,
	SCRIPT_TEXT_BYTES_MAX = 512,
	SCRIPT_MEMORY_BYTES_MAX = 1 << 30 /* a request may ask for less */
};

/* How a worker ends that did not answer, beside signals: SIGPROF says that its time was over. */
enum { SCRIPT_EXIT_MEMORY = 3, SCRIPT_EXIT_CRASHED = 4 };

/* The first four are the script's own doing, and the same each time. */
enum script_status {
	SCRIPT_OK = 0,
	SCRIPT_INVALID = 1,     /* does not compile, or is no function */
	SCRIPT_THREW = 2,       /* it, or a getter of what it returned */
	SCRIPT_BAD_RESULT = 3,  /* what it returned is not JSON */
	SCRIPT_TOO_LARGE = 4,   /* arguments or result */
	SCRIPT_TIME = 5,        /* ran longer than it may */
	SCRIPT_MEMORY = 6,      /* took more than it may */
	SCRIPT_CRASHED = 7,     /* the worker died, for no reason that is known */
	SCRIPT_BUSY = 8,        /* too many wait: not run */
	SCRIPT_UNAVAILABLE = 9, /* there is no worker: not run */
	SCRIPT_STATUS_MAX = 9
};

/* A word for logs, metrics and records; "unknown" for other numbers. */
const char *script_status_name(enum script_status status);

struct script_request {
	uint64_t id;      /* not 0 */
	uint64_t time_ms; /* of the processor */
	uint64_t memory_bytes;
	struct slice source;    /* JavaScript, an expression that is a function */
	struct slice arguments; /* one MessagePack array; empty: the source is only compiled */
	uint64_t group;         /* whose it is: groups take turns. Not sent */
};

struct script_reply {
	uint64_t id;
	enum script_status status;
	struct slice value; /* OK: one MessagePack value */
	struct slice text;  /* else */
	bool last;
};

/* Append a frame. False: it would be too large; out is as before. */
bool script_request_write(const struct script_request *request, struct buf *out) MUST_CHECK;
bool script_reply_write(const struct script_reply *reply, struct buf *out) MUST_CHECK;

enum script_frame { SCRIPT_FRAME_MORE, SCRIPT_FRAME_WHOLE, SCRIPT_FRAME_BAD };
/* Looks at the bytes that have come. WHOLE: *body is the first frame's, borrowed, and
 * SCRIPT_FRAME_HEAD + body->len bytes are used. BAD: it says that it is longer than may be. */
enum script_frame script_frame_next(struct slice bytes, struct slice *body);

/* Borrow from body. False: it is none. */
bool script_request_read(struct slice body, struct script_request *out) MUST_CHECK;
bool script_reply_read(struct slice body, struct script_reply *out) MUST_CHECK;

#endif
