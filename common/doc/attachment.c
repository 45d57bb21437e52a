#include "common/doc/attachment.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <string.h>

#include "common/base/check.h"
#include "common/doc/base64.h"
#include "common/doc/value.h"
#include "proto/enums.h"

/* The head of a string of twelve bytes, and the string: a body without these bytes has no such
 * member. */
#define MEMBER_ENCODED "\xac" ATTACHMENTS_MEMBER

struct slice attachments_of(struct slice body)
{
	size_t len = sizeof MEMBER_ENCODED - 1;
	if (body.len < len || !memmem(body.data, body.len, MEMBER_ENCODED, len))
		return (struct slice){0};
	return value_member(body, slice_text(ATTACHMENTS_MEMBER));
}

struct attachments attachments_begin(struct slice member)
{
	struct attachments walk = {.reader = mp_reader_of(member)};
	struct mp_token head = mp_read(&walk.reader);
	walk.left = head.type == MP_MAP ? head.count : 0;
	return walk;
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool attachment_hex(struct slice text, uint8_t *out, size_t bytes)
{
	if (text.len != 2 * bytes)
		return false;
	for (size_t i = 0; i < bytes; i++) {
		int high = hex_digit(text.data[2 * i]);
		int low = hex_digit(text.data[2 * i + 1]);
		if (high < 0 || low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

static bool take_text(struct mp_reader *r, struct slice *out)
{
	struct mp_token token = mp_read(r);
	*out = token.bytes;
	return token.type == MP_STR;
}

static bool take_number(struct mp_reader *r, uint64_t *out)
{
	struct mp_token token = mp_read(r);
	*out = token.u64;
	return token.type == MP_UINT;
}

bool attachment_parse(struct slice value, struct attachment_stub *out)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token head = mp_read(&reader);
	bool named = false;
	struct slice content;
	*out = (struct attachment_stub){.name = {0}};
	for (uint32_t i = 0; head.type == MP_MAP && i < head.count; i++) {
		struct slice member;
		bool fine = take_text(&reader, &member);
		if (fine && slice_is(member, "content_type"))
			fine = take_text(&reader, &out->type);
		else if (fine && slice_is(member, "digest"))
			fine = take_text(&reader, &out->digest);
		else if (fine && slice_is(member, "length"))
			fine = take_number(&reader, &out->length);
		else if (fine && slice_is(member, "revpos"))
			fine = take_number(&reader, &out->revpos);
		else if (fine && slice_is(member, "content"))
			fine = named = take_text(&reader, &content) &&
				       attachment_hex(content, out->content, CONTENT_BYTES);
		else
			fine = fine && mp_skip(&reader);
		if (!fine)
			return false;
	}
	return named;
}

bool attachments_next(struct attachments *walk, struct attachment_stub *out)
{
	while (walk->left > 0) {
		walk->left--;
		struct slice name;
		bool fine = take_text(&walk->reader, &name);
		struct slice value = mp_value(&walk->reader);
		if (value.len == 0) {
			walk->left = 0;
			return false;
		}
		if (fine && attachment_parse(value, out)) {
			out->name = name;
			return true;
		}
	}
	return false;
}

bool attachment_find(struct slice member, struct slice name, struct attachment_stub *out)
{
	struct attachments walk = attachments_begin(member);
	while (attachments_next(&walk, out))
		if (slice_equal(out->name, name))
			return true;
	return false;
}

bool attachments_want(struct slice body, struct arena *arena, struct attachments_wanted *out)
{
	struct slice member = attachments_of(body);
	struct mp_reader reader = mp_reader_of(member);
	struct mp_token head = mp_read(&reader);
	*out = (struct attachments_wanted){.count = 0};
	if (member.len == 0)
		return true;
	if (head.type != MP_MAP || head.count > LIMIT_ATTACHMENTS)
		return false;
	out->count = head.count;
	out->stubs = arena_alloc(arena, (head.count + 1) * sizeof *out->stubs);
	out->found = arena_alloc(arena, head.count + 1);
	for (uint32_t i = 0; i < head.count; i++) {
		if (!take_text(&reader, &out->wrong))
			return false;
		struct slice value = mp_value(&reader);
		struct mp_reader members = mp_reader_of(value);
		if (mp_read(&members).count != STUB_MEMBERS ||
		    !attachment_parse(value, &out->stubs[i]))
			return false;
		out->stubs[i].name = out->wrong;
	}
	out->wrong = slice_of(NULL, 0);
	return true;
}

/* What is told of a content is believed of nobody: it is as some version says. */
static bool says_the_same(const struct attachment_stub *a, const struct attachment_stub *b)
{
	return memcmp(a->content, b->content, CONTENT_BYTES) == 0 && a->length == b->length &&
	       a->revpos == b->revpos && slice_equal(a->digest, b->digest);
}

void attachments_look(struct attachments_wanted *wanted, struct slice body)
{
	struct attachment_stub stub;
	struct attachments walk = attachments_begin(attachments_of(body));
	while (wanted->count > 0 && attachments_next(&walk, &stub))
		for (uint32_t i = 0; i < wanted->count; i++)
			wanted->found[i] |= says_the_same(&wanted->stubs[i], &stub);
}

bool attachments_all_found(struct attachments_wanted *wanted)
{
	for (uint32_t i = 0; i < wanted->count; i++) {
		if (wanted->found[i])
			continue;
		wanted->wrong = wanted->stubs[i].name;
		return false;
	}
	return true;
}

void attachment_write(const struct attachment_stub *stub, struct buf *out)
{
	struct buf content = {0};
	buf_append_hex(&content, stub->content, CONTENT_BYTES);
	mp_write_map(out, STUB_MEMBERS);
	mp_write_text(out, "content_type");
	mp_write_str(out, stub->type);
	mp_write_text(out, "revpos");
	mp_write_u64(out, stub->revpos);
	mp_write_text(out, "digest");
	mp_write_str(out, stub->digest);
	mp_write_text(out, "length");
	mp_write_u64(out, stub->length);
	mp_write_text(out, "content");
	mp_write_str(out, buf_slice(&content));
	buf_close(&content);
}

bool attachment_same(struct slice a, struct slice b)
{
	struct attachment_stub x;
	struct attachment_stub y;
	if (!attachment_parse(a, &x) || !attachment_parse(b, &y))
		return slice_equal(a, b);
	return memcmp(x.content, y.content, CONTENT_BYTES) == 0 && slice_equal(x.type, y.type);
}

void attachment_md5(struct slice bytes, uint8_t out[MD5_BYTES])
{
	static const uint8_t nothing = 0;
	CHECK(EVP_Digest(bytes.len ? bytes.data : &nothing, bytes.len, out, NULL, EVP_md5(),
			 NULL) == 1);
}

static EVP_MD_CTX *context_of(struct md5 *m)
{
	return (EVP_MD_CTX *)m;
}

struct md5 *md5_new(void)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	CHECK(context != NULL && EVP_DigestInit_ex(context, EVP_md5(), NULL) == 1);
	return (struct md5 *)context;
}

void md5_add(struct md5 *m, struct slice bytes)
{
	if (bytes.len > 0)
		CHECK(EVP_DigestUpdate(context_of(m), bytes.data, bytes.len) == 1);
}

void md5_end(struct md5 *m, uint8_t out[MD5_BYTES])
{
	CHECK(EVP_DigestFinal_ex(context_of(m), out, NULL) == 1);
}

void md5_free(struct md5 *m)
{
	EVP_MD_CTX_free(context_of(m));
}

void attachment_digest(const uint8_t md5[MD5_BYTES], struct buf *out)
{
	buf_append_text(out, "md5-");
	base64_encode(slice_of(md5, MD5_BYTES), out);
}

void content_chain(uint8_t chain[CONTENT_BYTES], struct slice chunk)
{
	uint8_t both[2 * CONTENT_BYTES];
	static const uint8_t nothing = 0;
	memcpy(both, chain, CONTENT_BYTES);
	CHECK(SHA256(chunk.len ? chunk.data : &nothing, chunk.len, both + CONTENT_BYTES) != NULL);
	CHECK(SHA256(both, sizeof both, chain) != NULL);
}

void content_name(const uint8_t chain[CONTENT_BYTES], uint64_t length, uint8_t out[CONTENT_BYTES])
{
	uint8_t whole[CONTENT_BYTES + 8];
	memcpy(whole, chain, CONTENT_BYTES);
	be64_write(whole + CONTENT_BYTES, length);
	CHECK(SHA256(whole, sizeof whole, out) != NULL);
}
