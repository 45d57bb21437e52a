/* Contents of attachments at the lead: chunks that come and are asked for, uploads that go. */
#include "common/doc/attachment.h"

#include "common/probe.h"
#include "storage-node/attachment.h"
#include "storage-node/conflict.h"
#include "storage-node/write.h"

/* ---- chunks that come ---- */

static bool is_sound(const struct msg_attachment_chunk *m)
{
	const struct chunk *chunk = &m->chunk;
	if (chunk->upload.len != UPLOAD_BYTES || chunk->number >= LIMIT_CHUNKS)
		return false;
	return chunk->last ? chunk->md5.len == MD5_BYTES : m->body.len == LIMIT_CHUNK_BYTES;
}

/* OK: to be ordered. CREATED: it is there. */
static enum status check(struct storage *s, struct shard_copy *c,
			 const struct msg_attachment_chunk *m)
{
	struct upload upload;
	if (!is_sound(m))
		return STATUS_BAD_MESSAGE;
	if (c->position.applied < c->epoch_start)
		return STATUS_NO_LEAD; /* the chunk before it may be under way */
	bool known = attachment_load_upload(s, c, m->chunk.upload, &upload);
	uint64_t next = known ? upload.chunks : 0;
	if (m->chunk.number < next)
		return STATUS_CREATED;
	if (m->chunk.number > next || (known && upload.content.len > 0))
		return STATUS_NOT_FOUND;
	if (!known && c->position.uploads >= BOUND(uploads, UPLOADS_MAX))
		return STATUS_OVERLOADED;
	if (write_disks_full(s, c))
		return STATUS_DISK_FULL;
	return stream_has_room(s, c) ? STATUS_OK : STATUS_OVERLOADED;
}

void attachment_on_chunk(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_attachment_chunk *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	struct msg_attachment_chunk_ack ack = {.status = conflict_must_lead(s, c, e, fx)};
	if (ack.status == STATUS_OK)
		ack.status = check(s, c, m);
	if (ack.status != STATUS_OK) {
		fx_reply(fx, WHEN_NOW, e, MSG_attachment_chunk_ack, &ack);
		return;
	}
	struct chunk chunk = m->chunk;
	struct change change = {.kind = CHANGE_CHUNK,
				.chunks = &chunk,
				.chunks_count = 1,
				.body = m->body,
				.stamp = write_stamp(s, c)};
	uint64_t number = stream_append_change(s, c, &change, fx);
	CHECK(waiter_await(c, e, number, MSG_attachment_chunk_ack, &ack));
}

void attachment_on_read(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_attachment_read *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	struct msg_attachment_read_ack ack = {.status = conflict_must_lead(s, c, e, fx)};
	struct attachment a;
	if (ack.status == STATUS_OK) {
		struct slice value;
		bool there = attachment_load(s, c, m->content, &a) && a.source > 0 &&
			     m->number < content_chunks(a.length, LIMIT_CHUNK_BYTES) &&
			     store_get(s->store, STORE_ATTACHMENTS,
				       key_chunk(&s->key, c->id, a.source, (uint32_t)m->number),
				       &value) == STORE_OK;
		ack.status = there ? STATUS_OK : STATUS_NOT_FOUND;
		if (there && a.length > 0)
			ack.body = value;
	}
	fx_reply(fx, WHEN_NOW, e, MSG_attachment_read_ack, &ack);
}

/* ---- uploads that nobody came for ---- */

static void order_drop(struct storage *s, struct shard_copy *c, struct slice upload,
		       struct effects *fx)
{
	struct chunk chunk = {.upload = upload};
	struct change change = {.kind = CHANGE_CHUNK_DROP, .chunks = &chunk, .chunks_count = 1};
	stream_append_change(s, c, &change, fx);
}

/* Its chunks may be under way still. */
void attachment_on_forget(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_attachment_forget *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	struct upload upload;
	if (m->upload.len != UPLOAD_BYTES || conflict_must_lead(s, c, e, fx) != STATUS_OK ||
	    c->position.applied < c->epoch_start || !stream_has_room(s, c))
		return;
	if (c->position.applied == c->position.last &&
	    !attachment_load_upload(s, c, m->upload, &upload))
		return;
	REACHED(upload_forgotten);
	order_drop(s, c, m->upload, fx);
}

bool attachment_drop_pending(const struct shard_copy *c)
{
	return c->upload_dropped > c->position.applied && c->upload_dropped <= c->position.last;
}

static bool is_old(const struct storage *s, const struct upload *upload)
{
	uint64_t now_ms = s->wall_ms > 0 ? (uint64_t)s->wall_ms : 0;
	return (upload->stamp >> 16) + s->options.upload_keep_ms < now_ms;
}

static uint32_t old_uploads(struct storage *s, struct shard_copy *c, struct slice *out)
{
	uint8_t prefix[KEY_SHARD_BYTES + 1];
	uint32_t count = 0;
	struct upload upload;
	struct store_iterator *it = store_iterate(s->store, STORE_ATTACHMENTS);
	memcpy(prefix, key_upload(&s->key, c->id, slice_of(NULL, 0)).data, sizeof prefix);
	store_seek(s->store, it, slice_of(prefix, sizeof prefix));
	for (; count < UPLOAD_DROPS_SWEEP && store_valid(s->store, it); store_next(s->store, it)) {
		struct slice key = store_key(s->store, it);
		if (key.len < sizeof prefix || memcmp(key.data, prefix, sizeof prefix) != 0)
			break;
		struct slice value = arena_copy(&s->arena, store_value(s->store, it));
		if (!schema_decode(&schema_upload, value, &s->arena, &upload) ||
		    !is_old(s, &upload))
			continue;
		out[count] = arena_copy(
		    &s->arena, slice_of(key.data + sizeof prefix, key.len - sizeof prefix));
		/* the walk shows the last commit: more of it may have come since */
		count += attachment_load_upload(s, c, out[count], &upload) && is_old(s, &upload);
	}
	store_iterator_free(s->store, it);
	return count;
}

void attachment_tick(struct storage *s, struct shard_copy *c, struct effects *fx)
{
	struct slice ids[UPLOAD_DROPS_SWEEP];
	if (c->state != SHARD_SERVING || c->position.uploads == 0 || s->now_ms < c->uploads_ms ||
	    attachment_drop_pending(c) || !stream_has_room(s, c))
		return;
	c->uploads_ms = s->now_ms + UPLOAD_SWEEP_MS;
	uint32_t count = old_uploads(s, c, ids);
	for (uint32_t i = 0; i < count; i++)
		order_drop(s, c, ids[i], fx);
}

/* ---- metrics ---- */

void attachment_metrics(const struct storage *s, struct buf *out)
{
	uint64_t contents = 0;
	uint64_t uploads = 0;
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&s->shards, &at));) {
		const struct shard_copy *c = entry->value;
		contents += c->position.attachments;
		uploads += c->position.uploads;
	}
	buf_printf(out, "parley_attachments %llu\n", (unsigned long long)contents);
	buf_printf(out, "parley_uploads %llu\n", (unsigned long long)uploads);
}
