#include "storage-node/changes.h"

#include <stdlib.h>

#include "common/doc/graph.h"
#include "common/doc/graph_line.h"
#include "storage-node/sequence.h"

enum {
	ROWS_MIN = 16,
	/* of one row: with the names of its leaves, and the rows before it, it must fit into a
	 * message */
	ROW_BODIES_BYTES = LIMIT_MESSAGE_BYTES - 4 * 1024 * 1024
};

/* An answer that is being made. */
struct changes {
	struct storage *s;
	struct shard_copy *c;
	const struct msg_shard_changes *m;
	uint64_t until;
	uint64_t limit;
	size_t bytes;
	size_t row_bytes; /* bodies in the row under way */
	uint32_t cap;     /* of ack.rows */
	struct msg_shard_changes_ack ack;
};

/* ---- rows ---- */

/* Whoever has to do without one must take it that the document is such as it wants. */
static void add_leaf_body(struct changes *x, struct document_view *v, uint32_t index, int winner,
			  struct change_row *row)
{
	if (x->row_bytes > ROW_BODIES_BYTES)
		return;
	struct slice body = document_body_beside(v, index, winner);
	x->row_bytes += body.len;
	if (x->row_bytes <= ROW_BODIES_BYTES) /* else all behind it are left out, too */
		row->leaf_bodies[row->leaf_bodies_count++] = body;
}

/* Those beside the winner; live ones first. */
static void list_leaves(struct changes *x, struct document_view *v, uint32_t winner,
			struct change_row *row)
{
	struct graph_tip *tips;
	uint32_t count = graph_tips(&v->doc, &x->s->arena, &tips);
	row->leaves = arena_alloc(&x->s->arena, (count + 1) * sizeof *row->leaves);
	row->leaf_bodies = arena_alloc(&x->s->arena, (count + 1) * sizeof *row->leaf_bodies);
	for (int live = 1; live >= 0; live--) {
		for (uint32_t i = 1; i < count && row->leaves_count < LIMIT_LEAVES; i++) {
			if (!tips[i].deleted != live)
				continue;
			row->leaves[row->leaves_count++] = tips[i].revision;
			if (live && x->m->leaf_bodies)
				add_leaf_body(x, v, tips[i].index, (int)winner, row);
		}
		if (live)
			row->live = row->leaves_count;
	}
}

/* As the document is now, which may be of a later change than the row's. */
static void fill_row(struct changes *x, struct document_view *v, uint32_t winner,
		     struct change_row *row)
{
	const struct document *doc = &v->doc;
	row->revision = graph_name(doc, winner);
	row->deleted = !graph_is_live(doc, winner);
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		if (doc->revisions[i].stamp > row->stamp)
			row->stamp = doc->revisions[i].stamp;
	if (x->m->bodies)
		row->body = doc->body;
	x->row_bytes = row->body.len;
	if (x->m->leaves && doc->revisions_count > 1)
		list_leaves(x, v, winner, row);
}

static bool is_full(const struct changes *x)
{
	return x->ack.rows_count >= x->limit || x->bytes >= x->s->options.changes_answer_bytes;
}

static struct change_row *next_row(struct changes *x)
{
	if (x->ack.rows_count == x->cap) {
		uint32_t cap = x->cap ? 2 * x->cap : ROWS_MIN;
		struct change_row *rows = arena_alloc(&x->s->arena, cap * sizeof *rows);
		if (x->cap > 0)
			memcpy(rows, x->ack.rows, x->cap * sizeof *rows);
		x->ack.rows = rows;
		x->cap = cap;
	}
	return &x->ack.rows[x->ack.rows_count++];
}

/* One that is not there any more makes none. */
static void add_row(struct changes *x, uint64_t number, struct slice id)
{
	struct document_view view;
	document_load(x->s, x->c, id, &view);
	int winner = view.exists ? graph_winner(&view.doc) : GRAPH_NONE;
	if (winner == GRAPH_NONE)
		return;
	struct change_row *row = next_row(x);
	*row = (struct change_row){.number = number, .id = id};
	fill_row(x, &view, (uint32_t)winner, row);
	x->bytes += x->row_bytes + id.len +
		    (row->leaves_count + 1) * (LIMIT_REV_HASH_BYTES + sizeof(uint64_t));
}

/* ---- all documents ---- */

/* How many there are beyond the last row, more or less. */
static void count_pending(struct changes *x, struct sequence_scan *scan)
{
	uint64_t most = x->ack.rows_count + CHANGES_COUNTED;
	uint64_t count = 0;
	while (count <= most && sequence_skip(scan))
		count++;
	if (count > most) {
		const struct shard_position *p = &x->c->position;
		uint64_t all = p->documents + p->deleted;
		uint64_t numbers = x->m->descending ? x->ack.last : x->until - x->ack.last;
		uint64_t bound = all < numbers ? all : numbers;
		count = bound > count ? bound : count;
	}
	x->ack.pending = count;
}

static enum status list_all(struct changes *x)
{
	struct sequence_scan scan;
	struct sequence_row row;
	sequence_open(&scan, x->s, x->c, x->m->after, x->until, x->m->descending);
	x->ack.last = x->m->descending ? x->m->after : x->until;
	while (!is_full(x) && sequence_next(&scan, &row))
		add_row(x, row.number, row.id);
	if (is_full(x)) {
		x->ack.last = MUTATION(changes_passed_unread) ? x->until : scan.passed;
		count_pending(x, &scan);
	}
	bool broken = scan.broken;
	sequence_close(&scan);
	return broken ? STATUS_INTERNAL : STATUS_OK;
}

/* ---- some documents ---- */

static int compare_numbers(const void *a, const void *b)
{
	const struct sequence_row *x = a;
	const struct sequence_row *y = b;
	return (x->number > y->number) - (x->number < y->number);
}

static uint32_t find_ids(struct changes *x, struct sequence_row *out)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < x->m->ids_count; i++) {
		struct document_view view;
		struct arena_mark mark = arena_mark(&x->s->arena);
		if (!document_id_ok(x->m->ids[i]))
			continue;
		document_load(x->s, x->c, x->m->ids[i], &view);
		if (view.exists && view.doc.changed > x->m->after && view.doc.changed <= x->until)
			out[count++] =
			    (struct sequence_row){.number = view.doc.changed, .id = x->m->ids[i]};
		arena_rewind(&x->s->arena, mark);
	}
	qsort(out, count, sizeof *out, compare_numbers);
	uint32_t unique = 0; /* asked for twice, a document is told of once */
	for (uint32_t i = 0; i < count; i++)
		if (i == 0 || out[i].number != out[i - 1].number)
			out[unique++] = out[i];
	return unique;
}

static void list_ids(struct changes *x)
{
	struct sequence_row *found =
	    arena_alloc(&x->s->arena, (x->m->ids_count + 1) * sizeof *found);
	uint32_t count = find_ids(x, found);
	x->ack.last = x->m->descending ? x->m->after : x->until;
	for (uint32_t i = 0; i < count; i++) {
		const struct sequence_row *row = &found[x->m->descending ? count - 1 - i : i];
		if (is_full(x)) {
			x->ack.pending = count - i;
			return;
		}
		add_row(x, row->number, row->id);
		if (is_full(x))
			x->ack.last = row->number;
	}
}

/* ---- the message ---- */

void changes_on_shard_changes(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_shard_changes *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	struct changes x = {.s = s, .c = c, .m = m};
	x.ack.status = read_allowed(s, c, e, false, fx);
	if (x.ack.status == STATUS_OK) {
		x.limit = m->limit == 0 || m->limit > LIMIT_CHANGES ? LIMIT_CHANGES : m->limit;
		/* documents are read as they are, a scan shows the last commit: one that changes
		 * in this turn must not be missing under both numbers */
		uint64_t end = m->ids_count > 0 ? c->position.applied : c->committed;
		x.until = m->until > 0 && m->until < end ? m->until : end;
		if (x.until < m->after)
			x.until = m->after; /* told of what is not committed yet */
		if (m->ids_count > 0)
			list_ids(&x);
		else
			x.ack.status = list_all(&x);
		s->queries_total++;
	}
	fx_reply(fx, WHEN_NOW, e, MSG_shard_changes_ack, &x.ack);
}
