#include "storage-node/applying.h"

#include "storage-node/digest.h"
#include "storage-node/internal.h"

static struct slice key_of(struct storage *s)
{
	return key_document(&s->key, s->applying.shard, buf_slice(&s->applying.id));
}

void applying_flush(struct storage *s)
{
	struct applying *a = &s->applying;
	if (!a->copy)
		return;
	buf_clear(&s->value);
	schema_encode(&schema_document, &a->large.doc, &s->value);
	s->applied_bytes += s->value.len;
	digest_replace(s, a->copy, STORE_DOCUMENTS, key_of(s), buf_slice(&a->record),
		       buf_slice(&s->value));
	struct buf put = s->value;
	s->value = a->record;
	a->record = put;
	a->copy = NULL;
}

void applying_close(struct applying *a)
{
	large_close(&a->large);
	buf_close(&a->id);
	buf_close(&a->record);
	*a = (struct applying){0};
}

void applying_forget(struct storage *s)
{
	applying_flush(s);
	applying_close(&s->applying);
}

/* Whatever else may have written the record, or removed it: its bytes are compared. */
static bool is_kept(struct storage *s, const struct shard_copy *c, struct slice id)
{
	const struct applying *a = &s->applying;
	struct slice value;
	if (a->shard != c->id || !slice_equal(buf_slice(&a->id), id))
		return false;
	return a->copy || (a->record.len > 0 &&
			   store_get(s->store, STORE_DOCUMENTS, key_of(s), &value) == STORE_OK &&
			   slice_equal(value, buf_slice(&a->record)));
}

void applying_load(struct storage *s, struct shard_copy *c, struct slice id,
		   struct document_view *out)
{
	struct applying *a = &s->applying;
	if (is_kept(s, c, id)) {
		*out = (struct document_view){.storage = s, .copy = c, .id = id, .exists = true};
		out->doc = a->large.doc;
		out->large = &a->large;
		return;
	}
	applying_flush(s);
	if (a->record.len == 0)
		large_close(&a->large);
	document_load(s, c, id, out);
}

bool applying_lend(struct storage *s, struct shard_copy *c, struct slice id,
		   struct document_view *out)
{
	const struct document *doc = &s->applying.large.doc;
	if (s->applying.copy || !is_kept(s, c, id))
		return false;
	REACHED(applied_stays_decoded);
	*out = (struct document_view){.storage = s, .copy = c, .id = id, .exists = true};
	out->doc = *doc;
	out->doc.revisions = arena_alloc(&s->arena, doc->revisions_count * sizeof *doc->revisions);
	memcpy(out->doc.revisions, doc->revisions, doc->revisions_count * sizeof *doc->revisions);
	return true;
}

static bool keep(struct applying *a, const struct document_view *view)
{
	struct large fresh = {0};
	if (!large_open(&fresh, &view->doc))
		return false;
	large_close(&a->large);
	a->large = fresh;
	a->copy = view->copy;
	a->shard = view->copy->id;
	buf_clear(&a->id);
	buf_append_slice(&a->id, view->id);
	buf_clear(&a->record);
	buf_append_slice(&a->record, view->record);
	return true;
}

void applying_put(struct document_view *view, const struct document_edit *edit)
{
	struct storage *s = view->storage;
	struct shard_copy *c = view->copy;
	struct applying *a = &s->applying;
	if (view->large && !edit->reshaped && large_follow(&a->large, &view->doc)) {
		s->applied_bytes += view->doc.revisions_count * APPLY_REVISION_BYTES;
		a->copy = c;
		return;
	}
	if (!view->large && !edit->reshaped && keep(a, view))
		return;
	buf_clear(&s->value);
	schema_encode(&schema_document, &view->doc, &s->value);
	s->applied_bytes += s->value.len;
	digest_replace(s, c, STORE_DOCUMENTS, key_document(&s->key, c->id, view->id),
		       view->large ? buf_slice(&a->record) : view->record, buf_slice(&s->value));
	if (!view->large)
		return;
	/* what the view borrows stays until the next one is loaded */
	a->copy = NULL;
	buf_clear(&a->record);
}
