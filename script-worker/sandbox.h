/* What the worker gives up before it runs anything: descriptors, capabilities, limits, system
 * calls. */
#ifndef PARLEY_SCRIPT_WORKER_SANDBOX_H
#define PARLEY_SCRIPT_WORKER_SANDBOX_H

#include <stdbool.h>

#include "common/base/buf.h"
#include "common/base/check.h"

/* First of all: keeps only descriptors 0 to 2, dies with its parent, dumps no core. */
bool sandbox_begin(struct buf *problem) MUST_CHECK;
/* When the engine is there: no capabilities, no files, no processes, no memory that is executable,
 * no system call but those that reading, answering and allocating take. For good. */
bool sandbox_close(struct buf *problem) MUST_CHECK;

#endif
