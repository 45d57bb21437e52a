#include "storage-node/derived.h"

#include "common/doc/decide.h"
#include "common/doc/graph.h"
#include "common/probe.h"

enum { DERIVED_NAME_BYTES = 8, DERIVED_ID_BYTES = 16 };

static uint64_t try_of(struct slice operation_id)
{
	return be64_read(operation_id.data + DERIVED_NAME_BYTES);
}

static bool same_split(struct slice a, struct slice b)
{
	return a.len == DERIVED_ID_BYTES && b.len == DERIVED_ID_BYTES &&
	       memcmp(a.data, b.data, DERIVED_NAME_BYTES) == 0;
}

/* The newest try that the document knows; NULL: none. */
static const struct operation *newest_try(const struct document *doc, struct slice operation_id)
{
	const struct operation *newest = NULL;
	for (uint32_t i = 0; doc && i < doc->operations_count; i++) {
		const struct operation *o = &doc->operations[i];
		if (same_split(o->id, operation_id) &&
		    (!newest || try_of(o->id) > try_of(newest->id)))
			newest = o;
	}
	return newest;
}

/* A root of its own: it has nothing in common with what is there. */
static void put_beside(struct derived *out)
{
	REACHED(split_beside);
	out->parent = GRAPH_NONE;
	out->branch = true;
}

/* Index of the winner; GRAPH_NONE: the document is deleted, or there is none. */
static int live_winner(const struct document *doc)
{
	int winner = doc ? graph_winner(doc) : GRAPH_NONE;
	return winner != GRAPH_NONE && graph_is_live(doc, (uint32_t)winner) ? winner : GRAPH_NONE;
}

static bool knows_split(const struct document *doc, struct slice operation_id)
{
	for (uint32_t i = 0; doc && i < doc->operations_count; i++)
		if (doc->operations[i].id.len == DERIVED_ID_BYTES &&
		    memcmp(doc->operations[i].id.data, operation_id.data, SPLIT_DOCUMENT_BYTES) ==
			0)
			return true;
	return false;
}

/* A version: on what it has in common with the others, if that is there. The document itself comes
 * first: the id may be another one's. */
static bool decide_version(const struct document *doc, const struct msg_doc_write *m,
			   struct derived *out)
{
	int base = doc ? graph_find(doc, &m->expected[0]) : GRAPH_NONE;
	bool early = live_winner(doc) == GRAPH_NONE ||
		     (base == GRAPH_NONE && !knows_split(doc, m->operation_id));
	if (m->anew && early) {
		REACHED(split_version_early);
		out->status = STATUS_NO_LEAD;
		return true;
	}
	if (base == GRAPH_NONE)
		return false;
	REACHED(split_version);
	out->parent = base;
	out->branch = !graph_is_leaf(doc, (uint32_t)base);
	return true;
}

static void decide_first(const struct document *doc, const struct msg_doc_write *m,
			 struct derived *out)
{
	if (m->expected_count == 1 && decide_version(doc, m, out))
		return;
	bool live = live_winner(doc) != GRAPH_NONE;
	out->parent = doc ? graph_winner(doc) : GRAPH_NONE;
	out->done = !live && m->op == WRITE_DELETE;
	if (!live)
		return;
	/* it has a stub's word that it is this document, if it knows the split no more */
	if (m->keep_as_branch || !m->anew)
		put_beside(out);
	else
		out->status = STATUS_PRECONDITION_FAILED;
}

/* Parents come before children. */
static bool has_reached_parent(const struct revision_node *node, const bool *reached)
{
	for (uint32_t i = 0; i < node->parents_count; i++)
		if (reached[node->parents[i]])
			return true;
	return false;
}

bool derived_stands(const struct document *doc, const struct revision *made, struct arena *arena)
{
	int first = graph_find(doc, made);
	if (first == GRAPH_NONE) /* long ago */
		return live_winner(doc) != GRAPH_NONE;
	bool *reached = arena_alloc(arena, doc->revisions_count * sizeof *reached);
	for (uint32_t i = (uint32_t)first; i < doc->revisions_count; i++) {
		const struct revision_node *node = &doc->revisions[i];
		bool follows = i == (uint32_t)first || has_reached_parent(node, reached);
		reached[i] = follows && !(node->flags & REVISION_DELETED);
		if (reached[i] && graph_is_live(doc, i))
			return true;
	}
	return false;
}

int derived_end(const struct document *doc, const struct revision *made, struct arena *arena)
{
	int first = graph_find(doc, made);
	if (first == GRAPH_NONE)
		return GRAPH_NONE;
	bool *reached = arena_alloc(arena, doc->revisions_count * sizeof *reached);
	for (uint32_t i = (uint32_t)first; i < doc->revisions_count; i++) {
		const struct revision_node *node = &doc->revisions[i];
		reached[i] = i == (uint32_t)first || has_reached_parent(node, reached);
		if (reached[i] && graph_is_leaf(doc, i))
			return (int)i;
	}
	return GRAPH_NONE;
}

/* The split was undone, and the document deleted since. */
static void decide_anew(const struct document *doc, const struct msg_doc_write *m,
			struct derived *out)
{
	if (live_winner(doc) == GRAPH_NONE && m->expected_count == 0)
		out->parent = graph_winner(doc);
	else if (m->expected_count == 0)
		out->status = STATUS_PRECONDITION_FAILED;
	else
		decide_first(doc, m, out);
}

void derived_decide(const struct document *doc, const struct msg_doc_write *m, struct arena *arena,
		    struct derived *out)
{
	const struct operation *before = newest_try(doc, m->operation_id);
	*out = (struct derived){.status = STATUS_OK, .parent = GRAPH_NONE};
	if (m->operation_digest.len == 0) {
		out->status = STATUS_BAD_MESSAGE;
		return;
	}
	if (!before) {
		decide_first(doc, m, out);
		return;
	}
	if (try_of(before->id) > try_of(m->operation_id) && !MUTATION(split_goes_back)) {
		REACHED(split_too_late);
		out->status = STATUS_CONFLICT;
		return;
	}
	if (m->anew && !derived_stands(doc, &before->revision, arena) &&
	    !MUTATION(split_counts_deleted)) {
		decide_anew(doc, m, out);
		return;
	}
	if (slice_equal(before->digest, m->operation_digest)) {
		out->done = true;
		out->made = before->revision;
		return;
	}
	if (m->keep_as_branch) {
		put_beside(out);
		return;
	}
	out->parent = graph_find(doc, &before->revision);
	if (out->parent == GRAPH_NONE) {
		out->status = STATUS_PRECONDITION_FAILED;
		return;
	}
	out->branch = !graph_is_leaf(doc, (uint32_t)out->parent);
	if (out->branch)
		REACHED(split_beside_edit);
	else
		REACHED(split_follows);
}
