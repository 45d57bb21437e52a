/* Base64 as RFC 4648 has it. */
#ifndef PARLEY_DOC_BASE64_H
#define PARLEY_DOC_BASE64_H

#include "common/base/buf.h"

void base64_encode(struct slice bytes, struct buf *out);
/* Appends; false on anything but whole groups with their padding, and `out` is as before. White
 * space is none. */
bool base64_decode(struct slice text, struct buf *out) MUST_CHECK;

#endif
