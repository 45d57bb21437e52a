#include "common/doc/content_carry.h"

#include <string.h>

#include "common/doc/base64.h"
#include "common/doc/revision.h"
#include "common/doc/value.h"

enum { NAME_BYTES = 8 }; /* of an operation id: the same whichever try */

static void name_upload(struct slice operation_id, const uint8_t content[CONTENT_BYTES],
			uint8_t out[CARRY_UPLOAD_BYTES])
{
	struct buf form = {0};
	mp_write_array(&form, 3);
	mp_write_text(&form, "carry");
	mp_write_bin(&form, slice_of(operation_id.data, NAME_BYTES));
	mp_write_bin(&form, slice_of(content, CONTENT_BYTES));
	digest16(buf_slice(&form), out);
	buf_close(&form);
}

/* "md5-" and Base64. */
static bool read_digest(struct slice digest, uint8_t out[MD5_BYTES])
{
	static const char head[] = "md5-";
	struct buf bytes = {0};
	size_t len = sizeof head - 1;
	bool fine = digest.len > len && memcmp(digest.data, head, len) == 0 &&
		    base64_decode(slice_of(digest.data + len, digest.len - len), &bytes) &&
		    bytes.len == MD5_BYTES;
	if (fine)
		memcpy(out, bytes.data, MD5_BYTES);
	buf_close(&bytes);
	return fine;
}

static bool is_listed(const struct content_carry *c, const uint8_t content[CONTENT_BYTES])
{
	for (uint32_t i = 0; i < c->count; i++)
		if (memcmp(c->list[i].content, content, CONTENT_BYTES) == 0)
			return true;
	return false;
}

bool content_carry_begin(struct content_carry *c, struct slice body, struct slice operation_id,
			 struct arena *arena)
{
	struct attachments_wanted wanted;
	*c = (struct content_carry){.count = 0};
	if (operation_id.len < NAME_BYTES || !attachments_want(body, arena, &wanted))
		return false;
	c->list = arena_alloc(arena, (wanted.count + 1) * sizeof *c->list);
	for (uint32_t i = 0; i < wanted.count; i++) {
		const struct attachment_stub *stub = &wanted.stubs[i];
		struct content_carried *one = &c->list[c->count];
		if (is_listed(c, stub->content))
			continue;
		if (!read_digest(stub->digest, one->md5))
			return false;
		memcpy(one->content, stub->content, CONTENT_BYTES);
		one->length = stub->length;
		name_upload(operation_id, one->content, one->upload);
		c->count++;
	}
	return true;
}

bool content_carry_is_done(const struct content_carry *c)
{
	return c->next == c->count;
}

struct msg_attachment_read content_carry_read(const struct content_carry *c)
{
	return (struct msg_attachment_read){
	    .content = slice_of(c->list[c->next].content, CONTENT_BYTES), .number = c->chunk};
}

static bool is_last(const struct content_carry *c)
{
	return c->chunk + 1 >= content_chunks(c->list[c->next].length, LIMIT_CHUNK_BYTES);
}

struct msg_attachment_chunk content_carry_chunk(const struct content_carry *c, struct slice bytes)
{
	const struct content_carried *one = &c->list[c->next];
	struct msg_attachment_chunk m = {.body = bytes};
	m.chunk.upload = slice_of(one->upload, sizeof one->upload);
	m.chunk.number = c->chunk;
	m.chunk.last = is_last(c);
	if (m.chunk.last)
		m.chunk.md5 = slice_of(one->md5, sizeof one->md5);
	return m;
}

void content_carry_go_on(struct content_carry *c)
{
	if (is_last(c)) {
		c->next++;
		c->chunk = 0;
	} else {
		c->chunk++;
	}
}

/* The digest and the length are those of what comes; the content's name stays, to be compared. */
static void write_coming(struct slice operation_id, const struct attachment_stub *stub,
			 struct buf *out)
{
	uint8_t upload[CARRY_UPLOAD_BYTES];
	struct buf hex = {0};
	name_upload(operation_id, stub->content, upload);
	mp_write_map(out, 4);
	mp_write_text(out, "content_type");
	mp_write_str(out, stub->type);
	mp_write_text(out, "revpos");
	mp_write_u64(out, stub->revpos);
	mp_write_text(out, "content");
	buf_append_hex(&hex, stub->content, CONTENT_BYTES);
	mp_write_str(out, buf_slice(&hex));
	mp_write_text(out, "upload");
	buf_clear(&hex);
	buf_append_hex(&hex, upload, sizeof upload);
	mp_write_str(out, buf_slice(&hex));
	buf_close(&hex);
}

static void write_attachments(struct slice operation_id, struct slice member, struct buf *out)
{
	struct mp_reader reader = mp_reader_of(member);
	uint32_t count = mp_read(&reader).count;
	mp_write_map(out, count);
	for (uint32_t i = 0; i < count; i++) {
		struct attachment_stub stub;
		mp_write_str(out, mp_read(&reader).bytes);
		struct slice value = mp_value(&reader);
		if (attachment_parse(value, &stub))
			write_coming(operation_id, &stub, out);
		else
			buf_append_slice(out, value);
	}
}

struct slice content_carry_body(struct slice body, struct slice operation_id, struct arena *arena)
{
	struct buf out = {0};
	struct mp_reader reader = mp_reader_of(body);
	uint32_t members = mp_read(&reader).count;
	mp_write_map(&out, members);
	for (uint32_t i = 0; i < members; i++) {
		struct slice name = mp_read(&reader).bytes;
		struct slice value = mp_value(&reader);
		mp_write_str(&out, name);
		if (slice_is(name, ATTACHMENTS_MEMBER))
			write_attachments(operation_id, value, &out);
		else
			buf_append_slice(&out, value);
	}
	struct slice copy = arena_copy(arena, buf_slice(&out));
	buf_close(&out);
	return copy;
}
