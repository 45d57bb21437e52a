/* What is to be written to a stream: counted references, records, the limit. */
#include <stdlib.h>
#include <sys/epoll.h>

#include "common/base/memory.h"
#include "gateway/http/stream_private.h"

/* A stream that has asked something may hold this part of what all may hold: answers can be lists.
 */
enum { ANSWERS_SHARE = 4, NODE_BYTES = 32 };

/* ---- payloads ---- */

struct stream_payload *payload_new(struct http_streams *all, struct slice bytes)
{
	struct stream_payload *payload = mem_alloc(sizeof *payload + bytes.len);
	payload->all = all;
	payload->references = 1;
	payload->len = bytes.len;
	memcpy(payload->bytes, bytes.data, bytes.len);
	all->counts.bytes += bytes.len;
	return payload;
}

void payload_release(struct stream_payload *payload)
{
	if (!payload || --payload->references > 0)
		return;
	payload->all->counts.bytes -= payload->len;
	free(payload);
}

void stream_form_append(enum stream_form form, struct slice body, struct buf *out)
{
	if (form == FORM_WEBSOCKET) {
		ws_text_append(body, out);
	} else if (form == FORM_PLAIN) {
		buf_append_slice(out, body);
	} else if (body.len > 0) { /* an empty chunk would be the last */
		buf_printf(out, "%zx\r\n", body.len);
		buf_append_slice(out, body);
		buf_append(out, "\r\n", 2);
	}
}

/* ---- the queue ---- */

static void mark_dirty(struct http_stream *st)
{
	if (st->dirty)
		return;
	st->dirty = true;
	st->next_dirty = st->all->dirty;
	st->all->dirty = st;
}

void stream_queue(struct http_stream *st, struct stream_payload *payload)
{
	struct stream_node *node = mem_alloc(sizeof *node);
	payload->references++;
	*node = (struct stream_node){.payload = payload};
	if (st->tail)
		st->tail->next = node;
	else
		st->head = node;
	st->tail = node;
	st->queued += payload->len;
	st->all->counts.bytes += NODE_BYTES;
	mark_dirty(st);
}

void stream_queue_bytes(struct http_stream *st, struct slice bytes)
{
	if (bytes.len == 0)
		return;
	struct stream_payload *payload = payload_new(st->all, bytes);
	stream_queue(st, payload);
	payload_release(payload);
}

static struct stream_node *node_free(struct http_stream *st, struct stream_node *node)
{
	struct stream_node *next = node->next;
	payload_release(node->payload);
	free(node);
	st->all->counts.bytes -= NODE_BYTES;
	return next;
}

/* Frames are whole or not at all: what has begun to leave stays. */
void stream_queue_drop(struct http_stream *st)
{
	size_t begun = st->offset + st->record;
	size_t kept = 0;
	struct stream_node **at = &st->head;
	struct stream_node *last = NULL;
	while (*at && kept < begun) {
		last = *at;
		kept += last->payload->len;
		at = &last->next;
	}
	struct stream_node *node = *at;
	*at = NULL;
	st->tail = last;
	while (node) {
		st->queued -= node->payload->len;
		node = node_free(st, node);
	}
}

void stream_queue_close(struct http_stream *st)
{
	while (st->head)
		st->head = node_free(st, st->head);
	st->tail = NULL;
	st->queued = 0;
}

static void consume(struct http_stream *st, size_t len)
{
	st->queued -= len;
	st->offset += len;
	while (st->head && st->offset >= st->head->payload->len) {
		st->offset -= st->head->payload->len;
		st->head = node_free(st, st->head);
	}
	if (!st->head)
		st->tail = NULL;
}

/* ---- writing ---- */

static void watch(struct http_stream *st, bool writable)
{
	uint32_t wanted = EPOLLRDHUP | (writable ? EPOLLOUT : 0);
	/* Who does not take answers is not asked for more questions. */
	if (st->queued <= st->all->limits.queue_bytes_max)
		wanted |= EPOLLIN;
	if (wanted == st->watched)
		return;
	struct epoll_event event = {.events = wanted, .data.ptr = st};
	st->watched = wanted;
	CHECK(epoll_ctl(st->all->epoll_fd, EPOLL_CTL_MOD, st->fd, &event) == 0);
}

/* The beginning of the queue as one record: several messages of a turn leave together. */
static struct slice gather(const struct http_stream *st)
{
	const struct stream_node *node = st->head;
	size_t len = node->payload->len - st->offset;
	if (!node->next || len >= TLS_RECORD_BYTES)
		return slice_of(node->payload->bytes + st->offset,
				len < TLS_RECORD_BYTES ? len : TLS_RECORD_BYTES);
	uint8_t *out = st->all->out;
	memcpy(out, node->payload->bytes + st->offset, len);
	for (node = node->next; node && len < TLS_RECORD_BYTES; node = node->next) {
		size_t part = node->payload->len < TLS_RECORD_BYTES - len ? node->payload->len
									  : TLS_RECORD_BYTES - len;
		memcpy(out + len, node->payload->bytes, part);
		len += part;
	}
	return slice_of(out, len);
}

static ssize_t send_record(struct http_stream *st)
{
	if (st->record > 0)
		return gnutls_record_send(st->session, NULL, 0);
	struct slice bytes = gather(st);
	st->record = bytes.len;
	return gnutls_record_send(st->session, bytes.data, bytes.len);
}

void stream_flush(struct http_stream *st)
{
	while (st->state != STREAM_OVER && st->head) {
		ssize_t sent = send_record(st);
		if (sent == GNUTLS_E_INTERRUPTED)
			continue;
		if (sent == GNUTLS_E_AGAIN) {
			watch(st, true);
			return;
		}
		if (sent <= 0) {
			stream_over(st, STREAM_CLIENT_LEFT);
			return;
		}
		st->record = 0;
		if (st->form != FORM_WEBSOCKET)
			st->heard = true;
		consume(st, (size_t)sent);
	}
	if (st->state == STREAM_OVER)
		return;
	watch(st, false);
	if (st->done)
		stream_over(st, STREAM_CLIENT_LEFT);
	else if (st->paced && st->state == STREAM_OPEN)
		buf_append(&st->all->taken, &st->id, sizeof st->id);
}

bool stream_has_room(struct http_stream *st)
{
	const struct stream_limits *limits = &st->all->limits;
	uint64_t most =
	    st->credit > 0 ? limits->total_bytes_max / ANSWERS_SHARE : limits->queue_bytes_max;
	return st->queued < most &&
	       (st->queued == 0 || st->all->counts.bytes < limits->total_bytes_max);
}
