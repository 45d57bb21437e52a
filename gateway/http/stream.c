#include "gateway/http/stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "gateway/http/stream_private.h"

enum { EVENTS_A_RUN = 256, RECORDS_A_RUN = 4, PINGS_A_TURN = 1000, CREDIT_MAX = 64 };

#define SLOW_TEXT "slow subscriber: it did not take its events in time"
#define SLOW_EVENT                                                                                 \
	"event: error\ndata: {\"error\":\"" SLOW_TEXT "\",\"code\":\"slow_subscriber\"}\n\n"

const char *const stream_end_names[STREAM_ENDS] = {
    [STREAM_CLIENT_LEFT] = "client_left", [STREAM_CORE_CLOSED] = "closed",
    [STREAM_SLOW] = "slow_subscriber",    [STREAM_SILENT] = "silent",
    [STREAM_BAD] = "protocol_error",      [STREAM_REFUSED] = "too_many",
    [STREAM_DRAINED] = "drained",
};

/* ---- lists ---- */

static void list_leave(struct http_stream *st)
{
	struct stream_list *in = st->in;
	if (!in)
		return;
	*(st->previous ? &st->previous->next : &in->first) = st->next;
	*(st->next ? &st->next->previous : &in->last) = st->previous;
	st->in = NULL;
	st->previous = st->next = NULL;
}

static void list_join(struct stream_list *list, struct http_stream *st)
{
	list_leave(st);
	st->in = list;
	st->previous = list->last;
	*(list->last ? &list->last->next : &list->first) = st;
	list->last = st;
}

/* ---- ends ---- */

static void note_gone(struct http_streams *all, uint64_t id, enum stream_end why, uint64_t queued)
{
	struct stream_gone gone = {.id = id, .why = why, .queued = queued};
	all->counts.ended[why]++;
	buf_append(&all->gone, &gone, sizeof gone);
}

static void reader_drop(struct http_stream *st)
{
	if (!st->reader)
		return;
	st->all->counts.bytes -= ws_reader_held(st->reader);
	if (ws_reader_idle(st->reader) && !st->all->spare)
		st->all->spare = st->reader;
	else
		ws_reader_free(st->reader);
	st->reader = NULL;
}

void stream_over(struct http_stream *st, enum stream_end why)
{
	struct http_streams *all = st->all;
	if (st->state == STREAM_OVER)
		return;
	if (st->state == STREAM_OPEN)
		note_gone(all, st->id, why, st->queued);
	(void)epoll_ctl(all->epoll_fd, EPOLL_CTL_DEL, st->fd, NULL);
	reader_drop(st);
	stream_queue_close(st);
	st->state = STREAM_OVER;
	list_join(&all->over, st);
}

void stream_closing(struct http_stream *st, enum stream_end why, int64_t now_ms)
{
	if (st->state != STREAM_OPEN)
		return;
	note_gone(st->all, st->id, why, st->queued);
	st->state = STREAM_CLOSING;
	st->due_ms = now_ms + st->all->limits.close_ms;
	/* After a last chunk there is nothing to wait for; a WebSocket's client says goodbye, too.
	 */
	st->done = st->done || st->form != FORM_WEBSOCKET;
	list_join(&st->all->closing, st);
}

/* A last chunk would say that this is all. Where the end is only the connection's, a reset says
 * that it is not. */
static bool breaks_off(const struct http_stream *st, enum stream_end why, uint16_t code)
{
	return st->paced && (why != STREAM_CORE_CLOSED || code == WS_INTERNAL_ERROR);
}

static void queue_end(struct http_stream *st, enum stream_end why, uint16_t code,
		      struct slice reason)
{
	struct linger at_once = {.l_onoff = 1};
	struct buf end = {0};
	bool breaks = breaks_off(st, why, code);
	if (breaks && st->form == FORM_PLAIN && !st->sized)
		(void)setsockopt(st->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
	if (st->form == FORM_WEBSOCKET)
		ws_close_append(code, reason, &end);
	else if (st->form == FORM_CHUNKED && !breaks)
		buf_append_text(&end, "0\r\n\r\n");
	stream_queue_bytes(st, buf_slice(&end));
	buf_close(&end);
}

static void end_with(struct http_stream *st, enum stream_end why, uint16_t code,
		     struct slice reason, int64_t now_ms)
{
	if (st->state != STREAM_OPEN)
		return;
	stream_closing(st, why, now_ms);
	queue_end(st, why, code, reason);
	if (!st->head) /* of a plain one the end is the connection's */
		stream_over(st, why);
}

void http_stream_close(struct http_stream *st, uint16_t code, struct slice reason, int64_t now_ms)
{
	end_with(st, STREAM_CORE_CLOSED, code, reason, now_ms);
}

void stream_cut(struct http_stream *st, int64_t now_ms)
{
	if (st->state != STREAM_OPEN)
		return;
	stream_closing(st, STREAM_SLOW, now_ms);
	stream_queue_drop(st);
	if (st->form != FORM_WEBSOCKET && !st->paced) {
		struct buf last = {0};
		stream_form_append(st->form, slice_text(SLOW_EVENT), &last);
		stream_queue_bytes(st, buf_slice(&last));
		buf_close(&last);
	}
	queue_end(st, STREAM_SLOW, WS_TRY_AGAIN_LATER, slice_text("slow consumer"));
}

static struct http_stream *slowest(const struct http_streams *all, const struct http_stream *but)
{
	struct http_stream *found = NULL;
	for (struct http_stream *st = all->open.first; st; st = st->next)
		if (st->paced && st->queued > 0 && st != but &&
		    (!found || st->sent_ms < found->sent_ms))
			found = st;
	return found;
}

/* What is paced is never more than its client has asked for, but may be large, and of very many who
 * take nothing: those who have waited longest give way to who is sent something. */
static void make_room(struct http_stream *st, int64_t now_ms)
{
	struct http_streams *all = st->all;
	struct http_stream *other;
	st->sent_ms = now_ms;
	while (all->counts.bytes > all->limits.total_bytes_max &&
	       (other = slowest(all, st)) != NULL) {
		stream_cut(other, now_ms);
		stream_over(other, STREAM_SLOW); /* the piece that has begun to leave goes, too */
	}
}

/* ---- beginning ---- */

static void prepare_socket(const struct http_streams *all, int fd)
{
	int zero = 0;
	int one = 1;
	unsigned timeout_ms = 2 * all->limits.ping_ms;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_CORK, &zero, sizeof zero);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms);
}

static void queue_beginning(struct http_stream *st, const struct stream_start *start)
{
	struct buf *first = &st->all->scratch;
	buf_clear(first);
	buf_append_slice(first, start->head);
	if (start->body.len > 0)
		stream_form_append(st->form, start->body, first);
	stream_queue_bytes(st, buf_slice(first));
}

struct http_stream *http_stream_open(struct http_streams *all, const struct stream_start *start,
				     int64_t now_ms)
{
	if (all->counts.open >= all->limits.streams_max) {
		note_gone(all, start->id, STREAM_REFUSED, 0);
		return NULL;
	}
	struct http_stream *st = mem_alloc_zero(sizeof *st);
	*st = (struct http_stream){
	    .all = all,
	    .id = start->id,
	    .form = start->kind == HTTP_WEBSOCKET ? FORM_WEBSOCKET
		    : start->chunked              ? FORM_CHUNKED
						  : FORM_PLAIN,
	    .session = start->session,
	    .fd = start->fd,
	    .connection = start->connection,
	    .watched = EPOLLIN | EPOLLRDHUP,
	    .heard = true,
	    .paced = start->paced,
	    .sized = start->sized,
	    .due_ms = now_ms + all->limits.ping_ms,
	};
	struct epoll_event event = {.events = st->watched, .data.ptr = st};
	CHECK(epoll_ctl(all->epoll_fd, EPOLL_CTL_ADD, st->fd, &event) == 0);
	prepare_socket(all, st->fd);
	list_join(&all->open, st);
	all->counts.open++;
	all->counts.websockets += st->form == FORM_WEBSOCKET;
	queue_beginning(st, start);
	if (st->paced)
		make_room(st, now_ms);
	if (all->draining)
		end_with(st, STREAM_DRAINED, WS_GOING_AWAY, slice_text("going away"), now_ms);
	return st;
}

/* ---- sending ---- */

static struct stream_payload *framed(struct http_stream *st, struct stream_message *message)
{
	struct stream_payload **place = &message->framed[st->form];
	if (!*place) {
		struct buf *bytes = &st->all->scratch;
		buf_clear(bytes);
		stream_form_append(st->form, message->body, bytes);
		*place = payload_new(st->all, buf_slice(bytes));
	}
	return *place;
}

void http_stream_send(struct http_stream *st, struct stream_message *message, int64_t now_ms)
{
	if (st->state != STREAM_OPEN)
		return;
	struct stream_payload *payload = framed(st, message);
	if (payload->len == 0)
		return;
	if (!stream_has_room(st))
		stream_flush(st);
	if (st->state != STREAM_OPEN)
		return;
	if (!stream_has_room(st)) {
		stream_cut(st, now_ms);
		return;
	}
	if (st->credit > 0)
		st->credit--;
	stream_queue(st, payload);
	if (st->paced)
		make_room(st, now_ms);
}

void stream_message_close(struct stream_message *message)
{
	for (size_t i = 0; i < ARRAY_LEN(message->framed); i++)
		payload_release(message->framed[i]);
}

/* ---- reading ---- */

static void on_message(void *context, struct slice bytes, bool text)
{
	struct http_stream *st = context;
	if (st->state != STREAM_OPEN)
		return;
	if (st->credit < CREDIT_MAX)
		st->credit++;
	st->all->callbacks.on_message(st->all->callbacks.context, st->id, bytes, text);
}

static void reader_take(struct http_stream *st)
{
	struct http_streams *all = st->all;
	if (st->reader)
		return;
	st->reader = all->spare ? all->spare : ws_reader_new(all->limits.message_bytes_max);
	all->spare = NULL;
}

static void read_frames(struct http_stream *st, struct slice bytes, int64_t now_ms)
{
	struct http_streams *all = st->all;
	reader_take(st);
	buf_clear(&all->answer);
	all->counts.bytes -= ws_reader_held(st->reader);
	enum ws_outcome outcome = ws_reader_feed(st->reader, bytes, on_message, st, &all->answer);
	all->counts.bytes += ws_reader_held(st->reader);
	if (st->state == STREAM_OPEN) /* afterwards its own end was the last frame */
		stream_queue_bytes(st, buf_slice(&all->answer));
	if (outcome == WS_OPEN) {
		if (ws_reader_idle(st->reader))
			reader_drop(st);
		if (!stream_has_room(st) || all->counts.bytes > all->limits.total_bytes_max)
			stream_cut(st, now_ms);
		return;
	}
	st->deaf = true;
	st->done = outcome == WS_CLOSED;
	stream_closing(st, st->done ? STREAM_CLIENT_LEFT : STREAM_BAD, now_ms);
	reader_drop(st);
	if (!st->head && st->done)
		stream_over(st, STREAM_CLIENT_LEFT);
}

static void read_stream(struct http_stream *st, int64_t now_ms)
{
	struct http_streams *all = st->all;
	for (int i = 0; i < RECORDS_A_RUN && st->state != STREAM_OVER; i++) {
		ssize_t got = gnutls_record_recv(st->session, all->in, sizeof all->in);
		if (got == GNUTLS_E_AGAIN)
			return;
		if (got == GNUTLS_E_REHANDSHAKE || got == 0 ||
		    (got < 0 && gnutls_error_is_fatal((int)got))) {
			stream_over(st, STREAM_CLIENT_LEFT);
			return;
		}
		if (got < 0)
			continue;
		if (st->form != FORM_WEBSOCKET || st->deaf)
			continue;
		st->heard = true;
		read_frames(st, slice_of(all->in, (size_t)got), now_ms);
	}
}

void http_streams_run(struct http_streams *all, int64_t now_ms)
{
	struct epoll_event events[EVENTS_A_RUN];
	int count = epoll_wait(all->epoll_fd, events, EVENTS_A_RUN, 0);
	for (int i = 0; i < count; i++) {
		struct http_stream *st = events[i].data.ptr;
		uint32_t seen = events[i].events;
		if (seen & EPOLLOUT)
			stream_flush(st);
		if (st->state != STREAM_OVER && (seen & (EPOLLIN | EPOLLRDHUP)))
			read_stream(st, now_ms);
		if (seen & (EPOLLERR | EPOLLHUP))
			stream_over(st, STREAM_CLIENT_LEFT);
	}
}

/* ---- turns ---- */

static void ping(struct http_stream *st)
{
	struct buf bytes = {0};
	if (st->sized)
		return;
	if (st->form == FORM_WEBSOCKET)
		ws_ping_append(&bytes);
	else
		stream_form_append(st->form, slice_text(st->paced ? "\n" : ":\n\n"), &bytes);
	stream_queue_bytes(st, buf_slice(&bytes));
	buf_close(&bytes);
}

static void ping_due(struct http_streams *all, int64_t now_ms)
{
	for (int i = 0; i < PINGS_A_TURN && all->open.first; i++) {
		struct http_stream *st = all->open.first;
		if (st->due_ms > now_ms)
			return;
		/* of one that is sized only what was sent can be taken */
		if (!st->heard && (!st->sized || st->head)) {
			stream_over(st, STREAM_SILENT);
			continue;
		}
		st->heard = false;
		st->due_ms = now_ms + all->limits.ping_ms;
		list_join(&all->open, st);
		ping(st);
	}
}

static void flush_dirty(struct http_streams *all)
{
	while (all->dirty) {
		struct http_stream *st = all->dirty;
		all->dirty = st->next_dirty;
		st->dirty = false;
		stream_flush(st);
	}
}

/* A telling may be answered by nothing that changes these lists: the core's effects come later. */
static void finish(struct http_streams *all)
{
	const struct stream_callbacks *to = &all->callbacks;
	for (size_t at = 0; at < all->taken.len; at += sizeof(uint64_t)) {
		uint64_t id;
		memcpy(&id, all->taken.data + at, sizeof id);
		to->on_taken(to->context, id);
	}
	buf_clear(&all->taken);
	for (size_t at = 0; at < all->gone.len; at += sizeof(struct stream_gone)) {
		struct stream_gone gone;
		memcpy(&gone, all->gone.data + at, sizeof gone);
		to->on_gone(to->context, gone.id, gone.why, gone.queued);
	}
	buf_clear(&all->gone);
	struct http_stream *next = all->over.first;
	all->over = (struct stream_list){NULL, NULL};
	while (next) {
		struct http_stream *st = next;
		next = st->next;
		all->counts.open--;
		all->counts.websockets -= st->form == FORM_WEBSOCKET;
		to->release(to->context, st->connection);
		free(st);
	}
}

void http_streams_turn(struct http_streams *all, int64_t now_ms)
{
	ping_due(all, now_ms);
	while (all->closing.first && all->closing.first->due_ms <= now_ms)
		stream_over(all->closing.first, STREAM_CLIENT_LEFT);
	flush_dirty(all);
	finish(all);
}

void http_streams_drain(struct http_streams *all, int64_t now_ms)
{
	all->draining = true;
	while (all->open.first)
		end_with(all->open.first, STREAM_DRAINED, WS_GOING_AWAY, slice_text("going away"),
			 now_ms);
}

/* ---- the whole ---- */

struct http_streams *http_streams_new(const struct stream_limits *limits,
				      const struct stream_callbacks *callbacks)
{
	struct http_streams *all = mem_alloc_zero(sizeof *all);
	all->limits = *limits;
	all->callbacks = *callbacks;
	all->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	CHECK(all->epoll_fd >= 0);
	return all;
}

void http_streams_free(struct http_streams *all)
{
	if (!all)
		return;
	while (all->open.first)
		stream_over(all->open.first, STREAM_DRAINED);
	while (all->closing.first)
		stream_over(all->closing.first, STREAM_DRAINED);
	flush_dirty(all);
	finish(all);
	ws_reader_free(all->spare);
	buf_close(&all->gone);
	buf_close(&all->taken);
	buf_close(&all->answer);
	buf_close(&all->scratch);
	(void)close(all->epoll_fd);
	free(all);
}

int http_streams_fd(const struct http_streams *all)
{
	return all->epoll_fd;
}

void http_streams_count(const struct http_streams *all, struct stream_counts *counts)
{
	*counts = all->counts;
}
