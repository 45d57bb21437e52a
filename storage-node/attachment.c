#include "storage-node/attachment.h"

#include <stdlib.h>

#include "common/doc/attachment.h"

/* ---- records ---- */

static bool load(struct storage *s, const struct schema *schema, struct slice key, void *out)
{
	struct slice value;
	return store_get(s->store, STORE_ATTACHMENTS, key, &value) == STORE_OK &&
	       schema_decode(schema, arena_copy(&s->arena, value), &s->arena, out);
}

bool attachment_load_upload(struct storage *s, struct shard_copy *c, struct slice id,
			    struct upload *out)
{
	return load(s, &schema_upload, key_upload(&s->key, c->id, id), out);
}

bool attachment_load(struct storage *s, struct shard_copy *c, struct slice content,
		     struct attachment *out)
{
	return load(s, &schema_attachment, key_content(&s->key, c->id, content), out);
}

static void put_upload(struct storage *s, struct shard_copy *c, struct slice id,
		       const struct upload *upload)
{
	buf_clear(&s->value);
	schema_encode(&schema_upload, upload, &s->value);
	digest_put(s, c, STORE_ATTACHMENTS, key_upload(&s->key, c->id, id), buf_slice(&s->value));
}

/* Their digests are summed up in the record: none need be read. */
static void remove_chunks(struct storage *s, struct shard_copy *c, uint64_t source, uint64_t pairs)
{
	struct buf end = {0};
	store_remove_range(s->store, STORE_ATTACHMENTS, key_chunk(&s->key, c->id, source, 0),
			   key_chunk(&end, c->id, source, UINT32_MAX));
	buf_close(&end);
	c->position.digest -= pairs;
}

/* What nobody names or holds any more goes. */
static void put_attachment(struct storage *s, struct shard_copy *c, struct slice content,
			   const struct attachment *a)
{
	if (a->references + a->holds == 0) {
		digest_remove(s, c, STORE_ATTACHMENTS, key_content(&s->key, c->id, content));
		if (a->source > 0 && !MUTATION(chunks_left))
			remove_chunks(s, c, a->source, a->pairs);
		c->position.attachments--;
		return;
	}
	buf_clear(&s->value);
	schema_encode(&schema_attachment, a, &s->value);
	digest_put(s, c, STORE_ATTACHMENTS, key_content(&s->key, c->id, content),
		   buf_slice(&s->value));
}

static void load_or_make(struct storage *s, struct shard_copy *c, struct slice content,
			 struct attachment *out)
{
	if (attachment_load(s, c, content, out))
		return;
	*out = (struct attachment){0};
	c->position.attachments++;
}

/* ---- chunks ---- */

/* The content is whole: it is held until a document comes for it. */
static void seal(struct storage *s, struct shard_copy *c, const struct chunk *chunk,
		 struct upload *upload)
{
	struct attachment a;
	uint8_t name[CONTENT_BYTES];
	content_name(upload->chain.data, upload->length, name);
	upload->content = arena_copy(&s->arena, slice_of(name, sizeof name));
	load_or_make(s, c, upload->content, &a);
	a.holds++;
	if (a.source == 0) {
		a.source = upload->source;
		a.length = upload->length;
		a.md5 = chunk->md5;
		a.pairs = upload->pairs;
	} else {
		REACHED(content_came_again);
		remove_chunks(s, c, upload->source, upload->pairs);
	}
	put_attachment(s, c, upload->content, &a);
}

/* Again, or behind a gap: nothing. Only what continues an upload is part of it. */
static bool continues(const struct upload *upload, bool known, const struct chunk *chunk)
{
	return upload->content.len == 0 && chunk->number == upload->chunks &&
	       (known || chunk->number == 0);
}

void attachment_apply_chunk(struct storage *s, struct shard_copy *c, uint64_t number,
			    const struct change *change)
{
	struct upload upload = {0};
	if (change->chunks_count == 0 || change->chunks[0].upload.len != UPLOAD_BYTES)
		return;
	const struct chunk *chunk = &change->chunks[0];
	bool known = attachment_load_upload(s, c, chunk->upload, &upload);
	if (!continues(&upload, known, chunk)) {
		REACHED(chunk_came_again);
		return;
	}
	if (!known)
		upload.source = number;
	/* no value that replicas share is empty */
	struct slice bytes = change->body.len > 0 ? change->body : slice_text("-");
	struct slice key = key_chunk(&s->key, c->id, upload.source, (uint32_t)chunk->number);
	uint8_t chain[CONTENT_BYTES] = {0};
	if (upload.chain.len == sizeof chain)
		memcpy(chain, upload.chain.data, sizeof chain);
	content_chain(chain, change->body);
	upload.chain = arena_copy(&s->arena, slice_of(chain, sizeof chain));
	upload.pairs += digest_pair(STORE_ATTACHMENTS, key, bytes);
	digest_replace(s, c, STORE_ATTACHMENTS, key, (struct slice){0}, bytes);
	upload.chunks++;
	upload.length += change->body.len;
	upload.stamp = change->stamp;
	c->position.uploads += !known;
	if (chunk->last)
		seal(s, c, chunk, &upload);
	put_upload(s, c, chunk->upload, &upload);
	s->applied_bytes += change->body.len;
}

static void release(struct storage *s, struct shard_copy *c, struct slice id)
{
	struct upload upload;
	struct attachment a;
	if (!attachment_load_upload(s, c, id, &upload))
		return;
	if (upload.content.len == 0) {
		remove_chunks(s, c, upload.source, upload.pairs);
	} else if (attachment_load(s, c, upload.content, &a) && a.holds > 0) {
		a.holds--;
		put_attachment(s, c, upload.content, &a);
	}
	digest_remove(s, c, STORE_ATTACHMENTS, key_upload(&s->key, c->id, id));
	c->position.uploads--;
}

void attachment_apply_drop(struct storage *s, struct shard_copy *c, const struct change *change)
{
	if (change->chunks_count == 0)
		return;
	REACHED(upload_dropped);
	release(s, c, change->chunks[0].upload);
}

/* ---- references ---- */

struct tally {
	uint8_t content[CONTENT_BYTES];
	int64_t delta;
};

struct tallies {
	struct arena *arena;
	struct tally *list;
	uint32_t count;
	uint32_t cap;
};

static void tally_body(struct tallies *t, struct slice body, int64_t delta)
{
	struct attachment_stub stub;
	struct attachments walk = attachments_begin(attachments_of(body));
	while (attachments_next(&walk, &stub)) {
		if (t->count == t->cap) {
			t->cap = t->cap ? t->cap * 2 : 16;
			struct tally *list = arena_alloc(t->arena, t->cap * sizeof *list);
			if (t->count > 0)
				memcpy(list, t->list, t->count * sizeof *list);
			t->list = list;
		}
		memcpy(t->list[t->count].content, stub.content, CONTENT_BYTES);
		t->list[t->count++].delta = delta;
	}
}

static int by_content(const void *a, const void *b)
{
	return memcmp(((const struct tally *)a)->content, ((const struct tally *)b)->content,
		      CONTENT_BYTES);
}

static void add_references(struct storage *s, struct shard_copy *c, const struct tally *tally,
			   int64_t delta)
{
	struct attachment a;
	struct slice content = slice_of(tally->content, CONTENT_BYTES);
	if (delta == 0)
		return;
	load_or_make(s, c, content, &a);
	if (delta > 0 && a.references > 0 && MUTATION(reference_lost))
		return;
	a.references += (uint64_t)delta;
	put_attachment(s, c, content, &a);
}

void attachments_apply(struct storage *s, struct shard_copy *c, const struct change *change,
		       const struct document_edit *edit, struct slice before, struct slice after)
{
	struct tallies t = {.arena = &s->arena};
	struct slice value;
	tally_body(&t, before, -1);
	tally_body(&t, after, 1);
	for (uint32_t i = 0; i < edit->bodies_count; i++) {
		const struct body_edit *b = &edit->bodies[i];
		tally_body(&t, b->body, 1);
		if (c->position.attachments > 0 &&
		    store_get(s->store, STORE_DOCUMENTS,
			      key_body(&s->key, c->id, change->id, &b->revision),
			      &value) == STORE_OK)
			tally_body(&t, value, -1);
	}
	if (t.count > 1)
		qsort(t.list, t.count, sizeof *t.list, by_content);
	for (uint32_t i = 0; i < t.count;) {
		int64_t delta = 0;
		uint32_t first = i;
		for (; i < t.count && by_content(&t.list[first], &t.list[i]) == 0; i++)
			delta += t.list[i].delta;
		add_references(s, c, &t.list[first], delta);
	}
	for (uint32_t i = 0; i < change->uploads_count; i++)
		release(s, c, change->uploads[i]);
}
