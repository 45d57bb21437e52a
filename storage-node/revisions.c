#include "storage-node/revisions.h"

#include "common/doc/graph.h"
#include "common/doc/graph_line.h"
#include "common/doc/revision.h"
#include "common/probe.h"
#include "storage-node/conflict.h"
#include "storage-node/purge.h"

enum {
	REVISIONS_ANSWER_BYTES = 2 * 1024 * 1024, /* for one answer; one document may take more */
	REVISIONS_DOCUMENT_BYTES = 16 * 1024 * 1024, /* of one document */
	REVISION_ROW_BYTES = 64,                     /* beside body and history */
	POSSIBLE_ANCESTORS_MAX = 64,                 /* of a document: a hint, no promise */
	POSSIBLE_ANCESTORS_ALL = 16384               /* of an answer */
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
	uint8_t *added; /* of each tip: it was added as the latest of something */
	uint8_t *marks; /* of each revision */
	struct document_read *out;
	uint32_t cap;
	size_t bytes;
	uint32_t *work; /* left of the message, for graph_find_end */
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
	struct arena *arena = &r->view.storage->arena;
	if (r->tips)
		return;
	r->tips_count = graph_tips(&r->view.doc, arena, &r->tips);
	r->added = arena_alloc(arena, r->tips_count + 1);
	r->marks = arena_alloc(arena, r->view.doc.revisions_count + 1);
}

/* The leaves that came of it; false: it is one, or none is known. */
static bool add_latest(struct reading *r, uint32_t index)
{
	bool any = false;
	if (graph_is_leaf(&r->view.doc, index))
		return false;
	need_tips(r);
	graph_mark_descendants(&r->view.doc, index, r->marks);
	for (uint32_t i = 0; i < r->tips_count; i++) {
		if (!r->marks[r->tips[i].index])
			continue;
		any = true;
		if (!r->added[i])
			add(r, &r->tips[i]);
		r->added[i] = 1;
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
	index = graph_find_end(&v->doc, name, r->work);
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
	uint32_t work = GRAPH_ENDS_WORK;
	if (ack.status == STATUS_OK)
		ack.documents = arena_alloc(&s->arena, m->asked_count * sizeof *ack.documents);
	size_t before = s->arena.used;
	for (uint32_t i = 0; ack.status == STATUS_OK && i < m->asked_count; i++) {
		struct reading r = {.m = m,
				    .asked = &m->asked[i],
				    .out = &ack.documents[ack.documents_count],
				    .work = &work};
		/* records that are looked at count, too */
		if (i > 0 &&
		    s->arena.used - before > BOUND(revisions_bytes, REVISIONS_ANSWER_BYTES))
			break;
		document_load(s, c, m->asked[i].id, &r.view);
		read_document(&r);
		ack.documents_count++;
		s->reads_total++;
	}
	fx_reply(fx, WHEN_NOW, e, MSG_doc_revisions_ack, &ack);
}

/* ---- what is not here ---- */

/* Leaves of a document that is gone from the arena when they are told of. */
struct ancestors {
	uint32_t count;
	struct {
		uint64_t generation;
		size_t len;
		uint8_t hash[LIMIT_REV_HASH_BYTES];
	} names[POSSIBLE_ANCESTORS_MAX];
};

/* What all of a message may take. */
struct diffing {
	struct storage *s;
	struct shard_copy *c;
	uint32_t work;      /* for graph_find_end */
	uint32_t ancestors; /* told of */
};

static void note_ancestors(const struct document_view *v, const struct revs_missing *row,
			   struct ancestors *out)
{
	uint64_t generation = 0;
	for (uint32_t i = 0; i < row->missing_count; i++)
		if (row->missing[i].generation > generation)
			generation = row->missing[i].generation;
	for (uint32_t i = v->doc.revisions_count; i-- > 0 && out->count < POSSIBLE_ANCESTORS_MAX;) {
		const struct revision_node *node = &v->doc.revisions[i];
		if (!graph_is_leaf(&v->doc, i) || node->generation >= generation)
			continue;
		out->names[out->count].generation = node->generation;
		out->names[out->count].len = node->hash.len;
		memcpy(out->names[out->count++].hash, node->hash.data, node->hash.len);
	}
}

/* What the document's graph and the mark of an earlier one say. Their memory goes at the end. */
static void look(struct diffing *d, const struct revs_asked *asked, struct revs_missing *row,
		 struct ancestors *out)
{
	struct arena *arena = &d->s->arena;
	struct arena_mark mark = arena_mark(arena);
	struct document_view v;
	struct purged purged;
	document_load(d->s, d->c, asked->id, &v);
	bool marked = purge_mark(d->s, d->c, asked->id, &purged);
	const int *found =
	    v.exists ? graph_find_all(&v.doc, asked->revisions, asked->revisions_count, arena)
		     : NULL;
	for (uint32_t i = 0; i < asked->revisions_count; i++) {
		const struct revision *name = &asked->revisions[i];
		if ((found && (found[i] != GRAPH_NONE ||
			       graph_find_end(&v.doc, name, &d->work) != GRAPH_NONE)) ||
		    (marked && revision_equal(&purged.revision, name)))
			continue;
		row->missing[row->missing_count++] = *name;
	}
	if (row->missing_count > 0 && v.exists)
		note_ancestors(&v, row, out);
	arena_rewind(arena, mark);
}

/* False: all is here. */
static bool diff_one(struct diffing *d, const struct revs_asked *asked, struct revs_missing *row)
{
	struct arena *arena = &d->s->arena;
	struct ancestors ancestors;
	ancestors.count = 0;
	row->missing = arena_alloc(arena, (asked->revisions_count + 1) * sizeof *row->missing);
	look(d, asked, row, &ancestors);
	if (ancestors.count > d->ancestors)
		ancestors.count = d->ancestors;
	d->ancestors -= ancestors.count;
	row->ancestors = arena_alloc(arena, (ancestors.count + 1) * sizeof *row->ancestors);
	for (uint32_t i = 0; i < ancestors.count; i++)
		row->ancestors[row->ancestors_count++] = (struct revision){
		    ancestors.names[i].generation,
		    arena_copy(arena, slice_of(ancestors.names[i].hash, ancestors.names[i].len))};
	return row->missing_count > 0;
}

void revisions_on_diff(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_revs_diff *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	struct msg_revs_diff_ack ack = {.status = conflict_must_lead(s, c, e, fx)};
	struct diffing d = {s, c, GRAPH_ENDS_WORK, POSSIBLE_ANCESTORS_ALL};
	if (ack.status == STATUS_OK)
		ack.rows = arena_alloc(&s->arena, m->asked_count * sizeof *ack.rows);
	for (uint32_t i = 0; ack.status == STATUS_OK && i < m->asked_count; i++) {
		struct revs_missing *row = &ack.rows[ack.rows_count];
		*row = (struct revs_missing){.index = i};
		ack.rows_count += diff_one(&d, &m->asked[i], row);
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
	struct arena *arena = &v->storage->arena;
	uint32_t count = graph_tips(&v->doc, arena, &tips);
	uint8_t *marks = arena_alloc(arena, v->doc.revisions_count + 1);
	graph_mark_descendants(&v->doc, index, marks);
	for (uint32_t i = 0; i < count; i++)
		if (!tips[i].end && marks[tips[i].index])
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
