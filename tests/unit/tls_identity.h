/* Certificates made on the spot, for tests that speak TLS. */
#ifndef PARLEY_TESTS_UNIT_TLS_IDENTITY_H
#define PARLEY_TESTS_UNIT_TLS_IDENTITY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <string.h>
#include <time.h>

enum { PEM_MAX = 4096 };

struct identity {
	gnutls_x509_privkey_t key;
	gnutls_x509_crt_t certificate;
	char key_pem[PEM_MAX];
	char certificate_pem[PEM_MAX];
};

/* issuer NULL: signed by itself, an authority. */
static inline void identity_make(struct identity *id, const char *name, const char *purpose,
				 const char *uri, const struct identity *issuer)
{
	static unsigned char serial = 1;
	size_t size = PEM_MAX;
	assert_int_equal(gnutls_x509_privkey_init(&id->key), 0);
	assert_int_equal(
	    gnutls_x509_privkey_generate(id->key, GNUTLS_PK_ECDSA,
					 GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0),
	    0);
	assert_int_equal(gnutls_x509_crt_init(&id->certificate), 0);
	gnutls_x509_crt_t c = id->certificate;
	gnutls_x509_crt_set_version(c, 3);
	gnutls_x509_crt_set_serial(c, &serial, 1);
	serial++;
	gnutls_x509_crt_set_activation_time(c, time(NULL) - 60);
	gnutls_x509_crt_set_expiration_time(c, time(NULL) + 3600);
	gnutls_x509_crt_set_dn_by_oid(c, GNUTLS_OID_X520_COMMON_NAME, 0, name,
				      (unsigned)strlen(name));
	gnutls_x509_crt_set_key(c, id->key);
	gnutls_x509_crt_set_basic_constraints(c, issuer == NULL, -1);
	if (purpose)
		gnutls_x509_crt_set_key_purpose_oid(c, purpose, 0);
	if (uri)
		gnutls_x509_crt_set_subject_alt_name(c, GNUTLS_SAN_URI, uri, (unsigned)strlen(uri),
						     GNUTLS_FSAN_SET);
	if (!issuer)
		gnutls_x509_crt_set_key_usage(c, GNUTLS_KEY_KEY_CERT_SIGN);
	assert_int_equal(gnutls_x509_crt_sign2(c, issuer ? issuer->certificate : c,
					       issuer ? issuer->key : id->key, GNUTLS_DIG_SHA256,
					       0),
			 0);
	assert_int_equal(gnutls_x509_crt_export(c, GNUTLS_X509_FMT_PEM, id->certificate_pem, &size),
			 0);
	size = PEM_MAX;
	assert_int_equal(
	    gnutls_x509_privkey_export(id->key, GNUTLS_X509_FMT_PEM, id->key_pem, &size), 0);
}

static inline void identity_close(struct identity *id)
{
	gnutls_x509_crt_deinit(id->certificate);
	gnutls_x509_privkey_deinit(id->key);
}

#endif
