/* Documents as the core sees them: as applied, or as they will be when the pending entries of the
 * lead (or the branches of this replica's outbox) are applied too. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/graph.h"
#include "common/doc/revision.h"
#include "storage-node/conflict.h"
#include "storage-node/purge.h"

static void view_decode(struct document_view *v, struct slice record)
{
	v->exists = schema_decode(&schema_document, record, &v->storage->arena, &v->doc);
}

void document_load(struct storage *s, struct shard_copy *c, struct slice id,
		   struct document_view *out)
{
	*out = (struct document_view){.storage = s, .copy = c, .id = id};
	struct slice value;
	if (store_get(s->store, STORE_DOCUMENTS, key_document(&s->key, c->id, id), &value) ==
	    STORE_OK) {
		out->record = arena_copy(&s->arena, value);
		view_decode(out, out->record);
	}
}

static struct buf *overlay_body(const struct overlay *o, const struct revision *name)
{
	struct buf text = {0};
	revision_print(name, &text);
	struct buf *found = map_get(&o->bodies, buf_slice(&text));
	buf_close(&text);
	return found;
}

struct slice document_body(struct document_view *v, uint32_t index)
{
	return document_body_beside(v, index, graph_winner(&v->doc));
}

struct slice document_body_beside(struct document_view *v, uint32_t index, int winner)
{
	if (!(v->doc.revisions[index].flags & REVISION_HAS_BODY))
		return (struct slice){0};
	if (winner == (int)index)
		return v->doc.body;
	struct revision name = graph_name(&v->doc, index);
	struct buf *pending = v->overlay ? overlay_body(v->overlay, &name) : NULL;
	if (pending)
		return buf_slice(pending);
	struct slice value;
	if (store_get(v->storage->store, STORE_DOCUMENTS,
		      key_body(&v->storage->key, v->copy->id, v->id, &name), &value) != STORE_OK)
		return (struct slice){0};
	return arena_copy(&v->storage->arena, value);
}

/* ---- what a document can take ---- */

bool document_leaves_are(const struct document *doc, const struct revision *leaves, uint32_t count,
			 struct arena *arena)
{
	uint8_t *seen = arena_alloc(arena, doc->revisions_count + 1);
	if (MUTATION(leaves_moved))
		return true;
	const int *found = graph_find_all(doc, leaves, count, arena);
	for (uint32_t i = 0; i < count; i++) {
		int index = found[i];
		if (index == GRAPH_NONE || seen[index] || !graph_is_side(doc, (uint32_t)index))
			return false;
		seen[index] = 1;
	}
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		if (!seen[i] && graph_is_side(doc, i))
			return false;
	return true;
}

bool document_id_ok(struct slice id)
{
	for (size_t i = 0; i < id.len; i++)
		if (id.data[i] < 32)
			return false;
	return id.len > 0;
}

enum status document_room(const struct document *doc, bool branch)
{
	if (doc->revisions_count >= LIMIT_REVISIONS - REVISIONS_RESERVED)
		return STATUS_LIMIT_REACHED;
	return branch && graph_conflicts(doc) + 1 >= LEAVES_MAX ? STATUS_LIMIT_REACHED : STATUS_OK;
}

/* ---- overlays ---- */

static void overlay_free(struct overlay *o)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&o->bodies, &at));) {
		buf_close(e->value);
		free(e->value);
	}
	map_close(&o->bodies);
	buf_close(&o->record);
	buf_close(&o->purged);
	buf_close(&o->cleaned);
	buf_close(&o->resolved);
	free(o);
}

void overlays_clear(struct shard_copy *c)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->overlays, &at));)
		overlay_free(e->value);
	map_clear(&c->overlays);
	large_close(&c->large);
	c->large_of = NULL;
}

void overlay_touch(struct storage *s, struct shard_copy *c, struct slice id, uint64_t number)
{
	(void)s;
	struct overlay *o = map_get(&c->overlays, id);
	if (!o) {
		o = mem_alloc_zero(sizeof *o);
		map_put(&c->overlays, id, o);
	}
	o->last_number = number;
}

void overlay_forget(struct shard_copy *c, struct slice id, uint64_t applied)
{
	struct overlay *o = map_get(&c->overlays, id);
	if (!o || o->last_number > applied)
		return;
	map_remove(&c->overlays, id);
	if (c->large_of == o) {
		large_close(&c->large);
		c->large_of = NULL;
	}
	overlay_free(o);
}

/* A revision's name says what is in it: one that is kept already stays, as views may borrow it. */
static void overlay_keep_bodies(struct overlay *o, const struct document_edit *edit)
{
	struct buf text = {0};
	for (uint32_t i = 0; i < edit->bodies_count; i++) {
		buf_clear(&text);
		revision_print(&edit->bodies[i].revision, &text);
		struct buf *body = map_get(&o->bodies, buf_slice(&text));
		if (body && body->len > 0)
			continue;
		if (!body) {
			body = mem_alloc_zero(sizeof *body);
			map_put(&o->bodies, buf_slice(&text), body);
		}
		/* one that was erased may come again */
		buf_append_slice(body, edit->bodies[i].body);
	}
	buf_close(&text);
}

/* Purged by one of the pending entries: a later one must find the mark. */
static void overlay_purged(struct document_view *v, uint64_t number, const struct revision *last)
{
	struct purged mark = {.number = number, .revision = *last};
	v->exists = false;
	if (!v->overlay)
		return;
	buf_clear(&v->overlay->purged);
	schema_encode(&schema_purged, &mark, &v->overlay->purged);
}

bool overlay_cleans(const struct overlay *o, struct slice resolution_id)
{
	struct slice ids = o ? buf_slice(&o->cleaned) : (struct slice){0};
	for (size_t at = 0; resolution_id.len > 0 && at + resolution_id.len <= ids.len;
	     at += resolution_id.len)
		if (memcmp(ids.data + at, resolution_id.data, resolution_id.len) == 0)
			return true;
	return false;
}

bool overlay_resolves(const struct overlay *o, const struct cleanup_item *item)
{
	if (!o)
		return false;
	struct slice made = buf_slice(&o->resolved);
	size_t len = item->resolution_id.len;
	for (size_t at = 0; at + len + sizeof(uint64_t) <= made.len; at += len + sizeof(uint64_t))
		if (memcmp(made.data + at, item->resolution_id.data, len) == 0 &&
		    be64_read(made.data + at + len) > item->number)
			return true;
	return false;
}

/* What goes with a cleanup goes once, though its record is there until that is applied. False: this
 * is none, or the record is gone. */
static bool find_resolved(struct document_view *v, const struct change *change,
			  struct conflict *out)
{
	if (change->kind != CHANGE_CLEANUP || MUTATION(cleanup_overlooked) ||
	    overlay_cleans(v->overlay, change->resolution_id) ||
	    !conflict_load_resolved(v->storage, v->copy, v->id, change->resolution_id, out))
		return false;
	buf_append_slice(&v->overlay->cleaned, change->resolution_id);
	return true;
}

bool document_mark(struct document_view *v, struct purged *out)
{
	struct arena *arena = &v->storage->arena;
	if (!v->overlay || v->overlay->purged.len == 0)
		return purge_mark(v->storage, v->copy, v->id, out);
	return schema_decode(&schema_purged, arena_copy(arena, buf_slice(&v->overlay->purged)),
			     arena, out);
}

void document_find_mark(struct document_view *v, const struct change *change)
{
	v->purged = NULL;
	if (change->kind != CHANGE_BRANCH && change->kind != CHANGE_IMPORT)
		return;
	struct purged *mark = arena_alloc(&v->storage->arena, sizeof *mark);
	if (document_mark(v, mark))
		v->purged = mark;
}

/* What the view has become stays decoded, if it is large: false. From now on the view borrows from
 * there. */
static bool stay_decoded(struct large *l, struct document_view *v)
{
	bool lent = v->large == l;
	struct large fresh = {0};
	if (v->exists && lent && !v->reshaped && large_follow(l, &v->doc)) {
		v->doc = l->doc;
		return true;
	}
	bool opened = v->exists && large_open(&fresh, &v->doc);
	if (!opened)
		return false;
	large_close(l);
	*l = fresh;
	v->large = l;
	v->doc = l->doc;
	v->reshaped = false;
	return true;
}

/* The one that was decoded gives its place to another. */
static void put_away(struct shard_copy *c)
{
	if (!c->large_of)
		return;
	buf_clear(&c->large_of->record);
	schema_encode(&schema_document, &c->large.doc, &c->large_of->record);
	large_close(&c->large);
	c->large_of = NULL;
}

/* Applies one more entry to the view, as apply.c will. */
static void view_advance(struct document_view *v, struct slice encoded, uint64_t number,
			 struct large *l)
{
	struct arena *arena = &v->storage->arena;
	struct arena_mark mark = arena_mark(arena);
	struct change change;
	struct conflict resolved;
	struct document_edit edit;
	CHECK(schema_decode(&schema_change, encoded, arena, &change));
	document_find_mark(v, &change);
	bool cleans = find_resolved(v, &change, &resolved);
	edit_apply(v, &change, number, cleans ? &resolved : NULL, &edit);
	if (edit.resolved) {
		buf_append_slice(&v->overlay->resolved, change.resolution_id);
		buf_append_be64(&v->overlay->resolved, number);
	}
	if (edit.purged)
		overlay_purged(v, number, &edit.deletion);
	else if (edit.changed)
		v->exists = !edit.erased;
	v->reshaped |= edit.reshaped || edit.purged || edit.erased;
	v->purged = NULL;
	overlay_keep_bodies(v->overlay, &edit);
	if (v->large && stay_decoded(l, v))
		arena_rewind(arena, mark);
}

static bool pending_decoded(struct document_view *v)
{
	struct shard_copy *c = v->copy;
	if (v->exists && v->doc.revisions_count >= LARGE_REVISIONS && c->large_of != v->overlay)
		put_away(c);
	if ((c->large_of && c->large_of != v->overlay) || !stay_decoded(&c->large, v))
		return false;
	c->large_of = v->overlay;
	return true;
}

static void keep_pending(struct document_view *v)
{
	struct shard_copy *c = v->copy;
	struct overlay *o = v->overlay;
	buf_clear(&o->record);
	if (pending_decoded(v))
		return;
	if (v->exists)
		schema_encode(&schema_document, &v->doc, &o->record);
	if (!v->large)
		return;
	if (v->exists)
		view_decode(v, arena_copy(&v->storage->arena, buf_slice(&o->record)));
	v->large = NULL;
	large_close(&c->large);
	c->large_of = NULL;
}

static void advance_to_last(struct document_view *v, uint64_t from)
{
	struct shard_copy *c = v->copy;
	for (uint64_t n = from; n <= v->overlay->last_number; n++) {
		struct pending *p = ring_at(&c->pending, n);
		if (p && slice_equal(p->id, v->id))
			view_advance(v, p->change, n, &c->large);
	}
	v->overlay->record_number = v->overlay->last_number;
	keep_pending(v);
}

static void load_applied(struct storage *s, struct shard_copy *c, struct slice id,
			 struct document_view *out)
{
	if (!applying_lend(s, c, id, out))
		document_load(s, c, id, out);
}

/* The record with pending entries is made only when a second write meets the first. */
void document_load_pending(struct storage *s, struct shard_copy *c, struct slice id,
			   struct document_view *out)
{
	struct overlay *o = map_get(&c->overlays, id);
	if (!o) {
		load_applied(s, c, id, out);
		return;
	}
	if (o->record_number == 0) {
		load_applied(s, c, id, out);
		out->overlay = o;
		(void)pending_decoded(out);
		advance_to_last(out, c->pending.first);
		return;
	}
	*out = (struct document_view){.storage = s, .copy = c, .id = id, .overlay = o};
	if (c->large_of == o) {
		out->exists = true;
		out->doc = c->large.doc;
		out->large = &c->large;
	} else if (o->record.len > 0) {
		view_decode(out, arena_copy(&s->arena, buf_slice(&o->record)));
	}
	if (o->record_number < o->last_number)
		advance_to_last(out, o->record_number + 1);
}

/* ---- with this replica's own branches ---- */

/* The document that branches were last decided on: of many branches in a row each adds one. */
struct outbox_view {
	struct overlay *overlay; /* bodies of the branches */
	struct large large;
	bool decoded; /* `large` is this document, with the branches before `next`: */
	uint64_t shard;
	struct buf id;
	uint64_t applied;
	uint64_t digest;
	uint64_t next;
	uint32_t count; /* branches of the shard */
};

void document_free_outbox(struct storage *s)
{
	struct outbox_view *o = s->outbox_view;
	if (!o)
		return;
	overlay_free(o->overlay);
	large_close(&o->large);
	buf_close(&o->id);
	free(o);
	s->outbox_view = NULL;
}

/* Nothing was applied since, and no branch has left. */
static bool is_of(const struct outbox_view *o, const struct shard_copy *c, struct slice id)
{
	return o->decoded && o->shard == c->id && slice_equal(buf_slice(&o->id), id) &&
	       o->applied == c->position.applied && o->digest == c->position.digest &&
	       c->outbox_next - o->next == c->outbox_count - o->count;
}

static void begin_outbox(struct storage *s, struct shard_copy *c, struct slice id,
			 struct document_view *out)
{
	document_free_outbox(s);
	document_load(s, c, id, out);
	struct outbox_view *o = mem_alloc_zero(sizeof *o);
	o->overlay = mem_alloc_zero(sizeof *o->overlay);
	o->shard = c->id;
	o->applied = c->position.applied;
	o->digest = c->position.digest;
	buf_append_slice(&o->id, id);
	s->outbox_view = o;
}

void document_load_outbox(struct storage *s, struct shard_copy *c, struct slice id,
			  struct document_view *out)
{
	struct outbox_view *o = s->outbox_view;
	if (o && is_of(o, c, id)) {
		REACHED(outbox_view_goes_on);
		*out = (struct document_view){.storage = s, .copy = c, .id = id, .exists = true};
		out->doc = o->large.doc;
		out->large = &o->large;
	} else {
		begin_outbox(s, c, id, out);
		o = s->outbox_view;
	}
	out->overlay = o->overlay;
	(void)stay_decoded(&o->large, out);
	uint32_t first = outbox_holds(c, id) ? o->count : c->outbox_count;
	for (uint32_t i = first; i < c->outbox_count; i++)
		if (slice_equal(c->outbox[i].id, id))
			view_advance(out, c->outbox[i].change, c->position.applied + 1, &o->large);
	o->next = c->outbox_next;
	o->count = c->outbox_count;
	o->decoded = stay_decoded(&o->large, out);
}
