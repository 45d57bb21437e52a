#include "common/base/mac.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

void mac_sha256(struct slice key, struct slice text, uint8_t out[MAC_BYTES])
{
	unsigned len = MAC_BYTES;
	CHECK(key.len <= MAC_KEY_BYTES_MAX);
	CHECK(HMAC(EVP_sha256(), key.data, (int)key.len, text.data, text.len, out, &len) != NULL);
}

bool mac_equal(const uint8_t a[MAC_BYTES], const uint8_t b[MAC_BYTES])
{
	return CRYPTO_memcmp(a, b, MAC_BYTES) == 0;
}
