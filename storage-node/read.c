/* Reading one document by id: from settled state, by a lead under its lease or, if asked so, by any
 * replica. */
#include "common/doc/graph.h"
#include "common/doc/revision.h"
#include "storage-node/revisions.h"

static enum status may_read(struct storage *s, const struct shard_copy *c, const struct event *e,
			    bool any)
{
	if (!c)
		return STATUS_NO_SHARD;
	if (any) /* a replica that has not been copied to yet knows nothing */
		return shard_vouching(s, c) ? STATUS_OK : STATUS_NOT_VOUCHING;
	if (e->message.envelope.epoch < c->placement.epoch)
		return STATUS_OLD_EPOCH;
	if (c->state != SHARD_SERVING || e->message.envelope.epoch != c->lead_epoch)
		return c->placement.lead == s->options.self ? STATUS_NO_LEAD : STATUS_NOT_LEAD;
	return lease_held(s, c) ? STATUS_OK : STATUS_NO_LEAD;
}

enum status read_allowed(struct storage *s, struct shard_copy *c, const struct event *e, bool any,
			 struct effects *fx)
{
	enum status status = may_read(s, c, e, any);
	if (status == STATUS_OLD_EPOCH || status == STATUS_NOT_LEAD)
		map_send_newer(c, e, fx);
	return status;
}

static void list_leaves(struct document_view *v, struct msg_doc_read_ack *ack)
{
	uint32_t *leaves;
	struct arena *arena = &v->storage->arena;
	uint32_t count = graph_sides(&v->doc, arena, &leaves);
	if (count > LIMIT_LEAVES)
		count = LIMIT_LEAVES;
	ack->leaves = arena_alloc(arena, (count + 1) * sizeof *ack->leaves);
	for (uint32_t i = 0; i < count; i++)
		ack->leaves[ack->leaves_count++] = graph_name(&v->doc, leaves[i]);
}

/* Towards the root, the greatest names first; a stemmed graph knows only the newest. */
static void list_ancestors(struct document_view *v, uint32_t of, struct msg_doc_read_ack *ack)
{
	struct arena *arena = &v->storage->arena;
	uint8_t *marks = arena_alloc(arena, v->doc.revisions_count);
	ack->ancestors = arena_alloc(arena, v->doc.revisions_count * sizeof *ack->ancestors);
	marks[of] = 1;
	for (uint32_t i = of + 1; i-- > 0;) {
		const struct revision_node *node = &v->doc.revisions[i];
		if (!marks[i])
			continue;
		for (uint32_t p = 0; p < node->parents_count; p++)
			marks[node->parents[p]] = 1;
		if (i != of)
			ack->ancestors[ack->ancestors_count++] = graph_name(&v->doc, i);
	}
	revision_sort(ack->ancestors, ack->ancestors_count);
	for (uint32_t i = 0; i < ack->ancestors_count / 2; i++) {
		struct revision other = ack->ancestors[ack->ancestors_count - 1 - i];
		ack->ancestors[ack->ancestors_count - 1 - i] = ack->ancestors[i];
		ack->ancestors[i] = other;
	}
	if (ack->ancestors_count > LIMIT_ANCESTORS)
		ack->ancestors_count = LIMIT_ANCESTORS;
}

/* In place of a revision that is not known, which has one line of ancestors. */
static int find_older(const struct document_view *v, const struct msg_doc_read *m)
{
	for (uint32_t i = 0; i < m->older_count && i + 1 < m->revision.generation; i++) {
		struct revision name = {m->revision.generation - 1 - i, m->older[i]};
		int index = graph_find(&v->doc, &name);
		if (index != GRAPH_NONE &&
		    v->doc.revisions[index].flags & (REVISION_HAS_BODY | REVISION_DELETED))
			return index;
	}
	return GRAPH_NONE;
}

static void fill(struct document_view *v, const struct msg_doc_read *m,
		 struct msg_doc_read_ack *ack)
{
	ack->status = STATUS_NOT_FOUND;
	if (!v->exists)
		return;
	bool exact = m->revision.generation > 0;
	int index = exact ? graph_find(&v->doc, &m->revision) : graph_winner(&v->doc);
	if (index == GRAPH_NONE)
		index = find_older(v, m);
	if (index == GRAPH_NONE)
		return;
	if (m->latest)
		index = revisions_latest(v, (uint32_t)index);
	ack->revision = graph_name(&v->doc, (uint32_t)index);
	ack->deleted = v->doc.revisions[index].flags & REVISION_DELETED;
	ack->split = v->doc.revisions[index].flags & REVISION_SPLIT;
	ack->conflicts = graph_conflicts(&v->doc);
	ack->changed = v->doc.changed;
	if (m->want_deleted)
		revisions_list_leaves(v, &ack->revision, ack);
	else if (m->want_leaves)
		list_leaves(v, ack);
	if (m->line)
		revisions_list_line(v, (uint32_t)index, ack);
	else if (m->want_ancestors)
		list_ancestors(v, (uint32_t)index, ack);
	ack->body = document_body(v, (uint32_t)index);
	if (!ack->deleted && ack->body.len > 0)
		ack->status = STATUS_OK;
}

void read_on_shard_served(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_shard_served *m = e->message.body;
	struct msg_shard_served_ack ack = {
	    .status = read_allowed(s, shard_get(s, m->shard), e, false, fx)};
	fx_reply(fx, WHEN_NOW, e, MSG_shard_served_ack, &ack);
}

void read_on_doc_read(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_doc_read *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	struct msg_doc_read_ack ack = {.status = read_allowed(s, c, e, m->any, fx)};
	if (ack.status == STATUS_OK) {
		struct document_view view;
		if (MUTATION(unsettled_shown))
			document_load_pending(s, c, m->id, &view);
		else
			document_load(s, c, m->id, &view);
		fill(&view, m, &ack);
		s->reads_total++;
	}
	fx_reply(fx, WHEN_NOW, e, MSG_doc_read_ack, &ack);
}
