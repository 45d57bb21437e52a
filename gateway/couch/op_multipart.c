/* A document whose attachments follow it as parts of one body (multipart/related). The first part
 * is the document; the others are sent on as they come in, and the document is written when all
 * have. */
#include <stdio.h>

#include "common/doc/value.h"
#include "gateway/couch/multipart.h"
#include "gateway/intake.h"
#include "gateway/multipart.h"

struct parts {
	struct multipart parser;
	struct buf json;         /* the document */
	struct contents *work;   /* its attachments; NULL: it has not come yet */
	struct content *current; /* whose part comes */
	struct buf back; /* bytes of it that were taken for a delimiter, and not taken yet */
	uint32_t count;
	bool waits;   /* until all of a part is with its lead */
	bool closed;  /* the last delimiter has come */
	bool ended;   /* the body has */
	bool written; /* the document is */
};

static void refuse(struct turn *t, struct request *r, const char *reason)
{
	struct problem problem;
	couch_problem(&problem, COUCH_BAD_REQUEST, reason);
	answer_problem(t, r, &problem);
}

/* ---- what the document says ---- */

static bool refuse_member(const char *member, struct slice name, struct problem *p)
{
	char text[PLACE_BYTES];
	snprintf(text, sizeof text, "Invalid attachment %s for %.*s", member,
		 (int)(name.len < 100 ? name.len : 100), name.len ? (const char *)name.data : "");
	return couch_problem(p, COUCH_BAD_REQUEST, text);
}

/* UINT64_MAX: it says none. */
static bool take_number(struct slice value, const char *member, uint64_t *out)
{
	struct slice given = value_member(value, slice_text(member));
	struct mp_reader reader = mp_reader_of(given);
	struct mp_token token = mp_read(&reader);
	*out = token.type == MP_UINT ? token.u64 : UINT64_MAX;
	return given.len == 0 || (token.type == MP_UINT && token.u64 < UINT64_MAX);
}

static bool take_coding(struct slice value, bool *gzip)
{
	struct slice given = value_member(value, slice_text("encoding"));
	struct mp_reader reader = mp_reader_of(given);
	struct mp_token token = mp_read(&reader);
	*gzip = token.type == MP_STR && slice_is(token.bytes, "gzip");
	return *gzip || given.len == 0 ||
	       (token.type == MP_STR && slice_is(token.bytes, "identity"));
}

static bool take_digest(struct slice value, struct slice *md5)
{
	struct slice given = value_member(value, slice_text("digest"));
	struct mp_reader reader = mp_reader_of(given);
	struct mp_token token = mp_read(&reader);
	if (given.len == 0)
		return true;
	if (token.type != MP_STR || token.bytes.len < 5 || memcmp(token.bytes.data, "md5-", 4) != 0)
		return false;
	*md5 = slice_of(token.bytes.data + 4, token.bytes.len - 4);
	return true;
}

struct follow *couch_follow_new(struct request *r, struct slice name, struct slice value,
				struct problem *p)
{
	struct follow *f = arena_alloc(&r->arena, sizeof *f);
	f->name = name;
	bool fine =
	    (take_number(value, "length", &f->length) || refuse_member("length", name, p)) &&
	    (take_number(value, "encoded_length", &f->coded) ||
	     refuse_member("encoded_length", name, p)) &&
	    (take_digest(value, &f->md5) || refuse_member("digest", name, p)) &&
	    (take_coding(value, &f->gzip) || couch_problem(p, COUCH_BAD_CODING, ""));
	return fine ? f : NULL;
}

/* ---- one part ---- */

static void part_refused(struct turn *t, struct request *r, enum status status)
{
	const struct parts *p = r->intake->op;
	const struct follow *f = p->current->follow;
	struct problem problem;
	if (status == STATUS_BODY_TOO_LARGE) {
		if (f->length <= t->gw->options.limits.attachment_bytes_max)
			couch_problem(&problem, COUCH_ATTACHMENT_LONG, "");
		else
			couch_attachment_large(f->name, &problem);
		answer_problem(t, r, &problem);
	} else if (status == STATUS_BAD_MESSAGE) {
		refuse(t, r, "An attachment is not coded as it is said to be.");
	} else {
		couch_contents_refused(t, r, status);
	}
}

/* All of it is with its lead: is it what the document says? */
static bool part_fits(struct turn *t, struct request *r)
{
	const struct content_upload *u = &r->intake->upload;
	const struct follow *f = u->content->follow;
	bool coded = f->gzip && f->coded != UINT64_MAX;
	enum couch_error error = COUCH_NONE;
	if ((f->length != UINT64_MAX && u->length < f->length) || (coded && u->coded < f->coded))
		error = COUCH_ATTACHMENT_SHORT;
	else if (coded && u->coded > f->coded)
		error = COUCH_ATTACHMENT_LONG;
	else if (!md5_is(f->gzip ? u->md5_coded : u->content->md5, f->md5))
		error = COUCH_MD5_MISMATCH;
	if (error != COUCH_NONE)
		couch_answer_error(t, r, error);
	return error == COUCH_NONE;
}

static void write_document(struct turn *t, struct request *r);

static void part_moved(struct turn *t, struct request *r, enum status status)
{
	struct parts *p = r->intake->op;
	bool done = r->intake->upload.done;
	if (status != STATUS_OK) {
		part_refused(t, r, status);
		return;
	}
	if (done && !part_fits(t, r))
		return;
	if (done) {
		p->waits = false;
		p->current = NULL;
	}
	intake_pump(t, r);
	if (!r->finished)
		write_document(t, r);
}

/* Named by the part, or the next one that the document names. */
static struct content *content_of(struct parts *p, struct slice headers)
{
	struct buf name = {0};
	struct content *next = NULL;
	bool named =
	    header_parameter(multipart_header(headers, "content-disposition"), "filename", &name);
	for (uint32_t i = 0; i < p->work->count; i++) {
		struct content *c = &p->work->list[i];
		if (!c->follow || c->follow->came)
			continue;
		bool is = named && slice_equal(c->follow->name, buf_slice(&name));
		if (!next || is)
			next = c;
		if (is)
			break;
	}
	buf_close(&name);
	return next;
}

static bool part_begins(struct turn *t, struct request *r, struct slice headers)
{
	struct parts *p = r->intake->op;
	uint64_t most = t->gw->options.limits.attachment_bytes_max;
	if (p->count++ == 0)
		return true;
	struct content *c = content_of(p, headers);
	struct slice coding = multipart_header(headers, "content-encoding");
	if (!c) {
		refuse(t, r, "There are more parts than attachments that follow.");
		return false;
	}
	struct follow *f = c->follow;
	f->came = true;
	f->gzip = f->gzip || slice_is(coding, "gzip");
	if (coding.len > 0 && !slice_is(coding, "gzip") && !slice_is(coding, "identity")) {
		couch_answer_error(t, r, COUCH_BAD_CODING);
		return false;
	}
	if (f->coded != UINT64_MAX && !f->gzip) {
		refuse(t, r, "An attachment has `encoded_length`, but no `encoding`.");
		return false;
	}
	p->current = c;
	upload_begin(t, r, c, f->length < most ? f->length : most, part_moved);
	if (f->gzip)
		upload_decode(&r->intake->upload);
	return true;
}

static bool document_bytes(struct turn *t, struct request *r, struct slice bytes)
{
	struct parts *p = r->intake->op;
	uint64_t most = t->gw->options.limits.document_bytes_max;
	struct problem problem;
	buf_append_slice(&p->json, bytes);
	if (p->json.len <= most)
		return true;
	problem_limit(&problem, STATUS_BODY_TOO_LARGE, "max_document_bytes", most, p->json.len);
	answer_problem(t, r, &problem);
	return false;
}

/* False: there is no room for all of it, or the request has ended. *in goes on behind it. */
static bool part_bytes(struct turn *t, struct request *r, struct slice bytes, struct slice *in)
{
	struct parts *p = r->intake->op;
	if (!p->current)
		return document_bytes(t, r, bytes);
	size_t taken = upload_take(t, r, bytes);
	if (r->finished)
		return false;
	if (taken == bytes.len)
		return true;
	struct slice rest = slice_of(bytes.data + taken, bytes.len - taken);
	if (p->parser.gave_back)
		buf_append_slice(&p->back, rest);
	else
		*in = slice_of(rest.data, rest.len + in->len);
	return false;
}

static bool document_came(struct turn *t, struct request *r)
{
	struct parts *p = r->intake->op;
	struct problem problem;
	if (native_json(t, r, buf_slice(&p->json), &r->couch.value, &problem))
		p->work = couch_write_prepare(t, r, true, &problem);
	buf_close(&p->json);
	if (!p->work)
		answer_problem(t, r, &problem);
	else
		r->intake->work = p->work;
	return p->work != NULL;
}

static bool part_ends(struct turn *t, struct request *r)
{
	struct parts *p = r->intake->op;
	if (!p->current)
		return document_came(t, r);
	p->waits = true;
	upload_finish(t, r);
	return false;
}

/* ---- the body ---- */

static bool take_back(struct turn *t, struct request *r, struct parts *p)
{
	if (p->back.len == 0)
		return true;
	size_t taken = upload_take(t, r, buf_slice(&p->back));
	if (r->finished)
		return false;
	memmove(p->back.data, p->back.data + taken, p->back.len - taken);
	p->back.len -= taken;
	return p->back.len == 0;
}

static size_t take(struct turn *t, struct request *r, struct slice bytes)
{
	struct parts *p = r->intake->op;
	struct slice in = bytes;
	struct slice out;
	bool goes_on = !p->waits && take_back(t, r, p);
	while (goes_on && in.len > 0) {
		switch (multipart_next(&p->parser, &in, &out)) {
		case MULTIPART_PART:
			goes_on = part_begins(t, r, out);
			break;
		case MULTIPART_DATA:
			goes_on = part_bytes(t, r, out, &in);
			break;
		case MULTIPART_LAST:
			goes_on = part_ends(t, r);
			break;
		case MULTIPART_END:
			p->closed = true;
			break;
		case MULTIPART_BAD:
			refuse(t, r, "The multipart body is malformed.");
			goes_on = false;
			break;
		case MULTIPART_MORE:
			break;
		}
	}
	return bytes.len - in.len;
}

static void write_document(struct turn *t, struct request *r)
{
	struct parts *p = r->intake->op;
	if (p->waits || !p->ended || p->written)
		return;
	if (!p->closed || !p->work) {
		refuse(t, r, "The multipart body has no end.");
		return;
	}
	for (uint32_t i = 0; i < p->work->count; i++)
		if (p->work->list[i].follow && !p->work->list[i].follow->came) {
			couch_answer_error(t, r, COUCH_ATTACHMENT_SHORT);
			return;
		}
	p->written = true;
	timers_set(&t->gw->timers, &r->deadline, t->now_ms + t->gw->options.limits.deadline_ms);
	couch_write_go(t, r);
}

static void end(struct turn *t, struct request *r)
{
	((struct parts *)r->intake->op)->ended = true;
	write_document(t, r);
}

/* ---- the request ---- */

bool couch_multipart_sent(const struct request *r)
{
	return r->http && r->method == HTTP_PUT &&
	       header_type_is(request_header(r, "content-type"), "multipart/related");
}

static void close_parts(struct request *r)
{
	struct parts *p = r->intake->op;
	multipart_close(&p->parser);
	buf_close(&p->json);
	buf_close(&p->back);
}

static void go(struct turn *t, struct request *r, struct map_collection *c)
{
	(void)c;
	intake_start(t, r, take, end);
}

void couch_multipart_write(struct turn *t, struct request *r)
{
	struct parts *p = arena_alloc(&r->arena, sizeof *p);
	struct buf boundary = {0};
	bool fine = header_parameter(request_header(r, "content-type"), "boundary", &boundary) &&
		    multipart_begin(&p->parser, buf_slice(&boundary));
	buf_close(&boundary);
	if (!fine) {
		refuse(t, r, "The multipart body has no boundary.");
		return;
	}
	if (!intake_begin(t, r, NULL))
		return;
	r->intake->op = p;
	r->intake->close = close_parts;
	if (request_keep(t->gw, r))
		couch_find(t, r, go);
	else
		answer_status(t, r, STATUS_OVERLOADED, "");
}
