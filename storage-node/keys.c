#include "storage-node/keys.h"

#include "common/doc/revision.h"
#include "common/doc/shard_hash.h"

struct slice key_shard(struct buf *out, char letter, uint64_t shard)
{
	buf_clear(out);
	buf_append_byte(out, (uint8_t)letter);
	buf_append_be64(out, shard);
	return buf_slice(out);
}

struct slice key_number(struct buf *out, char letter, uint64_t shard, uint64_t number)
{
	key_shard(out, letter, shard);
	buf_append_be64(out, number);
	return buf_slice(out);
}

struct slice key_discarded(struct buf *out, uint64_t shard, uint64_t wall_ms, uint64_t number)
{
	key_number(out, 'z', shard, wall_ms);
	buf_append_be64(out, number);
	return buf_slice(out);
}

struct slice key_document(struct buf *out, uint64_t shard, struct slice id)
{
	key_shard(out, 'd', shard);
	buf_append_slice(out, id);
	buf_append_byte(out, 0);
	return buf_slice(out);
}

struct slice key_body(struct buf *out, uint64_t shard, struct slice id,
		      const struct revision *revision)
{
	key_document(out, shard, id);
	buf_append_byte(out, KEY_PART_BODY);
	revision_print(revision, out);
	return buf_slice(out);
}

struct slice key_operation(struct buf *out, uint64_t shard, struct slice id,
			   struct slice operation_id)
{
	key_document(out, shard, id);
	buf_append_byte(out, KEY_PART_OPERATION);
	buf_append_slice(out, operation_id);
	return buf_slice(out);
}

struct slice key_operation_sequence(struct buf *out, uint64_t shard, struct slice id,
				    uint64_t sequence)
{
	key_document(out, shard, id);
	buf_append_byte(out, KEY_PART_SEQUENCE);
	buf_append_be64(out, sequence);
	return buf_slice(out);
}

enum key_part key_part_of(struct slice rest)
{
	if (rest.len == 0)
		return KEY_PART_RECORD;
	return rest.data[0] == KEY_PART_OPERATION || rest.data[0] == KEY_PART_SEQUENCE
		   ? (enum key_part)rest.data[0]
		   : KEY_PART_BODY;
}

struct slice key_conflict_open(struct buf *out, uint64_t shard, struct slice id)
{
	key_document(out, shard, id);
	buf_append_byte(out, 'o');
	return buf_slice(out);
}

struct slice key_conflict_resolved(struct buf *out, uint64_t shard, struct slice id,
				   struct slice resolution_id)
{
	key_document(out, shard, id);
	buf_append_byte(out, 'r');
	buf_append_slice(out, resolution_id);
	return buf_slice(out);
}

/* Keys of no document: the empty id, then a letter. */
static struct slice key_beside(struct buf *out, uint64_t shard, char letter)
{
	key_document(out, shard, slice_of(NULL, 0));
	buf_append_byte(out, (uint8_t)letter);
	return buf_slice(out);
}

static struct slice key_beside_number(struct buf *out, uint64_t shard, char letter, uint64_t number)
{
	key_beside(out, shard, letter);
	buf_append_be64(out, number);
	return buf_slice(out);
}

struct slice key_epochs(struct buf *out, uint64_t shard)
{
	return key_beside(out, shard, 'e');
}

struct slice key_history(struct buf *out, uint64_t shard, uint64_t sequence)
{
	return key_beside_number(out, shard, 'h', sequence);
}

struct slice key_tombstone(struct buf *out, uint64_t shard, uint64_t number)
{
	return key_beside_number(out, shard, 't', number);
}

struct slice key_latest(struct buf *out, uint64_t shard, uint64_t number)
{
	return key_beside_number(out, shard, 's', number);
}

struct slice key_purged(struct buf *out, uint64_t shard, struct slice id)
{
	return key_purged_hash(out, shard, shard_hash(id));
}

struct slice key_purged_hash(struct buf *out, uint64_t shard, uint64_t hash)
{
	return key_beside_number(out, shard, 'p', hash);
}

struct slice key_purged_sequence(struct buf *out, uint64_t shard, uint64_t sequence)
{
	return key_beside_number(out, shard, 'q', sequence);
}

struct slice key_checkpoint(struct buf *out, uint64_t shard, struct slice name)
{
	key_beside(out, shard, 'c');
	buf_append_slice(out, name);
	return buf_slice(out);
}

struct slice key_lock(struct buf *out, uint64_t shard, struct slice lock_id)
{
	key_beside(out, shard, 'l');
	buf_append_slice(out, lock_id);
	return buf_slice(out);
}

struct slice key_conflicts(struct buf *out, uint64_t shard)
{
	key_shard(out, 'd', shard);
	buf_append_byte(out, 1);
	return buf_slice(out);
}

const struct schema *key_conflicts_schema(struct slice id, struct slice rest)
{
	if (id.len > 0 || rest.len == 0)
		return &schema_conflict;
	switch (rest.data[0]) {
	case 'l':
		return &schema_shard_lock;
	case 'e':
		return &schema_epoch_starts;
	case 't':
		return &schema_tombstone;
	case 's':
		return &schema_latest;
	case 'p':
		return &schema_purged;
	case 'c':
		return &schema_checkpoint;
	case 'q':
		return NULL;
	default:
		return &schema_conflict;
	}
}

struct slice key_document_end(struct buf *out, uint64_t shard, struct slice id)
{
	key_shard(out, 'd', shard);
	buf_append_slice(out, id);
	buf_append_byte(out, 1); /* ids hold no byte below 32: nothing sorts between 0 and 1 but
				    this document's keys */
	return buf_slice(out);
}

struct slice key_shard_end(struct buf *out, char letter, uint64_t shard)
{
	if (shard == UINT64_MAX) {
		buf_clear(out);
		buf_append_byte(out, (uint8_t)(letter + 1));
		return buf_slice(out);
	}
	return key_shard(out, letter, shard + 1);
}

static struct slice key_attachment(struct buf *out, uint64_t shard, char kind, struct slice name)
{
	key_shard(out, 'd', shard);
	buf_append_byte(out, (uint8_t)kind);
	buf_append_slice(out, name);
	return buf_slice(out);
}

struct slice key_content(struct buf *out, uint64_t shard, struct slice content)
{
	return key_attachment(out, shard, 'c', content);
}

struct slice key_chunk(struct buf *out, uint64_t shard, uint64_t source, uint32_t number)
{
	key_attachment(out, shard, 'k', slice_of(NULL, 0));
	buf_append_be64(out, source);
	buf_append_be32(out, number);
	return buf_slice(out);
}

struct slice key_upload(struct buf *out, uint64_t shard, struct slice upload)
{
	return key_attachment(out, shard, 'u', upload);
}

const struct schema *key_attachments_schema(struct slice key, bool *known)
{
	char kind =
	    key.len > KEY_SHARD_BYTES && key.data[0] == 'd' ? (char)key.data[KEY_SHARD_BYTES] : 0;
	*known = kind == 'c' || kind == 'k' || kind == 'u';
	if (kind == 'c')
		return &schema_attachment;
	return kind == 'u' ? &schema_upload : NULL;
}

struct slice key_index(struct buf *out, uint64_t shard, uint64_t index)
{
	return key_number(out, 'i', shard, index);
}

struct slice key_index_end(struct buf *out, uint64_t shard, uint64_t index)
{
	return index == UINT64_MAX ? key_shard_end(out, 'i', shard)
				   : key_number(out, 'i', shard, index + 1);
}

struct slice key_index_state(struct buf *out, uint64_t shard, uint64_t index)
{
	return key_number(out, 'n', shard, index);
}

struct slice key_index_document(struct slice key)
{
	size_t from = key.len;
	while (from > KEY_INDEX_BYTES && key.data[from - 1] >= 32)
		from--;
	return slice_of(key.data + from, key.len - from);
}

bool key_split(struct slice key, struct slice *id, struct slice *rest)
{
	if (key.len <= KEY_SHARD_BYTES)
		return false;
	const uint8_t *start = key.data + KEY_SHARD_BYTES;
	const uint8_t *zero = memchr(start, 0, key.len - KEY_SHARD_BYTES);
	if (!zero)
		return false;
	*id = slice_of(start, (size_t)(zero - start));
	*rest = slice_of(zero + 1, key.len - KEY_SHARD_BYTES - id->len - 1);
	return true;
}
