/* What one run may take, and what becomes of the process when it takes more. */
#ifndef PARLEY_SCRIPT_WORKER_LIMITS_H
#define PARLEY_SCRIPT_WORKER_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/check.h"

/* Before the sandbox is closed, with the engine there: from here memory is counted. Whatever kills
 * the process ends it with SCRIPT_EXIT_MEMORY or SCRIPT_EXIT_CRASHED. */
bool limits_open(struct buf *problem) MUST_CHECK;

/* Past the time (of the processor) the kernel ends the process with SIGPROF; past the memory
 * allocations fail. own_bytes: what the worker itself holds for the request and its answer, which
 * is not the script's. */
void limits_set(uint64_t time_ms, uint64_t memory_bytes, uint64_t own_bytes);
/* The script has returned: room to write down what. */
void limits_for_result(void);
void limits_lift(void);
/* Resident now, beyond what the engine itself takes. */
uint64_t limits_taken_bytes(void);

#endif
