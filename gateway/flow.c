#include "gateway/flow.h"

#include "gateway/content_reader.h"
#include "gateway/couch/attachments.h"
#include "gateway/couch/auth.h"
#include "gateway/couch/couch.h"
#include "gateway/intake.h"
#include "gateway/notify/notify.h"

enum {
	FLOW_WHOLE_BYTES = LIMIT_CHUNK_BYTES,
	FLOW_INSIDE_BYTES = 1 << 24, /* of one that is made inside, and kept whole */
	PARTS_FIRST = 8
};

/* A text, or a range of a content. */
struct flow_part {
	struct slice text;
	struct slice document;
	uint8_t content[CONTENT_BYTES];
	uint64_t first;
	uint64_t count;
	bool is_content;
	bool base64;
};

struct flow {
	struct arena *arena;
	struct flow_part *parts;
	uint32_t count;
	uint32_t cap;
	uint64_t length; /* of all */
	struct reply reply;
	uint32_t at;                      /* the part that is next */
	struct content_reader reader;     /* of that part */
	bool reads;                       /* it has begun */
	struct buf out;                   /* what was not sent yet */
	bool asks;                        /* a chunk */
	bool streams;                     /* it has begun */
	bool flies;                       /* what was sent is not taken yet */
	void (*close)(struct request *r); /* the request's before */
};

struct flow *flow_new(struct request *r)
{
	struct flow *f = arena_alloc(&r->arena, sizeof *f);
	f->arena = &r->arena;
	return f;
}

static struct flow_part *add(struct flow *f)
{
	if (f->count == f->cap) {
		f->cap = f->cap ? f->cap * 2 : PARTS_FIRST;
		struct flow_part *parts = arena_alloc(f->arena, f->cap * sizeof *parts);
		if (f->count > 0)
			memcpy(parts, f->parts, f->count * sizeof *parts);
		f->parts = parts;
	}
	return &f->parts[f->count++];
}

void flow_text(struct flow *f, struct slice text)
{
	if (text.len == 0)
		return;
	add(f)->text = arena_copy(f->arena, text);
	f->length += text.len;
}

void flow_content(struct flow *f, struct slice document, const uint8_t content[CONTENT_BYTES],
		  uint64_t first, uint64_t count)
{
	if (count == 0)
		return;
	struct flow_part *part = add(f);
	*part = (struct flow_part){.document = arena_copy(f->arena, document),
				   .first = first,
				   .count = count,
				   .is_content = true};
	memcpy(part->content, content, CONTENT_BYTES);
	f->length += count;
}

void flow_base64(struct flow *f, struct slice document, const uint8_t content[CONTENT_BYTES],
		 uint64_t count)
{
	flow_content(f, document, content, 0, count);
	if (count == 0)
		return;
	f->parts[f->count - 1].base64 = true;
	f->length += (count + 2) / 3 * 4 - count;
}

void flow_append(struct flow *f, const struct flow *other)
{
	for (uint32_t i = 0; i < other->count; i++)
		*add(f) = other->parts[i];
	f->length += other->length;
}

/* ---- reading ---- */

static void pump(struct turn *t, struct request *r);

/* Before it has begun: an answer. Later only its end can tell. */
static void fail(struct turn *t, struct request *r, enum status status)
{
	if (r->flow->streams) {
		fx_stream_close(t->fx, r->id, NOTIFY_CODE_BROKEN, "broken");
		request_finish(t, r);
	} else if (status == STATUS_NOT_FOUND && r->flow->count == 1) {
		couch_answer_error(t, r, COUCH_ATTACHMENT_MISSING);
	} else {
		couch_contents_refused(t, r, status);
	}
}

static void chunk_done(struct turn *t, struct request *r, uint32_t index, enum status status,
		       const void *body)
{
	struct flow *f = r->flow;
	(void)index;
	f->asks = false;
	status = content_reader_take(&f->reader, status, body, &f->out);
	if (status != STATUS_OK) {
		fail(t, r, status);
		return;
	}
	if (content_reader_ended(&f->reader)) {
		content_reader_close(&f->reader);
		f->reads = false;
		f->at++;
	}
	pump(t, r);
}

static enum status ask(struct turn *t, struct request *r)
{
	struct flow *f = r->flow;
	const struct flow_part *part = &f->parts[f->at];
	if (!f->reads) {
		f->reads = true;
		f->reader = (struct content_reader){.document = part->document,
						    .first = part->first,
						    .count = part->count,
						    .base64 = part->base64};
		memcpy(f->reader.content, part->content, CONTENT_BYTES);
	}
	timers_set(&t->gw->timers, &r->deadline, t->now_ms + t->gw->options.limits.deadline_ms);
	f->asks = true;
	return content_reader_ask(t, r, &f->reader, chunk_done);
}

/* ---- sending ---- */

static void begin_stream(struct turn *t, struct request *r)
{
	struct flow *f = r->flow;
	struct reply *reply = &f->reply;
	reply_header(r, reply, "X-Request-Id", r->request_id);
	couch_reply_headers(t, r, reply);
	struct http_response response = {
	    .status = reply->status,
	    .kind = HTTP_STREAM,
	    .paced = true,
	    .length = f->length,
	    .content_type = reply->content_type,
	    .headers = reply->headers,
	    .headers_count = reply->headers_count,
	    .body = buf_slice(&f->out),
	};
	fx_respond(t->fx, r->id, &response);
	metrics_answered(t->gw, r, reply->status, t->now_ms);
	f->streams = f->flies = true;
	buf_clear(&f->out);
}

static struct reply *reply_again(struct turn *t, const struct flow *f)
{
	struct reply *reply = reply_begin(t, f->reply.status);
	memcpy(reply->headers, f->reply.headers, sizeof reply->headers);
	reply->headers_count = f->reply.headers_count;
	reply->content_type = f->reply.content_type;
	return reply;
}

static bool is_whole(const struct request *r)
{
	return r->reply || r->flow->length <= FLOW_WHOLE_BYTES;
}

static void push(struct turn *t, struct request *r)
{
	struct flow *f = r->flow;
	bool all = f->at == f->count;
	if (is_whole(r)) {
		if (!all)
			return;
		struct reply *reply = reply_again(t, f);
		buf_append_slice(&reply->body, buf_slice(&f->out));
		reply_send(t, r, reply);
	} else if (!f->streams && (all || f->out.len >= FLOW_WHOLE_BYTES)) {
		begin_stream(t, r);
	} else if (f->streams && !f->flies && f->out.len > 0) {
		fx_stream_send(t->fx, &r->id, 1, buf_slice(&f->out));
		f->flies = true;
		buf_clear(&f->out);
	} else if (f->streams && !f->flies && all) {
		fx_stream_close(t->fx, r->id, NOTIFY_CODE_LEAVING, "end");
		request_finish(t, r);
	}
}

/* One chunk is read ahead while another one leaves. Who does not take his is the shell's to end. */
static void pump(struct turn *t, struct request *r)
{
	struct flow *f = r->flow;
	push(t, r);
	while (!r->finished && !f->asks && f->at < f->count &&
	       (is_whole(r) || f->out.len < FLOW_WHOLE_BYTES)) {
		const struct flow_part *part = &f->parts[f->at];
		enum status status = STATUS_OK;
		if (part->is_content) {
			status = ask(t, r);
		} else {
			buf_append_slice(&f->out, part->text);
			f->at++;
		}
		if (status != STATUS_OK)
			fail(t, r, status);
		else
			push(t, r);
	}
	if (!r->finished && !f->asks)
		timers_clear(&t->gw->timers, &r->deadline);
}

static void taken(struct turn *t, struct request *r)
{
	r->flow->flies = false;
	pump(t, r);
}

static void close_flow(struct request *r)
{
	buf_close(&r->flow->out);
	content_reader_close(&r->flow->reader);
	if (r->flow->close)
		r->flow->close(r);
}

void flow_send(struct turn *t, struct request *r, struct flow *f, const struct reply *reply)
{
	uint64_t most = t->gw->options.limits.request_bytes_max;
	struct problem problem;
	if (most > FLOW_INSIDE_BYTES)
		most = FLOW_INSIDE_BYTES;
	f->reply = *reply;
	f->reply.body = (struct buf){0};
	if (reply->content_type.len == 0)
		f->reply.content_type = slice_text("application/json");
	/* whatever else was asked for this answer is not needed any more */
	call_forget_all(t->gw, r);
	if (r->method == HTTP_HEAD) {
		struct reply *head = reply_again(t, f);
		head->length = f->length;
		reply_send(t, r, head);
		return;
	}
	if (r->reply && f->length > most) {
		problem_limit(&problem, STATUS_BODY_TOO_LARGE, "max_request_bytes", most,
			      f->length);
		answer_problem(t, r, &problem);
		return;
	}
	r->flow = f;
	if (!is_whole(r) && !transfer_begin(t, r))
		return;
	f->close = r->close;
	r->close = close_flow;
	r->taken = taken;
	r->due = r->gone = NULL;
	pump(t, r);
}
