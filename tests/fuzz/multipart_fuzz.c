/* Any bytes as a multipart body: a line that is the boundary, a byte that says how it is cut, the
 * body. Read in whatever pieces it comes to the same. The body as headers, and as gzip, too. */
#include "common/base/check.h"
#include "gateway/inflate.h"
#include "gateway/multipart.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Each part as its headers and its bytes, with lengths; ends and refusals. False: it was refused.
 */
static bool feed(struct multipart *m, struct slice in, struct buf *out, struct buf *part)
{
	struct slice got;
	for (;;) {
		switch (multipart_next(m, &in, &got)) {
		case MULTIPART_MORE:
			CHECK(in.len == 0);
			return true;
		case MULTIPART_PART:
			buf_clear(part);
			buf_append_be32(out, (uint32_t)got.len);
			buf_append_slice(out, got);
			break;
		case MULTIPART_DATA:
			CHECK(got.len > 0);
			buf_append_slice(part, got);
			break;
		case MULTIPART_LAST:
			buf_append_be32(out, (uint32_t)part->len);
			buf_append_slice(out, buf_slice(part));
			break;
		case MULTIPART_END:
			buf_append_byte(out, '.');
			break;
		case MULTIPART_BAD:
			buf_append_byte(out, '!');
			return false;
		}
	}
}

static void read_in_steps(struct slice boundary, struct slice body, size_t step, struct buf *out)
{
	struct multipart m = {0};
	struct buf part = {0};
	CHECK(multipart_begin(&m, boundary));
	for (size_t at = 0; at < body.len; at += step) {
		size_t len = body.len - at < step ? body.len - at : step;
		if (!feed(&m, slice_of(body.data + at, len), out, &part))
			break;
	}
	multipart_close(&m);
	buf_close(&part);
}

static void read_headers(struct slice text)
{
	struct buf value = {0};
	struct slice header = multipart_header(text, "content-disposition");
	CHECK(header.len <= text.len);
	if (header_parameter(header, "filename", &value))
		CHECK(value.len <= header.len);
	(void)header_type_is(text, "multipart/related");
	buf_close(&value);
}

static void inflate_all(struct slice in, size_t step)
{
	struct inflater *z = inflater_new();
	size_t made = 0;
	for (size_t at = 0; at < in.len; at += step) {
		struct slice rest = slice_of(in.data + at, in.len - at < step ? in.len - at : step);
		do {
			if (!inflater_step(z, &rest)) {
				inflater_free(z);
				return;
			}
			CHECK(z->len <= INFLATE_BYTES);
			made += z->len;
		} while ((rest.len > 0 || z->more) && made < 16 * INFLATE_BYTES);
	}
	inflater_free(z);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = size > 0 ? memchr(data, '\n', size) : NULL;
	struct multipart probe = {0};
	struct buf whole = {0};
	struct buf cut = {0};
	if (!end || (size_t)(end - data) + 2 > size)
		return 0;
	struct slice boundary = slice_of(data, (size_t)(end - data));
	size_t step = (size_t)end[1] % 61 + 1;
	struct slice body = slice_of(end + 2, size - boundary.len - 2);
	read_headers(body);
	inflate_all(body, step);
	if (!multipart_begin(&probe, boundary))
		return 0;
	read_in_steps(boundary, body, body.len + 1, &whole);
	read_in_steps(boundary, body, step, &cut);
	CHECK(slice_equal(buf_slice(&whole), buf_slice(&cut)));
	buf_close(&whole);
	buf_close(&cut);
	return 0;
}
