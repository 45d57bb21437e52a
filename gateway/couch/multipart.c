/* Answers of several parts. */
#include "gateway/couch/multipart.h"

#include <inttypes.h>

#include "gateway/multipart.h"

bool couch_multipart_asked(const struct request *r, const char *type)
{
	struct slice accept = request_header(r, "accept");
	while (accept.len > 0) {
		const uint8_t *comma = memchr(accept.data, ',', accept.len);
		size_t len = comma ? (size_t)(comma - accept.data) : accept.len;
		if (header_type_is(slice_of(accept.data, len), type))
			return true;
		len += comma ? 1 : 0;
		accept = slice_of(accept.data + len, accept.len - len);
	}
	return false;
}

void couch_boundary_draw(struct turn *t, char out[PART_BOUNDARY_BYTES])
{
	static const char digits[] = "0123456789abcdef";
	uint8_t random[(PART_BOUNDARY_BYTES - 1) / 2];
	rng_fill(&t->gw->rng, random, sizeof random);
	for (size_t i = 0; i < sizeof random; i++) {
		out[2 * i] = digits[random[i] >> 4];
		out[2 * i + 1] = digits[random[i] & 15];
	}
	out[PART_BOUNDARY_BYTES - 1] = 0;
}

void couch_related_type(const char *boundary, struct slice body, struct buf *out)
{
	if (attachments_of(body).len > 0)
		buf_printf(out, "multipart/related; boundary=\"%s\"", boundary);
	else
		buf_append_text(out, "application/json");
}

/* What would end a header is no name for one. */
static bool is_text(struct slice name)
{
	for (size_t i = 0; i < name.len; i++)
		if (name.data[i] < ' ' || name.data[i] == 0x7f)
			return false;
	return true;
}

static void print_name(struct slice name, struct buf *out)
{
	buf_append_text(out, "\r\nContent-Disposition: attachment");
	if (!is_text(name))
		return;
	buf_append_text(out, "; filename=\"");
	for (size_t i = 0; i < name.len; i++) {
		if (name.data[i] == '"' || name.data[i] == '\\')
			buf_append_byte(out, '\\');
		buf_append_byte(out, name.data[i]);
	}
	buf_append_byte(out, '"');
}

void couch_part_print(const char *boundary, struct slice name, struct slice type, uint64_t length,
		      struct buf *out)
{
	buf_printf(out, "\r\n--%s", boundary);
	print_name(name, out);
	buf_append_text(out, "\r\nContent-Type: ");
	buf_append_slice(out, couch_attachment_type(type));
	buf_printf(out, "\r\nContent-Length: %" PRIu64 "\r\n\r\n", length);
}

void couch_related_print(struct flow *flow, const char *boundary, struct slice id,
			 struct slice json, struct slice body)
{
	struct attachment_stub stub;
	struct attachments walk = attachments_begin(attachments_of(body));
	struct buf text = {0};
	if (attachments_of(body).len == 0) {
		flow_text(flow, json);
		return;
	}
	buf_printf(&text, "--%s\r\nContent-Type: application/json\r\n\r\n", boundary);
	buf_append_slice(&text, json);
	while (attachments_next(&walk, &stub)) {
		couch_part_print(boundary, stub.name, stub.type, stub.length, &text);
		flow_text(flow, buf_slice(&text));
		flow_content(flow, id, stub.content, 0, stub.length);
		buf_clear(&text);
	}
	buf_printf(&text, "\r\n--%s--", boundary);
	flow_text(flow, buf_slice(&text));
	buf_close(&text);
}
