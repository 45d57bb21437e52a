#include "storage-node/operations.h"

#include "storage-node/digest.h"

enum { FORGOTTEN_AT_ONCE = 8 }; /* of too old ones, by one write */

bool operations_find(struct document_view *view, struct slice operation_id, struct operation *out)
{
	struct storage *s = view->storage;
	const struct document *doc = &view->doc;
	struct slice value;
	for (uint32_t i = doc->operations_count; i-- > 0;) {
		*out = doc->operations[i];
		if (slice_equal(out->id, operation_id))
			return true;
	}
	return doc->operations_next > doc->operations_first &&
	       store_get(s->store, STORE_DOCUMENTS,
			 key_operation(&s->key, view->copy->id, view->id, operation_id),
			 &value) == STORE_OK &&
	       schema_decode(&schema_operation, arena_copy(&s->arena, value), &s->arena, out);
}

static void put(struct document_view *view, const struct operation *o)
{
	struct storage *s = view->storage;
	struct shard_copy *c = view->copy;
	buf_clear(&s->value);
	schema_encode(&schema_operation, o, &s->value);
	digest_put(s, c, STORE_DOCUMENTS, key_operation(&s->key, c->id, view->id, o->id),
		   buf_slice(&s->value));
	buf_clear(&s->value);
	buf_append_slice(&s->value, o->id);
	buf_append_be64(&s->value, o->stamp);
	struct slice key =
	    key_operation_sequence(&s->key, c->id, view->id, view->doc.operations_next++);
	digest_replace(s, c, STORE_DOCUMENTS, key, (struct slice){0}, buf_slice(&s->value));
}

/* Of the oldest; false: there is none, or its keys are not as they should be. */
static bool oldest(struct document_view *view, uint8_t id[16], uint64_t *stamp)
{
	struct storage *s = view->storage;
	const struct document *doc = &view->doc;
	struct slice value;
	if (doc->operations_first >= doc->operations_next ||
	    store_get(
		s->store, STORE_DOCUMENTS,
		key_operation_sequence(&s->key, view->copy->id, view->id, doc->operations_first),
		&value) != STORE_OK ||
	    value.len != KEY_SEQUENCE_VALUE_BYTES)
		return false;
	memcpy(id, value.data, 16);
	*stamp = be64_read(value.data + 16);
	return true;
}

/* The id's own key stays if it was ordered once more since. */
static void forget_oldest(struct document_view *view, const uint8_t id[16], uint64_t stamp)
{
	struct storage *s = view->storage;
	struct shard_copy *c = view->copy;
	struct slice value;
	struct operation o;
	struct slice key = key_operation(&s->key, c->id, view->id, slice_of(id, 16));
	if (store_get(s->store, STORE_DOCUMENTS, key, &value) == STORE_OK &&
	    schema_decode(&schema_operation, arena_copy(&s->arena, value), &s->arena, &o) &&
	    o.stamp == stamp)
		digest_remove(s, c, STORE_DOCUMENTS, key);
	digest_remove(
	    s, c, STORE_DOCUMENTS,
	    key_operation_sequence(&s->key, c->id, view->id, view->doc.operations_first++));
}

void operations_apply(struct document_view *view, const struct change *change,
		      const struct document_edit *edit)
{
	struct document *doc = &view->doc;
	uint8_t id[16];
	uint64_t stamp;
	for (uint32_t i = 0; i < edit->operations_count; i++)
		put(view, &edit->operations[i]);
	uint64_t most = LIMIT_OPERATION_IDS - OPERATIONS_LISTED;
	for (uint32_t old = 0; old < FORGOTTEN_AT_ONCE && edit->operations_count > 0; old++) {
		if (!oldest(view, id, &stamp))
			break;
		bool many = doc->operations_next - doc->operations_first > most;
		if (!many && (stamp >> 16) + OPERATION_KEEP_MS >= change->stamp >> 16)
			break;
		forget_oldest(view, id, stamp);
	}
}

void operations_drop(struct document_view *view)
{
	uint8_t id[16];
	uint64_t stamp;
	while (oldest(view, id, &stamp))
		forget_oldest(view, id, stamp);
}
