/* Any bytes as the headers Authorization and Cookie. What is taken keeps its bounds; no cookie is
 * good that was not signed with the secret; and what is printed reads back to what it was. */
#include <stdlib.h>

#include "common/base/check.h"
#include "common/doc/base64.h"
#include "gateway/couch/auth.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SECRET "0123456789abcdef0123456789abcdef"

static bool inside(struct slice part, const struct arena *arena)
{
	return part.len <= arena->used;
}

static void basic(struct slice text, struct arena *arena)
{
	struct slice name, password;
	if (!couch_basic_parse(text, arena, &name, &password))
		return;
	CHECK(name.len > 0 && name.len <= COUCH_NAME_BYTES && inside(name, arena));
	CHECK(password.len <= COUCH_PASSWORD_BYTES && inside(password, arena));
	struct buf both = {0}, header = {0};
	struct slice again[2];
	buf_append_slice(&both, name);
	buf_append_byte(&both, ':');
	buf_append_slice(&both, password);
	buf_append_text(&header, "Basic ");
	base64_encode(buf_slice(&both), &header);
	CHECK(couch_basic_parse(buf_slice(&header), arena, &again[0], &again[1]));
	CHECK(slice_equal(again[0], name) && slice_equal(again[1], password));
	buf_close(&both);
	buf_close(&header);
}

static void cookie(struct slice text, struct arena *arena)
{
	struct couch_cookie c;
	struct buf header = {0};
	if (!couch_cookie_parse(text, arena, &c))
		return;
	CHECK(c.name.len > 0 && c.name.len <= COUCH_NAME_BYTES);
	CHECK(!couch_cookie_signed(slice_text(SECRET), slice_text("salt"), &c));
	buf_append_text(&header, "AuthSession=");
	couch_cookie_print(slice_text(SECRET), slice_text("salt"), c.name, c.expiry_s, &header);
	struct couch_cookie own;
	CHECK(couch_cookie_parse(buf_slice(&header), arena, &own));
	CHECK(slice_equal(own.name, c.name) && own.expiry_s == c.expiry_s);
	CHECK(couch_cookie_signed(slice_text(SECRET), slice_text("salt"), &own));
	buf_close(&header);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena = {0};
	struct slice text = slice_of(data, size);
	basic(text, &arena);
	cookie(text, &arena);
	arena_close(&arena);
	return 0;
}
