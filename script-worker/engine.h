/* JavaScriptCore behind two calls. Each run has a global object of its own, made new, without
 * clock, randomness, locale or anything else that two machines may see differently; what a run
 * leaves behind dies with it. The engine's own cache keeps the bytecode of sources it has seen.
 *
 * Only this folder knows the engine. */
#ifndef PARLEY_SCRIPT_WORKER_ENGINE_H
#define PARLEY_SCRIPT_WORKER_ENGINE_H

#include "common/base/buf.h"
#include "common/base/slice.h"
#include "proto/script_frame.h"

struct engine;

/* Sets the engine's options and makes it load what it loads late: nothing is opened afterwards.
 * NULL: an option is unknown to this version, *problem says which. */
struct engine *engine_new(struct buf *problem) MUST_CHECK;
void engine_free(struct engine *e);

/* Calls the function that `source` is with the members of `arguments` (one MessagePack array;
 * empty: only makes it). Appends to *out what it returned as MessagePack or, if the result is not
 * SCRIPT_OK, a text that says why. Runs for as long as the script does: the limit on time is the
 * caller's. */
enum script_status engine_run(struct engine *e, struct slice source, struct slice arguments,
			      struct buf *out);

#endif
