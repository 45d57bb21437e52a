/* Codes that only who has the key can make (HMAC-SHA256), and comparing such without telling by the
 * time it takes how much is equal. */
#ifndef PARLEY_BASE_MAC_H
#define PARLEY_BASE_MAC_H

#include "common/base/check.h"
#include "common/base/slice.h"

enum { MAC_BYTES = 32, MAC_KEY_BYTES_MAX = 1024 };

void mac_sha256(struct slice key, struct slice text, uint8_t out[MAC_BYTES]);
bool mac_equal(const uint8_t a[MAC_BYTES], const uint8_t b[MAC_BYTES]) MUST_CHECK;

#endif
