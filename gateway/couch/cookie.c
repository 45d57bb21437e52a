/* Credentials as they stand in headers. A cookie is base64url of name, ':', the second at which it
 * ends in hexadecimal, ':' and 32 bytes: HMAC-SHA256 of what stands before the last colon, with a
 * secret of the cluster and the salt of the user's password as key. */
#include <inttypes.h>

#include "common/base/mac.h"
#include "common/doc/base64.h"
#include "gateway/couch/auth.h"
#include "gateway/url.h"

enum { COOKIE_BYTES_MAX = 1024, EXPIRY_DIGITS_MAX = 12 };

static bool begins(struct slice text, const char *word)
{
	size_t len = strlen(word);
	if (text.len < len)
		return false;
	for (size_t i = 0; i < len; i++)
		if ((text.data[i] | 0x20) != (word[i] | 0x20))
			return false;
	return true;
}

static struct slice behind(struct slice text, size_t count)
{
	return slice_of(text.data + count, text.len - count);
}

static struct slice skip_blanks(struct slice text)
{
	while (text.len > 0 && text.data[0] == ' ')
		text = behind(text, 1);
	return text;
}

bool couch_basic_parse(struct slice header, struct arena *arena, struct slice *name,
		       struct slice *password)
{
	struct buf text = {0};
	if (!begins(header, "Basic ") || header.len > 2 * COUCH_PASSWORD_BYTES)
		return false;
	struct slice encoded = skip_blanks(behind(header, 6));
	bool ok = encoded.len > 0 && base64_decode(encoded, &text);
	struct slice all = arena_copy(arena, buf_slice(&text));
	if (text.data)
		explicit_bzero(text.data, text.cap);
	buf_close(&text);
	const uint8_t *colon = ok && all.len > 0 ? memchr(all.data, ':', all.len) : NULL;
	if (!colon)
		return false;
	*name = slice_of(all.data, (size_t)(colon - all.data));
	*password = behind(all, name->len + 1);
	return name->len > 0 && name->len <= COUCH_NAME_BYTES &&
	       password->len <= COUCH_PASSWORD_BYTES;
}

static void cookie_mac(struct slice secret, struct slice salt, struct slice text,
		       uint8_t out[MAC_BYTES])
{
	struct buf key = {0};
	buf_append_slice(&key, secret);
	buf_append_slice(&key, salt);
	mac_sha256(buf_slice(&key), text, out);
	explicit_bzero(key.data, key.cap);
	buf_close(&key);
}

void couch_cookie_print(struct slice secret, struct slice salt, struct slice name,
			uint64_t expiry_s, struct buf *out)
{
	struct buf text = {0};
	uint8_t mac[MAC_BYTES];
	buf_append_slice(&text, name);
	buf_printf(&text, ":%" PRIX64, expiry_s);
	cookie_mac(secret, salt, buf_slice(&text), mac);
	buf_append_byte(&text, ':');
	buf_append(&text, mac, sizeof mac);
	base64url_encode(buf_slice(&text), out);
	buf_close(&text);
}

bool couch_cookie_signed(struct slice secret, struct slice salt, const struct couch_cookie *cookie)
{
	uint8_t mac[MAC_BYTES];
	cookie_mac(secret, salt, cookie->text, mac);
	return mac_equal(mac, cookie->mac);
}

/* The value of AuthSession among "a=1; b=2"; empty: there is none. */
static struct slice find_cookie(struct slice header)
{
	while (header.len > 0) {
		const uint8_t *end = memchr(header.data, ';', header.len);
		size_t len = end ? (size_t)(end - header.data) : header.len;
		struct slice one = skip_blanks(slice_of(header.data, len));
		if (begins(one, "AuthSession="))
			return behind(one, sizeof "AuthSession=" - 1);
		header = behind(header, end ? len + 1 : len);
	}
	return header;
}

static bool read_hex(struct slice text, uint64_t *out)
{
	*out = 0;
	if (text.len == 0 || text.len > EXPIRY_DIGITS_MAX)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.data[i];
		bool digit = c >= '0' && c <= '9';
		if (!digit && !(c >= 'A' && c <= 'F'))
			return false;
		*out = *out << 4 | (uint64_t)(digit ? c - '0' : c - 'A' + 10);
	}
	return true;
}

bool couch_cookie_parse(struct slice header, struct arena *arena, struct couch_cookie *out)
{
	struct slice value = find_cookie(header);
	struct buf bytes = {0};
	if (value.len == 0 || value.len > COOKIE_BYTES_MAX)
		return false;
	bool ok = base64url_decode(value, &bytes);
	struct slice all = arena_copy(arena, buf_slice(&bytes));
	buf_close(&bytes);
	if (!ok || all.len < MAC_BYTES + 4)
		return false;
	size_t end = all.len - MAC_BYTES - 1;
	size_t colon = end;
	while (colon > 0 && all.data[colon - 1] != ':')
		colon--;
	if (all.data[end] != ':' || colon < 2)
		return false;
	out->text = slice_of(all.data, end);
	out->mac = all.data + end + 1;
	out->name = slice_of(all.data, colon - 1);
	return out->name.len <= COUCH_NAME_BYTES &&
	       read_hex(slice_of(all.data + colon, end - colon), &out->expiry_s);
}
