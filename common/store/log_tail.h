/* The zeros at the end of a store's log.
 *
 * A file system may make a file's new length durable before the data that it counts: after a power
 * cut, what did not get there reads as zeros. So a record that is there to its end may be one that
 * was cut. Zeros are cut off here from a sector's start on, no matter what they belong to: whoever
 * does it has found the log damaged, and wants to know whether a cut explains that. What was cut
 * off can be given back, byte for byte. */
#ifndef PARLEY_STORE_LOG_TAIL_H
#define PARLEY_STORE_LOG_TAIL_H

#include <stdbool.h>
#include <sys/types.h>

#include "common/base/check.h"

struct log_tail {
	int fd; /* of the last log */
	off_t bytes;
};

/* False: the last log does not end so, or can't be read; nothing was done. */
bool log_tail_cut(struct log_tail *t, const char *directory) MUST_CHECK;
/* False on an I/O error. The log is as it was, but for zeros at its end. */
bool log_tail_restore(struct log_tail *t) MUST_CHECK;

#endif
