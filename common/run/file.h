/* Small files read whole: configuration, keys, certificates. */
#ifndef PARLEY_RUN_FILE_H
#define PARLEY_RUN_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"

/* Appends the file to *out. On failure *problem is one line that names the file. */
bool file_read(const char *path, size_t bytes_max, struct buf *out, struct buf *problem) MUST_CHECK;
/* The same for secrets: refuses a file that group or others may read. Files that systemd hands over
 * as credentials lie in a directory that only this unit sees; there a group may be named for the
 * access list. */
bool file_read_secret(const char *path, size_t bytes_max, struct buf *out,
		      struct buf *problem) MUST_CHECK;

#endif
