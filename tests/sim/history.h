/* What the clients asked for and got: the input of the checkers. */
#ifndef PARLEY_SIM_HISTORY_H
#define PARLEY_SIM_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "tests/sim/sim.h"

enum collection_kind { COLLECTION_STRICT, COLLECTION_OPEN, COLLECTION_NEWEST, COLLECTION_KINDS };
extern const char *const collection_names[COLLECTION_KINDS];

enum op_kind { OP_GET, OP_PUT, OP_CREATE, OP_PATCH, OP_DELETE, OP_BRANCH, OP_COUNT };

struct op {
	int client;
	int number; /* unique; also the value that the operation writes */
	enum op_kind kind;
	enum collection_kind collection;
	int document;
	bool conditional; /* If-Match: the revision in `expected` */
	char expected[128];
	bool keyed; /* Idempotency-Key: repeated until it has an answer */
	bool any;   /* GET with consistency=any */
	int64_t start_us;
	int64_t end_us;                /* INT64_MAX: no answer, it may have been done */
	int status;                    /* of the answer; 0: none */
	char revision[128];            /* ETag of the answer */
	uint64_t count;                /* OP_COUNT */
	uint64_t count_min, count_max; /* what the checker allows */
	struct buf body;               /* MessagePack of what it writes */
	int attempts;
};

struct history {
	struct op *ops;
	int count;
	int cap;
};

/* Did the answer say that nothing was done? */
bool op_refused(const struct op *op);
bool op_succeeded(const struct op *op);
bool op_writes(const struct op *op);
/* A line for whoever looks into a violation. */
void op_describe(const struct op *op, char *out, size_t size);

#endif
