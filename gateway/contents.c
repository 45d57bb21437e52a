#include "gateway/contents.h"

#include "common/doc/base64.h"
#include "common/doc/revision.h"

enum { LIST_FIRST = 4 };

struct content *contents_add(struct contents *work)
{
	uint32_t count = work->count;
	/* room is doubled whenever the count is a power of two */
	if (count == 0 || (count >= LIST_FIRST && (count & (count - 1)) == 0)) {
		uint32_t cap = count ? count * 2 : LIST_FIRST;
		struct content *list = arena_alloc(work->arena, cap * sizeof *list);
		if (count > 0)
			memcpy(list, work->list, count * sizeof *list);
		work->list = list;
	}
	return &work->list[work->count++];
}

void content_draw(struct turn *t, struct content *out)
{
	*out = (struct content){.streamed = true};
	rng_fill(&t->gw->rng, out->upload, sizeof out->upload);
}

void content_prepare(struct turn *t, struct slice bytes, struct content *out)
{
	content_draw(t, out);
	out->streamed = false;
	out->bytes = bytes;
	out->length = bytes.len;
	attachment_md5(bytes, out->md5);
}

bool md5_is(const uint8_t md5[MD5_BYTES], struct slice text)
{
	struct buf own = {0};
	base64_encode(slice_of(md5, MD5_BYTES), &own);
	bool same = text.len == 0 || slice_equal(text, buf_slice(&own));
	buf_close(&own);
	return same;
}

void content_upload_text(const struct content *c, char out[UPLOAD_TEXT_BYTES])
{
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < sizeof c->upload; i++) {
		out[2 * i] = digits[c->upload[i] >> 4];
		out[2 * i + 1] = digits[c->upload[i] & 15];
	}
	out[UPLOAD_TEXT_BYTES - 1] = 0;
}

static void chunk_done(struct turn *t, struct request *r, uint32_t index, enum status status,
		       const void *body);

/* ---- one chunk ---- */

void content_fill_chunk(struct content *c, struct slice bytes, bool last)
{
	struct msg_attachment_chunk *m = &c->message.chunk;
	*m = (struct msg_attachment_chunk){.shard = c->shard, .body = bytes};
	m->chunk.upload = slice_of(c->upload, sizeof c->upload);
	m->chunk.number = c->at;
	m->chunk.last = last;
	if (last)
		m->chunk.md5 = slice_of(c->md5, sizeof c->md5);
}

bool content_send_chunk(struct turn *t, struct request *r, struct content *c, uint32_t index,
			call_done *done)
{
	struct call_spec spec = {
	    .reach = REACH_LEAD,
	    .shard = c->shard,
	    .type = MSG_attachment_chunk,
	    .answer = MSG_attachment_chunk_ack,
	    .message = &c->message,
	    .repeatable = true,
	    .index = index,
	    .done = done,
	};
	return call_open(t, r, &spec);
}

static void fill_send(struct content *c)
{
	uint64_t start = c->at * LIMIT_CHUNK_BYTES;
	uint64_t left = c->bytes.len - start;
	bool last = left <= LIMIT_CHUNK_BYTES;
	content_fill_chunk(c, slice_part(c->bytes, start, last ? left : LIMIT_CHUNK_BYTES), last);
}

/* One chunk of a content is under way at a time. */
static bool ask(struct turn *t, struct request *r, struct contents *work, uint32_t index)
{
	struct content *c = &work->list[index];
	fill_send(c);
	return content_send_chunk(t, r, c, index, chunk_done);
}

/* ---- what came of it ---- */

static bool sent_on(struct turn *t, struct request *r, struct contents *work, uint32_t index)
{
	struct content *c = &work->list[index];
	c->at++;
	if (c->at * LIMIT_CHUNK_BYTES >= c->bytes.len)
		return false;
	if (!ask(t, r, work, index))
		work->status = STATUS_OVERLOADED;
	return work->status == STATUS_OK;
}

static void end_one(struct turn *t, struct request *r, struct contents *work)
{
	if (--work->left == 0)
		work->done(t, r, work->status);
}

/* CREATED: that chunk was there already. */
static void chunk_done(struct turn *t, struct request *r, uint32_t index, enum status status,
		       const void *body)
{
	struct contents *work = r->contents;
	bool good = body && (status == STATUS_OK || status == STATUS_CREATED);
	if (!good && work->status == STATUS_OK)
		work->status = status_is_success(status) ? STATUS_INTERNAL : status;
	bool goes_on = false;
	if (work->status == STATUS_OK) {
		timers_set(&t->gw->timers, &r->deadline,
			   t->now_ms + t->gw->options.limits.deadline_ms);
		goes_on = sent_on(t, r, work, index);
	}
	if (!goes_on)
		end_one(t, r, work);
}

/* ---- all of them ---- */

void contents_send(struct turn *t, struct request *r, struct contents *work, contents_done *done)
{
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	r->contents = work;
	work->done = done;
	work->status = STATUS_OK;
	/* one more than there are, so that an early end is not taken for that of all */
	work->left = work->count + 1;
	for (uint32_t i = 0; i < work->count; i++) {
		struct content *one = &work->list[i];
		const struct map_shard *s = c ? map_collection_shard(c, one->document) : NULL;
		one->shard = s ? s->shard.id : 0;
		one->at = 0;
		bool wanted = !one->streamed;
		if (wanted && work->status == STATUS_OK && s && ask(t, r, work, i))
			continue;
		if (wanted && work->status == STATUS_OK)
			work->status = s ? STATUS_OVERLOADED : STATUS_NO_LEAD;
		work->left--;
	}
	end_one(t, r, work);
}
