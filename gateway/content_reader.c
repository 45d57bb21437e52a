#include "gateway/content_reader.h"

#include "common/doc/base64.h"

enum status content_reader_ask(struct turn *t, struct request *r, struct content_reader *c,
			       call_done *done)
{
	const struct map_collection *collection =
	    cluster_map_collection(&t->gw->map, r->collection);
	const struct map_shard *s =
	    collection ? map_collection_shard(collection, c->document) : NULL;
	if (!s)
		return STATUS_NO_LEAD;
	c->read = (struct msg_attachment_read){
	    .shard = s->shard.id,
	    .content = slice_of(c->content, sizeof c->content),
	    .number = (c->first + c->taken) / LIMIT_CHUNK_BYTES,
	};
	struct call_spec spec = {
	    .reach = REACH_LEAD,
	    .shard = c->read.shard,
	    .type = MSG_attachment_read,
	    .answer = MSG_attachment_read_ack,
	    .message = &c->read,
	    .repeatable = true,
	    .done = done,
	};
	return call_open(t, r, &spec) ? STATUS_OK : STATUS_OVERLOADED;
}

/* Groups of three bytes; the last one may be shorter. */
static void put_base64(struct content_reader *c, struct slice bytes, struct buf *out)
{
	bool last = content_reader_ended(c);
	while (c->carry.len > 0 && c->carry.len < 3 && bytes.len > 0) {
		buf_append_byte(&c->carry, bytes.data[0]);
		bytes = slice_of(bytes.data + 1, bytes.len - 1);
	}
	if (c->carry.len == 3 || (last && bytes.len == 0)) {
		base64_encode(buf_slice(&c->carry), out);
		buf_clear(&c->carry);
	}
	if (bytes.len == 0)
		return;
	size_t whole = last ? bytes.len : bytes.len - bytes.len % 3;
	base64_encode(slice_of(bytes.data, whole), out);
	buf_append(&c->carry, bytes.data + whole, bytes.len - whole);
}

enum status content_reader_take(struct content_reader *c, enum status status,
				const struct msg_attachment_read_ack *ack, struct buf *out)
{
	if (!ack || status != STATUS_OK)
		return status_is_success(status) ? STATUS_INTERNAL : status;
	struct slice chunk = ack->body;
	uint64_t from = c->first + c->taken - c->read.number * LIMIT_CHUNK_BYTES;
	uint64_t left = c->count - c->taken;
	if (chunk.len <= from)
		return STATUS_INTERNAL;
	uint64_t bytes = chunk.len - from < left ? chunk.len - from : left;
	if (bytes < left && chunk.len != LIMIT_CHUNK_BYTES)
		return STATUS_INTERNAL;
	c->taken += bytes;
	struct slice wanted = slice_of(chunk.data + from, bytes);
	if (c->base64)
		put_base64(c, wanted, out);
	else
		buf_append_slice(out, wanted);
	return STATUS_OK;
}

bool content_reader_ended(const struct content_reader *c)
{
	return c->taken == c->count;
}

void content_reader_close(struct content_reader *c)
{
	buf_close(&c->carry);
	*c = (struct content_reader){0};
}
