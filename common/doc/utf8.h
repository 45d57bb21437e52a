/* Well-formed UTF-8. */
#ifndef PARLEY_DOC_UTF8_H
#define PARLEY_DOC_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/slice.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of the character at the start, of `left` >= 1; 0 if it is not well-formed. */
size_t utf8_char(const uint8_t *at, size_t left);
/* Bytes before the first that is wrong; all, if none is. */
size_t utf8_valid_prefix(struct slice text);
bool utf8_is_valid(struct slice text);
/* The same, the fastest for long texts; in json.cc. */
bool utf8_is_valid_long(struct slice text);

#ifdef __cplusplus
}
#endif

#endif
