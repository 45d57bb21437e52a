/* Branches: writes that this replica took without the lead (mode available), kept on this disk
 * until they stand in the shard's stream. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/attachment.h"
#include "common/doc/graph.h"
#include "common/doc/revision.h"
#include "common/doc/value.h"
#include "storage-node/bring.h"
#include "storage-node/epochs.h"
#include "storage-node/erase.h"
#include "storage-node/internal.h"
#include "storage-node/purge.h"
#include "storage-node/write.h"

static bool item_set(struct outbox_item *item, uint64_t sequence, struct slice encoded)
{
	uint8_t *copy = mem_alloc(encoded.len);
	memcpy(copy, encoded.data, encoded.len);
	struct arena arena = {0};
	struct change change;
	*item = (struct outbox_item){.sequence = sequence, .change = slice_of(copy, encoded.len)};
	bool ok = schema_decode(&schema_change, item->change, &arena, &change);
	if (ok) {
		item->id = change.id;
		item->operation_id = change.operation_id;
		item->revision = change.revision;
		if (change.parents_count > 0)
			item->parent = change.parents[0];
		item->names_attachments = attachments_of(change.body).len > 0;
	}
	arena_close(&arena);
	if (!ok)
		free(copy);
	return ok;
}

bool outbox_holds(const struct shard_copy *c, struct slice id)
{
	return map_get(&c->outbox_ids, id) != NULL;
}

struct outbox_item *outbox_find(struct shard_copy *c, struct slice id,
				const struct revision *revision)
{
	for (uint32_t i = 0; outbox_holds(c, id) && i < c->outbox_count; i++)
		if (revision_equal(&c->outbox[i].revision, revision) &&
		    slice_equal(c->outbox[i].id, id))
			return &c->outbox[i];
	return NULL;
}

struct outbox_item *outbox_at(struct shard_copy *c, uint64_t sequence)
{
	for (uint32_t i = 0; i < c->outbox_count; i++)
		if (c->outbox[i].sequence == sequence)
			return &c->outbox[i];
	return NULL;
}

static void count_in(struct shard_copy *c, struct slice id)
{
	uint32_t *count = map_get(&c->outbox_ids, id);
	if (!count) {
		count = mem_alloc_zero(sizeof *count);
		/* clients choose document ids; the shard's id is none of theirs to know */
		if (c->outbox_ids.count == 0)
			c->outbox_ids.seed = c->id;
		map_put(&c->outbox_ids, id, count);
	}
	(*count)++;
}

static void count_out(struct shard_copy *c, struct slice id)
{
	uint32_t *count = map_get(&c->outbox_ids, id);
	if (--*count == 0)
		free(map_remove(&c->outbox_ids, id));
}

/* A branch of a branch goes after it. */
static bool waits_for_parent(const struct shard_copy *c, uint32_t index)
{
	const struct outbox_item *item = &c->outbox[index];
	if (item->parent.generation == 0 || !outbox_holds(c, item->id))
		return false;
	for (uint32_t i = index; i-- > 0;)
		if (revision_equal(&c->outbox[i].revision, &item->parent) &&
		    slice_equal(c->outbox[i].id, item->id))
			return true;
	return false;
}

static bool item_add(struct shard_copy *c, uint64_t sequence, const struct outbox_entry *entry)
{
	if (c->outbox_count == c->outbox_cap) {
		c->outbox_cap = c->outbox_cap ? c->outbox_cap * 2 : 16;
		c->outbox = mem_realloc(c->outbox, c->outbox_cap * sizeof *c->outbox);
	}
	if (!item_set(&c->outbox[c->outbox_count], sequence, entry->change))
		return false;
	c->outbox[c->outbox_count].since_ms = entry->since_ms;
	c->outbox[c->outbox_count].entry = entry->entry;
	c->outbox[c->outbox_count].waits = waits_for_parent(c, c->outbox_count);
	count_in(c, c->outbox[c->outbox_count].id);
	c->outbox_count++;
	c->outbox_bytes += entry->change.len;
	if (sequence >= c->outbox_next)
		c->outbox_next = sequence + 1;
	return true;
}

void outbox_free(struct shard_copy *c)
{
	for (uint32_t i = 0; i < c->outbox_count; i++)
		free((void *)(uintptr_t)c->outbox[i].change.data);
	free(c->outbox);
	map_close_owned(&c->outbox_ids);
	c->outbox = NULL;
	c->outbox_count = c->outbox_cap = 0;
}

bool outbox_load(struct storage *s, struct shard_copy *c)
{
	struct store_iterator *it = store_iterate(s->store, STORE_STREAM);
	struct arena arena = {0};
	uint8_t prefix[KEY_SHARD_BYTES];
	memcpy(prefix, key_shard(&s->key, 'o', c->id).data, sizeof prefix);
	bool ok = true;
	if (MUTATION(outbox_lost))
		prefix[0]++;
	for (store_seek(s->store, it, slice_of(prefix, sizeof prefix));
	     ok && store_valid(s->store, it); store_next(s->store, it)) {
		struct slice key = store_key(s->store, it);
		if (key.len != KEY_SHARD_BYTES + 8 || memcmp(key.data, prefix, sizeof prefix) != 0)
			break;
		struct outbox_entry entry;
		ok = schema_decode(&schema_outbox_entry, store_value(s->store, it), &arena,
				   &entry) &&
		     item_add(c, be64_read(key.data + KEY_SHARD_BYTES), &entry);
	}
	ok = ok && store_iterator_result(s->store, it) == STORE_OK;
	store_iterator_free(s->store, it);
	arena_close(&arena);
	return ok;
}

void outbox_add(struct storage *s, struct shard_copy *c, const struct change *change,
		const struct position *cut, struct effects *fx)
{
	struct buf encoded = {0};
	schema_encode(&schema_change, change, &encoded);
	struct outbox_entry entry = {.change = buf_slice(&encoded),
				     .since_ms = (uint64_t)s->wall_ms};
	if (cut)
		entry.entry = *cut;
	buf_clear(&s->value);
	schema_encode(&schema_outbox_entry, &entry, &s->value);
	uint64_t sequence = c->outbox_next;
	store_put(s->store, STORE_STREAM, key_number(&s->key, 'o', c->id, sequence),
		  buf_slice(&s->value));
	CHECK(item_add(c, sequence, &entry));
	buf_close(&encoded);
	fx_sync(fx);
}

static void outbox_remove(struct storage *s, struct shard_copy *c, uint32_t index)
{
	const struct outbox_item gone = c->outbox[index];
	store_remove(s->store, STORE_STREAM, key_number(&s->key, 'o', c->id, gone.sequence));
	c->outbox_bytes -= gone.change.len;
	count_out(c, gone.id);
	memmove(&c->outbox[index], &c->outbox[index + 1],
		(c->outbox_count - index - 1) * sizeof *c->outbox);
	c->outbox_count--;
	for (uint32_t i = index; outbox_holds(c, gone.id) && i < c->outbox_count; i++)
		if (c->outbox[i].waits && revision_equal(&c->outbox[i].parent, &gone.revision) &&
		    slice_equal(c->outbox[i].id, gone.id))
			c->outbox[i].waits = waits_for_parent(c, i);
	free((void *)(uintptr_t)gone.change.data);
}

/* It stands in the stream: in the same batch as its effect, the outbox lets go of it. By revision:
 * the same operation, come late to the lead as a plain write, has made another one. */
void outbox_applied(struct storage *s, struct shard_copy *c, const struct change *change)
{
	outbox_settled(s, c, change->id, &change->revision);
}

void outbox_settled(struct storage *s, struct shard_copy *c, struct slice id,
		    const struct revision *revision)
{
	const struct outbox_item *item = outbox_find(c, id, revision);
	if (!item)
		return;
	outbox_remove(s, c, (uint32_t)(item - c->outbox));
	c->outbox_pushed_ms = 0; /* its children may go now */
}

bool outbox_names_attachments(const struct shard_copy *c)
{
	for (uint32_t i = 0; i < c->outbox_count; i++)
		if (c->outbox[i].names_attachments)
			return true;
	return false;
}

uint64_t outbox_oldest_ms(const struct storage *s, const struct shard_copy *c)
{
	uint64_t oldest = 0;
	for (uint32_t i = 0; i < c->outbox_count; i++) {
		int64_t age = s->wall_ms - (int64_t)c->outbox[i].since_ms;
		if (age > (int64_t)oldest)
			oldest = (uint64_t)age;
	}
	return oldest;
}

void outbox_mark(const struct shard_copy *c, const struct map *ids)
{
	for (uint32_t i = 0; i < c->outbox_count; i++) {
		bool *held = map_get(ids, c->outbox[i].id);
		if (held)
			*held = true;
	}
}

/* What was cut here is settled all the same, if it stood in the stream of a lead since. Its
 * document may have been purged by then, and know nothing of it. */
static bool is_settled(struct storage *s, struct shard_copy *c, const struct position *entry)
{
	bool settled = epochs_applied(s, c, entry);
	if (settled)
		REACHED(cut_was_settled);
	return settled;
}

/* At once, and so many that are known already are let go. */
static uint32_t push_most(void)
{
	return BOUND(outbox_push, OUTBOX_PUSH_MAX);
}

/* A revision that the graph knows already (the same write came another way) has nothing left to
 * say. `view`: of the document that was asked for before; lives in the arena, from `mark` on. */
static bool is_known(struct storage *s, struct shard_copy *c, const struct outbox_item *item,
		     struct arena_mark mark, struct document_view *view)
{
	if (!slice_equal(view->id, item->id)) {
		arena_rewind(&s->arena, mark);
		document_load(s, c, arena_copy(&s->arena, item->id), view);
	}
	return is_settled(s, c, &item->entry) ||
	       (view->exists && graph_find(&view->doc, &item->revision) != GRAPH_NONE);
}

/* What was pushed in a turn; points into the outbox. */
struct pushed {
	uint32_t count;
	struct {
		struct slice id;
		struct revision revision;
	} branches[OUTBOX_PUSH_MAX];
};

/* Its parent goes before it, or need not go any more. */
static bool can_go(const struct outbox_item *item, const struct pushed *pushed)
{
	for (uint32_t i = pushed->count; item->waits && i-- > 0;)
		if (revision_equal(&pushed->branches[i].revision, &item->parent) &&
		    slice_equal(pushed->branches[i].id, item->id))
			return true;
	return !item->waits;
}

static bool decode_branch(struct storage *s, struct slice encoded, struct change *out);
static void order(struct storage *s, struct shard_copy *c, struct change *change, bool follows,
		  uint64_t applied, struct effects *fx);

static void push(struct storage *s, struct shard_copy *c, const struct outbox_item *item,
		 struct effects *fx)
{
	if (c->state == SHARD_SERVING) {
		struct arena_mark mark = arena_mark(&s->arena);
		struct change change;
		if (decode_branch(s, item->change, &change))
			order(s, c, &change, item->waits, c->position.applied, fx);
		arena_rewind(&s->arena, mark);
		return;
	}
	struct envelope envelope = {
	    .type = MSG_outbox_push, .epoch = c->placement.epoch, .request_id = s->next_request++};
	struct msg_outbox_push m = {.shard = c->id,
				    .change = item->change,
				    .applied = c->position.applied,
				    .entry = item->entry,
				    .bare = item->bare,
				    .follows = item->waits};
	fx_send(fx, WHEN_NOW, c->placement.lead, 0, &envelope, &m);
}

/* From the cursor on. Those that can't go take none of the places: the branches of one document may
 * all rest on each other. */
static void push_next(struct storage *s, struct shard_copy *c, struct effects *fx)
{
	struct arena_mark mark = arena_mark(&s->arena);
	struct document_view view = {0};
	struct pushed pushed = {0};
	uint32_t at = c->outbox_cursor;
	uint32_t passed = 0;
	for (uint32_t left = push_most(); left > 0 && passed < c->outbox_count;) {
		at %= c->outbox_count;
		const struct outbox_item *item = &c->outbox[at];
		if (!can_go(item, &pushed)) {
			REACHED(branch_waits_for_parent);
		} else if (is_known(s, c, item, mark, &view)) {
			REACHED(branch_known_already);
			outbox_remove(s, c, at);
			c->turn_dirty = true;
			left--;
			continue;
		} else {
			push(s, c, item, fx);
			pushed.branches[pushed.count].id = item->id;
			pushed.branches[pushed.count++].revision = item->revision;
			left--;
		}
		at++;
		passed++;
	}
	/* those in front are pushed again first, while they are few */
	c->outbox_cursor = passed < c->outbox_count ? at % c->outbox_count : 0;
	arena_rewind(&s->arena, mark);
}

void outbox_tick(struct storage *s, struct shard_copy *c, struct effects *fx)
{
	if (c->outbox_count == 0 || s->now_ms - c->outbox_pushed_ms < OUTBOX_RETRY_MS)
		return;
	bool listed = shard_self(s, c) != NULL;
	if ((c->position.copying && listed) || c->placement.lead == 0 ||
	    (c->state != SHARD_SERVING && c->placement.lead == s->options.self))
		return;
	c->outbox_pushed_ms = s->now_ms;
	push_next(s, c, fx);
}

/* What a peer sends may be anything that can be decoded. */
static bool is_branch(const struct change *change)
{
	const struct revision *r = &change->revision;
	return change->kind == CHANGE_BRANCH && document_id_ok(change->id) && r->hash.len > 0 &&
	       r->generation > 0 && r->generation <= GENERATION_MAX &&
	       change->operation_id.len == 16 &&
	       (change->deleted ? change->body.len == 0 : value_is_document(change->body));
}

static bool decode_branch(struct storage *s, struct slice encoded, struct change *out)
{
	return schema_decode(&schema_change, encoded, &s->arena, out) && is_branch(out);
}

/* The lead orders a branch unless its revision is known, applied or pending, or may have been, and
 * was erased since: then its replica lets go of it, or pushes it again when it has applied that.
 * One that follows its parent waits for it: it would be taken for a document of its own. */
static void order(struct storage *s, struct shard_copy *c, struct change *change, bool follows,
		  uint64_t applied, struct effects *fx)
{
	if (s->disk_full || !stream_has_room(s, c) || erase_is_behind(c, change->id, applied))
		return;
	struct document_view view;
	document_load_pending(s, c, change->id, &view);
	if (view.exists && (graph_find(&view.doc, &change->revision) != GRAPH_NONE ||
			    document_room(&view.doc, true) != STATUS_OK))
		return;
	if (follows && (!view.exists || change->parents_count == 0 ||
			graph_find(&view.doc, &change->parents[0]) == GRAPH_NONE)) {
		REACHED(branch_came_before_parent);
		return;
	}
	change->floor = c->floor;
	change->stamp = change->stamp ? change->stamp : write_stamp(s, c);
	change->wall_ms = (uint64_t)s->wall_ms;
	uint64_t number = stream_append_change(s, c, change, fx);
	overlay_touch(s, c, change->id, number);
}

/* Its entry is applied, be it erased or purged again by now. */
static bool was_applied(struct storage *s, struct shard_copy *c, const struct change *change)
{
	const struct recent *r = recent_find(c, change->operation_id);
	uint64_t number = recent_number(s, c, change->operation_id);
	if (number == 0 || number > c->position.applied)
		return false;
	struct revision made = recent_revision(r);
	return revision_equal(&made, &change->revision);
}

/* What is applied here is settled. A deletion that was purged since stands nowhere any more, and is
 * not taken again. */
static bool stands_settled(struct storage *s, struct shard_copy *c, const struct change *change)
{
	struct document_view view;
	document_load(s, c, change->id, &view);
	if (view.exists && graph_find(&view.doc, &change->revision) != GRAPH_NONE)
		return true;
	document_find_mark(&view, change);
	return (view.purged && purge_is_again(&view.doc, view.purged, change)) ||
	       was_applied(s, c, change);
}

/* A node that has no place any more sees no stream: it is told. */
static void tell_settled(struct shard_copy *c, const struct event *e, const struct change *change,
			 struct effects *fx)
{
	struct msg_outbox_push_ack ack = {
	    .shard = c->id, .id = change->id, .revision = change->revision};
	fx_reply(fx, WHEN_DURABLE, e, MSG_outbox_push_ack, &ack);
}

void outbox_on_push(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_outbox_push *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	struct change change;
	if (!c)
		return;
	if (e->message.envelope.epoch < c->placement.epoch)
		map_send_newer(c, e, fx);
	if (c->state != SHARD_SERVING || !decode_branch(s, m->change, &change))
		return;
	/* who has no place applies nothing; one that learns it anew may still have none of it */
	const struct follower *f = shard_follower(c, e->message.from.member);
	bool replica = f && !f->learning;
	bool settled = is_settled(s, c, &m->entry);
	if (e->message.envelope.epoch == c->lead_epoch && !replica &&
	    (settled || stands_settled(s, c, &change))) {
		tell_settled(c, e, &change, fx);
		return;
	}
	if (settled || (!replica && !m->bare && bring_lacks(s, c, e, &change, fx)))
		return;
	/* accepted is accepted, whatever the collection has become since */
	if (shard_is_available(c) || !MUTATION(branch_left))
		order(s, c, &change, m->follows, f ? m->applied : UINT64_MAX, fx);
}
