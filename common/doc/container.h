/* Writing a map or array whose number of members is known only at its end. */
#ifndef PARLEY_DOC_CONTAINER_H
#define PARLEY_DOC_CONTAINER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"

/* Leaves room for the head; returns where it will stand. */
size_t container_begin(struct buf *out);
/* Puts the head there, moving the members up if it needs more room. */
void container_end_map(struct buf *out, size_t start, uint32_t count);
void container_end_array(struct buf *out, size_t start, uint32_t count);

#endif
