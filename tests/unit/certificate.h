/* A self-signed certificate made on the spot, for tests that need a TLS server. */
#ifndef PARLEY_TESTS_UNIT_CERTIFICATE_H
#define PARLEY_TESTS_UNIT_CERTIFICATE_H

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <time.h>

#include "common/base/buf.h"

/* Appends PEM texts. */
static inline void certificate_make(struct buf *cert, struct buf *key)
{
	static const uint8_t serial[] = {1, 2, 3};
	gnutls_x509_privkey_t private_key;
	gnutls_x509_crt_t crt;
	gnutls_datum_t text;
	CHECK(gnutls_x509_privkey_init(&private_key) == 0 && gnutls_x509_crt_init(&crt) == 0);
	CHECK(gnutls_x509_privkey_generate(private_key, GNUTLS_PK_ECDSA,
					   GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1),
					   0) == 0);
	CHECK(gnutls_x509_crt_set_version(crt, 3) == 0);
	CHECK(gnutls_x509_crt_set_serial(crt, serial, sizeof serial) == 0);
	CHECK(gnutls_x509_crt_set_dn(crt, "CN=test", NULL) == 0);
	CHECK(gnutls_x509_crt_set_activation_time(crt, time(NULL) - 60) == 0);
	CHECK(gnutls_x509_crt_set_expiration_time(crt, time(NULL) + 3600) == 0);
	CHECK(gnutls_x509_crt_set_key(crt, private_key) == 0);
	CHECK(gnutls_x509_crt_sign2(crt, crt, private_key, GNUTLS_DIG_SHA256, 0) == 0);
	CHECK(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &text) == 0);
	buf_append(cert, text.data, text.size);
	gnutls_free(text.data);
	CHECK(gnutls_x509_privkey_export2(private_key, GNUTLS_X509_FMT_PEM, &text) == 0);
	buf_append(key, text.data, text.size);
	gnutls_free(text.data);
	gnutls_x509_crt_deinit(crt);
	gnutls_x509_privkey_deinit(private_key);
}

#endif
