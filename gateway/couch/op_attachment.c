/* One attachment by its name: GET with ranges, PUT, DELETE. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/doc/revision.h"
#include "gateway/couch/attachments.h"
#include "gateway/couch/validate.h"
#include "gateway/flow.h"
#include "gateway/intake.h"
#include "gateway/routes.h"

struct range {
	uint64_t first;
	uint64_t count;
	bool given;
};

struct attachment_get {
	struct msg_doc_read read;
	struct slice if_none_match;
	struct slice range; /* as it came */
	struct attachment_stub stub;
	struct range asked;
};

/* ---- ranges ---- */

static bool take_number(struct slice *text, uint64_t *out)
{
	size_t at = 0;
	*out = 0;
	while (at < text->len && at < 18 && text->data[at] >= '0' && text->data[at] <= '9')
		*out = *out * 10 + (uint64_t)(text->data[at++] - '0');
	*text = slice_part(*text, at, text->len - at);
	return at > 0;
}

/* A header that can't be read, or that names several ranges, is as good as none. False: nothing of
 * the attachment is in it. */
static bool range_parse(struct slice text, uint64_t length, struct range *out)
{
	static const char unit[] = "bytes=";
	uint64_t first = 0;
	uint64_t last = 0;
	*out = (struct range){.count = length};
	if (text.len < sizeof unit - 1 || memcmp(text.data, unit, sizeof unit - 1) != 0)
		return true;
	text = slice_of(text.data + sizeof unit - 1, text.len - (sizeof unit - 1));
	bool has_first = take_number(&text, &first);
	if (text.len == 0 || text.data[0] != '-')
		return true;
	text = slice_of(text.data + 1, text.len - 1);
	bool has_last = take_number(&text, &last);
	if (text.len > 0 || (!has_first && !has_last) || (has_first && has_last && last < first))
		return true;
	if (!has_first) {
		first = last < length ? length - last : 0;
		has_last = last == 0; /* the last none */
	}
	if (first >= length || (has_last && last == 0 && !has_first))
		return false;
	uint64_t end = has_first && has_last && last < length ? last + 1 : length;
	*out = (struct range){.first = first, .count = end - first, .given = true};
	return true;
}

/* ---- reading ---- */

/* The MD5 alone, as Base64. */
static struct slice digest_shown(struct slice digest)
{
	return digest.len > 4 ? slice_of(digest.data + 4, digest.len - 4) : digest;
}

static void put_headers(struct request *r, const struct attachment_get *op, struct reply *reply)
{
	struct buf text = {0};
	struct slice md5 = digest_shown(op->stub.digest);
	buf_append_byte(&text, '"');
	buf_append_slice(&text, md5);
	buf_append_byte(&text, '"');
	reply_header(r, reply, "ETag", buf_slice(&text));
	reply_header(r, reply, "Accept-Ranges", slice_text("bytes"));
	/* it is somebody's file: as a page it may do nothing here */
	reply_header(r, reply, "Content-Security-Policy", slice_text("sandbox"));
	if (op->asked.given) {
		buf_clear(&text);
		buf_printf(&text, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, op->asked.first,
			   op->asked.first + op->asked.count - 1, op->stub.length);
		reply_header(r, reply, "Content-Range", buf_slice(&text));
	} else {
		reply_header(r, reply, "Content-MD5", md5);
	}
	buf_close(&text);
	reply->content_type = arena_copy(&r->arena, couch_attachment_type(op->stub.type));
}

static bool is_known(const struct attachment_get *op)
{
	struct slice md5 = digest_shown(op->stub.digest);
	struct slice header = op->if_none_match;
	return header.len == md5.len + 2 && header.data[0] == '"' &&
	       memcmp(header.data + 1, md5.data, md5.len) == 0;
}

static void answer_unsatisfiable(struct turn *t, struct request *r, const struct attachment_get *op)
{
	struct problem problem;
	struct buf text = {0};
	couch_problem(&problem, COUCH_RANGE, "");
	struct reply *reply = reply_begin(t, couch_http(&problem));
	buf_printf(&text, "bytes */%" PRIu64, op->stub.length);
	reply_header(r, reply, "Content-Range", buf_slice(&text));
	buf_close(&text);
	couch_error_print(&problem, &reply->body);
	reply_send(t, r, reply);
}

static void read_range(struct turn *t, struct request *r, struct attachment_get *op)
{
	if (!range_parse(op->range, op->stub.length, &op->asked)) {
		answer_unsatisfiable(t, r, op);
		return;
	}
	struct flow *flow = flow_new(r);
	flow_content(flow, op->read.id, op->stub.content, op->asked.first, op->asked.count);
	struct reply *reply = reply_begin(t, op->asked.given ? 206 : 200);
	put_headers(r, op, reply);
	flow_send(t, r, flow, reply);
}

static void have_document(struct turn *t, struct request *r, uint32_t index, enum status status,
			  const void *body)
{
	struct attachment_get *op = r->op;
	const struct msg_doc_read_ack *ack = body;
	(void)index;
	if (!couch_document_found(t, r, status, ack, op->read.revision.generation > 0))
		return;
	struct slice member = arena_copy(&r->arena, attachments_of(ack->body));
	if (!attachment_find(member, r->part, &op->stub)) {
		couch_answer_error(t, r, COUCH_ATTACHMENT_MISSING);
		return;
	}
	if (is_known(op)) {
		struct reply *reply = reply_begin(t, 304);
		put_headers(r, op, reply);
		reply_send(t, r, reply);
		return;
	}
	read_range(t, r, op);
}

static void get_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct attachment_get *op = r->op;
	if (!couch_read_send(t, r, c, &op->read, have_document))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

void couch_attachment_read(struct turn *t, struct request *r)
{
	struct attachment_get *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	struct slice rev;
	r->op = op;
	op->read.id = r->resource;
	op->if_none_match = arena_copy(&r->arena, request_header(r, "if-none-match"));
	op->range = arena_copy(&r->arena, request_header(r, "range"));
	if (request_parameter(r, "rev", &rev) &&
	    !couch_revision(r, rev, &op->read.revision, &problem))
		answer_problem(t, r, &problem);
	else
		couch_find(t, r, get_go);
}

/* ---- writing ---- */

struct attachment_put {
	struct couch_write write;
	struct contents work;
	struct couch_document document;
	struct validated check;
	struct slice md5; /* that its client says it has, Base64; empty: it says none */
	bool coded;       /* with gzip */
	struct slice type;
	uint64_t revpos; /* of the revision that is made */
};

static void written(struct turn *t, struct request *r, uint32_t index, enum status status,
		    const void *body)
{
	struct attachment_put *op = r->op;
	(void)index;
	if (couch_write_done(t, r, &op->write, status, body))
		couch_write_answer(t, r, &op->write);
}

static void put_write(struct turn *t, struct request *r)
{
	struct attachment_put *op = r->op;
	if (!couch_write_send(t, r, &op->write, 0, written))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

static void validated(struct turn *t, struct request *r)
{
	struct attachment_put *op = r->op;
	if (op->check.refused) {
		answer_problem(t, r, &op->check.problem);
	} else {
		intake_named(r);
		put_write(t, r);
	}
}

/* Functions of the database see the attachment as a stub. */
static void validate(struct turn *t, struct request *r, const struct content *c)
{
	struct attachment_put *op = r->op;
	op->check =
	    (struct validated){.document = &op->document,
			       .id = op->document.id,
			       .patch = couch_validate_attachment(r, c, op->type, op->revpos)};
	timers_set(&t->gw->timers, &r->deadline, t->now_ms + t->gw->options.limits.deadline_ms);
	couch_validate(t, r, &op->check, 1, validated);
}

static void delete_go(struct turn *t, struct request *r, struct map_collection *c)
{
	(void)c;
	validate(t, r, NULL);
}

static void put_moved(struct turn *t, struct request *r, enum status status)
{
	struct attachment_put *op = r->op;
	struct problem problem;
	if (status == STATUS_BODY_TOO_LARGE) {
		couch_attachment_large(r->part, &problem);
		answer_problem(t, r, &problem);
	} else if (status != STATUS_OK) {
		couch_contents_refused(t, r, status);
	} else if (!r->intake->upload.done) {
		intake_pump(t, r);
	} else if (!md5_is(op->coded ? r->intake->upload.md5_coded : op->work.list[0].md5,
			   op->md5)) {
		couch_answer_error(t, r, COUCH_MD5_MISMATCH);
	} else {
		const struct content *c = &op->work.list[0];
		native_operation_add(t, r, slice_of(c->md5, sizeof c->md5), &op->write.write);
		validate(t, r, c);
	}
}

static void put_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct attachment_put *op = r->op;
	(void)c;
	upload_begin(t, r, &op->work.list[0], t->gw->options.limits.attachment_bytes_max,
		     put_moved);
	if (op->coded)
		upload_decode(&r->intake->upload);
	intake_start(t, r, upload_take, upload_finish);
}

/* {"_attachments": {name: the new one, or null}}: a whole body, or a patch of what is there. */
static struct slice body_of(struct request *r, const struct content *c)
{
	struct buf out = {0};
	mp_write_map(&out, 1);
	mp_write_text(&out, ATTACHMENTS_MEMBER);
	mp_write_map(&out, 1);
	mp_write_str(&out, r->part);
	if (c)
		couch_attachment_entry(c, couch_attachment_type(request_header(r, "content-type")),
				       0, &out);
	else
		mp_write_nil(&out);
	struct slice copy = arena_copy(&r->arena, buf_slice(&out));
	buf_close(&out);
	return copy;
}

static bool take_coding(struct request *r, struct attachment_put *op, struct problem *p)
{
	struct slice coding = request_header(r, "content-encoding");
	op->coded = slice_is(coding, "gzip");
	return coding.len == 0 || op->coded || slice_is(coding, "identity") ||
	       couch_problem(p, COUCH_BAD_CODING, "");
}

static bool start(struct turn *t, struct request *r, struct attachment_put *op, struct problem *p)
{
	struct native_operation operation;
	struct couch_document d = {.id = r->resource};
	struct content *c = NULL;
	bool removes = r->method == HTTP_DELETE;
	if (!couch_attachment_name_check(r->part, p) ||
	    !native_operation_pieces(t, r, &operation, p) || !couch_write_revision(r, &d, p))
		return false;
	if (removes && d.revision.generation == 0)
		return couch_problem(p, COUCH_CONFLICT, "");
	if (!removes) {
		struct slice length = request_header(r, "content-length");
		uint64_t bytes;
		if (take_number(&length, &bytes) && !couch_attachment_fits(t, bytes, r->part, p))
			return false;
		if (!take_coding(r, op, p))
			return false;
		op->md5 = arena_copy(&r->arena, request_header(r, "content-md5"));
		c = contents_add(&op->work);
		content_draw(t, c);
		c->document = r->resource;
	}
	d.body = body_of(r, c);
	couch_write_fill(t, r, &operation, 0, &d, &op->write);
	if (d.revision.generation > 0)
		op->write.write.op = WRITE_PATCH;
	op->write.changes = removes;
	op->document = d;
	op->type = arena_copy(&r->arena, couch_attachment_type(request_header(r, "content-type")));
	op->revpos = d.revision.generation + 1;
	return true;
}

void couch_attachment_write(struct turn *t, struct request *r)
{
	struct attachment_put *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	r->op = op;
	op->work.arena = &r->arena;
	if (!start(t, r, op, &problem))
		answer_problem(t, r, &problem);
	else if (r->method == HTTP_DELETE)
		couch_find(t, r, delete_go);
	else if (intake_begin(t, r, &op->work))
		couch_find(t, r, put_go);
}

void couch_local_attachment(struct turn *t, struct request *r)
{
	couch_answer_error(t, r, COUCH_LOCAL_ATTACHMENT);
}
