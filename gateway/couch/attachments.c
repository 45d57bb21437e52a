#include "gateway/couch/attachments.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/doc/base64.h"
#include "common/doc/value.h"
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

static struct slice text_of(struct slice value, const char *name)
{
	struct mp_reader reader = mp_reader_of(value_member(value, slice_text(name)));
	struct mp_token token = mp_read(&reader);
	return token.type == MP_STR ? token.bytes : slice_of(NULL, 0);
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
	if (data.type != MP_STR || !base64_decode(data.bytes, &bytes))
		return refuse(p, COUCH_BAD_REQUEST, "Invalid attachment data for ", name, "");
	if (!couch_attachment_fits(t, bytes.len, name, p)) {
		buf_close(&bytes);
		return false;
	}
	content_prepare(t, arena_copy(&r->arena, buf_slice(&bytes)), c);
	buf_close(&bytes);
	return true;
}

static uint64_t revpos_of(struct slice value)
{
	struct mp_reader reader = mp_reader_of(value_member(value, slice_text("revpos")));
	struct mp_token token = mp_read(&reader);
	return token.type == MP_UINT ? token.u64 : 0;
}

/* The contents of one document on their way into its body. */
struct taking {
	struct slice document; /* id */
	bool imported;
	struct contents *work;
	struct buf *out;
};

static bool take_entry(struct turn *t, struct request *r, const struct taking *to,
		       struct slice name, struct slice value, struct problem *p)
{
	struct buf *out = to->out;
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
	c->document = to->document;
	couch_attachment_entry(c, text_of(value, "content_type"),
			       to->imported ? revpos_of(value) : 0, out);
	return true;
}

bool couch_attachments_take(struct turn *t, struct request *r, const struct couch_document *d,
			    struct slice id, struct slice *body, struct contents *work,
			    struct problem *p)
{
	struct buf out = {0};
	struct taking to = {id, d->imported, work, &out};
	struct mp_reader members = mp_reader_of(*body);
	struct mp_reader reader = mp_reader_of(d->attachments);
	struct mp_token head = mp_read(&reader);
	if (head.type != MP_MAP || head.count == 0 || d->deleted)
		return true;
	mp_write_map(&out, mp_read(&members).count + 1);
	buf_append(&out, members.at, (size_t)(members.end - members.at));
	mp_write_text(&out, ATTACHMENTS_MEMBER);
	mp_write_map(&out, head.count);
	bool fine = true;
	for (uint32_t i = 0; fine && i < head.count; i++) {
		struct mp_token name = mp_read(&reader);
		fine = take_entry(t, r, &to, name.bytes, mp_value(&reader), p);
	}
	if (fine)
		*body = arena_copy(&r->arena, buf_slice(&out));
	buf_close(&out);
	return fine;
}

struct slice couch_attachments_again(struct turn *t, struct request *r, struct slice id,
				     struct slice body, struct contents *work)
{
	struct buf out = {0};
	struct attachment_stub stub;
	struct slice member = attachments_of(body);
	struct attachments walk = attachments_begin(member);
	if (work->count == 0)
		return body;
	value_without_member(body, slice_text(ATTACHMENTS_MEMBER), &out);
	struct slice plain = arena_copy(&r->arena, buf_slice(&out));
	struct mp_reader members = mp_reader_of(plain);
	buf_clear(&out);
	mp_write_map(&out, mp_read(&members).count + 1);
	buf_append(&out, members.at, (size_t)(members.end - members.at));
	mp_write_text(&out, ATTACHMENTS_MEMBER);
	mp_write_map(&out, work->count);
	for (uint32_t i = 0; i < work->count && attachments_next(&walk, &stub); i++) {
		struct content *c = &work->list[i];
		content_prepare(t, c->bytes, c);
		c->document = id;
		mp_write_str(&out, stub.name);
		couch_attachment_entry(c, stub.type, 0, &out);
	}
	struct slice copy = arena_copy(&r->arena, buf_slice(&out));
	buf_close(&out);
	return copy;
}

void couch_contents_refused(struct turn *t, struct request *r, enum status status)
{
	if (status >= STATUS_NOT_LEAD)
		status = STATUS_NO_LEAD;
	/* it was dropped, as it took too long */
	answer_status(t, r, status == STATUS_NOT_FOUND ? STATUS_TIMED_OUT : status, "");
}

/* ---- read ---- */

void couch_attachments_want(struct contents *work, struct slice id, struct slice body)
{
	struct attachment_stub stub;
	struct attachments walk = attachments_begin(attachments_of(body));
	while (attachments_next(&walk, &stub)) {
		struct content *c = contents_add(work);
		c->document = arena_copy(work->arena, id);
		c->count = stub.length;
		memcpy(c->content, stub.content, CONTENT_BYTES);
	}
}

bool couch_contents_fit(struct turn *t, const struct contents *work, struct problem *p)
{
	uint64_t bytes = 0;
	uint64_t most = t->gw->options.limits.list_bytes_max;
	for (uint32_t i = 0; i < work->count; i++) {
		if (work->list[i].count > most - bytes)
			return problem_limit(p, STATUS_BODY_TOO_LARGE, "max_list_bytes", most,
					     bytes + work->list[i].count);
		bytes += work->list[i].count;
	}
	return true;
}

void couch_want_attachments(struct request *r)
{
	r->contents = arena_alloc(&r->arena, sizeof *r->contents);
	r->contents->arena = &r->arena;
}

struct slice couch_attachment_type(struct slice type)
{
	for (size_t i = 0; i < type.len; i++)
		if (type.data[i] < ' ' || type.data[i] > '~')
			return slice_text("application/octet-stream");
	return type.len > 0 ? type : slice_text("application/octet-stream");
}

/* JSON text holds no control characters: MARK and four bytes stand for the data of a content. */
enum { MARK = 1, MARK_BYTES = 5 };

static void print_one(const struct couch_document *d, const struct attachment_stub *stub,
		      uint32_t mark, struct buf *out)
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
	if (d->want) {
		buf_append_text(out, ",\"data\":\"");
		buf_append_byte(out, MARK);
		buf_append_be32(out, mark);
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
	uint32_t mark = d->want ? d->want->count : 0;
	bool any = false;
	while (attachments_next(&walk, &stub)) {
		buf_append_text(out, any ? "," : ",\"_attachments\":{");
		any = true;
		print_one(d, &stub, mark++, out);
	}
	if (any)
		buf_append_byte(out, '}');
	if (any && d->want)
		couch_attachments_want(d->want, d->id, d->body);
}

void couch_reply_send(struct turn *t, struct request *r, struct reply *reply)
{
	const struct contents *work = r->contents;
	struct slice body = buf_slice(&reply->body);
	if (!work || work->count == 0) {
		reply_send(t, r, reply);
		return;
	}
	struct flow *flow = flow_new(r);
	while (body.len > 0) {
		const uint8_t *at = memchr(body.data, MARK, body.len);
		size_t before = at ? (size_t)(at - body.data) : body.len;
		flow_text(flow, slice_of(body.data, before));
		if (!at)
			break;
		uint32_t index = be32_read(at + 1);
		CHECK(index < work->count);
		const struct content *c = &work->list[index];
		flow_base64(flow, c->document, c->content, c->count);
		body = slice_of(at + MARK_BYTES, body.len - before - MARK_BYTES);
	}
	flow_send(t, r, flow, reply);
}
