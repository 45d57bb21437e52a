/* Revisions that were made elsewhere, with their histories: the lead puts them into the stream as
 * they are, many documents with one message. What is known already is nothing new, so the same may
 * come as often as it likes. */
#include "storage-node/import.h"

#include "common/doc/attachment.h"
#include "common/doc/graph.h"
#include "common/doc/graph_line.h"
#include "common/doc/revision.h"
#include "common/doc/value.h"
#include "storage-node/attachment.h"
#include "storage-node/erase.h"
#include "storage-node/lock.h"
#include "storage-node/write.h"

/* A message under way. */
struct importing {
	struct storage *s;
	struct shard_copy *c;
	const struct msg_doc_import *m;
	struct msg_doc_import_ack ack;
	uint64_t awaited; /* newest entry that the answer rests on; 0: all is applied */
	bool ordered;
	uint32_t work; /* left for graph_find_end */
};

static struct msg_doc_import_ack ack_of(const struct storage *s, enum status status)
{
	return (struct msg_doc_import_ack){
	    .status = status, .clock_ms = (uint64_t)s->now_ms, .life = s->options.life};
}

/* What a peer sends may be anything that can be decoded. */
static bool is_sound(const struct import_item *item)
{
	if (!document_id_ok(item->id) || item->generation == 0 ||
	    item->generation > GENERATION_MAX || item->hashes_count == 0 ||
	    item->hashes_count > item->generation)
		return false;
	for (uint32_t i = 0; i < item->hashes_count; i++)
		if (item->hashes[i].len == 0)
			return false;
	return item->deleted ? item->body.len == 0 : value_is_document(item->body);
}

static void fill(struct importing *im, const struct import_item *item, struct change *change)
{
	struct storage *s = im->s;
	*change = (struct change){
	    .kind = CHANGE_IMPORT,
	    .id = item->id,
	    .revision = {item->generation, item->hashes[0]},
	    .parents_count = item->hashes_count - 1,
	    .deleted = item->deleted,
	    .body = item->body,
	    .op = item->deleted ? WRITE_DELETE : WRITE_PUT,
	    .floor = im->c->floor,
	    .wall_ms = (uint64_t)s->wall_ms,
	};
	change->parents = arena_alloc(&s->arena, item->hashes_count * sizeof *change->parents);
	for (uint32_t i = 1; i < item->hashes_count; i++)
		change->parents[i - 1] = (struct revision){item->generation - i, item->hashes[i]};
}

/* There already; or a deletion that says no more than what became of the document. */
static bool is_known(struct document_view *v, const struct change *change, uint32_t *work)
{
	if (v->exists &&
	    (graph_find(&v->doc, &change->revision) != GRAPH_NONE ||
	     (change->deleted && graph_find_end(&v->doc, &change->revision, work) != GRAPH_NONE)))
		return true;
	if (!v->purged)
		return false;
	return revision_equal(&v->purged->revision, &change->revision) ||
	       (change->deleted && !v->exists);
}

static enum status may_import(struct importing *im, struct document_view *v,
			      const struct import_item *item)
{
	struct lock_question question = {.id = item->id,
					 .op = item->deleted ? WRITE_DELETE : WRITE_PUT,
					 .lock_ids = im->m->lock_ids,
					 .lock_ids_count = im->m->lock_ids_count};
	enum status status = lock_check(im->c, &question);
	if (status == STATUS_OK && v->exists)
		status = document_room(&v->doc, true);
	if (status == STATUS_OK && !stream_has_room(im->s, im->c))
		status = STATUS_OVERLOADED;
	return status;
}

static void await(struct importing *im, uint64_t number)
{
	if (number > im->awaited)
		im->awaited = number;
}

/* Stubs stand for what the newest ancestor has that is known here. */
static enum status take_attachments(struct document_view *v, struct change *change)
{
	struct attachments_taken taken;
	struct slice base = {0};
	if (attachments_of(change->body).len == 0)
		return STATUS_OK;
	for (uint32_t i = 0; i < change->parents_count && v->exists && base.len == 0; i++) {
		int parent = graph_find(&v->doc, &change->parents[i]);
		if (parent != GRAPH_NONE)
			base = document_body(v, (uint32_t)parent);
	}
	enum status status =
	    attachments_take(v, change->body, base, change->revision.generation, &taken);
	change->body = taken.body;
	change->uploads = taken.uploads;
	change->uploads_count = taken.uploads_count;
	return status;
}

static enum status import_one(struct importing *im, const struct import_item *item,
			      struct effects *fx)
{
	struct document_view view;
	struct change change;
	if (!is_sound(item))
		return STATUS_BAD_MESSAGE;
	fill(im, item, &change);
	document_load_pending(im->s, im->c, item->id, &view);
	document_find_mark(&view, &change);
	if (is_known(&view, &change, &im->work)) {
		REACHED(import_known);
		if (view.overlay)
			await(im, view.overlay->last_number);
		return STATUS_OK;
	}
	enum status status = may_import(im, &view, item);
	if (status == STATUS_OK)
		status = take_attachments(&view, &change);
	if (status != STATUS_OK)
		return status;
	uint64_t number = stream_append_change(im->s, im->c, &change, fx);
	overlay_touch(im->s, im->c, item->id, number);
	im->ordered = true;
	im->s->writes_total++;
	await(im, number);
	return STATUS_OK;
}

static void refuse(struct importing *im, uint32_t index, enum status status)
{
	im->ack.refused[im->ack.refused_count++] =
	    (struct import_refusal){.index = index, .status = status};
	im->s->refused_total++;
}

/* One answer for all, when the last entry that it rests on is applied. */
static void answer_imported(struct importing *im, const struct event *e, struct effects *fx)
{
	struct waiter *w = waiter_await(im->c, e, im->awaited, MSG_doc_import_ack, &im->ack);
	if (w) {
		w->needs_lead = !im->ordered;
		return;
	}
	if (!lease_held(im->s, im->c))
		im->ack = ack_of(im->s, STATUS_NO_LEAD);
	fx_reply(fx, WHEN_NOW, e, MSG_doc_import_ack, &im->ack);
}

/* A copy of a push that was done once, maybe, and all of it erased since. Whoever sent it lately
 * hears what time it is here, and sends it again. */
static bool is_overtaken(const struct shard_copy *c, const struct msg_doc_import *m)
{
	for (uint32_t i = 0; i < m->items_count; i++)
		if (erase_is_since(c, m->items[i].id, m->sent_ms))
			return true;
	return false;
}

void import_on_doc_import(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_doc_import *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	enum status status = write_taken_by_lead(s, c, e, m->until_ms, m->life, fx);
	if (status == STATUS_OK && is_overtaken(c, m)) {
		REACHED(push_overtaken);
		status = STATUS_STALE;
	} else if (status == STATUS_OK && shard_settings_pending(c)) {
		status = STATUS_NO_LEAD; /* what its stubs stand for may be about to go */
	} else if (status == STATUS_OK && !stream_has_room(s, c)) {
		status = STATUS_OVERLOADED;
	}
	struct importing im = {
	    .s = s, .c = c, .m = m, .ack = ack_of(s, status), .work = GRAPH_ENDS_WORK};
	if (status != STATUS_OK) {
		fx_reply(fx, WHEN_NOW, e, MSG_doc_import_ack, &im.ack);
		return;
	}
	im.ack.refused = arena_alloc(&s->arena, m->items_count * sizeof *im.ack.refused);
	for (uint32_t i = 0; i < m->items_count; i++) {
		struct arena_mark mark = arena_mark(&s->arena);
		status = import_one(&im, &m->items[i], fx);
		arena_rewind(&s->arena, mark);
		if (status != STATUS_OK)
			refuse(&im, i, status);
	}
	answer_imported(&im, e, fx);
}
