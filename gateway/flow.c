#include "gateway/flow.h"

#include "common/doc/base64.h"
#include "gateway/couch/attachments.h"
#include "gateway/couch/auth.h"
#include "gateway/couch/couch.h"
#include "gateway/intake.h"
#include "gateway/notify/notify.h"

enum { FLOW_WHOLE_BYTES = LIMIT_CHUNK_BYTES, PARTS_FIRST = 8 };

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
	uint32_t at;    /* the part that is next */
	uint64_t taken; /* of it */
	struct msg_attachment_read read;
	struct buf out;                   /* what was not sent yet */
	struct buf carry;                 /* at most two bytes that are no group of Base64 yet */
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

/* Groups of three bytes; the last one may be shorter. */
static void put_base64(struct flow *f, struct slice bytes, bool last)
{
	while (f->carry.len > 0 && f->carry.len < 3 && bytes.len > 0) {
		buf_append_byte(&f->carry, bytes.data[0]);
		bytes = slice_of(bytes.data + 1, bytes.len - 1);
	}
	if (f->carry.len == 3 || (last && bytes.len == 0)) {
		base64_encode(buf_slice(&f->carry), &f->out);
		buf_clear(&f->carry);
	}
	if (bytes.len == 0)
		return;
	size_t whole = last ? bytes.len : bytes.len - bytes.len % 3;
	base64_encode(slice_of(bytes.data, whole), &f->out);
	buf_append(&f->carry, bytes.data + whole, bytes.len - whole);
}

/* What the range has of the chunk. False: it is shorter than it has to be. */
static bool take_chunk(struct flow *f, struct slice chunk)
{
	struct flow_part *part = &f->parts[f->at];
	uint64_t from = part->first + f->taken - f->read.number * LIMIT_CHUNK_BYTES;
	uint64_t left = part->count - f->taken;
	if (chunk.len <= from)
		return false;
	uint64_t bytes = chunk.len - from < left ? chunk.len - from : left;
	if (bytes < left && chunk.len != LIMIT_CHUNK_BYTES)
		return false;
	struct slice wanted = slice_of(chunk.data + from, bytes);
	f->taken += bytes;
	if (part->base64)
		put_base64(f, wanted, f->taken == part->count);
	else
		buf_append_slice(&f->out, wanted);
	if (f->taken == part->count) {
		f->at++;
		f->taken = 0;
	}
	return true;
}

static void chunk_done(struct turn *t, struct request *r, uint32_t index, enum status status,
		       const void *body)
{
	const struct msg_attachment_read_ack *ack = body;
	struct flow *f = r->flow;
	(void)index;
	f->asks = false;
	if (!ack || status != STATUS_OK)
		fail(t, r, status_is_success(status) ? STATUS_INTERNAL : status);
	else if (!take_chunk(f, ack->body))
		fail(t, r, STATUS_INTERNAL);
	else
		pump(t, r);
}

static enum status ask(struct turn *t, struct request *r)
{
	struct flow *f = r->flow;
	const struct flow_part *part = &f->parts[f->at];
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	const struct map_shard *s = c ? map_collection_shard(c, part->document) : NULL;
	if (!s)
		return STATUS_NO_LEAD;
	f->read = (struct msg_attachment_read){
	    .shard = s->shard.id,
	    .content = slice_of(part->content, CONTENT_BYTES),
	    .number = (part->first + f->taken) / LIMIT_CHUNK_BYTES,
	};
	struct call_spec spec = {
	    .reach = REACH_LEAD,
	    .shard = f->read.shard,
	    .type = MSG_attachment_read,
	    .answer = MSG_attachment_read_ack,
	    .message = &f->read,
	    .repeatable = true,
	    .done = chunk_done,
	};
	timers_set(&t->gw->timers, &r->deadline, t->now_ms + t->gw->options.limits.deadline_ms);
	f->asks = true;
	return call_open(t, r, &spec) ? STATUS_OK : STATUS_OVERLOADED;
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
	buf_close(&r->flow->carry);
	if (r->flow->close)
		r->flow->close(r);
}

void flow_send(struct turn *t, struct request *r, struct flow *f, const struct reply *reply)
{
	uint64_t most = t->gw->options.limits.list_bytes_max;
	struct problem problem;
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
		problem_limit(&problem, STATUS_BODY_TOO_LARGE, "max_list_bytes", most, f->length);
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
