#include "storage-node/bring.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/attachment.h"
#include "common/doc/content_carry.h"
#include "storage-node/attachment.h"

/* A chunk that was not answered for so long is given up; the branch is pushed again anyway. */
enum { BRING_PATIENCE_MS = 4 * OUTBOX_RETRY_MS };
/* Its lead can be reached: these are a few pushes. */
enum { BRING_FIRST_MS = 10000 };

struct bring {
	uint64_t shard;
	uint64_t sequence; /* of the branch in the shard's outbox */
	uint64_t request;  /* of the chunk under way */
	int64_t sent_ms;
	struct content_carry carry;
	struct arena arena; /* of the carry */
};

/* ---- the lead ---- */

/* Until the branch is applied. */
static bool is_held(struct storage *s, struct shard_copy *c, const struct attachment_stub *stub)
{
	struct attachment a;
	bool nothing_pending = c->position.applied == c->position.last;
	return attachment_load(s, c, slice_of(stub->content, CONTENT_BYTES), &a) && a.source > 0 &&
	       (nothing_pending || (a.holds > 0 && !attachment_drop_pending(c)));
}

bool bring_lacks(struct storage *s, struct shard_copy *c, const struct event *e,
		 const struct change *change, struct effects *fx)
{
	struct attachment_stub stub;
	struct attachments walk = attachments_begin(attachments_of(change->body));
	while (attachments_next(&walk, &stub)) {
		if (is_held(s, c, &stub))
			continue;
		struct msg_outbox_lacks lacks = {
		    .shard = c->id, .id = change->id, .revision = change->revision};
		REACHED(branch_lacks_attachments);
		fx_reply(fx, WHEN_NOW, e, MSG_outbox_lacks, &lacks);
		return true;
	}
	return false;
}

/* ---- who brings them ---- */

bool bring_first(struct storage *s, struct shard_copy *c)
{
	const struct replica *self = shard_self(s, c);
	if (!self || !self->learning || c->position.copying || !outbox_names_attachments(c)) {
		c->bring_until_ms = 0;
		return false;
	}
	REACHED(stream_waits_for_branch);
	if (c->bring_until_ms == 0)
		c->bring_until_ms = s->now_ms + BRING_FIRST_MS;
	return s->now_ms < c->bring_until_ms;
}

void bring_free(struct storage *s)
{
	if (!s->bring)
		return;
	arena_close(&s->bring->arena);
	free(s->bring);
	s->bring = NULL;
}

/* False: it is not here. */
static bool send_chunk(struct storage *s, struct shard_copy *c, struct effects *fx)
{
	struct bring *b = s->bring;
	struct msg_attachment_read at = content_carry_read(&b->carry);
	struct attachment a;
	struct slice value;
	if (!attachment_load(s, c, at.content, &a) || a.source == 0 ||
	    store_get(s->store, STORE_ATTACHMENTS,
		      key_chunk(&s->key, c->id, a.source, (uint32_t)at.number), &value) != STORE_OK)
		return false;
	struct envelope envelope = {.type = MSG_attachment_chunk,
				    .request_id = s->next_request++,
				    .epoch = c->placement.epoch};
	struct msg_attachment_chunk m =
	    content_carry_chunk(&b->carry, a.length > 0 ? value : slice_of(NULL, 0));
	m.shard = c->id;
	b->request = envelope.request_id;
	b->sent_ms = s->now_ms;
	fx_send(fx, WHEN_NOW, c->placement.lead, 0, &envelope, &m);
	return true;
}

/* The next chunk, or the branch again, with all that it names there or with what there was. */
static void go_on(struct storage *s, struct shard_copy *c, struct outbox_item *item,
		  struct effects *fx)
{
	bool all = content_carry_is_done(&s->bring->carry);
	if (!all && send_chunk(s, c, fx))
		return;
	if (all)
		REACHED(branch_brought_attachments);
	item->bare = !all;
	c->outbox_pushed_ms = 0;
	bring_free(s);
}

static bool begin(struct storage *s, struct shard_copy *c, const struct outbox_item *item)
{
	struct change change;
	s->bring = mem_alloc_zero(sizeof *s->bring);
	s->bring->shard = c->id;
	s->bring->sequence = item->sequence;
	struct slice bytes = arena_copy(&s->bring->arena, item->change);
	return schema_decode(&schema_change, bytes, &s->bring->arena, &change) &&
	       content_carry_begin(&s->bring->carry, change.body, change.operation_id,
				   &s->bring->arena);
}

/* Of a copy that counts for nothing, from its lead. */
static struct shard_copy *copy_of(struct storage *s, uint64_t shard, const struct event *e)
{
	struct shard_copy *c = shard_get(s, shard);
	if (!c || shard_vouching(s, c) || c->placement.lead != e->message.from.member ||
	    c->placement.epoch != e->message.envelope.epoch)
		return NULL;
	return c;
}

void bring_on_lacks(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_outbox_lacks *m = e->message.body;
	struct shard_copy *c = copy_of(s, m->shard, e);
	struct outbox_item *item = c ? outbox_find(c, m->id, &m->revision) : NULL;
	if (!item || (s->bring && s->now_ms - s->bring->sent_ms < BRING_PATIENCE_MS))
		return;
	bring_free(s);
	if (begin(s, c, item)) {
		go_on(s, c, item, fx);
		return;
	}
	item->bare = true;
	bring_free(s);
}

void bring_on_chunk_ack(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_attachment_chunk_ack *m = e->message.body;
	if (!s->bring || e->message.envelope.request_id != s->bring->request)
		return;
	struct shard_copy *c = copy_of(s, s->bring->shard, e);
	struct outbox_item *item = c ? outbox_at(c, s->bring->sequence) : NULL;
	if (!item || (m->status != STATUS_OK && m->status != STATUS_CREATED)) {
		bring_free(s);
		return;
	}
	content_carry_go_on(&s->bring->carry);
	go_on(s, c, item, fx);
}
