#include "storage-node/erase.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/graph.h"
#include "common/doc/graph_erase.h"
#include "common/doc/graph_line.h"
#include "common/doc/shard_hash.h"
#include "common/probe.h"
#include "storage-node/lock.h"
#include "storage-node/write.h"

enum { ERASED_SLOTS = 256 };

struct erased_lately {
	struct {
		uint64_t clock_ms; /* 0: never */
		uint64_t number;
	} slots[ERASED_SLOTS];
};

/* A message under way. */
struct erasing {
	struct storage *s;
	struct shard_copy *c;
	const struct msg_doc_erase *m;
	struct msg_doc_erase_ack ack;
	uint64_t awaited; /* newest entry that the answer rests on; 0: all is applied */
	bool ordered;
	uint32_t work; /* left for graph_find_end */
};

static struct msg_doc_erase_ack ack_of(const struct storage *s, enum status status)
{
	return (struct msg_doc_erase_ack){
	    .status = status, .clock_ms = (uint64_t)s->now_ms, .life = s->options.life};
}

/* The node that such a name stands for: CouchDB's clients know what a resolution closed by the
 * deletion that it ends in. */
static int named(struct erasing *er, const struct document *doc, const struct revision *name)
{
	int index = graph_find(doc, name);
	if (index == GRAPH_NONE && er->work > 0)
		index = graph_find_end(doc, name, &er->work);
	return index != GRAPH_NONE && graph_is_tip(doc, (uint32_t)index) ? index : GRAPH_NONE;
}

/* What is asked for, as far as it is there: into the change and, as it was asked, into the answer.
 */
static void collect(struct erasing *er, const struct document *doc, const struct revs_asked *asked,
		    struct change *change, struct erased *out)
{
	struct arena *arena = &er->s->arena;
	change->leaves = arena_alloc(arena, (asked->revisions_count + 1) * sizeof *change->leaves);
	for (uint32_t i = 0; i < asked->revisions_count; i++) {
		int index = named(er, doc, &asked->revisions[i]);
		if (index == GRAPH_NONE)
			continue;
		change->leaves[change->leaves_count++] = graph_name(doc, (uint32_t)index);
		out->revisions[out->revisions_count++] = asked->revisions[i];
	}
}

/* What those who listen are told: the version that readers see then, or that the document is gone.
 */
static void foretell(struct erasing *er, const struct document *doc, struct change *change)
{
	int winner = graph_winner(doc);
	uint8_t *gone = arena_alloc(&er->s->arena, doc->revisions_count + 1);
	struct document left = *doc;
	graph_mark_erased(doc, change->leaves, change->leaves_count, &er->s->arena, gone);
	change->deleted = memchr(gone, 0, doc->revisions_count) == NULL;
	if (!change->deleted) {
		(void)graph_remove(&left, gone, &er->s->arena);
		winner = graph_winner(&left);
		change->deleted = winner != GRAPH_NONE && !graph_is_live(&left, (uint32_t)winner);
	}
	if (winner != GRAPH_NONE)
		change->revision = graph_name(&left, (uint32_t)winner);
}

static enum status may_erase(const struct erasing *er, struct slice id)
{
	struct lock_question question = {.id = id,
					 .op = WRITE_DELETE,
					 .lock_ids = er->m->lock_ids,
					 .lock_ids_count = er->m->lock_ids_count};
	enum status status = lock_check(er->c, &question);
	if (status == STATUS_OK && !stream_has_room(er->s, er->c))
		status = STATUS_OVERLOADED;
	return status;
}

static void await(struct erasing *er, uint64_t number)
{
	if (number > er->awaited)
		er->awaited = number;
}

static enum status erase_one(struct erasing *er, const struct revs_asked *asked, struct erased *out,
			     struct effects *fx)
{
	struct storage *s = er->s;
	struct document_view view;
	struct change change = {.kind = CHANGE_ERASE,
				.id = asked->id,
				.op = WRITE_PUT,
				.floor = er->c->floor,
				.wall_ms = (uint64_t)s->wall_ms};
	if (!document_id_ok(asked->id))
		return STATUS_BAD_MESSAGE;
	document_load_pending(s, er->c, asked->id, &view);
	if (view.overlay)
		await(er, view.overlay->last_number);
	if (!view.exists)
		return STATUS_OK;
	collect(er, &view.doc, asked, &change, out);
	if (change.leaves_count == 0)
		return STATUS_OK;
	enum status status = may_erase(er, asked->id);
	if (status != STATUS_OK) {
		out->revisions_count = 0;
		return status;
	}
	foretell(er, &view.doc, &change);
	uint64_t number = stream_append_change(s, er->c, &change, fx);
	overlay_touch(s, er->c, asked->id, number);
	er->ordered = true;
	await(er, number);
	return STATUS_OK;
}

/* One answer for all, when the last entry that it rests on is applied. */
static void answer_erased(struct erasing *er, const struct event *e, struct effects *fx)
{
	struct waiter *w = waiter_await(er->c, e, er->awaited, MSG_doc_erase_ack, &er->ack);
	if (w) {
		w->needs_lead = !er->ordered;
		return;
	}
	if (!lease_held(er->s, er->c))
		er->ack = ack_of(er->s, STATUS_NO_LEAD);
	fx_reply(fx, WHEN_NOW, e, MSG_doc_erase_ack, &er->ack);
}

void erase_on_doc_erase(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_doc_erase *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	enum status status = write_taken_by_lead(s, c, e, m->until_ms, m->life, fx);
	if (status == STATUS_OK && waiters_full(c))
		status = STATUS_OVERLOADED; /* what is under way is waited for, too */
	struct erasing er = {
	    .s = s, .c = c, .m = m, .ack = ack_of(s, status), .work = GRAPH_ENDS_WORK};
	if (status != STATUS_OK) {
		fx_reply(fx, WHEN_NOW, e, MSG_doc_erase_ack, &er.ack);
		return;
	}
	er.ack.items = arena_alloc(&s->arena, m->items_count * sizeof *er.ack.items);
	for (uint32_t i = 0; i < m->items_count; i++) {
		struct erased *out = &er.ack.items[er.ack.items_count];
		*out = (struct erased){.index = i};
		out->revisions = arena_alloc(&s->arena, (m->items[i].revisions_count + 1) *
							    sizeof *out->revisions);
		struct arena_mark mark = arena_mark(&s->arena);
		out->status = erase_one(&er, &m->items[i], out, fx);
		arena_rewind(&s->arena, mark);
		er.ack.items_count += out->status != STATUS_OK || out->revisions_count > 0;
	}
	answer_erased(&er, e, fx);
}

/* ---- what is still on its way ---- */

void erase_note(struct storage *s, struct shard_copy *c, struct slice id, uint64_t number)
{
	uint64_t slot = shard_hash(id) % ERASED_SLOTS;
	if (!c->erased)
		c->erased = mem_alloc_zero(sizeof *c->erased);
	c->erased->slots[slot].clock_ms = (uint64_t)s->now_ms;
	c->erased->slots[slot].number = number;
}

void erase_forget(struct shard_copy *c)
{
	free(c->erased);
	c->erased = NULL;
}

bool erase_is_since(const struct shard_copy *c, struct slice id, uint64_t sent_ms)
{
	return c->erased && sent_ms > 0 && !MUTATION(erased_comes_back) &&
	       sent_ms <= c->erased->slots[shard_hash(id) % ERASED_SLOTS].clock_ms;
}

/* An entry that was cut may have had a number that the stream has not come to again. */
bool erase_is_behind(const struct shard_copy *c, struct slice id, uint64_t number)
{
	uint64_t erased = c->erased ? c->erased->slots[shard_hash(id) % ERASED_SLOTS].number : 0;
	return number < erased && erased <= c->position.last;
}
