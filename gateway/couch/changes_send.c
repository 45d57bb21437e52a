/* What a feed sends, and when. */
#include <inttypes.h>

#include "gateway/couch/attachments.h"
#include "gateway/couch/auth.h"
#include "gateway/couch/changes.h"
#include "gateway/notify/notify.h"

/* ---- printing ---- */

static void print_sequence(const struct changes *op, struct buf *out)
{
	buf_append_byte(out, '"');
	sequence_print(op->positions, op->shards_count, out);
	buf_append_byte(out, '"');
}

static bool is_lines(const struct changes *op)
{
	return op->feed == FEED_CONTINUOUS || op->feed == FEED_EVENTSOURCE;
}

static void open_list(struct changes *op)
{
	if (!op->opened && !is_lines(op))
		buf_append_text(&op->out, "{\"results\":[\n");
	op->opened = true;
}

void changes_emit(struct turn *t, struct request *r, struct slice row)
{
	struct changes *op = r->op;
	struct buf *out = &op->out;
	if (op->feed == FEED_EVENTSOURCE)
		buf_append_text(out, "data: ");
	open_list(op);
	if (!is_lines(op) && op->rows > 0)
		buf_append_text(out, ",\n");
	op->rows++;
	op->told_ms = t->now_ms;
	buf_append_text(out, "{\"seq\":");
	if (op->seq_interval > 1 && op->rows % op->seq_interval != 0)
		buf_append_text(out, "null");
	else
		print_sequence(op, out);
	buf_append_byte(out, ',');
	buf_append_slice(out, row);
	buf_append_text(out, "}");
	if (op->feed == FEED_EVENTSOURCE) {
		buf_append_text(out, "\nid: ");
		sequence_print(op->positions, op->shards_count, out);
		buf_append_text(out, "\n\n");
	} else if (is_lines(op)) {
		buf_append_byte(out, '\n');
	}
}

static void print_end(struct changes *op)
{
	struct buf *out = &op->out;
	uint64_t pending = 0;
	if (op->feed == FEED_EVENTSOURCE)
		return;
	for (uint32_t i = 0; i < op->shards_count; i++) {
		const struct changes_page *page = &op->shards[i].page;
		pending += page->pending + (page->rows.len / sizeof(struct changes_row) - page->at);
	}
	open_list(op);
	buf_append_text(out, is_lines(op) ? "{" : "\n],\n");
	buf_append_text(out, "\"last_seq\":");
	print_sequence(op, out);
	buf_printf(out, ",\"pending\":%" PRIu64 "}\n", pending);
}

/* ---- sending ---- */

/* What can be sent of what has been collected. NULL: that has failed, and ended the feed. */
static struct buf *take_ready(struct turn *t, struct request *r)
{
	struct changes *op = r->op;
	if (!op->data)
		return &op->out;
	enum status status = changes_fill(t, r);
	if (status != STATUS_OK)
		changes_fail(t, r, status);
	return r->finished ? NULL : &op->ready;
}

static bool all_sent(const struct changes *op)
{
	return op->out.len == 0 && op->ready.len == 0 && !op->data_read.reads;
}

/* A longpoll that waits has begun its JSON already. */
static void stream_begin(struct turn *t, struct request *r)
{
	struct changes *op = r->op;
	open_list(op);
	struct buf *ready = take_ready(t, r);
	if (!ready)
		return;
	struct reply *reply = reply_begin(t, 200);
	reply_header(r, reply, "X-Accel-Buffering", slice_text("no"));
	reply_header(r, reply, "X-Request-Id", r->request_id);
	couch_reply_headers(t, r, reply);
	struct http_response response = {
	    .status = 200,
	    .kind = HTTP_STREAM,
	    .paced = true,
	    .content_type =
		slice_text(op->feed == FEED_EVENTSOURCE ? "text/event-stream" : "application/json"),
	    .headers = reply->headers,
	    .headers_count = reply->headers_count,
	    .body = buf_slice(ready),
	};
	fx_respond(t->fx, r->id, &response);
	metrics_answered(t->gw, r, 200, t->now_ms);
	op->streaming = op->flying = true;
	t->gw->feeds_open++;
	buf_close(ready);
}

static void stream_end(struct turn *t, struct request *r, bool whole)
{
	struct changes *op = r->op;
	watch_end(t, &op->watcher);
	fx_stream_close(t->fx, r->id, whole ? NOTIFY_CODE_LEAVING : NOTIFY_CODE_BROKEN,
			whole ? "end" : "broken");
	request_finish(t, r);
}

static bool has_room(const struct turn *t)
{
	return t->gw->feeds_open < t->gw->options.limits.subscribers_max;
}

bool changes_crowded(const struct changes *op)
{
	return op->gw->feeds_bytes > CHANGES_HELD_BYTES;
}

bool changes_full(const struct changes *op)
{
	bool crowded = changes_crowded(op);
	size_t most = op->streaming || crowded ? CHANGES_FLUSH_BYTES : CHANGES_REPLY_BYTES;
	/* behind what flies there may be a document, of each of very many */
	return !op->held && ((crowded && op->flying) || op->out.len >= most);
}

static void stream_on(struct turn *t, struct request *r)
{
	struct changes *op = r->op;
	struct buf *ready = op->flying ? NULL : take_ready(t, r);
	if (!ready || ready->len == 0)
		return;
	fx_stream_send(t->fx, &r->id, 1, buf_slice(ready));
	op->flying = true;
	buf_close(ready);
}

void changes_flush(struct turn *t, struct request *r, bool stream)
{
	struct changes *op = r->op;
	if (!op->held && !op->streaming &&
	    (stream || changes_full(op) || (is_lines(op) && op->out.len > 0))) {
		if (!has_room(t)) {
			changes_fail(t, r, STATUS_TOO_MANY_SUBSCRIBERS);
			return;
		}
		stream_begin(t, r);
	} else if (op->streaming) {
		stream_on(t, r);
	}
	if (!r->finished)
		changes_schedule(t, r);
}

void changes_finish(struct turn *t, struct request *r)
{
	struct changes *op = r->op;
	op->ending = true;
	print_end(op);
	watch_end(t, &op->watcher);
	if (!op->held && (op->streaming || is_lines(op))) {
		changes_flush(t, r, true);
		if (!r->finished && !op->flying && all_sent(op))
			stream_end(t, r, true);
		return;
	}
	r->due = NULL; /* attachments may have to be read yet */
	struct reply *reply = reply_begin(t, 200);
	buf_append_slice(&reply->body, buf_slice(&op->out));
	couch_reply_send(t, r, reply);
}

void changes_fail(struct turn *t, struct request *r, enum status status)
{
	struct changes *op = r->op;
	watch_end(t, &op->watcher);
	if (op->streaming)
		stream_end(t, r, false);
	else if (status == STATUS_NOT_FOUND)
		couch_answer_error(t, r, COUCH_DB_MISSING);
	else
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
}

void changes_refuse(struct turn *t, struct request *r, const struct problem *problem)
{
	struct changes *op = r->op;
	watch_end(t, &op->watcher);
	if (op->streaming)
		stream_end(t, r, false);
	else
		answer_problem(t, r, problem);
}

/* ---- time ---- */

static bool is_asking(const struct changes *op)
{
	for (uint32_t i = 0; i < op->shards_count; i++)
		if (op->shards[i].asked)
			return true;
	return false;
}

/* A feed that can wait ends when nothing has changed for so long, unless it has heartbeats. A long
 * poll whose filter has left out all that it has looked at for so long ends likewise: who asked
 * goes on from there. */
static int64_t timeout_at(const struct changes *op)
{
	if (op->heartbeat_ms > 0 || op->ending)
		return INT64_MAX;
	if (op->live)
		return op->told_ms + op->timeout_ms;
	bool looks = op->feed == FEED_LONGPOLL && op->filter != FILTER_NONE && op->rows == 0;
	return looks ? op->told_ms + CHANGES_LOOK_MS : INT64_MAX;
}

static bool is_judging(const struct changes *op)
{
	for (uint32_t i = 0; i < op->shards_count; i++)
		if (op->shards[i].judging > 0)
			return true;
	return false;
}

static int64_t give_up_at(const struct changes *op)
{
	return is_asking(op) || op->data_read.asked ? op->heard_ms + CHANGES_GIVE_UP_MS : INT64_MAX;
}

void changes_schedule(struct turn *t, struct request *r)
{
	const struct changes *op = r->op;
	if (!op->streaming && !op->held)
		return; /* as any request's */
	int64_t at_ms = timeout_at(op);
	if (op->heartbeat_ms > 0 && op->beat_ms < at_ms)
		at_ms = op->beat_ms;
	if (give_up_at(op) < at_ms)
		at_ms = give_up_at(op);
	if (at_ms < INT64_MAX)
		timers_set(&t->gw->timers, &r->deadline, at_ms);
	else
		timers_clear(&t->gw->timers, &r->deadline);
}

/* Only who takes what it is sent hears that nothing has happened. */
static void beat(struct turn *t, struct request *r)
{
	struct changes *op = r->op;
	op->beat_ms = t->now_ms + op->heartbeat_ms;
	if (op->flying || !all_sent(op) || op->ending)
		return;
	buf_append_text(&op->out,
			op->feed == FEED_EVENTSOURCE ? "event: heartbeat\ndata: \n\n" : "\n");
}

/* Nothing has been told, and the filter may still fail, which a stream can't tell. So nothing is
 * sent before its first verdict, for which it has its time; then who asked for no heartbeat waits
 * for a while, others as long as the filter has not shown that it works. */
static bool is_doubtful(const struct turn *t, const struct changes *op)
{
	if (!op->function || op->rows > 0)
		return false;
	return !changes_function_judged(op) ||
	       (is_judging(op) && (op->heartbeat_ms == 0 || !changes_function_works(op)) &&
		t->now_ms < op->told_ms + CHANGES_GIVE_UP_MS / 2);
}

void changes_due(struct turn *t, struct request *r)
{
	struct changes *op = r->op;
	if (!op->streaming && !op->held) {
		/* a long look at what the filter leaves out goes on; one without answers does not
		 */
		int64_t deadline_ms = t->gw->options.limits.deadline_ms;
		if (!is_judging(op) && op->heard_ms + deadline_ms / 2 <= t->now_ms)
			call_expire_all(t, r);
		else if (is_doubtful(t, op))
			timers_set(&t->gw->timers, &r->deadline, t->now_ms + deadline_ms);
		else
			changes_flush(t, r, true);
		return;
	}
	if (t->now_ms >= give_up_at(op)) {
		changes_fail(t, r, STATUS_NO_LEAD);
		return;
	}
	if (t->now_ms >= timeout_at(op)) {
		changes_finish(t, r);
		return;
	}
	if (op->heartbeat_ms > 0 && t->now_ms >= op->beat_ms)
		beat(t, r);
	changes_flush(t, r, true);
}

void changes_taken(struct turn *t, struct request *r)
{
	struct changes *op = r->op;
	op->flying = false;
	if (op->ending && all_sent(op))
		stream_end(t, r, true);
	else if (op->ending || !all_sent(op))
		changes_flush(t, r, true);
	if (!r->finished && !op->ending && !op->waiting)
		op->pump(t, r);
}

void changes_gone(struct turn *t, struct request *r)
{
	struct changes *op = r->op;
	watch_end(t, &op->watcher);
}

void changes_drain(struct turn *t)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&t->gw->requests, &at));) {
		struct request *r = e->value;
		if (r->due != changes_due)
			continue;
		const struct changes *op = r->op;
		if (op->live && !op->ending)
			changes_finish(t, r);
	}
}
