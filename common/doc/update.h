/* Update operators over stored documents, MongoDB's semantics: $set $unset $inc $push $addToSet
 * $pull. The client's update arrives as MessagePack; it is checked once and compiled into a tree of
 * paths, with which a document is walked once. */
#ifndef PARLEY_DOC_UPDATE_H
#define PARLEY_DOC_UPDATE_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/slice.h"
#include "proto/status.h"

enum {
	UPDATE_PATHS_MAX = 1000,   /* in all operators together */
	UPDATE_PADDING_MAX = 10000 /* nulls that an index past an array's end may make */
};

/* A compiled update. It lives in the arena, which must stay where it is, and borrows the update's
 * bytes. */
struct update;

struct update_error {
	enum status status; /* BAD_UPDATE: it is malformed; else what a document has against it */
	char place[128];    /* operator and path, as in the update */
	char text[160];
};

/* spec: MessagePack map {"$op": {"path": operand, ...}, ...} of at least one operator. NULL on
 * error.
 *
 * Paths are dotted; where the document has an array, a name of digits is an index. No path may be
 * another one's beginning, and none may lead to "id". $push and $addToSet take a value or
 * {"$each": [...]}, $pull a value or a condition as in a query. */
struct update *update_compile(struct slice spec, struct arena *arena, struct update_error *error);
/* True if doing it twice is not the same as doing it once, whatever the document. */
bool update_accumulates(const struct update *u);
/* Appends what the update makes of the body (a MessagePack map). False with *error set, and out as
 * before, if it can't be done: UPDATE_FAILED, JSON_TOO_DEEP or BODY_TOO_LARGE.
 *
 * Integers are added exactly; what does not fit 64 bits is refused. So is an integer past 2^53 that
 * meets a fraction, and any number that is kept as text. */
bool update_apply(const struct update *u, struct slice body, struct buf *out,
		  struct update_error *error) MUST_CHECK;

#endif
