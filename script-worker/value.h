/* MessagePack values <-> JavaScript values.
 *
 * Exact both ways: integers up to 2^53 are numbers, others BigInt; numbers that are neither 64-bit
 * integer nor double (MP_EXT_NUMBER) are objects that convert to number and string, and keep their
 * text. JavaScript can't tell 1.0 from 1 and sorts member names that are integers: objects that
 * came from the arguments remember where they stood, so what a script leaves alone goes back as it
 * came. */
#ifndef PARLEY_SCRIPT_WORKER_VALUE_H
#define PARLEY_SCRIPT_WORKER_VALUE_H

#include <JavaScriptCore/JavaScript.h>
#include <stdbool.h>

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/slice.h"
#include "proto/script_frame.h"

struct origin {
	JSObjectRef object;
	struct slice bytes; /* the array or map it was made from, borrowed */
};

/* One run's. */
struct values {
	JSContextRef ctx;
	JSClassRef exact_class; /* of numbers kept as text; private data: struct origin's bytes */
	JSValueRef object_prototype; /* of plain objects */
	struct arena arena;
	struct origin *origins; /* by address, once sorted */
	size_t origins_count;
	size_t origins_cap;
	JSObjectRef keep; /* holds the origins' objects, so that no address is used again */
};

JSClassRef values_exact_class_new(void);
void values_open(struct values *v, JSContextRef ctx, JSClassRef exact_class);
void values_close(struct values *v);

/* value_in.c. Reads the members of the array; NULL: the bytes are no valid array. The list is in
 * the arena; the values are kept alive by v. */
JSValueRef *values_read_list(struct values *v, struct slice array, uint32_t *count) MUST_CHECK;
JSStringRef values_string(struct values *v, struct slice text);

/* value_out.c. Appends the value as MessagePack; may run the script's getters. Not SCRIPT_OK: *why
 * is a text, *exception what was thrown, if anything. */
enum script_status values_write(struct values *v, JSValueRef value, struct buf *out,
				const char **why, JSValueRef *exception) MUST_CHECK;
/* Appends at most SCRIPT_TEXT_BYTES_MAX bytes of UTF-8, control characters as spaces. */
void values_print_text(JSStringRef text, struct buf *out);

#endif
