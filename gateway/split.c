#include "gateway/split.h"

#include "common/doc/attachment.h"
#include "common/doc/value.h"
#include "common/probe.h"
#include "gateway/carry.h"
#include "gateway/conflict_ask.h"

static struct split_writes *state_of(const struct request *r)
{
	return &((struct conflict_ask *)r->op)->split;
}

static void ended(struct turn *t, struct request *r)
{
	const struct split_writes *s = state_of(r);
	s->done(t, r, s->status, s->taken);
}

static void refuse(struct split_writes *s, enum status status, uint32_t index)
{
	bool taken = split_is_taken(status);
	/* another try that saw more is ahead */
	if (status == STATUS_CONFLICT)
		status = STATUS_LEAVES_MOVED;
	if (s->status == STATUS_OK || taken)
		s->status = taken ? STATUS_SPLIT_TAKEN : status;
	if (taken)
		s->taken = s->documents[index].part.id;
}

/* ---- all parts at once ---- */

/* Where a document beside the old one lies. */
static const struct map_shard *shard_of(struct turn *t, const struct request *r, struct slice id)
{
	const struct map_shard *row = cluster_map_shard(&t->gw->map, state_of(r)->shard);
	const struct map_collection *c =
	    row ? map_get_u64(&t->gw->map.collections_by_id, row->shard.collection) : NULL;
	return c ? map_collection_shard(c, id) : NULL;
}

static struct slice carried_body(struct request *r, const struct split_part *part)
{
	static const char without[] = "\x81\xac" ATTACHMENTS_MEMBER "\xc0";
	struct buf rest = {0};
	if (!MUTATION(split_leaves_pictures))
		return content_carry_body(part->body, split_operation(part), &r->arena);
	value_merge_patch(part->body, slice_text(without), &rest);
	struct slice copy = arena_copy(&r->arena, buf_slice(&rest));
	buf_close(&rest);
	return copy;
}

static bool send_part(struct turn *t, struct request *r, uint32_t index, bool write,
		      call_done *done)
{
	struct split_document *doc = &state_of(r)->documents[index];
	const struct map_shard *shard = shard_of(t, r, doc->part.id);
	if (!shard)
		return false;
	doc->shard = shard->shard.id;
	if (write) {
		doc->message.write = split_part_write(&doc->part);
		doc->message.write.shard = doc->shard;
		doc->message.write.lock_ids = r->lock_ids;
		doc->message.write.lock_ids_count = r->lock_ids_count;
		if (doc->carried)
			doc->message.write.body = carried_body(r, &doc->part);
	} else {
		doc->message.check = split_part_check(&doc->part);
		doc->message.check.shard = doc->shard;
	}
	struct call_spec spec = {.reach = REACH_LEAD,
				 .shard = doc->shard,
				 .type = write ? MSG_doc_write : MSG_derived_check,
				 .answer = MSG_doc_write_ack,
				 .message = &doc->message,
				 .repeatable = true,
				 .write = write,
				 .index = index,
				 .done = done};
	return call_open(t, r, &spec);
}

enum { CHECKED = 1, DOCUMENTS = 2, VERSIONS = 4 };

/* which: what is sent; versions of a document that conflict are made on what it has become. */
static void send_parts(struct turn *t, struct request *r, int which, call_done *done)
{
	struct split_writes *s = state_of(r);
	/* one more than there are, so that an early failure does not answer before all were sent */
	s->left = 1;
	for (uint32_t i = 0; i < s->count; i++) {
		if (!(which & (s->documents[i].part.base ? VERSIONS : DOCUMENTS)))
			continue;
		s->left++;
		if (!send_part(t, r, i, !(which & CHECKED), done))
			done(t, r, i, STATUS_OVERLOADED, NULL);
	}
	done(t, r, s->count, STATUS_OK, NULL);
}

static void take_written(struct split_writes *s, uint32_t index, enum status status,
			 const void *body)
{
	if (index < s->count && (!body || !status_is_success(status)))
		refuse(s, status, index);
	s->left--;
}

static void version_written(struct turn *t, struct request *r, uint32_t index, enum status status,
			    const void *body)
{
	take_written(state_of(r), index, status, body);
	if (state_of(r)->left == 0)
		ended(t, r);
}

static void document_written(struct turn *t, struct request *r, uint32_t index, enum status status,
			     const void *body)
{
	struct split_writes *s = state_of(r);
	take_written(s, index, status, body);
	if (s->left > 0)
		return;
	if (s->status == STATUS_OK)
		send_parts(t, r, VERSIONS, version_written);
	else
		ended(t, r);
}

/* ---- attachments ---- */

/* NOT_FOUND: of what is read, or of what was sent before, if another's write has taken it. */
static void carried(struct turn *t, struct request *r, enum status status)
{
	struct split_writes *s = state_of(r);
	if (status != STATUS_OK) {
		s->status = status == STATUS_NOT_FOUND ? STATUS_MISSING_ATTACHMENT : status;
		ended(t, r);
		return;
	}
	carry_named(r);
	send_parts(t, r, DOCUMENTS, document_written);
}

/* False: its attachments are no attachments. */
static bool add_contents(struct turn *t, struct request *r, struct split_document *doc)
{
	struct content_carry carry;
	if (!content_carry_begin(&carry, doc->part.body, split_operation(&doc->part), &r->arena))
		return false;
	for (uint32_t i = 0; i < carry.count; i++) {
		const struct content_carried *one = &carry.list[i];
		struct content *c = contents_add(&state_of(r)->carried);
		content_draw(t, c);
		c->document = doc->part.id;
		c->length = one->length;
		memcpy(c->content, one->content, sizeof c->content);
		memcpy(c->md5, one->md5, sizeof c->md5);
		memcpy(c->upload, one->upload, sizeof c->upload);
	}
	doc->carried = true;
	return true;
}

/* What the leads of the new documents lack goes there from the old one's. */
static void carry_all(struct turn *t, struct request *r)
{
	struct split_writes *s = state_of(r);
	s->carried = (struct contents){.arena = &r->arena};
	for (uint32_t i = 0; i < s->count; i++)
		if ((s->lacking >> i & 1) && !add_contents(t, r, &s->documents[i]))
			refuse(s, STATUS_BAD_ATTACHMENT, i);
	if (s->status != STATUS_OK)
		ended(t, r);
	else if (s->lacking)
		carry_start(t, r, r->resource, &s->carried, carried);
	else
		send_parts(t, r, DOCUMENTS, document_written);
}

/* ---- would they be taken? ---- */

static void take_check(struct split_writes *s, uint32_t index, enum status status, bool answered)
{
	bool waits = status == STATUS_LOCKED && !s->only_check; /* the write will */
	if (answered && status == STATUS_MISSING_ATTACHMENT)
		s->lacking |= UINT64_C(1) << index;
	else if (!answered || (!waits && !status_is_success(status)))
		refuse(s, status, index);
}

static void part_checked(struct turn *t, struct request *r, uint32_t index, enum status status,
			 const void *body)
{
	struct split_writes *s = state_of(r);
	if (index < s->count)
		take_check(s, index, status, body != NULL);
	if (--s->left > 0)
		return;
	if (s->only_check || s->status != STATUS_OK)
		ended(t, r);
	else
		carry_all(t, r);
}

static void copy_part(struct request *r, const struct split_part *part, struct split_document *out)
{
	out->part = *part;
	out->part.id = arena_copy(&r->arena, part->id);
	out->part.body = arena_copy(&r->arena, part->body);
	if (!part->base)
		return;
	out->part.base = arena_alloc(&r->arena, sizeof *out->part.base);
	out->part.base->generation = part->base->generation;
	out->part.base->hash = arena_copy(&r->arena, part->base->hash);
}

void split_prepare(struct request *r, uint64_t shard, const struct decision *d,
		   struct split_writes *out)
{
	*out = (struct split_writes){.count = d->parts_count, .shard = shard, .status = STATUS_OK};
	if (out->count > 0 && MUTATION(split_part_forgotten))
		out->count--;
	out->documents = arena_alloc(&r->arena, (out->count + 1) * sizeof *out->documents);
	for (uint32_t i = 0; i < out->count; i++)
		copy_part(r, &d->parts[i], &out->documents[i]);
}

static void begin(struct turn *t, struct request *r, split_done *done)
{
	struct split_writes *s = state_of(r);
	s->done = done;
	if (s->count == 0)
		ended(t, r);
	else
		send_parts(t, r, CHECKED | DOCUMENTS | VERSIONS, part_checked);
}

void split_check(struct turn *t, struct request *r, const struct split_writes *prepared,
		 split_done *done)
{
	struct split_writes *s = state_of(r);
	*s = *prepared;
	s->only_check = true;
	begin(t, r, done);
}

void split_heed_check(struct request *r, struct decision *d, enum status status, struct slice place)
{
	if (status == STATUS_SPLIT_TAKEN)
		decision_leave_open(d, "split_taken", place, &r->arena);
	else if (status != STATUS_OK)
		decision_split_refused(d, status, place, &r->arena);
}

void split_write(struct turn *t, struct request *r, uint64_t shard, const struct decision *d,
		 split_done *done)
{
	split_prepare(r, shard, d, state_of(r));
	begin(t, r, done);
}
