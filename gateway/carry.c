#include "gateway/carry.h"

#include "common/doc/base64.h"
#include "gateway/intake.h"

struct carry {
	struct contents *work;
	struct slice from; /* document id */
	uint32_t index;    /* the content that is on its way */
	struct buf chunk;
	bool named;
	contents_done *done;
	void (*close)(struct request *r); /* the request's before */
};

bool carry_add(struct turn *t, struct contents *work, const struct attachment_stub *stub,
	       struct slice document, struct content **out)
{
	static const char prefix[] = "md5-";
	size_t skip = sizeof prefix - 1;
	struct buf md5 = {0};
	if (stub->digest.len < skip || memcmp(stub->digest.data, prefix, skip) != 0)
		return false;
	bool fine = base64_decode(slice_part(stub->digest, skip, stub->digest.len - skip), &md5) &&
		    md5.len == MD5_BYTES;
	if (fine) {
		struct content *c = *out = contents_add(work);
		content_draw(t, c);
		c->document = document;
		c->length = stub->length;
		memcpy(c->content, stub->content, sizeof c->content);
		memcpy(c->md5, md5.data, sizeof c->md5);
	}
	buf_close(&md5);
	return fine;
}

/* ---- chunks ---- */

static void read_next(struct turn *t, struct request *r);

static void ended(struct turn *t, struct request *r, enum status status)
{
	struct carry *carry = r->carry;
	buf_close(&carry->chunk);
	carry->done(t, r, status);
}

static bool is_last(const struct content *c)
{
	return (c->at + 1) * LIMIT_CHUNK_BYTES >= c->length;
}

/* CREATED: that chunk was there already. */
static void chunk_sent(struct turn *t, struct request *r, uint32_t index, enum status status,
		       const void *body)
{
	struct carry *carry = r->carry;
	struct content *c = &carry->work->list[carry->index];
	(void)index;
	if (!body || (status != STATUS_OK && status != STATUS_CREATED)) {
		ended(t, r, status_is_success(status) ? STATUS_INTERNAL : status);
		return;
	}
	if (is_last(c))
		carry->index++;
	else
		c->at++;
	read_next(t, r);
}

static bool call(struct turn *t, struct request *r, const struct map_shard *s,
		 const struct call_spec *how)
{
	struct call_spec spec = *how;
	spec.reach = REACH_LEAD;
	spec.shard = s->shard.id;
	spec.repeatable = true;
	timers_set(&t->gw->timers, &r->deadline, t->now_ms + t->gw->options.limits.deadline_ms);
	return call_open(t, r, &spec);
}

static const struct map_shard *shard_of(struct turn *t, struct request *r, struct slice document)
{
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	return c ? map_collection_shard(c, document) : NULL;
}

static void chunk_came(struct turn *t, struct request *r, uint32_t index, enum status status,
		       const void *body)
{
	struct carry *carry = r->carry;
	struct content *c = &carry->work->list[carry->index];
	const struct msg_attachment_read_ack *ack = body;
	const struct map_shard *s = shard_of(t, r, c->document);
	(void)index;
	bool last = is_last(c);
	uint64_t bytes = last ? c->length - c->at * LIMIT_CHUNK_BYTES : LIMIT_CHUNK_BYTES;
	if (!ack || status != STATUS_OK || !s || ack->body.len != bytes) {
		ended(t, r, !s ? STATUS_NO_LEAD : status == STATUS_OK ? STATUS_INTERNAL : status);
		return;
	}
	buf_clear(&carry->chunk);
	buf_append_slice(&carry->chunk, ack->body);
	c->shard = s->shard.id;
	content_fill_chunk(c, buf_slice(&carry->chunk), last);
	if (!call(t, r, s,
		  &(struct call_spec){.type = MSG_attachment_chunk,
				      .answer = MSG_attachment_chunk_ack,
				      .message = &c->message,
				      .done = chunk_sent}))
		ended(t, r, STATUS_OVERLOADED);
}

static void read_next(struct turn *t, struct request *r)
{
	struct carry *carry = r->carry;
	const struct map_shard *s = shard_of(t, r, carry->from);
	if (carry->index == carry->work->count) {
		ended(t, r, STATUS_OK);
		return;
	}
	struct content *c = &carry->work->list[carry->index];
	if (!s) {
		ended(t, r, STATUS_NO_LEAD);
		return;
	}
	c->message.read = (struct msg_attachment_read){
	    .shard = s->shard.id,
	    .content = slice_of(c->content, sizeof c->content),
	    .number = c->at,
	};
	if (!call(t, r, s,
		  &(struct call_spec){.type = MSG_attachment_read,
				      .answer = MSG_attachment_read_ack,
				      .message = &c->message,
				      .done = chunk_came}))
		ended(t, r, STATUS_OVERLOADED);
}

/* ---- the whole ---- */

static void close_carry(struct request *r)
{
	buf_close(&r->carry->chunk);
	if (r->carry->close)
		r->carry->close(r);
}

static bool is_much(const struct contents *work)
{
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < work->count && bytes <= LIMIT_CHUNK_BYTES; i++)
		bytes += work->list[i].length;
	return bytes > LIMIT_CHUNK_BYTES;
}

void carry_start(struct turn *t, struct request *r, struct slice from, struct contents *work,
		 contents_done *done)
{
	if (is_much(work) && !r->transfers && !transfer_begin(t, r))
		return;
	struct carry *carry = arena_alloc(&r->arena, sizeof *carry);
	*carry = (struct carry){.work = work, .from = from, .done = done, .close = r->close};
	r->close = close_carry;
	r->carry = carry;
	r->contents = work;
	read_next(t, r);
}

void carry_named(struct request *r)
{
	if (r->carry)
		r->carry->named = true;
}

void carry_end(struct turn *t, struct request *r)
{
	const struct carry *carry = r->carry;
	if (!carry || carry->named || !t->fx)
		return;
	for (uint32_t i = 0; i < carry->work->count; i++)
		upload_forget(t, &carry->work->list[i]);
}
