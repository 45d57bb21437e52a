#include "storage-node/revisions.h"

#include "common/doc/graph.h"
#include "common/doc/graph_line.h"
#include "common/doc/revision.h"
#include "storage-node/conflict.h"
#include "storage-node/purge.h"

enum {
	REVISIONS_ANSWER_BYTES = 1024 * 1024,        /* of one answer; one document may take more */
	REVISIONS_DOCUMENT_BYTES = 16 * 1024 * 1024, /* of one document */
	REVISION_ROW_BYTES = 64,                     /* beside body and history */
	POSSIBLE_ANCESTORS_MAX = 64                  /* a hint, no promise */
};

/* ---- one revision ---- */

static void fill_line(struct document_view *v, uint32_t index, struct revision_read *out)
{
	int at = (int)index;
	out->ancestors = arena_alloc(&v->storage->arena, LIMIT_ANCESTORS * sizeof *out->ancestors);
	while (out->ancestors_count < LIMIT_ANCESTORS &&
	       (at = graph_line_parent(&v->doc, (uint32_t)at)) != GRAPH_NONE)
		out->ancestors[out->ancestors_count++] = v->doc.revisions[at].hash;
}

/* An end stands nowhere: what it deletes is the newest of its ancestors. */
static void fill_end_line(struct document_view *v, uint32_t index, struct revision_read *out)
{
	struct revision_read below = {0};
	fill_line(v, index, &below);
	if (below.ancestors_count == LIMIT_ANCESTORS)
		below.ancestors_count--;
	out->ancestors =
	    arena_alloc(&v->storage->arena, (below.ancestors_count + 1) * sizeof *out->ancestors);
	out->ancestors[out->ancestors_count++] = v->doc.revisions[index].hash;
	for (uint32_t i = 0; i < below.ancestors_count; i++)
		out->ancestors[out->ancestors_count++] = below.ancestors[i];
}

static size_t fill_tip(struct document_view *v, const struct graph_tip *tip, bool lines, int winner,
		       struct revision_read *out)
{
	size_t bytes = REVISION_ROW_BYTES;
	*out = (struct revision_read){.revision = tip->revision, .deleted = tip->deleted};
	if (lines && tip->end)
		fill_end_line(v, tip->index, out);
	else if (lines)
		fill_line(v, tip->index, out);
	for (uint32_t i = 0; i < out->ancestors_count; i++)
		bytes += out->ancestors[i].len;
	if (tip->deleted)
		return bytes;
	out->body = document_body_beside(v, tip->index, winner);
	out->missing = out->body.len == 0;
	return bytes + out->body.len;
}

/* ---- many ---- */

/* A document that is read. */
struct reading {
	const struct msg_doc_revisions *m;
	const struct revs_asked *asked;
	struct document_view view;
	int winner;
	struct graph_tip *tips; /* made when wanted */
	uint32_t tips_count;
	struct document_read *out;
	uint32_t cap;
	size_t bytes;
};

static void add(struct reading *r, const struct graph_tip *tip)
{
	if (r->bytes > REVISIONS_DOCUMENT_BYTES || r->out->revisions_count == r->cap)
		return;
	r->bytes += fill_tip(&r->view, tip, r->m->want_ancestors, r->winner,
			     &r->out->revisions[r->out->revisions_count++]);
}

static void add_missing(struct reading *r, const struct revision *name)
{
	if (r->out->revisions_count == r->cap)
		return;
	r->bytes += REVISION_ROW_BYTES;
	r->out->revisions[r->out->revisions_count++] =
	    (struct revision_read){.revision = *name, .missing = true};
}

static void need_tips(struct reading *r)
{
	if (!r->tips)
		r->tips_count = graph_tips(&r->view.doc, &r->view.storage->arena, &r->tips);
}

static bool was_added(const struct reading *r, const struct revision *name)
{
	for (uint32_t i = 0; i < r->out->revisions_count; i++)
		if (revision_equal(&r->out->revisions[i].revision, name))
			return true;
	return false;
}

/* The leaves that came of it; false: it is one, or none is known. */
static bool add_latest(struct reading *r, uint32_t index)
{
	bool any = false;
	if (graph_is_leaf(&r->view.doc, index))
		return false;
	need_tips(r);
	for (uint32_t i = 0; i < r->tips_count; i++) {
		const struct graph_tip *tip = &r->tips[i];
		if (!graph_descends(&r->view.doc, tip->index, index))
			continue;
		any = true;
		if (!was_added(r, &tip->revision))
			add(r, tip);
	}
	return any;
}

static void add_asked(struct reading *r, const struct revision *name)
{
	struct document_view *v = &r->view;
	int index = graph_find(&v->doc, name);
	if (index != GRAPH_NONE) {
		bool deleted = v->doc.revisions[index].flags & REVISION_DELETED;
		struct graph_tip tip = {graph_name(&v->doc, (uint32_t)index), (uint32_t)index,
					deleted, false};
		if (!r->m->latest || !add_latest(r, (uint32_t)index))
			add(r, &tip);
		return;
	}
	index = graph_find_end(&v->doc, name);
	if (index == GRAPH_NONE) {
		add_missing(r, name);
		return;
	}
	struct graph_tip end = {*name, (uint32_t)index, true, true};
	add(r, &end);
}

static void read_document(struct reading *r)
{
	const struct revs_asked *asked = r->asked;
	struct arena *arena = &r->view.storage->arena;
	r->out->status = STATUS_OK;
	if (!r->view.exists && asked->revisions_count == 0) {
		r->out->status = STATUS_NOT_FOUND;
		return;
	}
	if (r->view.exists)
		r->winner = graph_winner(&r->view.doc);
	if (asked->revisions_count == 0)
		need_tips(r);
	r->cap = r->tips_count + asked->revisions_count;
	if (r->m->latest && r->view.exists)
		r->cap += r->view.doc.revisions_count;
	if (r->cap > LIMIT_LEAVES)
		r->cap = LIMIT_LEAVES;
	r->out->revisions = arena_alloc(arena, (r->cap + 1) * sizeof *r->out->revisions);
	for (uint32_t i = 0; asked->revisions_count == 0 && i < r->tips_count; i++)
		add(r, &r->tips[i]);
	for (uint32_t i = 0; i < asked->revisions_count; i++) {
		if (r->view.exists)
			add_asked(r, &asked->revisions[i]);
		else
			add_missing(r, &asked->revisions[i]);
	}
	if (r->bytes <= REVISIONS_DOCUMENT_BYTES)
		return;
	r->out->status = STATUS_BODY_TOO_LARGE;
	r->out->revisions_count = 0;
	r->bytes = REVISION_ROW_BYTES;
}

void revisions_on_read(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_doc_revisions *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	struct msg_doc_revisions_ack ack = {.status = conflict_must_lead(s, c, e, fx)};
	size_t bytes = 0;
	if (ack.status == STATUS_OK)
		ack.documents = arena_alloc(&s->arena, m->asked_count * sizeof *ack.documents);
	for (uint32_t i = 0; ack.status == STATUS_OK && i < m->asked_count; i++) {
		struct reading r = {
		    .m = m, .asked = &m->asked[i], .out = &ack.documents[ack.documents_count]};
		if (i > 0 && bytes > REVISIONS_ANSWER_BYTES)
			break;
		document_load(s, c, m->asked[i].id, &r.view);
		read_document(&r);
		bytes += r.bytes;
		ack.documents_count++;
		s->reads_total++;
	}
	fx_reply(fx, WHEN_NOW, e, MSG_doc_revisions_ack, &ack);
}

/* ---- what is not here ---- */

static bool is_known(struct document_view *v, const struct revision *name)
{
	struct purged mark;
	if (v->exists && (graph_find(&v->doc, name) != GRAPH_NONE ||
			  graph_find_end(&v->doc, name) != GRAPH_NONE))
		return true;
	return purge_mark(v->storage, v->copy, v->id, &mark) &&
	       revision_equal(&mark.revision, name);
}

static void add_ancestors(struct document_view *v, struct revs_missing *row)
{
	uint64_t generation = 0;
	for (uint32_t i = 0; i < row->missing_count; i++)
		if (row->missing[i].generation > generation)
			generation = row->missing[i].generation;
	row->ancestors =
	    arena_alloc(&v->storage->arena, POSSIBLE_ANCESTORS_MAX * sizeof *row->ancestors);
	for (uint32_t i = v->doc.revisions_count; i-- > 0;)
		if (graph_is_leaf(&v->doc, i) && v->doc.revisions[i].generation < generation &&
		    row->ancestors_count < POSSIBLE_ANCESTORS_MAX)
			row->ancestors[row->ancestors_count++] = graph_name(&v->doc, i);
}

/* False: all is here. */
static bool diff_one(struct document_view *v, const struct revs_asked *asked,
		     struct revs_missing *row)
{
	row->missing =
	    arena_alloc(&v->storage->arena, (asked->revisions_count + 1) * sizeof *row->missing);
	for (uint32_t i = 0; i < asked->revisions_count; i++)
		if (!is_known(v, &asked->revisions[i]))
			row->missing[row->missing_count++] = asked->revisions[i];
	if (row->missing_count > 0 && v->exists)
		add_ancestors(v, row);
	return row->missing_count > 0;
}

void revisions_on_diff(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_revs_diff *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	struct msg_revs_diff_ack ack = {.status = conflict_must_lead(s, c, e, fx)};
	if (ack.status == STATUS_OK)
		ack.rows = arena_alloc(&s->arena, m->asked_count * sizeof *ack.rows);
	for (uint32_t i = 0; ack.status == STATUS_OK && i < m->asked_count; i++) {
		struct revs_missing *row = &ack.rows[ack.rows_count];
		struct document_view view;
		*row = (struct revs_missing){.index = i};
		document_load(s, c, m->asked[i].id, &view);
		ack.rows_count += diff_one(&view, &m->asked[i], row);
		s->reads_total++;
	}
	fx_reply(fx, WHEN_NOW, e, MSG_revs_diff_ack, &ack);
}

/* ---- of one document that is read ---- */

int revisions_latest(struct document_view *v, uint32_t index)
{
	struct graph_tip *tips;
	if (graph_is_leaf(&v->doc, index))
		return (int)index;
	uint32_t count = graph_tips(&v->doc, &v->storage->arena, &tips);
	for (uint32_t i = 0; i < count; i++)
		if (!tips[i].end && graph_descends(&v->doc, tips[i].index, index))
			return (int)tips[i].index;
	return (int)index;
}

void revisions_list_line(struct document_view *v, uint32_t of, struct msg_doc_read_ack *ack)
{
	struct arena *arena = &v->storage->arena;
	int at = (int)of;
	ack->ancestors = arena_alloc(arena, LIMIT_ANCESTORS * sizeof *ack->ancestors);
	ack->ancestor_flags = arena_alloc(arena, LIMIT_ANCESTORS * sizeof *ack->ancestor_flags);
	while (ack->ancestors_count < LIMIT_ANCESTORS &&
	       (at = graph_line_parent(&v->doc, (uint32_t)at)) != GRAPH_NONE) {
		ack->ancestors[ack->ancestors_count++] = graph_name(&v->doc, (uint32_t)at);
		ack->ancestor_flags[ack->ancestor_flags_count++] = v->doc.revisions[at].flags;
	}
}

void revisions_list_leaves(struct document_view *v, const struct revision *shown,
			   struct msg_doc_read_ack *ack)
{
	struct graph_tip *tips;
	struct arena *arena = &v->storage->arena;
	uint32_t count = graph_tips(&v->doc, arena, &tips);
	ack->leaves = arena_alloc(arena, (count + 1) * sizeof *ack->leaves);
	ack->deleted_leaves = arena_alloc(arena, (count + 1) * sizeof *ack->deleted_leaves);
	for (uint32_t i = 0; i < count && i < LIMIT_LEAVES; i++) {
		if (revision_equal(&tips[i].revision, shown))
			continue;
		if (tips[i].deleted)
			ack->deleted_leaves[ack->deleted_leaves_count++] = tips[i].revision;
		else
			ack->leaves[ack->leaves_count++] = tips[i].revision;
	}
}
