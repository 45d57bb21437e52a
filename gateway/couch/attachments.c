#include "gateway/couch/attachments.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/doc/base64.h"
#include "common/doc/value.h"
#include "gateway/carry.h"
#include "gateway/couch/multipart.h"
#include "gateway/flow.h"

/* ---- written ---- */

static bool refuse(struct problem *p, enum couch_error error, const char *before, struct slice name,
		   const char *behind)
{
	char text[PLACE_BYTES];
	snprintf(text, sizeof text, "%s%.*s%s", before, (int)(name.len < 100 ? name.len : 100),
		 name.len ? (const char *)name.data : "", behind);
	return couch_problem(p, error, text);
}

bool couch_attachment_name_check(struct slice name, struct problem *p)
{
	if (name.len == 0)
		return couch_problem(p, COUCH_BAD_REQUEST, "Attachment name must not be empty");
	if (name.data[0] == '_')
		return refuse(p, COUCH_BAD_REQUEST, "Attachment name '", name,
			      "' starts with prohibited character '_'");
	return name.len <= LIMIT_ID_BYTES ||
	       couch_problem(p, COUCH_BAD_REQUEST, "Attachment names are at most 512 bytes.");
}

bool couch_attachment_large(struct slice name, struct problem *p)
{
	return refuse(p, COUCH_ATTACHMENT_LARGE, "", name, "");
}

bool couch_attachment_fits(struct turn *t, uint64_t length, struct slice name, struct problem *p)
{
	return length <= t->gw->options.limits.attachment_bytes_max ||
	       couch_attachment_large(name, p);
}

static bool flag_of(struct slice value, const char *name)
{
	struct mp_reader reader = mp_reader_of(value_member(value, slice_text(name)));
	struct mp_token token = mp_read(&reader);
	return token.type == MP_BOOL && token.flag;
}

void couch_attachment_entry(const struct content *c, struct slice type, uint64_t revpos,
			    struct buf *out)
{
	char upload[UPLOAD_TEXT_BYTES];
	content_upload_text(c, upload);
	mp_write_map(out, 3);
	mp_write_text(out, "revpos");
	mp_write_u64(out, revpos);
	mp_write_text(out, "content_type");
	mp_write_str(out, type.len > 0 ? type : slice_text("application/octet-stream"));
	mp_write_text(out, "upload");
	mp_write_text(out, upload);
}

static bool take_data(struct turn *t, struct request *r, struct slice name, struct slice value,
		      struct content *c, struct problem *p)
{
	struct buf bytes = {0};
	struct mp_reader reader = mp_reader_of(value_member(value, slice_text("data")));
	struct mp_token data = mp_read(&reader);
	bool fine = data.type == MP_STR && base64_decode(data.bytes, &bytes);
	if (!fine)
		refuse(p, COUCH_BAD_REQUEST, "Invalid attachment data for ", name, "");
	fine = fine && couch_attachment_fits(t, bytes.len, name, p);
	if (fine)
		content_prepare(t, arena_copy(&r->arena, buf_slice(&bytes)), c);
	buf_close(&bytes); /* what is wrong in its middle has left bytes, too */
	return fine;
}

static uint64_t revpos_of(struct slice value)
{
	struct mp_reader reader = mp_reader_of(value_member(value, slice_text("revpos")));
	struct mp_token token = mp_read(&reader);
	return token.type == MP_UINT ? token.u64 : 0;
}

/* Its line in the body's `_attachments`. */
struct entry {
	struct slice name;
	struct slice value; /* as the client sent it */
	struct buf *out;
};

static bool take_entry(struct turn *t, struct request *r, const struct couch_attached *to,
		       const struct entry *entry, struct problem *p)
{
	struct slice name = entry->name;
	struct slice value = entry->value;
	struct buf *out = entry->out;
	if (!couch_attachment_name_check(name, p))
		return false;
	mp_write_str(out, name);
	if (flag_of(value, "stub")) {
		mp_write_map(out, 1);
		mp_write_text(out, "stub");
		mp_write_bool(out, true);
		return true;
	}
	struct content *c = contents_add(to->work);
	if (to->work->follow && flag_of(value, "follows")) {
		content_draw(t, c);
		c->follow = couch_follow_new(r, name, value, p);
		if (!c->follow)
			return false;
	} else if (!take_data(t, r, name, value, c, p)) {
		return false;
	}
	c->document = to->id;
	couch_attachment_entry(c, value_text_member(value, "content_type"),
			       to->document->imported ? revpos_of(value) : 0, out);
	return true;
}

bool couch_attachments_take(struct turn *t, struct request *r, const struct couch_attached *to,
			    struct problem *p)
{
	struct buf out = {0};
	const struct couch_document *d = to->document;
	struct mp_reader members = mp_reader_of(*to->body);
	struct mp_reader reader = mp_reader_of(d->attachments);
	struct mp_token head = mp_read(&reader);
	if (head.type != MP_MAP || head.count == 0 || d->deleted)
		return true;
	if (head.count > LIMIT_ATTACHMENTS)
		return couch_problem(p, COUCH_BAD_REQUEST,
				     "A document has at most 1024 attachments.");
	mp_write_map(&out, mp_read(&members).count + 1);
	buf_append(&out, members.at, (size_t)(members.end - members.at));
	mp_write_text(&out, ATTACHMENTS_MEMBER);
	mp_write_map(&out, head.count);
	bool fine = true;
	for (uint32_t i = 0; fine && i < head.count; i++) {
		struct entry entry = {.name = mp_read(&reader).bytes, .out = &out};
		entry.value = mp_value(&reader);
		fine = take_entry(t, r, to, &entry, p);
	}
	if (fine)
		*to->body = arena_copy(&r->arena, buf_slice(&out));
	buf_close(&out);
	return fine;
}

bool couch_attachments_carry(struct turn *t, struct request *r, struct slice id, struct slice *body,
			     struct contents *work)
{
	struct buf out = {0};
	struct attachment_stub stub;
	struct slice member = attachments_of(*body);
	struct attachments walk = attachments_begin(member);
	struct mp_reader entries = mp_reader_of(member);
	bool fine = true;
	if (member.len == 0)
		return true;
	value_without_member(*body, slice_text(ATTACHMENTS_MEMBER), &out);
	struct slice plain = arena_copy(&r->arena, buf_slice(&out));
	struct mp_reader members = mp_reader_of(plain);
	buf_clear(&out);
	mp_write_map(&out, mp_read(&members).count + 1);
	buf_append(&out, members.at, (size_t)(members.end - members.at));
	mp_write_text(&out, ATTACHMENTS_MEMBER);
	mp_write_map(&out, mp_read(&entries).count);
	while (fine && attachments_next(&walk, &stub)) {
		struct content *c;
		fine = carry_add(t, work, &stub, id, &c);
		mp_write_str(&out, stub.name);
		if (fine)
			couch_attachment_entry(c, stub.type, 0, &out);
	}
	if (fine)
		*body = arena_copy(&r->arena, buf_slice(&out));
	buf_close(&out);
	return fine;
}

void couch_contents_refused(struct turn *t, struct request *r, enum status status)
{
	if (status >= STATUS_NOT_LEAD)
		status = STATUS_NO_LEAD;
	/* it was dropped, as it took too long */
	answer_status(t, r, status == STATUS_NOT_FOUND ? STATUS_TIMED_OUT : status, "");
}

/* ---- read ---- */

struct slice couch_attachment_type(struct slice type)
{
	for (size_t i = 0; i < type.len; i++)
		if (type.data[i] < ' ' || type.data[i] > '~')
			return slice_text("application/octet-stream");
	return type.len > 0 ? type : slice_text("application/octet-stream");
}

/* JSON text holds no control characters: MARK stands for the data of a content, and is followed by
 * what tells which: its name, its length, and the id of the document behind its own. */
enum { MARK = 1, MARK_BYTES = 1 + CONTENT_BYTES + 8 + 4 };

static void print_mark(struct slice id, const struct attachment_stub *stub, struct buf *out)
{
	buf_append_byte(out, MARK);
	buf_append(out, stub->content, CONTENT_BYTES);
	buf_append_be64(out, stub->length);
	buf_append_be32(out, (uint32_t)id.len);
	buf_append_slice(out, id);
}

bool couch_data_next(struct slice *text, struct slice *before, struct couch_data *out)
{
	const uint8_t *at = text->len > 0 ? memchr(text->data, MARK, text->len) : NULL;
	size_t len = at ? (size_t)(at - text->data) : text->len;
	*before = slice_of(text->data, len);
	*text = slice_part(*text, len, text->len - len);
	if (!at)
		return false;
	CHECK(text->len >= MARK_BYTES);
	memcpy(out->content, at + 1, CONTENT_BYTES);
	out->length = be64_read(at + 1 + CONTENT_BYTES);
	size_t id_len = be32_read(at + MARK_BYTES - 4);
	out->document = slice_part(*text, MARK_BYTES, id_len);
	*text = slice_part(*text, MARK_BYTES + id_len, text->len - MARK_BYTES - id_len);
	return true;
}

static void print_one(const struct couch_document *d, const struct attachment_stub *stub,
		      struct buf *out)
{
	json_string(stub->name, out);
	buf_append_text(out, ":{\"content_type\":");
	json_string(stub->type, out);
	buf_printf(out, ",\"revpos\":%" PRIu64 ",\"digest\":", stub->revpos);
	json_string(stub->digest, out);
	if (d->follows) {
		buf_printf(out, ",\"length\":%" PRIu64 ",\"follows\":true}", stub->length);
		return;
	}
	if (d->data) {
		buf_append_text(out, ",\"data\":\"");
		print_mark(d->id, stub, out);
		buf_append_text(out, "\"}");
		return;
	}
	buf_printf(out, ",\"length\":%" PRIu64 ",\"stub\":true}", stub->length);
}

void couch_attachments_print(const struct couch_document *d, struct buf *out)
{
	struct attachment_stub stub;
	struct slice member = attachments_of(d->body);
	struct attachments walk = attachments_begin(member);
	bool any = false;
	while (attachments_next(&walk, &stub)) {
		buf_append_text(out, any ? "," : ",\"_attachments\":{");
		any = true;
		print_one(d, &stub, out);
	}
	if (any)
		buf_append_byte(out, '}');
}

void couch_reply_send(struct turn *t, struct request *r, struct reply *reply)
{
	struct slice body = buf_slice(&reply->body);
	struct slice text;
	struct couch_data data;
	if (body.len == 0 || !memchr(body.data, MARK, body.len)) {
		reply_send(t, r, reply);
		return;
	}
	struct flow *flow = flow_new(r);
	while (couch_data_next(&body, &text, &data)) {
		flow_text(flow, text);
		flow_base64(flow, data.document, data.content, data.length);
	}
	flow_text(flow, text);
	flow_send(t, r, flow, reply);
}
